//! Readers from the Python Package Index, in a virtual environment.

use std::path::Path;

use xshell::{Shell, cmd};

use crate::debian::PYTHON;

const PACKAGES: [&str; 2] = ["minidump==0.0.24", "udmp-parser==0.7.0"];
const HAS_THEM: &str = "from importlib.metadata import version as v; \
    assert (v('minidump'), v('udmp-parser')) == ('0.0.24', '0.7.0')";

/// Creates the environment, unless it already has exactly these versions.
pub(crate) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let folder = cache.join("python");
    let python = folder.join("bin/python3");
    if python.exists()
        && cmd!(shell, "{python} -c {HAS_THEM}")
            .quiet()
            .ignore_stderr()
            .run()
            .is_ok()
    {
        return Ok(());
    }
    cmd!(shell, "{PYTHON} -m venv --clear {folder}").run()?;
    cmd!(
        shell,
        "{python} -m pip install --quiet --disable-pip-version-check {PACKAGES...}"
    )
    .run()?;
    Ok(())
}
