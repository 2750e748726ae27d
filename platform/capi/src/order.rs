//! A dump that has been asked for, by whichever function.

use std::path::PathBuf;

use dumpwright::native::sim::SimProcess;
use dumpwright::policy::SizeBudget;
use dumpwright::protocol::{Recorder, Symbols};
use dumpwright::target::{Remark, Subject};
use dumpwright::{Ask, Callback, Error, Hresult, Profile, Report, Request, Target, dump};

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
        let handle = self.target.handle();
        let id = self.target.target().process_id();
        let mut output = Opened::open(self.output, caller)?;
        let symbols = self.target.symbols();
        let mut c_callback = self
            .callback
            .map(|function| CCallback::new(function, caller, id, handle));
        let mut callback: Option<&mut dyn Callback> = c_callback.as_mut().map(|callback| callback as _);

        let mut request = self.request;
        let mut budget = None;
        if let Some(limit) = self.budget {
            request = SizeBudget::prepare(request);
            let budgeted = match callback.take() {
                Some(callback) => SizeBudget::around(move |ask: Ask<'_>| callback.ask(ask), limit),
                None => SizeBudget::new(limit),
            };
            callback = Some(budget.insert(budgeted));
        }
        let outcome = match self.transcript {
            None => dump(self.target.target(), &request, callback, output.sink()),
            Some(file) => {
                let mut recorder = Recorder::new(callback, symbols);
                let outcome = dump(self.target.target(), &request, Some(&mut recorder), output.sink());
                let transcript = recorder.finish(&outcome).to_json_lines();
                std::fs::write(&file, transcript).map_err(|error| {
                    Failure::new(
                        Hresult::E_FAIL.0,
                        format!("cannot write the transcript to {}: {error}", file.display()),
                    )
                })?;
                outcome
            }
        };
        let mut report = outcome?;
        for dropped in budget.iter().flat_map(|budget| budget.dropped()) {
            let subject = Subject::Memory(dropped.range);
            let reason = "dropped to stay within the size budget";
            report.remarks.push(Remark::left_out(subject, reason));
        }
        report
            .remarks
            .sort_by_key(|remark| std::cmp::Reverse(remark.gravity));
        output.publish()?;
        Ok(report)
    }
}

impl From<dumpwright::target::Fault> for Failure {
    fn from(fault: dumpwright::target::Fault) -> Self {
        Error::from(fault).into()
    }
}
