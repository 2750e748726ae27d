//! `cargo xtask install-capi PREFIX [PROFILE]`: the C library as C programs expect to find it.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// Builds the C library (by default for release) and puts libraries, header, pkg-config file and CMake package under PREFIX.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(2);
    let prefix = PathBuf::from(
        arguments
            .next()
            .context("where to? cargo xtask install-capi PREFIX")?,
    );
    let profile = arguments.next().unwrap_or_else(|| "release".to_owned());
    ensure!(
        prefix.is_absolute(),
        "PREFIX must be an absolute path, not {}",
        prefix.display()
    );
    let messages = cmd!(
        shell,
        "cargo build --quiet --package dumpwright-capi --profile {profile} --message-format=json"
    )
    .read()?;
    let [lib, include] = ["lib", "include"].map(|folder| prefix.join(folder));
    for library in ["libdumpwright.so", "libdumpwright.a"] {
        let built =
            path_ending(&messages, library).context("cargo does not say where it has put the library")?;
        copy(shell, built, &lib.join(library))?;
    }
    let source = Path::new("platform/capi");
    copy(
        shell,
        source.join("include/dumpwright.h"),
        &include.join("dumpwright.h"),
    )?;
    fill_in(shell, "dumpwright.pc.in", &lib.join("pkgconfig/dumpwright.pc"))?;
    let cmake = lib.join("cmake/dumpwright");
    fill_in(
        shell,
        "dumpwrightConfig.cmake",
        &cmake.join("dumpwrightConfig.cmake"),
    )?;
    fill_in(
        shell,
        "dumpwrightConfigVersion.cmake.in",
        &cmake.join("dumpwrightConfigVersion.cmake"),
    )
}

/// The file of this name in cargo's messages, which are JSON with one file name after the other.
fn path_ending<'m>(messages: &'m str, name: &str) -> Option<&'m str> {
    let mut quoted = messages.split('"').filter(|text| text.starts_with('/'));
    quoted.rfind(|path| Path::new(path).file_name().is_some_and(|file| file == name))
}

fn copy(shell: &Shell, from: impl AsRef<Path>, to: &Path) -> anyhow::Result<()> {
    shell.create_dir(to.parent().context("a file is in a folder")?)?;
    shell.copy_file(from, to)?;
    Ok(())
}

/// Puts a file of `package` in its place, with the version filled in.
fn fill_in(shell: &Shell, name: &str, to: &Path) -> anyhow::Result<()> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let compatible = VERSION.rsplit_once('.').map_or(VERSION, |(minor, _)| minor);
    let text = shell.read_file(Path::new("platform/capi/package").join(name))?;
    let text = text
        .replace("@VERSION@", VERSION)
        .replace("@COMPATIBLE@", compatible);
    shell.create_dir(to.parent().context("a file is in a folder")?)?;
    shell.write_file(to, text)?;
    Ok(())
}
