//! Reads the tables of functions that were generated at run time.
//!
//! ntdll keeps a circular list of these tables in each process, and reports the address of the
//! list's head in the calling process. ntdll has the same address in all processes until the
//! machine restarts, so the target's head is at the same address. (Wine 8 does not have this
//! function. The code was tested only on synthetic memory.)

use dumpwright_target::{Diagnostic, FunctionEntry, FunctionTable, Memory, MemoryExt, Subject};

use crate::memory::{int_at, word_at};
use crate::nt::bound;

/// The maximum number of tables. No process has that many.
const MOST_TABLES: usize = 1 << 14;
/// The maximum number of functions in all tables of a process.
const MOST_ENTRIES: usize = 1 << 21;
/// The size of `DYNAMIC_FUNCTION_TABLE` in bytes. Later systems have appended members.
const TABLE: usize = 88;
/// The size of `RUNTIME_FUNCTION` in bytes.
const ENTRY: usize = 12;
/// RF_CALLBACK: instead of entries, there is a function that is called with an address.
const CALLBACK: u32 = 2;

/// Returns the tables, in the order of the list.
pub(crate) fn function_tables(
    memory: &mut dyn Memory,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<FunctionTable> {
    head()
        .map(|head| tables(memory, head, diagnostics))
        .unwrap_or_default()
}

/// Returns the address of the list's head in ntdll.
fn head() -> Option<u64> {
    let ask = bound!(Ntdll, c"RtlGetFunctionTableListHead", fn() -> *mut u8)?;
    // SAFETY: the function has no parameters and returns an address, which is not dereferenced in
    // this process.
    let head = unsafe { ask() };
    (!head.is_null()).then(|| head.addr() as u64)
}

/// Walks the list until its head is reached again. A table counts only if its backward link points
/// to the table before it, so no table counts twice.
fn tables(memory: &mut dyn Memory, head: u64, diagnostics: &mut Vec<Diagnostic>) -> Vec<FunctionTable> {
    let mut tables = Vec::new();
    let mut reader = Reader::default();
    let first = memory.word(head, 8).ok();
    let mut broken = first.is_none().then_some("cannot be read");
    let (mut from, mut at) = (head, first.unwrap_or(head));
    while at != head {
        let native = memory.array::<TABLE>(at).ok();
        broken = match native {
            _ if tables.len() >= MOST_TABLES => Some("is too long"),
            None => Some("points to memory that cannot be read"),
            Some(native) if word_at(&native, 8) != from => Some("has inconsistent links"),
            Some(_) => None,
        };
        let (Some(native), None) = (native, broken) else {
            break;
        };
        tables.push(reader.table(memory, native));
        (from, at) = (at, word_at(&native, 0));
    }
    let subject = Subject::Stream("FunctionTable");
    if let Some(reason) = broken {
        let reason = format!(
            "the list of function tables {reason}: only the first {} were read",
            tables.len()
        );
        diagnostics.push(Diagnostic::missing(subject.clone(), reason));
    }
    if reader.by_callback > 0 {
        // The process names a DLL that would supply the entries. It is not loaded, because a dumper
        // must not run code that its target names.
        let reason = format!(
            "{} tables have a callback function of the process instead of entries; it is not called, so they have no entries",
            reader.by_callback
        );
        diagnostics.push(Diagnostic::left_out(subject.clone(), reason));
    }
    if reader.unreadable > 0 {
        let reason = format!(
            "the entries of {} tables cannot be read, or are too many",
            reader.unreadable
        );
        diagnostics.push(Diagnostic::missing(subject, reason));
    }
    tables
}

#[derive(Default)]
struct Reader {
    /// The number of entries that have been read.
    entries: usize,
    /// The number of tables with a callback function, and the number of tables whose entries could
    /// not be read.
    by_callback: usize,
    unreadable: usize,
}

impl Reader {
    /// Converts a `DYNAMIC_FUNCTION_TABLE`: links, address of the entries, time, lowest and highest
    /// address, base, callback, its context and DLL, type, number of entries.
    fn table(&mut self, memory: &mut dyn Memory, native: [u8; TABLE]) -> FunctionTable {
        let count = int_at(&native, 84) as usize;
        let entries = if int_at(&native, 80) == CALLBACK {
            self.by_callback += 1;
            Vec::new()
        } else {
            let entries = self.entries(memory, word_at(&native, 16), count);
            self.unreadable += usize::from(entries.is_none());
            entries.unwrap_or_default()
        };
        FunctionTable {
            minimum_address: word_at(&native, 32),
            maximum_address: word_at(&native, 40),
            base_address: word_at(&native, 48),
            native,
            entries,
        }
    }

    fn entries(&mut self, memory: &mut dyn Memory, at: u64, count: usize) -> Option<Vec<FunctionEntry>> {
        if count > MOST_ENTRIES - self.entries {
            return None;
        }
        let bytes = memory.bytes(at, count * ENTRY).ok()?;
        self.entries += count;
        let entry = |entry: &[u8]| FunctionEntry {
            begin: int_at(entry, 0),
            end: int_at(entry, 4),
            unwind_info: int_at(entry, 8),
        };
        Some(bytes.chunks_exact(ENTRY).map(entry).collect())
    }
}

/// These tests would catch: a table that is lost or read at wrong offsets; a walk without end;
/// memory that is allocated for a false number of entries; a table with a callback that is taken
/// for a broken one.
#[cfg(test)]
mod tests {
    use dumpwright_target::{Pieces, Severity};

    use super::*;

    const HEAD: u64 = 0x100;

    /// Builds a list of tables with two functions each. The tables begin at 0x1000, the entries at
    /// 0x1000_0000.
    fn ring(count: u64) -> Pieces {
        let at = |index: u64| {
            if index == count {
                HEAD
            } else {
                0x1000 + index * 0x100
            }
        };
        let mut pieces = vec![(HEAD, at(0).to_le_bytes().to_vec())];
        for index in 0..count {
            let before = if index == 0 { HEAD } else { at(index - 1) };
            let words = [
                at(index + 1),
                before,
                0x1000_0000 + index * 0x100,
                1,
                0x7000 + index,
                0x8000 + index,
                0x6000 + index,
                0,
                0,
                0,
                2 << 32,
            ];
            pieces.push((at(index), words.map(u64::to_le_bytes).concat()));
        }
        for index in 0..count {
            let words = [0x10, 0x20, 0x90, 0x20, 0x30, 0xa0_u32];
            pieces.push((0x1000_0000 + index * 0x100, words.map(u32::to_le_bytes).concat()));
        }
        pieces.into_iter().collect()
    }

    fn set(memory: &mut Pieces, piece: u64, at: usize, value: u32) {
        let bytes = memory.piece_mut(piece).expect("a piece");
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn read(mut memory: Pieces) -> (Vec<FunctionTable>, Vec<Diagnostic>) {
        let mut diagnostics = Vec::new();
        (tables(&mut memory, HEAD, &mut diagnostics), diagnostics)
    }

    #[test]
    fn tables_are_read_from_their_places() {
        let (tables, diagnostics) = read(ring(2));
        assert_eq!((tables.len(), diagnostics), (2, Vec::new()));
        let second = &tables[1];
        assert_eq!(
            (
                second.minimum_address,
                second.maximum_address,
                second.base_address
            ),
            (0x7001, 0x8001, 0x6001)
        );
        assert_eq!(second.native[..], ring(2).piece_mut(0x1100).expect("a table")[..]);
        let entry = FunctionEntry {
            begin: 0x20,
            end: 0x30,
            unwind_info: 0xa0,
        };
        assert_eq!((second.entries.len(), second.entries[1]), (2, entry));
        assert_eq!(read(ring(0)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn tables_by_callback_are_ranges() {
        let mut memory = ring(2);
        set(&mut memory, 0x1000, 80, CALLBACK);
        set(&mut memory, 0x1000, 16, 0);
        let (tables, diagnostics) = read(memory);
        assert!(tables[0].entries.is_empty() && tables[0].minimum_address == 0x7000);
        assert_eq!(tables[1].entries.len(), 2);
        assert_eq!(
            (diagnostics.len(), diagnostics[0].severity),
            (1, Severity::LeftOut)
        );
    }

    #[test]
    fn rings_and_counts_that_lie_end() {
        // The second table points back to the first.
        let mut circle = ring(3);
        set(&mut circle, 0x1100, 0, 0x1000);
        let (tables, diagnostics) = read(circle);
        assert_eq!((tables.len(), diagnostics[0].severity), (2, Severity::Missing));
        // The first table points to itself, or to unmapped memory.
        for to in [0x1000, 0xdead_0000] {
            let mut memory = ring(2);
            set(&mut memory, 0x1000, 0, to);
            let (tables, diagnostics) = read(memory);
            assert_eq!((tables.len(), diagnostics.len()), (1, 1));
        }
        let (tables, diagnostics) = read(ring(MOST_TABLES as u64 + 5));
        assert_eq!((tables.len(), diagnostics.len()), (MOST_TABLES, 1));
        // The number of entries is larger than the real one, or impossible, or the entries cannot
        // be read.
        for (at, value) in [(84, 3), (84, u32::MAX), (16, 0xdead_0000)] {
            let mut memory = ring(2);
            set(&mut memory, 0x1000, at, value);
            let (tables, diagnostics) = read(memory);
            assert_eq!(
                (tables.len(), tables[0].entries.len(), tables[1].entries.len()),
                (2, 0, 2)
            );
            assert_eq!(
                (diagnostics.len(), diagnostics[0].severity),
                (1, Severity::Missing)
            );
        }
        assert_eq!(read(Pieces::default()).1.len(), 1);
    }
}
