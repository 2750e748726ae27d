//! Microsoft's debugger engines, which wheels of the package `pykd` on the Python Package Index
//! contain. They are downloaded when they are needed, and are not in this repository.
//!
//! Their helper `symsrv.dll` is not extracted, so that no symbols are loaded from the network.

use std::path::Path;

use anyhow::{Context, bail};
use xshell::{Shell, cmd};

/// A version of the engine: `dbgeng.dll` and what it loads.
struct Engine {
    /// The folder in the cache. Tests use the same name.
    folder: &'static str,
    wheel: &'static str,
    /// The Python version of the wheel, in pip's notation.
    python: &'static str,
    /// The folder in the wheel that contains the DLLs.
    inside: &'static str,
    /// SHA-256 and name, in the format of `sha256sum`.
    files: &'static [(&'static str, &'static str)],
}

const ENGINES: &[Engine] = &[
    // From Windows 8.1. Its dbghelp.dll contains MiniDumpWriteDump itself.
    Engine {
        folder: "dbgeng-6.3",
        wheel: "pykd==0.3.0.37",
        python: "27",
        inside: "pykd-0.3.0.37.data/purelib/pykd",
        files: &[
            (
                "24f9011b792dd36afd20dc0148ffdaf3a2bd7eb9de441541df8c2361c5fb7c2a",
                "dbgeng.dll",
            ),
            (
                "194f116f4d2cdca4c17881e7fe99c78da38075a3974fec6a1e044f99e102f62c",
                "dbghelp.dll",
            ),
        ],
    },
    // 10.0.15063, from Windows 10. Its dbghelp.dll forwards MiniDumpWriteDump to a DLL that is not
    // in the wheel.
    Engine {
        folder: "dbgeng-10.0",
        wheel: "pykd==0.3.4.15",
        python: "38",
        inside: "pykd",
        files: &[
            (
                "3305a179960c726da112905582a9e00425c01c7cdb83a3909d535bb56272ef3d",
                "dbgeng.dll",
            ),
            (
                "35dabc9aca6beccc7b1bb80676fc7bbc6799447550da96489d47c74508384a02",
                "dbghelp.dll",
            ),
            (
                "fbb2c823a2d2e20070904ec8e2e4413e59b547136c3a00af0bc89c6b5bc902fa",
                "DbgModel.dll",
            ),
        ],
    },
];

/// Downloads the engines whose files are missing or have other checksums.
pub(super) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    for engine in ENGINES {
        let folder = cache.join(engine.folder);
        if !engine.is_whole(shell, &folder) {
            engine.fetch(shell, cache, &folder)?;
        }
    }
    Ok(())
}

impl Engine {
    fn is_whole(&self, shell: &Shell, folder: &Path) -> bool {
        let sums: String = self
            .files
            .iter()
            .map(|(sum, name)| format!("{sum}  {}\n", folder.join(name).display()))
            .collect();
        cmd!(shell, "sha256sum --check --status --strict -")
            .stdin(sums)
            .quiet()
            .ignore_stderr()
            .run()
            .is_ok()
    }

    fn fetch(&self, shell: &Shell, cache: &Path, folder: &Path) -> anyhow::Result<()> {
        let (wheel, version) = (self.wheel, self.python);
        let unpacked = shell.create_temp_dir()?;
        let into = unpacked.path();
        let python = cache.join("python/bin/python3");
        cmd!(
            shell,
            "{python} -m pip download --quiet --disable-pip-version-check --no-deps --dest {into} {wheel}"
        )
        .args(["--only-binary=:all:", "--platform", "win_amd64"])
        .args(["--python-version", version, "--implementation", "cp"])
        .run()?;
        let downloaded = shell.read_dir(into)?;
        let archive = downloaded.first().context("pip downloaded nothing")?;
        cmd!(shell, "{python} -m zipfile --extract {archive} {into}").run()?;
        shell.create_dir(folder)?;
        for (_, name) in self.files {
            shell.copy_file(into.join(self.inside).join(name), folder)?;
        }
        if !self.is_whole(shell, folder) {
            bail!(
                "the files of {wheel} in {} do not have the checksums in xtask/src/windows/microsoft.rs",
                folder.display()
            );
        }
        Ok(())
    }
}
