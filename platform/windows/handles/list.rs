//! Reads the system's list of handles.

use dumpwright_target::{Fault, FaultKind};
use windows_sys::Wdk::System::Threading::ProcessHandleInformation;

use crate::access::Access;
use crate::error::nt_fault;
use crate::memory::{half_at, int_at, word_at};
use crate::query;

/// SystemExtendedHandleInformation, which windows-sys does not declare: the handles of all
/// processes.
const ALL_HANDLES: i32 = 64;
/// The maximum length of a list in bytes, enough for 6 million handles.
const LONGEST: usize = 256 << 20;
/// The maximum number of handles of a process. The rest are left out.
pub(super) const MOST: usize = 1 << 20;
/// The size of an entry and of the header before the first entry, in bytes. Both are the same in
/// the two lists.
const ENTRY: usize = 40;
const HEAD: usize = 16;

/// The facts about a handle in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HandleRow {
    pub(super) number: u64,
    pub(super) granted_access: u32,
    pub(super) attributes: u32,
    pub(super) type_index: u32,
    /// The numbers of handles and references to the object, if the list has them.
    pub(super) counts: Option<(u32, u32)>,
}

/// Returns the handles in ascending order, and whether there are more of them.
pub(super) fn rows(access: &Access) -> Result<(Vec<HandleRow>, bool), Fault> {
    let rows = match query::process_list(access.process(), ProcessHandleInformation, LONGEST) {
        Ok(list) => of_process(list.bytes()),
        // This happens before Windows 8 and on Wine 8.
        Err(_) => {
            let list = query::system_list(ALL_HANDLES, LONGEST)
                .map_err(|status| nt_fault(format!("list the handles of process {}", access.id), status))?;
            of_system(list.bytes(), access.id)
        }
    };
    let mut rows = rows.ok_or_else(|| {
        Fault::new(
            FaultKind::Malformed,
            format!("list the handles of process {}", access.id),
            "the system's list is malformed",
        )
    })?;
    rows.sort_by_key(|row| row.number);
    let cut_off = rows.len() > MOST;
    rows.truncate(MOST);
    Ok((rows, cut_off))
}

/// Returns the entries of a list, which begins with their number.
fn entries(list: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let count = usize::try_from(word_at(list.get(..8)?, 0)).ok()?;
    Some(list.get(HEAD..)?.chunks_exact(ENTRY).take(count))
}

/// Parses PROCESS_HANDLE_SNAPSHOT_INFORMATION, the handles of one process.
fn of_process(list: &[u8]) -> Option<Vec<HandleRow>> {
    let count = |entry: &[u8], at| u32::try_from(word_at(entry, at)).unwrap_or(u32::MAX);
    let row = |entry: &[u8]| HandleRow {
        number: word_at(entry, 0),
        counts: Some((count(entry, 8), count(entry, 16))),
        granted_access: int_at(entry, 24),
        type_index: int_at(entry, 28),
        attributes: int_at(entry, 32),
    };
    Some(entries(list)?.map(row).collect())
}

/// Parses SYSTEM_HANDLE_INFORMATION_EX, the handles of all processes.
pub(super) fn of_system(list: &[u8], process: u32) -> Option<Vec<HandleRow>> {
    let row = |entry: &[u8]| HandleRow {
        number: word_at(entry, 16),
        counts: None,
        granted_access: int_at(entry, 24),
        type_index: half_at(entry, 30).into(),
        attributes: int_at(entry, 32),
    };
    let own = entries(list)?.filter(|entry| word_at(entry, 8) == u64::from(process));
    Some(own.map(row).collect())
}

/// These tests would catch: a field that is read at another field's offset; handles of other
/// processes; a number of entries that is not checked.
#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: u64, entries: &[[u64; 5]]) -> Vec<u8> {
        let mut words = vec![count, 0];
        words.extend(entries.concat());
        words.into_iter().flat_map(u64::to_le_bytes).collect()
    }

    #[test]
    fn fields_are_where_windows_has_them() {
        let entry = [0x44, 3, 5, 0x25_0000_0010, 2];
        let row = HandleRow {
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
        let row = HandleRow { counts: None, ..row };
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
