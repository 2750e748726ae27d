//! Prints what the writer reported: the requesting thread, comments, soft errors, and lost memory.

use std::io::{self, Write};

use dumpwright::read::{Dump, List, Loss, ReadError};
use dumpwright::target::printable;

use super::words::bytes;
use super::{section, section_of};
use crate::cli::show::part;

pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
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
    // minidump-writer writes the stream even if there were no errors. The list is empty then.
    let soft_errors = part(problems, dump.soft_errors());
    if let Some(errors) = soft_errors.filter(|errors| errors.as_array().is_none_or(|list| !list.is_empty())) {
        section(out, "The writer's soft errors")?;
        for line in format!("{errors:#}").lines() {
            writeln!(out, "  {}", printable(line))?;
        }
    }
    lost_memory(out, dump.iter_losses(), problems)
}

/// Prints the memory that was lost while the dump was written.
pub(super) fn lost_memory(
    out: &mut impl Write,
    losses: Result<List<'_, Loss>, ReadError>,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    section_of(
        out,
        problems,
        losses,
        |len| format!("Memory that was lost ({len} ranges)"),
        |out, loss| {
            let end = loss.start.saturating_add(loss.length);
            let (size, reason) = (bytes(loss.length), loss.reason);
            writeln!(out, "  {:#x} to {end:#x}  {size}, {reason}", loss.start)
        },
    )
}
