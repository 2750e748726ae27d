//! Signals that the command line receives.
//!
//! SIGTERM, SIGINT and SIGHUP have no handlers; they end the program, except for `watch`. The
//! system then releases the target and removes a file without a name. The guardian of the
//! [`FileSink`](dumpwright::FileSink) removes a file with a temporary name.

/// Blocks SIGXFSZ, so that a write beyond the limit for file sizes (`ulimit -f`) fails with "File
/// too large". The signal would end the program.
///
/// A program that is started after this call inherits the blocked signal.
pub(super) fn survive_size_limit() {
    #[cfg(unix)]
    unix::block(&[unix::Signal::SIGXFSZ]);
}

/// Blocks the signals with which a terminal ends the program, such as Ctrl-C. Another program takes
/// care of them. It must have been started before.
pub(super) fn leave_interrupts_to_others() {
    #[cfg(unix)]
    unix::block(&[unix::Signal::SIGINT, unix::Signal::SIGQUIT]);
}

/// Blocks the signals with which a terminal stops the program, such as Ctrl-Z, as long as this
/// exists. A stopped dumper would not resume its target. The signals take effect afterwards.
pub(super) struct Unstoppable {
    #[cfg(unix)]
    before: Option<unix::SigSet>,
}

impl Unstoppable {
    pub(super) fn new() -> Self {
        Self {
            #[cfg(unix)]
            before: unix::block(&unix::STOPS),
        }
    }
}

impl Drop for Unstoppable {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            // It cannot fail: the set is valid.
            let _ = before.thread_set_mask();
        }
    }
}

#[cfg(unix)]
mod unix {
    use nix::sys::signal::SigmaskHow;
    pub(super) use nix::sys::signal::{SigSet, Signal};

    pub(super) const STOPS: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];

    /// Blocks signals. Returns those that were blocked before. The call cannot fail, because the
    /// set is valid.
    pub(super) fn block(signals: &[Signal]) -> Option<SigSet> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()
    }
}
