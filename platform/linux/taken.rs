//! Facts that are read while the target is stopped, because it runs when they are asked for: it is
//! held by a clone then, which has the memory and nothing else of it.

use std::collections::HashMap;

use dumpwright_target::{Diagnostic, Fault, FaultKind, Handle, Need, Process, Token, VmCounters};

use crate::freeze::{StopKind, StoppedThread};
use crate::proc_dir::ProcDir;
use crate::process::{self, Surroundings};
use crate::texts::Texts;
use crate::threads::ThreadEntry;
use crate::{counters, handles, tokens};

/// The facts. Each can be taken once.
#[derive(Debug)]
pub(crate) struct TakenFacts {
    pub(crate) process: Result<Process, Fault>,
    pub(crate) texts: Texts,
    pub(crate) handles: Result<Vec<Handle>, Fault>,
    pub(crate) tokens: Result<Vec<Token>, Fault>,
    pub(crate) vm_counters: Result<VmCounters, Fault>,
    /// By thread id.
    threads: HashMap<u32, TakenThread>,
    /// What is missing from the handles.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

#[derive(Debug)]
struct TakenThread {
    entry: Option<ThreadEntry>,
    mask: Option<u64>,
}

impl TakenFacts {
    /// Reads the facts. `masks` are the signal masks of the threads, and `texts` those that were
    /// read before the stop.
    pub(crate) fn take(
        dir: &ProcDir,
        threads: &[StoppedThread],
        masks: &[Option<u64>],
        need: &Need,
        surroundings: &Surroundings,
        texts: Texts,
    ) -> Self {
        let entries = threads.iter().enumerate().map(|(index, held)| {
            let entry = ThreadEntry::read(dir, held, need.thread_times);
            (held.tid, entry, masks.get(index).copied().flatten())
        });
        Self::with_threads(dir, entries, &with_token(threads), need, surroundings, texts)
    }

    /// The same, with the entries of the threads and their signal masks. `with_token` are the
    /// threads that may have a token.
    pub(crate) fn with_threads(
        dir: &ProcDir,
        entries: impl IntoIterator<Item = (u32, ThreadEntry, Option<u64>)>,
        with_token: &[u32],
        need: &Need,
        surroundings: &Surroundings,
        mut texts: Texts,
    ) -> Self {
        let entries = entries.into_iter().map(|(tid, entry, mask)| {
            let entry = Some(entry);
            (tid, TakenThread { entry, mask })
        });
        let entries: HashMap<u32, TakenThread> = entries.collect();
        texts.during_stop(dir, need);
        let mut diagnostics = Vec::new();
        let handles = match need.handles {
            true => handles::handles(dir, &mut diagnostics),
            false => Ok(Vec::new()),
        };
        let tokens = match need.tokens {
            true => tokens::tokens(dir, with_token),
            false => Ok(Vec::new()),
        };
        Self {
            process: process::process(dir, surroundings),
            texts,
            handles,
            tokens,
            vm_counters: counters::process(dir),
            threads: entries,
            diagnostics,
        }
    }

    /// What `/proc` had about the thread.
    pub(crate) fn entry(&mut self, tid: u32) -> Option<ThreadEntry> {
        self.threads.get_mut(&tid)?.entry.take()
    }

    /// The signal mask of the thread.
    pub(crate) fn mask(&self, tid: u32) -> Option<u64> {
        self.threads.get(&tid)?.mask
    }
}

/// The threads that may have a token of their own. Kernel worker threads act for whoever made the
/// request, and may end at any time.
pub(crate) fn with_token(threads: &[StoppedThread]) -> Vec<u32> {
    let of_program = threads.iter().filter(|held| held.stop != StopKind::Kernel);
    of_program.map(|held| held.tid).collect()
}

/// Takes an answer that was read during the stop.
pub(crate) fn take<T>(answer: &mut Result<T, Fault>) -> Result<T, Fault> {
    let again = Fault::new(FaultKind::System, "read a fact again", "it was taken already");
    std::mem::replace(answer, Err(again))
}
