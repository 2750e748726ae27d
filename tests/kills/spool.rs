//! Writers and cleaners of a spool that are killed.
//!
//! `strace` kills a command at one of its system calls, of those from the first one that has to do
//! with the spool. All dumps of the scenario have the same bytes, which are known.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use dumpwright::spool::Spool;
use tempfile::TempDir;

use crate::support;
use crate::support::dumper::dumpwright;

/// The settings of the spools. The rates make writers keep counters.
const SETTINGS: &str = "keep-free = 0\nmax-rate = \"10000/h\"\n";

/// What is done when the kill comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// A dump for which there is room.
    Add,
    /// A dump for which the oldest has to make room.
    Replace,
    /// Cleaning after limits were lowered and a writer was killed.
    Clean,
    /// The removal of one dump.
    Remove,
    /// The repair of a record.
    Rebuild,
}

const ACTS: [Act; 5] = [Act::Add, Act::Replace, Act::Clean, Act::Remove, Act::Rebuild];

/// How many dumps there are before.
const BEFORE: usize = 3;

impl Act {
    /// How many dumps are kept.
    fn limit(self) -> usize {
        match self {
            Self::Add => BEFORE + 1,
            Self::Replace | Self::Remove | Self::Rebuild => BEFORE,
            Self::Clean => 1,
        }
    }

    /// How many of the oldest dumps may be gone afterwards.
    fn may_remove(self) -> usize {
        match self {
            Self::Add | Self::Rebuild => 0,
            Self::Replace | Self::Remove => 1,
            Self::Clean => BEFORE - 1,
        }
    }

    fn may_add(self) -> usize {
        match self {
            Self::Add | Self::Replace => 1,
            Self::Clean | Self::Remove | Self::Rebuild => 0,
        }
    }
}

fn scenario() -> PathBuf {
    support::repository().join("testdata/cases/plain")
}

/// `dumpwright dump --spool FOLDER` for the scenario.
fn writer(folder: &Path) -> Command {
    let mut command = dumpwright();
    command.args(["dump", "--json", "--scenario"]);
    command
        .arg(scenario().join("scenario.toml"))
        .arg("--spool")
        .arg(folder);
    command
}

/// `dumpwright spool clean FOLDER`.
fn cleaner(folder: &Path) -> Command {
    let mut command = dumpwright();
    command.args(["spool", "clean"]).arg(folder);
    command
}

/// The dumps in a folder, with their bytes, by name.
fn dumps(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let names = names.filter(|name| name.ends_with(".dmp"));
    names
        // Another process may remove one.
        .filter_map(|name| fs::read(folder.join(&name)).ok().map(|bytes| (name, bytes)))
        .collect()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Fails unless each dump in the folder is whole.
fn assert_whole(folder: &Path, golden: &[u8]) -> Result<(), String> {
    let damaged = dumps(folder).into_iter().find(|(_, bytes)| bytes != golden);
    damaged.map_or(Ok(()), |(name, bytes)| {
        Err(format!("{name} has {} bytes, and they differ", bytes.len()))
    })
}

/// Cleans, and fails if something is left that is neither a dump nor its record, or if a dump has
/// no valid record.
fn assert_recovers(folder: &Path) -> Result<(), String> {
    let text = |error: dumpwright::spool::SpoolError| error.to_string();
    let spool = Spool::open(folder).map_err(text)?;
    spool.clean().map_err(text)?;
    let allowed = ["spool.toml", ".spool-lock", ".spool-counters.json"];
    let mut left = names(folder);
    left.retain(|name| !allowed.contains(&&**name));
    for entry in spool.entries().map_err(text)? {
        let problems = spool.verify(&entry.name).map_err(text)?;
        if let Some(problem) = problems.first() {
            return Err(format!("{}: {problem}", entry.name));
        }
        left.remove(&entry.name);
        left.remove(&format!("{}.json", entry.name));
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("the folder has also {left:?}")),
    }
}

/// Fails unless the next writer is admitted. The oldest dump may make room for it.
fn assert_usable(folder: &Path) -> Result<(), String> {
    let reserved = Spool::open(folder).and_then(|spool| spool.reserve("next", ".dmp", 1));
    reserved.map(drop).map_err(|error| error.to_string())
}

/// A spool with dumps, from which those of the tries are copied.
struct Model {
    folder: TempDir,
    golden: Vec<u8>,
    /// The names of the dumps, oldest first.
    dumps: Vec<String>,
}

impl Model {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("spool.toml"), SETTINGS).unwrap();
        for _ in 0..BEFORE {
            support::run_well(&mut writer(folder.path()));
        }
        let golden = fs::read(scenario().join("dump.dmp")).unwrap();
        assert_whole(folder.path(), &golden).unwrap();
        let dumps: Vec<_> = dumps(folder.path()).into_keys().collect();
        assert_eq!(dumps.len(), BEFORE);
        Self {
            folder,
            golden,
            dumps,
        }
    }

    /// Makes a spool for one try.
    fn copy(&self, act: Act) -> TempDir {
        let copy = TempDir::new().unwrap();
        for name in names(self.folder.path()) {
            fs::copy(self.folder.path().join(&name), copy.path().join(&name)).unwrap();
        }
        let at = |name: &str| copy.path().join(name);
        for (age, name) in self.dumps.iter().rev().enumerate() {
            let file = File::options().write(true).open(at(name)).unwrap();
            let age = Duration::from_secs(60 * (1 + age as u64));
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        fs::write(
            at("spool.toml"),
            format!("{SETTINGS}keep-count = {}", act.limit()),
        )
        .unwrap();
        match act {
            Act::Clean => {
                fs::write(at(".spool-reserved-01234567-99"), "").unwrap();
                fs::write(at(".spool-new-01234567"), "half").unwrap();
                fs::write(at("a.dw-01234567.dmp.json"), "{}").unwrap();
            }
            Act::Rebuild => fs::write(at(&format!("{}.json", self.dumps[0])), "{").unwrap(),
            _ => {}
        }
        copy
    }

    fn command(&self, act: Act, folder: &Path) -> Command {
        let spool = |word: &str| {
            let mut command = dumpwright();
            command.args(["spool", word]).arg(folder);
            command
        };
        match act {
            Act::Add | Act::Replace => writer(folder),
            Act::Clean => cleaner(folder),
            Act::Remove => {
                let mut command = spool("rm");
                command.arg(&self.dumps[0]);
                command
            }
            Act::Rebuild => {
                let mut command = spool("verify");
                command.arg("--rebuild");
                command
            }
        }
    }

    /// Runs a command under strace, which writes to the file `trace`.
    fn traced(command: &Command, options: &[String], trace: &Path) -> Command {
        let mut strace = Command::new("strace");
        strace.args(["-qq", "-o"]).arg(trace).args(options);
        strace.arg(command.get_program()).args(command.get_args());
        strace
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        strace
    }

    /// The system calls of an act from the first one that has to do with the spool: the name of
    /// each one, and how often it was used until then.
    fn points(&self, act: Act) -> Vec<(String, usize)> {
        let folder = self.copy(act);
        let aside = TempDir::new().unwrap();
        let trace = aside.path().join("trace");
        let command = self.command(act, folder.path());
        let output = Self::traced(&command, &[], &trace)
            .output()
            .expect("strace is installed");
        assert!(output.status.success(), "{act:?}: {output:?}");
        let text = fs::read_to_string(&trace).unwrap();
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        let mut points = Vec::new();
        let path = format!("\"{}\"", folder.path().display());
        for line in text.lines() {
            let Some((call, rest)) = line.split_once('(') else {
                continue;
            };
            let count = uses.entry(call).or_default();
            *count += 1;
            let is_of_spool = call == "openat" || call == "open" || call == "mkdir";
            if !points.is_empty() || (is_of_spool && rest.contains(&path)) {
                points.push((call.to_owned(), *count));
            }
        }
        // The calls that end it.
        points.retain(|(call, _)| call != "exit_group");
        assert!(points.len() > 10, "{act:?}: {points:?}");
        points
    }

    /// Kills an act at a point. Returns whether the kill came in time.
    fn try_point(&self, act: Act, (call, when): &(String, usize)) -> Result<bool, String> {
        let folder = self.copy(act);
        let aside = TempDir::new().unwrap();
        let options = [
            "-e".to_owned(),
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:signal=KILL:when={when}"),
        ];
        let command = self.command(act, folder.path());
        let output = Self::traced(&command, &options, &aside.path().join("trace"))
            .output()
            .expect("strace is installed");
        let is_killed = output.status.signal() == Some(libc::SIGKILL);
        if !is_killed && !output.status.success() {
            return Err(format!("{output:?}"));
        }
        assert_whole(folder.path(), &self.golden)?;
        self.judge(act, folder.path(), "after the kill")?;
        assert_recovers(folder.path()).or_else(|reason| {
            // What is to be repaired may not be repaired yet.
            match act == Act::Rebuild && is_killed && reason.contains(&self.dumps[0]) {
                true => Ok(()),
                false => Err(reason),
            }
        })?;
        self.judge(act, folder.path(), "after cleaning")?;
        assert_usable(folder.path())?;
        Ok(is_killed)
    }

    /// Fails unless the dumps are those that the act has to leave.
    fn judge(&self, act: Act, folder: &Path, when: &str) -> Result<(), String> {
        let found = dumps(folder);
        let lost: Vec<_> = (self.dumps.iter().skip(act.may_remove()))
            .filter(|name| !found.contains_key(*name))
            .collect();
        let new = found.keys().filter(|name| !self.dumps.contains(name)).count();
        let most = act.limit().max(if act == Act::Clean { BEFORE } else { 0 });
        if !lost.is_empty() || new > act.may_add() || found.len() > most {
            let names: Vec<_> = found.keys().collect();
            return Err(format!("{when}, the dumps are {names:?}; {lost:?} are lost"));
        }
        Ok(())
    }
}

/// Tries every `share`th point.
///
/// # Panics
///
/// When a dump was lost or is not whole, a limit does not hold, or something is left.
pub fn assert_harmless(share: usize) {
    let model = Model::new();
    let (mut effective, mut tried, mut harm) = (0, 0, Vec::new());
    for (turn, act) in ACTS.into_iter().enumerate() {
        for (_, point) in (turn..).zip(&model.points(act)).filter(|(at, _)| at % share == 0) {
            tried += 1;
            match model.try_point(act, point) {
                Ok(is_killed) => effective += usize::from(is_killed),
                Err(found) => harm.push(format!("{act:?} {point:?}: {found}")),
            }
        }
    }
    println!(
        "spool: {tried} kills, {effective} effective, {} did harm",
        harm.len()
    );
    assert!(harm.is_empty(), "{}", harm.join("\n"));
    assert!(effective > 0, "no kill came in time");
}

/// Starts writers and a cleaner together and kills them at random, until so many were killed. With
/// a limit, at most so many dumps are there at any moment. Without one, all that were reported
/// stay.
///
/// # Panics
///
/// Like [`assert_harmless`].
pub fn assert_storm_harmless(kills: usize, limit: Option<usize>) {
    let golden = fs::read(scenario().join("dump.dmp")).unwrap();
    let folder = TempDir::new().unwrap();
    let folder = folder.path();
    let count = limit.unwrap_or(100_000);
    fs::write(
        folder.join("spool.toml"),
        format!("{SETTINGS}keep-count = {count}"),
    )
    .unwrap();
    let started = Instant::now();
    support::run_well(&mut writer(folder));
    let usual = started.elapsed();
    let (is_over, mut reported, mut effective) = (AtomicBool::new(false), BTreeSet::new(), 0);
    let mut rounds = 0;
    let most = std::thread::scope(|scope| {
        // The kernel returns the names in a small folder in one piece, and none changes meanwhile.
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                let dumps = names(folder).into_iter().filter(|name| name.ends_with(".dmp"));
                most = most.max(dumps.count());
                std::thread::sleep(Duration::from_micros(500));
            }
            most
        });
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut delay = || {
            // xorshift64.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usual.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64 * 3.0)
        };
        while effective < kills {
            rounds += 1;
            let start = |mut command: Command| {
                command
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                command.spawn().unwrap()
            };
            let children = [
                start(writer(folder)),
                start(writer(folder)),
                start(writer(folder)),
                start(cleaner(folder)),
            ];
            let started = Instant::now();
            let mut children: Vec<(Duration, Child)> =
                children.into_iter().map(|child| (delay(), child)).collect();
            children.sort_by_key(|(delay, _)| *delay);
            for (delay, mut child) in children {
                std::thread::sleep(delay.saturating_sub(started.elapsed()));
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                match output.status.signal() {
                    Some(libc::SIGKILL) => effective += 1,
                    _ => assert!(output.status.success(), "{output:?}"),
                }
                // It was reported even if the kill came then.
                if let Ok(result) = serde_json::from_slice::<serde_json::Value>(&output.stdout) {
                    let file = Path::new(result["file"].as_str().unwrap()).file_name().unwrap();
                    reported.insert(file.to_str().unwrap().to_owned());
                }
            }
            assert_whole(folder, &golden).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    assert_recovers(folder).unwrap();
    let found: BTreeSet<_> = dumps(folder).into_keys().collect();
    println!(
        "spool storm, limit {limit:?}: {rounds} rounds, {effective} kills, {} dumps reported, {} there, at most {most} at once",
        reported.len(),
        found.len()
    );
    match limit {
        Some(limit) => assert!((1..=limit).contains(&most), "{most}"),
        None => {
            let lost: Vec<_> = reported.difference(&found).collect();
            assert!(lost.is_empty(), "lost: {lost:?}");
        }
    }
}
