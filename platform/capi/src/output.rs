//! Where the bytes of a dump go.

use std::ffi::c_void;
use std::io;
use std::path::PathBuf;

use dumpwright::{Error, FileSink, Sink};

use crate::callback::Parameter;
use crate::conversation::Caller;
use crate::{Bool, Handle};

#[cfg_attr(target_os = "linux", path = "output/linux.rs")]
#[cfg_attr(windows, path = "output/windows.rs")]
mod system;

use system::{HandleSink, OpenFile};

/// What the caller says about it.
#[derive(Clone)]
pub(crate) enum Output {
    /// Into this file. That of handle 0 is none.
    Handle(OpenFile),
    /// Into a new file of this name.
    Path { path: PathBuf, replace: bool },
    /// To this function.
    Function(Writer, Parameter),
}

/// `dumpwright_writer`: parameter, offset, bytes, their number. FALSE fails the dump. It may throw.
pub(crate) type Writer = unsafe extern "C-unwind" fn(*mut c_void, u64, *const c_void, usize) -> Bool;

impl Output {
    /// A file handle of the caller's.
    pub fn of_handle(handle: Handle) -> Self {
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

    /// The dump is whole.
    pub fn publish(self) -> Result<(), Error> {
        match self {
            Self::File(sink) => sink.publish(),
            Self::Handle(_) | Self::Function(_) => Ok(()),
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
