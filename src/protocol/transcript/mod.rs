//! Transcripts: dialogues that are recorded, compared and played back. `docs/transcript.md`
//! describes the file format.

mod bytes;
mod entry;
mod fields;
mod playback;
mod recorder;
mod tape;

pub use entry::Entry;
pub use fields::NamedValues;
pub use playback::Playback;
pub use recorder::Recorder;

use std::fmt;
use std::path::Path;

use dumpwright_callback::Hresult;
use dumpwright_text::{Mistakes, Source, TextError};
use serde::{Deserialize, Serialize};

use crate::{Error, Report};

/// A recorded dialogue, and the result of the dump.
///
/// [`to_json_lines`](Self::to_json_lines) returns the file format. `Display` writes a listing for
/// people and for snapshot tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The questions and answers, in order.
    pub entries: Vec<Entry>,
    /// The result of the dump, or `None` if it was not recorded.
    pub result: Option<Ending>,
    /// The DbgHelp that wrote the dump, such as `dbghelp 6.3.9600.16384`. `None` for dumpwright's
    /// own engine, and if there is no result. [`difference`](Self::difference) ignores it.
    pub engine: Option<String>,
}

/// The result of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Whether there is a dump, and whether it is complete.
    pub status: Status,
    /// The status that `MiniDumpWriteDump` would have left in the thread's last error, as
    /// hexadecimal text. `"0x00000000"` after a success.
    pub hresult: String,
}

/// Whether there is a dump, and whether it is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The dump has everything that was requested.
    Complete,
    /// The dump lacks something that was requested.
    Partial,
    /// There is no dump.
    Failed,
}

/// The last line of a transcript file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    result: Ending,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
}

/// The mistakes of a text that is not a valid transcript. Each has its position and an excerpt.
pub type TranscriptError = TextError;

/// The first difference between two dialogues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line number in the file of the first dialogue, from 1.
    pub line: usize,
    /// The text at this line of the first dialogue, or `None` if it has ended before.
    pub expected: Option<String>,
    /// The text at this line of the second dialogue, or `None` if it has ended before.
    pub found: Option<String>,
}

impl Ending {
    /// Returns the result of a dump with this outcome.
    #[must_use]
    pub fn of(outcome: &Result<Report, Error>) -> Self {
        let (status, hresult) = match outcome {
            Ok(report) if report.is_complete() => (Status::Complete, Hresult::S_OK),
            Ok(_) => (Status::Partial, Hresult::S_OK),
            Err(error) => (Status::Failed, error.hresult()),
        };
        Self {
            status,
            hresult: hresult.to_string(),
        }
    }
}

/// Returns the message of a JSON error without the position, which is reported separately.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

impl Transcript {
    /// Parses the file format.
    ///
    /// # Errors
    /// Fails if a line is malformed, has the wrong number, or follows the result. The error lists
    /// all mistakes, and calls the file "transcript".
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        Self::read(&Source::new("transcript", text))
    }

    /// Reads a transcript from a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, and in the cases of [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TranscriptError> {
        Self::read(&Source::load(path)?)
    }

    fn read(source: &Source) -> Result<Self, TranscriptError> {
        let mistakes = Mistakes::new(source);
        let mut transcript = Self::default();
        let (mut start, mut expected) = (0, 0);
        for line in source.text().split_inclusive('\n') {
            let text = line.trim_end_matches(['\r', '\n']);
            let span = start..start + text.len();
            start += line.len();
            if transcript.result.is_some() {
                mistakes.report(span, "nothing can follow the result");
                break;
            }
            let read = if text.trim_start().starts_with("{\"result\"") {
                serde_json::from_str::<LastLine>(text).map(|last| {
                    (transcript.result, transcript.engine) = (Some(last.result), last.engine);
                })
            } else {
                serde_json::from_str::<Entry>(text).map(|entry| {
                    if entry.n != expected {
                        let message = format!("expected question {expected}, found question {}", entry.n);
                        mistakes.report(span.clone(), message);
                    }
                    // If a line is missing, only the line after it is reported.
                    expected = entry.n;
                    transcript.entries.push(entry);
                })
            };
            if let Err(error) = read {
                let column = span.start + error.column().saturating_sub(1);
                mistakes.report(column..column + 1, without_place(&error));
            }
            expected = expected.saturating_add(1);
        }
        mistakes.finish().map_or(Ok(transcript), Err)
    }

    /// Returns the file format: one JSON object per line.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        const PLAIN: &str = "entries contain only JSON values";
        let entries = self
            .entries
            .iter()
            .map(|entry| serde_json::to_string(entry).expect(PLAIN));
        let result = self.result.iter().map(|ending| {
            serde_json::to_string(&LastLine {
                result: ending.clone(),
                engine: self.engine.clone(),
            })
            .expect(PLAIN)
        });
        entries.chain(result).map(|line| line + "\n").collect()
    }

    /// Returns the first difference from `other` in questions, answers or the result.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        self.first_difference(other, |ours, theirs| ours == theirs, ToString::to_string)
    }

    /// Returns the first difference from `other` in questions or the result. Answers are not
    /// compared.
    #[must_use]
    pub fn question_difference(&self, other: &Self) -> Option<Difference> {
        self.first_difference(other, Entry::same_question, Entry::question)
    }

    fn first_difference(
        &self,
        other: &Self,
        same: impl Fn(&Entry, &Entry) -> bool,
        text: impl Fn(&Entry) -> String,
    ) -> Option<Difference> {
        let longer = self.entries.len().max(other.entries.len());
        for index in 0..longer {
            let (ours, theirs) = (self.entries.get(index), other.entries.get(index));
            if !matches!((ours, theirs), (Some(ours), Some(theirs)) if same(ours, theirs)) {
                let or_result = |transcript: &Self, entry: Option<&Entry>| {
                    entry
                        .map(&text)
                        .or_else(|| transcript.result.as_ref().map(ToString::to_string))
                };
                let (mut expected, mut found) = (or_result(self, ours), or_result(other, theirs));
                if expected == found {
                    (expected, found) = (ours.map(Entry::whole_question), theirs.map(Entry::whole_question));
                }
                return Some(Difference {
                    line: index + 1,
                    expected,
                    found,
                });
            }
        }
        (self.result != other.result).then(|| Difference {
            line: longer + 1,
            expected: self.result.as_ref().map(ToString::to_string),
            found: other.result.as_ref().map(ToString::to_string),
        })
    }

    /// Returns whether a callback answered. If not, the dialogue was recorded from a dump without a
    /// callback, or with one that only listens.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.entries.iter().any(|entry| entry.ret.is_some())
    }
}

/// Writes one line per question, and the result. Equal questions in a row that have the same answer
/// are one line, with their number.
impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut entries = self.entries.iter().map(ToString::to_string).peekable();
        while let Some(text) = entries.next() {
            let mut times = 1;
            while entries.next_if_eq(&text).is_some() {
                times += 1;
            }
            match times {
                1 => writeln!(f, "{text}")?,
                _ => writeln!(f, "{text} ({times} times)")?,
            }
        }
        self.result
            .as_ref()
            .map_or(Ok(()), |ending| writeln!(f, "{ending}"))
    }
}

/// Writes the result in the form `= complete` or `= failed 0x800704c7`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Status::Complete => write!(f, "= complete"),
            Status::Partial => write!(f, "= partial"),
            Status::Failed => write!(f, "= failed {}", self.hresult),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_end = |text: &Option<String>| text.clone().unwrap_or_else(|| "(the end)".to_owned());
        write!(
            f,
            "line {}\n  expected: {}\n  found:    {}",
            self.line,
            or_end(&self.expected),
            or_end(&self.found)
        )
    }
}

impl std::error::Error for Difference {}
