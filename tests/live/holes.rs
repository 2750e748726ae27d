//! Unreadable pages inside mappings, and reserved address space, in every profile.

use serde::Deserialize;

use crate::capture::Capture;
use crate::support::victim::{self, Pattern, Victim};

#[derive(Deserialize)]
struct Holes {
    pid: u32,
    areas: Vec<Pattern>,
    /// A page with `MADV_GUARD_INSTALL`; 0 if the kernel does not support it.
    guard: u64,
    /// An address where a mapping continues after the end of its file.
    behind: u64,
    reserved: [u64; 2],
}

#[test]
fn holes_and_reservations_are_left_out_and_everything_else_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut victim = Victim::start(&victim::live("holes"), &[folder.path().join("file")]);
    let truth: Holes = victim.truth();
    for profile in ["documented", "dbghelp63", "dbghelp10"] {
        // Full memory, with and without 0x20000; private memory.
        for types in ["0x2", "0x20002", "0x802", "0x200"] {
            let capture = Capture::with(truth.pid, &["--profile", profile, "--type", types]);
            let is_private = types == "0x200";
            for area in &truth.areas {
                if area.length == 0 || is_private && area.name == "truncated" {
                    continue;
                }
                let bytes = capture.memory(&area.name, area.address, area.length);
                assert!(bytes == area.bytes(), "{profile} {types}: {}", area.name);
            }
            for hole in [truth.guard, truth.behind].into_iter().filter(|hole| *hole != 0) {
                let bytes = capture.dump.memory(hole, 1).unwrap();
                assert_eq!(bytes, None, "{profile} {types}: {hole:#x}");
            }
            // 64 GiB of untouched memory are not in the file, and the report lists them.
            let [start, end] = truth.reserved;
            let middle = start + (end - start) / 2;
            assert_eq!(capture.dump.memory(middle, 1).unwrap(), None, "{profile} {types}");
            let left_out = capture.result["left_out"].to_string();
            assert!(
                left_out.contains("never touched"),
                "{profile} {types}: {left_out}"
            );
            assert!(capture.dump.len() < 1 << 30, "{profile} {types}");
        }
    }
    victim.ping();
}
