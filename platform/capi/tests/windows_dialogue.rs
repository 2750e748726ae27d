//! Repeats the recorded dialogues of two versions of Microsoft's DbgHelp under Wine, with a C
//! program, a Windows process and `dumpwright.dll`. Also compares summaries of the dumps with those
//! in the recordings.
//!
//! Would catch: a call of the callback with another fact, in another order or number than by
//! DbgHelp; an answer with another effect; another error code; a stream, thread, module or range of
//! memory that a dump of DbgHelp contains and that of this library does not; a thread that stays
//! suspended.
//!
//! The same program is run with Microsoft's older DLL, whose dialogues must be the recorded ones. A
//! difference there comes from the harness. The newer one does not come with a package that tests
//! could download. An ignored test measures any other library
//! (`DUMPWRIGHT_PEERS`). If `DUMPWRIGHT_TRANSCRIPTS` is set, transcripts are written to that
//! folder. Both also work on Windows itself, with GCC for Windows and without Wine.

#[path = "support/client.rs"]
mod client;
#[path = "windows_dialogue/origin.rs"]
mod origin;
#[path = "windows_dialogue/record.rs"]
mod record;
#[path = "windows_dialogue/session.rs"]
mod session;
#[path = "windows_dialogue/summary.rs"]
mod summary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dumpwright_fixtures::recorded::compare::Parts;
use dumpwright_fixtures::recorded::names;
use dumpwright_fixtures::recorded::scenario::{self, Scenario};
use dumpwright_fixtures::windows;
use origin::Origin;
use session::{Facts, Session};
use summary::Wishes;

fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/oracle");
    let path = folder.join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the commands for the client that describe a scenario.
fn commands(scenario: &Scenario, options: &str, session: &Session) -> String {
    let has = |option: &str| options.split(' ').any(|word| word == option);
    let facts = &session.facts;
    let own = has("--self");
    let said = [
        ("--nocb", "nocallback"),
        ("--nullroutine", "noroutine"),
        ("--nofile", "nofile"),
        ("--rofile", "readonly"),
    ];
    let said: String = said
        .iter()
        .filter(|(option, _)| has(option))
        .map(|(_, word)| *word)
        .collect();
    let id = match () {
        () if has("--zeropid") => 0,
        () if has("--badpid") => 0x7fff_fff0,
        () => facts.id,
    };
    let handle = match () {
        () if has("--nullproc") => 0,
        () if has("--badproc") => 0x7ffc,
        () => facts.id,
    };
    let mut text = "new\n".to_owned() + &session.threads();
    let [output, _] = session.outputs();
    text += &format!("output {}\n", windows::path(&output).to_string_lossy());
    text += &format!(
        "dump {:#x} {} {id} {handle} {said}-\n",
        scenario.dump_type, facts.id
    );
    text += &format!("quiet {}\n", scenario.options.quiet);
    if let Some(only) = scenario.options.only {
        text += &format!("only {} {}\n", only.start(), only.end());
    }
    if let Some(number) = scenario.options.exception {
        text += &format!("exception {}\n", facts.threads[number as usize].id);
    }
    for stream in &scenario.options.user_streams {
        let is_null = u8::from(stream.is_null);
        text += &format!("stream {:#x} {} {is_null}\n", stream.stream_type, stream.size);
    }
    if scenario.options.named_threads {
        for (thread, name) in facts.threads.iter().zip(scenario::THREAD_NAMES) {
            text += &name.map_or_else(String::new, |name| format!("name {} {name}\n", thread.id));
        }
    }
    for failing in &scenario.options.failing {
        let all = u8::from(!failing.only_long_reads);
        text += &format!("fail {} {} {all}\n", failing.range.start(), failing.range.len());
    }
    for (is_set, line) in [
        (scenario.options.windows_reads, "winread\n"),
        (scenario.options.snapshot, "snapshot\n"),
        (own, "self\n"),
    ] {
        text += if is_set { line } else { "" };
    }
    let threads: Vec<_> = facts.threads.iter().map(|thread| thread.id).collect();
    text + &client::rules(scenario, &threads) + "run\n"
}

/// Replaces addresses and thread ids that `client.c` has marked, `{ADDRESS}` and `(THREAD)`, by
/// names.
fn named(line: &str, facts: &Facts) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['{', '(']) {
        let Some(len) = rest[at..].find(['}', ')']) else {
            break;
        };
        let value = &rest[at + 1..at + len];
        text += &rest[..at];
        text += &match u64::from_str_radix(value, 16) {
            Ok(address) if rest[at..].starts_with('{') => facts.show(address),
            _ => facts.thread(value.parse().unwrap_or(0)),
        };
        rest = &rest[at + len + 1..];
    }
    text += rest;
    match text.split_once(" | pre: ") {
        Some((facts_of_it, answers)) => {
            let note = stack_note(line, facts);
            format!("{facts_of_it}{note} | pre: {answers}")
        }
        None => text,
    }
}

/// Returns the note about a thread's stack that the recordings have instead of its end address.
fn stack_note(line: &str, facts: &Facts) -> String {
    let value = |key: &str| {
        let text = line.split(' ').find_map(|word| word.strip_prefix(key))?;
        u64::from_str_radix(text.trim_matches(['{', '}']), 16).ok()
    };
    let id = line.split(' ').find_map(|word| word.strip_prefix("tid=("));
    let id = id.and_then(|id| id.trim_end_matches(')').parse::<u32>().ok());
    let thread = facts.threads.iter().find(|thread| Some(thread.id) == id);
    match thread {
        Some(thread) if value("stackbase=") == Some(thread.stack_base) => {
            let is_pointer = value("stackend=") == value("rsp=");
            format!(
                " [stackbase=TEB.StackBase{}]",
                if is_pointer { ",stackend=rsp" } else { "" }
            )
        }
        _ => String::new(),
    }
}

/// Runs a scenario. Returns its transcript and the summary of the dump.
fn transcript(
    session: &mut Session,
    scenario: &Scenario,
    options: &str,
    has_characteristics: bool,
) -> Result<String, String> {
    let commands = commands(scenario, options, session);
    let told = session.ask(&commands)?;
    let facts = &session.facts;
    let mut text: String = told.lines().map(|line| named(line, facts) + "\n").collect();
    let wishes = Wishes {
        characteristics: has_characteristics,
        ..Wishes::of(options, &scenario.options, facts)
    };
    let [given, own] = session.outputs().map(|file| fs::read(file).unwrap_or_default());
    if own.is_empty() {
        text += &summary::summarize(&given, facts, &wishes);
    } else {
        text += "D [data written through IoWriteAll]\n";
        text += &summary::summarize(&own, facts, &wishes);
        text += &format!("D given file bytes={:#x}\n", given.len());
    }
    Ok(text)
}

/// The number of scenarios that must be equal with `dumpwright.dll` on each level, so that a new
/// line in the list of exceptions cannot hide a regression. The goals were 450, 430 and 300.
const AT_LEAST: [usize; 3] = [461, 468, 337];

/// The same for the scenarios of 2026.
const AT_LEAST_10: [usize; 3] = [578, 587, 445];

/// MiniDumpWithIndirectlyReferencedMemory.
const INDIRECT: u32 = 0x40;

/// The three levels on which transcripts are compared.
const LEVELS: [&str; 3] = ["result", "dialogue", "dump"];

struct Levels {
    parts: Parts,
    dump: Vec<String>,
}

impl Levels {
    fn of(transcript: &str, origin: &Origin, dump_type: u32) -> Self {
        let lines = transcript
            .lines()
            .map(|line| origin.in_words(&without_stack_base(line)));
        let text: String = lines.map(|line| line + "\n").collect();
        let mut dump: Vec<_> = text.lines().filter_map(summary_line).collect();
        // Which parts of stacks and of the program the words on a stack point to depends on how the
        // program was compiled.
        let depends = |line: &String| line.starts_with("D  mem stk") || line.starts_with("D  mem target+0x");
        dump.retain(|line| dump_type & INDIRECT == 0 || !depends(line));
        // The order of memory lists has no meaning.
        dump.sort_by_key(|line| line.starts_with("D  mem").then(|| line.clone()));
        Self {
            parts: Parts::of(&text),
            dump,
        }
    }

    fn differences(&self, other: &Self) -> [Option<String>; 3] {
        let result = (self.parts.result != other.parts.result).then(|| {
            format!(
                "recorded {}\n        here     {}",
                self.parts.result, other.parts.result
            )
        });
        [
            result,
            first_difference(&self.parts.dialogue, &other.parts.dialogue),
            first_difference(&self.dump, &other.dump),
        ]
    }
}

fn first_difference(recorded: &[String], here: &[String]) -> Option<String> {
    let longest = recorded.len().max(here.len());
    let at = (0..longest).find(|at| recorded.get(*at) != here.get(*at))?;
    let side = |lines: &[String]| lines.get(at).map_or("(nothing)", String::as_str).to_owned();
    Some(format!(
        "recorded {}\n        here     {}",
        side(recorded),
        side(here)
    ))
}

/// Removes the end address of a stack from a line that has the note about it, because anything may
/// follow a stack.
fn without_stack_base(line: &str) -> String {
    if !line.contains("[stackbase=TEB.StackBase") {
        return line.to_owned();
    }
    let words = line.split(' ').map(|word| match word {
        word if word.starts_with("stackbase=") => "stackbase=*",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the part of a summary line that is compared: without offsets, the size of the file, the
/// sizes of memory lists, ranges in allocations without a name, and the parts of compressed memory.
/// Which regions share a bucket is the writer's choice.
fn summary_line(line: &str) -> Option<String> {
    let skipped = ["D file bytes", "D  ranges", "D  cregion", "D  cbucket", "D  cmem"]
        .iter()
        .any(|start| line.starts_with(start))
        || line.contains("Unused")
        || [" mem A", " mem 0x", " mem64 A"]
            .iter()
            .any(|range| line.contains(range));
    if !line.starts_with("D ") || skipped {
        return None;
    }
    let is_list = ["MemoryList", "Memory64List", "MemoryInfoList"]
        .iter()
        .any(|name| line.contains(&format!(" {name} ")));
    let words = line.split(' ').map(|word| match word.split_once("=0x") {
        Some((key @ ("rva" | "base" | "sum" | "tds"), _)) => format!("{key}=*"),
        Some(("size", _)) if is_list => "size=*".to_owned(),
        _ => word.to_owned(),
    });
    Some(words.collect::<Vec<_>>().join(" "))
}

/// The recordings of one version of DbgHelp, in `testdata/oracle`.
#[derive(Clone, Copy)]
struct Recording {
    /// The folder, with a slash at its end, or empty.
    folder: &'static str,
    /// The files with the scenarios.
    scenarios: &'static [&'static str],
    /// The profile of our library that follows this version.
    profile: &'static str,
    /// A part of a line of a summary that depends on Wine, and the part that the recordings have
    /// instead.
    by_wine: Option<(&'static str, &'static str)>,
    /// Whether the recordings have the DllCharacteristics of modules.
    has_characteristics: bool,
}

const DBGHELP63: Recording = Recording {
    folder: "",
    scenarios: &["scenarios.txt"],
    profile: "dbghelp63",
    by_wine: None,
    has_characteristics: false,
};
/// DbgHelp of January 2026.
const DBGHELP10: Recording = Recording {
    folder: "10.0.29507/",
    scenarios: &["scenarios.txt", "10.0.29507/scenarios.txt"],
    profile: "dbghelp10",
    // MINIDUMP_MISC4_BUILDSTRING: this DbgHelp finds no build string under Wine.
    by_wine: Some(("miscinfo size=1364 flags1=0x1", "miscinfo size=1364 flags1=0x")),
    has_characteristics: true,
};

/// A library under test.
struct Subject {
    /// Its name in messages, and the name of the folder for its transcripts.
    name: &'static str,
    library: PathBuf,
    recording: Recording,
}

/// All differences by scenario and level, and the number of equal scenarios on each level.
struct Outcome {
    differences: BTreeMap<String, [Option<String>; 3]>,
    equal: [usize; 3],
    total: usize,
}

fn hold_all(subject: &Subject) -> Outcome {
    let Recording {
        folder: recordings,
        scenarios,
        profile,
        by_wine,
        has_characteristics,
    } = subject.recording;
    let text: String = scenarios.iter().map(|file| data(file)).collect();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let recorded = origin::recorded(&data("target.txt"));
    let mut outcome = Outcome {
        differences: BTreeMap::new(),
        equal: [0; 3],
        total: lines.len(),
    };
    let folder =
        std::env::var_os("DUMPWRIGHT_TRANSCRIPTS").map(|folder| Path::new(&folder).join(subject.name));
    let only = std::env::var("DUMPWRIGHT_ONLY").unwrap_or_default();
    let mut run = |session: &mut Session, line: &str| {
        let scenario = scenario::parse(line, &session.facts.names).remove(0);
        let options = line.splitn(3, '|').nth(2).unwrap_or_default();
        let origin = live_origin(&session.facts);
        let dump_type = scenario.dump_type;
        let (mut transcript, died) = match transcript(session, &scenario, options, has_characteristics) {
            Ok(transcript) => (transcript, false),
            Err(rest) => (rest, true),
        };
        if let Some(folder) = &folder {
            fs::create_dir_all(folder).expect("a folder for transcripts");
            fs::write(folder.join(format!("{}.txt", scenario.name)), &transcript).expect("a file in it");
        }
        if let Some((here, recorded)) = by_wine {
            transcript = transcript.replace(here, recorded);
        }
        let recording = data(&format!("{recordings}traces/{}.txt", scenario.name));
        let differences = Levels::of(&recording, &recorded, dump_type).differences(&Levels::of(
            &transcript,
            &origin,
            dump_type,
        ));
        for (count, difference) in outcome.equal.iter_mut().zip(&differences) {
            *count += usize::from(difference.is_none());
        }
        if differences.iter().any(Option::is_some) {
            outcome.differences.insert(scenario.name, differences);
        }
        died
    };
    let is_snapshot = |line: &str| line.contains("--pss");
    // The first two kinds show the client's own modules, and other scenarios may have loaded some.
    // The third changes the names of the twin's threads. So each gets its own client and twin.
    let is_alone = |line: &str| {
        ["--self", "--zeropid", "--names"]
            .iter()
            .any(|option| line.contains(option))
    };
    let chosen = lines.iter().filter(|line| line.contains(&only));
    let (alone, others): (Vec<&str>, Vec<&str>) = chosen.partition(|line| is_alone(line));
    for snapshots in [false, true] {
        let mut session = None;
        for line in others.iter().filter(|line| is_snapshot(line) == snapshots) {
            let current = session.get_or_insert_with(|| Session::start(&subject.library, profile, snapshots));
            if run(current, line) {
                session = None;
            }
        }
    }
    for line in alone {
        run(&mut Session::start(&subject.library, profile, false), line);
    }
    outcome
}

fn live_origin(facts: &Facts) -> Origin {
    Origin {
        pointers: facts
            .threads
            .iter()
            .enumerate()
            .map(|(number, thread)| thread.stack_pointer - facts.names.address(&format!("stk{number}")))
            .collect(),
        parts: facts.parts.clone(),
        image: facts.names.end("target") - facts.names.address("target"),
        open: facts.open,
    }
}

impl Outcome {
    fn print(&self, name: &str) {
        let counts: Vec<_> = LEVELS
            .iter()
            .zip(self.equal)
            .map(|(level, count)| format!("{count} in {level}"))
            .collect();
        println!(
            "{name}: of {} scenarios, equal are {}",
            self.total,
            counts.join(", ")
        );
    }

    /// Compares with the known differences, one per line: `NAME | LEVELS | REASON`. Returns a
    /// message for each surprise.
    fn surprises(&self, exceptions: &str) -> Vec<String> {
        let lines = exceptions.lines().filter(|line| !line.starts_with('#'));
        let mut known: BTreeMap<&str, &str> = lines
            .map(|line| {
                let mut fields = line.splitn(3, " | ");
                let mut field = || fields.next().expect("NAME | LEVELS | REASON");
                let (name, levels, _) = (field(), field(), field());
                (name, levels)
            })
            .collect();
        let mut surprises = Vec::new();
        for (name, differences) in &self.differences {
            let known = known.remove(name.as_str()).unwrap_or_default();
            for (level, difference) in LEVELS.iter().zip(differences) {
                match (difference, known.split(' ').any(|known| known == *level)) {
                    (None, true) => {
                        surprises.push(format!("{name}: {level} is equal: correct its exception"))
                    }
                    (Some(difference), false) => {
                        surprises.push(format!("{name}: {level}\n        {difference}"));
                    }
                    _ => {}
                }
            }
        }
        surprises.extend(
            known
                .keys()
                .map(|name| format!("{name} is equal or not a scenario: remove its exception")),
        );
        surprises
    }
}

fn judge(subject: &Subject, exceptions: &str, at_least: [usize; 3]) {
    let outcome = hold_all(subject);
    outcome.print(subject.name);
    let surprises = outcome.surprises(&data(exceptions));
    assert!(
        surprises.is_empty(),
        "{} surprises of {}; what is known of it is in {exceptions}\n{}",
        surprises.len(),
        subject.name,
        surprises.join("\n")
    );
    for (level, (count, least)) in LEVELS.iter().zip(outcome.equal.iter().zip(at_least)) {
        assert!(*count >= least, "{level}: {count}, which were {least}");
    }
}

/// Tests the harness itself: with the DLL that was recorded, its transcripts are the recordings.
#[test]
fn dialogues_of_microsofts_library_are_those_that_were_recorded() {
    // Under its own name, Wine would load its own library instead.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let library = folder.path().join("msdbghelp.dll");
    fs::copy(windows::cache().join("dbgeng-6.3/dbghelp.dll"), &library)
        .expect("cargo xtask windows has brought it");
    let subject = Subject {
        name: "Microsoft's dbghelp.dll 6.3.9600",
        library,
        recording: DBGHELP63,
    };
    judge(&subject, "microsoft-exceptions.txt", [476, 475, 474]);
}

/// Tests `dumpwright.dll`. Its known deviations are in `windows-exceptions.txt`.
#[test]
fn recorded_scenarios_are_repeated_by_our_library() {
    let subject = Subject {
        name: "dumpwright.dll",
        library: windows::library().to_owned(),
        recording: DBGHELP63,
    };
    judge(&subject, "windows-exceptions.txt", AT_LEAST);
}

/// Tests `dumpwright.dll` with the profile `dbghelp10`. Its known deviations from the DbgHelp of
/// 2026 are in `10.0.29507/windows-exceptions.txt`.
#[test]
fn scenarios_of_2026_are_repeated_by_our_library() {
    let subject = Subject {
        name: "dumpwright.dll as dbghelp10",
        library: windows::library().to_owned(),
        recording: DBGHELP10,
    };
    judge(&subject, "10.0.29507/windows-exceptions.txt", AT_LEAST_10);
}

/// Measures another library, or records it: the one that `DUMPWRIGHT_PEERS` names, or Wine's own if
/// that is `wine`. No result is required.
#[test]
#[ignore = "measures another library, which may take long; see testdata/oracle/README.md"]
fn another_library_is_measured() {
    let library = match std::env::var("DUMPWRIGHT_PEERS").as_deref() {
        Ok("wine") => windows::cache().join("wine/drive_c/windows/system32/dbghelp.dll"),
        Ok(path) => PathBuf::from(path),
        Err(_) => panic!("set DUMPWRIGHT_PEERS to the path of the library, or to `wine`"),
    };
    assert!(library.is_file(), "{}", library.display());
    let subject = Subject {
        name: "another library",
        library,
        recording: DBGHELP63,
    };
    println!("another library is {}", subject.library.display());
    hold_all(&subject).print(subject.name);
}

/// Records all transcripts, and the facts about the twin, for `cargo xtask record`. Compares
/// nothing.
#[test]
#[ignore = "records; cargo xtask record calls it"]
fn dialogues_of_any_library_are_recorded() {
    let folder = std::env::var_os("DUMPWRIGHT_TRANSCRIPTS")
        .expect("DUMPWRIGHT_TRANSCRIPTS is the folder for the transcripts");
    let library =
        std::env::var_os("DUMPWRIGHT_LIBRARY").expect("DUMPWRIGHT_LIBRARY is the library to be recorded");
    let copy = record::Copy::of(Path::new(&library));
    let subject = Subject {
        name: record::TRACES,
        library: copy.file().to_owned(),
        recording: DBGHELP63,
    };
    hold_all(&subject);
    record::describe(Path::new(&folder), &subject.library, Path::new(&library));
}
