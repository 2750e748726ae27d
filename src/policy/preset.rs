use dumpwright_callback::{Ask, Callback, ProcessAsked};

use super::{AroundRegisters, Chain, IgnoreReadFailures, Redact, SizeBudget};
use crate::{DumpType, Request};

/// A dump type combined with policies that suit it.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::Preset;
/// use dumpwright::dump;
///
/// let mut preset = Preset::for_upload(4 << 20);
/// let mut bytes = Vec::new();
/// dump(&mut process, &preset.request(), Some(&mut preset), &mut bytes)?;
/// # Ok::<(), dumpwright::Error>(())
/// ```
///
/// The names `mini`, `heap`, `full` and so on are not presets of this type, but names of plain dump
/// types; see [`DumpType::parse`].
pub struct Preset<'a> {
    request: Request,
    policies: Box<dyn Callback + 'a>,
}

impl<'a> Preset<'a> {
    /// Creates a preset for a first look at a problem: threads, modules, stacks, the memory that
    /// registers point to (256 bytes before and 1 KiB after), and module names without folders.
    /// Memory that cannot be read is left out.
    #[must_use]
    pub fn first_look() -> Self {
        let policies = Chain::new()
            .then(AroundRegisters::new(256, 1024))
            .then(IgnoreReadFailures::new());
        let dump_type =
            DumpType::WITH_THREAD_INFO | DumpType::WITH_UNLOADED_MODULES | DumpType::FILTER_MODULE_PATHS;
        Self {
            request: Request::new(dump_type),
            policies: Box::new(policies),
        }
    }

    /// Creates a preset like [`first_look`](Self::first_look), with at most `bytes` bytes of
    /// memory. [`SizeBudget`] documents what is dropped first.
    #[must_use]
    pub fn for_upload(bytes: u64) -> Self {
        let first_look = Self::first_look();
        let request = SizeBudget::prepare(first_look.request());
        Self {
            request,
            policies: Box::new(SizeBudget::around(first_look, bytes)),
        }
    }

    /// Creates a preset like [`first_look`](Self::first_look) that overwrites these texts.
    /// [`Redact`] documents where it finds them.
    #[must_use]
    pub fn discreet(secrets: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let redact = secrets
            .into_iter()
            .fold(Redact::new(), |redact, secret| redact.text(secret.as_ref()));
        let first_look = Self::first_look();
        first_look.then(redact)
    }

    /// Creates a preset for stack traces without private data, for dumps that are sent to others:
    /// filtered stacks and registers, module names without folders, and neither environment nor
    /// command line. Memory that cannot be read is left out.
    #[must_use]
    pub fn stack_traces() -> Self {
        let dump_type = DumpType::FILTER_MEMORY
            | DumpType::FILTER_MODULE_PATHS
            | DumpType::WITHOUT_OPTIONAL_DATA
            | DumpType::WITH_THREAD_INFO;
        Self {
            request: Request::new(dump_type),
            policies: Box::new(IgnoreReadFailures::new()),
        }
    }

    /// Creates a preset for all memory, the map of the address space, handles, and the times of
    /// threads. Memory that cannot be read is left out.
    #[must_use]
    pub fn everything() -> Self {
        let dump_type = DumpType::WITH_FULL_MEMORY
            | DumpType::WITH_FULL_MEMORY_INFO
            | DumpType::WITH_HANDLE_DATA
            | DumpType::WITH_UNLOADED_MODULES
            | DumpType::WITH_THREAD_INFO
            | DumpType::IGNORE_INACCESSIBLE_MEMORY;
        Self {
            request: Request::new(dump_type),
            policies: Box::new(IgnoreReadFailures::new()),
        }
    }

    /// Returns a request for this preset. The caller can add an exception or user streams to it.
    #[must_use]
    pub fn request(&self) -> Request {
        self.request.clone()
    }

    /// Appends a policy to those of the preset.
    #[must_use]
    pub fn then(self, policy: impl Callback + 'a) -> Self {
        let request = self.request.clone();
        Self {
            request,
            policies: Box::new(Chain::new().then(self).then(policy)),
        }
    }
}

impl Callback for Preset<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        self.policies.ask(ask)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.policies.process(process);
    }

    fn answers(&self) -> bool {
        self.policies.answers()
    }
}
