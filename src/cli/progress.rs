//! Shows how far a dump has come.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use dumpwright::{Error, Sink};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Dumps that take less time are written without a progress bar.
const DELAY: Duration = Duration::from_secs(1);
/// The time between two lines if standard error is not a terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// A sink that shows how many bytes another one has received: a bar on a terminal, or with `-v` a
/// line every few seconds elsewhere.
pub(super) struct ProgressSink<'s> {
    inner: &'s mut dyn Sink,
    started: Instant,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl<'s> ProgressSink<'s> {
    pub(super) fn new(inner: &'s mut dyn Sink) -> Self {
        let now = Instant::now();
        Self {
            inner,
            started: now,
            total: 0,
            bar: None,
            last_line: now,
        }
    }

    fn report(&mut self, done: u64) {
        if self.total == 0 || self.started.elapsed() < DELAY {
            return;
        }
        if io::stderr().is_terminal() {
            let total = self.total;
            let bar = self.bar.get_or_insert_with(|| bar(total, self.started));
            bar.set_position(done);
        } else if self.last_line.elapsed() >= INTERVAL {
            self.last_line = Instant::now();
            tracing::info!("wrote {} of {}", HumanBytes(done), HumanBytes(self.total));
        }
    }
}

fn bar(total: u64, started: Instant) -> ProgressBar {
    let style = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("the template is valid");
    let target = ProgressDrawTarget::stderr_with_hz(10);
    ProgressBar::with_draw_target(Some(total), target)
        .with_style(style.progress_chars("=> "))
        .with_elapsed(started.elapsed())
}

impl Drop for ProgressSink<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Sink for ProgressSink<'_> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.append(at, bytes)?;
        self.report(at + bytes.len() as u64);
        Ok(())
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.inner.append_zeros(at, len)?;
        self.report(at + len);
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.inner.prepare()
    }

    fn largest_part(&self) -> usize {
        self.inner.largest_part()
    }

    fn check_amend(&self) -> io::Result<()> {
        self.inner.check_amend()
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.amend(at, bytes)
    }

    fn announce(&mut self, total: u64) {
        self.total = total;
        tracing::info!("writing {}", HumanBytes(total));
        self.inner.announce(total);
    }

    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }

    fn lend_file(&mut self) -> Option<&File> {
        self.inner.lend_file()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.inner.finish()
    }
}
