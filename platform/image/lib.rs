//! Readers for the headers of executable images: programs, libraries and DLLs in the ELF and PE
//! formats.
//!
//! Everything is read through [`Memory`], because images are read where they are loaded: the file
//! may have been replaced since. The ELF reader can also read a file, as a memory whose addresses
//! begin at 0.
//!
//! ```
//! use dumpwright_image::Image;
//! use dumpwright_target::Pieces;
//!
//! let mut memory = Pieces::one(0x40_0000, b"MZ, and nothing of a PE header".to_vec());
//! let malformed = Image::read(&mut memory, 0x40_0000).unwrap_err();
//! assert_eq!(malformed.to_string(), "the DOS header cannot be read");
//! ```
//!
//! # Hostile images
//!
//! Headers come from the target, so a broken or hostile program can put anything into them. They
//! are read while the target is suspended. Therefore the cost of following a header is always
//! limited:
//!
//! * Every size and count is checked against one of the [`limits`], or reduced to it, before memory
//!   is allocated or a loop begins.
//! * Addresses are added with wrapping or checked arithmetic, and never used as an index.
//! * The caller decides what can be read. If it knows where the image ends, it passes a
//!   [`Window`](dumpwright_target::Window), and nothing outside of the window is read.
//!
//! # Why existing parsers are not used
//!
//! [`goblin`] provides the structures of both formats and the iteration over notes, which are used
//! here. The parsers of `goblin` and `object` work on files. They find tables by file offsets,
//! which are meaningless in memory, and need all bytes in one slice. `goblin`'s section table looks
//! up long names in a symbol table that is not in memory, and rejects images with long names (which
//! MinGW produces).

#![forbid(unsafe_code)]

pub mod elf;
pub mod limits;
pub mod pe;
// fuzz/ask.rs is shared with the fuzz target and refers to this crate by its name.
#[cfg(test)]
extern crate self as dumpwright_image;

#[cfg(test)]
#[path = "fuzz/ask.rs"]
mod ask;
#[cfg(test)]
mod samples;
mod start;

use std::borrow::Cow;
use std::fmt;

use dumpwright_target::{Memory, MemoryExt};

pub use elf::Elf;
pub use pe::Pe;

/// The headers of an image.
#[derive(Debug, Clone)]
pub enum Image {
    /// An ELF image, of Linux and other systems.
    Elf(Elf),
    /// A PE image, of Windows.
    Pe(Pe),
}

impl Image {
    /// Reads the headers of the image whose first byte is at `base`.
    ///
    /// # Errors
    /// There is no image at `base`, or its headers are malformed or cannot be read.
    pub fn read(memory: &mut dyn Memory, base: u64) -> Result<Self, Malformed> {
        let memory = &mut start::Start::of(memory, base);
        let magic = memory.up_to(base, 4);
        if magic.is_empty() {
            return Err(Malformed::new("the headers cannot be read"));
        }
        if let Some(elf) = Elf::parse(memory, base)? {
            return Ok(Self::Elf(elf));
        }
        if let Some(pe) = Pe::parse(memory, base)? {
            return Ok(Self::Pe(pe));
        }
        Err(Malformed::new("it begins with neither an ELF nor a PE header"))
    }
}

/// Why an image cannot be used, as a clause such as "the ELF header is cut off".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(Cow<'static, str>);

impl Malformed {
    fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use dumpwright_target::{AddressRange, Fault, Pieces, Window};
    use proptest::prelude::*;

    use super::*;
    use crate::ask::everything as ask_everything;
    use crate::samples::{elf, pe};

    const BASE: u64 = 0x7fff_0000_0000;

    /// Records which addresses were read, and the size of the largest buffer.
    struct Watched {
        memory: Pieces,
        reads: usize,
        places: BTreeSet<u64>,
        longest: usize,
    }

    impl Watched {
        fn new(base: u64, bytes: Vec<u8>) -> Self {
            Self {
                memory: Pieces::one(base, bytes),
                reads: 0,
                places: BTreeSet::new(),
                longest: 0,
            }
        }
    }

    impl Memory for Watched {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
            self.reads += 1;
            self.places.insert(at);
            self.longest = self.longest.max(into.len());
            self.memory.read(at, into)
        }
    }

    /// The seeds of the fuzz target: a byte that selects the image's address, then the image.
    #[test]
    fn the_fuzz_targets_seeds_are_the_samples() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for (name, image) in [("elf", elf(0)), ("pe", pe(0x40_0000))] {
            let seed = [vec![1], image].concat();
            let path = seeds.join(name);
            if std::env::var_os("DUMPWRIGHT_BLESS").is_some() {
                fs::write(&path, &seed).expect("the seed is written");
            }
            let found = fs::read(&path).unwrap_or_default();
            assert!(found == seed, "{name} is out of date: cargo xtask bless");
        }
    }

    #[test]
    fn images_are_told_apart() {
        let read = |bytes: Vec<u8>| Image::read(&mut Pieces::one(BASE, bytes), BASE);
        assert!(matches!(read(elf(0)), Ok(Image::Elf(_))));
        assert!(matches!(read(pe(BASE)), Ok(Image::Pe(_))));
        let neither = read(vec![0; 64]).unwrap_err().to_string();
        assert_eq!(neither, "it begins with neither an ELF nor a PE header");
        let nothing = read(Vec::new()).unwrap_err().to_string();
        assert_eq!(nothing, "the headers cannot be read");
    }

    /// All headers are in the first page, so one read is enough.
    #[test]
    fn all_headers_are_read_at_once() {
        for bytes in [elf(0), pe(BASE)] {
            let mut memory = Watched::new(BASE, bytes);
            Image::read(&mut memory, BASE).expect("sound");
            assert_eq!(memory.reads, 1);
        }
    }

    /// An unreadable image takes one read, too.
    #[test]
    fn what_cannot_be_read_is_tried_once() {
        let mut memory = Watched::new(BASE, Vec::new());
        assert!(Image::read(&mut memory, BASE).is_err());
        assert_eq!(memory.reads, 1);
        let mut memory = Watched::new(BASE, elf(0)[..100].to_vec());
        assert!(Image::read(&mut memory, BASE).is_err());
        assert_eq!(
            memory.reads, 2,
            "the first read, and one try to read the rest of the page"
        );
    }

    /// Only the first bytes of the image exist.
    #[test]
    fn images_cut_off_at_each_byte_are_read_as_far_as_they_go() {
        for sample in [elf(0), pe(BASE)] {
            for len in 0..sample.len() {
                let mut memory = Watched::new(BASE, sample[..len].to_vec());
                ask_everything(&mut memory, BASE);
                assert!(memory.longest <= limits::LONGEST_SECTION_NAMES as usize);
            }
        }
    }

    /// Replaces each word of the headers with each of some hostile values.
    #[test]
    fn sizes_that_lie_reserve_no_more_than_their_limits() {
        let lies = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 7, u32::MAX];
        for sample in [elf(0), pe(BASE)] {
            for at in (0..sample.len() - 8).step_by(4) {
                // Eight zeros are not part of a header, a size or an address.
                if sample[at..at + 8] == [0; 8] && at % 64 != 0 {
                    continue;
                }
                for lie in lies {
                    let mut bytes = sample.clone();
                    bytes[at..at + 4].copy_from_slice(&lie.to_le_bytes());
                    let mut memory = Watched::new(BASE, bytes);
                    ask_everything(&mut memory, BASE);
                    assert!(memory.longest <= 2 << 20, "{at:#x}: {} bytes", memory.longest);
                    assert!(memory.reads <= 20_000, "{at:#x}: {} reads", memory.reads);
                }
            }
        }
    }

    proptest! {
        /// Checks that nothing panics and nothing outside of the window is read, whatever the
        /// headers contain.
        #[test]
        fn hostile_headers_lead_nowhere(
            kind in 0_usize..2,
            places in prop::collection::vec((0_usize..0x600, any::<u8>()), 0..60),
            words in prop::collection::vec((0_usize..0x180, any::<u64>()), 0..20),
        ) {
            let mut bytes = [elf(0), pe(BASE)][kind].clone();
            for (at, byte) in places.into_iter().filter(|(at, _)| *at >= 4) {
                bytes[at] = byte;
            }
            for (at, word) in words.into_iter().filter(|(at, _)| *at >= 4) {
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            let range = AddressRange::at(BASE, bytes.len() as u64).expect("some bytes");
            let mut memory = Watched::new(BASE, bytes);
            ask_everything(&mut Window::new(&mut memory, range), BASE);
            prop_assert!(memory.places.iter().all(|at| range.contains(*at)));
            prop_assert!(memory.reads <= 20_000);
        }
    }
}
