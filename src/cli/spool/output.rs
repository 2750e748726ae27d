//! `dump --spool`: a dump that is written into a spool.

use std::path::{Path, PathBuf};

use dumpwright::read::Dump;
use dumpwright::spool::{Admission, Spool, SpoolError, SpoolSink};
use dumpwright::{Error, Guardian};
use serde_json::{Value, json};

use super::facts;
use crate::cli::print::printable;
use crate::cli::result::counted;

/// The length in bytes of the longest beginning of a name.
const LONGEST_STEM: usize = 200;

/// A dump on its way into a spool.
pub(in crate::cli) struct SpoolOutput {
    pub(in crate::cli) destination: SpoolDestination,
    pub(in crate::cli) sink: SpoolSink,
}

/// A spool into which a dump is put.
pub(in crate::cli) struct SpoolDestination {
    spool: Spool,
    /// The number of frames in signatures.
    frames: usize,
}

/// What came of it.
#[derive(Debug)]
pub(in crate::cli) struct Spooled {
    /// The dump, or the one that it is a duplicate of.
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) is_kept: bool,
    signature: Option<String>,
    /// How often the crash was seen, if it was counted only.
    seen: Option<u64>,
    removed: Vec<String>,
    problems: Vec<String>,
}

/// Turns an error of a spool into one of a dump.
fn failed(folder: &Path, error: SpoolError) -> Error {
    Error::Output {
        operation: "add a dump to",
        path: Some(folder.to_owned()),
        source: std::io::Error::other(error),
    }
}

impl SpoolOutput {
    /// Checks that a folder can be a spool, before there is a dump for it.
    pub(in crate::cli) fn check(folder: &Path) -> Result<(), Error> {
        let settings = Spool::create(folder).and_then(|spool| spool.settings());
        settings.map(drop).map_err(|error| failed(folder, error))
    }

    /// Reserves room for a dump. `name` is that of the file, as without a spool.
    pub(in crate::cli) fn open(
        folder: &Path,
        name: &str,
        is_compressed: bool,
        sync: bool,
    ) -> Result<Self, Error> {
        let failed = |error| failed(folder, error);
        let spool = Spool::create(folder).map_err(failed)?;
        let frames = spool.settings().map_err(failed)?.signature_frames;
        let end = if is_compressed { ".dmp.zst" } else { ".dmp" };
        let stem = name.strip_suffix(".zst").unwrap_or(name);
        let stem = stem.strip_suffix(".dmp").unwrap_or(stem);
        let longest = (0..=LONGEST_STEM.min(stem.len())).rfind(|end| stem.is_char_boundary(*end));
        let stem = &stem[..longest.unwrap_or_default()];
        // The size is known before the first byte is written, and is reserved then.
        let reservation = spool.reserve(stem, end, 0).map_err(failed)?;
        // This path leads to the running program even if its file has been replaced.
        let pid = std::process::id().to_string();
        let guardian = Guardian::new("/proc/self/exe", ["guard", "--parent", &pid]);
        Ok(Self {
            sink: SpoolSink::create_guarded(reservation, guardian)?.sync(sync),
            destination: SpoolDestination { spool, frames },
        })
    }
}

impl SpoolDestination {
    /// Puts the finished dump into the spool. `annotations` go into its record.
    pub(in crate::cli) fn commit(
        self,
        sink: SpoolSink,
        annotations: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Spooled, Error> {
        let Self { spool, frames } = self;
        // Facts are for people. The dump is kept without them.
        let mut facts = Dump::open(sink.readable_path())
            .map(|dump| facts::of(&dump, frames))
            .unwrap_or_default();
        let annotations = annotations.into_iter();
        facts
            .annotations
            .extend(annotations.map(|(name, text)| (name.to_owned(), text)));
        let removed = sink.reservation().removed().to_vec();
        let folder = spool.path();
        let admission = sink.commit(&facts).map_err(|error| failed(folder, error))?;
        let spooled = Spooled {
            path: PathBuf::new(),
            is_kept: true,
            signature: facts.signature,
            seen: None,
            removed,
            problems: Vec::new(),
        };
        Ok(match admission {
            Admission::Kept { name, problems } => Spooled {
                path: folder.join(name),
                problems,
                ..spooled
            },
            Admission::Counted { duplicate_of, seen } => Spooled {
                path: folder.join(duplicate_of),
                is_kept: false,
                seen: Some(seen),
                ..spooled
            },
        })
    }
}

impl Spooled {
    /// Returns the object in the result of `dump`.
    pub(in crate::cli) fn json(&self) -> Value {
        json!({
            "outcome": if self.is_kept { "kept" } else { "counted" },
            "signature": self.signature,
            "seen": self.seen,
            "removed": self.removed,
            "problems": self.problems,
        })
    }

    /// Returns the lines in the result of `dump`.
    pub(in crate::cli) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(seen) = self.seen {
            text.push_str(&format!(
                "  spool: this dump was not kept, because the file above has the same crash, which was seen {} now\n",
                counted(seen, "time")
            ));
        }
        if !self.removed.is_empty() {
            text.push_str(&format!(
                "  spool: {} removed to make room\n",
                match self.removed.len() {
                    1 => "an older dump was".to_owned(),
                    count => format!("{count} older dumps were"),
                }
            ));
        }
        for problem in &self.problems {
            text.push_str(&format!("  spool: {}\n", printable(problem)));
        }
        text
    }
}
