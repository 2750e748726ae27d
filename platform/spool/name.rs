//! The names of the files of a spool.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The file with the settings.
pub(crate) const SETTINGS: &str = "spool.toml";
/// The file that is locked.
pub(crate) const LOCK: &str = ".spool-lock";
/// The file with the counters.
pub(crate) const COUNTERS: &str = ".spool-counters.json";
/// The beginning of the names of reservations.
const RESERVED: &str = ".spool-reserved-";
/// The beginning of the names of files that are being written.
const NEW: &str = ".spool-new-";
/// What stands before the number in the name of a dump.
const MARK: &str = ".dw-";
/// What is added to the name of a dump for its record.
const RECORD: &str = ".json";

/// The ends of the names of dumps.
pub(crate) const ENDS: [&str; 2] = [".dmp", ".dmp.zst"];
/// The length in bytes of the longest stem. The longest name that file systems allow has 255 bytes.
pub(crate) const LONGEST_STEM: usize = 200;
/// The number of digits of the number of a dump.
const DIGITS: usize = 8;

/// What a file in the folder is, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameKind<'n> {
    /// A dump.
    Dump,
    /// The record of the dump with this name.
    Record(&'n str),
    /// A reservation of so many bytes.
    Reserved(u64),
    /// A file that is being written.
    New,
    /// The settings, the lock or the counters.
    Fixed,
}

/// Returns what the file with this name is. `None` if it does not belong to the spool.
pub(crate) fn kind(name: &str) -> Option<NameKind<'_>> {
    if let Some(rest) = name.strip_prefix(RESERVED) {
        let (number, size) = rest.split_once('-')?;
        return is_number(number).then_some(NameKind::Reserved(size.parse().ok()?));
    }
    if let Some(number) = name.strip_prefix(NEW) {
        return is_number(number).then_some(NameKind::New);
    }
    if [SETTINGS, LOCK, COUNTERS].contains(&name) {
        return Some(NameKind::Fixed);
    }
    match name.strip_suffix(RECORD) {
        Some(dump) => number(dump).map(|_| NameKind::Record(dump)),
        None => number(name).map(|_| NameKind::Dump),
    }
}

/// Returns the number in the name of a dump. `None` if it is not the name of a dump of a spool.
pub(crate) fn number(name: &str) -> Option<&str> {
    let rest = ENDS.iter().find_map(|end| name.strip_suffix(end))?;
    let (stem, number) = rest.rsplit_once(MARK)?;
    (is_number(number) && is_stem(stem)).then_some(number)
}

fn is_number(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a dump can have a name that begins in this way: it is one visible part of a path, and no
/// terminal or shell does anything with it.
pub(crate) fn is_stem(stem: &str) -> bool {
    let is_plain = |letter: char| letter.is_alphanumeric() || "._-+@=,%".contains(letter);
    !stem.is_empty()
        && stem.len() <= LONGEST_STEM
        && !stem.starts_with(['.', '-'])
        && stem.chars().all(is_plain)
}

/// Returns a new number.
pub(crate) fn new_number() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{:0DIGITS$x}", random & 0xffff_ffff)
}

pub(crate) fn dump(stem: &str, number: &str, end: &str) -> String {
    format!("{stem}{MARK}{number}{end}")
}

pub(crate) fn record(dump: &str) -> String {
    format!("{dump}{RECORD}")
}

pub(crate) fn reserved(number: &str, bytes: u64) -> String {
    format!("{RESERVED}{number}-{bytes}")
}

pub(crate) fn new_file() -> String {
    format!("{NEW}{}", new_number())
}

/// These tests catch names of other files that are taken for those of the spool.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_spool_are_its_own() {
        let own = dump("server.4711", "0123abcd", ".dmp.zst");
        assert_eq!(own, "server.4711.dw-0123abcd.dmp.zst");
        assert_eq!(kind(&own), Some(NameKind::Dump));
        assert_eq!(kind(&record(&own)), Some(NameKind::Record(&own)));
        assert_eq!(kind(&reserved("0123abcd", 77)), Some(NameKind::Reserved(77)));
        assert_eq!(kind(&new_file()), Some(NameKind::New));
        assert_eq!(kind(SETTINGS), Some(NameKind::Fixed));
        for foreign in [
            "server.dmp",
            "server.dw-0123abcd.dmp.gz",
            "server.dw-0123ABCD.dmp",
            "server.dw-0123abcde.dmp",
            ".dw-0123abcd.dmp",
            "-o.dw-0123abcd.dmp",
            "a\u{1b}[31m.dw-0123abcd.dmp",
            "server.json",
            ".spool-reserved-0123abcd-",
            ".spool-reserved-0123abcd--1",
            ".spool-new-",
            "spool.toml.json",
            "",
        ] {
            assert_eq!(kind(foreign), None, "{foreign:?}");
        }
    }
}
