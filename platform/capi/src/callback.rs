//! Presents a C function to the engine as its callback.

use std::ffi::c_void;

use dumpwright::callback::ProcessAsked;
use dumpwright::{Ask, Callback};
use dumpwright_abi::{Exchange, Routine};

use crate::FALSE;
use crate::conversation::Caller;

/// Microsoft's `MINIDUMP_CALLBACK_INFORMATION`.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct CallbackInformation {
    pub(crate) routine: Option<Routine>,
    pub(crate) parameter: *mut c_void,
}

/// A callback function and its parameter.
#[derive(Clone, Copy)]
pub(crate) struct CFunction {
    pub routine: Routine,
    pub parameter: Parameter,
}

/// The parameter of a caller's function. It is only passed back to that function, on the caller's
/// thread.
#[derive(Clone, Copy)]
pub(crate) struct Parameter(pub *mut c_void);

// SAFETY: this library never dereferences the pointer; the engine's thread only stores it.
unsafe impl Send for Parameter {}
// SAFETY: as above.
unsafe impl Sync for Parameter {}

impl CFunction {
    /// Returns the function in the caller's structure. Returns `None` if the pointer or the
    /// function is NULL; DbgHelp takes both to mean that there is no callback.
    ///
    /// # Safety
    /// The pointer is NULL or points to a valid structure.
    pub unsafe fn from_pointer(information: *const CallbackInformation) -> Option<Self> {
        if information.is_null() {
            return None;
        }
        // SAFETY: the caller guarantees that it is valid for reads. It may be unaligned.
        let CallbackInformation { routine, parameter } = unsafe { information.read_unaligned() };
        routine.map(|routine| Self {
            routine,
            parameter: Parameter(parameter),
        })
    }
}

/// A callback function during one dump.
pub(crate) struct CCallback<'c> {
    function: CFunction,
    caller: &'c Caller,
    exchange: Exchange,
    process: ProcessAsked,
}

impl<'c> CCallback<'c> {
    pub fn new(function: CFunction, caller: &'c Caller) -> Self {
        Self {
            function,
            caller,
            exchange: Exchange::new(),
            process: ProcessAsked::default(),
        }
    }
}

impl Callback for CCallback<'_> {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        let Self {
            function: CFunction { routine, parameter },
            caller,
            exchange,
            process,
        } = self;
        exchange.put(&mut ask, *process, |input, output| {
            let mut said = FALSE;
            let (routine, parameter) = (*routine, *parameter);
            let mut task = || {
                // SAFETY: the caller guarantees that the function can be called with its parameter
                // and these structures, on the thread that this closure runs on.
                said = unsafe { routine(parameter.0, input, output) };
            };
            // SAFETY: the closure uses the structures of the exchange and the caller's parameter.
            // None of them is bound to a thread.
            unsafe { caller.run(&mut task) };
            said
        })
    }

    fn process(&mut self, process: ProcessAsked) {
        self.process = process;
    }

    fn answers(&self) -> bool {
        true
    }
}
