//! The policies of a policy file, ready for a dump.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::io;
use std::rc::Rc;

use dumpwright_callback::{Ask, Callback, ModuleAsked, ProcessAsked, ThreadWriteFlags};
use dumpwright_target::{Diagnostic, Severity, Subject};

use super::text::ReadFailures;
use super::values::{Addresses, ThreadName};
use super::{PolicyFile, PolicyText};
use crate::memory::set::RangeSet;
use crate::policy::modules::matches_any;
use crate::policy::threads::ThreadList;
use crate::policy::{
    AddMemory, AroundRegisters, Chain, DataSegments, Deadline, IgnoreReadFailures, Modules, ReadCache,
    Redact, RegionFilter, RemoveMemory, SizeBudget, StackLimit, Threads,
};
use crate::{Error, Report};

/// The texts of a process that a policy can overwrite.
#[derive(Debug, Clone, Default)]
pub struct ProcessTexts {
    /// The environment variables in the format of `/proc/PID/environ`. `None` if they are not
    /// known.
    pub environment: Option<Vec<u8>>,
    /// The arguments in the format of `/proc/PID/cmdline`. `None` if they are not known.
    pub command_line: Option<Vec<u8>>,
}

impl ProcessTexts {
    /// Reads the texts of a live Linux process.
    ///
    /// # Errors
    /// Fails if `/proc/PID/environ` or `/proc/PID/cmdline` cannot be read.
    #[cfg(target_os = "linux")]
    pub fn of_process(id: u32) -> io::Result<Self> {
        let read = |name: &str| std::fs::read(format!("/proc/{id}/{name}"));
        Ok(Self {
            environment: Some(read("environ")?),
            command_line: Some(read("cmdline")?),
        })
    }

    /// Fails: the texts of processes of this system are not known.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(target_os = "linux"))]
    pub fn of_process(_: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A policy that can be looked at after the dump.
struct Shared<T>(Rc<RefCell<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Callback> Callback for Shared<T> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self.0.borrow_mut().ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.0.borrow_mut().process(process);
    }

    fn answers(&self) -> bool {
        self.0.borrow().answers()
    }
}

/// The policies of a [`PolicyFile`], for [`dump`](crate::dump()).
///
/// It can be used for several dumps, one after the other.
pub struct PolicySet {
    all: All,
    redact: Option<Shared<Redact>>,
    failures: Shared<IgnoreReadFailures>,
    acceptable: Vec<&'static str>,
}

enum All {
    Unlimited(Chain<'static>),
    Limited(Box<SizeBudget<'static>>),
}

impl PolicyFile {
    /// Whether the policy overwrites the environment or the arguments of the process, so that
    /// [`policies`](Self::policies) needs them.
    #[must_use]
    pub fn needs_texts(&self) -> bool {
        self.text.redact.environment || self.text.redact.command_line
    }

    /// Returns the policies for a dump of a process with these texts.
    ///
    /// # Errors
    /// Fails if the policy overwrites a text of the process that is not known, or if it is
    /// discreet without anything to overwrite.
    pub fn policies(&self, texts: &ProcessTexts) -> Result<PolicySet, Error> {
        let text = &self.text;
        let redact = self
            .redact(texts)?
            .map(|redact| Shared(Rc::new(RefCell::new(redact))));
        let mut chain = memory(text, selection(text, Chain::new()));
        if let Some(size) = &text.read_cache {
            chain = chain.then(ReadCache::new(usize::try_from(size.0.0).unwrap_or(usize::MAX)));
        }
        if let Some(redact) = &redact {
            chain = chain.then(redact.clone());
        }
        let failures = Shared(Rc::new(RefCell::new(IgnoreReadFailures::new())));
        if text.read_failures == ReadFailures::LeaveOut {
            chain = chain.then(failures.clone());
        }
        if let Some(limit) = &text.deadline {
            chain = chain.then(Deadline::after(limit.0));
        }
        let order = text.keep_first.iter().map(|kind| kind.priority());
        let all = match self.limit() {
            None => All::Unlimited(chain),
            Some(limit) => All::Limited(Box::new(SizeBudget::around(chain, limit).keep_first(order))),
        };
        let acceptable = text.acceptable_losses.iter().map(|name| name.0).collect();
        Ok(PolicySet {
            all,
            redact,
            failures,
            acceptable,
        })
    }

    /// Returns the policy that overwrites secrets, if there are any.
    fn redact(&self, texts: &ProcessTexts) -> Result<Option<Redact>, Error> {
        let asked = &self.text.redact;
        let unknown = |what: &str| {
            Error::InvalidRequest(format!(
                "the policy overwrites the {what} of the process, which cannot be read; dump a live Linux process, or remove \
                 the key"
            ))
        };
        let mut redact = self.secrets.redact(Redact::new());
        for Addresses(range) in &asked.ranges {
            redact = redact.range(range.clone());
        }
        for folder in &asked.folders {
            redact = redact.folder(folder);
        }
        if asked.environment {
            let environment = texts.environment.as_deref();
            redact = redact.environment(environment.ok_or_else(|| unknown("environment"))?);
        }
        if asked.command_line {
            let arguments = texts.command_line.as_deref();
            redact = redact.command_line(arguments.ok_or_else(|| unknown("arguments"))?);
        }
        let is_empty = self.secrets.len() == 0
            && asked.ranges.is_empty()
            && asked.folders.is_empty()
            && !self.needs_texts();
        if is_empty && self.preset_name() == Some("discreet") {
            let reason =
                "the preset discreet needs something to overwrite; name a file of secrets (redact.secrets)";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        Ok((!is_empty).then_some(redact))
    }
}

fn list(threads: &[ThreadName]) -> ThreadList {
    threads.iter().map(|thread| thread.0.clone()).collect()
}

/// Appends the policies that choose threads and modules.
fn selection(text: &PolicyText, mut chain: Chain<'static>) -> Chain<'static> {
    let threads = &text.threads;
    if let Some(only) = &threads.only {
        let only = list(only);
        chain = chain.then(Threads::matching(move |thread| only.has(thread)));
    }
    if !threads.except.is_empty() {
        let except = list(&threads.except);
        chain = chain.then(Threads::matching(move |thread| !except.has(thread)));
    }
    if !threads.without_stack.is_empty() {
        let without = list(&threads.without_stack);
        chain = chain.then(move |ask: Ask<'_>| {
            if let Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep } = ask
                && without.has(&thread)
            {
                keep.remove(ThreadWriteFlags::STACK | ThreadWriteFlags::BACKING_STORE);
            }
            true
        });
    }
    if let Some(limit) = &threads.stack {
        chain = chain.then(StackLimit::of(limit.0.0).except(list(&threads.whole_stack)));
    }
    let modules = &text.modules;
    if modules.only.is_some() || !modules.except.is_empty() {
        let (only, except) = (modules.only.clone(), modules.except.clone());
        chain = chain.then(Modules::matching(move |module: &ModuleAsked<'_>| {
            only.as_ref().is_none_or(|only| matches_any(only, module)) && !matches_any(&except, module)
        }));
    }
    if let Some(variables) = &modules.variables {
        chain = chain.then(DataSegments::of(variables.clone()));
    }
    chain
}

/// Appends the policies that choose memory.
fn memory(text: &PolicyText, mut chain: Chain<'static>) -> Chain<'static> {
    let memory = &text.memory;
    let (only, except) = (memory.only_regions.clone(), memory.except_regions.clone());
    if only.is_some() || !except.is_empty() {
        chain = chain.then(RegionFilter::matching(move |region| {
            let fits = |words: &[crate::policy::region_filter::RegionWord]| {
                words.iter().any(|word| word.fits(region))
            };
            only.as_deref().is_none_or(fits) && !fits(&except)
        }));
    }
    if !memory.remove.is_empty() {
        let ranges = memory.remove.iter().map(|range| range.0.clone());
        chain = chain.then(ranges.fold(RemoveMemory::new(), RemoveMemory::range));
    }
    if !memory.add.is_empty() {
        let ranges = memory.add.iter().map(|range| range.0.clone());
        chain = chain.then(ranges.fold(AddMemory::new(), AddMemory::range));
    }
    if let Some(around) = &memory.around_registers {
        let policy = AroundRegisters::new(around.before.0.0, around.after.0.0);
        chain = chain.then(match &around.threads {
            None => policy,
            Some(threads) => policy.of(list(threads)),
        });
    } else if text.looks_around_registers() {
        let (before, after) = crate::policy::preset::FIRST_LOOK;
        chain = chain.then(AroundRegisters::new(before, after));
    }
    chain
}

impl PolicySet {
    /// Adds to the report what the policies did: what was dropped because of the limit, and what
    /// was overwritten.
    ///
    /// Memory that could not be read makes the dump partial, as without a callback. Losses that the
    /// policy accepts do not. A dump without threads or without modules stays partial.
    pub fn conclude(&self, report: &mut Report) {
        let is_empty = report.threads == 0 || report.modules == 0;
        let failures = self.failures.0.borrow();
        let dropped = match &self.all {
            All::Limited(budget) => budget.dropped(),
            All::Unlimited(_) => &[],
        };
        // A read of what is dropped fails. The dump reports it as memory that cannot be read.
        let all_dropped = RangeSet::union(dropped.iter().map(|dropped| dropped.range));
        report.diagnostics.retain(|diagnostic| match diagnostic.subject {
            Subject::Memory(range) => RangeSet::union([range])
                .subtract(&all_dropped)
                .iter()
                .next()
                .is_some(),
            _ => true,
        });
        for diagnostic in &mut report.diagnostics {
            // The dump goes on after a failed read because of the policy. That is no decision to do
            // without the memory.
            if let Subject::Memory(lost) = diagnostic.subject
                && diagnostic.severity == Severity::LeftOut
                && failures.left_out().iter().any(|range| range.covers(lost))
            {
                diagnostic.severity = Severity::Missing;
            }
            if diagnostic.severity == Severity::Missing && !is_empty && self.accepts(&diagnostic.subject) {
                diagnostic.severity = Severity::LeftOut;
                diagnostic.reason.push_str("; the policy accepts this loss");
            }
        }
        report.diagnostics.extend(dropped.iter().map(|dropped| {
            Diagnostic::left_out(
                Subject::Memory(dropped.range),
                "dropped to stay within the size limit",
            )
        }));
        if let Some(redact) = &self.redact {
            let redacted = redact.0.borrow().redacted();
            report.diagnostics.push(Diagnostic::note(
                Subject::Process,
                format!(
                    "redacted: {} places in memory, the registers of {} threads, and {} modules",
                    redacted.places, redacted.threads, redacted.modules
                ),
            ));
        }
        report
            .diagnostics
            .sort_by_key(|diagnostic| Reverse(diagnostic.severity));
    }

    fn accepts(&self, subject: &Subject) -> bool {
        let (kind, name) = match subject {
            Subject::Memory(_) => ("memory", ""),
            Subject::Thread(_) => ("threads", ""),
            Subject::Module(_) => ("modules", ""),
            Subject::Stream(name) => ("streams", *name),
            _ => return false,
        };
        self.acceptable
            .iter()
            .any(|accepted| *accepted == kind || *accepted == name)
    }

    fn all(&mut self) -> &mut dyn Callback {
        match &mut self.all {
            All::Unlimited(chain) => chain,
            All::Limited(budget) => &mut **budget,
        }
    }
}

impl Callback for PolicySet {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self.all().ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.all().process(process);
    }

    fn answers(&self) -> bool {
        true
    }
}
