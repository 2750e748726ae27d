//! Each read of the target's memory after VmStart, and the calls of the callback for it.
//!
//! Would catch: a read by the engine or the Linux backend that the callback does not see in the
//! profile `documented`; a call for a read that is not made; a call for the read of a structure in
//! a DbgHelp profile; reads of structures after Memory, where callbacks count what is read as
//! memory of the dump.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use crate::support::victim::{self, Frames, Victim};
use crate::support::watched::Watched;
use dumpwright::callback::{AskKind, Hresult};
use dumpwright::target::{AddressRange, Target};
use dumpwright::{Ask, DumpType, Profile, Request, dump};
use dumpwright_sim::{Scenario, SimProcess};

/// Types that make the engine follow structures, and full memory.
const TYPES: [u32; 6] = [0, 0x8_0041, 0x2001, 0x10_0100, 0x1_1B25, 0x2];

/// The calls and the reads of one dump.
#[derive(Default)]
struct Log {
    /// The range between VmPreRead and VmPostRead.
    open: Option<AddressRange>,
    /// All ranges of VmPreRead, with the last other call before each.
    asked: Vec<(AddressRange, AskKind)>,
    last: Option<AskKind>,
    /// Reads between VmPreRead and VmPostRead, and other reads.
    seen: usize,
    unseen: Vec<(u64, usize)>,
    /// Ranges that could not be read and are not in the dump.
    dropped: Vec<AddressRange>,
}

impl Log {
    fn read(&mut self, at: u64, len: usize) {
        let range = AddressRange::at(at, len as u64);
        match (range, self.open) {
            (None, _) => {}
            (Some(range), Some(open)) if open.covers(range) => self.seen += 1,
            _ => self.unseen.push((at, len)),
        }
    }

    fn answer(&mut self, ask: Ask<'_>) -> bool {
        let kind = ask.kind();
        match ask {
            Ask::VmStart { status } => *status = Hresult::S_FALSE,
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                status,
                ..
            } => {
                self.dropped.extend(AddressRange::at(offset, bytes.into()));
                *status = Hresult::S_OK;
            }
            Ask::VmPreRead { offset, buffer, .. } => {
                let range = AddressRange::at(offset, buffer.len() as u64);
                self.open = range;
                self.asked.extend(range.zip(self.last.or(Some(AskKind::VmStart))));
                return false;
            }
            Ask::VmPostRead { offset, buffer, .. } => {
                assert_eq!(self.open.take(), AddressRange::at(offset, buffer.len() as u64));
                return false;
            }
            _ => {}
        }
        self.last = Some(kind);
        // Removes no memory, requests no kernel dump, and accepts all regions.
        kind != AskKind::IncludeVmRegion
    }

    fn asked_at(&self, address: u64) -> bool {
        self.asked.iter().any(|(range, _)| range.contains(address))
    }
}

/// Dumps the target and gives all calls to the log.
fn dumped(target: &mut dyn Target, dump_type: u32, profile: Profile, log: &RefCell<Log>) {
    let dump_type = DumpType::from_bits(dump_type).expect("known");
    let request = Request::new(dump_type).profile(profile);
    let mut callback = |ask: Ask<'_>| log.borrow_mut().answer(ask);
    let mut bytes = Vec::new();
    // If the dump fails, as DbgHelp's profiles may, the reads up to there count.
    let dumped = dump(target, &request, Some(&mut callback), &mut bytes);
    assert!(dumped.is_ok() || profile != Profile::Documented, "{dumped:?}");
}

fn simulated(process: SimProcess, dump_type: u32, profile: Profile) -> Log {
    let log = RefCell::new(Log::default());
    let on_read = |at, len, _| log.borrow_mut().read(at, len);
    let mut target = Watched {
        target: process,
        on_read: &on_read,
    };
    dumped(&mut target, dump_type, profile, &log);
    log.into_inner()
}

/// All scenarios of the cases whose dumps do not fail.
fn scenarios() -> Vec<(String, SimProcess)> {
    let cases = crate::support::repository().join("testdata/cases");
    let mut all: Vec<_> = std::fs::read_dir(cases)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("scenario.toml"))
        .filter(|path| path.exists())
        .map(|path| {
            let name = Path::file_name(path.parent().unwrap()).unwrap();
            let name = name.to_string_lossy().into_owned();
            (name, Scenario::load(path).unwrap())
        })
        .filter(|(name, _)| name != "refused")
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

#[test]
fn a_callback_sees_all_reads_of_simulated_processes() {
    let (mut seen, mut followed) = (0, 0);
    for dump_type in TYPES {
        for (name, process) in scenarios() {
            let log = simulated(process, dump_type, Profile::Documented);
            assert_eq!(log.unseen, [], "{name}, type {dump_type:#x}");
            seen += log.seen;
            followed += log
                .asked
                .iter()
                .filter(|(_, last)| *last == AskKind::Thread)
                .count();
        }
    }
    assert!(seen > 1000 && followed > 100, "{seen} reads, {followed} followed");
}

/// The same process with the other profiles: structures are read as well, without calls.
#[test]
fn the_dbghelp_profiles_ask_about_content_only() {
    for profile in [Profile::DbgHelp63, Profile::DbgHelp10] {
        let mut unseen = 0;
        for (name, process) in scenarios() {
            let of_documented = simulated(process.clone(), 0x100, Profile::Documented);
            let log = simulated(process, 0x100, profile);
            for (at, _) in &log.unseen {
                assert!(of_documented.asked_at(*at), "{name}: {at:#x}");
            }
            unseen += log.unseen.len();
        }
        assert!(unseen > 10, "{unseen}");
    }
}

/// After Memory and RemoveMemory, only memory for the dump is read. A policy may then count every
/// byte as one of the dump.
#[test]
fn what_is_followed_is_read_before_memory_is_asked_for() {
    for dump_type in TYPES.into_iter().filter(|dump_type| dump_type & 2 == 0) {
        for (name, process) in scenarios() {
            let log = RefCell::new(Log::default());
            let mut bytes = Vec::new();
            let request = Request::new(DumpType::from_bits(dump_type).unwrap());
            let mut callback = |ask: Ask<'_>| log.borrow_mut().answer(ask);
            dump(&mut process.clone(), &request, Some(&mut callback), &mut bytes).expect("a dump");
            let dump = dumpwright::read::Dump::from_bytes(bytes).unwrap();
            let log = log.into_inner();
            let behind = log.asked.iter().filter(|(range, last)| {
                *last == AskKind::RemoveMemory && !log.dropped.iter().any(|dropped| dropped.covers(*range))
            });
            for (range, _) in behind {
                let there = dump.memory(range.start(), range.len()).unwrap();
                assert!(there.is_some(), "{name}, type {dump_type:#x}: {range}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod live {
    //! The backend logs each read of the target's memory as an event, below everything else.

    use std::sync::{Arc, Mutex};

    use dumpwright::native;
    use dumpwright::read::Dump;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Receives the events of reads.
    struct Reads(Arc<Mutex<Log>>);

    #[derive(Default)]
    struct Read {
        at: Option<u64>,
        len: Option<u64>,
    }

    impl Visit for Read {
        fn record_u64(&mut self, field: &Field, value: u64) {
            match field.name() {
                "at" => self.at = Some(value),
                "len" => self.len = Some(value),
                _ => {}
            }
        }
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
    }

    impl Subscriber for Reads {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "dumpwright_linux::read"
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut read = Read::default();
            event.record(&mut read);
            if let (Some(at), Some(len)) = (read.at, read.len) {
                self.0.lock().unwrap().read(at, len as usize);
            }
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    fn dumped(pid: u32, dump_type: u32, profile: Profile) -> (Log, Dump) {
        let log = Arc::new(Mutex::new(Log::default()));
        let mut bytes = Vec::new();
        tracing::subscriber::with_default(Reads(log.clone()), || {
            let request = Request::new(DumpType::from_bits(dump_type).unwrap()).profile(profile);
            let mut callback = |ask: Ask<'_>| log.lock().unwrap().answer(ask);
            let mut process = native::process(pid).unwrap();
            dump(&mut process, &request, Some(&mut callback), &mut bytes).expect("a dump");
        });
        let log = Arc::into_inner(log).unwrap().into_inner().unwrap();
        (log, Dump::from_bytes(bytes).unwrap())
    }

    /// Needs the right to trace: root, or `kernel.yama.ptrace_scope` 0; in a container the
    /// capability SYS_PTRACE.
    #[test]
    fn a_callback_sees_all_reads_of_a_live_process() {
        let nothing: [&str; 0] = [];
        let victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
        for dump_type in TYPES {
            let (log, dump) = dumped(victim.pid(), dump_type, Profile::Documented);
            assert_eq!(log.unseen, [], "type {dump_type:#x}");
            // Each module is found by its header, and each stack is searched for frames of signal
            // handlers.
            let after = |kind: AskKind| log.asked.iter().filter(move |(_, last)| *last == kind);
            let found: BTreeSet<_> = after(AskKind::IncludeThread)
                .map(|(range, _)| range.start())
                .collect();
            let modules = dump.modules().unwrap();
            assert!(modules.len() > 3);
            for module in modules {
                assert!(found.contains(&module.base), "{:?}", module.name);
            }
            for thread in dump.threads().unwrap() {
                assert!(log.asked_at(thread.stack.start), "thread {}", thread.id);
            }
            // The linker's list. Its first entry belongs to the main program and has its dynamic
            // section.
            let debug = dump.dso_debug().unwrap().expect("it is linked dynamically");
            assert!(log.asked_at(debug.dynamic), "{:#x}", debug.dynamic);
        }
    }

    #[test]
    fn the_dbghelp_profiles_find_out_unasked() {
        let nothing: [&str; 0] = [];
        let victim = Victim::start(&victim::c("threads", Frames::Pointers), &nothing);
        let (log, dump) = dumped(victim.pid(), 0, Profile::DbgHelp63);
        for module in dump.modules().unwrap() {
            let header = |(at, _): &(u64, usize)| *at == module.base;
            assert!(log.unseen.iter().any(header), "{:?}", module.name);
        }
        let early = [AskKind::IncludeThread, AskKind::IncludeModule, AskKind::Cancel];
        assert!(log.asked.iter().all(|(_, last)| !early.contains(last)));
        assert!(!log.asked.is_empty());
    }
}
