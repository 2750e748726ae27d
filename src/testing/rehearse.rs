use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use dumpwright_callback::{Ask, Callback, ProcessAsked};

use super::{DumpView, Subject, asked, golden, reproduce};
use crate::protocol::{Entry, Lent, Recorder, Symbols, Transcript};
use crate::{DumpType, Error, Report, Request, dump};

/// A rehearsal to come: a callback, and what is to be dumped.
pub struct Rehearse<'c> {
    callback: Option<Box<dyn Callback + 'c>>,
    request: Request,
    names: Vec<(String, u64, u64)>,
}

/// A dump that was rehearsed: the dialogue, the result, the dump.
///
/// `Display` is the dialogue, a line a question, the result last.
#[derive(Debug)]
pub struct Rehearsal {
    transcript: Transcript,
    outcome: Result<Report, Error>,
    bytes: Vec<u8>,
}

/// Rehearses a callback.
///
/// By default for a dump of type [`NORMAL`](DumpType::NORMAL).
pub fn rehearse<'c>(callback: impl Callback + 'c) -> Rehearse<'c> {
    Rehearse::with(Some(Box::new(callback)))
}

/// Rehearses a callback that is only lent, so that it can be looked at afterwards.
pub fn rehearse_mut(callback: &mut dyn Callback) -> Rehearse<'_> {
    rehearse(Lent(callback))
}

/// Rehearses a dump without a callback: what would be asked, and the dump that comes of it.
#[must_use]
pub fn rehearse_without_callback() -> Rehearse<'static> {
    Rehearse::with(None)
}

impl<'c> Rehearse<'c> {
    fn with(callback: Option<Box<dyn Callback + 'c>>) -> Self {
        Self {
            callback,
            request: Request::new(DumpType::NORMAL),
            names: Vec::new(),
        }
    }

    /// A dump of this type.
    #[must_use]
    pub fn of_type(mut self, dump_type: DumpType) -> Self {
        self.request = Request::new(dump_type);
        self
    }

    /// The dump that this request asks for.
    #[must_use]
    pub fn for_request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Gives a place a name in the dialogue, besides the names that the process has itself.
    #[must_use]
    pub fn naming(mut self, name: impl Into<String>, start: u64, size: u64) -> Self {
        self.names.push((name.into(), start, size));
        self
    }

    /// Dumps the process into memory, with the callback.
    ///
    /// # Panics
    /// `DUMPWRIGHT_KEEP` names a folder that cannot be written to.
    #[track_caller]
    pub fn on(mut self, mut process: impl Subject) -> Rehearsal {
        let named = |symbols: Symbols, (name, start, size)| symbols.name(name, start, size);
        let symbols = self.names.into_iter().fold(process.symbols(), named);
        let callback = self
            .callback
            .as_mut()
            .map(|callback| &mut **callback as &mut dyn Callback);
        let mut recorder = Recorder::new(callback, symbols);
        let mut output = WrittenByEither {
            recorder: &mut recorder,
            bytes: Vec::new(),
        };
        let mut bytes = Vec::new();
        let outcome = dump(process.target(), &self.request, Some(&mut output), &mut bytes);
        let taken_over = output.bytes;
        let transcript = recorder.finish(&outcome);
        let rehearsal = Rehearsal {
            transcript,
            outcome,
            bytes: if bytes.is_empty() { taken_over } else { bytes },
        };
        rehearsal.keep();
        rehearsal
    }
}

impl Rehearsal {
    /// The dialogue.
    #[must_use]
    pub fn dialogue(&self) -> &Transcript {
        &self.transcript
    }

    /// The questions that have these words, as for [`assert_asked!`](crate::assert_asked!).
    #[must_use]
    pub fn asked(&self, words: &str) -> Vec<&Entry> {
        self.transcript
            .entries
            .iter()
            .filter(|entry| asked::has_words(&entry.to_string(), words))
            .collect()
    }

    /// How it ended.
    ///
    /// # Errors
    /// There is no dump; that is what the callback made of it.
    pub fn outcome(&self) -> Result<&Report, &Error> {
        self.outcome.as_ref()
    }

    /// What the dump holds and lacks.
    ///
    /// # Panics
    /// There is no dump.
    #[track_caller]
    #[must_use]
    pub fn report(&self) -> &Report {
        match &self.outcome {
            Ok(report) => report,
            Err(error) => panic!("there is no dump: {error}\n{self}{}", reproduce::how(false)),
        }
    }

    /// Why there is no dump.
    ///
    /// # Panics
    /// There is one.
    #[track_caller]
    #[must_use]
    pub fn error(&self) -> &Error {
        match &self.outcome {
            Err(error) => error,
            Ok(report) => panic!(
                "there is a dump of {} bytes\n{self}{}",
                report.bytes,
                reproduce::how(false)
            ),
        }
    }

    /// The dump, sound by all rules of the format.
    ///
    /// A callback that took over the output has written it; what it was given is seen here all the same.
    ///
    /// # Panics
    /// There is no dump, or it breaks a rule.
    #[track_caller]
    #[must_use]
    pub fn dump(&self) -> DumpView {
        let _ = self.report();
        DumpView::sound(self.bytes.clone())
    }

    /// The bytes of the dump; if there is none, those that were written before it failed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// States that the dialogue is the one in this file, which is a path from the folder of the package.
    ///
    /// With `DUMPWRIGHT_BLESS=1` the file is written.
    ///
    /// # Panics
    /// The dialogue is another one; the text shows the difference.
    #[track_caller]
    pub fn assert_dialogue(&self, path: impl AsRef<Path>) {
        golden::compare(path.as_ref(), &self.to_string());
    }

    /// States that another rehearsal has the same dialogue.
    ///
    /// # Panics
    /// It has another one; the text shows the difference.
    #[track_caller]
    pub fn assert_same_dialogue(&self, other: &Self) {
        let (expected, found) = (self.to_string(), other.to_string());
        assert!(
            expected == found,
            "{}{}",
            golden::difference(&expected, &found, "one rehearsal", "the other"),
            reproduce::how(false)
        );
    }

    #[track_caller]
    fn keep(&self) {
        let Some(folder) = env::var_os("DUMPWRIGHT_KEEP").map(PathBuf::from) else {
            return;
        };
        let stem = reproduce::file_stem();
        let written = fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join(format!("{stem}.dmp")), &self.bytes))
            .and_then(|()| {
                fs::write(
                    folder.join(format!("{stem}.jsonl")),
                    self.transcript.to_json_lines(),
                )
            });
        if let Err(error) = written {
            panic!(
                "cannot keep the rehearsal in {}, which DUMPWRIGHT_KEEP names: {error}",
                folder.display()
            );
        }
    }
}

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transcript.fmt(f)
    }
}

/// Watches what a callback that took over the output is given.
struct WrittenByEither<'r, 'c> {
    recorder: &'r mut Recorder<'c>,
    bytes: Vec<u8>,
}

impl Callback for WrittenByEither<'_, '_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        if let Ask::IoWriteAll { offset, bytes, .. } = &ask {
            // A writer may go back; this one does not.
            let start = usize::try_from(*offset).expect("a dump in memory");
            self.bytes.resize(self.bytes.len().max(start + bytes.len()), 0);
            self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        }
        self.recorder.ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.recorder.process(process);
    }

    fn answers(&self) -> bool {
        self.recorder.answers()
    }
}
