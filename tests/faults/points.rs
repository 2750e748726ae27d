//! The points at which a capture can fail: each use of each system call, with each error that the
//! call may have.

use std::collections::BTreeMap;

/// How many of the points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Of each call and effect the first, the middle and the last use, and the first and all later
    /// ones.
    Part,
    /// Of each call, effect and kind of file the first, the second, the middle and the last use,
    /// and all uses from the first and from the last one on.
    Whole,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub call: &'static str,
    /// As `tests/programs/injecting.c` takes it: `error=EIO`, `zero` or `short`.
    pub effect: &'static str,
    /// `7` is the seventh use in any thread, `7+` the seventh and all later ones.
    pub when: String,
    /// What the call is used for: a path, or the target of a descriptor.
    pub object: String,
}

impl Point {
    /// Whether it makes a file seem absent.
    pub fn hides_a_file(&self) -> bool {
        self.effect == "error=ENOENT"
    }

    /// Whether nothing can be written, not even a message.
    pub fn prevents_messages(&self) -> bool {
        self.call == "write" && self.when.ends_with('+')
    }

    /// Whether it is one of the few points of compressed memory that [`Extent::Part`] has. Others
    /// are those of every dump.
    pub fn is_of_compression(&self) -> bool {
        let effects: &[&str] = match self.call {
            "clone3" => &["error=EAGAIN"],
            "process_vm_readv" => &["error=EFAULT", "short"],
            "pwrite64" => &["error=ENOSPC", "zero", "short"],
            _ => &[],
        };
        effects.contains(&self.effect)
    }

    /// The arguments of `injecting` that make it happen.
    pub fn injection(&self) -> [&str; 3] {
        [self.call, self.effect, &self.when]
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.call, self.effect, self.when)?;
        if self.object.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.object)
    }
}

/// The calls of a capture with the errors that they may have, by their manual pages and by the
/// kernel's code for files below `/proc`. EINTR is only injected once: a call that is interrupted
/// for ever is repeated for ever, which is right. A result of zero is a short write, or a file that
/// was cut. Texts and lists of the kernel do not end early while their process stands, and glibc
/// takes ENOENT for the end of a list.
const CALLS: &[(&str, &[&str])] = &[
    ("clock_nanosleep", &["error=EINTR"]),
    ("clone", &["error=EAGAIN", "error=ENOMEM", "error=EPERM"]),
    ("clone3", &["error=EAGAIN", "error=ENOMEM", "error=EPERM"]),
    ("close", &["error=EIO", "error=EINTR"]),
    ("fcntl", &["error=EINTR", "error=ENOLCK", "error=EMFILE"]),
    (
        "fsync",
        &["error=EIO", "error=ENOSPC", "error=EINTR", "error=EINVAL"],
    ),
    ("fchmod", &["error=EPERM", "error=EIO"]),
    ("ftruncate", &["error=EIO", "error=EINTR", "error=ENOSPC"]),
    ("futex", &["error=EINTR"]),
    (
        "getdents64",
        &["error=EIO", "error=ESRCH", "error=ENOMEM", "short"],
    ),
    (
        "ioctl",
        &[
            "error=ENOTTY",
            "error=EINVAL",
            "error=ENOMEM",
            "error=EIO",
            "error=EINTR",
            "error=EPERM",
            "short",
        ],
    ),
    (
        "linkat",
        &[
            "error=EEXIST",
            "error=EIO",
            "error=ENOSPC",
            "error=EXDEV",
            "error=EPERM",
            "error=EINTR",
            "error=ENOENT",
        ],
    ),
    ("lseek", &["error=EINVAL", "error=EIO"]),
    ("mmap", &["error=ENOMEM"]),
    ("mprotect", &["error=ENOMEM"]),
    ("nanosleep", &["error=EINTR"]),
    (
        "newfstatat",
        &["error=EIO", "error=EACCES", "error=ENOMEM", "error=ENOENT"],
    ),
    (
        "openat",
        &[
            "error=EMFILE",
            "error=EACCES",
            "error=ENOENT",
            "error=EINTR",
            "error=ENOMEM",
            "error=EPERM",
            "error=ESRCH",
        ],
    ),
    (
        "openat2",
        &[
            "error=EPERM",
            "error=EAGAIN",
            "error=ENOSYS",
            "error=EMFILE",
            "error=EIO",
        ],
    ),
    ("pipe2", &["error=EMFILE", "error=ENFILE"]),
    ("poll", &["error=EINTR"]),
    ("prctl", &["error=EINVAL"]),
    (
        "pread64",
        &[
            "error=EIO",
            "error=ESRCH",
            "error=EINTR",
            "error=EPERM",
            "zero",
            "short",
        ],
    ),
    (
        "process_vm_readv",
        &[
            "error=EPERM",
            "error=EFAULT",
            "error=ESRCH",
            "error=ENOMEM",
            "error=EINTR",
            "error=EIO",
            "short",
        ],
    ),
    (
        "ptrace",
        &["error=EPERM", "error=ESRCH", "error=EIO", "error=ENOMEM"],
    ),
    (
        "pwrite64",
        &["error=ENOSPC", "error=EIO", "error=EINTR", "zero", "short"],
    ),
    (
        "read",
        &["error=EIO", "error=ESRCH", "error=EINTR", "error=ENOMEM", "short"],
    ),
    ("readlink", &["error=EACCES", "error=ENOENT", "error=EIO"]),
    ("readlinkat", &["error=EACCES", "error=ENOENT", "error=EIO"]),
    ("rename", &["error=EIO", "error=ENOSPC"]),
    (
        "renameat2",
        &["error=EIO", "error=ENOSPC", "error=EINVAL", "error=EEXIST"],
    ),
    ("sched_getaffinity", &["error=EPERM", "error=ESRCH"]),
    (
        "statx",
        &["error=EIO", "error=EACCES", "error=ENOMEM", "error=EINTR"],
    ),
    ("wait4", &["error=EINTR"]),
    (
        "write",
        &["error=EPIPE", "error=EIO", "error=ENOSPC", "error=EINTR", "short"],
    ),
];

/// The system calls of a run without a fault.
#[derive(Debug, Default)]
pub struct Uses {
    /// What each call is used for, in the order of the uses.
    calls: BTreeMap<String, Vec<String>>,
}

impl Uses {
    /// Reads what `injecting` has recorded.
    pub fn of(record: &str) -> Self {
        let mut uses = Self::default();
        for line in record.lines() {
            let (call, object) = line.split_once(' ').unwrap_or((line, ""));
            let objects = uses.calls.entry(call.to_owned()).or_default();
            objects.push(object.to_owned());
        }
        uses
    }

    /// The points of such a run.
    pub fn points(&self, extent: Extent) -> Vec<Point> {
        let mut points = Vec::new();
        for (call, effects) in CALLS {
            let Some(objects) = self.calls.get(*call) else {
                continue;
            };
            let (once, from_then_on) = match extent {
                Extent::Part => (some_of(&(1..=objects.len()).collect::<Vec<_>>(), false), vec![1]),
                Extent::Whole => sample(objects),
            };
            for effect in *effects {
                let mut add = |n: usize, later: &str| {
                    points.push(Point {
                        call,
                        effect,
                        when: format!("{n}{later}"),
                        object: objects[n - 1].clone(),
                    });
                };
                once.iter().for_each(|n| add(*n, ""));
                if *effect != "error=EINTR" {
                    from_then_on.iter().for_each(|n| add(*n, "+"));
                }
            }
        }
        points
    }
}

/// The uses of a call that fail once, and those from which on all fail: of the uses for one kind of
/// file the first, the second, the middle and the last one, and the first and the last one.
fn sample(objects: &[String]) -> (Vec<usize>, Vec<usize>) {
    let mut kinds: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, object) in objects.iter().enumerate() {
        let kind = object.replace(|c: char| c.is_ascii_digit(), "");
        kinds.entry(kind).or_default().push(at + 1);
    }
    let (mut once, mut from_then_on) = (Vec::new(), Vec::new());
    for uses in kinds.values() {
        once.extend(some_of(uses, true));
        from_then_on.extend(uses.first());
        if uses.len() > 1 {
            from_then_on.extend(uses.last());
        }
    }
    (once, from_then_on)
}

/// The first, the middle and the last of these, and the second if it is wanted.
fn some_of(uses: &[usize], and_second: bool) -> Vec<usize> {
    let last = uses.len() - 1;
    let mut some = vec![0, last / 2, last];
    some.extend((and_second && last > 0).then_some(1));
    some.sort_unstable();
    some.dedup();
    some.into_iter().map(|at| uses[at]).collect()
}
