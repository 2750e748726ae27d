//! rust-minidump's `minidump-stackwalk`, built from crates.io with its own lock file.

use std::path::Path;

use xshell::{Shell, cmd};

const VERSION: &str = "0.27.0";

/// Builds it unless this very version is there. Unoptimised: that takes a fifth of the time of a release
/// build (2.5 minutes on two cores), and it still reads a dump of ours in under a second.
pub(super) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let folder = cache.join("rust-minidump");
    let program = folder.join("bin/minidump-stackwalk");
    if program.is_file()
        && cmd!(shell, "{program} --version")
            .quiet()
            .read()?
            .ends_with(VERSION)
    {
        return Ok(());
    }
    let build = folder.join("build");
    let package = format!("minidump-stackwalk@{VERSION}");
    cmd!(
        shell,
        "cargo install --locked --debug --force --root {folder} --target-dir {build} {package}"
    )
    .env("CARGO_PROFILE_DEV_DEBUG", "0")
    .env("CARGO_INCREMENTAL", "0")
    .run()?;
    shell.remove_path(&build)?;
    Ok(())
}
