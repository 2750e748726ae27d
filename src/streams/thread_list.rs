//! ThreadList: threads with their registers and stacks.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::CpuContext;
use minidump_common::format::{MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_MEMORY_DESCRIPTOR, MINIDUMP_THREAD};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::capture::CapturedThread;
use crate::format;
use crate::plan::{Offsets, narrow};

/// The place of a thread's stack in the file: the piece that contains it, the offset in that piece,
/// the address, and the number of bytes.
#[derive(Clone, Copy)]
struct StackPlace {
    block: BlockId,
    inside: u64,
    start: u64,
    len: u64,
}

/// The registers in a thread's entry.
#[derive(Clone, Copy)]
enum RegisterBlock {
    None,
    At(BlockId),
    /// The size of the registers, without an offset.
    Declined(usize),
}

impl RegisterBlock {
    fn location(self, offsets: &Offsets) -> Result<MINIDUMP_LOCATION_DESCRIPTOR, crate::Error> {
        match self {
            Self::None => Ok(MINIDUMP_LOCATION_DESCRIPTOR::default()),
            Self::At(block) => offsets.location(block),
            Self::Declined(size) => Ok(MINIDUMP_LOCATION_DESCRIPTOR {
                data_size: narrow(size, "a context")?,
                rva: 0,
            }),
        }
    }
}

/// The kind of entry for each thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadListKind {
    /// `MINIDUMP_THREAD`.
    Plain,
    /// `MINIDUMP_THREAD_EX`: the same, followed by a descriptor of the backing store.
    WithBackingStore,
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &PieceBlocks) -> BlockId {
    list(snapshot, plan, pieces, ThreadListKind::Plain)
}

/// Adds either list of threads.
pub(super) fn list<'a>(
    snapshot: &'a Snapshot,
    plan: &mut Plan<'a>,
    pieces: &PieceBlocks,
    entry: ThreadListKind,
) -> BlockId {
    let listed: Vec<_> = snapshot
        .threads()
        .kept()
        .iter()
        .filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD))
        .collect();
    let places: Vec<_> = listed
        .iter()
        .map(|kept| {
            let wants_context = kept.flags.contains(ThreadWriteFlags::CONTEXT);
            let context = kept.thread.context.as_ref().map(CpuContext::bytes);
            (
                match context {
                    Some(context) if wants_context => RegisterBlock::At(plan.bytes(context)),
                    Some(context) if snapshot.terms().profile.keeps_sizes_of_declined_contexts() => {
                        RegisterBlock::Declined(context.len())
                    }
                    _ => RegisterBlock::None,
                },
                stack_place(snapshot, kept, pieces),
                backing_store_place(snapshot, kept, pieces),
            )
        })
        .collect();
    let descriptor = match entry {
        ThreadListKind::Plain => 0,
        ThreadListKind::WithBackingStore => format::size::<MINIDUMP_MEMORY_DESCRIPTOR>(),
    };
    plan.record(
        4 + listed.len() * (format::size::<MINIDUMP_THREAD>() + descriptor),
        move |offsets| {
            let mut bytes = format::bytes([narrow(listed.len(), "the number of threads")?]);
            for (kept, (context, stack, store)) in listed.iter().zip(&places) {
                let thread = &kept.thread;
                bytes.extend(format::bytes([MINIDUMP_THREAD {
                    thread_id: thread.id,
                    suspend_count: thread.suspend_count,
                    priority_class: thread.priority_class,
                    // A signed number in an unsigned field.
                    priority: thread.priority.cast_unsigned(),
                    teb: thread.teb,
                    stack: stack_record(snapshot, kept, *stack, offsets)?,
                    thread_context: context.location(offsets)?,
                }]));
                if entry == ThreadListKind::WithBackingStore {
                    let store = store.map(|place| descriptor_of(place, offsets)).transpose()?;
                    bytes.extend(format::bytes([store.unwrap_or_default()]));
                }
            }
            Ok(bytes)
        },
    )
}

/// Returns the place of the stack's bytes. If parts of the stack could not be read, it is the piece
/// that contains the stack pointer.
fn stack_place(snapshot: &Snapshot, kept: &CapturedThread, pieces: &PieceBlocks) -> Option<StackPlace> {
    let stack = kept.thread.stack?;
    let (index, inside) = [stack.range.start(), stack.pointer]
        .into_iter()
        .filter(|address| stack.range.contains(*address))
        .find_map(|address| {
            let index = pieces.index.at(address)?;
            let start = snapshot.memory().pieces()[index]
                .range
                .start()
                .max(stack.range.start());
            Some((index, start - snapshot.memory().pieces()[index].range.start()))
        })?;
    Some(place(snapshot, pieces, index, inside, stack.range.end()))
}

/// Returns the place of the backing store's bytes, starting at its beginning.
fn backing_store_place(
    snapshot: &Snapshot,
    kept: &CapturedThread,
    pieces: &PieceBlocks,
) -> Option<StackPlace> {
    let store = kept.thread.backing_store?;
    let index = pieces.index.at(store.start())?;
    let inside = store.start() - snapshot.memory().pieces()[index].range.start();
    Some(place(snapshot, pieces, index, inside, store.end()))
}

fn place(snapshot: &Snapshot, pieces: &PieceBlocks, index: usize, inside: u64, end: u64) -> StackPlace {
    let piece = snapshot.memory().pieces()[index].range;
    let start = piece.start() + inside;
    StackPlace {
        block: pieces.blocks[index],
        inside,
        start,
        len: (piece.end().min(end) - start).min(u32::MAX.into()),
    }
}

fn stack_record(
    snapshot: &Snapshot,
    kept: &CapturedThread,
    place: Option<StackPlace>,
    offsets: &Offsets,
) -> Result<MINIDUMP_MEMORY_DESCRIPTOR, crate::Error> {
    let Some(place) = place else {
        let compressed = snapshot.memory().compressed();
        if let (Some(stack), true) = (kept.thread.stack, compressed.is_some_and(|it| !it.lists_pieces)) {
            // The bytes are only in the CompressedMemoryStream.
            return Ok(MINIDUMP_MEMORY_DESCRIPTOR {
                start_of_memory_range: stack.range.start(),
                memory: MINIDUMP_LOCATION_DESCRIPTOR {
                    data_size: narrow(stack.range.len(), "a stack")?,
                    rva: 0,
                },
            });
        }
        // The stack was not captured: write the stack pointer and no bytes. Readers then look up
        // the address in the memory list.
        return Ok(MINIDUMP_MEMORY_DESCRIPTOR {
            start_of_memory_range: kept.thread.stack.map_or(0, |stack| stack.pointer),
            memory: MINIDUMP_LOCATION_DESCRIPTOR::default(),
        });
    };
    descriptor_of(place, offsets)
}

fn descriptor_of(place: StackPlace, offsets: &Offsets) -> Result<MINIDUMP_MEMORY_DESCRIPTOR, crate::Error> {
    Ok(MINIDUMP_MEMORY_DESCRIPTOR {
        start_of_memory_range: place.start,
        memory: MINIDUMP_LOCATION_DESCRIPTOR {
            data_size: crate::plan::narrow(place.len, "a stack")?,
            // 0 beyond 4 GiB, as in Microsoft's full dumps. Stacks come first, so this happens only
            // with gigabytes of them.
            rva: offsets.rva_inside(place.block, place.inside).unwrap_or(0),
        },
    })
}
