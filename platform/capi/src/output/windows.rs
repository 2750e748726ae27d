//! Files of Windows.

use std::io;

use dumpwright::Sink;
use windows_sys::Win32::Foundation::{CloseHandle, ERROR_IO_PENDING, GetLastError, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, GetFileType, WriteFile};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::Handle;

/// A file of the caller's: a handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile(HANDLE);

// SAFETY: handles are good in all threads of the process.
unsafe impl Send for OpenFile {}

impl OpenFile {
    pub fn of_handle(handle: Handle) -> Self {
        Self(handle)
    }
}

/// Most bytes of one write: `WriteFile` counts in 32 bits.
const MOST: usize = 1 << 30;

/// A file that the caller has opened, and closes.
///
/// As DbgHelp does, files on disks are written from their beginning wherever the file's position is, and what is
/// in them behind the dump stays. Anything else takes the bytes as they come.
pub(crate) struct HandleSink {
    file: HANDLE,
    is_on_disk: bool,
    /// Of no use to files that are written to synchronously; without it a caller's FILE_FLAG_OVERLAPPED would let writes end before
    /// they are done.
    done: Event,
}

impl HandleSink {
    pub fn new(OpenFile(file): OpenFile) -> Self {
        Self {
            file,
            // SAFETY: whatever the handle is, it is the system that looks at it.
            is_on_disk: unsafe { GetFileType(file) } == FILE_TYPE_DISK,
            done: Event::new(),
        }
    }

    /// One write; how many bytes it has taken.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = OVERLAPPED {
            Anonymous: OVERLAPPED_0 {
                Anonymous: OVERLAPPED_0_0 {
                    Offset: at as u32,
                    OffsetHigh: (at >> 32) as u32,
                },
            },
            // The lowest bit keeps the write from being reported to a completion port of the caller's (GetQueuedCompletionStatus).
            hEvent: self.done.0.map_addr(|address| address | 1),
            ..Default::default()
        };
        let mut count = 0;
        let len = bytes.len().min(MOST) as u32;
        // SAFETY: bytes and state stay where they are until the write is done: either now, or when it has been waited for.
        unsafe {
            if WriteFile(self.file, bytes.as_ptr(), len, &mut count, &mut state) == 0
                && GetLastError() != ERROR_IO_PENDING
            {
                return Err(io::Error::last_os_error());
            }
            if GetOverlappedResult(self.file, &state, &mut count, 1) == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(count as usize)
    }
}

impl Sink for HandleSink {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            let from = if self.is_on_disk { at + written as u64 } else { 0 };
            match self.write(from, &bytes[written..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => written += count,
            }
        }
        Ok(())
    }
}

/// An event; NULL if there are no more, which the writes then tell.
struct Event(HANDLE);

impl Event {
    fn new() -> Self {
        // SAFETY: no names, no attributes: nothing is pointed at.
        Self(unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is ours, and closed once.
            unsafe { CloseHandle(self.0) };
        }
    }
}
