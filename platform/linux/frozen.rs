//! A process whose threads are stopped, and the facts that are read from it.

use std::rc::Rc;
use std::sync::Arc;

use dumpwright_target::{
    AddressRange, Cpu, Diagnostic, Exception, Extent, Fault, FaultKind, Frozen, Handle, Holding, Hooked,
    LinuxFacts, Memory, Module, Need, Process, ReadHook, Region, Stack, Subject, System, SystemMemory,
    Thread, Token, VmCounters,
};

use crate::clone::{CloneRefusal, Preparation};
use crate::crashed::CrashedThreads;
use crate::debuggee::Debuggee;
use crate::freeze::{StopKind, TargetThreads, Tie};
use crate::handler::Handler;
use crate::hold::{Attached, HeldByOthers, Hold, too_early};
use crate::modules::LoadedModules;
use crate::mounts::FileSystems;
use crate::proc_dir::{ProcDir, system_fault};
use crate::process::Surroundings;
use crate::read::{ProcessMemory, StopPages};
use crate::regions::{self, Mapping};
use crate::registers::Registers;
use crate::stacks::{Stacks, Strings};
use crate::taken::TakenFacts;
use crate::texts::Texts;
use crate::threads::ThreadEntry;
use crate::tracer::{Early, Tracer, Watch};
use crate::{
    HoldMode, PauseEstimate, attach, cgroup, costs, counters, dso_debug, handles, process, system, taken,
    threads, tokens, xstate,
};

mod own;

/// The [`Frozen`] of a live process.
///
/// Facts are read while the threads are stopped, except those that cannot change, or that our
/// attaching would change.
#[derive(Debug)]
pub(crate) struct FrozenProcess<'a> {
    /// The first field, because fields are dropped in order of declaration: the process continues
    /// before the rest is cleaned up.
    hold: Hold<'a>,
    dir: ProcDir,
    /// The process whose memory is read: that in `dir`, or its clone.
    memory_dir: ProcDir,
    /// What was read while the process was stopped, if it is held by a clone.
    taken: Option<Box<TakenFacts>>,
    need: Need,
    mappings: Rc<[Mapping]>,
    memory: ProcessMemory,
    stacks: Stacks,
    /// The signal handlers in which the threads are that were described.
    handlers: Vec<Handler>,
    /// Read before the pause, like the two fields after it.
    system: Result<System, Fault>,
    system_memory: Result<Option<SystemMemory>, Fault>,
    surroundings: Surroundings,
    /// The texts read before the pause. The others are added when they are asked for.
    texts: Texts,
    /// Found when first asked for.
    modules: Option<LoadedModules>,
    diagnostics: Vec<Diagnostic>,
    /// Whether a diagnostic reports that the process ran on too early.
    ran_on: bool,
    /// The time limits, whose end releases the process, or ends its clone.
    watch: Arc<Watch>,
}

/// How a process is stopped.
#[derive(Debug)]
pub(crate) enum Stopping<'a> {
    /// By a tracer that attaches to it for this capture.
    Attaching(Tracer<'a>),
    /// By the tracer of a program that we started. If a signal is about to kill the program, the
    /// thread with that signal stays stopped when the others continue.
    Spawned {
        tracer: Tracer<'a>,
        dying: Option<(u32, Box<Registers>)>,
    },
    /// Its debugger, which is our caller, has stopped it.
    Debuggee(Debuggee),
    /// A signal has killed it, and the kernel keeps it until its core has been read.
    Crashed(CrashedThreads),
}

impl<'a> FrozenProcess<'a> {
    /// Stops the process in `dir` and reads what every dump needs. If it is held by a clone, it is
    /// then released.
    pub(crate) fn freeze(
        mut dir: ProcDir,
        stopping: Stopping<'a>,
        need: &Need,
        mode: HoldMode,
    ) -> Result<Self, Fault> {
        attach::check_supported(&dir)?;
        if let (Stopping::Spawned { .. }, Some(_)) = (&stopping, need.max_pause) {
            return Err(Fault::new(
                FaultKind::Unsupported,
                format!("stop process {}", dir.pid),
                "the pause of a program that was started in order to be dumped cannot be limited",
            )
            .advise("make the dump without a pause limit"));
        }
        // Read before attaching, because `status` names the tracer.
        let systems = Rc::new(FileSystems::of(&dir));
        let mut texts = Texts::before_stop(&dir, &systems);
        let extended = need.extended_state.then(xstate::layout).flatten();
        let extended = extended.filter(|_| dir.cpu == Cpu::Amd64);
        let system = system::system(dir.cpu, extended.clone());
        let system_memory = counters::system();
        let mut surroundings = Surroundings::of(&dir, &systems, texts.cpuinfo());
        let surrounding_losses = std::mem::take(&mut surroundings.diagnostics);
        let with_extended = extended.is_some();
        let threads = |tie| {
            TargetThreads::new(dir.clone(), tie)
                .extended(extended)
                .max_pause(need.max_pause)
        };
        // Before the pause: attaching, which stops no thread and shows whether we are permitted to
        // trace, and facts that take long to read and may be slightly older.
        let stopping = match stopping {
            Stopping::Attaching(tracer) => Ok(Attached::attach(tracer, threads(Tie::Guest))?),
            Stopping::Spawned { tracer, dying } => {
                Ok(Attached::attach(tracer, threads(Tie::Parent).keeping(dying))?)
            }
            Stopping::Debuggee(debuggee) => Err(HeldByOthers::Debuggee(debuggee)),
            Stopping::Crashed(threads) => Err(HeldByOthers::Kernel(threads)),
        };
        let frozen = cgroup::diagnostic(&dir);
        let (prepared, because) = match mode {
            HoldMode::Stop => (None, None),
            HoldMode::Clone => (Some(prepare_clone(&dir, &stopping)), None),
            HoldMode::Auto => prepare_if_shorter(&dir, &stopping, need),
        };
        let mut flags = match &prepared {
            Some(Ok((before, _))) if need.full_memory => Some(Ok(before.clone())),
            _ => regions::before_stop(&dir, need.full_memory),
        };

        let watch = stopping
            .as_ref()
            .map_or_else(|_| Arc::default(), |attached| attached.tracer.watch());
        let mut hold = match stopping {
            Ok(attached) => Hold::new(attached)?,
            Err(others) if with_extended => Hold::of_others(others),
            Err(others) => Hold::of_others(others.without_extended()),
        };
        // The leader may have ended in the meantime, and /proc shows little through an ended
        // thread. Kernel worker threads may end at any time.
        let steady = hold.threads().iter().find(|held| held.stop != StopKind::Kernel);
        dir.task = steady.map_or(dir.task, |held| held.tid);
        let (mut mappings, text) = regions::mappings_and_text(&dir)?;
        texts.add_maps(text);
        if let Some(Ok(before)) = &flags {
            let adopted = if need.full_memory {
                regions::adopt_flags(&dir, &mut mappings, before)
            } else {
                regions::adopt_emptiness(&mut mappings, before);
                Ok(())
            };
            flags = adopted.err().map(Err);
        }
        let mappings: Rc<[Mapping]> = mappings.into();
        let (unwanted, unknown) = if need.environment {
            (None, None)
        } else {
            let (strings, unknown) = strings(&dir);
            (Some(strings), unknown)
        };
        let mut memory = ProcessMemory::new(&dir, Rc::clone(&mappings))
            .mounted(Rc::clone(&systems))
            .watched_by(Arc::clone(&watch));
        let (mut memory_dir, mut facts) = (dir.clone(), None);
        let (mut not_cloned, mut cloned) = (None, None);
        if let Some(prepared) = prepared {
            let ready = prepared.and_then(|(before, preparation)| {
                let ready = ready_to_clone(&dir, &mappings, &before, &preparation, need, &mut memory);
                ready.map(|(memory, pages)| (preparation, memory, pages))
            });
            match ready {
                Ok((preparation, mut original, pages)) => {
                    let (masks, texts) = (hold.signal_masks()?, texts.clone());
                    let taken = TakenFacts::take(&dir, hold.threads(), &masks, need, &surroundings, texts);
                    let made =
                        hold.clone_and_release(&preparation, &dir, &mappings, &mut original, need.max_clone)?;
                    match made {
                        Ok(clone) => {
                            cloned = Some(because.into_iter().chain(clone.diagnostic()));
                            memory_dir = ProcDir {
                                pid: clone.pid,
                                task: clone.pid,
                                cpu: dir.cpu,
                            };
                            memory = original.of_clone(&memory_dir, pages).mounted(systems);
                            facts = Some(Box::new(taken));
                        }
                        Err(refusal) => not_cloned = Some(refusal),
                    }
                }
                Err(refusal) => not_cloned = Some(refusal),
            }
        }
        if let Some(early) = watch.early().filter(|_| facts.is_none()) {
            return Err(too_early(dir.pid, early));
        }
        Ok(Self {
            hold,
            memory,
            memory_dir,
            taken: facts,
            stacks: Stacks::new(Rc::clone(&mappings), unwanted, dir.cpu),
            handlers: Vec::new(),
            mappings,
            dir,
            system,
            system_memory,
            surroundings,
            texts,
            need: need.clone(),
            modules: None,
            ran_on: false,
            watch,
            diagnostics: flags
                .and_then(Result::err)
                .map(unmarked)
                .into_iter()
                .chain(frozen)
                .chain(surrounding_losses)
                .chain(unknown)
                .chain(not_cloned.map(|refusal| refusal.diagnostic()))
                .chain(cloned.into_iter().flatten())
                .collect(),
        })
    }

    /// Returns the texts. If the target was resumed before all were read, only those that were read
    /// before the pause.
    fn texts(&mut self) -> Texts {
        let before = std::mem::take(&mut self.texts);
        if let Some(taken) = &mut self.taken {
            return std::mem::take(&mut taken.texts);
        }
        let held = self.while_held(|this| {
            let mut texts = before.clone();
            texts.during_stop(&this.dir, &this.need);
            Ok(texts)
        });
        held.unwrap_or_else(|fault| before.without_others(&self.need, &fault))
    }

    /// Answers a question from the target. If the target was resumed before the answer was
    /// complete, the answer is discarded.
    fn while_held<T>(&mut self, ask: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.check_held()?;
        let answer = ask(self);
        self.check_held()?;
        answer
    }

    fn check_held(&self) -> Result<(), Fault> {
        let Some(early) = self.watch.early() else {
            return Ok(());
        };
        Err(Fault::new(
            FaultKind::NotStopped,
            format!("examine process {}", self.dir.pid),
            format!("{early}, so {}", early.since()),
        ))
    }

    fn modules(&mut self, reads: &mut dyn ReadHook) -> (&mut LoadedModules, &mut ProcessMemory) {
        let modules = self
            .modules
            .get_or_insert_with(|| LoadedModules::find(&self.mappings, &mut self.memory, reads));
        (modules, &mut self.memory)
    }
}

/// A process that was examined for a clone: its mappings with their flags, and what was found out.
type Prepared = Result<(Vec<Mapping>, Preparation), CloneRefusal>;

/// Examines the process for a clone, if that is estimated to shorten the pause enough. Also returns
/// the note that says so.
fn prepare_if_shorter(
    dir: &ProcDir,
    stopping: &Result<Attached<'_>, HeldByOthers>,
    need: &Need,
) -> (Option<Prepared>, Option<Diagnostic>) {
    let Some(estimate) = PauseEstimate::of(dir, need) else {
        let refused = CloneRefusal::new("it is not known how much memory it has");
        return (Some(Err(refused)), None);
    };
    let against = || costs::reason_against(dir).map(str::to_owned);
    match estimate.reason_to_stop(need.max_pause).or_else(against) {
        Some(reason) => (Some(Err(CloneRefusal::new(reason))), None),
        None => {
            let because = Diagnostic::note(Subject::Process, estimate.reason_to_clone());
            (Some(prepare_clone(dir, stopping)), Some(because))
        }
    }
}

/// Examines the process for a clone, before it is stopped. Also returns its mappings with their
/// flags.
fn prepare_clone(dir: &ProcDir, stopping: &Result<Attached<'_>, HeldByOthers>) -> Prepared {
    match stopping {
        Err(others) => return Err(CloneRefusal::new(others.reason_against_clone())),
        Ok(attached) if !attached.is_guest() => {
            return Err(CloneRefusal::new(
                "a program that was started in order to be dumped is not cloned",
            ));
        }
        Ok(_) => {}
    }
    let before = regions::mappings_with_flags(dir).map_err(|fault| CloneRefusal::new(fault.to_string()))?;
    let mut memory = ProcessMemory::new(dir, before.clone());
    let preparation = Preparation::of(dir, &before, &mut memory)?;
    Ok((before, preparation))
}

/// Examines a process again during its stop, and copies what a clone would not have. Returns the
/// memory with the flags of its mappings, and the copies.
fn ready_to_clone(
    dir: &ProcDir,
    mappings: &[Mapping],
    before: &[Mapping],
    preparation: &Preparation,
    need: &Need,
    memory: &mut ProcessMemory,
) -> Result<(ProcessMemory, StopPages), CloneRefusal> {
    let mut mappings = mappings.to_vec();
    // A full dump has the flags already.
    if mappings.iter().any(|mapping| mapping.flags.is_none()) {
        regions::adopt_flags(dir, &mut mappings, before)
            .map_err(|fault| CloneRefusal::new(fault.to_string()))?;
    }
    preparation.check_again(&mappings)?;
    let mut memory = memory.with_mappings(mappings.into());
    // Other dumps than full ones do not leave this memory out.
    let dont_dump = need.dont_dump || !need.full_memory;
    let pages = memory.stop_pages(need.full_memory, dont_dump)?;
    Ok((memory, pages))
}

/// Finds out where the argument and environment strings may be, and what was lost to that end.
///
/// The leader may have ended, and its `stat` has no addresses then, so a live thread's is read
/// first.
fn strings(dir: &ProcDir) -> (Strings, Option<Diagnostic>) {
    let stat = dir.thread_stat(dir.task).or_else(|_| dir.process_stat());
    let auxv = dir.auxv();
    let strings = Strings::of(stat.as_ref().ok(), auxv.as_deref().ok());
    let unknown = match (&stat, &auxv) {
        (Ok(_), Ok(_)) => return (strings, None),
        (Ok(_), Err(error)) => format!(
            "its auxiliary vector cannot be read ({error}), so it is not known where its environment \
             begins: the stack of its first thread ends where the program started"
        ),
        (Err(error), Ok(_)) => format!(
            "its stat cannot be read ({error}), so it is not known where its environment is now: the \
             stack of its first thread ends below the environment that the program started with"
        ),
        (Err(error), Err(_)) => format!(
            "its stat ({error}) and its auxiliary vector cannot be read, so it is not known where its \
             environment is: the stack of its first thread is left out"
        ),
    };
    (strings, Some(Diagnostic::missing(Subject::Process, unknown)))
}

/// The diagnostic for a `smaps` that could not be read. Kernels without `CONFIG_PROC_PAGE_MONITOR`
/// have none.
fn unmarked(fault: Fault) -> Diagnostic {
    let reason = format!("it is not known which memory the program wants left out of dumps: {fault}");
    Diagnostic::note(Subject::Process, reason)
}

impl Memory for FrozenProcess<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.memory.read(at, into)
    }
}

impl Frozen for FrozenProcess<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        self.system.clone()
    }

    fn process(&mut self) -> Result<Process, Fault> {
        if let Some(taken) = &mut self.taken {
            return taken::take(&mut taken.process);
        }
        self.while_held(|this| process::process(&this.dir, &this.surroundings))
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        Ok(self.hold.threads().iter().map(|held| held.tid).collect())
    }

    fn thread(&mut self, id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault> {
        let held = self.hold.thread(id).ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("examine thread {id} of process {}", self.dir.pid),
                "it had no such thread when it was stopped",
            )
        })?;
        let known = self.diagnostics.len();
        let mut thread = |early: Option<Early>| {
            self.diagnostics.truncate(known);
            let taken = self.taken.as_mut().and_then(|taken| taken.entry(id));
            let entry = taken.unwrap_or_else(|| match early {
                None => ThreadEntry::read(&self.dir, held, self.need.thread_times),
                Some(early) => ThreadEntry::too_late(held, self.need.thread_times, early),
            });
            threads::thread(
                &self.dir,
                held,
                entry,
                early,
                &mut self.stacks,
                &mut Hooked::new(&mut self.memory, reads),
                &mut self.diagnostics,
            )
        };
        let early = self.watch.early();
        let found = thread(early);
        // The registers were read when the thread stopped, so they are returned even if it runs.
        let (thread, handlers) = match self.watch.early() {
            Some(early_now) if early.is_none() => thread(Some(early_now)),
            _ => found,
        };
        self.handlers.extend(handlers);
        Ok(thread)
    }

    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64, _: &mut dyn ReadHook) -> Option<Stack> {
        let registers = self.hold.thread(thread_id)?.registers.as_ref()?;
        let thread_pointer = registers.thread_pointer(self.dir.cpu);
        Some(self.stacks.at(stack_pointer, thread_pointer)?.stack)
    }

    fn handled_crash(&mut self, reads: &mut dyn ReadHook) -> Option<Exception> {
        // The outermost handler of a thread has the signal that came first. Another may be the
        // abort by which the handler ends the program.
        let handlers = std::mem::take(&mut self.handlers);
        let outermost_first = handlers
            .chunk_by(|one, next| one.thread == next.thread)
            .flat_map(|of_thread| of_thread.iter().rev());
        for handler in outermost_first {
            let found = self.while_held(|this| {
                let mut memory = Hooked::new(&mut this.memory, reads);
                let taken = this.taken.as_ref();
                let blocked = taken.and_then(|taken| taken.mask(handler.thread));
                let found = handler.exception(&this.dir, blocked, &mut memory);
                found.map_err(|error| system_fault("examine its signal handler", &error))
            });
            match found {
                Ok(None) => {}
                Ok(found) => return found,
                Err(fault) => {
                    let reason = format!("it is not known whether it handles a crash: {fault}");
                    let subject = Subject::Thread(handler.thread);
                    self.diagnostics.push(Diagnostic::missing(subject, reason));
                }
            }
        }
        None
    }

    fn module_bases(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        Ok(self.modules(reads).0.bases())
    }

    fn module(&mut self, base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault> {
        let (modules, memory) = self.modules(reads);
        modules.module(base, memory, reads)
    }

    fn regions(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        let ranges = self.modules(reads).0.ranges();
        let memory = &mut self.memory;
        Ok(regions::regions(
            &self.mappings,
            &ranges,
            self.need.dont_dump,
            |mapping| memory.is_untouched(mapping),
        ))
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        if !self.need.handles {
            return Ok(Vec::new());
        }
        if let Some(taken) = &mut self.taken {
            self.diagnostics.append(&mut taken.diagnostics);
            return taken::take(&mut taken.handles);
        }
        self.while_held(|this| handles::handles(&this.dir, &mut this.diagnostics))
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        if !self.need.tokens {
            return Ok(Vec::new());
        }
        if let Some(taken) = &mut self.taken {
            return taken::take(&mut taken.tokens);
        }
        let threads = taken::with_token(self.hold.threads());
        self.while_held(|this| tokens::tokens(&this.dir, &threads))
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        self.system_memory.clone()
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        if let Some(taken) = &mut self.taken {
            return taken::take(&mut taken.vm_counters).map(Some);
        }
        self.while_held(|this| counters::process(&this.dir).map(Some))
    }

    fn linux(&mut self, reads: &mut dyn ReadHook) -> Option<LinuxFacts> {
        let texts = self.texts();
        let (dso_debug, diagnostics) =
            dso_debug::dso_debug(&self.memory_dir, &mut Hooked::new(&mut self.memory, reads));
        self.diagnostics
            .extend(texts.diagnostics.into_iter().chain(diagnostics));
        Some(LinuxFacts {
            texts: texts.texts,
            dso_debug,
        })
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        self.memory.survey(range)
    }

    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        diagnostics.extend(
            self.modules
                .as_mut()
                .map(LoadedModules::take_diagnostics)
                .unwrap_or_default(),
        );
        diagnostics.extend(self.memory.take_diagnostic());
        let ran_on = match self.watch.early() {
            Some(early) => Some(format!(
                "{early}, so {}; what had not been read by then is missing",
                early.consequence()
            )),
            None => self.hold.has_failed().then(|| {
                "it ran while it was read, because the helper process that stopped it was killed".to_owned()
            }),
        };
        if let Some(reason) = ran_on.filter(|_| !self.ran_on) {
            self.ran_on = true;
            diagnostics.push(Diagnostic::missing(Subject::Process, reason));
        }
        diagnostics
    }

    fn resumed_early(&self) -> Option<String> {
        self.watch.early().map(|early| early.to_string())
    }

    fn waits_for_output(&mut self, waits: bool) {
        self.watch.waits_for_output(waits);
    }

    fn thaw(mut self: Box<Self>) -> Holding {
        Holding {
            hold: self.hold.kind(),
            tracer: Some(self.hold.tracer()),
            pause: self.hold.release(),
        }
    }
}
