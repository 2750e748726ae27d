//! ProcessVmCounters: counters of the process's memory. They have the second revision if the first
//! one does not have all the fields that are needed.

use dumpwright_target::{JobMemory, Number, PrivateMemory, VirtualSize, VmCounters};

use super::{BlockId, PieceBlocks, Plan, Snapshot};

/// `MINIDUMP_PROCESS_VM_COUNTERS_…`: flags for the parts that are valid.
const BASE: u16 = 1;
const VIRTUAL_SIZE: u16 = 2;
const EX: u16 = 4;
const EX2: u16 = 8;
const JOB: u16 = 0x10;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.facts().vm_counters().is_some()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let counters = snapshot.facts().vm_counters().cloned().unwrap_or_default();
    plan.bytes(bytes(&counters))
}

fn bytes(counters: &VmCounters) -> Vec<u8> {
    let VmCounters {
        virtual_size,
        private,
        job,
        ..
    } = counters;
    let private_usage = [Number::U64(counters.private_usage.unwrap_or(0))];
    let common = counters.working_set.numbers();
    if virtual_size.is_none() && private.is_none() && job.is_none() {
        // In the first revision, padding takes the place of the flags.
        let mut bytes = [1, 0].map(u16::to_le_bytes).concat();
        write(&mut bytes, &common);
        write(&mut bytes, &private_usage);
        return bytes;
    }
    let flags = [
        (true, BASE),
        (virtual_size.is_some(), VIRTUAL_SIZE),
        (counters.private_usage.is_some(), EX),
        (private.is_some(), EX2),
        (job.is_some(), JOB),
    ];
    let flags = flags
        .into_iter()
        .filter(|(known, _)| *known)
        .fold(0, |flags, (_, flag)| flags | flag);
    let mut bytes = [2, flags].map(u16::to_le_bytes).concat();
    write(&mut bytes, &common);
    write(
        &mut bytes,
        &VirtualSize::numbers(&virtual_size.clone().unwrap_or_default()),
    );
    write(&mut bytes, &private_usage);
    write(
        &mut bytes,
        &PrivateMemory::numbers(&private.clone().unwrap_or_default()),
    );
    write(&mut bytes, &JobMemory::numbers(&job.clone().unwrap_or_default()));
    bytes
}

/// Appends numbers without padding: a number of 64 bits may follow one of 32.
pub(super) fn write(bytes: &mut Vec<u8>, numbers: &[Number]) {
    for number in numbers {
        match number {
            Number::U32(value) => bytes.extend(value.to_le_bytes()),
            Number::U64(value) => bytes.extend(value.to_le_bytes()),
        }
    }
}

/// These tests catch a structure that does not have the size of `MINIDUMP_PROCESS_VM_COUNTERS_1` or
/// `…_2`.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_revisions_have_windows_sizes() {
        let mut counters = VmCounters::default();
        assert_eq!(bytes(&counters).len(), 80);
        counters.job = Some(JobMemory::default());
        assert_eq!(bytes(&counters).len(), 152);
    }
}
