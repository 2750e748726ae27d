//! Test cases of callbacks: folders with a scenario, answers, and the expected results.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dumpwright::protocol::Status;
use dumpwright::{DumpType, Profile};
use dumpwright_text::{Fields, Parsed, Source, Value};

use super::print;

/// The files of a case.
pub(super) const FACTS: &str = "case.toml";
pub(super) const SCENARIO: &str = "scenario.toml";
const SCRIPT: &str = "script.toml";
/// The expected results of a case, which `rehearse --bless` writes.
pub(super) const TRANSCRIPT: &str = "transcript.jsonl";
pub(super) const LISTING: &str = "listing.txt";
pub(super) const DUMP: &str = "dump.dmp";

/// The keys of `case.toml`.
const KEYS: [&str; 7] = [
    "about",
    "scenario",
    "type",
    "profile",
    "arguments",
    "callback",
    "ending",
];
/// Keys that only the tests of dumpwright itself use, for the folders in `testdata/cases`.
const KEYS_OF_TESTS: [&str; 5] = ["whole", "compared_with", "adds", "lacks", "live"];

/// A test case.
#[derive(Debug)]
pub(super) struct Case {
    folder: PathBuf,
    /// What the case shows.
    pub(super) about: Option<String>,
    pub(super) scenario: PathBuf,
    pub(super) dump_type: DumpType,
    pub(super) profile: Profile,
    /// Further arguments of `dump`.
    pub(super) arguments: Vec<OsString>,
    /// The shared library with the callback.
    pub(super) callback: Option<PathBuf>,
    /// How the dump is expected to end.
    pub(super) ending: Option<Status>,
}

impl Case {
    /// Reads `case.toml`, if the folder has one.
    ///
    /// # Errors
    ///
    /// There is no such folder, or its `case.toml` has mistakes.
    pub(super) fn load(folder: &Path) -> Result<Self, Box<dyn Error>> {
        if !folder.is_dir() {
            let name = folder.display();
            return Err(format!(
                "there is no folder {name}; \"dumpwright new-case {name}\" creates a case to start from"
            )
            .into());
        }
        let mut case = Self {
            folder: folder.to_owned(),
            about: None,
            scenario: folder.join(SCENARIO),
            dump_type: DumpType::NORMAL,
            profile: Profile::default(),
            arguments: Vec::new(),
            callback: None,
            ending: None,
        };
        if case.path(FACTS).exists() {
            let source = Source::load(case.path(FACTS))?;
            let known: Vec<_> = KEYS.iter().chain(&KEYS_OF_TESTS).copied().collect();
            source.read("a case", &known, |fields| case.read(fields))?;
        }
        Ok(case)
    }

    fn read(&mut self, fields: &Fields<'_>) -> Parsed<()> {
        self.about = fields.get("about", Value::string);
        if let Some(scenario) = fields.get("scenario", |value| self.scenario_of(value)) {
            self.scenario = scenario;
        }
        if let Some(dump_type) = fields.get("type", |value| {
            DumpType::parse(value.text()?).map_err(|error| value.error(error))
        }) {
            self.dump_type = dump_type;
        }
        if let Some(profile) = fields.get("profile", |value| {
            value
                .text()?
                .parse::<Profile>()
                .map_err(|error| value.error(error))
        }) {
            self.profile = profile;
        }
        let arguments = |value: &Value<'_>| value.each(Value::string).complete();
        self.arguments = fields
            .get_or("arguments", arguments, Vec::new())
            .into_iter()
            .map(OsString::from)
            .collect();
        self.callback = fields
            .get("callback", Value::string)
            .map(|file| self.folder.join(file));
        self.ending = fields.get("ending", |value| {
            value.choice(&[
                ("complete", Status::Complete),
                ("partial", Status::Partial),
                ("failed", Status::Failed),
            ])
        });
        Ok(())
    }

    /// The scenario is a file in the folder of the case, or that of another case beside it.
    fn scenario_of(&self, value: &Value<'_>) -> Parsed<PathBuf> {
        let name = value.text()?;
        let other = self
            .folder
            .canonicalize()
            .unwrap_or_else(|_| self.folder.clone())
            .with_file_name(name)
            .join(SCENARIO);
        let places = [self.folder.join(name), other];
        let found = places.iter().find(|place| place.is_file()).cloned();
        found.ok_or_else(|| {
            value.error(format_args!(
                "there is neither a file {} nor a file {}",
                places[0].display(),
                places[1].display()
            ))
        })
    }

    /// The path of one of the files of the case.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// The script, if there is one.
    pub(super) fn script(&self) -> Option<PathBuf> {
        Some(self.path(SCRIPT)).filter(|script| script.exists())
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct NewCaseArgs {
    /// The folder to create
    folder: PathBuf,
}

/// Creates the folder of a case to start from.
///
/// # Errors
///
/// The folder exists already, or it cannot be created.
pub(super) fn create(args: &NewCaseArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = &args.folder;
    let failed = |error: std::io::Error| format!("cannot create {}: {error}", folder.display());
    fs::create_dir(folder).map_err(failed)?;
    for (name, text) in [(FACTS, NEW_FACTS), (SCENARIO, NEW_SCENARIO), (SCRIPT, NEW_SCRIPT)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot create {}: {error}", path.display()))?;
    }
    let name = folder.display();
    print::output(&print::lines(&format!(
        "{name}: the callback is {SCRIPT}, the process {SCENARIO}, and the settings are in {FACTS}\n\
         run it:                  dumpwright rehearse {name}\n\
         keep its results:        dumpwright rehearse {name} --bless\n"
    )))?;
    Ok(ExitCode::SUCCESS)
}

const NEW_FACTS: &str = r#"# A test case of a callback. Run it: dumpwright rehearse FOLDER
about = "thread 1001 is left out"

# The dump type, as for `dumpwright dump --type`.
type = "normal"

# Whose behaviour to follow: documented, dbghelp63 or dbghelp10.
profile = "documented"

# How the dump ends: complete, partial or failed.
ending = "complete"

# Instead of script.toml: a shared library that exports MiniDumpCallbackRoutine.
# callback = "callback.so"
"#;

const NEW_SCENARIO: &str = r#"# A simulated process with two threads. docs/scenario.md describes all tables.
[system]
platform = "linux"

[[module]]
path = "/opt/program"
base = 0x40_0000
size = 0x2000
sections = [{ offset = 0x1000, size = 0x1000, protect = "r-x", content = { pattern = 1 } }]

[[memory]]
name = "stack"
base = 0x7fff_0000_0000
size = 0x4000
content = "counting"

[[memory]]
name = "worker's stack"
base = 0x7ffe_0000_0000
size = 0x4000
content = "counting"

[[thread]]
id = 1000
name = "main"
registers = { rip = "program+0x1010", rsp = "stack+0x3000" }

[[thread]]
id = 1001
name = "worker"
registers = { rip = "program+0x1020", rsp = "worker's stack+0x3000" }
"#;

const NEW_SCRIPT: &str = r#"# Answers of the callback. docs/script.md describes all keys.
[[rule]]
ask = "IncludeThread"
thread = 1001
return = false
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_or_value_is_a_mistake() {
        let folder = std::env::temp_dir().join(format!("dumpwright-case-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let load = |text: &str| {
            fs::write(folder.join(FACTS), text).expect("writable");
            Case::load(&folder).map_err(|error| error.to_string())
        };
        let expected = [
            ("endign = \"complete\"", "\"endign\"; did you mean \"ending\""),
            ("ending = \"compleet\"", "complete"),
            ("profile = \"dbghelp\"", "dbghelp63"),
            ("type = \"ful\"", "full"),
            ("scenario = \"elsewhere\"", "elsewhere"),
        ];
        for (text, part) in expected {
            let error = load(text).expect_err(text);
            assert!(
                error.contains(part) && error.contains("case.toml:1:"),
                "{text}: {error}"
            );
        }
        assert_eq!(
            load("ending = \"partial\"").expect("right").ending,
            Some(Status::Partial)
        );
        fs::remove_dir_all(&folder).expect("removes it");
    }
}
