//! A dump that is being written.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::{Flock, FlockArg};

use crate::contents::SpoolContents;
use crate::counters::SpoolCounters;
use crate::error::SpoolError;
use crate::folder::{SpoolFolder, SpoolLock};
use crate::name;
use crate::record::{self, DumpFacts, DumpRecord};
use crate::room::{self, Wanted};
use crate::settings::SpoolSettings;

/// Room for a dump that is being written. Dropping it gives the room back.
///
/// Other writers count a reservation as a dump of its size. If the process is killed, the room is
/// free again: the reservation is a locked file, and the system releases the lock.
#[derive(Debug)]
pub struct Reservation {
    folder: Arc<SpoolFolder>,
    /// The number of the dump.
    number: String,
    /// The name of the dump.
    name: String,
    /// The name of the file that stands for the reservation.
    marker: String,
    /// It is locked as long as it is open.
    _lock: Flock<File>,
    bytes: u64,
    removed: Vec<String>,
}

/// What came of a dump that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// The dump is in the spool.
    Kept {
        /// The name of the dump.
        name: String,
        /// What else could not be written, such as the record on a full disk, or annotations of
        /// more than 32 KiB. The dump is whole.
        problems: Vec<String>,
    },
    /// The spool has enough dumps with this signature. The crash was counted, and the dump is not
    /// kept.
    Counted {
        /// The name of the newest dump with the signature.
        duplicate_of: String,
        /// How often the signature was seen, this dump included.
        seen: u64,
    },
}

impl Reservation {
    /// Makes room and reserves it.
    pub(crate) fn new(
        folder: &Arc<SpoolFolder>,
        stem: &str,
        end: &str,
        bytes: u64,
    ) -> Result<Self, SpoolError> {
        let lock = folder.lock()?;
        let settings = SpoolSettings::load(folder)?;
        let mut contents = SpoolContents::read(folder, None, &lock)?;
        let now = SystemTime::now();
        let mut removed = room::remove_expired(folder, &settings, &mut contents, now)?;
        let reserved = contents.reserved.len() as u64;
        if let Some(rate) = settings.max_rate
            && let Some(wait) = SpoolCounters::load(folder).wait(&settings, reserved, now)
        {
            return Err(SpoolError::TooOften {
                setting: "max-rate",
                rate,
                wait,
            });
        }
        let wanted = Wanted { bytes, written: 0 };
        removed.extend(room::make(folder, &settings, &mut contents, Some(wanted))?);
        let number = name::new_number();
        let marker = name::reserved(&number, bytes);
        let failed = |source| folder.failed("create", &marker, source);
        let file = folder.create(&marker).map_err(failed)?;
        let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let lock = locked.map_err(|(_, errno)| {
            drop(folder.remove(&marker));
            failed(errno.into())
        })?;
        Ok(Self {
            folder: Arc::clone(folder),
            name: name::dump(stem, &number, end),
            number,
            marker,
            _lock: lock,
            bytes,
            removed,
        })
    }

    /// Returns the name that the dump will have.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the path that the dump will have, for the program that writes it. It leads to the
    /// spool even if the folder is moved, and is valid in this process, as long as the [`Spool`] or
    /// this exists.
    ///
    /// The file must get this name by [`commit`](Self::commit) only.
    ///
    /// [`Spool`]: crate::Spool
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.stable_path(&self.name)
    }

    /// Returns the path with which the spool was opened.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the reserved bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the names of the dumps that were removed to make room.
    #[must_use]
    pub fn removed(&self) -> &[String] {
        &self.removed
    }

    /// Reserves more, for a dump of `bytes` bytes of which `written` are on disk already. Does
    /// nothing if the reservation is as large already.
    ///
    /// Call this before the file grows beyond the reservation.
    ///
    /// # Errors
    /// If there is no room for so much within the limits. The reservation remains as it is.
    pub fn grow(&mut self, bytes: u64, written: u64) -> Result<(), SpoolError> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let lock = self.folder.lock()?;
        let settings = SpoolSettings::load(&self.folder)?;
        self.grow_locked(bytes, written, &settings, &lock)
    }

    fn grow_locked(
        &mut self,
        bytes: u64,
        written: u64,
        settings: &SpoolSettings,
        lock: &SpoolLock,
    ) -> Result<(), SpoolError> {
        let folder = &self.folder;
        let mut contents = SpoolContents::read(folder, Some(&self.marker), lock)?;
        let wanted = Wanted { bytes, written };
        let removed = room::make(folder, settings, &mut contents, Some(wanted))?;
        self.removed.extend(removed);
        let marker = name::reserved(&self.number, bytes);
        folder
            .rename(&self.marker, &marker)
            .map_err(|source| folder.failed("rename", &self.marker, source))?;
        self.marker = marker;
        self.bytes = bytes;
        Ok(())
    }

    /// Decides whether the dump is kept, and gives it its name.
    ///
    /// `file` is the whole dump, opened for reading. `publish` must give it the name
    /// [`path`](Self::path) in one step, and must not replace another file. It is not called if the
    /// crash is only counted.
    ///
    /// # Errors
    /// If dumps with this signature are admitted later only; the crash was counted then. If the
    /// dump is larger than the reservation and there is no room. If a file cannot be read or
    /// written, or `publish` fails. The dump is not in the spool then.
    pub fn commit(
        mut self,
        file: &File,
        facts: &DumpFacts,
        publish: impl FnOnce() -> io::Result<()>,
    ) -> Result<Admission, SpoolError> {
        let folder = Arc::clone(&self.folder);
        // Without the lock, the checksum of a large dump would keep others waiting. That of a
        // duplicate is not needed.
        if facts.signature.is_some() {
            let lock = folder.lock()?;
            let settings = SpoolSettings::load(&folder)?;
            if let Some(admission) = count_duplicate(&folder, &settings, facts, &lock)? {
                return Ok(admission);
            }
        }
        let (bytes, xxh3) =
            record::checksum(file).map_err(|source| folder.failed("read", &self.name, source))?;
        let mut record = DumpRecord {
            facts: facts.clone(),
            bytes,
            xxh3,
        };
        let mut problems = Vec::new();
        let text = match record.to_json() {
            Err(error) if !facts.annotations.is_empty() => {
                problems.push(error.to_string());
                record.facts.annotations.clear();
                record.to_json()?
            }
            text => text?,
        };
        let lock = folder.lock()?;
        let settings = SpoolSettings::load(&folder)?;
        // Another writer may have been faster.
        if let Some(admission) = count_duplicate(&folder, &settings, facts, &lock)? {
            return Ok(admission);
        }
        if bytes > self.bytes {
            self.grow_locked(bytes, bytes, &settings, &lock)?;
        }
        let before = SpoolCounters::load(&folder);
        let mut counters = before.clone();
        let now = SystemTime::now();
        if let Some(signature) = &facts.signature {
            counters.saw(signature, now);
        }
        counters.kept(facts.signature.as_deref(), &settings, now);
        if counters != before
            && let Err(error) = counters.save(&folder, &lock)
        {
            problems.push(error.to_string());
        }
        let beside = name::record(&self.name);
        if let Err(source) = folder.replace(&beside, &text, &lock) {
            problems.push(folder.failed("write", &beside, source).to_string());
        }
        if let Err(source) = publish() {
            drop(folder.remove(&beside));
            // A failure leaves a crash that was counted.
            drop(before.save(&folder, &lock));
            return Err(folder.failed("publish", &self.name, source));
        }
        let name = self.name.clone();
        // Before the lock: others would count both the dump and its reservation.
        drop(self);
        drop(lock);
        Ok(Admission::Kept { name, problems })
    }
}

/// Counts a crash that is not to be kept. Returns `None` if it is.
fn count_duplicate(
    folder: &SpoolFolder,
    settings: &SpoolSettings,
    facts: &DumpFacts,
    lock: &SpoolLock,
) -> Result<Option<Admission>, SpoolError> {
    let Some(signature) = &facts.signature else {
        return Ok(None);
    };
    let mut counters = SpoolCounters::load(folder);
    let now = SystemTime::now();
    let is_same = |name: &String| {
        let record = DumpRecord::read(folder, name);
        record.is_ok_and(|record| record.facts.signature.as_ref() == Some(signature))
    };
    let dumps = crate::contents::dumps(folder)?.into_iter().map(|dump| dump.name);
    let same: Vec<_> = dumps.filter(is_same).collect();
    let wait = counters.wait_for_signature(signature, settings, now);
    if (same.len() as u64) < settings.keep_per_signature && wait.is_none() {
        return Ok(None);
    }
    counters.saw(signature, now);
    counters.save(folder, lock)?;
    match (same.last(), settings.max_rate_per_signature, wait) {
        (Some(newest), ..) => Ok(Some(Admission::Counted {
            duplicate_of: newest.clone(),
            // The counters may have been lost.
            seen: counters
                .count(signature)
                .map_or(1, |count| count.seen)
                .max(same.len() as u64 + 1),
        })),
        (None, Some(rate), Some(wait)) => Err(SpoolError::TooOften {
            setting: "max-rate-per-signature",
            rate,
            wait,
        }),
        // Without a rate there is no wait, and without a dump with the signature, one is kept.
        (None, ..) => Ok(None),
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Others remove it if this fails, because its lock ends now.
        drop(self.folder.remove(&self.marker));
    }
}
