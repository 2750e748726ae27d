//! One run of `watch`: which processes are watched, and how they are dumped.

use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use std::os::unix::process::ExitStatusExt;

use dumpwright::Error;
use dumpwright::native::{Launch, Outcome, Signaller, Spawned};
use dumpwright::target::{Fault, FaultKind, Target};
use dumpwright::watch::{Metric, Rules, WatchEvent, Watcher};

use super::super::dialogue::DialogueArgs;
use super::super::dump::{NEVER, PreparedDump, Written, named_file};
use super::super::{FAILED, PARTIAL, backend, print};
use super::WatchArgs;
use super::events::{DumpCause, EventLog, Happening};
use super::finder::Finder;
use super::supervise::{Supervision, supervise};

/// How often processes are searched by their name.
const SEARCH: Duration = Duration::from_secs(1);

/// How often a thread that waits for a crash looks whether the watch should end.
const LOOK: Duration = Duration::from_millis(250);

/// Watches as the arguments say. Returns the exit status.
pub(super) fn run(args: &WatchArgs) -> ExitCode {
    if let Err(reason) = check(args) {
        print::complain(reason);
        return ExitCode::from(FAILED);
    }
    let log = match EventLog::open(args.events.as_deref()) {
        Ok(log) => log,
        Err(error) => {
            print::complain(format_args!("cannot open the file of --events: {error}"));
            return ExitCode::from(FAILED);
        }
    };
    let rules = rules(args);
    let is_traced = args.crash || rules.is_empty();
    let may_stop = args.source.exec || !is_traced;
    let worked = supervise(args.source.exec, may_stop, |supervision| {
        let session = Session {
            args,
            is_traced,
            rules,
            log,
            supervision,
            started: Instant::now(),
            dumps: AtomicU32::new(0),
            worst: AtomicU8::new(0),
            has_skipped: AtomicBool::new(false),
        };
        session.work()
    });
    match worked {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            print::complain(format_args!("cannot receive signals: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Checks what would otherwise be found out only when the first dump is due.
fn check(args: &WatchArgs) -> Result<(), Error> {
    let refused = |reason: String| Err(Error::InvalidRequest(reason));
    match std::fs::metadata(&args.dir) {
        _ if args.make.spool().is_some() => {}
        Ok(found) if found.is_dir() => {}
        Ok(_) => return refused(format!("{} is not a folder", args.dir.display())),
        Err(error) => return refused(format!("the folder {}: {error}", args.dir.display())),
    }
    args.make.check_early(args.crash || rules(args).is_empty())
}

fn rules(args: &WatchArgs) -> Rules {
    let scale = match args.cpu_of_machine {
        true => std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
        false => 1,
    };
    let percent = |value: Option<u64>| value.map(|value| value.saturating_mul(scale));
    let sizes = |sizes: &[dumpwright::policy::Size]| sizes.iter().map(|size| size.0).collect::<Vec<_>>();
    let mut rules = Rules::new()
        .at_least(Metric::CpuPercent, percent(args.cpu))
        .below(Metric::CpuPercent, percent(args.cpu_below))
        .at_least(Metric::Resident, sizes(&args.rss))
        .at_least(Metric::Committed, sizes(&args.memory))
        .below(Metric::Committed, args.memory_below.map(|size| size.0))
        .at_least(Metric::Threads, args.threads.iter().copied())
        .at_least(Metric::Handles, args.fds.iter().copied())
        .all(args.all)
        .lasting(args.lasting.unwrap_or_default())
        .cool_down(args.cool_down);
    if let Some(file) = &args.heartbeat {
        rules = rules.heartbeat(file, args.heartbeat_timeout);
    }
    if let Some(interval) = args.every {
        rules = rules.every(interval);
    }
    match args.max_per_process {
        Some(most) => rules.per_process(most),
        None => rules,
    }
}

/// Returns the exit status of a program, as a shell does.
pub(super) fn exit_status(status: ExitStatus) -> u8 {
    let number = match status.signal() {
        Some(signal) => 128 + signal,
        None => status.code().unwrap_or_default(),
    };
    u8::try_from(number & 0xff).unwrap_or(FAILED)
}

struct Session<'a> {
    args: &'a WatchArgs,
    rules: Rules,
    /// Whether crashes are dumped.
    is_traced: bool,
    log: EventLog,
    supervision: &'a Supervision,
    started: Instant,
    dumps: AtomicU32,
    worst: AtomicU8,
    /// Whether a dump was not made because of `--max-dumps`.
    has_skipped: AtomicBool,
}

impl Session<'_> {
    fn work(&self) -> u8 {
        match (self.args.source.exec, self.is_traced) {
            (true, _) => return self.run_program(),
            (false, true) => self.trace(),
            (false, false) => self.measure(),
        }
        self.worst.load(Ordering::Relaxed)
    }

    /// Starts the program, and watches it until it ends. Returns its exit status.
    fn run_program(&self) -> u8 {
        let (name, arguments) = self.args.command.split_first().expect("required by --exec");
        let launch = Launch {
            mask: self.supervision.mask,
            traced: self.is_traced,
        };
        let mut program = match Spawned::supervise(name, arguments, None, launch) {
            Ok(program) => program,
            Err(fault) => {
                print::complain(fault);
                return FAILED;
            }
        };
        pass_signals_to(&program, self.supervision);
        let status = self.follow(&mut program, true);
        self.supervision.pass_to_nobody();
        status.map_or(FAILED, exit_status)
    }

    /// Watches running processes, and waits for their crashes: each on a thread of its own.
    fn trace(&self) {
        std::thread::scope(|scope| {
            let begin = |pid: u32| match Spawned::attach(pid) {
                Ok(mut program) => {
                    scope.spawn(move || self.follow(&mut program, false));
                }
                Err(fault) => self.cannot_watch(pid, &fault),
            };
            self.args.source.pid.iter().copied().for_each(begin);
            let Some(name) = &self.args.source.name else {
                return;
            };
            let mut finder = Finder::new(name);
            while !self.supervision.is_over() {
                for pid in self.search(&mut finder) {
                    // A child of a process that is traced is traced with it, until that one ends.
                    match is_traced_here(pid) {
                        true => finder.forget(pid),
                        false => begin(pid),
                    }
                }
                self.supervision.sleep_until(Instant::now() + SEARCH);
            }
        });
    }

    /// Watches running processes by what they use.
    fn measure(&self) {
        let mut watcher = Watcher::new(self.rules.clone());
        let begin = |watcher: &mut Watcher, pid: u32| match watcher.add_process(pid, self.now()) {
            Ok(()) => self.is_watching(pid),
            Err(fault) => self.cannot_watch(pid, &fault),
        };
        for pid in &self.args.source.pid {
            begin(&mut watcher, *pid);
        }
        let mut finder = self.args.source.name.as_deref().map(Finder::new);
        let mut next_search = Instant::now();
        let mut next = Instant::now();
        while !self.supervision.is_over() {
            if let Some(finder) = finder.as_mut().filter(|_| Instant::now() >= next_search) {
                for pid in self.search(finder) {
                    begin(&mut watcher, pid);
                }
                next_search = Instant::now() + SEARCH;
            }
            if finder.is_none() && watcher.is_empty() {
                return;
            }
            if Instant::now() >= next {
                self.step(&mut watcher, &mut |pid, cause| self.dump(pid, &cause, None));
                next = later(next, self.args.interval);
            }
            let wake = if finder.is_some() {
                next.min(next_search)
            } else {
                next
            };
            self.supervision.sleep_until(wake);
        }
    }

    /// Watches one process until it ends, or until the watch ends. Returns its exit status in the
    /// first case. `is_ours` is true for a program that was started: its end is the end of the
    /// watch.
    fn follow(&self, program: &mut Spawned, is_ours: bool) -> Option<ExitStatus> {
        let pid = program.process_id();
        self.is_watching(pid);
        let mut watcher = Watcher::new(self.rules.clone());
        if !self.rules.is_empty()
            && let Err(fault) = watcher.add_process(pid, self.now())
        {
            self.cannot_watch(pid, &fault);
        }
        let mut next = Instant::now() + self.args.interval;
        loop {
            if !is_ours && self.supervision.is_over() {
                return None;
            }
            let until_next = match watcher.is_empty() {
                true => NEVER,
                false => next.saturating_duration_since(Instant::now()),
            };
            let time = if is_ours { until_next } else { until_next.min(LOOK) };
            match program.wait(time) {
                Ok(Outcome::Exited(status)) => {
                    self.log.record(pid, &Happening::Ended { status: Some(status) });
                    return Some(status);
                }
                Ok(Outcome::Dying { thread_id, signal }) => {
                    let crashed = program.process_id();
                    self.dump(crashed, &DumpCause::Crash { signal, thread_id }, Some(program));
                    watcher.resume(pid, self.now());
                }
                Ok(Outcome::Elapsed) => {}
                Err(fault) => {
                    self.cannot_watch(pid, &fault);
                    return None;
                }
            }
            if !watcher.is_empty() && Instant::now() >= next {
                self.step(&mut watcher, &mut |pid, cause| {
                    self.dump(pid, &cause, Some(program))
                });
                next = later(next, self.args.interval);
            }
        }
    }

    /// Measures once, and dumps what the rules say.
    fn step(&self, watcher: &mut Watcher, dump: &mut dyn FnMut(u32, DumpCause)) {
        let mut events = Vec::new();
        watcher.step(self.now(), &mut |event| events.push(event));
        for event in events {
            match event {
                WatchEvent::Fired { process_id, reason } => {
                    dump(process_id, DumpCause::Rule(reason));
                    watcher.resume(process_id, self.now());
                }
                // The end of these is reported with their status.
                WatchEvent::Ended { .. } if self.args.source.exec || self.is_traced => {}
                WatchEvent::Ended { process_id } => {
                    self.log.record(process_id, &Happening::Ended { status: None });
                }
                WatchEvent::Failed { process_id, fault } => self.cannot_watch(process_id, &fault),
                _ => {}
            }
        }
    }

    /// Dumps a process. `program` is the one that this process has started or traces.
    fn dump(&self, pid: u32, cause: &DumpCause, program: Option<&mut Spawned>) {
        let most = self.args.max_dumps;
        let reserve = |count: u32| (count < most).then_some(count + 1);
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        if self.dumps.fetch_update(success, failure, reserve).is_err() {
            // A process may stay beyond a limit for days.
            let is_known = self.has_skipped.swap(true, Ordering::AcqRel);
            if !is_known || matches!(cause, DumpCause::Crash { .. }) {
                self.log.record(pid, &Happening::Skipped { cause });
            }
            return;
        }
        let held = self.supervision.dumping();
        let make = &self.args.make;
        let process = (pid, &*backend::program_of(pid));
        let folder = make.spool().unwrap_or(&self.args.dir);
        let file = named_file(folder, &self.args.file_name, make, process, false);
        let written = self.write(&file, pid, cause, program);
        drop(held);
        let status = match &written {
            Ok(written) => {
                if written.is_duplicate() {
                    self.dumps.fetch_sub(1, Ordering::AcqRel);
                }
                let file = written.path(&file);
                self.log.record(pid, &Happening::Dumped { cause, file, written });
                if written.report.is_complete() { 0 } else { PARTIAL }
            }
            Err(error) => {
                self.dumps.fetch_sub(1, Ordering::AcqRel);
                self.log.record(pid, &Happening::Failed { cause, error });
                FAILED
            }
        };
        self.note(status);
        if self.dumps.load(Ordering::Acquire) >= most && !self.args.source.exec {
            self.supervision.end();
        }
    }

    fn write(
        &self,
        file: &Path,
        pid: u32,
        cause: &DumpCause,
        program: Option<&mut Spawned>,
    ) -> Result<Written, Error> {
        let dialogue = DialogueArgs::default();
        let note = format!("dumpwright watch: {cause}");
        let prepared = PreparedDump::new(&self.args.make, &dialogue, true, file, false, Some(&note))?;
        match program {
            Some(program) => prepared.dump_program(program),
            None => prepared.dump_process(pid),
        }
    }

    /// Takes note of an exit status. That of a dump that is not there is worse than that of one
    /// that lacks something.
    fn note(&self, status: u8) {
        if status != 0 && self.worst.load(Ordering::Relaxed) != FAILED {
            self.worst.store(status, Ordering::Relaxed);
        }
    }

    fn search(&self, finder: &mut Finder) -> Vec<u32> {
        finder.search().unwrap_or_else(|reason| {
            print::complain(reason);
            self.note(FAILED);
            self.supervision.end();
            Vec::new()
        })
    }

    fn is_watching(&self, pid: u32) {
        let program = backend::name_of(pid).unwrap_or_default();
        self.log.record(pid, &Happening::Watching { program: &program });
    }

    fn cannot_watch(&self, pid: u32, fault: &Fault) {
        // One that was found by its name may have ended since.
        let has_ended = matches!(fault.kind, FaultKind::Gone | FaultKind::NoSuchProcess);
        if self.args.source.name.is_some() && has_ended {
            return;
        }
        self.log.record(pid, &Happening::Unwatched { fault });
        self.note(FAILED);
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Lets the program receive the signals that this process receives.
pub(super) fn pass_signals_to(program: &Spawned, supervision: &Supervision) {
    let pid = program.process_id();
    match Signaller::open(pid) {
        Ok(signaller) => supervision.pass_to(pid, signaller),
        Err(fault) => print::complain(format_args!("signals are not passed on: {fault}")),
    }
}

/// Whether a thread of this process traces the process.
fn is_traced_here(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:\t"));
    tracer.is_some_and(|tid| tid != "0" && Path::new(&format!("/proc/self/task/{tid}")).exists())
}

/// Returns the time of the next measurement. Those that were missed are not made up for.
fn later(time: Instant, interval: Duration) -> Instant {
    (time + interval).max(Instant::now())
}
