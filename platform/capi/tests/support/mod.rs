//! Shared by several test files: builds the library and programs that use it.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Builds the library and returns the folder with `libdumpwright.so` and `libdumpwright.a`. Cargo
/// does not build them for integration tests by itself.
pub fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let library =
            dumpwright_fixtures::cargo::build(&["--package", "dumpwright-capi"], "libdumpwright.so");
        library.parent().expect("it is in a folder").to_owned()
    })
}

/// The compiler flags for every program.
const FLAGS: [&str; 6] = ["-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"];

/// Compiles `tests/programs/SOURCE` and links it with the shared library. Returns the program.
pub fn program(source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let name = source.split('.').next().expect("a name");
    program_named(source, name, compiler, flags)
}

/// The same, with another name for the program.
pub fn program_named(source: &str, name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    program_of(&[source], name, compiler, flags)
}

/// The same, from several sources.
pub fn program_of(sources: &[&str], name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let sources: Vec<_> = sources.iter().map(|source| folder.join(source)).collect();
    compile_all(&sources, name, compiler, flags)
}

/// Compiles a source file in any folder and links it with the shared library. Returns the program.
pub fn compile(source: &Path, name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    compile_all(&[source.to_owned()], name, compiler, flags)
}

fn compile_all(sources: &[PathBuf], name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{compiler}{}", flags.join("").replace('/', "_")));
    let program = folder.join(name);
    std::fs::create_dir_all(program.parent().expect("it is in a folder")).expect("a folder of ours");
    // Several test processes, and several tests in one process, may do this at the same time. Each
    // compiles to a name of its own and then renames the result.
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
