//! Rules about other lists: thread infos, thread names, handles, unloaded modules, function tables,
//! tokens and counters.

use std::collections::HashSet;

use super::super::counters::{SYSTEM_MEMORY_SIZES, VM_COUNTERS_SIZES};
use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::handles::{HANDLE_2_SIZE, HANDLE_SIZE, MOST_INFORMATION_BYTES, OPERATION_SIZE};
use super::super::list::{LIST_LIMIT, List};
use super::super::modules::UNLOADED_MODULE_SIZE;
use super::super::stream_type;
use super::super::threads::{THREAD_INFO_SIZE, THREAD_NAME_SIZE};
use super::{Findings, Rule};

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    thread_infos(dump, findings)?;
    thread_names(dump, findings)?;
    handles(dump, findings)?;
    unloaded_modules(dump, findings)?;
    function_tables(dump, findings)?;
    tokens(dump, findings)?;
    counters(dump, findings)
}

/// Checks a list whose header contains the sizes of the header and of an entry, and the count. The
/// sizes must be those of the structures, and the stream must end after the last entry.
pub(super) fn exact_size(
    dump: &Dump,
    findings: &mut Findings,
    stream: u32,
    wide_count: bool,
    entry_sizes: &[u64],
    header_size: u64,
) -> Result<(), ReadError> {
    let rule = match stream {
        stream_type::MEMORY_INFO_LIST => Rule::MemoryInfoSize,
        stream_type::THREAD_INFO_LIST => Rule::ThreadInfoSize,
        stream_type::HANDLE_DATA => Rule::HandleDataSize,
        stream_type::HANDLE_OPERATION_LIST => Rule::HandleOperationsSize,
        _ => Rule::UnloadedModulesSize,
    };
    let Some(entry) = dump.stream(stream) else {
        return Ok(());
    };
    let least = entry_sizes.iter().copied().min().unwrap_or(1);
    let Some(table) = findings.read(rule, dump.sized_list(entry, wide_count, least))? else {
        return Ok(());
    };
    let header = table.start - u64::from(entry.rva);
    let exact = header + table.count * table.stride;
    if header != header_size || !entry_sizes.contains(&table.stride) || exact != u64::from(entry.size) {
        let sizes: Vec<_> = entry_sizes.iter().map(u64::to_string).collect();
        let text = format!(
            "the stream has {} bytes with a header of {header} and {} entries of {} each; \
             the header should have {header_size} bytes and an entry {}, and nothing should follow",
            entry.size,
            table.count,
            table.stride,
            sizes.join(" or ")
        );
        findings.add(rule, entry.rva.into(), text);
    }
    Ok(())
}

fn thread_infos(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    exact_size(
        dump,
        findings,
        stream_type::THREAD_INFO_LIST,
        false,
        &[THREAD_INFO_SIZE],
        12,
    )?;
    let Some(infos) = findings.list(Rule::ThreadInfoSize, dump.iter_thread_infos())? else {
        return Ok(());
    };
    // There are other rules for a thread list that cannot be read or is too long.
    let Ok(threads) = dump.thread_records().and_then(|list| list.bounded(LIST_LIMIT)) else {
        return Ok(());
    };
    let known: HashSet<u32> = threads.flatten().map(|thread| thread.id).collect();
    for info in infos {
        let info = info?;
        if !known.contains(&info.thread_id) {
            let text = format!("thread {} is not in the thread list", info.thread_id);
            findings.add(Rule::ThreadInfoThread, info.record_offset, text);
        }
    }
    Ok(())
}

fn thread_names(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::THREAD_NAMES) else {
        return Ok(());
    };
    let records = dump.thread_name_records();
    let count = records.as_ref().map_or(0, List::len);
    let Some(names) = findings.list(Rule::ThreadNamesSize, records)? else {
        return Ok(());
    };
    let exact = 4 + count * THREAD_NAME_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{count} names take {exact} bytes, but the stream has {}",
            entry.size
        );
        findings.add(Rule::ThreadNamesSize, entry.record_offset, text);
    }
    for name in names {
        let name = name?;
        findings.check_string(
            dump,
            format_args!("the name of thread {}", name.thread_id),
            name.rva,
        )?;
    }
    Ok(())
}

fn handles(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let sizes = [HANDLE_SIZE, HANDLE_2_SIZE];
    exact_size(dump, findings, stream_type::HANDLE_DATA, false, &sizes, 16)?;
    // `exact_size` has already reported a list that cannot be read.
    let Ok(records) = dump.handle_records() else {
        return operations(dump, findings);
    };
    let mut information_left = dump.len().min(MOST_INFORMATION_BYTES);
    for handle in findings
        .list(Rule::HandleDataSize, Ok(records))?
        .into_iter()
        .flatten()
    {
        let handle = handle?;
        for (what, rva) in [("type", handle.type_name_rva), ("name", handle.object_name_rva)] {
            if rva != 0 {
                findings.check_string(
                    dump,
                    format_args!("the {what} of handle {:#x}", handle.handle),
                    rva.into(),
                )?;
            }
        }
        let (_, next) = dump.object_information(handle.object_info_rva, &mut information_left);
        if next != 0 {
            let text = format!(
                "the chain of information about handle {:#x} is broken or circular: \
                 the block at {next:#x} cannot be read",
                handle.handle
            );
            findings.add(Rule::ObjectInformationBroken, handle.record_offset + 32, text);
        }
    }
    operations(dump, findings)
}

fn operations(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    exact_size(
        dump,
        findings,
        stream_type::HANDLE_OPERATION_LIST,
        false,
        &[OPERATION_SIZE],
        16,
    )
}

fn function_tables(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    /// The maximum number of unused bytes after the last table. DbgHelp 6.3.9600 leaves up to 12.
    const UNUSED: u64 = 12;
    let Some(entry) = dump.stream(stream_type::FUNCTION_TABLE) else {
        return Ok(());
    };
    let Some(tables) = findings.read(Rule::FunctionTableSize, dump.function_tables())? else {
        return Ok(());
    };
    for table in tables.iter().filter(|table| table.record_offset % 8 != 0) {
        let text = format!(
            "the offset of the table for {:#x} is not a multiple of 8",
            table.base_address
        );
        findings.add(Rule::FunctionTableSize, table.record_offset, text);
    }
    if let Some(last) = tables.last() {
        // The sizes of the descriptor, of the system's native record, and of the functions.
        let end = last.record_offset + 32 + 88 + 12 * last.entries.len() as u64;
        let left = (u64::from(entry.rva) + u64::from(entry.size)).saturating_sub(end);
        if left > UNUSED {
            let text = format!("{left} unused bytes follow the last table");
            findings.add(Rule::FunctionTableSize, end, text);
        }
    }
    Ok(())
}

fn tokens(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::TOKEN) else {
        return Ok(());
    };
    let Some(tokens) = findings.read(Rule::TokenSize, dump.tokens())? else {
        return Ok(());
    };
    let mut total = [0; 4];
    dump.fill("TokenStream", entry.rva.into(), &mut total)?;
    let total = u32::from_le_bytes(total);
    if total != entry.size {
        let text = format!(
            "TokenStream has {} bytes, but {total} according to its header",
            entry.size
        );
        findings.add(Rule::TokenSize, entry.rva.into(), text);
    }
    for token in tokens.iter().filter(|token| token.user.is_none()) {
        let text = format!("the token of the process or thread {} has no user", token.id);
        findings.add(Rule::TokenSize, token.record_offset, text);
    }
    Ok(())
}

fn counters(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let all = [
        (
            Rule::SystemMemorySize,
            stream_type::SYSTEM_MEMORY_INFO,
            SYSTEM_MEMORY_SIZES,
            dump.system_memory(),
        ),
        (
            Rule::VmCountersSize,
            stream_type::PROCESS_VM_COUNTERS,
            VM_COUNTERS_SIZES,
            dump.vm_counters(),
        ),
    ];
    for (rule, stream, sizes, counters) in all {
        let (Some(entry), Some(Some(counters))) = (dump.stream(stream), findings.read(rule, counters)?)
        else {
            continue;
        };
        let size = usize::from(counters.revision)
            .checked_sub(1)
            .and_then(|at| sizes.get(at));
        if size != Some(&entry.size.into()) {
            let text = format!(
                "the stream has {} bytes and revision {}; revision 1 has {} bytes, revision 2 has {}",
                entry.size, counters.revision, sizes[0], sizes[1]
            );
            findings.add(rule, entry.rva.into(), text);
        }
    }
    Ok(())
}

fn unloaded_modules(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    exact_size(
        dump,
        findings,
        stream_type::UNLOADED_MODULE_LIST,
        false,
        &[UNLOADED_MODULE_SIZE],
        12,
    )?;
    // `exact_size` has already reported a list that cannot be read.
    let Ok(records) = dump.unloaded_records() else {
        return Ok(());
    };
    for module in findings
        .list(Rule::UnloadedModulesSize, Ok(records))?
        .into_iter()
        .flatten()
    {
        let (base, name_rva) = module?;
        findings.check_string(
            dump,
            format_args!("the name of the unloaded module at {base:#x}"),
            name_rva.into(),
        )?;
    }
    Ok(())
}
