//! Dumps during which the dumper gets a signal: SIGKILL, SIGTERM, SIGINT, SIGHUP and SIGTSTP at
//! each system call, with and without `--force`, on a usual file system and on volumes without
//! nameless files, links, or a rename that refuses to replace. Dumps by a clone of the target get
//! SIGKILL, at each system call of the dumper and of its helper process that has to do with the
//! target.
//!
//! Writers and cleaners of a spool get SIGKILL at each of their system calls, and at random while
//! several of them run.
//!
//! Would catch: a target that stays stopped, or was changed (its threads check registers, memory,
//! timers, pipes, children, signals and waits by themselves); a file that is left behind, or is not
//! whole under its final name; an existing file that is lost; a dumper that is stopped while it
//! holds its target; a clone that is left running, or that runs code of the target; a dump that is
//! lost from a spool or not whole there, a limit of a spool that does not hold, and a file that is
//! left in it for ever.
//!
//! `strace` sends the signals. One test runs a part; `cargo xtask kills` runs all of it, and prints
//! how many signals took effect and the longest time from one to the release of the target.
#![cfg(target_os = "linux")]

mod points;
mod runs;
mod spool;

use dumpwright_fixtures as support;

use points::Extent;

#[test]
fn a_part_of_all_kills_leaves_the_target_whole_and_no_file() {
    runs::assert_all_harmless(Extent::Part);
}

#[test]
fn kills_of_a_dumper_that_clones_leave_the_target_whole_and_no_clone() {
    runs::assert_clones_harmless(Extent::Clone(12));
}

#[test]
fn a_part_of_all_kills_leaves_a_spool_with_whole_dumps() {
    spool::assert_harmless(20);
}

#[test]
#[ignore = "takes minutes; cargo xtask kills runs it"]
fn every_kill_leaves_a_spool_with_whole_dumps() {
    spool::assert_harmless(1);
    spool::assert_storm_harmless(700, None);
    spool::assert_storm_harmless(300, Some(4));
}

#[test]
#[ignore = "takes minutes; cargo xtask kills runs it"]
fn every_kill_of_a_dumper_that_clones_leaves_the_target_whole_and_no_clone() {
    runs::assert_clones_harmless(Extent::Clone(1));
}

#[test]
#[ignore = "takes an hour; cargo xtask kills runs it"]
fn every_kill_leaves_the_target_whole_and_no_file() {
    runs::assert_all_harmless(Extent::Whole);
}
