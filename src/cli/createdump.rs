//! `dumpwright createdump`: dumps a .NET program that crashes, in the place of .NET's own tool.
//!
//! The runtime starts a program with the name `createdump` and waits for it. So does this program
//! if it has that name, by a link for example. The options are those of the tool in .NET 5 to 11
//! (`src/coreclr/debug/createdump/createdumpmain.cpp` in the repository of the runtime). Up to
//! .NET 10, the id of the process is the last argument; later, the process is the parent.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{ArgAction, Args};
use dumpwright::{DumpType, KnownCrash, Request, dump, native};

use super::{backend, print, process};

/// The status of the tool for any failure, -1.
const FAILED: u8 = 255;

/// Dump the .NET process that has started this program
#[derive(Debug, Args)]
// -h selects a dump type.
#[command(disable_help_flag = true, args_override_self = true)]
pub(super) struct CreatedumpArgs {
    /// The file: %p is the process id, %e the program, %h the machine, %t the seconds since 1970
    #[arg(short = 'f', long, value_name = "PATTERN", default_value = "/tmp/coredump.%p")]
    name: String,

    /// Stacks, global variables and handles
    #[arg(short, long)]
    normal: bool,

    /// Also private memory (default)
    #[arg(short = 'h', long)]
    withheap: bool,

    /// Only what a first analysis needs
    #[arg(short, long)]
    triage: bool,

    /// All memory
    #[arg(short = 'u', long)]
    full: bool,

    /// The thread that has crashed
    #[arg(long, value_name = "TID", default_value_t = 0)]
    crashthread: u32,

    /// The number of the signal
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    signal: i32,

    /// The code of the signal
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_hyphen_values = true)]
    code: i32,

    /// The address of the fault, as a decimal number
    #[arg(long, value_name = "ADDRESS", default_value_t = 0, allow_hyphen_values = true)]
    address: i64,

    /// Write messages to this file
    #[arg(short, long, value_name = "FILE")]
    logtofile: Option<PathBuf>,

    /// Not supported: there is no report besides the dump
    #[arg(long)]
    crashreport: bool,

    /// Not supported: there is no report without a dump
    #[arg(long)]
    crashreportonly: bool,

    /// Print the help
    #[arg(long, short = '?', action = ArgAction::Help)]
    help: Option<bool>,

    // These have no effect.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, hide = true)]
    errno: Option<i32>,
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, hide = true)]
    exception_record: Option<i64>,
    #[arg(long, hide = true)]
    singlefile: bool,
    #[arg(long, hide = true)]
    nativeaot: bool,
    #[arg(short, long, hide = true)]
    diag: bool,

    /// The process; the default is the parent
    #[arg(value_name = "PID", value_parser = super::dump::pid)]
    pid: Option<u32>,
}

impl CreatedumpArgs {
    fn dump_type(&self) -> DumpType {
        let name = match self {
            Self { full: true, .. } => "full",
            Self { triage: true, .. } => "triage",
            Self { normal: true, .. } => "mini",
            _ => "heap",
        };
        DumpType::parse(name).expect("it is a preset")
    }

    fn file(&self, pid: u32) -> PathBuf {
        let program = backend::name_of(pid).unwrap_or_default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut file = String::new();
        let mut letters = self.name.chars();
        while let Some(letter) = letters.next() {
            match (letter, if letter == '%' { letters.next() } else { None }) {
                ('%', Some('p')) => file.push_str(&pid.to_string()),
                ('%', Some('e')) => file.push_str(&process::harmless(&program)),
                ('%', Some('h')) => file.push_str(&process::harmless(&backend::host())),
                ('%', Some('t')) => file.push_str(&since.as_secs().to_string()),
                ('%', other) => file.extend(other.or(Some('%'))),
                _ => file.push(letter),
            }
        }
        file.into()
    }

    /// What the runtime knows about the crash. A dump on request has none.
    fn known(&self) -> Option<KnownCrash> {
        (self.crashthread != 0 && self.signal != 0).then(|| KnownCrash {
            thread_id: self.crashthread,
            code: self.signal.cast_unsigned(),
            flags: self.code.cast_unsigned(),
            address: (self.address != 0).then_some(self.address.cast_unsigned()),
        })
    }

    fn write(&self, pid: u32, file: &Path) -> Result<dumpwright::Report, dumpwright::Error> {
        let mut request = Request::new(self.dump_type()).find_crash(true);
        if let Some(crash) = self.known() {
            request = request.known_crash(crash);
        }
        // The folder is usually /tmp, where other users may have created a pipe with the name.
        let refused = || {
            let reason = format!("{} exists already, and is no dump", file.display());
            dumpwright::Error::InvalidRequest(reason)
        };
        if std::fs::symlink_metadata(file).is_ok_and(|found| !found.is_file()) {
            return Err(refused());
        }
        // The tool replaces an existing file.
        let mut sink = backend::create_file(file, true)?;
        if sink.is_direct() {
            return Err(refused());
        }
        let mut target = native::process(pid)?;
        let report = dump(&mut target, &request, None, &mut sink)?;
        sink.publish()?;
        Ok(report)
    }
}

/// Names the command, if the program was started under its name.
pub(super) fn by_name(arguments: &mut Vec<OsString>) {
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == "createdump") {
        arguments.insert(1, "createdump".into());
    }
}

/// Makes the dump, and prints the lines that the tool prints.
///
/// # Errors
/// The log cannot be written.
pub(super) fn run(args: &CreatedumpArgs) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let pid = match args.pid {
        Some(pid) => pid,
        None => nix::unistd::getppid().as_raw().cast_unsigned(),
    };
    let say = |text: &str| match &args.logtofile {
        Some(log) => std::fs::write(log, text),
        None => print::error(&format!("[createdump] {text}")),
    };
    if args.crashreportonly {
        say("there is no crash report without a dump (--crashreportonly)\n")?;
        return Ok(ExitCode::from(FAILED));
    }
    let file = args.file(pid);
    match args.write(pid, &file) {
        Ok(report) => {
            let missing: String = report
                .missing()
                .map(|missing| format!("missing: {missing}\n"))
                .collect();
            say(&format!(
                "Dump successfully written to {} in {} ms\n{missing}",
                file.display(),
                begun.elapsed().as_millis()
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(&format!("{error}\n"))?;
            Ok(ExitCode::from(FAILED))
        }
    }
}
