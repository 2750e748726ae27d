//! The `dumpwright` command-line tool.

#![forbid(unsafe_code)]
// They panic when nothing can be printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
