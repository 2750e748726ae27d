//! Phase 2: which threads and modules.

use std::collections::HashSet;

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{Fault, FaultKind, Frozen};

use super::Negotiated;
use crate::Error;
use crate::protocol::dialogue::Dialogue;
use crate::protocol::{initial_module_flags, initial_thread_flags};

/// How often the threads are listed again. A process in which everything else is held makes no new ones; one whose callback
/// leaves threads running may do so for ever.
const PASSES: usize = 100;

/// The wanted threads and modules, with what is to be gathered of each.
pub(crate) struct Selection {
    pub threads: Vec<(u32, ThreadWriteFlags)>,
    pub modules: Vec<(u64, ModuleWriteFlags)>,
    /// Why some threads may be missing, if so.
    pub thread_fault: Option<Fault>,
    /// Why the modules could not be listed, if so; a dump without them is better than none.
    pub module_fault: Option<Fault>,
}

/// Asks IncludeThread and IncludeModule.
pub(crate) fn select(
    frozen: &mut dyn Frozen,
    negotiated: &Negotiated,
    dialogue: &mut Dialogue<'_>,
) -> Result<Selection, Error> {
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
                frozen.hold_thread(id);
                threads.push((id, keep));
            }
            dialogue.service().poll_cancel()?;
        }
        // Where threads are held one by one, others may have made new ones meanwhile.
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
                format!("there were still new ones after {PASSES} rounds"),
            ));
            break;
        }
    }
    dialogue.service().poll_cancel()?;
    let initial = initial_module_flags(negotiated.dump_type);
    let (bases, module_fault) = match frozen.module_bases() {
        Ok(bases) => (bases, None),
        Err(fault) => (Vec::new(), Some(fault)),
    };
    let mut modules = Vec::new();
    for base in bases {
        modules.extend(dialogue.include_module(base, initial).map(|keep| (base, keep)));
        dialogue.service().poll_cancel()?;
    }
    Ok(Selection {
        threads,
        thread_fault,
        modules,
        module_fault,
    })
}
