//! Compares dialogues with files.

use std::path::Path;
use std::{env, fs, io};

use similar::TextDiff;

use super::reproduce;

/// Compares a text with a file, or writes the file if `DUMPWRIGHT_BLESS=1`.
#[track_caller]
pub(super) fn compare(path: &Path, found: &str) {
    if env::var_os("DUMPWRIGHT_BLESS").is_some_and(|value| value == "1") {
        write(path, found);
        return;
    }
    let expected = match fs::read_to_string(path) {
        // A checkout on Windows may change the line ends.
        Ok(text) => text.replace("\r\n", "\n"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            panic!("{} does not exist yet\n{}", path.display(), reproduce::how(true))
        }
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    };
    if expected != found {
        panic!(
            "{}{}",
            difference(&expected, found, &path.display().to_string(), "this rehearsal"),
            reproduce::how(true)
        );
    }
}

/// Returns the difference of two texts, in the form of `diff -u`.
pub(super) fn difference(expected: &str, found: &str, expected_name: &str, found_name: &str) -> String {
    let difference = TextDiff::from_lines(expected, found);
    format!(
        "the dialogues differ\n{}",
        difference
            .unified_diff()
            .context_radius(3)
            .header(expected_name, found_name)
    )
}

fn write(path: &Path, text: &str) {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    if let Err(error) = folder.and_then(|()| fs::write(path, text)) {
        panic!("cannot write {}: {error}", path.display());
    }
}
