//! Callbacks that answer with arbitrary bytes, about simulated processes and a live one. `cargo xtask fuzz` does this for long, on Linux and
//! with a sanitizer; here it is Windows' side of the library that must not be harmed.

use std::fs;

use crate::workshop::{beside, name, package, program};

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
    // As many as a command line has room for.
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
