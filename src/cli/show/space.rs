//! The address space in parts, each with the reason why it is in the dump.
//!
//! A minidump has the bytes, but not the reasons. They follow from other facts in the dump: a range
//! inside of a thread's stack is there because of the thread. What nothing explains has the reason
//! that the dump type gives.

use std::collections::HashMap;

use dumpwright::read::{Cpu, Dump, MemoryRegion, Module, Thread};
use dumpwright::target::printable;

/// Why a part is in the dump, or that it is not. The order is that of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CaptureCause {
    Stack,
    Instruction,
    Module,
    ThreadData,
    Callback,
    Referenced,
    Private,
    Full,
    Unknown,
    /// It was to be captured and was lost while the dump was written.
    Lost,
    /// It exists in the process and was not requested.
    Absent,
}

impl CaptureCause {
    pub(super) const ALL: [Self; 11] = [
        Self::Stack,
        Self::Instruction,
        Self::Module,
        Self::ThreadData,
        Self::Callback,
        Self::Referenced,
        Self::Private,
        Self::Full,
        Self::Unknown,
        Self::Lost,
        Self::Absent,
    ];

    /// Returns the key in the style sheet, the name, and the reason in words.
    pub(super) fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Stack => ("stack", "stack", "the stack of a thread"),
            Self::Instruction => (
                "instruction",
                "instruction window",
                "code around the instruction pointer of a thread",
            ),
            Self::Module => (
                "module",
                "module",
                "a part of a module, such as its headers or its data",
            ),
            Self::ThreadData => ("thread", "thread data", "the block of data of a thread"),
            Self::Callback => ("callback", "callback", "added by an answer to Memory"),
            Self::Referenced => (
                "referenced",
                "referenced",
                "memory to which something on a stack points (with-indirectly-referenced-memory)",
            ),
            Self::Private => (
                "private",
                "private",
                "private memory that can be written (with-private-read-write-memory)",
            ),
            Self::Full => (
                "full",
                "full memory",
                "all memory of the process (with-full-memory)",
            ),
            Self::Unknown => ("unknown", "other", "the dump does not say why"),
            Self::Lost => ("lost", "lost", "requested, and lost while the dump was written"),
            Self::Absent => (
                "absent",
                "not captured",
                "memory of the process that is not in the dump",
            ),
        }
    }

    pub(super) fn is_captured(self) -> bool {
        !matches!(self, Self::Lost | Self::Absent)
    }
}

/// A range of addresses with one cause. Both ends are inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpacePart {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The file offset of its bytes. `None` if they are compressed, or not in the file.
    pub(super) offset: Option<u64>,
    /// `None` until a reason has been found.
    pub(super) cause: Option<CaptureCause>,
    /// What it belongs to: an index in [`AddressSpace::labels`].
    pub(super) label: Option<u32>,
    /// The kind of memory: an index in [`AddressSpace::kinds`].
    pub(super) kind: Option<u32>,
}

impl SpacePart {
    pub(super) fn size(&self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// A range of addresses that gives parts inside of it their cause.
#[derive(Debug, Clone)]
pub(super) struct CauseRange {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) cause: CaptureCause,
    pub(super) label: Option<u32>,
}

/// All parts, sorted and disjoint.
#[derive(Default)]
pub(super) struct AddressSpace {
    pub(super) all: Vec<SpacePart>,
    pub(super) labels: Vec<String>,
    pub(super) kinds: Vec<String>,
    /// The number of ranges in the file that are not shown.
    pub(super) left_out: u64,
}

/// The maximum number of ranges of each kind. A page with more would take browsers long to open.
const MOST_RANGES: u64 = 1 << 18;

/// The bytes before and after an instruction pointer that are its window.
const WINDOW: u64 = 128;

/// The facts that explain what is in the dump.
pub(super) struct SpaceFacts<'f> {
    pub(super) dump: &'f Dump,
    pub(super) modules: &'f [Module],
    pub(super) threads: &'f [Thread],
    /// What the callback added, from the transcript: the first address, the size, and the question.
    pub(super) added: &'f [(u64, u64, String)],
}

/// Returns the parts of the address space. What cannot be read is listed in `problems`.
pub(super) fn parts(facts: &SpaceFacts<'_>, problems: &mut Vec<String>) -> AddressSpace {
    let mut found = AddressSpace::default();
    let captured = captured(facts.dump, &mut found.left_out, problems);
    let (losses, more) = list(facts.dump.iter_losses(), problems);
    found.left_out += more;
    let lost = losses.iter().filter_map(|loss| {
        reason(loss.start, loss.length, CaptureCause::Lost).map(|mut reason| {
            reason.label = Some(found.label(loss.reason.to_string()));
            reason
        })
    });
    let lost: Vec<CauseRange> = lost.collect();
    let mut all = explained(captured, lost);
    for layer in found.layers(facts) {
        all = explained(all, layer);
    }
    thread_data(&mut all, &mut found, facts);
    let base = base_cause(facts.dump.header().flags);
    for part in &mut all {
        part.cause.get_or_insert(base);
    }
    let (regions, more) = list(facts.dump.iter_memory_regions(), problems);
    found.left_out += more;
    found.all = found.with_regions(all, regions, facts.modules);
    found
}

/// The reason for what nothing else explains.
fn base_cause(flags: u64) -> CaptureCause {
    // Dumps with compressed memory have all memory as well.
    const FULL: u64 = 0x2 | 0x400_0000;
    const REFERENCED: u64 = 0x40;
    const PRIVATE: u64 = 0x200;
    match flags {
        flags if flags & FULL != 0 => CaptureCause::Full,
        flags if flags & PRIVATE != 0 => CaptureCause::Private,
        flags if flags & REFERENCED != 0 => CaptureCause::Referenced,
        _ => CaptureCause::Unknown,
    }
}

/// Returns the first entries of a list, and the number of the others.
fn list<T, E: std::fmt::Display>(
    list: Result<dumpwright::read::List<'_, T>, E>,
    problems: &mut Vec<String>,
) -> (Vec<T>, u64) {
    match list {
        Ok(list) => {
            let more = list.len().saturating_sub(MOST_RANGES);
            let mut entries = Vec::new();
            for entry in list.take(MOST_RANGES as usize) {
                match entry {
                    Ok(entry) => entries.push(entry),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            (entries, more)
        }
        Err(error) => {
            problems.push(error.to_string());
            (Vec::new(), 0)
        }
    }
}

fn reason(start: u64, size: u64, cause: CaptureCause) -> Option<CauseRange> {
    let last = start.saturating_add(size.checked_sub(1)?);
    Some(CauseRange {
        first: start,
        last,
        cause,
        label: None,
    })
}

/// Returns the captured ranges, sorted and disjoint, without causes.
fn captured(dump: &Dump, left_out: &mut u64, problems: &mut Vec<String>) -> Vec<SpacePart> {
    let part = |first: u64, size: u64, offset| {
        Some(SpacePart {
            first,
            last: first.checked_add(size.checked_sub(1)?)?,
            offset,
            cause: None,
            label: None,
            kind: None,
        })
    };
    let (ranges, more) = list(dump.iter_memory_ranges(), problems);
    *left_out += more;
    let mut parts: Vec<_> = ranges
        .iter()
        .filter_map(|range| part(range.address, range.size, Some(range.file_offset)))
        .collect();
    if dump.compressed_memory().is_ok_and(|memory| memory.is_some()) {
        let (regions, more) = list(dump.iter_compressed_regions(), problems);
        *left_out += more;
        let regions = regions.iter();
        parts.extend(regions.filter_map(|region| part(region.address, region.size.into(), None)));
    }
    // A range in the list of ranges comes before a compressed one.
    parts.sort_by_key(|part| (part.first, part.offset.is_none()));
    let mut covered: Option<u64> = None;
    parts.retain_mut(|part| {
        if let Some(end) = covered.filter(|end| part.first <= *end) {
            if part.last <= end {
                return false;
            }
            part.offset = part
                .offset
                .map(|offset| offset.saturating_add(end + 1 - part.first));
            part.first = end + 1;
        }
        covered = Some(part.last);
        true
    });
    parts
}

/// Divides the parts without a cause at the ends of the reasons, and gives those inside of a
/// reason its cause. Of reasons that overlap, the one that begins first counts.
fn explained(parts: Vec<SpacePart>, mut reasons: Vec<CauseRange>) -> Vec<SpacePart> {
    if reasons.is_empty() {
        return parts;
    }
    reasons.sort_by_key(|reason| reason.first);
    let mut covered: Option<u64> = None;
    reasons.retain_mut(|reason| {
        if let Some(end) = covered.filter(|end| reason.first <= *end) {
            if reason.last <= end {
                return false;
            }
            reason.first = end + 1;
        }
        covered = Some(reason.last);
        true
    });
    let mut explained = Vec::with_capacity(parts.len());
    let mut from = 0;
    for mut part in parts {
        if part.cause.is_some() {
            explained.push(part);
            continue;
        }
        while reasons.get(from).is_some_and(|reason| reason.last < part.first) {
            from += 1;
        }
        let mut is_used_up = false;
        for reason in &reasons[from..] {
            if reason.first > part.last {
                break;
            }
            if reason.first > part.first {
                explained.push(SpacePart {
                    last: reason.first - 1,
                    ..part
                });
                cut_front(&mut part, reason.first);
            }
            let last = reason.last.min(part.last);
            explained.push(SpacePart {
                last,
                cause: Some(reason.cause),
                label: reason.label,
                ..part
            });
            if last == part.last {
                is_used_up = true;
                break;
            }
            cut_front(&mut part, last + 1);
        }
        if !is_used_up {
            explained.push(part);
        }
    }
    explained
}

/// Lets a part begin at `first`, which is inside of it.
fn cut_front(part: &mut SpacePart, first: u64) {
    part.offset = part
        .offset
        .map(|offset| offset.saturating_add(first - part.first));
    part.first = first;
}

/// Gives the ranges with the blocks of data of threads their cause.
fn thread_data(parts: &mut [SpacePart], found: &mut AddressSpace, facts: &SpaceFacts<'_>) {
    const THREAD_DATA: u64 = 0x100;
    let flags = facts.dump.header().flags;
    if flags & THREAD_DATA == 0 || base_cause(flags) == CaptureCause::Full {
        return;
    }
    for thread in facts.threads.iter().filter(|thread| thread.teb != 0) {
        let behind = parts.partition_point(|part| part.first <= thread.teb);
        if let Some(part) = behind.checked_sub(1).map(|index| &mut parts[index])
            && part.last >= thread.teb
            && part.cause.is_none()
        {
            part.cause = Some(CaptureCause::ThreadData);
            part.label = Some(found.label(named("thread", thread)));
        }
    }
}

/// Returns a thread's id and name, after a word.
pub(super) fn named(word: &str, thread: &Thread) -> String {
    match thread.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => format!("{word} {} {}", thread.id, printable(name)),
        None => format!("{word} {}", thread.id),
    }
}

impl AddressSpace {
    fn label(&mut self, text: String) -> u32 {
        index_of(&mut self.labels, text)
    }

    /// Returns the reasons, those that count first.
    fn layers(&mut self, facts: &SpaceFacts<'_>) -> [Vec<CauseRange>; 4] {
        let stacks = facts.threads.iter().flat_map(|thread| {
            let stores = std::iter::once(&thread.stack).chain(&thread.backing_store);
            stores.map(move |stack| (thread, stack))
        });
        let stacks = stacks.filter_map(|(thread, stack)| {
            let mut reason = reason(stack.start, stack.size.into(), CaptureCause::Stack)?;
            reason.label = Some(self.label(named("stack of thread", thread)));
            Some(reason)
        });
        let stacks = stacks.collect();
        let added = facts.added.iter().filter_map(|(start, size, text)| {
            let mut reason = reason(*start, *size, CaptureCause::Callback)?;
            reason.label = Some(self.label(text.clone()));
            Some(reason)
        });
        let added = added.collect();
        let is_full = base_cause(facts.dump.header().flags) == CaptureCause::Full;
        let windows = facts.threads.iter().filter(|_| !is_full).filter_map(|thread| {
            let at = thread.context.as_ref()?.instruction_pointer()?;
            let mut reason = reason(at.saturating_sub(WINDOW), 2 * WINDOW, CaptureCause::Instruction)?;
            reason.label = Some(self.label(named("thread", thread)));
            Some(reason)
        });
        let windows = windows.collect();
        let modules = facts.modules.iter().filter_map(|module| {
            let mut reason = reason(module.base, module.size.into(), CaptureCause::Module)?;
            let name = module.file_name().unwrap_or("a module");
            reason.label = Some(self.label(printable(name).into_owned()));
            Some(reason)
        });
        let modules = modules.collect();
        [stacks, added, windows, modules]
    }

    /// Adds the regions of the process that were not captured, and gives all parts their kind.
    fn with_regions(
        &mut self,
        captured: Vec<SpacePart>,
        mut regions: Vec<MemoryRegion>,
        modules: &[Module],
    ) -> Vec<SpacePart> {
        const FREE: u32 = 0x1_0000;
        regions.retain(|region| region.state != FREE && region.size > 0);
        regions.sort_by_key(|region| region.base);
        let mut kinds: HashMap<(u32, u32, u32), u32> = HashMap::new();
        let mut kind_of = |kinds_list: &mut Vec<String>, region: &MemoryRegion| {
            let key = (region.state, region.kind, region.protect);
            *kinds.entry(key).or_insert_with(|| {
                kinds_list.push(kind_text(region));
                kinds_list.len() as u32 - 1
            })
        };
        let mut all = Vec::with_capacity(captured.len() + regions.len());
        let mut from = 0;
        let mut covered: Option<u64> = None;
        for region in &regions {
            let kind = Some(kind_of(&mut self.kinds, region));
            let last = region.base.saturating_add(region.size - 1);
            // Regions of a hostile file may overlap.
            let mut next = match covered {
                Some(covered) if covered >= last => continue,
                Some(covered) => Some(region.base.max(covered + 1)),
                None => Some(region.base),
            };
            covered = Some(last);
            // A part may be in several regions; its kind is that of the first one.
            while let Some(part) = captured.get(from).filter(|part| part.first <= last) {
                if let Some(next) = next.filter(|next| *next < part.first) {
                    all.push(absent(next, part.first - 1, kind));
                }
                let is_inside = part.last >= region.base;
                all.push(SpacePart {
                    kind: if is_inside { kind } else { None },
                    ..*part
                });
                from += 1;
                // `None` behind the last address.
                next = next.and_then(|next| Some(next.max(part.last.checked_add(1)?)));
            }
            if let Some(part) = from.checked_sub(1).and_then(|index| captured.get(index)) {
                covered = covered.max(Some(part.last));
            }
            if let Some(next) = next.filter(|next| *next <= last) {
                all.push(absent(next, last, kind));
            }
        }
        all.extend(captured[from..].iter().copied());
        self.name_modules(&mut all, modules);
        all
    }

    /// Names the modules of the parts that were not captured.
    fn name_modules(&mut self, parts: &mut [SpacePart], modules: &[Module]) {
        let mut labels: HashMap<usize, u32> = HashMap::new();
        for part in parts
            .iter_mut()
            .filter(|part| part.cause == Some(CaptureCause::Absent))
        {
            let behind = modules.partition_point(|module| module.base <= part.first);
            if let Some(index) = behind
                .checked_sub(1)
                .filter(|index| part.first < modules[*index].end())
            {
                let label = labels.entry(index).or_insert_with(|| {
                    let name = modules[index].file_name().unwrap_or("a module");
                    self.labels.push(printable(name).into_owned());
                    self.labels.len() as u32 - 1
                });
                part.label = Some(*label);
            }
        }
    }
}

fn absent(first: u64, last: u64, kind: Option<u32>) -> SpacePart {
    SpacePart {
        first,
        last,
        offset: None,
        cause: Some(CaptureCause::Absent),
        label: None,
        kind,
    }
}

/// Appends a text, unless it is the last one, and returns its index.
fn index_of(list: &mut Vec<String>, text: String) -> u32 {
    if list.last() != Some(&text) {
        list.push(text);
    }
    // There are fewer labels than entries in the lists, which are limited.
    list.len() as u32 - 1
}

/// Returns the state, type and protection of a region in words.
fn kind_text(region: &MemoryRegion) -> String {
    let kind = match region.kind {
        0x2_0000 => "private ",
        0x4_0000 => "mapped ",
        0x100_0000 => "image ",
        _ => "",
    };
    if region.state == 0x2000 {
        return format!("{kind}reserved");
    }
    let access = match region.protect & 0xFF {
        0x01 => "no access",
        0x02 => "read",
        0x04 => "read, write",
        0x08 => "read, copy on write",
        0x10 => "execute",
        0x20 => "read, execute",
        0x40 => "read, write, execute",
        0x80 => "read, execute, copy on write",
        _ => "unknown protection",
    };
    let guard = if region.protect & 0x100 != 0 {
        ", guard page"
    } else {
        ""
    };
    format!("{kind}{access}{guard}")
}

/// Returns the width of an address in digits.
pub(super) fn digits(cpu: Cpu) -> usize {
    match cpu {
        Cpu::X86 | Cpu::Arm => 8,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    //! These tests catch bytes with a wrong cause, and bytes that appear twice or not at all.

    use super::*;

    fn part(first: u64, last: u64) -> SpacePart {
        SpacePart {
            first,
            last,
            offset: Some(first.wrapping_add(0x100)),
            cause: None,
            label: None,
            kind: None,
        }
    }

    fn named(first: u64, last: u64, cause: CaptureCause) -> CauseRange {
        CauseRange {
            first,
            last,
            cause,
            label: None,
        }
    }

    #[test]
    fn pieces_are_cut_where_a_reason_begins_and_ends() {
        let reasons = vec![
            named(15, 18, CaptureCause::Stack),
            named(17, 30, CaptureCause::Module),
            named(45, u64::MAX, CaptureCause::Callback),
        ];
        let cut = explained(vec![part(10, 19), part(20, 39), part(50, u64::MAX)], reasons);
        let found: Vec<_> = cut
            .iter()
            .map(|part| (part.first, part.last, part.cause))
            .collect();
        assert_eq!(
            found,
            [
                (10, 14, None),
                (15, 18, Some(CaptureCause::Stack)),
                (19, 19, Some(CaptureCause::Module)),
                (20, 30, Some(CaptureCause::Module)),
                (31, 39, None),
                (50, u64::MAX, Some(CaptureCause::Callback)),
            ]
        );
        for part in cut {
            assert_eq!(part.offset, Some(part.first.wrapping_add(0x100)));
        }
    }

    #[test]
    fn a_cause_is_not_replaced() {
        let first = explained(vec![part(0, 9)], vec![named(0, 4, CaptureCause::Stack)]);
        let second = explained(first, vec![named(0, 9, CaptureCause::Module)]);
        let causes: Vec<_> = second.iter().map(|part| part.cause).collect();
        assert_eq!(causes, [Some(CaptureCause::Stack), Some(CaptureCause::Module)]);
    }

    fn region(base: u64, size: u64) -> MemoryRegion {
        MemoryRegion {
            record_offset: 0,
            base,
            allocation_base: base,
            allocation_protect: 4,
            size,
            state: 0x1000,
            protect: 4,
            kind: 0x2_0000,
        }
    }

    #[test]
    fn the_last_address_belongs_to_one_part() {
        let captured = vec![part(u64::MAX - 9, u64::MAX)];
        let regions = vec![region(u64::MAX - 19, 20)];
        let all = AddressSpace::default().with_regions(captured, regions, &[]);
        let found: Vec<_> = all.iter().map(|part| (part.first, part.last)).collect();
        assert_eq!(found, [(u64::MAX - 19, u64::MAX - 10), (u64::MAX - 9, u64::MAX)]);
    }

    #[test]
    fn what_was_not_captured_surrounds_what_was() {
        let mut found = AddressSpace::default();
        let captured = vec![part(5, 7), part(20, 29), part(60, 69)];
        // The second region overlaps the first one, and the last range is in no region.
        let regions = vec![region(0, 16), region(8, 8), region(24, 16)];
        let all = found.with_regions(captured, regions, &[]);
        let found: Vec<_> = all
            .iter()
            .map(|part| (part.first, part.last, part.cause.is_some(), part.kind))
            .collect();
        assert_eq!(
            found,
            [
                (0, 4, true, Some(0)),
                (5, 7, false, Some(0)),
                (8, 15, true, Some(0)),
                (20, 29, false, Some(0)),
                (30, 39, true, Some(0)),
                (60, 69, false, None),
            ]
        );
    }
}
