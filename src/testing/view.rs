use std::ops::Range;

use super::reproduce;
use crate::read::{Amd64Registers, Dump, Module, Severity, Thread, check};

/// A dump, to be asked what it holds. Asking for what is not there fails the test and says what is.
pub struct DumpView {
    dump: Dump,
    bytes: Vec<u8>,
}

/// A thread of a dump.
pub struct ThreadView<'d> {
    dump: &'d DumpView,
    thread: Thread,
}

/// A module of a dump.
pub struct ModuleView {
    module: Module,
}

/// Reading has failed; the dump was found sound before, so that is no fault of the test.
const READABLE: &str = "a sound dump in memory can be read";

impl DumpView {
    #[track_caller]
    pub(super) fn sound(bytes: Vec<u8>) -> Self {
        let dump = match Dump::from_bytes(bytes.clone()) {
            Ok(dump) => dump,
            Err(error) => panic!("the dump cannot be read: {error}\n{}", reproduce::how(false)),
        };
        let violations = check(&dump).expect("a dump in memory can be read");
        let errors: Vec<_> = violations
            .iter()
            .filter(|violation| violation.severity == Severity::Error)
            .map(ToString::to_string)
            .collect();
        assert!(
            errors.is_empty(),
            "the dump is not sound\n{}\n{}",
            errors.join("\n"),
            reproduce::how(false)
        );
        Self { dump, bytes }
    }

    /// The ids of the threads, in the dump's order.
    #[must_use]
    pub fn threads(&self) -> Vec<u32> {
        self.dump
            .threads()
            .expect(READABLE)
            .iter()
            .map(|thread| thread.id)
            .collect()
    }

    /// The thread of this id.
    ///
    /// # Panics
    /// It is not in the dump.
    #[track_caller]
    #[must_use]
    pub fn thread(&self, id: u32) -> ThreadView<'_> {
        let thread = self
            .dump
            .threads()
            .expect(READABLE)
            .into_iter()
            .find(|thread| thread.id == id);
        match thread {
            Some(thread) => ThreadView { dump: self, thread },
            None => panic!(
                "thread {id} is not in the dump; threads in it: {:?}",
                self.threads()
            ),
        }
    }

    /// The names of the modules, in the dump's order.
    #[must_use]
    pub fn modules(&self) -> Vec<String> {
        self.dump
            .modules()
            .expect(READABLE)
            .into_iter()
            .map(|module| module.name.unwrap_or_default())
            .collect()
    }

    /// The module of this name: the whole path, or its last part.
    ///
    /// # Panics
    /// It is not in the dump.
    #[track_caller]
    #[must_use]
    pub fn module(&self, name: &str) -> ModuleView {
        let is_it = |path: &str| path == name || path.rsplit(['/', '\\']).next() == Some(name);
        let modules = self.dump.modules().expect(READABLE).into_iter();
        match modules
            .into_iter()
            .find(|module| module.name.as_deref().is_some_and(is_it))
        {
            Some(module) => ModuleView { module },
            None => panic!(
                "module \"{name}\" is not in the dump; modules in it: {:?}",
                self.modules()
            ),
        }
    }

    /// The captured ranges, in the dump's order.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let ranges = self.dump.memory_ranges().expect(READABLE);
        ranges
            .iter()
            .map(|range| range.address..range.address + range.size)
            .collect()
    }

    /// The bytes of the target at these addresses.
    ///
    /// # Panics
    /// Not all of them are in the dump.
    #[track_caller]
    #[must_use]
    pub fn memory(&self, range: Range<u64>) -> Vec<u8> {
        match self
            .dump
            .memory(range.start, range.end.saturating_sub(range.start))
            .expect(READABLE)
        {
            Some(bytes) => bytes,
            None => panic!(
                "memory {range:#x?} is not all in the dump; memory in it: {:#x?}",
                self.ranges()
            ),
        }
    }

    /// Whether all of these addresses are in the dump.
    #[must_use]
    pub fn has_memory(&self, range: Range<u64>) -> bool {
        self.dump
            .has_memory(range.start, range.end.saturating_sub(range.start))
            .expect(READABLE)
    }

    /// Whether none of these addresses is in the dump.
    #[must_use]
    pub fn lacks_memory(&self, range: Range<u64>) -> bool {
        self.ranges()
            .iter()
            .all(|captured| captured.end <= range.start || range.end <= captured.start)
    }

    /// Whether the whole file holds these bytes nowhere: the question to ask about a secret.
    #[must_use]
    pub fn contains_nowhere(&self, secret: impl AsRef<[u8]>) -> bool {
        self.dump.contains_nowhere(secret.as_ref()).expect(READABLE)
    }

    /// The bytes of a stream; `None` if the dump has none of this type.
    #[must_use]
    pub fn stream(&self, stream_type: u32) -> Option<Vec<u8>> {
        self.dump.stream_bytes(stream_type).expect(READABLE)
    }

    /// The reader, for everything else.
    #[must_use]
    pub fn reader(&self) -> &Dump {
        &self.dump
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl ThreadView<'_> {
    /// The captured part of the stack, from the stack pointer on.
    ///
    /// # Panics
    /// The dump does not hold it.
    #[track_caller]
    #[must_use]
    pub fn stack(&self) -> Vec<u8> {
        let range = self.stack_range();
        assert!(
            !range.is_empty(),
            "the dump has no stack of thread {}",
            self.thread.id
        );
        self.dump.memory(range)
    }

    /// Where that is; empty if the dump has no stack of it.
    #[must_use]
    pub fn stack_range(&self) -> Range<u64> {
        let stack = self.thread.stack;
        stack.start..stack.start + u64::from(stack.size)
    }

    /// The registers.
    ///
    /// # Panics
    /// The dump does not hold them, or they are not those of an x86-64 processor.
    #[track_caller]
    #[must_use]
    pub fn registers(&self) -> Amd64Registers {
        match self.thread.registers() {
            Some(registers) => registers,
            None if self.has_registers() => panic!(
                "the registers of thread {} are not those of an x86-64 processor: see record().context",
                self.thread.id
            ),
            None => panic!("the dump has no registers of thread {}", self.thread.id),
        }
    }

    /// Whether the dump holds its registers.
    #[must_use]
    pub fn has_registers(&self) -> bool {
        self.thread.context.is_some()
    }

    /// The record, for everything else.
    #[must_use]
    pub fn record(&self) -> &Thread {
        &self.thread
    }
}

impl ModuleView {
    /// Where it lies in the target.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.module.base..self.module.base + u64::from(self.module.size)
    }

    /// The id that symbols are looked up by, if it has one.
    #[must_use]
    pub fn debug_id(&self) -> Option<&str> {
        self.module.debug_id.as_deref()
    }

    /// The record, for everything else.
    #[must_use]
    pub fn record(&self) -> &Module {
        &self.module
    }
}
