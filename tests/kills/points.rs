//! The moments at which a dumper gets a signal: each use of each system call.

use std::collections::BTreeMap;

/// How many of the points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Of each call that has to do with files or the target, its last use; SIGKILL and SIGTERM in
    /// turn, SIGTSTP at some.
    Part,
    /// SIGKILL at some moments of a dump by a clone, from the first system call that has to do with
    /// the target: a share of all uses of those calls, 1 of this number.
    Clone(usize),
    /// SIGKILL and SIGTERM at each use of each call, the others at every third.
    Whole,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub call: String,
    pub signal: Signal,
    /// The number of the use, in the thread that comes to it first.
    pub when: usize,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:signal={}:when={}",
            self.call,
            self.signal.name(),
            self.when
        )
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    Term,
    Int,
    Hup,
    Tstp,
}

impl Signal {
    const ALL: [Self; 5] = [Self::Kill, Self::Term, Self::Int, Self::Hup, Self::Tstp];

    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Hup => "HUP",
            Self::Tstp => "TSTP",
        }
    }

    pub fn number(self) -> i32 {
        match self {
            Self::Kill => libc::SIGKILL,
            Self::Term => libc::SIGTERM,
            Self::Int => libc::SIGINT,
            Self::Hup => libc::SIGHUP,
            Self::Tstp => libc::SIGTSTP,
        }
    }
}

/// The calls of a dump that have to do with its file and its target.
const PART: &[&str] = &[
    "clone3",
    "close",
    "fcntl",
    "fsync",
    "ftruncate",
    "linkat",
    "munmap",
    "openat",
    "process_vm_readv",
    "ptrace",
    "pwrite64",
    "renameat",
    "renameat2",
    "unlinkat",
    "wait4",
    "write",
];

/// The calls of the dumper and of its helper process while the target is stopped or cloned.
const AT_TARGET: &[&str] = &[
    "futex",
    "kill",
    "nanosleep",
    "process_vm_readv",
    "ptrace",
    "pwrite64",
    "wait4",
];

/// The points of a run, from what `strace -f` has recorded of it without a signal.
pub fn of(trace: &str, extent: Extent) -> Vec<Point> {
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in trace.lines() {
        let call = line
            .split_once(' ')
            .and_then(|(thread, rest)| Some((thread, rest.trim_start().split_once('(')?.0)));
        let Some((thread, call)) = call else { continue };
        if call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            *by_thread.entry((thread, call)).or_default() += 1;
        }
    }
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let most = uses.entry(call).or_default();
        *most = count.max(*most);
    }
    // By this one strace itself starts the dumper.
    uses.remove("execve");
    let mut points = Vec::new();
    for (turn, (call, last)) in uses.into_iter().enumerate() {
        let mut add = |signal, when| {
            points.push(Point {
                call: call.to_owned(),
                signal,
                when,
            });
        };
        match extent {
            Extent::Part if PART.contains(&call) => {
                add([Signal::Kill, Signal::Term][turn % 2], last);
                // The target is held while it is read.
                if call == "process_vm_readv" || turn % 4 == 0 {
                    add(Signal::Tstp, last);
                }
            }
            Extent::Clone(share) if AT_TARGET.contains(&call) => {
                for when in (1..=last).filter(|when| (when + turn) % share == 0) {
                    add(Signal::Kill, when);
                }
            }
            Extent::Part | Extent::Clone(_) => {}
            Extent::Whole => {
                for when in 1..=last {
                    for (index, signal) in Signal::ALL.into_iter().enumerate() {
                        if index < 2 || when % 3 == index - 2 || when == last {
                            add(signal, when);
                        }
                    }
                }
            }
        }
    }
    points
}
