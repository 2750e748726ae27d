//! A process whose threads stand still, and its answers.

use std::ops::Deref;
use std::time::{Duration, Instant};

use dumpwright_target::{
    AddressRange, Extent, Fault, FaultKind, Frozen, FunctionTable, Handle, HandleOperation, Holding,
    LinuxFacts, Module, Need, Process, Region, Remark, Stack, Subject, System, SystemMemory, Thread, Token,
    UnloadedModule, VmCounters,
};

use crate::access::{Access, process_of_snapshot};
use crate::freeze::Threads;
use crate::modules::Modules;
use crate::process::Surroundings;
use crate::snapshot::{GivenSnapshot, ProcessSnapshot};
use crate::{
    counters, function_tables, handle_operations, handles, process, read, regions, registers, system,
    threads, tokens, unloaded,
};

/// The guard behind [`Frozen`].
#[derive(Debug)]
pub(crate) struct FrozenProcess<'a> {
    /// First, because fields are dropped in this order: the process runs on before anything else is cleared up.
    threads: Threads,
    access: Through<'a>,
    need: Need,
    /// Read before any thread is held.
    system: Result<System, Fault>,
    system_memory: Result<Option<SystemMemory>, Fault>,
    surroundings: Surroundings,
    /// Found when they are first asked for.
    modules: Option<Modules>,
    remarks: Vec<Remark>,
    /// How long the process stood still while its snapshot was taken.
    pause: Duration,
    /// What threads and memory are of, if it was made here. Last, because it has the memory.
    snapshot: Option<ProcessSnapshot>,
}

/// What the process is asked through.
#[derive(Debug)]
enum Through<'a> {
    Process(&'a Access),
    /// Made for this: memory comes from a snapshot.
    Snapshot {
        /// Everything else; dropped behind what borrows its handle.
        reading: Access,
        _process: Option<Access>,
    },
}

impl Deref for Through<'_> {
    type Target = Access;

    fn deref(&self) -> &Access {
        match self {
            Self::Process(access) => access,
            Self::Snapshot { reading, .. } => reading,
        }
    }
}

impl<'a> FrozenProcess<'a> {
    /// The process, whose threads are held one by one as they are chosen.
    ///
    /// # Errors
    /// It cannot be asked for its threads.
    pub(crate) fn freeze(access: &'a Access, need: &Need) -> Result<Self, Fault> {
        let extended = need.extended_state.then(registers::extended_layout).flatten();
        let threads = Threads::new(extended);
        threads.list(access)?;
        Ok(Self::new(threads, Through::Process(access), need))
    }

    fn new(threads: Threads, access: Through<'a>, need: &Need) -> Self {
        Self {
            threads,
            system: system::system(&access, need),
            system_memory: counters::system(),
            surroundings: Surroundings::of_machine(),
            access,
            need: need.clone(),
            modules: None,
            remarks: Vec::new(),
            pause: Duration::ZERO,
            snapshot: None,
        }
    }

    /// A copy of the process, which runs on; or the process itself, if it cannot be copied.
    ///
    /// # Errors
    /// It can neither be copied nor be asked for its threads.
    pub(crate) fn clone_of(access: &'a Access, need: &Need) -> Result<Self, Fault> {
        let started = Instant::now();
        let why = match ProcessSnapshot::capture(access.process, access.id) {
            Ok(Some(snapshot)) => {
                let pause = started.elapsed();
                match snapshot.look().filter(|given| given.memory().is_some()) {
                    Some(given) => {
                        let threads = Threads::of_snapshot(given.threads()?, given.priority_class);
                        let memory = given.memory().expect("just looked for");
                        let access = Through::Snapshot {
                            reading: access.reading_from(memory),
                            _process: None,
                        };
                        let mut frozen = Self::new(threads, access, need);
                        frozen.pause = pause;
                        frozen.snapshot = Some(snapshot);
                        return Ok(frozen);
                    }
                    None => "the system's snapshot of it has no copy of its memory".to_owned(),
                }
            }
            Ok(None) => "this system cannot copy processes (Windows 8.1 and later can)".to_owned(),
            Err(fault) => fault.to_string(),
        };
        let mut frozen = Self::freeze(access, need)?;
        let reason = format!("it was stopped, not copied: {why}");
        frozen.remarks.push(Remark::note(Subject::Process, reason));
        Ok(frozen)
    }

    /// A snapshot that somebody keeps. The process may have ended since.
    ///
    /// # Errors
    /// It has neither threads nor memory.
    pub(crate) fn of_snapshot(given: &GivenSnapshot, need: &Need) -> Result<Self, Fault> {
        let mut remarks = Vec::new();
        let threads = given.threads().unwrap_or_else(|fault| {
            remarks.push(Remark::missing(Subject::Stream("ThreadList"), fault.to_string()));
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
        let process = process_of_snapshot(given.process_id);
        // What only the process itself tells is asked of the copy, which is a process too, where the original has gone.
        let handle = process.as_ref().map_or(memory, |access| access.process);
        let access = Through::Snapshot {
            reading: Access::of_snapshot(given.process_id, handle, memory),
            _process: process,
        };
        let threads = Threads::of_snapshot(threads, given.priority_class);
        let mut frozen = Self::new(threads, access, need);
        frozen.remarks = remarks;
        Ok(frozen)
    }

    /// The modules, which are found when they are first asked for.
    fn modules<'m>(found: &'m mut Option<Modules>, access: &Access) -> Result<&'m mut Modules, Fault> {
        match found {
            Some(modules) => Ok(modules),
            none => Ok(none.insert(Modules::find(access)?)),
        }
    }
}

impl Frozen for FrozenProcess<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        self.system.clone()
    }

    fn process(&mut self) -> Result<Process, Fault> {
        process::process(&self.access, &self.surroundings)
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        self.threads.list(&self.access)
    }

    fn hold_thread(&mut self, id: u32) {
        self.threads.hold(&self.access, id);
    }

    fn thread(&mut self, id: u32) -> Result<Thread, Fault> {
        threads::thread(&self.access, &self.threads, id, &mut self.remarks)
    }

    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64) -> Option<Stack> {
        threads::stack_at(&self.access, &self.threads, thread_id, stack_pointer)
    }

    fn module_bases(&mut self) -> Result<Vec<u64>, Fault> {
        let modules = Self::modules(&mut self.modules, &self.access)?;
        Ok(modules.bases())
    }

    fn module(&mut self, base: u64) -> Result<Module, Fault> {
        let modules = Self::modules(&mut self.modules, &self.access)?;
        modules.module(&self.access, base)
    }

    fn regions(&mut self) -> Result<Vec<Region>, Fault> {
        regions::regions(&self.access)
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        if !self.need.handles {
            return Ok(Vec::new());
        }
        handles::handles(&self.access, &mut self.remarks)
    }

    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        Ok(handle_operations::handle_operations(&self.access))
    }

    fn unloaded_modules(&mut self) -> Result<Vec<UnloadedModule>, Fault> {
        unloaded::unloaded_modules(&self.access)
    }

    fn function_tables(&mut self) -> Result<Vec<FunctionTable>, Fault> {
        function_tables::function_tables(&self.access, &mut self.remarks)
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        if !self.need.tokens {
            return Ok(Vec::new());
        }
        tokens::tokens(&self.access, &self.threads.ids(), &mut self.remarks)
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        self.system_memory.clone()
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        counters::process(&self.access)
    }

    fn linux(&mut self) -> Option<LinuxFacts> {
        None
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        regions::survey(&self.access, range)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        read::read(&self.access, at, into)
    }

    fn remarks(&mut self) -> Vec<Remark> {
        let mut remarks = std::mem::take(&mut self.remarks);
        remarks.extend(self.modules.iter_mut().flat_map(Modules::take_remarks));
        remarks
    }

    fn thaw(mut self: Box<Self>) -> Holding {
        let holding = self.threads.release();
        Holding {
            pause: holding.pause.max(self.pause),
            ..holding
        }
    }
}
