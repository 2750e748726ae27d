//! A callback behind the function that `MiniDumpWriteDump` calls.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::thread::{self, ThreadId};

use dumpwright_callback::abi;
use dumpwright_callback::abi::native::{
    MINIDUMP_CALLBACK_INFORMATION, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT, OUTPUT_CANCEL,
};
use dumpwright_callback::{
    Ask, AskKind, Callback, CancelAnswer, Hresult, ModuleWriteFlags, ProcessAsked, ThreadWriteFlags,
};

/// The dialogue of one call.
pub(super) struct Conversation<'c> {
    callback: Answering<'c>,
    /// Whose callback it is.
    thread: ThreadId,
    panic: Option<Box<dyn Any + Send>>,
}

/// The caller's callback, if there is one, and what is not asked of it.
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
                let before = flags(&ask);
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
}

/// What is answered when nobody answers, so that the dump is the one that is made without a callback: FALSE, but for the questions where that
/// leaves something out or ends the dump.
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

/// The slot of a question that is answered with TRUE if nobody answers.
fn flags(ask: &Ask<'_>) -> u32 {
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => keep.bits(),
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            keep.bits()
        }
        _ => 0,
    }
}

/// Takes back what a mere listener has left in a slot that DbgHelp would look at.
fn restore(ask: &mut Ask<'_>, flags: u32) {
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
            **keep = ModuleWriteFlags::from_bits_retain(flags);
        }
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            **keep = ThreadWriteFlags::from_bits_retain(flags);
        }
        // CheckCancel counts also with FALSE.
        Ask::Cancel { answer } => **answer = CancelAnswer::default(),
        _ => {}
    }
}

impl<'c> Conversation<'c> {
    /// A dialogue with this callback; `None` if there is nothing to be answered.
    pub fn new(callback: Option<&'c mut dyn Callback>, is_snapshot: bool) -> Option<Self> {
        if callback.is_none() && !is_snapshot {
            return None;
        }
        Some(Self {
            callback: Answering {
                callback,
                told: None,
                is_snapshot,
            },
            thread: thread::current().id(),
            panic: None,
        })
    }

    /// As the function takes it. Nothing else may use the conversation until it has returned.
    pub fn information(&mut self) -> MINIDUMP_CALLBACK_INFORMATION {
        MINIDUMP_CALLBACK_INFORMATION {
            CallbackRoutine: (routine as *const c_void).expose_provenance() as u64,
            CallbackParam: ptr::from_mut(self).expose_provenance() as u64,
        }
    }

    /// Goes on with the callback's panic, if there was one.
    pub fn rethrow(self) {
        if let Some(panic) = self.panic {
            resume_unwind(panic);
        }
    }
}

/// `MINIDUMP_CALLBACK_ROUTINE`.
///
/// # Safety
/// `parameter` is that of [`Conversation::information`], the rest is what `MiniDumpWriteDump` calls a callback with.
unsafe extern "system" fn routine(
    parameter: *mut c_void,
    input: *const MINIDUMP_CALLBACK_INPUT,
    output: *mut MINIDUMP_CALLBACK_OUTPUT,
) -> i32 {
    let conversation = parameter.cast::<Conversation<'_>>();
    // SAFETY: the conversation lives as long as the call of the function. Only this member is looked at, which never changes.
    let thread = unsafe { (&raw const (*conversation).thread).read() };
    // DbgHelp is of one thread. Should another one ever come, then a callback that is of this one is not for it.
    if thread != thread::current().id() || input.is_null() || output.is_null() {
        return 0;
    }
    // SAFETY: as above; on this thread nobody else uses it, because the function returns to nobody before this does. A callback that has
    // DbgHelp called again is refused before that.
    let conversation = unsafe { &mut *conversation };
    if conversation.panic.is_none() {
        let callback = &mut conversation.callback;
        // SAFETY: the pointers are those of a MiniDumpWriteDump.
        match catch_unwind(AssertUnwindSafe(|| unsafe {
            abi::answer(input, output, callback)
        })) {
            Ok(said) => return said,
            Err(panic) => conversation.panic = Some(panic),
        }
    }
    // SAFETY: the pointers are those of a MiniDumpWriteDump: the type can be read, and the slot of Cancel written.
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
