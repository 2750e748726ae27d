//! How many dumps are written in a time.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::cli::dump::duration;

/// A number of dumps in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) count: usize,
    pub(super) time: Duration,
}

/// The number of crashes that are remembered.
const MOST: usize = 10_000;

/// Parses a rate, such as `5/60s`.
pub(super) fn parse(text: &str) -> Result<Rate, String> {
    let refused = || format!("expected a number and a time, as in 5/60s, found \"{text}\"");
    let (count, time) = text.split_once('/').ok_or_else(refused)?;
    let count = count.parse().ok().filter(|count| (1..=MOST).contains(count));
    Ok(Rate {
        count: count.ok_or_else(refused)?,
        time: duration(time)?,
    })
}

/// Notes a crash of `program` in the file, and returns why there may be no dump of it, if so.
///
/// # Errors
/// The file cannot be used.
pub(super) fn note(file: &Path, program: &str, of_program: Rate, of_all: Rate) -> io::Result<Option<String>> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(file)?;
    let mut locked = Flock::lock(opened, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let mut text = String::new();
    Read::by_ref(&mut *locked)
        .take(16 << 20)
        .read_to_string(&mut text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (kept, refusal) = decide(&text, now, program, of_program, of_all);
    locked.set_len(0)?;
    locked.write_all(kept.as_bytes())?;
    Ok(refusal)
}

/// Returns the new contents of the file, and the refusal. A line has the milliseconds since 1970
/// and the name of the program.
fn decide(
    text: &str,
    now: Duration,
    program: &str,
    of_program: Rate,
    of_all: Rate,
) -> (String, Option<String>) {
    let program: String = program.chars().map(|c| if c == '\n' { '?' } else { c }).collect();
    let kept = of_program.time.max(of_all.time);
    let mut known: Vec<(Duration, &str)> = text
        .lines()
        .filter_map(|line| {
            let (time, name) = line.split_once(' ')?;
            Some((Duration::from_millis(time.parse().ok()?), name))
        })
        // A clock that was set back would otherwise refuse dumps for long.
        .filter(|(time, _)| *time <= now && now - *time < kept)
        .collect();
    let within = |rate: Rate, name: Option<&str>| {
        let counted = known
            .iter()
            .filter(|(time, of)| now - *time < rate.time && name.is_none_or(|name| name == *of));
        counted.count() >= rate.count
    };
    let refusal = if within(of_program, Some(&program)) {
        let Rate { count, time } = of_program;
        Some(format!(
            "there were {count} dumps of this program within {time:?} already"
        ))
    } else if within(of_all, None) {
        let Rate { count, time } = of_all;
        Some(format!("there were {count} dumps within {time:?} already"))
    } else {
        known.push((now, &program));
        None
    };
    let first = known.len().saturating_sub(MOST);
    let lines = known[first..].iter();
    let text = lines
        .map(|(time, name)| format!("{} {name}\n", time.as_millis()))
        .collect();
    (text, refusal)
}

#[cfg(test)]
mod tests {
    //! These tests catch a limit that is not kept, or that is kept for ever.

    use super::*;

    #[test]
    fn dumps_are_counted_for_each_program_and_for_all() {
        let (two, three) = (parse("2/10s").unwrap(), parse("3/60s").unwrap());
        let mut text = String::new();
        let mut may = |second: u64, program: &str| {
            let (kept, refusal) = decide(&text, Duration::from_secs(second), program, two, three);
            text = kept;
            refusal.is_none()
        };
        assert!(may(100, "/a\nb") && may(101, "/a\nb"));
        assert!(!may(102, "/a\nb"), "the limit of the program");
        assert!(may(103, "/c"), "another program");
        assert!(!may(104, "/d"), "the limit of all");
        assert!(may(162, "/d"), "the first ones are long ago");
        assert!(may(50, "/d"), "the clock was set back");
        for wrong in ["5", "0/1s", "x/1s", "5/", "5/0s", "99999/1s"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_file_is_only_of_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/rate");
        let one = parse("1/60s").unwrap();
        assert_eq!(note(&file, "/a", one, one).unwrap(), None);
        assert!(note(&file, "/a", one, one).unwrap().is_some());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::os::unix::fs::symlink(&file, folder.path().join("link")).unwrap();
        assert!(note(&folder.path().join("link"), "/a", one, one).is_err());
    }
}
