//! Policies on simulated processes, alone and in chains. The bytes of the dump decide.
//!
//! Would catch: a policy that does not do what it promises, or changes something else; a chain in
//! which one policy undoes another; a secret that survives where two reads meet, or in a cache; a
//! range that comes back in another way; a budget that is exceeded or drops the wrong memory; a
//! dump that such answers make invalid.

mod budget;
mod chain;
mod combinations;
mod control;
mod files;
mod output;
mod presets;
mod reading;
mod recipes;
mod redaction;
mod selection;

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use dumpwright::callback::{
    AskKind, CompressionAnswer, Hresult, ModuleWriteFlags, ProcessAsked, ThreadWriteFlags,
};
use dumpwright::policy::{
    AddMemory, AroundRegisters, CancelToken, Chain, DataSegments, Deadline, Dropped, IgnoreReadFailures,
    Modules, Phase, Preset, Priority, Progress, ReadCache, Redact, RemoveMemory, SizeBudget, StreamOutput,
    Threads,
};
use dumpwright::protocol::{Lint, Recorder, Symbols};
use dumpwright::read::{CheckOptions, Dump, Level};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::target::{AddressRange, Amd64, Exception, RegionKind, Target};
use dumpwright::{Ask, Callback, DumpType, Error, Profile, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};
use proptest::prelude::*;

use crate::support::simulated::{CODE, HEAP, OTHER_STACK as STACK_8, STACK};

use crate::support::watched::Watched;

const LIBRARY: u64 = 0x50_0000;
const SECRET: &[u8] = b"4111-1111-1111-1111";

/// Two threads with 3 and 3.5 pages of stack in use, two modules with one writable page each, 16
/// pages of heap.
fn process() -> SimProcess {
    SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .thread(8, STACK_8 + 0x800, CODE + 0x2000)
        .module(CODE, 0x9000, "/opt/program", &[0xAB; 20])
        .module(LIBRARY, 0x3000, "/opt/lib/libplugin.so.1", &[0xCD; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(CODE + 0x8000, 0x1000, READWRITE, Contents::Counting)
        .memory(LIBRARY, 0x2000, EXECUTE_READ, Contents::Counting)
        .memory(LIBRARY + 0x2000, 0x1000, READWRITE, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, Contents::Counting)
        .memory(STACK_8, 0x4000, READWRITE, Contents::Counting)
}

fn request(dump_type: u32) -> Request {
    Request::new(DumpType::from_bits_retain(dump_type)).time(1)
}

fn attempt(
    process: &mut dyn Target,
    request: &Request,
    callback: &mut dyn Callback,
) -> Result<(Report, Vec<u8>), Error> {
    let mut bytes = Vec::new();
    let report = dump(process, request, Some(callback), &mut bytes)?;
    Ok((report, bytes))
}

/// Dumps the process above. The dump must be sound.
fn run(dump_type: u32, callback: &mut dyn Callback) -> Dumped {
    run_on(&mut process(), &request(dump_type), callback)
}

fn run_on(process: &mut dyn Target, request: &Request, callback: &mut dyn Callback) -> Dumped {
    let (report, bytes) = attempt(process, request, callback).expect("a dump");
    let dump = Dump::from_bytes(bytes.clone()).expect("a minidump");
    assert_sound(&dump);
    Dumped { report, bytes, dump }
}

struct Dumped {
    report: Report,
    bytes: Vec<u8>,
    dump: Dump,
}

impl Dumped {
    fn ranges(&self) -> Vec<(u64, u64)> {
        self.dump
            .memory_ranges()
            .unwrap()
            .iter()
            .map(|range| (range.address, range.address + range.size))
            .collect()
    }

    fn has(&self, needle: &[u8]) -> bool {
        !self.dump.contains_nowhere(needle).unwrap()
    }

    fn threads(&self) -> Vec<u32> {
        self.dump
            .threads()
            .unwrap()
            .iter()
            .map(|thread| thread.id)
            .collect()
    }

    fn modules(&self) -> Vec<String> {
        self.dump
            .modules()
            .unwrap()
            .into_iter()
            .map(|module| module.name.unwrap())
            .collect()
    }
}

/// No rule of the format is broken, and no two ranges overlap.
fn assert_sound(dump: &Dump) {
    let options = CheckOptions { expect_losses: true };
    let errors: Vec<_> = dumpwright::read::check_with(dump, options)
        .unwrap()
        .into_iter()
        .filter(|violation| violation.severity == Level::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let mut ranges: Vec<_> = dump
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address, range.address + range.size))
        .collect();
    ranges.sort_unstable();
    assert!(
        ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{ranges:x?}"
    );
}

fn memory_bytes(dumped: &Dumped) -> u64 {
    dumped.ranges().iter().map(|range| range.1 - range.0).sum()
}

fn plain(dump_type: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    dump(&mut process(), &request(dump_type), None, &mut bytes).unwrap();
    bytes
}

const WINDOWS: [(u64, u64); 2] = [(CODE + 0x11B4, CODE + 0x12B4), (CODE + 0x1F80, CODE + 0x2080)];
const STACKS: [(u64, u64); 2] = [
    (STACK + 0x1000, STACK + 0x4000),
    (STACK_8 + 0x800, STACK_8 + 0x4000),
];
