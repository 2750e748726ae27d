//! The settings of a spool, `spool.toml`.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::Duration;

use dumpwright_text::{Parsed, Source, TextError, Value, number, size};

use crate::error::SpoolError;
use crate::folder::SpoolFolder;
use crate::name::SETTINGS;

/// The most frames that a signature can have.
const MOST_FRAMES: u64 = 100;

/// The most dumps that a rate can allow in its time. The counters have a time for each.
const MOST_IN_RATE: u64 = 10_000;

/// The limits of a spool. They are in the folder, so all writers have the same ones.
///
/// The file is read again for each dump, so changes take effect at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The most dumps (`keep-count`).
    pub keep_count: u64,
    /// The most bytes of all dumps together (`keep-bytes`). Holes in the files count.
    pub keep_bytes: u64,
    /// How old a dump may become (`keep-age`). Older ones are removed by the next writer, or by
    /// [`Spool::clean`](crate::Spool::clean).
    pub keep_age: Option<Duration>,
    /// How many bytes of the file system stay free (`keep-free`), as far as it is up to the spool.
    pub keep_free: u64,
    /// The most dumps with the same signature (`keep-per-signature`). Others are counted only.
    pub keep_per_signature: u64,
    /// How often a dump is admitted (`max-rate`).
    pub max_rate: Option<SpoolRate>,
    /// How often a dump with the same signature is admitted (`max-rate-per-signature`).
    pub max_rate_per_signature: Option<SpoolRate>,
    /// How many frames a signature has (`signature-frames`), for those who make signatures.
    pub signature_frames: usize,
}

impl Default for SpoolSettings {
    /// Returns the settings of a folder without `spool.toml`: 100 dumps, 10 GiB, 1 GiB free, one
    /// dump for each signature, and 5 frames.
    fn default() -> Self {
        Self {
            keep_count: 100,
            keep_bytes: 10 << 30,
            keep_age: None,
            keep_free: 1 << 30,
            keep_per_signature: 1,
            max_rate: None,
            max_rate_per_signature: None,
            signature_frames: 5,
        }
    }
}

/// A number of dumps in some time, written as `20/h`, `3/d` or `5/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolRate {
    /// The number of dumps, from 1 to 10,000.
    pub dumps: u64,
    /// The time, at least one second.
    pub period: Duration,
}

/// The units of times and their seconds.
const UNITS: [(&str, u64); 5] = [("w", 7 * 86_400), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

impl fmt::Display for SpoolRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.period.as_secs();
        let (unit, length) = UNITS
            .into_iter()
            .find(|(_, length)| seconds.is_multiple_of(*length))
            .unwrap_or(("s", 1));
        match seconds / length {
            1 => write!(f, "{}/{unit}", self.dumps),
            count => write!(f, "{}/{count}{unit}", self.dumps),
        }
    }
}

impl FromStr for SpoolRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(dumps, period)| {
            let dumps = number(dumps).filter(|dumps| (1..=MOST_IN_RATE).contains(dumps))?;
            let period = period.trim();
            let period = match period.starts_with(|c: char| c.is_ascii_digit()) {
                true => time(period)?,
                false => time(&format!("1{period}"))?,
            };
            Some(Self { dumps, period })
        });
        parsed.ok_or_else(|| {
            format!(
                "\"{text}\" is not a rate; write a number of dumps (1 to {MOST_IN_RATE}) and a time, as in 20/h, 3/d or 5/10m"
            )
        })
    }
}

/// Parses a time above 0, such as `30d`.
fn time(text: &str) -> Option<Duration> {
    let (digits, length) = UNITS
        .into_iter()
        .find_map(|(unit, length)| Some((text.trim().strip_suffix(unit)?, length)))?;
    let seconds = number(digits)?
        .checked_mul(length)
        // Some 1000 years. More could not be added to a time.
        .filter(|seconds| (1..=1000 * 366 * 86_400).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

/// Parses a number of bytes: `65536`, `64MiB` or `4G`.
fn bytes(value: &Value<'_>) -> Parsed<u64> {
    if let Some(number) = value.as_u64()? {
        return Ok(number);
    }
    let parsed = value.as_text().and_then(|text| {
        let is_short = text.trim().ends_with(['K', 'M', 'G', 'T']);
        size(&format!("{}{}", text.trim(), if is_short { "iB" } else { "" }))
    });
    parsed.ok_or_else(|| value.expected("a size, such as \"64MiB\", \"4G\" or 65536"))
}

fn age(value: &Value<'_>) -> Parsed<Duration> {
    value
        .as_text()
        .and_then(time)
        .ok_or_else(|| value.expected("a time, such as \"90s\", \"10m\", \"12h\", \"30d\" or \"4w\""))
}

fn rate(value: &Value<'_>) -> Parsed<SpoolRate> {
    match value.as_text() {
        Some(text) => text.parse().map_err(|reason: String| value.error(reason)),
        None => Err(value.expected("a rate, such as \"20/h\"")),
    }
}

/// Parses a number from 1 to `most`.
fn count(most: u64) -> impl Fn(&Value<'_>) -> Parsed<u64> {
    move |value| {
        let number = value.as_u64()?.filter(|number| (1..=most).contains(number));
        number.ok_or_else(|| value.expected(format_args!("a number from 1 to {most}")))
    }
}

impl SpoolSettings {
    const KEYS: [&str; 8] = [
        "keep-count",
        "keep-bytes",
        "keep-age",
        "keep-free",
        "keep-per-signature",
        "max-rate",
        "max-rate-per-signature",
        "signature-frames",
    ];

    /// Parses settings. `file` is their name in messages.
    ///
    /// # Errors
    /// The error has the line of each mistake.
    pub fn parse(file: &str, text: &str) -> Result<Self, TextError> {
        let usual = Self::default();
        Source::new(file, text).read("a spool", &Self::KEYS, |fields| {
            let frames = fields.get_or("signature-frames", count(MOST_FRAMES), 0);
            Ok(Self {
                keep_count: fields.get_or("keep-count", count(1_000_000), usual.keep_count),
                keep_bytes: fields.get_or("keep-bytes", bytes, usual.keep_bytes),
                keep_age: fields.get("keep-age", age),
                keep_free: fields.get_or("keep-free", bytes, usual.keep_free),
                keep_per_signature: fields.get_or(
                    "keep-per-signature",
                    count(1_000_000),
                    usual.keep_per_signature,
                ),
                max_rate: fields.get("max-rate", rate),
                max_rate_per_signature: fields.get("max-rate-per-signature", rate),
                signature_frames: match frames {
                    0 => usual.signature_frames,
                    frames => frames as usize,
                },
            })
        })
    }

    /// Reads the settings in a folder.
    pub(crate) fn load(folder: &SpoolFolder) -> Result<Self, SpoolError> {
        let failed = |source| folder.failed("read", SETTINGS, source);
        let file = match folder.open_to_read(SETTINGS) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            opened => opened.map_err(failed)?,
        };
        // A message about a mistake shows a part of the file. It may be a link to a file that only
        // root can read.
        let found = file.metadata().map_err(failed)?;
        let user = nix::unistd::geteuid().as_raw();
        if ![0, user].contains(&found.uid()) && user != 0 || found.mode() & 0o022 != 0 {
            return Err(failed(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "another user can change it",
            )));
        }
        let text = folder.read(SETTINGS).map_err(failed)?.unwrap_or_default();
        let text = String::from_utf8(text)
            .map_err(|_| failed(io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")))?;
        let file = folder.path().join(SETTINGS).display().to_string();
        Self::parse(&file, &text).map_err(SpoolError::Settings)
    }
}

/// These tests catch settings that are read as something else, and mistakes that are accepted.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        assert_eq!(SpoolSettings::parse("f", ""), Ok(SpoolSettings::default()));
        let text = "keep-count = 7\nkeep-bytes = \"2G\"\nkeep-age = \"30d\"\nkeep-free = 4096\n\
                    keep-per-signature = 3\nmax-rate = \"20/h\"\nmax-rate-per-signature = \"5 / 10m\"\n\
                    signature-frames = 8\n";
        let settings = SpoolSettings::parse("f", text).unwrap();
        let rate = |dumps, seconds| {
            let period = Duration::from_secs(seconds);
            Some(SpoolRate { dumps, period })
        };
        let expected = SpoolSettings {
            keep_count: 7,
            keep_bytes: 2 << 30,
            keep_age: Some(Duration::from_secs(30 * 86_400)),
            keep_free: 4096,
            keep_per_signature: 3,
            max_rate: rate(20, 3600),
            max_rate_per_signature: rate(5, 600),
            signature_frames: 8,
        };
        assert_eq!(settings, expected);
        assert_eq!(settings.max_rate.unwrap().to_string(), "20/h");
        assert_eq!(settings.max_rate_per_signature.unwrap().to_string(), "5/10m");
    }

    #[test]
    fn mistakes_are_refused() {
        for (text, reason) in [
            ("keep-count = 0", "a number from 1"),
            ("keep-count = -1", "from 0"),
            ("keep-bytes = \"2 GB\"", "a size"),
            ("keep-age = 30", "a time"),
            ("keep-age = \"0s\"", "a time"),
            ("max-rate = \"20\"", "not a rate"),
            ("max-rate = \"0/h\"", "not a rate"),
            ("max-rate = \"1/y\"", "not a rate"),
            ("keep_count = 7", "did you mean \"keep-count\"?"),
            ("keep-count = ", "1:"),
        ] {
            let error = SpoolSettings::parse("f", text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
