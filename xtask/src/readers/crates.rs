//! Programs written in Rust, built from crates.io with their own lock files.

use std::path::Path;

use xshell::{Shell, cmd};

/// A crate with a program.
pub(crate) struct Crate {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The program, and the folder in the cache where it is installed.
    pub(crate) program: &'static str,
    pub(crate) folder: &'static str,
    /// Further options for `cargo install`.
    pub(crate) options: &'static [&'static str],
}

/// The reader that most tests use.
pub(super) const MINIDUMP_STACKWALK: Crate = Crate {
    package: "minidump-stackwalk",
    version: "0.27.0",
    program: "minidump-stackwalk",
    folder: "rust-minidump",
    options: &[],
};

/// Makes Breakpad symbols of Windows programs, for readers of such symbols.
pub(crate) const DUMP_SYMS: Crate = Crate {
    package: "dump_syms",
    version: "2.3.9",
    program: "dump_syms",
    folder: "dump_syms",
    // Without access to symbol servers.
    options: &["--no-default-features", "--features", "cli"],
};

/// Builds the crates that are not installed in this version.
///
/// They are built without optimization, which takes a fifth of the time of a release build; they
/// still read one of dumpwright's dumps in under a second. They share a build folder, because half
/// of their dependencies are the same.
pub(crate) fn install(crates: &[Crate], shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let build = cache.join("build");
    for one in crates.iter().filter(|one| !one.is_there(shell, cache)) {
        let folder = cache.join(one.folder);
        let package = format!("{}@{}", one.package, one.version);
        cmd!(
            shell,
            "cargo install --locked --debug --force --root {folder} --target-dir {build} {package}"
        )
        .args(one.options)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false")
        .env("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false")
        .env("CARGO_INCREMENTAL", "0")
        .run()?;
    }
    shell.remove_path(&build)?;
    Ok(())
}

impl Crate {
    fn is_there(&self, shell: &Shell, cache: &Path) -> bool {
        let program = cache.join(self.folder).join("bin").join(self.program);
        program.is_file()
            && cmd!(shell, "{program} --version")
                .quiet()
                .read()
                .is_ok_and(|said| said.ends_with(self.version))
    }
}
