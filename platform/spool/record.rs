//! What is known about a dump, in the file beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use twox_hash::xxhash3_128::Hasher;

use crate::error::SpoolError;
use crate::folder::SpoolFolder;
use crate::name;

/// The version of the form of records.
const VERSION: u32 = 1;

/// The size in bytes of the largest record. `room::BESIDE` is reserved for it.
const LARGEST: usize = 32 << 10;

/// What the writer of a dump knows about it. Nothing is required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpFacts {
    /// The time of the dump. In the record, it has milliseconds.
    pub time: SystemTime,
    /// The name of the program.
    pub process: Option<String>,
    /// The process id.
    pub pid: Option<u32>,
    /// Why there is a dump, such as "SIGSEGV (SEGV_MAPERR)".
    pub reason: Option<String>,
    /// What dumps of the same crash have in common, such as the signal and the innermost frames. A
    /// dump without a signature is never a duplicate.
    pub signature: Option<String>,
    /// What else the writer wants to keep, by name.
    pub annotations: BTreeMap<String, String>,
}

impl Default for DumpFacts {
    /// Returns no facts, at the present time.
    fn default() -> Self {
        Self {
            time: SystemTime::now(),
            process: None,
            pid: None,
            reason: None,
            signature: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// The record of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpRecord {
    /// What the writer knew.
    pub facts: DumpFacts,
    /// The size of the file in bytes.
    pub bytes: u64,
    /// The checksum of the file: 128 bits of XXH3 with seed 0, as `xxhsum -H2` prints them.
    pub xxh3: u128,
}

/// The record as JSON.
#[derive(Serialize, Deserialize)]
struct RecordJson {
    version: u32,
    time: String,
    #[serde(default)]
    process: Option<String>,
    #[serde(default)]
    pid: Option<u32>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    bytes: u64,
    xxh3: String,
}

impl DumpRecord {
    /// Returns the text of the file.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, SpoolError> {
        let DumpFacts {
            time,
            process,
            pid,
            reason,
            signature,
            annotations,
        } = self.facts.clone();
        let invalid = |reason: String| SpoolError::Invalid(format!("the facts about a dump {reason}"));
        let time = Timestamp::try_from(time)
            .and_then(|time| Timestamp::from_millisecond(time.as_millisecond()))
            .map_err(|error| invalid(format!("have an impossible time: {error}")))?;
        let json = RecordJson {
            version: VERSION,
            time: time.to_string(),
            process,
            pid,
            reason,
            signature,
            annotations,
            bytes: self.bytes,
            xxh3: format!("{:032x}", self.xxh3),
        };
        let mut text = serde_json::to_vec_pretty(&json).expect("a map of texts and numbers");
        text.push(b'\n');
        match text.len() > LARGEST {
            true => Err(invalid("have more than 32 KiB".to_owned())),
            false => Ok(text),
        }
    }

    /// Reads the text of a file. The error completes "its record".
    fn parse(text: &[u8]) -> Result<Self, String> {
        let json: RecordJson =
            serde_json::from_slice(text).map_err(|error| format!("is invalid: {error}"))?;
        if json.version != VERSION {
            return Err(format!(
                "has the version {}, and this program knows {VERSION}",
                json.version
            ));
        }
        let is_hash = json.xxh3.len() == 32;
        let time: Result<Timestamp, _> = json.time.parse();
        let time = time
            .and_then(SystemTime::try_from)
            .map_err(|_| "has an invalid time")?;
        let xxh3 = u128::from_str_radix(&json.xxh3, 16).ok().filter(|_| is_hash);
        Ok(Self {
            facts: DumpFacts {
                time,
                process: json.process,
                pid: json.pid,
                reason: json.reason,
                signature: json.signature,
                annotations: json.annotations,
            },
            bytes: json.bytes,
            xxh3: xxh3.ok_or("has an invalid checksum")?,
        })
    }

    /// Reads the record of a dump. The error completes "its record".
    pub(crate) fn read(folder: &SpoolFolder, dump: &str) -> Result<Self, String> {
        match folder.read(&name::record(dump)) {
            Ok(Some(text)) => Self::parse(&text),
            Ok(None) => Err("is missing".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }
}

/// Returns the size of a file, and its checksum.
pub(crate) fn checksum(file: &File) -> io::Result<(u64, u128)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read_at(&mut buffer, bytes) {
            Ok(0) => return Ok((bytes, hasher.finish_128())),
            Ok(count) => {
                hasher.write(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// These tests catch a checksum that other programs do not compute, and records that are accepted
/// although they are damaged.
#[cfg(test)]
mod tests {
    use std::io::Write;

    use twox_hash::XxHash3_128;

    use super::*;

    /// Source: `sanity_XXH128_testdata` in `xsum_sanity_check.c` of xxHash 0.8 has the length 0
    /// with the seed 0; its low half is 6001C324468D497F and its high half 99AA06D3014798D8.
    #[test]
    fn the_checksum_is_that_of_xxhsum() {
        let mut file = tempfile::tempfile().unwrap();
        let (bytes, hash) = checksum(&file).unwrap();
        assert_eq!(
            (bytes, format!("{hash:032x}")),
            (0, "99aa06d3014798d86001c324468d497f".into())
        );
        // In pieces and at once.
        let text = vec![7; (3 << 20) + 5];
        file.write_all(&text).unwrap();
        let expected = XxHash3_128::oneshot(&text);
        assert_eq!(checksum(&file).unwrap(), (text.len() as u64, expected));
    }

    #[test]
    fn records_are_read_back_or_refused() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_796_083_200_123);
        let record = DumpRecord {
            facts: DumpFacts {
                time,
                process: Some("a\"\u{1b}\n".to_owned()),
                pid: Some(7),
                reason: None,
                signature: Some("SIGSEGV a+0x10".to_owned()),
                annotations: [("host".to_owned(), "h".to_owned())].into(),
            },
            bytes: 12,
            xxh3: 1,
        };
        let text = record.to_json().unwrap();
        assert_eq!(DumpRecord::parse(&text), Ok(record.clone()));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\"time\": \"2026-12-01T00:00:00.123Z\""), "{text}");
        for (from, to, reason) in [
            ("\"version\": 1", "\"version\": 2", "has the version 2"),
            ("\"version\": 1,", "", "is invalid"),
            ("00000001\"", "1\"", "invalid checksum"),
            ("}", "", "is invalid"),
        ] {
            let damaged = text.replace(from, to);
            assert_ne!(damaged, text);
            let error = DumpRecord::parse(damaged.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let mut long = record;
        long.facts
            .annotations
            .insert("long".to_owned(), "x".repeat(LARGEST));
        assert!(matches!(long.to_json(), Err(SpoolError::Invalid(_))));
    }
}
