//! Names for addresses and threads. With names, a dialogue is the same in every run, even if the
//! addresses differ.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use dumpwright_callback::Ask;
use dumpwright_target::AddressRange;
use dumpwright_text::number;

use crate::memory::index::RangeIndex;

/// Names of places in the target: ranges of addresses, and threads.
///
/// The names are given by the user or learned from the questions of the dialogue:
///
/// * Module: the module, by its file name.
/// * Thread: the stack, as `stack(7)`.
/// * IncludeModule: a module that Module does not name later, as `module#2`, counted from 0.
/// * IncludeVmRegion and VmQuery, for [live](Self::live) targets only: the region, as `region#2`.
///
/// The threads of live targets are numbered in the order of the questions: `T0`, `T1`, `stack(T1)`.
///
/// A place is written as `NAME`, `NAME+0x10` or a number. If several names match an address, given
/// names take precedence over learned names, and small ranges over large ranges.
///
/// ```
/// use dumpwright::protocol::Symbols;
///
/// let symbols = Symbols::new().name("secrets", 0x7000, 0x100);
/// assert_eq!(symbols.place(0x7010), "secrets+0x10");
/// assert_eq!(symbols.address("secrets+0x10"), Some(0x7010));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Symbols {
    given: Named,
    learned: Named,
    /// The highest number that was appended to each file name that several modules have.
    last_number: HashMap<String, usize>,
    stacks: KnownStacks,
    regions: KnownRegions,
    threads: Numbered<u32>,
    modules: Numbered<u64>,
    /// The last address that VmQuery asked about.
    queried: Option<u64>,
    live: bool,
}

/// Named places, with indices for lookups by name and by address. Lookups must be fast for any
/// number of places, because they happen while the target is suspended.
#[derive(Debug, Clone, Default)]
struct Named {
    symbols: Vec<Symbol>,
    /// The first place with each name.
    by_name: HashMap<String, usize>,
    /// The first place at each start address.
    by_start: HashMap<u64, usize>,
    /// The start and the size of each place.
    places: HashSet<(u64, u64)>,
    /// Finds the smallest place that contains an address.
    smallest: RangeIndex,
}

#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    start: u64,
    size: u64,
}

impl Named {
    fn push(&mut self, name: String, start: u64, size: u64) {
        let number = self.symbols.len();
        self.by_name.entry(name.clone()).or_insert(number);
        self.by_start.entry(start).or_insert(number);
        self.places.insert((start, size));
        if let Some(len) = size.checked_sub(1) {
            let last = start.saturating_add(len);
            self.smallest.insert(start, last, size, number);
        }
        self.symbols.push(Symbol { name, start, size });
    }

    fn named(&self, name: &str) -> Option<&Symbol> {
        self.by_name.get(name).map(|number| &self.symbols[*number])
    }

    fn starting_at(&self, start: u64) -> Option<&Symbol> {
        self.by_start.get(&start).map(|number| &self.symbols[*number])
    }

    fn holding(&self, address: u64) -> Option<&Symbol> {
        self.smallest.find(address).map(|number| &self.symbols[number])
    }
}

#[derive(Debug, Clone, Default)]
struct KnownStacks {
    stacks: Vec<KnownStack>,
    by_thread: HashMap<u32, usize>,
    /// The first stack at each end address.
    by_end: HashMap<u64, usize>,
    /// Finds the first stack that contains an address.
    first: RangeIndex,
}

#[derive(Debug, Clone)]
struct KnownStack {
    thread_id: u32,
    start: u64,
    end: u64,
}

impl KnownStacks {
    /// Adds the stack of a thread, unless the stack is empty or the thread already has one.
    fn learn(&mut self, thread_id: u32, start: u64, end: u64) {
        if start >= end || self.by_thread.contains_key(&thread_id) {
            return;
        }
        let number = self.stacks.len();
        self.by_thread.insert(thread_id, number);
        self.by_end.entry(end).or_insert(number);
        self.first.insert(start, end - 1, 0, number);
        self.stacks.push(KnownStack {
            thread_id,
            start,
            end,
        });
    }

    fn of_thread(&self, thread_id: u32) -> Option<&KnownStack> {
        self.by_thread.get(&thread_id).map(|number| &self.stacks[*number])
    }

    fn ending_at(&self, end: u64) -> Option<&KnownStack> {
        self.by_end.get(&end).map(|number| &self.stacks[*number])
    }

    fn holding(&self, address: u64) -> Option<&KnownStack> {
        self.first.find(address).map(|number| &self.stacks[number])
    }
}

/// Regions in the order of the questions. Each reaches from the start of its allocation to the end
/// of the last part that was seen.
#[derive(Debug, Clone, Default)]
struct KnownRegions {
    regions: Vec<(u64, u64)>,
    by_start: HashMap<u64, usize>,
    /// Finds the first region that contains an address.
    first: RangeIndex,
}

impl KnownRegions {
    fn learn(&mut self, start: u64, end: u64) {
        let number = *self.by_start.entry(start).or_insert_with(|| {
            self.regions.push((start, start));
            self.regions.len() - 1
        });
        let known = &mut self.regions[number].1;
        if end > *known {
            self.first.insert(*known, end - 1, 0, number);
            *known = end;
        }
    }
}

/// Values that are numbered from 0, in the order in which they are learned.
#[derive(Debug, Clone, Default)]
struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T: Copy + Eq + Hash> Numbered<T> {
    fn learn(&mut self, value: T) {
        if let Entry::Vacant(entry) = self.numbers.entry(value) {
            entry.insert(self.values.len());
            self.values.push(value);
        }
    }

    fn number(&self, value: T) -> Option<usize> {
        self.numbers.get(&value).copied()
    }

    fn value(&self, number: usize) -> Option<T> {
        self.values.get(number).copied()
    }
}

/// The suffix of a name that means the first address after the named range.
const END: &str = ".end";

impl Symbols {
    /// Creates an empty set of names for a target whose addresses and thread ids are the same in
    /// every run, such as a simulated process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty set of names for a live process, whose addresses and ids differ in every
    /// run.
    #[must_use]
    pub fn live() -> Self {
        Self {
            live: true,
            ..Self::default()
        }
    }

    /// Adds a name for `size` bytes at `start`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>, start: u64, size: u64) -> Self {
        self.given.push(name.into(), start, size);
        self
    }

    /// Adds names for several ranges, such as the blocks of memory of a simulated process.
    #[must_use]
    pub fn names_of<N: Into<String>>(mut self, places: impl IntoIterator<Item = (N, AddressRange)>) -> Self {
        for (name, range) in places {
            self = self.name(name, range.start(), range.len());
        }
        self
    }

    /// Numbers threads and regions from now on, as for a live process.
    pub(crate) fn number(&mut self) {
        self.live = true;
    }

    /// Returns whether threads and regions are numbered.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Learns names from a question.
    pub fn learn(&mut self, ask: &Ask<'_>) {
        match ask {
            Ask::IncludeThread { thread_id, .. } => self.threads.learn(*thread_id),
            Ask::IncludeModule { base, .. } => self.modules.learn(*base),
            Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => {
                self.threads.learn(thread.thread_id);
                self.stacks
                    .learn(thread.thread_id, thread.stack_end, thread.stack_base);
            }
            Ask::Module { module, .. } => {
                self.learn_module(
                    file_name(module.full_path),
                    module.base_of_image,
                    module.size_of_image.into(),
                );
            }
            Ask::IncludeVmRegion { answer } => self.learn_region(
                answer.region.allocation_base,
                answer.region.base_address,
                answer.region.region_size,
            ),
            Ask::VmQuery { offset, .. } => self.learn_query(*offset),
            _ => {}
        }
    }

    /// Learns regions from VmQuery. A region ends at the address of the next question. The answer
    /// is not used, because the writer may get the region from the system instead.
    fn learn_query(&mut self, offset: u64) {
        if let Some(last) = self.queried.replace(offset).filter(|last| *last < offset) {
            self.learn_region(0, last, offset - last);
        }
        self.learn_region(0, offset, 1);
    }

    fn learn_module(&mut self, name: &str, start: u64, size: u64) {
        let place = (start, size);
        if self.given.places.contains(&place) || self.learned.places.contains(&place) {
            return;
        }
        let taken = |name: &str| self.given.named(name).is_some() || self.learned.named(name).is_some();
        let mut unique = name.to_owned();
        if taken(name) {
            // Names are never removed, so all lower numbers are still in use.
            let number = self.last_number.entry(unique.clone()).or_insert(1);
            while taken(&unique) {
                *number += 1;
                unique = format!("{name}#{number}");
            }
        }
        self.learned.push(unique, start, size);
    }

    /// Learns a region. All regions of one allocation are one place.
    fn learn_region(&mut self, allocation: u64, base: u64, size: u64) {
        let start = if allocation == 0 {
            base
        } else {
            allocation.min(base)
        };
        // A region at address 0 is free memory. It gets no name, so that 0 is written as a number.
        if !self.live || size == 0 || start == 0 {
            return;
        }
        self.regions.learn(start, base.saturating_add(size));
    }

    /// Returns the text for an address: a name, a name with an offset, or a number.
    #[must_use]
    pub fn place(&self, address: u64) -> String {
        let named = self
            .given
            .holding(address)
            .or_else(|| self.learned.holding(address));
        if let Some(symbol) = named {
            return with_offset(&symbol.name, address - symbol.start);
        }
        if let Some(stack) = self.stacks.holding(address) {
            return with_offset(&self.stack_name(stack.thread_id), address - stack.start);
        }
        if let Some(stack) = self.stacks.ending_at(address) {
            return format!("{}{END}", self.stack_name(stack.thread_id));
        }
        if let Some(number) = self.modules.number(address) {
            return format!("module#{number}");
        }
        match self.regions.first.find(address) {
            Some(number) => {
                let (start, _) = self.regions.regions[number];
                with_offset(&format!("region#{number}"), address - start)
            }
            None => format!("{address:#x}"),
        }
    }

    fn stack_name(&self, thread_id: u32) -> String {
        match self.thread_number(thread_id) {
            Some(number) if self.live => format!("stack(T{number})"),
            _ => format!("stack({thread_id})"),
        }
    }

    /// Returns the number of a thread in the order of the questions, from 0.
    #[must_use]
    pub fn thread_number(&self, id: u32) -> Option<usize> {
        self.threads.number(id)
    }

    /// Returns the id of a thread that is written as `7` or `T1`.
    #[must_use]
    pub fn thread_id(&self, text: &str) -> Option<u32> {
        match text
            .strip_prefix('T')
            .and_then(|number| number.parse::<usize>().ok())
        {
            Some(number) => self.threads.value(number),
            None => text.parse().ok(),
        }
    }

    /// Returns the address of a place that is written as `NAME`, `NAME+0x10`, `NAME-16`,
    /// `NAME.end`, or a number. Returns `None` if the name is not known, or not known yet.
    #[must_use]
    pub fn address(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        if let Some((start, _)) = self.range(text) {
            return Some(start);
        }
        if let Some(number) = number(text) {
            return Some(number);
        }
        let (name, sign, offset) = split_offset(text);
        let start = self
            .range(name)
            .map(|(start, _)| start)
            .or_else(|| number(name))?;
        match sign {
            Some('-') => Some(start.wrapping_sub(offset)),
            _ => Some(start.wrapping_add(offset)),
        }
    }

    /// Returns the start and the size of the place with exactly this name, without an offset.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<(u64, u64)> {
        if let Some(name) = name.strip_suffix(END)
            && let Some((start, size)) = self.range(name)
        {
            return Some((start.saturating_add(size), 0));
        }
        if let Some(symbol) = self.given.named(name).or_else(|| self.learned.named(name)) {
            return Some((symbol.start, symbol.size));
        }
        if let Some(thread) = name
            .strip_prefix("stack(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            let id = self.thread_id(thread)?;
            let stack = self.stacks.of_thread(id)?;
            return Some((stack.start, stack.end - stack.start));
        }
        let nth = |prefix: &str| {
            name.strip_prefix(prefix)
                .and_then(|number| number.parse::<usize>().ok())
        };
        if let Some(number) = nth("module#") {
            return self.modules.value(number).map(|base| (base, 0));
        }
        let (start, end) = self.regions.regions.get(nth("region#")?)?;
        Some((*start, end - start))
    }

    /// Returns the name of the module that is loaded at `base`, if it is known.
    #[must_use]
    pub fn module_at(&self, base: u64) -> Option<&str> {
        let symbol = self.given.starting_at(base);
        let symbol = symbol.or_else(|| self.learned.starting_at(base))?;
        Some(&symbol.name)
    }

    /// Returns the names of all places, for suggestions in error messages.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let symbols = self.given.symbols.iter().chain(&self.learned.symbols);
        let named = symbols.map(|symbol| symbol.name.clone());
        let stacks = self.stacks.stacks.iter();
        let stacks = stacks.map(|stack| self.stack_name(stack.thread_id));
        let regions = (0..self.regions.regions.len()).map(|number| format!("region#{number}"));
        named.chain(stacks).chain(regions).collect()
    }
}

/// Splits `NAME+0x10` into the name, the sign and the offset. If no number follows the last sign,
/// the whole text is the name.
pub(crate) fn split_offset(text: &str) -> (&str, Option<char>, u64) {
    if let Some(at) = text.rfind(['+', '-'])
        && let Some(offset) = number(&text[at + 1..])
        && at > 0
    {
        return (text[..at].trim_end(), text[at..].chars().next(), offset);
    }
    (text, None, 0)
}

fn with_offset(name: &str, offset: u64) -> String {
    if offset == 0 {
        name.to_owned()
    } else {
        format!("{name}+{offset:#x}")
    }
}

/// Returns the last part of a path of Linux or Windows.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use dumpwright_callback::{ModuleAsked, ModuleWriteFlags, ThreadAsked, ThreadWriteFlags};
    use proptest::prelude::*;

    use super::*;

    fn module(symbols: &mut Symbols, path: &str, base: u64, size: u32) {
        symbols.learn(&Ask::Module {
            module: ModuleAsked {
                full_path: path,
                base_of_image: base,
                size_of_image: size,
                checksum: 0,
                time_date_stamp: 0,
                version_info: [0; 13],
                cv_record: &[],
                misc_record: &[],
            },
            keep: &mut ModuleWriteFlags::empty(),
        });
    }

    fn thread(symbols: &mut Symbols, thread_id: u32, stack_end: u64, stack_base: u64) {
        let asked = ThreadAsked {
            thread_id,
            thread_handle: 0,
            context: &[],
            stack_base,
            stack_end,
            backing_store_base: 0,
            backing_store_end: 0,
            name: None,
        };
        symbols.learn(&Ask::Thread {
            thread: asked,
            keep: &mut ThreadWriteFlags::empty(),
        });
    }

    #[test]
    fn what_was_learned_is_named_and_found_again() {
        let mut symbols = Symbols::new().name("block", 0x5000, 0x100);
        module(&mut symbols, "/lib/libstdc++.so.6", 0x1000, 0x800);
        module(&mut symbols, "C:\\other\\libstdc++.so.6", 0x2000, 0x800);
        thread(&mut symbols, 7, 0x9000, 0xa000);
        for (address, place) in [
            (0x1000, "libstdc++.so.6"),
            (0x1010, "libstdc++.so.6+0x10"),
            (0x2001, "libstdc++.so.6#2+0x1"),
            (0x50ff, "block+0xff"),
            (0x5100, "0x5100"),
            (0x9020, "stack(7)+0x20"),
            (0xa000, "stack(7).end"),
            (0, "0x0"),
        ] {
            assert_eq!(symbols.place(address), place);
            assert_eq!(symbols.address(place), Some(address), "{place}");
        }
        assert_eq!(symbols.address("block-0x10"), Some(0x4ff0));
        assert_eq!(symbols.address("nothing+0x10"), None);
        assert_eq!(symbols.range("libstdc++.so.6"), Some((0x1000, 0x800)));
    }

    #[test]
    fn threads_and_regions_of_live_targets_are_numbered() {
        let mut symbols = Symbols::live();
        thread(&mut symbols, 4711, 0x9000, 0xa000);
        thread(&mut symbols, 4712, 0xb000, 0xc000);
        symbols.learn_region(0x10000, 0x10000, 0x1000);
        symbols.learn_region(0x20000, 0x20000, 0x1000);
        symbols.learn_region(0x10000, 0x11000, 0x1000);
        assert_eq!(symbols.place(0xb008), "stack(T1)+0x8");
        assert_eq!(symbols.place(0x11010), "region#0+0x1010");
        assert_eq!(symbols.address("region#1"), Some(0x20000));
        assert_eq!(symbols.thread_id("T1"), Some(4712));
        for offset in [0, 0x30000, 0x34000, 0x35000] {
            let region = &mut dumpwright_callback::VmQueryAnswer {
                status: dumpwright_callback::Hresult::E_NOTIMPL,
                region: dumpwright_callback::MemoryInfo::default(),
            };
            symbols.learn(&Ask::VmQuery {
                offset,
                answer: region,
            });
        }
        assert_eq!(symbols.place(0), "0x0");
        assert_eq!(symbols.place(0x33fff), "region#2+0x3fff");
        assert_eq!(symbols.place(0x34000), "region#3");
    }

    #[test]
    fn small_ranges_win_and_given_names_before_learned_ones() {
        let mut symbols = Symbols::new()
            .name("arena", 0x1000, 0x1000)
            .name("key", 0x1100, 0x10);
        thread(&mut symbols, 1, 0x1800, 0x1900);
        assert_eq!(symbols.place(0x1108), "key+0x8");
        assert_eq!(symbols.place(0x1810), "arena+0x810");
    }

    /// A reference implementation that searches through lists.
    #[derive(Default)]
    struct Model {
        given: Vec<(String, u64, u64)>,
        learned: Vec<(String, u64, u64)>,
        stacks: Vec<(u32, u64, u64)>,
        regions: Vec<(u64, u64)>,
    }

    impl Model {
        fn named(&self) -> impl Iterator<Item = &(String, u64, u64)> {
            self.given.iter().chain(&self.learned)
        }

        fn module(&mut self, name: &str, start: u64, size: u64) {
            if self.named().any(|(_, s, z)| (*s, *z) == (start, size)) {
                return;
            }
            let numbered = (2..).map(|number| format!("{name}#{number}"));
            let unique = std::iter::once(name.to_owned())
                .chain(numbered)
                .find(|unique| self.named().all(|(taken, ..)| taken != unique));
            self.learned.push((unique.unwrap(), start, size));
        }

        fn stack(&mut self, thread: u32, start: u64, end: u64) {
            if start < end && self.stacks.iter().all(|(known, ..)| *known != thread) {
                self.stacks.push((thread, start, end));
            }
        }

        fn region(&mut self, start: u64, end: u64) {
            match self.regions.iter_mut().find(|(known, _)| *known == start) {
                Some((_, known)) => *known = end.max(*known),
                None => self.regions.push((start, end)),
            }
        }

        fn place(&self, address: u64) -> String {
            let smallest = |symbols: &[(String, u64, u64)]| {
                let holding = symbols.iter().filter(|(_, s, z)| (*s..s + z).contains(&address));
                let found = holding.min_by_key(|(_, _, size)| *size);
                found.map(|(name, start, _)| with_offset(name, address - start))
            };
            let stacks = || self.stacks.iter();
            let stack = || {
                let (id, start, _) = stacks().find(|(_, s, e)| (*s..*e).contains(&address))?;
                Some(with_offset(&format!("stack({id})"), address - start))
            };
            let end = || {
                let (id, ..) = stacks().find(|(_, _, end)| *end == address)?;
                Some(format!("stack({id}).end"))
            };
            let region = || {
                let mut regions = self.regions.iter();
                let number = regions.position(|(s, e)| (*s..*e).contains(&address))?;
                let start = self.regions[number].0;
                Some(with_offset(&format!("region#{number}"), address - start))
            };
            smallest(&self.given)
                .or_else(|| smallest(&self.learned))
                .or_else(stack)
                .or_else(end)
                .or_else(region)
                .unwrap_or_else(|| format!("{address:#x}"))
        }
    }

    proptest! {
        #[test]
        fn names_are_those_that_searching_through_lists_finds(
            given in prop::collection::vec((0_u8..3, 1_u64..90, 0_u64..30), 0..4),
            steps in prop::collection::vec((0_u8..3, 0_u8..4, 1_u64..90, 0_u64..30), 0..40),
        ) {
            const NAMES: [&str; 4] = ["libx.so", "libx.so#2", "prog", "libx.so#3"];
            let mut symbols = Symbols::new();
            let mut model = Model::default();
            for (name, start, size) in given {
                let name = NAMES[usize::from(name)];
                symbols = symbols.name(name, start, size);
                model.given.push((name.to_owned(), start, size));
            }
            // Regions are only learned for live targets. The thread numbers that this also turns
            // on do not appear, because the test learns no thread ids.
            symbols.number();
            for (kind, which, start, size) in steps {
                match kind {
                    0 => {
                        let name = NAMES[usize::from(which)];
                        symbols.learn_module(name, start, size);
                        model.module(name, start, size);
                    }
                    1 => {
                        symbols.stacks.learn(which.into(), start, start + size);
                        model.stack(which.into(), start, start + size);
                    }
                    _ => {
                        symbols.learn_region(start, start + 3, size + 1);
                        model.region(start, start + 4 + size);
                    }
                }
            }
            for address in 0..140 {
                prop_assert_eq!(symbols.place(address), model.place(address));
            }
            for name in NAMES {
                let found = model.named().find(|(known, ..)| known == name);
                prop_assert_eq!(symbols.range(name), found.map(|(_, start, size)| (*start, *size)));
            }
            let names: Vec<_> = symbols.names();
            let modules: Vec<_> = model.named().map(|(name, ..)| name.clone()).collect();
            prop_assert_eq!(&names[..modules.len()], &modules[..]);
        }
    }
}
