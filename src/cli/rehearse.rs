//! `dumpwright rehearse`: runs a test case of a callback on a simulated process.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dumpwright::protocol::{Lint, Script, ScriptError, Status, Transcript};
use dumpwright::read::Dump;
use dumpwright::sim::{Scenario, SimProcess};
use dumpwright::testing::{Rehearsal, TestTarget, rehearse_mut, rehearse_without_callback};
use dumpwright::{Callback, DumpType, Profile, Request};
use dumpwright_abi::CallbackLibrary;

use super::case::{Case, DUMP, FACTS, LISTING, TRANSCRIPT};
use super::{FAILED, PARTIAL, dump, print, result, show};

#[derive(Debug, clap::Args)]
pub(super) struct RehearseArgs {
    /// The folder of the case
    ///
    /// It has the process (scenario.toml), and usually the answers of the callback (script.toml)
    /// and settings (case.toml). docs/cases.md describes these files.
    case: PathBuf,

    /// Answer with the function MiniDumpCallbackRoutine of this shared library
    ///
    /// The function has the type MINIDUMP_CALLBACK_ROUTINE. Its first parameter is NULL. The
    /// library is loaded into this program, so use only a library that you trust.
    #[arg(long, value_name = "FILE")]
    callback: Option<PathBuf>,

    /// Select what the dump contains, instead of the type in case.toml
    #[arg(long = "type", value_name = "LIST", value_parser = DumpType::parse)]
    dump_type: Option<DumpType>,

    /// Select whose behaviour to follow, instead of the profile in case.toml
    #[arg(long, value_name = "NAME")]
    profile: Option<Profile>,

    /// Keep the results in the folder, as what later runs are compared with
    #[arg(long)]
    bless: bool,
}

/// Runs the case, and prints the dialogue, the findings of the linter, the result, and how it
/// differs from what is expected.
///
/// # Errors
///
/// A file of the case cannot be used, or standard output cannot be written to.
pub(super) fn run(args: &RehearseArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut case = Case::load(&args.case)?;
    case.dump_type = args.dump_type.unwrap_or(case.dump_type);
    case.profile = args.profile.unwrap_or(case.profile);
    if let Some(file) = &args.callback {
        case.callback = Some(file.clone());
    }
    let request = request(&case)?;
    let process = Scenario::load(&case.scenario)?;
    let (rehearsal, findings) = answered(&case, request, &process)?;
    let dump = rehearsal
        .outcome()
        .is_ok()
        .then(|| Dump::from_bytes(rehearsal.bytes().to_vec()))
        .transpose()
        .map_err(|error| format!("the dump cannot be read: {error}"))?;
    let listing = dump.as_ref().map(|dump| show::listing(dump, DUMP)).transpose()?;

    let mut text = String::new();
    if let Some(about) = &case.about {
        text.push_str(&format!("{about}\n"));
    }
    text.push_str(&rehearsal.to_string());
    match rehearsal.outcome() {
        Ok(report) => {
            text.push_str(&format!(
                "{}\n{}",
                result::contents(report),
                result::details(report)
            ));
        }
        Err(error) => text.push_str(&format!("{error}\n")),
    }
    for finding in findings {
        text.push_str(&format!("lint: {finding}\n"));
    }
    let results = CaseResults {
        case: &case,
        rehearsal: &rehearsal,
        listing,
    };
    let surprises = results.surprises()?;
    if args.bless {
        results.bless()?;
    }
    for surprise in &surprises {
        let but = if args.bless { "changed: " } else { "differs: " };
        text.push_str(&format!("{but}{surprise}\n"));
    }
    show::quiet_on_broken_pipe(print::output(&print::lines(&text)))?;
    let status = match results.status() {
        _ if !surprises.is_empty() && !args.bless => FAILED,
        // It is what was expected.
        _ if case.ending.is_some() || args.bless || case.path(TRANSCRIPT).exists() => 0,
        Status::Complete => 0,
        Status::Partial => PARTIAL,
        Status::Failed => FAILED,
    };
    Ok(ExitCode::from(status))
}

/// Returns the request that the settings of the case describe.
fn request(case: &Case) -> Result<Request, Box<dyn Error>> {
    let dump_type = format!("{:#x}", case.dump_type.bits());
    let mut arguments = vec![
        "--scenario".into(),
        case.scenario.clone().into_os_string(),
        "--output=-".into(),
        "--type".into(),
        dump_type.into(),
        "--profile".into(),
        case.profile.name().into(),
    ];
    arguments.extend(case.arguments.iter().cloned());
    let mistake = |error: clap::Error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        let reason = first.strip_prefix("error: ").unwrap_or(first);
        format!("{}: arguments: {reason}", case.path(FACTS).display())
    };
    let args = super::dump_args(arguments).map_err(mistake)?;
    Ok(dump::adjusted(Request::new(case.dump_type), &args.make, None)?)
}

/// Dumps the process with the callback of the case. Returns the findings of the linter as well.
fn answered(
    case: &Case,
    request: Request,
    process: &SimProcess,
) -> Result<(Rehearsal, Vec<String>), Box<dyn Error>> {
    let linted = |callback: &mut dyn Callback| {
        let mut lint = Lint::new(callback);
        let rehearsal = rehearse_mut(&mut lint)
            .for_request(request.clone())
            .on(process.clone());
        let findings: Vec<_> = lint.findings().iter().map(ToString::to_string).collect();
        (rehearsal, findings)
    };
    if let Some(file) = &case.callback {
        return Ok(linted(&mut CallbackLibrary::load(file)?));
    }
    let Some(file) = case.script() else {
        let rehearsal = rehearse_without_callback()
            .for_request(request)
            .on(process.clone());
        return Ok((rehearsal, Vec::new()));
    };
    let script = Script::load(file)?.symbols(TestTarget::symbols(process));
    let mut script = script.memory_of(process.clone());
    let (rehearsal, mut findings) = linted(&mut script);
    if let Some(problems) = ScriptError::new(script.problems()) {
        return Err(problems.into());
    }
    findings.extend(
        script
            .unused()
            .iter()
            .map(|line| format!("{}:{line}: this rule matched no call", script.file())),
    );
    Ok((rehearsal, findings))
}

/// The results of a run, and the files of the case that have the expected ones.
struct CaseResults<'r> {
    case: &'r Case,
    rehearsal: &'r Rehearsal,
    listing: Option<String>,
}

impl CaseResults<'_> {
    fn status(&self) -> Status {
        let ending = &self.rehearsal.dialogue().result;
        ending.as_ref().map_or(Status::Failed, |ending| ending.status)
    }

    /// The dump, if there is one.
    fn bytes(&self) -> Option<&[u8]> {
        self.listing.is_some().then(|| self.rehearsal.bytes())
    }

    /// Returns how the results differ from the expected ones, one line or more for each file. Only
    /// the files that exist are compared.
    fn surprises(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let mut surprises = Vec::new();
        let (expected, found) = (self.case.ending, self.status());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let [expected, found] = [expected, found].map(name);
            surprises.push(format!("the dump is {found}, not {expected}"));
        }
        let transcript = self.case.path(TRANSCRIPT);
        if !transcript.exists() {
            return Ok(surprises);
        }
        if let Some(difference) = Transcript::load(&transcript)?.difference(self.rehearsal.dialogue()) {
            surprises.push(format!("{}\n{difference}", transcript.display()));
        }
        let listing = self.listing.as_deref().map(str::as_bytes);
        for (file, found) in [(LISTING, listing), (DUMP, self.bytes())] {
            let path = self.case.path(file);
            let expected = optional(&path)?;
            match (expected, found) {
                (Some(expected), Some(found)) if expected == found => {}
                (Some(expected), Some(found)) => {
                    let same = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
                    let sizes = [expected.len(), found.len()];
                    surprises.push(format!(
                        "{} from byte {same:#x} ({} bytes expected, {} found)",
                        path.display(),
                        sizes[0],
                        sizes[1]
                    ));
                }
                (Some(_), None) => surprises.push(format!("{}: there is no dump", path.display())),
                (None, _) => {}
            }
        }
        Ok(surprises)
    }

    /// Writes the results into the folder of the case.
    fn bless(&self) -> Result<(), Box<dyn Error>> {
        let transcript = self.rehearsal.dialogue().to_json_lines();
        let listing = self.listing.as_deref().map(str::as_bytes);
        for (file, bytes) in [
            (TRANSCRIPT, Some(transcript.as_bytes())),
            (LISTING, listing),
            (DUMP, self.bytes()),
        ] {
            let path = self.case.path(file);
            let written = match bytes {
                Some(bytes) => fs::write(&path, bytes),
                None if path.exists() => fs::remove_file(&path),
                None => Ok(()),
            };
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Partial => "partial",
        Status::Failed => "failed",
    }
}

/// Reads a file, if it exists.
fn optional(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}
