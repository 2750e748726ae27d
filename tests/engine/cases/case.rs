//! One folder of `testdata/cases`: the case and its results.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dumpwright::protocol::{Script, Status, Transcript};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use toml::de::{DeTable, DeValue};

use crate::support::{self, dumper};

/// The content of `case.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// What the case shows.
    pub about: String,
    /// The case whose `scenario.toml` it uses; by default its own.
    pub scenario: Option<String>,
    /// The dump type, as for `--type`.
    #[serde(rename = "type", default = "normal")]
    pub dump_type: String,
    /// More arguments for `dumpwright dump`.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// The profile, as for `--profile`.
    #[serde(default = "documented")]
    pub profile: String,
    /// The expected result of the dump.
    pub ending: Status,
    /// Whether every reader must find everything in the dump.
    #[serde(default)]
    pub whole: bool,
    /// The case with whose listing this case's is compared. They differ by `adds` and `lacks` only.
    pub compared_with: Option<String>,
    /// Lines that only this listing has, see [`Listing`].
    #[serde(default)]
    pub adds: Vec<String>,
    /// Lines that only the other listing has.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Whether the script causes the same callback types for a live process.
    #[serde(default)]
    pub live: bool,
}

fn normal() -> String {
    "normal".to_owned()
}

fn documented() -> String {
    "documented".to_owned()
}

/// One case.
pub struct Case {
    pub name: String,
    pub facts: Facts,
}

/// The results of a case, in a temporary folder that is deleted with this value.
pub struct Rehearsal {
    folder: TempDir,
    pub transcript: Transcript,
    /// The command, for a shell in the repository.
    pub command: String,
}

/// The files that a case must reproduce byte by byte.
pub const GOLDEN: [&str; 3] = ["transcript.jsonl", "listing.txt", "dump.dmp"];

/// All cases, by name.
pub fn all() -> Vec<Case> {
    let folder = support::repository().join("testdata/cases");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the folder of the cases")
        .map(|entry| entry.expect("an entry of the folder").file_name())
        .map(|name| name.into_string().expect("a plain name"))
        .collect();
    names.sort();
    names.into_iter().map(Case::load).collect()
}

impl Case {
    fn load(name: String) -> Case {
        let file = support::repository()
            .join("testdata/cases")
            .join(&name)
            .join("case.toml");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let facts = serde_json::from_value(table(&text, &file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Case { name, facts }
    }

    /// The path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        support::repository().join(self.relative(file))
    }

    fn relative(&self, file: &str) -> PathBuf {
        Path::new("testdata/cases").join(&self.name).join(file)
    }

    /// The text of its script, if it has one.
    pub fn script(&self) -> Option<String> {
        fs::read_to_string(self.path("script.toml")).ok()
    }

    /// Dumps the case's process into a new folder.
    pub fn rehearse(&self) -> Rehearsal {
        let scenario = self.facts.scenario.as_ref().unwrap_or(&self.name);
        let scenario = Path::new("testdata/cases").join(scenario).join("scenario.toml");
        self.dump(&["--scenario".as_ref(), scenario.as_os_str()])
    }

    /// Dumps this process, with the type, profile and script of the case.
    pub fn dump(&self, source: &[&std::ffi::OsStr]) -> Rehearsal {
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = dumper::dumpwright();
        command
            .current_dir(support::repository())
            .arg("dump")
            .args(source);
        if self.script().is_some() {
            command.arg("--script").arg(self.relative("script.toml"));
        }
        command.args(["--type", &self.facts.dump_type, "--profile", &self.facts.profile]);
        command.args(&self.facts.arguments);
        command
            .arg("--transcript")
            .arg(folder.path().join("transcript.jsonl"));
        command.arg("--output").arg(folder.path().join("dump.dmp"));
        let output = support::run(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        let text = fs::read_to_string(folder.path().join("transcript.jsonl"))
            .unwrap_or_else(|error| panic!("{}: no transcript ({error}): {said}", self.name));
        let rehearsal = Rehearsal {
            transcript: Transcript::parse(&text).expect("a transcript"),
            command: command_line(&command),
            folder,
        };
        let ending = rehearsal.transcript.result.as_ref().expect("the end is recorded");
        let code = match ending.status {
            Status::Complete => 0,
            Status::Failed => 1,
            Status::Partial => 3,
        };
        assert_eq!(output.status.code(), Some(code), "{}: {said}", self.name);
        assert_eq!(
            ending.status, self.facts.ending,
            "case {}: {said}\n{}",
            self.name, rehearsal.command
        );
        if rehearsal.path("dump.dmp").exists() {
            rehearsal.list();
        }
        rehearsal
    }
}

impl Rehearsal {
    /// The path of one of the files of [`GOLDEN`]. A dump that failed has only a transcript.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Writes the output of `show` for the dump next to it.
    fn list(&self) {
        // By its plain name, because the listing contains the name.
        let mut show = dumper::dumpwright();
        show.current_dir(self.folder.path())
            .args(["show", "--all", "dump.dmp"]);
        fs::write(self.path("listing.txt"), support::run_well(&mut show)).expect("the listing is written");
    }
}

/// The facts of a golden listing, one per line, without offsets in the file: a stream is its name,
/// memory its addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<String, usize>);

impl Listing {
    /// The listing of a case.
    pub fn of(case: &Case) -> Self {
        let path = case.path("listing.txt");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut listing = Self::default();
        let mut section = "";
        // The first paragraph is about the file.
        let lines = text.lines().skip_while(|line| !line.is_empty());
        for line in lines.filter(|line| !line.is_empty()) {
            if !line.starts_with(' ') {
                section = line.split(" (").next().unwrap_or(line);
                continue;
            }
            let line = line.split(", at 0x").next().unwrap_or(line).trim();
            let fact = match section {
                "Streams" => line.split_whitespace().last().unwrap_or(line),
                _ => line,
            };
            // Lines with only JSON brackets are not facts.
            if fact.len() > 2 && !fact.starts_with("offset ") {
                *listing.0.entry(format!("{section}: {fact}")).or_default() += 1;
            }
        }
        listing
    }

    /// The lines that this listing has and the other one lacks, or has less often.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        let more = self.0.iter().flat_map(|(line, count)| {
            let others = other.0.get(line).copied().unwrap_or(0);
            std::iter::repeat_n(line.clone(), count.saturating_sub(others))
        });
        more.collect()
    }
}

/// The names of the callback types for which a script has rules.
pub fn asks_of(case: &Case, script: &str) -> BTreeSet<String> {
    Script::parse(script, &case.name).unwrap_or_else(|error| panic!("{error}"));
    let script = table(script, &case.path("script.toml"));
    let rules = script["rule"].as_array().into_iter().flatten();
    rules
        .flat_map(|rule| match &rule["ask"] {
            Value::Array(names) => names.clone(),
            name => vec![name.clone()],
        })
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// A text in TOML, as JSON.
fn table(text: &str, file: &Path) -> Value {
    let table = DeTable::parse(text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    object(table.get_ref())
}

fn object(table: &DeTable<'_>) -> Value {
    let entries = table.iter();
    entries
        .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
        .collect()
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Array(values) => values.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => object(table),
        // No test reads numbers or dates.
        _ => Value::Null,
    }
}

/// The command with cargo in place of the program, and without the temporary folder.
fn command_line(command: &Command) -> String {
    let mut words = vec!["cargo run --quiet --".to_owned()];
    for word in command.get_args() {
        let word = word.to_string_lossy();
        let path = Path::new(word.as_ref());
        words.push(match path.file_name() {
            Some(name) if path.is_absolute() => format!("/tmp/{}", name.to_string_lossy()),
            _ => word.into_owned(),
        });
    }
    words.join(" ")
}
