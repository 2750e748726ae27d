//! Its open handles.
//!
//! The system lists them; what they lead to is asked of duplicates, which are closed at once. What a duplicate cannot be had of keeps the row that the
//! list has of it.

mod files;
mod list;
mod object;

use std::collections::BTreeMap;

use dumpwright_target::{Fault, Handle, Remark, Subject};
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_ACCESS_DENIED, ERROR_INVALID_HANDLE, GetLastError,
};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use crate::access::Access;
use crate::owned::Owned;
use files::Files;
use list::Row;

/// Type of the objects whose name the system may not come back with.
const FILE: &str = "File";

/// The open handles, ascending.
///
/// # Errors
/// The system has no list of them.
pub(crate) fn handles(access: &Access, remarks: &mut Vec<Remark>) -> Result<Vec<Handle>, Fault> {
    let (rows, cut_off) = list::rows(access)?;
    let mut files = Files::new();
    // Names of types by their numbers, which are the same for all objects until the machine is started anew.
    let mut types = BTreeMap::new();
    let mut refused = Refused::default();
    let mut handles = Vec::with_capacity(rows.len());
    for row in rows {
        match duplicate(access, &row) {
            Ok(object) => handles.push(describe(&row, object, &mut types, &mut files)),
            // Closed meanwhile.
            Err(ERROR_INVALID_HANDLE) => {}
            Err(code) => {
                refused.add(code);
                handles.push(bare(&row));
            }
        }
    }
    for handle in &mut handles {
        if handle.1.type_name.is_empty() {
            // It may have been told of an object that could be asked.
            handle.1.type_name = types.get(&handle.0).cloned().unwrap_or_default();
        }
    }
    let subject = Subject::Stream("HandleData");
    remarks.extend(refused.remark());
    remarks.extend(files.remark());
    if cut_off {
        remarks.push(Remark::missing(
            subject,
            format!(
                "the process has more than {} handles; the others are left out",
                list::MOST
            ),
        ));
    }
    Ok(handles.into_iter().map(|(_, handle)| handle).collect())
}

/// A duplicate of our own, with the same rights: more may not be had, and fewer may not do.
fn duplicate(access: &Access, row: &Row) -> Result<Owned, u32> {
    let mut object = std::ptr::null_mut();
    let handle = std::ptr::without_provenance_mut(row.number as usize);
    // SAFETY: writes a handle to the variable; the one that is duplicated is the other process' own.
    unsafe {
        let own = GetCurrentProcess();
        if DuplicateHandle(
            access.process,
            handle,
            own,
            &mut object,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        ) == 0
        {
            return Err(GetLastError());
        }
        Owned::new(object).ok_or(ERROR_INVALID_HANDLE)
    }
}

/// What the list alone says.
fn bare(row: &Row) -> (u32, Handle) {
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

fn describe(row: &Row, object: Owned, types: &mut BTreeMap<u32, String>, files: &mut Files) -> (u32, Handle) {
    let (type_index, mut handle) = bare(row);
    if row.counts.is_none() {
        // Without what we have added: our handle, and the references that it and the question hold.
        if let Some((handles, pointers)) = object::counts(object.get()) {
            handle.handle_count = handles.saturating_sub(1);
            handle.pointer_count = pointers.saturating_sub(2);
        }
    }
    handle.type_name = match types.get(&type_index) {
        Some(name) => name.clone(),
        None => {
            let name = object::type_name(object.get()).unwrap_or_default();
            // 0 is no type's number.
            if type_index != 0 && !name.is_empty() {
                types.insert(type_index, name.clone());
            }
            name
        }
    };
    handle.information = object::information(object.get(), &handle.type_name);
    handle.object_name = match handle.type_name == FILE {
        true => files.name(object),
        false => object::name(object.get()),
    };
    (type_index, handle)
}

/// Handles that could not be duplicated.
#[derive(Debug, Default)]
struct Refused {
    denied: usize,
    others: usize,
    code: u32,
}

impl Refused {
    fn add(&mut self, code: u32) {
        match code {
            ERROR_ACCESS_DENIED => self.denied += 1,
            _ => (self.others, self.code) = (self.others + 1, code),
        }
    }

    /// What is refused to us is missing; some objects are given to nobody (registrations for tracing events).
    fn remark(&self) -> Option<Remark> {
        let subject = Subject::Stream("HandleData");
        if self.denied > 0 {
            let reason = format!(
                "{} handles lead to objects that may not be asked, so their names are not known: run the dumper elevated",
                self.denied + self.others
            );
            return Some(Remark::missing(subject, reason));
        }
        let error = std::io::Error::from_raw_os_error(self.code.cast_signed());
        (self.others > 0).then(|| {
            let reason = format!(
                "{} handles lead to objects that the system does not share: {error}",
                self.others
            );
            Remark::note(subject, reason)
        })
    }
}

#[cfg(test)]
mod tests;
