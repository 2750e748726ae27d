//! The process that the kernel starts. It has root's rights, and parses nothing of the crashed
//! process but the place of the notes in the core.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use dumpwright::FileSink;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use serde_json::Value;

use super::crash::{Dumpable, DyingProcess};
use super::journal::Journal;
use super::settings::{Settings, others_can_write};
use super::{CoreHandlerArgs, HandlerOptions, OwnerArg, fallback, front, rate};
use crate::cli::{FAILED, backend, handler_args, process};

/// How long after the deadline the handler is killed if it does not end.
const GRACE: Duration = Duration::from_secs(5);

/// How long a core may take to arrive where it goes without a handler.
const LONGEST_FALLBACK: Duration = Duration::from_secs(3600);

/// The maximum length of a report of the worker.
const LONGEST_REPORT: u64 = 64 << 10;

/// Handles a crash. Returns 0 if there is a dump.
pub(super) fn run(args: &CoreHandlerArgs) -> ExitCode {
    let started = Instant::now();
    // The kernel does not start a handler for a process with this limit. It would for others that
    // it starts for us.
    let _ = setrlimit(Resource::RLIMIT_CORE, 1, 1);
    let stored = Settings::load(&args.options.settings);
    let own = own_arguments();
    let merged = match &stored {
        Ok(Some(settings)) => Some([settings.options(), own.clone()].concat()),
        _ => None,
    };
    let (reparsed, arguments) = match merged {
        Some(merged) => (Some(handler_args(merged.clone())), merged),
        None => (None, own),
    };
    let (args, unusable) = match &reparsed {
        Some(Ok(reparsed)) => (reparsed, None),
        Some(Err(error)) => (args, Some(format!("its settings cannot be used: {error}"))),
        None => (args, stored.as_ref().err().cloned()),
    };
    let options = &args.options;
    let journal = Journal::open(options.log.as_deref());
    nix::unistd::alarm::set(seconds(options.deadline + GRACE));
    let mut core = io::stdin().lock();
    let mut front = Vec::new();
    let found = DyingProcess::find(&args.values);
    let made = match (unusable, &found) {
        (Some(reason), _) => Err(NoDump::Other(reason)),
        (None, Err(reason)) => Err(NoDump::Other(reason.clone())),
        (None, Ok(crash)) => front::read(&mut core, &mut front)
            .map_err(|error| NoDump::Other(format!("the core cannot be used: {error}")))
            .and_then(|()| {
                DumpAttempt {
                    options,
                    crash,
                    started,
                }
                .make(&front, &arguments)
            }),
    };
    let crash = found.as_ref().ok();
    let who = crash.map_or_else(|| "a process".to_owned(), describe);
    let reason = match made {
        Ok(done) => {
            journal.say(&format!("{who} crashed: {done}"));
            return ExitCode::SUCCESS;
        }
        Err(NoDump::Declined(reason)) => {
            journal.say(&format!(
                "{who} crashed, and there is neither a dump nor a core: {reason}"
            ));
            return ExitCode::from(FAILED);
        }
        Err(NoDump::Other(reason)) => reason,
    };
    // Writing a core may take long, but not for ever: the kernel starts only so many handlers.
    nix::unistd::alarm::set(seconds(LONGEST_FALLBACK));
    let previous = stored
        .ok()
        .flatten()
        .map(|settings| settings.previous_pattern().to_owned());
    let pattern = options.fallback.clone().or(previous);
    let sent = match &pattern {
        Some(pattern) => fallback::send(pattern, crash, &front, &mut core),
        None => Err("no --fallback says where it belongs".to_owned()),
    };
    let core = match sent {
        Ok(what) => format!("the core {what}"),
        Err(why) => format!("the core is lost: {why}"),
    };
    journal.say(&format!("{who} crashed, and there is no dump: {reason}; {core}"));
    ExitCode::from(FAILED)
}

/// Why there is no dump.
enum NoDump {
    /// There shall be no core either.
    Declined(String),
    Other(String),
}

impl From<String> for NoDump {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

/// The arguments of this process after the name of the command.
fn own_arguments() -> Vec<OsString> {
    let all = std::env::args_os().skip(1);
    all.skip_while(|argument| argument != "core-handler")
        .skip(1)
        .collect()
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn describe(crash: &DyingProcess) -> String {
    let inner = crash.inner_id(crash.pid).filter(|inner| *inner != crash.pid);
    let inner = inner
        .map(|inner| format!(", {inner} in its container"))
        .unwrap_or_default();
    format!("process {} ({}{inner})", crash.pid, crash.program())
}

/// The attempt to make a dump.
struct DumpAttempt<'a> {
    options: &'a HandlerOptions,
    crash: &'a DyingProcess,
    started: Instant,
}

impl DumpAttempt<'_> {
    /// Makes the dump. `front` is the beginning of the core.
    fn make(&self, front: &[u8], arguments: &[OsString]) -> Result<String, NoDump> {
        let Self { options, crash, .. } = self;
        if crash.dumpable() == Dumpable::Not {
            return Err(NoDump::Declined("fs.suid_dumpable forbids it".to_owned()));
        }
        let counts = options.settings.with_extension("rate");
        // The path is that in the view of the process, which another user can arrange.
        let user = crash.ids("Uid").map_or(u32::MAX, |ids| ids[0]);
        let counted = format!("{user}:{}", crash.program());
        match rate::note(&counts, &counted, options.rate, options.total_rate) {
            Ok(None) => {}
            Ok(Some(reason)) => return Err(NoDump::Declined(reason)),
            Err(error) => {
                return Err(format!("{} cannot be used: {error}", counts.display()).into());
            }
        }
        let path = self.path()?;
        let file = backend::create_file(&path, false).map_err(|error| error.to_string())?;
        let report = self.work(&file, front, arguments)?;
        if let Some(error) = report["error"].as_str() {
            return Err(error.to_owned().into());
        }
        let Some(status) = report["status"].as_str() else {
            return Err("the process that makes the dump ended without a result"
                .to_owned()
                .into());
        };
        let owner = crash.owner();
        // Otherwise another process may have its id, and what was read may be that one's.
        if !crash.exists() {
            return Err("the process ended while it was read".to_owned().into());
        }
        if let (OwnerArg::User, Some((user, group))) = (options.owner, owner) {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            let changed = nix::unistd::fchown(file.as_fd(), Some(user), Some(group));
            changed.map_err(|errno| format!("the dump cannot be given to user {user}: {}", errno.desc()))?;
        }
        // With compression, this is less than what was written.
        let size = nix::sys::stat::fstat(file.as_fd()).map_or(0, |found| found.st_size);
        file.publish().map_err(|error| error.to_string())?;
        Ok(format!(
            "{}; {status} dump {}, {size} bytes, after {} ms",
            report["exception"].as_str().unwrap_or("no signal"),
            path.display(),
            self.started.elapsed().as_millis(),
        ))
    }

    /// The path of the dump. Its folder is created if it does not exist.
    fn path(&self) -> Result<PathBuf, String> {
        let folder = &self.options.dir;
        if !folder.is_absolute() {
            return Err(format!("the folder {} is not an absolute path", folder.display()));
        }
        // Users can open their own dumps, but not list those of others.
        let made = DirBuilder::new().recursive(true).mode(0o711).create(folder);
        made.map_err(|error| format!("the folder {} cannot be created: {error}", folder.display()))?;
        // A user could occupy the names of dumps by pipes, whose opening waits.
        let found = std::fs::metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        if others_can_write(&found) {
            return Err(format!("users can write to the folder {}", folder.display()));
        }
        let pid = self.crash.pid;
        let program = self.crash.program();
        let program = Path::new(&program)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let program = program
            .or_else(|| backend::name_of(pid))
            .unwrap_or_else(|| "process".to_owned());
        let mut name = process::file_name(&self.options.name, pid, &program, jiff::Timestamp::now());
        if self.options.compress.is_some() {
            name.push_str(".zst");
        }
        Ok(process::unused(folder, &name))
    }

    /// Starts the worker, and waits for its report until the deadline.
    fn work(&self, file: &FileSink, front: &[u8], arguments: &[OsString]) -> Result<Value, String> {
        let failed = |error: io::Error| format!("the process that makes the dump cannot be started: {error}");
        let output = file.as_fd().try_clone_to_owned().map_err(failed)?;
        let mut worker = Command::new("/proc/self/exe")
            .arg("core-handler")
            .args(arguments)
            .args(["--worker", &std::process::id().to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut input = worker.stdin.take().expect("it is piped");
        let report = std::thread::scope(|scope| {
            scope.spawn(move || {
                // A worker that fails closes the pipe, and its report has the reason.
                let _ = input.write_all(front);
            });
            let report = self.report(&mut worker);
            // The worker may be stuck, and the thread with it.
            let _ = worker.kill();
            report
        });
        let status = worker.wait().map_err(failed)?;
        let report = report?;
        let text = String::from_utf8_lossy(&report).into_owned();
        // A worker that was killed or that panicked has said something else, or nothing.
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).map_err(|_| {
            format!(
                "the process that makes the dump failed ({status}): {}",
                text.trim()
            )
        })
    }

    /// Reads the report of the worker until it is closed.
    fn report(&self, worker: &mut Child) -> Result<Vec<u8>, String> {
        let mut stream = worker.stderr.take().expect("it is piped");
        let mut report = Vec::new();
        let mut part = [0; 4096];
        loop {
            let left = self.options.deadline.saturating_sub(self.started.elapsed());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            match poll(&mut watched, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(format!("waiting for the dump: {}", errno.desc())),
                Ok(0) if left.is_zero() => {
                    return Err(format!("it was not made within {:?}", self.options.deadline));
                }
                Ok(0) => continue,
                Ok(_) => {}
            }
            match stream.read(&mut part) {
                Ok(0) => return Ok(report),
                Ok(count) => report.extend_from_slice(&part[..count]),
                Err(error) => return Err(format!("waiting for the dump: {error}")),
            }
            if report.len() as u64 > LONGEST_REPORT {
                return Err("the report of the dump is too long".to_owned());
            }
        }
    }
}
