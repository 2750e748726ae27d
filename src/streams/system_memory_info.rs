//! SystemMemoryInfo: counters of the machine's memory. They have the second revision (SDK
//! 10.0.26100), like those of the DbgHelp of January 2026.

use dumpwright_target::SystemMemory;

use super::process_vm_counters::write;
use super::{BlockId, PieceBlocks, Plan, Snapshot};

/// `MINIDUMP_SYSMEMINFO1_…`: flags for the parts that are valid.
const FILE_CACHE_TRANSITION: u16 = 1;
const BASIC_PERFORMANCE: u16 = 2;
const DIRTY_PAGES: u16 = 4;
const RESIDENT_PAGES: u16 = 8;
/// The flags of the parts that the second revision adds: two flags, for two numbers each.
const KERNEL_PAGES: u16 = 0x10 | 0x20;

/// `MINIDUMP_SYSTEM_MEMORY_INFO_2`. Parts that the system does not provide are zero, and their
/// flags are not set.
const REVISION: u16 = 2;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.facts().system_memory().is_some()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let memory = snapshot.facts().system_memory().cloned().unwrap_or_default();
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
    let mut bytes = [REVISION, flags].map(u16::to_le_bytes).concat();
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
    write(&mut bytes, &memory.kernel.clone().unwrap_or_default().numbers());
    bytes
}

/// These tests catch a structure that does not have the size of `MINIDUMP_SYSTEM_MEMORY_INFO_2`,
/// and parts that are marked as valid although they are unknown.
#[cfg(test)]
mod tests {
    use dumpwright_target::KernelPages;

    use super::*;

    #[test]
    fn the_second_revision_is_written_whatever_is_known() {
        let mut memory = SystemMemory::default();
        let head = |memory: &SystemMemory| {
            let bytes = bytes(memory);
            assert_eq!(bytes.len(), 0x20C);
            [bytes[0], bytes[1], bytes[2], bytes[3]]
        };
        assert_eq!(head(&memory), [2, 0, 0, 0]);
        memory.kernel = Some(KernelPages::default());
        assert_eq!(head(&memory), [2, 0, 0x30, 0]);
    }
}
