//! Callbacks that answer with arbitrary bytes, in dumps of simulated processes and of a live one.
//! `cargo xtask fuzz` does this for a long time, on Linux and with a sanitizer. Here the code for
//! Windows is tested.

use std::fs;

use crate::scratch::{beside, name, package, program};

const DUMPS: &str = "60";

#[test]
fn arbitrary_answers_do_no_harm() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases = fs::read_dir(package().join("../../testdata/cases")).expect("the golden cases");
    let mut scenarios: Vec<String> = cases
        .map(|case| case.expect("a case").path().join("scenario.toml"))
        .filter(|scenario| scenario.is_file())
        .map(|scenario| name(&scenario))
        .collect();
    scenarios.sort();
    // A command line has no room for more.
    scenarios.truncate(40);
    let count = format!("{DUMPS}x");
    let mut arguments = vec![&*count, "1", "@pid"];
    arguments.extend(scenarios.iter().map(String::as_str));
    let told = beside(&program("fuzz/hostile.c", &[]), &arguments, folder.path(), &[]);
    assert!(
        told.stdout.ends_with(&format!("\n{DUMPS} dumps\n")),
        "{}",
        told.stdout
    );
}
