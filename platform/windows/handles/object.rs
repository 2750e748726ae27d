//! Queries the object behind a duplicated handle.

use std::os::windows::io::BorrowedHandle;

use dumpwright_target::ObjectInformation;
use windows_sys::Win32::Foundation::NTSTATUS;

use crate::memory::{int_at, word_at};
use crate::query::ObjectQueries;

/// EVENT_QUERY_STATE, MUTANT_QUERY_STATE and SECTION_QUERY: the right to query the state of an
/// object of these types.
pub(super) const QUERY_STATE: u32 = 1;

/// Returns the facts that dumps store about objects of some types, in addition to their names.
///
/// The format of dumps also has type numbers for semaphores, processes and threads. The format of
/// their information is not documented, and DbgHelp 6.3.9600 was seen to write none for semaphores.
///
/// # Errors
/// The kernel's status, if it does not report them.
pub(super) fn information(
    queries: &ObjectQueries,
    object: BorrowedHandle<'_>,
    type_name: &str,
) -> Result<Option<ObjectInformation>, NTSTATUS> {
    match type_name {
        "Event" => Ok(queries.event(object)?.map(event)),
        "Mutant" => Ok(queries.mutant(object)?.map(mutant)),
        "Section" => Ok(queries.section(object)?.map(section)),
        _ => Ok(None),
    }
}

/// Converts the information of an event: type (1: wakes one waiter), state.
fn event(bytes: [u8; 8]) -> ObjectInformation {
    ObjectInformation::event(int_at(&bytes, 0) == 1, int_at(&bytes, 4) != 0)
}

/// Converts the information of a mutant: count, whether the caller owns it, whether it was
/// abandoned.
fn mutant(bytes: [u8; 8]) -> ObjectInformation {
    ObjectInformation::mutant(int_at(&bytes, 0), bytes[4] != 0, bytes[5] != 0)
}

/// Converts the information of a section: base, attributes, size.
fn section(bytes: [u8; 24]) -> ObjectInformation {
    ObjectInformation::section(word_at(&bytes, 0), int_at(&bytes, 8), word_at(&bytes, 16))
}
