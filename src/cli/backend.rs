//! The implementation that writes the dump: dumpwright itself or, on Windows, DbgHelp.
//!
//! Each operating system has a module with the same functions. They open a live process, dump a
//! program that was started with `--exec`, create the file of the dump, and return the system's
//! handles of the standard streams.

#[cfg_attr(windows, path = "backend/windows.rs")]
#[cfg_attr(not(windows), path = "backend/linux.rs")]
mod system;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use dumpwright::target::Exception;
use dumpwright::{Callback, Error, Report, Request, Sink, Target, dump};

pub(super) use system::{
    HoldArg, RunningProcess, check_reader, create_file, dump_program, estimate, hold, host, name_of,
    open_core, processes, standard_error, standard_output,
};

#[cfg(target_os = "linux")]
pub(super) use system::{process_ids, running};

/// Returns the name of the program that a process runs, for the name of its dump.
pub(super) fn program_of(pid: u32) -> String {
    name_of(pid).unwrap_or_else(|| "process".to_owned())
}

#[derive(Debug, Args)]
#[command(next_help_heading = super::dump::CALLBACK)]
pub(super) struct BackendArgs {
    /// Select the implementation that writes the dump
    ///
    /// The default is dbghelp for live processes on Windows, and dumpwright otherwise.
    #[arg(long, value_enum, value_name = "NAME")]
    backend: Option<BackendArg>,

    /// Use this DLL instead of the system's dbghelp.dll
    ///
    /// This option requires the dbghelp backend, which is the default for live processes on
    /// Windows.
    #[arg(long, value_name = "FILE")]
    dbghelp: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendArg {
    /// dumpwright itself
    Dumpwright,
    /// MiniDumpWriteDump of DbgHelp (only on Windows, and only for live processes)
    Dbghelp,
}

/// How long a process would be stopped for a dump.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopEstimate {
    /// If it is stopped until everything has been read.
    pub(super) stop: Duration,
    /// If it is cloned.
    pub(super) clone: Duration,
}

/// A core file that was opened.
#[cfg_attr(windows, allow(dead_code, reason = "only Linux opens core files"))]
pub(super) struct OpenCore {
    pub(super) target: Box<dyn Target>,
    /// The name of the program, if the core has it.
    pub(super) program: Option<String>,
    /// The signal that has killed the process, if one has.
    pub(super) exception: Option<Exception>,
}

/// Writes one dump.
pub(super) trait Writer {
    fn write(
        &mut self,
        request: &Request,
        callback: Option<&mut dyn Callback>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error>;

    /// Returns the name of the writer that goes into a transcript, or `None` for dumpwright itself.
    fn engine(&self) -> Option<String> {
        None
    }
}

/// Writes the dump with dumpwright itself.
impl<T: Target> Writer for T {
    fn write(
        &mut self,
        request: &Request,
        callback: Option<&mut dyn Callback>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        dump(self, request, callback, sink)
    }
}

impl Writer for OpenCore {
    fn write(
        &mut self,
        request: &Request,
        callback: Option<&mut dyn Callback>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error> {
        dump(&mut *self.target, request, callback, sink)
    }
}

impl BackendArgs {
    /// Returns an error if the options contradict each other or the kind of process: DbgHelp on a
    /// system other than Windows or for a simulated process, or a DLL for dumpwright's own
    /// implementation.
    pub fn check(&self, is_live: bool) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::InvalidRequest(reason.to_owned()));
        match self.of(is_live) {
            BackendArg::Dbghelp if !cfg!(windows) => refused("--backend dbghelp exists only on Windows"),
            BackendArg::Dbghelp if !is_live => refused("--backend dbghelp dumps only live processes"),
            BackendArg::Dumpwright if self.dbghelp.is_some() => {
                refused("--dbghelp requires --backend dbghelp")
            }
            _ => Ok(()),
        }
    }

    /// Returns the selected implementation, or the default.
    pub fn of(&self, is_live: bool) -> BackendArg {
        // DbgHelp is the default for live processes on Windows until dumpwright itself has been
        // tested on real Windows.
        let usual = match cfg!(windows) && is_live {
            true => BackendArg::Dbghelp,
            false => BackendArg::Dumpwright,
        };
        self.backend.unwrap_or(usual)
    }
}
