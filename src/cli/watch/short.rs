//! `dumpwright dump --exec`, the short form of `dumpwright watch --crash --exec`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use std::os::unix::process::ExitStatusExt;

use dumpwright::Error;
use dumpwright::native::{Launch, Outcome, Spawned};
use dumpwright::target::Target;
use serde_json::json;

use super::super::dump::{DumpArgs, NEVER, PreparedDump, is_folder, named_file, print_outcome};
use super::super::{FAILED, JSON_VERSION, backend, print};
use super::events::signal_name;
use super::session::{exit_status, pass_signals_to};
use super::supervise::{Supervision, supervise};

/// Runs the program, and dumps it if it crashes. Returns its exit status.
pub(in crate::cli) fn run_program(args: &DumpArgs) -> ExitCode {
    let output = args.make.spool().or(args.output.as_deref());
    let output = output.expect("required by --exec");
    let worked = supervise(true, true, |supervision| match work(args, output, supervision) {
        Ok(status) => status,
        Err(error) => print_outcome(args, output, Err(error), false),
    });
    worked.map_or_else(
        |error| {
            print::complain(format_args!("cannot receive signals: {error}"));
            ExitCode::from(FAILED)
        },
        ExitCode::from,
    )
}

fn work(args: &DumpArgs, output: &Path, supervision: &Supervision) -> Result<u8, Error> {
    args.make.check_early(true)?;
    let prepare = |file: &Path| {
        let prepared = PreparedDump::new(&args.make, &args.dialogue, true, file, args.force, None);
        prepared.map(|prepared| prepared.quiet(args.json))
    };
    let is_one = args.make.spool().is_none() && !is_folder(output);
    // One file is created before the program starts, so that it is known to be possible.
    let mut one = match is_one {
        true => Some(prepare(output)?),
        false => None,
    };
    let mut is_first = true;
    // If standard output is for the dump or for JSON, the program must not write to it.
    let to_stdout = output.as_os_str() == "-";
    let stderr = io::stderr();
    let elsewhere = (to_stdout || args.json).then(|| backend::standard_error(&stderr));
    let (name, arguments) = args.command.split_first().expect("required by --exec");
    let launch = Launch {
        mask: supervision.mask,
        traced: true,
    };
    let mut program = Spawned::supervise(name, arguments, elsewhere, launch)?;
    pass_signals_to(&program, supervision);
    let status = loop {
        match program.wait(NEVER)? {
            Outcome::Exited(status) => break status,
            Outcome::Elapsed => {}
            Outcome::Dying { signal, .. } => {
                let _held = supervision.dumping();
                let pid = program.process_id();
                let (file, prepared) = match is_one {
                    false => {
                        let process = (pid, &*backend::program_of(pid));
                        let file = named_file(output, &args.name, &args.make, process, args.force);
                        let prepared = prepare(&file);
                        (file, prepared)
                    }
                    true => match one.take() {
                        Some(prepared) => (PathBuf::from(output), Ok(prepared)),
                        None => {
                            print::complain(format_args!(
                                "process {pid} crashes as well ({}); it is not dumped, because --output is one file",
                                signal_name(signal)
                            ));
                            continue;
                        }
                    },
                };
                is_first = false;
                let written = prepared.and_then(|prepared| prepared.dump_program(&mut program));
                print_outcome(args, &file, written, false);
            }
        }
    };
    supervision.pass_to_nobody();
    if is_first && args.json {
        let text = format!("{}\n", nothing(output, status));
        // The program has run as it should; what cannot be printed does not change this.
        let _ = if to_stdout {
            print::error(&text)
        } else {
            print::output(&text)
        };
    }
    Ok(exit_status(status))
}

/// Returns the JSON object for a program that has ended without a dump.
fn nothing(output: &Path, status: ExitStatus) -> serde_json::Value {
    json!({
        "version": JSON_VERSION,
        "file": output.to_string_lossy(),
        "status": "none",
        "exit_code": status.code(),
        "signal": status.signal().map(signal_name),
    })
}
