//! Windows, where DbgHelp can write the dumps of live processes.

use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::path::Path;

use clap::ValueEnum;
use dumpwright::native::dbghelp::{self, DbgHelp, OpenProcess, ProcessOrSnapshot};
use dumpwright::native::{self, ProcessSnapshot, Spawned};
use dumpwright::target::Subject;
use dumpwright::{Callback, Diagnostic, Error, FileSink, Report, Request, Sink, Target};

use super::{BackendArg, BackendArgs, OpenCore, StopEstimate, Writer};

/// The values of `--hold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum HoldArg {
    /// Suspend the process until everything has been read
    Stop,
    /// Suspend the process only while the system copies its memory, and read the copy (Windows 8.1
    /// and later; earlier versions use stop)
    Clone,
}

impl HoldArg {
    /// The value if there is no `--hold`.
    pub fn usual(_: bool) -> Self {
        Self::Stop
    }
}

/// Opens the live process with this id and returns the writer that dumps it. Linux also returns
/// what the user should know before the process is stopped.
pub(in crate::cli) fn hold(
    args: &BackendArgs,
    pid: u32,
    hold: HoldArg,
    _: &Request,
) -> Result<(Box<dyn Writer>, Option<String>), Error> {
    // A user who runs this program elevated wants to be able to dump any process.
    native::use_debug_privilege();
    if let Some(system) = SystemWriter::chosen(args, pid, hold)? {
        return Ok((Box::new(system), None));
    }
    let mut process = native::process(pid)?;
    process.hold_clone(hold == HoldArg::Clone);
    Ok((Box::new(process), None))
}

/// Returns `None`: there are no estimates for Windows.
pub(in crate::cli) fn estimate(_: &native::Process, _: &Request) -> Option<StopEstimate> {
    None
}

/// Dumps a program that was started with `--exec`.
pub(in crate::cli) fn dump_program<T>(
    args: &BackendArgs,
    program: &mut Spawned,
    hold: HoldArg,
    dump: impl FnOnce(&mut dyn Writer) -> Result<T, Error>,
) -> Result<T, Error> {
    match SystemWriter::chosen(args, program.process_id(), hold)? {
        Some(mut system) => dump(&mut system),
        None => {
            program.hold_clone(hold == HoldArg::Clone);
            dump(program)
        }
    }
}

/// Refuses core files.
pub(in crate::cli) fn open_core(_: &Path) -> Result<OpenCore, Error> {
    let reason = "core files (--core) can be dumped on Linux only";
    Err(Error::InvalidRequest(reason.to_owned()))
}

/// Creates the file of a dump.
pub(in crate::cli) fn create_file(path: &Path, replace: bool) -> Result<FileSink, Error> {
    FileSink::create(path, replace)
}

/// Returns standard output, or the reason why a dump cannot be written to it.
pub(in crate::cli) fn standard_output() -> Result<File, String> {
    let handle = io::stdout().as_handle().try_clone_to_owned();
    let handle = handle.map_err(|error| format!("standard output cannot be written to: {error}"))?;
    Ok(File::from(handle))
}

/// Does nothing: which process reads from a pipe is not known.
#[expect(clippy::unnecessary_wraps, reason = "Linux can find out")]
pub(in crate::cli) fn check_reader(_: &FileSink, _: u32) -> Result<(), Error> {
    Ok(())
}

/// Returns the handle of standard error.
pub(in crate::cli) fn standard_error(stderr: &io::Stderr) -> BorrowedHandle<'_> {
    stderr.as_handle()
}

/// A live process and the DbgHelp that dumps it.
struct SystemWriter {
    dbghelp: DbgHelp,
    process: OpenProcess,
    /// The process snapshot that is dumped instead of the process, or the reason why it could not
    /// be made. `None` if no snapshot was requested.
    snapshot: Option<Result<ProcessSnapshot, String>>,
}

impl SystemWriter {
    /// Opens the process, makes a snapshot of it if `hold` requests one, and loads the selected
    /// DbgHelp. Returns `None` if dumpwright itself is to write the dump.
    fn chosen(args: &BackendArgs, pid: u32, hold: HoldArg) -> Result<Option<Self>, Error> {
        if args.of(true) != BackendArg::Dbghelp {
            return Ok(None);
        }
        let dbghelp = args
            .dbghelp
            .as_deref()
            .map_or_else(DbgHelp::system, DbgHelp::load)?;
        let process = OpenProcess::open(pid)?;
        Ok(Some(Self {
            dbghelp,
            process,
            snapshot: (hold == HoldArg::Clone).then(|| snapshot(pid)),
        }))
    }
}

fn snapshot(pid: u32) -> Result<ProcessSnapshot, String> {
    let made = native::process(pid).and_then(|process| process.snapshot());
    let made = made.map_err(|fault| fault.to_string())?;
    made.ok_or_else(|| "process snapshots require Windows 8.1 or later".to_owned())
}

impl Writer for SystemWriter {
    fn write(
        &mut self,
        request: &Request,
        callback: Option<&mut dyn Callback>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        let subject = match &self.snapshot {
            Some(Ok(snapshot)) => ProcessOrSnapshot::snapshot(snapshot),
            _ => self.process.subject(),
        };
        let mut report = dbghelp::dump(&self.dbghelp, subject, request, callback, sink)?;
        if let Some(Err(reason)) = &self.snapshot {
            let note = format!("was suspended, because no snapshot of it could be made: {reason}");
            report.diagnostics.push(Diagnostic::note(Subject::Process, note));
        }
        Ok(report)
    }

    fn engine(&self) -> Option<String> {
        let version = self.dbghelp.version();
        Some(version.map_or_else(|| "dbghelp".to_owned(), |version| format!("dbghelp {version}")))
    }
}

/// A process that is running.
pub(in crate::cli) struct RunningProcess {
    pub(in crate::cli) pid: u32,
    /// The names by which users know it.
    pub(in crate::cli) names: Vec<String>,
    /// The command line.
    pub(in crate::cli) command: String,
}

/// Lists the running processes.
///
/// # Errors
/// This is not supported on Windows yet.
pub(in crate::cli) fn processes() -> Result<Vec<RunningProcess>, String> {
    Err("on Windows, processes are dumped by their id only; tasklist lists the ids".to_owned())
}

/// Returns the name of the program that a process runs, for the name of its dump.
pub(in crate::cli) fn name_of(_: u32) -> Option<String> {
    None
}

/// Returns the name of this machine.
pub(in crate::cli) fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
