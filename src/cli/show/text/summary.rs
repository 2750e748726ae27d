//! Prints the summary: what was dumped, why, what is missing, and what the threads do.

use std::io::{self, Write};

use dumpwright::read::{Cpu, Dump, Platform, SystemInfo, stream_type};
use dumpwright::target::printable;
use indicatif::HumanBytes;

use super::ShownDump;
use super::stacks::{self, Activity, Group, WIDTH};
use super::words::{cut, thousands, utc, wrapped};
use crate::cli::print::{ALARM, DIM, HEADING, merged};
use crate::cli::show::{MOST_ENTRIES, compressed_memory, part};
use crate::cli::stack::StackWalker;

/// The maximum number of lines.
const LINES: usize = 50;
/// The number of frames of a stack that is shown in full.
const FRAMES: usize = 12;
/// The number of lines about what is missing.
const MISSING: usize = 6;

pub(super) fn print(out: &mut impl Write, shown: &mut ShownDump<'_>, is_brief: bool) -> io::Result<()> {
    let mut lines = Vec::new();
    about(&mut lines, shown);
    exception(&mut lines, shown);
    missing(&mut lines, shown);
    if !is_brief {
        lines.push(String::new());
        let footer = footer(shown.file, shown.dump);
        let room = LINES.saturating_sub(lines.len() + footer.len() + 1);
        threads(&mut lines, shown, room);
        lines.push(String::new());
        lines.extend(footer);
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    super::print_problems(out, &shown.problems)
}

fn row(lines: &mut Vec<String>, label: &str, text: &str) {
    lines.push(format!("  {DIM}{label:<9}{DIM:#} {}", cut(text, WIDTH - 12)));
}

/// The process, the machine and the dump.
fn about(lines: &mut Vec<String>, shown: &mut ShownDump<'_>) {
    let (what, rows) = facts(shown);
    let title = format!("{}: minidump of {what}", printable(shown.file));
    lines.push(format!("{HEADING}{}{HEADING:#}", cut(&title, WIDTH)));
    for (label, text) in rows {
        row(lines, label, &text);
    }
}

/// Returns what was dumped, and labelled texts about the process, the machine and the dump.
pub(in crate::cli::show) fn facts(shown: &mut ShownDump<'_>) -> (String, Vec<(&'static str, String)>) {
    let dump = shown.dump;
    let problems = &mut shown.problems;
    let misc = part(problems, dump.misc_info());
    let id = misc.as_ref().and_then(|misc| misc.process_id);
    let program = shown.program.as_deref().unwrap_or_default();
    let name = program.rsplit(['/', '\\']).next().filter(|name| !name.is_empty());
    let what = match (name, id) {
        (Some(name), Some(id)) => format!("{} (process {id})", printable(name)),
        (Some(name), None) => printable(name).into_owned(),
        (None, Some(id)) => format!("process {id}"),
        (None, None) => "a process".to_owned(),
    };
    let mut rows = Vec::new();
    match command_line(dump, problems) {
        Some(line) => rows.push(("command", line)),
        None if name.is_some_and(|name| name != program) => {
            rows.push(("program", printable(program).into_owned()));
        }
        None => {}
    }
    let written = dump.header().time;
    let mut when = utc(written);
    if let Some(misc) = &misc {
        if let Some(started) = misc.process_create_time.filter(|started| *started != 0) {
            let ran = u64::from(written.saturating_sub(started));
            when.push_str(&format!(", {} after its start", duration(ran)));
        }
        if let (Some(user), Some(kernel)) = (misc.process_user_time, misc.process_kernel_time) {
            let used = u64::from(user) + u64::from(kernel);
            when.push_str(&format!(", {} of CPU time", duration(used)));
        }
    }
    rows.push(("dumped", when));
    if let Some(system) = part(problems, dump.system_info()) {
        rows.push(("system", machine(dump, &system, problems)));
    }
    let modules = shown.modules.len() as u64 + shown.more_modules;
    rows.push(("contents", contents(dump, modules, problems)));
    for comment in part(problems, dump.comments()).iter().take(2) {
        let first = comment.lines().next().unwrap_or_default();
        rows.push(("comment", printable(first).into_owned()));
    }
    (what, rows)
}

/// Returns the command line, if the dump has it.
fn command_line(dump: &Dump, problems: &mut Vec<String>) -> Option<String> {
    let (line, _) = part(problems, dump.text_start(stream_type::LINUX_CMD_LINE, 4096))?;
    let line = line.trim_end_matches('\0').replace('\0', " ");
    (!line.is_empty()).then(|| printable(&line).into_owned())
}

fn machine(dump: &Dump, system: &SystemInfo, problems: &mut Vec<String>) -> String {
    let version = format!(
        "{}.{}.{}",
        system.major_version, system.minor_version, system.build_number
    );
    let name = match system.platform {
        Platform::Other(number) => format!("system {number:#x}"),
        known => format!("{known:?}"),
    };
    let release = part(problems, dump.text_start(stream_type::LINUX_LSB_RELEASE, 4096));
    let release = release.and_then(|(text, _)| {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim_matches('"').to_owned())
        };
        value("PRETTY_NAME=").or_else(|| value("DISTRIB_DESCRIPTION="))
    });
    let release = release
        .map(|text| format!(" ({})", printable(&text)))
        .unwrap_or_default();
    let processors = stacks::count(system.number_of_processors.into(), "processor");
    let cpu = match system.cpu {
        Cpu::Amd64 => "x86-64".to_owned(),
        Cpu::X86 => "x86".to_owned(),
        other => format!("{other:?}").to_uppercase(),
    };
    format!("{name} {version}{release}, {cpu}, {processors}")
}

/// Returns the dump type and how much of everything the dump has.
fn contents(dump: &Dump, modules: u64, problems: &mut Vec<String>) -> String {
    compressed_memory(problems, dump);
    let threads = part(problems, dump.iter_threads().map(|list| list.len()));
    let (mut ranges, mut bytes) = (0, 0_u64);
    if let Some(list) = part(problems, dump.iter_memory_ranges().map(Some)) {
        ranges = list.len();
        for range in list.take(MOST_ENTRIES as usize).flatten() {
            bytes = bytes.saturating_add(range.size);
        }
    }
    let name = super::dump_type(dump);
    let plural = |number: u64, noun: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", thousands(number))
    };
    format!(
        "{}: {}, {}, {} of memory in {}; type {name}",
        HumanBytes(dump.len()),
        plural(threads, "thread"),
        plural(modules, "module"),
        HumanBytes(bytes),
        plural(ranges, "range"),
    )
}

fn exception(lines: &mut Vec<String>, shown: &mut ShownDump<'_>) {
    match exception_text(shown) {
        Some(text) => lines.push(format!(
            "  {DIM}{:<9}{DIM:#} {ALARM}{}{ALARM:#}",
            "exception",
            cut(&text, WIDTH - 12)
        )),
        None => row(lines, "exception", "none; it was dumped while it was running"),
    }
}

/// Returns the exception, its address and its thread in words.
pub(in crate::cli::show) fn exception_text(shown: &mut ShownDump<'_>) -> Option<String> {
    let platform = shown.platform();
    let exception = part(&mut shown.problems, shown.dump.exception())?;
    let what = exception.describe(platform);
    // For other signals, it is the address of an instruction, which the stack has.
    let has_address = !platform.is_linux() || what.starts_with("SIGSEGV") || what.starts_with("SIGBUS");
    let address = match has_address {
        true => format!(" at address {:#x}", exception.address),
        false => String::new(),
    };
    Some(format!(
        "{}{address} in thread {}",
        printable(&what),
        exception.thread_id
    ))
}

/// Returns what the dump lacks, as subjects and reasons.
pub(in crate::cli::show) fn lacking(shown: &mut ShownDump<'_>) -> Vec<(String, String)> {
    let dump = shown.dump;
    let soft = part(&mut shown.problems, dump.soft_errors());
    let mut missing: Vec<(String, String)> = entries(soft.as_ref(), "missing");
    if let Some(losses) = part(&mut shown.problems, dump.iter_losses().map(Some)) {
        for loss in losses.take(MOST_ENTRIES as usize).flatten() {
            let end = loss.start.saturating_add(loss.length);
            missing.push((
                format!("memory {:#x}-{end:#x}", loss.start),
                loss.reason.to_string(),
            ));
        }
    }
    missing
}

/// What the dump lacks. Equal reasons are one line.
fn missing(lines: &mut Vec<String>, shown: &mut ShownDump<'_>) {
    let missing = lacking(shown);
    if missing.is_empty() {
        row(lines, "missing", "nothing");
        return;
    }
    let merged = merged(
        missing
            .iter()
            .map(|(subject, reason)| (subject.as_str(), reason.as_str())),
    );
    for (number, line) in merged.iter().take(MISSING).enumerate() {
        let label = if number == 0 { "missing" } else { "" };
        let text = cut(&printable(line), WIDTH - 12);
        lines.push(format!("  {DIM}{label:<9}{DIM:#} {ALARM}{text}{ALARM:#}"));
    }
    if let Some(more) = merged.len().checked_sub(MISSING).filter(|more| *more > 0) {
        row(
            lines,
            "",
            &format!("and {more} more: dumpwright show {} losses", shown.file),
        );
    }
}

/// Returns the subjects and reasons of the soft errors with this severity. Those of other writers
/// have another form and count as missing.
pub(in crate::cli::show) fn entries(
    soft: Option<&serde_json::Value>,
    severity: &str,
) -> Vec<(String, String)> {
    let list = soft.and_then(serde_json::Value::as_array);
    let entries = list.into_iter().flatten().filter_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(serde_json::Value::as_str);
        match (text("severity"), text("subject"), text("reason")) {
            (Some(found), Some(subject), Some(reason)) => {
                (found == severity).then(|| (subject.to_owned(), reason.to_owned()))
            }
            _ => (severity == "missing").then(|| ("report of the writer".to_owned(), entry.to_string())),
        }
    });
    entries.collect()
}

/// The threads, in at most `room` lines.
fn threads(lines: &mut Vec<String>, shown: &mut ShownDump<'_>, room: usize) {
    let mut walker = StackWalker::new(shown.dump, &shown.modules, shown.folders);
    let (groups, left) = stacks::groups(shown.dump, &mut walker, &mut shown.problems);
    let count: usize = groups.iter().map(|group| group.threads.len()).sum();
    let title = stacks::title(count as u64 + left, groups.len());
    lines.push(format!("{HEADING}{title}{HEADING:#}"));
    let unread = stacks::unread(&walker);
    let room = room.saturating_sub(1 + unread.len());
    let whole = |group: &Group| stacks::vertical(&walker, &group.trace, FRAMES);
    let brief = |group: &Group| stacks::compact(&walker, &group.trace);
    let all_whole: Vec<_> = groups.iter().take(LINES).map(whole).collect();
    let needed: usize = all_whole.iter().map(|lines| lines.len() + 1).sum();
    let shows_all = groups.len() <= LINES && needed <= room && left == 0;
    let mut used = 0;
    let mut shown_threads = 0;
    let mut shown_groups = 0;
    for (number, group) in groups.iter().enumerate() {
        let is_first = number == 0 && group.activity <= Activity::Other;
        let (mut heading, width) = stacks::heading(group);
        let mut stack = match shows_all || is_first {
            true => whole(group),
            false => brief(group),
        };
        if let ([line], false) = (&*stack, shows_all || is_first)
            && width + line.chars().count() <= WIDTH
        {
            // There is room next to the heading.
            heading.push_str(line);
            stack.clear();
        }
        // The last line says how many others there are.
        let is_last = number + 1 == groups.len() && left == 0;
        let needed = 1 + stack.len() + usize::from(!is_last);
        if used + needed > room {
            break;
        }
        used += 1 + stack.len();
        shown_groups += 1;
        shown_threads += group.threads.len() as u64;
        lines.push(heading);
        lines.extend(stack);
    }
    let others = count as u64 + left - shown_threads;
    if others > 0 {
        let stacks = stacks::count(groups.len() - shown_groups, "other stack");
        let threads = if others == 1 { "thread" } else { "threads" };
        lines.push(format!("  and {} {threads} with {stacks}", thousands(others)));
    }
    lines.extend(unread);
}

/// How to go on.
fn footer(file: &str, dump: &Dump) -> Vec<String> {
    let quoted = quoted(file);
    let mut views = vec!["threads", "modules", "memory"];
    if dump.iter_handles().is_ok_and(|list| !list.is_empty()) {
        views.push("handles");
    }
    let views: Vec<String> = views.into_iter().map(str::to_owned).collect();
    let mut lines = wrapped(
        &views,
        "|",
        &format!("More: dumpwright show {quoted} "),
        usize::MAX,
        1,
    );
    lines.push(format!("      lldb -c {quoted} -o 'bt all'"));
    lines
}

/// Returns a file name as a shell needs it.
fn quoted(name: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+=:@%,\\".contains(letter);
    let name = printable(name);
    if !name.is_empty() && name.chars().all(is_plain) {
        return name.into_owned();
    }
    format!("'{}'", name.replace('\'', "'\\''"))
}

/// Formats a number of seconds in the one or two largest units.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, ..) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch texts that people or shells would read otherwise.

    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn names_are_quoted_for_shells() {
        assert_eq!(quoted("a/b-1.dmp"), "a/b-1.dmp");
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }
}
