//! Linux, where dumpwright itself writes all dumps.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use dumpwright::native::{self, HoldMode, PauseEstimate, Spawned};
use dumpwright::{Error, FileSink, Guardian, Request};
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::SFlag;

use super::{BackendArgs, OpenCore, StopEstimate, Writer};

/// The values of `--hold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum HoldArg {
    /// Stop the process until everything has been read
    Stop,
    /// Stop the process only while the kernel makes a copy-on-write clone of it, and read the clone
    ///
    /// If a clone is not possible or might harm the process, "stop" is used, and a note has the
    /// reason.
    Clone,
    /// Use "clone" if it is estimated to halve the pause or to keep it within --max-pause, else
    /// "stop". A note has the reason
    Auto,
}

impl HoldArg {
    /// The value if there is no `--hold`.
    pub fn usual(has_limit: bool) -> Self {
        if has_limit { Self::Auto } else { Self::Stop }
    }

    fn mode(self) -> HoldMode {
        match self {
            Self::Stop => HoldMode::Stop,
            Self::Clone => HoldMode::Clone,
            Self::Auto => HoldMode::Auto,
        }
    }
}

/// A stop that is estimated to be longer is announced.
const LONG: Duration = Duration::from_millis(100);

/// Opens the live process with this id and returns the writer that dumps it. Also returns what the
/// user should know before the process is stopped, if it will be stopped for long.
pub(in crate::cli) fn hold(
    _: &BackendArgs,
    pid: u32,
    hold: HoldArg,
    request: &Request,
) -> Result<(Box<dyn Writer>, Option<String>), Error> {
    let mut process = native::process(pid)?;
    process.hold(hold.mode());
    let need = request.need();
    // The kernel walks all page tables for the estimate.
    let is_large = need.full_memory || need.private_memory;
    let estimate = (hold == HoldArg::Stop && is_large).then(|| process.estimate(&need));
    let announced = estimate.flatten().filter(|estimate| estimate.stop > LONG);
    let announced = announced.map(|estimate| announcement(pid, estimate));
    Ok((Box::new(process), announced))
}

/// Estimates for how long the process would be stopped. `None` if its size is not known.
pub(in crate::cli) fn estimate(process: &native::Process, request: &Request) -> Option<StopEstimate> {
    let PauseEstimate { stop, clone, .. } = process.estimate(&request.need())?;
    Some(StopEstimate { stop, clone })
}

fn announcement(pid: u32, estimate: PauseEstimate) -> String {
    format!(
        "process {pid} will be stopped for about {:.1} s while {} MiB of its memory are read, and longer if the output is slow \
         (with --hold clone for about {:.1} s)",
        estimate.stop.as_secs_f64(),
        estimate.bytes >> 20,
        // Never 0.
        estimate.clone.as_secs_f64().max(0.1),
    )
}

/// Dumps a program that was started with `--exec`.
pub(in crate::cli) fn dump_program<T>(
    _: &BackendArgs,
    program: &mut Spawned,
    hold: HoldArg,
    dump: impl FnOnce(&mut dyn Writer) -> Result<T, Error>,
) -> Result<T, Error> {
    program.hold(hold.mode());
    dump(program)
}

/// Opens a core file, or the core on standard input if the path is -.
pub(in crate::cli) fn open_core(path: &Path) -> Result<OpenCore, Error> {
    let core = if path.as_os_str() == "-" {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let reason = "standard input is a terminal; redirect it from a core, or name a file";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        let file = stdin.as_fd().try_clone_to_owned().map_err(|error| {
            Error::InvalidRequest(format!("the state of standard input is not known: {error}"))
        })?;
        native::core_stream(file.into(), "on standard input")?
    } else {
        native::core_file(path)?
    };
    Ok(OpenCore {
        program: core.program_name(),
        exception: core.exception(),
        target: Box::new(core),
    })
}

/// Creates the file of a dump. A guardian removes it if this process is killed.
pub(in crate::cli) fn create_file(path: &Path, replace: bool) -> Result<FileSink, Error> {
    // This path leads to the running program even if its file has been replaced.
    let pid = std::process::id().to_string();
    let guardian = Guardian::new("/proc/self/exe", ["guard", "--parent", &pid]);
    FileSink::create_guarded(path, replace, guardian)
}

/// Returns standard output, or the reason why a dump cannot be written to it.
pub(in crate::cli) fn standard_output() -> Result<File, String> {
    let failed = |error: io::Error| format!("the state of standard output is not known: {error}");
    let file = File::from(io::stdout().as_fd().try_clone_to_owned().map_err(failed)?);
    let found = file.metadata().map_err(failed)?;
    let flags = nix::fcntl::fcntl(&file, FcntlArg::F_GETFL).map_err(|errno| failed(errno.into()))?;
    let flags = OFlag::from_bits_retain(flags);
    let access = flags & OFlag::O_ACCMODE;
    // The start-up code of Rust opens the null device for reading and writing in place of a closed
    // standard stream. Shells open it for writing only.
    let is_null = found.file_type().is_char_device() && found.rdev() == nix::sys::stat::makedev(1, 3);
    if is_null && access == OFlag::O_RDWR {
        return Err("standard output is closed (-o /dev/null discards the dump)".to_owned());
    }
    if access == OFlag::O_RDONLY {
        return Err("standard output is not open for writing".to_owned());
    }
    if found.is_file() && flags.contains(OFlag::O_APPEND) && found.len() > 0 {
        return Err(format!(
            "standard output is opened for appending (>>) to a file of {} bytes, but a dump must begin at the start of its \
             file; redirect it with >",
            found.len()
        ));
    }
    Ok(file)
}

/// Checks that the target itself does not read the dump, if the output is a pipe: a suspended
/// target could not read, and the dump could not go on.
///
/// The check does not open or examine any file of the target, because that could block. It
/// compares the texts of the links in `/proc/PID/fd`. The text is `pipe:[INODE]` or the path of a
/// named pipe.
///
/// # Errors
/// The process has the same pipe open for reading.
pub(in crate::cli) fn check_reader(output: &FileSink, pid: u32) -> Result<(), Error> {
    const READABLE: u32 = 0o400;
    let file = output.as_fd();
    let is_pipe = nix::sys::stat::fstat(file)
        .is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO);
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    let (true, Ok(pipe)) = (is_pipe, std::fs::read_link(own)) else {
        return Ok(());
    };
    // If its descriptors cannot be listed, attaching will fail, too, and report the reason.
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Ok(());
    };
    for descriptor in descriptors.flatten() {
        let path = descriptor.path();
        let is_same = std::fs::read_link(&path).is_ok_and(|link| link == pipe);
        // The permissions of the link show how the file is open (proc(5)).
        if is_same
            && path
                .symlink_metadata()
                .is_ok_and(|link| link.mode() & READABLE != 0)
        {
            return Err(Error::InvalidRequest(format!(
                "process {pid} itself has the pipe of the output open for reading (descriptor {}), and it cannot read while \
                 it is suspended for a dump of all memory; write the dump to a file, or let another process read the pipe",
                descriptor.file_name().to_string_lossy()
            )));
        }
    }
    Ok(())
}

/// Returns the file descriptor of standard error.
pub(in crate::cli) fn standard_error(stderr: &io::Stderr) -> BorrowedFd<'_> {
    stderr.as_fd()
}

/// A process that is running.
pub(in crate::cli) struct RunningProcess {
    pub(in crate::cli) pid: u32,
    /// The names by which users know it.
    pub(in crate::cli) names: Vec<String>,
    /// The command line.
    pub(in crate::cli) command: String,
}

/// Lists the running processes, without threads of the kernel.
pub(in crate::cli) fn processes() -> Result<Vec<RunningProcess>, String> {
    let mut found: Vec<_> = process_ids()?.into_iter().filter_map(running).collect();
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// Lists the ids of all processes.
pub(in crate::cli) fn process_ids() -> Result<Vec<u32>, String> {
    let entries = std::fs::read_dir("/proc").map_err(|error| format!("cannot list /proc: {error}"))?;
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(ids.collect())
}

/// Returns what is known about a process, or `None` if it has ended or belongs to the kernel.
pub(in crate::cli) fn running(pid: u32) -> Option<RunningProcess> {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments = String::from_utf8_lossy(&arguments);
    let first = arguments.split('\0').next().filter(|first| !first.is_empty())?;
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    // A login shell has a hyphen in front.
    let mut names = vec![base(first.trim_start_matches('-'))];
    names.extend(program(pid));
    // The kernel cuts this name to 15 bytes.
    names.extend(short_name(pid));
    names.sort();
    names.dedup();
    Some(RunningProcess {
        pid,
        names,
        command: arguments.trim_end_matches('\0').replace('\0', " "),
    })
}

/// Returns the file name of the program that a process runs.
fn program(pid: u32) -> Option<String> {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = file.file_name()?.to_string_lossy();
    // The kernel adds this if the file does not exist any more.
    Some(name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned())
}

fn short_name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

/// Returns the name of the program that a process runs, for the name of its dump.
pub(in crate::cli) fn name_of(pid: u32) -> Option<String> {
    program(pid).or_else(|| short_name(pid))
}

/// Returns the name of this machine.
pub(in crate::cli) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().to_owned()
}
