//! C++ exceptions that callbacks throw.

use std::fs;

use crate::workshop::{beside, program};

#[test]
fn exceptions_reach_the_caller_and_the_target_runs_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = beside(
        &program("tests/programs/throws.cpp", &[]),
        &["@pid", "after.dmp"],
        folder.path(),
        &[],
    );
    // All 21 questions but ThreadEx, KernelMinidumpStatus and ReadMemoryFailure, which do not come; and a writer.
    assert_eq!(told.stdout, "19\n");
    assert!(
        fs::read(folder.path().join("after.dmp"))
            .expect("a dump")
            .starts_with(b"MDMP")
    );
}
