//! Files of Linux.

use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use dumpwright::Sink;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::Handle;

/// A file of the caller's: a descriptor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFile(RawFd);

impl OpenFile {
    /// `INVALID_HANDLE_VALUE` is -1.
    pub fn of_handle(handle: Handle) -> Self {
        Self(RawFd::try_from(handle.addr().cast_signed()).unwrap_or(-1))
    }
}

/// A file that the caller has opened, and closes.
///
/// As DbgHelp does, regular files are written from their beginning wherever the file's position is, and what is
/// in them behind the dump stays. Anything else takes the bytes as they come.
pub(crate) struct HandleSink {
    file: ManuallyDrop<File>,
    problem: Option<io::ErrorKind>,
    is_regular: bool,
}

impl HandleSink {
    pub fn new(OpenFile(descriptor): OpenFile) -> Self {
        let problem = problem(descriptor);
        // SAFETY: the caller has given it for being written to and keeps it open during the call; it is not closed
        // here. -1 must not be made a File of, but 0 may: it is not used when there is a problem.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor.max(0)) });
        let is_regular = problem.is_none() && file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self {
            file,
            problem,
            is_regular,
        }
    }
}

/// Why nothing can be written to a descriptor.
fn problem(descriptor: RawFd) -> Option<io::ErrorKind> {
    if descriptor < 0 {
        return Some(io::ErrorKind::NotFound);
    }
    // SAFETY: not negative; if it is not open, the call below says so.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    match fcntl(descriptor, FcntlArg::F_GETFL) {
        Ok(flags) if OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE == OFlag::O_RDONLY => {
            Some(io::ErrorKind::PermissionDenied)
        }
        Ok(_) => None,
        Err(_) => Some(io::ErrorKind::NotFound),
    }
}

impl Sink for HandleSink {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match self.problem {
            None if self.is_regular => self.file.write_all_at(bytes, at),
            None => (&*self.file).write_all(bytes),
            Some(io::ErrorKind::PermissionDenied) => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the file handle was not opened for writing",
            )),
            // EBADF is what the engine makes ERROR_INVALID_HANDLE of.
            Some(_) => Err(Errno::EBADF.into()),
        }
    }
}
