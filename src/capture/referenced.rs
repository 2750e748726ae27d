//! Which modules the stacks refer to (types 0x8 and 0x10): information for the Module question.

use std::ops::Range;

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
    let places = Places::new(modules.iter().map(|(module, _)| image(module)));
    let mut hit = vec![false; places.bounds.len() + 1];
    let stacks = threads
        .iter()
        .flat_map(|(thread, _)| thread.stack.iter().chain(&thread.interrupted));
    for stack in stacks {
        each_word(frozen, service, stack.range, word, |address| {
            hit[places.of(address)] = true;
        });
    }
    for (module, flags) in modules {
        if image(module).is_some_and(|image| hit[places.within(image)].contains(&true)) {
            *flags |= ModuleWriteFlags::REFERENCED_BY_MEMORY;
        }
    }
}

fn image(module: &Module) -> Option<AddressRange> {
    AddressRange::at(module.base, module.size)
}

/// The address space, cut where an image begins or ends: the target waits while a word is looked up, and images may
/// overlap (on Linux one may be mapped into a gap of another).
struct Places {
    /// In order. Place `n` ends before the bound `n`; one more lies behind the last.
    bounds: Vec<u64>,
}

impl Places {
    fn new(images: impl Iterator<Item = Option<AddressRange>>) -> Self {
        let mut bounds: Vec<_> = images
            .flatten()
            .flat_map(|image| [image.start(), image.end()])
            .collect();
        bounds.sort_unstable();
        bounds.dedup();
        Self { bounds }
    }

    fn of(&self, address: u64) -> usize {
        self.bounds.partition_point(|bound| *bound <= address)
    }

    /// The places that make up an image.
    fn within(&self, image: AddressRange) -> Range<usize> {
        self.of(image.start())..self.of(image.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_images_that_hold_them() {
        let range = |start, end| AddressRange::new(start, end).unwrap();
        // One by itself, one inside another, two that touch; not in order.
        let images = [
            range(70, 80),
            range(10, 50),
            range(20, 30),
            range(60, 70),
            range(90, u64::MAX),
        ];
        let places = Places::new(images.into_iter().map(Some));
        for address in (0..100).chain([u64::MAX - 1, u64::MAX]) {
            for image in images {
                let held = places.within(image).contains(&places.of(address));
                assert_eq!(held, image.contains(address), "{address} in {image:?}");
            }
        }
    }
}
