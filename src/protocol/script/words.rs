//! The words of the script language: the keys of each callback type, and names for numbers.

use dumpwright_callback::{AskKind, Hresult, ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags};
use dumpwright_target::{RegionKind, RegionState};

/// The keys that select the questions that a rule applies to.
pub(super) const CONDITIONS: [&str; 6] = ["ask", "index", "thread", "module", "at", "minimum_size"];

/// The keys that change the answer.
pub(super) const ACTIONS: [&str; 20] = [
    "return",
    "flags",
    "and",
    "or",
    "status",
    "memory",
    "check_cancel",
    "cancel",
    "continue",
    "region",
    "handle",
    "completed",
    "read",
    "fill",
    "xor",
    "xor_at",
    "store",
    "query",
    "max_parallelism",
    "max_transfer_size",
];

/// Returns the keys that are valid for a callback type, in addition to `ask`, `index` and `return`.
pub(super) fn keys_of(kind: AskKind) -> &'static [&'static str] {
    match kind {
        AskKind::Module => &["module", "at", "minimum_size", "flags", "and", "or"],
        AskKind::IncludeModule => &["module", "at", "flags", "and", "or"],
        AskKind::Thread | AskKind::ThreadEx | AskKind::IncludeThread => &["thread", "flags", "and", "or"],
        AskKind::Memory | AskKind::RemoveMemory => &["memory"],
        AskKind::Cancel => &["check_cancel", "cancel"],
        AskKind::WriteKernelMinidump => &["handle"],
        AskKind::KernelMinidumpStatus => &[],
        AskKind::IncludeVmRegion => &["at", "minimum_size", "continue", "region"],
        AskKind::IoStart | AskKind::IoFinish | AskKind::IsProcessSnapshot | AskKind::VmStart => &["status"],
        AskKind::IoWriteAll => &["at", "minimum_size", "status", "store"],
        AskKind::ReadMemoryFailure => &["at", "minimum_size", "status"],
        AskKind::SecondaryFlags => &["flags", "and", "or"],
        AskKind::VmQuery => &["at", "query", "status", "region"],
        AskKind::VmPreRead | AskKind::VmPostRead => &[
            "at",
            "minimum_size",
            "status",
            "completed",
            "read",
            "fill",
            "xor",
            "xor_at",
        ],
        AskKind::CompressedMemoryStreamStart => &["max_parallelism", "max_transfer_size"],
        AskKind::CompressedMemoryStreamFinish => &[],
    }
}

/// The names of statuses.
pub(super) const STATUSES: [(&str, Hresult); 16] = [
    ("S_OK", Hresult::S_OK),
    ("S_FALSE", Hresult::S_FALSE),
    ("E_NOTIMPL", Hresult::E_NOTIMPL),
    ("E_NOINTERFACE", Hresult::E_NOINTERFACE),
    ("E_ABORT", Hresult::E_ABORT),
    ("E_FAIL", Hresult::E_FAIL),
    ("E_INVALIDARG", Hresult::INVALID_ARGUMENT),
    ("E_ACCESSDENIED", Hresult::ACCESS_DENIED),
    ("E_HANDLE", Hresult::INVALID_HANDLE),
    ("ERROR_INVALID_DATA", Hresult::INVALID_DATA),
    ("ERROR_READ_FAULT", Hresult::READ_FAULT),
    ("ERROR_FILE_EXISTS", Hresult::FILE_EXISTS),
    ("ERROR_DISK_FULL", Hresult::DISK_FULL),
    ("ERROR_PARTIAL_COPY", Hresult::PARTIAL_COPY),
    ("ERROR_CANCELLED", Hresult::CANCELLED),
    ("ERROR_NOT_SUPPORTED", Hresult::NOT_SUPPORTED),
];

/// Returns the names of the flags that these callback types have. Returns no names if they have
/// different flags, because the meaning of a name could then be ambiguous.
pub(super) fn flag_names(asks: &[AskKind]) -> Vec<(&'static str, u32)> {
    fn named<F: bitflags::Flags<Bits = u32>>() -> Vec<(&'static str, u32)> {
        F::FLAGS
            .iter()
            .filter(|flag| flag.is_named())
            .map(|flag| (flag.name(), flag.value().bits()))
            .collect()
    }
    let is = |kinds: &[AskKind]| !asks.is_empty() && asks.iter().all(|ask| kinds.contains(ask));
    if is(&[AskKind::Module, AskKind::IncludeModule]) {
        named::<ModuleWriteFlags>()
    } else if is(&[AskKind::Thread, AskKind::ThreadEx, AskKind::IncludeThread]) {
        named::<ThreadWriteFlags>()
    } else if is(&[AskKind::SecondaryFlags]) {
        named::<SecondaryFlags>()
    } else {
        Vec::new()
    }
}

/// The names of region states.
pub(super) const STATES: [(&str, RegionState); 3] = [
    ("MEM_COMMIT", RegionState::Commit),
    ("MEM_RESERVE", RegionState::Reserve),
    ("MEM_FREE", RegionState::Free),
];

/// The names of region types.
pub(super) const KINDS: [(&str, RegionKind); 3] = [
    ("MEM_PRIVATE", RegionKind::Private),
    ("MEM_MAPPED", RegionKind::Mapped),
    ("MEM_IMAGE", RegionKind::Image),
];

/// The keys of `region`.
pub(super) const REGION: [&str; 7] = [
    "base",
    "size",
    "allocation_base",
    "allocation_protect",
    "state",
    "protect",
    "type",
];
