//! A crash handler for the program itself, on Linux: when it crashes, there is a dump.
//!
//! [`install`] starts a server, which is another process, and installs a handler for the signals by
//! which processes crash: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT (`abort`, a failed assertion, an
//! exception of C++ that nobody catches), SIGTRAP and SIGSYS. The handler passes the signal, with
//! the registers at that moment, to the server. The server dumps the process. Then the program dies
//! as it would have: its earlier handler runs, if it has one, the kernel writes its core file, and
//! its parent sees the same signal.
//!
//! ```no_run
//! use dumpwright::crash::{self, CrashOptions};
//!
//! fn main() -> Result<(), dumpwright::Error> {
//!     crash::install(&CrashOptions::new("/var/crash"))?;
//!     let _ = crash::annotate("release", env!("CARGO_PKG_VERSION"));
//!     // The work of the program.
//!     Ok(())
//! }
//! ```
//!
//! `docs/guide/crash-handler.md` in the repository says when this, the kernel's handler or another
//! way suits a program.
//!
//! # What the handler can be relied on for
//!
//! * It allocates nothing, takes no lock and calls no function of the C library. So it works while
//!   the heap is locked or broken.
//! * A stack overflow is handled in threads with an alternate signal stack: those of Rust's
//!   standard library, the one that calls [`install`], and those that have a [`SignalStack`].
//! * The program waits for its dump for a limited time ([`CrashOptions::limit`]), and not at all if
//!   the server has ended.
//! * It dumps once. If another thread crashes meanwhile, that thread waits. If the handler itself
//!   crashes, the program dies at once.
//! * A process that the program has forked has no server, and dies without a dump. It can call
//!   [`install`] again. So a daemon calls it after it has forked, and after it has closed the files
//!   that it inherited.
//! * A program that traps faults on purpose, such as a virtual machine, must install its own
//!   handlers after this one, and call the earlier handler for faults that are not its own.
//!   Handlers of SIGTRAP and SIGSYS that are there already stay. So does a signal that is ignored,
//!   unless a fault raises it.
//! * If another handler is installed later and does not call the earlier one, there is no dump.
//!
//! # Permissions
//!
//! The server must be permitted to trace the program. Where Yama requires it
//! (`kernel.yama.ptrace_scope` is 1), the handler names the server with `prctl(PR_SET_PTRACER)`
//! before it reports the crash; this replaces what the program had set itself. If the system
//! forbids tracing altogether, as in some containers, the handler says so on standard error.

mod name;
mod server;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::native::crash_handler::{self, CrashHandler};
#[doc(inline)]
pub use crate::native::crash_handler::{AnnotationError, SignalStack, annotate, remove_annotation};
use crate::{DumpType, Error};

pub use self::server::{ServerSettings, serve};

/// The command of a server, which is its first argument.
const COMMAND: &str = "crash-server";

/// The variable by which the program itself is asked to be the server.
const ASKED: &str = "DUMPWRIGHT_CRASH_SERVER";

/// Whether the program can be its own server: it has called [`serve_if_asked`].
static CAN_SERVE: AtomicBool = AtomicBool::new(false);

/// The program of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ServerProgram {
    Found,
    At(PathBuf),
    Itself,
}

/// What a crash handler does.
#[derive(Debug, Clone)]
pub struct CrashOptions {
    folder: PathBuf,
    name: String,
    dump_type: DumpType,
    policy: Option<PathBuf>,
    server: ServerProgram,
    limit: Duration,
    panics: bool,
    announces: bool,
}

impl CrashOptions {
    /// Creates options for dumps in this folder, which must exist, with the default for everything
    /// else.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            name: "%e.%p.%t.dmp".to_owned(),
            dump_type: DumpType::NORMAL,
            policy: None,
            server: ServerProgram::Found,
            limit: Duration::from_secs(30),
            panics: true,
            announces: true,
        }
    }

    /// Sets the pattern for the names of dumps. In it, `%e` is the name of the program, `%p` the
    /// process id, `%t` the time in UTC (as in `20261130-153000`), `%h` the name of the machine and
    /// `%%` a percent sign. The default is `%e.%p.%t.dmp`. An existing file is never replaced.
    #[must_use]
    pub fn name(mut self, pattern: impl Into<String>) -> Self {
        self.name = pattern.into();
        self
    }

    /// Sets the type of the dumps. The default is [`DumpType::NORMAL`]: threads with their stacks,
    /// and modules.
    #[must_use]
    pub fn dump_type(mut self, dump_type: DumpType) -> Self {
        self.dump_type = dump_type;
        self
    }

    /// Sets a policy file, which says what dumps contain and what they may cost
    /// (`docs/policies.md`). The server reads it when it starts.
    #[must_use]
    pub fn policy(mut self, file: impl Into<PathBuf>) -> Self {
        self.policy = Some(file.into());
        self
    }

    /// Sets the program of the server: dumpwright's command line. By default, `dumpwright` is
    /// looked for in the folder of the running program, and then in the folders of the variable
    /// `PATH`. A program with set-user-ID or capabilities has to name it.
    #[must_use]
    pub fn server(mut self, program: impl Into<PathBuf>) -> Self {
        self.server = ServerProgram::At(program.into());
        self
    }

    /// Makes the running program its own server: it is started again. Its `main` has to call
    /// [`serve_if_asked`] before anything else, otherwise [`install`] fails.
    #[must_use]
    pub fn server_is_this_program(mut self) -> Self {
        self.server = ServerProgram::Itself;
        self
    }

    /// Sets how long a crashed process waits for its dump. The default is 30 seconds.
    ///
    /// A full dump of a large process needs more. When the time has passed, the process dies, and
    /// there may be no dump.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sets whether the message of the last panic is an [annotation](annotate), with the key
    /// `panic`. The default is `true`. The panic hook that is there before still runs.
    ///
    /// A panic is a crash only if it aborts the program, with `panic = "abort"` for example. A
    /// panic that was caught stays in the annotation.
    #[must_use]
    pub fn panics(mut self, yes: bool) -> Self {
        self.panics = yes;
        self
    }

    /// Sets whether the handler writes a line to standard error: where the dump is, or why there is
    /// none. The default is `true`.
    #[must_use]
    pub fn announces(mut self, yes: bool) -> Self {
        self.announces = yes;
        self
    }

    /// Returns the arguments of the server.
    fn arguments(&self) -> Result<Vec<OsString>, Error> {
        // The server has another working directory.
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|error| Error::output("find", Some(path), error));
        let mut arguments: Vec<OsString> = vec![
            COMMAND.into(),
            "--client".into(),
            std::process::id().to_string().into(),
            "--dir".into(),
            absolute(&self.folder)?.into(),
            // Together, so that a pattern that begins with a hyphen is no option.
            format!("--name={}", self.name).into(),
            format!("--type={:#x}", self.dump_type.bits()).into(),
        ];
        if let Some(file) = &self.policy {
            arguments.extend(["--policy".into(), absolute(file)?.into()]);
        }
        Ok(arguments)
    }

    fn program(&self) -> Result<PathBuf, Error> {
        match &self.server {
            // The user of a set-user-ID program chooses PATH.
            ServerProgram::At(program)
                if crash_handler::is_privileged() && program.components().nth(1).is_none() =>
            {
                Err(Error::InvalidRequest(
                    "a program with set-user-ID or capabilities must name its crash server by a path".to_owned(),
                ))
            }
            // A name without a folder is looked for in PATH.
            ServerProgram::At(program) if program.components().nth(1).is_none() => Ok(program.clone()),
            ServerProgram::At(program) => absolute(program),
            ServerProgram::Itself if crash_handler::is_privileged() => Err(Error::InvalidRequest(
                "a program with set-user-ID or capabilities cannot be its own crash server".to_owned(),
            )),
            ServerProgram::Itself if CAN_SERVE.load(Ordering::SeqCst) => Ok("/proc/self/exe".into()),
            ServerProgram::Itself => Err(Error::InvalidRequest(
                "the program cannot be its own crash server, because its main has not called \
                 dumpwright::crash::serve_if_asked"
                    .to_owned(),
            )),
            ServerProgram::Found => found().ok_or_else(|| {
                Error::InvalidRequest(
                    "there is no crash server: the program dumpwright is neither next to this program nor in PATH; name \
                     it, or let this program be its own server"
                        .to_owned(),
                )
            }),
        }
    }
}

/// Returns the absolute path: the server has another working directory.
fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| Error::output("find", Some(path), error))
}

/// Looks for dumpwright's command line.
fn found() -> Option<PathBuf> {
    if crash_handler::is_privileged() {
        return None;
    }
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|program| Some(program.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside.into_iter().chain(std::env::split_paths(&path));
    folders
        // An empty entry would be the working directory.
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("dumpwright"))
        .find(|program| program.is_file())
}

/// Installs the crash handler in this process, and starts its server.
///
/// The server ends with the process. It is not a child of it, unless the process adopts orphans
/// (`PR_SET_CHILD_SUBREAPER`, or process 1 of a container). A second call replaces the server and
/// the options. The calling thread gets an alternate signal stack if it has none. The process gets
/// one SIGCHLD, because the process that starts the server ends.
///
/// # Errors
/// Fails if there is no server, if it cannot be started, or if it refuses the options: the folder
/// cannot be written to, or the policy has a mistake, for example. Nothing is installed then.
pub fn install(options: &CrashOptions) -> Result<(), Error> {
    crash_handler::install(&CrashHandler {
        program: options.program()?,
        arguments: options.arguments()?,
        variable: (options.server == ServerProgram::Itself).then_some((ASKED, "1")),
        limit: options.limit,
        announces: options.announces,
    })?;
    if options.panics {
        annotate_panics();
    }
    Ok(())
}

/// Keeps the message of each panic as an annotation.
fn annotate_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name").to_owned();
            let message = panic
                .payload()
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.payload().downcast_ref::<String>().cloned())
                .unwrap_or_default();
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            // "panic in a function that cannot unwind", or "in a destructor during cleanup": it
            // follows the panic that is the cause.
            if !message.starts_with("panic in a ") {
                // There is no way to report that the annotations are full.
                let _ = annotate("panic", &format!("thread {name}, {place}: {message}"));
            }
            earlier(panic);
        }));
    });
}

/// Serves, and ends the process, if the program was started to be its own crash server. Otherwise
/// it returns at once.
///
/// The program's `main` calls this first, before it starts threads or opens files, if its options
/// have [`CrashOptions::server_is_this_program`].
pub fn serve_if_asked() {
    CAN_SERVE.store(true, Ordering::SeqCst);
    // The user of a set-user-ID program chooses its environment and arguments.
    if std::env::var_os(ASKED).is_none() || crash_handler::is_privileged() {
        return;
    }
    let arguments = std::env::args_os().skip(2);
    let served = ServerSettings::parse(arguments).and_then(|settings| serve(&settings));
    std::process::exit(i32::from(served.is_err()));
}
