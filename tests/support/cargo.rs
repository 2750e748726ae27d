//! Builds files for tests with cargo.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds `target` (such as `--package NAME`) for this machine. Returns the path of the file with
/// the name `file` that the build produces.
pub fn build(target: &[&str], file: &str) -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).args(target);
    run(&mut cargo, file)
}

/// Runs a `cargo build`. Returns the path of the file with the name `file` that it produces.
pub(crate) fn run(build: &mut Command, file: &str) -> PathBuf {
    let output = build
        .arg("--message-format=json")
        .current_dir(crate::repository())
        .output()
        .unwrap_or_else(|error| panic!("cannot run {build:?}: {error}"));
    assert!(
        output.status.success(),
        "{build:?} (is everything installed? cargo xtask readers, cargo xtask windows):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let messages = String::from_utf8(output.stdout).expect("JSON");
    let mut files = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let files = message["filenames"].as_array()?;
        let mut files = files.iter().filter_map(|file| file.as_str()).map(Path::new);
        let found = files.find(|path| path.file_name() == Some(OsStr::new(file)))?;
        Some(found.to_owned())
    });
    let built = files.next_back();
    built.unwrap_or_else(|| panic!("{build:?} has not built a file named {file}"))
}
