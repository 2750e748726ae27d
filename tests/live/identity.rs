//! The identity of a process and its use of memory: Token, ProcessVmCounters, SystemMemoryInfo.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use crate::capture::{Capture, steady};
use crate::support::proc::{self, Stat};
use crate::support::victim::{self, Victim};

#[derive(Deserialize)]
struct IdentityTruth {
    pid: u32,
    main: Who,
    other: Who,
}

/// The kernel's answers to one thread.
#[derive(Deserialize)]
struct Who {
    tid: u32,
    user: u32,
    group: u32,
    groups: BTreeSet<u32>,
}

impl Who {
    /// Its user, its groups in their order, and its own group.
    fn identifiers(&self) -> (String, BTreeSet<String>, String) {
        let group = |id: &u32| format!("S-1-22-2-{id}");
        let groups = self.groups.iter().chain([&self.group]).map(group).collect();
        (format!("S-1-22-1-{}", self.user), groups, group(&self.group))
    }
}

/// As root, the victim has one thread that acts as another user. Otherwise all its threads act as
/// the same user.
#[test]
fn tokens_are_what_the_kernel_tells_the_threads() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("identity"), &nothing);
    let truth: IdentityTruth = victim.truth();
    let capture = Capture::of(victim.pid(), "with-token-information");
    capture.check();
    let tokens = capture.dump.tokens().unwrap();
    let mut expected = vec![(truth.pid, &truth.main)];
    if truth.other.user != truth.main.user {
        expected.push((truth.other.tid, &truth.other));
    }
    assert_eq!(proc::is_root(), expected.len() == 2, "root can change its user");
    assert_eq!(tokens.len(), expected.len(), "{tokens:?}");
    for (token, (id, who)) in tokens.iter().zip(expected) {
        assert_eq!((token.id, token.session, token.handle), (id, Some(0), 0));
        let (user, groups, own) = who.identifiers();
        assert_eq!(token.user.as_deref(), Some(&*user));
        assert_eq!(token.primary_group.as_deref(), Some(&*own));
        assert_eq!(token.groups.len(), groups.len(), "each group once");
        assert_eq!(
            token
                .groups
                .iter()
                .map(|group| group.sid.clone())
                .collect::<BTreeSet<_>>(),
            groups
        );
    }
    assert_eq!(truth.main.tid, truth.pid);
    let without = Capture::of(victim.pid(), "normal");
    assert_eq!(without.dump.tokens().unwrap(), []);
    victim.ping();
}

/// Lines `NAME: NUMBER kB` of a text in `/proc`, in bytes.
fn kibibytes(path: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let number: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some((name.to_owned(), number * 1024))
    });
    lines.collect()
}

/// The victim waits all the time, so the values in `/proc` are the same before, during and after
/// the dump.
#[test]
fn counters_are_those_of_proc() {
    let mut victim = steady(&victim::live("plain"));
    let pid = victim.pid();
    let status = format!("/proc/{pid}/status");
    let faults = || {
        let stat = Stat::of(pid).unwrap();
        stat.number(10) + stat.number(12)
    };
    let (before, faults_before) = (kibibytes(&status), faults());
    let capture = Capture::of(pid, "normal");
    let (after, faults_after) = (kibibytes(&status), faults());
    capture.check();
    let counters = capture.dump.vm_counters().unwrap().expect("Linux counts");
    assert_eq!((counters.revision, counters.flags), (2, 0xf));
    for (name, line) in [
        ("PeakWorkingSetSize", "VmHWM"),
        ("WorkingSetSize", "VmRSS"),
        ("PeakVirtualSize", "VmPeak"),
        ("VirtualSize", "VmSize"),
        ("PrivateWorkingSetSize", "RssAnon"),
        ("SharedCommitUsage", "RssShmem"),
    ] {
        let span = before[line].min(after[line])..=before[line].max(after[line]);
        assert!(
            span.contains(&counters.numbers[name]),
            "{name}: {:?} {span:?}",
            counters.numbers[name]
        );
    }
    let committed = |lines: &BTreeMap<String, u64>| lines["RssAnon"] + lines["VmSwap"];
    let span = committed(&before).min(committed(&after))..=committed(&before).max(committed(&after));
    for name in ["PagefileUsage", "PeakPagefileUsage", "PrivateUsage"] {
        assert!(span.contains(&counters.numbers[name]), "{name}");
    }
    let counted = counters.numbers["PageFaultCount"];
    assert!(
        (faults_before..=faults_after).contains(&counted),
        "{faults_before} {counted} {faults_after}"
    );
    victim.ping();
}

#[test]
fn the_machine_has_the_memory_that_proc_shows() {
    let number = |name: &str| -> u64 {
        let text = fs::read_to_string("/proc/vmstat").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    };
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("plain"), &nothing);
    let before = number("pgfault");
    let capture = Capture::of(victim.pid(), "normal");
    let after = number("pgfault");
    let memory = capture.dump.system_memory().unwrap().expect("Linux counts");
    let meminfo = kibibytes("/proc/meminfo");
    let numbers = &memory.numbers;
    let page = numbers["BasicInfo.PageSize"];
    assert_eq!((memory.revision, page), (2, 4096));
    assert_eq!(
        numbers["BasicInfo.NumberOfPhysicalPages"],
        meminfo["MemTotal"] / page
    );
    let online = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(
        numbers["BasicInfo.NumberOfProcessors"] >= online,
        "this test may be confined to some of them"
    );
    let mask = numbers["BasicInfo.ActiveProcessorsAffinityMask"];
    assert_eq!(
        u64::from(mask.count_ones()),
        numbers["BasicInfo.NumberOfProcessors"].min(64)
    );
    // Both wrap around at 32 bits.
    let since = (numbers["PerfInfo.PageFaultCount"] as u32).wrapping_sub(before as u32);
    assert!(
        u64::from(since) <= after - before,
        "{before} {} {after}",
        numbers["PerfInfo.PageFaultCount"]
    );
    // Free memory and the address space, within limits that always hold.
    assert!(numbers["BasicPerfInfo.AvailablePages"] <= numbers["BasicInfo.NumberOfPhysicalPages"]);
    assert!(numbers["BasicInfo.MinimumUserModeAddress"] < numbers["BasicInfo.MaximumUserModeAddress"]);
    assert_eq!(numbers["BasicInfo.MaximumUserModeAddress"], 0x7fff_ffff_efff);
    victim.ping();
}
