//! What is in a locked folder.

use std::time::{Duration, SystemTime};

use nix::sys::stat::FileStat;

use crate::error::SpoolError;
use crate::folder::{SpoolFolder, SpoolLock};
use crate::name::{self, NameKind};

/// A dump, by its file alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DumpFile {
    pub name: String,
    /// The size in bytes, holes included.
    pub bytes: u64,
    /// The bytes on disk.
    pub allocated: u64,
    /// When the file was written.
    pub modified: SystemTime,
}

impl DumpFile {
    fn new(name: String, found: &FileStat) -> Self {
        let seconds = Duration::from_secs(found.st_mtime.try_into().unwrap_or_default());
        let nanoseconds = Duration::from_nanos(found.st_mtime_nsec.try_into().unwrap_or_default());
        Self {
            name,
            bytes: found.st_size.try_into().unwrap_or_default(),
            // The unit of this field is 512 bytes, whatever the block size is: stat(2).
            allocated: u64::try_from(found.st_blocks)
                .unwrap_or_default()
                .saturating_mul(512),
            modified: SystemTime::UNIX_EPOCH + seconds + nanoseconds,
        }
    }
}

/// What is in the folder.
#[derive(Debug, Default)]
pub(crate) struct SpoolContents {
    /// The dumps, oldest first.
    pub dumps: Vec<DumpFile>,
    /// The sizes of the reservations of others.
    pub reserved: Vec<u64>,
}

/// Returns the dumps in a folder, oldest first. Nothing else is looked at, so the folder need not
/// be locked.
pub(crate) fn dumps(folder: &SpoolFolder) -> Result<Vec<DumpFile>, SpoolError> {
    let names = folder.names()?.into_iter();
    let dumps = names.filter(|name| name::kind(name) == Some(NameKind::Dump));
    let mut dumps: Vec<_> = dumps
        .filter_map(|name| {
            let found = folder.status(&name)?;
            Some(DumpFile::new(name, &found))
        })
        .collect();
    sort(&mut dumps);
    Ok(dumps)
}

/// Sorts by age. The time of a file has the granularity of the kernel's clock, so the name decides
/// between equal ones.
fn sort(dumps: &mut [DumpFile]) {
    dumps.sort_by(|a, b| (a.modified, &a.name).cmp(&(b.modified, &b.name)));
}

impl SpoolContents {
    /// Reads the folder, and removes what writers that were killed have left. `own` is the
    /// reservation of the caller, if it has one.
    ///
    /// Errors of removing are ignored: the next caller tries again.
    pub fn read(folder: &SpoolFolder, own: Option<&str>, _: &SpoolLock) -> Result<Self, SpoolError> {
        let mut contents = Self::default();
        let names = folder.names()?;
        for name in &names {
            match name::kind(name) {
                Some(NameKind::Dump) => {
                    if let Some(found) = folder.status(name) {
                        contents.dumps.push(DumpFile::new(name.clone(), &found));
                    }
                }
                Some(NameKind::Record(dump)) if folder.status(dump).is_none() => {
                    drop(folder.remove(name));
                }
                Some(NameKind::Reserved(bytes)) if own != Some(name) => {
                    // Nobody else locks or removes it, except for its writer when it has finished.
                    match folder.take(name) {
                        Some(_abandoned) => drop(folder.remove(name)),
                        None if folder.status(name).is_some() => contents.reserved.push(bytes),
                        None => {}
                    }
                }
                // These are written under the lock only.
                Some(NameKind::New) => drop(folder.remove(name)),
                _ => {}
            }
        }
        sort(&mut contents.dumps);
        Ok(contents)
    }
}

/// Removes a dump that the caller has locked, and its record.
pub(crate) fn remove(folder: &SpoolFolder, dump: &str) -> Result<(), SpoolError> {
    let failed = |source| folder.failed("remove", dump, source);
    folder.remove(dump).map_err(failed)?;
    folder.remove(&name::record(dump)).map_err(failed)
}
