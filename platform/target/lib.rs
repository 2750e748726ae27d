//! The interface between dumpwright's engine and its backends.
//!
//! A backend presents a process to the engine through three traits and a set of plain data types:
//!
//! * [`Target`] is a process that can be dumped. [`Target::freeze`] suspends it.
//! * [`Frozen`] is the suspended process. It answers questions about the process, and dropping it
//!   resumes the process.
//! * [`Memory`] is anything whose bytes can be read by address: a frozen target, a file, or bytes
//!   that have already been read.
//!
//! The crate does no I/O, makes no system calls and contains no file format, with one exception:
//! registers are stored as the bytes of Windows' `CONTEXT` structure ([`CpuContext`]). Minidumps
//! store registers in this form, and callbacks receive them in this form.
//!
//! Where Windows defines the values of a field (`PAGE_READWRITE`, FILETIME units, thread
//! priorities), these values are used for all systems. A backend for another system translates its
//! own values to them once, so that all streams of a dump agree.

#![forbid(unsafe_code)]

mod counters;
mod cpu;
mod diagnostic;
mod facts;
mod fault;
pub mod filetime;
mod memory;
mod objects;
mod printable;
mod range;
mod read;
mod token;
mod usage;

pub use counters::{
    BasicMemory, BasicPerformance, DirtyPages, FileCache, FileCacheTransition, JobMemory, KernelPages,
    Number, Performance, PrivateMemory, ResidentPages, SystemMemory, VirtualSize, VmCounters, WorkingSet,
};
pub use cpu::{
    Amd64, Arm, Arm64, Arm64FloatingPoint, ArmFloatingPoint, ContextLayout, Cpu, CpuContext, X86, XState,
    XStateFeature, XStateLayout,
};
pub use diagnostic::{Diagnostic, Severity, Subject};
pub use facts::{
    CpuInformation, DsoDebug, Exception, Handle, LinkMap, LinuxFacts, LinuxText, LinuxTextKind, Module,
    Platform, Power, Process, Stack, System, Thread, ThreadExit, ThreadTimes, TimeZone, UnloadedModule,
    WindowsProcessFacts, ZoneTime, build_id_record,
};
pub use fault::{Fault, FaultKind};
pub use memory::{Content, Exclusion, Extent, Region, RegionKind, RegionState, protect};
pub use objects::{
    FunctionEntry, FunctionTable, HandleOperation, HandleOperationKind, ObjectInformation,
    ObjectInformationKind,
};
pub use printable::printable;
pub use range::AddressRange;
pub use read::{Direct, Hooked, Memory, MemoryExt, Pieces, ReadHook, Window};
pub use token::{Privilege, Sid, SidAndAttributes, Token};
pub use usage::{Gauge, Usage, UsageNeed};

use std::time::Duration;

/// A process that can be dumped.
pub trait Target {
    /// Returns the process id, as the dumper's system numbers it.
    ///
    /// The process does not have to be suspended for this.
    fn process_id(&self) -> u32;

    /// Returns the process handle that callbacks are shown.
    ///
    /// On systems without process handles, this is the process id.
    fn process_handle(&self) -> u64 {
        self.process_id().into()
    }

    /// Treats this target as a process snapshot (Windows: `PssCaptureSnapshot`); returns `None` if
    /// it is not one.
    ///
    /// Called at most once, before [`freeze`](Self::freeze), if the callback answered
    /// IsProcessSnapshot with `S_FALSE`. The callback has to supply this information because a
    /// handle alone does not show what kind of object it refers to. Freezing a snapshot suspends
    /// nothing.
    fn as_snapshot(&mut self) -> Option<SnapshotHandle> {
        None
    }

    /// Returns the target's current time in seconds since 1970, or `None` if the target uses the
    /// dumper's clock.
    fn clock(&self) -> Option<u32> {
        None
    }

    /// Suspends the process until the returned guard is dropped or [thawed](Frozen::thaw).
    ///
    /// `need` lists the information that will be requested. A backend uses it to do as much work as
    /// possible before the pause, and to skip what is not requested.
    ///
    /// # Errors
    /// The process does not exist, may not be examined, or is of a kind that this backend does not
    /// support. The process is not left suspended.
    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault>;
}

/// The handles that belong to a process snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotHandle {
    /// The handle of the snapshot's copy of the process's memory, if it has one.
    pub clone_handle: Option<u64>,
}

/// The information that a dump will request from its target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Need {
    /// All readable memory will be read, not only stacks and selected ranges.
    pub full_memory: bool,
    /// Open handles (on Linux, file descriptors) will be listed.
    pub handles: bool,
    /// The tokens of the process and its threads will be listed ([`Frozen::tokens`]).
    pub tokens: bool,
    /// The dump may contain the environment and the command line (`MiniDumpWithProcessThreadData`).
    ///
    /// If this is `false`, a stack ends where the argument and environment strings begin.
    pub environment: bool,
    /// Memory that the program marked "do not dump" may be read.
    pub dont_dump: bool,
    /// Registers beyond x87 and SSE are requested (`MiniDumpWithAvxXStateContext`).
    pub extended_state: bool,
    /// The start times, CPU times and processor affinities of threads are requested
    /// ([`Thread::times`], `MiniDumpWithThreadInfo`).
    ///
    /// If this is `false`, `times` may be `None`.
    pub thread_times: bool,
    /// The longest time for which the process may be suspended; `None` for no limit.
    ///
    /// When this time has passed, the backend resumes the process by itself, whatever the dumper
    /// does at that moment, and [`Frozen::resumed_early`] returns the reason.
    pub max_pause: Option<Duration>,
    /// The longest time for which a clone of the process may exist; `None` for no limit.
    ///
    /// When this time has passed, the backend ends the clone by itself, whatever the dumper does at
    /// that moment, and [`Frozen::resumed_early`] returns the reason. Only Linux processes have
    /// such clones.
    pub max_clone: Option<Duration>,
    /// All private memory will be read, not only stacks and selected ranges
    /// (`MiniDumpWithPrivateReadWriteMemory`). A backend can choose by this how to hold the
    /// process.
    pub private_memory: bool,
}

/// A suspended target. Dropping it resumes the process.
///
/// The engine asks each question at most once per object, except [`thread_ids`](Self::thread_ids),
/// and in no fixed order. A [`Fault`] concerns only the object that the question was about, never
/// the whole capture. A backend also adds to its [diagnostics](Self::diagnostics) whatever it could
/// not obtain or decided to leave out.
///
/// As a [`Memory`], a frozen target reads the memory of the process. Methods with a [`ReadHook`]
/// parameter read that memory too, to find their answer. They read it only through the hook.
pub trait Frozen: Memory {
    /// Returns facts about the machine and its operating system.
    fn system(&mut self) -> Result<System, Fault>;

    /// Returns facts about the process as a whole.
    fn process(&mut self) -> Result<Process, Fault>;

    /// Returns the ids of all threads that are alive, the leader (the first thread) first.
    ///
    /// The engine calls this again after it has [suspended](Self::suspend_thread) the threads that
    /// it selected. On backends that suspend threads one by one, the threads that still run may
    /// have created new ones.
    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault>;

    /// Suspends a thread that is to be dumped, unless it is suspended already.
    ///
    /// [`thread`](Self::thread) returns the fault if this fails.
    ///
    /// Backends that suspend all threads in [`Target::freeze`] do nothing here. On Windows, threads
    /// are suspended one by one, and a thread that is not selected is never suspended. Callbacks
    /// rely on this: they exclude their own helper threads, which must keep running.
    fn suspend_thread(&mut self, id: u32) {
        let _ = id;
    }

    /// Returns all facts about one thread. Called only for selected threads.
    fn thread(&mut self, id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault>;

    /// Returns the stack that thread `thread_id` used while its stack pointer was `stack_pointer`,
    /// or `None` if it cannot be determined.
    ///
    /// This is used for exceptions whose registers the caller supplies. The thread itself has
    /// continued since: it runs the exception handler, often on another stack.
    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64, reads: &mut dyn ReadHook) -> Option<Stack>;

    /// Returns the crash that a thread is handling at this moment in a signal handler of the
    /// program, or `None` if there is none or if the system has no signal handlers. Called after
    /// [`thread`](Self::thread) has described all selected threads. Only these are examined.
    fn handled_crash(&mut self, reads: &mut dyn ReadHook) -> Option<Exception> {
        let _ = reads;
        None
    }

    /// Returns the load addresses of all modules, the main program first.
    fn module_bases(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault>;

    /// Returns all facts about the module at `base`. Called only for selected modules.
    fn module(&mut self, base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault>;

    /// Returns the regions of the address space, in ascending order and without overlaps.
    ///
    /// Free regions may be omitted.
    fn regions(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<Region>, Fault>;

    /// Returns the open handles in ascending order. Empty unless [`Need::handles`] is set.
    fn handles(&mut self) -> Result<Vec<Handle>, Fault>;

    /// Returns the modules that the process has unloaded, as far as the system remembers them.
    ///
    /// Linux does not remember them.
    fn unloaded_modules(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<UnloadedModule>, Fault> {
        let _ = reads;
        Ok(Vec::new())
    }

    /// Returns the recorded operations on handles, the latest first.
    ///
    /// Only Application Verifier records such operations.
    fn handle_operations(&mut self) -> Result<Vec<HandleOperation>, Fault> {
        Ok(Vec::new())
    }

    /// Returns the tables of functions that the program generated at run time.
    ///
    /// Programs register such tables with Windows. Linux has no such registry.
    fn function_tables(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<FunctionTable>, Fault> {
        let _ = reads;
        Ok(Vec::new())
    }

    /// Returns the token of the process, followed by the tokens of threads that impersonate another
    /// user.
    ///
    /// Empty unless [`Need::tokens`] is set.
    fn tokens(&mut self) -> Result<Vec<Token>, Fault> {
        Ok(Vec::new())
    }

    /// Returns counters of the machine's memory, or `None` if the system does not provide them.
    fn system_memory(&mut self) -> Result<Option<SystemMemory>, Fault> {
        Ok(None)
    }

    /// Returns the system's counters of the process's memory, or `None` if it does not provide
    /// them.
    fn vm_counters(&mut self) -> Result<Option<VmCounters>, Fault> {
        Ok(None)
    }

    /// Returns the facts that only a Linux process has, or `None` for a process of another system.
    fn linux(&mut self, reads: &mut dyn ReadHook) -> Option<LinuxFacts>;

    /// Returns where the bytes of `range` come from, without reading them.
    ///
    /// The extents are in ascending order and cover `range` completely.
    fn survey(&mut self, range: AddressRange) -> Vec<Extent>;

    /// Returns why the process was resumed, or its clone was ended, while this guard still exists.
    /// `None` if that has not happened.
    ///
    /// The process has changed since then. From then on, nothing that it could have changed is
    /// read: reads fail, and a survey returns no zeros.
    fn resumed_early(&self) -> Option<String> {
        None
    }

    /// Notes that the dumper begins (`true`) or ends (`false`) to wait for the output of the dump.
    ///
    /// A backend resumes the process if nothing can be written to the output for 10 s.
    fn waits_for_output(&mut self, waits: bool) {
        let _ = waits;
    }

    /// Returns the diagnostics made since the last call, and clears them.
    fn diagnostics(&mut self) -> Vec<Diagnostic>;

    /// Resumes the process and returns how it was held.
    fn thaw(self: Box<Self>) -> Holding;
}

/// Returns the text for [`Frozen::resumed_early`] after the time of [`Need::max_pause`] has passed.
#[must_use]
pub fn pause_limit_passed(limit: Duration) -> String {
    format!(
        "the pause limit of {} ms had passed",
        limit.as_secs_f64() * 1000.0
    )
}

/// Returns the text for [`Frozen::resumed_early`] after the time of [`Need::max_clone`] has passed.
#[must_use]
pub fn clone_limit_passed(limit: Duration) -> String {
    format!(
        "the limit of {} ms for the clone had passed",
        limit.as_secs_f64() * 1000.0
    )
}

/// How a target was held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The hold that was in effect: `"stop"` if the threads were suspended, `"clone"` if they
    /// were suspended only until the system had made a copy of the process, which was read instead,
    /// `"dbghelp"` if the system's DbgHelp suspended the
    /// process and made the dump (Windows), `"core"` for a core file, `"simulated"` for a simulated
    /// process.
    pub hold: &'static str,
    /// What traced a live process on Linux; `None` for other targets.
    ///
    /// * `"helper"`: a helper process. The rest of the program sees nothing of the stops.
    /// * `"in-process"`: a thread of this program. Its waits for child processes may report the
    ///   stops.
    /// * `"caller"`: the thread that requested the dump, which was the debugger of the process.
    ///   The dump caused no stops.
    /// * `"kernel"`: nothing. A signal has killed the process, and the kernel keeps it until its
    ///   core has been read.
    pub tracer: Option<&'static str>,
    /// The time from the first request to stop a thread until the last thread was resumed. For a
    /// process that was resumed early, it is accurate to a few milliseconds.
    pub pause: Duration,
}
