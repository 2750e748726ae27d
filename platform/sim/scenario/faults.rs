//! `[[fault]]`: what goes wrong.

use std::time::Duration;

use dumpwright_target::FaultKind;

use super::error::hint;
use super::fields::{Fields, Outcome, Value};
use super::memory::read_protection;
use super::places::Places;
use crate::{ModuleRecord, Question, RegionChange, SimFault, SimProcess};

/// Each kind with the keys that it has besides `kind`.
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

pub(super) fn read(document: &Fields<'_>, places: &Places, process: &SimProcess) -> Outcome<Vec<SimFault>> {
    let Some(value) = document.value("fault") else {
        return Ok(Vec::new());
    };
    value
        .array()?
        .iter()
        .map(|value| read_one(value, places, process))
        .collect()
}

fn read_one(value: &Value<'_>, places: &Places, process: &SimProcess) -> Outcome<SimFault> {
    let every: Vec<_> = KINDS
        .iter()
        .flat_map(|(_, keys)| keys.iter().copied())
        .chain(["kind"])
        .collect();
    let kind = value.table("a fault", &every)?.need("kind")?;
    let names = KINDS.iter().map(|(name, _)| *name);
    let found = KINDS.iter().find(|(name, _)| Some(*name) == kind.as_text());
    let Some((name, keys)) = found else {
        let word = kind.text()?;
        return Err(kind.error(format!("\"{word}\" is no kind of fault{}", hint(word, names))));
    };
    let keys: Vec<_> = keys.iter().copied().chain(["kind"]).collect();
    let fields = value.table("a fault of this kind", &keys)?;
    Ok(match *name {
        "unreadable" => SimFault::Unreadable(places.place(&fields)?),
        "unreadable-from" => SimFault::UnreadableFrom {
            range: places.place(&fields)?,
            read: count(&fields, "read")?,
        },
        "unreadable-until" => SimFault::UnreadableUntil {
            range: places.place(&fields)?,
            read: count(&fields, "read")?,
        },
        "short-read" => SimFault::ShortRead {
            range: places.place(&fields)?,
            most: usize::try_from(count(&fields, "most")?).unwrap_or(usize::MAX),
        },
        "slow-read" => SimFault::SlowRead {
            range: places.place(&fields)?,
            delay: Duration::from_millis(fields.need("delay_ms")?.u32()?.into()),
            sleep: fields.get_or("sleep", Value::bool, false)?,
        },
        "thread-vanishes" => SimFault::ThreadVanishes(thread(&fields, process)?),
        "thread-refuses-suspension" => SimFault::ThreadRefusesSuspension(thread(&fields, process)?),
        "broken-module-record" => SimFault::BrokenModuleRecord {
            base: module(&fields, places, process)?,
            record: fields.get_or("record", |value| value.choice(RECORDS), ModuleRecord::Headers)?,
        },
        "region-changes" => region_changes(&fields, places, process)?,
        "freeze-fails" => SimFault::FreezeFails(fields.need("reason")?.choice(REASONS)?),
        "question-fails" => SimFault::QuestionFails(
            fields.need("question")?.choice(QUESTIONS)?,
            fields.get_or("reason", |value| value.choice(REASONS), FaultKind::System)?,
        ),
        other => unreachable!("{other} has a row and no reader"),
    })
}

/// A number that counts from 1, and is 1 unless said otherwise.
fn count(fields: &Fields<'_>, key: &str) -> Outcome<u64> {
    let Some(value) = fields.value(key) else {
        return Ok(1);
    };
    match value.u64()? {
        0 => Err(value.error("counting begins at 1")),
        number => Ok(number),
    }
}

fn thread(fields: &Fields<'_>, process: &SimProcess) -> Outcome<u32> {
    let value = fields.need("thread")?;
    let id = value.u32()?;
    if process.threads.iter().any(|thread| thread.id == id) {
        return Ok(id);
    }
    let ids: Vec<_> = process
        .threads
        .iter()
        .map(|thread| thread.id.to_string())
        .collect();
    Err(value.error(format!("no thread has the id {id}; there are {}", ids.join(", "))))
}

fn module(fields: &Fields<'_>, places: &Places, process: &SimProcess) -> Outcome<u64> {
    let value = fields.need("module")?;
    let base = places.address(&value)?;
    if process.modules.iter().any(|module| module.base == base) {
        return Ok(base);
    }
    Err(value.error(format!("no module begins at {base:#x}")))
}

fn region_changes(fields: &Fields<'_>, places: &Places, process: &SimProcess) -> Outcome<SimFault> {
    fields.exclusive(&["gone", "new_size", "protect"])?;
    let at = fields.need("at")?;
    let base = places.address(&at)?;
    let region = process
        .regions
        .iter()
        .map(|(region, _)| region)
        .find(|region| region.range.start() == base);
    let region = region.ok_or_else(|| at.error(format!("no region begins at {base:#x}")))?;
    let size = fields.get("new_size", |value| {
        let size = value.u64()?;
        places.check_pages(value, size)?;
        let smaller = (1..region.range.len()).contains(&size);
        smaller
            .then_some(size)
            .ok_or_else(|| value.error("expected a size smaller than the region's, and not 0"))
    })?;
    let protection = fields.get("protect", read_protection)?;
    let gone = fields.get_or("gone", Value::bool, false)?;
    let change = match (size, protection, gone) {
        (Some(size), ..) => RegionChange::Size(size),
        (_, Some(protection), _) => RegionChange::Protect(protection),
        (_, _, true) => RegionChange::Gone,
        _ => return Err(fields.error("a region changes how? expected one of gone = true, new_size, protect")),
    };
    let listings = count(fields, "listings")?;
    let listings = u32::try_from(listings).map_err(|_| fields.error("nobody lists the map so often"))?;
    Ok(SimFault::RegionChanges {
        base,
        listings,
        change,
    })
}
