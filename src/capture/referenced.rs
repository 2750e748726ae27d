//! Finds the modules that stacks refer to (types 0x8 and 0x10). The Module question shows the
//! result.

use std::ops::Range;

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Memory, Module, Thread};

use crate::Error;
use crate::memory::set::without_repetitions;
use crate::memory::words::each_word;
use crate::protocol::dialogue::Service;

/// Sets `REFERENCED_BY_MEMORY` for each module that an aligned word of a selected thread's stack
/// points into. `word` is the size of a pointer in bytes.
///
/// # Errors
/// If the callback cancelled the dump.
pub(super) fn mark(
    memory: &mut dyn Memory,
    modules: &mut [(Module, ModuleWriteFlags)],
    threads: &[(Thread, ThreadWriteFlags)],
    word: u64,
    service: &mut Service<'_>,
) -> Result<(), Error> {
    let places = ReferencedRanges::new(modules.iter().map(|(module, _)| image(module)));
    let mut hit = vec![false; places.bounds.len() + 1];
    let stacks = threads
        .iter()
        .flat_map(|(thread, _)| thread.stack.iter().chain(&thread.interrupted));
    for part in without_repetitions(stacks.map(|stack| stack.range)).flatten() {
        each_word(memory, service, part, word, |address| {
            hit[places.of(address)] = true;
        })?;
    }
    // The number of hits before each place. Without these sums, overlapping images would be
    // searched again and again.
    let mut before = vec![0_usize];
    for hit in hit {
        before.push(before[before.len() - 1] + usize::from(hit));
    }
    for (module, flags) in modules {
        let is_hit = |image| {
            let within = places.within(image);
            before[within.end] > before[within.start]
        };
        if image(module).is_some_and(is_hit) {
            *flags |= ModuleWriteFlags::REFERENCED_BY_MEMORY;
        }
    }
    Ok(())
}

fn image(module: &Module) -> Option<AddressRange> {
    AddressRange::at(module.base, module.size)
}

/// The address space, split where an image begins or ends. It makes looking up a word fast, because
/// the target is suspended meanwhile. Images may overlap: on Linux, one may be mapped into a gap of
/// another.
struct ReferencedRanges {
    /// In ascending order. Place `n` ends before bound `n`, and the last place follows the last
    /// bound.
    bounds: Vec<u64>,
}

impl ReferencedRanges {
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

    /// Returns the places that an image consists of.
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
        // One separate image, one inside another, and two adjacent ones; not in order.
        let images = [
            range(70, 80),
            range(10, 50),
            range(20, 30),
            range(60, 70),
            range(90, u64::MAX),
        ];
        let places = ReferencedRanges::new(images.into_iter().map(Some));
        for address in (0..100).chain([u64::MAX - 1, u64::MAX]) {
            for image in images {
                let held = places.within(image).contains(&places.of(address));
                assert_eq!(held, image.contains(address), "{address} in {image:?}");
            }
        }
    }
}
