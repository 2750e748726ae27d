//! The folder that is a Windows machine to Wine: its registry and its drive C.

use std::path::Path;

use xshell::{Shell, cmd};

/// Makes it once; Wine itself brings it up to date when Wine has become newer.
pub(super) fn install(shell: &Shell, cache: &Path) -> anyhow::Result<()> {
    let prefix = cache.join("wine");
    if prefix.is_dir() {
        return Ok(());
    }
    // What was begun and not finished is begun anew.
    let making = cache.join("wine.making");
    shell.remove_path(&making)?;
    let wine = |command: xshell::Cmd<'_>| {
        command
            .env("WINEPREFIX", &making)
            .env("WINEDEBUG", "-all")
            // Nothing needs .NET and HTML; without this Wine offers, in a window, to download them.
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
            .env_remove("DISPLAY")
            .run()
    };
    wine(cmd!(shell, "wine wineboot --init"))?;
    // Its server writes the registry when it ends, which is seconds after the last program.
    wine(cmd!(shell, "wineserver --wait"))?;
    std::fs::rename(&making, &prefix)?;
    Ok(())
}
