//! Faults of Windows during a capture: each function that dumpwright calls during a dump fails,
//! once or from then on, and the result must still be true.
//!
//! Would catch: a dump that is called complete although something was lost, or partial although
//! nothing was; a reason that is not that of the loss; a panic; a file left behind; a target whose
//! threads stay suspended; a function of the system that is called in a dump and whose failures
//! nobody has thought of.
//!
//! `tests/windows_programs/fault_hooks.c` makes the functions fail, under Wine. Rule and comparison
//! are those of `tests/faults`. One test runs a representative part. `cargo xtask faults` runs all
//! points and prints their number.
#![cfg(target_os = "linux")]

#[path = "../faults/contents.rs"]
mod contents;
#[path = "../faults/judge.rs"]
mod judge;
mod points;
mod runs;

use dumpwright_fixtures as support;

use points::Extent;

#[test]
fn a_part_of_all_faults_of_windows_is_told_truthfully() {
    runs::assert_all_true(Extent::Part);
}

#[test]
#[ignore = "takes minutes; cargo xtask faults runs it"]
fn every_fault_of_windows_is_told_truthfully() {
    runs::assert_all_true(Extent::Whole);
}
