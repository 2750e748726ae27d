//! Who writes the dump: dumpwright, or on Windows the system's DbgHelp.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dumpwright::{Callback, Error, Report, Request, Sink, Target, dump};

#[derive(Debug, Args)]
pub(super) struct BackendArgs {
    /// Who writes the dump; on Windows that is dbghelp for live processes, else dumpwright, which dbghelp cannot be for others
    #[arg(long, value_enum, value_name = "NAME")]
    backend: Option<Backend>,

    /// The DbgHelp for --backend dbghelp, in place of the system's
    #[arg(long, value_name = "FILE")]
    dbghelp: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// This program
    Dumpwright,
    /// MiniDumpWriteDump of the system's DbgHelp
    Dbghelp,
}

/// Writes one dump.
pub(super) trait Writer {
    fn write(
        &mut self,
        request: &Request,
        callback: Option<&mut dyn Callback>,
        sink: &mut dyn Sink,
    ) -> Result<Report, Error>;

    /// What a transcript names it; nothing for dumpwright itself.
    fn engine(&self) -> Option<String> {
        None
    }
}

/// Dumpwright writes dumps of all targets.
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

impl BackendArgs {
    /// Refuses what cannot be: DbgHelp without a process of this system, or a DbgHelp for dumpwright.
    pub fn check(&self, is_live: bool) -> Result<(), Error> {
        let refused = |reason: &str| Err(Error::InvalidRequest(reason.to_owned()));
        match self.of(is_live) {
            Backend::Dbghelp if !cfg!(windows) => refused("--backend dbghelp is for Windows"),
            Backend::Dbghelp if !is_live => refused("--backend dbghelp dumps live processes only"),
            Backend::Dumpwright if self.dbghelp.is_some() => refused("--dbghelp is for --backend dbghelp"),
            _ => Ok(()),
        }
    }

    /// Who writes.
    pub fn of(&self, is_live: bool) -> Backend {
        // A DbgHelp dumps live Windows processes unless another one is asked for, until dumpwright itself has been tried on real Windows.
        let usual = match cfg!(windows) && is_live {
            true => Backend::Dbghelp,
            false => Backend::Dumpwright,
        };
        self.backend.unwrap_or(usual)
    }
}

#[cfg(windows)]
pub(super) use system::System;

#[cfg(windows)]
mod system {
    use dumpwright::native::dbghelp::{self, DbgHelp, Process, Subject};
    use dumpwright::native::{self, ProcessSnapshot};
    use dumpwright::target::Subject as About;
    use dumpwright::{Callback, Error, Remark, Report, Request, Sink};

    use super::{BackendArgs, Writer};

    /// A process of this system, and the DbgHelp that dumps it.
    pub(in crate::cli) struct System {
        dbghelp: DbgHelp,
        process: Process,
        /// The copy of the process that is dumped in its place, or why there is none.
        snapshot: Option<Result<ProcessSnapshot, String>>,
    }

    impl System {
        /// Opens the process, or makes a copy of it, and loads the DbgHelp that the arguments name.
        pub(in crate::cli) fn open(args: &BackendArgs, pid: u32, clone: bool) -> Result<Self, Error> {
            let dbghelp = args
                .dbghelp
                .as_deref()
                .map_or_else(DbgHelp::system, DbgHelp::load)?;
            let process = Process::open(pid)?;
            Ok(Self {
                dbghelp,
                process,
                snapshot: clone.then(|| snapshot(pid)),
            })
        }
    }

    fn snapshot(pid: u32) -> Result<ProcessSnapshot, String> {
        let made = native::process(pid).and_then(|process| process.snapshot());
        let made = made.map_err(|fault| fault.to_string())?;
        made.ok_or_else(|| "this system has none (they came with Windows 8.1)".to_owned())
    }

    impl Writer for System {
        fn write(
            &mut self,
            request: &Request,
            callback: Option<&mut dyn Callback>,
            sink: &mut dyn Sink,
        ) -> Result<Report, Error> {
            let subject = match &self.snapshot {
                Some(Ok(snapshot)) => Subject::snapshot(snapshot),
                _ => self.process.subject(),
            };
            let mut report = dbghelp::dump(&self.dbghelp, subject, request, callback, sink)?;
            if let Some(Err(reason)) = &self.snapshot {
                let note = format!("was stopped, because there is no snapshot of it: {reason}");
                report.remarks.push(Remark::note(About::Process, note));
            }
            Ok(report)
        }

        fn engine(&self) -> Option<String> {
            let version = self.dbghelp.version();
            Some(version.map_or_else(|| "dbghelp".to_owned(), |version| format!("dbghelp {version}")))
        }
    }
}
