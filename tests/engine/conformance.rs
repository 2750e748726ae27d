//! The dialogues of the profiles `dbghelp63` and `dbghelp10`, compared with recordings of
//! Microsoft's DbgHelp 6.3.9600 and of the DbgHelp of January 2026 (10.0.29507).
//!
//! Would catch: a call that comes too often or too early, or with other facts or defaults than
//! Windows' writer has; an answer with another effect; another error code; a poll of Cancel or a
//! read at another place; another stream in the dump; a scenario that was equal and no longer is.
//!
//! `testdata/oracle` has the scenarios, the recorded transcripts, and what is known about the
//! process that was dumped. These tests dump a twin of that process by the same rules and compare
//! the transcripts. Recordings of other versions are in folders below it, where
//! `cargo xtask conformance --import` puts them. They are compared with the profile for their
//! version.

mod head;
mod recorder;
mod twin;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use dumpwright::{Callback, DumpType, Profile, Request, Sink, dump};
use head::Head;
use recorder::{FILE_HANDLE, Recorder};
use twin::{Facts, Twin};

use crate::support::recorded::compare::{LEVELS, Parts};
use crate::support::recorded::scenario::{self, Options, Scenario};

/// The number of scenarios of the first recording that are equal on each level. For dialogue and
/// result, 380 were the goal. New exceptions must not hide lost scenarios.
const AT_LEAST: [usize; LEVELS.len()] = [469, 471, 20, 41, 381];

/// The same for other recordings, by version.
const OTHERS_AT_LEAST: [(&str, [usize; LEVELS.len()]); 1] = [("10.0.29507", [587, 592, 26, 45, 487])];

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oracle")
}

/// A file that may or may not be writable. It keeps the beginning of the dump.
struct Output<'o> {
    options: &'o Options,
    head: Head,
}

impl Sink for Output<'_> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.options.read_only_file {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.head.store(at, bytes);
        Ok(())
    }

    fn check_amend(&self) -> io::Result<()> {
        match self.options.read_only_file {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.append(at, bytes)
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
    for stream in &options.user_streams {
        request = request.user_stream(stream.stream_type, vec![0x51; stream.size as usize]);
    }
    let mut recorder = Recorder::new(twin, &scenario.rules);
    let callback: Option<&mut dyn Callback> = (!options.no_callback).then_some(&mut recorder as _);
    let mut output = Output {
        options,
        head: Head::default(),
    };
    let outcome = dump(&mut twin, &request, callback, &mut output);
    recorder.finish(outcome.err().map(|error| error.hresult()), &output.head)
}

/// The recordings of one version of DbgHelp.
struct Recording {
    folder: PathBuf,
    /// The profile that follows this version.
    profile: Profile,
}

/// A scenario, compared.
struct Compared {
    name: String,
    /// The first difference on each of the [`LEVELS`], if there is one.
    differences: [Option<String>; LEVELS.len()],
    /// Whether the scenario shows anything on each of the levels: more than one poll, reads of
    /// named memory, a dump.
    shows: [bool; LEVELS.len()],
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

    /// The process that was dumped. If the recording does not describe it, it is the process of the
    /// first recording.
    fn facts(&self) -> Facts {
        let own = self.folder.join("target.txt");
        let described = if own.is_file() {
            own
        } else {
            folder().join("target.txt")
        };
        Facts::parse(&text(&described))
    }

    /// The scenarios: those of the first recording, and those that only this recording has.
    fn scenarios(&self) -> String {
        let mut scenarios = text(&folder().join("scenarios.txt"));
        let own = self.folder.join("scenarios.txt");
        if self.folder != folder() && own.is_file() {
            scenarios += &text(&own);
        }
        scenarios
    }

    /// Compares the recording of a scenario with the rehearsal.
    fn compare(&self, facts: &Facts, scenario: Scenario) -> Compared {
        let recorded = self.folder.join(format!("traces/{}.txt", scenario.name));
        let recorded = Parts::of(&text(&recorded));
        let differences = if scenario.options.not_the_target {
            let other = || Some("recorded with another process".to_owned());
            [other(), other(), None, None, None]
        } else {
            recorded.differences(&Parts::of(&rehearse(facts, &scenario, self.profile)))
        };
        Compared {
            name: scenario.name,
            differences,
            shows: [
                true,
                true,
                recorded.polls.len() > 1,
                !recorded.reads.is_empty(),
                recorded.has_dump(),
            ],
        }
    }

    /// Compares all scenarios.
    fn compare_all(&self) -> Vec<Compared> {
        let facts = self.facts();
        let scenarios = scenario::parse(&self.scenarios(), &facts.names).into_iter();
        scenarios.map(|scenario| self.compare(&facts, scenario)).collect()
    }

    /// Scenarios that are known to differ, each with its levels and the reason.
    fn exceptions(&self) -> BTreeMap<String, (String, String)> {
        exceptions(&text(&self.folder.join("exceptions.txt")))
    }
}

/// Parses lines `NAME | LEVELS | REASON`.
fn exceptions(text: &str) -> BTreeMap<String, (String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let fields: Vec<_> = line.splitn(3, " | ").collect();
            let [name, levels, reason] = fields[..] else {
                panic!("not NAME | LEVELS | REASON: {line}");
            };
            for level in levels.split(' ') {
                assert!(LEVELS.contains(&level), "no level is called {level}: {line}");
            }
            (name.to_owned(), (levels.to_owned(), reason.to_owned()))
        })
        .collect()
}

#[test]
fn recorded_dialogues_are_repeated() {
    compare(&Recording::first(), "6.3.9600", AT_LEAST);
}

#[test]
fn recorded_dialogues_of_other_versions_are_repeated() {
    for (version, recording) in Recording::others() {
        let known = OTHERS_AT_LEAST.iter().find(|(known, _)| *known == version);
        match recording {
            Some(recording) => compare(&recording, &version, known.map_or([0; 5], |(_, least)| *least)),
            None => println!("{version}: no profile claims to behave as this version does"),
        }
    }
}

/// Compares all scenarios. Fails if other scenarios differ than the exceptions, or if fewer than
/// `at_least` are equal on a level that they show something on.
fn compare(recording: &Recording, version: &str, at_least: [usize; LEVELS.len()]) {
    let compared = recording.compare_all();
    let exceptions = recording.exceptions();
    let (mut equal, mut shown) = ([0; LEVELS.len()], [0; LEVELS.len()]);
    let mut unexpected = Vec::new();
    for scenario in &compared {
        let name = &scenario.name;
        let (levels, reason) = exceptions.get(name).cloned().unwrap_or_default();
        for (index, level) in LEVELS.iter().enumerate() {
            let is_known = levels.split(' ').any(|known| known == *level);
            shown[index] += usize::from(scenario.shows[index]);
            match &scenario.differences[index] {
                None if is_known => unexpected.push(format!(
                    "{name}: {level}\n    is equal: correct its line in exceptions.txt"
                )),
                None => equal[index] += usize::from(scenario.shows[index]),
                Some(_) if is_known => println!("{name} differs in {level}: {reason}"),
                Some(difference) => unexpected.push(format!("{name}: {level}\n    {difference}")),
            }
        }
    }
    let counts = LEVELS.iter().zip(equal.iter().zip(shown));
    let counts: Vec<_> = counts
        .map(|(level, (equal, shown))| format!("{equal} of {shown} in {level}"))
        .collect();
    println!(
        "{version}: {} scenarios; equal are {}; {} have exceptions",
        compared.len(),
        counts.join(", "),
        exceptions.len()
    );
    for name in exceptions.keys() {
        assert!(
            compared.iter().any(|scenario| scenario.name == *name),
            "no scenario is called {name}"
        );
    }
    assert!(
        unexpected.is_empty(),
        "{} surprises:\n{}",
        unexpected.len(),
        unexpected.join("\n")
    );
    for (level, (equal, least)) in LEVELS.iter().zip(equal.iter().zip(at_least)) {
        assert!(*equal >= least, "{level}: {equal}, which were {least}");
    }
}
