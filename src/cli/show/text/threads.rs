//! Prints the threads.

use std::io::{self, Write};

use dumpwright::read::{Dump, List, Module, Thread};

use super::registers;
use super::words::{bytes, name as shown, seconds};
use super::{section, section_of};

pub(super) fn print(
    out: &mut impl Write,
    dump: &Dump,
    modules: &[Module],
    problems: &mut Vec<String>,
) -> io::Result<()> {
    let list = dump.iter_threads();
    if list.as_ref().is_ok_and(List::is_empty) {
        return section(out, "Threads (0)");
    }
    let title = |len| format!("Threads ({len})");
    section_of(out, problems, list, title, |out, thread| {
        self::thread(out, modules, thread)
    })
}

/// Prints a thread with its registers.
pub(super) fn thread(out: &mut impl Write, modules: &[Module], thread: Thread) -> io::Result<()> {
    let name = thread
        .name
        .as_deref()
        .map(|name| format!(" {}", shown(name)))
        .unwrap_or_default();
    writeln!(out, "  thread {}{name}", thread.id)?;
    match &thread.context {
        Some(context) => registers::print(out, modules, context)?,
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
    Ok(())
}
