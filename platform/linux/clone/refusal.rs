//! Conditions under which no clone is made, because it would not work or might harm the target.

use std::fmt;
use std::path::Path;

use dumpwright_target::{Cpu, Diagnostic, Memory, MemoryExt, Subject};

use super::Instructions;
use crate::cgroup;
use crate::freeze::{StopKind, StoppedThread};
use crate::proc_dir::{ProcDir, field, page_size, read_bounded};
use crate::regions::Mapping;

/// `PTRACE_GET_RSEQ_CONFIGURATION` (`linux/ptrace.h`, Linux 5.13).
pub(super) const GET_RSEQ_CONFIGURATION: libc::c_uint = 0x420F;
/// `PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG` (`linux/ptrace.h`, Linux 6.4).
pub(super) const GET_SYSCALL_USER_DISPATCH_CONFIG: libc::c_uint = 0x4211;

/// The first kernel on which programs can intercept their own system calls, as Wine does.
const SYSCALL_USER_DISPATCH: (u32, u32) = (5, 11);

/// The time that the kernel needs to copy the table entry of a page, rounded up. 70 to 120 ns were
/// measured on Linux 6.18.
const NANOSECONDS_A_PAGE: u64 = 150;

/// Memory must be free for this part of the target's own memory, in case that the target writes to
/// it while the clone exists.
const FREE_PART: u64 = 4;

/// The usual mount point of the memory controller of version 1.
const MEMORY_VERSION_1: &str = "/sys/fs/cgroup/memory";

/// Why there is no clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloneRefusal(pub(crate) String);

impl CloneRefusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The note in the report of a dump.
    pub(crate) fn diagnostic(&self) -> Diagnostic {
        let reason = format!("it was stopped while it was read, and not cloned: {self}");
        Diagnostic::note(Subject::Process, reason)
    }
}

impl fmt::Display for CloneRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is found out before the stop.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(super) instructions: Instructions,
    /// The number of pages of its own that the process has.
    pub(super) pages: u64,
}

impl Preparation {
    /// Examines a process that is to be cloned. `mappings` must have their flags.
    pub(crate) fn of(
        dir: &ProcDir,
        mappings: &[Mapping],
        memory: &mut dyn Memory,
    ) -> Result<Self, CloneRefusal> {
        let refused = |reason: &str| Err(CloneRefusal(reason.to_owned()));
        if dir.cpu != Cpu::Amd64 {
            return refused("it is a 32-bit process");
        }
        let status = dir.read("status").unwrap_or_default();
        let first_of_namespace = field(&status, "NSpid").is_some_and(|ids| {
            let ids: Vec<&str> = ids.split_ascii_whitespace().collect();
            ids.last() == Some(&"1")
        });
        if first_of_namespace {
            return refused(
                "it is the first process of its pid namespace, and would have to wait for the clone",
            );
        }
        if field(&status, "x86_Thread_features").is_some_and(|features| features.contains("shstk")) {
            return refused("it uses shadow stacks");
        }
        let namespace = |name: &str| std::fs::read_link(dir.path("ns").join(name));
        match (namespace("pid"), namespace("pid_for_children")) {
            (Ok(own), Ok(of_children)) if own == of_children => {}
            _ => return refused("its children are, or may be, in another pid namespace"),
        }
        if cgroup::diagnostic(dir).is_some() {
            return refused("its cgroup is frozen, so it cannot execute system calls");
        }
        if let Some(reason) = of_mappings(mappings) {
            return Err(reason);
        }
        let own = field(&status, "RssAnon").and_then(|size| kibibytes(&size));
        let Some(own) = own else {
            return refused("it is not known how much memory it has");
        };
        if let Some(reason) = of_free_memory(dir, &status, own) {
            return Err(reason);
        }
        let Some(instructions) = Instructions::find(mappings, memory) else {
            return refused(
                "its code does not have the instructions that return it to its state if the dumper is killed",
            );
        };
        Ok(Self {
            instructions,
            pages: own / page_size(),
        })
    }

    /// Examines the mappings again, during the stop.
    pub(crate) fn check_again(&self, mappings: &[Mapping]) -> Result<(), CloneRefusal> {
        if mappings.iter().any(|mapping| mapping.flags.is_none()) {
            return Err(CloneRefusal::new("the flags of its mappings are not known"));
        }
        of_mappings(mappings).map_or(Ok(()), Err)
    }

    /// How long the clone takes, in microseconds: an estimate that is rather too long.
    pub(crate) fn microseconds(&self) -> u64 {
        1_000 + self.pages.saturating_mul(NANOSECONDS_A_PAGE) / 1000
    }
}

fn kibibytes(size: &str) -> Option<u64> {
    size.strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// Whether the mappings forbid a clone.
pub(crate) fn of_mappings(mappings: &[Mapping]) -> Option<CloneRefusal> {
    mappings.iter().find_map(|mapping| {
        let flags = mapping.flags?;
        if flags.user_faults {
            // The program may have asked to be notified of clones, and would have to answer first.
            return Some(CloneRefusal::new(
                "another program handles its page faults (userfaultfd)",
            ));
        }
        // A write to a page that was shared with the clone needs another huge page, and kills the
        // writer if there is none.
        let is_huge = flags.huge && !mapping.shared && mapping.write;
        is_huge.then(|| CloneRefusal::new("it has private huge pages of hugetlbfs"))
    })
}

/// Whether there is too little memory for the pages that the target may copy while the clone
/// exists. `own` is the size of its own memory.
fn of_free_memory(dir: &ProcDir, status: &[u8], own: u64) -> Option<CloneRefusal> {
    let needed = own / FREE_PART;
    let system = read_bounded(Path::new("/proc/meminfo"), 1 << 20).unwrap_or_default();
    let available = field(&system, "MemAvailable").and_then(|size| kibibytes(&size));
    if available.is_none_or(|available| available < needed) {
        return Some(CloneRefusal::new(
            "the machine has too little free memory for what it may write while the clone exists",
        ));
    }
    let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    if mode.trim() == "2" && exceeds_commitments(&system, status) {
        return Some(CloneRefusal::new(
            "the machine may commit too little memory for a clone (vm.overcommit_memory is 2)",
        ));
    }
    let groups = dir.read("cgroup").unwrap_or_default();
    let is_short = is_short(
        [Path::new(cgroup::VERSION_2[0]), Path::new(MEMORY_VERSION_1)],
        &String::from_utf8_lossy(&groups),
        needed,
    );
    is_short.then(|| {
        CloneRefusal::new("its cgroup allows too little memory for what it may write while the clone exists")
    })
}

/// Whether a clone would leave the target little of the memory that the machine may commit. The
/// kernel counts all writable private memory of a process, whether it exists or not, and refuses
/// new memory above the limit (`Documentation/mm/overcommit-accounting.rst`). `system` is the text
/// of `/proc/meminfo`, and `status` that of `/proc/PID/status`.
fn exceeds_commitments(system: &[u8], status: &[u8]) -> bool {
    let size = |text: &[u8], name: &str| field(text, name).and_then(|size| kibibytes(&size));
    let (Some(limit), Some(committed)) = (size(system, "CommitLimit"), size(system, "Committed_AS")) else {
        return true;
    };
    let (Some(data), Some(stack)) = (size(status, "VmData"), size(status, "VmStk")) else {
        return true;
    };
    let counted = data.saturating_add(stack);
    limit.saturating_sub(committed) < counted.saturating_add(counted / FREE_PART)
}

/// Whether a cgroup in `groups`, or one that contains it, allows less than `needed` bytes more.
///
/// `roots` are the mount points of version 2, and of the memory controller of version 1. `groups`
/// is the text of `/proc/PID/cgroup`: lines of number, controllers and path.
fn is_short(roots: [&Path; 2], groups: &str, needed: u64) -> bool {
    /// The limit, what is used of it, and the line of `memory.stat` with the part of that that the
    /// kernel can free at once: files that were not used lately.
    const FILES: [[&str; 3]; 2] = [
        ["memory.max", "memory.current", "inactive_file"],
        [
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ],
    ];
    groups.lines().any(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            return false;
        };
        let version = match controllers {
            "" => 0,
            _ if controllers.split(',').any(|name| name == "memory") => 1,
            _ => return false,
        };
        let (root, [limit, used, unused]) = (roots[version], FILES[version]);
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().any(|group| {
            let text = |file: &str| std::fs::read_to_string(root.join(group).join(file)).ok();
            let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
            // The limit is the word "max" if there is none.
            let (Some(limit), Some(used)) = (number(limit), number(used)) else {
                return false;
            };
            let unused = text("memory.stat").and_then(|text| {
                let mut words = text.lines().filter_map(|line| line.split_once(' '));
                words.find(|(name, _)| *name == unused)?.1.parse::<u64>().ok()
            });
            limit.saturating_sub(used).saturating_add(unused.unwrap_or(0)) < needed
        })
    })
}

/// Whether the stops of the threads forbid a clone.
pub(super) fn of_stops(threads: &[StoppedThread]) -> Option<CloneRefusal> {
    let has = |stop| threads.iter().any(|held| held.stop == stop);
    let reason = if has(StopKind::Stuck) {
        "one of its threads did not stop, and may hold what the clone needs"
    } else if has(StopKind::Group) {
        "a signal had stopped it already"
    } else {
        return None;
    };
    Some(CloneRefusal(reason.to_owned()))
}

/// Whether a thread intercepts its system calls. `mode` is the first word of its configuration.
pub(super) fn of_dispatch(mode: Option<u64>) -> Option<CloneRefusal> {
    let reason = match mode {
        Some(0) => return None,
        Some(_) => "it intercepts its system calls (PR_SET_SYSCALL_USER_DISPATCH)",
        None if kernel().is_some_and(|version| version < SYSCALL_USER_DISPATCH) => return None,
        None => "this kernel does not show whether it intercepts its system calls (Linux 6.4 and later do)",
    };
    Some(CloneRefusal(reason.to_owned()))
}

/// The version of the running kernel.
fn kernel() -> Option<(u32, u32)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Whether a filter decides about the system calls of a thread. It may kill the process.
pub(super) fn of_filter(dir: &ProcDir, tid: u32) -> Option<CloneRefusal> {
    let status = read_bounded(&dir.process_path(format!("task/{tid}/status")), 1 << 20).unwrap_or_default();
    let reason = match field(&status, "Seccomp").as_deref() {
        Some("0") => return None,
        Some(_) => "a filter decides about its system calls (seccomp)",
        None => "it is not known whether a filter decides about its system calls (seccomp)",
    };
    Some(CloneRefusal(reason.to_owned()))
}

/// Whether a thread that was stopped in user code may be in a restartable sequence (rseq(2)). The
/// kernel would not restart the sequence then. `area` is the address of the thread's `struct rseq`,
/// or 0 if it has none.
pub(super) fn of_sequence(area: Option<u64>, memory: &mut dyn Memory) -> Option<CloneRefusal> {
    /// The offset of `rseq_cs`, which leads to the sequence (`linux/rseq.h`).
    const SEQUENCE: u64 = 8;
    let sequence = match area {
        Some(0) => return None,
        Some(area) => area.checked_add(SEQUENCE).map(|at| memory.up_to(at, 8)),
        None => None,
    };
    (sequence.as_deref() != Some(&[0; 8][..]))
        .then(|| CloneRefusal("all of its threads may be in restartable sequences (rseq)".to_owned()))
}

/// What these tests would catch: a cgroup without room that is overlooked, because the limit is
/// that of a group around it; files in the cache that count as used memory; a clone that leaves the
/// target nothing to commit; a process for which a clone is refused without need, or not although
/// it has to be.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::ProcessMemory;
    use crate::regions;
    use crate::testing::{Victim, map, poke};

    #[test]
    fn the_limit_of_each_surrounding_cgroup_counts() {
        let root = std::env::temp_dir().join(format!("dumpwright-cgroups-{}", std::process::id()));
        let group = |path: &str, files: &[(&str, &str)]| {
            let group = root.join(path);
            std::fs::create_dir_all(&group).expect("a directory");
            for (name, text) in files {
                std::fs::write(group.join(name), text).expect("a file");
            }
        };
        group(
            "2/outer",
            &[("memory.max", "1000\n"), ("memory.current", "900\n")],
        );
        group(
            "2/outer/inner",
            &[("memory.max", "max\n"), ("memory.current", "900\n")],
        );
        let of_version_1 = [
            ("memory.limit_in_bytes", "1000\n"),
            ("memory.usage_in_bytes", "990\n"),
        ];
        group("1/old", &of_version_1);
        group(
            "1/old",
            &[("memory.stat", "inactive_file 1\ntotal_inactive_file 90\n")],
        );
        let roots = [root.join("2"), root.join("1")];
        let short = |groups: &str, needed| is_short([&roots[0], &roots[1]], groups, needed);
        let inner = "1:name=systemd:/x\n0::/outer/inner\n";
        assert!(short(inner, 101));
        assert!(!short(inner, 100));
        assert!(!short("0::/\n", 101), "the root has no limit");
        assert!(!short("1:pids:/old\n", 1000), "the controller of something else");
        // Unused files make room.
        assert!(short("4:cpu,memory:/old/none\n0::/\n", 101));
        assert!(!short("4:cpu,memory:/old/none\n0::/\n", 100));
        std::fs::remove_dir_all(&root).expect("it is there");
    }

    #[test]
    fn a_clone_counts_as_committed_memory() {
        let exceeds = |limit: u64, data: u64| {
            let system = format!("CommitLimit:  {limit} kB\nCommitted_AS:  500 kB\n");
            let status = format!("VmData:\t{data} kB\nVmStk:\t100 kB\n");
            exceeds_commitments(system.as_bytes(), status.as_bytes())
        };
        // The memory of the clone, and a quarter of it for the target.
        assert!(!exceeds(1000, 300));
        assert!(exceeds(999, 300));
        assert!(exceeds(1000, 301));
        assert!(exceeds_commitments(b"", b""), "unknown");
    }

    #[test]
    fn an_ordinary_process_is_not_refused() {
        let victim = Victim::that::<1>(|_| {});
        let dir = victim.dir();
        let mappings = regions::mappings_with_flags(&dir).expect("readable");
        let mut memory = ProcessMemory::new(&dir, mappings.clone());
        let preparation = Preparation::of(&dir, &mappings, &mut memory).expect("no reason");
        assert!(preparation.instructions.are_there(&mut memory));
        assert_eq!(preparation.check_again(&mappings), Ok(()));
        let mut changed = mappings.clone();
        changed[0].flags = None;
        assert!(preparation.check_again(&changed).is_err());
        let mut served = mappings;
        served[0].flags.as_mut().expect("known").user_faults = true;
        assert!(preparation.check_again(&served).is_err());
    }

    #[test]
    fn interception_and_sequences_are_refused() {
        assert_eq!(of_dispatch(Some(0)), None);
        assert!(of_dispatch(Some(1)).is_some());
        let victim = Victim::that::<1>(|words| {
            words[0] = map(4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
            poke(words[0] + 8, 1);
        });
        let dir = victim.dir();
        let mut memory = ProcessMemory::new(&dir, regions::mappings(&dir).expect("readable"));
        // The second word is where `rseq_cs` would be.
        let area = victim.words[0];
        assert!(of_sequence(Some(area), &mut memory).is_some());
        assert_eq!(of_sequence(Some(area + 8), &mut memory), None);
        assert_eq!(of_sequence(Some(0), &mut memory), None);
        assert!(of_sequence(None, &mut memory).is_some());
    }
}
