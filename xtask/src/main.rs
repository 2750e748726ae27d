//! `cargo xtask TASK`: what one does with this repository besides building it. CI is nothing but one of
//! these tasks.

#![forbid(unsafe_code)]

mod bless;
mod capi;
mod ci;
mod conformance;
mod debian;
mod fuzz;
mod readers;
mod record;
mod test;
mod windows;

use std::path::Path;
use std::process::ExitCode;

use xshell::Shell;

/// One row of the table of tasks.
struct Task {
    name: &'static str,
    run: fn(&Shell) -> anyhow::Result<()>,
    help: &'static str,
}

/// Adding a task is adding a row here, and its file.
const TASKS: &[Task] = &[
    Task {
        name: "readers",
        run: readers::install,
        help: "install the independent readers that the tests need and that are missing",
    },
    Task {
        name: "windows",
        run: windows::install,
        help: "install what runs Windows programs and Microsoft's debugger engine here, if it is missing",
    },
    Task {
        name: "test",
        run: test::run,
        help: "readers and windows, then every test of the workspace; nothing is skipped",
    },
    Task {
        name: "conformance",
        run: conformance::run,
        help: "conformance [--peers]: compare dialogues, results and dumps with recordings of Microsoft's DbgHelp; print the counts and each exception",
    },
    Task {
        name: "record",
        run: record::run,
        help: "record FOLDER [DLL]: the dialogues of another DbgHelp, on Windows the system's, for conformance --import",
    },
    Task {
        name: "install-capi",
        run: capi::install,
        help: "install-capi PREFIX [PROFILE]: the C library with header, pkg-config file and CMake package",
    },
    Task {
        name: "fuzz",
        run: fuzz::run,
        help: "fuzz [SECONDS [SEED]]: the C library under AddressSanitizer, with callbacks that answer with arbitrary bytes",
    },
    Task {
        name: "bless",
        run: bless::run,
        help: "renew what is generated and committed",
    },
    Task {
        name: "ci",
        run: ci::run,
        help: "the whole of CI: format, lints, documentation, test, release build",
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next();
    let Some(task) = TASKS.iter().find(|task| Some(task.name) == name.as_deref()) else {
        if let Some(unknown) = name {
            eprintln!("no task is called {unknown:?}");
        }
        eprintln!("cargo xtask TASK, where TASK is one of");
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

/// A shell in the root of the repository, wherever the task was called from.
fn in_repository() -> anyhow::Result<Shell> {
    let shell = Shell::new()?;
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        shell.change_dir(root);
    }
    Ok(shell)
}
