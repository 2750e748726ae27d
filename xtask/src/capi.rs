//! `cargo xtask install-capi PREFIX [PROFILE]`: installs the C library for C programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// Builds the C library, by default with the profile `release`, and installs libraries, headers,
/// pkg-config files and the CMake package under PREFIX.
pub(crate) fn install(shell: &Shell) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(2);
    let prefix = PathBuf::from(
        arguments
            .next()
            .context("no PREFIX is given; usage: cargo xtask install-capi PREFIX [PROFILE]")?,
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
        let built = path_ending(&messages, library)
            .with_context(|| format!("cargo reported no path of {library}"))?;
        copy(shell, built, &lib.join(library))?;
    }
    let source = Path::new("platform/capi");
    for folder in ["", "dumpwright"] {
        for header in shell.read_dir(source.join("include").join(folder))? {
            if let (true, Some(name)) = (header.is_file(), header.file_name()) {
                copy(shell, &header, &include.join(folder).join(name))?;
            }
        }
    }
    // Programs for Windows spell these names in many ways, because its file systems ignore case.
    for (spelling, header) in [
        ("Windows.h", "windows.h"),
        ("WINDOWS.H", "windows.h"),
        ("DbgHelp.h", "dbghelp.h"),
        ("Dbghelp.h", "dbghelp.h"),
        ("MiniDumpApiSet.h", "minidumpapiset.h"),
    ] {
        let text = format!("#include \"{header}\"\n");
        shell.write_file(include.join("dumpwright").join(spelling), text)?;
    }
    for name in ["dumpwright", "dumpwright-windows"] {
        let file = lib.join("pkgconfig").join(name).with_extension("pc");
        fill_in(shell, &format!("{name}.pc.in"), &file)?;
    }
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

/// Returns the path of the file with this name in cargo's messages, which are JSON.
pub(crate) fn path_ending<'m>(messages: &'m str, name: &str) -> Option<&'m str> {
    let mut quoted = messages.split('"').filter(|text| text.starts_with('/'));
    quoted.rfind(|path| Path::new(path).file_name().is_some_and(|file| file == name))
}

fn copy(shell: &Shell, from: impl AsRef<Path>, to: &Path) -> anyhow::Result<()> {
    shell.create_dir(to.parent().context("a file is in a folder")?)?;
    shell.copy_file(from, to)?;
    Ok(())
}

/// Copies a file of `package` and fills in the version.
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
