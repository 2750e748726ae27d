//! What a process is, to a dump writer.
//!
//! This crate is the vocabulary between dumpwright's engine and its backends: two traits and
//! plain facts. It touches no operating system, does no I/O and knows no file format, except that
//! registers travel as the bytes of Windows' `CONTEXT` ([`CpuContext`]), which is what a minidump
//! stores and what callbacks are shown.
//!
//! * [`Target`] is a process that can be held still; [`Target::freeze`] does it.
//! * [`Frozen`] is the guard during which it holds still and answers questions. Dropping it
//!   resumes the process.
//!
//! What Windows defines keeps Windows' values (`PAGE_READWRITE`, FILETIME units, thread priorities):
//! a backend for another system translates once, here, and every stream agrees.

#![forbid(unsafe_code)]

mod counters;
mod cpu;
mod facts;
mod fault;
mod memory;
mod objects;
mod range;
mod remark;
mod token;

pub use counters::{
    BasicMemory, BasicPerformance, DirtyPages, FileCache, FileCacheTransition, JobMemory, KernelPages,
    Number, Performance, PrivateMemory, ResidentPages, SystemMemory, VirtualSize, VmCounters, WorkingSet,
};
pub use cpu::{
    Amd64, Arm, Arm64, Arm64FloatingPoint, ArmFloatingPoint, Cpu, CpuContext, Layout, X86, XState,
    XStateFeature, XStateLayout,
};
pub use facts::{
    CpuInformation, DsoDebug, Exception, Handle, LinkMap, LinuxFacts, LinuxText, LinuxTextKind, Module,
    Platform, Power, Process, Stack, System, Thread, ThreadExit, ThreadTimes, TimeZone, UnloadedModule,
    WindowsProcess, ZoneTime, build_id_record,
};
pub use fault::{Fault, FaultKind};
pub use memory::{Content, Exclusion, Extent, Region, RegionKind, RegionState, protect};
pub use objects::{
    FunctionEntry, FunctionTable, HandleOperation, HandleOperationKind, ObjectInformation,
    ObjectInformationKind,
};
pub use range::AddressRange;
pub use remark::{Gravity, Remark, Subject};
pub use token::{Privilege, Sid, SidAndAttributes, Token};

use std::time::Duration;

/// A process that can be dumped.
pub trait Target {
    /// The process id, as the dumper's system numbers it. Known without holding the process.
    fn process_id(&self) -> u32;

    /// The handle by which the system knows the process, for callbacks to be shown; where systems have none, the
    /// process id.
    fn process_handle(&self) -> u64 {
        self.process_id().into()
    }

    /// The callback has said that this is a snapshot of a process (Windows: `PssCaptureSnapshot`), by answering
    /// IsProcessSnapshot with S_FALSE. Nothing has to be stopped then. `None` if it is none.
    ///
    /// Asked at most once, before [`freeze`](Self::freeze): handles alone do not tell what they are of.
    fn as_snapshot(&mut self) -> Option<Snapshot> {
        None
    }

    /// The time in the target's world, in seconds since 1970; `None` where that is the dumper's own time.
    fn clock(&self) -> Option<u32> {
        None
    }

    /// Holds the process still until the returned guard is dropped or thawed.
    ///
    /// `need` says what will be asked, so that a backend can do before the pause what need not
    /// happen in it, and can leave out what nobody wants.
    ///
    /// # Errors
    /// The process is not there, may not be examined, or is of a kind this backend cannot hold. Then
    /// nothing has been stopped.
    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault>;
}

/// A snapshot of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The handle of the copy of its memory, if it has one.
    pub clone_handle: Option<u64>,
}

/// What the dump to come will ask of the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Need {
    /// All readable memory will be read, not only stacks and chosen ranges.
    pub full_memory: bool,
    /// Open handles (file descriptors) will be listed.
    pub handles: bool,
    /// It will be told as whom the process and its threads act.
    pub tokens: bool,
    /// Environment and command line may be shown (`MiniDumpWithProcessThreadData`). Without it a
    /// stack ends where the argument and environment strings begin.
    pub environment: bool,
    /// Memory that the program marked "do not dump" may be read.
    pub dont_dump: bool,
    /// Registers beyond x87 and SSE are wanted (`MiniDumpWithAvxXStateContext`).
    pub extended_state: bool,
}

/// A target that holds still. Dropping it lets the process run on.
///
/// Every question is asked at most once per thing, in no fixed order. A fault concerns the thing
/// asked about, never the whole capture; what the backend could not get or chose to leave out on
/// its own account it also notes in its [remarks](Frozen::remarks).
pub trait Frozen {
    /// The machine and its operating system.
    fn system(&mut self) -> Result<System, Fault>;

    /// The process as a whole.
    fn process(&mut self) -> Result<Process, Fault>;

    /// The ids of all threads alive at the stop, the leader (the first thread) first.
    ///
    /// Asked again when all of them have been [chosen](Self::hold_thread) or not: where threads are held one by one, those that
    /// still run may have made new ones.
    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault>;

    /// Holds this thread from now on, if it is not held yet: it is to be dumped. What goes wrong,
    /// [`thread`](Self::thread) tells.
    ///
    /// Backends that cannot hold single threads hold all from the beginning, and have nothing to do here. On Windows threads
    /// are held one by one, and those that are not to be dumped never are, as a callback that excludes its own helper threads relies
    /// on.
    fn hold_thread(&mut self, id: u32) {
        let _ = id;
    }

    /// Everything about one thread. Asked only for threads that are to be dumped.
    fn thread(&mut self, id: u32) -> Result<Thread, Fault>;

    /// The stack that a thread with this stack pointer was using, where it can be told.
    ///
    /// Serves exceptions whose registers the caller supplies: there the thread itself has moved on
    /// (it is in the handler, often on another stack).
    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64) -> Option<Stack>;

    /// The load addresses of all modules, the main program first.
    fn module_bases(&mut self) -> Result<Vec<u64>, Fault>;

    /// Everything about the module at `base`. Asked only for modules that are to be dumped.
    fn module(&mut self, base: u64) -> Result<Module, Fault>;

    /// The map of the address space, ascending and disjoint. Free regions need not be listed.
    fn regions(&mut self) -> Result<Vec<Region>, Fault>;

    /// The open handles, ascending. Empty unless [`Need::handles`] was set.
    fn handles(&mut self) -> Result<Vec<Handle>, Fault>;

    /// The modules that the process has unloaded, as far as its system remembers them; Linux does not.
    fn unloaded_modules(&mut self) -> Result<Vec<UnloadedModule>, Fault> {
        Ok(Vec::new())
    }

    /// What was done with handles, the latest first, where somebody keeps a record of it (Application Verifier).
    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        Ok(Vec::new())
    }

    /// The tables of functions made at run time; on Linux programs announce them to nobody.
    fn function_tables(&mut self) -> Result<Vec<FunctionTable>, Fault> {
        Ok(Vec::new())
    }

    /// As whom the process acts, and behind it each thread that acts as somebody else. Empty unless
    /// [`Need::tokens`] was set.
    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        Ok(Vec::new())
    }

    /// The machine's memory, where the system tells of it.
    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        Ok(None)
    }

    /// The process' memory, counted by the system.
    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        Ok(None)
    }

    /// What only a Linux process has; `None` from any other system.
    fn linux(&mut self) -> Option<LinuxFacts>;

    /// Where the bytes of `range` would come from, as extents that are ascending and
    /// cover `range` completely. Asks no page for its contents.
    fn survey(&mut self, range: AddressRange) -> Vec<Extent>;

    /// Reads the bytes at `at`, as the target would see them, without a lasting effect on it.
    ///
    /// Returns how many bytes were read: all of `into`, or fewer when something behind the first
    /// byte cannot be read. Never 0 for a non-empty buffer.
    ///
    /// # Errors
    /// The very first byte cannot be read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault>;

    /// Takes the remarks made since the last call.
    fn remarks(&mut self) -> Vec<Remark>;

    /// Lets the process run on and tells how it had been held.
    fn thaw(self: Box<Self>) -> Holding;
}

/// How a target was held, told when it is let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The way that was effective: `"stop"` for live processes, `"simulated"` for simulated ones.
    pub hold: &'static str,
    /// From the first thread that was asked to stop to the last one that was let go.
    pub pause: Duration,
}
