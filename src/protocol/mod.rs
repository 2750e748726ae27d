//! Holding the dialogue with the callback: what is asked when, with which default, and what an answer
//! means. The vocabulary is `dumpwright-callback`.
//!
//! | question | phase | prefilled | answer that changes something |
//! |---|---|---|---|
//! | IsProcessSnapshot | negotiate | E_NOTIMPL | TRUE, S_FALSE: the target is a snapshot |
//! | VmStart | negotiate | E_NOTIMPL | TRUE, S_FALSE: VmQuery, VmPreRead and VmPostRead follow |
//! | IoStart | negotiate | E_NOTIMPL | TRUE, S_FALSE: output goes to IoWriteAll |
//! | SecondaryFlags | negotiate | 0 | TRUE: flags |
//! | Cancel | negotiate, then polled | no, no | check_cancel: go on polling; TRUE, cancel: stop |
//! | IncludeThread | select | by type | FALSE or no THREAD: not at all; fewer flags: less |
//! | IncludeModule | select | by type | FALSE or no MODULE: not at all; fewer flags: less |
//! | Module | collect | current | FALSE: abort; fewer flags: less |
//! | Thread, ThreadEx | collect | current | FALSE: abort; fewer flags: less |
//! | Memory | memory | empty | TRUE and a size: one more range |
//! | RemoveMemory | memory | empty | TRUE and a size: one range less |
//! | IncludeVmRegion | memory (full) | the region, no | TRUE, continue: this part of the region |
//! | VmQuery | memory | E_NOTIMPL | TRUE, S_OK: this region; E_NOINTERFACE: no more |
//! | VmPreRead, VmPostRead | every read | E_NOTIMPL, 0 | bytes, status |
//! | ReadMemoryFailure | memory, emit | S_FALSE | TRUE, S_OK: leave the range out |
//! | IoWriteAll | emit | E_FAIL | anything but TRUE, S_OK: fail |
//! | IoFinish | finish | E_FAIL | FALSE or a failure: fail |
//! | WriteKernelMinidump | finish | no handle | TRUE and a handle: attempt it |
//! | KernelMinidumpStatus | finish | | none |
//!
//! Around a callback, or in place of one: [`Script`] answers from text, [`Recorder`] writes the dialogue down,
//! [`Playback`] holds it again, [`Lint`] says what a callback does wrong.
//!
//! Order and defaults as observed on DbgHelp 6.3.9600 and documented on Microsoft's page
//! `MINIDUMP_CALLBACK_TYPE`.

pub(crate) mod dialogue;
mod lent;
mod lint;
mod output;
mod profile;
mod script;
mod symbols;
mod transcript;
pub(crate) mod vm_region;

pub(crate) use lent::Lent;
pub use lint::{Finding, Lint, Misuse};
pub use profile::Profile;
pub use script::{Script, ScriptError};
pub use symbols::Symbols;
pub use transcript::{
    Difference, Ending, Entry, Fields, Playback, Recorder, Status, Transcript, TranscriptError,
};

use dumpwright_callback::{ModuleWriteFlags, ThreadWriteFlags};

use crate::DumpType;

/// The thread flags that IncludeThread is prefilled with.
pub(crate) fn initial_thread_flags(dump_type: DumpType) -> ThreadWriteFlags {
    if dump_type.contains(DumpType::WITH_FULL_MEMORY) {
        // Stacks and windows are part of all memory.
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

/// The module flags that IncludeModule is prefilled with.
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
