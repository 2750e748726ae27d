//! A frozen process: the Windows implementation of [`Frozen`].

use std::time::{Duration, Instant};

use dumpwright_target::{
    AddressRange, Diagnostic, Extent, Fault, FaultKind, Frozen, FunctionTable, Handle, HandleOperation,
    Holding, Hooked, LinuxFacts, Memory, Module, Need, Process, ReadHook, Region, Stack, Subject, System,
    SystemMemory, Thread, Token, UnloadedModule, VmCounters,
};

use crate::access::Access;
use crate::error::Losses;
use crate::freeze::TargetThreads;
use crate::modules::LoadedModules;
use crate::process::Surroundings;
use crate::read::WatchedMemory;
use crate::snapshot::{GivenSnapshot, MemoryCopy, ProcessSnapshot};
use crate::{
    counters, function_tables, handle_operations, handles, process, regions, registers, system, threads,
    tokens, unloaded,
};

/// A process that is held by suspending its threads or by a process snapshot.
#[derive(Debug)]
pub(crate) struct FrozenProcess<'a> {
    /// This field comes first because fields are dropped in order: the process is resumed before
    /// anything else is cleaned up.
    threads: TargetThreads,
    access: Access<'a>,
    need: Need,
    /// Read before any thread is suspended.
    system: System,
    system_memory: Result<(SystemMemory, Option<Diagnostic>), Fault>,
    surroundings: Surroundings,
    /// The modules, which are found at the first request.
    modules: Option<LoadedModules>,
    diagnostics: Vec<Diagnostic>,
    /// How long the process was suspended while its snapshot was taken.
    pause: Duration,
}

impl<'a> FrozenProcess<'a> {
    /// Freezes a process. Its threads are suspended one by one, when they are selected.
    ///
    /// # Errors
    /// The threads of the process cannot be listed, or the version of Windows is not known.
    pub(crate) fn freeze(access: Access<'a>, need: &Need) -> Result<Self, Fault> {
        let extended = need.extended_state.then(registers::extended_layout).flatten();
        let mut threads = TargetThreads::new(extended);
        threads.list(&access)?;
        let mut losses = Losses::default();
        threads.priority_class = losses.keep(threads::priority_class(&access));
        let mut frozen = Self::new(threads, access, need)?;
        frozen.diagnostics.extend(losses.diagnostic(Subject::Process));
        Ok(frozen)
    }

    /// Fails if the system does not report its version: readers refuse a dump without it.
    fn new(threads: TargetThreads, access: Access<'a>, need: &Need) -> Result<Self, Fault> {
        let mut diagnostics = Vec::new();
        Ok(Self {
            threads,
            system: system::system(need, &mut diagnostics)?,
            system_memory: counters::system(),
            surroundings: Surroundings::of_machine(),
            access,
            need: need.clone(),
            modules: None,
            diagnostics,
            pause: Duration::ZERO,
        })
    }

    /// Takes a snapshot of the process, which keeps running. If that is not possible, freezes the
    /// process itself and adds a note.
    ///
    /// # Errors
    /// Neither is possible.
    pub(crate) fn clone_of(access: Access<'a>, need: &Need) -> Result<Self, Fault> {
        let started = Instant::now();
        let why = match ProcessSnapshot::capture(access.process(), access.id) {
            Ok(Some(snapshot)) => {
                let pause = started.elapsed();
                let found = snapshot
                    .look()
                    .map(|given| (given.threads(), given.priority_class));
                match found.zip(MemoryCopy::of(snapshot)) {
                    Some(((threads, priority_class), copy)) => {
                        let threads = TargetThreads::of_snapshot(threads?, priority_class);
                        let mut frozen = Self::new(threads, access.reading_from(copy), need)?;
                        frozen.pause = pause;
                        return Ok(frozen);
                    }
                    None => "the system's snapshot has no copy of its memory".to_owned(),
                }
            }
            Ok(None) => "process snapshots need Windows 8.1 or later".to_owned(),
            Err(fault) => fault.to_string(),
        };
        let mut frozen = Self::freeze(access, need)?;
        let reason = format!("it was stopped, not copied: {why}");
        frozen
            .diagnostics
            .push(Diagnostic::note(Subject::Process, reason));
        Ok(frozen)
    }

    /// Uses a process snapshot that the caller owns. The process may have ended since it was taken.
    ///
    /// # Errors
    /// The snapshot has no copy of the process's memory.
    pub(crate) fn of_snapshot(given: &GivenSnapshot<'a>, need: &Need) -> Result<Self, Fault> {
        let mut diagnostics = Vec::new();
        let threads = given.threads().unwrap_or_else(|fault| {
            diagnostics.push(Diagnostic::missing(
                Subject::Stream("ThreadList"),
                fault.to_string(),
            ));
            Vec::new()
        });
        let memory = given.memory().ok_or_else(|| {
            Fault::new(
                FaultKind::Unsupported,
                format!("read the snapshot of process {}", given.process_id),
                "it has no copy of the process' memory",
            )
            .advise("take it with PSS_CAPTURE_VA_CLONE")
        })?;
        let access = Access::of_snapshot(given.process_id, memory);
        let threads = TargetThreads::of_snapshot(threads, given.priority_class);
        let mut frozen = Self::new(threads, access, need)?;
        frozen.diagnostics.extend(diagnostics);
        Ok(frozen)
    }

    /// Returns the modules, and finds them at the first call.
    fn modules<'m>(
        found: &'m mut Option<LoadedModules>,
        access: &Access<'_>,
        reads: &mut dyn ReadHook,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<&'m mut LoadedModules, Fault> {
        match found {
            Some(modules) => Ok(modules),
            none => {
                let mut watched = WatchedMemory::new(access);
                let modules = LoadedModules::find(access, &mut Hooked::new(&mut watched, reads))?;
                diagnostics.extend(watched.diagnostic(Subject::Stream("ModuleList")));
                Ok(none.insert(modules))
            }
        }
    }
}

impl Memory for FrozenProcess<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        (&self.access).read(at, into)
    }
}

impl Frozen for FrozenProcess<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        Ok(self.system.clone())
    }

    fn process(&mut self) -> Result<Process, Fault> {
        Ok(process::process(
            &self.access,
            &self.surroundings,
            &mut self.diagnostics,
        ))
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        self.threads.list(&self.access)
    }

    fn suspend_thread(&mut self, id: u32) {
        self.threads.hold(&self.access, id);
    }

    fn thread(&mut self, id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault> {
        let mut watched = WatchedMemory::new(&self.access);
        let memory = &mut Hooked::new(&mut watched, reads);
        let with_times = self.need.thread_times;
        let diagnostics = &mut self.diagnostics;
        let thread = threads::thread(&self.access, memory, &self.threads, id, with_times, diagnostics)?;
        self.diagnostics.extend(watched.diagnostic(Subject::Thread(id)));
        Ok(thread)
    }

    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64, reads: &mut dyn ReadHook) -> Option<Stack> {
        let mut watched = WatchedMemory::new(&self.access);
        let memory = &mut Hooked::new(&mut watched, reads);
        let stack = threads::stack_at(&self.access, memory, &self.threads, thread_id, stack_pointer);
        self.diagnostics
            .extend(watched.diagnostic(Subject::Thread(thread_id)));
        stack
    }

    fn module_bases(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        let modules = Self::modules(&mut self.modules, &self.access, reads, &mut self.diagnostics)?;
        Ok(modules.bases())
    }

    fn module(&mut self, base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault> {
        let modules = Self::modules(&mut self.modules, &self.access, reads, &mut self.diagnostics)?;
        let mut watched = WatchedMemory::new(&self.access);
        let module = modules.module(&self.access, &mut Hooked::new(&mut watched, reads), base)?;
        self.diagnostics.extend(watched.diagnostic(Subject::Module(base)));
        Ok(module)
    }

    fn regions(&mut self, _: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        regions::regions(&self.access, &mut self.diagnostics)
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        if !self.need.handles {
            return Ok(Vec::new());
        }
        handles::handles(&self.access, &mut self.diagnostics)
    }

    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        Ok(handle_operations::handle_operations(&self.access))
    }

    fn unloaded_modules(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault> {
        let mut watched = WatchedMemory::new(&self.access);
        let modules = unloaded::unloaded_modules(&self.access, &mut Hooked::new(&mut watched, reads))?;
        let subject = Subject::Stream("UnloadedModuleList");
        self.diagnostics.extend(watched.diagnostic(subject));
        Ok(modules)
    }

    fn function_tables(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<FunctionTable>, Fault> {
        let mut access = &self.access;
        let memory = &mut Hooked::new(&mut access, reads);
        Ok(function_tables::function_tables(memory, &mut self.diagnostics))
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        if !self.need.tokens {
            return Ok(Vec::new());
        }
        tokens::tokens(&self.access, &self.threads.ids(), &mut self.diagnostics)
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        let (memory, lost) = self.system_memory.clone()?;
        self.diagnostics.extend(lost);
        Ok(Some(memory))
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        counters::process(&self.access)
    }

    fn linux(&mut self, _: &mut dyn ReadHook) -> Option<LinuxFacts> {
        None
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        regions::survey(&self.access, range)
    }

    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        diagnostics.extend(self.modules.iter_mut().flat_map(LoadedModules::take_diagnostics));
        diagnostics
    }

    fn thaw(mut self: Box<Self>) -> Holding {
        let holding = self.threads.release();
        Holding {
            pause: holding.pause.max(self.pause),
            ..holding
        }
    }
}

#[cfg(test)]
mod tests;
