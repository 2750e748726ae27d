use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use dumpwright_callback::{Ask, ByRef, Callback, ProcessAsked};

use super::{DumpView, TestTarget, asked, golden, reproduce};
use crate::protocol::{Entry, Recorder, Symbols, Transcript};
use crate::{DumpType, Error, Report, Request, dump};

/// The settings of a rehearsal: the callback and the request.
pub struct Rehearse<'c> {
    callback: Option<Box<dyn Callback + 'c>>,
    request: Request,
    names: Vec<(String, u64, u64)>,
}

/// The results of a rehearsed dump: the dialogue, the outcome, and the dump.
///
/// `Display` prints the dialogue, one line for each question, and the outcome as the last line.
#[derive(Debug)]
pub struct Rehearsal {
    transcript: Transcript,
    outcome: Result<Report, Error>,
    bytes: Vec<u8>,
}

/// Prepares a rehearsal: a dump that a test makes with this callback. [`Rehearse::on`] makes it.
///
/// The default dump type is [`NORMAL`](DumpType::NORMAL).
pub fn rehearse<'c>(callback: impl Callback + 'c) -> Rehearse<'c> {
    Rehearse::with(Some(Box::new(callback)))
}

/// Prepares a rehearsal with a borrowed callback, which the test can inspect afterwards.
pub fn rehearse_mut(callback: &mut dyn Callback) -> Rehearse<'_> {
    rehearse(ByRef(callback))
}

/// Prepares a rehearsal without a callback. Its dialogue contains the questions that a callback
/// would be asked.
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

    /// Sets the dump type, and resets all other settings of the request.
    #[must_use]
    pub fn of_type(mut self, dump_type: DumpType) -> Self {
        self.request = Request::new(dump_type);
        self
    }

    /// Sets the request.
    #[must_use]
    pub fn for_request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Names `size` bytes of memory at `start`. The dialogue shows this name in addition to the
    /// target's own names.
    #[must_use]
    pub fn naming(mut self, name: impl Into<String>, start: u64, size: u64) -> Self {
        self.names.push((name.into(), start, size));
        self
    }

    /// Dumps the process into memory, with the callback.
    ///
    /// # Panics
    /// If `DUMPWRIGHT_KEEP` names a folder that cannot be written to.
    #[track_caller]
    pub fn on(mut self, mut process: impl TestTarget) -> Rehearsal {
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
    /// Returns the dialogue.
    #[must_use]
    pub fn dialogue(&self) -> &Transcript {
        &self.transcript
    }

    /// Returns the questions that contain these words. The words are those of
    /// [`assert_asked!`](crate::assert_asked!).
    #[must_use]
    pub fn asked(&self, words: &str) -> Vec<&Entry> {
        self.transcript
            .entries
            .iter()
            .filter(|entry| asked::has_words(&entry.to_string(), words))
            .collect()
    }

    /// Returns the report of the dump, or the error.
    ///
    /// # Errors
    /// If there is no dump.
    pub fn outcome(&self) -> Result<&Report, &Error> {
        self.outcome.as_ref()
    }

    /// Returns the report, which lists what the dump contains and what is missing.
    ///
    /// # Panics
    /// If there is no dump.
    #[track_caller]
    #[must_use]
    pub fn report(&self) -> &Report {
        match &self.outcome {
            Ok(report) => report,
            Err(error) => panic!("there is no dump: {error}\n{self}{}", reproduce::how(false)),
        }
    }

    /// Returns why there is no dump.
    ///
    /// # Panics
    /// If there is a dump.
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

    /// Returns the dump, after checking it against all rules of the format.
    ///
    /// If the callback took over the output, this is the dump that the callback was given to write.
    ///
    /// # Panics
    /// If there is no dump, or if it breaks a rule.
    #[track_caller]
    #[must_use]
    pub fn dump(&self) -> DumpView {
        let _ = self.report();
        DumpView::sound(self.bytes.clone())
    }

    /// Returns the bytes of the dump. If there is no dump, returns the bytes that were written
    /// before it failed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Asserts that the dialogue equals the contents of a file. The path is relative to the folder
    /// of the package.
    ///
    /// With `DUMPWRIGHT_BLESS=1`, writes the file instead.
    ///
    /// # Panics
    /// If the dialogue differs. The message shows the difference.
    #[track_caller]
    pub fn assert_dialogue(&self, path: impl AsRef<Path>) {
        golden::compare(path.as_ref(), &self.to_string());
    }

    /// Asserts that another rehearsal has the same dialogue.
    ///
    /// # Panics
    /// If the dialogues differ. The message shows the difference.
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
                "cannot write the rehearsal to {}, the folder in DUMPWRIGHT_KEEP: {error}",
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

/// Keeps the bytes that the callback is given if it took over the output.
struct WrittenByEither<'r, 'c> {
    recorder: &'r mut Recorder<'c>,
    bytes: Vec<u8>,
}

impl Callback for WrittenByEither<'_, '_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        if let Ask::IoWriteAll { offset, bytes, .. } = &ask {
            // Writers may seek; dumpwright's does not.
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
