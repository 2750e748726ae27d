//! Dumpers that are killed during a dump.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dumpwright::read::Dump;

use crate::support::dumper::{self, dumpwright};
use crate::support::proc::{self, signal, states, until};
use crate::support::victim::{self, Frames, Victim};

/// How many dumpers must be killed while they work.
const HITS: usize = 50;

/// Pseudo-random numbers, the same in each run (splitmix64, Steele and others 2014).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        limit.mul_f64((z >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

fn start_dumper(pid: u32, options: &[&str], file: &Path) -> Child {
    dumpwright()
        .args(["dump", "--type", "full"])
        .args(options)
        .args(["--pid", &pid.to_string(), "-o"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills dumpers at random moments until enough were killed while they worked. After each, `after`
/// examines the target.
fn kill_dumpers(pid: u32, options: &[&str], seed: u64, mut after: impl FnMut()) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump");
    let started = Instant::now();
    assert!(start_dumper(pid, options, &file).wait().unwrap().success());
    let whole = started.elapsed();
    fs::remove_file(&file).unwrap();

    let mut random = Seeded(seed);
    let mut hits = 0;
    // Dumpers that had finished before they were killed are not counted, but their dumps are
    // examined too.
    for _ in 0..20 * HITS {
        let mut dumper = start_dumper(pid, options, &file);
        std::thread::sleep(random.below(whole));
        dumper.kill().unwrap();
        let status = dumper.wait().unwrap();
        // The helper process of a dumper ends after the dumper, and so releases the target.
        until("the target is released", || {
            proc::status(pid, "TracerPid") == "0" && !states(pid).contains(&'t')
        });
        after();
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        if names.is_empty() {
            assert!(!status.success());
            hits += 1;
        } else {
            // Only a finished dump gets the name.
            assert_eq!(names, ["dump"]);
            dumper::check(&file).unwrap();
            assert_eq!(
                Dump::open(&file)
                    .unwrap()
                    .misc_info()
                    .unwrap()
                    .unwrap()
                    .process_id,
                Some(pid)
            );
            fs::remove_file(&file).unwrap();
        }
        if hits == HITS {
            return;
        }
    }
    panic!("only {hits} dumpers were killed while they worked");
}

#[test]
fn a_dumper_killed_at_any_moment_leaves_the_target_running_and_no_file() {
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &["16"]);
    kill_dumpers(victim.pid(), &[], 1, || victim.ping());
}

#[test]
fn nor_does_a_killed_dumper_leave_a_part_of_a_compressed_dump() {
    let mut victim = Victim::start(&victim::c("big", Frames::Pointers), &["16"]);
    kill_dumpers(victim.pid(), &["--compress", "zstd"], 4, || victim.ping());
}

#[test]
fn so_it_does_one_with_many_threads() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let pid = victim.pid();
    kill_dumpers(pid, &[], 2, || {
        assert!(!states(pid).contains(&'T'), "nor in a job-control stop");
        victim.ping();
    });
}

#[test]
fn a_stopped_target_stays_stopped() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
    let pid = victim.pid();
    let all_stopped = || states(pid).iter().all(|state| *state == 'T');
    signal(pid, libc::SIGSTOP);
    until("it has stopped", all_stopped);
    kill_dumpers(pid, &[], 3, || until("it is stopped again", all_stopped));
    signal(pid, libc::SIGCONT);
    victim.ping();
}
