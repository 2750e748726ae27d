use dumpwright_target::{
    AddressRange, Amd64, Arm, Arm64, Cpu, CpuContext, Exclusion, Fault, FaultKind, Frozen, FunctionTable,
    Handle, HandleOperation, LinuxFacts, Module, Need, Platform, Power, Region, RegionKind, RegionState,
    SnapshotHandle, System, SystemMemory, Target, Thread, ThreadTimes, TimeZone, Token, UnloadedModule,
    VmCounters, WindowsProcessFacts, X86, build_id_record,
};

use crate::faults::{self, SimFault};
use crate::still::Still;
use crate::system::usual as usual_system;
use crate::{Contents, ScenarioSymbols};

/// A simulated process, made of plain values.
///
/// The fields are public, so that tests can change what the builder methods have made.
#[derive(Debug, Clone)]
#[expect(
    missing_docs,
    reason = "they are the answers to Frozen's questions, which are documented there"
)]
pub struct SimProcess {
    pub id: u32,
    pub system: System,
    /// The time at which the process is dumped, in seconds since 1970.
    pub clock: u32,
    pub times: Option<[u32; 3]>,
    pub power: Option<Power>,
    pub time_zone: Option<TimeZone>,
    pub threads: Vec<Thread>,
    pub modules: Vec<Module>,
    pub unloaded_modules: Vec<UnloadedModule>,
    pub regions: Vec<(Region, Contents)>,
    pub handles: Vec<Handle>,
    pub handle_operations: Vec<HandleOperation>,
    pub function_tables: Vec<FunctionTable>,
    pub tokens: Vec<Token>,
    pub system_memory: Option<SystemMemory>,
    pub vm_counters: Option<VmCounters>,
    /// Facts about the process that only Windows has.
    pub windows: WindowsProcessFacts,
    pub linux: Option<LinuxFacts>,
    /// The address at which the argument and environment strings begin. A stack ends there, unless
    /// the dump may contain the environment.
    pub strings: Option<u64>,
    /// Whether the system lets a dumper read memory regardless of its protection, and reserved
    /// memory too, as Wine does.
    pub reads_any_protection: bool,
    /// Whether the process is a process snapshot.
    pub snapshot: bool,
    /// The process handle; `None` to use the process id.
    pub handle: Option<u64>,
    /// The handle of the copy of its memory, if it is a process snapshot.
    pub clone_handle: Option<u64>,
    /// The faults of the process.
    pub faults: Vec<SimFault>,
    /// How often the process has been frozen.
    pub freezes: usize,
    /// How often the process has been thawed, or its frozen state dropped.
    pub releases: usize,
    pub(crate) symbols: ScenarioSymbols,
}

impl SimProcess {
    /// Creates a Linux process on x86-64 without threads, modules or memory.
    #[must_use]
    pub fn new(id: u32) -> Self {
        let system = usual_system(Platform::Linux, Cpu::Amd64);
        Self {
            id,
            system,
            clock: 0,
            times: None,
            power: None,
            time_zone: None,
            threads: Vec::new(),
            modules: Vec::new(),
            unloaded_modules: Vec::new(),
            regions: Vec::new(),
            handles: Vec::new(),
            handle_operations: Vec::new(),
            function_tables: Vec::new(),
            tokens: Vec::new(),
            system_memory: None,
            vm_counters: None,
            windows: WindowsProcessFacts::default(),
            linux: None,
            strings: None,
            reads_any_protection: false,
            snapshot: false,
            handle: None,
            clone_handle: None,
            faults: Vec::new(),
            freezes: 0,
            releases: 0,
            symbols: ScenarioSymbols::default(),
        }
    }

    /// Changes the processor family.
    ///
    /// # Panics
    /// If the process already has threads, because their registers belong to the previous family.
    #[must_use]
    pub fn cpu(mut self, cpu: Cpu) -> Self {
        assert!(self.threads.is_empty(), "cpu comes before threads");
        self.system = usual_system(self.system.platform, cpu);
        self
    }

    /// Adds a thread with this stack pointer and instruction pointer.
    ///
    /// Its stack reaches from the stack pointer to the end of the allocation that contains the
    /// stack pointer. That memory may be added later.
    ///
    /// # Panics
    /// If the processor's registers have 32 bits and a pointer does not fit.
    #[must_use]
    pub fn thread(mut self, id: u32, stack_pointer: u64, instruction_pointer: u64) -> Self {
        self.threads.push(Thread {
            id,
            handle: 0,
            suspend_count: 0,
            priority_class: 0x20,
            priority: 0,
            teb: 0,
            context: Some(context(self.system.cpu, stack_pointer, instruction_pointer)),
            stack: None,
            interrupted: Vec::new(),
            name: None,
            times: Some(ThreadTimes::default()),
            exit: None,
            backing_store: None,
        });
        self
    }

    /// Adds a module with this GNU build id, which may be empty.
    #[must_use]
    pub fn module(mut self, base: u64, size: u64, path: &str, build_id: &[u8]) -> Self {
        self.modules.push(Module {
            base,
            size,
            checksum: 0,
            timestamp: 0,
            dll_characteristics: 0,
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
    /// If the range is empty or reaches past the end of the address space.
    #[must_use]
    pub fn memory(self, start: u64, len: u64, protect: u32, contents: Contents) -> Self {
        self.private(start, len, protect, None, contents)
    }

    /// Adds memory that dumps exclude for this reason.
    ///
    /// # Panics
    /// Like [`memory`](Self::memory).
    #[must_use]
    pub fn excluded(self, start: u64, len: u64, exclusion: Exclusion) -> Self {
        self.private(
            start,
            len,
            dumpwright_target::protect::READWRITE,
            Some(exclusion),
            Contents::Counting,
        )
    }

    fn private(
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

    /// Replaces bytes of memory that has been added.
    ///
    /// # Panics
    /// If no single region contains the whole range.
    #[must_use]
    pub fn put(mut self, at: u64, bytes: impl Into<Vec<u8>>) -> Self {
        self.put_into_region(at, bytes.into());
        self
    }

    pub(crate) fn put_into_region(&mut self, at: u64, bytes: Vec<u8>) {
        let Some(place) = AddressRange::at(at, bytes.len() as u64) else {
            return;
        };
        let region = self
            .regions
            .iter_mut()
            .find(|(region, _)| region.range.covers(place));
        let (region, contents) = region.expect("bytes are put into memory");
        let below = std::mem::replace(contents, Contents::Untouched);
        *contents = below.put(region.range, at, bytes);
    }

    /// Makes pages unreadable. [`Frozen::survey`] reports them as unreadable.
    ///
    /// # Panics
    /// Like [`memory`](Self::memory).
    #[must_use]
    pub fn unreadable(self, start: u64, len: u64) -> Self {
        self.fault(SimFault::Unreadable(
            AddressRange::at(start, len).expect("some pages"),
        ))
    }

    /// Makes pages unreadable although [`Frozen::survey`] reports them as readable.
    ///
    /// # Panics
    /// Like [`memory`](Self::memory).
    #[must_use]
    pub fn fails_when_read(self, start: u64, len: u64) -> Self {
        let range = AddressRange::at(start, len).expect("some pages");
        self.fault(SimFault::UnreadableFrom { range, read: 1 })
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: SimFault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Names a range of addresses, for scripts and transcripts.
    ///
    /// # Panics
    /// Like [`memory`](Self::memory).
    #[must_use]
    pub fn symbol(mut self, name: &str, start: u64, len: u64) -> Self {
        self.symbols.define(
            name,
            AddressRange::at(start, len).expect("a place in an address space"),
        );
        self
    }

    /// Returns the names of places in the process. A process from a scenario has the names of its
    /// modules and its memory.
    #[must_use]
    pub fn symbols(&self) -> &ScenarioSymbols {
        &self.symbols
    }
}

impl Target for SimProcess {
    fn process_id(&self) -> u32 {
        self.id
    }

    fn process_handle(&self) -> u64 {
        self.handle.unwrap_or_else(|| self.process_id().into())
    }

    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        let clone_handle = self.clone_handle;
        self.snapshot.then_some(SnapshotHandle { clone_handle })
    }

    fn clock(&self) -> Option<u32> {
        Some(self.clock)
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let refused = self.faults.iter().find_map(|fault| match fault {
            SimFault::FreezeFails(kind) => Some(*kind),
            _ => None,
        });
        if let Some(kind) = refused {
            return Err(Fault::new(
                kind,
                format!("suspend process {}", self.id),
                faults::reason(kind),
            ));
        }
        self.freezes += 1;
        Ok(Box::new(Still::new(self, need)))
    }
}

/// Returns registers in which only two have values.
fn context(cpu: Cpu, stack_pointer: u64, instruction_pointer: u64) -> CpuContext {
    let narrow = |value: u64| u32::try_from(value).expect("an address of a 32-bit process");
    match cpu {
        Cpu::X86 => X86 {
            esp: narrow(stack_pointer),
            eip: narrow(instruction_pointer),
            ..X86::default()
        }
        .to_context(),
        Cpu::Arm => Arm {
            sp: narrow(stack_pointer),
            pc: narrow(instruction_pointer),
            ..Arm::default()
        }
        .to_context(),
        Cpu::Arm64 => Arm64 {
            sp: stack_pointer,
            pc: instruction_pointer,
            ..Arm64::default()
        }
        .to_context(),
        _ => Amd64 {
            rsp: stack_pointer,
            rip: instruction_pointer,
            ..Amd64::default()
        }
        .to_context(),
    }
}

/// Returns the fault of a question about the process as a whole.
pub(crate) fn failed(kind: FaultKind, operation: &str) -> Fault {
    Fault::new(kind, operation, faults::reason(kind))
}
