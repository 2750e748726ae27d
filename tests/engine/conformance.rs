//! The dialogues of the profile `dbghelp63`, compared with recordings of Microsoft's DbgHelp
//! 6.3.9600.
//!
//! Would catch: a call that comes too often or too early, or with other facts or defaults than
//! Windows' writer has; an answer with another effect; another error code; a scenario that was
//! equal and no longer is.
//!
//! `testdata/oracle` has the scenarios, the recorded transcripts, and what is known about the
//! process that was dumped. These tests dump a twin of that process by the same rules and compare
//! the transcripts. Recordings of other versions are in folders below it, where
//! `cargo xtask conformance --import` puts them. They are compared with the profile for their
//! version.

mod recorder;
mod twin;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dumpwright::{Callback, DumpType, Profile, Request, Sink, dump};
use recorder::{FILE_HANDLE, Recorder};
use twin::{Facts, Twin};

use crate::support::recorded::compare::Parts;
use crate::support::recorded::scenario::{self, Options, Scenario};

/// The number of equal scenarios. 380 were the goal. New exceptions must not hide lost scenarios.
const AT_LEAST: usize = 469;

fn data(name: &str) -> String {
    text(&folder().join(name))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oracle")
}

/// A file that may or may not be writable.
struct Output<'o>(&'o Options);

impl Sink for Output<'_> {
    fn append(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        if self.0.read_only_file {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(())
    }
}

/// Dumps the twin as the scenario describes, and returns the transcript.
fn rehearse(facts: &Facts, scenario: &Scenario, profile: Profile) -> String {
    let options = &scenario.options;
    let mut twin = Twin { facts, options };
    let file = if options.no_file { 0 } else { FILE_HANDLE };
    let mut request = Request::new(DumpType::from_bits_retain(scenario.dump_type))
        .profile(profile)
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

/// The recordings of one version of DbgHelp.
struct Recording {
    folder: PathBuf,
    /// The profile that follows this version.
    profile: Profile,
}

impl Recording {
    /// The recording from which the profile dbghelp63 was made.
    fn first() -> Self {
        Self {
            folder: folder(),
            profile: Profile::DbgHelp63,
        }
    }

    /// The recordings of other versions, by folder; `None` if no profile follows the version.
    fn others() -> Vec<(String, Option<Self>)> {
        let folders = fs::read_dir(folder()).expect("it is there");
        let mut others: Vec<_> = folders
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.join("about.txt").is_file())
            .map(|folder| {
                let about = text(&folder.join("about.txt"));
                let version = about.lines().find_map(|line| line.strip_prefix("version "));
                let version = version.expect("a version").to_owned();
                let profile = match version.split('.').next() {
                    Some("6") if version.starts_with("6.3.") => Some(Profile::DbgHelp63),
                    Some("10") => Some(Profile::DbgHelp10),
                    _ => None,
                };
                (version, profile.map(|profile| Self { folder, profile }))
            })
            .collect();
        others.sort_by(|one, other| one.0.cmp(&other.0));
        others
    }

    fn facts(&self) -> Facts {
        Facts::parse(&text(&self.folder.join("target.txt")))
    }

    /// The first difference between the recording and the rehearsal.
    fn difference(&self, facts: &Facts, scenario: &Scenario) -> Option<String> {
        let recorded = self.folder.join(format!("traces/{}.txt", scenario.name));
        let recorded = Parts::of(&text(&recorded));
        if scenario.options.not_the_target {
            return Some("recorded with another process".to_owned());
        }
        recorded.difference(&Parts::of(&rehearse(facts, scenario, self.profile)))
    }

    /// All scenarios with their differences.
    fn differences(&self) -> Vec<(String, Option<String>)> {
        let facts = self.facts();
        let scenarios = scenario::parse(&data("scenarios.txt"), &facts.names);
        let compared = scenarios.into_iter().map(|scenario| {
            let difference = self.difference(&facts, &scenario);
            (scenario.name, difference)
        });
        compared.collect()
    }

    /// Scenarios that are known to differ, each with its reason.
    fn exceptions(&self) -> BTreeMap<String, String> {
        exceptions(&text(&self.folder.join("exceptions.txt")))
    }
}

fn exceptions(text: &str) -> BTreeMap<String, String> {
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
    let equal = compare(&Recording::first(), "6.3.9600");
    assert!(equal >= AT_LEAST, "{equal}");
}

#[test]
fn recorded_dialogues_of_other_versions_are_repeated() {
    for (version, recording) in Recording::others() {
        match recording {
            Some(recording) => drop(compare(&recording, &version)),
            None => println!("{version}: no profile claims to behave as this version does"),
        }
    }
}

/// Writes the differences of an imported recording into its list of exceptions, so that later
/// changes are noticed. `cargo xtask conformance --import` runs this.
#[test]
#[ignore = "writes the exceptions of an imported recording"]
fn differences_of_an_imported_recording_are_written_down() {
    let imported = std::env::var("DUMPWRIGHT_IMPORTED").expect("the version");
    let others = Recording::others().into_iter();
    let mut wanted = others.filter(|(version, _)| *version == imported);
    let (_, recording) = wanted.next().expect("it was placed there");
    let Some(recording) = recording else {
        println!("{imported}: no profile claims to behave as this version does; nothing is compared");
        return;
    };
    let differences = recording.differences();
    let mut text = "# Scenarios whose dialogue or result differs here from the recording: NAME | REASON. A line whose scenario has
# become equal fails the test. Reasons that begin with \"as imported\" are first differences that nobody has explained yet.
"
    .to_owned();
    let mut count = 0;
    for (name, difference) in &differences {
        if let Some(difference) = difference {
            let difference = difference.split_whitespace().collect::<Vec<_>>().join(" ");
            text += &format!("{name} | as imported: {difference}\n");
            count += 1;
        }
    }
    fs::write(recording.folder.join("exceptions.txt"), text).expect("a file beside them");
    println!(
        "{imported}: {} of {} scenarios are equal, {count} are exceptions now",
        differences.len() - count,
        differences.len()
    );
}

/// Returns the number of equal scenarios. Fails if other scenarios differ than the exceptions.
fn compare(recording: &Recording, version: &str) -> usize {
    let differences = recording.differences();
    let exceptions = recording.exceptions();
    let mut equal = 0;
    let mut unexpected = Vec::new();
    for (name, difference) in &differences {
        match (difference, exceptions.get(name)) {
            (None, None) => equal += 1,
            (None, Some(_)) => {
                unexpected.push(format!("{name}\n    is equal: take it out of exceptions.txt"))
            }
            (Some(_), Some(reason)) => println!("{name} differs: {reason}"),
            (Some(difference), None) => unexpected.push(format!("{name}\n    {difference}")),
        }
    }
    println!(
        "{version}: {equal} of {} scenarios are equal in dialogue and result, {} are exceptions",
        differences.len(),
        exceptions.len()
    );
    for name in exceptions.keys() {
        assert!(
            differences.iter().any(|(known, _)| known == name),
            "no scenario is called {name}"
        );
    }
    assert!(
        unexpected.is_empty(),
        "{} surprises:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    equal
}

/// Scenarios that show one block only have the same single reads: which pages are probed, which
/// part of a page is read after which answer, and what is repeated.
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
        let here = Parts::of(&rehearse(&facts, scenario, Profile::DbgHelp63));
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
