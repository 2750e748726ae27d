//! Whether somebody has frozen the process already: a container runtime that pauses, a batch system.
//!
//! Threads in a frozen cgroup of version 2 stop for a tracer as usual and stay frozen when let go. Those in a
//! frozen one of version 1 sleep uninterruptibly and do not stop (both observed on Linux 6.18).

use std::path::{Path, PathBuf};

use dumpwright_target::{Remark, Subject};

use crate::proc_dir::ProcDir;

/// Where the hierarchies are mounted by convention: version 2 alone, beside version 1, and version 1's freezer.
const VERSION_2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const VERSION_1: &str = "/sys/fs/cgroup/freezer";

/// What is worth knowing about the process' cgroup.
pub(crate) fn remark(dir: &ProcDir) -> Option<Remark> {
    let groups = dir.read("cgroup").unwrap_or_default();
    is_frozen(&String::from_utf8_lossy(&groups)).then(|| {
        Remark::note(
            Subject::Process,
            "its cgroup is frozen: it stood still before this dump, and does so after it",
        )
    })
}

/// `groups` is the text of `/proc/PID/cgroup`: lines of number, controllers and path, separated by colons.
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

/// What this test would catch: text that has us look anywhere, or fail. (That a frozen process is dumped is a test
/// of its own.)
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
