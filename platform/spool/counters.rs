//! How often each crash was seen, and when dumps were admitted.
//!
//! The counters do not decide whether a dump is there. If they are lost, counting starts from
//! nothing.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::SpoolError;
use crate::folder::{SpoolFolder, SpoolLock};
use crate::name::COUNTERS;
use crate::settings::{SpoolRate, SpoolSettings};

/// The version of the form of counters.
const VERSION: u32 = 1;

/// The number of signatures that are remembered: those that were seen last.
const MOST_SIGNATURES: usize = 1000;

/// How often crashes with one signature were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureCount {
    /// The number of dumps that were made, those included that were not kept.
    pub seen: u64,
    /// When the first one was seen, to the millisecond.
    pub first: SystemTime,
    /// When the last one was seen, to the millisecond.
    pub last: SystemTime,
}

/// The file. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpoolCounters {
    version: u32,
    /// The times of dumps that were kept, as far as a rate needs them.
    admitted: Vec<u64>,
    signatures: BTreeMap<String, Counted>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    seen: u64,
    first: u64,
    last: u64,
    admitted: Vec<u64>,
}

impl Default for SpoolCounters {
    fn default() -> Self {
        Self {
            version: VERSION,
            admitted: Vec::new(),
            signatures: BTreeMap::new(),
        }
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn time(milliseconds: u64) -> SystemTime {
    let since = Duration::from_millis(milliseconds);
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl SpoolCounters {
    /// Reads the counters. What cannot be read counts as lost.
    pub fn load(folder: &SpoolFolder) -> Self {
        let text = folder.read(COUNTERS).ok().flatten().unwrap_or_default();
        let counters: Option<Self> = serde_json::from_slice(&text).ok();
        counters
            .filter(|counters| counters.version == VERSION)
            .unwrap_or_default()
    }

    /// Writes the counters.
    pub fn save(&self, folder: &SpoolFolder, lock: &SpoolLock) -> Result<(), SpoolError> {
        let text = serde_json::to_vec(self).expect("a map of texts and numbers");
        folder
            .replace(COUNTERS, &text, lock)
            .map_err(|source| folder.failed("write", COUNTERS, source))
    }

    /// Returns how often a signature was seen.
    pub fn count(&self, signature: &str) -> Option<SignatureCount> {
        let counted = self.signatures.get(signature)?;
        Some(SignatureCount {
            seen: counted.seen,
            first: time(counted.first),
            last: time(counted.last),
        })
    }

    /// Counts a crash.
    pub fn saw(&mut self, signature: &str, now: SystemTime) {
        let now = milliseconds(now);
        if !self.signatures.contains_key(signature) && self.signatures.len() >= MOST_SIGNATURES {
            let oldest = self.signatures.iter().min_by_key(|(_, counted)| counted.last);
            if let Some(oldest) = oldest.map(|(signature, _)| signature.clone()) {
                self.signatures.remove(&oldest);
            }
        }
        let counted = self.signatures.entry(signature.to_owned()).or_default();
        if counted.seen == 0 {
            counted.first = now;
        }
        counted.seen = counted.seen.saturating_add(1);
        counted.last = now;
    }

    /// Notes that a dump is kept. Its signature, if it has one, was counted before.
    pub fn kept(&mut self, signature: Option<&str>, settings: &SpoolSettings, now: SystemTime) {
        note(&mut self.admitted, settings.max_rate, now);
        if let Some(counted) = signature.and_then(|signature| self.signatures.get_mut(signature)) {
            note(&mut counted.admitted, settings.max_rate_per_signature, now);
        }
    }

    /// Returns how long it takes until one more dump is admitted, if `reserved` others are just
    /// being written. `None` if one is admitted now.
    pub fn wait(&self, settings: &SpoolSettings, reserved: u64, now: SystemTime) -> Option<Duration> {
        wait(&self.admitted, settings.max_rate?, reserved, now)
    }

    /// Does the same for a signature.
    pub fn wait_for_signature(
        &self,
        signature: &str,
        settings: &SpoolSettings,
        now: SystemTime,
    ) -> Option<Duration> {
        let counted = self.signatures.get(signature)?;
        wait(&counted.admitted, settings.max_rate_per_signature?, 0, now)
    }
}

/// The times of the period before now. The clock may have been set back; times after now do not
/// count, or else no dump would be admitted until then.
fn recent(times: &[u64], rate: SpoolRate, now: SystemTime) -> Vec<u64> {
    let now = milliseconds(now);
    let period = u64::try_from(rate.period.as_millis()).unwrap_or(u64::MAX);
    let is_recent = |time: &&u64| now.checked_sub(**time).is_some_and(|age| age < period);
    let mut recent: Vec<_> = times.iter().filter(is_recent).copied().collect();
    recent.sort_unstable();
    recent
}

/// Adds a time, and drops those that the rate no longer needs.
fn note(times: &mut Vec<u64>, rate: Option<SpoolRate>, now: SystemTime) {
    match rate {
        None => times.clear(),
        Some(rate) => {
            *times = recent(times, rate, now);
            times.push(milliseconds(now));
        }
    }
}

fn wait(times: &[u64], rate: SpoolRate, reserved: u64, now: SystemTime) -> Option<Duration> {
    let recent = recent(times, rate, now);
    let used = (recent.len() as u64).saturating_add(reserved);
    let surplus = used.checked_sub(rate.dumps)?;
    // When so many of the oldest have passed. Those that are being written will be the newest.
    let place = usize::try_from(surplus).ok();
    let last = place.and_then(|place| recent.get(place)).copied();
    let passes = time(last.unwrap_or_else(|| milliseconds(now))) + rate.period;
    Some(passes.duration_since(now).unwrap_or_default())
}

/// These tests catch a rate that admits too many or too few, and counters without a limit.
#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_rate_admits_so_many_in_each_period() {
        let settings = SpoolSettings {
            max_rate: Some("2/m".parse().unwrap()),
            max_rate_per_signature: Some("1/h".parse().unwrap()),
            ..SpoolSettings::default()
        };
        let mut counters = SpoolCounters::default();
        assert_eq!(counters.wait(&settings, 0, at(0)), None);
        // Two are being written.
        assert_eq!(counters.wait(&settings, 2, at(0)), Some(Duration::from_secs(60)));
        counters.saw("a", at(0));
        counters.kept(Some("a"), &settings, at(0));
        assert_eq!(counters.wait(&settings, 0, at(10)), None);
        assert_eq!(counters.wait(&settings, 1, at(10)), Some(Duration::from_secs(50)));
        counters.kept(None, &settings, at(20));
        assert_eq!(counters.wait(&settings, 0, at(30)), Some(Duration::from_secs(30)));
        assert_eq!(counters.wait(&settings, 0, at(60)), None);
        assert_eq!(
            counters.wait_for_signature("a", &settings, at(60)),
            Some(Duration::from_secs(3540))
        );
        assert_eq!(counters.wait_for_signature("b", &settings, at(60)), None);
        // A clock that was set back.
        assert_eq!(
            counters.wait(&settings, 0, at(0) - Duration::from_secs(900)),
            None
        );
        // Times that no rate needs are not kept.
        counters.kept(None, &settings, at(1000));
        assert_eq!(counters.admitted.len(), 1);
    }

    #[test]
    fn the_signatures_seen_last_are_remembered() {
        let mut counters = SpoolCounters::default();
        for number in 0..MOST_SIGNATURES as u64 + 10 {
            counters.saw(&format!("{number}"), at(number));
        }
        counters.saw("500", at(9999));
        assert_eq!(counters.signatures.len(), MOST_SIGNATURES);
        assert_eq!(counters.count("9"), None);
        let count = counters.count("500").unwrap();
        assert_eq!((count.seen, count.first, count.last), (2, at(500), at(9999)));
    }
}
