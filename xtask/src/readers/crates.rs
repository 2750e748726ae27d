//! Programs of the Rust world, built from crates.io with their own lock files.

use std::path::Path;

use xshell::{Shell, cmd};

/// One of them.
pub(crate) struct Crate {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The program, and the folder of the cache that it goes to.
    pub(crate) program: &'static str,
    pub(crate) folder: &'static str,
    /// What else `cargo install` is told.
    pub(crate) options: &'static [&'static str],
}

/// The judge of most tests.
pub(super) const MINIDUMP_STACKWALK: Crate = Crate {
    package: "minidump-stackwalk",
    version: "0.27.0",
    program: "minidump-stackwalk",
    folder: "rust-minidump",
    options: &[],
};

/// Makes Breakpad symbols of Windows programs, for it and its like.
pub(crate) const DUMP_SYMS: Crate = Crate {
    package: "dump_syms",
    version: "2.3.9",
    program: "dump_syms",
    folder: "dump_syms",
    // Without the part that asks symbol servers.
    options: &["--no-default-features", "--features", "cli"],
};

impl Crate {
    /// Builds it unless this very version is there. Unoptimised: that takes a fifth of the time of a release
    /// build (2.5 minutes on two cores for `minidump-stackwalk`), and it still reads a dump of ours in under a second.
    pub(crate) fn install(&self, shell: &Shell, cache: &Path) -> anyhow::Result<()> {
        let folder = cache.join(self.folder);
        let program = folder.join("bin").join(self.program);
        if program.is_file()
            && cmd!(shell, "{program} --version")
                .quiet()
                .read()?
                .ends_with(self.version)
        {
            return Ok(());
        }
        let build = folder.join("build");
        let package = format!("{}@{}", self.package, self.version);
        cmd!(
            shell,
            "cargo install --locked --debug --force --root {folder} --target-dir {build} {package}"
        )
        .args(self.options)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
        .run()?;
        shell.remove_path(&build)?;
        Ok(())
    }
}
