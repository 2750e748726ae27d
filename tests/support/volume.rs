//! File systems that lack what those of Linux have: `tests/programs/volume.c`.

use std::path::PathBuf;

use crate::mounted::Mounted;

/// A mounted volume. It ends when this is dropped.
pub struct Volume(Mounted);

impl Volume {
    /// Mounts one without nameless files, which also lacks what these words say. `None` if these
    /// tests do not run as root.
    pub fn mount(lacks: &[&str]) -> Option<Self> {
        let mounted = Mounted::start("volume", |command, folder| {
            command.arg(folder).args(lacks);
        });
        mounted.map(Self)
    }

    /// Its folder: a path that leads into the mount namespace of the program that serves it.
    pub fn path(&self) -> PathBuf {
        self.0.seen_from_outside(self.0.inside())
    }
}
