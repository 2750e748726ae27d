//! A target that reports each read of its memory.

use dumpwright_target::{
    AddressRange, Diagnostic, Exception, Extent, Fault, Frozen, FunctionTable, Handle, HandleOperation,
    Holding, LinuxFacts, Memory, Module, Need, Process, ReadHook, Region, SnapshotHandle, Stack, System,
    SystemMemory, Target, Thread, Token, UnloadedModule, VmCounters,
};

/// A function that is called for each read, with the address, the number of bytes requested, and
/// the number of bytes read.
pub type OnRead<'w> = &'w dyn Fn(u64, usize, usize);

/// A target, and the function that is called for its reads.
pub struct Watched<'w, T> {
    pub target: T,
    pub on_read: OnRead<'w>,
}

impl<T: Target> Target for Watched<'_, T> {
    fn process_id(&self) -> u32 {
        self.target.process_id()
    }
    fn process_handle(&self) -> u64 {
        self.target.process_handle()
    }
    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        self.target.as_snapshot()
    }
    fn clock(&self) -> Option<u32> {
        self.target.clock()
    }
    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        let frozen = self.target.freeze(need)?;
        let on_read = self.on_read;
        Ok(Box::new(WatchedFrozen { frozen, on_read }))
    }
}

struct WatchedFrozen<'f, 'w> {
    frozen: Box<dyn Frozen + 'f>,
    on_read: OnRead<'w>,
}

impl Memory for WatchedFrozen<'_, '_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let read = self.frozen.read(at, into);
        (self.on_read)(at, into.len(), read.as_ref().map_or(0, |count| *count));
        read
    }
}

impl Frozen for WatchedFrozen<'_, '_> {
    fn system(&mut self) -> Result<System, Fault> {
        self.frozen.system()
    }
    fn process(&mut self) -> Result<Process, Fault> {
        self.frozen.process()
    }
    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        self.frozen.thread_ids()
    }
    fn suspend_thread(&mut self, id: u32) {
        self.frozen.suspend_thread(id);
    }
    fn thread(&mut self, id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault> {
        self.frozen.thread(id, reads)
    }
    fn stack_at(&mut self, id: u32, pointer: u64, reads: &mut dyn ReadHook) -> Option<Stack> {
        self.frozen.stack_at(id, pointer, reads)
    }
    fn handled_crash(&mut self, reads: &mut dyn ReadHook) -> Option<Exception> {
        self.frozen.handled_crash(reads)
    }
    fn module_bases(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        self.frozen.module_bases(reads)
    }
    fn module(&mut self, base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault> {
        self.frozen.module(base, reads)
    }
    fn regions(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        self.frozen.regions(reads)
    }
    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        self.frozen.handles()
    }
    fn unloaded_modules(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault> {
        self.frozen.unloaded_modules(reads)
    }
    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        self.frozen.handle_operations()
    }
    fn function_tables(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<FunctionTable>, Fault> {
        self.frozen.function_tables(reads)
    }
    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        self.frozen.tokens()
    }
    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        self.frozen.system_memory()
    }
    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        self.frozen.vm_counters()
    }
    fn linux(&mut self, reads: &mut dyn ReadHook) -> Option<LinuxFacts> {
        self.frozen.linux(reads)
    }
    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        self.frozen.survey(range)
    }
    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        self.frozen.diagnostics()
    }
    fn thaw(self: Box<Self>) -> Holding {
        self.frozen.thaw()
    }
}
