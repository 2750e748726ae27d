//! Programs of `tests/programs` that mount a file system in a namespace of their own and serve it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::child::Talking;

/// A mounted file system, with the program that serves it. It ends when this is dropped.
pub(crate) struct Mounted {
    pub(crate) program: Talking,
    folder: TempDir,
}

impl Mounted {
    /// Compiles the program `tests/programs/NAME.c`, and lets it mount a file system. `arguments`
    /// is given the folder for it. `None` if these tests do not run as root, because nobody else
    /// may mount.
    pub(crate) fn start(name: &str, arguments: impl FnOnce(&mut Command, &Path)) -> Option<Self> {
        if !crate::proc::is_root() {
            return None;
        }
        let program = crate::victim::helping(name);
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(program);
        arguments(&mut command, folder.path());
        let mut program = Talking::start(&mut command);
        assert_eq!(
            program.line().as_deref(),
            Some("READY {}"),
            "this test mounts a file system, which takes the right to do so (CAP_SYS_ADMIN) and /dev/fuse"
        );
        Some(Self { program, folder })
    }

    /// The folder in the mount namespace of the program.
    pub(crate) fn inside(&self) -> &Path {
        self.folder.path()
    }

    /// A path in that namespace, for programs in other ones, which do not list the mount.
    pub(crate) fn seen_from_outside(&self, inside: &Path) -> PathBuf {
        Path::new("/proc")
            .join(self.program.pid().to_string())
            .join("root")
            .join(inside.strip_prefix("/").unwrap_or(inside))
    }
}
