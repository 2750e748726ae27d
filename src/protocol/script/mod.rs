//! Answers to callbacks, from text. The language is described in `docs/script.md`.

mod error;
mod parse;
mod rule;
mod words;

pub use error::ScriptError;

use std::fmt;
use std::path::Path;

use dumpwright_callback::{
    Ask, AskKind, Callback, Hresult, MemoryInfo, ModuleWriteFlags, SecondaryFlags, ThreadWriteFlags,
};
use dumpwright_target::{Need, Target};

use self::error::{Source, hint};
use self::rule::{Actions, Completed, Extent, Handle, Located, Query, Range, Rule, Shift, ThreadName};
use super::output::Output;
use super::symbols::{Symbols, split_offset};
use crate::policy::glob;
use crate::protocol::vm_region::to_info;

/// Reads the target's memory at an address into a buffer; returns how many bytes it got.
type ReadMemory = Box<dyn FnMut(u64, &mut [u8]) -> usize>;

/// A callback that answers by rules from a text.
///
/// A question is first answered by default, then every rule that is about it changes the answer, in the order of the
/// text. By default everything is TRUE and stays as it was prefilled, except: no memory is added or removed, no failed
/// read is forgiven, no kernel dump is wanted (FALSE); every region is taken and the next one asked for; output is kept and
/// accepted; before a read no bytes are given; after it they pass unchanged.
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
///     "answers.toml:2:7: no question is called \"IncludeTread\"; did you mean \"IncludeThread\"?"
/// );
/// # drop(script);
/// ```
pub struct Script {
    file: String,
    rules: Vec<Rule>,
    /// How many questions there have been of each kind.
    asked: [u64; AskKind::ALL.len()],
    symbols: Symbols,
    map: Option<Vec<MemoryInfo>>,
    memory: Option<ReadMemory>,
    given_handle: u64,
    output: Output,
    problems: Vec<ScriptError>,
    /// Places in conditions that were not known when they were needed. They may have become known later.
    unknown: Vec<Located>,
}

impl Script {
    /// The script in a text. `file` is what errors call it.
    ///
    /// # Errors
    /// The text is no script.
    pub fn parse(text: &str, file: &str) -> Result<Self, ScriptError> {
        let rules = parse::parse(&Source { file, text })?;
        Ok(Self {
            file: file.to_owned(),
            rules,
            asked: [0; AskKind::ALL.len()],
            symbols: Symbols::new(),
            map: None,
            memory: None,
            given_handle: 0,
            output: Output::default(),
            problems: Vec::new(),
            unknown: Vec::new(),
        })
    }

    /// The script in a file.
    ///
    /// # Errors
    /// The file cannot be read, or is no script.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ScriptError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ScriptError {
            file: file.clone(),
            line: 0,
            column: 0,
            message: format!("cannot read it: {error}"),
        })?;
        Self::parse(&text, &file)
    }

    /// Names that the rules may use, besides those that the questions tell.
    #[must_use]
    pub fn symbols(mut self, symbols: Symbols) -> Self {
        self.symbols = symbols;
        self
    }

    /// The target's regions, ascending, for rules with `query = "own"`. Without them the writer is left to ask the system,
    /// which comes to the same.
    #[must_use]
    pub fn map(mut self, regions: Vec<MemoryInfo>) -> Self {
        self.map = Some(regions);
        self
    }

    /// The target's memory, for rules with `read`.
    #[must_use]
    pub fn memory(mut self, read: impl FnMut(u64, &mut [u8]) -> usize + 'static) -> Self {
        self.memory = Some(Box::new(read));
        self
    }

    /// The memory and the regions of this target, for rules with `read` and `query = "own"`. It is another one than is
    /// dumped: a copy, or the same process opened again.
    #[must_use]
    pub fn memory_of(mut self, mut target: impl Target + 'static) -> Self {
        if let Ok(mut frozen) = target.freeze(&Need::default()) {
            let regions = frozen.regions().unwrap_or_default();
            self.map = Some(regions.iter().map(to_info).collect());
        }
        self.memory(move |at, into| {
            let Ok(mut frozen) = target.freeze(&Need::default()) else {
                return 0;
            };
            let mut done = 0;
            while let Ok(count) = frozen.read(at.wrapping_add(done as u64), &mut into[done..])
                && count > 0
            {
                done += count;
            }
            done
        })
    }

    /// What errors call the script.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What was written by IoWriteAll.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    /// What the script asked for and could not have, when the dump is over: places that nothing in the target is called,
    /// bytes from memory that it was not given.
    #[must_use]
    pub fn problems(&self) -> Vec<ScriptError> {
        let names = self.symbols.names();
        let unknown = self
            .unknown
            .iter()
            .filter(|place| self.symbols.address(&place.text).is_none());
        let unknown = unknown.map(|place| self.unknown_place(place, &names));
        let mut all: Vec<_> = self.problems.iter().cloned().chain(unknown).collect();
        all.sort_by_key(|error| (error.line, error.column));
        all.dedup();
        all
    }

    /// The lines of the rules that no question was for.
    #[must_use]
    pub fn unused(&self) -> Vec<usize> {
        self.rules
            .iter()
            .filter(|rule| rule.used == 0)
            .map(|rule| rule.line)
            .collect()
    }

    fn unknown_place(&self, place: &Located, names: &[String]) -> ScriptError {
        let (name, ..) = split_offset(&place.text);
        let hint = hint(name, names.iter().map(String::as_str));
        self.problem(place, format!("nothing in the target is called \"{name}\"{hint}"))
    }

    fn problem(&self, place: &Located, message: String) -> ScriptError {
        ScriptError {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
            message,
        }
    }

    /// The address of a place that an answer needs.
    fn needed(&mut self, place: &Located) -> Option<u64> {
        let address = self.symbols.address(&place.text);
        if address.is_none() {
            let problem = self.unknown_place(place, &self.symbols.names());
            self.problems.push(problem);
        }
        address
    }

    /// The addresses of a range that a condition needs, if they are known by now.
    fn range(&mut self, range: &Range) -> Option<(u64, u64)> {
        let mut known = |place: &Located| {
            let address = self.symbols.address(&place.text);
            if address.is_none() && !self.unknown.iter().any(|unknown| unknown.text == place.text) {
                self.unknown.push(place.clone());
            }
            address
        };
        let start = known(&range.start)?;
        let end = match &range.extent {
            Extent::End(end) => known(end)?,
            Extent::Size(size) => start.saturating_add(*size),
            Extent::Named => {
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

    /// Whether a rule applies to a question, the `nth` of its kind.
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
                ThreadName::Id(wanted) => id == *wanted,
                ThreadName::Number(wanted) => self.symbols.thread_number(id) == Some(*wanted),
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

    /// IncludeModule shows an address only; whoever knows the names has to give them.
    fn nameless(&mut self, rule: &Rule) {
        let place = Located {
            text: String::new(),
            line: rule.line,
            column: 1,
        };
        let message =
            "IncludeModule does not tell a module's name, and nobody else has; ask Module, which does";
        let problem = self.problem(&place, message.to_owned());
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Does to an answer what a rule says; returns what is returned then.
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
                    Some(Handle::Number(number)) => *number,
                    Some(Handle::Given) => self.given_handle,
                    None => **handle,
                };
            }
            Ask::KernelMinidumpStatus { .. } => {}
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

    fn change(&mut self, wanted: &rule::Region, region: &mut MemoryInfo) {
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

    fn edit(&mut self, actions: &Actions, offset: u64, buffer: &mut [u8]) {
        if actions.read {
            match &mut self.memory {
                Some(read) => {
                    read(offset, buffer);
                }
                None => {
                    let message = format!(
                        "{}: a rule reads the target's memory, which the script was not given",
                        self.file
                    );
                    let problem = ScriptError {
                        file: self.file.clone(),
                        line: 0,
                        column: 0,
                        message,
                    };
                    if !self.problems.contains(&problem) {
                        self.problems.push(problem);
                    }
                }
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

    /// What `VirtualQueryEx` would say; behind the last region that there are no more.
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
            self.output.take(&ask);
        }
        said
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("file", &self.file)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The answer of a script without rules.
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
