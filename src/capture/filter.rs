//! What is taken out of stacks and registers before they are written: types 0x8 (FilterMemory) and 0x100000
//! (FilterTriage).
//!
//! A word stays if it may be part of a stack trace: a return address, a frame pointer. Whatever else a program had in its
//! stacks and registers (passwords, keys, names) is overwritten.

use std::collections::HashSet;

use dumpwright_target::{AddressRange, CpuContext, Frozen, Region, Remark, Subject, protect};

use super::snapshot::pointer_size;
use super::{Bytes, KeptThread, Piece, Snapshot};
use crate::memory::set::RangeSet;
use crate::memory::words::{each_word, number, word_at};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile};

/// What DbgHelp 6.3.9600 puts in place of the words that triage filters.
const TRIAGE_FILL: u8 = 0xAA;

/// How many objects triage looks at. A process that has so many different pointers on its stacks keeps the stacks, and loses
/// what lies beyond.
const MOST_OBJECTS: usize = 100_000;

/// The addresses that a stack trace is made of.
struct Traced {
    /// Modules, and code that belongs to none.
    code: RangeSet,
    /// All stacks, as far as they are in use.
    stacks: RangeSet,
}

impl Traced {
    fn of(snapshot: &Snapshot) -> Self {
        let images = snapshot
            .modules
            .iter()
            .filter_map(|kept| AddressRange::at(kept.module.base, kept.module.size));
        let generated = snapshot.generated_code.iter().copied();
        Self {
            code: RangeSet::union(images.chain(generated)),
            stacks: RangeSet::union(snapshot.threads.iter().flat_map(stacks_of)),
        }
    }

    fn has(&self, address: u64) -> bool {
        self.code.contains(address) || self.stacks.contains(address)
    }
}

fn stacks_of(kept: &KeptThread) -> impl Iterator<Item = AddressRange> + '_ {
    let stacks = kept.thread.stack.iter().chain(&kept.thread.interrupted);
    stacks.map(|stack| stack.range).chain(kept.thread.backing_store)
}

/// Whether the type asks for a filter that is more than DbgHelp's.
fn is_strict(snapshot: &Snapshot) -> bool {
    snapshot.profile.filters_memory()
        && snapshot
            .dump_type
            .intersects(DumpType::FILTER_MEMORY | DumpType::FILTER_TRIAGE)
}

/// What a filtered dump does not take for other reasons: the regions that stacks lie in, whose unused parts hold what calls have
/// left there, and on Linux the environment and the arguments.
pub(super) fn regions_of_stacks(snapshot: &Snapshot, map: &[Region]) -> RangeSet {
    if !is_strict(snapshot) {
        return RangeSet::default();
    }
    let stacks = RangeSet::union(snapshot.threads.iter().flat_map(stacks_of));
    let regions = map.iter().map(|region| region.range);
    RangeSet::union(regions.filter(|region| stacks.iter().any(|stack| stack.intersect(*region).is_some())))
}

/// Whether the memory around this address, where the process is or what it has accessed, may be shown: in a filtered dump only
/// code is.
pub(super) fn may_show(snapshot: &Snapshot) -> impl Fn(u64) -> bool {
    let code = is_strict(snapshot).then(|| Traced::of(snapshot).code);
    move |address| code.as_ref().is_none_or(|code| code.contains(address))
}

/// Executable memory outside modules: made by compilers at run time. Return addresses lie there as well; DbgHelp's triage
/// does not know.
pub(super) fn generated_code(map: &[Region], profile: Profile) -> Vec<AddressRange> {
    const EXECUTABLE: u32 =
        protect::EXECUTE | protect::EXECUTE_READ | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
    let executable = map.iter().filter(|region| {
        profile.filters_memory() && region.is_dumpable() && region.protect & EXECUTABLE != 0
    });
    executable.map(|region| region.range).collect()
}

/// Triage: the first words of the objects that stacks and registers point to, where such a word points into a module or a stack,
/// as a virtual function table does. They are kept, and so are the pointers to them.
pub(super) fn objects(
    frozen: &mut dyn Frozen,
    snapshot: &Snapshot,
    map: &[Region],
    stacks: &[AddressRange],
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<AddressRange>, Error> {
    let word = pointer_size(snapshot.system.as_ref());
    let traced = Traced::of(snapshot);
    let readable = RangeSet::union(
        map.iter()
            .filter(|region| region.is_dumpable())
            .map(|region| region.range),
    );
    let mut candidates = HashSet::new();
    let mut consider = |address: u64| {
        if candidates.len() < MOST_OBJECTS && readable.contains(address) && !traced.has(address) {
            candidates.insert(address);
        }
    };
    for context in snapshot
        .threads
        .iter()
        .filter_map(|kept| kept.thread.context.as_ref())
    {
        context.general_registers().for_each(&mut consider);
    }
    for stack in stacks {
        each_word(frozen, dialogue.service(), *stack, word, &mut consider);
        dialogue.service().poll_cancel()?;
    }
    let mut objects: Vec<_> = candidates
        .into_iter()
        .filter(|address| word_at(frozen, *address, word).is_some_and(|first| traced.has(first)))
        .filter_map(|address| AddressRange::at(address, word))
        .collect();
    objects.sort_unstable();
    Ok(objects)
}

/// Filters stacks and registers, if the type says so.
pub(super) fn apply(snapshot: &mut Snapshot) {
    let is_triage = snapshot.dump_type.contains(DumpType::FILTER_TRIAGE);
    let filters_memory =
        snapshot.dump_type.contains(DumpType::FILTER_MEMORY) && snapshot.profile.filters_memory();
    if !is_triage && !filters_memory {
        return;
    }
    let fill = if is_triage { TRIAGE_FILL } else { 0 };
    let word = pointer_size(snapshot.system.as_ref());
    let traced = Traced::of(snapshot);
    let captured = match is_triage {
        true => RangeSet::union(snapshot.pieces.iter().map(|piece| piece.range)).subtract(&traced.stacks),
        false => RangeSet::default(),
    };
    let mut filtered = Filtered::default();
    for kept in &mut snapshot.threads {
        let own = RangeSet::union(stacks_of(kept));
        // Triage knows a thread's own stack only.
        let stacks = if is_triage { &own } else { &traced.stacks };
        let keep = |word: u64| traced.code.contains(word) || stacks.contains(word) || captured.contains(word);
        for stack in own.iter() {
            for piece in &mut snapshot.pieces {
                filtered.stack(piece, stack, word, fill, keep);
            }
        }
        if let Some(context) = &mut kept.thread.context {
            filtered.registers(context, fill, keep);
        }
    }
    if let Some(exception) = &mut snapshot.exception {
        let keep = |word: u64| traced.has(word) || captured.contains(word);
        filtered.registers(&mut exception.context, fill, keep);
    }
    let name = if is_triage {
        "filter-triage"
    } else {
        "filter-memory"
    };
    snapshot.remarks.push(Remark::left_out(
        Subject::Process,
        format!(
            "{name}: {} of {} words of stacks and {} registers are {fill:#04x}, and all vector registers",
            filtered.words, filtered.all_words, filtered.registers
        ),
    ));
}

/// What was overwritten.
#[derive(Default)]
struct Filtered {
    all_words: u64,
    words: u64,
    registers: usize,
}

impl Filtered {
    fn stack(
        &mut self,
        piece: &mut Piece,
        stack: AddressRange,
        word: u64,
        fill: u8,
        keep: impl Fn(u64) -> bool,
    ) {
        let (Some(part), Bytes::Fetched(bytes)) = (piece.range.intersect(stack), &mut piece.bytes) else {
            return;
        };
        let mut at = part.start();
        while at < part.end() {
            // Pieces of words at both ends are nothing that a stack trace needs.
            let end = (at - at % word).saturating_add(word).min(part.end());
            let place =
                |address: u64| usize::try_from(address - piece.range.start()).expect("inside a buffer");
            let bytes = &mut bytes[place(at)..place(end)];
            self.all_words += 1;
            let value = (bytes.len() as u64 == word).then(|| number(bytes));
            let stays = value.is_some_and(|value| value == 0 || keep(value));
            if !stays {
                bytes.fill(fill);
                self.words += 1;
            }
            at = end;
        }
    }

    fn registers(&mut self, context: &mut CpuContext, fill: u8, keep: impl Fn(u64) -> bool) {
        self.registers += context.filter(fill, keep);
    }
}
