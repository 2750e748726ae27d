//! Open files on Linux.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use dumpwright::{Error, Sink};

use crate::{RawHandle, handle};

/// An open file of the caller: a descriptor, or -1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile(RawFd);

impl OpenFile {
    pub fn of_handle(handle: RawHandle) -> Self {
        Self(handle::descriptor(handle))
    }
}

/// A sink that writes to a file that the caller has opened and will close.
///
/// Regular files are written from their beginning, whatever the file position is, and bytes behind
/// the end of the dump stay in the file, as with DbgHelp. Other files receive the bytes in order.
pub(crate) struct HandleSink {
    file: Result<Writable, Problem>,
}

/// A descriptor that can be written to.
struct Writable {
    file: ManuallyDrop<File>,
    is_regular: bool,
    /// It was opened with O_APPEND, so every write goes to the end of the file.
    appends: bool,
}

/// Why a descriptor cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    NotOpen,
    NotForWriting,
}

impl Problem {
    fn error(self) -> io::Error {
        match self {
            Self::NotForWriting => io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file handle was not opened for writing",
            ),
            // The engine turns EBADF into ERROR_INVALID_HANDLE.
            Self::NotOpen => io::Error::from_raw_os_error(libc::EBADF),
        }
    }
}

impl HandleSink {
    pub fn new(OpenFile(descriptor): OpenFile) -> Self {
        Self {
            file: writable(descriptor),
        }
    }
}

/// Checks whether a descriptor is open for writing.
fn writable(descriptor: RawFd) -> Result<Writable, Problem> {
    // SAFETY: F_GETFL takes no pointer, and the kernel checks the descriptor.
    let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFL) };
    if flags == -1 {
        return Err(Problem::NotOpen);
    }
    if flags & libc::O_ACCMODE == libc::O_RDONLY {
        return Err(Problem::NotForWriting);
    }
    // SAFETY: the descriptor is open, as was just checked. The caller has passed it to be written
    // to and keeps it open during the call. `ManuallyDrop` keeps it from being closed here.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    Ok(Writable {
        file,
        is_regular,
        appends: flags & libc::O_APPEND != 0,
    })
}

/// Advice for the message that there is no file.
pub(crate) const NO_FILE: &str =
    " (the file handle 0 means that there is no file; for descriptor 0 pass DUMPWRIGHT_FD(0))";

impl Sink for HandleSink {
    /// Refuses a regular file that was opened with O_APPEND and is not empty. The kernel ignores
    /// the offsets of writes to such a file and appends.
    fn prepare(&mut self) -> Result<(), Error> {
        let Ok(writable) = &self.file else {
            // The first write fails. DbgHelp, too, calls the callback before it finds out.
            return Ok(());
        };
        if !writable.is_regular || !writable.appends {
            return Ok(());
        }
        match writable.file.metadata().map(|metadata| metadata.len()) {
            Ok(0) => Ok(()),
            Ok(len) => Err(Error::InvalidRequest(format!(
                "the file was opened with O_APPEND and is not empty, so the dump would be written behind its {len} bytes; open \
                 it without O_APPEND, or empty it first"
            ))),
            Err(source) => Err(Error::Output {
                operation: "determine the size of",
                path: None,
                source,
            }),
        }
    }

    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.file {
            Ok(Writable { file, is_regular, .. }) if *is_regular => file.write_all_at(bytes, at),
            Ok(Writable { file, .. }) => (&**file).write_all(bytes),
            Err(problem) => Err(problem.error()),
        }
    }

    fn check_amend(&self) -> io::Result<()> {
        match &self.file {
            Ok(Writable {
                is_regular: true,
                appends: false,
                ..
            }) => Ok(()),
            Ok(_) => Err(io::ErrorKind::Unsupported.into()),
            Err(problem) => Err(problem.error()),
        }
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_amend()?;
        self.append(at, bytes)
    }
}

/// These tests would catch: a write to a number that is not an open descriptor, or to another
/// descriptor instead.
#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_is_not_open_is_not_written_to() {
        for number in [-1, -2, i32::MIN, i32::MAX, 0x7fff_0000] {
            assert_eq!(writable(number).err(), Some(Problem::NotOpen), "{number}");
            let error = HandleSink::new(OpenFile(number))
                .append(0, b"bytes")
                .expect_err("not open");
            assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        }
        let null = File::open("/dev/null").expect("it is always there");
        assert_eq!(writable(null.as_raw_fd()).err(), Some(Problem::NotForWriting));
    }
}
