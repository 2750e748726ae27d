//! Lists the open handles of a process.
//!
//! The system lists the handles. This crate duplicates each handle, queries the duplicate for facts
//! about the object, and closes it at once. A handle that cannot be duplicated keeps the facts from
//! the list.

mod files;
mod list;
mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::os::windows::io::{AsHandle, AsRawHandle, HandleOrNull, OwnedHandle};

use dumpwright_target::{Diagnostic, Fault, Handle, Subject};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, ERROR_NOT_SUPPORTED,
    NTSTATUS,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use crate::access::Access;
use crate::error::{Losses, last_error, nt_fault};
use crate::query::{self, ObjectQueries};
use files::Files;
use list::HandleRow;

/// The type of the objects for which a name query may never return.
const FILE: &str = "File";

/// Returns the open handles of the process, in ascending order.
///
/// # Errors
/// The system supplies no list of them.
pub(crate) fn handles(access: &Access, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Handle>, Fault> {
    let (rows, cut_off) = list::rows(access)?;
    let mut describer = Describer::new();
    let mut refused = Refused::default();
    let mut handles = Vec::with_capacity(rows.len());
    // The handles that are still open, once a handle seems to have been closed in the meantime.
    let mut open: Option<BTreeSet<u64>> = None;
    for row in rows {
        match duplicate(access, &row) {
            Ok(object) => handles.push(describer.describe(&row, object)),
            Err(ERROR_INVALID_HANDLE) if !is_open(access, &mut open, row.number) => {}
            Err(code) => {
                refused.add(code);
                handles.push(bare(&row));
            }
        }
    }
    for handle in &mut handles {
        if handle.1.type_name.is_empty() {
            // The name of this type may be known from another object, which could be queried.
            handle.1.type_name = describer.types.get(&handle.0).cloned().unwrap_or_default();
        }
    }
    let subject = Subject::Stream("HandleData");
    diagnostics.extend(refused.diagnostic());
    diagnostics.extend(describer.losses.diagnostic(subject.clone()));
    diagnostics.extend(describer.files.diagnostic());
    if cut_off {
        diagnostics.push(Diagnostic::missing(
            subject,
            format!(
                "the process has more than {} handles; the rest are left out",
                list::MOST
            ),
        ));
    }
    Ok(handles.into_iter().map(|(_, handle)| handle).collect())
}

/// Whether a handle is still open. `open` is the list that was made at the first question. If there
/// is no list, the handle counts as open.
fn is_open(access: &Access<'_>, open: &mut Option<BTreeSet<u64>>, number: u64) -> bool {
    if open.is_none() {
        let Ok((rows, _)) = list::rows(access) else {
            return true;
        };
        *open = Some(rows.into_iter().map(|row| row.number).collect());
    }
    open.as_ref().is_some_and(|open| open.contains(&number))
}

/// Duplicates a handle into this process with the same access rights. More rights may not be
/// granted, and fewer may not be enough for the queries. The system may lack memory for a moment,
/// so a failure is tried once more.
fn duplicate(access: &Access<'_>, row: &HandleRow) -> Result<OwnedHandle, u32> {
    let mut code = 0;
    for _ in 0..2 {
        let mut object = std::ptr::null_mut();
        // SAFETY: the process's handle is open as long as it is borrowed. The handle number belongs
        // to that process and need not be valid any more. The duplicate is written to a local
        // variable.
        let done = unsafe {
            DuplicateHandle(
                access.process().as_raw_handle(),
                std::ptr::without_provenance_mut(row.number as usize),
                GetCurrentProcess(),
                &raw mut object,
                0,
                0,
                DUPLICATE_SAME_ACCESS,
            )
        };
        if done != 0 {
            // SAFETY: the handle was just created for this process and has no other owner.
            let object = OwnedHandle::try_from(unsafe { HandleOrNull::from_raw_handle(object) });
            return object.map_err(|_| ERROR_INVALID_HANDLE);
        }
        code = last_error();
    }
    Err(code)
}

/// Returns the type index and the facts of a handle that the list has.
fn bare(row: &HandleRow) -> (u32, Handle) {
    let (handle_count, pointer_count) = row.counts.unwrap_or((1, 0));
    let handle = Handle {
        number: row.number,
        type_name: String::new(),
        object_name: None,
        attributes: row.attributes,
        granted_access: row.granted_access,
        handle_count,
        pointer_count,
        information: Vec::new(),
    };
    (row.type_index, handle)
}

/// Describes handles by querying duplicates of them.
struct Describer {
    /// The names of types by their index, which is the same for all objects until the machine
    /// restarts.
    types: BTreeMap<u32, String>,
    queries: ObjectQueries,
    files: Files,
    losses: Losses,
}

impl Describer {
    fn new() -> Self {
        Self {
            types: BTreeMap::new(),
            queries: ObjectQueries::bind(),
            files: Files::new(),
            losses: Losses::default(),
        }
    }

    /// Returns the answer to a query about an object, or records that it is missing.
    fn keep<T>(&mut self, row: &HandleRow, what: &str, answer: Result<T, NTSTATUS>) -> Option<T> {
        self.losses.keep(
            answer.map_err(|status| nt_fault(format!("query {what} of handle {:#x}", row.number), status)),
        )
    }

    fn describe(&mut self, row: &HandleRow, duplicate: OwnedHandle) -> (u32, Handle) {
        let object = duplicate.as_handle();
        let (type_index, mut handle) = bare(row);
        if row.counts.is_none() {
            // Subtracts what this crate has added: the duplicate, and the references that the
            // duplicate and the query hold.
            if let Some(basic) = self.keep(row, "the counts", query::object(object)) {
                handle.handle_count = basic.handle_count.saturating_sub(1);
                handle.pointer_count = basic.pointer_count.saturating_sub(2);
            }
        }
        handle.type_name = match self.types.get(&type_index) {
            Some(name) => name.clone(),
            None => {
                let name = self.keep(row, "the type", query::object_type(object));
                let name = name.unwrap_or_default();
                // No type has the index 0.
                if type_index != 0 && !name.is_empty() {
                    self.types.insert(type_index, name.clone());
                }
                name
            }
        };
        // The duplicate has the rights of the handle, which may not include the right to query.
        let information = match row.granted_access & object::QUERY_STATE {
            0 => Ok(None),
            _ => object::information(&self.queries, object, &handle.type_name),
        };
        let information = self.keep(row, "the state", information).flatten();
        handle.information = information.into_iter().collect();
        // The name of an object of unknown type is not queried, because it may be a file.
        let name = match &handle.type_name[..] {
            "" => Ok(String::new()),
            FILE => self.files.name(duplicate),
            _ => files::name(object),
        };
        let name = self.keep(row, "the name", name);
        handle.object_name = name.filter(|name| !name.is_empty());
        (type_index, handle)
    }
}

/// Counts the handles that could not be duplicated.
#[derive(Debug, Default)]
struct Refused {
    denied: usize,
    /// Handles of objects that the system shares with nobody.
    unshared: usize,
    others: usize,
    /// The code of the last one of the others.
    code: u32,
}

impl Refused {
    fn add(&mut self, code: u32) {
        match code {
            ERROR_ACCESS_DENIED => self.denied += 1,
            ERROR_NOT_SUPPORTED => self.unshared += 1,
            _ => (self.others, self.code) = (self.others + 1, code),
        }
    }

    /// Returns the diagnostic, if handles could not be duplicated.
    ///
    /// What is not known about them is missing. For objects that the system shares with nobody,
    /// such as registrations for trace events, it is a note.
    fn diagnostic(&self) -> Option<Diagnostic> {
        let subject = Subject::Stream("HandleData");
        if self.denied > 0 {
            let reason = format!(
                "the names of {} handles are not known, because access to their objects was denied: run the dumper elevated",
                self.denied + self.others
            );
            return Some(Diagnostic::missing(subject, reason));
        }
        let code = |code: u32| std::io::Error::from_raw_os_error(code.cast_signed());
        if self.others > 0 {
            let error = code(self.code);
            let reason = format!("{} handles cannot be duplicated: {error}", self.others);
            return Some(Diagnostic::missing(subject, reason));
        }
        let error = code(ERROR_NOT_SUPPORTED);
        (self.unshared > 0).then(|| {
            let reason = format!(
                "{} handles refer to objects that the system does not share: {error}",
                self.unshared
            );
            Diagnostic::note(subject, reason)
        })
    }
}

#[cfg(test)]
mod tests;
