//! The facts that the page shows.

use std::collections::HashMap;
use std::fmt::Write;

use dumpwright::callback::AskKind;
use dumpwright::protocol::{Entry, Transcript};
use dumpwright::read::{Context, Module, Thread};
use dumpwright::target::printable;
use serde::Serialize;

use crate::cli::show::dialogue::{EffectKind, PHASES, effect, headline, number, phase};
use crate::cli::show::space::{self, AddressSpace, CaptureCause, SpaceFacts};
use crate::cli::show::text::ShownDump;
use crate::cli::show::text::registers::general_registers;
use crate::cli::show::text::stacks::{self, Group, MOST_STACKS};
use crate::cli::show::text::words::{place, seconds};
use crate::cli::show::text::{dump_type, summary};
use crate::cli::show::{MOST_MODULES, part};
use crate::cli::stack::StackWalker;

/// The maximum number of rows of one stack.
const MOST_ROWS: usize = 200;
/// The maximum number of handles, losses and calls.
const MOST_LISTED: usize = 100_000;
/// The maximum number of characters of a text.
const LONGEST: usize = 2000;

/// Everything that the page shows. The script reads the lists of tuples by position.
#[derive(Serialize)]
pub(super) struct PageData {
    version: &'static str,
    file: String,
    what: String,
    bytes: u64,
    /// The dump type.
    #[serde(rename = "type")]
    dump_type: String,
    rows: Vec<(&'static str, String)>,
    exception: Option<PageException>,
    /// The name, the type, the size and the file offset.
    streams: Vec<(String, String, u32, u32)>,
    /// The parts of the file, and their sizes.
    parts: Vec<(String, u64)>,
    memory: PageMemory,
    /// The number of digits of an address.
    digits: usize,
    /// The names of the registers in `threads`.
    registers: Vec<String>,
    threads: Vec<PageThread>,
    /// The texts of frames.
    functions: Vec<String>,
    stacks: Vec<PageStack>,
    /// The path, the base address, the size, the version, the debug id, the code id, and the
    /// number of captured bytes.
    modules: Vec<(String, String, u32, String, String, String, u64)>,
    /// The name, the base address and the size.
    unloaded: Vec<(String, String, u32)>,
    /// The value, the type, the name, the access rights, and the numbers of handles and references.
    handles: Vec<(u64, String, String, String, u32, u32)>,
    /// The subject and the reason.
    missing: Vec<(String, String)>,
    left_out: Vec<(String, String)>,
    dialogue: Option<PageDialogue>,
    /// What is not shown.
    notes: Vec<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct PageException {
    text: String,
    thread: u32,
    code: String,
    flags: String,
    address: String,
    parameters: Vec<String>,
    /// The names and the values.
    registers: Vec<(String, String)>,
    /// The index of the stack in `stacks`.
    stack: Option<usize>,
}

/// The pieces of the address space, sorted.
#[derive(Serialize)]
struct PageMemory {
    /// The key, the name, the reason, the number of bytes, and the number of pieces.
    causes: Vec<(&'static str, &'static str, &'static str, u64, u64)>,
    /// The first addresses, 16 hexadecimal digits each.
    starts: String,
    sizes: Vec<u64>,
    /// Indices in `causes`.
    why: Vec<u8>,
    /// Indices in `labels`, or -1.
    owners: Vec<i64>,
    labels: Vec<String>,
    /// Indices in `kinds`, or -1.
    kind: Vec<i64>,
    kinds: Vec<String>,
    /// File offsets, or -1.
    offsets: Vec<i64>,
    /// Whether the dump has a map of the address space.
    has_map: bool,
}

/// The id, the name, the index of the stack, the place, the address and the size of the stack, the
/// values of the registers, and other facts in words.
type PageThread = (
    u32,
    String,
    Option<usize>,
    String,
    String,
    u32,
    Vec<String>,
    String,
);

#[derive(Serialize)]
struct PageStack {
    /// What the threads do.
    note: &'static str,
    is_crash: bool,
    /// Indices in `threads`.
    threads: Vec<usize>,
    /// The index in `functions`, the index in `modules` or -1, the number of the first frame, and
    /// the number of frames.
    rows: Vec<(usize, i64, usize, usize)>,
    /// Why there may be more frames.
    end: String,
}

#[derive(Serialize)]
struct PageDialogue {
    headline: String,
    phases: [&'static str; PHASES.len()],
    /// The number, the index of the phase, the callback type, the facts, the prefilled answer, the
    /// returned value, the answer, the kind of the effect, the effect, and how often the call was
    /// repeated.
    calls: Vec<PageCall>,
}

type PageCall = (
    usize,
    usize,
    &'static str,
    String,
    String,
    Option<bool>,
    String,
    &'static str,
    String,
    usize,
);

impl PageData {
    pub(super) fn title(&self) -> String {
        format!("{}: {}", self.what, self.file)
    }
}

/// Reads everything that the page shows.
pub(super) fn gather(shown: &mut ShownDump<'_>, transcript: Option<&Transcript>) -> PageData {
    let dump = shown.dump;
    let (what, rows) = summary::facts(shown);
    let exception_text = summary::exception_text(shown);
    let missing = summary::lacking(shown);
    let soft = part(&mut shown.problems, dump.soft_errors());
    let left_out = summary::entries(soft.as_ref(), "left out");
    let mut problems = std::mem::take(&mut shown.problems);
    let mut notes = Vec::new();
    let threads = threads(shown, &mut problems);
    let exception = dump.exception().ok().flatten();
    let cpu = threads.iter().find_map(|thread| thread.context.as_ref());
    let cpu = cpu.or(exception
        .as_ref()
        .and_then(|exception| exception.context.as_ref()));
    let digits = cpu.map_or(16, |context| space::digits(context.cpu()));
    let names = transcript.map(|transcript| DialogueNames::new(transcript, &shown.modules, &threads));
    let added = transcript
        .zip(names.as_ref())
        .map_or_else(Vec::new, |(transcript, names)| added(transcript, names));
    let pieces = space::parts(
        &SpaceFacts {
            dump,
            modules: &shown.modules,
            threads: &threads,
            added: &added,
        },
        &mut problems,
    );
    if pieces.left_out > 0 {
        notes.push(format!("{} ranges of memory are not shown", pieces.left_out));
    }
    if let (Some(transcript), true) = (transcript, added.is_empty()) {
        let adds = transcript.entries.iter().filter(|entry| adds(entry)).count();
        if adds > 0 {
            notes.push(format!(
                "the addresses of {} that the callback added are not known, because the transcript has other names for \
                 them",
                stacks::count(adds, "range")
            ));
        }
    }
    let mut walker = StackWalker::new(dump, &shown.modules, shown.folders);
    // The problems of the lists are known.
    let (groups, left) = stacks::groups(dump, &mut walker, &mut Vec::new());
    if left > 0 {
        notes.push(format!("{left} threads are not shown"));
    }
    let mut functions = Interned::default();
    let page_stacks = page_stacks(&groups, &walker, &threads, &mut functions);
    notes.extend(stacks::unread(&walker));
    let (registers, page_threads) = page_threads(&threads, &shown.modules, &page_stacks, digits);
    let captured = captured_by_module(&pieces, &shown.modules);
    let modules = shown.modules.iter().zip(captured);
    let modules = modules.map(|(module, captured)| {
        (
            text(module.name.as_deref().unwrap_or("?")),
            hex(module.base, digits),
            module.size,
            module.version.clone().unwrap_or_default(),
            module.debug_id.clone().unwrap_or_default(),
            module.code_id.clone().unwrap_or_default(),
            captured,
        )
    });
    let modules = modules.collect();
    if shown.more_modules > 0 {
        notes.push(format!("{} modules are not shown", shown.more_modules));
    }
    let unloaded = entries(dump.iter_unloaded_modules(), &mut problems).into_iter();
    let unloaded = unloaded.map(|module| {
        let name = text(module.name.as_deref().unwrap_or("?"));
        (name, hex(module.base, digits), module.size)
    });
    let unloaded = unloaded.collect();
    let handles = entries(dump.iter_handles(), &mut problems).into_iter();
    let handles = handles.map(|handle| {
        (
            handle.handle,
            text(handle.type_name.as_deref().unwrap_or_default()),
            text(handle.object_name.as_deref().unwrap_or_default()),
            format!("{:#x}", handle.granted_access),
            handle.handle_count,
            handle.pointer_count,
        )
    });
    let handles = handles.collect();
    let exception = exception.map(|exception| PageException {
        text: exception_text.unwrap_or_default(),
        thread: exception.thread_id,
        code: format!("{:#x}", exception.code),
        flags: format!("{:#x}", exception.flags),
        address: hex(exception.address, digits),
        parameters: exception
            .parameters
            .iter()
            .map(|value| format!("{value:#x}"))
            .collect(),
        registers: exception
            .context
            .as_ref()
            .map_or_else(Vec::new, |context| registers_of(context, digits)),
        stack: page_stacks.iter().position(|stack| stack.is_crash),
    });
    problems.sort();
    problems.dedup();
    PageData {
        version: env!("CARGO_PKG_VERSION"),
        file: text(shown.file),
        what,
        bytes: dump.len(),
        dump_type: dump_type(dump),
        rows,
        exception,
        streams: streams(dump),
        parts: parts(dump, &pieces),
        memory: page_memory(
            pieces,
            dump.iter_memory_regions().is_ok_and(|list| !list.is_empty()),
        ),
        digits,
        registers,
        threads: page_threads,
        functions: functions.texts,
        stacks: page_stacks,
        modules,
        unloaded,
        handles,
        missing: limited(missing, &mut notes),
        left_out: limited(left_out, &mut notes),
        dialogue: transcript
            .zip(names.as_ref())
            .map(|(transcript, names)| dialogue(transcript, names, &mut notes)),
        notes,
        problems: problems.iter().map(|problem| text(problem)).collect(),
    }
}

/// Returns a text of the dump as it is shown.
fn text(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => printable(text).into_owned(),
        Some((end, _)) => format!("{}…", printable(&text[..end])),
    }
}

fn hex(value: u64, digits: usize) -> String {
    format!("{value:0digits$x}")
}

fn limited(mut list: Vec<(String, String)>, notes: &mut Vec<String>) -> Vec<(String, String)> {
    if let Some(more) = list.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
        notes.push(format!("{more} losses are not shown"));
        list.truncate(MOST_LISTED);
    }
    for (subject, reason) in &mut list {
        (*subject, *reason) = (text(subject), text(reason));
    }
    list
}

/// Returns the first entries of a list.
fn entries<T>(
    list: Result<dumpwright::read::List<'_, T>, dumpwright::read::ReadError>,
    problems: &mut Vec<String>,
) -> Vec<T> {
    let Some(list) = part(problems, list.map(Some)) else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    for entry in list.take(MOST_LISTED) {
        match entry {
            Ok(entry) => entries.push(entry),
            Err(error) => problems.push(error.to_string()),
        }
    }
    entries
}

fn threads(shown: &ShownDump<'_>, problems: &mut Vec<String>) -> Vec<Thread> {
    let mut threads = entries(shown.dump.iter_threads(), problems);
    threads.truncate(MOST_STACKS);
    threads
}

fn streams(dump: &dumpwright::read::Dump) -> Vec<(String, String, u32, u32)> {
    let used = dump.directory().iter().filter(|entry| entry.stream_type != 0);
    let rows = used.take(MOST_MODULES as usize).map(|entry| {
        let kind = format!("{:#x}", entry.stream_type);
        let name = entry
            .name()
            .map_or_else(|| format!("stream {kind}"), str::to_owned);
        (name, kind, entry.size, entry.rva)
    });
    rows.collect()
}

/// Returns the parts of the file and their sizes. The streams have the lists; names, registers and
/// memory are elsewhere.
fn parts(dump: &dumpwright::read::Dump, pieces: &AddressSpace) -> Vec<(String, u64)> {
    let directory = 32 + 12 * dump.directory().len() as u64;
    let streams: u64 = dump
        .directory()
        .iter()
        .map(|entry| u64::from(entry.size))
        .fold(0, u64::saturating_add);
    let in_file = pieces.all.iter().filter(|piece| piece.offset.is_some());
    let memory = in_file.map(space::SpacePart::size).fold(0, u64::saturating_add);
    let compressed = match dump.compressed_memory() {
        Ok(Some(header)) => header.compressed_bytes,
        _ => 0,
    };
    let mut parts = vec![
        ("memory".to_owned(), memory),
        ("compressed memory".to_owned(), compressed),
        ("streams".to_owned(), streams),
        ("header and directory".to_owned(), directory),
    ];
    let known: u64 = parts.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
    parts.push((
        "registers, names, and what lies between".to_owned(),
        dump.len().saturating_sub(known),
    ));
    parts.retain(|(_, size)| *size > 0);
    parts
}

fn page_memory(pieces: AddressSpace, has_map: bool) -> PageMemory {
    let mut causes = CaptureCause::ALL.map(|cause| {
        let (key, name, why) = cause.texts();
        (key, name, why, 0_u64, 0_u64)
    });
    let count = pieces.all.len();
    let mut memory = PageMemory {
        causes: Vec::new(),
        starts: String::with_capacity(16 * count),
        sizes: Vec::with_capacity(count),
        why: Vec::with_capacity(count),
        owners: Vec::with_capacity(count),
        labels: pieces.labels.iter().map(|label| text(label)).collect(),
        kind: Vec::with_capacity(count),
        kinds: pieces.kinds,
        offsets: Vec::with_capacity(count),
        has_map,
    };
    for piece in pieces.all {
        let cause = piece.cause.unwrap_or(CaptureCause::Unknown);
        let index = cause as usize;
        causes[index].3 = causes[index].3.saturating_add(piece.size());
        causes[index].4 += 1;
        let _ = write!(memory.starts, "{:016x}", piece.first); // into a String
        memory.sizes.push(piece.size());
        memory.why.push(index as u8);
        memory.owners.push(piece.label.map_or(-1, i64::from));
        memory.kind.push(piece.kind.map_or(-1, i64::from));
        let offset = piece.offset.filter(|_| cause.is_captured());
        let offset = offset.and_then(|offset| i64::try_from(offset).ok());
        memory.offsets.push(offset.unwrap_or(-1));
    }
    memory.causes = causes.into();
    memory
}

/// Returns the number of captured bytes in each module. The modules are sorted.
fn captured_by_module(pieces: &AddressSpace, modules: &[Module]) -> Vec<u64> {
    let mut captured = vec![0_u64; modules.len()];
    let kept = |piece: &&space::SpacePart| piece.cause.is_none_or(CaptureCause::is_captured);
    for piece in pieces.all.iter().filter(kept) {
        let behind = modules.partition_point(|module| module.base <= piece.first);
        if let Some(index) = behind.checked_sub(1)
            && piece.first < modules[index].end()
        {
            captured[index] = captured[index].saturating_add(piece.size());
        }
    }
    captured
}

/// Texts that occur often, each once.
#[derive(Default)]
struct Interned {
    texts: Vec<String>,
    known: HashMap<String, usize>,
}

impl Interned {
    fn index(&mut self, text: &str) -> usize {
        if let Some(index) = self.known.get(text) {
            return *index;
        }
        self.texts.push(text.to_owned());
        self.known.insert(text.to_owned(), self.texts.len() - 1);
        self.texts.len() - 1
    }
}

fn page_stacks(
    groups: &[Group],
    walker: &StackWalker<'_>,
    threads: &[Thread],
    functions: &mut Interned,
) -> Vec<PageStack> {
    let mut by_id: HashMap<u32, usize> = HashMap::new();
    for (index, thread) in threads.iter().enumerate() {
        by_id.entry(thread.id).or_insert(index);
    }
    let stacks = groups.iter().map(|group| {
        let rows = stacks::rows(walker, &group.trace);
        let end = match rows.get(MOST_ROWS) {
            Some(next) => format!("and {} more frames", group.trace.frames.len() - next.number),
            None => stacks::end(&group.trace).unwrap_or_default().to_owned(),
        };
        let mut row = |row: &stacks::Row| {
            let text = functions.index(&text(&row.text));
            let module = row.module.and_then(|index| i64::try_from(index).ok());
            (text, module.unwrap_or(-1), row.number, row.count)
        };
        PageStack {
            note: group.activity.note(),
            is_crash: group.activity == stacks::Activity::Crashed,
            threads: group
                .threads
                .iter()
                .filter_map(|(id, _)| by_id.get(id).copied())
                .collect(),
            rows: rows.iter().take(MOST_ROWS).map(&mut row).collect(),
            end,
        }
    });
    stacks.collect()
}

/// Returns the instruction pointer and the general registers.
fn registers_of(context: &Context, digits: usize) -> Vec<(String, String)> {
    let general = general_registers(context);
    let pointer = context.instruction_pointer().filter(|_| !general.is_empty());
    let name = if context.amd64().is_some() {
        "rip"
    } else if context.x86().is_some() {
        "eip"
    } else {
        "pc"
    };
    let pointer = pointer.map(|value| (name.to_owned(), hex(value, digits)));
    let general = general.into_iter();
    let general = general.map(|(name, value)| (name.into_owned(), hex(value, digits)));
    pointer.into_iter().chain(general).collect()
}

fn page_threads(
    threads: &[Thread],
    modules: &[Module],
    page_stacks: &[PageStack],
    digits: usize,
) -> (Vec<String>, Vec<PageThread>) {
    let mut stack_of = vec![None; threads.len()];
    for (number, stack) in page_stacks.iter().enumerate() {
        for thread in &stack.threads {
            stack_of[*thread] = Some(number);
        }
    }
    let mut names = Vec::new();
    let list = threads.iter().zip(stack_of).map(|(thread, stack)| {
        let registers = thread.context.as_ref();
        let registers = registers.map_or_else(Vec::new, |context| registers_of(context, digits));
        if names.is_empty() {
            names = registers.iter().map(|(name, _)| name.clone()).collect();
        }
        let at = thread.context.as_ref().and_then(Context::instruction_pointer);
        let mut facts = Vec::new();
        if thread.suspend_count != 0 {
            facts.push(format!("suspended {} times", thread.suspend_count));
        }
        if thread.priority != 0 {
            facts.push(format!("priority {}", thread.priority));
        }
        if thread.teb != 0 {
            facts.push(format!("thread data at {:#x}", thread.teb));
        }
        if let Some(info) = &thread.info {
            let (user, kernel) = (seconds(info.user_time), seconds(info.kernel_time));
            facts.push(format!("{user} s user, {kernel} s kernel"));
        }
        (
            thread.id,
            text(thread.name.as_deref().unwrap_or_default()),
            stack,
            at.map_or_else(String::new, |at| text(&place(modules, at))),
            hex(thread.stack.start, digits),
            thread.stack.size,
            registers.into_iter().map(|(_, value)| value).collect(),
            facts.join("; "),
        )
    });
    let list = list.collect();
    (names, list)
}

/// Whether a call of Memory added a range.
fn adds(entry: &Entry) -> bool {
    entry.ask == AskKind::Memory && effect(entry).kind == EffectKind::More
}

/// Returns the ranges that the callback added, if their addresses are known: the first address, the
/// size, and the call.
fn added(transcript: &Transcript, names: &DialogueNames) -> Vec<(u64, u64, String)> {
    let calls = transcript.entries.iter().filter(|entry| adds(entry));
    let ranges = calls.filter_map(|entry| {
        let base = entry.out.text("base")?;
        let start = names.address(&base)?;
        let size = number(&entry.out, "size")?;
        Some((start, size, format!("call {}: {}", entry.n, text(&base))))
    });
    ranges.collect()
}

/// The names in a transcript that a dump explains.
struct DialogueNames {
    /// Those of addresses, of modules and of stacks: the first address and the end.
    ranges: HashMap<String, (u64, u64)>,
    /// Those of threads: the id and the name of the thread.
    threads: HashMap<String, String>,
}

impl DialogueNames {
    fn new(transcript: &Transcript, modules: &[Module], threads: &[Thread]) -> Self {
        let mut ranges = HashMap::new();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for module in modules {
            let name = module.file_name().unwrap_or_default();
            let count = counts.entry(name).or_default();
            *count += 1;
            let name = match count {
                1 => name.to_owned(),
                count => format!("{name}#{count}"),
            };
            ranges.insert(name, (module.base, module.end()));
        }
        // In transcripts of live processes, threads have the number of their call instead of an id.
        let mut included = threads.iter();
        let mut thread_names = HashMap::new();
        let calls = transcript.entries.iter();
        for call in calls.filter(|entry| entry.ask == AskKind::IncludeThread) {
            let is_left_out = call.ret == Some(false)
                || (call.ret.is_some() && number(&call.out, "flags").is_some_and(|flags| flags & 1 == 0));
            if is_left_out {
                continue;
            }
            if let (Some(thread), Some(name)) = (included.next(), call.input.text("thread")) {
                let start = thread.stack.start;
                let end = start.saturating_add(thread.stack.size.into());
                ranges.insert(format!("stack({name})"), (start, end));
                if name != thread.id.to_string() {
                    let label = space::named("", thread).trim_start().to_owned();
                    thread_names.insert(name, label);
                }
            }
        }
        Self {
            ranges,
            threads: thread_names,
        }
    }

    /// Returns the address with this name.
    fn address(&self, name: &str) -> Option<u64> {
        if let Some(digits) = name.strip_prefix("0x") {
            return u64::from_str_radix(digits, 16).ok();
        }
        if let Some((start, _)) = self.ranges.get(name) {
            return Some(*start);
        }
        if let Some((start, offset)) = name.rsplit_once("+0x") {
            let offset = u64::from_str_radix(offset, 16).ok()?;
            return self.address(start)?.checked_add(offset);
        }
        let whole = name.strip_suffix(".end")?;
        self.ranges.get(whole).map(|(_, end)| *end)
    }
}

fn dialogue(transcript: &Transcript, names: &DialogueNames, notes: &mut Vec<String>) -> PageDialogue {
    let mut calls: Vec<PageCall> = Vec::new();
    let mut last: Option<&Entry> = None;
    let mut left = 0;
    for entry in &transcript.entries {
        let is_same = last
            .is_some_and(|last| last.same_question(entry) && last.ret == entry.ret && last.out == entry.out);
        if let (true, Some(call)) = (is_same, calls.last_mut()) {
            call.9 += 1;
            continue;
        }
        if calls.len() >= MOST_LISTED {
            left += 1;
            continue;
        }
        last = Some(entry);
        let thread = entry.input.text("thread");
        let thread = thread.and_then(|thread| names.threads.get(&thread));
        let thread = thread.map_or_else(String::new, |thread| format!(" ({thread})"));
        let done = effect(entry);
        let kind = match done.kind {
            EffectKind::Nothing => "",
            EffectKind::Less => "less",
            EffectKind::More => "more",
            EffectKind::Change => "change",
            EffectKind::Failure => "failure",
        };
        calls.push((
            entry.n,
            phase(entry.ask),
            entry.ask.name(),
            text(&format!("{}{thread}", entry.input)),
            text(&entry.pre.to_string()),
            entry.ret,
            text(&entry.out.to_string()),
            kind,
            text(&done.text),
            1,
        ));
    }
    if left > 0 {
        notes.push(format!("{left} calls of the callback are not shown"));
    }
    PageDialogue {
        headline: headline(transcript),
        phases: PHASES,
        calls,
    }
}
