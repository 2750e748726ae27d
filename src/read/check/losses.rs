//! The loss trailer.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::losses::Loss;
use super::super::memory::MemoryMap;
use super::{CheckOptions, Findings, Rule, Severity};

/// What a lost byte holds.
const FILL: u8 = 0xDD;
const WINDOW: u64 = 64 * 1024;

pub(super) fn check(dump: &Dump, options: CheckOptions, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(losses) = findings.read(Rule::LossTrailerMalformed, dump.losses())? else {
        return Ok(());
    };
    let Ok(ranges) = dump.memory_ranges() else {
        return Ok(());
    }; // has its own rules
    // As if nothing had been lost: this map shows where the file keeps the place of lost bytes.
    let map = MemoryMap::new(&ranges, Vec::new());
    // Losses that don't overlap can't be longer than the file.
    let mut left = dump.len();
    for Loss {
        record_offset,
        start,
        length,
        reason,
    } in losses
    {
        let severity = if options.expect_losses {
            Severity::Warning
        } else {
            Rule::MemoryLost.severity()
        };
        let text = format!("{length} bytes at {start:#x} were lost: {reason}");
        findings.add_as(severity, Rule::MemoryLost, record_offset, text);
        let Some(pieces) = (length != 0).then(|| map.locate(start, length)).flatten() else {
            let text = format!("the loss of {length} bytes at {start:#x} is not in the memory list");
            findings.add(Rule::LossOutsideMemory, record_offset, text);
            continue;
        };
        for (offset, size) in pieces {
            if !dump.holds(offset, size) || left < size {
                continue;
            }
            left -= size;
            if let Some(at) = first_unfilled(dump, offset, size)? {
                let text = format!("the lost range at {start:#x} holds other bytes than {FILL:#x}");
                findings.add(Rule::LossNotFilled, at, text);
                break;
            }
        }
    }
    Ok(())
}

fn first_unfilled(dump: &Dump, offset: u64, size: u64) -> Result<Option<u64>, ReadError> {
    let mut done = 0;
    while done < size {
        let now = WINDOW.min(size - done);
        let bytes = dump.bytes("lost memory", offset + done, now)?;
        if let Some(at) = bytes.iter().position(|byte| *byte != FILL) {
            return Ok(Some(offset + done + at as u64));
        }
        done += now;
    }
    Ok(None)
}
