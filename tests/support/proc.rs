//! What the system itself says of a process, and signals to it: the outside view that a dump is held
//! against.

use std::fs;
use std::time::{Duration, Instant};

/// Longer waits than this are hangs. No test depends on how fast anything is.
const HANGS: Duration = Duration::from_secs(120);

/// Waits, giving way, until a condition that the system brings about is true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < HANGS, "not within {HANGS:?}: {what}");
        std::thread::yield_now();
    }
}

/// The fields of `/proc/PID/stat`, by their numbers in proc_pid_stat(5); 3 is the first behind the name.
pub struct Stat(Vec<String>);

impl Stat {
    /// `who` is a process id, or `PID/task/TID`. `None` if there is no such process or thread.
    pub fn of(who: impl std::fmt::Display) -> Option<Stat> {
        let text = fs::read(format!("/proc/{who}/stat")).ok()?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let (_, behind_name) = text.rsplit_once(')')?;
        Some(Stat(behind_name.split_whitespace().map(str::to_owned).collect()))
    }

    pub fn state(&self) -> char {
        self.0[0].chars().next().expect("a letter")
    }

    pub fn number(&self, field: usize) -> u64 {
        self.0[field - 3].parse().expect("a number without a sign")
    }
}

/// The states of all threads: `R`, `S`, `T` stopped by a signal, `t` by a debugger …
pub fn states(pid: u32) -> Vec<char> {
    task_ids(pid)
        .into_iter()
        .filter_map(|tid| Stat::of(format!("{pid}/task/{tid}")))
        .map(|stat| stat.state())
        .collect()
}

/// The ids of its threads, the first thread first, then ascending.
pub fn task_ids(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut ids: Vec<u32> = tasks
        .map(|task| task.file_name().to_string_lossy().parse().expect("an id"))
        .collect();
    // Numbers start again from the bottom, so that a later thread may have a lower one.
    ids.sort_unstable_by_key(|tid| (*tid != pid, *tid));
    ids
}

/// A line of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("process {pid} has no {field}"))
        .trim()
        .to_owned()
}

/// Nobody traces it, and no thread of it is in a debugger's stop.
pub fn assert_released(pid: u32) {
    assert_eq!(status(pid, "TracerPid"), "0", "who traces {pid}");
    let states = states(pid);
    assert!(
        !states.contains(&'t'),
        "{pid} was left in a debugger's stop: {states:?}"
    );
}

pub fn signal(pid: u32, number: i32) {
    // SAFETY: kill takes two numbers and touches no memory.
    let result = unsafe { libc::kill(pid.cast_signed(), number) };
    assert_eq!(
        result,
        0,
        "kill({pid}, {number}): {}",
        std::io::Error::last_os_error()
    );
}

/// Whether these tests run as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and returns a number.
    unsafe { libc::geteuid() == 0 }
}

/// One line of `/proc/PID/maps`.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// As in `r-xp`.
    pub access: String,
    pub offset: u64,
    pub inode: u64,
    /// Path or name in brackets; empty for none.
    pub name: String,
}

pub fn maps(pid: u32) -> Vec<Mapping> {
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).expect("the maps of a living process");
    let hex = |text: &str| u64::from_str_radix(text, 16).expect("a hexadecimal number");
    text.lines()
        .map(|line| {
            let mut words = line.splitn(6, ' ');
            let mut word = || words.next().expect("six words");
            let (start, end) = word().split_once('-').expect("a range");
            let (start, end) = (hex(start), hex(end));
            let access = word().to_owned();
            let offset = hex(word());
            word();
            let inode = word().parse().expect("a number");
            let name = words.next().unwrap_or_default().trim_start().to_owned();
            Mapping {
                start,
                end,
                access,
                offset,
                inode,
                name,
            }
        })
        .collect()
}

/// The priority that a program started by this one has: our niceness, in Windows' steps (-20 is 2, 19 is -2).
pub fn inherited_priority() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("we run");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let nice: f64 = behind_name
        .split(' ')
        .nth(16)
        .and_then(|nice| nice.parse().ok())
        .expect("a number");
    (-nice / 10.0).round().clamp(-2.0, 2.0) as i32
}
