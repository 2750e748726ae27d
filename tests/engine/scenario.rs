//! Scenarios: what their keys put into a dump, what their faults do to it, and how mistakes are
//! reported.
//!
//! Would catch: a key without effect or with a wrong one; a fault that the engine does not meet, or
//! that costs more than itself; a dump of a simulated Windows or Linux process that readers refuse;
//! a scenario that gives other bytes the next time; a mistake that is reported at the wrong place
//! or not at all, or hides another one; one that is reported although it only follows from another
//! one; a text that makes the parser panic, or work for minutes.

mod cases;
mod faults;
mod hostile;
mod keys;
mod mistakes;

use std::path::PathBuf;

use dumpwright::read::Dump;
use dumpwright::target::{AddressRange, Subject};
use dumpwright::{Callback, DumpType, Error, Report, Request, dump};
use dumpwright_sim::{Scenario, SimProcess};

fn case(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/cases")
        .join(name)
        .join("scenario.toml")
}

fn parse(text: &str) -> SimProcess {
    Scenario::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn try_dump(
    process: &mut SimProcess,
    dump_type: u32,
    callback: Option<&mut dyn Callback>,
) -> Result<(Report, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let request = Request::new(DumpType::from_bits_retain(dump_type));
    let report = dump(process, &request, callback, &mut bytes)?;
    Ok((report, bytes))
}

fn dumped(process: &mut SimProcess, dump_type: u32) -> (Report, Vec<u8>) {
    try_dump(process, dump_type, None).expect("a dump")
}

/// The dump of a text, as dumpwright's reader sees it.
fn read(text: &str, dump_type: u32) -> Dump {
    Dump::from_bytes(dumped(&mut parse(text), dump_type).1).expect("a minidump")
}

fn missing(report: &Report) -> Vec<(Subject, String)> {
    report
        .missing()
        .map(|diagnostic| (diagnostic.subject.clone(), diagnostic.reason.clone()))
        .collect()
}

/// A scenario with a stack, a heap, a module, and the given addition.
fn with(more: &str) -> String {
    format!(
        r#"
        [system]
        platform = "linux"
        [[module]]
        path = "/opt/program"
        base = 0x40_0000
        size = 0x4000
        build_id = "00112233445566778899aabbccddeeff00112233"
        sections = [{{ offset = 0x1000, size = 0x2000, protect = "r-x", content = "counting" }}]
        [[memory]]
        name = "heap"
        base = 0x10_0000_0000
        size = 0x8000
        content = "counting"
        [[memory]]
        name = "stack"
        base = 0x7fff_0000_0000
        size = 0x4000
        content = "counting"
        [[thread]]
        id = 7
        registers = {{ rip = "program+0x1100", rsp = "stack+0x1000" }}
        {more}
        "#
    )
}

const HEAP: u64 = 0x10_0000_0000;
const STACK: u64 = 0x7fff_0000_0000;
const HEAP_DUMP: u32 = 0x200;
const FULL: u32 = 0x802;

fn page(start: u64) -> Subject {
    Subject::Memory(AddressRange::at(start, 0x1000).unwrap())
}
