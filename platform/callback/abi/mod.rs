//! The structures that C callbacks are called with, and the questions in them.
//!
//! [`Exchange`] puts an [`Ask`] to a C function and takes its answer back; [`answer`] is the other direction: a [`Callback`]
//! stands behind the C function that somebody else's `MiniDumpWriteDump` calls.
//!
//! # Layout
//!
//! Microsoft's `minidumpapiset.h` has everything under `#pragma pack(4)`, so that 64-bit numbers and pointers are aligned
//! to 4 only. The exception is `CONTEXT`, which x64 and arm64 declare with an alignment of 16; Microsoft's
//! compiler does not lower that, so there all that holds a `CONTEXT` by value is aligned to 16. The three CPU
//! families are [`x64`], [`x86`] and [`arm64`], and [`native`] is the one of this build; all sizes and offsets are asserted where
//! they are defined. They were computed by clang for its three MSVC targets, and x64 was confirmed with the bytes that DbgHelp 6.3.9600
//! hands out.
//!
//! Other people's declarations differ: the crates `windows` and `windows-sys` (0.62, 0.61) and mingw-w64's `dbghelp.h`
//! have `Context` of the Thread question 4 bytes too low on x64, and take `MINIDUMP_CALLBACK_OUTPUT` for 56 and 68 bytes
//! instead of 52. Whoever assigns such a structure as a whole writes past the real one; here there is room for that
//! ([`Exchange::OUTPUT_ROOM`]). DbgHelp has none.
//!
//! # Pointers
//!
//! Pointers are numbers of the family's width, because two of the three families are not the one of this build.
#![allow(unsafe_code, reason = "C's unions, and pointers that a C caller gives")]

mod answer;
mod exchange;
mod families;
mod structures;
#[cfg(test)]
mod tests;

pub use answer::answer;
pub use exchange::Exchange;
pub use families::{arm64, native, x64, x86};
pub use structures::{ALIGNED, ANONYMOUS, Field, OffsetsOf, STRUCTURES, Structure, UNIONS};

#[cfg(doc)]
use crate::{Ask, Callback};
