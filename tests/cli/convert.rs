//! `dumpwright convert`.

use std::fs;
use std::path::Path;

use dumpwright::read::Dump;
use serde_json::Value;

use crate::attempt::{Folder, Outcome, assert_says, dump, dump_of, threads};
use crate::support::dumper::{check, dumpwright};
use crate::support::repository;

/// Converts a dump, which must succeed. Returns what the program has printed.
fn convert(from: &Path, to: &Path, form: &str) -> String {
    let mut command = dumpwright();
    command.arg("convert").args([from, to]).args(["--to", form]);
    String::from_utf8(Outcome::of(&mut command).expect(0).stdout).unwrap()
}

/// A full dump of a simulated process.
fn simulated(file: &Path, more: &[&str]) {
    let mut command = dump();
    command.current_dir(repository());
    command.args(["--scenario", "testdata/cases/windows-every-stream/scenario.toml"]);
    command.args(["--type", "full"]).args(more).arg("-o").arg(file);
    Outcome::of(&mut command).expect(0);
}

/// What `show` prints, without places in the file and the list of memory.
fn shown(file: &Path) -> Value {
    let outcome = Outcome::of(dumpwright().args(["show", "--json"]).arg(file)).expect(0);
    let mut shown: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    for key in [
        "file",
        "bytes",
        "streams",
        "memory",
        "compressed_memory",
        "compressed_regions",
    ] {
        shown.as_object_mut().unwrap().remove(key);
    }
    // The directory may have one more entry.
    shown["header"]
        .as_object_mut()
        .unwrap()
        .remove("number_of_streams");
    strip(&mut shown);
    shown
}

fn strip(json: &mut Value) {
    match json {
        Value::Object(object) => {
            let is_place = |key: &str| {
                ["record_offset", "rva", "offset", "file_offset"].contains(&key) || key.ends_with("_rva")
            };
            object.retain(|key, _| !is_place(key));
            object.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

#[test]
fn a_dump_that_zstd_compressed_is_converted_as_it_is() {
    let folder = Folder::new();
    let [plain, packed, small, small_too, again] = [
        "plain.dmp",
        "plain.dmp.zst",
        "small.dmp",
        "small-too.dmp",
        "again.dmp",
    ]
    .map(|name| folder.file(name));
    simulated(&plain, &[]);
    simulated(&packed, &["--compress", "zstd"]);
    assert!(fs::read(&packed).unwrap() != fs::read(&plain).unwrap());
    let said = convert(&packed, &small, "compressed");
    assert_says(&said, &["small.dmp: ", " bytes of memory"]);
    convert(&plain, &small_too, "compressed");
    assert!(fs::read(&small).unwrap() == fs::read(&small_too).unwrap());
    let said = convert(&small, &again, "plain");
    assert_says(&said, &["note: the flags that"]);
    for file in [&small, &again] {
        check(file).unwrap();
        // The flags are those of the other form.
        let without_flags = |file: &Path| {
            let mut shown = shown(file);
            shown["header"].as_object_mut().unwrap().remove("flags");
            shown.as_object_mut().unwrap().remove("flag_names");
            shown
        };
        assert_eq!(without_flags(file), without_flags(&plain));
    }
    assert_eq!(shown(&again), shown(&plain));
}

#[test]
fn a_live_full_dump_is_the_same_there_and_back() {
    let folder = Folder::new();
    let [original, small, again] = ["original.dmp", "small.dmp", "again.dmp"].map(|name| folder.file(name));
    let mut victim = threads();
    Outcome::of(dump_of(&victim, &original).args(["--type", "full"])).expect(0);
    victim.ping();
    convert(&original, &small, "compressed");
    convert(&small, &again, "plain");
    assert_eq!(shown(&again), shown(&original));
    let size = |file: &Path| fs::metadata(file).unwrap().len();
    assert!(size(&small) < size(&original) / 2, "{}", size(&small));
    let [original, small, again] = [original, small, again].map(|file| {
        check(&file).unwrap();
        Dump::open(&file).unwrap()
    });
    let mut bytes = 0;
    for range in original.memory_ranges().unwrap() {
        let expected = original.memory(range.address, range.size).unwrap();
        assert!(expected.is_some());
        assert!(
            small.memory(range.address, range.size).unwrap() == expected,
            "{range:?}"
        );
        assert!(
            again.memory(range.address, range.size).unwrap() == expected,
            "{range:?}"
        );
        bytes += range.size;
    }
    let sum = |sizes: Vec<u64>| -> u64 { sizes.iter().sum() };
    let of_list = again
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| range.size)
        .collect();
    assert_eq!(sum(of_list), bytes, "nothing else is there");
    let regions = small.iter_compressed_regions().unwrap();
    let of_regions = regions.map(|region| u64::from(region.unwrap().size)).collect();
    assert_eq!(sum(of_regions), bytes, "nothing else is there");
}

#[test]
fn what_cannot_be_converted_leaves_nothing() {
    let folder = Folder::new();
    let [full, normal, new] = ["full.dmp", "normal.dmp", "new.dmp"].map(|name| folder.file(name));
    simulated(&full, &[]);
    let mut command = dump();
    command.current_dir(repository());
    command.args(["--scenario", "testdata/cases/plain/scenario.toml", "-o"]);
    Outcome::of(command.arg(&normal)).expect(0);
    let refused = |from: &Path, to: &Path, form: &str, reason: &str| {
        let mut command = dumpwright();
        command.arg("convert").args([from, to]).args(["--to", form]);
        let outcome = Outcome::of(&mut command).expect(1);
        assert_says(&outcome.stderr, &[from.to_str().unwrap(), reason]);
    };
    refused(&normal, &new, "compressed", "does not have all memory");
    refused(&full, &new, "plain", "no compressed memory");
    folder.assert_holds(&["full.dmp", "normal.dmp"]);
    // An existing file stays.
    let before = fs::read(&normal).unwrap();
    let mut command = dumpwright();
    command
        .arg("convert")
        .args([&full, &normal])
        .args(["--to", "compressed"]);
    assert_says(
        &Outcome::of(&mut command).expect(1).stderr,
        &["normal.dmp", "--force"],
    );
    assert!(fs::read(&normal).unwrap() == before);
    Outcome::of(command.arg("--force")).expect(0);
    assert!(
        Dump::open(&normal)
            .unwrap()
            .compressed_memory()
            .unwrap()
            .is_some()
    );
}
