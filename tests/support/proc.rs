//! Reads facts about a process from the system, and sends signals to it. Tests compare dumps with
//! these facts.

use std::fs;
use std::time::{Duration, Instant};

/// Longer waits than this are considered to hang. No test depends on the speed of a program.
const HANGS: Duration = Duration::from_secs(120);

/// Waits, yielding the processor, until `condition` is true.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < HANGS, "not within {HANGS:?}: {what}");
        std::thread::yield_now();
    }
}

/// The fields of `/proc/PID/stat`, by their numbers in proc_pid_stat(5). Field 3 is the first one
/// after the name.
pub struct Stat(Vec<String>);

impl Stat {
    /// Reads the fields of `who`, which is a process id or `PID/task/TID`. Returns `None` if there
    /// is no such process or thread.
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

/// Returns the states of all threads: `R`, `S`, `T` (stopped by a signal), `t` (stopped by a
/// debugger), and others.
pub fn states(pid: u32) -> Vec<char> {
    task_ids(pid)
        .into_iter()
        .filter_map(|tid| Stat::of(format!("{pid}/task/{tid}")))
        .map(|stat| stat.state())
        .collect()
}

/// Returns the ids of the processes that any thread of this one has started and that still exist.
pub fn children(pid: u32) -> Vec<u32> {
    let lists = task_ids(pid)
        .into_iter()
        .filter_map(|tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/children")).ok());
    lists
        .flat_map(|list| {
            let ids = list.split_whitespace().map(|id| id.parse().expect("an id"));
            ids.collect::<Vec<_>>()
        })
        .collect()
}

/// Returns the ids of the threads: the first thread first, then the others in ascending order.
pub fn task_ids(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut ids: Vec<u32> = tasks
        .map(|task| task.file_name().to_string_lossy().parse().expect("an id"))
        .collect();
    // Ids wrap around, so a later thread may have a lower id.
    ids.sort_unstable_by_key(|tid| (*tid != pid, *tid));
    ids
}

/// Returns the value of a line of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("process {pid} has no {field}"))
        .trim()
        .to_owned()
}

/// Checks that no process traces this one, and that none of its threads is in a ptrace stop.
pub fn assert_released(pid: u32) {
    assert_eq!(status(pid, "TracerPid"), "0", "who traces {pid}");
    let states = states(pid);
    assert!(
        !states.contains(&'t'),
        "{pid} was left in a debugger's stop: {states:?}"
    );
}

pub fn signal(pid: u32, number: i32) {
    // SAFETY: kill takes two numbers and accesses no memory.
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
    // SAFETY: geteuid takes no arguments and returns a number.
    unsafe { libc::geteuid() == 0 }
}

/// One line of `/proc/PID/maps`.
#[derive(Debug, Clone)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// The permissions, as in `r-xp`.
    pub access: String,
    pub offset: u64,
    pub inode: u64,
    /// The path, or the name in brackets. Empty if there is none.
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

/// Returns the priority of a program that this one starts: our nice value, as a relative priority
/// on Windows (-20 is 2, 19 is -2).
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
