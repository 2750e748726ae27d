//! Step 2: selects threads and modules.

use std::collections::{HashMap, HashSet};

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{AddressRange, Fault, FaultKind, Frozen, Thread};

use super::{Negotiated, dbghelp};
use crate::Error;
use crate::memory::reader::Structures;
use crate::protocol::dialogue::Dialogue;
use crate::protocol::{initial_module_flags, initial_thread_flags};

/// How often the threads are listed again. If everything else is suspended, a process creates no
/// new threads. If the callback leaves threads running, they may create new ones forever.
const PASSES: usize = 100;

/// The selected threads and modules, each with the parts to be read.
pub(crate) struct Selection {
    pub threads: Vec<(u32, ThreadWriteFlags)>,
    pub modules: Vec<(u64, ModuleWriteFlags)>,
    /// The number of threads and of modules that the callback was asked about.
    pub asked: [usize; 2],
    /// Why some threads may be missing; `None` if all threads were listed.
    pub thread_fault: Option<Fault>,
    /// Why the modules could not be listed, if that failed. The dump is then made without modules.
    pub module_fault: Option<Fault>,
    /// Threads that were described when they were selected, by id.
    pub described: HashMap<u32, Result<Thread, Fault>>,
    /// The parts of `KUSER_SHARED_DATA` that were chosen.
    pub shared_data: Vec<AddressRange>,
}

/// Asks IncludeThread and IncludeModule.
pub(crate) fn select(
    frozen: &mut dyn Frozen,
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<Selection, Error> {
    let shared_data = dbghelp::shared_data(frozen, negotiated, dialogue)?;
    let parts = dbghelp::parts_of_thread_blocks(frozen, negotiated.profile, dialogue);
    let mut described = HashMap::new();
    let mut initial = initial_thread_flags(negotiated.dump_type);
    initial.set(ThreadWriteFlags::BACKING_STORE, negotiated.thread_ex);
    let mut threads = Vec::new();
    let mut asked = HashSet::new();
    let mut thread_fault = None;
    let mut new = frozen.thread_ids()?;
    for pass in 0.. {
        for id in new {
            asked.insert(id);
            if let Some(keep) = dialogue.include_thread(id, initial) {
                frozen.suspend_thread(id);
                threads.push((id, keep));
                if !parts.is_empty() {
                    let thread = frozen.thread(id, &mut Structures(dialogue.service()));
                    dbghelp::ask_about_thread_block(frozen, thread.as_ref().ok(), parts, dialogue);
                    described.insert(id, thread);
                }
            }
            dialogue.service().poll_cancel()?;
        }
        // If threads are suspended one by one, the others may have created new threads in the
        // meantime.
        match frozen.thread_ids() {
            Ok(ids) => new = ids.into_iter().filter(|id| !asked.contains(id)).collect(),
            Err(fault) => {
                thread_fault = Some(fault);
                break;
            }
        }
        if new.is_empty() {
            break;
        }
        if pass == PASSES {
            thread_fault = Some(Fault::new(
                FaultKind::NotStopped,
                "list all threads",
                format!("new threads still appeared after they were listed {PASSES} times"),
            ));
            break;
        }
    }
    dialogue.service().poll_cancel()?;
    let initial = initial_module_flags(negotiated.dump_type);
    let (bases, module_fault) = match frozen.module_bases(&mut Structures(dialogue.service())) {
        Ok(bases) => (bases, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    let asked = [asked.len(), bases.len()];
    let mut modules = Vec::new();
    for base in bases {
        modules.extend(dialogue.include_module(base, initial).map(|keep| (base, keep)));
        dialogue.service().poll_cancel()?;
    }
    Ok(Selection {
        threads,
        thread_fault,
        modules,
        asked,
        module_fault,
        described,
        shared_data,
    })
}
