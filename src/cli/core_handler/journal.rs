//! Where the handler reports what it did. It has no terminal.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dumpwright::target::printable;
use nix::fcntl::OFlag;

/// The file for the lines: that of `--log`, or the log of the kernel.
pub(super) struct Journal {
    file: Option<File>,
    prefix: &'static str,
}

impl Journal {
    pub(super) fn open(log: Option<&Path>) -> Self {
        let open = |path: &Path| {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
            let mut options = OpenOptions::new();
            options.append(true).mode(0o600).custom_flags(flags);
            options.create(log.is_some()).open(path).ok()
        };
        match log {
            Some(path) => Self {
                file: open(path),
                prefix: "",
            },
            // The number is the priority: a warning.
            None => Self {
                file: open(Path::new("/dev/kmsg")),
                prefix: "<4>",
            },
        }
    }

    /// Writes a line. Nobody could be told of a failure.
    pub(super) fn say(&self, text: &str) {
        // The kernel refuses longer messages.
        let text: String = printable(text).chars().take(800).collect();
        let line = format!("{}dumpwright: {text}\n", self.prefix);
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
