//! The Wine prefix: the folder with the registry and drive C of Wine's Windows system.

use std::path::Path;

use xshell::{Shell, cmd};

/// Creates the prefix once. A newer Wine updates it by itself.
pub(super) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let prefix = cache.join("wine");
    if prefix.is_dir() {
        return Ok(());
    }
    // An earlier attempt that did not finish is removed.
    let making = cache.join("wine.making");
    shell.remove_path(&making)?;
    let wine = |command: xshell::Cmd<'_>| {
        command
            .env("WINEPREFIX", &making)
            .env("WINEDEBUG", "-all")
            // .NET and HTML are not needed. Without this, Wine opens a window that offers to
            // download them.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .env_remove("DISPLAY")
            .run()
    };
    wine(cmd!(shell, "wine wineboot --init"))?;
    // Wine's server writes the registry when it ends, seconds after the last program.
    wine(cmd!(shell, "wineserver --wait"))?;
    std::fs::rename(&making, &prefix)?;
    Ok(())
}
