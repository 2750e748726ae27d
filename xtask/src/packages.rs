//! `cargo xtask packages`: makes and builds the packages for crates.io. Nothing is published.

use std::fmt::Write as _;

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// The packages that are only for this repository.
const ONLY_HERE: [&str; 3] = ["xtask", "dumpwright-fixtures", "dumpwright-windows-programs"];

/// The packages outside the workspace. Each has a lock file of its own.
const APART: [&str; 3] = ["bench", "fuzz", "platform/image/fuzz"];

/// Fails if a lock file of the packages outside the workspace does not fit to the manifests, which
/// only the next long run would notice.
fn check_locks(shell: &Shell) -> anyhow::Result<()> {
    for folder in APART {
        let manifest = format!("{folder}/Cargo.toml");
        cmd!(
            shell,
            "cargo update --quiet --workspace --locked --manifest-path {manifest}"
        )
        .run()
        .with_context(|| {
            format!(
                "{folder}/Cargo.lock is not up to date; cargo metadata --manifest-path {manifest} renews it"
            )
        })?;
    }
    Ok(())
}

/// Makes the packages of the workspace, unpacks them side by side, and checks that they compile
/// without the rest of the repository.
///
/// `cargo package` can build them itself, but it builds each with all its dependencies again. Here
/// they form one workspace with the usual target folder, so only the packages themselves are
/// compiled.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    check_locks(shell)?;
    let target = target_folder(shell);
    let packages = target.join("package");
    shell.remove_path(&packages)?;
    // A developer's working tree may have changes.
    cmd!(
        shell,
        "cargo package --quiet --workspace --no-verify --allow-dirty"
    )
    .run()?;
    let unpacked = packages.join("unpacked");
    shell.create_dir(&unpacked)?;
    let mut members = String::new();
    let mut patches = String::new();
    for file in shell.read_dir(&packages)? {
        let Some(folder) = file
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".crate"))
        else {
            continue;
        };
        let (name, _) = folder
            .rsplit_once('-')
            .context("a package's file is NAME-VERSION.crate")?;
        if ONLY_HERE.contains(&name) {
            continue;
        }
        cmd!(shell, "tar --extract --file {file} --directory {unpacked}").run()?;
        for license in ["LICENSE-MIT", "LICENSE-APACHE"] {
            // Not a link that was stored as a file with the name of its target.
            ensure!(
                shell.read_file(unpacked.join(folder).join(license))? == shell.read_file(license)?,
                "the package {name} has another {license} than the repository"
            );
        }
        writeln!(members, "    {folder:?},")?;
        writeln!(patches, "{name} = {{ path = {folder:?} }}")?;
    }
    // The profile is that of the repository. With another one, dependencies would be compiled
    // again.
    let manifest = format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\n{members}]\n\n[patch.crates-io]\n{patches}\n\
         [profile.dev]\ndebug = \"line-tables-only\"\n\
         [profile.dev.package.\"*\"]\ndebug = false\n"
    );
    shell.write_file(unpacked.join("Cargo.toml"), manifest)?;
    shell.copy_file("Cargo.lock", unpacked.join("Cargo.lock"))?;
    let _folder = shell.push_dir(&unpacked);
    cmd!(shell, "cargo check --quiet --workspace --offline")
        .env("CARGO_TARGET_DIR", &target)
        .run()?;
    Ok(())
}

/// Returns the folder in which cargo builds.
pub(crate) fn target_folder(shell: &Shell) -> std::path::PathBuf {
    let target = shell
        .var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| "target".to_owned());
    shell.current_dir().join(target)
}
