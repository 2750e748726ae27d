//! `cargo xtask conformance`: how far the dialogues of the profiles are Microsoft's.

mod import;

use std::path::PathBuf;

use anyhow::bail;
use xshell::{Shell, cmd};

/// Prints how many of the recorded scenarios are equal: in Rust with a twin made of data, in C with a live Linux process, in C under Wine
/// with a Windows process and `dumpwright.dll`; and each exception with its reason. With `--peers`, what the same program makes of
/// Microsoft's own DLL. `--import FOLDER` takes what `cargo xtask record` has left, before.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(2).collect();
    let peers = match &arguments[..] {
        [] => false,
        [option] if option == "--peers" => true,
        [option, folder] if option == "--import" => {
            import::run(shell, &PathBuf::from(folder))?;
            false
        }
        _ => bail!("cargo xtask conformance [--peers | --import FOLDER]"),
    };
    cmd!(
        shell,
        "cargo test --quiet --no-default-features --features file --test conformance -- --nocapture"
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
