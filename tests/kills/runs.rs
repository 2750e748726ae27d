//! Runs of the dumper under strace, on a process that checks itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dumpwright::read::Dump;
use tempfile::TempDir;

use crate::points::{self, Extent, Point, Signal};
use crate::support;
use crate::support::child::{KilledOnDrop, Talking};
use crate::support::proc;
use crate::support::volume::Volume;

/// What takes longer hangs. No outcome depends on how fast anything is.
const HANGS: Duration = Duration::from_secs(60);

/// So many harms are enough to look at.
const ENOUGH: usize = 5;

/// What the file holds that `--force` replaces.
const OLD: &[u8] = b"an older dump";

/// Where the dump goes.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// A usual file system.
    Usual,
    /// A volume that lacks these.
    Volume(&'static [&'static str]),
}

const PLACES: &[(Place, &str)] = &[
    (Place::Usual, "a usual file system"),
    (Place::Volume(&["no-links"]), "no links"),
    (Place::Volume(&["no-links", "no-new"]), "renames only"),
];

/// A target, and a folder for its dumps.
struct Bench {
    victim: Talking,
    folder: TempDir,
    volume: Option<Volume>,
    is_forced: bool,
    /// Whether the target is held by a clone.
    clones: bool,
}

/// What came of one signal.
struct Effect {
    /// It ended or stopped the dumper.
    is_effective: bool,
    /// From the signal to the release of the target, if the dumper was ended.
    release: Duration,
}

impl Bench {
    /// `None` without the right to mount a volume.
    fn new(place: Place, is_forced: bool) -> Option<Self> {
        let volume = match place {
            Place::Usual => None,
            Place::Volume(lacks) => Some(Volume::mount(lacks)?),
        };
        let mut victim = Talking::start(&mut Command::new(support::victim::live("checking")));
        let ready = victim.line().expect("the victim ended before it was ready");
        support::victim::parse_ready(&ready);
        Some(Self {
            victim,
            folder: TempDir::new().unwrap(),
            volume,
            is_forced,
            clones: false,
        })
    }

    /// For dumps by a clone.
    fn cloning() -> Self {
        let bench = Self::new(Place::Usual, false).expect("no volume is needed");
        Self {
            clones: true,
            ..bench
        }
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the dump, and of nothing else.
    fn output(&self) -> PathBuf {
        self.volume
            .as_ref()
            .map_or_else(|| self.aside("dumps"), Volume::path)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.output()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Puts the folder into the state before a dump.
    fn prepare(&self) {
        // Else the one before would be read until strace begins its own.
        let _ = fs::remove_file(self.aside("trace"));
        if self.volume.is_none() {
            fs::create_dir_all(self.output()).unwrap();
        }
        for name in self.names() {
            fs::remove_file(self.output().join(name)).unwrap();
        }
        if self.is_forced {
            fs::write(self.output().join("dump"), OLD).unwrap();
        }
    }

    /// Starts a dump under strace, which writes to the file `trace`.
    fn start(&self, options: &[String]) -> KilledOnDrop {
        // A shell starts programs in the background with some signals ignored, and so do we then.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,TERM,TSTP", "strace"]);
        // The guardian of the file is another program, and gets no signal.
        command.args(["-f", "-qq", "-ttt", "--detach-on=execve", "-o"]);
        command.arg(self.aside("trace")).args(options);
        command.arg(support::dumper::dumpwright().get_program());
        command.args(["dump", "--pid", &self.victim.pid().to_string(), "-o"]);
        command.arg(self.output().join("dump"));
        if self.is_forced {
            command.args(["--force", "--sync"]);
        }
        if self.clones {
            command.args(["--hold", "clone"]);
        }
        let stderr = File::create(self.aside("stderr")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(stderr));
        KilledOnDrop(
            command
                .spawn()
                .expect("strace is not installed: cargo xtask readers"),
        )
    }

    /// What strace has written, without the time of each line.
    fn trace(&self) -> String {
        let text = fs::read(self.aside("trace")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut plain = String::new();
        for line in text.lines() {
            // Ids are padded.
            let words = line.trim_start().split_once(' ');
            let words = words.and_then(|(thread, rest)| Some((thread, rest.trim_start().split_once(' ')?)));
            if let Some((thread, (_time, rest))) = words {
                plain.push_str(&format!("{thread} {rest}\n"));
            }
        }
        plain
    }

    /// When the last system call was, which is that of the signal.
    fn time_of_signal(&self) -> Option<SystemTime> {
        let text = fs::read_to_string(self.aside("trace")).ok()?;
        let line = text
            .lines()
            .rfind(|line| line.contains('(') && !line.contains("+++"))?;
        let seconds: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
    }

    fn is_released(&self) -> bool {
        let pid = self.victim.pid();
        proc::status(pid, "TracerPid") == "0" && !proc::states(pid).contains(&'t')
    }

    /// The points of a dump that gets no signal.
    fn points(&self, extent: Extent) -> Vec<Point> {
        self.prepare();
        let status = self.start(&[]).wait().unwrap();
        assert!(status.success(), "{status}");
        points::of(&self.trace(), extent)
    }

    /// One dump that gets a signal.
    ///
    /// # Errors
    /// What is left behind, or harmed.
    fn try_point(&mut self, point: &Point) -> Result<Effect, String> {
        self.prepare();
        let options = [
            "-e".to_owned(),
            format!("trace={},clone3,clone,vfork", point.call),
            "-e".to_owned(),
            format!("inject={point}"),
        ];
        let mut strace = self.start(&options);
        let status = self.finish(&mut strace, point.signal)?;
        let trace = self.trace();
        until("the target is let go", || self.is_released())?;
        let mut effect = Effect {
            is_effective: false,
            release: Duration::ZERO,
        };
        match point.signal {
            Signal::Tstp => effect.is_effective = trace.contains("--- SIGTSTP"),
            _ if status.signal() == Some(point.signal.number()) => {
                effect.is_effective = true;
                let since = self.time_of_signal().and_then(|time| time.elapsed().ok());
                effect.release = since.unwrap_or_default();
            }
            _ => {}
        }
        if status.signal() != Some(point.signal.number()) && !status.success() {
            let stderr = fs::read_to_string(self.aside("stderr")).unwrap_or_default();
            // The calls of the helper process are counted as well. If it is killed, the dump fails.
            let is_told = stderr.contains("the helper process that traces it was killed");
            // The kernel has killed the clone with it, so what was not read yet is missing.
            let is_partial = self.clones && status.code() == Some(3);
            let is_helper = matches!(point.signal, Signal::Kill) && (is_told || is_partial);
            if !is_helper {
                return Err(format!("it ended with {status}: {stderr}"));
            }
            effect.is_effective = true;
        }
        if status.code() == Some(3) {
            // A partial dump lacks what the clone had.
            fs::remove_file(self.output().join("dump")).map_err(|error| error.to_string())?;
            self.judge_files(false, &trace)?;
        } else {
            self.judge_files(status.success(), &trace)?;
        }
        let clones = || clones_of(self.victim.pid());
        until("there is no clone", || clones().is_empty())?;
        proc::assert_released(self.victim.pid());
        self.victim.tell("check\n");
        match self.victim.line().as_deref() {
            Some("whole") => Ok(effect),
            harm => Err(format!("the target says: {harm:?}")),
        }
    }

    /// Waits for the end of a dumper. One that is stopped by a terminal must not hold its target;
    /// it is continued then.
    fn finish(&self, strace: &mut KilledOnDrop, signal: Signal) -> Result<ExitStatus, String> {
        let started = Instant::now();
        let mut is_continued = false;
        loop {
            if let Some(status) = strace.try_wait().unwrap() {
                return Ok(status);
            }
            if started.elapsed() > HANGS {
                return Err(format!("it does not end: {}", self.trace()));
            }
            if signal == Signal::Tstp && !is_continued {
                let trace = self.trace();
                let stopped = trace.lines().find(|line| line.contains("stopped by SIGTSTP"));
                if let Some(pid) = stopped.and_then(|line| line.split(' ').next()) {
                    until("a stopped dumper does not hold its target", || self.is_released())?;
                    proc::signal(pid.parse().unwrap(), libc::SIGCONT);
                    is_continued = true;
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Temporary files are gone as soon as the guardian has seen the end of the dumper. What has
    /// the final name is the older file, or a whole dump.
    fn judge_files(&self, is_success: bool, trace: &str) -> Result<(), String> {
        let is_temporary = |name: &String| name.starts_with(".dumpwright-");
        if is_guardian_hit(trace) {
            // It was killed on its way to execute the guardian.
            let left: Vec<_> = self.names().into_iter().filter(is_temporary).collect();
            if left.len() > 1 {
                return Err(format!("more than one file is left: {left:?}"));
            }
            for name in left {
                let file = self.output().join(name);
                let mode = fs::metadata(&file).unwrap().mode() & 0o777;
                if mode != 0o600 {
                    return Err(format!("a file is left with mode {mode:o}"));
                }
                fs::remove_file(file).unwrap();
            }
        }
        until("temporary files are removed", || {
            !self.names().iter().any(is_temporary)
        })?;
        // An empty one is about to be removed.
        let file = self.output().join("dump");
        until("there is no empty file", || {
            fs::metadata(&file).map_or(true, |found| found.len() > 0)
        })?;
        let names = self.names();
        match fs::read(&file) {
            Err(_) if is_success || self.is_forced || !names.is_empty() => {
                Err(format!("the folder has {names:?}"))
            }
            Err(_) => Ok(()),
            Ok(_) if names.len() != 1 => Err(format!("the folder has {names:?}")),
            Ok(bytes) if bytes == OLD && self.is_forced && !is_success => Ok(()),
            Ok(bytes) => {
                let dump = Dump::from_bytes(bytes).map_err(|error| error.to_string())?;
                let violations = dumpwright::read::check(&dump).map_err(|error| error.to_string())?;
                match &violations[..] {
                    [] => Ok(()),
                    [first, ..] => Err(format!("the dump is damaged: {first}")),
                }
            }
        }
    }
}

/// The processes that have the program and the addresses of this one, and that are no zombies: its
/// clones, and children that it is just starting.
fn clones_of(pid: u32) -> Vec<u32> {
    let address = |pid: u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        maps.split('-').next().map(str::to_owned)
    };
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = (program(pid), address(pid));
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|other| *other != pid && (program(*other), address(*other)) == own)
        .collect()
}

/// Waits until a condition is true that the system brings about.
fn until(what: &str, mut condition: impl FnMut() -> bool) -> Result<(), String> {
    let started = Instant::now();
    while !condition() {
        if started.elapsed() > HANGS {
            return Err(format!("not within {HANGS:?}: {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether the process that was about to execute the guardian was killed.
fn is_guardian_hit(trace: &str) -> bool {
    let mut main = None;
    let mut is_starting = false;
    let mut guardian = None;
    for line in trace.lines() {
        let thread = line.split(' ').next();
        // Lines of the process that is being started come between the two halves of `clone3`.
        if thread != *main.get_or_insert(thread) || !line.contains("clone") {
            continue;
        }
        is_starting = line.contains("CLONE_VFORK") || (is_starting && line.contains("resumed>"));
        if is_starting && let Some((_, pid)) = line.rsplit_once(" = ") {
            guardian = Some(pid.to_owned());
        }
    }
    guardian.is_some_and(|pid| {
        trace
            .lines()
            .any(|line| line.starts_with(&format!("{pid} ")) && line.contains("+++ killed by"))
    })
}

/// What came of many signals.
#[derive(Default)]
struct Tally {
    effective: usize,
    without_effect: usize,
    longest: Duration,
    harm: Vec<String>,
}

/// Tries all points, with and without `--force`, in all places.
///
/// # Panics
///
/// When something was left behind or harmed.
pub fn assert_all_harmless(extent: Extent) {
    let mut total = Tally::default();
    for (place, name) in PLACES {
        for is_forced in [false, true] {
            let Some(bench) = Bench::new(*place, is_forced) else {
                continue;
            };
            let points = bench.points(extent);
            drop(bench);
            let tally = Mutex::new(Tally::default());
            let next = AtomicUsize::new(0);
            let workers = std::thread::available_parallelism().map_or(1, usize::from);
            std::thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| {
                        let mut bench = Bench::new(*place, is_forced).expect("the right to mount");
                        while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let result = bench.try_point(point);
                            let mut tally = tally.lock().unwrap();
                            match result {
                                Ok(effect) if effect.is_effective => {
                                    tally.effective += 1;
                                    tally.longest = tally.longest.max(effect.release);
                                }
                                Ok(_) => tally.without_effect += 1,
                                Err(harm) => {
                                    println!("HARM {point}: {harm}");
                                    tally.harm.push(format!("{name} {point}: {harm}"));
                                    if tally.harm.len() >= ENOUGH {
                                        return;
                                    }
                                    drop(tally);
                                    bench = Bench::new(*place, is_forced).expect("the right to mount");
                                }
                            }
                        }
                    });
                }
            });
            let tally = tally.into_inner().unwrap();
            println!(
                "{name}{}: {} effective signals, {} without effect, target released within {:.1} ms, {} did harm",
                if is_forced { ", --force" } else { "" },
                tally.effective,
                tally.without_effect,
                tally.longest.as_secs_f64() * 1000.0,
                tally.harm.len()
            );
            total.effective += tally.effective;
            total.longest = total.longest.max(tally.longest);
            total.harm.extend(tally.harm);
        }
    }
    println!(
        "{} effective signals in all, target released within {:.1} ms, {} did harm",
        total.effective,
        total.longest.as_secs_f64() * 1000.0,
        total.harm.len()
    );
    assert!(total.harm.is_empty(), "{}", total.harm.join("\n"));
}

/// Tries all points of dumps by a clone.
///
/// # Panics
///
/// When the target was harmed, or a clone is left.
pub fn assert_clones_harmless(extent: Extent) {
    let mut bench = Bench::cloning();
    let points = bench.points(extent);
    let (mut effective, mut harm) = (0, Vec::new());
    for point in &points {
        match bench.try_point(point) {
            Ok(effect) => effective += usize::from(effect.is_effective),
            Err(found) => {
                println!("HARM {point}: {found}");
                harm.push(format!("{point}: {found}"));
                if harm.len() >= ENOUGH {
                    break;
                }
                bench = Bench::cloning();
            }
        }
    }
    println!(
        "clone: {} signals, {effective} effective, {} did harm",
        points.len(),
        harm.len()
    );
    assert!(harm.is_empty(), "{}", harm.join("\n"));
    assert!(effective > 0, "no signal came in time");
}

#[test]
fn a_guardian_that_is_hit_is_seen_in_the_trace() {
    let trace = "\
20 rt_sigaction(SIGBUS, {sa_handler=0x1}, {sa_handler=SIG_DFL}, 8) = 0
20 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x1000}, 88 <unfinished ...>
21 rt_sigaction(SIGHUP, NULL, {sa_handler=SIG_DFL}, 8) = 0
21 rt_sigaction(SIGINT, NULL, {sa_handler=SIG_DFL}, 8) = 0
21 +++ killed by SIGKILL +++
20 <... clone3 resumed>) = 21
20 clone3({flags=CLONE_VM|CLONE_THREAD} => {parent_tid=[22]}, 88) = 22
22 +++ killed by SIGKILL +++
20 +++ killed by SIGKILL +++
";
    assert!(is_guardian_hit(trace));
    let without = trace.replace("21 +++ killed by SIGKILL +++\n", "");
    assert!(
        !is_guardian_hit(&without),
        "a thread of the dumper is not the guardian"
    );
}
