//! The dialogue of profile `dbghelp63` against recordings of Microsoft's DbgHelp 6.3.9600.
//!
//! Would catch: a question that comes too often, too early, with other facts or defaults than Windows' writer has; an
//! answer that is obeyed differently; another error code; a scenario that was equal once and is not any more.
//!
//! `testdata/oracle` has the scenarios, the recorded transcripts and what is known of the process that was
//! dumped. A twin of that process is dumped here by the same rules, and both transcripts are compared.

#[path = "conformance/compare.rs"]
mod compare;
#[path = "conformance/names.rs"]
mod names;
#[path = "conformance/recorder.rs"]
mod recorder;
#[path = "conformance/scenario.rs"]
mod scenario;
#[path = "conformance/twin.rs"]
mod twin;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use compare::Parts;
use dumpwright::{Callback, DumpType, Profile, Request, Sink, dump};
use recorder::{FILE_HANDLE, Recorder};
use scenario::{Options, Scenario};
use twin::{Facts, Twin};

/// What has been reached, of 380 that were promised: new exceptions do not make up for lost scenarios.
const AT_LEAST: usize = 469;

fn data(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oracle")
}

/// A file that can be written to, or not.
struct Output<'o>(&'o Options);

impl Sink for Output<'_> {
    fn append(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        if self.0.read_only_file {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

/// Dumps the twin as the scenario says; returns the transcript.
fn rehearse(facts: &Facts, scenario: &Scenario) -> String {
    let options = &scenario.options;
    let mut twin = Twin { facts, options };
    let file = if options.no_file { 0 } else { FILE_HANDLE };
    let mut request = Request::new(DumpType::from_bits_retain(scenario.dump_type))
        .profile(Profile::DbgHelp63)
        .file_handle(file)
        .time(1);
    if let Some(number) = options.exception {
        request = request.exception(facts.exception(number));
    }
    let mut recorder = Recorder::new(twin, &scenario.rules);
    let callback: Option<&mut dyn Callback> = (!options.no_callback).then_some(&mut recorder as _);
    let outcome = dump(&mut twin, &request, callback, &mut Output(options));
    recorder.finish(outcome.err().map(|error| error.hresult()))
}

/// The first difference between the recording and the rehearsal.
fn difference(facts: &Facts, scenario: &Scenario) -> Option<String> {
    let recorded = Parts::of(&data(&format!("traces/{}.txt", scenario.name)));
    if scenario.options.not_the_target {
        return Some("recorded with another process".to_owned());
    }
    recorded.difference(&Parts::of(&rehearse(facts, scenario)))
}

/// Scenarios that are known to differ, each with its reason.
fn exceptions() -> BTreeMap<String, String> {
    let text = data("exceptions.txt");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(" | ").expect("NAME | REASON");
            (name.to_owned(), reason.to_owned())
        })
        .collect()
}

#[test]
fn recorded_dialogues_are_repeated() {
    let facts = Facts::parse(&data("target.txt"));
    let scenarios = scenario::parse(&data("scenarios.txt"), &facts.names);
    let exceptions = exceptions();
    let mut equal = 0;
    let mut unexpected = Vec::new();
    for scenario in &scenarios {
        let name = &scenario.name;
        match (difference(&facts, scenario), exceptions.get(name)) {
            (None, None) => equal += 1,
            (None, Some(_)) => {
                unexpected.push(format!("{name}\n    is equal: take it out of exceptions.txt"))
            }
            (Some(_), Some(reason)) => println!("{name} differs: {reason}"),
            (Some(difference), None) => unexpected.push(format!("{name}\n    {difference}")),
        }
    }
    println!(
        "{equal} of {} scenarios are equal in dialogue and result, {} are exceptions",
        scenarios.len(),
        exceptions.len()
    );
    for name in exceptions.keys() {
        assert!(
            scenarios.iter().any(|scenario| scenario.name == *name),
            "no scenario is called {name}"
        );
    }
    assert!(
        unexpected.is_empty(),
        "{} surprises:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    assert!(equal >= AT_LEAST, "{equal}");
}

/// Where a scenario shows one block only, even each single read is the same: what is probed, which part of a page is read
/// after which answer, what is tried again.
#[test]
fn recorded_reads_of_single_blocks_are_repeated() {
    let facts = Facts::parse(&data("target.txt"));
    let scenarios = scenario::parse(&data("scenarios.txt"), &facts.names);
    let mut with_reads = 0;
    for scenario in scenarios
        .iter()
        .filter(|scenario| scenario.options.only.is_some())
    {
        let recorded = Parts::of(&data(&format!("traces/{}.txt", scenario.name)));
        let here = Parts::of(&rehearse(&facts, scenario));
        let difference = recorded.difference_of_reads(&here);
        assert!(
            difference.is_none(),
            "{}\n    {}",
            scenario.name,
            difference.unwrap_or_default()
        );
        with_reads += usize::from(!recorded.reads.is_empty());
    }
    assert!(with_reads > 30, "{with_reads}");
}
