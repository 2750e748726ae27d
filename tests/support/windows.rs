//! Builds Windows programs and runs them under Wine: our own, and C and C++ programs that mingw-w64
//! compiles.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Once, OnceLock};
use std::time::{Duration, Instant};

use crate::child::KilledOnDrop;

/// The result of a program that ran under Wine.
#[derive(Debug, Clone)]
pub struct Output {
    pub status: ExitStatus,
    /// The standard output, without carriage returns.
    pub stdout: String,
    pub stderr: String,
}

/// Builds `dumpwright.exe`, the program of the root package.
pub fn executable() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dumpwright.exe"))
}

/// Builds `dumpwright.dll`, the C library. Its import library is in the same directory.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("dumpwright.dll"))
}

/// Builds `dumps.exe`, the test program that uses the library (`tests/windows_programs`).
pub fn dumps() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| program("dumps"))
}

/// Builds a program of `tests/windows_programs`.
pub fn program(name: &str) -> PathBuf {
    build(&format!("{name}.exe"))
}

/// All programs and the C library, in one command: cargo would compile dumpwright once more for
/// each set of features. `cargo xtask test` has run it before the tests.
const PACKAGES: [&str; 6] = [
    "--package",
    "dumpwright",
    "--package",
    "dumpwright-capi",
    "--package",
    "dumpwright-windows-programs",
];

/// Builds for Windows as `.cargo/windows.toml` says, and returns the file of this name.
fn build(file: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["--config", ".cargo/windows.toml", "build", "--quiet"])
        .args(PACKAGES)
        .env("RUSTC_BOOTSTRAP", "1")
        // The cargo that runs this test may have set it, but it is meant for its own target.
        .env_remove("CARGO_TARGET_DIR");
    crate::cargo::run(&mut cargo, file)
}

/// Compiles a C or C++ program for Windows. `inputs` are further files to compile or link.
pub fn compile(name: &str, source: &Path, flags: &[&str], inputs: &[PathBuf]) -> PathBuf {
    let is_cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let (compiler, standard) = match is_cpp {
        true => ("x86_64-w64-mingw32-g++", "-std=c++17"),
        false => ("x86_64-w64-mingw32-gcc", "-std=gnu11"),
    };
    let folder = scratch();
    let program = folder.join(name);
    // Several tests may do this at the same time, so each renames its own result. The file keeps
    // its name, because a DLL contains it.
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

/// Compiles a program with a PDB, like Microsoft's tools. Clang and its linker can do so.
///
/// Both are in a directory that is named after a hash of the source, so all tests share it.
pub fn compile_with_pdb(name: &str, source: &Path) -> PathBuf {
    let text = fs::read(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let folder = scratch().join(format!("{:016x}", hasher.finish()));
    let program = folder.join(format!("{name}.exe"));
    if program.is_file() {
        return program;
    }
    // The runtime library of mingw's compiler, which clang does not find by itself.
    let libgcc = Command::new("x86_64-w64-mingw32-gcc")
        .arg("-print-libgcc-file-name")
        .output();
    let libgcc = libgcc
        .unwrap_or_else(|error| panic!("x86_64-w64-mingw32-gcc: {error}; cargo xtask windows installs it"));
    let libgcc = PathBuf::from(String::from_utf8_lossy(&libgcc.stdout).trim());
    // Both files are created in a temporary directory, which is then renamed, so that no test sees
    // one without the other.
    let making = tempfile::tempdir_in(scratch()).expect("a folder");
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
    // Another process may have been faster, with the same result.
    if let Err(error) = fs::rename(making.path(), &folder) {
        assert!(program.is_file(), "{}: {error}", folder.display());
    }
    program
}

/// Returns a directory that outlives the test run.
fn scratch() -> PathBuf {
    let folder = crate::scratch().join("windows");
    fs::create_dir_all(&folder).expect("a folder of ours");
    folder
}

/// Returns a command that runs the program: the program itself on Windows, `wine PROGRAM`
/// elsewhere, in the Wine prefix that `cargo xtask windows` has created.
pub fn wine(program: &Path) -> Command {
    let mut command = match cfg!(windows) {
        true => Command::new(program),
        false => Command::new("wine"),
    };
    if !cfg!(windows) {
        keep_server();
        in_prefix(command.arg(program));
    }
    command.stdin(Stdio::null());
    command
}

/// Starts Wine's server so that it stays between two programs.
///
/// Debian's `wineserver` ends with the last program. The next one then starts a whole Windows
/// system, which takes over a second, and a program that comes while the server ends may hang.
///
/// The time is two hours, longer than all tests: Wine 8's server ends so long after a moment
/// without programs, even if programs have come since (seen with 120 seconds), and then they all
/// hang.
fn keep_server() {
    static KEPT: Once = Once::new();
    KEPT.call_once(|| {
        let mut server = Command::new("wineserver");
        server
            .arg("-p7200")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // It fails when a server runs already.
        let _ = in_prefix(&mut server).status();
    });
}

/// Sets the environment variables of a Wine command.
pub fn in_prefix(command: &mut Command) -> &mut Command {
    command
        .env("WINEPREFIX", cache().join("wine"))
        .env("WINEDEBUG", "-all")
        .env_remove("DISPLAY")
}

/// Runs a command under Wine until it ends.
///
/// Its output goes to files instead of pipes. Wine's server outlives the program, and would keep
/// the pipes open.
///
/// # Panics
///
/// When the command does not end.
pub fn run(command: &mut Command) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = |name: &str| folder.path().join(name);
    let open = |name: &str| File::create(place(name)).expect("a file");
    let mut child = KilledOnDrop(
        command
            .stdout(open("stdout"))
            .stderr(open("stderr"))
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run {command:?}: {error}\nIf it is not installed: cargo xtask windows")
            }),
    );
    let text = |name: &str| {
        let bytes = fs::read(place(name)).expect("the output");
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    let started = Instant::now();
    let mut stopped = StoppedThreads::default();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is a child of this process") {
            break status;
        }
        assert!(
            started.elapsed() < HANGS,
            "{command:?} has not ended within {HANGS:?}; it has printed\n{}\n{}",
            text("stdout"),
            text("stderr")
        );
        stopped.wake();
        std::thread::sleep(Duration::from_millis(2));
    };
    Output {
        status,
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// Threads of programs under Wine that were seen in a stop.
///
/// To read the memory of a process, Wine's server stops one of its threads by SIGSTOP. It waits
/// three seconds for the stop, and then forgets about it: on a busy machine the thread stays
/// stopped, and whoever waits for the process waits for ever (seen with Wine 8 at a load of 28).
#[derive(Default)]
struct StoppedThreads {
    looked: Option<Instant>,
    /// By thread, since when.
    since: HashMap<u32, Instant>,
}

impl StoppedThreads {
    /// Continues the programs, started by this process, that have such a thread.
    #[cfg(target_os = "linux")]
    fn wake(&mut self) {
        use crate::proc::{Stat, signal, task_ids};

        /// More often would cost time.
        const LOOK: Duration = Duration::from_secs(1);
        /// Longer than the server waits.
        const FORGOTTEN: Duration = Duration::from_secs(8);
        let now = Instant::now();
        if self.looked.is_some_and(|looked| now - looked < LOOK) {
            return;
        }
        self.looked = Some(now);
        let own = std::process::id();
        let mut stopped = HashMap::new();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        for pid in ids {
            if Stat::of(pid).is_none_or(|stat| stat.number(4) != u64::from(own)) {
                continue;
            }
            for thread in task_ids(pid) {
                if Stat::of(format!("{pid}/task/{thread}")).is_some_and(|stat| stat.state() == 'T') {
                    let since = self.since.get(&thread).copied().unwrap_or(now);
                    stopped.insert(thread, since);
                    if now - since > FORGOTTEN {
                        signal(pid, libc::SIGCONT);
                    }
                }
            }
        }
        self.since = stopped;
    }

    #[cfg(not(target_os = "linux"))]
    fn wake(&mut self) {
        let _ = (&self.looked, &self.since);
    }
}

/// A command that runs for longer hangs. The longest one makes 50 dumps, which takes 15 seconds on
/// an idle machine; 500 by hand.
const HANGS: Duration = Duration::from_secs(300);

/// Returns the path of a file as Wine sees it: drive Z is the root directory.
pub fn path(file: &Path) -> OsString {
    let mut name = OsString::from(if cfg!(windows) { "" } else { "Z:" });
    name.push(std::path::absolute(file).expect("a path"));
    name
}

/// Returns the directory in which `cargo xtask windows` installs Wine's prefix (`wine`) and
/// Microsoft's DLLs (`dbgeng-6.3`, `dbgeng-10.0`).
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

/// Returns a copy of Microsoft's DbgHelp 6.3.9600, with a name that no DLL of Wine has.
pub fn microsofts_dbghelp() -> PathBuf {
    let copy = scratch().join("msdbghelp.dll");
    let making = scratch().join(format!("{}.msdbghelp.dll", std::process::id()));
    let from = cache().join("dbgeng-6.3/dbghelp.dll");
    fs::copy(&from, &making)
        .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask windows installs it", from.display()));
    fs::rename(&making, &copy).expect("both are ours");
    copy
}
