//! `[[fault]]`: the faults of the process.

use std::collections::BTreeSet;
use std::time::Duration;

use dumpwright_target::{FaultKind, Module, Region, Thread};
use dumpwright_text::{Fields, Listed, Parsed, Value, hint, list};

use super::places::Places;
use crate::{Contents, ModuleRecord, Question, RegionChange, SimFault};

/// Each kind of fault, with its keys other than `kind`.
pub(super) const KINDS: &[(&str, &[&str])] = &[
    ("unreadable", &["at", "size"]),
    ("unreadable-from", &["at", "size", "read"]),
    ("unreadable-until", &["at", "size", "read"]),
    ("short-read", &["at", "size", "most"]),
    ("slow-read", &["at", "size", "delay_ms", "sleep"]),
    ("thread-vanishes", &["thread"]),
    ("thread-refuses-suspension", &["thread"]),
    ("broken-module-record", &["module", "record"]),
    (
        "region-changes",
        &["at", "listings", "gone", "new_size", "protect"],
    ),
    ("freeze-fails", &["reason"]),
    ("question-fails", &["question", "reason"]),
];

const RECORDS: &[(&str, ModuleRecord)] = &[
    ("headers", ModuleRecord::Headers),
    ("codeview", ModuleRecord::CodeView),
    ("misc", ModuleRecord::Misc),
    ("version", ModuleRecord::Version),
];
const QUESTIONS: &[(&str, Question)] = &[
    ("system", Question::System),
    ("process", Question::Process),
    ("threads", Question::ThreadIds),
    ("modules", Question::ModuleBases),
    ("regions", Question::Regions),
    ("handles", Question::Handles),
    ("unloaded-modules", Question::UnloadedModules),
    ("handle-operations", Question::HandleOperations),
    ("function-tables", Question::FunctionTables),
    ("tokens", Question::Tokens),
    ("system-memory", Question::SystemMemory),
    ("vm-counters", Question::VmCounters),
];
const REASONS: &[(&str, FaultKind)] = &[
    ("no-such-process", FaultKind::NoSuchProcess),
    ("kernel-thread", FaultKind::KernelThread),
    ("zombie", FaultKind::Zombie),
    ("not-permitted", FaultKind::NotPermitted),
    ("already-traced", FaultKind::AlreadyTraced),
    ("own-process", FaultKind::OwnProcess),
    ("unsupported", FaultKind::Unsupported),
    ("gone", FaultKind::Gone),
    ("unreadable", FaultKind::Unreadable),
    ("not-stopped", FaultKind::NotStopped),
    ("malformed", FaultKind::Malformed),
    ("system", FaultKind::System),
];

/// The threads, modules and regions that faults can name.
pub(super) struct Known<'p> {
    threads: Parsed<()>,
    thread_ids: BTreeSet<u32>,
    modules: Parsed<()>,
    module_bases: BTreeSet<u64>,
    /// In ascending order.
    regions: &'p Listed<(Region, Contents)>,
}

impl<'p> Known<'p> {
    pub fn new(
        threads: &Listed<Thread>,
        modules: &Listed<Module>,
        regions: &'p Listed<(Region, Contents)>,
    ) -> Self {
        Self {
            threads: threads.all,
            thread_ids: threads.items.iter().map(|thread| thread.id).collect(),
            modules: modules.all,
            module_bases: modules.items.iter().map(|module| module.base).collect(),
            regions,
        }
    }
}

pub(super) fn read(document: &Fields<'_>, places: &Places, known: &Known<'_>) -> Vec<SimFault> {
    let faults = document.get("fault", |value| {
        value.each(|value| read_one(value, places, known)).complete()
    });
    faults.unwrap_or_default()
}

fn read_one(value: &Value<'_>, places: &Places, known: &Known<'_>) -> Parsed<SimFault> {
    let kind = value.peek("kind");
    let row = KINDS
        .iter()
        .find(|(name, _)| kind.as_ref().and_then(Value::as_text) == Some(*name));
    let Some((name, keys)) = row else {
        // The kind is unknown, so any key of any kind is accepted.
        let keys = KINDS.iter().flat_map(|(_, keys)| keys.iter().copied());
        let every: Vec<_> = keys.chain(["kind"]).collect();
        let kind = value.table("a fault", &every)?.need("kind")?;
        let word = kind.text()?;
        let names = KINDS.iter().map(|(name, _)| *name);
        return Err(kind.error(format_args!(
            "\"{word}\" is not a kind of fault{}",
            hint(word, names)
        )));
    };
    let keys: Vec<_> = keys.iter().copied().chain(["kind"]).collect();
    let fields = value.table("a fault of this kind", &keys)?;
    // Required keys are read last, so that a mistake in one does not hide mistakes in others.
    Ok(match *name {
        "unreadable" => SimFault::Unreadable(places.place(&fields)?),
        "unreadable-from" => SimFault::UnreadableFrom {
            read: count(&fields, "read"),
            range: places.place(&fields)?,
        },
        "unreadable-until" => SimFault::UnreadableUntil {
            read: count(&fields, "read"),
            range: places.place(&fields)?,
        },
        "short-read" => SimFault::ShortRead {
            most: usize::try_from(count(&fields, "most")).unwrap_or(usize::MAX),
            range: places.place(&fields)?,
        },
        "slow-read" => {
            let range = places.place(&fields);
            SimFault::SlowRead {
                sleep: fields.get_or("sleep", Value::bool, false),
                delay: Duration::from_millis(fields.required("delay_ms", Value::u32)?.into()),
                range: range?,
            }
        }
        "thread-vanishes" => SimFault::ThreadVanishes(thread(&fields, known)?),
        "thread-refuses-suspension" => SimFault::ThreadRefusesSuspension(thread(&fields, known)?),
        "broken-module-record" => SimFault::BrokenModuleRecord {
            record: fields.get_or("record", |value| value.choice(RECORDS), ModuleRecord::Headers),
            base: fields.required("module", |value| module(value, places, known))?,
        },
        "region-changes" => region_changes(&fields, places, known)?,
        "freeze-fails" => SimFault::FreezeFails(fields.required("reason", |value| value.choice(REASONS))?),
        "question-fails" => {
            let reason = fields.get_or("reason", |value| value.choice(REASONS), FaultKind::System);
            let question = fields.required("question", |value| value.choice(QUESTIONS))?;
            SimFault::QuestionFails(question, reason)
        }
        other => unreachable!("{other} has a row and no reader"),
    })
}

/// Reads a number that is at least 1 and by default 1.
fn count(fields: &Fields<'_>, key: &str) -> u64 {
    let count = |value: &Value<'_>| match value.u64()? {
        0 => Err(value.error("expected a number of at least 1, found 0")),
        number => Ok(number),
    };
    fields.get_or(key, count, 1)
}

fn thread(fields: &Fields<'_>, known: &Known<'_>) -> Parsed<u32> {
    fields.required("thread", |value| {
        let id = value.u32()?;
        if known.thread_ids.contains(&id) {
            return Ok(id);
        }
        known.threads?;
        let ids = list(&known.thread_ids);
        Err(value.error(format_args!("no thread has the id {id}; the threads are {ids}")))
    })
}

fn module(value: &Value<'_>, places: &Places, known: &Known<'_>) -> Parsed<u64> {
    let base = places.address(value)?;
    if known.module_bases.contains(&base) {
        return Ok(base);
    }
    known.modules?;
    Err(value.error(format_args!("no module begins at {base:#x}")))
}

fn region_changes(fields: &Fields<'_>, places: &Places, known: &Known<'_>) -> Parsed<SimFault> {
    let changes = fields.exclusive(&["gone", "new_size", "protect"]);
    let region = fields.required("at", |at| {
        let base = places.address(at)?;
        let regions = &known.regions.items;
        let found = regions.binary_search_by_key(&base, |(region, _)| region.range.start());
        let found = found.map(|index| regions[index].0.range);
        found.or_else(|_| {
            known.regions.all?;
            Err(at.error(format_args!("no region begins at {base:#x}")))
        })
    });
    let size = fields.optional("new_size", |value| {
        let size = value.size()?;
        places.check_pages(value, size)?;
        let smaller = (1..region?.len()).contains(&size);
        smaller
            .then_some(size)
            .ok_or_else(|| value.error("expected a size above 0 that is smaller than the region's"))
    });
    let protection = fields.optional("protect", Value::protection);
    let gone = fields.optional("gone", Value::bool);
    let listings = fields.get_or(
        "listings",
        |value| match value.u32()? {
            0 => Err(value.error("expected a number of at least 1, found 0")),
            number => Ok(number),
        },
        1,
    );
    changes?;
    let change = match (size?, protection?, gone?) {
        (Some(size), ..) => RegionChange::Size(size),
        (_, Some(protection), _) => RegionChange::Protect(protection),
        (_, _, Some(true)) => RegionChange::Gone,
        _ => return Err(fields.error("expected one of gone = true, new_size, protect")),
    };
    Ok(SimFault::RegionChanges {
        base: region?.start(),
        listings,
        change,
    })
}
