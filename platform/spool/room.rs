//! Which dumps are removed so that the limits hold.

use std::time::SystemTime;

use crate::contents::{self, DumpFile, SpoolContents};
use crate::error::SpoolError;
use crate::folder::SpoolFolder;
use crate::name::COUNTERS;
use crate::settings::SpoolSettings;

/// The bytes on disk that a dump needs beside its own: its record, and blocks that are not full.
const BESIDE: u64 = 64 << 10;

/// A dump for which there has to be room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its size in bytes.
    pub bytes: u64,
    /// The bytes that it has on disk already.
    pub written: u64,
}

/// How much there is of what the limits count.
#[derive(Debug, Clone, Copy)]
struct Occupied {
    count: u64,
    bytes: u64,
    free: u64,
}

/// Returns which limit is exceeded.
fn exceeded(usage: Occupied, settings: &SpoolSettings, need: u64) -> Option<String> {
    if usage.count > settings.keep_count {
        return Some(format!("keep-count = {}", settings.keep_count));
    }
    if usage.bytes > settings.keep_bytes {
        return Some(format!("keep-bytes = {}", settings.keep_bytes));
    }
    if usage.free < settings.keep_free.saturating_add(need) {
        return Some(format!(
            "the file system has {} bytes free, with keep-free = {}",
            usage.free, settings.keep_free
        ));
    }
    None
}

/// Removes old dumps until there is room for one more, or until the limits hold if none is wanted.
/// Returns the names of the removed ones. `contents` has only the reservations of others.
///
/// Dumps that somebody reads are not removed. If there cannot be enough room, nothing is removed.
pub(crate) fn make(
    folder: &SpoolFolder,
    settings: &SpoolSettings,
    contents: &mut SpoolContents,
    wanted: Option<Wanted>,
) -> Result<Vec<String>, SpoolError> {
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
    let reserved = sum(&mut contents.reserved.iter().copied());
    let bytes = wanted.map_or(0, |wanted| wanted.bytes);
    let full = |reason: String| SpoolError::Full { bytes, reason };
    if bytes > settings.keep_bytes {
        return Err(full(format!("keep-bytes = {}", settings.keep_bytes)));
    }
    let mut usage = Occupied {
        count: (contents.dumps.len() + contents.reserved.len()) as u64 + u64::from(wanted.is_some()),
        bytes: sum(&mut contents.dumps.iter().map(|dump| dump.bytes))
            .saturating_add(reserved)
            .saturating_add(bytes),
        free: folder.free()?,
    };
    let need = wanted.map_or(0, |wanted| {
        (wanted.bytes.saturating_sub(wanted.written)).saturating_add(BESIDE)
    });
    // Of the others, it is not known how much they have written.
    let beside = (contents.reserved.len() as u64).saturating_mul(BESIDE);
    // While the counters are replaced, they are there twice.
    let counters = folder.status(COUNTERS).map_or(0, |found| found.st_size);
    let need = [reserved, beside, counters.try_into().unwrap_or_default()]
        .into_iter()
        .fold(need, u64::saturating_add);
    let mut victims = Vec::new();
    let mut in_use = 0;
    for dump in &contents.dumps {
        if exceeded(usage, settings, need).is_none() {
            break;
        }
        let Some(lock) = folder.take(&dump.name) else {
            in_use += 1;
            continue;
        };
        usage.count -= 1;
        usage.bytes = usage.bytes.saturating_sub(dump.bytes);
        usage.free = usage.free.saturating_add(dump.allocated);
        victims.push((dump.name.clone(), lock));
    }
    if let Some(limit) = exceeded(usage, settings, need) {
        if wanted.is_none() && settings.keep_free > 0 {
            // Other files fill the file system. The other limits can be kept.
            drop(victims);
            let others = SpoolSettings {
                keep_free: 0,
                ..settings.clone()
            };
            return make(folder, &others, contents, None);
        }
        let others = match (in_use, contents.reserved.len()) {
            (0, 0) => String::new(),
            (in_use, writing) => format!("; {in_use} dumps are being read, and {writing} written"),
        };
        if wanted.is_some() {
            return Err(full(format!("{limit}{others}")));
        }
    }
    let mut removed = Vec::new();
    for (name, _lock) in victims {
        contents::remove(folder, &name)?;
        contents.dumps.retain(|dump| dump.name != name);
        removed.push(name);
    }
    // Some file systems free the blocks later, and a file that is open keeps them.
    let free = folder.free()?;
    if wanted.is_some() && free < settings.keep_free.saturating_add(need) && !removed.is_empty() {
        return Err(full(format!(
            "{} dumps were removed, but the file system has only {free} bytes free now, with keep-free = {}; try again",
            removed.len(),
            settings.keep_free
        )));
    }
    Ok(removed)
}

/// Removes dumps that are too old, except for those that somebody reads. Returns their names.
pub(crate) fn remove_expired(
    folder: &SpoolFolder,
    settings: &SpoolSettings,
    contents: &mut SpoolContents,
    now: SystemTime,
) -> Result<Vec<String>, SpoolError> {
    let Some(limit) = settings.keep_age else {
        return Ok(Vec::new());
    };
    // A file from the future is new.
    let is_expired = |dump: &&DumpFile| now.duration_since(dump.modified).is_ok_and(|age| age > limit);
    let expired: Vec<_> = contents.dumps.iter().filter(is_expired).cloned().collect();
    let mut removed = Vec::new();
    for dump in expired {
        if let Some(_lock) = folder.take(&dump.name) {
            contents::remove(folder, &dump.name)?;
            contents.dumps.retain(|other| other.name != dump.name);
            removed.push(dump.name);
        }
    }
    Ok(removed)
}
