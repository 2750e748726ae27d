//! The file of secrets that a policy overwrites.

use std::path::Path;

use dumpwright_text::{Source, TextError};

use crate::policy::Redact;

/// The length in bytes of the shortest secret. Shorter ones would be found everywhere by chance.
const SHORTEST: usize = 4;

/// The secrets of a file. Their text is never part of a message.
#[derive(Clone, Default)]
pub(super) struct Secrets {
    texts: Vec<String>,
    bytes: Vec<Vec<u8>>,
}

impl Secrets {
    /// Reads a file with one secret on each line.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let file = path.display().to_string();
        check_access(path).map_err(|message| TextError::of_file(&file, &message))?;
        let source = Source::load(path)?;
        Self::parse(source.text()).map_err(|message| TextError::of_file(&file, &message))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut secrets = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let wrong = |reason: &str| Err(format!("line {number}: {reason}"));
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let length = match line.strip_prefix("hex:") {
                None => {
                    secrets.texts.push(line.to_owned());
                    line.len()
                }
                Some(digits) => {
                    let Some(bytes) = hexadecimal(digits) else {
                        return wrong("after hex: must be pairs of hexadecimal digits, as in hex:1337c0de");
                    };
                    secrets.bytes.push(bytes);
                    digits.len() / 2
                }
            };
            if length < SHORTEST {
                return wrong(
                    "a secret needs at least 4 bytes, because shorter ones are found everywhere by chance",
                );
            }
        }
        if secrets.len() == 0 {
            return Err("has no secrets; write one on each line, or remove the key".to_owned());
        }
        Ok(secrets)
    }

    /// The number of secrets.
    pub fn len(&self) -> usize {
        self.texts.len() + self.bytes.len()
    }

    /// Adds the secrets of another file.
    pub fn extend(&mut self, others: Self) {
        self.texts.extend(others.texts);
        self.bytes.extend(others.bytes);
    }

    /// Lets a policy overwrite the secrets.
    pub fn redact(&self, redact: Redact) -> Redact {
        let redact = self.texts.iter().fold(redact, |redact, text| redact.text(text));
        let bytes = self.bytes.iter();
        bytes.fold(redact, |redact, bytes| redact.bytes(bytes.clone()))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.len())
    }
}

/// Parses pairs of hexadecimal digits. Spaces between pairs are ignored.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        let is_digits = pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        u8::from_str_radix(pair, 16).ok().filter(|_| is_digits)
    });
    pairs.collect()
}

/// Fails if others than the owner may read or write the file. The client of OpenSSH treats private
/// keys in the same way.
#[cfg(unix)]
fn check_access(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;

    let found = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    match found.permissions().mode() & 0o7777 {
        mode if mode & 0o077 != 0 => Err(format!(
            "has secrets, but others than its owner may access it (mode {mode:04o}); run: chmod 600 {}",
            path.display()
        )),
        _ => Ok(()),
    }
}

/// Does nothing: on Windows, the permissions of the folder apply.
#[cfg(not(unix))]
fn check_access(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_text_or_bytes() {
        let secrets = Secrets::parse("# keys\n\nhunter2\n with spaces \nhex:13 37c0de\n").unwrap();
        assert_eq!(secrets.texts, ["hunter2", " with spaces "]);
        assert_eq!(secrets.bytes, [[0x13, 0x37, 0xC0, 0xDE]]);
        assert_eq!(format!("{secrets:?}"), "3 secrets");
    }

    #[test]
    fn mistakes_name_the_line_and_not_the_secret() {
        for (text, line) in [
            ("fine\nabc\n", "line 2"),
            ("hex:1337c0d\n", "line 1"),
            ("hex:+1337c0d\n", "line 1"),
            ("\n# only a comment\n", "no secrets"),
        ] {
            let error = Secrets::parse(text).unwrap_err();
            assert!(error.contains(line), "{error}");
            assert!(!error.contains("abc") && !error.contains("c0d\n"), "{error}");
        }
    }
}
