use std::ops::Range;

use super::reproduce;
use crate::read::{Amd64Registers, Dump, Level, Module, Thread, check};

/// The dump of a rehearsal, with methods that return its contents. A method that does not find what
/// it was asked for fails the test and prints what the dump contains.
pub struct DumpView {
    dump: Dump,
    bytes: Vec<u8>,
}

/// A thread in a dump.
pub struct ThreadView<'d> {
    dump: &'d DumpView,
    thread: Thread,
}

/// A module in a dump.
pub struct ModuleView {
    module: Module,
}

/// Why reading cannot fail: the dump has been checked before.
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
            .filter(|violation| violation.severity == Level::Error)
            .map(ToString::to_string)
            .collect();
        assert!(
            errors.is_empty(),
            "the dump breaks the rules of the format:\n{}\n{}",
            errors.join("\n"),
            reproduce::how(false)
        );
        Self { dump, bytes }
    }

    /// Returns the ids of the threads, in the order of the dump.
    #[must_use]
    pub fn threads(&self) -> Vec<u32> {
        self.dump
            .threads()
            .expect(READABLE)
            .iter()
            .map(|thread| thread.id)
            .collect()
    }

    /// Returns the thread with this id.
    ///
    /// # Panics
    /// If it is not in the dump.
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

    /// Returns the names of the modules, in the order of the dump.
    #[must_use]
    pub fn modules(&self) -> Vec<String> {
        self.dump
            .modules()
            .expect(READABLE)
            .into_iter()
            .map(|module| module.name.unwrap_or_default())
            .collect()
    }

    /// Returns the module with this name, which is the whole path or its last part.
    ///
    /// # Panics
    /// If it is not in the dump.
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

    /// Returns the captured ranges, in the order of the dump.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let ranges = self.dump.memory_ranges().expect(READABLE);
        ranges
            .iter()
            .map(|range| range.address..range.address + range.size)
            .collect()
    }

    /// Returns the target's bytes at these addresses.
    ///
    /// # Panics
    /// If not all of them are in the dump.
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

    /// Whether these bytes, such as a secret, are nowhere in the file.
    #[must_use]
    pub fn contains_nowhere(&self, secret: impl AsRef<[u8]>) -> bool {
        self.dump.contains_nowhere(secret.as_ref()).expect(READABLE)
    }

    /// Returns the bytes of a stream; `None` if the dump has no stream of this type.
    #[must_use]
    pub fn stream(&self, stream_type: u32) -> Option<Vec<u8>> {
        self.dump.stream_bytes(stream_type).expect(READABLE)
    }

    /// Returns the reader, which gives access to everything else in the dump.
    #[must_use]
    pub fn reader(&self) -> &Dump {
        &self.dump
    }

    /// Returns the bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl ThreadView<'_> {
    /// Returns the captured part of the stack, from the stack pointer on.
    ///
    /// # Panics
    /// If it is not in the dump.
    #[track_caller]
    #[must_use]
    pub fn stack(&self) -> Vec<u8> {
        let range = self.stack_range();
        assert!(
            !range.is_empty(),
            "the stack of thread {} is not in the dump",
            self.thread.id
        );
        self.dump.memory(range)
    }

    /// Returns the addresses of the captured part of the stack; empty if it is not in the dump.
    #[must_use]
    pub fn stack_range(&self) -> Range<u64> {
        let stack = self.thread.stack;
        stack.start..stack.start + u64::from(stack.size)
    }

    /// Returns the registers.
    ///
    /// # Panics
    /// If they are not in the dump, or are not those of an x86-64 processor.
    #[track_caller]
    #[must_use]
    pub fn registers(&self) -> Amd64Registers {
        match self.thread.registers() {
            Some(registers) => registers,
            None if self.has_registers() => panic!(
                "the registers of thread {} are not those of an x86-64 processor; use record().context",
                self.thread.id
            ),
            None => panic!("the registers of thread {} are not in the dump", self.thread.id),
        }
    }

    /// Whether the registers are in the dump.
    #[must_use]
    pub fn has_registers(&self) -> bool {
        self.thread.context.is_some()
    }

    /// Returns the thread's record, with everything else that the dump has about the thread.
    #[must_use]
    pub fn record(&self) -> &Thread {
        &self.thread
    }
}

impl ModuleView {
    /// Returns the addresses of the module in the target.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.module.base..self.module.base + u64::from(self.module.size)
    }

    /// Returns the id by which symbols are looked up; `None` if the module has none.
    #[must_use]
    pub fn debug_id(&self) -> Option<&str> {
        self.module.debug_id.as_deref()
    }

    /// Returns the module's record, with everything else that the dump has about the module.
    #[must_use]
    pub fn record(&self) -> &Module {
        &self.module
    }
}
