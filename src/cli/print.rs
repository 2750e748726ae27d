//! Functions that print.
//!
//! `println!` and its relatives panic if they cannot print, for example on a full disk. A lint in
//! `main.rs` denies them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

pub(super) use dumpwright::target::printable;

/// The style of headings.
pub(super) const HEADING: Style = Style::new().bold();
/// The style of what went wrong.
pub(super) const ALARM: Style = AnsiColor::Red.on_default().bold();
/// The style of labels and other words of little interest.
pub(super) const DIM: Style = Style::new().dimmed();

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

/// Returns a line for each pair of a subject and a reason. Pairs with the same reason whose
/// subjects are of the same kind are one line.
pub(super) fn merged<'t>(pairs: impl Iterator<Item = (&'t str, &'t str)>) -> Vec<String> {
    let mut groups: Vec<(&str, &str, usize)> = Vec::new();
    let mut known = HashMap::new();
    for (subject, reason) in pairs {
        // Of "thread 7" and "memory 0x1000-0x2000", the first word is the kind.
        let kind = subject.split(' ').next().unwrap_or_default();
        let index = *known.entry((kind, reason)).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.2 += 1,
            None => groups.push((subject, reason, 1)),
        }
    }
    let lines = groups.into_iter().map(|(subject, reason, count)| match count {
        1 => format!("{subject}: {reason}"),
        _ => format!("{subject} and {} more: {reason}", count - 1),
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_one_line() {
        let pairs = [
            ("memory 0x1000-0x2000", "read failed"),
            ("thread 7", "it ended"),
            ("memory 0x5000-0x6000", "read failed"),
            ("memory 0x8000-0x9000", "read failed"),
            ("thread 8", "read failed"),
        ];
        assert_eq!(
            merged(pairs.into_iter()),
            [
                "memory 0x1000-0x2000 and 2 more: read failed",
                "thread 7: it ended",
                "thread 8: read failed",
            ]
        );
    }

    #[test]
    fn what_commands_terminals_is_escaped() {
        assert_eq!(printable("a\x1b[31mü\u{9b}"), "a\\u{1b}[31mü\\u{9b}");
        assert_eq!(printable("a\n\u{202e}b"), "a\\n\\u{202e}b");
        assert_eq!(lines("a\r\nb"), "a\\r\nb");
    }
}
