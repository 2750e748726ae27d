//! Lists of entries, read a piece at a time.

use super::dump::{Dump, Table};
use super::error::ReadError;
use super::fields::FieldReader;

/// The maximum number of entries that methods such as [`Dump::threads`] return. Methods such as
/// [`Dump::iter_threads`] have no limit.
///
/// No list of a real process is longer: Linux allows a process 65,530 mappings by default, and
/// distributions that raise this limit set it to this number.
pub const LIST_LIMIT: u64 = 1 << 20;

/// Tables are read in chunks of this many bytes.
const CHUNK: u64 = 64 * 1024;

/// An iterator over the entries of a list in the file, in the order of the file.
///
/// The entries are read in chunks while the iterator advances, so a list of any length takes little
/// memory. The iterator ends after the first error.
pub struct List<'d, T> {
    dump: &'d Dump,
    /// The entries that have not been handed out yet.
    table: Table,
    /// The number of bytes of each entry that are read.
    take: u64,
    make: Box<dyn FnMut(u64, FieldReader<'_>) -> T + 'd>,
    /// The bytes of the next entries, [`Self::step`] bytes each.
    buffer: Vec<u8>,
    /// The position of the next entry in `buffer`.
    at: usize,
    /// The number of entries of this list and of the one that follows.
    len: u64,
    next: Option<Box<Self>>,
}

impl<'d, T> List<'d, T> {
    /// Creates a list from a table. `make` gets the file offset and the first `take` bytes of each
    /// entry. The whole table must lie inside the file.
    pub(super) fn new(
        dump: &'d Dump,
        table: Table,
        take: u64,
        make: impl FnMut(u64, FieldReader<'_>) -> T + 'd,
    ) -> Result<Self, ReadError> {
        let Table {
            what,
            start,
            count,
            stride,
        } = table;
        let malformed = |reason| ReadError::Malformed {
            what,
            offset: start,
            reason,
        };
        if take == 0 || stride < take {
            return Err(malformed(format!(
                "its entries have {stride} bytes instead of at least {take}"
            )));
        }
        let total = count.checked_mul(stride).ok_or_else(|| {
            malformed(format!(
                "{count} entries of {stride} bytes exceed the size of any file"
            ))
        })?;
        dump.require(what, start, total)?;
        Ok(Self {
            dump,
            table,
            take,
            make: Box::new(make),
            buffer: Vec::new(),
            at: 0,
            len: count,
            next: None,
        })
    }

    /// Creates the list of a stream that the dump does not have.
    pub(super) fn empty(dump: &'d Dump) -> Self {
        let table = Table {
            what: "an empty list",
            start: 0,
            count: 0,
            stride: 1,
        };
        Self {
            dump,
            table,
            take: 1,
            make: Box::new(|_, _| unreachable!("the list is empty")),
            buffer: Vec::new(),
            at: 0,
            len: 0,
            next: None,
        }
    }

    /// Appends another list.
    pub(super) fn chain(mut self, next: Self) -> Self {
        self.len = self.len.saturating_add(next.len);
        self.next = Some(Box::new(next));
        self
    }

    /// Returns the number of entries that the file has, no matter how many have been read.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the name of the list.
    pub(super) fn what(&self) -> &'static str {
        self.table.what
    }

    /// Returns the file offset of the next entry.
    pub(super) fn offset(&self) -> u64 {
        self.table.start
    }

    /// Returns whether the file has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Collects the entries. A list of more than [`LIST_LIMIT`] entries is an error.
    pub(super) fn into_vec(self) -> Result<Vec<T>, ReadError> {
        let list = self.bounded(LIST_LIMIT)?;
        let mut entries = Vec::new();
        reserve(&mut entries, list.table.what, list.table.start, list.len)?;
        for entry in list {
            entries.push(entry?);
        }
        Ok(entries)
    }

    /// Returns the list if it has at most `limit` entries.
    pub(super) fn bounded(self, limit: u64) -> Result<Self, ReadError> {
        if self.len <= limit {
            return Ok(self);
        }
        Err(ReadError::TooLong {
            what: self.table.what,
            offset: self.table.start,
            length: self.len,
            limit,
            unit: "entries",
        })
    }

    /// Returns the distance between two entries in the buffer. Of entries that are as long as a
    /// chunk, which occur only in hostile files, only the first `take` bytes are read.
    fn step(&self) -> u64 {
        if self.table.stride > CHUNK {
            self.take
        } else {
            self.table.stride
        }
    }

    fn fill(&mut self) -> Result<(), ReadError> {
        let at_once = (CHUNK / self.table.stride).clamp(1, self.table.count);
        self.buffer.resize((at_once * self.step()) as usize, 0);
        self.at = 0;
        self.dump
            .fill(self.table.what, self.table.start, &mut self.buffer)
    }
}

impl<T> Iterator for List<'_, T> {
    type Item = Result<T, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.table.count == 0 {
            let len = self.len;
            *self = *self.next.take()?;
            self.len = len;
        }
        if self.at == self.buffer.len()
            && let Err(error) = self.fill()
        {
            (self.table.count, self.next) = (0, None);
            return Some(Err(error));
        }
        let entry = &self.buffer[self.at..self.at + self.take as usize];
        let entry = (self.make)(self.table.start, FieldReader(entry));
        self.at += self.step() as usize;
        self.table.start += self.table.stride;
        self.table.count -= 1;
        if self.table.count == 0 {
            self.at = 0;
            self.buffer = Vec::new();
        }
        Some(Ok(entry))
    }
}

impl<T> std::fmt::Debug for List<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List")
            .field("what", &self.table.what)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Reserves memory for `count` more entries. A count in a hostile file may be larger than the
/// memory of the machine, and a failed allocation would end the program.
pub(super) fn reserve<T>(
    entries: &mut Vec<T>,
    what: &'static str,
    offset: u64,
    count: u64,
) -> Result<(), ReadError> {
    let reserved = usize::try_from(count)
        .ok()
        .map(|count| entries.try_reserve_exact(count));
    match reserved {
        Some(Ok(())) => Ok(()),
        _ => Err(ReadError::OutOfMemory {
            what,
            offset,
            length: count.saturating_mul(size_of::<T>() as u64),
        }),
    }
}
