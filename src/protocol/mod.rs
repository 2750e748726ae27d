//! The callback protocol, and tools for working with it.
//!
//! Four types wrap a callback, or take the place of one:
//!
//! * [`Script`] answers according to rules in a text file.
//! * [`Recorder`] records the dialogue as a [`Transcript`].
//! * [`Playback`] answers as a recorded callback did.
//! * [`Lint`] reports answers that a callback probably did not intend.
//!
//! [`Profile`] selects whose behaviour the dialogue follows.
//!
//! # The callback types
//!
//! For each callback type, the table has the phase in which dumpwright sends it, the default answer
//! that its answer slot is prefilled with, and the answers that have an effect. Order and defaults
//! are those of DbgHelp 6.3.9600, as observed, and of Microsoft's page `MINIDUMP_CALLBACK_TYPE`.
//!
//! The phases, in this order, are negotiate (output and dump type), select (threads and modules),
//! collect (their facts), memory (what is dumped), emit (the file is written) and finish. Memory is
//! read in the phase memory or, if it is deferred, in the phase emit.
//!
//! | callback type | phase | prefilled | answers and their effect |
//! |---|---|---|---|
//! | IsProcessSnapshot | negotiate | E_NOTIMPL | TRUE, S_FALSE: the target is a snapshot |
//! | VmStart | negotiate | E_NOTIMPL | TRUE, S_FALSE: VmQuery, VmPreRead and VmPostRead follow |
//! | IoStart | negotiate | E_NOTIMPL | TRUE, S_FALSE: the output goes to IoWriteAll |
//! | SecondaryFlags | negotiate | 0 | TRUE: these flags |
//! | Cancel | negotiate, then polled | both false | `check_cancel`: poll again; TRUE, `cancel`: stop |
//! | IncludeThread | select | by dump type | FALSE or no THREAD: leave it out; flags: dump less |
//! | IncludeModule | select | by dump type | FALSE or no MODULE: leave it out; flags: dump less |
//! | Module | collect | current flags | FALSE: abort; fewer flags: dump less |
//! | Thread, ThreadEx | collect | current flags | FALSE: abort; fewer flags: dump less |
//! | Memory | memory | empty | TRUE and a size: add this range |
//! | RemoveMemory | memory | empty | TRUE and a size: remove this range |
//! | CompressedMemoryStreamStart | memory (compressed) | zeros | TRUE: size of buckets, number of threads |
//! | IncludeVmRegion | memory (full) | the region | TRUE, `cont`: dump this part of the region |
//! | VmQuery | memory | E_NOTIMPL | TRUE, S_OK: this region; TRUE, E_NOINTERFACE: no more regions |
//! | VmPreRead | every read | E_NOTIMPL, 0 | TRUE: bytes, their number, status |
//! | VmPostRead | every read | E_NOTIMPL, count | changed bytes; TRUE: their number, status |
//! | ReadMemoryFailure | memory, emit | S_FALSE | TRUE, S_OK: continue without the memory |
//! | IoWriteAll | emit | E_FAIL | anything but TRUE, S_OK: fail |
//! | IoFinish | finish | E_FAIL | FALSE or a failure status: fail |
//! | WriteKernelMinidump | finish | handle 0 | TRUE and a handle: attempt a kernel dump |
//! | KernelMinidumpStatus | finish | | none |
//! | CompressedMemoryStreamFinish | finish (before IoFinish) | | none |
//!
//! The callback types of compressed memory belong to `MiniDumpWithMemoryCompressed`.

pub(crate) mod dialogue;
mod lint;
mod output;
mod profile;
mod script;
mod symbols;
mod transcript;
pub(crate) mod vm_region;

pub use dumpwright_text::{Mistake, TextError};
pub use lint::{Finding, Lint, Misuse};
pub(crate) use profile::ProcessBlocks;
pub use profile::Profile;
pub use script::{Script, ScriptError};
pub use symbols::Symbols;
pub use transcript::{
    Difference, Ending, Entry, NamedValues, Playback, Recorder, Status, Transcript, TranscriptError,
};

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};

use crate::DumpType;

/// Returns the thread flags that IncludeThread is prefilled with.
pub(crate) fn initial_thread_flags(dump_type: DumpType) -> ThreadWriteFlags {
    if dump_type.has_all_memory() {
        // Full memory includes the stacks and the instruction windows.
        let mut flags = ThreadWriteFlags::THREAD | ThreadWriteFlags::CONTEXT;
        flags.set(
            ThreadWriteFlags::THREAD_INFO,
            dump_type.contains(DumpType::WITH_THREAD_INFO),
        );
        return flags;
    }
    let mut flags = ThreadWriteFlags::THREAD
        | ThreadWriteFlags::STACK
        | ThreadWriteFlags::CONTEXT
        | ThreadWriteFlags::INSTRUCTION_WINDOW;
    flags.set(
        ThreadWriteFlags::THREAD_DATA,
        dump_type.contains(DumpType::WITH_PROCESS_THREAD_DATA),
    );
    flags.set(
        ThreadWriteFlags::THREAD_INFO,
        dump_type.contains(DumpType::WITH_THREAD_INFO),
    );
    flags
}

/// Returns the module flags that IncludeModule is prefilled with.
pub(crate) fn initial_module_flags(dump_type: DumpType) -> ModuleWriteFlags {
    let data = dump_type.contains(DumpType::WITH_DATA_SEGS);
    let mut flags = ModuleWriteFlags::MODULE | ModuleWriteFlags::MISC_RECORD | ModuleWriteFlags::CV_RECORD;
    flags.set(ModuleWriteFlags::DATA_SEG, data);
    flags.set(
        ModuleWriteFlags::CODE_SEGS,
        dump_type.contains(DumpType::WITH_CODE_SEGS),
    );
    flags.set(
        ModuleWriteFlags::TLS_DATA,
        data && dump_type.contains(DumpType::WITH_PROCESS_THREAD_DATA),
    );
    flags
}
