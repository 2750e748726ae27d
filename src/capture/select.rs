//! Phase 2: which threads and modules.

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};
use dumpwright_target::{Fault, Frozen};

use super::Negotiated;
use crate::Error;
use crate::protocol::dialogue::Dialogue;
use crate::protocol::{initial_module_flags, initial_thread_flags};

/// The wanted threads and modules, with what is to be gathered of each.
pub(crate) struct Selection {
    pub threads: Vec<(u32, ThreadWriteFlags)>,
    pub modules: Vec<(u64, ModuleWriteFlags)>,
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
    for id in frozen.thread_ids()? {
        threads.extend(dialogue.include_thread(id, initial).map(|keep| (id, keep)));
        dialogue.service().poll_cancel()?;
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
        modules,
        module_fault,
    })
}
