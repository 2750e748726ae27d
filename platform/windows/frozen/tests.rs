//! These tests would catch: an answer for which the process is read without the read hook.

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::testing::{Victim, is_victim, wait};

#[test]
fn a_child_that_waits() {
    if is_victim("frozen::tests::a_child_that_waits") {
        wait();
    }
}

/// Address and length of the reads of the process, as the reading code logs them or as the hook
/// sees them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reads(Vec<(u64, u64)>);

/// A subscriber that records the reads that the reading code logs.
struct Below(Arc<Mutex<Reads>>);

#[derive(Default)]
struct Read {
    at: Option<u64>,
    len: Option<u64>,
}

impl Visit for Read {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "at" => self.at = Some(value),
            "len" => self.len = Some(value),
            _ => {}
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Below {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "dumpwright_windows::read"
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut read = Read::default();
        event.record(&mut read);
        self.0.lock().expect("sound").0.extend(read.at.zip(read.len));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl ReadHook for Reads {
    fn read(&mut self, memory: &mut dyn Memory, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.0.push((at, into.len() as u64));
        memory.read(at, into)
    }
}

#[test]
fn all_reads_pass_the_hook() {
    let victim = Victim::that("frozen::tests::a_child_that_waits");
    let access = victim.access();
    let need = Need {
        handles: true,
        tokens: true,
        ..Need::default()
    };
    let below = Arc::new(Mutex::new(Reads::default()));
    let mut shown = Reads::default();
    let modules = tracing::subscriber::with_default(Below(below.clone()), || {
        let mut frozen = FrozenProcess::freeze(access, &need).expect("it can be held");
        let _ = (
            frozen.system(),
            frozen.process(),
            frozen.handles(),
            frozen.tokens(),
        );
        let _ = (
            frozen.handle_operations(),
            frozen.system_memory(),
            frozen.vm_counters(),
        );
        for id in frozen.thread_ids().expect("listed") {
            frozen.suspend_thread(id);
            let thread = frozen.thread(id, &mut shown).expect("held");
            let pointer = thread.context.map_or(0, |context| context.stack_pointer());
            frozen.stack_at(id, pointer, &mut shown);
        }
        let modules = frozen.module_bases(&mut shown).expect("listed");
        for base in &modules {
            frozen.module(*base, &mut shown).expect("described");
        }
        let _ = frozen.regions(&mut shown);
        let _ = frozen.unloaded_modules(&mut shown);
        let _ = frozen.function_tables(&mut shown);
        modules
    });
    assert_eq!(shown, *below.lock().expect("sound"));
    for base in modules {
        assert!(shown.0.iter().any(|(at, _)| *at == base), "{base:#x}");
    }
}
