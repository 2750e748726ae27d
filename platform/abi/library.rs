//! A callback in a shared library.

use std::ffi::c_void;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use dumpwright_callback::{Ask, Callback, ProcessAsked};
use libloading::Library;

use crate::Exchange;
use crate::native::{MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT};

/// Microsoft's `MINIDUMP_CALLBACK_ROUTINE`: parameter, question, answer. It returns a BOOL, and may
/// throw.
pub type Routine = unsafe extern "system-unwind" fn(
    *mut c_void,
    *mut MINIDUMP_CALLBACK_INPUT,
    *mut MINIDUMP_CALLBACK_OUTPUT,
) -> i32;

/// A callback function in a shared library, which this process loads.
///
/// The library exports the function as [`CallbackLibrary::FUNCTION`], the name that ProcDump's
/// option `-md` uses. It has the signature of Microsoft's `MINIDUMP_CALLBACK_ROUTINE`, and its
/// first parameter is NULL.
///
/// The library becomes a part of this process: it can do all that this process can do. Load only
/// libraries that you would run as a program.
pub struct CallbackLibrary {
    routine: Routine,
    exchange: Exchange,
    process: ProcessAsked,
    /// The function exists as long as the library is loaded.
    _library: Library,
}

/// Why the library cannot be used. The text names the file and says what to do.
#[derive(Debug)]
pub enum LibraryError {
    /// There is no such file.
    Missing(PathBuf, io::Error),
    /// The system cannot load the file.
    NotLoaded(PathBuf, libloading::Error),
    /// The library has no function of this name.
    NoFunction(PathBuf),
}

impl CallbackLibrary {
    /// The name of the function.
    pub const FUNCTION: &str = "MiniDumpCallbackRoutine";

    /// Loads a library, which runs its initialization functions, and looks for its callback.
    ///
    /// # Errors
    /// There is no such file, it is no library for this program, or it has no callback.
    pub fn load(path: &Path) -> Result<Self, LibraryError> {
        // A name without a folder would be looked for in the folders of the system.
        let file = path
            .canonicalize()
            .map_err(|error| LibraryError::Missing(path.to_owned(), error))?;
        // SAFETY: the initialization functions of a library may do anything. Who calls this
        // function trusts the library as it would trust a program that it starts.
        let library = unsafe { Library::new(&file) }
            .map_err(|error| LibraryError::NotLoaded(path.to_owned(), error))?;
        // SAFETY: a function of this name has this signature; that is its documented meaning.
        let routine = unsafe { library.get::<Routine>(Self::FUNCTION.as_bytes()) };
        let routine = *routine.map_err(|_| LibraryError::NoFunction(path.to_owned()))?;
        Ok(Self {
            routine,
            exchange: Exchange::new(),
            process: ProcessAsked::default(),
            _library: library,
        })
    }
}

impl Callback for CallbackLibrary {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        let routine = self.routine;
        self.exchange.put(&mut ask, self.process, |input, output| {
            // SAFETY: the library is loaded, and the structures are valid for reads and writes
            // during the call. The parameter may be NULL: the library knows no other one.
            unsafe { routine(std::ptr::null_mut(), input, output) }
        })
    }

    fn process(&mut self, process: ProcessAsked) {
        self.process = process;
    }

    fn answers(&self) -> bool {
        true
    }
}

impl fmt::Debug for CallbackLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackLibrary").finish_non_exhaustive()
    }
}

impl fmt::Display for LibraryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path, error) => {
                write!(f, "cannot open the callback library {}: {error}", path.display())
            }
            Self::NotLoaded(path, error) => write!(
                f,
                "cannot load the callback library {}: {error}; build it as a shared library for {}",
                path.display(),
                std::env::consts::ARCH
            ),
            Self::NoFunction(path) => write!(
                f,
                "the callback library {} has no function {}; export it with this name (in C++, as extern \"C\")",
                path.display(),
                CallbackLibrary::FUNCTION
            ),
        }
    }
}

impl std::error::Error for LibraryError {}
