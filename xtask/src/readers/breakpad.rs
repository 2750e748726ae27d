//! Breakpad's own tools, from the npm package `minidump`, which contains them built for Linux.

use std::path::Path;

use xshell::{Shell, cmd};

const PACKAGE: &str = "minidump@0.26.0";
const ARCHIVE: &str = "minidump-0.26.0.tgz";
const TOOLS: [&str; 3] = ["minidump_stackwalk", "minidump_dump", "dump_syms"];

/// Extracts the three programs from the package. Nothing else of it is installed, and nothing is
/// run.
pub(super) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let folder = cache.join("breakpad");
    if TOOLS.iter().all(|tool| folder.join(tool).is_file()) {
        return Ok(());
    }
    let unpacked = shell.create_temp_dir()?;
    let into = unpacked.path();
    cmd!(shell, "npm pack --silent --pack-destination {into} {PACKAGE}").run()?;
    let archive = into.join(ARCHIVE);
    cmd!(
        shell,
        "tar --extract --file {archive} --directory {into} package/bin/linux-x64"
    )
    .run()?;
    shell.create_dir(&folder)?;
    for tool in TOOLS {
        let from = into.join("package/bin/linux-x64").join(tool);
        let to = folder.join(tool);
        cmd!(shell, "install --mode=755 {from} {to}").run()?;
    }
    Ok(())
}
