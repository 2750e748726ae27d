//! Detects a process that was already frozen by its cgroup, for example by a container runtime or a
//! batch system.
//!
//! Threads in a frozen cgroup of version 2 stop for a tracer as usual, and stay frozen when
//! released. Threads in a frozen cgroup of version 1 are in uninterruptible sleep and do not stop.
//! Both were observed on Linux 6.18.

use std::path::{Path, PathBuf};

use dumpwright_target::{Diagnostic, Subject};

use crate::proc_dir::ProcDir;

/// The usual mount points of version 2, alone and beside version 1.
pub(crate) const VERSION_2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
/// The usual mount point of the freezer of version 1.
const VERSION_1: &str = "/sys/fs/cgroup/freezer";

/// Returns a note if the process's cgroup is frozen.
pub(crate) fn diagnostic(dir: &ProcDir) -> Option<Diagnostic> {
    let groups = dir.read("cgroup").unwrap_or_default();
    is_frozen(&String::from_utf8_lossy(&groups)).then(|| {
        Diagnostic::note(
            Subject::Process,
            "its cgroup is frozen: the process was not running before this dump, and it will not run after it",
        )
    })
}

/// Whether a cgroup in `groups` is frozen.
///
/// `groups` is the text of `/proc/PID/cgroup`: lines of number, controllers and path, separated by
/// colons.
fn is_frozen(groups: &str) -> bool {
    groups.lines().any(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            return false;
        };
        let path = Path::new(path.trim_start_matches('/'));
        match controllers {
            "" => VERSION_2
                .iter()
                .any(|root| says(Path::new(root).join(path).join("cgroup.events"), "frozen 1")),
            "freezer" => says(Path::new(VERSION_1).join(path).join("freezer.state"), "FROZEN"),
            _ => false,
        }
    })
}

fn says(file: PathBuf, line: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|text| text.lines().any(|l| l == line))
}

/// What this test would catch: a hostile text that makes the code look elsewhere or fail. (That a
/// frozen process can be dumped has a test of its own.)
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_frozen_group_is_none() {
        for groups in [
            "",
            "0::/",
            "0::/no/such/group\n1:freezer:/no/such\n",
            "::",
            "0",
            "x:freezer",
        ] {
            assert!(!is_frozen(groups), "{groups:?}");
        }
    }
}
