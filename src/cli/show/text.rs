//! The dump as text for people.

use std::borrow::Cow;
use std::io::{self, Write};

use dumpwright::read::{Context, Cpu, Dump, MemoryRange, Module, Platform, stream_type};

use super::part;

/// Prints every section that the dump has something for.
pub(super) fn print(out: &mut impl Write, dump: &Dump, file: &str, all_memory: bool) -> io::Result<()> {
    let problems = &mut Vec::new();
    header(out, dump, file)?;
    let platform = system(out, dump, problems)?;
    process(out, dump, problems)?;
    let mut modules = part(problems, dump.modules());
    modules.sort_by_key(|module| module.base);
    exception(out, dump, platform, &modules, problems)?;
    threads(out, dump, &modules, problems)?;
    module_list(out, &modules)?;
    unloaded_modules(out, dump, problems)?;
    memory(out, dump, all_memory, problems)?;
    handles(out, dump, problems)?;
    function_tables(out, dump, &modules, problems)?;
    tokens(out, dump, problems)?;
    counters(out, dump, problems)?;
    remarks(out, dump, problems)?;
    if !problems.is_empty() {
        section(out, &format!("Could not be read ({})", problems.len()))?;
        for problem in problems {
            writeln!(out, "  {}", printable(problem))?;
        }
    }
    Ok(())
}

fn section(out: &mut impl Write, title: &str) -> io::Result<()> {
    writeln!(out, "\n{title}")
}

fn header(out: &mut impl Write, dump: &Dump, file: &str) -> io::Result<()> {
    let header = dump.header();
    writeln!(out, "{}: minidump, {}", printable(file), bytes(dump.len()))?;
    writeln!(out, "  written  {}", utc(header.time))?;
    let names = header.flag_names();
    let names = if names.is_empty() {
        "normal".to_owned()
    } else {
        names.join(", ")
    };
    writeln!(out, "  type     {:#x} ({names})", header.flags)?;
    writeln!(out, "  version  {:#010x}", header.version)?;

    let used = dump
        .directory()
        .iter()
        .filter(|entry| entry.stream_type != stream_type::UNUSED)
        .count();
    section(
        out,
        &format!("Streams ({used} of {} slots used)", header.number_of_streams),
    )?;
    writeln!(out, "  {:>10} {:>10}  {:>10}  name", "offset", "size", "type")?;
    for entry in dump.directory() {
        let name = entry.name().unwrap_or("(unknown)");
        writeln!(
            out,
            "  {:>#10x} {:>10}  {:>#10x}  {name}",
            entry.rva, entry.size, entry.stream_type
        )?;
    }
    Ok(())
}

fn system(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<Platform> {
    let Some(system) = part(problems, dump.system_info()) else {
        return Ok(Platform::Other(0));
    };
    section(out, "System")?;
    let vendor = system
        .cpu_vendor()
        .map(|vendor| format!(" {vendor}"))
        .unwrap_or_default();
    let arm = system
        .arm_cpu()
        .map(|arm| format!(", main id {:#x}, capabilities {:#x}", arm.main_id, arm.hwcaps))
        .unwrap_or_default();
    writeln!(
        out,
        "  processor  {:?}{vendor}, family {} revision {:#x}, {} online{arm}",
        system.cpu, system.processor_level, system.processor_revision, system.number_of_processors
    )?;
    let version = format!(
        "{}.{}.{}",
        system.major_version, system.minor_version, system.build_number
    );
    writeln!(out, "  platform   {:?} {version}", system.platform)?;
    if let Some(text) = system.csd_version.filter(|text| !text.is_empty()) {
        writeln!(out, "             {}", printable(&text))?;
    }
    Ok(system.platform)
}

fn process(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let Some(misc) = part(problems, dump.misc_info()) else {
        return Ok(());
    };
    section(out, "Process")?;
    if let Some(id) = misc.process_id {
        writeln!(out, "  id         {id}")?;
    }
    if let Some(started) = misc.process_create_time {
        writeln!(out, "  started    {}", utc(started))?;
    }
    if let (Some(user), Some(kernel)) = (misc.process_user_time, misc.process_kernel_time) {
        writeln!(out, "  times      {user} s user, {kernel} s kernel")?;
    }
    for (label, value) in [
        ("integrity", misc.process_integrity_level),
        ("options", misc.process_execute_flags),
        ("protected", misc.protected_process),
        ("cookie", misc.process_cookie),
    ] {
        if let Some(value) = value {
            writeln!(out, "  {label:<9}  {value:#x}")?;
        }
    }
    if let Some(zone) = misc.time_zone {
        writeln!(
            out,
            "  time zone  UTC{:+} min {}",
            -i64::from(zone.bias),
            printable(&zone.standard_name)
        )?;
    }
    for (label, text) in [("build", misc.build_string), ("writer", misc.debug_build_string)] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            writeln!(out, "  {label:<9}  {}", printable(&text))?;
        }
    }
    if let Some(line) = part(problems, dump.text(stream_type::LINUX_CMD_LINE)) {
        let line = line.trim_end_matches('\0').replace('\0', " ");
        writeln!(out, "  command    {}", printable(&line))?;
    }
    Ok(())
}

fn exception(
    out: &mut impl Write,
    dump: &Dump,
    platform: Platform,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let Some(exception) = part(problems, dump.exception()) else {
        return Ok(());
    };
    section(out, "Exception")?;
    writeln!(out, "  what       {}", exception.describe(platform))?;
    writeln!(out, "  thread     {}", exception.thread_id)?;
    writeln!(out, "  address    {}", place(modules, exception.address))?;
    let parameters: Vec<String> = exception
        .parameters
        .iter()
        .map(|value| format!("{value:#x}"))
        .collect();
    if !parameters.is_empty() {
        writeln!(out, "  parameters {}", parameters.join(" "))?;
    }
    match &exception.context {
        Some(context) => registers(out, modules, context),
        None => writeln!(out, "  (no registers)"),
    }
}

fn threads(
    out: &mut impl Write,
    dump: &Dump,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let threads = part(problems, dump.threads());
    section(out, &format!("Threads ({})", threads.len()))?;
    for thread in threads {
        let name = thread
            .name
            .as_deref()
            .map(|name| format!(" {}", printable(name)))
            .unwrap_or_default();
        writeln!(out, "  thread {}{name}", thread.id)?;
        match &thread.context {
            Some(context) => registers(out, modules, context)?,
            None => writeln!(out, "    (no registers)")?,
        }
        let stack = thread.stack;
        if stack.size == 0 {
            writeln!(out, "    (no stack)")?;
        } else {
            let end = stack.start.wrapping_add(stack.size.into());
            writeln!(
                out,
                "    stack {:#x} to {end:#x}, {}",
                stack.start,
                bytes(stack.size.into())
            )?;
        }
        if let Some(store) = thread.backing_store.filter(|store| store.size != 0) {
            let end = store.start.wrapping_add(store.size.into());
            writeln!(
                out,
                "    backing store {:#x} to {end:#x}, {}",
                store.start,
                bytes(store.size.into())
            )?;
        }
        if thread.suspend_count != 0 || thread.priority != 0 {
            writeln!(
                out,
                "    suspended {} times, priority {}",
                thread.suspend_count, thread.priority
            )?;
        }
        if let Some(info) = thread.info {
            let (user, kernel) = (seconds(info.user_time), seconds(info.kernel_time));
            let flags = if info.dump_flags == 0 {
                String::new()
            } else {
                format!(
                    ", dump flags {:#x}, error {:#x}",
                    info.dump_flags, info.dump_error
                )
            };
            writeln!(
                out,
                "    {user} s user, {kernel} s kernel, affinity {:#x}{flags}",
                info.affinity
            )?;
            if info.exit_time != 0 {
                writeln!(out, "    exited with {:#x}", info.exit_status)?;
            }
        }
    }
    Ok(())
}

/// Where the thread is, its general registers, and of the wide ones those that are in use.
fn registers(out: &mut impl Write, modules: &[Module], context: &Context) -> io::Result<()> {
    if let Some(ip) = context.instruction_pointer() {
        writeln!(out, "    at {}", place(modules, ip))?;
    }
    let general = general_registers(context);
    if let (true, Some(sp)) = (general.is_empty(), context.stack_pointer()) {
        writeln!(out, "    stack pointer {sp:#x}")?;
    }
    let digits = match context.cpu() {
        Cpu::X86 | Cpu::Arm => 8,
        _ => 16,
    };
    for row in general.chunks(4) {
        let cells: Vec<String> = row
            .iter()
            .map(|(name, value)| format!("{name:<3} {value:0digits$x}"))
            .collect();
        writeln!(out, "    {}", cells.join("  "))?;
    }
    if let Some(state) = context.extended_state() {
        if state.zmm.is_empty() {
            bank(out, "ymm", &state.ymm)?;
        } else {
            bank(out, "zmm", &state.zmm)?;
        }
        bank(out, "k", &state.k)?;
    }
    Ok(())
}

/// The general registers but the instruction pointer, which is shown as a place.
fn general_registers(context: &Context) -> Vec<(Cow<'static, str>, u64)> {
    let named = |registers: &[(&'static str, u64)]| -> Vec<_> {
        registers
            .iter()
            .map(|(name, value)| ((*name).into(), *value))
            .collect()
    };
    let narrow = |registers: &[(&'static str, u32)]| -> Vec<_> {
        registers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    };
    let numbered = |letter: char, values: &[u64]| -> Vec<_> {
        let name = |(number, value): (usize, &u64)| (format!("{letter}{number}").into(), *value);
        values.iter().enumerate().map(name).collect()
    };
    if let Some(all) = context.amd64() {
        return named(&[
            ("rax", all.rax),
            ("rbx", all.rbx),
            ("rcx", all.rcx),
            ("rdx", all.rdx),
            ("rsi", all.rsi),
            ("rdi", all.rdi),
            ("rbp", all.rbp),
            ("rsp", all.rsp),
            ("r8", all.r8),
            ("r9", all.r9),
            ("r10", all.r10),
            ("r11", all.r11),
            ("r12", all.r12),
            ("r13", all.r13),
            ("r14", all.r14),
            ("r15", all.r15),
        ]);
    }
    if let Some(all) = context.x86() {
        return narrow(&[
            ("eax", all.eax),
            ("ebx", all.ebx),
            ("ecx", all.ecx),
            ("edx", all.edx),
            ("esi", all.esi),
            ("edi", all.edi),
            ("ebp", all.ebp),
            ("esp", all.esp),
        ]);
    }
    if let Some(all) = context.arm() {
        let mut registers = numbered('r', &all.r.map(u64::from));
        registers.extend(narrow(&[("sp", all.sp), ("lr", all.lr)]));
        return registers;
    }
    if let Some(all) = context.arm64() {
        let mut registers = numbered('x', &all.x);
        registers.extend(named(&[("fp", all.fp), ("lr", all.lr), ("sp", all.sp)]));
        return registers;
    }
    Vec::new()
}

/// The registers of a bank that are not zero, the highest byte first.
fn bank<const SIZE: usize>(out: &mut impl Write, letters: &str, bank: &[[u8; SIZE]]) -> io::Result<()> {
    for (number, bytes) in bank.iter().enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "    {letters}{number} {digits}")?;
        }
    }
    Ok(())
}

fn module_list(out: &mut impl Write, modules: &[Module]) -> io::Result<()> {
    section(out, &format!("Modules ({})", modules.len()))?;
    for module in modules {
        let name = module
            .name
            .as_deref()
            .map_or("(unreadable name)".into(), printable);
        let version = module
            .version
            .as_ref()
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        writeln!(
            out,
            "  {:#x} to {:#x}  {name}{version}",
            module.base,
            module.end()
        )?;
        let ids = [("debug id", &module.debug_id), ("code id", &module.code_id)];
        for (label, id) in ids {
            if let Some(id) = id {
                writeln!(out, "    {label:<8}  {id}")?;
            }
        }
    }
    Ok(())
}

fn unloaded_modules(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let modules = part(problems, dump.unloaded_modules());
    if modules.is_empty() {
        return Ok(());
    }
    section(out, &format!("Unloaded modules ({})", modules.len()))?;
    for module in modules {
        let name = module
            .name
            .as_deref()
            .map_or("(unreadable name)".into(), printable);
        let end = module.base.saturating_add(module.size.into());
        writeln!(out, "  {:#x} to {end:#x}  {name}", module.base)?;
    }
    Ok(())
}

fn memory(out: &mut impl Write, dump: &Dump, all: bool, problems: &mut Vec<String>) -> io::Result<()> {
    let ranges = part(problems, dump.memory_ranges());
    let total = ranges
        .iter()
        .fold(0_u64, |sum, range| sum.saturating_add(range.size));
    section(
        out,
        &format!("Memory ({} ranges, {})", ranges.len(), bytes(total)),
    )?;
    if all {
        for MemoryRange {
            address,
            size,
            file_offset,
            ..
        } in ranges
        {
            let end = address.wrapping_add(size);
            writeln!(
                out,
                "  {address:#x} to {end:#x}  {}, at {file_offset:#x} of the file",
                bytes(size)
            )?;
        }
    } else if let (Some(low), Some(high)) = (
        ranges.iter().map(|range| range.address).min(),
        ranges.iter().map(|range| range.address).max(),
    ) {
        writeln!(out, "  between {low:#x} and {high:#x}; --memory lists them")?;
    }
    let regions = part(problems, dump.memory_regions());
    if !regions.is_empty() {
        section(out, &format!("Address space ({} regions)", regions.len()))?;
    }
    for region in regions.iter().filter(|_| all) {
        let end = region.base.wrapping_add(region.size);
        let state = match region.state {
            0x1000 => "committed".to_owned(),
            0x2000 => "reserved".to_owned(),
            0x1_0000 => "free".to_owned(),
            other => format!("state {other:#x}"),
        };
        let kind = match region.kind {
            0 => String::new(),
            0x2_0000 => " private".to_owned(),
            0x4_0000 => " mapped".to_owned(),
            0x100_0000 => " image".to_owned(),
            other => format!(" type {other:#x}"),
        };
        writeln!(
            out,
            "  {:#x} to {end:#x}  {state}{kind} protection {:#x}",
            region.base, region.protect
        )?;
    }
    Ok(())
}

fn handles(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let handles = part(problems, dump.handles());
    if handles.is_empty() {
        return Ok(());
    }
    section(out, &format!("Handles ({})", handles.len()))?;
    for handle in handles {
        let kind = handle.type_name.as_deref().map_or("(no type)".into(), printable);
        let name = handle.object_name.as_deref().map(printable).unwrap_or_default();
        writeln!(
            out,
            "  {:>6}  {kind:<14} access {:#010x}  {name}",
            handle.handle, handle.granted_access
        )?;
        for block in handle.object_information {
            let kind = match block.info_type {
                1 => "thread".to_owned(),
                2 | 3 => "mutant".to_owned(),
                4 | 5 => "process".to_owned(),
                6 => "event".to_owned(),
                7 => "section".to_owned(),
                8 => "semaphore".to_owned(),
                other => format!("type {other:#x}"),
            };
            let digits: String = block.bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
            writeln!(out, "          {kind}:{digits}")?;
        }
    }
    let operations = part(problems, dump.handle_operations());
    if !operations.is_empty() {
        section(out, &format!("Operations on handles ({})", operations.len()))?;
    }
    for operation in operations {
        let what = match operation.operation_type {
            1 => "opened".to_owned(),
            2 => "closed".to_owned(),
            3 => "bad reference to".to_owned(),
            other => format!("operation {other:#x} on"),
        };
        writeln!(
            out,
            "  {what} {} by thread {} of process {}, {} calls",
            operation.handle,
            operation.thread_id,
            operation.process_id,
            operation.return_addresses.len()
        )?;
    }
    Ok(())
}

fn function_tables(
    out: &mut impl Write,
    dump: &Dump,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let tables = part(problems, dump.function_tables());
    if tables.is_empty() {
        return Ok(());
    }
    section(
        out,
        &format!("Functions made at run time ({} tables)", tables.len()),
    )?;
    for table in tables {
        writeln!(
            out,
            "  {:#x} to {:#x}, base {}",
            table.minimum_address,
            table.maximum_address,
            place(modules, table.base_address)
        )?;
        for entry in table.entries {
            writeln!(
                out,
                "    {:#x} to {:#x}, unwind information at {:#x}",
                entry.begin_address, entry.end_address, entry.unwind_info_address
            )?;
        }
    }
    Ok(())
}

fn tokens(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let tokens = part(problems, dump.tokens());
    if tokens.is_empty() {
        return Ok(());
    }
    section(out, &format!("Tokens ({})", tokens.len()))?;
    let process = part(problems, dump.misc_info()).and_then(|misc| misc.process_id);
    for token in tokens {
        let kind = match token.token_type {
            Some(2) => "impersonation, thread",
            Some(1) => "primary, process",
            _ if process == Some(token.id) => "primary, process",
            _ => "thread",
        };
        let user = token.user.unwrap_or_else(|| "(no user)".to_owned());
        write!(out, "  {user}, {kind} {}", token.id)?;
        match token.session.filter(|session| *session != 0) {
            Some(session) => writeln!(out, ", session {session}")?,
            None => writeln!(out)?,
        }
        for group in token.groups {
            let primary = match token.primary_group.as_ref() == Some(&group.sid) {
                true => ", primary",
                false => "",
            };
            writeln!(
                out,
                "    group {}, attributes {:#x}{primary}",
                group.sid, group.attributes
            )?;
        }
        for group in token.restricting {
            writeln!(
                out,
                "    restricted by {}, attributes {:#x}",
                group.sid, group.attributes
            )?;
        }
        for privilege in token.privileges {
            writeln!(
                out,
                "    privilege {}, attributes {:#x}",
                privilege.luid, privilege.attributes
            )?;
        }
    }
    Ok(())
}

/// The numbers that are not 0, which also stands for what the writer did not know.
fn counters(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let all = [
        ("Memory of the process", part(problems, dump.vm_counters())),
        ("Memory of the machine", part(problems, dump.system_memory())),
    ];
    for (title, counters) in all {
        let Some(counters) = counters else { continue };
        section(out, &format!("{title} (revision {})", counters.revision))?;
        for (name, value) in counters.numbers.iter().filter(|(_, value)| **value != 0) {
            writeln!(out, "  {name:<44} {value}")?;
        }
    }
    Ok(())
}

/// What the writer has to say: comments, soft errors, and memory that was lost.
fn remarks(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    if let Some(info) = part(problems, dump.breakpad_info())
        && let Some(thread) = info.requesting_thread_id
    {
        section(out, "Requested by")?;
        writeln!(out, "  thread {thread}")?;
    }
    for comment in part(problems, dump.comments()) {
        section(out, "Comment")?;
        for line in comment.lines() {
            writeln!(out, "  {}", printable(line))?;
        }
    }
    // minidump-writer writes the stream with an empty list when nothing went wrong.
    let soft_errors = part(problems, dump.soft_errors());
    if let Some(errors) = soft_errors.filter(|errors| errors.as_array().is_none_or(|list| !list.is_empty())) {
        section(out, "The writer's soft errors")?;
        for line in format!("{errors:#}").lines() {
            writeln!(out, "  {}", printable(line))?;
        }
    }
    let losses = part(problems, dump.losses());
    if !losses.is_empty() {
        section(out, &format!("Memory that was lost ({} ranges)", losses.len()))?;
        for loss in losses {
            let end = loss.start.saturating_add(loss.length);
            writeln!(
                out,
                "  {:#x} to {end:#x}  {}, {}",
                loss.start,
                bytes(loss.length),
                loss.reason
            )?;
        }
    }
    Ok(())
}

/// An address, and the module it lies in. `modules` ascend.
fn place(modules: &[Module], address: u64) -> String {
    let behind = modules.partition_point(|module| module.base <= address);
    match behind.checked_sub(1).map(|index| &modules[index]) {
        Some(module) if address < module.end() => {
            let name = module
                .file_name()
                .filter(|name| !name.is_empty())
                .map_or("?".into(), printable);
            format!("{address:#x} {name}+{:#x}", address - module.base)
        }
        _ => format!("{address:#x}"),
    }
}

/// Text from the dump, made safe to print: names in a hostile dump may hold sequences that command a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| {
            if letter.is_control() {
                letter.escape_default().to_string()
            } else {
                letter.into()
            }
        })
        .collect()
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = None;
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(name);
    }
    match unit {
        Some(unit) => format!("{count} bytes ({value:.1} {unit})"),
        None => format!("{count} bytes"),
    }
}

/// 100 ns units as seconds.
fn seconds(units: u64) -> String {
    format!("{}.{:02}", units / 10_000_000, units / 100_000 % 100)
}

/// Seconds since 1970 as a date (the Gregorian calendar, whose cycle of 400 years has 146097 days).
fn utc(time: u32) -> String {
    let (days, rest) = (u64::from(time) / 86_400, time % 86_400);
    // Counted from 1 March of year 0, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year_of_cycle = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day_of_month:02} {hours:02}:{minutes:02}:{seconds:02} UTC")
}

#[cfg(test)]
mod tests {
    //! Would catch wrong dates (leap years above all), rounding in sizes, and control characters that reach the terminal.

    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        // Expected values from `date -u -d @N`.
        for (time, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (u32::MAX, "2106-02-07 06:28:15 UTC"),
        ] {
            assert_eq!(utc(time), text);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\x1b[31mü\u{9b}"), "a\\u{1b}[31mü\\u{9b}");
    }

    #[test]
    fn sizes_name_the_exact_count_first() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1536 bytes (1.5 KiB)");
        assert_eq!(bytes(u64::MAX), "18446744073709551615 bytes (16777216.0 TiB)");
    }

    #[test]
    fn cpu_times_have_hundredths() {
        assert_eq!(seconds(12_345_678), "1.23");
    }
}
