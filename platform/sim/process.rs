use std::time::Duration;

use dumpwright_target::{
    AddressRange, Amd64, Content, Cpu, CpuInformation, Exclusion, Extent, Fault, FaultKind, Frozen, Handle,
    Holding, LinuxFacts, Module, Need, Platform, Process, Region, RegionKind, RegionState, Remark, Stack,
    System, Target, Thread, ThreadTimes, build_id_record,
};

use crate::Contents;

/// A process made of plain values.
///
/// The fields are public so that tests can bend what the builder methods made straight.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "they are the answers to Frozen's questions, which are documented there"
)]
pub struct SimProcess {
    pub id: u32,
    pub system: System,
    pub times: Option<[u32; 3]>,
    pub threads: Vec<Thread>,
    pub modules: Vec<Module>,
    pub regions: Vec<(Region, Contents)>,
    pub handles: Vec<Handle>,
    pub linux: Option<LinuxFacts>,
    /// Threads that are listed and gone when asked about.
    pub vanishing: Vec<u32>,
    /// Pages that a survey knows to be unreadable.
    pub unreadable: Vec<AddressRange>,
    /// Pages that a survey takes for readable and that fail when they are read.
    pub treacherous: Vec<AddressRange>,
    /// How often the process has been frozen, and thawed or dropped.
    pub freezes: usize,
    /// See `freezes`.
    pub releases: usize,
}

impl SimProcess {
    /// A Linux process on x86-64 without threads, modules or memory.
    #[must_use]
    pub fn new(id: u32) -> Self {
        let system = System {
            cpu: Cpu::Amd64,
            platform: Platform::Linux,
            processor_level: 6,
            processor_revision: 0x8f08,
            processors: 2,
            version: [6, 1, 0],
            version_text: "Linux 6.1.0 #1 SMP x86_64".to_owned(),
            build: "#1 SMP".to_owned(),
            cpu_information: CpuInformation::X86 {
                vendor: [0x756e_6547, 0x4965_6e69, 0x6c65_746e],
                version: 0x806f8,
                features: 0x0f8b_fbff,
                amd_features: 0x2c10_0800,
            },
            page_size: 4096,
        };
        Self {
            id,
            system,
            times: None,
            threads: Vec::new(),
            modules: Vec::new(),
            regions: Vec::new(),
            handles: Vec::new(),
            linux: None,
            vanishing: Vec::new(),
            unreadable: Vec::new(),
            treacherous: Vec::new(),
            freezes: 0,
            releases: 0,
        }
    }

    /// Adds a thread with this stack pointer and instruction pointer. Its stack reaches from the stack pointer to
    /// the end of the region that holds it, which may be added later.
    #[must_use]
    pub fn thread(mut self, id: u32, stack_pointer: u64, instruction_pointer: u64) -> Self {
        let registers = Amd64 {
            rsp: stack_pointer,
            rip: instruction_pointer,
            ..Amd64::default()
        };
        self.threads.push(Thread {
            id,
            suspend_count: 0,
            priority_class: 0x20,
            priority: 0,
            teb: 0,
            context: Some(registers.to_context()),
            stack: None,
            interrupted: Vec::new(),
            name: None,
            times: ThreadTimes::default(),
        });
        self
    }

    /// Adds a module.
    #[must_use]
    pub fn module(mut self, base: u64, size: u64, path: &str, build_id: &[u8]) -> Self {
        self.modules.push(Module {
            base,
            size,
            checksum: 0,
            timestamp: 0,
            path: path.to_owned(),
            version: None,
            cv_record: build_id_record(build_id),
            misc_record: Vec::new(),
        });
        self
    }

    /// Adds private committed memory with this protection (`PAGE_…`).
    ///
    /// # Panics
    /// The range is empty or passes the end of the address space.
    #[must_use]
    pub fn memory(self, start: u64, len: u64, protect: u32, contents: Contents) -> Self {
        self.region(start, len, protect, None, contents)
    }

    /// Adds memory that dumps leave out for this reason.
    ///
    /// # Panics
    /// As [`memory`](Self::memory).
    #[must_use]
    pub fn excluded(self, start: u64, len: u64, exclusion: Exclusion) -> Self {
        self.region(
            start,
            len,
            dumpwright_target::protect::READWRITE,
            Some(exclusion),
            Contents::Counting,
        )
    }

    fn region(
        mut self,
        start: u64,
        len: u64,
        protect: u32,
        exclusion: Option<Exclusion>,
        contents: Contents,
    ) -> Self {
        let range = AddressRange::at(start, len).expect("a region of an address space");
        let region = Region {
            range,
            allocation_base: start,
            allocation_protect: protect,
            protect,
            state: RegionState::Commit,
            kind: Some(RegionKind::Private),
            exclusion,
        };
        self.regions.push((region, contents));
        self.regions.sort_by_key(|(region, _)| region.range);
        self
    }

    /// Makes pages unreadable, which is known before they are read.
    ///
    /// # Panics
    /// As [`memory`](Self::memory).
    #[must_use]
    pub fn unreadable(mut self, start: u64, len: u64) -> Self {
        self.unreadable
            .push(AddressRange::at(start, len).expect("some pages"));
        self
    }

    /// Makes pages unreadable, which turns out only when they are read.
    ///
    /// # Panics
    /// As [`memory`](Self::memory).
    #[must_use]
    pub fn treacherous(mut self, start: u64, len: u64) -> Self {
        self.treacherous
            .push(AddressRange::at(start, len).expect("some pages"));
        self
    }

    fn region_at(&self, address: u64) -> Option<&(Region, Contents)> {
        self.regions
            .iter()
            .find(|(region, _)| region.range.contains(address))
    }

    fn content_at(&self, address: u64) -> Content {
        match self.region_at(address) {
            None => Content::Nothing("nothing is mapped there"),
            Some(_) if self.unreadable.iter().any(|range| range.contains(address)) => {
                Content::Unreadable("said to be unreadable")
            }
            Some((_, contents)) => contents.survey(),
        }
    }

    /// Where the answer to "what is here" may change behind `address`.
    fn next_border(&self, address: u64) -> u64 {
        let regions = self.regions.iter().map(|(region, _)| region.range);
        regions
            .chain(self.unreadable.iter().copied())
            .chain(self.treacherous.iter().copied())
            .flat_map(|range| [range.start(), range.end()])
            .filter(|border| *border > address)
            .min()
            .unwrap_or(u64::MAX)
    }
}

impl Target for SimProcess {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn freeze(&mut self, _: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        self.freezes += 1;
        Ok(Box::new(Still(self)))
    }
}

/// A simulated process while it holds still.
struct Still<'p>(&'p mut SimProcess);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.releases += 1;
    }
}

impl Frozen for Still<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        Ok(self.0.system.clone())
    }

    fn process(&mut self) -> Result<Process, Fault> {
        Ok(Process {
            id: self.0.id,
            times: self.0.times,
            power: None,
            time_zone: None,
        })
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        Ok(self.0.threads.iter().map(|thread| thread.id).collect())
    }

    fn thread(&mut self, id: u32) -> Result<Thread, Fault> {
        if self.0.vanishing.contains(&id) {
            return Err(Fault::new(
                FaultKind::Gone,
                format!("examine thread {id}"),
                "it has ended",
            ));
        }
        let found = self.0.threads.iter().find(|thread| thread.id == id).cloned();
        let mut thread = found.ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("find thread {id}"),
                "there is none",
            )
        })?;
        if thread.stack.is_none() {
            let pointer = thread
                .context
                .as_ref()
                .map_or(0, |context| context.stack_pointer());
            thread.stack = self.stack_at(id, pointer);
        }
        Ok(thread)
    }

    fn stack_at(&mut self, _: u32, stack_pointer: u64) -> Option<Stack> {
        let (region, _) = self.0.region_at(stack_pointer)?;
        Some(Stack {
            range: AddressRange::new(stack_pointer, region.range.end())?,
            pointer: stack_pointer,
        })
    }

    fn module_bases(&mut self) -> Result<Vec<u64>, Fault> {
        Ok(self.0.modules.iter().map(|module| module.base).collect())
    }

    fn module(&mut self, base: u64) -> Result<Module, Fault> {
        let found = self.0.modules.iter().find(|module| module.base == base).cloned();
        found.ok_or_else(|| {
            Fault::new(
                FaultKind::Malformed,
                format!("find the module at {base:#x}"),
                "there is none",
            )
        })
    }

    fn regions(&mut self) -> Result<Vec<Region>, Fault> {
        Ok(self.0.regions.iter().map(|(region, _)| region.clone()).collect())
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        Ok(self.0.handles.clone())
    }

    fn linux(&mut self) -> Option<LinuxFacts> {
        self.0.linux.clone()
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        let mut extents = Vec::new();
        let mut at = range.start();
        while let Some(part) = AddressRange::new(at, self.0.next_border(at).min(range.end())) {
            extents.push(Extent {
                range: part,
                content: self.0.content_at(at),
            });
            at = part.end();
        }
        extents
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let refused = || {
            Fault::new(
                FaultKind::Unreadable,
                format!("read memory at {at:#x}"),
                "it is unreadable",
            )
        };
        let bad = |range: &AddressRange| range.contains(at);
        if self.0.unreadable.iter().any(bad) || self.0.treacherous.iter().any(bad) {
            return Err(refused());
        }
        let (region, contents) = self.0.region_at(at).ok_or_else(refused)?;
        let available = self.0.next_border(at) - at;
        let count = into.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        contents.read(region.range, at, &mut into[..count]);
        Ok(count)
    }

    fn remarks(&mut self) -> Vec<Remark> {
        Vec::new()
    }

    fn thaw(self: Box<Self>) -> Holding {
        Holding {
            hold: "simulated",
            pause: Duration::ZERO,
        }
    }
}
