//! The names of crash dumps.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many dumps of one process may get the same name; the others have a number.
const MOST: u32 = 100;

/// What the pattern of a name is filled in with.
pub(super) struct NameParts {
    pub(super) program: String,
    pub(super) process: u32,
    pub(super) machine: String,
    pub(super) time: SystemTime,
}

impl NameParts {
    /// The parts for a process.
    pub(super) fn of(process: u32) -> Self {
        let file = std::fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        // The kernel adds this if the file does not exist any more.
        let program = name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned();
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            program,
            process,
            machine: machine.trim_end().to_owned(),
            time: SystemTime::now(),
        }
    }

    /// Fills a pattern in.
    ///
    /// # Errors
    /// The pattern has an unknown letter after a percent sign, or leads to another folder.
    pub(super) fn fill(&self, pattern: &str) -> Result<String, String> {
        let mut name = String::new();
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            match (letter, if letter == '%' { letters.next() } else { None }) {
                ('%', Some('e')) => name.push_str(&harmless(&self.program)),
                ('%', Some('p')) => name.push_str(&self.process.to_string()),
                ('%', Some('t')) => name.push_str(&utc(self.time)),
                ('%', Some('h')) => name.push_str(&harmless(&self.machine)),
                ('%', Some('%')) => name.push('%'),
                ('%', _) => {
                    return Err(format!(
                        "the name \"{pattern}\": after %, expected e (the name of the program), p (the process id), t (the \
                         time), h (the name of the machine) or %"
                    ));
                }
                _ => name.push(letter),
            }
        }
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(format!("the name \"{pattern}\" is not the name of a file"));
        }
        Ok(name)
    }
}

/// Returns the path of the name in the folder or, if it is taken, with a number in it.
pub(super) fn unused(folder: &Path, name: &str) -> PathBuf {
    let (stem, end) = name.split_at(name.find(".dmp").unwrap_or(name.len()));
    let others = (2..=MOST).map(|number| format!("{stem}-{number}{end}"));
    let names = std::iter::once(name.to_owned()).chain(others);
    let free = names
        .map(|name| folder.join(name))
        .find(|path| std::fs::symlink_metadata(path).is_err());
    // Creating the file then says that the name is taken.
    free.unwrap_or_else(|| folder.join(name))
}

/// Returns a name that others chose in a form that is one harmless part of a file name.
fn harmless(name: &str) -> String {
    let plain = |letter: char| match letter.is_alphanumeric() || "._-+@=,".contains(letter) {
        true => letter,
        false => '_',
    };
    let name: String = name.chars().take(64).map(plain).collect();
    match name.trim_start_matches(['.', '-']) {
        "" => "process".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns a time as in `20261130-153000`.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let mut year = 1970;
    let mut left = days;
    let length = |year: u64| match (year % 4, year % 100, year % 400) {
        (0, 0, 0) | (0, 1.., _) => 366,
        _ => 365,
    };
    while left >= length(year) {
        left -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 1;
    for of_month in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < of_month {
            break;
        }
        left -= of_month;
        month += 1;
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{year:04}{month:02}{:02}-{hours:02}{minutes:02}{:02}",
        left + 1,
        seconds % 60
    )
}

/// What these tests would catch: wrong times, and names that lead elsewhere.
#[cfg(test)]
mod tests {
    use super::*;

    fn parts(program: &str, seconds: u64) -> NameParts {
        NameParts {
            program: program.to_owned(),
            process: 4711,
            machine: "a b".to_owned(),
            time: UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    #[test]
    fn patterns_are_filled_in() {
        let name = |pattern, program, seconds| parts(program, seconds).fill(pattern);
        // `date -u -d @SECONDS` gives the same.
        for (seconds, expected) in [
            (0, "19700101-000000"),
            (951_782_400, "20000229-000000"),
            (951_868_799, "20000229-235959"),
            (978_307_199, "20001231-235959"),
            (1_796_052_600, "20261130-153000"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(name("%t", "x", seconds).as_deref(), Ok(expected));
        }
        assert_eq!(
            name("%e.%p.%h.100%%.dmp", "../server", 0).as_deref(),
            Ok("_server.4711.a_b.100%.dmp")
        );
        for wrong in ["", "%", "a%x", "a/b", ".."] {
            assert!(name(wrong, "x", 0).is_err(), "{wrong}");
        }
    }
}
