//! Where the bytes of a dump go.

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dumpwright::{Error, FileSink, Sink};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::callback::Parameter;
use crate::conversation::Caller;
use crate::{Bool, Handle};

/// What the caller says about it.
#[derive(Clone)]
pub(crate) enum Output {
    /// Into this file, whose handle is a descriptor. 0 is no file.
    Handle(RawFd),
    /// Into a new file of this name.
    Path { path: PathBuf, replace: bool },
    /// To this function.
    Function(Writer, Parameter),
}

/// `dumpwright_writer`: parameter, offset, bytes, their number. FALSE fails the dump. It may throw.
pub(crate) type Writer = unsafe extern "C-unwind" fn(*mut c_void, u64, *const c_void, usize) -> Bool;

impl Output {
    /// A file handle of the caller's. `INVALID_HANDLE_VALUE` is -1.
    pub fn of_handle(handle: Handle) -> Self {
        Self::Handle(RawFd::try_from(handle.addr().cast_signed()).unwrap_or(-1))
    }
}

/// An opened output.
pub(crate) enum Opened<'c> {
    Descriptor(DescriptorSink),
    File(FileSink),
    Function(FunctionSink<'c>),
}

impl<'c> Opened<'c> {
    pub fn open(output: Output, caller: &'c Caller) -> Result<Self, Error> {
        Ok(match output {
            Output::Handle(descriptor) => Self::Descriptor(DescriptorSink::new(descriptor)),
            Output::Path { path, replace } => Self::File(FileSink::create(path, replace)?),
            Output::Function(writer, parameter) => Self::Function(FunctionSink {
                writer,
                parameter,
                caller,
            }),
        })
    }

    pub fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Self::Descriptor(sink) => sink,
            Self::File(sink) => sink,
            Self::Function(sink) => sink,
        }
    }

    /// The dump is whole.
    pub fn publish(self) -> Result<(), Error> {
        match self {
            Self::File(sink) => sink.publish(),
            Self::Descriptor(_) | Self::Function(_) => Ok(()),
        }
    }
}

/// A file that the caller has opened, and closes.
///
/// As DbgHelp does, regular files are written from their beginning wherever the file's position is, and what is
/// in them behind the dump stays. Anything else takes the bytes as they come.
pub(crate) struct DescriptorSink {
    file: ManuallyDrop<File>,
    problem: Option<io::ErrorKind>,
    is_regular: bool,
}

impl DescriptorSink {
    fn new(descriptor: RawFd) -> Self {
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

impl Sink for DescriptorSink {
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

/// A function of the caller's, called on its thread.
pub(crate) struct FunctionSink<'c> {
    writer: Writer,
    parameter: Parameter,
    caller: &'c Caller,
}

impl Sink for FunctionSink<'_> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Self {
            writer, parameter, ..
        } = *self;
        let mut taken = false;
        let mut task = || {
            let Parameter(parameter) = parameter;
            // SAFETY: the caller has given this function as one that can be called with its parameter and bytes, on the thread
            // that this runs on.
            taken = unsafe { writer(parameter, at, bytes.as_ptr().cast(), bytes.len()) } != 0;
        };
        // SAFETY: the closure uses plain bytes.
        unsafe { self.caller.run(&mut task) };
        if taken {
            Ok(())
        } else {
            Err(io::Error::other("the caller's function returned FALSE"))
        }
    }
}
