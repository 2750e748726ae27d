//! Rules about the thread list, the contexts and the stacks.

use std::collections::HashSet;

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::list::List;
use super::super::memory::{MemoryMap, MemoryPlace};
use super::super::stream_type;
use super::super::threads::{StackDescriptor, THREAD_EX_SIZE, THREAD_SIZE, ThreadRecord};
use super::{Findings, Rule};

/// The number of bytes of the two copies of a stack that are compared at a time.
const WINDOW: u64 = 64 * 1024;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let list = dump
        .stream(stream_type::THREAD_LIST)
        .map(|entry| (entry, THREAD_SIZE));
    let list = list.or_else(|| Some((dump.stream(stream_type::THREAD_EX_LIST)?, THREAD_EX_SIZE)));
    let Some((entry, size)) = list else {
        return Ok(());
    };
    let records = dump.thread_records();
    let count = records.as_ref().map_or(0, List::len);
    let Some(threads) = findings.list(Rule::ThreadListSize, records)? else {
        return Ok(());
    };
    let exact = 4 + count * size;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{count} threads take {exact} bytes, but the stream has {}",
            entry.size
        );
        findings.add_size(Rule::ThreadListSize, entry, exact, text);
    }
    let mut seen = HashSet::new();
    // The number of bytes that may still be compared. Stacks that do not overlap are not longer
    // than the file in total, and have at most one piece for each byte. In a hostile file, stacks
    // may overlap; what exceeds the limit is not compared.
    let mut left = dump.len();
    // There are other rules for memory lists that cannot be read or are too long.
    let memory = dump.memory_map().ok();
    for thread in threads {
        let thread = &thread?;
        if !seen.insert(thread.id) {
            let text = format!("more than one thread has the id {}", thread.id);
            findings.add(Rule::ThreadIdDuplicate, thread.offset, text);
        }
        context(dump, findings, thread)?;
        stack(dump, findings, thread, memory, &mut left)?;
    }
    Ok(())
}

fn context(dump: &Dump, findings: &mut Findings, thread: &ThreadRecord) -> Result<(), ReadError> {
    if !thread.context.is_present() {
        let text = format!("thread {} has no context", thread.id);
        findings.add(Rule::ThreadContextMissing, thread.offset + 40, text);
        return Ok(());
    }
    findings.check_context(
        dump,
        format_args!("the context of thread {}", thread.id),
        thread.context,
    )
}

fn stack(
    dump: &Dump,
    findings: &mut Findings,
    thread: &ThreadRecord,
    memory: Option<&MemoryMap>,
    left: &mut u64,
) -> Result<(), ReadError> {
    let StackDescriptor { start, size, rva } = thread.stack;
    let at = thread.offset + 24;
    let full_memory = dump.stream(stream_type::MEMORY64_LIST).is_some();
    // In full dumps by Microsoft's writer, the offsets of stacks are 0. Readers find the stacks in
    // the Memory64List.
    if size == 0 || (rva == 0 && !full_memory) {
        let text = format!("thread {} has no stack in the file", thread.id);
        findings.add(Rule::ThreadStackMissing, at, text);
        if size == 0 {
            return Ok(());
        }
    }
    let Some(end) = thread.stack.end() else {
        let text = format!(
            "the stack of thread {} has {size} bytes at {start:#x} \
             and extends past the end of the address space",
            thread.id
        );
        findings.add(Rule::ThreadStackWraps, at, text);
        return Ok(());
    };
    let pointer = dump
        .plain_context(dump.cpu(), thread.context)
        .ok()
        .flatten()
        .and_then(|it| it.stack_pointer());
    if let Some(pointer) = pointer
        && !(start..end).contains(&pointer)
    {
        let text = format!(
            "the stack pointer of thread {} is {pointer:#x}, outside its stack from {start:#x} to {end:#x}",
            thread.id
        );
        findings.add(Rule::StackPointerOutside, at, text);
    }
    if rva == 0 {
        return Ok(());
    }
    if !dump.holds(rva.into(), size.into()) {
        let text = format!(
            "the stack of thread {} ({size} bytes at offset {rva:#x}) lies outside the file",
            thread.id
        );
        findings.add(Rule::ThreadStackOutsideFile, at + 12, text);
        return Ok(());
    }
    let Some(memory) = memory else {
        return Ok(());
    };
    let Some(listed) = memory.locate(start, size.into()) else {
        // There are other rules for dumps without a memory list and for lost memory.
        let no_list = dump.stream(stream_type::MEMORY_LIST).is_none() && !full_memory;
        if no_list || memory.losses_touch(start, size.into()) {
            return Ok(());
        }
        let text = format!(
            "the stack of thread {}, from {start:#x} to {end:#x}, is not in the memory list",
            thread.id
        );
        findings.add(Rule::ThreadStackUnlisted, at, text);
        return Ok(());
    };
    let mut own = u64::from(rva);
    for (place, length) in listed {
        let MemoryPlace::File(offset) = place else {
            own += length;
            continue;
        };
        // Pieces that need not be compared also count, because the stacks of many threads may
        // consist of the same long list of pieces.
        let cost = if own == offset { 1 } else { length };
        let Some(rest) = left.checked_sub(cost) else {
            return Ok(());
        };
        *left = rest;
        if own != offset
            && dump.holds(offset, length)
            && let Some(differs) = first_difference(dump, own, offset, length)?
        {
            let text = format!(
                "the stack of thread {} and the memory list have different bytes at address {:#x}",
                thread.id,
                start + (own - u64::from(rva)) + differs
            );
            findings.add(Rule::ThreadStackDiffers, own + differs, text);
            return Ok(());
        }
        own += length;
    }
    Ok(())
}

/// Returns the index of the first byte that differs between two parts of the file, or `None` if
/// they are equal. `a` and `b` are file offsets.
fn first_difference(dump: &Dump, a: u64, b: u64, length: u64) -> Result<Option<u64>, ReadError> {
    let mut done = 0;
    while done < length {
        let now = WINDOW.min(length - done);
        let (one, other) = (
            dump.bytes("a stack", a + done, now)?,
            dump.bytes("a stack", b + done, now)?,
        );
        if let Some(at) = one.iter().zip(&other).position(|(one, other)| one != other) {
            return Ok(Some(done + at as u64));
        }
        done += now;
    }
    Ok(None)
}
