//! A dump that has been asked for, by whichever function.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use dumpwright::callback::ProcessAsked;
use dumpwright::native::sim::SimProcess;
use dumpwright::policy::SizeBudget;
use dumpwright::protocol::{Recorder, Symbols};
use dumpwright::target::{Remark, Subject};
use dumpwright::{Ask, Callback, Error, FileSink, Hresult, Profile, Report, Request, Sink, Target, dump};

use crate::Handle;
use crate::callback::{CCallback, CFunction};
use crate::conversation::{Caller, converse};
use crate::last::Failure;
use crate::output::{Opened, Output};
use crate::process::NamedProcess;

/// All that is known about a dump before it begins.
pub(crate) struct Order {
    pub target: Subjected,
    pub request: Request,
    pub callback: Option<CFunction>,
    pub output: Output,
    /// Most bytes of memory.
    pub budget: Option<u64>,
    /// Where the dialogue is written down.
    pub transcript: Option<PathBuf>,
}

/// What is dumped.
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

    fn symbols(&self) -> Symbols {
        match self {
            Self::Process(_) => Symbols::live(),
            Self::Simulated(process) => Symbols::new().names_of(process.symbols().iter()),
        }
    }

    /// What callbacks are shown as the process' handle.
    fn handle(&mut self) -> Handle {
        match self {
            Self::Process(process) => process.handle(),
            Self::Simulated(process) => std::ptr::without_provenance_mut(process.process_id() as usize),
        }
    }
}

/// The profile that the environment chooses; by default that of the DbgHelp that Windows has.
pub(crate) fn default_profile() -> Result<Profile, Failure> {
    const VARIABLE: &str = "DUMPWRIGHT_PROFILE";
    match std::env::var(VARIABLE) {
        Ok(name) if !name.is_empty() => name
            .parse()
            .map_err(|error| Failure::argument(format!("the variable {VARIABLE}: {error}"))),
        _ => Ok(Profile::DbgHelp10),
    }
}

impl Order {
    /// Makes the dump: the engine on a thread of its own, the caller's functions on this one.
    pub fn carry_out(self) -> Result<Report, Failure> {
        // The caller has no chance to unwind before this has ended.
        converse(move |caller| self.run(caller))
    }

    fn run(mut self, caller: &Caller) -> Result<Report, Failure> {
        self.request = self.request.process_handle(self.target.handle().addr() as u64);
        let mut callback = self.callback.map(|function| CCallback::new(function, caller));
        let callback = callback.as_mut().map(|callback| callback as &mut dyn Callback);
        let Some(limit) = self.budget else {
            return self.write(callback, caller);
        };
        self.request = SizeBudget::prepare(self.request);
        let mut budget = match callback {
            Some(callback) => SizeBudget::around(Lent(callback), limit),
            None => SizeBudget::new(limit),
        };
        let mut report = self.write(Some(&mut budget), caller)?;
        report.remarks.extend(budget.dropped().iter().map(|dropped| {
            Remark::left_out(
                Subject::Memory(dropped.range),
                "dropped to stay within the size budget",
            )
        }));
        report.remarks.sort_by_key(|remark| Reverse(remark.gravity));
        Ok(report)
    }

    fn write(mut self, callback: Option<&mut dyn Callback>, caller: &Caller) -> Result<Report, Failure> {
        let mut output = Opened::open(self.output, caller)?;
        let Some(file) = self.transcript else {
            let report = dump(self.target.target(), &self.request, callback, output.sink())?;
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
        let report = outcome?;
        written?;
        output.publish()?;
        Ok(report)
    }
}

/// What a callback puts into reads stands in a transcript, so it is kept as a dump is: new, private, and not behind a link.
fn write_transcript(file: &Path, text: &str) -> Result<(), Failure> {
    let mut sink = FileSink::create(file, true)?;
    let written = sink.append(0, text.as_bytes()).and_then(|()| sink.finish());
    written.map_err(|error| {
        let message = format!("cannot write the transcript to {}: {error}", file.display());
        Failure::new(Hresult::E_FAIL.0, message)
    })?;
    Ok(sink.publish()?)
}

/// A callback that somebody else owns.
struct Lent<'c>(&'c mut dyn Callback);

impl Callback for Lent<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self.0.ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.0.process(process);
    }

    fn answers(&self) -> bool {
        self.0.answers()
    }
}

impl From<dumpwright::target::Fault> for Failure {
    fn from(fault: dumpwright::target::Fault) -> Self {
        Error::from(fault).into()
    }
}
