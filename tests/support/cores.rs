//! Core files that the kernel writes of victims.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::victim::testimony_in;

/// A victim that a signal has killed, and its core.
pub struct CoreOfVictim {
    folder: TempDir,
    pub path: PathBuf,
}

impl CoreOfVictim {
    /// Runs a victim that a signal will kill. Returns `None`, and says so, if the kernel writes
    /// cores elsewhere: `/proc/sys/kernel/core_pattern` must be `core`.
    ///
    /// # Panics
    /// If the kernel should have written a core, and has not.
    pub fn of(program: &Path, arguments: &[&str]) -> Option<CoreOfVictim> {
        let pattern = || std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
        let before = pattern();
        let folder = TempDir::new().unwrap();
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -c unlimited && exec \"$0\" \"$@\""])
            .arg(program)
            .args(arguments)
            .current_dir(folder.path())
            .env("VICTIM_TESTIMONY", folder.path().join("testimony"))
            .env("VICTIM_LEAVES_CORE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = shell.status().unwrap();
        assert!(status.signal().is_some(), "{arguments:?}: {status}");
        let files = std::fs::read_dir(folder.path()).unwrap();
        let mut paths = files.map(|entry| entry.unwrap().path());
        let is_core = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("core"))
        };
        let Some(path) = paths.find(is_core) else {
            // Other tests may change it in the meantime.
            let patterns = [before, pattern()].map(|pattern| pattern.trim().to_owned());
            assert_ne!(
                patterns,
                ["core", "core"],
                "{arguments:?}: the kernel wrote no core: {status}"
            );
            eprintln!("SKIPPED: core_pattern is {patterns:?}, and must be \"core\"");
            return None;
        };
        Some(CoreOfVictim { folder, path })
    }

    /// What the victim has said before.
    pub fn truth<T: DeserializeOwned>(&self) -> T {
        testimony_in(&self.beside("testimony"))
    }

    /// Returns the path of a file with this name, in the folder of the core.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}
