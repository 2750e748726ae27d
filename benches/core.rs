//! The time that the engine itself needs, on simulated processes: `cargo bench`.
//!
//! There is no kernel and no file in these times. `tests/scale` counts what grows, in instructions;
//! `cargo xtask bench` measures dumps of live processes.

use std::hint::black_box;
use std::io;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::target::{AddressRange, Region, RegionKind, RegionState};
use dumpwright::{DumpType, Request, Sink, dump};
use dumpwright_sim::{Contents, SimFault, SimProcess};

const CODE: u64 = 0x40_0000;
const HEAP: u64 = 0x10_0000_0000;
const STACKS: u64 = 0x7f00_0000_0000;

/// Accepts everything and stores nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        black_box(bytes);
        Ok(())
    }

    fn append_zeros(&mut self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn process() -> SimProcess {
    SimProcess::new(1000)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
}

/// Adds memory at the end, so that the list need not be sorted again.
fn push(process: &mut SimProcess, start: u64, len: u64, contents: Contents) {
    let region = Region {
        range: AddressRange::at(start, len).expect("some bytes"),
        allocation_base: start,
        allocation_protect: READWRITE,
        protect: READWRITE,
        state: RegionState::Commit,
        kind: Some(RegionKind::Private),
        exclusion: None,
    };
    process.regions.push((region, contents));
}

/// Threads, each with a stack of 16 KiB.
fn threads(count: u32) -> SimProcess {
    let mut process = process();
    for index in 0..count {
        let stack = STACKS + 0x10_0000 * u64::from(index);
        process = process.thread(7 + index, stack, CODE + 0x1234);
        push(&mut process, stack, 0x4000, Contents::Fill(0x11));
    }
    process
}

/// Regions of one page. One read in a hundred fails.
fn regions(count: u32) -> SimProcess {
    let mut process = process();
    for index in 0..count {
        let page = HEAP + 0x2000 * u64::from(index);
        push(&mut process, page, 0x1000, Contents::Fill(0x11));
        if index % 100 == 0 {
            let range = AddressRange::at(page, 0x1000).expect("a page");
            process = process.fault(SimFault::UnreadableFrom { range, read: 1 });
        }
    }
    process
}

/// Gibibytes of memory, of which 16 MiB of each exist.
fn sparse(gibibytes: u32) -> SimProcess {
    const TOUCHED: u64 = 16 << 20;
    let mut process = process();
    for index in 0..gibibytes {
        let start = HEAP + (u64::from(index) << 30);
        push(&mut process, start, TOUCHED, Contents::Fill(0x11));
        push(
            &mut process,
            start + TOUCHED,
            (1 << 30) - TOUCHED,
            Contents::Untouched,
        );
    }
    process
}

fn core(criterion: &mut Criterion) {
    type Build = fn(u32) -> SimProcess;
    let cases: [(&str, Build, DumpType, [u32; 2]); 3] = [
        ("threads", threads, DumpType::NORMAL, [500, 1000]),
        ("regions", regions, DumpType::WITH_FULL_MEMORY, [10_000, 20_000]),
        ("sparse GiB", sparse, DumpType::WITH_FULL_MEMORY, [4, 8]),
    ];
    for (name, build, dump_type, sizes) in cases {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for size in sizes {
            let mut process = build(size);
            let request = Request::new(dump_type).time(1);
            group.throughput(Throughput::Elements(u64::from(size)));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| dump(&mut process, &request, None, &mut Nowhere).expect("a dump"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
