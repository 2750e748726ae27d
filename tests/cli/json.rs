//! The objects that `--json` prints have exactly the keys that `docs/json.md` lists.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::attempt::Folder;
use crate::support::dumper::dumpwright;
use crate::support::repository;

/// The keys in the tables of one section of the document.
pub fn documented(chapter: &str, tables: std::ops::Range<usize>) -> BTreeSet<String> {
    let document = std::fs::read_to_string(repository().join("docs/json.md")).unwrap();
    let start = format!("## `{chapter}`\n");
    let text = document.split(&start).nth(1).expect("the chapter");
    let text = text.split("\n## ").next().unwrap();
    let tables: Vec<_> = text
        .split("| key | value |\n")
        .skip(1)
        .skip(tables.start)
        .take(tables.len())
        .collect();
    assert!(!tables.is_empty());
    let rows = tables.iter().flat_map(|table| table.lines());
    let keys = rows.filter_map(|row| row.strip_prefix("| `")?.split(" | ").next());
    let keys = keys.flat_map(|keys| keys.split(", "));
    keys.map(|key| key.trim_matches('`').to_owned()).collect()
}

pub fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().expect("an object").keys().cloned().collect()
}

#[test]
fn each_object_has_the_documented_keys_and_a_version() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let run = |arguments: &[&str]| -> Value {
        let output = dumpwright()
            .current_dir(repository())
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let dump = [
        "dump",
        "--scenario",
        "testdata/cases/plain/scenario.toml",
        "--json",
        "-o",
    ];
    let written = run(&dump);
    assert_eq!(keys(&written), documented("dump", 0..1));
    // Now the file exists.
    let failed = run(&dump);
    assert_eq!(failed["status"], "failed");
    let mut expected = documented("dump", 1..2);
    expected.extend(["version", "file", "status"].map(str::to_owned));
    assert_eq!(keys(&failed), expected);
    // A program that has not crashed.
    let none = dumpwright()
        .args(["dump", "--json", "--exec", "-o"])
        .arg(folder.file("none"))
        .args(["--", "true"])
        .output()
        .unwrap();
    let none: Value = serde_json::from_slice(&none.stdout).unwrap();
    let mut expected = documented("dump", 2..3);
    expected.extend(["version", "file", "status"].map(str::to_owned));
    assert_eq!(keys(&none), expected);
    let shown = run(&["show", "--json"]);
    assert_eq!(keys(&shown), documented("show", 0..1));
    let checked = run(&["check", "--json"]);
    assert_eq!(keys(&checked), documented("check", 0..1));
    for object in [written, failed, shown, checked] {
        assert_eq!(object["version"], 1);
    }
}
