//! Runs of `dumpwright.exe` with failing functions, on a process in which nothing moves.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::mpsc::channel;
use std::time::Instant;

use tempfile::TempDir;

use crate::contents::{self, Excluded, Fields, Process, differences};
use crate::judge::{Ending, Reference, judge};
use crate::points::{Extent, Point, Uses};
use crate::support::child::Talking;
use crate::support::{repository, windows};

/// The options of the dumps that are tried.
struct Case {
    name: &'static str,
    options: &'static [&'static str],
    /// The functions that are made to fail; all if there are none.
    functions: &'static [&'static str],
    /// Whether the part of the test in CI has it.
    is_in_part: bool,
}

const CASES: [Case; 3] = [
    Case {
        name: "normal",
        options: &["--type", "normal"],
        functions: &[],
        is_in_part: false,
    },
    Case {
        name: "everything but all memory",
        options: &[
            "--type",
            "with-data-segs,with-handle-data,with-unloaded-modules,with-process-thread-data,\
             with-full-memory-info,with-thread-info,with-full-auxiliary-state,with-token-information,\
             with-module-headers,with-avx-x-state-context",
        ],
        functions: &[],
        is_in_part: true,
    },
    // The memory is read while the file is written, and the file gets its name by another function.
    Case {
        name: "full, replacing a file",
        options: &["--type", "full", "--force", "--sync"],
        functions: &[
            "CreateFileW",
            "FlushFileBuffers",
            "MoveFileExW",
            "NtWriteFile",
            "ReadProcessMemory",
            "SetFileInformationByHandle",
            "VirtualQueryEx",
        ],
        is_in_part: false,
    },
];

/// The files of a run.
#[derive(Debug)]
struct Run {
    output: Output,
    /// The folder with the dump, and nothing else.
    dumps: PathBuf,
    has_fired: bool,
    log: String,
}

/// A target, and the program that dumps it again and again.
struct Bench {
    victim: Talking,
    runner: Talking,
    folder: TempDir,
    runs: usize,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let folder = TempDir::new().unwrap();
        let program = |folder: &str, name: &str, flags: &[&str]| {
            let source = repository().join(folder).join(name).with_extension("c");
            let extension = if flags.contains(&"-shared") { "dll" } else { "exe" };
            windows::compile(&format!("{name}.{extension}"), &source, flags, &[])
        };
        let flags = ["-O1", "-ladvapi32"];
        let victim = program("tests/windows_victims", "unchanging", &flags);
        let runner = program("tests/windows_programs", "fault_runner", &flags);
        let hooks = program("tests/windows_programs", "fault_hooks", &["-O1", "-shared"]);
        let mut victim = Talking::start(&mut windows::wine(&victim));
        let ready = victim.line().expect("the victim ended before it was ready");
        let ready = ready.strip_prefix("READY ").expect("READY");
        let ready: serde_json::Value = serde_json::from_str(ready).unwrap();
        let pid = ready["pid"].to_string();
        let word = |path: &Path| windows::path(path).into_string().unwrap();
        let mut command = vec![word(windows::executable())];
        command.extend(["dump", "--json", "--backend", "dumpwright", "--pid", &pid].map(str::to_owned));
        command.extend(case.options.iter().map(|option| (*option).to_owned()));
        command.extend([
            "-o".to_owned(),
            word(&folder.path().join("dumps").join("dump.dmp")),
        ]);
        let mut wine = windows::wine(&runner);
        wine.arg(word(&hooks)).arg(word(folder.path())).arg(&pid);
        wine.arg(command.join(" "));
        let mut bench = Self {
            victim,
            runner: Talking::start(&mut wine),
            folder,
            runs: 0,
        };
        // The first check touches pages that later ones do not change.
        bench.assert_runs();
        bench
    }

    /// Every thread of the target works and waits again.
    fn assert_runs(&mut self) {
        self.victim.tell("check\n");
        assert_eq!(
            self.victim.line().as_deref(),
            Some("whole"),
            "the target's own check"
        );
    }

    /// Dumps the target, with this fault.
    ///
    /// # Errors
    /// The dumper hung, or threads of the target have another suspend count than before.
    fn dump(&mut self, fault: &str) -> Result<Run, String> {
        let place = |name: &str| self.folder.path().join(name);
        let made = place("dumps");
        fs::create_dir(&made).unwrap();
        self.runner.tell(&format!("{fault}\n"));
        let line = self.runner.line().expect("the runner ended");
        let words: Vec<_> = line.split_whitespace().collect();
        let ["ended", code, held] = words[..] else {
            panic!("the runner says: {line}");
        };
        self.runs += 1;
        let dumps = place(&format!("dumps.{}", self.runs));
        fs::rename(&made, &dumps).unwrap();
        // Dumps have the access rights of their folder on Windows, and this mode on Linux.
        let _ = fs::set_permissions(dumps.join("dump.dmp"), Permissions::from_mode(0o600));
        let read = |name: &str| fs::read(place(name)).unwrap_or_default();
        let log = String::from_utf8_lossy(&read("log")).into_owned();
        let output = Output {
            status: ExitStatus::from_raw(code.parse::<i32>().unwrap_or(0xff) << 8),
            stdout: read("stdout"),
            stderr: read("stderr"),
        };
        if code == "hung" {
            return Err("the dumper hung".to_owned());
        }
        if held != "0" {
            return Err(format!(
                "{held} threads stay suspended; exit status {code}, {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        self.assert_runs();
        Ok(Run {
            output,
            dumps,
            has_fired: log.lines().any(|line| line == "fired"),
            log,
        })
    }

    /// A dump without a fault. Of a busy machine, the first may be partial.
    fn complete(&mut self) -> Run {
        for _ in 0..5 {
            let run = self.dump("none").unwrap();
            if run.output.status.code() == Some(0) {
                return run;
            }
            println!("a dump without a fault: {:?}", run.output);
        }
        panic!("no dump without a fault is complete");
    }

    /// A dump without a fault, and what it uses. The stacks of Wine in the target are excluded from
    /// now on.
    fn reference(&mut self, excluded: &mut Excluded) -> (Reference, Uses) {
        let run = self.complete();
        let fields = contents::of(&run.dumps.join("dump.dmp"), excluded, Process::Same).unwrap();
        excluded.0.extend(stacks_of_wine(&fields));
        let mut take = || {
            let run = self.complete();
            let fields = contents::of(&run.dumps.join("dump.dmp"), excluded, Process::Same).unwrap();
            (run, fields)
        };
        let (run, fields) = take();
        let (_, again) = take();
        assert_eq!(
            differences(&fields, &again),
            Vec::<String>::new(),
            "two dumps of an unchanged process differ in fields that docs/faults.md does not list"
        );
        let reference = Reference {
            fields,
            report: serde_json::from_slice(&run.output.stdout).unwrap(),
            process: Process::Same,
        };
        (reference, Uses::of(&run.log))
    }
}

/// The fields with the memory that Wine uses below the system calls of each thread: the region
/// behind the thread's stack, and the one that contains the TEB.
fn stacks_of_wine(fields: &Fields) -> Vec<String> {
    let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let of_threads = |fact: &str| {
        let wanted = format!("].{fact}");
        let found = fields
            .iter()
            .filter(|(name, _)| name.starts_with("threads[") && name.ends_with(&wanted));
        found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let tebs: Vec<_> = of_threads("teb").iter().map(|teb| hexadecimal(teb)).collect();
    let stacks = of_threads("stack.start")
        .into_iter()
        .zip(of_threads("stack.size"));
    let ends: Vec<_> = stacks
        .map(|(start, size)| hexadecimal(&start) + size.parse::<u64>().unwrap())
        .collect();
    let is_of_wine = |name: &str| {
        let (start, size) = name.strip_prefix("contents.")?.split_once('+')?;
        let (start, size) = (hexadecimal(start), size.parse::<u64>().unwrap());
        let has_teb = tebs.iter().any(|teb| (start..start + size).contains(teb));
        // A dump can also contain the TEBs alone.
        Some(ends.contains(&start) || has_teb && size > 0x1_0000)
    };
    let names = fields.keys().filter(|name| is_of_wine(name) == Some(true));
    names.cloned().collect()
}

/// What came of many points.
#[derive(Default)]
struct Tally {
    endings: BTreeMap<Ending, usize>,
    untrue: Vec<String>,
    silent: usize,
}

/// Tries the points of all cases.
///
/// # Panics
///
/// When a result is not true, or a target was harmed.
pub fn assert_all_true(extent: Extent) {
    let started = Instant::now();
    let (mut untrue, mut total) = (0_usize, 0_usize);
    for case in CASES {
        if extent == Extent::Part && !case.is_in_part {
            continue;
        }
        let mut excluded = Excluded::load("Windows");
        let mut bench = Bench::new(&case);
        let (reference, uses) = bench.reference(&mut excluded);
        let mut points = uses.points(extent);
        points.retain(|point| case.functions.is_empty() || case.functions.contains(&point.function));
        let tally = try_points(&mut bench, &points, &reference, &excluded);
        for what in &tally.untrue {
            println!("UNTRUE {what}");
        }
        let fired = points.len() - tally.silent;
        assert!(fired > points.len() / 2, "most faults must happen");
        println!(
            "{}: {fired} points, {:?}, untrue {}, not reached {}; {} s",
            case.name,
            tally.endings,
            tally.untrue.len(),
            tally.silent,
            started.elapsed().as_secs()
        );
        total += fired;
        untrue += tally.untrue.len();
    }
    println!("{total} points of Windows in all, {untrue} untrue");
    assert!(untrue == 0, "{untrue} of {total} results are not true");
}

/// Tries these points. A run is judged while the next one goes on.
fn try_points(bench: &mut Bench, points: &[Point], reference: &Reference, excluded: &Excluded) -> Tally {
    let mut tally = Tally::default();
    let (send, runs) = channel::<(&Point, Run)>();
    std::thread::scope(|scope| {
        let judging = scope.spawn(move || {
            let mut judged = Tally::default();
            for (point, run) in runs {
                match judge(point, &run.output, &run.dumps, reference, excluded) {
                    Ok(ending) => *judged.endings.entry(ending).or_default() += 1,
                    Err(what) => judged.untrue.push(format!("{point}: {what}")),
                }
                fs::remove_dir_all(&run.dumps).unwrap();
            }
            judged
        });
        for point in points {
            match bench.dump(&point.injection()) {
                Ok(run) if run.has_fired => send.send((point, run)).expect("it listens"),
                Ok(_) => tally.silent += 1,
                Err(what) => tally.untrue.push(format!("{point}: {what}")),
            }
        }
        drop(send);
        let judged = judging.join().expect("it judges");
        tally.endings = judged.endings;
        tally.untrue.extend(judged.untrue);
    });
    tally
}
