//! This process, of which a clone is read.

use std::rc::Rc;
use std::sync::Arc;

use dumpwright_target::{AddressRange, Cpu, Diagnostic, Fault, FaultKind, Handle, Need, Subject};

use super::{FrozenProcess, strings, unmarked};
use crate::hold::Hold;
use crate::mounts::FileSystems;
use crate::oneself::{self, OwnClone};
use crate::proc_dir::ProcDir;
use crate::process::Surroundings;
use crate::read::ProcessMemory;
use crate::regions::{self, Mapping};
use crate::stacks::Stacks;
use crate::taken::{TakenFacts, with_token};
use crate::texts::Texts;
use crate::tracer::Watch;
use crate::{attach, counters, system, xstate};

impl FrozenProcess<'_> {
    /// Makes a clone of this process, and reads the facts about it. `with_caller` tells whether the
    /// calling thread belongs to its threads.
    ///
    /// # Errors
    /// Those of [`oneself::catch`], or `/proc` cannot be read.
    pub(crate) fn of_self(mut dir: ProcDir, with_caller: bool, need: &Need) -> Result<Self, Fault> {
        attach::check_supported(&dir)?;
        // The leader may have ended, or end while it is read.
        dir.task = nix::unistd::gettid().as_raw().unsigned_abs();
        let systems = Rc::new(FileSystems::of(&dir));
        let texts = Texts::before_stop(&dir, &systems);
        let extended = need.extended_state.then(xstate::layout).flatten();
        let system = system::system(Cpu::Amd64, extended.clone());
        let system_memory = counters::system();
        let mut surroundings = Surroundings::of(&dir, &systems, texts.cpuinfo());
        let mut diagnostics = std::mem::take(&mut surroundings.diagnostics);
        let watch = Arc::<Watch>::default();

        let mut caught = oneself::catch(&dir, with_caller, need, extended.as_ref(), &watch)?;
        watch.limit_clone(need.max_clone);
        diagnostics.append(&mut caught.diagnostics);
        let memory_dir = caught.clone.dir();
        // If the memory that it needs runs out, the kernel should end the clone, and not the
        // program.
        if let Err(error) = std::fs::write(memory_dir.process_path("oom_score_adj"), "1000") {
            tracing::debug!(%error, "the clone is as likely as the program to be killed if memory runs out");
        }
        // As soon as possible after the stop.
        let entries = std::mem::take(&mut caught.entries);
        let with_token = with_token(&caught.threads);
        let mut taken = TakenFacts::with_threads(&dir, entries, &with_token, need, &surroundings, texts);
        if let Ok(handles) = &mut taken.handles {
            handles.retain(|handle| !is_ours(handle, &dir, &caught.clone));
        }

        let (mut mappings, text) = regions::mappings_and_text(&memory_dir)?;
        taken.texts.add_maps(text);
        match regions::mappings_with_flags(&memory_dir) {
            Ok(with_flags) => mappings = with_flags,
            Err(fault) => diagnostics.push(unmarked(fault)),
        }
        add_kept_back(&mut mappings, &dir);
        let mappings: Rc<[Mapping]> = mappings.into();
        let (unwanted, unknown) = if need.environment {
            (None, None)
        } else {
            let (strings, unknown) = strings(&memory_dir);
            (Some(strings), unknown)
        };
        diagnostics.extend(unknown);
        let mut now = ProcessMemory::new(&dir, Rc::clone(&mappings))
            .mounted(Rc::clone(&systems))
            .watched_by(Arc::clone(&watch));
        // Other dumps than full ones do not leave this memory out.
        let dont_dump = need.dont_dump || !need.full_memory;
        let pages = now
            .own_pages(&memory_dir, need.full_memory, dont_dump)
            .map_err(|reason| {
                let operation = format!("dump process {}, this program", dir.pid);
                Fault::new(FaultKind::Unsupported, operation, reason.to_string())
                    .advise("dump it from another process: `dumpwright dump --pid …`")
            })?;
        if pages.has_copies() {
            let reason = "memory that it shares with files or other processes, or keeps from its children, was \
                          copied right after the clone was made, while it ran";
            diagnostics.push(Diagnostic::note(Subject::Process, reason));
        }
        let memory = now.of_clone(&memory_dir, pages).mounted(systems);
        Ok(Self {
            hold: Hold::of_self(dir.pid, caught),
            memory,
            memory_dir,
            taken: Some(Box::new(taken)),
            stacks: Stacks::new(Rc::clone(&mappings), unwanted, dir.cpu),
            handlers: Vec::new(),
            mappings,
            dir,
            system,
            system_memory,
            surroundings,
            texts: Texts::default(),
            need: need.clone(),
            modules: None,
            ran_on: false,
            watch,
            diagnostics,
        })
    }
}

/// Adds the mappings that this process keeps from its children, as they are now.
fn add_kept_back(mappings: &mut Vec<Mapping>, dir: &ProcDir) {
    let now = regions::mappings_with_flags(dir).unwrap_or_default();
    let is_free = |range: AddressRange| {
        let next = mappings.partition_point(|mapping| mapping.range.end() <= range.start());
        mappings
            .get(next)
            .is_none_or(|mapping| mapping.range.start() >= range.end())
    };
    let kept_back = now
        .into_iter()
        .filter(|mapping| mapping.flags.is_some_and(|flags| flags.dont_fork) && is_free(mapping.range));
    let kept_back: Vec<Mapping> = kept_back.collect();
    mappings.extend(kept_back);
    mappings.sort_unstable_by_key(|mapping| mapping.range.start());
}

/// Whether it is a descriptor of the capture: the one of the clone, or the list of descriptors.
fn is_ours(handle: &Handle, dir: &ProcDir, clone: &OwnClone) -> bool {
    let list = format!("/proc/{}/task/{}/fd", dir.pid, dir.task);
    handle.object_name.as_deref() == Some(&list) || Some(handle.number) == clone.descriptor()
}
