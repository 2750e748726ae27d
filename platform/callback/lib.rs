//! The 21 questions that `MiniDumpWriteDump` puts to its callback, and their answers.
//!
//! Windows hands a callback one input structure and one output structure and says by a number which
//! fields count. Here each question is a variant of [`Ask`] that carries exactly its own facts and its
//! own *answer slot*: a `&mut` that arrives prefilled with the default, as Windows' output structure
//! does, and that the callback edits. The returned `bool` is Windows' `BOOL`.
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
//! C functions are called with structures instead; [`abi`] translates both ways.
//!
//! This crate depends on nothing of ours: the engine asks, scripts, policies, C functions and
//! closures answer, and none needs to know the other.
//!
//! Sources: the Microsoft pages `MINIDUMP_CALLBACK_TYPE`, `MINIDUMP_CALLBACK_INPUT` and
//! `MINIDUMP_CALLBACK_OUTPUT` for the questions; the prefilled values as observed on Microsoft's
//! DbgHelp 6.3.9600.

#![deny(unsafe_code)]

pub mod abi;
mod answer;
mod ask;
mod flags;
mod status;

pub use answer::{CancelAnswer, MemoryAnswer, MemoryInfo, RegionAnswer, VmQueryAnswer, VmReadAnswer};
pub use ask::{Ask, AskKind, ModuleAsked, ProcessAsked, ThreadAsked};
pub use flags::{ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
pub use status::Hresult;

/// Whoever answers the questions.
///
/// Any `FnMut(Ask<'_>) -> bool` is one.
pub trait Callback {
    /// Answers one question: edits its slot and returns Windows' `BOOL`.
    ///
    /// What `false` means depends on the question; see each variant of [`Ask`].
    fn ask(&mut self, ask: Ask<'_>) -> bool;

    /// The process id and handle that the questions come with from now on.
    ///
    /// Windows shows both in each `MINIDUMP_CALLBACK_INPUT`, and most questions have no use for them; so they are told
    /// apart, before the first question and whenever they become others. A callback that holds another one passes
    /// this on.
    fn process(&mut self, process: ProcessAsked) {
        let _ = process;
    }

    /// Whether anybody answers. A mere listener says `false`: it is shown the questions, and what it returns
    /// counts for nothing; the dump is the one that is made without a callback.
    fn answers(&self) -> bool {
        true
    }
}

impl<F: FnMut(Ask<'_>) -> bool> Callback for F {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self(ask)
    }
}
