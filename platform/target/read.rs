//! Reading memory by address.
//!
//! [`Memory`] is the common interface of everything that has bytes at addresses: a target, a file
//! whose addresses begin at 0, or bytes that have already been read. Code that needs bytes takes a
//! `&mut dyn Memory` and nothing more. Its signature then shows that it reads, and its caller
//! decides which memory it reads.
//!
//! A backend itself reads some of the target's memory, to find modules, stacks and lists. The
//! caller may need to observe or change these reads, so the methods that read take a [`ReadHook`].

use crate::{AddressRange, Fault, FaultKind};

/// Bytes that can be read by address.
pub trait Memory {
    /// Reads the bytes at `at`, as the target would see them, without a lasting effect on the
    /// target.
    ///
    /// Returns the number of bytes that were read. This is less than the length of `into` if, for
    /// instance, a later byte cannot be read. It is never 0 unless `into` is empty.
    ///
    /// # Errors
    /// The first byte cannot be read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault>;
}

impl<M: Memory + ?Sized> Memory for &mut M {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        (**self).read(at, into)
    }
}

/// Methods of every [`Memory`].
pub trait MemoryExt: Memory {
    /// Fills `into` up to the first byte that cannot be read, and returns the number of bytes read.
    fn fill(&mut self, at: u64, into: &mut [u8]) -> usize {
        fill(self, at, into).0
    }

    /// Fills all of `into`.
    ///
    /// # Errors
    /// One of the bytes cannot be read.
    fn fill_all(&mut self, at: u64, into: &mut [u8]) -> Result<(), Fault> {
        fill(self, at, into).1
    }

    /// Returns the bytes at `at`: `len` bytes, or fewer if one of them cannot be read.
    ///
    /// Allocates `len` bytes at once, so the caller must limit `len`.
    fn up_to(&mut self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let count = self.fill(at, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    /// Returns the `len` bytes at `at`.
    ///
    /// Allocates `len` bytes at once, so the caller must limit `len`.
    ///
    /// # Errors
    /// One of the bytes cannot be read.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; len];
        self.fill_all(at, &mut bytes).map(|()| bytes)
    }

    /// Returns the `N` bytes at `at`.
    ///
    /// # Errors
    /// One of the bytes cannot be read.
    fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill_all(at, &mut bytes).map(|()| bytes)
    }

    /// Returns the little-endian number of `size` bytes (1 to 8) at `at`, such as a pointer of the
    /// target.
    ///
    /// # Errors
    /// One of the bytes cannot be read.
    fn word(&mut self, at: u64, size: u64) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        let size = usize::try_from(size).map_or(8, |size| size.min(8));
        self.fill_all(at, &mut bytes[..size])?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Returns the bytes at `at` up to a zero byte, which is not included, and at most `limit`
    /// bytes.
    ///
    /// If an unreadable byte follows before a zero byte, returns the bytes before it.
    ///
    /// # Errors
    /// The first byte cannot be read.
    fn string(&mut self, at: u64, limit: usize) -> Result<Vec<u8>, Fault> {
        /// The size of a read in bytes, aligned to addresses that are multiples of it. Most strings
        /// are shorter, and the memory after a string may be unreadable.
        const CHUNK: u64 = 256;
        let mut string = Vec::new();
        let mut fault = None;
        while string.len() < limit && fault.is_none() {
            let from = at.saturating_add(string.len() as u64);
            let wanted = usize::try_from(CHUNK - from % CHUNK).unwrap_or(usize::MAX);
            let mut chunk = vec![0; wanted.min(limit - string.len())];
            let (count, end) = fill(self, from, &mut chunk);
            fault = end.err();
            if let Some(end) = chunk[..count].iter().position(|byte| *byte == 0) {
                string.extend_from_slice(&chunk[..end]);
                return Ok(string);
            }
            string.extend_from_slice(&chunk[..count]);
        }
        match fault {
            Some(fault) if string.is_empty() => Err(fault),
            _ => Ok(string),
        }
    }
}

impl<M: Memory + ?Sized> MemoryExt for M {}

/// Fills `into` as far as possible. Returns the number of bytes read, and the fault that ended the
/// read, if any.
fn fill<M: Memory + ?Sized>(memory: &mut M, at: u64, into: &mut [u8]) -> (usize, Result<(), Fault>) {
    let mut done = 0;
    while done < into.len() {
        let read = match at.checked_add(done as u64) {
            Some(next) => memory.read(next, &mut into[done..]),
            None => Err(unreadable(
                at,
                "the range extends past the end of the address space",
            )),
        };
        match read {
            // Protects against an endless loop if an implementation breaks the contract.
            Ok(0) => return (done, Err(unreadable(at, "the read returned no bytes"))),
            Ok(count) => done += count,
            Err(fault) => return (done, Err(fault)),
        }
    }
    (done, Ok(()))
}

fn unreadable(at: u64, reason: &str) -> Fault {
    Fault::new(
        FaultKind::Unreadable,
        format!("read memory at {at:#x}"),
        reason.to_owned(),
    )
}

/// Intercepts the reads that a backend makes to find its answers.
///
/// The hook decides how each read is done: it receives the memory and may read from it, supply the
/// bytes itself, or change the bytes that were read. The backend works with the result.
pub trait ReadHook {
    /// Reads the bytes at `at`, by the contract of [`Memory::read`].
    ///
    /// # Errors
    /// The first byte cannot be read, or the hook refuses the read.
    fn read(&mut self, memory: &mut dyn Memory, at: u64, into: &mut [u8]) -> Result<usize, Fault>;
}

/// A hook that passes every read through unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Direct;

impl ReadHook for Direct {
    fn read(&mut self, memory: &mut dyn Memory, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        memory.read(at, into)
    }
}

/// A memory whose reads all go through a hook.
pub struct Hooked<'a> {
    memory: &'a mut dyn Memory,
    hook: &'a mut dyn ReadHook,
}

impl<'a> Hooked<'a> {
    /// Creates a view of `memory` that is read through `hook`.
    pub fn new(memory: &'a mut dyn Memory, hook: &'a mut dyn ReadHook) -> Self {
        Self { memory, hook }
    }
}

impl Memory for Hooked<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.hook.read(self.memory, at, into)
    }
}

/// A part of a memory. Reads outside of it fail.
///
/// Use it to follow addresses that come from the target, because they can have any value.
pub struct Window<'a> {
    memory: &'a mut dyn Memory,
    range: AddressRange,
}

impl<'a> Window<'a> {
    /// Creates a view of the part of `memory` in `range`.
    pub fn new(memory: &'a mut dyn Memory, range: AddressRange) -> Self {
        Self { memory, range }
    }
}

impl Memory for Window<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        if !self.range.contains(at) {
            return Err(unreadable(
                at,
                &format!("the address is outside of {}", self.range),
            ));
        }
        let room = usize::try_from(self.range.end() - at).unwrap_or(usize::MAX);
        let len = into.len().min(room);
        self.memory.read(at, &mut into[..len])
    }
}

/// A memory that consists of byte vectors at given addresses, such as a file that has been read, or
/// test data.
///
/// ```
/// use dumpwright_target::{MemoryExt, Pieces};
///
/// let mut memory = Pieces::from([(0x1000, vec![1, 2, 3]), (0x1003, vec![4])]);
/// assert_eq!(memory.word(0x1000, 4), Ok(0x0403_0201));
/// assert!(memory.word(0x1001, 4).is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Ascending by address.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl Pieces {
    /// Creates a memory of one piece, at `at`.
    #[must_use]
    pub fn one(at: u64, bytes: Vec<u8>) -> Self {
        Self::from([(at, bytes)])
    }

    /// Returns the bytes of the piece that begins at `at`.
    pub fn piece_mut(&mut self, at: u64) -> Option<&mut Vec<u8>> {
        let index = self.pieces.binary_search_by_key(&at, |(start, _)| *start).ok()?;
        Some(&mut self.pieces[index].1)
    }
}

impl IntoIterator for Pieces {
    type Item = (u64, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.pieces.into_iter()
    }
}

impl<const N: usize> From<[(u64, Vec<u8>); N]> for Pieces {
    fn from(pieces: [(u64, Vec<u8>); N]) -> Self {
        pieces.into_iter().collect()
    }
}

impl FromIterator<(u64, Vec<u8>)> for Pieces {
    /// Creates a memory from pieces in any order. The pieces must not overlap.
    fn from_iter<I: IntoIterator<Item = (u64, Vec<u8>)>>(pieces: I) -> Self {
        let mut pieces: Vec<_> = pieces.into_iter().collect();
        pieces.sort_by_key(|(at, _)| *at);
        Self { pieces }
    }
}

impl Memory for Pieces {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        let behind = self.pieces.partition_point(|(start, _)| *start <= at);
        let rest = self.pieces[..behind].last().and_then(|(start, bytes)| {
            let from = usize::try_from(at - start).ok()?;
            bytes.get(from..).filter(|rest| !rest.is_empty())
        });
        let rest = rest.ok_or_else(|| unreadable(at, "there is no memory at this address"))?;
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns one byte per read, and none from `end` on.
    struct Reluctant {
        end: u64,
        reads: usize,
    }

    impl Memory for Reluctant {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
            self.reads += 1;
            if at >= self.end {
                return Err(unreadable(at, "the end"));
            }
            into[0] = at as u8;
            Ok(1)
        }
    }

    fn reluctant(end: u64) -> Reluctant {
        Reluctant { end, reads: 0 }
    }

    #[test]
    fn short_reads_are_repeated_until_one_fails() {
        let mut memory = reluctant(6);
        let mut bytes = [0xFF; 4];
        assert_eq!(memory.fill(1, &mut bytes), 4);
        assert_eq!((bytes, memory.reads), ([1, 2, 3, 4], 4));
        assert_eq!(memory.up_to(3, 9), [3, 4, 5]);
        assert_eq!(memory.array::<3>(3), Ok([3, 4, 5]));
        let fault = memory.bytes(3, 4).unwrap_err();
        assert_eq!((fault.kind, &*fault.reason), (FaultKind::Unreadable, "the end"));
        assert_eq!(memory.word(1, 4), Ok(0x0403_0201));
        assert_eq!(
            memory.bytes(u64::MAX, 0),
            Ok(Vec::new()),
            "an empty read succeeds anywhere"
        );
    }

    #[test]
    fn nothing_is_read_beyond_the_address_space() {
        let mut memory = Pieces::one(u64::MAX - 1, vec![1, 2]);
        assert_eq!(memory.up_to(u64::MAX - 1, 8), [1, 2]);
        assert!(memory.array::<3>(u64::MAX - 1).is_err());
    }

    #[test]
    fn a_read_of_no_bytes_is_an_error() {
        struct Empty;
        impl Memory for Empty {
            fn read(&mut self, _: u64, _: &mut [u8]) -> Result<usize, Fault> {
                Ok(0)
            }
        }
        assert!(Empty.bytes(0, 1).is_err());
        assert!(Empty.string(0, 10).is_err());
    }

    #[test]
    fn strings_end_with_zero_with_memory_or_with_their_limit() {
        let text = |len: usize| vec![b'x'; len];
        let mut ended = text(700);
        ended.extend(b"\0behind");
        let mut memory = Pieces::from([(0x10F0, ended), (0x3000, text(5)), (0x4000, vec![0])]);
        assert_eq!(memory.string(0x10F0, 4096), Ok(text(700)));
        assert_eq!(memory.string(0x10F0, 300), Ok(text(300)));
        assert_eq!(memory.string(0x3000, 4096), Ok(text(5)));
        assert_eq!(memory.string(0x4000, 4096), Ok(Vec::new()));
        assert_eq!(memory.string(0x3000, 0), Ok(Vec::new()));
        assert!(memory.string(0x5000, 4096).is_err());
    }

    #[test]
    fn a_window_shows_nothing_outside() {
        let mut memory = Pieces::one(0x1000, (0..64).collect());
        let range = AddressRange::at(0x1008, 8).unwrap();
        let mut window = Window::new(&mut memory, range);
        assert_eq!(window.up_to(0x1008, 64), [8, 9, 10, 11, 12, 13, 14, 15]);
        for outside in [0x1007, 0x1010, 0, u64::MAX] {
            assert!(window.array::<1>(outside).is_err(), "{outside:#x}");
        }
    }

    #[test]
    fn a_hook_sees_each_read_and_may_change_it() {
        struct Doubling(Vec<(u64, usize)>);
        impl ReadHook for Doubling {
            fn read(&mut self, memory: &mut dyn Memory, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
                self.0.push((at, into.len()));
                let count = memory.read(at, into)?;
                into[..count].iter_mut().for_each(|byte| *byte *= 2);
                Ok(count)
            }
        }
        let (mut memory, mut hook) = (Pieces::one(0, vec![1, 2, 3]), Doubling(Vec::new()));
        assert_eq!(Hooked::new(&mut memory, &mut hook).up_to(0, 4), [2, 4, 6]);
        assert_eq!(hook.0, [(0, 4), (3, 1)]);
        assert_eq!(Hooked::new(&mut memory, &mut Direct).array(1), Ok([2, 3]));
    }
}
