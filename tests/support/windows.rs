//! Windows programs, built here and run under Wine: ours, and those that mingw-w64 makes of C and C++.
//!
//! The test crate of the C library uses this file as well, so it needs nothing of its siblings.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// What a program under Wine has left.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    /// Without carriage returns.
    pub stdout: String,
    pub stderr: String,
}

/// `dumpwright.exe`, of the package in the root.
pub fn executable() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dumpwright", "dumpwright.exe"))
}

/// `dumpwright.dll`, the C library; its import library stands beside it.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dumpwright-capi", "dumpwright.dll"))
}

/// `dumps.exe`, the test program that links the library (`tests/windows_programs`).
pub fn dumps() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| example("dumps"))
}

/// Builds a package of the workspace as `.cargo/windows.toml` says; returns the file of this name.
pub fn build(package: &str, file: &str) -> PathBuf {
    build_target(&["--package", package], file)
}

/// Builds an example program of the package in the root.
pub fn example(name: &str) -> PathBuf {
    build_target(
        &["--package", "dumpwright", "--example", name],
        &format!("{name}.exe"),
    )
}

fn build_target(target: &[&str], file: &str) -> PathBuf {
    let root = repository();
    let output = Command::new(env!("CARGO"))
        .args(["--config", ".cargo/windows.toml", "build", "--quiet"])
        .args(target)
        .arg("--message-format=json")
        .current_dir(&root)
        .env("RUSTC_BOOTSTRAP", "1")
        // Set for this test by the cargo that runs it, and meant for its own target.
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo build for Windows (is everything there? cargo xtask windows):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).expect("JSON");
    let mut files = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        let mut files = files.iter().filter_map(|file| file.as_str()).map(PathBuf::from);
        files.find(|path| path.file_name() == Some(OsStr::new(file)))
    });
    files.next_back().expect("cargo names what it has built")
}

/// Compiles C or C++ for Windows; once for each source, its flags and its name. `inputs` are further files that it is made of.
pub fn compile(name: &str, source: &Path, flags: &[&str], inputs: &[PathBuf]) -> PathBuf {
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let (compiler, standard) = match is_cpp {
        true => ("x86_64-w64-mingw32-g++", "-std=c++17"),
        false => ("x86_64-w64-mingw32-gcc", "-std=gnu11"),
    };
    let folder = workshop();
    let program = folder.join(name);
    // Several tests may do this at once; each puts its own result in the place. A DLL knows its name.
    let workplace = tempfile::tempdir_in(&folder).expect("a folder of ours");
    let making = workplace.path().join(name);
    let output = Command::new(compiler)
        .args([standard, "-Wall", "-Wextra", "-Werror"])
        .args(["-static-libgcc", "-static-libstdc++"])
        .arg(source)
        .args(inputs)
        .arg("-o")
        .arg(&making)
        .args(flags)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}; cargo xtask windows installs it"));
    assert!(
        output.status.success(),
        "{compiler} {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&making, &program).expect("both are ours");
    program
}

/// A program with a PDB beside it, as Microsoft's tools make them; clang and its linker do.
///
/// The folder of both is named by what they are made of, so one folder serves all tests.
pub fn compile_with_pdb(name: &str, source: &Path) -> PathBuf {
    let text = fs::read(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let folder = workshop().join(format!("{:016x}", hasher.finish()));
    let program = folder.join(format!("{name}.exe"));
    if program.is_file() {
        return program;
    }
    // The runtime of mingw's own compiler, which clang does not look for here.
    let libgcc = Command::new("x86_64-w64-mingw32-gcc")
        .arg("-print-libgcc-file-name")
        .output();
    let libgcc = libgcc
        .unwrap_or_else(|error| panic!("x86_64-w64-mingw32-gcc: {error}; cargo xtask windows installs it"));
    let libgcc = PathBuf::from(String::from_utf8_lossy(&libgcc.stdout).trim());
    // The program names its PDB by the place where it was made, so it is made where it stays.
    let making = tempfile::tempdir_in(workshop()).expect("a folder");
    let output = Command::new("clang")
        .args([
            "--target=x86_64-w64-mingw32",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .args(["-O2", "-g", "-gcodeview", "-fuse-ld=lld"])
        .arg(format!("-Wl,--pdb={name}.pdb"))
        .arg(source)
        .args(["-o", &format!("{name}.exe")])
        .arg("-L")
        .arg(libgcc.parent().expect("it is in a folder"))
        .current_dir(making.path())
        .output()
        .unwrap_or_else(|error| panic!("clang: {error}; cargo xtask windows installs it"));
    assert!(
        output.status.success(),
        "clang {}:\n{}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    // Somebody else may have been faster, with the same result.
    if let Err(error) = fs::rename(making.path(), &folder) {
        assert!(program.is_file(), "{}: {error}", folder.display());
    }
    program
}

/// A folder that outlives the test run.
fn workshop() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("windows");
    fs::create_dir_all(&folder).expect("a folder of ours");
    folder
}

/// On Windows the program itself; elsewhere `wine PROGRAM`, in the folder that `cargo xtask windows` has made a Windows machine.
pub fn wine(program: &Path) -> Command {
    let mut command = match cfg!(windows) {
        true => Command::new(program),
        false => Command::new("wine"),
    };
    if !cfg!(windows) {
        in_prefix(command.arg(program));
    }
    command.stdin(Stdio::null());
    command
}

/// What such a command needs of its environment.
pub fn in_prefix(command: &mut Command) -> &mut Command {
    command
        .env("WINEPREFIX", cache().join("wine"))
        .env("WINEDEBUG", "-all")
        .env_remove("DISPLAY")
}

/// Runs a command under Wine to its end.
///
/// What it prints goes through files: Wine's server outlives the program, and would keep pipes open.
pub fn run(command: &mut Command) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| folder.path().join(name);
    let open = |name: &str| File::create(place(name)).expect("a file");
    let status = command
        .stdout(open("stdout"))
        .stderr(open("stderr"))
        .status()
        .unwrap_or_else(|error| {
            panic!("cannot run {command:?}: {error}\nIf it is not installed: cargo xtask windows")
        });
    let text = |name: &str| {
        let bytes = fs::read(place(name)).expect("the output");
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    Output {
        status,
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// A file of this machine as Wine names it: drive Z is the whole file system.
pub fn path(file: &Path) -> OsString {
    let mut name = OsString::from(if cfg!(windows) { "" } else { "Z:" });
    name.push(std::path::absolute(file).expect("a path"));
    name
}

/// What `cargo xtask windows` has brought: Wine's folder (`wine`), Microsoft's DLLs (`dbgeng-6.3`, `dbgeng-10.0`).
pub fn cache() -> PathBuf {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("DUMPWRIGHT_READERS")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("dumpwright-readers")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/dumpwright-readers")))
        .expect("one of DUMPWRIGHT_READERS, XDG_CACHE_HOME, HOME")
}

/// Microsoft's DbgHelp 6.3.9600, under a name that Wine has no DLL of its own for.
pub fn microsofts_dbghelp() -> PathBuf {
    let copy = workshop().join("msdbghelp.dll");
    let making = workshop().join(format!("{}.msdbghelp.dll", std::process::id()));
    let from = cache().join("dbgeng-6.3/dbghelp.dll");
    fs::copy(&from, &making)
        .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask windows installs it", from.display()));
    fs::rename(&making, &copy).expect("both are ours");
    copy
}

/// The root of the repository, from whichever package of it.
fn repository() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("xtask").is_dir());
    root.expect("the package is in the repository").to_owned()
}
