//! Prints stack traces. Threads with equal stacks are shown once.

use std::collections::HashMap;
use std::io::{self, Write};

use dumpwright::read::{Context, Dump};
use dumpwright::target::printable;

use super::more;
use super::section;
use super::words::{cut, wrapped};
use crate::cli::print::{ALARM, DIM, HEADING};
use crate::cli::show::part;
use crate::cli::stack::{BinaryState, StackEnd, StackTrace, StackWalker, TraceFrame, short};

/// The maximum number of frames of one thread.
pub(in crate::cli::show) const MOST_FRAMES: usize = 10_000;
/// The maximum number of threads whose stacks are walked. No text with more is read by a person.
pub(in crate::cli::show) const MOST_STACKS: usize = 20_000;
/// The width of the output in columns.
pub(super) const WIDTH: usize = 100;

/// Threads with equal stacks.
pub(in crate::cli::show) struct Group {
    /// The ids and the names.
    pub(in crate::cli::show) threads: Vec<(u32, Option<String>)>,
    pub(in crate::cli::show) activity: Activity,
    pub(in crate::cli::show) trace: StackTrace,
}

/// What the threads of a group do, as far as the names of functions tell. The order is that in
/// which groups are of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli::show) enum Activity {
    /// The exception occurred here.
    Crashed,
    /// It waits for a lock that another thread has.
    Lock,
    /// It runs, or waits for something unusual.
    Other,
    /// It waits for work, time or input.
    Idle,
    /// Its registers are not in the dump.
    Unknown,
}

impl Activity {
    /// Returns what it is in words. Empty if there is nothing to say.
    pub(in crate::cli::show) fn note(self) -> &'static str {
        match self {
            Self::Crashed => "the exception",
            Self::Lock => "waiting for a lock",
            Self::Idle => "waiting",
            Self::Other | Self::Unknown => "",
        }
    }
}

/// Names of functions in which threads wait for a lock.
const LOCKS: &[&str] = &[
    "pthread_mutex_lock",
    "pthread_rwlock_rdlock",
    "pthread_rwlock_wrlock",
    "pthread_spin_lock",
    "__lll_lock_wait",
    "lll_lock_wait",
    "lock_contended",
    "write_contended",
    "read_contended",
    "sync.(*Mutex).lockSlow",
    "sync.(*RWMutex).Lock",
    "RtlEnterCriticalSection",
    "RtlAcquireSRWLockExclusive",
    "RtlAcquireSRWLockShared",
];

/// Names of functions in which threads wait for work, time or input.
const WAITS: &[&str] = &[
    "accept",
    "accept4",
    "clock_nanosleep",
    "epoll_pwait",
    "epoll_wait",
    "futex_abstimed_wait_cancelable64",
    "futex_abstimed_wait_common",
    "futex_abstimed_wait_common64",
    "internal_syscall_cancel",
    "nanosleep",
    "NtDelayExecution",
    "NtRemoveIoCompletion",
    "NtWaitForMultipleObjects",
    "NtWaitForSingleObject",
    "NtWaitForWorkViaWorkerFactory",
    "pause",
    "poll",
    "ppoll",
    "pselect",
    "pthread_barrier_wait",
    "pthread_clockjoin_np",
    "pthread_cond_clockwait",
    "pthread_cond_timedwait",
    "pthread_cond_wait",
    "pthread_join",
    "read",
    "recv",
    "recvfrom",
    "recvmsg",
    "select",
    "sem_clockwait",
    "sem_timedwait",
    "sem_wait",
    "sigsuspend",
    "sigtimedwait",
    "sigwait",
    "sigwaitinfo",
    "sleep",
    "syscall",
    "syscall_cancel",
    "syscall_cancel_arch",
    "usleep",
    "wait",
    "wait4",
    "waitid",
    "waitpid",
];

/// The beginnings of names of functions that start a thread or a program, and that are at the end
/// of every stack.
const STARTS: &[&str] = &[
    "BaseThreadInitThunk",
    "RtlUserThreadStart",
    "__clone",
    "__libc_start",
    "_start",
    "clone",
    "core::ops::function::FnOnce::call_once",
    "<alloc::boxed::Box<",
    "<std::",
    "main::{{closure}}",
    "runtime.goexit",
    "runtime.main",
    "runtime.mcall",
    "start_thread",
    "std::panic::catch_unwind",
    "std::panicking::",
    "std::rt::",
    "std::sys::",
    "std::thread::",
    "thread_start",
    "void std::__invoke",
    "std::__invoke",
    "std::thread::_",
];

/// Walks all stacks and groups the threads. The most interesting group is the first. Also returns
/// the number of threads whose stacks were not walked.
pub(in crate::cli::show) fn groups(
    dump: &Dump,
    walker: &mut StackWalker<'_>,
    problems: &mut Vec<String>,
) -> (Vec<Group>, u64) {
    let exception = dump.exception().ok().flatten();
    let crashed = exception.as_ref().map(|exception| exception.thread_id);
    let Some(list) = part(problems, dump.iter_threads().map(Some)) else {
        return (Vec::new(), 0);
    };
    let left = list.len().saturating_sub(MOST_STACKS as u64);
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for thread in list.take(MOST_STACKS) {
        let thread = match thread {
            Ok(thread) => thread,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let has_crashed = crashed == Some(thread.id);
        // Of the thread that crashed, the registers of that moment count, not those of its handler.
        let context: Option<&Context> = match (has_crashed, &exception) {
            (true, Some(exception)) => exception.context.as_ref().or(thread.context.as_ref()),
            _ => thread.context.as_ref(),
        };
        let trace = walker.trace(context, MOST_FRAMES);
        let rows = rows(walker, &trace);
        let key = rows
            .iter()
            .flat_map(|row| [row.text.as_str(), "\n"])
            .collect::<String>();
        let entry = (thread.id, thread.name);
        match known.get(&key).filter(|_| !has_crashed) {
            Some(index) => groups[*index].threads.push(entry),
            None => {
                let activity = match has_crashed {
                    true => Activity::Crashed,
                    false => activity(&trace),
                };
                if !has_crashed {
                    known.insert(key, groups.len());
                }
                groups.push(Group {
                    threads: vec![entry],
                    activity,
                    trace,
                });
            }
        }
    }
    // On Linux, the first thread has the id of the process. The sort is stable: of equal groups,
    // the older threads come first.
    let process = dump.misc_info().ok().flatten().and_then(|misc| misc.process_id);
    groups.sort_by_key(|group| {
        let is_first = group.threads.iter().any(|(id, _)| Some(*id) == process);
        (group.activity, !is_first, std::cmp::Reverse(group.threads.len()))
    });
    (groups, left)
}

/// Returns what a thread with this stack does.
fn activity(trace: &StackTrace) -> Activity {
    if trace.frames.is_empty() {
        return Activity::Unknown;
    }
    let names = trace
        .frames
        .iter()
        .take(12)
        .filter_map(|frame| frame.function.as_ref());
    let mut names = names.map(|(name, _)| name.as_ref());
    let mut first = true;
    // Locks are taken deep below the functions that wait in the kernel.
    let mut is_waiting = false;
    for name in names.by_ref().take(6) {
        if LOCKS.iter().any(|lock| name.ends_with(lock)) {
            return Activity::Lock;
        }
        let plain = name.trim_start_matches('_');
        let plain = plain.strip_prefix("libc_").unwrap_or(plain);
        is_waiting |= first && WAITS.contains(&plain);
        first = false;
    }
    if is_waiting {
        Activity::Idle
    } else {
        Activity::Other
    }
}

/// A frame, or several equal ones that follow each other, as text.
pub(in crate::cli::show) struct Row {
    /// The function, or the place in the module.
    pub(in crate::cli::show) text: String,
    pub(in crate::cli::show) module: Option<usize>,
    /// The number of the first of these frames.
    pub(in crate::cli::show) number: usize,
    pub(in crate::cli::show) count: usize,
    pub(in crate::cli::show) is_named: bool,
}

/// Returns the frames as text. Frames of one function that follow each other are one row.
pub(in crate::cli::show) fn rows(walker: &StackWalker<'_>, trace: &StackTrace) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (number, frame) in trace.frames.iter().enumerate() {
        let text = label(walker, frame);
        if let Some(last) = rows.last_mut()
            && last.text == text
            && last.module == frame.module
        {
            last.count += 1;
            continue;
        }
        rows.push(Row {
            text,
            module: frame.module,
            number,
            count: 1,
            is_named: frame.function.is_some(),
        });
    }
    rows
}

/// Returns the function, or the place in the module, or the address.
fn label(walker: &StackWalker<'_>, frame: &TraceFrame) -> String {
    if let Some((name, _)) = &frame.function {
        return printable(name).into_owned();
    }
    match frame.module {
        Some(index) => {
            let offset = frame.address.wrapping_sub(walker.modules()[index].base);
            format!("{}+{offset:#x}", module_name(walker, index))
        }
        None => format!("{:#x}", frame.address),
    }
}

pub(in crate::cli::show) fn module_name(walker: &StackWalker<'_>, index: usize) -> String {
    let name = walker.modules()[index].file_name().unwrap_or("?");
    cut(&printable(name), 40)
}

/// Returns the lines of a stack, one frame each, at most `most` of them.
pub(super) fn vertical(walker: &StackWalker<'_>, trace: &StackTrace, most: usize) -> Vec<String> {
    let rows = rows(walker, trace);
    let mut lines = Vec::new();
    for row in rows.iter().take(most) {
        let module = match row.module {
            Some(index) if row.is_named => format!(" in {}", module_name(walker, index)),
            _ => String::new(),
        };
        let times = match row.count {
            1 => String::new(),
            count => format!(" ({count} calls)"),
        };
        let head = format!("    #{:<3} ", row.number);
        let room = WIDTH - head.chars().count() - module.chars().count() - times.chars().count();
        lines.push(format!("{head}{}{times}{module}", cut(&row.text, room)));
    }
    if let Some(next) = rows.get(most) {
        lines.push(format!(
            "    and {} more",
            count(trace.frames.len() - next.number, "frame")
        ));
    } else if let Some(note) = end(trace) {
        lines.push(format!("    {note}"));
    }
    lines
}

/// Returns why a stack may have more frames, if it may.
pub(in crate::cli::show) fn end(trace: &StackTrace) -> Option<&'static str> {
    match trace.end {
        StackEnd::Whole => None,
        StackEnd::Lost if trace.frames.len() < 2 => Some("(its caller was not found)"),
        StackEnd::Lost => None,
        StackEnd::Limit => Some("(there may be more frames)"),
        StackEnd::Unsupported if trace.frames.is_empty() => Some("(no registers)"),
        StackEnd::Unsupported => Some("(stacks of this processor are not walked)"),
    }
}

/// Returns a stack in one or two lines: the names of the functions, innermost first. Functions that
/// are part of every stack are left out.
pub(super) fn compact(walker: &StackWalker<'_>, trace: &StackTrace) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows(walker, trace) {
        let name = match row.module {
            Some(index) if !row.is_named => format!("[{}]", module_name(walker, index)),
            _ => cut(&short(&row.text), 60),
        };
        let is_start = STARTS.iter().any(|start| {
            row.text
                .trim_start_matches('_')
                .starts_with(start.trim_start_matches('_'))
        });
        if is_start && row.is_named && row.number > 0 {
            continue;
        }
        match row.count {
            1 if names.last() == Some(&name) => {}
            1 => names.push(name),
            count => names.push(format!("{name} ({count} calls)")),
        }
    }
    if names.is_empty() {
        let why = end(trace).unwrap_or("(no frames)");
        return vec![format!("    {why}")];
    }
    wrapped(&names, " ← ", "    ", WIDTH, 2)
}

/// Returns the heading of a group (the ids and names of its threads, and what they do) and its
/// width.
pub(super) fn heading(group: &Group) -> (String, usize) {
    let note = group.activity.note();
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("  ({note})")
    };
    let named = |(id, name): &(u32, Option<String>)| match name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{id} {}", cut(&printable(name), 32)),
        None => id.to_string(),
    };
    let head = match group.threads.len() {
        1 => "  thread ".to_owned(),
        count => format!("  {count} threads: "),
    };
    let room = WIDTH - note.chars().count();
    let mut text = head;
    for (number, thread) in group.threads.iter().enumerate() {
        let separator = if number == 0 { "" } else { ", " };
        let next = format!("{separator}{}", named(thread));
        let is_last = number + 1 == group.threads.len();
        let needed = next.chars().count() + if is_last { 0 } else { 3 };
        if number > 0 && text.chars().count() + needed > room {
            text.push_str(", …");
            break;
        }
        text.push_str(&next);
    }
    let text = cut(&text, room);
    let width = text.chars().count() + note.chars().count();
    let styled = match group.activity {
        Activity::Crashed => format!("{ALARM}{text}{note}{ALARM:#}"),
        _ => format!("{HEADING}{text}{HEADING:#}{DIM}{note}{DIM:#}"),
    };
    (styled, width)
}

/// Prints all groups with their whole stacks.
pub(super) fn all(
    out: &mut impl Write,
    dump: &Dump,
    walker: &mut StackWalker<'_>,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let (groups, left) = groups(dump, walker, problems);
    let threads: usize = groups.iter().map(|group| group.threads.len()).sum();
    let threads = threads as u64 + left;
    section(out, &title(threads, groups.len()))?;
    for group in &groups {
        writeln!(out, "\n{}", heading(group).0)?;
        for line in vertical(walker, &group.trace, 200) {
            writeln!(out, "{line}")?;
        }
    }
    more(out, left)?;
    unread_binaries(out, walker)
}

pub(in crate::cli::show) fn title(threads: u64, stacks: usize) -> String {
    match (threads, stacks) {
        (0, _) => "Threads (0)".to_owned(),
        (1, _) => "Threads (1)".to_owned(),
        (threads, 1) => format!("Threads ({threads}, all with the same stack)"),
        (threads, stacks) => format!("Threads ({threads} with {stacks} different stacks)"),
    }
}

/// Prints a stack with the addresses and the stack pointers.
pub(super) fn in_detail(
    out: &mut impl Write,
    walker: &StackWalker<'_>,
    trace: &StackTrace,
) -> io::Result<()> {
    for (number, frame) in trace.frames.iter().enumerate() {
        let module = match (frame.module, &frame.function) {
            (Some(index), Some((_, offset))) => format!("+{offset:#x} in {}", module_name(walker, index)),
            (None, Some((_, offset))) => format!("+{offset:#x}"),
            _ => String::new(),
        };
        let label = label(walker, frame);
        writeln!(
            out,
            "    #{number:<3} {:016x} sp {:016x}  {label}{module}",
            frame.address, frame.stack_pointer
        )?;
    }
    match end(trace) {
        Some(note) => writeln!(out, "    {note}"),
        None => Ok(()),
    }
}

/// Prints which binaries would give more names.
pub(super) fn unread_binaries(out: &mut impl Write, walker: &StackWalker<'_>) -> io::Result<()> {
    for line in unread(walker) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Returns at most two lines that say which binaries would give more names.
pub(in crate::cli::show) fn unread(walker: &StackWalker<'_>) -> Vec<String> {
    let names = |wanted: BinaryState| -> Vec<String> {
        let states = walker.binaries().iter().enumerate();
        let found = states.filter(|(_, state)| **state == wanted);
        found
            .map(|(index, _)| module_name(walker, index))
            .filter(|name| !name.contains("vdso") && !name.contains("linux-gate"))
            .collect()
    };
    let mut lines = Vec::new();
    for (state, text) in [
        (BinaryState::Absent, "not on this machine (see --binaries)"),
        (
            BinaryState::Other,
            "another build on this machine (see --binaries)",
        ),
    ] {
        let names = names(state);
        if !names.is_empty() {
            let head = format!("No function names, because the file is {text}: ");
            lines.push(cut(&format!("{head}{}", names.join(", ")), WIDTH));
        }
    }
    lines
}

/// Returns a number with its noun.
pub(in crate::cli::show) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
