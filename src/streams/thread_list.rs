//! ThreadList: threads with registers and stacks.

use dumpwright_callback::ThreadWriteFlags;
use dumpwright_target::CpuContext;
use minidump_common::format::{MINIDUMP_LOCATION_DESCRIPTOR, MINIDUMP_MEMORY_DESCRIPTOR, MINIDUMP_THREAD};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::capture::KeptThread;
use crate::format;
use crate::plan::{Offsets, narrow};

/// A thread's stack in the file: the piece that holds it, where in the piece it begins, and how much of it
/// the piece has.
#[derive(Clone, Copy)]
struct StackPlace {
    block: BlockId,
    inside: u64,
    start: u64,
    len: u64,
}

/// What a thread's entry says of its registers.
#[derive(Clone, Copy)]
enum Registers {
    None,
    At(BlockId),
    /// Their size without a place.
    Declined(usize),
}

impl Registers {
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

/// What the list has of each thread.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// `MINIDUMP_THREAD`.
    Plain,
    /// `MINIDUMP_THREAD_EX`: the same, and behind it a descriptor of the backing store.
    WithBackingStore,
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, pieces: &Pieces) -> BlockId {
    list(snapshot, plan, pieces, Entry::Plain)
}

/// Either list of threads.
pub(super) fn list<'a>(
    snapshot: &'a Snapshot,
    plan: &mut Plan<'a>,
    pieces: &Pieces,
    entry: Entry,
) -> BlockId {
    let listed: Vec<_> = snapshot
        .threads
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
                    Some(context) if wants_context => Registers::At(plan.bytes(context)),
                    Some(context) if snapshot.profile.keeps_sizes_of_declined_contexts() => {
                        Registers::Declined(context.len())
                    }
                    _ => Registers::None,
                },
                stack_place(snapshot, kept, pieces),
                backing_store_place(snapshot, kept, pieces),
            )
        })
        .collect();
    let descriptor = match entry {
        Entry::Plain => 0,
        Entry::WithBackingStore => format::size::<MINIDUMP_MEMORY_DESCRIPTOR>(),
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
                    stack: stack_record(kept, *stack, offsets)?,
                    thread_context: context.location(offsets)?,
                }]));
                if entry == Entry::WithBackingStore {
                    let store = store.map(|place| descriptor_of(place, offsets)).transpose()?;
                    bytes.extend(format::bytes([store.unwrap_or_default()]));
                }
            }
            Ok(bytes)
        },
    )
}

/// Where the stack's bytes are. A stack that is partly lost is described by the piece that holds the
/// stack pointer.
fn stack_place(snapshot: &Snapshot, kept: &KeptThread, pieces: &Pieces) -> Option<StackPlace> {
    let stack = kept.thread.stack?;
    let (index, inside) = [stack.range.start(), stack.pointer]
        .into_iter()
        .filter(|address| stack.range.contains(*address))
        .find_map(|address| {
            let (index, _) = snapshot.piece_at(address)?;
            let start = snapshot.pieces[index].range.start().max(stack.range.start());
            Some((index, start - snapshot.pieces[index].range.start()))
        })?;
    Some(place(snapshot, pieces, index, inside, stack.range.end()))
}

/// Where the bytes of the backing store are, from its beginning on.
fn backing_store_place(snapshot: &Snapshot, kept: &KeptThread, pieces: &Pieces) -> Option<StackPlace> {
    let store = kept.thread.backing_store?;
    let (index, inside) = snapshot.piece_at(store.start())?;
    Some(place(snapshot, pieces, index, inside, store.end()))
}

fn place(snapshot: &Snapshot, pieces: &Pieces, index: usize, inside: u64, end: u64) -> StackPlace {
    let piece = snapshot.pieces[index].range;
    let start = piece.start() + inside;
    StackPlace {
        block: pieces.0[index],
        inside,
        start,
        len: (piece.end().min(end) - start).min(u32::MAX.into()),
    }
}

fn stack_record(
    kept: &KeptThread,
    place: Option<StackPlace>,
    offsets: &Offsets,
) -> Result<MINIDUMP_MEMORY_DESCRIPTOR, crate::Error> {
    let Some(place) = place else {
        // Not captured: the stack pointer, no bytes. Readers then look the address up in the memory list.
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
            // Beyond 4 GiB (stacks come first, so only with gigabytes of them) as in Microsoft's full dumps.
            rva: offsets.rva_inside(place.block, place.inside).unwrap_or(0),
        },
    })
}
