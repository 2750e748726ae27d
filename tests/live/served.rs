//! Files on file systems that another program serves, which may stop answering at any time.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::capture::{Capture, dump};
use crate::support::dumper::dumpwright;
use crate::support::hanging::Hanging;
use crate::support::victim::{self, Victim};

#[derive(Deserialize)]
struct Mapped {
    file: [u64; 2],
    first: u8,
}

/// How the target came by the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// The target's mounts show it.
    Mounted,
    /// Through the mount namespace of another process.
    FromOutside,
    /// It was unmounted since.
    Unmounted,
}

const EVERY_WAY: [Reached; 3] = [Reached::Mounted, Reached::FromOutside, Reached::Unmounted];

fn start(served: &mut Hanging, how: Reached, program: Option<&Path>) -> Victim {
    let file = match how {
        Reached::FromOutside => served.path_from_outside(),
        _ => served.path(),
    };
    let mut command = match (how, program) {
        (Reached::FromOutside, Some(program)) => Command::new(program),
        (Reached::FromOutside, None) => Command::new(&file),
        (_, Some(program)) => served.command(program),
        (_, None) => served.command(&file),
    };
    if program.is_some() {
        command.arg(&file);
    }
    let mut victim = Victim::start_command(&mut command);
    // It uses the pages that it needs later.
    victim.ping();
    if how == Reached::Unmounted {
        served.unmount();
    }
    victim
}

#[test]
fn a_mapped_file_whose_server_does_not_answer_is_no_reason_to_wait() {
    let folder = TempDir::new().unwrap();
    let (file, into) = (folder.path().join("data"), folder.path().join("dump"));
    std::fs::write(&file, vec![7; 4 << 20]).unwrap();
    for is_overlay in [false, true] {
        for how in EVERY_WAY {
            let Some(mut served) = Hanging::mount(&file, is_overlay) else {
                return;
            };
            let mut victim = start(&mut served, how, Some(&victim::live("mapped")));
            let truth: Mapped = victim.truth();
            assert_eq!(truth.first, 7);
            served.hang();
            for types in ["normal", "with-handle-data,with-code-segs,with-data-segs", "full"] {
                let result = dump(victim.pid(), types, &[], &into);
                let missing = result["missing"].to_string();
                let is_told = missing.contains("another program or machine");
                assert_eq!(
                    is_told,
                    types == "full",
                    "{is_overlay} {how:?} {types}: {missing}"
                );
            }
            // What the target has of it in memory is there.
            let bytes = dumpwright::read::Dump::open(&into)
                .unwrap()
                .memory(truth.file[0], 4096);
            assert!(bytes.unwrap().unwrap() == [7; 4096], "{is_overlay} {how:?}");
            victim.ping();
        }
    }
}

#[test]
fn a_program_whose_file_cannot_be_opened_is_dumped_with_its_identity() {
    let folder = TempDir::new().unwrap();
    let into = folder.path().join("dump");
    for program in [victim::live("plain"), victim::live_without_id("plain")] {
        keeps_its_identity(&program, &into);
    }
}

/// The identity is the same as if its file can be read.
fn keeps_its_identity(program: &Path, into: &Path) {
    let expected = {
        let own = Victim::start(program, &[""; 0]);
        identity(
            &Capture::of(own.pid(), "normal").path(),
            program.as_os_str().as_encoded_bytes(),
        )
    };
    for is_overlay in [false, true] {
        for how in EVERY_WAY {
            let Some(mut served) = Hanging::mount(program, is_overlay) else {
                return;
            };
            let mut victim = start(&mut served, how, None);
            for hangs in [false, true] {
                if hangs {
                    served.hang();
                }
                for types in ["normal", "full"] {
                    let result = dump(victim.pid(), types, &[], into);
                    assert_eq!(
                        identity(into, b"/file"),
                        expected,
                        "{is_overlay} {how:?} {types}: {result}"
                    );
                }
                victim.ping();
            }
        }
    }
}

/// The build id of the module whose name ends so.
fn identity(dump: &Path, name: &[u8]) -> String {
    let shown = crate::support::run_well(dumpwright().args(["show", "--json"]).arg(dump));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let name = String::from_utf8_lossy(name).into_owned();
    let module = shown["modules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|module| module["name"].as_str().unwrap().ends_with(&name));
    let module = module.unwrap_or_else(|| panic!("no {name}: {}", shown["modules"]));
    let id = module["code_id"].as_str().unwrap_or_default().to_owned();
    assert!(!id.is_empty(), "{module}");
    id
}
