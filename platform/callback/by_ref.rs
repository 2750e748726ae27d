use crate::{Ask, Callback, ProcessAsked};

/// A borrowed callback, for functions and types that take a callback by value.
///
/// `&mut C` cannot implement [`Callback`] itself, because that would overlap with the
/// implementation for closures.
pub struct ByRef<'c>(pub &'c mut dyn Callback);

impl Callback for ByRef<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self.0.ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.0.process(process);
    }

    fn answers(&self) -> bool {
        self.0.answers()
    }
}
