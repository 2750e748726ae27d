use dumpwright_callback::{Ask, Callback, ProcessAsked};

/// A callback that belongs to somebody else.
pub(crate) struct Lent<'a>(pub &'a mut dyn Callback);

impl Callback for Lent<'_> {
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
