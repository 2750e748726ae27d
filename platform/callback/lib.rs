//! The callback of `MiniDumpWriteDump`: its 23 callback types and their answers.
//!
//! Windows passes one input structure and one output structure to a callback, and a number that
//! says which fields are valid. In this crate, each callback type is a variant of [`Ask`]. A
//! variant contains only the facts of its question and its own *answer slot*. The slot is a `&mut`
//! that is filled with the default answer before the call, like Windows' output structure, and that
//! the callback may change. The returned `bool` is Windows' `BOOL`.
//!
//! ```
//! use dumpwright_callback::{Ask, Callback};
//!
//! // Leave out thread 7, keep everything else as it is.
//! let mut callback = |ask: Ask<'_>| !matches!(ask, Ask::IncludeThread { thread_id: 7, .. });
//! # let mut keep = dumpwright_callback::ThreadWriteFlags::all();
//! # assert!(!callback.ask(Ask::IncludeThread { thread_id: 7, keep: &mut keep }));
//! ```
//!
//! C functions are called with Windows' structures. The crate `dumpwright-abi` translates in both
//! directions.
//!
//! This crate depends on no other crate of dumpwright. It connects the engine, which asks, with
//! scripts, policies, C functions and closures, which answer.
//!
//! # Sources
//!
//! The callback types are documented on the Microsoft pages `MINIDUMP_CALLBACK_TYPE`,
//! `MINIDUMP_CALLBACK_INPUT` and `MINIDUMP_CALLBACK_OUTPUT`. The default answers were observed on
//! Microsoft's DbgHelp 6.3.9600.

#![forbid(unsafe_code)]

mod answer;
mod ask;
mod by_ref;
mod flags;
mod slots;
mod status;

pub use answer::{
    CancelAnswer, CompressionAnswer, MemoryAnswer, MemoryInfo, RegionAnswer, VmQueryAnswer, VmReadAnswer,
};
pub use ask::{Ask, AskKind, ModuleAsked, ProcessAsked, ThreadAsked};
pub use by_ref::ByRef;
pub use flags::{ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
pub use status::Hresult;

/// Code that answers the dump writer's questions.
///
/// Implemented for every `FnMut(Ask<'_>) -> bool`.
pub trait Callback {
    /// Answers one question: changes its answer slot and returns Windows' `BOOL`.
    ///
    /// The meaning of `false` depends on the question. See the variants of [`Ask`].
    fn ask(&mut self, ask: Ask<'_>) -> bool;

    /// Receives the process id and the process handle of the questions that follow.
    ///
    /// Windows passes both in every `MINIDUMP_CALLBACK_INPUT`, but most callbacks do not need them.
    /// The engine therefore calls this method before the first question, and again whenever one of
    /// them changes. A callback that wraps another one must forward the call. A callback that does
    /// not need the values leaves the body empty.
    fn process(&mut self, process: ProcessAsked);

    /// Returns whether the answers have an effect.
    ///
    /// A callback that only observes returns `false`. It receives every question, its answers are
    /// ignored, and the dump is the same as without a callback. A callback that wraps another one
    /// and does not answer by itself must forward the call.
    fn answers(&self) -> bool;
}

impl<F: FnMut(Ask<'_>) -> bool> Callback for F {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self(ask)
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
