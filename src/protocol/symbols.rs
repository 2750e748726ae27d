//! Names for addresses and threads, so that a dialogue reads the same whatever addresses a run was given.

use dumpwright_callback::Ask;
use dumpwright_target::AddressRange;

/// Names of places in the target, given beforehand or learned from the questions.
///
/// What is learned: modules by the last part of their path (Module), stacks as `stack(7)` (Thread), modules that were
/// asked for and never named as `module#2` (IncludeModule, counted from 0). Of a [live](Self::live) target also
/// regions, as `region#2`, and threads are numbered in the order of the questions: `T0`, `T1`, `stack(T1)`.
///
/// A place is written `NAME`, `NAME+0x10` or as a number. Given names win over learned ones, and small ranges over
/// large ones.
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
    given: Vec<Symbol>,
    learned: Vec<Symbol>,
    stacks: Vec<Stack>,
    regions: Vec<(u64, u64)>,
    threads: Vec<u32>,
    modules: Vec<u64>,
    /// The last address that VmQuery asked about.
    queried: Option<u64>,
    live: bool,
}

#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    start: u64,
    size: u64,
}

#[derive(Debug, Clone)]
struct Stack {
    thread_id: u32,
    start: u64,
    end: u64,
}

/// What stands behind a name to mean the first address that no longer belongs to it.
const END: &str = ".end";

impl Symbols {
    /// No names yet, for a target whose addresses and thread ids are always the same: a simulated one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No names yet, for a live process, which has other addresses and ids every time.
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
        self.given.push(Symbol {
            name: name.into(),
            start,
            size,
        });
        self
    }

    /// Adds names for ranges, such as those that a simulated process has for its memory.
    #[must_use]
    pub fn names_of<N: Into<String>>(mut self, places: impl IntoIterator<Item = (N, AddressRange)>) -> Self {
        for (name, range) in places {
            self = self.name(name, range.start(), range.len());
        }
        self
    }

    /// Makes threads and regions numbered from now on.
    pub(crate) fn number(&mut self) {
        self.live = true;
    }

    /// Whether threads and regions are numbered.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Takes from a question what names it has.
    pub fn learn(&mut self, ask: &Ask<'_>) {
        match ask {
            Ask::IncludeThread { thread_id, .. } => self.learn_thread(*thread_id),
            Ask::IncludeModule { base, .. } if !self.modules.contains(base) => self.modules.push(*base),
            Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => {
                self.learn_thread(thread.thread_id);
                let known = self
                    .stacks
                    .iter()
                    .any(|stack| stack.thread_id == thread.thread_id);
                if !known && thread.stack_end < thread.stack_base {
                    let (start, end) = (thread.stack_end, thread.stack_base);
                    self.stacks.push(Stack {
                        thread_id: thread.thread_id,
                        start,
                        end,
                    });
                }
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

    /// One region ends where the next question is about; the answer need not tell, because the writer may ask the
    /// system.
    fn learn_query(&mut self, offset: u64) {
        if let Some(last) = self.queried.replace(offset).filter(|last| *last < offset) {
            self.learn_region(0, last, offset - last);
        }
        self.learn_region(0, offset, 1);
    }

    fn learn_thread(&mut self, id: u32) {
        if !self.threads.contains(&id) {
            self.threads.push(id);
        }
    }

    fn learn_module(&mut self, name: &str, start: u64, size: u64) {
        if self
            .given
            .iter()
            .chain(&self.learned)
            .any(|symbol| symbol.start == start && symbol.size == size)
        {
            return;
        }
        let taken = |name: &str| {
            self.given
                .iter()
                .chain(&self.learned)
                .any(|symbol| symbol.name == name)
        };
        let mut unique = name.to_owned();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.learned.push(Symbol {
            name: unique,
            start,
            size,
        });
    }

    /// Regions of one allocation are one place.
    fn learn_region(&mut self, allocation: u64, base: u64, size: u64) {
        let start = if allocation == 0 {
            base
        } else {
            allocation.min(base)
        };
        // What begins at 0 is free, and 0 stays a number.
        if !self.live || size == 0 || start == 0 {
            return;
        }
        let end = base.saturating_add(size);
        match self.regions.iter_mut().find(|(known, _)| *known == start) {
            Some((_, known)) => *known = end.max(*known),
            None => self.regions.push((start, end)),
        }
    }

    /// An address in words.
    #[must_use]
    pub fn place(&self, address: u64) -> String {
        let holding = |symbols: &'_ [Symbol]| {
            let inside = symbols
                .iter()
                .filter(|s| s.start <= address && address - s.start < s.size);
            inside
                .min_by_key(|symbol| symbol.size)
                .map(|symbol| (symbol.name.clone(), symbol.start))
        };
        let stack = || {
            self.stacks
                .iter()
                .find(|stack| (stack.start..stack.end).contains(&address))
        };
        let region = || {
            self.regions
                .iter()
                .position(|(start, end)| (*start..*end).contains(&address))
        };
        let found = holding(&self.given)
            .or_else(|| holding(&self.learned))
            .or_else(|| stack().map(|stack| (self.stack_name(stack.thread_id), stack.start)));
        if let Some((name, start)) = found {
            return with_offset(&name, address - start);
        }
        if let Some(stack) = self.stacks.iter().find(|stack| stack.end == address) {
            return format!("{}{END}", self.stack_name(stack.thread_id));
        }
        if let Some(number) = self.modules.iter().position(|base| *base == address) {
            return format!("module#{number}");
        }
        match region() {
            Some(number) => with_offset(&format!("region#{number}"), address - self.regions[number].0),
            None => format!("{address:#x}"),
        }
    }

    fn stack_name(&self, thread_id: u32) -> String {
        match self.thread_number(thread_id) {
            Some(number) if self.live => format!("stack(T{number})"),
            _ => format!("stack({thread_id})"),
        }
    }

    /// The place of a thread in the order of the questions, from 0.
    #[must_use]
    pub fn thread_number(&self, id: u32) -> Option<usize> {
        self.threads.iter().position(|known| *known == id)
    }

    /// The id of a thread that is written `7` or `T1`.
    #[must_use]
    pub fn thread_id(&self, text: &str) -> Option<u32> {
        match text
            .strip_prefix('T')
            .and_then(|number| number.parse::<usize>().ok())
        {
            Some(number) => self.threads.get(number).copied(),
            None => text.parse().ok(),
        }
    }

    /// The address that a text names: `NAME`, `NAME+0x10`, `NAME-16`, `NAME.end`, or a number. `None` if nothing is called
    /// so (yet).
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

    /// Start and size of what has exactly this name.
    #[must_use]
    pub fn range(&self, name: &str) -> Option<(u64, u64)> {
        if let Some(name) = name.strip_suffix(END)
            && let Some((start, size)) = self.range(name)
        {
            return Some((start.saturating_add(size), 0));
        }
        if let Some(symbol) = self
            .given
            .iter()
            .chain(&self.learned)
            .find(|symbol| symbol.name == name)
        {
            return Some((symbol.start, symbol.size));
        }
        if let Some(thread) = name
            .strip_prefix("stack(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            let id = self.thread_id(thread)?;
            let stack = self.stacks.iter().find(|stack| stack.thread_id == id)?;
            return Some((stack.start, stack.end - stack.start));
        }
        let nth = |prefix: &str| {
            name.strip_prefix(prefix)
                .and_then(|number| number.parse::<usize>().ok())
        };
        if let Some(number) = nth("module#") {
            return self.modules.get(number).map(|base| (*base, 0));
        }
        let (start, end) = self.regions.get(nth("region#")?)?;
        Some((*start, end - start))
    }

    /// The name of the module at `base`, if it is known.
    #[must_use]
    pub fn module_at(&self, base: u64) -> Option<&str> {
        let symbols = self.given.iter().chain(&self.learned);
        symbols
            .filter(|symbol| symbol.start == base)
            .map(|symbol| symbol.name.as_str())
            .next()
    }

    /// All names of places, for hints.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let named = self
            .given
            .iter()
            .chain(&self.learned)
            .map(|symbol| symbol.name.clone());
        let stacks = self.stacks.iter().map(|stack| self.stack_name(stack.thread_id));
        let regions = (0..self.regions.len()).map(|number| format!("region#{number}"));
        named.chain(stacks).chain(regions).collect()
    }
}

/// The part of `NAME+0x10` that is a name; without a number behind the last sign all of it is.
pub(crate) fn split_offset(text: &str) -> (&str, Option<char>, u64) {
    if let Some(at) = text.rfind(['+', '-'])
        && let Some(offset) = number(&text[at + 1..])
        && at > 0
    {
        return (text[..at].trim_end(), text[at..].chars().next(), offset);
    }
    (text, None, 0)
}

/// A number in decimal or, with 0x, in hexadecimal digits.
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16).ok(),
        None if text.starts_with(|first: char| first.is_ascii_digit()) => text.replace('_', "").parse().ok(),
        None => None,
    }
}

fn with_offset(name: &str, offset: u64) -> String {
    if offset == 0 {
        name.to_owned()
    } else {
        format!("{name}+{offset:#x}")
    }
}

/// The last part of a path of either system.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use dumpwright_callback::{ModuleAsked, ModuleWriteFlags, ThreadAsked, ThreadWriteFlags};

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
}
