//! The C structures that `MiniDumpWriteDump` and its callback use, and conversions between them and
//! the types of `dumpwright-callback`.
//!
//! [`Exchange`] sends an [`Ask`] to a C function and reads the answer back. [`answer`] works in the
//! opposite direction: it implements the C function that a `MiniDumpWriteDump` calls, and passes
//! each call to a [`Callback`]. [`CallbackLibrary`] is a callback in a shared library.
//!
//! Only the C library, the backend for Windows and the command line need this crate. A callback in
//! Rust needs only `dumpwright-callback`.
//!
//! # Layout
//!
//! Microsoft's `minidumpapiset.h` puts all structures under `#pragma pack(4)`, so 64-bit numbers
//! and pointers have an alignment of 4. `CONTEXT` is the exception: x64 and arm64 declare it with
//! an alignment of 16, and Microsoft's compiler does not reduce that alignment. Every structure
//! that contains a `CONTEXT` by value is therefore aligned to 16 on these two. The three CPU
//! families are [`x64`], [`x86`] and [`arm64`]; [`native`] is the family of this build. All sizes
//! and offsets are asserted next to the definitions. They were computed by clang for its three MSVC
//! targets. The x64 values were confirmed with the structures that DbgHelp 6.3.9600 passes to
//! callbacks.
//!
//! Other declarations of these structures differ. The crates `windows` and `windows-sys` (0.62,
//! 0.61) and mingw-w64's `dbghelp.h` place the `Context` of a Thread question 4 bytes too low on
//! x64. They declare `MINIDUMP_CALLBACK_OUTPUT` with 56 and 68 bytes respectively, but it has 52. A
//! callback that assigns such a structure as a whole writes past the end of the real one.
//! [`Exchange`] reserves space for that ([`Exchange::OUTPUT_ROOM`]); DbgHelp does not.
//!
//! # Pointers
//!
//! Pointers are integers of the family's pointer width, because two of the three families are not
//! the family of this build.

mod answer;
mod exception_record;
mod exchange;
mod families;
mod library;
mod structures;
#[cfg(test)]
mod tests;

pub use answer::answer;
pub use exception_record::ExceptionRecord;
pub use exchange::Exchange;
pub use families::{arm64, native, x64, x86};
pub use library::{CallbackLibrary, LibraryError, Routine};
pub use structures::{ALIGNED, ANONYMOUS, Field, OffsetsOf, STRUCTURES, Structure, UNIONS};

#[cfg(doc)]
use dumpwright_callback::{Ask, Callback};
