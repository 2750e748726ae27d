//! Unwinding with only the contents of a dump with module headers; no binary is read.

use std::collections::BTreeMap;
use std::ops::Range;

use dumpwright::read::{Dump, Thread};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, Unwinder};

use crate::capture::Capture;
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};

/// Program header type, from the Linux Standard Base.
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
/// How linkers on Linux encode the address of `.eh_frame`: signed 32 bits relative to the field
/// itself.
const PCREL_SDATA4: u8 = 0x1b;

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

/// The bytes of the dump from an address to the end of its range.
fn rest(dump: &Dump, from: u64) -> (Range<u64>, Vec<u8>) {
    let ranges = dump.memory_ranges().unwrap();
    let range = ranges
        .iter()
        .find(|range| (range.address..range.address + range.size).contains(&from));
    let end = range
        .map(|range| range.address + range.size)
        .expect("it is in the dump");
    (from..end, dump.memory(from, end - from).unwrap().unwrap())
}

/// The unwind tables of a module, found by its headers in the dump.
fn tables(dump: &Dump, base: u64) -> Option<ExplicitModuleSectionInfo<Vec<u8>>> {
    let header = dump.memory(base, 64).unwrap().expect("an ELF header");
    let table = u64::from_le_bytes(number(&header, 32));
    let count = u16::from_le_bytes(number(&header, 56));
    let headers = dump
        .memory(base + table, u64::from(count) * 56)
        .unwrap()
        .expect("program headers");
    let index = headers
        .chunks(56)
        .find(|entry| u32::from_le_bytes(number(entry, 0)) == PT_GNU_EH_FRAME)?;
    let address = base + u64::from_le_bytes(number(index, 16));
    let size = u64::from_le_bytes(number(index, 40));
    let index = dump.memory(address, size).unwrap().expect(".eh_frame_hdr");
    assert_eq!(index[1], PCREL_SDATA4);
    let distance = i32::from_le_bytes(number(&index, 4));
    let (place, frames) = rest(dump, (address + 4).wrapping_add_signed(distance.into()));
    Some(ExplicitModuleSectionInfo {
        base_svma: base,
        eh_frame_hdr_svma: Some(address..address + size),
        eh_frame_hdr: Some(index),
        eh_frame_svma: Some(place),
        eh_frame: Some(frames),
        ..ExplicitModuleSectionInfo::default()
    })
}

fn frames(dump: &Dump, unwinder: &UnwinderX86_64<Vec<u8>>, thread: &Thread) -> Vec<u64> {
    let registers = thread.registers().expect("its registers");
    let mut cache = CacheX86_64::<_>::new();
    let mut read = |address| {
        let bytes = dump.memory(address, 8).ok().flatten().ok_or(())?;
        Ok(u64::from_le_bytes(number(&bytes, 0)))
    };
    let start = UnwindRegsX86_64::new(registers.rip, registers.rsp, registers.rbp);
    let mut frames = Vec::new();
    let mut walk = unwinder.iter_frames(registers.rip, start, &mut cache, &mut read);
    while let Ok(Some(frame)) = walk.next() {
        frames.push(frame.address());
    }
    frames
}

#[test]
fn a_dump_with_module_headers_unwinds_by_itself() {
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::c("threads", Frames::NoPointers), &nothing);
    let truth: ThreadsTruth = victim.truth();
    // Filtered, to test that the filter keeps what call frame information needs.
    let capture = Capture::of(truth.pid, "with-module-headers,filter-memory");
    let dump = &capture.dump;
    let mut unwinder = UnwinderX86_64::new();
    for module in dump.modules().unwrap() {
        let range = module.base..module.base + u64::from(module.size);
        if let Some(tables) = tables(dump, module.base) {
            let name = module.name.unwrap_or_default();
            unwinder.add_module(framehop::Module::new(name, range, module.base, tables));
        }
    }
    let walk = |name: &str| {
        let thread = truth.threads.iter().find(|thread| thread.name == name).unwrap();
        frames(dump, &unwinder, &capture.thread(thread.tid))
    };
    // The known functions are shorter than a page.
    let is_in = |address: u64, function: &str| {
        let start = truth.functions[function];
        (start..start + 0x1000).contains(&address)
    };
    for (name, function) in [("alpha", "alpha_leaf"), ("threads", "main_inner")] {
        let frames = walk(name);
        assert!(
            frames.iter().any(|at| is_in(*at, function)),
            "{name}: {frames:x?}"
        );
    }
    // All calls of `recurse` except the outermost return to the same address in it.
    let mut places = BTreeMap::<u64, usize>::new();
    for address in walk("deep") {
        *places.entry(address).or_default() += 1;
    }
    let (address, count) = places.iter().max_by_key(|(_, count)| **count).unwrap();
    assert!(is_in(*address, "recurse"), "{places:x?}");
    assert_eq!(*count, truth.depth - 1, "{places:x?}");
    victim.ping();
}
