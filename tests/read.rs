//! The reader, on dumps made by hand.
//!
//! Would catch: a field read at a wrong offset, a name or info joined to the wrong thread, memory that is missed across
//! ranges or invented where it was lost, a rule of the check that never fires or fires on a good dump, and a damaged or
//! hostile file that makes the reader panic, read outside the file, or take memory the file does not account for;
//! a sample, and with it the reader, that another reader understands differently; and `show` and `check` with a wrong exit status, or noise when their reader leaves early.

#[path = "read/agreement.rs"]
mod agreement;
#[cfg(feature = "cli")]
#[path = "read/commands.rs"]
mod commands;
#[path = "read/contents.rs"]
mod contents;
#[path = "read/hostile.rs"]
mod hostile;
#[path = "read/rules.rs"]
mod rules;
#[path = "read/sample.rs"]
mod sample;
