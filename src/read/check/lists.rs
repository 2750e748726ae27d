//! Lists around the threads and the process: thread info, names, handles, unloaded modules, tokens, counters.

use std::collections::HashSet;

use super::super::counters::{SYSTEM_MEMORY_SIZES, VM_COUNTERS_SIZES};
use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::handles::{HANDLE_2_SIZE, HANDLE_SIZE, OPERATION_SIZE};
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

/// A list whose header states sizes and count: the sizes are those of the structures, and nothing is left over.
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
        let text = format!(
            "a header of {header} bytes and {} entries of {} in a stream of {}; \
             the structures have {header_size} and {entry_sizes:?}",
            table.count, table.stride, entry.size
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
    let (Ok(infos), Ok(threads)) = (dump.thread_infos(), dump.thread_records()) else {
        return Ok(());
    };
    let known: HashSet<u32> = threads.iter().map(|thread| thread.id).collect();
    for info in infos.iter().filter(|info| !known.contains(&info.thread_id)) {
        let text = format!("thread {} is not in the thread list", info.thread_id);
        findings.add(Rule::ThreadInfoThread, info.record_offset, text);
    }
    Ok(())
}

fn thread_names(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::THREAD_NAMES) else {
        return Ok(());
    };
    let Some(names) = findings.read(Rule::ThreadNamesSize, dump.thread_names())? else {
        return Ok(());
    };
    let exact = 4 + names.len() as u64 * THREAD_NAME_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{} names take {exact} bytes, the stream has {}",
            names.len(),
            entry.size
        );
        findings.add(Rule::ThreadNamesSize, entry.record_offset, text);
    }
    for name in &names {
        findings.check_string(dump, &format!("the name of thread {}", name.thread_id), name.rva)?;
    }
    Ok(())
}

fn handles(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let sizes = [HANDLE_SIZE, HANDLE_2_SIZE];
    exact_size(dump, findings, stream_type::HANDLE_DATA, false, &sizes, 16)?;
    for handle in dump.handles().unwrap_or_default() {
        for (what, rva) in [("type", handle.type_name_rva), ("name", handle.object_name_rva)] {
            if rva != 0 {
                findings.check_string(
                    dump,
                    &format!("the {what} of handle {:#x}", handle.handle),
                    rva.into(),
                )?;
            }
        }
        let last = handle.object_information.last();
        let next = match last {
            None => handle.object_info_rva,
            Some(block) => {
                let mut next = [0; 4];
                dump.fill("information about an object", block.record_offset, &mut next)?;
                u32::from_le_bytes(next)
            }
        };
        if next != 0 {
            let text = format!(
                "of the information about handle {:#x}, the block at {next:#x} cannot be followed",
                handle.handle
            );
            findings.add(Rule::ObjectInformationBroken, handle.record_offset + 32, text);
        }
    }
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
    /// DbgHelp 6.3.9600 leaves up to so many bytes unused behind the last table.
    const UNUSED: u64 = 12;
    let Some(entry) = dump.stream(stream_type::FUNCTION_TABLE) else {
        return Ok(());
    };
    let Some(tables) = findings.read(Rule::FunctionTableSize, dump.function_tables())? else {
        return Ok(());
    };
    for table in tables.iter().filter(|table| table.record_offset % 8 != 0) {
        let text = format!(
            "the table for {:#x} is not at a multiple of 8",
            table.base_address
        );
        findings.add(Rule::FunctionTableSize, table.record_offset, text);
    }
    if let Some(last) = tables.last() {
        // A descriptor, the system's own record, the functions.
        let end = last.record_offset + 32 + 88 + 12 * last.entries.len() as u64;
        let left = (u64::from(entry.rva) + u64::from(entry.size)).saturating_sub(end);
        if left > UNUSED {
            let text = format!("{left} bytes are left behind the last table");
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
        let text = format!("it says {total} bytes, the stream has {}", entry.size);
        findings.add(Rule::TokenSize, entry.rva.into(), text);
    }
    for token in tokens.iter().filter(|token| token.user.is_none()) {
        let text = format!("the token of {} has no user", token.id);
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
                "{} bytes of revision {}; the revisions have {sizes:?}",
                entry.size, counters.revision
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
    for module in dump.unloaded_modules().unwrap_or_default() {
        let what = format!("the name of the unloaded module at {:#x}", module.base);
        findings.check_string(dump, &what, module.name_rva.into())?;
    }
    Ok(())
}
