//! The thread list: contexts and stacks.

use std::collections::HashSet;

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::stream_type;
use super::super::threads::{StackDescriptor, THREAD_EX_SIZE, THREAD_SIZE, ThreadRecord};
use super::{Findings, Rule};

/// Bytes of the two copies of a stack that are held at a time.
const WINDOW: u64 = 64 * 1024;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let list = dump
        .stream(stream_type::THREAD_LIST)
        .map(|entry| (entry, THREAD_SIZE));
    let list = list.or_else(|| Some((dump.stream(stream_type::THREAD_EX_LIST)?, THREAD_EX_SIZE)));
    let Some((entry, size)) = list else {
        return Ok(());
    };
    let Some(threads) = findings.read(Rule::ThreadListSize, dump.thread_records())? else {
        return Ok(());
    };
    let exact = 4 + threads.len() as u64 * size;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{} threads take {exact} bytes, the stream has {}",
            threads.len(),
            entry.size
        );
        findings.add(Rule::ThreadListSize, entry.record_offset, text);
    }
    let mut seen = HashSet::new();
    // Stacks that don't share bytes can't together be longer than the file; what a hostile file has beyond
    // that is not compared.
    let mut comparison_left = dump.len();
    for thread in &threads {
        if !seen.insert(thread.id) {
            let text = format!("a second thread has the id {}", thread.id);
            findings.add(Rule::ThreadIdDuplicate, thread.offset, text);
        }
        context(dump, findings, thread)?;
        stack(dump, findings, thread, &mut comparison_left)?;
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
        &format!("the context of thread {}", thread.id),
        thread.context,
    )
}

fn stack(
    dump: &Dump,
    findings: &mut Findings,
    thread: &ThreadRecord,
    comparison_left: &mut u64,
) -> Result<(), ReadError> {
    let StackDescriptor { start, size, rva } = thread.stack;
    let at = thread.offset + 24;
    let full_memory = dump.stream(stream_type::MEMORY64_LIST).is_some();
    // Full dumps of Microsoft's writer have stacks without offset; readers find them in the Memory64List.
    if size == 0 || (rva == 0 && !full_memory) {
        let text = format!("thread {} has no stack in the file", thread.id);
        findings.add(Rule::ThreadStackMissing, at, text);
        if size == 0 {
            return Ok(());
        }
    }
    let Some(end) = thread.stack.end() else {
        let text = format!(
            "the stack of thread {}, {size} bytes at {start:#x}, wraps",
            thread.id
        );
        findings.add(Rule::ThreadStackWraps, at, text);
        return Ok(());
    };
    let pointer = dump
        .context(dump.cpu(), thread.context)
        .ok()
        .flatten()
        .and_then(|it| it.stack_pointer());
    if let Some(pointer) = pointer
        && !(start..end).contains(&pointer)
    {
        let text = format!(
            "thread {} has its stack pointer at {pointer:#x}, its stack at {start:#x} to {end:#x}",
            thread.id
        );
        findings.add(Rule::StackPointerOutside, at, text);
    }
    if rva == 0 {
        return Ok(());
    }
    if !dump.holds(rva.into(), size.into()) {
        let text = format!(
            "the stack of thread {}, {size} bytes at {rva:#x}, is not in the file",
            thread.id
        );
        findings.add(Rule::ThreadStackOutsideFile, at + 12, text);
        return Ok(());
    }
    let Ok(memory) = dump.memory_map() else {
        return Ok(());
    }; // damage to the lists has its own rules
    let Some(listed) = memory.locate(start, size.into()) else {
        // A dump without memory lists, and memory that was lost, have their own rules.
        let no_list = dump.stream(stream_type::MEMORY_LIST).is_none() && !full_memory;
        if no_list || memory.losses_touch(start, size.into()) {
            return Ok(());
        }
        let text = format!(
            "the stack of thread {}, {start:#x} to {end:#x}, is not in the memory list",
            thread.id
        );
        findings.add(Rule::ThreadStackUnlisted, at, text);
        return Ok(());
    };
    let mut own = u64::from(rva);
    for (offset, length) in listed {
        if own != offset && dump.holds(offset, length) && *comparison_left >= length {
            *comparison_left -= length;
            if let Some(differs) = first_difference(dump, own, offset, length)? {
                let text = format!(
                    "the stack of thread {} and the memory list have different bytes for {:#x}",
                    thread.id,
                    start + (own - u64::from(rva)) + differs
                );
                findings.add(Rule::ThreadStackDiffers, own + differs, text);
                return Ok(());
            }
        }
        own += length;
    }
    Ok(())
}

/// How far into two pieces of the file their bytes are the same; `None` if they are to the end.
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
