//! Snapshot → plan: one file a stream, all with the same outline.
//!
//! A stream's file has one function that adds its blocks to the plan and returns the block of its body. Whether
//! it is wanted stands in the table, and so does its type; the table's order is the file's order. To
//! add a stream, add a file and a row.

mod breakpad_info;
mod exception;
mod handle_data;
mod linux_dso_debug;
mod linux_texts;
mod memory64_list;
mod memory_info_list;
mod memory_list;
mod misc_info;
mod module_list;
mod soft_errors;
mod system_info;
mod thread_info_list;
mod thread_list;
mod thread_names;

use dumpwright_target::LinuxTextKind;
use minidump_common::format::MINIDUMP_STREAM_TYPE as Type;

use crate::capture::Snapshot;
use crate::plan::{BlockId, Plan};

/// A row of the table.
struct Stream {
    stream_type: Type,
    /// Whether this snapshot has something to say there.
    wanted: fn(&Snapshot) -> bool,
    /// Adds the stream's blocks and returns the one that is its body.
    plan: for<'a> fn(&'a Snapshot, &mut Plan<'a>, &Pieces) -> BlockId,
}

/// The blocks of the snapshot's pieces of memory, by index.
struct Pieces(Vec<BlockId>);

/// The row of a stream that is a file of `/proc` as it is.
macro_rules! linux_text {
    ($stream:ident, $kind:ident) => {
        Stream {
            stream_type: Type::$stream,
            wanted: |snapshot| linux_texts::find(snapshot, LinuxTextKind::$kind).is_some(),
            plan: |snapshot, plan, _| linux_texts::plan(snapshot, plan, LinuxTextKind::$kind),
        }
    };
}

/// All streams, in the order in which they stand in the file.
///
/// What every reader needs first comes first; the long lists come last, the memory lists right before the
/// memory that they describe.
const TABLE: &[Stream] = &[
    Stream { stream_type: Type::SystemInfoStream, wanted: |s| s.system.is_some(), plan: system_info::plan },
    Stream { stream_type: Type::MiscInfoStream, wanted: |_| true, plan: misc_info::plan },
    Stream { stream_type: Type::ExceptionStream, wanted: |s| s.exception.is_some(), plan: exception::plan },
    Stream { stream_type: Type::BreakpadInfoStream, wanted: breakpad_info::wanted, plan: breakpad_info::plan },
    Stream { stream_type: Type::ThreadListStream, wanted: |_| true, plan: thread_list::plan },
    Stream { stream_type: Type::ThreadNamesStream, wanted: thread_names::wanted, plan: thread_names::plan },
    Stream { stream_type: Type::ThreadInfoListStream, wanted: thread_info_list::wanted, plan: thread_info_list::plan },
    Stream { stream_type: Type::ModuleListStream, wanted: |_| true, plan: module_list::plan },
    Stream { stream_type: Type::HandleDataStream, wanted: |s| s.handles.is_some(), plan: handle_data::plan },
    linux_text!(LinuxCpuInfo, CpuInfo),
    linux_text!(LinuxProcStatus, ProcStatus),
    linux_text!(LinuxLsbRelease, LsbRelease),
    linux_text!(LinuxCmdLine, CmdLine),
    linux_text!(LinuxEnviron, Environ),
    linux_text!(LinuxAuxv, Auxv),
    linux_text!(LinuxMaps, Maps),
    linux_text!(MozLinuxLimits, Limits),
    Stream { stream_type: Type::LinuxDsoDebug, wanted: linux_dso_debug::wanted, plan: linux_dso_debug::plan },
    Stream { stream_type: Type::MozSoftErrors, wanted: soft_errors::wanted, plan: soft_errors::plan },
    Stream { stream_type: Type::MemoryInfoListStream, wanted: |s| s.regions.is_some(), plan: memory_info_list::plan },
    Stream { stream_type: Type::MemoryListStream, wanted: |s| !s.large, plan: memory_list::plan },
    Stream { stream_type: Type::Memory64ListStream, wanted: |s| s.large, plan: memory64_list::plan },
];

/// Whether this stream type is one that we write ourselves.
pub(crate) fn is_ours(stream_type: u32) -> bool {
    TABLE.iter().any(|row| row.stream_type as u32 == stream_type)
}

/// Plans the whole file.
pub(crate) fn plan(snapshot: &Snapshot) -> Plan<'_> {
    let mut plan = Plan::default();
    let pieces = Pieces(snapshot.pieces.iter().enumerate().map(|(index, piece)| {
        plan.piece(index, piece.range.len(), memory_alignment(snapshot, index))
    }).collect());
    for row in TABLE.iter().filter(|row| (row.wanted)(snapshot)) {
        let body = (row.plan)(snapshot, &mut plan, &pieces);
        plan.stream(row.stream_type as u32, body);
    }
    for stream in &snapshot.user_streams {
        let body = plan.bytes(stream.bytes.as_slice());
        plan.stream(stream.stream_type, body);
    }
    plan
}

/// The bytes of a Memory64List follow each other without gaps; only the first may be aligned. Aligned to
/// pages, a page of zeros in the target is a hole in the file.
fn memory_alignment(snapshot: &Snapshot, index: usize) -> u64 {
    match (snapshot.large, index) {
        (true, 0) => 4096,
        (true, _) => 1,
        (false, _) => 16,
    }
}
