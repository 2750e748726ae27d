//! The pager: a program that shows long output on a terminal a page at a time.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::{Child, Command, Stdio};

use anstream::AutoStream;

use crate::cli::signals;

/// The pager if the environment variable `PAGER` is not set.
const USUAL: &str = "less";
/// The options of `less` if the environment variable `LESS` is not set, as git sets them: quit if
/// everything fits on the screen, show colours, leave the text on the screen.
const OPTIONS: &str = "FRX";

/// Where text goes: to a pager, or to standard output.
pub(super) struct TextOutput {
    out: Option<AutoStream<Box<dyn Write>>>,
    pager: Option<Child>,
}

impl TextOutput {
    /// Starts the pager if standard output is a terminal and a pager is wanted.
    pub(super) fn new(is_paged: bool) -> Self {
        let mut pager = match is_paged && io::stdout().is_terminal() {
            true => start(),
            false => None,
        };
        let choice = AutoStream::choice(&io::stdout());
        let out: Box<dyn Write> = match pager.as_mut().and_then(|pager| pager.stdin.take()) {
            Some(input) => Box::new(input),
            None => Box::new(io::stdout()),
        };
        Self {
            out: Some(AutoStream::new(out, choice)),
            pager,
        }
    }

    /// Ends the output, and waits until the user closes the pager.
    pub(super) fn finish(mut self, printed: io::Result<()>) -> Result<(), Box<dyn Error>> {
        let flushed = printed.and_then(|()| self.flush());
        let outcome = super::quiet_on_broken_pipe(flushed);
        self.close();
        outcome
    }

    fn close(&mut self) {
        // The pager reads to the end of its input.
        self.out = None;
        if let Some(mut pager) = self.pager.take() {
            let _ = pager.wait();
        }
    }
}

impl Drop for TextOutput {
    fn drop(&mut self) {
        self.close();
    }
}

impl Write for TextOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.as_mut().map_or(Ok(bytes.len()), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), Write::flush)
    }
}

/// Starts the pager that the user has chosen, or the usual one. Returns `None` if there is none.
fn start() -> Option<Child> {
    let chosen = std::env::var("PAGER").ok();
    let mut command = match chosen.as_deref().map(str::trim) {
        Some("" | "cat") => return None,
        // It may have options.
        Some(chosen) if cfg!(unix) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", chosen]);
            shell
        }
        Some(chosen) => Command::new(chosen),
        None => Command::new(USUAL),
    };
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", OPTIONS);
    }
    let pager = command.stdin(Stdio::piped()).spawn().ok()?;
    // Ctrl-C is for the pager, which this program must outlive.
    signals::leave_interrupts_to_others();
    Some(pager)
}
