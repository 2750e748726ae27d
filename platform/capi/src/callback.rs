//! A C function as the engine's callback.

use std::ffi::c_void;

use dumpwright::{Ask, Callback};
use dumpwright_callback::ProcessAsked;
use dumpwright_callback::abi::Exchange;
use dumpwright_callback::abi::native::{MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT};

use crate::Bool;
use crate::conversation::Caller;

/// Microsoft's `MINIDUMP_CALLBACK_ROUTINE`. It may throw.
pub(crate) type Routine = unsafe extern "system-unwind" fn(
    *mut c_void,
    *mut MINIDUMP_CALLBACK_INPUT,
    *mut MINIDUMP_CALLBACK_OUTPUT,
) -> Bool;

/// Microsoft's `MINIDUMP_CALLBACK_INFORMATION`.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub struct CallbackInformation {
    pub(crate) routine: Option<Routine>,
    pub(crate) parameter: *mut c_void,
}

/// The function and its parameter.
#[derive(Clone, Copy)]
pub(crate) struct CFunction {
    pub routine: Routine,
    pub parameter: Parameter,
}

/// What the function is given as its first argument. Only handed back to it, on the caller's thread.
#[derive(Clone, Copy)]
pub(crate) struct Parameter(pub *mut c_void);

// SAFETY: the pointer is never followed here; the engine's thread only carries it.
unsafe impl Send for Parameter {}
// SAFETY: as above.
unsafe impl Sync for Parameter {}

impl CFunction {
    /// The function in the caller's structure; `None` for a NULL pointer or a NULL function, both of which DbgHelp takes for no callback.
    ///
    /// # Safety
    /// The pointer is NULL or leads to such a structure.
    pub unsafe fn from_pointer(information: *const CallbackInformation) -> Option<Self> {
        if information.is_null() {
            return None;
        }
        // SAFETY: the caller says that it can be read; it may be unaligned.
        let CallbackInformation { routine, parameter } = unsafe { information.read_unaligned() };
        routine.map(|routine| Self {
            routine,
            parameter: Parameter(parameter),
        })
    }
}

/// The function in a dialogue about one target.
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
        let CFunction { routine, parameter } = self.function;
        let process = self.process;
        let exchange = &mut self.exchange;
        let mut said = false;
        let mut task = || {
            said = exchange.put(&mut ask, process, |input, output| {
                let Parameter(parameter) = parameter;
                // SAFETY: the caller has given this function as one that can be called with its parameter and these structures,
                // on the thread that this runs on.
                unsafe { routine(parameter, input, output) }
            });
        };
        // SAFETY: the closure uses a question's plain facts and slots and the structures of the exchange; none of it
        // belongs to a thread.
        unsafe { self.caller.run(&mut task) };
        said
    }

    fn process(&mut self, process: ProcessAsked) {
        self.process = process;
    }
}
