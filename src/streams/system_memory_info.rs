//! SystemMemoryInfo: the machine's memory, in the first revision or, where more is known, in the second.

use dumpwright_target::{KernelPages, SystemMemory};

use super::process_vm_counters::write;
use super::{BlockId, Pieces, Plan, Snapshot};

/// `MINIDUMP_SYSMEMINFO1_…`: which parts are valid.
const FILE_CACHE_TRANSITION: u16 = 1;
const BASIC_PERFORMANCE: u16 = 2;
const DIRTY_PAGES: u16 = 4;
const RESIDENT_PAGES: u16 = 8;
/// Two flags, for two numbers each.
const KERNEL_PAGES: u16 = 0x10 | 0x20;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.system_memory.is_some()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let memory = snapshot.system_memory.clone().unwrap_or_default();
    plan.bytes(bytes(&memory))
}

fn bytes(memory: &SystemMemory) -> Vec<u8> {
    let flags = [
        (memory.file_cache_transition.is_some(), FILE_CACHE_TRANSITION),
        (memory.basic_performance.is_some(), BASIC_PERFORMANCE),
        (memory.dirty.is_some(), DIRTY_PAGES),
        (memory.resident.is_some(), RESIDENT_PAGES),
        (memory.kernel.is_some(), KERNEL_PAGES),
    ];
    let flags = flags
        .into_iter()
        .filter(|(known, _)| *known)
        .fold(0, |flags, (_, flag)| flags | flag);
    let revision: u16 = if memory.kernel.is_some() { 2 } else { 1 };
    let mut bytes = [revision, flags].map(u16::to_le_bytes).concat();
    write(&mut bytes, &memory.basic.numbers());
    write(&mut bytes, &memory.file_cache.numbers());
    write(
        &mut bytes,
        &memory.file_cache_transition.clone().unwrap_or_default().numbers(),
    );
    write(
        &mut bytes,
        &memory.basic_performance.clone().unwrap_or_default().numbers(),
    );
    write(&mut bytes, &memory.performance.numbers());
    write(&mut bytes, &memory.dirty.clone().unwrap_or_default().numbers());
    write(&mut bytes, &memory.resident.clone().unwrap_or_default().numbers());
    write(
        &mut bytes,
        &memory
            .kernel
            .as_ref()
            .map(KernelPages::numbers)
            .unwrap_or_default(),
    );
    bytes
}

/// What this test would catch: a structure of another size than `MINIDUMP_SYSTEM_MEMORY_INFO_1` has.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_revisions_have_windows_sizes() {
        let mut memory = SystemMemory::default();
        assert_eq!(bytes(&memory).len(), 492);
        memory.kernel = Some(KernelPages::default());
        assert_eq!(bytes(&memory).len(), 524);
    }
}
