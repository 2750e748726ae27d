//! A file system whose server can stop answering: `tests/programs/hanging.c`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mounted::Mounted;

/// A mounted file system with one file. It ends when this is dropped.
pub struct Hanging(Mounted);

impl Hanging {
    /// Mounts a file system with a copy of `file`, or an overlay with that file system as a layer.
    /// `None` if these tests do not run as root.
    pub fn mount(file: &Path, is_overlay: bool) -> Option<Self> {
        let mounted = Mounted::start("hanging", |command, folder| {
            command
                .arg(folder)
                .arg(file)
                .args(is_overlay.then_some("overlay"));
        });
        mounted.map(Self)
    }

    /// The path of the file in the mount namespace of the server.
    pub fn path(&self) -> PathBuf {
        self.0.inside().join("file")
    }

    /// The path of the file for programs in other mount namespaces, which do not list the mount.
    pub fn path_from_outside(&self) -> PathBuf {
        self.0.seen_from_outside(&self.path())
    }

    /// Returns a command that runs a program in the mount namespace of the server.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.0.program.pid().to_string(), "--"])
            .arg(program);
        command
    }

    /// Makes the server stop answering.
    pub fn hang(&mut self) {
        self.obey("hang");
    }

    /// Unmounts everything lazily.
    pub fn unmount(&mut self) {
        self.obey("unmount");
    }

    fn obey(&mut self, word: &str) {
        self.0.program.tell(&format!("{word}\n"));
        assert_eq!(self.0.program.line().as_deref(), Some(word));
    }
}
