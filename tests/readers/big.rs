//! A process larger than 4 GiB: full memory at offsets that do not fit into 32 bits, written by a
//! dumper that stays small.
//!
//! Would catch: an offset in the file that wraps at 4 GiB; a range that is cut or shifted; a dumper
//! that stores the memory that it copies; pages in the wrong order.

use crate::support::dumper::{dumpwright, run_measured};
use crate::support::readers::{lldb, python};
use crate::support::victim::{self, BigTruth, Frames, Victim};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

#[test]
fn six_gibibytes() {
    let victim = Victim::start(
        &victim::c("big", Frames::NoPointers),
        &[(6 * GIB / MIB).to_string()],
    );
    let truth: BigTruth = victim.truth();
    // Not in the system's temporary folder, which may be in memory.
    let folder = tempfile::tempdir_in(crate::support::scratch()).unwrap();
    let path = folder.path().join("big.dmp");
    let types = "with-full-memory,with-full-memory-info";
    let mut command = dumpwright();
    command
        .args(["dump", "--pid", &victim.pid().to_string(), "--type", types, "-o"])
        .arg(&path);
    let (status, complaints, peak) = run_measured(&mut command);
    assert!(status.success(), "{status}\n{complaints}");
    victim.finish();

    assert!(peak < 64 * MIB, "the dumper used {} MiB", peak / MIB);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size > truth.length, "{size} bytes cannot hold all of it");

    // Pages from everywhere: the first, the last, and the neighbours of every gibibyte.
    let pages = truth.length / truth.page;
    let per_gib = GIB / truth.page;
    let numbers: Vec<u64> = (0..6)
        .flat_map(|gib| [gib * per_gib, gib * per_gib + 1, (gib + 1) * per_gib - 1])
        .chain([pages - 1])
        .collect();
    let places: Vec<(u64, u64)> = numbers
        .iter()
        .map(|number| (truth.address + number * truth.page, 16))
        .collect();

    let skelsec = python::skelsec(&path, &places).expect("skelsec's minidump reads it");
    let offset_of = |address: u64| {
        let &(start, _, offset) = skelsec
            .ranges
            .iter()
            .find(|(start, length, _)| (*start..start + length).contains(&address))
            .expect("the page is in the dump");
        offset + (address - start)
    };
    assert!(
        places.iter().any(|(address, _)| offset_of(*address) > 4 * GIB),
        "no known page lies beyond 4 GiB"
    );
    let lldb = lldb::report(&path, &places).expect("LLDB reads it");
    for (reader, memory) in [("skelsec", &skelsec.memory), ("LLDB", &lldb.memory)] {
        for (number, read) in numbers.iter().zip(memory) {
            let read = read
                .as_deref()
                .unwrap_or_else(|| panic!("{reader}: page {number} is not there"));
            let at = offset_of(truth.address + number * truth.page);
            assert_eq!(
                python::bytes(read),
                truth.page_start(*number),
                "{reader}: page {number}, at {at:#x} in the file"
            );
        }
    }
}
