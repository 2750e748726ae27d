//! Rules about the loss trailer.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::losses::{Loss, LossReason};
use super::super::memory::{MemoryMap, MemoryPlace};
use super::{CheckOptions, Findings, Level, Rule};

/// The byte that the file contains in place of lost memory.
const FILL: u8 = 0xDD;
/// The byte in place of a range that was lost long after the process was resumed.
const LATE_FILL: u8 = 0;
/// The maximum number of bytes of lost memory that are read. Zeros may be holes in a file of any
/// size.
const MOST_COMPARED: u64 = 1 << 30;
/// The number of bytes of lost memory that are read at a time.
const WINDOW: u64 = 64 * 1024;

pub(super) fn check(dump: &Dump, options: CheckOptions, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(losses) = findings.read(Rule::LossTrailerMalformed, dump.losses())? else {
        return Ok(());
    };
    if losses.is_empty() {
        return Ok(());
    }
    // There are other rules for memory lists that cannot be read.
    let Ok(ranges) = dump.memory_ranges() else {
        return Ok(());
    };
    // The map is created without losses, so that it contains the file offsets of lost bytes too.
    let map = MemoryMap::new(&ranges, &[], Vec::new());
    // The number of bytes that may still be compared. Losses that do not overlap are not longer
    // than the file in total; more is compared only in hostile files.
    let mut left = dump.len().min(MOST_COMPARED);
    for Loss {
        record_offset,
        start,
        length,
        reason,
    } in losses
    {
        let severity = if options.expect_losses {
            Level::Warning
        } else {
            Rule::MemoryLost.severity()
        };
        let text = format!("{length} bytes at {start:#x} were lost: {reason}");
        findings.add_as(severity, Rule::MemoryLost, record_offset, text);
        // Compressed memory has no bytes in place of lost memory.
        if dump.compressed_memory_entry().is_some() {
            continue;
        }
        let Some(pieces) = (length != 0).then(|| map.locate(start, length)).flatten() else {
            let text = format!("the lost {length} bytes at {start:#x} are not in the memory list");
            findings.add(Rule::LossOutsideMemory, record_offset, text);
            continue;
        };
        let mut fills = match reason {
            LossReason::TargetResumed => vec![FILL, LATE_FILL],
            _ => vec![FILL],
        };
        for (place, size) in pieces {
            let MemoryPlace::File(offset) = place else {
                continue;
            };
            // There is another rule for memory outside the file. Here, it counts as one byte.
            let is_held = dump.holds(offset, size);
            let Some(rest) = left.checked_sub(if is_held { size } else { 1 }) else {
                break;
            };
            left = rest;
            if !is_held {
                continue;
            }
            if let Some(at) = first_unfilled(dump, offset, size, &mut fills)? {
                let text = format!("the lost range at {start:#x} contains other bytes than the filler");
                findings.add(Rule::LossNotFilled, at, text);
                break;
            }
        }
    }
    Ok(())
}

/// Returns the file offset of the first byte that is not the filler. `fills` are the possible ones,
/// of which those remain that the range has.
fn first_unfilled(
    dump: &Dump,
    offset: u64,
    size: u64,
    fills: &mut Vec<u8>,
) -> Result<Option<u64>, ReadError> {
    let mut done = 0;
    while done < size {
        let now = WINDOW.min(size - done);
        let bytes = dump.bytes("lost memory", offset + done, now)?;
        if let Some(first) = bytes.first() {
            fills.retain(|fill| fill == first);
        }
        if let Some(at) = bytes.iter().position(|byte| Some(byte) != fills.first()) {
            return Ok(Some(offset + done + at as u64));
        }
        done += now;
    }
    Ok(None)
}
