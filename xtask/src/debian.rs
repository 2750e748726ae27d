//! What Debian's packages bring.

use anyhow::bail;
use xshell::{Shell, cmd};

/// A program that is needed, and the packages of Debian 12 that bring it.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// The system's Python: the one that Debian's packages extend, whatever stands first on the path.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// It, with the part that makes virtual environments: see [`lacks_venv`].
pub(crate) const PYTHON_WITH_VENV: Program = Program {
    name: "python3",
    packages: &["python3", "python3-venv"],
};

/// The packages of those programs that are missing.
pub(crate) fn missing(shell: &Shell, programs: &[Program]) -> Vec<&'static str> {
    let mut missing: Vec<_> = programs
        .iter()
        .filter(|program| !is_on_path(program.name))
        .flat_map(|program| program.packages.iter().copied())
        .collect();
    // Debian's python3 can be there without the part of it that makes virtual environments.
    if !missing.contains(&"python3-venv") && lacks_venv(shell) {
        missing.push("python3-venv");
    }
    missing
}

/// Installs packages; without root it says which they are.
pub(crate) fn install(shell: &Shell, packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let is_root = cmd!(shell, "id -u").quiet().read()? == "0";
    if !is_root || !is_on_path("apt-get") {
        bail!(
            "these packages are missing; as root: apt-get install {}",
            packages.join(" ")
        );
    }
    let install = |shell: &Shell| {
        cmd!(
            shell,
            "apt-get install --yes --no-install-recommends {packages...}"
        )
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
    };
    // Package lists that are old, or not there at all, are the usual reason for a failure here.
    if install(shell).is_err() {
        cmd!(shell, "apt-get update").run()?;
        install(shell)?;
    }
    Ok(())
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
