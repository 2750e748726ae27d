//! Dialogues as text: recorded, compared and played back. The format is described in `docs/transcript.md`.

mod bytes;
mod entry;
mod fields;
mod playback;
mod recorder;
mod tape;

pub use entry::Entry;
pub use fields::Fields;
pub use playback::Playback;
pub use recorder::Recorder;

use std::fmt;

use dumpwright_callback::Hresult;
use serde::{Deserialize, Serialize};

use crate::{Error, Report};

/// A dialogue between the writer and a callback, and how it ended.
///
/// [`to_json_lines`](Self::to_json_lines) is its form for files, `Display` the one for people and for text snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The questions in their order.
    pub entries: Vec<Entry>,
    /// How the dump ended; `None` if that was not recorded.
    pub result: Option<Ending>,
    /// Which DbgHelp it was recorded with, as `dbghelp 6.3.9600.16384`; `None` for dumpwright itself, and as long as there is no result.
    /// Comparisons do not look at it.
    pub engine: Option<String>,
}

/// How a dump ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// Whether there is a dump.
    pub status: Status,
    /// The code that `MiniDumpWriteDump` would have left: `"0x00000000"`, or that of the failure.
    pub hresult: String,
}

/// Whether there is a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// With everything that was requested.
    Complete,
    /// With less.
    Partial,
    /// No.
    Failed,
}

/// The last line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastLine {
    result: Ending,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
}

/// Why a text is no transcript.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TranscriptError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

/// Where two dialogues part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The line of the first dialogue's file, from 1.
    pub line: usize,
    /// What stands there; `None` if it has ended before.
    pub expected: Option<String>,
    /// What the other dialogue has instead; `None` if it has ended before.
    pub found: Option<String>,
}

impl Ending {
    /// How this dump ended.
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

impl Transcript {
    /// Reads the form for files.
    ///
    /// # Errors
    /// A line is no question, stands in the wrong place, or follows the result.
    pub fn parse(text: &str) -> Result<Self, TranscriptError> {
        let mut transcript = Self::default();
        for (index, text) in text.lines().enumerate() {
            let wrong = |message: String| TranscriptError {
                line: index + 1,
                message,
            };
            let no_json = |error: serde_json::Error| wrong(error.to_string());
            if transcript.result.is_some() {
                return Err(wrong("nothing can follow the result".to_owned()));
            }
            if text.trim_start().starts_with("{\"result\"") {
                let last: LastLine = serde_json::from_str(text).map_err(no_json)?;
                (transcript.result, transcript.engine) = (Some(last.result), last.engine);
                continue;
            }
            let entry: Entry = serde_json::from_str(text).map_err(no_json)?;
            if entry.n != index {
                return Err(wrong(format!(
                    "question {} stands where {index} is expected",
                    entry.n
                )));
            }
            transcript.entries.push(entry);
        }
        Ok(transcript)
    }

    /// The form for files: one JSON object a line.
    #[must_use]
    pub fn to_json_lines(&self) -> String {
        const PLAIN: &str = "names, texts and numbers are JSON";
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

    /// Where `other` is first different in anything: questions, answers or the result.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        self.first_difference(other, |ours, theirs| ours == theirs, ToString::to_string)
    }

    /// Where `other` is first asked differently, or ends differently. Answers are not compared.
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

    /// Whether a callback answered; else the questions were only listened to.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        self.entries.iter().any(|entry| entry.ret.is_some())
    }
}

/// One line a question; questions that come several times in a row and are answered alike are one line.
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

/// `= complete`, or `= failed 0x800704c7`.
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
