//! The source of Rust's standard library. A target for which there is no prebuilt one needs it.
//!
//! With rustup, it is the component `rust-src`. Debian has it as a package, which must have exactly
//! the version of the compiler; Debian 13's backports contain several. Only the source is extracted
//! from it. Nothing is installed, and the machine's own list of package archives is not changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::{Shell, cmd};

use crate::debian;

/// The suite of Debian's archive that has the latest compilers for a stable release.
const SUITE: &str = "trixie-backports";

/// Copies the source to where cargo looks for it, if it is not there.
pub(super) fn install(shell: &Shell) -> anyhow::Result<()> {
    let sysroot = PathBuf::from(cmd!(shell, "rustc --print sysroot").quiet().read()?);
    let place = sysroot.join("lib/rustlib/src/rust");
    if place.join("library/std/Cargo.toml").is_file() {
        return Ok(());
    }
    from_debian(shell, &place).with_context(|| {
        format!(
            "the source of the standard library is not in {}, and Debian's package could not be used; with rustup, run: rustup component add rust-src",
            place.display()
        )
    })
}

fn from_debian(shell: &Shell, place: &Path) -> anyhow::Result<()> {
    let version = cmd!(shell, "rustc --version").quiet().read()?;
    let version = version
        .split(' ')
        .nth(1)
        .context("the output of `rustc --version` has no version")?;
    let folder = shell.create_temp_dir()?;
    let folder = folder.path();
    // apt reads and writes here as a user of its own.
    cmd!(shell, "chmod 755 {folder}").quiet().run()?;
    let sources = folder.join("debian.sources");
    shell.write_file(&sources, archive(shell)?)?;
    let lists = folder.join("lists");
    shell.create_dir(&lists)?;
    let options = [
        format!("Dir::Etc::sourcelist={}", sources.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
    ];
    let options: Vec<_> = options.iter().flat_map(|option| ["-o", option]).collect();
    debian::update(shell, &options)?;
    let in_folder = shell.push_dir(folder);
    let package = format!("rust-src={version}*");
    debian::apt_get(shell)
        .args(["download", &package])
        .args(&options)
        .run()?;
    drop(in_folder);
    let files = shell.read_dir(folder)?;
    let package = files
        .iter()
        .find(|file| file.extension().is_some_and(|kind| kind == "deb"));
    let package = package.context("apt downloaded no package")?;
    let unpacked = folder.join("unpacked");
    cmd!(shell, "dpkg --extract {package} {unpacked}").run()?;
    let library = unpacked.join(format!("usr/src/rustc-{version}/library"));
    ensure!(library.is_dir(), "Debian's package has no {}", library.display());
    shell.create_dir(place)?;
    // Copied under another name first, because cargo would use an incomplete copy.
    let (making, done) = (place.join("library.making"), place.join("library"));
    shell.remove_path(&making)?;
    cmd!(shell, "cp --recursive {library} {making}").run()?;
    std::fs::rename(&making, &done)?;
    Ok(())
}

/// Returns the machine's own Debian archive, with another suite, in the format of a `.sources`
/// file.
fn archive(shell: &Shell) -> anyhow::Result<String> {
    let file = "/etc/apt/sources.list.d/debian.sources";
    let text = shell
        .read_file(file)
        .context("cannot find out which Debian archive this machine uses")?;
    let stanza = text
        .split("\n\n")
        .find(|stanza| stanza.contains("Suites:") && !stanza.contains("-security"));
    let Some(stanza) = stanza else {
        bail!("{file} has no entry for Debian's archive");
    };
    let lines = stanza.lines().filter(|line| !line.starts_with('#')).map(|line| {
        if line.starts_with("Suites:") {
            format!("Suites: {SUITE}\n")
        } else {
            format!("{line}\n")
        }
    });
    Ok(lines.collect())
}
