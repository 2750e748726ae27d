//! Queries information classes of the kernel, into a buffer of fixed size or into one that grows.

use std::ffi::c_void;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use windows_sys::Wdk::Foundation::NtQueryObject;
use windows_sys::Wdk::System::SystemInformation::NtQuerySystemInformation;
use windows_sys::Wdk::System::Threading::{
    NtQueryInformationProcess, NtQueryInformationThread, ThreadBasicInformation,
};
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, STATUS_BUFFER_OVERFLOW, STATUS_BUFFER_TOO_SMALL, STATUS_INFO_LENGTH_MISMATCH,
    STATUS_INVALID_INFO_CLASS, STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED, STATUS_NOT_SUPPORTED,
    STATUS_PROCEDURE_NOT_FOUND,
};

use crate::memory::{half_at, int_at, utf16, word_at};
use crate::nt::bound;

/// A buffer of fixed size. For some classes the kernel refuses buffers that do not have the
/// alignment of the class' structure (STATUS_DATATYPE_MISALIGNMENT). No class needs more than 16.
#[repr(C, align(16))]
struct Fixed<const N: usize>([u8; N]);

/// Queries a structure of this size. Also returns the number of bytes that the kernel reports as
/// filled.
fn fixed<const N: usize>(
    ask: impl FnOnce(&mut [u8], &mut u32) -> NTSTATUS,
) -> Result<([u8; N], usize), NTSTATUS> {
    let mut answer = Fixed([0; N]);
    let mut filled = 0;
    match ask(&mut answer.0, &mut filled) {
        status if status < 0 => Err(status),
        _ => Ok((answer.0, filled as usize)),
    }
}

/// Returns the length of a buffer in bytes.
fn length<T>(buffer: &[T]) -> u32 {
    u32::try_from(size_of_val(buffer)).expect("buffers are limited to less than 4 GiB")
}

/// Queries a class of `NtQueryInformationProcess` whose structure has this size.
///
/// # Errors
/// The kernel's status: the class does not exist, the query is refused, or the structure has
/// another size on this system.
pub(crate) fn process<const N: usize>(process: BorrowedHandle<'_>, class: i32) -> Result<[u8; N], NTSTATUS> {
    let answer = fixed(|buffer, filled| {
        // SAFETY: the handle is open as long as it is borrowed. The kernel writes at most the
        // buffer's length to the buffer, and the number of bytes to the integer.
        unsafe {
            NtQueryInformationProcess(
                process.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        }
    });
    answer.map(|(bytes, _)| bytes)
}

/// Converts the result of a query that not every system answers. The fact is absent if the system
/// does not have the class, or answers it for the calling process only (STATUS_INVALID_PARAMETER).
///
/// # Errors
/// The kernel's status, if the query failed for another reason.
pub(crate) fn optional<T>(answer: Result<T, NTSTATUS>) -> Result<Option<T>, NTSTATUS> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(
            STATUS_INVALID_INFO_CLASS
            | STATUS_INVALID_PARAMETER
            | STATUS_NOT_IMPLEMENTED
            | STATUS_NOT_SUPPORTED
            | STATUS_PROCEDURE_NOT_FOUND,
        ) => Ok(None),
        Err(status) => Err(status),
    }
}

/// Queries a class of a process whose structure is a 32-bit number. Returns `None` if this system
/// does not answer it.
///
/// # Errors
/// As for [`optional`].
pub(crate) fn process_word(handle: BorrowedHandle<'_>, class: i32) -> Result<Option<u32>, NTSTATUS> {
    optional(process(handle, class).map(u32::from_le_bytes))
}

/// Queries a class of `NtQueryInformationThread` whose structure has this size.
///
/// # Errors
/// As for [`process`].
pub(crate) fn thread<const N: usize>(thread: BorrowedHandle<'_>, class: i32) -> Result<[u8; N], NTSTATUS> {
    let answer = fixed(|buffer, filled| {
        // SAFETY: as in `process`.
        unsafe {
            NtQueryInformationThread(
                thread.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        }
    });
    answer.map(|(bytes, _)| bytes)
}

/// The members of `THREAD_BASIC_INFORMATION` that are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadBasic {
    /// The address of the thread environment block, or 0 if the thread has none.
    pub(crate) teb: u64,
    /// The processors on which the thread may run, one bit each.
    pub(crate) affinity: u64,
}

/// Queries the basic facts about a thread.
///
/// # Errors
/// As for [`process`].
pub(crate) fn thread_basic(handle: BorrowedHandle<'_>) -> Result<ThreadBasic, NTSTATUS> {
    // Status, TEB, process and thread id, affinity, priorities.
    let bytes: [u8; 48] = thread(handle, ThreadBasicInformation)?;
    Ok(ThreadBasic {
        teb: word_at(&bytes, 8),
        affinity: word_at(&bytes, 32),
    })
}

/// Queries a class of `NtQuerySystemInformation` whose structure has this size.
///
/// # Errors
/// As for [`process`].
pub(crate) fn system<const N: usize>(class: i32) -> Result<[u8; N], NTSTATUS> {
    system_in_part(class).map(|(answer, _)| answer)
}

/// Queries a class of `NtQuerySystemInformation` whose structure is shorter on some systems. Also
/// returns the number of bytes filled.
///
/// # Errors
/// As for [`process`].
pub(crate) fn system_in_part<const N: usize>(class: i32) -> Result<([u8; N], usize), NTSTATUS> {
    fixed(|buffer, filled| {
        // SAFETY: the kernel writes at most the buffer's length to the buffer, and the number of
        // bytes to the integer.
        unsafe { NtQuerySystemInformation(class, buffer.as_mut_ptr().cast(), length(buffer), filled) }
    })
}

/// Information classes of `NtQueryObject`.
const OBJECT_BASIC: i32 = 0;
const OBJECT_NAME: i32 = 1;
const OBJECT_TYPE: i32 = 2;

/// The members of `OBJECT_BASIC_INFORMATION` that are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObjectBasic {
    /// The access rights of the queried handle.
    pub(crate) granted_access: u32,
    pub(crate) handle_count: u32,
    pub(crate) pointer_count: u32,
}

/// Queries the basic facts about an object through a handle of this process.
///
/// # Errors
/// As for [`process`].
pub(crate) fn object(object: BorrowedHandle<'_>) -> Result<ObjectBasic, NTSTATUS> {
    let answer = fixed::<56>(|buffer, filled| {
        // SAFETY: as in `process`.
        unsafe {
            NtQueryObject(
                object.as_raw_handle(),
                OBJECT_BASIC,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        }
    });
    let (bytes, _) = answer?;
    Ok(ObjectBasic {
        granted_access: int_at(&bytes, 4),
        handle_count: int_at(&bytes, 8),
        pointer_count: int_at(&bytes, 12),
    })
}

/// Queries the type of an object, such as "Event".
///
/// # Errors
/// As for [`process`].
pub(crate) fn object_type(object: BorrowedHandle<'_>) -> Result<String, NTSTATUS> {
    // OBJECT_TYPE_INFORMATION begins with the name.
    object_text(object, OBJECT_TYPE)
}

/// Queries the name of an object, which is empty if it has none. For objects of type "File", this
/// function may never return.
///
/// # Errors
/// As for [`process`].
pub(crate) fn object_name(object: BorrowedHandle<'_>) -> Result<String, NTSTATUS> {
    object_text(object, OBJECT_NAME)
}

/// Queries a class of an object whose structure begins with a `UNICODE_STRING`, and returns the
/// text. It is empty if the answer is malformed.
fn object_text(object: BorrowedHandle<'_>, class: i32) -> Result<String, NTSTATUS> {
    /// Enough for all type names and most object names.
    const FIRST: usize = 512;
    /// The structure and, after it, a text of up to 65,534 bytes.
    const MOST: usize = 0x1_0080;
    let answer = grow(FIRST, MOST, |buffer, filled| {
        // SAFETY: as in `process`.
        QueryAttempt::of(unsafe {
            NtQueryObject(
                object.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        })
    });
    Ok(answer?.unicode_string().unwrap_or_default())
}

/// The type of `NtQueryEvent` and `NtQueryMutant`: handle, class, buffer, its length, number of
/// bytes filled.
type NtQuery = unsafe extern "system" fn(HANDLE, i32, *mut c_void, u32, *mut u32) -> NTSTATUS;
/// The type of `NtQuerySection`, whose lengths have the width of pointers.
type NtQuerySection = unsafe extern "system" fn(HANDLE, i32, *mut c_void, usize, *mut usize) -> NTSTATUS;

/// The functions for objects of one type, which windows-sys does not declare.
#[derive(Clone, Copy)]
pub(crate) struct ObjectQueries {
    event: Option<NtQuery>,
    mutant: Option<NtQuery>,
    section: Option<NtQuerySection>,
}

impl ObjectQueries {
    /// Looks up the functions that this system has. Call it once for many objects.
    pub(crate) fn bind() -> Self {
        Self {
            event: bound!(
                Ntdll,
                c"NtQueryEvent",
                fn(HANDLE, i32, *mut c_void, u32, *mut u32) -> NTSTATUS
            ),
            mutant: bound!(
                Ntdll,
                c"NtQueryMutant",
                fn(HANDLE, i32, *mut c_void, u32, *mut u32) -> NTSTATUS
            ),
            section: bound!(
                Ntdll,
                c"NtQuerySection",
                fn(HANDLE, i32, *mut c_void, usize, *mut usize) -> NTSTATUS
            ),
        }
    }

    /// Queries `EVENT_BASIC_INFORMATION`: type, state.
    ///
    /// # Errors
    /// As for [`optional`].
    pub(crate) fn event(&self, event: BorrowedHandle<'_>) -> Result<Option<[u8; 8]>, NTSTATUS> {
        basic(self.event, event)
    }

    /// Queries `MUTANT_BASIC_INFORMATION`: count, whether the caller owns it, whether it was
    /// abandoned.
    ///
    /// # Errors
    /// As for [`optional`].
    pub(crate) fn mutant(&self, mutant: BorrowedHandle<'_>) -> Result<Option<[u8; 8]>, NTSTATUS> {
        basic(self.mutant, mutant)
    }

    /// Queries `SECTION_BASIC_INFORMATION`: base, attributes, size.
    ///
    /// # Errors
    /// As for [`optional`].
    pub(crate) fn section(&self, section: BorrowedHandle<'_>) -> Result<Option<[u8; 24]>, NTSTATUS> {
        let Some(ask) = self.section else {
            return Ok(None);
        };
        let answer = fixed(|buffer, _| {
            let mut filled = 0;
            // SAFETY: as in `process`. The function of this name has this signature.
            unsafe {
                ask(
                    section.as_raw_handle(),
                    OBJECT_BASIC,
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    &raw mut filled,
                )
            }
        });
        optional(answer.map(|(bytes, _)| bytes))
    }
}

/// Queries class 0 of the function for an object's type.
fn basic<const N: usize>(
    ask: Option<NtQuery>,
    object: BorrowedHandle<'_>,
) -> Result<Option<[u8; N]>, NTSTATUS> {
    let Some(ask) = ask else {
        return Ok(None);
    };
    let answer = fixed(|buffer, filled| {
        // SAFETY: as in `process`. The functions of type `NtQuery` have this signature.
        unsafe {
            ask(
                object.as_raw_handle(),
                OBJECT_BASIC,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        }
    });
    optional(answer.map(|(bytes, _)| bytes))
}

/// Queries the power states of the processors, one `PROCESSOR_POWER_INFORMATION` each.
///
/// # Errors
/// The kernel's status, or STATUS_PROCEDURE_NOT_FOUND if this system does not have the function.
pub(crate) fn processor_power(level: i32) -> Result<Buffer, NTSTATUS> {
    /// One processor group: 64 processors of 24 bytes each.
    const FIRST: usize = 64 * 24;
    /// 64 processor groups. Windows 11 and Server 2022 support 2,048 processors.
    const MOST: usize = 64 * FIRST;
    // CallNtPowerInformation of powrprof.dll calls this function, but would require another DLL.
    let ask = bound!(
        Ntdll,
        c"NtPowerInformation",
        fn(i32, *const c_void, u32, *mut c_void, u32) -> NTSTATUS
    );
    let ask = ask.ok_or(STATUS_PROCEDURE_NOT_FOUND)?;
    grow(FIRST, MOST, |buffer, _| {
        // SAFETY: this level takes no input. The kernel writes at most the buffer's length to the
        // buffer.
        QueryAttempt::of(unsafe {
            ask(
                level,
                std::ptr::null(),
                0,
                buffer.as_mut_ptr().cast(),
                length(buffer),
            )
        })
    })
}

/// The first length for lists, in bytes. Most lists fit.
const FIRST_OF_LIST: usize = 64 << 10;

/// Queries a class of `NtQuerySystemInformation` whose structure is a list.
///
/// # Errors
/// The kernel's status. If the list has more than `most` bytes, it is the status for a buffer that
/// is too short.
pub(crate) fn system_list(class: i32, most: usize) -> Result<Buffer, NTSTATUS> {
    grow(FIRST_OF_LIST, most, |buffer, filled| {
        // SAFETY: the kernel writes at most the buffer's length to the buffer, and the number of
        // bytes to the integer.
        QueryAttempt::of(unsafe {
            NtQuerySystemInformation(class, buffer.as_mut_ptr().cast(), length(buffer), filled)
        })
    })
}

/// Queries a class of `NtQueryInformationProcess` whose structure is a list.
///
/// # Errors
/// As for [`system_list`].
pub(crate) fn process_list(process: BorrowedHandle<'_>, class: i32, most: usize) -> Result<Buffer, NTSTATUS> {
    grow(FIRST_OF_LIST, most, |buffer, filled| {
        // SAFETY: as in `process`.
        QueryAttempt::of(unsafe {
            NtQueryInformationProcess(
                process.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast(),
                length(buffer),
                filled,
            )
        })
    })
}

/// The result of one attempt of a growing query.
#[derive(Debug, Clone, Copy)]
pub(crate) enum QueryAttempt<E> {
    /// The buffer holds the answer.
    Filled,
    /// The buffer was too short. If it cannot grow any more, the query fails with this code.
    TooShort(E),
    Failed(E),
}

impl QueryAttempt<NTSTATUS> {
    /// Classifies the status of an attempt.
    fn of(status: NTSTATUS) -> Self {
        match status {
            STATUS_INFO_LENGTH_MISMATCH | STATUS_BUFFER_TOO_SMALL | STATUS_BUFFER_OVERFLOW => {
                Self::TooShort(status)
            }
            status if status < 0 => Self::Failed(status),
            _ => Self::Filled,
        }
    }
}

/// Queries an answer of unknown length, with buffers from `first` to `most` bytes.
///
/// `ask` gets the buffer and a place for the length of the answer, which some queries leave at 0.
/// The answer can grow from one attempt to the next. Therefore each buffer has at least twice the
/// length of the previous one, and an eighth more than the length that was reported last.
///
/// # Errors
/// The code with which `ask` failed.
pub(crate) fn grow<E>(
    first: usize,
    most: usize,
    mut ask: impl FnMut(&mut [u64], &mut u32) -> QueryAttempt<E>,
) -> Result<Buffer, E> {
    let mut len = first.min(most);
    loop {
        let mut words = vec![0_u64; len.div_ceil(8)];
        let mut filled = 0;
        let attempt = ask(&mut words, &mut filled);
        let filled = filled as usize;
        match attempt {
            QueryAttempt::Filled => return Ok(Buffer::new(words, filled)),
            QueryAttempt::TooShort(error) if len >= most => return Err(error),
            QueryAttempt::TooShort(_) => len = (len * 2).max(filled.saturating_add(filled / 8)).min(most),
            QueryAttempt::Failed(error) => return Err(error),
        }
    }
}

/// The answer of a growing query: a structure, and the data that it points to in the same buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Words, because the kernel requires aligned buffers.
    words: Vec<u64>,
    filled: usize,
}

impl Buffer {
    /// Creates an answer with this number of bytes, or with the whole buffer if the number is 0 or
    /// larger than the buffer.
    fn new(words: Vec<u64>, filled: usize) -> Self {
        let room = words.len() * 8;
        Self {
            filled: if (1..=room).contains(&filled) {
                filled
            } else {
                room
            },
            words,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the words are initialised, are borrowed as long as the bytes, and have at least
        // this many bytes (see `new`).
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.filled) }
    }

    /// Returns the address of the answer, to which the pointers in it are relative.
    pub(crate) fn address(&self) -> u64 {
        self.words.as_ptr().addr() as u64
    }

    /// Returns the text of the `UNICODE_STRING` at the beginning of the answer, or `None` if the
    /// text is not inside the answer.
    fn unicode_string(&self) -> Option<String> {
        let bytes = self.bytes();
        let head = bytes.get(..16)?;
        let len = usize::from(half_at(head, 0));
        if len == 0 {
            return Some(String::new());
        }
        let at = usize::try_from(word_at(head, 8).checked_sub(self.address())?).ok()?;
        Some(utf16(bytes.get(at..at.checked_add(len)?)?))
    }
}

/// These tests would catch: an answer that is cut off; a query that is repeated without end, or
/// although it failed for another reason than the length; a limit that is not tried itself; lengths
/// and pointers that are not checked.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_grows_between_attempts_is_got() {
        let mut wanted = 100_000;
        let mut lengths = Vec::new();
        let found = grow(64 << 10, 1 << 20, |buffer, filled| {
            lengths.push(length(buffer));
            *filled = wanted;
            if length(buffer) < wanted {
                wanted += 50_000;
                return QueryAttempt::TooShort(());
            }
            QueryAttempt::Filled
        });
        assert_eq!(found.expect("fits").bytes().len(), wanted as usize);
        assert!(lengths.len() <= 3, "{lengths:?}");
    }

    #[test]
    fn an_answer_without_end_is_given_up_after_the_limit_was_tried() {
        let mut lengths = Vec::new();
        let endless = grow(64 << 10, 1 << 20, |buffer, filled| {
            lengths.push(length(buffer));
            *filled = u32::MAX;
            QueryAttempt::TooShort(7)
        });
        assert_eq!(endless.expect_err("too long"), 7);
        assert_eq!(lengths, [64 << 10, 1 << 20]);
        // The same if no length is reported at all.
        lengths.clear();
        let endless = grow(64 << 10, 1 << 20, |buffer, _| {
            lengths.push(length(buffer));
            QueryAttempt::TooShort(7)
        });
        assert_eq!(endless.expect_err("too long"), 7);
        assert_eq!(lengths, [1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20]);
    }

    #[test]
    fn other_failures_are_not_tried_again() {
        let mut asked = 0;
        let refused = grow(8, 64, |_, _| {
            asked += 1;
            QueryAttempt::<NTSTATUS>::of(windows_sys::Win32::Foundation::STATUS_ACCESS_DENIED)
        });
        assert_eq!((refused.is_err(), asked), (true, 1));
    }

    #[test]
    fn lengths_that_lie_are_not_believed() {
        for (told, len) in [(0, 16), (5, 5), (16, 16), (17, 16), (u32::MAX, 16)] {
            let answer = grow::<()>(16, 16, |_, filled| {
                *filled = told;
                QueryAttempt::Filled
            });
            assert_eq!(answer.expect("filled").bytes().len(), len, "{told}");
        }
    }

    /// Parses an answer of 24 bytes: a string of this length, at `offset` bytes from the beginning
    /// of the answer, and the text "abcd".
    fn string(len: u16, offset: u64) -> Option<String> {
        let mut words = vec![u64::from(len), 0, 0x0064_0063_0062_0061];
        words[1] = (words.as_ptr().addr() as u64).wrapping_add(offset);
        Buffer::new(words, 24).unicode_string()
    }

    #[test]
    fn texts_lie_inside_the_answer() {
        assert_eq!(string(8, 16).as_deref(), Some("abcd"));
        assert_eq!(string(4, 18).as_deref(), Some("bc"));
        assert_eq!(string(0, 0xdead_0000).as_deref(), Some(""));
        for (len, offset) in [(10, 16), (8, 17), (2, 24), (2, u64::MAX), (u16::MAX, 0)] {
            assert_eq!(string(len, offset), None, "{len} {offset:#x}");
        }
        assert_eq!(Buffer::new(vec![0], 8).unicode_string(), None);
    }

    #[test]
    fn an_object_is_asked_for_its_type_and_its_rights() {
        use std::os::windows::io::AsHandle;
        let file = std::fs::File::open(std::env::current_exe().expect("there is one")).expect("opens");
        assert_eq!(object_type(file.as_handle()).as_deref(), Ok("File"));
        let basic = object(file.as_handle()).expect("answers");
        // FILE_READ_DATA and SYNCHRONIZE, not FILE_WRITE_DATA.
        assert_eq!(basic.granted_access & 0x10_0003, 0x10_0001);
        assert!(basic.handle_count >= 1);
    }
}
