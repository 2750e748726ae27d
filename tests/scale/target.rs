//! Simulated processes that count the questions to them.

use std::cell::Cell;
use std::rc::Rc;

use dumpwright::target::{
    AddressRange, Diagnostic, Extent, Fault, Frozen, FunctionTable, Handle, HandleOperation, Holding,
    LinuxFacts, Memory, Module, Need, Process, ReadHook, Region, RegionKind, RegionState, SnapshotHandle,
    Stack, System, SystemMemory, Target, Thread, Token, UnloadedModule, VmCounters,
};
use dumpwright_sim::{Contents, SimProcess};

/// A process, and the number of questions to it while it was suspended.
pub struct Counted {
    pub process: SimProcess,
    pub calls: Rc<Cell<u64>>,
}

impl Counted {
    pub fn new(process: SimProcess) -> Self {
        let calls = Rc::new(Cell::new(0));
        Self { process, calls }
    }
}

/// Adds memory without sorting the list each time. [`sort`] sorts it once.
pub fn add(process: &mut SimProcess, start: u64, len: u64, protect: u32, contents: Contents) {
    let region = Region {
        range: AddressRange::at(start, len).expect("some bytes"),
        allocation_base: start,
        allocation_protect: protect,
        protect,
        state: RegionState::Commit,
        kind: Some(RegionKind::Private),
        exclusion: None,
    };
    process.regions.push((region, contents));
}

pub fn sort(process: &mut SimProcess) {
    process.regions.sort_by_key(|(region, _)| region.range);
}

impl Target for Counted {
    fn process_id(&self) -> u32 {
        self.process.process_id()
    }

    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        self.process.as_snapshot()
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        Ok(Box::new(CountedFrozen {
            inner: self.process.freeze(need)?,
            calls: self.calls.clone(),
        }))
    }
}

struct CountedFrozen<'t> {
    inner: Box<dyn Frozen + 't>,
    calls: Rc<Cell<u64>>,
}

/// Passes a question on and counts it.
macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&mut self, $($argument: $type),*) -> $result {
            self.calls.set(self.calls.get() + 1);
            self.inner.$name($($argument),*)
        })*
    };
}

impl Memory for CountedFrozen<'_> {
    counted! {
        read(at: u64, into: &mut [u8]) -> Result<usize, Fault>;
    }
}

impl Frozen for CountedFrozen<'_> {
    counted! {
        system() -> Result<System, Fault>;
        process() -> Result<Process, Fault>;
        thread_ids() -> Result<Vec<u32>, Fault>;
        suspend_thread(id: u32) -> ();
        thread(id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault>;
        stack_at(thread_id: u32, stack_pointer: u64, reads: &mut dyn ReadHook) -> Option<Stack>;
        module_bases(reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault>;
        module(base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault>;
        regions(reads: &mut dyn ReadHook) -> Result<Vec<Region>, Fault>;
        handles() -> Result<Vec<Handle>, Fault>;
        unloaded_modules(reads: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault>;
        handle_operations() -> Result<Vec<HandleOperation>, Fault>;
        function_tables(reads: &mut dyn ReadHook) -> Result<Vec<FunctionTable>, Fault>;
        tokens() -> Result<Vec<Token>, Fault>;
        system_memory() -> Result<Option<SystemMemory>, Fault>;
        vm_counters() -> Result<Option<VmCounters>, Fault>;
        linux(reads: &mut dyn ReadHook) -> Option<LinuxFacts>;
        survey(range: AddressRange) -> Vec<Extent>;
        diagnostics() -> Vec<Diagnostic>;
    }

    fn thaw(self: Box<Self>) -> Holding {
        self.inner.thaw()
    }
}
