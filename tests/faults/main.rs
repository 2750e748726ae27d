//! Faults of the system during a capture: each system call of a dump fails or is cut short, once or
//! from then on, and the result must still be true.
//!
//! Would catch: a dump that is called complete although something was lost, or partial although
//! nothing was; a reason that is not that of the loss; a panic; a file left behind; a target that
//! is left stopped, traced or changed; a program of `--exec` that is left running.
//!
//! `tests/programs/injecting.c` changes the calls. Every run is compared, field by field, with a
//! dump of the same process without a fault; `docs/faults.md` lists the fields that differ by
//! nature. One test runs a representative part. `cargo xtask faults` runs many more points and
//! prints their number.
#![cfg(target_os = "linux")]

mod contents;
mod judge;
mod points;
mod runs;

use dumpwright_fixtures as support;

use points::Extent;

#[test]
fn a_part_of_all_faults_is_told_truthfully() {
    runs::assert_all_true(Extent::Part);
}

#[test]
#[ignore = "takes minutes; cargo xtask faults runs it"]
fn every_fault_is_told_truthfully() {
    runs::assert_all_true(Extent::Whole);
}
