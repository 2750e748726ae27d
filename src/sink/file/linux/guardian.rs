//! A process that removes temporary files when the dumper is killed.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigSet, SigmaskHow};

/// The program that removes the temporary name of a [`FileSink`](crate::FileSink) when the dumper
/// is killed.
///
/// The program is started before a file gets a temporary name. On file systems without nameless
/// files this is when the sink is created. On others it is when a dump replaces an existing file,
/// and for that moment only.
///
/// The program must read its standard input to the end. If the input contains a byte, it must end
/// without doing anything. If the input is empty, it must remove the files after `--`, and the file
/// after `--if-empty` if that one is empty. It should also watch its parent, because a process that
/// the dumper has forked may keep the pipe open. Files that do not exist are no error. Its working
/// directory is the folder of the files. It starts with all signals blocked and in a process group
/// of its own, so a signal to all processes of a terminal or a service ends only the dumper.
///
/// ```no_run
/// # fn main() -> Result<(), dumpwright::Error> {
/// use dumpwright::{FileSink, Guardian};
///
/// let guardian = Guardian::new("/usr/bin/dumpwright", ["guard"]);
/// let sink = FileSink::create_guarded("server.dmp", false, guardian)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Guardian {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Guardian {
    /// Creates a guardian from a program and its first arguments. `dumpwright guard` is such a
    /// program.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// Starts the program. The files are removed when the watch is dropped or this process ends.
    pub(in super::super) fn watch(
        &self,
        folder: &Path,
        names: &[&OsStr],
        empty: Option<&OsStr>,
    ) -> io::Result<GuardianProcess> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(name) = empty {
            command.arg("--if-empty").arg(name);
        }
        command
            .arg("--")
            .args(names)
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let started = command.spawn();
        before.thread_set_mask()?;
        started.map(GuardianProcess)
    }
}

/// A running guardian.
#[derive(Debug)]
pub(in super::super) struct GuardianProcess(Child);

impl GuardianProcess {
    /// Ends the guardian without removing anything.
    pub(in super::super) fn forget(mut self) {
        if let Some(input) = &mut self.0.stdin {
            // This fails only if the guardian has ended already.
            drop(input.write_all(b"."));
        }
    }
}

impl Drop for GuardianProcess {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
