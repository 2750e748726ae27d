//! The processes to dump: by id or by name.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use dumpwright::target::printable;

use super::backend::{self, RunningProcess};
use super::print;

/// The number of processes that a message lists.
const LISTED: usize = 20;
/// The width in columns of a line in such a list.
const WIDTH: usize = 100;

/// Why a name does not lead to a process.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unresolved {
    /// There is no process with this name. The running processes are known.
    Nobody(Vec<String>),
    /// The message says what to do.
    Refused(String),
    /// The user chose none of the listed processes.
    Cancelled,
}

/// Returns the ids of the processes that `text` stands for: an id, or the name of one process. If
/// several have this name, the user chooses on the terminal.
pub(super) fn resolve(text: &str) -> Result<Vec<u32>, Unresolved> {
    if let Ok(pid) = text.parse::<u32>()
        && pid > 0
    {
        return Ok(vec![pid]);
    }
    let running = backend::processes().map_err(Unresolved::Refused)?;
    let own = std::process::id();
    let (found, others): (Vec<_>, Vec<_>) = running
        .into_iter()
        .filter(|process| process.pid != own)
        .partition(|process| process.names.iter().any(|name| name == text));
    match &*found {
        [] => {
            let names = others.into_iter().flat_map(|process| process.names);
            Err(Unresolved::Nobody(names.collect()))
        }
        [one] => Ok(vec![one.pid]),
        several if io::stdin().is_terminal() && io::stderr().is_terminal() => choose(text, several),
        several => {
            let list = list(several).join("\n");
            let count = several.len();
            Err(Unresolved::Refused(format!(
                "{count} processes have the name {}; give the id of one:\n{list}",
                printable(text)
            )))
        }
    }
}

/// Returns a line for each process, but not for too many.
fn list(processes: &[RunningProcess]) -> Vec<String> {
    let mut lines: Vec<String> = processes
        .iter()
        .take(LISTED)
        .map(|process| {
            let line = format!("  {:>8}  {}", process.pid, printable(&process.command));
            line.chars().take(WIDTH).collect()
        })
        .collect();
    if processes.len() > LISTED {
        lines.push(format!("  and {} more", processes.len() - LISTED));
    }
    lines
}

/// Lets the user choose on the terminal.
fn choose(name: &str, processes: &[RunningProcess]) -> Result<Vec<u32>, Unresolved> {
    let mut error = io::stderr().lock();
    let list = list(processes).join("\n");
    let asked = writeln!(
        error,
        "{} processes have the name {}:\n{list}",
        processes.len(),
        printable(name)
    )
    .and_then(|()| write!(error, "Which one? (its id, \"all\", or Enter for none) "))
    .and_then(|()| error.flush());
    drop(error);
    let mut answer = String::new();
    let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
    let answer = answer.trim();
    if read.is_err() || answer.is_empty() {
        return Err(Unresolved::Cancelled);
    }
    if answer == "all" {
        return Ok(processes.iter().map(|process| process.pid).collect());
    }
    let chosen = processes.iter().find(|process| process.pid.to_string() == answer);
    match chosen {
        Some(process) => Ok(vec![process.pid]),
        None => Err(Unresolved::Refused(format!(
            "{} is none of these",
            printable(answer)
        ))),
    }
}

/// Returns the message for a name that no process has. `commands` are the commands of the program,
/// if the name may be a misspelt one.
pub(super) fn nobody(text: &str, running: &[String], commands: &[&str]) -> String {
    let name = printable(text);
    if let Some(command) = dumpwright_text::nearest(text, commands.iter().copied()) {
        return format!(
            "there is no command and no process \"{name}\"; did you mean the command \"{command}\"?"
        );
    }
    let near = dumpwright_text::nearest(text, running.iter().map(String::as_str));
    let hint = near.map_or_else(
        || "; give the id of a process, or the name of its program".to_owned(),
        |near| format!("; did you mean \"{}\"?", printable(near)),
    );
    format!("no process has the name \"{name}\"{hint}")
}

/// The parts of a pattern for file names that stand for something.
pub(super) const PATTERN_HELP: &str = "%e (the name of the program), %p (the process id), %t (the time, in UTC), \
     %h (the name of the machine), %% (%)";

/// Checks a pattern for file names.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '%' && !letters.next().is_some_and(|letter| "epth%".contains(letter)) {
            return Err(format!("after %, expected one of these: {PATTERN_HELP}"));
        }
    }
    match text {
        "" => Err("expected a pattern, as in %e.%p.%t.dmp".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Returns the file name that a pattern gives for a process.
pub(super) fn file_name(pattern: &str, pid: u32, program: &str, time: jiff::Timestamp) -> String {
    let mut name = String::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '%' { letters.next() } else { None }) {
            ('%', Some('e')) => name.push_str(&harmless(program)),
            ('%', Some('p')) => name.push_str(&pid.to_string()),
            ('%', Some('t')) => name.push_str(&time.strftime("%Y%m%d-%H%M%S").to_string()),
            ('%', Some('h')) => name.push_str(&harmless(&backend::host())),
            ('%', Some(_)) => name.push('%'),
            _ => name.push(letter),
        }
    }
    name
}

/// Returns a path in the folder with this name or, if it is taken, with a number in it: of
/// `server.dmp`, the second one is `server-2.dmp`.
pub(super) fn unused(folder: &Path, name: &str) -> PathBuf {
    let is_free = |path: &PathBuf| std::fs::symlink_metadata(path).is_err();
    let (stem, end) = name.split_at(name.find(".dmp").unwrap_or(name.len()));
    let others = (2..=MOST_OF_A_SECOND).map(|number| format!("{stem}-{number}{end}"));
    let names = std::iter::once(name.to_owned()).chain(others);
    let free = names.map(|name| folder.join(name)).find(is_free);
    // Creating the file then says that the name is taken.
    free.unwrap_or_else(|| folder.join(name))
}

/// How many dumps of one process may get the name of the same second.
const MOST_OF_A_SECOND: u32 = 1000;

/// Returns a name that a process chose itself in a form that is one harmless part of a file name.
pub(super) fn harmless(name: &str) -> String {
    let plain = |letter: char| {
        let is_plain = letter.is_alphanumeric() || "._-+@=,".contains(letter);
        if is_plain { letter } else { '_' }
    };
    let name: String = name.chars().take(64).map(plain).collect();
    // A name that begins with a dot is hidden, or a folder. One that begins with a hyphen looks
    // like an option.
    match name.trim_start_matches(['.', '-']) {
        "" => "process".to_owned(),
        name => name.to_owned(),
    }
}

/// Prints a message about a process that cannot be dumped.
pub(super) fn complain_about(text: &str, why: &Unresolved, commands: &[&str]) {
    match why {
        Unresolved::Nobody(running) => print::complain(nobody(text, running, commands)),
        Unresolved::Refused(reason) => print::complain(reason),
        Unresolved::Cancelled => print::complain("no process was chosen, so there is no dump"),
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch file names that lead elsewhere, and hints that do not help.

    use super::*;

    #[test]
    fn patterns_are_filled_in() {
        let time = jiff::Timestamp::from_second(951_782_400).unwrap();
        let name = |pattern, program| file_name(pattern, 4711, program, time);
        assert_eq!(name("%e.%p.%t.dmp", "server"), "server.4711.20000229-000000.dmp");
        assert_eq!(name("100%%-%e", "a b"), "100%-a_b");
        assert_eq!(name("%e", "../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(name("%e", "..."), "process");
        assert_eq!(name("%e", "-o\x1b[31m"), "o__31m");
        assert_eq!(pattern("%p.dmp").as_deref(), Ok("%p.dmp"));
        for wrong in ["", "%", "a%", "%x", "%e%%%"] {
            assert!(pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_name_has_a_hint() {
        let running = ["server".to_owned(), "sshd".to_owned()];
        let text = nobody("servre", &running, &["dump", "show"]);
        assert!(text.contains("did you mean \"server\"?"), "{text}");
        let text = nobody("shwo", &running, &["dump", "show"]);
        assert!(text.contains("the command \"show\"?"), "{text}");
        let text = nobody("database", &running, &[]);
        assert!(text.contains("the id of a process"), "{text}");
    }
}
