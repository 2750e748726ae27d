//! The twin of the process that the scenarios dumped, built from `testdata/oracle/target.txt`.

use std::time::Duration;

use dumpwright::target::{
    AddressRange, Amd64, Content, Cpu, CpuInformation, Diagnostic, Exception, Extent, Fault, FaultKind,
    Frozen, Handle, Holding, LinuxFacts, Memory, Module, Need, Platform, Process, ReadHook, Region,
    RegionKind, RegionState, SidAndAttributes, SnapshotHandle, Stack, System, SystemMemory, Target, Thread,
    ThreadTimes, Token, UnloadedModule, VirtualSize, VmCounters, WindowsProcessFacts, protect,
};

use crate::support::recorded::names::{Names, number};
use crate::support::recorded::scenario::{Failing, Options, THREAD_NAMES};

pub const PROCESS_ID: u32 = 0x2a4;
/// Handles of the process: a valid one, that of a snapshot's copy of the memory, and an invalid
/// one.
pub const PROCESS_HANDLE: u64 = 0x1f8;
pub const CLONE_HANDLE: u64 = 0x1fc;
pub const INVALID_HANDLE: u64 = 0xbad0;
const PAGE: u64 = 0x1000;

/// The content of `target.txt`.
#[derive(Default)]
pub struct Facts {
    pub names: Names,
    modules: Vec<Module>,
    /// Instruction and stack pointers.
    threads: Vec<(u64, u64)>,
    /// Words of the stacks.
    words: Vec<(u64, u64)>,
    regions: Vec<Region>,
}

impl Facts {
    pub fn parse(text: &str) -> Self {
        let mut facts = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<_> = line.split_whitespace().collect();
            facts.add(words[0], &words[1..]);
        }
        facts
    }

    fn add(&mut self, what: &str, words: &[&str]) {
        let value = |index: usize| number(words[index]);
        let value32 = |index: usize| u32::try_from(value(index)).expect("32 bits");
        match what {
            "sym" => self.names.add(words[0], value(1), value(2)),
            "module" => {
                let mut version = [0; 13];
                version[0] = value32(5);
                let mut cv_record = vec![0; usize::try_from(value(6)).expect("small")];
                if let Some(signature) = cv_record.get_mut(..4) {
                    signature.copy_from_slice(b"RSDS");
                }
                self.modules.push(Module {
                    base: value(0),
                    size: value(1),
                    checksum: value32(2),
                    timestamp: value32(3),
                    dll_characteristics: 0,
                    path: format!("Z:\\oracle\\{}", words[4]),
                    version: Some(version),
                    cv_record,
                    misc_record: Vec::new(),
                });
            }
            "thread" => {
                let pointers = (self.names.address(words[1]), self.names.address(words[2]));
                self.threads.push(pointers);
            }
            "word" => {
                let word = (self.names.address(words[0]), self.names.address(words[1]));
                self.words.push(word);
            }
            "region" => {
                let (state, kind) = match (words[2], value(6)) {
                    ("free", _) => (RegionState::Free, None),
                    ("reserve", _) => (RegionState::Reserve, Some(RegionKind::Private)),
                    (_, 0x2_0000) => (RegionState::Commit, Some(RegionKind::Private)),
                    (_, 0x4_0000) => (RegionState::Commit, Some(RegionKind::Mapped)),
                    (_, _) => (RegionState::Commit, Some(RegionKind::Image)),
                };
                self.regions.push(Region {
                    range: AddressRange::at(value(0), value(1)).expect("some bytes"),
                    allocation_base: value(4),
                    allocation_protect: value32(5),
                    protect: value32(3),
                    state,
                    kind,
                    exclusion: None,
                });
            }
            // Only dumps show this; see `platform/capi/tests/windows_dialogue`.
            "part" | "open" => {}
            _ => panic!("target.txt has no lines of type {what:?}"),
        }
    }

    pub fn region_at(&self, address: u64) -> Option<&Region> {
        let index = self
            .regions
            .partition_point(|region| region.range.end() <= address);
        self.regions
            .get(index)
            .filter(|region| region.range.contains(address))
    }

    /// The number of a thread; its id minus 1.
    pub fn thread_number(id: u32) -> u32 {
        id - 1
    }

    /// The upper end of a thread's stack.
    pub fn stack_base(&self, number: u32) -> u64 {
        self.names.end(&format!("stk{number}"))
    }

    /// An address in the form of the transcripts.
    pub fn show(&self, address: u64) -> String {
        let allocated = self
            .region_at(address)
            .is_some_and(|region| region.state != RegionState::Free);
        self.names.show(address, allocated)
    }

    pub fn exception(&self, number: u32) -> Exception {
        let (rip, rsp) = self.threads[number as usize];
        Exception {
            thread_id: number + 1,
            code: 0xc000_0005,
            flags: 0,
            record: 0,
            address: rip,
            parameters: Vec::new(),
            context: registers(rip, rsp).to_context(),
        }
    }

    fn fill(&self, at: u64, into: &mut [u8]) {
        into.fill(0);
        let wanted = AddressRange::at(at, into.len() as u64).expect("some bytes");
        let at_bytes = self
            .words
            .iter()
            .flat_map(|(at, word)| (*at..).zip(word.to_le_bytes()));
        for (address, byte) in at_bytes {
            if wanted.contains(address) {
                into[usize::try_from(address - at).expect("inside")] = byte;
            }
        }
    }
}

fn registers(rip: u64, rsp: u64) -> Amd64 {
    Amd64 {
        rip,
        rsp,
        segments: Some([0x2b, 0x2b, 0x53, 0x2b]),
        fxsave: Some(Box::new([0; 512])),
        debug: Some([0; 6]),
        ..Amd64::default()
    }
}

/// The twin under the conditions of one scenario.
#[derive(Clone, Copy)]
pub struct Twin<'f> {
    pub facts: &'f Facts,
    pub options: &'f Options,
}

impl Twin<'_> {
    /// Whether a read of `len` bytes can read the page of `address`.
    fn can_read(&self, address: u64, len: usize) -> bool {
        let Some(region) = self.facts.region_at(address) else {
            return false;
        };
        let page = AddressRange::at(address - address % PAGE, PAGE).expect("a page of a region");
        let fails = |failing: &Failing| {
            (len > 1 || !failing.only_long_reads) && failing.range.intersect(page).is_some()
        };
        if self.options.invalid_handle.is_some() || self.options.failing.iter().any(fails) {
            return false;
        }
        // Wine reads guarded pages and pages without access; Windows does not.
        let guarded = region.protect & (protect::NOACCESS | protect::GUARD) != 0;
        region.state == RegionState::Commit && !(self.options.windows_reads && guarded)
    }

    /// Reads up to the first page that cannot be read. Returns the number of bytes.
    pub fn read_some(&self, at: u64, into: &mut [u8]) -> usize {
        let len = into.len();
        let mut done = 0;
        while done < len && self.can_read(at + done as u64, len) {
            let address = at + done as u64;
            done += usize::try_from(PAGE - address % PAGE).expect("a page");
        }
        let count = done.min(len);
        if count > 0 {
            self.facts.fill(at, &mut into[..count]);
        }
        count
    }

    fn fault(operation: &str, kind: FaultKind) -> Fault {
        Fault::new(kind, operation, "the scenario says so")
    }
}

impl Target for Twin<'_> {
    fn process_id(&self) -> u32 {
        PROCESS_ID
    }

    fn process_handle(&self) -> u64 {
        match self.options.invalid_handle {
            None => PROCESS_HANDLE,
            Some("0") => 0,
            Some(_) => INVALID_HANDLE,
        }
    }

    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        let clone_handle = Some(CLONE_HANDLE);
        self.options.snapshot.then_some(SnapshotHandle { clone_handle })
    }

    fn freeze(&mut self, _: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        if self.options.unknown_process {
            return Err(Self::fault("find the process", FaultKind::NoSuchProcess));
        }
        Ok(Box::new(*self))
    }
}

impl Memory for Twin<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        match self.read_some(at, into) {
            0 => Err(Self::fault("read memory", FaultKind::Unreadable)),
            count => Ok(count),
        }
    }
}

impl Frozen for Twin<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        Ok(System {
            cpu: Cpu::Amd64,
            platform: Platform::WindowsNt,
            processor_level: 6,
            processor_revision: 0x8f08,
            processors: 2,
            version: [6, 1, 7601],
            product_type: 1,
            suite_mask: 0,
            version_text: "Service Pack 1".to_owned(),
            build: String::new(),
            cpu_information: CpuInformation::Features([0, 0]),
            extended_state: None,
            page_size: PAGE,
        })
    }

    fn process(&mut self) -> Result<Process, Fault> {
        Ok(Process {
            id: PROCESS_ID,
            times: None,
            power: None,
            time_zone: None,
            windows: WindowsProcessFacts::default(),
        })
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        Ok((1..).zip(&self.facts.threads).map(|(id, _)| id).collect())
    }

    fn thread(&mut self, id: u32, _: &mut dyn ReadHook) -> Result<Thread, Fault> {
        let number = Facts::thread_number(id);
        let (rip, rsp) = self.facts.threads[number as usize];
        let teb = self.facts.names.address(&format!("teb{number}"));
        // The TEB has the end of the stack.
        let stack = self.can_read(teb, 0x60).then(|| Stack {
            range: AddressRange::new(rsp, self.facts.stack_base(number)).expect("a stack"),
            pointer: rsp,
        });
        Ok(Thread {
            id,
            handle: 0,
            suspend_count: 0,
            priority_class: 0x20,
            priority: 0,
            teb,
            context: Some(registers(rip, rsp).to_context()),
            stack,
            interrupted: Vec::new(),
            name: THREAD_NAMES[number as usize]
                .filter(|_| self.options.named_threads)
                .map(str::to_owned),
            times: Some(ThreadTimes::default()),
            exit: None,
            backing_store: None,
        })
    }

    fn stack_at(&mut self, _: u32, _: u64, _: &mut dyn ReadHook) -> Option<Stack> {
        None
    }

    fn module_bases(&mut self, _: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        // The simulated snapshot functions offered no list of modules.
        if self.options.snapshot {
            return Ok(Vec::new());
        }
        Ok(self.facts.modules.iter().map(|module| module.base).collect())
    }

    fn module(&mut self, base: u64, _: &mut dyn ReadHook) -> Result<Module, Fault> {
        let found = self.facts.modules.iter().find(|module| module.base == base);
        Ok(found.expect("a base that was listed").clone())
    }

    fn regions(&mut self, _: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        if self.options.invalid_handle.is_some() {
            return Err(Self::fault("query the address space", FaultKind::System));
        }
        Ok(self.facts.regions.clone())
    }

    /// Under Wine, DbgHelp could not list handles.
    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        Err(Self::fault("list the handles", FaultKind::System))
    }

    /// The recordings list unloaded modules, but not always the same number.
    fn unloaded_modules(&mut self, _: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault> {
        Ok(vec![UnloadedModule {
            base: 0x1_8000_0000,
            size: 0x1000,
            checksum: 0,
            timestamp: 0,
            name: "unloaded.dll".to_owned(),
        }])
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        Ok(vec![Token {
            id: PROCESS_ID,
            handle: 0,
            session: 0,
            user: SidAndAttributes {
                sid: "S-1-5-18".parse().expect("an identifier"),
                attributes: 0,
            },
            groups: Vec::new(),
            primary_group: None,
            privileges: Vec::new(),
            restricting: Vec::new(),
            statistics: None,
        }])
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        Ok(Some(SystemMemory::default()))
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        Ok(Some(VmCounters {
            virtual_size: Some(VirtualSize::default()),
            ..VmCounters::default()
        }))
    }

    fn linux(&mut self, _: &mut dyn ReadHook) -> Option<LinuxFacts> {
        None
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        let content = |part: AddressRange| match self.facts.region_at(part.start()) {
            Some(region) if region.state == RegionState::Commit => Content::Readable,
            _ => Content::Nothing("nothing is mapped there"),
        };
        let pages = range.chunks(PAGE - range.start() % PAGE).next().into_iter();
        let rest = pages
            .clone()
            .next()
            .and_then(|first| AddressRange::new(first.end(), range.end()));
        pages
            .chain(rest.into_iter().flat_map(|rest| rest.chunks(PAGE)))
            .map(|part| Extent {
                range: part,
                content: content(part),
            })
            .collect()
    }

    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        Vec::new()
    }

    fn thaw(self: Box<Self>) -> Holding {
        Holding {
            hold: "simulated",
            tracer: None,
            pause: Duration::ZERO,
        }
    }
}
