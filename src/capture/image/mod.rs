//! The parts of a module, by the headers that it carries in the target's memory.
//!
//! The headers are the target's word, so nothing follows from them that has no bound: every part is cut to the
//! module, and every table has a longest length.

mod elf;
mod frames;
mod pe;

use dumpwright_target::{AddressRange, Frozen};

/// What is kept of a module whose headers make no sense, and of every ELF image besides what its headers name: on
/// Linux its first page usually holds all of them and the build id.
const FIRST_PAGE: u64 = 4096;

/// The parts of a module that dump types ask for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Writable data, also what began as zero (`.bss`).
    pub data: Vec<AddressRange>,
    /// Executable code.
    pub code: Vec<AddressRange>,
    /// Headers, and the tables that identify the module and unwind its frames.
    pub headers: Vec<AddressRange>,
}

/// Finds the parts of the module that fills `image`.
///
/// # Errors
/// Why its headers make no sense.
pub(super) fn parts(frozen: &mut dyn Frozen, image: AddressRange) -> Result<Parts, String> {
    let mut memory = Memory { frozen, image };
    let start = memory.up_to(image.start(), FIRST_PAGE);
    let mut parts = if start.starts_with(b"\x7fELF") {
        elf::parts(&mut memory, &start)?
    } else if start.starts_with(b"MZ") {
        pe::parts(&mut memory, &start)?
    } else if start.is_empty() {
        return Err("its headers cannot be read".to_owned());
    } else {
        return Err("it begins with neither an ELF nor a PE header".to_owned());
    };
    for list in [&mut parts.data, &mut parts.code, &mut parts.headers] {
        *list = list.iter().filter_map(|part| part.intersect(image)).collect();
    }
    Ok(parts)
}

/// Thread-local variables of a module of Windows, as each thread has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadLocal {
    /// Its place in each thread's array of such blocks.
    pub index: u64,
    /// Bytes of a block.
    pub size: u64,
}

/// The thread-local variables of the module that fills `image`; `None` if it has none.
pub(super) fn thread_local(frozen: &mut dyn Frozen, image: AddressRange) -> Option<ThreadLocal> {
    let mut memory = Memory { frozen, image };
    let start = memory.up_to(image.start(), FIRST_PAGE);
    pe::thread_local(&mut memory, &start)
}

/// The first page of a module.
pub(super) fn first_page(image: AddressRange) -> Option<AddressRange> {
    AddressRange::at(image.start(), image.len().min(FIRST_PAGE))
}

/// A module's memory. Nothing outside the module is read.
struct Memory<'f> {
    frozen: &'f mut dyn Frozen,
    image: AddressRange,
}

impl Memory<'_> {
    /// As many of the `len` bytes at `at` as can be read one after the other.
    fn up_to(&mut self, at: u64, len: u64) -> Vec<u8> {
        let wanted = AddressRange::at(at, len).and_then(|range| range.intersect(self.image));
        let Some(wanted) = wanted.filter(|wanted| wanted.start() == at) else {
            return Vec::new();
        };
        let mut bytes = vec![0; usize::try_from(wanted.len()).unwrap_or(0)];
        let mut done = 0;
        while done < bytes.len() {
            match self.frozen.read(at + done as u64, &mut bytes[done..]) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        bytes.truncate(done);
        bytes
    }

    /// All of the `len` bytes at `at`.
    fn exactly(&mut self, at: u64, len: u64) -> Option<Vec<u8>> {
        Some(self.up_to(at, len)).filter(|bytes| bytes.len() as u64 == len)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dumpwright_target::{
        Extent, Fault, FaultKind, Handle, Holding, LinuxFacts, Module, Process, Region, Remark, Stack,
        System, Thread,
    };
    use proptest::prelude::*;

    use super::*;

    /// A process that consists of one module's bytes.
    pub(super) struct Bytes {
        pub base: u64,
        pub bytes: Vec<u8>,
    }

    pub(super) fn parts_of(base: u64, bytes: &[u8]) -> Result<Parts, String> {
        let image = AddressRange::at(base, bytes.len() as u64).expect("some bytes");
        let bytes = bytes.to_vec();
        parts(&mut Bytes { base, bytes }, image)
    }

    fn none<T>() -> Result<T, Fault> {
        Err(Fault::new(FaultKind::Unsupported, "answer", "it is only bytes"))
    }

    impl Frozen for Bytes {
        fn system(&mut self) -> Result<System, Fault> {
            none()
        }
        fn process(&mut self) -> Result<Process, Fault> {
            none()
        }
        fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
            none()
        }
        fn thread(&mut self, _: u32) -> Result<Thread, Fault> {
            none()
        }
        fn stack_at(&mut self, _: u32, _: u64) -> Option<Stack> {
            None
        }
        fn module_bases(&mut self) -> Result<Vec<u64>, Fault> {
            none()
        }
        fn module(&mut self, _: u64) -> Result<Module, Fault> {
            none()
        }
        fn regions(&mut self) -> Result<Vec<Region>, Fault> {
            none()
        }
        fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
            none()
        }
        fn linux(&mut self) -> Option<LinuxFacts> {
            None
        }
        fn survey(&mut self, _: AddressRange) -> Vec<Extent> {
            Vec::new()
        }
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
            let from = at
                .checked_sub(self.base)
                .and_then(|from| usize::try_from(from).ok());
            let Some(rest) = from
                .and_then(|from| self.bytes.get(from..))
                .filter(|rest| !rest.is_empty())
            else {
                return none();
            };
            let count = rest.len().min(into.len());
            into[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
        fn remarks(&mut self) -> Vec<Remark> {
            Vec::new()
        }
        fn thaw(self: Box<Self>) -> Holding {
            Holding {
                hold: "simulated",
                pause: Duration::ZERO,
            }
        }
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let text = parts_of(0x1000, &[0; 64]).unwrap_err();
        assert!(text.contains("neither"), "{text}");
    }

    proptest! {
        /// Nothing panics, nothing leaves the module, whatever stands in the headers.
        #[test]
        fn hostile_headers_lead_nowhere(
            kind in 0_usize..2,
            places in prop::collection::vec((0_usize..0x600, any::<u8>()), 0..60),
            words in prop::collection::vec((0_usize..0x180, any::<u64>()), 0..20),
        ) {
            let mut bytes = [elf::tests::image(), pe::tests::image()][kind].clone();
            for (at, byte) in places.into_iter().filter(|(at, _)| *at >= 4) {
                bytes[at] = byte;
            }
            for (at, word) in words.into_iter().filter(|(at, _)| *at >= 4) {
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            let base = 0x7fff_0000_0000;
            let image = AddressRange::at(base, bytes.len() as u64).expect("some bytes");
            if let Ok(parts) = parts_of(base, &bytes) {
                let all = parts.data.iter().chain(&parts.code).chain(&parts.headers);
                prop_assert!(all.clone().all(|part| image.covers(*part)));
            }
        }
    }
}
