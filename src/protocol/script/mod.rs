//! Scripts: text files that answer the callback. `docs/script.md` describes the language.

mod parse;
mod rule;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range as Span;
use std::path::Path;

use dumpwright_callback::{
    Ask, AskKind, Callback, Hresult, MemoryInfo, ModuleWriteFlags, ProcessAsked, SecondaryFlags,
    ThreadWriteFlags,
};
use dumpwright_target::{Direct, Fault, Memory, MemoryExt, Need, Target};
use dumpwright_text::{KEPT, Mistake, Source, TextError, hint};

use self::rule::{
    Actions, Completed, HandleAnswer, Located, Query, Range, RangeExtent, Rule, Shift, ThreadPattern,
};
use super::output::CallbackFile;
use super::symbols::{Symbols, split_offset};
use crate::policy::glob;
use crate::protocol::vm_region::to_info;

/// The mistakes of a text that is not a valid script, or of a script that does not fit the target.
///
/// Each mistake has its position, an excerpt of the text, and, if possible, a suggestion.
pub type ScriptError = TextError;

/// A callback that answers according to the rules in a text.
///
/// A script first sets the default answer of a question. Then every rule that applies to the
/// question changes the answer, in the order of the text.
///
/// The default answer is TRUE with the prefilled answer slot, with these exceptions:
///
/// * Memory, RemoveMemory, ReadMemoryFailure and WriteKernelMinidump: FALSE.
/// * IncludeVmRegion: the whole region, and continue.
/// * IoWriteAll and IoFinish: S_OK. The bytes are stored, see [`output`](Self::output).
/// * VmPreRead: S_OK, with no bytes.
/// * VmPostRead: the result of the read.
///
/// ```
/// use dumpwright::protocol::Script;
///
/// let script = Script::parse(
///     r#"
///     [[rule]]
///     ask = "IncludeThread"
///     thread = 8
///     return = false
///     "#,
///     "answers.toml",
/// )
/// .unwrap();
/// let error = Script::parse("[[rule]]\nask = \"IncludeTread\"", "answers.toml").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"
/// answers.toml:2:7: unknown callback type "IncludeTread"; did you mean "IncludeThread"?
///   |
/// 2 | ask = "IncludeTread"
///   |       ^^^^^^^^^^^^^^
/// "#
///     .trim()
/// );
/// # drop(script);
/// ```
pub struct Script {
    source: Source,
    rules: Vec<Rule>,
    /// The number of questions so far, by callback type.
    asked: [u64; AskKind::ALL.len()],
    symbols: Symbols,
    map: Option<Vec<MemoryInfo>>,
    memory: Option<Box<dyn Memory>>,
    given_handle: u64,
    output: CallbackFile,
    /// What the script needed and did not get, by the position in the text.
    problems: BTreeMap<usize, (Span<usize>, String)>,
    /// Names in conditions that were not known when they were needed, by their position in the
    /// text. They may have become known later.
    unknown: BTreeMap<(usize, String), Located>,
}

/// The memory of a target that is frozen for each read.
struct FrozenMemory<T>(T);

impl<T: Target> Memory for FrozenMemory<T> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.0.freeze(&Need::default())?.read(at, into)
    }
}

impl Script {
    /// Parses a script. `file` is the name of the script in error messages.
    ///
    /// # Errors
    /// Fails if the text is not TOML, or if it has unknown keys, values or callback types. The
    /// error lists all mistakes.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScriptError> {
        Self::of(Source::new(file, text))
    }

    /// Reads a script from a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, and in the cases of [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScriptError> {
        Self::of(Source::load(path)?)
    }

    fn of(source: Source) -> Result<Self, ScriptError> {
        let rules = parse::parse(&source)?;
        Ok(Self {
            source,
            rules,
            asked: [0; AskKind::ALL.len()],
            symbols: Symbols::new(),
            map: None,
            memory: None,
            given_handle: 0,
            output: CallbackFile::default(),
            problems: BTreeMap::new(),
            unknown: BTreeMap::new(),
        })
    }

    /// Sets names that the rules may use, in addition to those that the script learns from the
    /// questions.
    #[must_use]
    pub fn symbols(mut self, symbols: Symbols) -> Self {
        self.symbols = symbols;
        self
    }

    /// Sets the target's regions, in ascending order, for rules with `query = "own"`.
    ///
    /// Without them, such rules leave the question unanswered. The writer then gets the same
    /// regions from the system.
    #[must_use]
    pub fn map(mut self, regions: Vec<MemoryInfo>) -> Self {
        self.map = Some(regions);
        self
    }

    /// Sets the target's memory, for rules with `read`.
    #[must_use]
    pub fn memory(mut self, memory: impl Memory + 'static) -> Self {
        self.memory = Some(Box::new(memory));
        self
    }

    /// Sets the target's memory and regions, for rules with `read` and `query = "own"`.
    ///
    /// `target` is not the object that is dumped, but a copy of it, or the same process opened a
    /// second time. It is suspended for each read. If it cannot be suspended now, the script has no
    /// regions, as without [`map`](Self::map).
    #[must_use]
    pub fn memory_of(mut self, mut target: impl Target + 'static) -> Self {
        if let Ok(mut frozen) = target.freeze(&Need::default()) {
            let regions = frozen.regions(&mut Direct).unwrap_or_default();
            self.map = Some(regions.iter().map(to_info).collect());
        }
        self.memory(FrozenMemory(target))
    }

    /// Returns the name of the script in error messages.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.file()
    }

    /// Returns the bytes that IoWriteAll has passed to the script.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// Returns what the script needed and did not get, when the dump is over: names that do not
    /// exist in the target, and memory that the script has no access to. The problems are in the
    /// order of the text, at most [`KEPT`].
    #[must_use]
    pub fn problems(&self) -> Vec<Mistake> {
        let names = self.symbols.names();
        let unknown = self.unknown.values();
        let unknown = unknown.filter(|place| self.symbols.address(&place.text).is_none());
        let unknown = unknown.map(|place| (place.span.clone(), no_such_place(place, &names)));
        let all = self.problems.values().cloned().chain(unknown);
        self.source.locate(all.take(KEPT).collect())
    }

    /// Returns the line numbers of the rules that did not apply to any question.
    #[must_use]
    pub fn unused(&self) -> Vec<usize> {
        self.rules
            .iter()
            .filter(|rule| rule.used == 0)
            .map(|rule| self.source.line(rule.span.start))
            .collect()
    }

    /// Stores a problem, unless there is one at the same position already.
    fn problem(&mut self, span: &Span<usize>, message: impl FnOnce(&Self) -> String) {
        if self.problems.len() < KEPT && !self.problems.contains_key(&span.start) {
            let message = message(self);
            self.problems.insert(span.start, (span.clone(), message));
        }
    }

    /// Returns the address of a place that an answer needs. An unknown name is a problem.
    fn needed(&mut self, place: &Located) -> Option<u64> {
        let address = self.symbols.address(&place.text);
        if address.is_none() {
            self.problem(&place.span, |script| {
                no_such_place(place, &script.symbols.names())
            });
        }
        address
    }

    /// Returns the addresses of a range that a condition needs, or `None` if a name is not known
    /// yet.
    fn range(&mut self, range: &Range) -> Option<(u64, u64)> {
        let mut known = |place: &Located| {
            let address = self.symbols.address(&place.text);
            if address.is_none() {
                let key = (place.span.start, place.text.clone());
                self.unknown.entry(key).or_insert_with(|| place.clone());
            }
            address
        };
        let start = known(&range.start)?;
        let end = match &range.extent {
            RangeExtent::End(end) => known(end)?,
            RangeExtent::Size(size) => start.saturating_add(*size),
            RangeExtent::Named => {
                let named = self
                    .symbols
                    .range(&range.start.text)
                    .filter(|(_, size)| *size > 0);
                named.map_or(start.saturating_add(1), |(start, size)| {
                    start.saturating_add(size)
                })
            }
        };
        Some((start, end))
    }

    /// Returns whether a rule applies to a question, which is the `nth` of its callback type.
    fn applies(&mut self, rule: &Rule, ask: &Ask<'_>, nth: u64) -> bool {
        if !rule.is_about(ask.kind(), nth) {
            return false;
        }
        let place = rule::place(ask);
        if rule
            .minimum_size
            .is_some_and(|minimum| place.is_none_or(|(_, size)| size < minimum))
        {
            return false;
        }
        if let Some(wanted) = &rule.thread {
            let Some(id) = rule::thread(ask) else { return false };
            let is_it = match wanted {
                ThreadPattern::Id(wanted) => id == *wanted,
                ThreadPattern::Number(wanted) => self.symbols.thread_number(id) == Some(*wanted),
            };
            if !is_it {
                return false;
            }
        }
        if let Some(pattern) = &rule.module {
            let is_it = match ask {
                Ask::Module { module, .. } => glob::matches(pattern, module.full_path),
                Ask::IncludeModule { base, .. } => {
                    let fits = self
                        .symbols
                        .module_at(*base)
                        .map(|name| glob::matches(pattern, name));
                    if fits.is_none() {
                        self.nameless(rule);
                    }
                    fits == Some(true)
                }
                _ => false,
            };
            if !is_it {
                return false;
            }
        }
        let Some(wanted) = &rule.at else { return true };
        match (place, self.range(wanted)) {
            (Some((start, size)), Some((from, to))) => start < to && start.saturating_add(size) > from,
            _ => false,
        }
    }

    /// Reports a rule that needs the name of a module in IncludeModule, which has only the address.
    fn nameless(&mut self, rule: &Rule) {
        self.problem(&rule.span, |_| {
            "IncludeModule does not have the module's name, and the name is not known from elsewhere; use Module, which \
             has it"
                .to_owned()
        });
    }

    /// Applies the actions of a rule to an answer. Returns the new return value.
    fn act(&mut self, actions: &Actions, used: u64, ask: &mut Ask<'_>, mut said: bool) -> bool {
        let bits = |old: u32| {
            let set = actions.flags.as_ref().map_or(old, |flags| flags.0);
            let cut = actions.and.as_ref().map_or(set, |flags| set & flags.0);
            actions.or.as_ref().map_or(cut, |flags| cut | flags.0)
        };
        match ask {
            Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
                **keep = ModuleWriteFlags::from_bits_retain(bits(keep.bits()));
            }
            Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
                **keep = ThreadWriteFlags::from_bits_retain(bits(keep.bits()));
            }
            Ask::SecondaryFlags { flags } => {
                **flags = SecondaryFlags::from_bits_retain(bits(flags.bits()));
            }
            Ask::Memory { wanted: answer } | Ask::RemoveMemory { unwanted: answer } => {
                let nth = usize::try_from(used).unwrap_or(usize::MAX);
                if let Some(memory) = actions.memory.get(nth)
                    && let Some(base) = self.needed(&memory.base)
                {
                    let named = || {
                        self.symbols
                            .range(&memory.base.text)
                            .and_then(|(_, size)| u32::try_from(size).ok())
                    };
                    (answer.base, answer.size) = (base, memory.size.or_else(named).unwrap_or(0));
                    said = true;
                }
            }
            Ask::Cancel { answer } => {
                answer.check_cancel = actions.check_cancel.unwrap_or(answer.check_cancel);
                answer.cancel = actions.cancel.unwrap_or(answer.cancel);
            }
            Ask::WriteKernelMinidump { handle } => {
                **handle = match &actions.handle {
                    Some(HandleAnswer::Number(number)) => *number,
                    Some(HandleAnswer::Given) => self.given_handle,
                    None => **handle,
                };
            }
            Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => {}
            Ask::CompressedMemoryStreamStart { answer } => {
                answer.max_parallelism = actions.max_parallelism.unwrap_or(answer.max_parallelism);
                answer.max_transfer_size = actions.max_transfer_size.unwrap_or(answer.max_transfer_size);
            }
            Ask::IncludeVmRegion { answer } => {
                answer.cont = actions.cont.unwrap_or(answer.cont);
                self.change(&actions.region, &mut answer.region);
            }
            Ask::IoStart { status, .. }
            | Ask::IoWriteAll { status, .. }
            | Ask::IoFinish { status, .. }
            | Ask::ReadMemoryFailure { status, .. }
            | Ask::IsProcessSnapshot { status }
            | Ask::VmStart { status } => **status = actions.status.unwrap_or(**status),
            Ask::VmQuery { offset, answer } => {
                match actions.query {
                    Some(Query::Own) => self.query(*offset, answer),
                    Some(Query::None) => answer.status = Hresult::E_NOTIMPL,
                    Some(Query::End) => answer.status = Hresult::E_NOINTERFACE,
                    None => {}
                }
                if !actions.region.is_empty() {
                    answer.status = Hresult::S_OK;
                    self.change(&actions.region, &mut answer.region);
                }
                answer.status = actions.status.unwrap_or(answer.status);
            }
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            }
            | Ask::VmPostRead {
                offset,
                buffer,
                answer,
                ..
            } => {
                answer.status = actions.status.unwrap_or(answer.status);
                self.edit(actions, *offset, buffer);
                let size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
                answer.completed = match actions.completed {
                    Some(Completed::All) => size,
                    Some(Completed::Half) => size / 2,
                    Some(Completed::Over) => size.saturating_add(8),
                    Some(Completed::Bytes(count)) => count,
                    None => answer.completed,
                };
            }
        }
        actions.ret.unwrap_or(said)
    }

    /// Applies the changes of a rule to a region.
    fn change(&mut self, wanted: &rule::RegionRule, region: &mut MemoryInfo) {
        let mut shifted = |shift: &Option<Shift>, old: u64| match shift {
            None => old,
            Some(Shift::To(place)) => self.needed(place).unwrap_or(old),
            Some(Shift::Up(by)) => old.wrapping_add(*by),
            Some(Shift::Down(by)) => old.wrapping_sub(*by),
        };
        region.base_address = shifted(&wanted.base, region.base_address);
        region.region_size = shifted(&wanted.size, region.region_size);
        region.allocation_base = shifted(&wanted.allocation_base, region.allocation_base);
        region.allocation_protect = wanted.allocation_protect.unwrap_or(region.allocation_protect);
        region.state = wanted.state.unwrap_or(region.state);
        region.protect = wanted.protect.unwrap_or(region.protect);
        region.kind = wanted.kind.unwrap_or(region.kind);
    }

    /// Applies the actions of a rule to the bytes of a read.
    fn edit(&mut self, actions: &Actions, offset: u64, buffer: &mut [u8]) {
        if let Some(span) = &actions.read {
            match &mut self.memory {
                Some(memory) => {
                    memory.fill(offset, buffer);
                }
                None => self.problem(span, |_| {
                    "this rule reads the target's memory, but the script has no access to it; call Script::memory"
                        .to_owned()
                }),
            }
        }
        if let Some(byte) = actions.fill {
            buffer.fill(byte);
        }
        if let Some(mask) = actions.xor {
            buffer.iter_mut().for_each(|byte| *byte ^= mask);
        }
        if let Some((range, mask)) = &actions.xor_at
            && let Some((from, to)) = self.range(range)
        {
            let inside = buffer
                .iter_mut()
                .zip(offset..)
                .filter(|(_, at)| (from..to).contains(at));
            inside.for_each(|(byte, _)| *byte ^= mask);
        }
    }

    /// Answers VmQuery from the regions of the target, as `VirtualQueryEx` does. After the last
    /// region, the answer is that there are no more.
    fn query(&self, offset: u64, answer: &mut dumpwright_callback::VmQueryAnswer) {
        let Some(map) = &self.map else {
            answer.status = Hresult::E_NOTIMPL;
            return;
        };
        let end = |region: &MemoryInfo| region.base_address.saturating_add(region.region_size);
        let Some(next) = map.get(map.partition_point(|region| end(region) <= offset)) else {
            answer.status = Hresult::E_NOINTERFACE;
            return;
        };
        answer.status = Hresult::S_OK;
        answer.region = if next.base_address <= offset {
            *next
        } else {
            MemoryInfo {
                base_address: offset,
                region_size: next.base_address - offset,
                state: dumpwright_target::RegionState::Free.value(),
                protect: dumpwright_target::protect::NOACCESS,
                ..MemoryInfo::default()
            }
        };
    }
}

impl Callback for Script {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        self.symbols.learn(&ask);
        let counter = &mut self.asked[ask.kind() as usize];
        let nth = *counter;
        *counter += 1;
        if let Ask::IoStart { handle, .. } = &ask {
            self.given_handle = *handle;
        }
        let mut said = answer_by_default(ask.reborrow());
        let mut store = true;
        let mut rules = std::mem::take(&mut self.rules);
        for rule in &mut rules {
            if self.applies(rule, &ask, nth) {
                said = self.act(&rule.actions, rule.used, &mut ask, said);
                store = rule.actions.store.unwrap_or(store);
                rule.used += 1;
            }
        }
        self.rules = rules;
        if store {
            self.output.take(&mut ask);
        }
        said
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("file", &self.source.file())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

fn no_such_place(place: &Located, names: &[String]) -> String {
    let (name, ..) = split_offset(&place.text);
    let hint = hint(name, names.iter().map(String::as_str));
    format!("nothing in the target is called \"{name}\"{hint}")
}

/// Sets the default answer of a script, and returns its return value.
pub(super) fn answer_by_default(ask: Ask<'_>) -> bool {
    match ask {
        Ask::Memory { .. }
        | Ask::RemoveMemory { .. }
        | Ask::ReadMemoryFailure { .. }
        | Ask::WriteKernelMinidump { .. } => return false,
        Ask::IncludeVmRegion { answer } => answer.cont = true,
        Ask::IoWriteAll { status, .. } | Ask::IoFinish { status, .. } => *status = Hresult::S_OK,
        Ask::VmPreRead { answer, .. } => (answer.status, answer.completed) = (Hresult::S_OK, 0),
        Ask::VmPostRead {
            completed,
            status,
            answer,
            ..
        } => (answer.status, answer.completed) = (status, completed),
        _ => {}
    }
    true
}
