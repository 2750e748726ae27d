//! What the system keeps in the process about its threads and about itself (type 0x100).

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{AddressRange, Frozen, Platform};

use super::Snapshot;
use crate::DumpType;

/// Of each thread's block only the first word is kept for triage, as DbgHelp 6.3.9600 does.
const WORD: u64 = 8;

/// Blocks of threads and of the process, as the type asks for them.
pub(super) fn ranges(frozen: &mut dyn Frozen, snapshot: &Snapshot) -> Vec<AddressRange> {
    let wanted = snapshot
        .threads
        .iter()
        .filter(|kept| kept.thread.teb != 0 && kept.flags.contains(ThreadWriteFlags::THREAD_DATA));
    let blocks: Vec<_> = wanted.map(|kept| kept.thread.teb).collect();
    if snapshot.dump_type.contains(DumpType::FILTER_TRIAGE) {
        return blocks
            .into_iter()
            .filter_map(|block| AddressRange::at(block, WORD))
            .collect();
    }
    let is_reduced = snapshot.dump_type.contains(DumpType::WITHOUT_OPTIONAL_DATA);
    let is_windows = snapshot
        .system
        .as_ref()
        .is_some_and(|system| system.platform == Platform::WindowsNt);
    if is_windows {
        windows(&mut |at| word(frozen, at), &blocks, is_reduced)
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

/// Sizes as DbgHelp 6.3.9600 takes them on x86-64; offsets as the public symbols of ntdll have them.
fn windows(word: &mut dyn FnMut(u64) -> Option<u64>, tebs: &[u64], is_reduced: bool) -> Vec<AddressRange> {
    const TEB: u64 = 0x2000;
    const TEB_TLS_POINTER: u64 = 0x58;
    const TEB_PEB: u64 = 0x60;
    const TEB_FLS_DATA: u64 = 0x17C8;
    const TLS_ARRAY: u64 = 0x10;
    const FLS_BLOCK: u64 = 0x410;
    const PEB: u64 = 0x388;
    const PEB_PARAMETERS: u64 = 0x20;
    const PARAMETERS: u64 = 0x410;
    /// Where the process parameters have their strings: current folder, image path, command line, window title, desktop.
    const STRINGS: [u64; 5] = [0x38, 0x60, 0x70, 0xB0, 0xC0];
    const ENVIRONMENT: u64 = 0x80;
    /// So much of the environment.
    const ENVIRONMENT_BYTES: u64 = 0x2000;

    let mut ranges = Vec::new();
    let mut follow = |word: &mut dyn FnMut(u64) -> Option<u64>, at: u64, size: u64| {
        let block = word(at).filter(|block| *block != 0)?;
        ranges.extend(AddressRange::at(block, size));
        Some(block)
    };
    let mut peb = None;
    for teb in tebs {
        follow(word, teb.saturating_add(TEB_TLS_POINTER), TLS_ARRAY);
        if !is_reduced {
            follow(word, teb.saturating_add(TEB_FLS_DATA), FLS_BLOCK);
        }
        if peb.is_none() {
            peb = follow(word, teb.saturating_add(TEB_PEB), PEB);
        }
    }
    let parameters = peb
        .filter(|_| !is_reduced)
        .and_then(|peb| follow(word, peb.saturating_add(PEB_PARAMETERS), PARAMETERS));
    if let Some(parameters) = parameters {
        for offset in STRINGS {
            // UNICODE_STRING: its length in bytes is the low 16 bits.
            let at = parameters.saturating_add(offset);
            let length = word(at).unwrap_or(0) & 0xFFFF;
            follow(word, at.saturating_add(8), length);
        }
        follow(word, parameters.saturating_add(ENVIRONMENT), ENVIRONMENT_BYTES);
    }
    ranges.extend(tebs.iter().filter_map(|teb| AddressRange::at(*teb, TEB)));
    ranges
}

fn word(frozen: &mut dyn Frozen, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let count = frozen.read(at, &mut bytes).ok()?;
    (count == bytes.len()).then(|| u64::from_le_bytes(bytes))
}
