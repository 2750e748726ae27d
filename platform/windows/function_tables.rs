//! Tables of functions made at run time.
//!
//! ntdll keeps a ring of them in each process, and tells where its own ring's head is; ntdll has one address in all processes until the machine is started
//! anew, so the target's is in the same place. (Wine 8 has no such function, and what is here was tried on made-up memory only.)

use dumpwright_target::{Fault, FunctionEntry, FunctionTable, Remark, Subject};

use crate::access::Access;
use crate::memory::{Memory, int_at, word_at};
use crate::nt::bound;

/// More tables than any process has.
const MOST_TABLES: usize = 1 << 14;
/// More functions than all tables of a process have.
const MOST_ENTRIES: usize = 1 << 21;
/// Bytes of `DYNAMIC_FUNCTION_TABLE`; later systems have added to its end.
const TABLE: usize = 88;
/// Bytes of `RUNTIME_FUNCTION`.
const ENTRY: usize = 12;
/// RF_CALLBACK: there is no table, but a function that is asked for each address.
const CALLBACK: u32 = 2;

/// The tables, in the order of the ring.
pub(crate) fn function_tables(
    access: &Access,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<FunctionTable>, Fault> {
    Ok(head()
        .map(|head| tables(access, head, remarks))
        .unwrap_or_default())
}

/// Where ntdll has the ring's head.
fn head() -> Option<u64> {
    type RtlGetFunctionTableListHead = unsafe extern "system" fn() -> *mut u8;
    let ask = bound!(
        c"ntdll.dll",
        c"RtlGetFunctionTableListHead",
        RtlGetFunctionTableListHead
    )?;
    // SAFETY: asks nothing of its caller.
    let head = unsafe { ask() };
    (!head.is_null()).then(|| head.addr() as u64)
}

/// Follows the ring until it comes back to its head. A table counts when its link back leads to where it was reached from; so none counts twice.
fn tables(memory: &impl Memory, head: u64, remarks: &mut Vec<Remark>) -> Vec<FunctionTable> {
    let mut tables = Vec::new();
    let mut reader = Reader {
        memory,
        entries: 0,
        by_callback: 0,
        unreadable: 0,
    };
    let first = memory.pointer(head);
    let mut broken = first.is_none().then_some("cannot be read");
    let (mut from, mut at) = (head, first.unwrap_or(head));
    while at != head {
        let native = memory.array::<TABLE>(at);
        broken = match native {
            _ if tables.len() >= MOST_TABLES => Some("is too long to be one"),
            None => Some("leads to memory that cannot be read"),
            Some(native) if word_at(&native, 8) != from => Some("is torn"),
            Some(_) => None,
        };
        let (Some(native), None) = (native, broken) else {
            break;
        };
        tables.push(reader.table(native));
        (from, at) = (at, word_at(&native, 0));
    }
    let subject = Subject::Stream("FunctionTable");
    if let Some(reason) = broken {
        let reason = format!(
            "the list of function tables {reason}: the first {} are told of",
            tables.len()
        );
        remarks.push(Remark::missing(subject.clone(), reason));
    }
    if reader.by_callback > 0 {
        // The process names a DLL that would tell them. It is not loaded: a dumper runs no code that its target names.
        let reason = format!(
            "{} tables are functions of the process', which are not called: they stand without entries",
            reader.by_callback
        );
        remarks.push(Remark::left_out(subject.clone(), reason));
    }
    if reader.unreadable > 0 {
        let reason = format!(
            "the entries of {} tables cannot be read, or are too many",
            reader.unreadable
        );
        remarks.push(Remark::missing(subject, reason));
    }
    tables
}

struct Reader<'a, M> {
    memory: &'a M,
    /// How many have been read.
    entries: usize,
    /// How many tables are functions, and how many have entries that could not be read.
    by_callback: usize,
    unreadable: usize,
}

impl<M: Memory> Reader<'_, M> {
    /// The table of this record: links, entries' address, time, lowest and highest address, base, callback, its context and DLL, kind, count.
    fn table(&mut self, native: [u8; TABLE]) -> FunctionTable {
        let count = int_at(&native, 84) as usize;
        let entries = if int_at(&native, 80) == CALLBACK {
            self.by_callback += 1;
            Vec::new()
        } else {
            let entries = self.entries(word_at(&native, 16), count);
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

    fn entries(&mut self, at: u64, count: usize) -> Option<Vec<FunctionEntry>> {
        if count > MOST_ENTRIES - self.entries {
            return None;
        }
        let bytes = self.memory.bytes(at, count * ENTRY)?;
        self.entries += count;
        let entry = |entry: &[u8]| FunctionEntry {
            begin: int_at(entry, 0),
            end: int_at(entry, 4),
            unwind_info: int_at(entry, 8),
        };
        Some(bytes.chunks_exact(ENTRY).map(entry).collect())
    }
}

/// What these tests would catch: a table lost or read from the wrong places, a walk without end, memory taken for counts that lie, a table by callback taken
/// for a broken one.
#[cfg(test)]
mod tests {
    use dumpwright_target::Gravity;

    use super::*;
    use crate::memory::Pieces;

    const HEAD: u64 = 0x100;

    /// A ring of tables of two functions each, at 0x1000 and on; entries at 0x10000 and on.
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
                0x10000 + index * 0x100,
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
            pieces.push((0x10000 + index * 0x100, words.map(u32::to_le_bytes).concat()));
        }
        Pieces(pieces)
    }

    fn set(memory: &mut Pieces, piece: usize, at: usize, value: u32) {
        memory.0[piece].1[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn read(memory: &Pieces) -> (Vec<FunctionTable>, Vec<Remark>) {
        let mut remarks = Vec::new();
        (tables(memory, HEAD, &mut remarks), remarks)
    }

    #[test]
    fn tables_are_read_from_their_places() {
        let (tables, remarks) = read(&ring(2));
        assert_eq!((tables.len(), remarks), (2, Vec::new()));
        let second = &tables[1];
        assert_eq!(
            (
                second.minimum_address,
                second.maximum_address,
                second.base_address
            ),
            (0x7001, 0x8001, 0x6001)
        );
        assert_eq!(second.native[..], ring(2).0[2].1[..]);
        let entry = FunctionEntry {
            begin: 0x20,
            end: 0x30,
            unwind_info: 0xa0,
        };
        assert_eq!((second.entries.len(), second.entries[1]), (2, entry));
        assert_eq!(read(&ring(0)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn tables_by_callback_are_ranges() {
        let mut memory = ring(2);
        set(&mut memory, 1, 80, CALLBACK);
        set(&mut memory, 1, 16, 0);
        let (tables, remarks) = read(&memory);
        assert!(tables[0].entries.is_empty() && tables[0].minimum_address == 0x7000);
        assert_eq!(tables[1].entries.len(), 2);
        assert_eq!((remarks.len(), remarks[0].gravity), (1, Gravity::LeftOut));
    }

    #[test]
    fn rings_and_counts_that_lie_end() {
        // The second leads back to the first.
        let mut circle = ring(3);
        set(&mut circle, 2, 0, 0x1000);
        let (tables, remarks) = read(&circle);
        assert_eq!((tables.len(), remarks[0].gravity), (2, Gravity::Missing));
        // The first leads to itself, and to nowhere.
        for to in [0x1000, 0xdead_0000] {
            let mut memory = ring(2);
            set(&mut memory, 1, 0, to);
            let (tables, remarks) = read(&memory);
            assert_eq!((tables.len(), remarks.len()), (1, 1));
        }
        let (tables, remarks) = read(&ring(MOST_TABLES as u64 + 5));
        assert_eq!((tables.len(), remarks.len()), (MOST_TABLES, 1));
        // More entries than there are, than can be, and none that can be read.
        for (at, value) in [(84, 3), (84, u32::MAX), (16, 0xdead_0000)] {
            let mut memory = ring(2);
            set(&mut memory, 1, at, value);
            let (tables, remarks) = read(&memory);
            assert_eq!(
                (tables.len(), tables[0].entries.len(), tables[1].entries.len()),
                (2, 0, 2)
            );
            assert_eq!((remarks.len(), remarks[0].gravity), (1, Gravity::Missing));
        }
        assert_eq!(read(&Pieces::default()).1.len(), 1);
    }
}
