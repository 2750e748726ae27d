//! The data that the system keeps inside the process about its threads and the process itself (type
//! 0x100).

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Memory, MemoryExt, Platform};

use super::{Snapshot, image};
use crate::DumpType;
use crate::protocol::ProcessBlocks;

/// Returns the blocks of threads and of the process that the type asks for.
pub(super) fn ranges(memory: &mut dyn Memory, snapshot: &Snapshot) -> Vec<AddressRange> {
    let pointer = snapshot.facts.pointer_size();
    let wanted = snapshot
        .threads
        .kept()
        .iter()
        .filter(|kept| kept.thread.teb != 0 && kept.flags.contains(ThreadWriteFlags::THREAD_DATA));
    let blocks: Vec<_> = wanted.map(|kept| kept.thread.teb).collect();
    let is_reduced = snapshot.terms.dump_type.contains(DumpType::WITHOUT_OPTIONAL_DATA);
    let keeps_whole = is_reduced && snapshot.terms.profile.keeps_thread_blocks_in_triage();
    if snapshot.terms.dump_type.contains(DumpType::FILTER_TRIAGE) && !keeps_whole {
        // Only the first word of each thread's block, like DbgHelp 6.3.9600.
        return blocks
            .into_iter()
            .filter_map(|block| AddressRange::at(block, pointer))
            .collect();
    }
    let is_windows = snapshot.facts.platform() == Some(Platform::WindowsNt);
    if is_windows {
        let system = match pointer {
            4 => WINDOWS_32,
            _ => windows_64(snapshot.terms.profile.process_blocks()),
        };
        let mut ranges = system.blocks(memory, &blocks, is_reduced);
        let arrays = blocks
            .iter()
            .map(|teb| teb.saturating_add(system.teb_tls_pointer));
        let arrays: Vec<_> = arrays.filter_map(|at| memory.word(at, pointer).ok()).collect();
        if !snapshot.terms.dump_type.contains(DumpType::FILTER_TRIAGE) {
            ranges.extend(thread_local(memory, snapshot, pointer, &arrays));
        }
        ranges
    } else {
        blocks
            .into_iter()
            .filter_map(|block| linux(block, is_reduced))
            .collect()
    }
}

/// Returns the data that the kernel shares with every Windows process (`KUSER_SHARED_DATA`): times,
/// the version of the system, the features of the processor. Its address and size are those that
/// the DbgHelp of 2026 dumps.
pub(super) fn shared_data() -> AddressRange {
    AddressRange::at(0x7FFE_0000, 0xAA0).expect("some bytes")
}

/// Returns the page that begins at a thread pointer. It contains the thread library's own block (in
/// glibc `struct pthread`, about 2300 bytes). Unless the type is reduced, also returns the page
/// below, where thread-local variables are.
fn linux(thread_pointer: u64, is_reduced: bool) -> Option<AddressRange> {
    const PAGE: u64 = 4096;
    let below = if is_reduced { 0 } else { PAGE };
    AddressRange::new(
        thread_pointer.saturating_sub(below),
        thread_pointer.checked_add(PAGE)?,
    )
}

/// Returns thread-local variables of modules: each thread's array of blocks, up to the highest
/// index that a module uses, and the blocks of the modules whose flags ask for them. DbgHelp
/// 6.3.9600 does the same. This was observed for programs with up to three such modules.
fn thread_local(
    memory: &mut dyn Memory,
    snapshot: &Snapshot,
    pointer: u64,
    arrays: &[u64],
) -> Vec<AddressRange> {
    let mut modules = Vec::new();
    for kept in &snapshot.modules {
        let image = AddressRange::at(kept.module.base, kept.module.size);
        if let Some(variables) = image.and_then(|image| image::thread_local(memory, image)) {
            modules.push((variables, kept.flags.contains(ModuleWriteFlags::TLS_DATA)));
        }
    }
    let Some(last) = modules.iter().map(|(variables, _)| variables.index).max() else {
        return Vec::new();
    };
    let mut ranges = Vec::new();
    for array in arrays.iter().filter(|array| **array != 0) {
        ranges.extend(AddressRange::at(*array, (last + 1) * pointer));
        for (variables, _) in modules.iter().filter(|(_, wanted)| *wanted) {
            let block = array.checked_add(variables.index * pointer);
            let block = block
                .and_then(|at| memory.word(at, pointer).ok())
                .filter(|at| *at != 0);
            ranges.extend(block.and_then(|at| AddressRange::at(at, variables.size)));
        }
    }
    ranges
}

/// Offsets and sizes of Windows' data about a thread and a process. The offsets are those in the
/// public symbols of ntdll.
struct Windows {
    /// The size of a pointer in bytes.
    pointer: u64,
    teb: u64,
    teb_tls_pointer: u64,
    teb_peb: u64,
    teb_fls_data: u64,
    fls_block: u64,
    peb: u64,
    peb_parameters: u64,
    parameters: u64,
    /// The offsets of the strings in the process parameters: current folder, image path, command
    /// line, window title, desktop. `true` means that DbgHelp 6.3.9600 was observed to dump the
    /// whole capacity of the string, with the NUL that follows the text.
    strings: [(u64, bool); 5],
    /// The offset of the address of the characters in a `UNICODE_STRING`.
    string_buffer: u64,
    environment: u64,
}

/// x86-64 Windows. The sizes are those that DbgHelp was observed to dump.
fn windows_64(sizes: ProcessBlocks) -> Windows {
    Windows {
        pointer: 8,
        teb: 0x2000,
        teb_tls_pointer: 0x58,
        teb_peb: 0x60,
        teb_fls_data: 0x17C8,
        fls_block: sizes.fiber_data,
        peb: sizes.peb,
        peb_parameters: 0x20,
        parameters: sizes.parameters,
        strings: [
            (0x38, false),
            (0x60, true),
            (0x70, true),
            (0xB0, false),
            (0xC0, false),
        ],
        string_buffer: 8,
        environment: 0x80,
    }
}

/// 32-bit Windows. The sizes are those of the structures (Windows 7), because no 32-bit DbgHelp has
/// been observed.
const WINDOWS_32: Windows = Windows {
    pointer: 4,
    teb: 0x1000,
    teb_tls_pointer: 0x2C,
    teb_peb: 0x30,
    teb_fls_data: 0xFB4,
    fls_block: 0x208,
    peb: 0x248,
    peb_parameters: 0x10,
    parameters: 0x298,
    strings: [
        (0x24, false),
        (0x38, true),
        (0x40, true),
        (0x70, false),
        (0x78, false),
    ],
    string_buffer: 4,
    environment: 0x48,
};

/// Bytes of the environment that are dumped, as DbgHelp 6.3.9600 does.
const ENVIRONMENT_BYTES: u64 = 0x2000;

impl Windows {
    fn blocks(&self, memory: &mut dyn Memory, tebs: &[u64], is_reduced: bool) -> Vec<AddressRange> {
        let mut ranges = Vec::new();
        let mut follow = |memory: &mut dyn Memory, at: u64, size: u64| {
            let block = memory.word(at, self.pointer).ok().filter(|block| *block != 0)?;
            ranges.extend(AddressRange::at(block, size));
            Some(block)
        };
        let mut peb = None;
        for teb in tebs {
            if !is_reduced {
                follow(memory, teb.saturating_add(self.teb_fls_data), self.fls_block);
            }
            if peb.is_none() {
                peb = follow(memory, teb.saturating_add(self.teb_peb), self.peb);
            }
        }
        let parameters = peb
            .filter(|_| !is_reduced)
            .and_then(|peb| follow(memory, peb.saturating_add(self.peb_parameters), self.parameters));
        if let Some(parameters) = parameters {
            for (offset, with_room) in self.strings {
                // UNICODE_STRING: the low 16 bits are its length in bytes, the next 16 its
                // capacity.
                let at = parameters.saturating_add(offset);
                let length =
                    memory.word(at, self.pointer).unwrap_or(0) >> if with_room { 16 } else { 0 } & 0xFFFF;
                follow(memory, at.saturating_add(self.string_buffer), length);
            }
            follow(
                memory,
                parameters.saturating_add(self.environment),
                ENVIRONMENT_BYTES,
            );
        }
        ranges.extend(tebs.iter().filter_map(|teb| AddressRange::at(*teb, self.teb)));
        ranges
    }
}
