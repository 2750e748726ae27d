//! The system's list of handles.

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Wdk::System::Threading::ProcessHandleInformation;

use crate::access::Access;
use crate::memory::{half_at, int_at, word_at};
use crate::query::{self, nt_fault};

/// SystemExtendedHandleInformation, which windows-sys does not name: the handles of all processes.
const ALL_HANDLES: i32 = 64;
/// Bytes that such a list may have: room for 6 million handles.
const LONGEST: usize = 256 << 20;
/// More handles of one process are left out.
pub(super) const MOST: usize = 1 << 20;
/// Bytes of an entry, and of what stands before the first, in both lists.
const ENTRY: usize = 40;
const HEAD: usize = 16;

/// What the list says of a handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) number: u64,
    pub(super) granted_access: u32,
    pub(super) attributes: u32,
    pub(super) type_index: u32,
    /// How many handles and references there are to the object, where the list says it.
    pub(super) counts: Option<(u32, u32)>,
}

/// The handles, ascending, and whether there are more of them than are listed here.
pub(super) fn rows(access: &Access) -> Result<(Vec<Row>, bool), Fault> {
    let rows = match query::process_list(access.process, ProcessHandleInformation, LONGEST) {
        Ok(list) => of_process(&bytes(&list)),
        // Before Windows 8, and in Wine 8.
        Err(_) => {
            let list = query::system_list(ALL_HANDLES, LONGEST)
                .map_err(|status| nt_fault(format!("list the handles of process {}", access.id), status))?;
            of_system(&bytes(&list), access.id)
        }
    };
    let mut rows = rows.ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            format!("list the handles of process {}", access.id),
            "the system's list makes no sense",
        )
    })?;
    rows.sort_by_key(|row| row.number);
    let cut_off = rows.len() > MOST;
    rows.truncate(MOST);
    Ok((rows, cut_off))
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The entries of a list that begins with their number.
fn entries(list: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let count = usize::try_from(word_at(list.get(..8)?, 0)).ok()?;
    Some(list.get(HEAD..)?.chunks_exact(ENTRY).take(count))
}

/// PROCESS_HANDLE_SNAPSHOT_INFORMATION: the handles of one process.
fn of_process(list: &[u8]) -> Option<Vec<Row>> {
    let count = |entry: &[u8], at| u32::try_from(word_at(entry, at)).unwrap_or(u32::MAX);
    let row = |entry: &[u8]| Row {
        number: word_at(entry, 0),
        counts: Some((count(entry, 8), count(entry, 16))),
        granted_access: int_at(entry, 24),
        type_index: int_at(entry, 28),
        attributes: int_at(entry, 32),
    };
    Some(entries(list)?.map(row).collect())
}

/// SYSTEM_HANDLE_INFORMATION_EX: the handles of all processes.
fn of_system(list: &[u8], process: u32) -> Option<Vec<Row>> {
    let row = |entry: &[u8]| Row {
        number: word_at(entry, 16),
        counts: None,
        granted_access: int_at(entry, 24),
        type_index: half_at(entry, 30).into(),
        attributes: int_at(entry, 32),
    };
    let own = entries(list)?.filter(|entry| word_at(entry, 8) == u64::from(process));
    Some(own.map(row).collect())
}

/// What these tests would catch: a field taken from its neighbour's place, handles of other processes, counts that are believed.
#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: u64, entries: &[[u64; 5]]) -> Vec<u8> {
        let mut words = vec![count, 0];
        words.extend(entries.concat());
        bytes(&words)
    }

    #[test]
    fn fields_are_where_windows_has_them() {
        let entry = [0x44, 3, 5, 0x25_0000_0010, 2];
        let row = Row {
            number: 0x44,
            granted_access: 0x10,
            attributes: 2,
            type_index: 0x25,
            counts: Some((3, 5)),
        };
        assert_eq!(of_process(&list(1, &[entry])), Some(vec![row.clone()]));
        let entries = [
            [0xffff_8000_0000_0000, 17, 0x44, 0x0025_0000_0000_0010, 2],
            [1, 18, 0x48, 0, 0],
        ];
        let row = Row { counts: None, ..row };
        assert_eq!(of_system(&list(2, &entries), 17), Some(vec![row]));
        assert_eq!(of_system(&list(2, &entries), 19), Some(Vec::new()));
    }

    #[test]
    fn counts_that_lie_are_not_believed() {
        assert_eq!(
            of_process(&list(u64::MAX, &[[0; 5]])).map(|rows| rows.len()),
            Some(1)
        );
        assert_eq!(of_process(&list(0, &[[0; 5]])).map(|rows| rows.len()), Some(0));
        assert_eq!(of_process(&[]), None);
        assert_eq!(of_process(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(of_system(&list(9, &[])[..16], 0), Some(Vec::new()));
    }
}
