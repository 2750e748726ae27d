//! The names of memory protections. The values are those of `PAGE_READWRITE` and the other
//! constants in Windows' memoryapi.h.

use crate::hint;

/// The protections, of which a page has exactly one. The short names are those of `/proc/PID/maps`.
pub const PROTECTIONS: &[(&str, u32)] = &[
    ("---", 0x01),
    ("r--", 0x02),
    ("rw-", 0x04),
    ("r-x", 0x20),
    ("--x", 0x10),
    ("rwx", 0x40),
    ("PAGE_NOACCESS", 0x01),
    ("PAGE_READONLY", 0x02),
    ("PAGE_READWRITE", 0x04),
    ("PAGE_WRITECOPY", 0x08),
    ("PAGE_EXECUTE", 0x10),
    ("PAGE_EXECUTE_READ", 0x20),
    ("PAGE_EXECUTE_READWRITE", 0x40),
    ("PAGE_EXECUTE_WRITECOPY", 0x80),
];

/// The modifiers that a page may have in addition.
pub const MODIFIERS: &[(&str, u32)] = &[
    ("PAGE_GUARD", 0x100),
    ("PAGE_NOCACHE", 0x200),
    ("PAGE_WRITECOMBINE", 0x400),
];

/// Parses one protection and any number of modifiers, separated by `|` or spaces.
///
/// # Errors
/// The message says what is wrong with the text and what was probably meant.
///
/// ```
/// use dumpwright_text::protection;
///
/// assert_eq!(protection::parse("rw-"), Ok(0x04));
/// assert_eq!(protection::parse("PAGE_READWRITE | PAGE_GUARD"), Ok(0x104));
/// assert_eq!(
///     protection::parse("PAGE_READWRIT").unwrap_err(),
///     "\"PAGE_READWRIT\" is not a protection; did you mean \"PAGE_READWRITE\"?"
/// );
/// ```
pub fn parse(text: &str) -> Result<u32, String> {
    let find = |names: &[(&str, u32)], word: &str| {
        let found = names.iter().find(|(name, _)| *name == word);
        found.map(|(_, bits)| *bits)
    };
    let mut protection = None;
    let mut modifiers = 0;
    for word in text.split(['|', ' ']).filter(|word| !word.is_empty()) {
        if let Some(bits) = find(MODIFIERS, word) {
            modifiers |= bits;
        } else if let Some(bits) = find(PROTECTIONS, word) {
            if protection.replace(bits).is_some() {
                return Err(format!("expected one protection, found two in \"{text}\""));
            }
        } else {
            let names = PROTECTIONS.iter().chain(MODIFIERS).map(|(name, _)| *name);
            return Err(format!("\"{word}\" is not a protection{}", hint(word, names)));
        }
    }
    match protection {
        Some(protection) => Ok(protection | modifiers),
        None => Err("expected a protection, as in \"rw-\" or \"PAGE_READWRITE | PAGE_GUARD\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protection_is_one_with_modifiers() {
        assert_eq!(parse("PAGE_GUARD|r-x PAGE_NOCACHE"), Ok(0x320));
        for (text, words) in [
            ("", "expected a protection"),
            ("PAGE_GUARD", "expected a protection"),
            ("rw- r--", "found two"),
            ("rw- rw-", "found two"),
            ("rq-", "\"rq-\" is not a protection; did you mean"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
