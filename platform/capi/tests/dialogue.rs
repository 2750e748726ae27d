//! Repeats the recorded dialogues of Microsoft's DbgHelp with a C program and a live Linux process.
//!
//! Would catch: a callback type that is sent to C code with another number, in another order, with
//! another process id or handle, or with another default answer; an answer of C code that has
//! another effect than with DbgHelp; another error code.
//!
//! `testdata/oracle` contains the recordings, and `tests/engine/conformance.rs` repeats them in
//! Rust on a simulated process. Here the shared library dumps the process of `twin.c`, and
//! `client.c` answers by the same rules. What necessarily differs between the two systems is not
//! compared: names and numbers of modules, regions that the rules do not name, addresses. Scenarios
//! that differ for other reasons are listed in `linux-exceptions.txt`.

#[path = "support/client.rs"]
mod client;
#[path = "support/mod.rs"]
mod support;
#[path = "support/twin.rs"]
#[allow(dead_code)]
mod twin;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use dumpwright_fixtures::recorded::scenario::{self, Scenario};
use twin::Twin;

/// The number of dialogues that must be equal, so that a new line in the list of exceptions cannot
/// hide a regression. The goal was about 350.
const AT_LEAST: usize = 374;

/// The marks that `client.c` puts around an address that is to be replaced by a name.
const ADDRESS: (char, char) = ('{', '}');
/// The marks around a thread id.
const THREAD: (char, char) = ('(', ')');

/// Callback types that depend on how reads and writes are done, and are not compared; see
/// `tests/engine/conformance/compare.rs`.
const SERVICE: [&str; 4] = ["IoWriteAll", "VmPreRead", "VmPostRead", "VmQuery"];

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/oracle")
}

fn data(name: &str) -> String {
    let path = recordings().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the reason why a scenario cannot be repeated with a live process, if there is one.
fn impossible(scenario: &Scenario, line: &str) -> Option<&'static str> {
    let options = &scenario.options;
    if options.snapshot {
        return Some("Linux has no snapshots");
    }
    if !options.failing.is_empty() {
        return Some("reads of a live process cannot be made to fail");
    }
    if line.contains("VmQuery") || line.contains("query") {
        return Some("VmQuery would be answered with regions of the Windows process");
    }
    if options.not_the_target {
        return Some("recorded with another process");
    }
    None
}

/// Returns the commands for `client.c` that describe a scenario.
fn commands(scenario: &Scenario, twin: &Twin) -> String {
    let options = &scenario.options;
    let mut option = String::new();
    for (is_set, name) in [
        (options.no_callback, "nocallback"),
        (options.no_file, "nofile"),
        (options.read_only_file, "readonly"),
    ] {
        option += if is_set { name } else { "" };
    }
    let id = if options.unknown_process {
        0x7fff_fff0
    } else {
        twin.id
    };
    let handle = match options.invalid_handle {
        Some("0") => 0,
        Some(_) => 0x7fff_fff1,
        None => id,
    };
    let mut text = format!(
        "dump {:#x} {} {id} {handle} {option}-\n",
        scenario.dump_type, twin.id
    );
    if let Some(number) = options.exception {
        text += &format!("exception {}\n", twin.threads[number as usize]);
    }
    text += &client::rules(scenario, &twin.threads);
    text + "run\n"
}

/// Replaces addresses and thread ids that `client.c` has marked by names.
fn named(line: &str, twin: &Twin) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find([ADDRESS.0, THREAD.0]) {
        let end = at
            + rest[at..]
                .find([ADDRESS.1, THREAD.1])
                .expect("marks come in pairs");
        let value = &rest[at + 1..end];
        text += &rest[..at];
        text += &if rest[at..].starts_with(ADDRESS.0) {
            twin.show(u64::from_str_radix(value, 16).expect("hexadecimal"))
        } else {
            let id: u32 = value.parse().expect("a thread id");
            let number = twin.threads.iter().position(|known| *known == id);
            number.map_or_else(|| format!("tid?{id}"), |number| format!("t{number}"))
        };
        rest = &rest[end + 1..];
    }
    text + rest
}

/// The parts of a dialogue that are compared.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    questions: Vec<String>,
    result: String,
}

impl Parts {
    /// Extracts the parts from a transcript. `is_printed` tells from a callback type, its index and
    /// the rest of its line whether the recording would contain it.
    fn of(transcript: &str, is_printed: impl Fn(&str, u32, &str) -> bool) -> Self {
        let mut parts = Self::default();
        // The order and number of modules differ between the systems. So the calls about modules
        // are compared as a set of the different calls about each kind of module.
        let mut modules = BTreeSet::new();
        let mut has_cancel = false;
        for line in transcript.lines() {
            if line.starts_with("== result") {
                parts.questions.extend(std::mem::take(&mut modules));
                parts.result = result(line);
            }
            let Some((kind, index, question)) = question(line) else {
                continue;
            };
            if !is_printed(kind, index, question) {
                continue;
            }
            let skipped =
                SERVICE.contains(&kind) || kind == "Cancel" && std::mem::replace(&mut has_cancel, true);
            if skipped {
                continue;
            }
            if kind == "IncludeModule" || kind == "Module" {
                if modules
                    .first()
                    .is_some_and(|known: &String| !known.starts_with(kind))
                {
                    parts.questions.extend(std::mem::take(&mut modules));
                }
                modules.insert(module(kind, question));
                continue;
            }
            parts.questions.extend(std::mem::take(&mut modules));
            if kind == "IncludeVmRegion" && !question.contains("base=PRIV") {
                continue;
            }
            parts.questions.push(format!("{kind} {}", common(question)));
        }
        parts
    }

    fn difference(&self, other: &Self) -> Option<String> {
        let longest = self.questions.len().max(other.questions.len());
        let side = |parts: &Self, at: usize| {
            parts
                .questions
                .get(at)
                .map_or("(nothing)", String::as_str)
                .to_owned()
        };
        (0..longest)
            .find(|at| self.questions.get(*at) != other.questions.get(*at))
            .map(|at| (side(self, at), side(other, at)))
            .or_else(|| (self.result != other.result).then(|| (self.result.clone(), other.result.clone())))
            .map(|(recorded, here)| format!("recorded {recorded}\n    here     {here}"))
    }
}

/// Splits a line into the callback type, its index among the calls of its type, and the rest.
fn question(line: &str) -> Option<(&str, u32, &str)> {
    let (_, question) = line.strip_prefix('#')?.split_once(' ')?;
    let (head, rest) = question.split_once(' ')?;
    let (kind, index) = head.split_once('@')?;
    Some((kind, index.parse().ok()?, rest))
}

/// Whether the harness that made the recordings was told to print this call.
fn is_printed(scenario: &Scenario, twin: &Twin, kind: &str, index: u32, question: &str) -> bool {
    let quiet = |bit| scenario.options.quiet & bit != 0;
    let is_repeated = index > 2 && question.contains("ret=1");
    match kind {
        "Cancel" | "IoWriteAll" => !quiet(1),
        "Memory" | "RemoveMemory" => !(quiet(8) && is_repeated),
        "Module" | "IncludeModule" => !quiet(16),
        "Thread" | "ThreadEx" | "IncludeThread" => !quiet(128),
        // Only the region of PRIV is compared.
        "IncludeVmRegion" => {
            let shown = scenario.options.only;
            !quiet(4) && shown.is_none_or(|shown| shown.contains(twin.names.address("PRIV")))
        }
        _ => true,
    }
}

/// Returns a call without the facts that differ between the two systems.
fn common(question: &str) -> String {
    const FACTS: [&str; 9] = [
        "in:", "pid", "h", "tid", "ctxsize", "ctxflags", "file", "flags", "status",
    ];
    // Keys of an answer that describe a region of the process.
    const REGION: [&str; 5] = ["abase", "aprot", "state", "prot", "type"];
    let (facts, answers) = question.split_once(" | ").unwrap_or((question, ""));
    let key = |word: &str| word.split('=').next().unwrap_or_default().to_owned();
    let facts = facts.split(' ').filter(|word| FACTS.contains(&&*key(word)));
    let answers = answers.split(' ').filter(|word| !REGION.contains(&&*key(word)));
    facts.chain(answers).collect::<Vec<_>>().join(" ")
}

/// Returns a call about a module, with the kind of the module instead of its name.
fn module(kind: &str, question: &str) -> String {
    let base = question.split(' ').find_map(|word| word.strip_prefix("base="));
    let sort = match base.unwrap_or_default() {
        known @ ("target" | "extra") => known,
        _ => "system",
    };
    format!("{kind} {sort} {}", common(question))
}

/// Returns the outcome, the error code and the number of calls of each type. For modules and
/// regions it only tells whether there were any.
fn result(line: &str) -> String {
    let succeeded = line.contains("result=1");
    let words = line.split(' ').filter_map(|word| {
        let (kind, _) = word.split_once(':').unwrap_or((word, ""));
        match kind {
            "Module" | "IncludeModule" | "IncludeVmRegion" => Some(kind.to_owned()),
            "Cancel" => None,
            _ if SERVICE.contains(&kind) => None,
            _ if kind.starts_with("callbacks=") || kind.starts_with("left_suspended=") => None,
            _ if kind.starts_with("err=") && succeeded => None,
            _ => Some(word.to_owned()),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Returns the scenarios that are known to differ, each with the reason.
fn exceptions() -> BTreeMap<String, String> {
    let text = data("linux-exceptions.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once(" | ").expect("NAME | REASON"));
    pairs
        .map(|(name, reason)| (name.to_owned(), reason.to_owned()))
        .collect()
}

#[test]
fn recorded_dialogues_are_held_with_a_c_program() {
    let twin = Twin::start();
    let client = support::program_of(&["client.c", "client_linux.c"], "client", "gcc", &[]);
    let scenarios = data("scenarios.txt");
    let lines: Vec<&str> = scenarios.lines().filter(|line| !line.starts_with('#')).collect();
    let mut possible = Vec::new();
    let mut left_out = BTreeMap::new();
    for (scenario, line) in scenario::parse(&scenarios, &twin.names).into_iter().zip(lines) {
        match impossible(&scenario, line) {
            Some(reason) => *left_out.entry(reason).or_insert(0) += 1,
            None => possible.push(scenario),
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let input = folder.path().join("scenarios");
    let text: String = possible
        .iter()
        .map(|scenario| commands(scenario, &twin))
        .collect();
    fs::write(&input, text).expect("a file in it");
    let output = Command::new(&client)
        .env("DUMPWRIGHT_PROFILE", "dbghelp63")
        .stdin(File::open(&input).expect("just written"))
        .output()
        .expect("it was just built");
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let output = String::from_utf8(output.stdout).expect("ASCII");
    // Each dialogue ends with its result.
    let mut transcripts = Vec::new();
    let mut current = String::new();
    for line in output.lines() {
        current += &named(line, &twin);
        current.push('\n');
        if line.starts_with("== result") {
            transcripts.push(std::mem::take(&mut current));
        }
    }
    assert_eq!(transcripts.len(), possible.len());

    let exceptions = exceptions();
    let mut equal = 0;
    let mut surprises = Vec::new();
    for (scenario, transcript) in possible.iter().zip(&transcripts) {
        let name = &scenario.name;
        let recorded = Parts::of(&data(&format!("traces/{name}.txt")), |_, _, _| true);
        let here = Parts::of(transcript, |kind, index, question| {
            is_printed(scenario, &twin, kind, index, question)
        });
        match (recorded.difference(&here), exceptions.get(name)) {
            (None, None) => equal += 1,
            (None, Some(_)) => surprises.push(format!(
                "{name}\n    is equal: take it out of linux-exceptions.txt"
            )),
            (Some(_), Some(reason)) => println!("{name} differs: {reason}"),
            (Some(difference), None) => surprises.push(format!("{name}\n    {difference}")),
        }
    }
    for (reason, count) in &left_out {
        println!("{count} left out: {reason}");
    }
    println!(
        "{equal} of {} dialogues are equal, {} are exceptions",
        possible.len(),
        exceptions.len()
    );
    for name in exceptions.keys() {
        assert!(
            possible.iter().any(|scenario| scenario.name == *name),
            "{name} is not repeated"
        );
    }
    assert!(
        surprises.is_empty(),
        "{} surprises:\n{}",
        surprises.len(),
        surprises.join("\n")
    );
    assert!(equal >= AT_LEAST, "{equal}");
    twin.end();
}
