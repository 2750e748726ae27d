//! A frozen simulated process.

use std::collections::HashMap;
use std::time::Duration;

use dumpwright_target::{
    AddressRange, Content, Diagnostic, Exclusion, Extent, Fault, FaultKind, Frozen, FunctionTable, Handle,
    HandleOperation, Holding, LinuxFacts, LinuxTextKind, Memory, Module, Need, Process, ReadHook, Region,
    RegionState, Stack, Subject, System, SystemMemory, Thread, Token, UnloadedModule, VmCounters,
    pause_limit_passed, protect,
};

use crate::faults::{ModuleRecord, Question, RegionChange, SimFault};
use crate::process::failed;
use crate::{Contents, SimProcess};

pub(crate) struct Still<'p> {
    process: &'p mut SimProcess,
    need: Need,
    /// The current address space. Faults change it.
    regions: Vec<(Region, Contents)>,
    /// The index of each thread and each module in the process's lists, because they are looked up
    /// one by one.
    threads: HashMap<u32, usize>,
    modules: HashMap<u64, usize>,
    /// How often the regions have been listed.
    listings: u32,
    /// How many reads have touched the range of each fault.
    reads: Vec<u64>,
    diagnostics: Vec<Diagnostic>,
    pause: Duration,
}

impl<'p> Still<'p> {
    pub fn new(process: &'p mut SimProcess, need: &Need) -> Self {
        let mut regions = process.regions.clone();
        regions.sort_by_key(|(region, _)| region.range);
        if need.dont_dump {
            let marked = regions
                .iter_mut()
                .filter(|(region, _)| region.exclusion == Some(Exclusion::DontDump));
            marked.for_each(|(region, _)| region.exclusion = None);
        }
        let (mut threads, mut modules) = (HashMap::new(), HashMap::new());
        for (index, thread) in process.threads.iter().enumerate() {
            threads.entry(thread.id).or_insert(index);
        }
        for (index, module) in process.modules.iter().enumerate() {
            modules.entry(module.base).or_insert(index);
        }
        Self {
            need: need.clone(),
            regions,
            threads,
            modules,
            listings: 0,
            reads: vec![0; process.faults.len()],
            diagnostics: Vec::new(),
            pause: Duration::ZERO,
            process,
        }
    }

    /// The limit of the pause, if it has passed.
    fn passed_limit(&self) -> Option<Duration> {
        self.need.max_pause.filter(|limit| self.pause >= *limit)
    }

    /// Returns the fault that a question about the process as a whole meets, if any.
    fn answer(&self, asked: Question, operation: &str) -> Result<(), Fault> {
        if let Some(reason) = self.resumed_early() {
            return Err(Fault::new(FaultKind::NotStopped, operation, reason));
        }
        let failing = self.process.faults.iter().find_map(|fault| match fault {
            SimFault::QuestionFails(question, kind) if *question == asked => Some(*kind),
            _ => None,
        });
        failing.map_or(Ok(()), |kind| Err(failed(kind, operation)))
    }

    fn has(&self, fault: &SimFault) -> bool {
        self.process.faults.contains(fault)
    }

    fn region_index(&self, address: u64) -> Option<usize> {
        let index = self
            .regions
            .partition_point(|(region, _)| region.range.end() <= address);
        self.regions
            .get(index)
            .filter(|(region, _)| region.range.contains(address))?;
        Some(index)
    }

    /// Returns what a survey reports for an address, without a read.
    fn content_at(&self, address: u64) -> Content {
        let Some(index) = self.region_index(address) else {
            return Content::Nothing("nothing is mapped there");
        };
        let (region, contents) = &self.regions[index];
        let protected = !self.process.reads_any_protection;
        let known =
            |fault: &SimFault| matches!(fault, SimFault::Unreadable(range) if range.contains(address));
        match region {
            Region {
                state: RegionState::Reserve | RegionState::Free,
                ..
            } if protected => Content::Nothing("addresses are reserved, memory is not there"),
            Region {
                exclusion: Some(exclusion @ (Exclusion::Device | Exclusion::Kernel)),
                ..
            } => Content::Unreadable(exclusion.reason()),
            Region { protect, .. } if protected && protect & protect::GUARD != 0 => {
                Content::Unreadable("guard page")
            }
            Region { protect, .. } if protected && protect & protect::NOACCESS != 0 => {
                Content::Unreadable("no access is allowed")
            }
            _ if self.process.faults.iter().any(known) => Content::Unreadable("said to be unreadable"),
            _ => contents.survey(),
        }
    }

    /// Returns the next address after `address` at which the result of a survey or a read may
    /// change.
    fn next_border(&self, address: u64) -> u64 {
        let index = self
            .regions
            .partition_point(|(region, _)| region.range.end() <= address);
        let regions = self.regions.get(index).map(|(region, _)| region.range);
        let faults = self.process.faults.iter().filter_map(SimFault::reads);
        regions
            .into_iter()
            .chain(faults)
            .flat_map(|range| [range.start(), range.end()])
            .filter(|border| *border > address)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// Counts the read for each fault whose range it touches. Returns how many bytes it may return.
    fn begin_read(&mut self, wanted: AddressRange) -> usize {
        let mut most = usize::MAX;
        for (fault, reads) in self.process.faults.iter().zip(&mut self.reads) {
            if fault
                .reads()
                .is_none_or(|range| range.intersect(wanted).is_none())
            {
                continue;
            }
            *reads += 1;
            match fault {
                SimFault::ShortRead { most: limit, .. } => most = most.min((*limit).max(1)),
                SimFault::SlowRead { delay, sleep, .. } => {
                    self.pause = self.pause.saturating_add(*delay);
                    if *sleep {
                        std::thread::sleep(*delay);
                    }
                }
                _ => {}
            }
        }
        most
    }

    /// Returns the end of the range that can be read now from `address` on; `address` itself if it
    /// cannot be read.
    fn readable_until(&self, address: u64) -> u64 {
        let refused = |(fault, reads): (&SimFault, &u64)| {
            fault.refuses(*reads).is_some_and(|range| range.contains(address))
        };
        let readable = matches!(self.content_at(address), Content::Readable | Content::Zero)
            && !self.process.faults.iter().zip(&self.reads).any(refused);
        if readable {
            self.next_border(address)
        } else {
            address
        }
    }

    /// Changes the regions that are due to change after this listing.
    fn change_regions(&mut self) {
        let now = self.listings;
        for fault in &self.process.faults {
            let SimFault::RegionChanges {
                base,
                listings,
                change,
            } = fault
            else {
                continue;
            };
            if *listings != now {
                continue;
            }
            let Some(index) = self
                .regions
                .iter()
                .position(|(region, _)| region.range.start() == *base)
            else {
                continue;
            };
            let region = &mut self.regions[index].0;
            match change {
                RegionChange::Protect(protect) => region.protect = *protect,
                RegionChange::Size(size) => {
                    let smaller = AddressRange::at(*base, (*size).min(region.range.len()));
                    region.range = smaller.unwrap_or(region.range);
                }
                RegionChange::Gone => {
                    self.regions.remove(index);
                }
            }
        }
    }

    /// Returns the stack from a stack pointer to the end of the allocation that contains it.
    fn stack_of(&self, pointer: u64) -> Option<Stack> {
        let index = self.region_index(pointer)?;
        let allocation = self.regions[index].0.allocation_base;
        let mut end = self.regions[index].0.range.end();
        for (region, _) in &self.regions[index + 1..] {
            if region.allocation_base != allocation || region.range.start() != end {
                break;
            }
            end = region.range.end();
        }
        Some(Stack {
            range: AddressRange::new(pointer, end)?,
            pointer,
        })
    }

    /// Returns the stack without argument and environment strings, unless those are wanted.
    fn without_strings(&self, stack: Stack) -> Option<Stack> {
        let cut = self
            .process
            .strings
            .filter(|at| !self.need.environment && stack.range.contains(*at));
        let end = cut.unwrap_or(stack.range.end());
        Some(Stack {
            range: AddressRange::new(stack.range.start(), end)?,
            ..stack
        })
    }
}

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.process.releases += 1;
    }
}

impl Memory for Still<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let Some(wanted) = AddressRange::new(at, at.saturating_add(into.len() as u64)) else {
            return Ok(0);
        };
        let most = self
            .begin_read(wanted)
            .min(usize::try_from(wanted.len()).unwrap_or(usize::MAX));
        if let Some(reason) = self.resumed_early() {
            let operation = format!("read memory at {at:#x}");
            return Err(Fault::new(FaultKind::Unreadable, operation, reason));
        }
        let mut done = 0;
        while done < most {
            let from = at + done as u64;
            let until = self.readable_until(from);
            if until == from {
                break;
            }
            let count = usize::try_from(until - from)
                .unwrap_or(usize::MAX)
                .min(most - done);
            let index = self.region_index(from).expect("readable, so in a region");
            let (region, contents) = &self.regions[index];
            contents.read(region.range, from, &mut into[done..done + count]);
            done += count;
        }
        if done == 0 {
            let reason = match self.content_at(at) {
                Content::Unreadable(reason) | Content::Nothing(reason) => reason,
                Content::Readable | Content::Zero => "the read fails",
            };
            return Err(Fault::new(
                FaultKind::Unreadable,
                format!("read memory at {at:#x}"),
                reason,
            ));
        }
        Ok(done)
    }
}

impl Frozen for Still<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        self.answer(Question::System, "describe the system")?;
        Ok(self.process.system.clone())
    }

    fn process(&mut self) -> Result<Process, Fault> {
        self.answer(Question::Process, "describe the process")?;
        let SimProcess { id, times, power, .. } = *self.process;
        Ok(Process {
            id,
            times,
            power,
            time_zone: self.process.time_zone.clone(),
            windows: self.process.windows,
        })
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        self.answer(Question::ThreadIds, "list the threads")?;
        Ok(self.process.threads.iter().map(|thread| thread.id).collect())
    }

    fn thread(&mut self, id: u32, _: &mut dyn ReadHook) -> Result<Thread, Fault> {
        if self.has(&SimFault::ThreadVanishes(id)) {
            return Err(failed(FaultKind::Gone, &format!("examine thread {id}")));
        }
        let found = self.threads.get(&id);
        let found = found.map(|index| self.process.threads[*index].clone());
        let mut thread = found.ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("find thread {id}"),
                "there is none",
            )
        })?;
        if self.has(&SimFault::ThreadRefusesSuspension(id)) {
            self.diagnostics.push(Diagnostic::missing(
                Subject::Thread(id),
                "it refuses to be suspended: neither registers nor stack",
            ));
            thread.context = None;
            thread.stack = None;
            thread.interrupted.clear();
            return Ok(thread);
        }
        let pointer = thread
            .context
            .as_ref()
            .map_or(0, |context| context.stack_pointer());
        let stack = thread.stack.or_else(|| self.stack_of(pointer));
        thread.stack = stack.and_then(|stack| self.without_strings(stack));
        Ok(thread)
    }

    fn stack_at(&mut self, _: u32, stack_pointer: u64, _: &mut dyn ReadHook) -> Option<Stack> {
        self.stack_of(stack_pointer)
            .and_then(|stack| self.without_strings(stack))
    }

    fn module_bases(&mut self, _: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        self.answer(Question::ModuleBases, "list the modules")?;
        Ok(self.process.modules.iter().map(|module| module.base).collect())
    }

    fn module(&mut self, base: u64, _: &mut dyn ReadHook) -> Result<Module, Fault> {
        let found = self.modules.get(&base);
        let found = found.map(|index| self.process.modules[*index].clone());
        let mut module = found.ok_or_else(|| {
            Fault::new(
                FaultKind::Malformed,
                format!("find the module at {base:#x}"),
                "there is none",
            )
        })?;
        for fault in &self.process.faults {
            let SimFault::BrokenModuleRecord { base: broken, record } = fault else {
                continue;
            };
            if *broken != base {
                continue;
            }
            let what = match record {
                ModuleRecord::Headers => {
                    return Err(failed(
                        FaultKind::Malformed,
                        &format!("read the module at {base:#x}"),
                    ));
                }
                ModuleRecord::CodeView => {
                    module.cv_record.clear();
                    "CodeView record"
                }
                ModuleRecord::Misc => {
                    module.misc_record.clear();
                    "miscellaneous debug record"
                }
                ModuleRecord::Version => {
                    module.version = None;
                    "version"
                }
            };
            self.diagnostics.push(Diagnostic::missing(
                Subject::Module(base),
                format!("its {what} is malformed"),
            ));
        }
        Ok(module)
    }

    fn regions(&mut self, _: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        self.answer(Question::Regions, "list the regions of memory")?;
        let listed = self.regions.iter().map(|(region, _)| region.clone()).collect();
        self.listings += 1;
        self.change_regions();
        Ok(listed)
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        self.answer(Question::Handles, "list the handles")?;
        Ok(if self.need.handles {
            self.process.handles.clone()
        } else {
            Vec::new()
        })
    }

    fn unloaded_modules(&mut self, _: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault> {
        self.answer(Question::UnloadedModules, "list the unloaded modules")?;
        Ok(self.process.unloaded_modules.clone())
    }

    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        self.answer(Question::HandleOperations, "list what was done with handles")?;
        Ok(self.process.handle_operations.clone())
    }

    fn function_tables(&mut self, _: &mut dyn ReadHook) -> Result<Vec<FunctionTable>, Fault> {
        self.answer(Question::FunctionTables, "list the function tables")?;
        Ok(self.process.function_tables.clone())
    }

    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        self.answer(Question::Tokens, "examine the tokens")?;
        Ok(if self.need.tokens {
            self.process.tokens.clone()
        } else {
            Vec::new()
        })
    }

    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        self.answer(Question::SystemMemory, "count the machine's memory")?;
        Ok(self.process.system_memory.clone())
    }

    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        self.answer(Question::VmCounters, "count the process' memory")?;
        Ok(self.process.vm_counters.clone())
    }

    fn linux(&mut self, _: &mut dyn ReadHook) -> Option<LinuxFacts> {
        let mut facts = self.process.linux.clone()?;
        if !self.need.environment {
            facts
                .texts
                .retain(|text| !matches!(text.kind, LinuxTextKind::CmdLine | LinuxTextKind::Environ));
        }
        Some(facts)
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = range.start();
        while let Some(part) = AddressRange::new(at, self.next_border(at).min(range.end())) {
            let content = match self.passed_limit() {
                Some(_) => Content::Unreadable("not read before the process was resumed"),
                None => self.content_at(at),
            };
            extents.push(Extent { range: part, content });
            at = part.end();
        }
        extents
    }

    fn resumed_early(&self) -> Option<String> {
        self.passed_limit().map(pause_limit_passed)
    }

    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.diagnostics)
    }

    fn thaw(self: Box<Self>) -> Holding {
        Holding {
            hold: "simulated",
            tracer: None,
            pause: self.passed_limit().unwrap_or(self.pause),
        }
    }
}
