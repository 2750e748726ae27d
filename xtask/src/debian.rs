//! Installs Debian packages.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use xshell::{Cmd, Shell, cmd};

/// How long apt may be blocked by another program that installs packages.
const LOCKED: Duration = Duration::from_secs(600);

/// A program that is needed, and the packages of Debian 12 that contain it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// The system's Python, which Debian's packages extend, whatever comes first on the path.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// The system's Python with the part that creates virtual environments; see [`lacks_venv`].
pub(crate) const PYTHON_WITH_VENV: Program = Program {
    name: "python3",
    packages: &["python3", "python3-venv"],
};

/// Returns the packages of the programs that are missing.
pub(crate) fn missing(shell: &Shell, programs: &[Program]) -> Vec<&'static str> {
    let mut missing: Vec<_> = programs
        .iter()
        .filter(|program| !is_on_path(program.name))
        .flat_map(|program| program.packages.iter().copied())
        .collect();
    // Debian's python3 can be installed without the part that creates virtual environments.
    if !missing.contains(&"python3-venv") && lacks_venv(shell) {
        missing.push("python3-venv");
    }
    missing
}

/// Installs packages. Without root, fails and lists them.
pub(crate) fn install(shell: &Shell, packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let is_root = cmd!(shell, "id -u").quiet().read()? == "0";
    if !is_root || !is_on_path("apt-get") {
        bail!(
            "packages are missing; run as root: apt-get install {}",
            packages.join(" ")
        );
    }
    let install = |shell: &Shell| {
        apt_get(shell)
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages)
            .run()
    };
    // The usual reason for a failure here is that package lists are old or missing.
    if install(shell).is_err() {
        update(shell, &[])?;
        install(shell)?;
    }
    Ok(())
}

/// Returns an `apt-get` command that waits while another program installs packages.
pub(crate) fn apt_get(shell: &Shell) -> Cmd<'_> {
    let wait = format!("DPkg::Lock::Timeout={}", LOCKED.as_secs());
    cmd!(shell, "apt-get --quiet -o {wait}").env("DEBIAN_FRONTEND", "noninteractive")
}

/// Fetches package lists, with further options for apt.
pub(crate) fn update(shell: &Shell, options: &[&str]) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let output = apt_get(shell)
            .arg("update")
            .args(options)
            .env("LC_ALL", "C")
            .ignore_status()
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        // The lists have a separate lock, for which apt 2.6 does not wait.
        if errors.contains("Could not get lock") && started.elapsed() < LOCKED {
            std::thread::sleep(Duration::from_secs(2));
            continue;
        }
        eprint!("{}{errors}", String::from_utf8_lossy(&output.stdout));
        ensure!(
            output.status.success(),
            "apt-get update failed: {}",
            output.status
        );
        return Ok(());
    }
}

fn lacks_venv(shell: &Shell) -> bool {
    cmd!(shell, "{PYTHON} -c")
        .arg("import ensurepip, venv")
        .ignore_stderr()
        .quiet()
        .run()
        .is_err()
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
