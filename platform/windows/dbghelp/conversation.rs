//! Connects a [`Callback`] to the callback function that `MiniDumpWriteDump` calls.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::thread::{self, ThreadId};

use dumpwright_abi::native::{
    MINIDUMP_CALLBACK_INFORMATION, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT, OUTPUT_CANCEL,
};
use dumpwright_callback::{Ask, AskKind, Callback, CancelAnswer, Hresult, ProcessAsked};

/// The dialogue of one call of `MiniDumpWriteDump`.
pub(super) struct DbgHelpConversation<'c> {
    /// The thread on which the callback may run.
    thread: ThreadId,
    /// Accessed only on that thread.
    state: UnsafeCell<State<'c>>,
}

struct State<'c> {
    callback: Answering<'c>,
    panic: Option<Box<dyn Any + Send>>,
}

/// The caller's callback, if there is one, and the facts with which some questions are answered
/// without it.
struct Answering<'c> {
    callback: Option<&'c mut dyn Callback>,
    told: Option<ProcessAsked>,
    is_snapshot: bool,
}

impl Callback for Answering<'_> {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        if let (true, Ask::IsProcessSnapshot { status }) = (self.is_snapshot, &mut ask) {
            **status = Hresult::S_FALSE;
            return true;
        }
        match &mut self.callback {
            Some(callback) if callback.answers() => callback.ask(ask),
            Some(callback) => {
                let before = ask.write_flags();
                callback.ask(ask.reborrow());
                restore(&mut ask, before);
                is_wanted(ask.kind())
            }
            None => is_wanted(ask.kind()),
        }
    }

    fn process(&mut self, process: ProcessAsked) {
        if let (false, Some(callback)) = (self.told.replace(process) == Some(process), &mut self.callback) {
            callback.process(process);
        }
    }

    fn answers(&self) -> bool {
        true
    }
}

/// Returns the answer that is given when no callback answers. With these answers the dump is the
/// same as without a callback: FALSE, except for the questions where FALSE leaves something out or
/// ends the dump.
fn is_wanted(kind: AskKind) -> bool {
    matches!(
        kind,
        AskKind::Module
            | AskKind::Thread
            | AskKind::ThreadEx
            | AskKind::IncludeThread
            | AskKind::IncludeModule
    )
}

/// Undoes the changes of a callback that only observes, in the slots that DbgHelp also reads after
/// FALSE.
fn restore(ask: &mut Ask<'_>, write_flags: Option<u32>) {
    if let Some(flags) = write_flags {
        ask.set_write_flags(flags);
    }
    // DbgHelp also reads CheckCancel after FALSE.
    if let Ask::Cancel { answer } = ask {
        **answer = CancelAnswer::default();
    }
}

impl<'c> DbgHelpConversation<'c> {
    /// Creates a dialogue with this callback. Returns `None` if there is nothing to answer.
    pub fn new(callback: Option<&'c mut dyn Callback>, is_snapshot: bool) -> Option<Self> {
        if callback.is_none() && !is_snapshot {
            return None;
        }
        let callback = Answering {
            callback,
            told: None,
            is_snapshot,
        };
        Some(Self {
            thread: thread::current().id(),
            state: UnsafeCell::new(State {
                callback,
                panic: None,
            }),
        })
    }

    /// Returns the structure for `MiniDumpWriteDump`. The conversation must not move until that
    /// function has returned.
    pub fn information(&self) -> MINIDUMP_CALLBACK_INFORMATION {
        MINIDUMP_CALLBACK_INFORMATION {
            CallbackRoutine: (routine as *const c_void).expose_provenance() as u64,
            CallbackParam: ptr::from_ref(self).expose_provenance() as u64,
        }
    }

    /// Resumes the callback's panic, if there was one.
    pub fn rethrow(self) {
        if let Some(panic) = self.state.into_inner().panic {
            resume_unwind(panic);
        }
    }
}

/// The callback function (`MINIDUMP_CALLBACK_ROUTINE`).
///
/// # Safety
/// `parameter` comes from [`DbgHelpConversation::information`], and the conversation has not moved
/// since and is not used by anything else. `input` and `output` are those with which
/// `MiniDumpWriteDump` calls a callback.
unsafe extern "system" fn routine(
    parameter: *mut c_void,
    input: *const MINIDUMP_CALLBACK_INPUT,
    output: *mut MINIDUMP_CALLBACK_OUTPUT,
) -> i32 {
    // SAFETY: the conversation outlives the call of `MiniDumpWriteDump`. It is borrowed only for
    // reading, so this is sound on any thread: the thread's id never changes, and the rest is in a
    // cell.
    let conversation = unsafe { &*parameter.cast::<DbgHelpConversation<'_>>() };
    // DbgHelp uses one thread. If it ever called from another one, the callback must not be used
    // there.
    if conversation.thread != thread::current().id() || input.is_null() || output.is_null() {
        return 0;
    }
    // SAFETY: only the thread of the conversation reaches this line, and it cannot reach it again
    // before this function returns. A callback that calls DbgHelp through this crate is refused,
    // and a callback that calls it in another way has no access to this conversation.
    let state = unsafe { &mut *conversation.state.get() };
    if state.panic.is_none() {
        let callback = &mut state.callback;
        // SAFETY: the caller guarantees that the pointers are those with which a MiniDumpWriteDump
        // calls its callback.
        match catch_unwind(AssertUnwindSafe(|| unsafe {
            dumpwright_abi::answer(input, output, callback)
        })) {
            Ok(said) => return said,
            Err(panic) => state.panic = Some(panic),
        }
    }
    // SAFETY: as above, the type can be read, and the slot of Cancel can be written if that is the
    // type.
    unsafe {
        if (&raw const (*input).CallbackType).read_unaligned() != AskKind::Cancel as u32 {
            return 0;
        }
        let answer = OUTPUT_CANCEL {
            CheckCancel: 1,
            Cancel: 1,
        };
        (&raw mut (*output).Arms.CancelAnswer).write_unaligned(answer);
    }
    1
}
