//! A folder of dumps.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::Flock;

use crate::contents::{self, SpoolContents};
use crate::counters::{SignatureCount, SpoolCounters};
use crate::error::SpoolError;
use crate::folder::SpoolFolder;
use crate::name::{self, NameKind};
use crate::record::{self, DumpFacts, DumpRecord};
use crate::reservation::Reservation;
use crate::room;
use crate::settings::SpoolSettings;

/// A folder of dumps. Several processes and threads may use it at once.
///
/// Its files belong to one user: a folder of another user, and one that others may write to, is
/// refused. Root may use everybody's.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: Arc<SpoolFolder>,
}

/// A dump in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolEntry {
    /// The name of the file.
    pub name: String,
    /// The path of the file.
    pub path: PathBuf,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// When the file was written.
    pub modified: SystemTime,
    /// The record of the dump. An error completes "its record", as in "is missing".
    pub record: Result<DumpRecord, String>,
    /// How often its crash was seen. `None` if it has no signature or was not counted.
    pub count: Option<SignatureCount>,
}

/// What [`Spool::clean`] has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanedSpool {
    /// The names of dumps that were older than `keep-age`.
    pub expired: Vec<String>,
    /// The names of dumps beyond the other limits.
    pub surplus: Vec<String>,
}

/// What is wrong with a dump in a spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpoolProblem {
    /// Its record is missing or invalid.
    Record(String),
    /// The file does not have the recorded size.
    Size {
        /// The size in the record.
        recorded: u64,
        /// The size of the file.
        found: u64,
    },
    /// The file does not have the recorded checksum.
    Checksum,
}

impl fmt::Display for SpoolProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(reason) => write!(f, "its record {reason}"),
            Self::Size { recorded, found } => {
                write!(f, "it has {found} bytes, and its record says {recorded}")
            }
            Self::Checksum => f.write_str("it was changed: its checksum is not the recorded one"),
        }
    }
}

/// A dump that is open for reading. The spool does not remove it meanwhile.
#[derive(Debug)]
pub struct SharedDump(Flock<File>);

impl SharedDump {
    /// Returns the file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.0
    }
}

impl Spool {
    /// Opens a spool. Creates the folder, for its owner only, if it does not exist.
    ///
    /// # Errors
    /// If the folder cannot be created, or see [`open`](Self::open).
    pub fn create(folder: impl AsRef<Path>) -> Result<Self, SpoolError> {
        let folder = folder.as_ref();
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(SpoolError::System {
                operation: "create the folder",
                path: folder.to_owned(),
                source: error,
            }),
            _ => Self::open(folder),
        }
    }

    /// Opens a spool in an existing folder.
    ///
    /// # Errors
    /// If there is no such folder, if it belongs to another user or can be changed by others, or if
    /// its path ends with a symbolic link.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, SpoolError> {
        let folder = SpoolFolder::open(folder.as_ref())?;
        Ok(Self {
            folder: Arc::new(folder),
        })
    }

    /// Returns the path with which the spool was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Reads the settings, `spool.toml`.
    ///
    /// # Errors
    /// If the file cannot be read or is invalid.
    pub fn settings(&self) -> Result<SpoolSettings, SpoolError> {
        SpoolSettings::load(&self.folder)
    }

    /// Reserves room for a dump of `bytes` bytes, and removes old dumps if that is necessary. A
    /// dump whose size is not known yet can [grow](Reservation::grow).
    ///
    /// The name of the dump begins with `stem`, which may have letters, digits and `._-+@=,%`, and
    /// at most 200 bytes. It ends with `end`: `.dmp` or `.dmp.zst`.
    ///
    /// # Errors
    /// If there is no room within the limits, even after removing all dumps that nobody reads;
    /// nothing is removed then, except for dumps that are too old. If dumps are admitted later
    /// only, or the settings are invalid. If the folder is locked for 10 s or cannot be written to.
    pub fn reserve(&self, stem: &str, end: &str, bytes: u64) -> Result<Reservation, SpoolError> {
        if !name::is_stem(stem) {
            return Err(SpoolError::Invalid(format!(
                "\"{}\" cannot be the beginning of the name of a dump; use letters, digits and ._-+@=,% and at most {} bytes",
                stem.escape_debug(),
                name::LONGEST_STEM
            )));
        }
        if !name::ENDS.contains(&end) {
            return Err(SpoolError::Invalid(format!(
                "the name of a dump ends with .dmp or .dmp.zst, not with \"{}\"",
                end.escape_debug()
            )));
        }
        Reservation::new(&self.folder, stem, end, bytes)
    }

    /// Returns the dumps in the spool, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read. An unreadable record is no error.
    pub fn entries(&self) -> Result<Vec<SpoolEntry>, SpoolError> {
        let folder = &self.folder;
        let counters = SpoolCounters::load(folder);
        let dumps = contents::dumps(folder)?.into_iter();
        let entry = |dump: contents::DumpFile| {
            let record = DumpRecord::read(folder, &dump.name);
            let signature = record
                .as_ref()
                .ok()
                .and_then(|record| record.facts.signature.clone());
            let count = signature.and_then(|signature| counters.count(&signature));
            SpoolEntry {
                path: folder.path().join(&dump.name),
                name: dump.name,
                bytes: dump.bytes,
                modified: dump.modified,
                record,
                count,
            }
        };
        Ok(dumps.map(entry).collect())
    }

    /// Returns the name of the dump with this name, or with this number (the eight digits in its
    /// name). `None` if there is none.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn find(&self, text: &str) -> Result<Option<String>, SpoolError> {
        let names = self.folder.names()?.into_iter();
        let is_wanted =
            |name: &String| name::number(name).is_some_and(|number| number == text || name == text);
        Ok(names
            .filter(is_wanted)
            .find(|name| self.folder.status(name).is_some()))
    }

    /// Opens a dump for reading. It is not removed as long as the result exists.
    ///
    /// # Errors
    /// If there is no such dump, or it cannot be read.
    pub fn share(&self, name: &str) -> Result<SharedDump, SpoolError> {
        self.checked(name)?;
        match self.folder.share(name) {
            Ok(lock) => Ok(SharedDump(lock)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(SpoolError::Absent {
                name: name.to_owned(),
            }),
            Err(source) => Err(self.folder.failed("open", name, source)),
        }
    }

    /// Removes a dump and its record.
    ///
    /// # Errors
    /// If there is no such dump, somebody reads it, or it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), SpoolError> {
        self.checked(name)?;
        let _lock = self.folder.lock()?;
        let Some(_dump) = self.folder.take(name) else {
            let name = name.to_owned();
            return Err(match self.folder.status(&name) {
                Some(_) => SpoolError::InUse { name },
                None => SpoolError::Absent { name },
            });
        };
        contents::remove(&self.folder, name)
    }

    /// Removes dumps that are too old or beyond the limits, and what was left by writers that were
    /// killed. Each [`reserve`](Self::reserve) does the same.
    ///
    /// Dumps that somebody reads are not removed. If the file system is full because of other
    /// files, no dump is removed for that reason.
    ///
    /// # Errors
    /// If the settings are invalid, or the folder cannot be read or written to.
    pub fn clean(&self) -> Result<CleanedSpool, SpoolError> {
        let folder = &self.folder;
        let lock = folder.lock()?;
        let settings = SpoolSettings::load(folder)?;
        let mut contents = SpoolContents::read(folder, None, &lock)?;
        let expired = room::remove_expired(folder, &settings, &mut contents, SystemTime::now())?;
        let surplus = room::make(folder, &settings, &mut contents, None)?;
        Ok(CleanedSpool { expired, surplus })
    }

    /// Compares a dump with its record.
    ///
    /// # Errors
    /// If there is no such dump, or it cannot be read.
    pub fn verify(&self, name: &str) -> Result<Vec<SpoolProblem>, SpoolError> {
        let dump = self.share(name)?;
        let record = match DumpRecord::read(&self.folder, name) {
            Ok(record) => record,
            Err(reason) => return Ok(vec![SpoolProblem::Record(reason)]),
        };
        let (found, xxh3) = self.checksum(name, &dump)?;
        let mut problems = Vec::new();
        if found != record.bytes {
            problems.push(SpoolProblem::Size {
                recorded: record.bytes,
                found,
            });
        } else if xxh3 != record.xxh3 {
            problems.push(SpoolProblem::Checksum);
        }
        Ok(problems)
    }

    /// Writes the record of a dump again, with its present size and checksum.
    ///
    /// # Errors
    /// If there is no such dump, or the record cannot be written.
    pub fn describe(&self, name: &str, facts: &DumpFacts) -> Result<(), SpoolError> {
        let dump = self.share(name)?;
        let (bytes, xxh3) = self.checksum(name, &dump)?;
        let record = DumpRecord {
            facts: facts.clone(),
            bytes,
            xxh3,
        };
        let text = record.to_json()?;
        let lock = self.folder.lock()?;
        let beside = name::record(name);
        self.folder
            .replace(&beside, &text, &lock)
            .map_err(|source| self.folder.failed("write", &beside, source))
    }

    fn checksum(&self, name: &str, dump: &SharedDump) -> Result<(u64, u128), SpoolError> {
        record::checksum(dump.file()).map_err(|source| self.folder.failed("read", name, source))
    }

    /// Refuses names that are not those of dumps, which may lead to other files.
    fn checked(&self, name: &str) -> Result<(), SpoolError> {
        match name::kind(name) {
            Some(NameKind::Dump) => Ok(()),
            _ => Err(SpoolError::Absent {
                name: name.to_owned(),
            }),
        }
    }
}
