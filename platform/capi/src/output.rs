//! The outputs that a dump can be written to.

use std::ffi::c_void;
use std::io;
use std::path::PathBuf;

use dumpwright::{Error, FileSink, Sink};

use crate::callback::Parameter;
use crate::conversation::Caller;
use crate::{Bool, FALSE, RawHandle};

#[cfg_attr(target_os = "linux", path = "output/linux.rs")]
#[cfg_attr(windows, path = "output/windows.rs")]
mod system;

pub(crate) use system::NO_FILE;
use system::{HandleSink, OpenFile};

/// An output, as the caller has described it.
#[derive(Clone)]
pub(crate) enum Output {
    /// An open file. Handle 0 means that there is no file.
    Handle(OpenFile),
    /// A new file with this name.
    Path { path: PathBuf, replace: bool },
    /// A function, and the parameter that it is called with.
    Function(WriteFunction, Parameter),
}

/// `dumpwright_writer`: called with parameter, offset, bytes and their number. FALSE fails the
/// dump. The function may throw.
pub(crate) type WriteFunction = unsafe extern "C-unwind" fn(*mut c_void, u64, *const c_void, usize) -> Bool;

impl Output {
    /// The file of a handle that the caller has passed.
    pub fn of_handle(handle: RawHandle) -> Self {
        Self::Handle(OpenFile::of_handle(handle))
    }
}

/// An opened output.
pub(crate) enum Opened<'c> {
    Handle(HandleSink),
    File(FileSink),
    Function(FunctionSink<'c>),
}

impl<'c> Opened<'c> {
    pub fn open(output: Output, caller: &'c Caller) -> Result<Self, Error> {
        Ok(match output {
            Output::Handle(file) => Self::Handle(HandleSink::new(file)),
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
            Self::Handle(sink) => sink,
            Self::File(sink) => sink,
            Self::Function(sink) => sink,
        }
    }

    /// Gives a new file its name. Called when the whole dump has been written.
    pub fn publish(self) -> Result<(), Error> {
        match self {
            Self::File(sink) => sink.publish(),
            Self::Handle(_) | Self::Function(_) => Ok(()),
        }
    }
}

/// A sink that calls a function of the caller, on the caller's thread.
pub(crate) struct FunctionSink<'c> {
    writer: WriteFunction,
    parameter: Parameter,
    caller: &'c Caller,
}

impl Sink for FunctionSink<'_> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Self {
            writer, parameter, ..
        } = *self;
        let mut taken = FALSE;
        let mut task = || {
            // SAFETY: the caller guarantees that the function can be called with its parameter and
            // with bytes, on the thread that this closure runs on.
            taken = unsafe { writer(parameter.0, at, bytes.as_ptr().cast(), bytes.len()) };
        };
        // SAFETY: the closure uses plain bytes and the caller's parameter, which it only passes on.
        unsafe { self.caller.run(&mut task) };
        if taken != FALSE {
            Ok(())
        } else {
            Err(io::Error::other("the writer function returned FALSE"))
        }
    }
}
