//! Debian's packages: LLDB, compilers for the victims, tools.

use xshell::{Shell, cmd};

use crate::debian::{self, PYTHON, PYTHON_WITH_VENV, Program};

const PROGRAMS: &[Program] = &[
    // LLDB's Python module is a separate package. The reader script cannot run without it.
    Program {
        name: "lldb-19",
        packages: &["lldb-19", "python3-lldb-19"],
    },
    Program {
        name: "gcc",
        packages: &["gcc", "libc6-dev"],
    },
    // For the C library: another C compiler, C++, sanitizers, and programs that find libraries.
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
    // Counts instructions for tests/scale.
    Program {
        name: "valgrind",
        packages: &["valgrind"],
    },
    // Opens the pages of `show --html`, without a window.
    Program {
        name: "chromium-headless-shell",
        packages: &["chromium-headless-shell"],
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
        name: "zstd",
        packages: &["zstd"],
    },
    PYTHON_WITH_VENV,
];

/// Installs the packages of the programs that are missing. Without root, fails and lists them.
pub(super) fn install(shell: &Shell) -> anyhow::Result<()> {
    let mut missing = debian::missing(shell, PROGRAMS);
    // LLDB can be installed without its Python module.
    if !missing.contains(&"python3-lldb-19") && !lldb_has_python(shell) {
        missing.push("python3-lldb-19");
    }
    // gcc can be installed without the libraries for 32-bit programs.
    if !gcc_has_32_bits(shell) {
        missing.push("gcc-multilib");
    }
    // clang can be installed without its sanitizers.
    if !missing.contains(&"libclang-rt-14-dev") && !clang_has_sanitizers(shell) {
        missing.push("libclang-rt-14-dev");
    }
    // Validates the JSON of `show`.
    if !python_has_jsonschema(shell) {
        missing.push("python3-jsonschema");
    }
    debian::install(shell, &missing)
}

fn python_has_jsonschema(shell: &Shell) -> bool {
    cmd!(shell, "{PYTHON} -c")
        .arg("from jsonschema import Draft202012Validator")
        .ignore_stderr()
        .quiet()
        .run()
        .is_ok()
}

fn lldb_has_python(shell: &Shell) -> bool {
    cmd!(shell, "lldb-19 --batch --one-line")
        .arg("script import lldb; print(7 * lldb.eStateStopped)")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|output| output.lines().any(|line| line == "35"))
}

/// Whether gcc finds the 32-bit version of a file that it links into each program, in a folder of
/// its own. If there is none, gcc prints the bare name, or the 64-bit version if other packages
/// have installed libraries for 32-bit programs.
fn gcc_has_32_bits(shell: &Shell) -> bool {
    cmd!(shell, "gcc -m32 -print-file-name=crtbegin.o")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|file| file.ends_with("/32/crtbegin.o") && std::path::Path::new(&file).is_file())
}

fn clang_has_sanitizers(shell: &Shell) -> bool {
    const LIBRARY: &str = "libclang_rt.asan-x86_64.a";
    // If clang does not find a file, it prints the bare name.
    cmd!(shell, "clang -print-file-name={LIBRARY}")
        .quiet()
        .ignore_stderr()
        .read()
        .is_ok_and(|path| path.trim() != LIBRARY)
}
