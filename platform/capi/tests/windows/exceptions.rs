//! C++ exceptions that callbacks throw.

use std::fs;

use crate::scratch::{beside, program};

#[test]
fn exceptions_reach_the_caller_and_the_target_runs_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = beside(
        &program("tests/programs/throws.cpp", &[]),
        &["@pid", "after.dmp"],
        folder.path(),
        &[],
    );
    // 18 of the 23 callback types, and a writer. ThreadEx, KernelMinidumpStatus, ReadMemoryFailure
    // and the two types for compressed memory are not sent.
    assert_eq!(told.stdout, "19\n");
    assert!(
        fs::read(folder.path().join("after.dmp"))
            .expect("a dump")
            .starts_with(b"MDMP")
    );
}
