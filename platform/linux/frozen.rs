//! A process that stands still, and its answers.

use std::rc::Rc;

use dumpwright_target::{
    AddressRange, Cpu, Extent, Fault, FaultKind, Frozen, Handle, Holding, LinuxFacts, Module, Need, Process,
    Region, Remark, Stack, Subject, System, SystemMemory, Thread, Token, VmCounters,
};

use crate::freeze::{Held, Stop, Threads, Tie};
use crate::hold::{Hold, TracerOf};
use crate::modules::Modules;
use crate::proc_dir::ProcDir;
use crate::process::Surroundings;
use crate::read::Memory;
use crate::regions::{self, Mapping};
use crate::stacks::{Stacks, strings};
use crate::texts::Texts;
use crate::{attach, cgroup, counters, dso_debug, handles, process, system, threads, tokens, xstate};

/// The guard behind [`Frozen`]. Everything it says is read while the threads stand still, except what cannot
/// change or must not be disturbed by our being there.
#[derive(Debug)]
pub(crate) struct FrozenProcess<'a> {
    /// First, because fields are dropped in this order: the process runs on before anything else is cleared up.
    hold: Hold<'a>,
    dir: ProcDir,
    need: Need,
    mappings: Rc<[Mapping]>,
    memory: Memory,
    stacks: Stacks,
    /// Read before the pause.
    system: Result<System, Fault>,
    system_memory: Result<Option<SystemMemory>, Fault>,
    surroundings: Surroundings,
    /// Those that were read before the pause; the others join them when asked for.
    texts: Texts,
    /// Found when first asked for.
    modules: Option<Modules>,
    remarks: Vec<Remark>,
}

impl<'a> FrozenProcess<'a> {
    /// Holds the process in `dir` still. `dying` is a thread of our own program that stays in its stop afterwards.
    pub(crate) fn freeze(
        mut dir: ProcDir,
        tracer: TracerOf<'a>,
        tie: Tie,
        dying: Option<u32>,
        need: &Need,
    ) -> Result<Self, Fault> {
        attach::check_supported(&dir)?;
        // Before we attach: `status` names its tracer.
        let mut texts = Texts::before_stop(&dir);
        let extended = need.extended_state.then(xstate::layout).flatten();
        let extended = extended.filter(|_| dir.cpu == Cpu::Amd64);
        let system = system::system(dir.cpu, extended.clone());
        let system_memory = counters::system();
        let surroundings = Surroundings::of(&dir);
        let mut threads = Threads::new(dir.clone(), tie).keeping(dying).extended(extended);
        // Before the pause begins: attaching, which stops nobody and tells whether we may; and what takes long and may
        // be slightly older.
        let threads = tracer.run(move || threads.attach().map(|_| threads))??;
        let frozen = cgroup::remark(&dir);
        let mut flags = need.full_memory.then(|| regions::mappings_with_flags(&dir));

        let hold = Hold::new(tracer, threads)?;
        // The first thread may have ended since, and /proc shows little through an ended
        // one; the kernel's own threads may end at any time.
        let steady = hold.threads().iter().find(|held| held.stop != Stop::Kernel);
        dir.task = steady.map_or(dir.task, |held| held.tid);
        let (mut mappings, text) = regions::mappings_and_text(&dir)?;
        texts.add_maps(text);
        if let Some(Ok(before)) = &flags {
            let adopted = regions::adopt_flags(&dir, &mut mappings, before);
            flags = adopted.err().map(Err);
        }
        let mappings: Rc<[Mapping]> = mappings.into();
        let unwanted = dir
            .process_stat()
            .ok()
            .filter(|_| !need.environment)
            .and_then(|stat| strings(&stat));
        Ok(Self {
            hold,
            memory: Memory::new(&dir, Rc::clone(&mappings)),
            stacks: Stacks::new(Rc::clone(&mappings), unwanted, dir.cpu),
            mappings,
            dir,
            system,
            system_memory,
            surroundings,
            texts,
            need: need.clone(),
            modules: None,
            remarks: flags
                .and_then(Result::err)
                .map(unmarked)
                .into_iter()
                .chain(frozen)
                .collect(),
        })
    }

    fn modules(&mut self) -> (&mut Modules, &mut Memory) {
        let modules = self
            .modules
            .get_or_insert_with(|| Modules::find(&self.dir, &self.mappings, &mut self.memory));
        (modules, &mut self.memory)
    }

    fn held(&self, id: u32) -> Option<&Held> {
        self.hold.threads().iter().find(|held| held.tid == id)
    }
}

/// Kernels without `CONFIG_PROC_PAGE_MONITOR` have no `smaps`.
fn unmarked(fault: Fault) -> Remark {
    let reason = format!("which memory the program wants left out of dumps is not known: {fault}");
    Remark::note(Subject::Process, reason)
}

impl Frozen for FrozenProcess<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        self.system.clone()
    }

    fn process(&mut self) -> Result<Process, Fault> {
        process::process(&self.dir, &self.surroundings)
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        Ok(self.hold.threads().iter().map(|held| held.tid).collect())
    }

    fn thread(&mut self, id: u32) -> Result<Thread, Fault> {
        let held = self.hold.threads().iter().find(|held| held.tid == id);
        let held = held.ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("examine thread {id} of process {}", self.dir.pid),
                "it had no such thread when it was stopped",
            )
        })?;
        let memory = &mut self.memory;
        let mut read = |at, into: &mut [u8]| memory.read(at, into).unwrap_or(0);
        Ok(threads::thread(
            &self.dir,
            held,
            &mut self.stacks,
            &mut read,
            &mut self.remarks,
        ))
    }

    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64) -> Option<Stack> {
        let registers = self.held(thread_id)?.registers.as_ref()?;
        let thread_pointer = registers.thread_pointer(self.dir.cpu);
        Some(self.stacks.at(stack_pointer, thread_pointer)?.stack)
    }

    fn module_bases(&mut self) -> Result<Vec<u64>, Fault> {
        Ok(self.modules().0.bases())
    }

    fn module(&mut self, base: u64) -> Result<Module, Fault> {
        let (modules, memory) = self.modules();
        modules.module(base, memory)
    }

    fn regions(&mut self) -> Result<Vec<Region>, Fault> {
        let ranges = self.modules().0.ranges();
        let memory = &mut self.memory;
        Ok(regions::regions(
            &self.mappings,
            &ranges,
            self.need.dont_dump,
            |range| memory.is_untouched(range),
        ))
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        if !self.need.handles {
            return Ok(Vec::new());
        }
        handles::handles(&self.dir)
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        if !self.need.tokens {
            return Ok(Vec::new());
        }
        // The kernel's own threads act as whoever made the request, and may end at any time.
        let of_program = self
            .hold
            .threads()
            .iter()
            .filter(|held| held.stop != Stop::Kernel);
        let threads: Vec<u32> = of_program.map(|held| held.tid).collect();
        tokens::tokens(&self.dir, &threads)
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        self.system_memory.clone()
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        counters::process(&self.dir).map(Some)
    }

    fn linux(&mut self) -> Option<LinuxFacts> {
        self.texts.during_stop(&self.dir, &self.need);
        let texts = std::mem::take(&mut self.texts);
        let (dso_debug, remarks) = dso_debug::dso_debug(&self.dir, &mut self.memory);
        self.remarks.extend(texts.remarks.into_iter().chain(remarks));
        Some(LinuxFacts {
            texts: texts.texts,
            dso_debug,
        })
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        self.memory.survey(range)
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.memory.read(at, into)
    }

    fn remarks(&mut self) -> Vec<Remark> {
        let mut remarks = std::mem::take(&mut self.remarks);
        remarks.extend(
            self.modules
                .as_mut()
                .map(Modules::take_remarks)
                .unwrap_or_default(),
        );
        remarks.extend(self.memory.take_remark());
        remarks
    }

    fn thaw(mut self: Box<Self>) -> Holding {
        Holding {
            hold: "stop",
            pause: self.hold.release(),
        }
    }
}
