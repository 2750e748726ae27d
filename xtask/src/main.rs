//! `cargo xtask TASK`: the tasks of this repository other than building it. CI is one of them.

#![forbid(unsafe_code)]

mod bench;
mod bless;
mod capi;
mod ci;
mod conformance;
mod cost;
mod debian;
mod dist;
mod fuzz;
mod msrv;
mod packages;
mod readers;
mod record;
mod simulate;
mod test;
mod windows;

use std::path::Path;
use std::process::ExitCode;

use xshell::Shell;

/// A row of the table of tasks.
struct Task {
    name: &'static str,
    run: fn(&Shell) -> anyhow::Result<()>,
    help: &'static str,
}

/// The tasks. To add one, add a row and a file.
const TASKS: &[Task] = &[
    Task {
        name: "readers",
        run: readers::install,
        help: "install the independent readers that the tests need and that are missing",
    },
    Task {
        name: "windows",
        run: windows::install,
        help: "install Wine, compilers for Windows programs and Microsoft's debugger engine, if they are missing",
    },
    Task {
        name: "test",
        run: test::run,
        help: "run the tasks readers and windows, then every test of the workspace; nothing is skipped",
    },
    Task {
        name: "conformance",
        run: conformance::run,
        help: "conformance [--peers]: compare dialogues, results and dumps with recordings of Microsoft's DbgHelp; print the counts and each exception",
    },
    Task {
        name: "record",
        run: record::run,
        help: "record FOLDER [DLL]: record the dialogues of another DbgHelp, by default the system's on Windows, for conformance --import",
    },
    Task {
        name: "install-capi",
        run: capi::install,
        help: "install-capi PREFIX [PROFILE]: install the C library with header, pkg-config file and CMake package",
    },
    Task {
        name: "fuzz",
        run: fuzz::run,
        help: "fuzz [images|dumps|texts|proc] [SECONDS [SEED]]: with AddressSanitizer, test the C library with callbacks that answer with arbitrary bytes, or a parser with arbitrary input: images, dumps, scripts and scenarios, files of /proc",
    },
    Task {
        name: "simulate",
        run: simulate::run,
        help: "simulate [--seed N] [--count M]: random processes, faults, requests and answers, in every profile",
    },
    Task {
        name: "faults",
        run: test::faults,
        help: "dump a process again and again, while each system call fails in each way; an hour",
    },
    Task {
        name: "kills",
        run: test::kills,
        help: "dump a process again and again, while a signal comes at each system call; an hour",
    },
    Task {
        name: "bench",
        run: bench::run,
        help: "bench [WORKLOAD]... [--rounds N] [--divide N] [--folder FOLDER] [--quick]: measure dumpwright, other writers and a floor on live processes; print tables",
    },
    Task {
        name: "packages",
        run: packages::check,
        help: "make the packages for crates.io and compile them outside the repository; nothing is published",
    },
    Task {
        name: "dist",
        run: dist::run,
        help: "dist [linux|windows]: make the files that users install, in target/dist: static program, Debian package, archive for Windows; try each",
    },
    Task {
        name: "msrv",
        run: msrv::check,
        help: "build with the Rust version that the manifests name, or with the closest one that is available",
    },
    Task {
        name: "bless",
        run: bless::run,
        help: "renew the generated files that are committed",
    },
    Task {
        name: "ci",
        run: ci::run,
        help: "run all of CI: format, lints, documentation, tests, release build; ends with the cost of each step",
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let Some(task) = TASKS.iter().find(|task| Some(task.name) == name.as_deref()) else {
        if let Some(unknown) = name {
            eprintln!("there is no task {unknown:?}");
        }
        eprintln!("usage: cargo xtask TASK, where TASK is one of");
        for task in TASKS {
            eprintln!("    {:<12}  {}", task.name, task.help);
        }
        return ExitCode::from(2);
    };
    match in_repository().and_then(|shell| (task.run)(&shell)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask {}: {error:#}", task.name);
            ExitCode::FAILURE
        }
    }
}

/// Returns a shell in the root of the repository, wherever the task was started.
fn in_repository() -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        shell.change_dir(root);
    }
    Ok(shell)
}
