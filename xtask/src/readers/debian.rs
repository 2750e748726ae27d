//! What Debian has: LLDB, compilers for the victims, tools.

use anyhow::bail;
use xshell::{Shell, cmd};

/// A program that the tests run, and the package of Debian 12 that brings it.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
}

const PROGRAMS: &[Program] = &[
    // LLDB's Python module is a package of its own; without it the reader script cannot run.
    Program {
        name: "lldb-19",
        packages: &["lldb-19", "python3-lldb-19"],
    },
    Program {
        name: "gcc",
        packages: &["gcc", "libc6-dev"],
    },
    // For the C library: another C compiler, C++, sanitizers, what finds installed libraries.
    Program {
        name: "g++",
        packages: &["g++"],
    },
    Program {
        name: "clang",
        packages: &["clang", "libclang-rt-14-dev"],
    },
    Program {
        name: "cmake",
        packages: &["cmake", "make"],
    },
    Program {
        name: "pkg-config",
        packages: &["pkg-config"],
    },
    Program {
        name: "go",
        packages: &["golang-go"],
    },
    Program {
        name: "javac",
        packages: &["openjdk-17-jdk-headless"],
    },
    Program {
        name: "strace",
        packages: &["strace"],
    },
    Program {
        name: "file",
        packages: &["file"],
    },
    Program {
        name: "npm",
        packages: &["npm"],
    },
    Program {
        name: "tar",
        packages: &["tar"],
    },
    Program {
        name: "python3",
        packages: &["python3", "python3-venv"],
    },
];

/// Installs the packages of the programs that are missing; without root it says which they are.
pub(super) fn install(shell: &Shell) -> anyhow::Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|program| !is_on_path(program.name))
        .flat_map(|program| program.packages.iter().copied())
        .collect();
    // Debian's python3 can be there without the part of it that makes virtual environments.
    if !missing.contains(&"python3-venv")
        && cmd!(shell, "{PYTHON} -c {HAS_VENV}")
            .ignore_stderr()
            .quiet()
            .run()
            .is_err()
    {
        missing.push("python3-venv");
    }
    // The same holds for LLDB and its Python module.
    if !missing.contains(&"python3-lldb-19") && !lldb_has_python(shell) {
        missing.push("python3-lldb-19");
    }
    // And for the compiler and the libraries of 32-bit programs.
    if !gcc_has_32_bits(shell) {
        missing.push("gcc-multilib");
    }
    // And for clang and its sanitizers.
    if !missing.contains(&"libclang-rt-14-dev") && !clang_has_sanitizers(shell) {
        missing.push("libclang-rt-14-dev");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = cmd!(shell, "id -u").quiet().read()? == "0";
    if !is_root || !is_on_path("apt-get") {
        bail!(
            "these packages are missing; as root: apt-get install {}",
            missing.join(" ")
        );
    }
    let packages = &missing;
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

/// The system's Python: the one that Debian's packages extend, whatever stands first on the path.
pub(super) const PYTHON: &str = "/usr/bin/python3";
const HAS_VENV: &str = "import ensurepip, venv";

fn lldb_has_python(shell: &Shell) -> bool {
    cmd!(shell, "lldb-19 --batch --one-line")
        .arg("script import lldb; print(7 * lldb.eStateStopped)")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|output| output.lines().any(|line| line == "35"))
}

/// Whether gcc finds the 32-bit file that stands in each of its programs; it prints the bare name if it does not.
fn gcc_has_32_bits(shell: &Shell) -> bool {
    cmd!(shell, "gcc -m32 -print-file-name=crtbegin.o")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|file| std::path::Path::new(&file).is_file())
}

fn clang_has_sanitizers(shell: &Shell) -> bool {
    const LIBRARY: &str = "libclang_rt.asan-x86_64.a";
    // clang repeats the bare name of what it does not find.
    cmd!(shell, "clang -print-file-name={LIBRARY}")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|path| path.trim() != LIBRARY)
}

fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
