//! The reader, on dumps built by hand.
//!
//! Would catch: a field that is read at a wrong offset; a name or info that is joined to the wrong
//! thread; memory that is missed where two ranges meet, or invented where it was lost; a rule of
//! `check` that never reports anything, or reports a valid dump; a damaged or hostile file that
//! makes the reader panic, read outside the file, or use more memory than the file justifies; a
//! sample that another reader understands differently; `show` and `check` with a wrong exit status,
//! or an error message when their reader closes the pipe early.

mod agreement;
#[cfg(target_os = "linux")]
mod bounds;
mod cases;
#[cfg(feature = "cli")]
mod commands;
#[cfg(feature = "zstd")]
mod compressed;
mod compressed_memory;
mod contents;
mod hostile;
mod rules;
mod sample;
mod sdk;
