//! Which modules the stacks refer to (types 0x8 and 0x10): information for the Module question.

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Frozen, Module, Thread};

use crate::memory::words::each_word;
use crate::protocol::dialogue::Service;

/// Sets `REFERENCED_BY_MEMORY` of each module that an aligned word (of `word` bytes, the size of a pointer) of some kept
/// thread's stack points into.
pub(super) fn mark(
    frozen: &mut dyn Frozen,
    modules: &mut [(Module, ModuleWriteFlags)],
    threads: &[(Thread, ThreadWriteFlags)],
    word: u64,
    service: &mut Service<'_>,
) {
    let images: Vec<_> = modules
        .iter()
        .map(|(module, _)| AddressRange::at(module.base, module.size))
        .collect();
    let stacks = threads
        .iter()
        .flat_map(|(thread, _)| thread.stack.iter().chain(&thread.interrupted));
    for stack in stacks {
        each_word(frozen, service, stack.range, word, |address| {
            let holding = images
                .iter()
                .position(|image| image.is_some_and(|image| image.contains(address)));
            if let Some(index) = holding {
                modules[index].1 |= ModuleWriteFlags::REFERENCED_BY_MEMORY;
            }
        });
    }
}
