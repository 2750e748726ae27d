//! A full dump of which only the beginning arrived.

use std::fs::File;
use std::io::{Read, copy};
use std::process::Stdio;

use super::judges::{Truth, Walk, assert_threads, places};
use crate::support::dumper::dumpwright;
use crate::support::proc;
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{breakpad, lldb, python, rust_minidump, symbols};
use crate::support::victim::{self, Victim};

const MIB: u64 = 1 << 20;

/// `dumpwright dump --type full -o - | head -c 64M`: the stacks come first, and all threads unwind.
#[test]
fn the_first_64_mib_of_a_full_dump_have_all_stacks() {
    let mut victim = Victim::start(&victim::awkward("neighbours"), &["200"]);
    let truth: Truth = victim.truth();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.dmp");
    let mut dumper = dumpwright()
        .args([
            "dump",
            "--pid",
            &victim.pid().to_string(),
            "--type",
            "full",
            "-o",
            "-",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = dumper.stdout.take().expect("it is piped");
    let mut begin = pipe.take(64 * MIB);
    copy(&mut begin, &mut File::create(&path).unwrap()).unwrap();
    assert_eq!(
        path.metadata().unwrap().len(),
        64 * MIB,
        "the dump is longer than that"
    );
    drop(begin);
    let output = dumper.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "nobody took the rest: {said}");
    proc::assert_released(truth.pid);
    victim.ping();

    let local = rust_minidump::read(&path, Symbols::Local);
    let modules: Vec<_> = proc::maps(truth.pid)
        .into_iter()
        .map(|mapping| mapping.name.into())
        .collect();
    let symbols = symbols::of(&modules);
    for reading in [
        local,
        rust_minidump::read(&path, Symbols::Folder(&symbols)),
        breakpad::read(&path, &symbols),
        lldb::read(&path),
    ] {
        assert_threads(&reading, &truth.threads, Walk::Whole);
    }
    let skelsec = python::skelsec(&path, &places(&truth.stacks)).expect("skelsec's minidump reads it");
    for (pattern, read) in truth.stacks.iter().zip(skelsec.memory) {
        assert!(
            read.is_some_and(|read| python::bytes(&read) == pattern.bytes()),
            "{pattern:?}"
        );
    }
}
