//! Open files on Windows.

use std::io;

use dumpwright::Sink;
use windows_sys::Win32::Foundation::{CloseHandle, ERROR_IO_PENDING, GetLastError, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_DISK, GetFileType, WriteFile};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0};
use windows_sys::Win32::System::Threading::CreateEventW;

use crate::RawHandle;

/// An open file of the caller: a handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile(HANDLE);

// SAFETY: handles are valid in all threads of the process.
unsafe impl Send for OpenFile {}

impl OpenFile {
    pub fn of_handle(handle: RawHandle) -> Self {
        Self(handle)
    }
}

/// The maximum number of bytes in one write. `WriteFile` has a 32-bit count.
const MOST: usize = 1 << 30;

/// A sink that writes to a file that the caller has opened and will close.
///
/// Disk files are written from their beginning, whatever the file position is, and bytes behind the
/// end of the dump stay in the file, as with DbgHelp. Other files receive the bytes in order.
pub(crate) struct HandleSink {
    file: HANDLE,
    is_on_disk: bool,
    /// Signalled when a write is complete. If the caller has opened the file with
    /// FILE_FLAG_OVERLAPPED, `WriteFile` returns before that. Other files do not need it.
    done: WriteEvent,
}

impl HandleSink {
    pub fn new(OpenFile(file): OpenFile) -> Self {
        Self {
            file,
            // SAFETY: the system checks the handle, whatever it is.
            is_on_disk: unsafe { GetFileType(file) } == FILE_TYPE_DISK,
            done: WriteEvent::new(),
        }
    }

    /// Does one write and waits until it is complete. Returns the number of bytes written.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut state = OVERLAPPED {
            Anonymous: OVERLAPPED_0 {
                Anonymous: OVERLAPPED_0_0 {
                    Offset: at as u32,
                    OffsetHigh: (at >> 32) as u32,
                },
            },
            // The lowest bit keeps the write from being reported to a completion port of the caller
            // (see GetQueuedCompletionStatus).
            hEvent: self.done.0.map_addr(|address| address | 1),
            ..Default::default()
        };
        let mut count = 0;
        let len = bytes.len().min(MOST) as u32;
        // SAFETY: bytes and state live until the write is complete: either WriteFile has completed
        // it, or GetOverlappedResult waits for it.
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

/// Advice for the message that there is no file.
pub(crate) const NO_FILE: &str = "";

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

    fn check_amend(&self) -> io::Result<()> {
        match self.is_on_disk {
            true => Ok(()),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_amend()?;
        self.append(at, bytes)
    }
}

/// A manual-reset event. NULL if the system could not create one, and then writes fail.
struct WriteEvent(HANDLE);

impl WriteEvent {
    fn new() -> Self {
        // SAFETY: both pointers are NULL, which the function allows.
        Self(unsafe { CreateEventW(std::ptr::null(), 1, 0, std::ptr::null()) })
    }
}

impl Drop for WriteEvent {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: this owns the handle and closes it once.
            unsafe { CloseHandle(self.0) };
        }
    }
}
