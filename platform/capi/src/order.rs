//! A requested dump and how it is written, whichever function requested it.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use dumpwright::callback::ByRef;
use dumpwright::policy::{Chain, PolicyFile, PolicySet, ProcessTexts, SizeBudget};
use dumpwright::protocol::{Lint, Recorder, Symbols};
use dumpwright::sim::SimProcess;
use dumpwright::target::{Diagnostic, Subject};
use dumpwright::{Callback, Error, FileSink, Hresult, Profile, Report, Request, Sink, Target, dump};

use crate::RawHandle;
use crate::callback::{CCallback, CFunction};
use crate::conversation::{Caller, converse};
use crate::last::Failure;
use crate::output::{NO_FILE, Opened, Output};
use crate::process::NamedProcess;

/// A complete description of a dump.
pub(crate) struct Order {
    pub target: Subjected,
    pub request: Request,
    pub callback: Option<CFunction>,
    /// What also answers, before the callback. The request has its dump types and limits already.
    pub policy: Option<PolicyFile>,
    pub output: Output,
    /// The maximum number of bytes of memory.
    pub budget: Option<u64>,
    /// The file for the transcript.
    pub transcript: Option<PathBuf>,
    /// Whether the answers of the callback are checked for misuse.
    pub lint: bool,
}

/// The process to be dumped.
pub(crate) enum Subjected {
    Process(NamedProcess),
    Simulated(Box<SimProcess>),
}

impl Subjected {
    fn target(&mut self) -> &mut dyn Target {
        match self {
            Self::Process(process) => process,
            Self::Simulated(process) => &mut **process,
        }
    }

    /// Does what must be done on the caller's thread.
    fn prepare(&mut self) {
        match self {
            Self::Process(process) => process.prepare(),
            Self::Simulated(_) => {}
        }
    }

    fn symbols(&self) -> Symbols {
        match self {
            Self::Process(_) => Symbols::live(),
            Self::Simulated(process) => Symbols::new().names_of(process.symbols().iter()),
        }
    }

    /// Returns the process handle that callbacks receive.
    fn handle(&mut self) -> RawHandle {
        match self {
            Self::Process(process) => process.handle(),
            Self::Simulated(process) => std::ptr::without_provenance_mut(process.process_id() as usize),
        }
    }
}

/// Returns the profile that the environment variable `DUMPWRIGHT_PROFILE` names, or `documented`,
/// the default of the Rust library, if the variable is not set, is empty or is not UTF-8.
pub(crate) fn default_profile() -> Result<Profile, Failure> {
    const VARIABLE: &str = "DUMPWRIGHT_PROFILE";
    match std::env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => name
            .parse()
            .map_err(|error| Failure::argument(format!("the environment variable {VARIABLE}: {error}"))),
        _ => Ok(Profile::default()),
    }
}

/// Returns whether the environment variable `DUMPWRIGHT_LINT` asks for a check of the answers: it
/// is set, and neither empty nor `0`.
pub(crate) fn default_lint() -> bool {
    std::env::var_os("DUMPWRIGHT_LINT").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Returns the policy in the file that the environment variable `DUMPWRIGHT_POLICY` names, if it is
/// set and not empty.
pub(crate) fn default_policy() -> Result<Option<PolicyFile>, Failure> {
    const VARIABLE: &str = "DUMPWRIGHT_POLICY";
    match std::env::var_os(VARIABLE) {
        Some(file) if !file.is_empty() => PolicyFile::load(file)
            .map(Some)
            .map_err(|error| Failure::argument(format!("the environment variable {VARIABLE}: {error}"))),
        _ => Ok(None),
    }
}

impl Order {
    /// Writes the dump. The engine runs on a thread of its own, and the caller's functions on this
    /// one.
    pub fn carry_out(mut self) -> Result<Report, Failure> {
        self.target.prepare();
        converse(move |caller| self.run(caller))
    }

    fn run(mut self, caller: &Caller) -> Result<Report, Failure> {
        self.request = self.request.process_handle(self.target.handle().addr() as u64);
        let mut callback = self.callback.map(|function| CCallback::new(function, caller));
        let Some(callback) = &mut callback else {
            return self.write_by_policy(None, caller);
        };
        if !self.lint {
            return self.write_by_policy(Some(callback), caller);
        }
        let mut lint = Lint::new(callback);
        let outcome = self.write_by_policy(Some(&mut lint), caller);
        let findings = lint
            .findings()
            .iter()
            .map(|finding| format!("callback: {finding}"));
        match outcome {
            Ok(mut report) => {
                let notes = findings.map(|finding| Diagnostic::note(Subject::Process, finding));
                report.diagnostics.extend(notes);
                Ok(report)
            }
            Err(failure) => {
                let message = findings.fold(failure.message, |message, finding| message + "\n" + &finding);
                Err(Failure::new(failure.code, message))
            }
        }
    }

    /// Writes the dump with the answers of the policy, if there is one, and of the callback.
    fn write_by_policy(
        mut self,
        callback: Option<&mut dyn Callback>,
        caller: &Caller,
    ) -> Result<Report, Failure> {
        let Some(policy) = self.policy.take() else {
            return self.write_within_budget(callback, caller);
        };
        let mut policies = self.policies(&policy)?;
        let mut all = Chain::new().then_mut(&mut policies);
        if let Some(callback) = callback {
            all = all.then(ByRef(callback));
        }
        let outcome = self.write_within_budget(Some(&mut all), caller);
        drop(all);
        let mut report = outcome?;
        policies.conclude(&mut report);
        Ok(report)
    }

    fn policies(&self, policy: &PolicyFile) -> Result<PolicySet, Failure> {
        let texts = match &self.target {
            Subjected::Process(process) if policy.needs_texts() => {
                let failed = |error| {
                    Failure::argument(format!(
                        "the policy overwrites texts of the process, which cannot be read: {error}"
                    ))
                };
                ProcessTexts::of_process(process.process_id()).map_err(failed)?
            }
            _ => ProcessTexts::default(),
        };
        policy.policies(&texts).map_err(failure)
    }

    fn write_within_budget(
        mut self,
        callback: Option<&mut dyn Callback>,
        caller: &Caller,
    ) -> Result<Report, Failure> {
        let Some(limit) = self.budget else {
            return self.write(callback, caller);
        };
        self.request = SizeBudget::prepare(self.request);
        let mut budget = match callback {
            Some(callback) => SizeBudget::around(ByRef(callback), limit),
            None => SizeBudget::new(limit),
        };
        let mut report = self.write(Some(&mut budget), caller)?;
        report.diagnostics.extend(budget.dropped().iter().map(|dropped| {
            Diagnostic::left_out(
                Subject::Memory(dropped.range),
                "dropped to stay within the size budget",
            )
        }));
        report
            .diagnostics
            .sort_by_key(|diagnostic| Reverse(diagnostic.severity));
        Ok(report)
    }

    fn write(mut self, callback: Option<&mut dyn Callback>, caller: &Caller) -> Result<Report, Failure> {
        let mut output = Opened::open(self.output, caller)?;
        let Some(file) = self.transcript else {
            let report =
                dump(self.target.target(), &self.request, callback, output.sink()).map_err(failure)?;
            output.publish()?;
            return Ok(report);
        };
        let mut recorder = Recorder::new(callback, self.target.symbols());
        let outcome = dump(
            self.target.target(),
            &self.request,
            Some(&mut recorder),
            output.sink(),
        );
        let written = write_transcript(&file, &recorder.finish(&outcome).to_json_lines());
        let report = outcome.map_err(failure)?;
        written?;
        output.publish()?;
        Ok(report)
    }
}

/// Converts the engine's error, with advice for C programs.
fn failure(error: Error) -> Failure {
    let advice = match error {
        Error::NoOutput => NO_FILE,
        _ => "",
    };
    let Failure { code, message } = error.into();
    Failure::new(code, message + advice)
}

/// Writes a transcript. It contains the bytes that a callback supplies for reads, so it is written
/// as carefully as a dump: to a new file that only its owner can read, and never through a symbolic
/// link.
fn write_transcript(file: &Path, text: &str) -> Result<(), Failure> {
    let mut sink = FileSink::create(file, true)?;
    let written = sink.append(0, text.as_bytes()).and_then(|()| sink.finish());
    written.map_err(|error| {
        let message = format!("cannot write the transcript to {}: {error}", file.display());
        Failure::new(Hresult::E_FAIL.0, message)
    })?;
    Ok(sink.publish()?)
}

impl From<dumpwright::target::Fault> for Failure {
    fn from(fault: dumpwright::target::Fault) -> Self {
        Error::from(fault).into()
    }
}
