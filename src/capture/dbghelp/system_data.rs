//! Data of the system in a Windows process that DbgHelp reads before it chooses memory: the page
//! that the kernel shares with all processes, and parts of thread blocks.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::{
    AddressRange, Cpu, Frozen, Hooked, MemoryExt, Platform, RegionState, System, Thread,
};

use super::probe::probe;
use crate::capture::Negotiated;
use crate::capture::thread_data::shared_data as shared_data_range;
use crate::memory::reader::{self, Structures};
use crate::protocol::dialogue::{Dialogue, Queried, Service};
use crate::{Error, Profile};

/// Chooses `KUSER_SHARED_DATA`, if the profile does so before the threads are selected. Returns its
/// readable parts.
///
/// DbgHelp asks the callback about the region (VmQuery) and probes it.
pub(in crate::capture) fn shared_data(
    frozen: &mut dyn Frozen,
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<AddressRange>, Error> {
    let (dump_type, profile) = (negotiated.dump_type, negotiated.profile);
    if dump_type.has_all_memory() {
        return Ok(Vec::new());
    }
    for _ in 0..profile.polls_around_shared_data() {
        dialogue.service().poll_cancel()?;
    }
    if !profile.chooses_shared_data_first() || !is_windows(frozen) {
        return Ok(Vec::new());
    }
    let range = shared_data_range();
    let is_there = match dialogue.vm_query(range.start()) {
        Ok(Queried::Region(region)) => region.state == RegionState::Commit.value(),
        Ok(Queried::AskSystem) => true,
        Ok(Queried::NoMore) | Err(_) => false,
    };
    match is_there {
        true => probe(frozen, dialogue.service(), range, false),
        false => Ok(Vec::new()),
    }
}

/// Returns the parts of thread blocks about which the callback is asked when a thread has been
/// selected. Empty if it does not take part in reads.
pub(in crate::capture) fn parts_of_thread_blocks(
    frozen: &mut dyn Frozen,
    profile: Profile,
    dialogue: &mut Dialogue<'_>,
) -> &'static [(u64, u64)] {
    let parts = profile.parts_of_thread_blocks();
    let is_asked = !parts.is_empty() && dialogue.service().wants_reads();
    match is_asked && frozen.system().is_ok_and(|system| is_64_bit_windows(&system)) {
        true => parts,
        false => &[],
    }
}

/// Reads these parts of a thread's block with the callback.
///
/// The result is not used: the recordings show that a callback that fails these reads changes
/// nothing (`11-post-all-fail`).
pub(in crate::capture) fn ask_about_thread_block(
    frozen: &mut dyn Frozen,
    thread: Option<&Thread>,
    parts: &[(u64, u64)],
    dialogue: &mut Dialogue<'_>,
) {
    let Some(thread) = thread.filter(|thread| thread.teb != 0) else {
        return;
    };
    for part in parts.iter().filter_map(|part| part_of(thread, *part)) {
        let mut bytes = vec![0; usize::try_from(part.len()).expect("small")];
        let _ = reader::read(frozen, dialogue.service(), part, &mut bytes);
    }
}

/// Drops the stack and the data of threads whose blocks lack a part that the profile requires.
/// Nothing is asked about them (`08-late-teb-ok`).
pub(in crate::capture) fn drop_stacks(
    frozen: &mut dyn Frozen,
    service: &mut Service<'_>,
    threads: &mut [(Thread, ThreadWriteFlags)],
    system: Option<&System>,
    profile: Profile,
) {
    let required = profile.required_part_of_thread_blocks();
    let Some(required) = required.filter(|_| system.is_some_and(is_64_bit_windows)) else {
        return;
    };
    let mut hook = Structures(service);
    let memory = &mut Hooked::new(frozen, &mut hook);
    for (thread, flags) in threads.iter_mut().filter(|(thread, _)| thread.teb != 0) {
        let part = part_of(thread, required);
        if part.is_none_or(|part| memory.word(part.start(), part.len()).is_err()) {
            thread.stack = None;
            flags.remove(ThreadWriteFlags::STACK | ThreadWriteFlags::THREAD_DATA);
        }
    }
}

fn part_of(thread: &Thread, (offset, size): (u64, u64)) -> Option<AddressRange> {
    AddressRange::at(thread.teb.checked_add(offset)?, size)
}

fn is_windows(frozen: &mut dyn Frozen) -> bool {
    frozen
        .system()
        .is_ok_and(|system| system.platform == Platform::WindowsNt)
}

fn is_64_bit_windows(system: &System) -> bool {
    system.platform == Platform::WindowsNt && system.cpu == Cpu::Amd64
}
