use dumpwright_callback::{Ask, Callback, ProcessAsked};

use super::tape::Tape;
use super::{Ending, Transcript};
use crate::protocol::symbols::Symbols;
use crate::{Error, Report};

/// A wrapper around a callback that records the dialogue.
///
/// Without a callback, the recorder only listens. It then records the questions, and the dump is
/// the one that is made without a callback.
///
/// ```
/// # use dumpwright::{Ask, DumpType, Request, dump};
/// # use dumpwright::protocol::{Recorder, Symbols};
/// # let mut process = dumpwright_sim::SimProcess::new(1).thread(7, 0x1000, 0);
/// let mut callback = |ask: Ask<'_>| !matches!(ask, Ask::Memory { .. } | Ask::RemoveMemory { .. });
/// let mut recorder = Recorder::new(Some(&mut callback), Symbols::new());
/// let mut file = Vec::new();
/// let request = Request::new(DumpType::NORMAL);
/// let outcome = dump(&mut process, &request, Some(&mut recorder), &mut file);
/// let transcript = recorder.finish(&outcome);
/// assert!(transcript.to_string().contains("IncludeThread thread=7 | flags=0x17 -> TRUE"));
/// ```
pub struct Recorder<'c> {
    inner: Option<&'c mut dyn Callback>,
    tape: Tape,
}

impl<'c> Recorder<'c> {
    /// Creates a recorder around this callback. In the transcript, addresses are replaced by these
    /// names, and by names that are learned from the questions.
    pub fn new(callback: Option<&'c mut dyn Callback>, symbols: Symbols) -> Self {
        Self {
            inner: callback,
            tape: Tape::new(symbols),
        }
    }

    /// Returns the dialogue so far, without a result.
    #[must_use]
    pub fn transcript(&self) -> Transcript {
        Transcript {
            entries: self.tape.entries(),
            result: None,
            engine: None,
        }
    }

    /// Returns the dialogue with the result of a dump that has this outcome.
    #[must_use]
    pub fn finish(self, outcome: &Result<Report, Error>) -> Transcript {
        Transcript {
            result: Some(Ending::of(outcome)),
            ..self.transcript()
        }
    }
}

impl Callback for Recorder<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        let inner = &mut self.inner;
        let said = self.tape.record(ask, |ask, _| {
            let inner = inner.as_mut()?;
            let said = inner.ask(ask);
            inner.answers().then_some(said)
        });
        said.unwrap_or(true)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.tape.process(process);
        if let Some(inner) = &mut self.inner {
            inner.process(process);
        }
    }

    fn answers(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.answers())
    }
}
