//! What the system tells of the object behind a handle of ours.

use std::ffi::{CStr, c_void};
use std::sync::LazyLock;

use dumpwright_target::ObjectInformation;
use windows_sys::Win32::Foundation::HANDLE;

use crate::memory::{half_at, int_at, word_at};
use crate::nt;

/// Information classes of `NtQueryObject`.
const BASIC: i32 = 0;
const NAME: i32 = 1;
const TYPE: i32 = 2;

/// The signature of `NtQueryObject`, `NtQueryEvent`, `NtQueryMutant` and `NtQuerySection`: handle, class, buffer, its length, how much was filled. (The last one's lengths
/// have 64 bits; those given here fit both.)
type Query = unsafe extern "system" fn(HANDLE, i32, *mut c_void, usize, *mut usize) -> i32;

/// The functions that are asked, found once: processes have tens of thousands of handles.
struct Functions {
    object: Option<Query>,
    event: Option<Query>,
    mutant: Option<Query>,
    section: Option<Query>,
}

static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let find = |name: &CStr| {
        let function = nt::function(c"ntdll.dll", name)?;
        // SAFETY: the functions of the names below have this signature.
        Some(unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, Query>(function) })
    };
    Functions {
        object: find(c"NtQueryObject"),
        event: find(c"NtQueryEvent"),
        mutant: find(c"NtQueryMutant"),
        section: find(c"NtQuerySection"),
    }
});

/// Asks for a structure of this size; `None` if the system does not tell it, of this object or through this handle.
fn ask(function: Option<Query>, object: HANDLE, class: i32, words: &mut [u64]) -> Option<()> {
    let mut filled = 0;
    let (buffer, len) = (words.as_mut_ptr().cast(), size_of_val(words));
    // SAFETY: writes at most the buffer's length to the buffer and a length to the variable; a handle that is none is an error.
    let status = unsafe { function?(object, class, buffer, len, &mut filled) };
    (status >= 0).then_some(())
}

/// How many handles and references there are to an object.
pub(super) fn counts(object: HANDLE) -> Option<(u32, u32)> {
    // OBJECT_BASIC_INFORMATION: attributes, rights, handles, pointers, and more.
    let mut words = [0; 7];
    ask(FUNCTIONS.object, object, BASIC, &mut words)?;
    Some((words[1] as u32, (words[1] >> 32) as u32))
}

/// The type of an object, such as "Event".
pub(super) fn type_name(object: HANDLE) -> Option<String> {
    // OBJECT_TYPE_INFORMATION begins with the name; all of it has 104 bytes, and the name's text.
    let mut words = vec![0; 64];
    text(object, TYPE, &mut words)
}

/// The name of an object, if it has one. Not to be asked of files: the system may not come back with it.
pub(super) fn name(object: HANDLE) -> Option<String> {
    let mut words = vec![0; 64];
    text(object, NAME, &mut words)
        .or_else(|| {
            // Names have up to 65534 bytes.
            words.resize(0x2010, 0);
            text(object, NAME, &mut words)
        })
        .filter(|name| !name.is_empty())
}

/// The text of the `UNICODE_STRING` that such an answer begins with; it lies behind, in the same answer.
fn text(object: HANDLE, class: i32, words: &mut [u64]) -> Option<String> {
    ask(FUNCTIONS.object, object, class, words)?;
    let address = words.as_ptr().addr() as u64;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (len, at) = (usize::from(half_at(&bytes, 0)), word_at(&bytes, 8));
    if len == 0 {
        return Some(String::new());
    }
    let at = usize::try_from(at.checked_sub(address)?).ok()?;
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| half_at(unit, 0)).collect();
    Some(String::from_utf16_lossy(&units))
}

/// What dumps have of objects of some types beyond their names. Semaphores, processes and threads have numbers there too, but what their
/// information looks like is not documented, and DbgHelp 6.3.9600 was seen to write none of semaphores.
pub(super) fn information(object: HANDLE, type_name: &str) -> Vec<ObjectInformation> {
    let information = match type_name {
        "Event" => event(object),
        "Mutant" => mutant(object),
        "Section" => section(object),
        _ => None,
    };
    information.into_iter().collect()
}

/// EVENT_BASIC_INFORMATION: type (1: wakes one waiter), state.
fn event(object: HANDLE) -> Option<ObjectInformation> {
    let mut words = [0];
    ask(FUNCTIONS.event, object, BASIC, &mut words)?;
    let bytes = words[0].to_le_bytes();
    Some(ObjectInformation::event(
        int_at(&bytes, 0) == 1,
        int_at(&bytes, 4) != 0,
    ))
}

/// MUTANT_BASIC_INFORMATION: count, whether the caller owns it, whether it was abandoned.
fn mutant(object: HANDLE) -> Option<ObjectInformation> {
    let mut words = [0];
    ask(FUNCTIONS.mutant, object, BASIC, &mut words)?;
    let bytes = words[0].to_le_bytes();
    Some(ObjectInformation::mutant(
        int_at(&bytes, 0),
        bytes[4] != 0,
        bytes[5] != 0,
    ))
}

/// SECTION_BASIC_INFORMATION: base, attributes, size.
fn section(object: HANDLE) -> Option<ObjectInformation> {
    let mut words = [0; 3];
    ask(FUNCTIONS.section, object, BASIC, &mut words)?;
    Some(ObjectInformation::section(words[0], words[1] as u32, words[2]))
}
