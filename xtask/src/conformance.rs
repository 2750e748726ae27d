//! `cargo xtask conformance`: compares the dialogues of the profiles with Microsoft's.

mod import;

use std::path::PathBuf;

use anyhow::bail;
use xshell::{Shell, cmd};

/// Prints how many of the recorded scenarios are reproduced, and each exception with its reason. It
/// does so in Rust with a simulated twin of the recorded process, in C with a live Linux process,
/// and in C under Wine with a Windows process and `dumpwright.dll`. With `--peers`, it also prints
/// how many the same program reproduces with Microsoft's own DLL. `--import FOLDER` first imports
/// the recordings of `cargo xtask record`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(2).collect();
    let peers = match &arguments[..] {
        [] => false,
        [option] if option == "--peers" => true,
        [option, folder] if option == "--import" => {
            import::run(shell, &PathBuf::from(folder))?;
            false
        }
        _ => bail!("usage: cargo xtask conformance [--peers | --import FOLDER]"),
    };
    cmd!(
        shell,
        "cargo test --quiet --test engine -- --nocapture conformance::"
    )
    .run()?;
    cmd!(
        shell,
        "cargo test --quiet --package dumpwright-capi --test dialogue -- --nocapture"
    )
    .run()?;
    let windows = |arguments: &[&str]| {
        cmd!(
            shell,
            "cargo test --quiet --package dumpwright-capi --test windows_dialogue -- --nocapture {arguments...}"
        )
    };
    windows(&["our_library"]).run()?;
    if peers {
        windows(&["microsofts_library"]).run()?;
    }
    Ok(())
}
