//! What the system keeps in the process about its threads and about itself (type 0x100).

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Frozen, Platform};

use super::snapshot::pointer_size;
use super::{Snapshot, image};
use crate::DumpType;
use crate::memory::words::word_at;

/// Blocks of threads and of the process, as the type asks for them.
pub(super) fn ranges(frozen: &mut dyn Frozen, snapshot: &Snapshot) -> Vec<AddressRange> {
    let pointer = pointer_size(snapshot.system.as_ref());
    let wanted = snapshot
        .threads
        .iter()
        .filter(|kept| kept.thread.teb != 0 && kept.flags.contains(ThreadWriteFlags::THREAD_DATA));
    let blocks: Vec<_> = wanted.map(|kept| kept.thread.teb).collect();
    let is_reduced = snapshot.dump_type.contains(DumpType::WITHOUT_OPTIONAL_DATA);
    let keeps_whole = is_reduced && snapshot.profile.keeps_thread_blocks_in_triage();
    if snapshot.dump_type.contains(DumpType::FILTER_TRIAGE) && !keeps_whole {
        // Of each thread's block only the first word, as DbgHelp 6.3.9600 does.
        return blocks
            .into_iter()
            .filter_map(|block| AddressRange::at(block, pointer))
            .collect();
    }
    let is_windows = snapshot
        .system
        .as_ref()
        .is_some_and(|system| system.platform == Platform::WindowsNt);
    if is_windows {
        let system = if pointer == 4 { &WINDOWS_32 } else { &WINDOWS_64 };
        let mut ranges = system.blocks(&mut |at| word_at(frozen, at, pointer), &blocks, is_reduced);
        let arrays = blocks
            .iter()
            .map(|teb| teb.saturating_add(system.teb_tls_pointer));
        let arrays: Vec<_> = arrays.filter_map(|at| word_at(frozen, at, pointer)).collect();
        if !snapshot.dump_type.contains(DumpType::FILTER_TRIAGE) {
            ranges.extend(thread_local(frozen, snapshot, pointer, &arrays));
        }
        ranges
    } else {
        blocks
            .into_iter()
            .filter_map(|block| linux(block, is_reduced))
            .collect()
    }
}

/// The page from a thread pointer on, which holds the thread library's own block (glibc: `struct pthread`, some 2300
/// bytes), and unless the type asks for less the page below, where thread-local variables are.
fn linux(thread_pointer: u64, is_reduced: bool) -> Option<AddressRange> {
    const PAGE: u64 = 4096;
    let below = if is_reduced { 0 } else { PAGE };
    AddressRange::new(
        thread_pointer.saturating_sub(below),
        thread_pointer.checked_add(PAGE)?,
    )
}

/// Thread-local variables of modules: each thread's array of blocks, up to the last that a module has, and the blocks of those modules whose flags
/// ask for them. So does DbgHelp 6.3.9600, tried on programs with up to three such modules.
fn thread_local(
    frozen: &mut dyn Frozen,
    snapshot: &Snapshot,
    pointer: u64,
    arrays: &[u64],
) -> Vec<AddressRange> {
    let mut modules = Vec::new();
    for kept in &snapshot.modules {
        let image = AddressRange::at(kept.module.base, kept.module.size);
        if let Some(variables) = image.and_then(|image| image::thread_local(frozen, image)) {
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
                .and_then(|at| word_at(frozen, at, pointer))
                .filter(|at| *at != 0);
            ranges.extend(block.and_then(|at| AddressRange::at(at, variables.size)));
        }
    }
    ranges
}

/// Where Windows keeps what about a thread and a process: offsets as the public symbols of ntdll have them.
struct Windows {
    teb: u64,
    teb_tls_pointer: u64,
    teb_peb: u64,
    teb_fls_data: u64,
    fls_block: u64,
    peb: u64,
    peb_parameters: u64,
    parameters: u64,
    /// Where the process parameters have their strings: current folder, image path, command line, window title, desktop; and of which DbgHelp
    /// 6.3.9600 was seen to take all the room, the NUL behind the text included.
    strings: [(u64, bool); 5],
    /// Where the address of the characters stands in a `UNICODE_STRING`.
    string_buffer: u64,
    environment: u64,
}

/// Sizes as DbgHelp 6.3.9600 takes them on x86-64.
const WINDOWS_64: Windows = Windows {
    teb: 0x2000,
    teb_tls_pointer: 0x58,
    teb_peb: 0x60,
    teb_fls_data: 0x17C8,
    fls_block: 0x410,
    peb: 0x388,
    peb_parameters: 0x20,
    parameters: 0x410,
    strings: [
        (0x38, false),
        (0x60, true),
        (0x70, true),
        (0xB0, false),
        (0xC0, false),
    ],
    string_buffer: 8,
    environment: 0x80,
};

/// The same of a 32-bit system; sizes are those of the structures (Windows 7), for no 32-bit DbgHelp has been observed.
const WINDOWS_32: Windows = Windows {
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

/// So much of the environment, as DbgHelp 6.3.9600 takes it.
const ENVIRONMENT_BYTES: u64 = 0x2000;

impl Windows {
    fn blocks(
        &self,
        word: &mut dyn FnMut(u64) -> Option<u64>,
        tebs: &[u64],
        is_reduced: bool,
    ) -> Vec<AddressRange> {
        let mut ranges = Vec::new();
        let mut follow = |word: &mut dyn FnMut(u64) -> Option<u64>, at: u64, size: u64| {
            let block = word(at).filter(|block| *block != 0)?;
            ranges.extend(AddressRange::at(block, size));
            Some(block)
        };
        let mut peb = None;
        for teb in tebs {
            if !is_reduced {
                follow(word, teb.saturating_add(self.teb_fls_data), self.fls_block);
            }
            if peb.is_none() {
                peb = follow(word, teb.saturating_add(self.teb_peb), self.peb);
            }
        }
        let parameters = peb
            .filter(|_| !is_reduced)
            .and_then(|peb| follow(word, peb.saturating_add(self.peb_parameters), self.parameters));
        if let Some(parameters) = parameters {
            for (offset, with_room) in self.strings {
                // UNICODE_STRING: its length in bytes is the low 16 bits, its room the next ones.
                let at = parameters.saturating_add(offset);
                let length = word(at).unwrap_or(0) >> if with_room { 16 } else { 0 } & 0xFFFF;
                follow(word, at.saturating_add(self.string_buffer), length);
            }
            follow(
                word,
                parameters.saturating_add(self.environment),
                ENVIRONMENT_BYTES,
            );
        }
        ranges.extend(tebs.iter().filter_map(|teb| AddressRange::at(*teb, self.teb)));
        ranges
    }
}
