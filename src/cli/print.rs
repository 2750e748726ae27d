//! Functions that print.
//!
//! `println!` and its relatives panic if they cannot print, for example on a full disk. A lint in
//! `main.rs` denies them.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use dumpwright::target::printable;

/// Whether an output could not be printed.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Prints on standard output.
///
/// # Errors
/// If standard output cannot be written to.
pub(super) fn output(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let printed = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    noted(printed)
}

/// Prints on standard error.
///
/// # Errors
/// If standard error cannot be written to.
pub(super) fn error(text: &str) -> io::Result<()> {
    noted(io::stderr().lock().write_all(text.as_bytes()))
}

/// Prints a message on standard error, after the name of the program. If that fails, [`is_lost`]
/// returns true from then on.
pub(super) fn complain(message: impl std::fmt::Display) {
    let _ = error(&format!("dumpwright: {}\n", lines(&message.to_string())));
}

fn noted(printed: io::Result<()>) -> io::Result<()> {
    if printed.is_err() {
        IS_LOST.store(true, Ordering::Relaxed);
    }
    printed
}

/// Whether an output could not be printed.
pub(super) fn is_lost() -> bool {
    IS_LOST.load(Ordering::Relaxed)
}

/// Does the same as [`printable`], but keeps line ends.
pub(super) fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_terminals_is_escaped() {
        assert_eq!(printable("a\x1b[31mü\u{9b}"), "a\\u{1b}[31mü\\u{9b}");
        assert_eq!(printable("a\n\u{202e}b"), "a\\n\\u{202e}b");
        assert_eq!(lines("a\r\nb"), "a\\r\nb");
    }
}
