//! `MiniDumpReadDumpStream`.

use std::ffi::c_void;

use crate::Bool;
use crate::boundary::contain;
use crate::last::{Failure, conclude};
use crate::memory::{self, Space};

/// Windows error codes, not HRESULTs: DbgHelp 6.3.9600 sets these here.
mod code {
    pub const INVALID_DATA: u32 = 13;
    pub const INVALID_PARAMETER: u32 = 87;
    pub const NOACCESS: u32 = 998;
    pub const NOT_FOUND: u32 = 1168;
}

/// `MDMP`.
const SIGNATURE: u32 = 0x504D_444D;
/// The low word of the version. The high word is implementation-specific.
const VERSION: u16 = 42899;
/// The size of a directory entry in bytes.
const ENTRY: usize = 12;
/// The maximum number of directory entries. A larger number is taken for damage: the size of the
/// dump is not known, so the search would run into the memory behind it. Writers have some tens of
/// entries.
const MOST_ENTRIES: u32 = 1 << 16;

/// Finds a stream of a dump in memory. `dumpwright.h` has the documentation.
///
/// The dump is read through the system, so a damaged one that points outside of mapped memory is an
/// error.
///
/// # Safety
/// Each of the last three pointers is NULL or valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn MiniDumpReadDumpStream(
    base_of_dump: *mut c_void,
    stream_number: u32,
    directory: *mut *mut c_void,
    stream_pointer: *mut *mut c_void,
    stream_size: *mut u32,
) -> Bool {
    conclude(contain(|| {
        let found = find(base_of_dump as u64, stream_number)?;
        // Derived from the caller's pointer, so that they have its provenance.
        let at = |address: u64| base_of_dump.wrapping_byte_add((address - base_of_dump as u64) as usize);
        // SAFETY: the caller guarantees that pointers that are not NULL are valid for writes. They
        // may be unaligned.
        unsafe {
            if !directory.is_null() {
                directory.write_unaligned(at(found.entry));
            }
            if !stream_pointer.is_null() {
                stream_pointer.write_unaligned(at(found.stream));
            }
            if !stream_size.is_null() {
                stream_size.write_unaligned(found.size);
            }
        }
        Ok(())
    }))
}

/// The address of a directory entry, and the address and size of its stream.
struct FoundStream {
    entry: u64,
    stream: u64,
    size: u32,
}

/// Finds the first stream of type `wanted` in the dump at `base`.
fn find(base: u64, wanted: u32) -> Result<FoundStream, Failure> {
    if base == 0 {
        return Err(Failure::new(
            code::INVALID_PARAMETER,
            "BaseOfDump, the address of the dump, is NULL",
        ));
    }
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let header: [u8; 32] = memory::array(Space::Own, base).ok_or_else(|| {
        Failure::new(
            code::NOACCESS,
            format!("cannot read the header of a dump at {base:#x}"),
        )
    })?;
    if number(&header, 0) != SIGNATURE || number(&header, 4) as u16 != VERSION {
        return Err(Failure::new(
            code::INVALID_DATA,
            "this is not a minidump: it has another signature or version",
        ));
    }
    let damaged = |what: String| Failure::new(code::INVALID_DATA, format!("the dump is damaged: {what}"));
    let count = number(&header, 8);
    if count > MOST_ENTRIES {
        return Err(damaged(format!(
            "its header says that it has {count} streams, more than {MOST_ENTRIES}"
        )));
    }
    // One read for all entries: a directory of many entries must not cost as many system calls.
    let directory = base.saturating_add(number(&header, 12).into());
    let bytes = memory::copy(Space::Own, directory, count as usize * ENTRY)
        .ok_or_else(|| damaged(format!("its directory of {count} entries cannot be read")))?;
    for (entry, place) in bytes.chunks_exact(ENTRY).zip((directory..).step_by(ENTRY)) {
        if number(entry, 0) != wanted {
            continue;
        }
        let (size, stream) = (number(entry, 4), base.saturating_add(number(entry, 8).into()));
        if !memory::is_readable(Space::Own, stream, size.into()) {
            return Err(damaged(format!(
                "not all {size} bytes of stream {wanted} can be read"
            )));
        }
        return Ok(FoundStream {
            entry: place,
            stream,
            size,
        });
    }
    Err(Failure::new(
        code::NOT_FOUND,
        format!("the dump has no stream {wanted}"),
    ))
}

/// What these tests would catch: a stream that is found although a caller who reads it crashes.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::ptr;

    use super::*;

    const PAGE: usize = 4096;
    const PAGES: usize = 600;

    /// Pages of memory, unmapped when dropped.
    struct Pages(*mut c_void);

    impl Pages {
        fn new() -> Self {
            // SAFETY: a new mapping at an address of the system's choice touches no other memory.
            let at = unsafe {
                libc::mmap(
                    ptr::null_mut(),
                    PAGES * PAGE,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(at, libc::MAP_FAILED);
            Self(at)
        }

        fn base(&self) -> u64 {
            self.0.expose_provenance() as u64
        }

        fn put(&self, at: usize, words: &[u32]) {
            assert!(at + 4 * words.len() <= PAGES * PAGE);
            for (index, word) in words.iter().enumerate() {
                // SAFETY: the bytes lie within the mapping, which can be written to.
                unsafe {
                    self.0
                        .wrapping_byte_add(at + 4 * index)
                        .cast::<u32>()
                        .write_unaligned(*word);
                }
            }
        }

        fn protect(&self, page: usize, protection: i32) {
            // SAFETY: the page belongs to the mapping, and nothing refers to its bytes.
            let done = unsafe { libc::mprotect(self.0.wrapping_byte_add(page * PAGE), PAGE, protection) };
            assert_eq!(done, 0);
        }

        fn code(&self, wanted: u32) -> Option<u32> {
            find(self.base(), wanted).err().map(|failure| failure.code)
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: the mapping was made by `new`, and nothing refers to it any more.
            unsafe { libc::munmap(self.0, PAGES * PAGE) };
        }
    }

    #[test]
    fn a_stream_with_a_page_that_cannot_be_read_is_damaged() {
        let dump = Pages::new();
        dump.put(0, &[SIGNATURE, VERSION.into(), 2, 32, 0, 0, 0, 0]);
        let size = (PAGES - 1) * PAGE - 8;
        dump.put(
            32,
            &[7, 56, 0x100, 0x12345, size as u32, PAGE as u32 + 4, 0, 0, 0],
        );
        assert_eq!(dump.code(0x12345), None);
        // The first, the last, and some in the middle, also beyond what is read at once.
        for page in [1, 2, 3, 300, 511, PAGES - 2, PAGES - 1] {
            dump.protect(page, libc::PROT_NONE);
            assert_eq!(dump.code(0x12345), Some(code::INVALID_DATA), "page {page}");
            assert_eq!(dump.code(7), None);
            dump.protect(page, libc::PROT_READ | libc::PROT_WRITE);
        }
        assert_eq!(dump.code(0x12345), None);
    }

    #[test]
    fn a_directory_is_read_as_a_whole() {
        let dump = Pages::new();
        let count = (PAGES * PAGE - 32) / ENTRY;
        assert!(count > MOST_ENTRIES as usize);
        dump.put(
            0,
            &[SIGNATURE, VERSION.into(), MOST_ENTRIES, 32, 0, 0, 0, 0, 7, 0, 0],
        );
        let last = 32 + ENTRY * (MOST_ENTRIES as usize - 1);
        dump.put(last, &[3, 4, 0x20]);
        assert_eq!(dump.code(3), None);
        assert_eq!(
            find(dump.base(), 3).ok().map(|it| it.entry),
            Some(dump.base() + last as u64)
        );
        dump.protect(last / PAGE, libc::PROT_NONE);
        assert_eq!(dump.code(7), Some(code::INVALID_DATA));
        dump.put(8, &[MOST_ENTRIES + 1]);
        assert_eq!(dump.code(7), Some(code::INVALID_DATA));
    }
}
