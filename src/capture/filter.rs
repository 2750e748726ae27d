//! Removes data from stacks and registers before they are written: types 0x8 (FilterMemory) and
//! 0x100000 (FilterTriage).
//!
//! A word is kept if it may be part of a stack trace, as a return address or a frame pointer. All
//! other contents of stacks and registers (passwords, keys, names) are overwritten.

use std::collections::HashSet;

use dumpwright_target::{AddressRange, CpuContext, Diagnostic, Hooked, Memory, Region, Subject};

use super::{Bytes, CapturedThread, Piece, PieceIndex, Snapshot};
use crate::memory::reader::Structures;
use crate::memory::set::{Cover, RangeSet, without_repetitions};
use crate::memory::words::{WordReader, each_word, number};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error};

/// The byte with which DbgHelp 6.3.9600 overwrites the words that FilterTriage removes.
const TRIAGE_FILL: u8 = 0xAA;

/// The number of objects that FilterTriage examines. If a process has more different pointers on
/// its stacks, the stacks are still dumped, but the further objects are not.
const MOST_OBJECTS: usize = 100_000;

/// The number of objects after which Cancel is sent. DbgHelp does not send it here, and few
/// processes have this many objects.
const OBJECTS_BETWEEN_POLLS: usize = 4096;

/// The addresses that a stack trace consists of.
struct Traced {
    /// Modules, and code outside modules.
    code: RangeSet,
    /// The parts of all stacks that are in use.
    stacks: RangeSet,
}

impl Traced {
    fn of(snapshot: &Snapshot) -> Self {
        let images = snapshot
            .modules
            .iter()
            .filter_map(|kept| AddressRange::at(kept.module.base, kept.module.size));
        let generated = snapshot.map.generated_code().iter().copied();
        Self {
            code: RangeSet::union(images.chain(generated)),
            stacks: RangeSet::union(snapshot.threads.kept().iter().flat_map(stacks_of)),
        }
    }

    fn has(&self, address: u64) -> bool {
        self.code.contains(address) || self.stacks.contains(address)
    }
}

fn stacks_of(kept: &CapturedThread) -> impl Iterator<Item = AddressRange> + '_ {
    let stacks = kept.thread.stack.iter().chain(&kept.thread.interrupted);
    stacks.map(|stack| stack.range).chain(kept.thread.backing_store)
}

/// Whether the dump is filtered more strictly than by DbgHelp.
fn is_strict(snapshot: &Snapshot) -> bool {
    snapshot.terms.profile.filters_memory()
        && snapshot
            .terms
            .dump_type
            .intersects(DumpType::FILTER_MEMORY | DumpType::FILTER_TRIAGE)
}

/// Returns the regions that contain stacks, if the dump is filtered. A filtered dump must not
/// include them for other reasons: their unused parts contain data of earlier calls, and on Linux
/// one contains the environment and the arguments.
pub(super) fn regions_of_stacks(snapshot: &Snapshot, map: &[Region]) -> RangeSet {
    if !is_strict(snapshot) {
        return RangeSet::default();
    }
    let stacks = RangeSet::union(snapshot.threads.kept().iter().flat_map(stacks_of));
    let regions = map.iter().map(|region| region.range);
    RangeSet::union(regions.filter(|region| stacks.meets(*region)))
}

/// Returns a function that tells whether the memory around an address may be dumped. The address is
/// an instruction pointer, or one that the process accessed. A filtered dump shows only code.
pub(super) fn may_show(snapshot: &Snapshot) -> impl Fn(u64) -> bool {
    let code = is_strict(snapshot).then(|| Traced::of(snapshot).code);
    move |address| code.as_ref().is_none_or(|code| code.contains(address))
}

/// Returns the objects that FilterTriage keeps: the first words of objects that stacks and
/// registers point to, if such a word points into a module or a stack, as the pointer to a virtual
/// function table does. The pointers to these objects are kept as well.
pub(super) fn objects(
    memory: &mut dyn Memory,
    snapshot: &Snapshot,
    map: &[Region],
    stacks: &[AddressRange],
    dialogue: &mut Dialogue<'_>,
) -> Result<Vec<AddressRange>, Error> {
    let word = snapshot.facts.pointer_size();
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
        .kept()
        .iter()
        .filter_map(|kept| kept.thread.context.as_ref())
    {
        context.general_registers().for_each(&mut consider);
    }
    for parts in without_repetitions(stacks.iter().copied()) {
        for part in parts {
            each_word(memory, dialogue.service(), part, word, &mut consider)?;
        }
        dialogue.service().poll_cancel()?;
    }
    // Sorted, so that each page is read only once.
    let mut candidates: Vec<_> = candidates.into_iter().collect();
    candidates.sort_unstable();
    let mut objects = Vec::new();
    for (index, group) in candidates.chunks(OBJECTS_BETWEEN_POLLS).enumerate() {
        if index > 0 {
            dialogue.service().poll_cancel()?;
        }
        let mut hook = Structures(dialogue.service());
        let memory = &mut Hooked::new(memory, &mut hook);
        let mut words = WordReader::new(memory, word);
        let kept = group
            .iter()
            .filter(|address| words.at(**address).is_some_and(|first| traced.has(first)));
        objects.extend(kept.filter_map(|address| AddressRange::at(*address, word)));
    }
    Ok(objects)
}

/// Filters stacks and registers, if the type asks for it.
pub(super) fn apply(snapshot: &mut Snapshot) {
    let is_triage = snapshot.terms.dump_type.contains(DumpType::FILTER_TRIAGE);
    let filters_memory =
        snapshot.terms.dump_type.contains(DumpType::FILTER_MEMORY) && snapshot.terms.profile.filters_memory();
    if !is_triage && !filters_memory {
        return;
    }
    let fill = if is_triage { TRIAGE_FILL } else { 0 };
    let word = snapshot.facts.pointer_size();
    let traced = Traced::of(snapshot);
    let captured = match is_triage {
        true => {
            RangeSet::union(snapshot.memory.pieces().iter().map(|piece| piece.range)).subtract(&traced.stacks)
        }
        false => RangeSet::default(),
    };
    let mut filtered = Filtered::default();
    let index = PieceIndex::of(snapshot.memory.pieces());
    let mut done = Cover::default();
    let memory = &mut snapshot.memory;
    let (threads, exception) = snapshot.threads.registers_mut();
    for kept in threads {
        let own = RangeSet::union(stacks_of(kept));
        // FilterTriage considers only the thread's own stack.
        let stacks = if is_triage { &own } else { &traced.stacks };
        let keep = |word: u64| traced.code.contains(word) || stacks.contains(word) || captured.contains(word);
        // If several threads have the same stack, it is filtered once.
        for stack in own.iter().flat_map(|stack| done.add(stack)) {
            for piece in index.meeting(stack) {
                filtered.stack(memory.piece_mut(piece), stack, word, fill, keep);
            }
        }
        if let Some(context) = &mut kept.thread.context {
            filtered.registers(context, fill, keep);
        }
    }
    if let Some(context) = exception {
        let keep = |word: u64| traced.has(word) || captured.contains(word);
        filtered.registers(context, fill, keep);
    }
    let name = if is_triage {
        "filter-triage"
    } else {
        "filter-memory"
    };
    snapshot.diagnostics.push(Diagnostic::left_out(
        Subject::Process,
        format!(
            "{name}: {} of {} words of stacks and {} registers are {fill:#04x}, and all vector registers",
            filtered.words, filtered.all_words, filtered.registers
        ),
    ));
}

/// Counts of what was overwritten.
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
            // A stack trace does not need the incomplete words at both ends.
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
