//! The lists that a dump has on request: handles, regions, times of threads.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::Deserialize;

use crate::capture::Capture;
use crate::support::proc::{self, Stat, until};
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};

const NOTHING: [&str; 0] = [];

#[derive(Deserialize)]
struct HandlesTruth {
    handles: Vec<HandleTruth>,
}

#[derive(Deserialize)]
struct HandleTruth {
    number: u64,
    kind: String,
    access: String,
}

#[test]
fn handles_have_type_name_and_access() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&victim::live("handles"), &[folder.path()]);
    let truth: HandlesTruth = victim.truth();
    let capture = Capture::of(victim.pid(), "with-handle-data");
    capture.check();
    let handles = capture.dump.handles().unwrap();
    let numbers: Vec<u64> = handles.iter().map(|handle| handle.handle).collect();
    let mut own: Vec<u64> = fs::read_dir(format!("/proc/{}/fd", victim.pid()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    own.sort_unstable();
    assert_eq!(
        numbers, own,
        "every descriptor once, those that it inherited included"
    );

    for own in &truth.handles {
        let what = format!("descriptor {}, {}", own.number, own.kind);
        let handle = handles.iter().find(|handle| handle.handle == own.number).unwrap();
        assert_eq!(handle.type_name.as_deref(), Some(own.kind.as_str()), "{what}");
        let path = format!("/proc/{}/fd/{}", victim.pid(), own.number);
        let name = fs::read_link(&path).unwrap();
        let found = handle
            .object_name
            .as_deref()
            .unwrap_or_else(|| panic!("{what} has no name"));
        if own.kind == "Socket" {
            // The name of a socket may be followed by its connection.
            assert!(found.starts_with(name.to_str().unwrap()), "{what}: {found}");
        } else {
            assert_eq!(found, name.to_str().unwrap(), "{what}");
        }
        // FILE_GENERIC_READ, FILE_GENERIC_WRITE, both (winnt.h).
        let access = match own.access.as_str() {
            "r" => 0x0012_0089,
            "w" => 0x0012_0116,
            "rw" => 0x0012_019F,
            _ => 0,
        };
        assert_eq!(handle.granted_access, access, "{what}");
        assert_eq!(
            handle.attributes,
            fs::metadata(&path).unwrap().mode(),
            "{what}: st_mode"
        );
        assert_eq!(handle.handle_count, 1, "{what}");
    }
    victim.ping();
}

/// The regions cover every mapping of `maps`, without a gap and with its protection. Free addresses
/// are not listed as used.
#[test]
fn regions_are_the_mappings() {
    const USER_END: u64 = 0x7fff_ffff_f000;
    const COMMIT: u32 = 0x1000;
    const RESERVE: u32 = 0x2000;
    const FREE: u32 = 0x1_0000;
    const PRIVATE: u32 = 0x2_0000;
    const MAPPED: u32 = 0x4_0000;
    const IMAGE: u32 = 0x100_0000;
    let folder = tempfile::tempdir().unwrap();
    for types in ["with-full-memory-info", "with-full-memory-info,with-full-memory"] {
        let sub = folder.path().join(types);
        fs::create_dir(&sub).unwrap();
        let victim = Victim::start(&victim::live("memory"), &[&sub]);
        let capture = Capture::of(victim.pid(), types);
        capture.check();
        let maps = proc::maps(victim.pid());
        let modules = capture.dump.modules().unwrap();
        let regions = capture.dump.memory_regions().unwrap();
        assert!(
            regions.is_sorted_by(|a, b| a.base + a.size <= b.base),
            "ascending and disjoint"
        );
        let taken = || regions.iter().filter(|region| region.state != FREE);
        let mapped: u64 = maps
            .iter()
            .filter(|mapping| mapping.start < USER_END)
            .map(|mapping| mapping.end - mapping.start)
            .sum();
        assert_eq!(
            taken().map(|region| region.size).sum::<u64>(),
            mapped,
            "as much as is mapped"
        );

        for mapping in maps.iter().filter(|mapping| mapping.start < USER_END) {
            let mut at = mapping.start;
            for region in taken()
                .filter(|region| region.base < mapping.end && region.base + region.size > mapping.start)
            {
                assert!(region.base <= at, "{mapping:?}: nothing at {at:#x}");
                at = region.base + region.size;
                let protect = match &mapping.access[..3] {
                    "---" => 0x01,
                    "r--" => 0x02,
                    "rw-" | "-w-" => 0x04,
                    "--x" => 0x10,
                    "r-x" => 0x20,
                    "rwx" | "-wx" => 0x40,
                    other => panic!("{other}"),
                };
                // Reserved regions have no protection.
                let expected = if region.state == RESERVE { 0 } else { protect };
                assert_eq!(region.protect, expected, "{mapping:?}");
                if region.state == RESERVE {
                    assert_eq!(protect, 0x01, "{mapping:?}: what is accessible is committed");
                } else {
                    assert_eq!(region.state, COMMIT, "{mapping:?}");
                }
                let in_module = modules
                    .iter()
                    .any(|module| (module.base..module.end()).contains(&region.base));
                let kind = match () {
                    () if in_module => IMAGE,
                    () if mapping.access.ends_with('s') || mapping.name.starts_with('/') => MAPPED,
                    () => PRIVATE,
                };
                // A private mapping of /dev/zero, and the kernel's own pages, count as ordinary
                // memory.
                if mapping.name != "/dev/zero" {
                    assert_eq!(region.kind, kind, "{mapping:?}");
                }
                assert!(region.allocation_base <= region.base);
            }
            assert!(at >= mapping.end, "{mapping:?}: nothing at {at:#x}");
        }
    }
}

#[test]
fn threads_have_their_times() {
    const TICKS: u64 = 100;
    const SECOND: u64 = 10_000_000;
    /// The year 1970 as a FILETIME, which counts from 1601.
    const EPOCH: u64 = 116_444_736_000_000_000;
    const STILL_ACTIVE: u32 = 0x103;
    let victim = Victim::start(&victim::c("threads", Frames::NoPointers), &NOTHING);
    let pid = victim.pid();
    let ids = proc::task_ids(pid);
    let truth: ThreadsTruth = victim.truth();
    // The thread that spins spends its time in user code. As soon as it has run for a while, the
    // two can be distinguished.
    let spins = truth.registers.tid;
    until("a thread has run for a while", || {
        Stat::of(format!("{pid}/task/{spins}")).unwrap().number(14) >= 20
    });
    let run_times = || -> Vec<u64> { ids.iter().map(|id| nanoseconds(pid, *id)).collect() };
    let starts: Vec<u64> = ids
        .iter()
        .map(|id| Stat::of(format!("{pid}/task/{id}")).unwrap().number(22))
        .collect();
    let before = run_times();
    let capture = Capture::of(pid, "with-thread-info");
    let after = run_times();
    let infos = capture.dump.thread_infos().unwrap();
    assert_eq!(infos.iter().map(|info| info.thread_id).collect::<Vec<_>>(), ids);

    let boot = fs::read_to_string("/proc/stat").unwrap();
    let boot: u64 = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .unwrap()
        .parse()
        .unwrap();
    for (index, info) in infos.iter().enumerate() {
        let started = EPOCH + (boot * TICKS + starts[index]) * (SECOND / TICKS);
        assert!(
            info.create_time.abs_diff(started) <= 2 * SECOND,
            "{info:?} {started}"
        );
        let ran = info.user_time + info.kernel_time;
        assert!(
            (before[index] / 100..=after[index] / 100).contains(&ran),
            "{info:?}: {} to {} ns",
            before[index],
            after[index]
        );
        assert!(
            info.thread_id != spins || info.user_time > info.kernel_time,
            "{info:?}"
        );
        let path = format!("/proc/{pid}/task/{}/status", info.thread_id);
        let status = fs::read_to_string(path).unwrap();
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed:"))
            .unwrap();
        let allowed: String = allowed.trim().replace(',', "");
        let low = &allowed[allowed.len().saturating_sub(16)..];
        assert_eq!(info.affinity, u64::from_str_radix(low, 16).unwrap());
        assert_eq!(
            (info.dump_flags, info.dump_error, info.exit_status),
            (0, 0, STILL_ACTIVE)
        );
        assert_eq!((info.exit_time, info.start_address), (0, 0));
    }
}

/// How long a thread has run, in nanoseconds: the first number of `schedstat` (the kernel's
/// Documentation/scheduler/sched-stats.rst).
fn nanoseconds(pid: u32, tid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}
