//! Runs of the dumper under `tests/programs/injecting.c`, on a process in which nothing moves.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::contents::{self, Excluded, Process};
use crate::judge::{Ending, Reference, judge};
use crate::points::{Extent, Point, Uses};
use crate::support;
use crate::support::child::Talking;
use crate::support::proc::{assert_released, until};

/// A started program of a dumper that has ended ends by itself after two minutes.
const LEFT_RUNNING: Duration = Duration::from_secs(100);

/// Full, with every other flag that a live process has.
const EVERY_FLAG: &str = "full,with-process-thread-data,with-full-auxiliary-state,with-module-headers";

/// The memory goes through threads that compress it, and the header is written last.
const COMPRESSED: &str = "full,with-memory-compressed";

/// The target of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A running process: `--pid`.
    Running,
    /// A program that the dumper starts and that crashes: `--exec`.
    Crashing,
    /// A program that the dumper starts and dumps after a time: `--exec --after`.
    Waiting,
}

/// The dumps that are tried.
const DUMPS: [(Source, &str); 6] = [
    (Source::Running, "normal"),
    (Source::Running, "full"),
    (Source::Running, EVERY_FLAG),
    (Source::Running, COMPRESSED),
    (Source::Crashing, "normal"),
    (Source::Waiting, EVERY_FLAG),
];

/// A target, with a folder for its dumps.
struct Bench {
    source: Source,
    types: &'static str,
    /// The target that runs.
    victim: Option<Talking>,
    folder: TempDir,
}

impl Bench {
    fn new(source: Source, types: &'static str) -> Self {
        let victim = (source == Source::Running).then(|| {
            let mut command = Command::new(support::victim::live("parked"));
            // Else the kernel writes to a thread's memory which processor the thread runs on.
            command.env("GLIBC_TUNABLES", "glibc.pthread.rseq=0");
            let mut victim = Talking::start(&mut command);
            let ready = victim.line().expect("the victim ended before it was ready");
            support::victim::parse_ready(&ready);
            victim
        });
        let mut bench = Self {
            source,
            types,
            victim,
            folder: TempDir::new().unwrap(),
        };
        // The first check touches pages that later ones do not change.
        bench.assert_unharmed();
        bench
    }

    /// The target runs, nobody traces it, and its registers and memory are what they were.
    fn assert_unharmed(&mut self) {
        let Some(victim) = &mut self.victim else {
            return;
        };
        let pid = victim.pid();
        until("the target is let go", || {
            support::proc::status(pid, "TracerPid") == "0" && !support::proc::states(pid).contains(&'t')
        });
        assert_released(pid);
        victim.tell("check\n");
        assert_eq!(victim.line().as_deref(), Some("whole"), "the target's own check");
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An empty folder for one dump.
    fn emptied(&self) -> PathBuf {
        let folder = self.place("dumps");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        folder
    }

    /// Dumps the target while `injecting` does what these words say. Returns its record, too.
    fn dump(&self, words: &[&str], folder: &Path) -> (Output, String) {
        let record = self.place("record");
        let mut command = Command::new(support::victim::helping("injecting"));
        command.arg(&record).args(words);
        if self.source != Source::Running {
            command.arg("still");
        }
        command.arg("--").arg(support::dumper::dumpwright().get_program());
        command.args(["dump", "--json", "--type", self.types, "-o"]);
        command.arg(folder.join("dump.dmp"));
        if self.types == "full" {
            command.arg("--sync");
        }
        let still = || support::victim::bare("still");
        match (&self.victim, self.source) {
            (Some(victim), _) => command.args(["--pid", &victim.pid().to_string()]),
            (None, Source::Crashing) => command
                .args(["--exec", "--after", "never", "--"])
                .arg(still())
                .arg("crash"),
            // `injecting` ends the wait.
            (None, _) => command
                .args(["--exec", "--after", "3600000", "--"])
                .arg(still())
                .arg("wait"),
        };
        command.current_dir("/");
        let output = support::run(&mut command);
        (output, fs::read_to_string(record).unwrap())
    }

    /// A dump without a fault. The first one makes the kernel read pages of files, so it is the
    /// second that counts.
    fn reference(&self, excluded: &Excluded) -> Reference {
        let process = match self.source {
            Source::Running => Process::Same,
            Source::Crashing | Source::Waiting => Process::New,
        };
        let take = || {
            let folder = self.emptied();
            let (output, _) = self.dump(&["uses"], &folder);
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let fields = contents::of(&folder.join("dump.dmp"), excluded, process).unwrap();
            Reference {
                fields,
                report: serde_json::from_slice(&output.stdout).unwrap(),
                process,
            }
        };
        take();
        let reference = take();
        let again = take();
        assert_eq!(
            contents::differences(&reference.fields, &again.fields),
            Vec::<String>::new(),
            "two dumps of an unchanged process differ in fields that docs/faults.md does not list"
        );
        reference
    }

    /// The system calls of a run without a fault.
    fn uses(&self) -> Uses {
        let (output, record) = self.dump(&["uses"], &self.emptied());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        Uses::of(&record)
    }

    /// One fault; `None` if it did not come to it.
    fn try_point(
        &self,
        point: &Point,
        reference: &Reference,
        excluded: &Excluded,
    ) -> Option<Result<Ending, String>> {
        let folder = self.emptied();
        let started = Instant::now();
        let (output, record) = self.dump(&point.injection(), &folder);
        // Its standard error is open as long as a program runs that the dumper has started.
        if started.elapsed() > LEFT_RUNNING {
            return Some(Err("it left the program running".to_owned()));
        }
        record
            .contains("injected")
            .then(|| judge(point, &output, &folder, reference, excluded))
    }
}

/// What came of many points.
#[derive(Default)]
struct Tally {
    endings: BTreeMap<Ending, usize>,
    short: usize,
    untrue: Vec<String>,
}

/// Tries the points of all dumps, on as many targets at once as there are processors.
///
/// # Panics
///
/// When a result is not true, or a target was harmed.
pub fn assert_all_true(extent: Extent) {
    let excluded = Excluded::load("Fields that are not compared");
    let (mut untrue, mut total) = (0_usize, 0_usize);
    // Only dumps of this type, for a person who changes what belongs to it.
    let only = std::env::var("DUMPWRIGHT_FAULTS_OF").ok();
    for (source, types) in DUMPS {
        if only.as_deref().is_some_and(|only| only != types) {
            continue;
        }
        // Every call of it is one of a dump with more flags.
        if (extent, source, types) == (Extent::Part, Source::Running, "full") {
            continue;
        }
        let started = Instant::now();
        let mut points = Bench::new(source, types).uses().points(extent);
        if (extent, types) == (Extent::Part, COMPRESSED) {
            points.retain(Point::is_of_compression);
        }
        println!("{source:?} {types}: {} points", points.len());
        let tally = Mutex::new(Tally::default());
        let next = AtomicUsize::new(0);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let mut bench = Bench::new(source, types);
                    let reference = bench.reference(&excluded);
                    while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let Some(result) = bench.try_point(point, &reference, &excluded) else {
                            continue;
                        };
                        bench.assert_unharmed();
                        let mut tally = tally.lock().unwrap();
                        tally.short += usize::from(point.effect == "short");
                        match result {
                            Ok(ending) => *tally.endings.entry(ending).or_default() += 1,
                            Err(what) => {
                                let what = format!("{source:?} {types} {point}: {what}");
                                println!("UNTRUE {what}");
                                tally.untrue.push(what);
                            }
                        }
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap();
        let fired = tally.endings.values().sum::<usize>() + tally.untrue.len();
        println!(
            "{source:?} {types}: {fired} of {} points took effect, {} of them short, {:?}, untrue {}, {} s",
            points.len(),
            tally.short,
            tally.endings,
            tally.untrue.len(),
            started.elapsed().as_secs()
        );
        // How often some calls are used depends on how threads meet, but not of most.
        assert!(fired * 4 >= points.len() * 3, "few points took effect");
        total += fired;
        untrue += tally.untrue.len();
    }
    println!("{total} points in all, {untrue} untrue");
    assert!(untrue == 0, "{untrue} of {total} results are not true");
}
