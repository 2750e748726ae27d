//! Reads arbitrary bytes as an image that is loaded at some address. `seeds` contains one image of
//! each kind to start from.
//!
//! Finds panics, overflows, endless loops and unlimited memory use.

#![no_main]

#[path = "../ask.rs"]
mod ask;

use dumpwright_target::{AddressRange, Fault, Memory, Pieces, Window};
use libfuzzer_sys::fuzz_target;

/// The largest number of bytes that may be read from an image, valid or not.
const MOST_BYTES: usize = 512 << 20;

/// Counts the bytes that are read.
struct Counted {
    memory: Pieces,
    bytes: usize,
}

impl Memory for Counted {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let count = self.memory.read(at, into)?;
        self.bytes += count;
        Ok(count)
    }
}

fuzz_target!(|data: &[u8]| {
    // The first byte selects the address of the image. One of the addresses places it at the very
    // end of the address space.
    let Some((place, image)) = data.split_first() else {
        return;
    };
    let len = image.len() as u64;
    let base = match place % 4 {
        0 => 0,
        1 => 0x40_0000,
        2 => 0x7fff_0000_0000,
        _ => u64::MAX - len,
    };
    let mut memory = Counted {
        memory: Pieces::one(base, image.to_vec()),
        bytes: 0,
    };
    ask::everything(&mut memory, base);
    if let Some(range) = AddressRange::at(base, len) {
        ask::everything(&mut Window::new(&mut memory, range), base);
    }
    assert!(memory.bytes <= MOST_BYTES, "{} bytes were read", memory.bytes);
});
