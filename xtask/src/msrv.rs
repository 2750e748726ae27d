//! `cargo xtask msrv`: checks that the Rust version in the manifests can build the libraries and
//! the command line.
//!
//! If rustup has that version, it is used; `.github/workflows/msrv.yml` is for a machine that can
//! download it. If only Debian's packages are available, the compiler that Debian 12 has for web
//! browsers (`rustc-web`, 1.85) is used, with the features enabled that became stable since then.
//! Code that it compiles is accepted by every later version. It has found an error that neither
//! clippy's `incompatible_msrv` nor cargo's resolver finds: an intrinsic that became safe to call
//! after 1.88.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::debian;
use crate::packages::target_folder;
use crate::readers;

/// The features that may be used and that became stable after Debian's compiler, but not after the
/// version in the manifests.
const FEATURES: [(&str, &str); 6] = [
    ("target_feature_11", "1.86"),
    ("trait_upcasting", "1.86"),
    ("integer_sign_cast", "1.87"),
    ("unsigned_is_multiple_of", "1.87"),
    ("let_chains", "1.88"),
    ("slice_as_chunks", "1.88"),
];

/// Debian's compiler, and the parts of its standard library that are separate packages.
const PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev"];

pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    let metadata = cmd!(shell, "cargo metadata --format-version 1").quiet().read()?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let declared = declared(&metadata)?;
    let too_new = newer_than(&metadata, declared);
    ensure!(
        too_new.is_empty(),
        "these packages of Cargo.lock need a newer Rust than {}: {}; `cargo update --package NAME` chooses a version that does not",
        show(declared),
        too_new.join(", ")
    );
    let target = target_folder(shell).join("msrv");
    let toolchain = show(declared);
    if cmd!(shell, "rustup run {toolchain} rustc --version")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_ok()
    {
        cmd!(
            shell,
            "rustup run {toolchain} cargo check --workspace --lib --bins"
        )
        .env("CARGO_TARGET_DIR", &target)
        .run()?;
        eprintln!("msrv: Rust {toolchain} builds libraries and command line");
        return Ok(());
    }
    let Some(compiler) = debians(shell)? else {
        eprintln!(
            "msrv: NOT BUILT with Rust {toolchain}: this machine has neither this toolchain nor an older compiler from Debian. \
             Only the Rust versions that dependencies require have been checked"
        );
        return Ok(());
    };
    let said = cmd!(shell, "{compiler} --version").quiet().read()?;
    let version = said.split(' ').nth(1).and_then(parse);
    let version =
        version.with_context(|| format!("the output of `rustc --version` has no version: {said:?}"))?;
    ensure!(
        version <= declared,
        "Debian's rustc-web is now {}, which is newer than {toolchain} and therefore shows nothing; remove it from xtask/src/msrv.rs",
        show(version)
    );
    let features: Vec<_> = FEATURES
        .iter()
        .filter(|(_, since)| parse(since).is_some_and(|since| since > version))
        .map(|(feature, _)| *feature)
        .collect();
    let flags = format!("-Awarnings -Zcrate-attr=feature({})", features.join(","));
    let built = cmd!(
        shell,
        "cargo check --quiet --ignore-rust-version --package dumpwright --package dumpwright-capi"
    )
    .env("RUSTC", &compiler)
    .env("RUSTC_BOOTSTRAP", "1")
    .env("RUSTFLAGS", flags)
    .env("CARGO_TARGET_DIR", &target)
    .run();
    if built.is_err() {
        bail!(
            "Rust {} does not build this. If it lacks a feature that is stable in {toolchain}, add the feature to \
             xtask/src/msrv.rs; otherwise write the code without it",
            show(version)
        );
    }
    eprintln!(
        "msrv: Rust {} builds libraries and command line, with these features that {toolchain} has in addition: {}",
        show(version),
        features.join(", ")
    );
    Ok(())
}

type Version = (u32, u32);

/// Parses `1.88` or `1.88.0`.
fn parse(text: &str) -> Option<Version> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn show((major, minor): Version) -> String {
    format!("{major}.{minor}")
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Returns the Rust version in the manifests of this repository.
fn declared(metadata: &Value) -> anyhow::Result<Version> {
    let ours = packages(metadata).find(|package| package["name"] == "dumpwright");
    let version = ours.and_then(|package| parse(package["rust_version"].as_str()?));
    version.context("dumpwright's manifest names no Rust version")
}

/// Returns the ids of the packages that libraries and programs are built from. Tests may need a
/// newer Rust: Microsoft's metadata (`windows-default`) requires 1.95.
fn built(metadata: &Value) -> HashSet<&str> {
    fn list(value: &Value) -> impl Iterator<Item = &Value> {
        value.as_array().into_iter().flatten()
    }
    let nodes: HashMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
        .filter_map(|node| Some((node["id"].as_str()?, &node["deps"])))
        .collect();
    let mut found = HashSet::new();
    let mut left: Vec<&str> = list(&metadata["workspace_members"])
        .filter_map(Value::as_str)
        .collect();
    while let Some(id) = left.pop() {
        if !found.insert(id) {
            continue;
        }
        let needed = list(nodes.get(id).copied().unwrap_or(&Value::Null))
            .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev"));
        left.extend(needed.filter_map(|dependency| dependency["pkg"].as_str()));
    }
    found
}

/// Returns the packages that are built and that require a newer Rust.
fn newer_than(metadata: &Value, declared: Version) -> Vec<String> {
    let built = built(metadata);
    packages(metadata)
        .filter(|package| package["id"].as_str().is_some_and(|id| built.contains(id)))
        .filter_map(|package| {
            let needed = package["rust_version"].as_str()?;
            let is_newer = parse(needed).is_none_or(|needed| needed > declared);
            is_newer.then(|| {
                let text = |key: &str| package[key].as_str().unwrap_or("?");
                format!("{} {} (Rust {needed})", text("name"), text("version"))
            })
        })
        .collect()
}

/// Unpacks Debian's compiler into the readers' folder and returns its path. It is not installed,
/// because it would take precedence over rustup's. Returns `None` if it is not available.
fn debians(shell: &Shell) -> anyhow::Result<Option<PathBuf>> {
    let folder = readers::cache()?.join("rustc-web");
    let compiler = folder.join("rustc");
    if compiler.is_file() {
        return Ok(Some(compiler));
    }
    let mut packages = PACKAGES.map(str::to_owned).to_vec();
    let Ok(dependencies) = cmd!(shell, "apt-cache depends libstd-rust-web-dev")
        .quiet()
        .ignore_stderr()
        .read()
    else {
        return Ok(None);
    };
    // `libstd-rust-web-1.85` contains the compiler's own libraries.
    let more = dependencies
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: libstd-rust-web-"));
    packages.extend(more.map(|version| format!("libstd-rust-web-{version}")));
    let downloads = shell.create_temp_dir()?;
    // apt writes here as a user of its own.
    let into = downloads.path();
    cmd!(shell, "chmod 777 {into}").quiet().run()?;
    let in_folder = shell.push_dir(into);
    debian::apt_get(shell).arg("download").args(&packages).run()?;
    drop(in_folder);
    // An earlier attempt that did not finish is removed.
    let making = folder.with_extension("making");
    shell.remove_path(&making)?;
    shell.remove_path(&folder)?;
    for package in shell.read_dir(into)? {
        cmd!(shell, "dpkg --extract {package} {making}").run()?;
    }
    let libraries = libraries(&folder);
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {} \"$@\"\n",
        folder.join("usr/bin/rustc").display()
    );
    shell.write_file(making.join("rustc"), script)?;
    let script = making.join("rustc");
    cmd!(shell, "chmod 755 {script}").run()?;
    std::fs::rename(&making, &folder)?;
    Ok(Some(compiler))
}

fn libraries(folder: &Path) -> String {
    ["usr/lib/x86_64-linux-gnu", "usr/lib"]
        .map(|place| folder.join(place).display().to_string())
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_need_a_newer_rust_are_named() {
        let package = |name: &str, version: &str, rust_version: Option<&str>| serde_json::json!({"id": name, "name": name, "version": version, "rust_version": rust_version});
        let needs =
            |name: &str, kind: Option<&str>| serde_json::json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = serde_json::json!({
            "packages": [
                package("dumpwright", "0.1.0", Some("1.88")),
                package("old", "1.0.0", Some("1.63.0")),
                package("silent", "1.0.0", None),
                package("new", "1.29.3", Some("1.89.0")),
                package("for-tests", "1.0.0", Some("1.95")),
                package("of-tests", "1.0.0", Some("1.95")),
            ],
            "workspace_members": ["dumpwright"],
            "resolve": {"nodes": [
                {"id": "dumpwright", "deps": [
                    needs("old", None), needs("silent", Some("build")), needs("for-tests", Some("dev")),
                ]},
                {"id": "old", "deps": [needs("new", None)]},
                {"id": "for-tests", "deps": [needs("of-tests", None)]},
            ]},
        });
        let declared = declared(&metadata).unwrap();
        assert_eq!(declared, (1, 88));
        assert_eq!(newer_than(&metadata, declared), ["new 1.29.3 (Rust 1.89.0)"]);
    }
}
