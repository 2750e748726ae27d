//! The crashed process, as the kernel names it, and the values that `core_pattern` can have.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::backend;

/// A process whose core is on standard input.
pub(super) struct DyingProcess {
    pub(super) pid: u32,
    /// The thread that received the signal, if it is known.
    pub(super) tid: Option<u32>,
    values: HashMap<char, String>,
    /// A thread that has not ended. If the first thread has, little is known through it.
    alive: u32,
    /// The descriptor of the process that the kernel has opened for us, if it has.
    descriptor: Option<u32>,
    /// When the process was started, in ticks since the start of the system.
    started: u64,
}

/// How far the user of a process may have its memory: the value of `%d` in `core_pattern`, and
/// `fs.suid_dumpable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dumpable {
    /// The process is an ordinary one.
    ByUser,
    /// It has changed its user, or has privileges that its user has not. Or nothing is known.
    ByRoot,
    /// There must be no core of it.
    Not,
}

/// Parses an argument such as `P=4711`.
pub(super) fn value(text: &str) -> Result<(char, String), String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), Some('=')) if letter.is_ascii_alphabetic() => Ok((letter, letters.collect())),
        _ => Err("expected a letter of core_pattern and its value, as in P=%P".to_owned()),
    }
}

impl DyingProcess {
    /// Finds the process.
    ///
    /// # Errors
    /// The values do not name one, or it does not exist any more.
    pub(super) fn find(values: &[(char, String)]) -> Result<Self, String> {
        let values: HashMap<char, String> = values.iter().cloned().collect();
        let number = |letter| values.get(&letter).and_then(|text: &String| text.parse().ok());
        let named: Option<u32> = number('P').filter(|pid| *pid > 0);
        let descriptor = number('F').filter(|descriptor| process_of(*descriptor).is_some());
        let pid = descriptor.and_then(process_of).or(named);
        let pid = pid.ok_or("the process is not named: core_pattern must have P=%P")?;
        if named.is_some_and(|named| named != pid) {
            return Err(format!("P and F are different processes (F is {pid})"));
        }
        let started = start_of(pid).ok_or_else(|| gone(pid))?;
        let tid = number('I');
        let crash = Self {
            pid,
            tid,
            alive: tid
                .filter(|tid| dumps(pid, *tid))
                .or_else(|| alive(pid))
                .ok_or_else(|| gone(pid))?,
            values,
            descriptor,
            started,
        };
        match crash.exists() {
            true => Ok(crash),
            false => Err(gone(pid)),
        }
    }

    /// Whether the kernel still keeps the process. Its id belongs to no other process until then.
    pub(super) fn exists(&self) -> bool {
        if let Some(descriptor) = self.descriptor
            && process_of(descriptor) != Some(self.pid)
        {
            return false;
        }
        dumps(self.pid, self.alive) && start_of(self.pid) == Some(self.started)
    }

    pub(super) fn dumpable(&self) -> Dumpable {
        match self.values.get(&'d').map(String::as_str) {
            Some("1") => Dumpable::ByUser,
            Some("0") => Dumpable::Not,
            _ => Dumpable::ByRoot,
        }
    }

    /// The path of a file of the process in `/proc`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        format!("/proc/{}/task/{}/{name}", self.pid, self.alive).into()
    }

    /// The path of the program, as the process sees it.
    pub(super) fn program(&self) -> String {
        let path = fs::read_link(self.file("exe"));
        let path = path
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default();
        // The kernel adds this if the file does not exist any more.
        path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned()
    }

    /// The real, effective, saved and file system ids of the user (`Uid`) or the group (`Gid`).
    pub(super) fn ids(&self, name: &str) -> Option<[u32; 4]> {
        let line = field(&self.status(self.alive), name)?;
        let ids: Vec<u32> = line
            .split_ascii_whitespace()
            .map_while(|id| id.parse().ok())
            .collect();
        ids.try_into().ok()
    }

    /// The ids of the user and the group of the process, if they may have its memory: the process
    /// had no other rights than theirs.
    pub(super) fn owner(&self) -> Option<(u32, u32)> {
        let (user, group) = (self.ids("Uid")?, self.ids("Gid")?);
        let is_one = |ids: [u32; 4]| ids.iter().all(|id| *id == ids[0]);
        let privileges = field(&self.status(self.alive), "CapPrm")?;
        let has_none = u64::from_str_radix(&privileges, 16).is_ok_and(|set| set == 0);
        let safe = self.dumpable() == Dumpable::ByUser && is_one(user) && is_one(group);
        (safe && (has_none || user[0] == 0)).then_some((user[0], group[0]))
    }

    /// The limit for the size of its cores in bytes. `None` if there is none.
    pub(super) fn core_limit(&self) -> Option<u64> {
        let text = fs::read_to_string(self.file("limits")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"));
        line?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// The id of a thread in the innermost pid namespace that it belongs to.
    pub(super) fn inner_id(&self, tid: u32) -> Option<u32> {
        field(&self.status(tid), "NSpid")?
            .split_ascii_whitespace()
            .next_back()?
            .parse()
            .ok()
    }

    fn status(&self, tid: u32) -> String {
        status(self.pid, tid)
    }

    /// Fills in a pattern of `core_pattern` (core(5)).
    pub(super) fn filled(&self, pattern: &str) -> String {
        let mut text = String::new();
        let mut letters = pattern.chars();
        while let Some(letter) = letters.next() {
            match (letter, if letter == '%' { letters.next() } else { None }) {
                ('%', Some('%')) => text.push('%'),
                // The kernel drops what it does not know.
                ('%', letter) => {
                    text.push_str(&letter.and_then(|letter| self.letter(letter)).unwrap_or_default())
                }
                _ => text.push(letter),
            }
        }
        text
    }

    /// The value of a letter: that of the kernel, or what `/proc` has.
    fn letter(&self, letter: char) -> Option<String> {
        if let Some(value) = self.values.get(&letter).filter(|_| letter != 'F') {
            return Some(match letter {
                'e' | 'f' | 'E' | 'h' => harmless(value),
                _ => value.clone(),
            });
        }
        let tid = self.tid.unwrap_or(self.pid);
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        match letter {
            'P' => Some(self.pid.to_string()),
            'p' => number(self.inner_id(self.pid)),
            'I' => Some(tid.to_string()),
            'i' => number(self.inner_id(tid)),
            'u' => number(self.ids("Uid").map(|ids| ids[0])),
            'g' => number(self.ids("Gid").map(|ids| ids[0])),
            'c' => Some(self.core_limit().unwrap_or(u64::MAX).to_string()),
            't' => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Some(now.as_secs().to_string())
            }
            'h' => Some(harmless(&backend::host())),
            'e' => field(&self.status(tid), "Name").map(|name| harmless(&name)),
            'f' => {
                let program = self.program();
                let name = Path::new(&program).file_name()?.to_string_lossy().into_owned();
                Some(harmless(&name))
            }
            'E' => Some(harmless(&self.program())),
            _ => None,
        }
    }
}

fn status(pid: u32, tid: u32) -> String {
    let text = fs::read(format!("/proc/{pid}/task/{tid}/status")).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether a thread belongs to a process of which the kernel writes the core.
fn dumps(pid: u32, tid: u32) -> bool {
    field(&status(pid, tid), "CoreDumping").is_some_and(|value| value == "1")
}

/// Returns a thread of such a process that has not ended.
fn alive(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut ids = threads
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.find(|tid| dumps(pid, *tid))
}

fn gone(pid: u32) -> String {
    format!(
        "process {pid} does not exist any more; with a core_pipe_limit other than 0, the kernel keeps small processes, too"
    )
}

/// Makes one name of a text in the way of the kernel: without separators, and not hidden.
fn harmless(text: &str) -> String {
    let name = text.replace(['/', '\0'], "!");
    match name.strip_prefix('.') {
        Some(rest) => format!("!{rest}"),
        None if name.is_empty() => "!".to_owned(),
        None => name,
    }
}

/// Returns the process that a descriptor of ours stands for. `None` if it is no such descriptor, or
/// if the process does not exist any more.
fn process_of(descriptor: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    field(&text, "Pid")?.parse().ok().filter(|pid| *pid > 0)
}

/// Returns the value of a line `NAME:VALUE`.
fn field(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    Some(value.trim().to_owned())
}

/// Returns the time at which a process was started (field 22 of proc_pid_stat(5)).
fn start_of(pid: u32) -> Option<u64> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (_, behind_name) = text.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    //! These tests catch names that lead elsewhere, and processes that are taken for the crashed
    //! one.

    use super::*;

    fn crash(values: &[&str]) -> DyingProcess {
        let own = std::process::id();
        DyingProcess {
            pid: own,
            tid: None,
            alive: own,
            values: values.iter().map(|text| value(text).unwrap()).collect(),
            descriptor: None,
            started: start_of(own).unwrap(),
        }
    }

    #[test]
    fn patterns_are_filled_in_as_by_the_kernel() {
        let crash = crash(&["P=7", "e=../a b", "s=11", "F=3", "t=5"]);
        assert_eq!(
            crash.filled("/x/%e.%P.%s%%.%t%"),
            "/x/!./a b.7.11%.5".replace("/a", "!a")
        );
        assert_eq!(crash.filled("%F%Z"), "", "our descriptor means nothing to others");
        let own = std::process::id().to_string();
        assert_eq!(crash.filled("%I"), own);
        let uid = nix::unistd::getuid().to_string();
        assert_eq!(crash.filled("%u"), uid);
        assert!(!crash.filled("%E").contains('/'), "{}", crash.filled("%E"));
        assert_eq!(harmless(""), "!");
        for wrong in ["", "P", "=1", "PP=1", "1=2"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_process_that_crashes_is_one() {
        let own = std::process::id().to_string();
        let error = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|text| value(text).unwrap()).collect();
            DyingProcess::find(&values).err().unwrap()
        };
        assert!(error(&["s=11"]).contains("P=%P"));
        assert!(error(&["P=0"]).contains("P=%P"));
        assert!(error(&[&format!("P={own}")]).contains("does not exist any more"));
        assert!(error(&["P=2147483632"]).contains("does not exist any more"));
    }

    #[test]
    fn who_may_have_the_memory() {
        let of = |values: &[&str]| crash(values).dumpable();
        assert_eq!(
            [of(&["d=0"]), of(&["d=1"]), of(&["d=2"])],
            [Dumpable::Not, Dumpable::ByUser, Dumpable::ByRoot]
        );
        assert_eq!([of(&[]), of(&["d="])], [Dumpable::ByRoot; 2]);
        assert_eq!(crash(&["d=2"]).owner(), None);
    }
}
