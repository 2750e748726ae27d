//! What several test files need: the library, built, and programs that use it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder with `libdumpwright.so` and `libdumpwright.a`, which cargo does not build for integration tests by itself.
pub fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "dumpwright-capi",
                "--message-format=json",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(
            output.status.success(),
            "cargo build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let messages = String::from_utf8(output.stdout).expect("JSON");
        let mut files = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let files = message["filenames"]
                .as_array()?
                .iter()
                .filter_map(|file| file.as_str());
            files
                .map(PathBuf::from)
                .find(|file| file.ends_with("libdumpwright.so"))
        });
        let library = files.next_back().expect("cargo names what it has built");
        library.parent().expect("it is in a folder").to_owned()
    })
}

/// What every program is compiled with.
const FLAGS: [&str; 6] = ["-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"];

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `tests/programs/SOURCE`, compiled and linked with the shared library.
pub fn program(source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let name = source.split('.').next().expect("a name");
    program_named(source, name, compiler, flags)
}

/// The same under another name.
pub fn program_named(source: &str, name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    program_of(&[source], name, compiler, flags)
}

/// The same of several sources.
pub fn program_of(sources: &[&str], name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let sources: Vec<_> = sources.iter().map(|source| folder.join(source)).collect();
    compile_all(&sources, name, compiler, flags)
}

/// A program of whatever place, compiled in a folder of its own and linked with the shared library.
pub fn compile(source: &Path, name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    compile_all(&[source.to_owned()], name, compiler, flags)
}

fn compile_all(sources: &[PathBuf], name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{compiler}{}", flags.join("").replace('/', "_")));
    std::fs::create_dir_all(&folder).expect("a folder of ours");
    let program = folder.join(name);
    // Several test processes, and several tests of one, may do this at once; each puts its own result in the place.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let making = folder.join(format!("{name}.{}-{number}", std::process::id()));
    let standard = if compiler.ends_with("++") {
        "-std=c++17"
    } else {
        "-std=gnu11"
    };
    let library = library();
    let output = Command::new(compiler)
        .arg(standard)
        .args(FLAGS)
        .args(flags)
        .arg("-I")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .args(sources)
        .arg("-o")
        .arg(&making)
        .arg("-L")
        .arg(library)
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .args(["-Wl,--as-needed", "-ldumpwright"])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}; cargo xtask readers installs it"));
    assert!(
        output.status.success(),
        "{compiler} {sources:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&making, &program).expect("both are ours");
    program
}
