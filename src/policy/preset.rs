use dumpwright_callback::{Ask, Callback, ProcessAsked};

use super::{AroundRegisters, Chain, IgnoreReadFailures, Redact, SizeBudget};
use crate::{DumpType, Request};

/// A type of dump and policies that belong together.
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
/// Names of plain types (`mini`, `heap`, `full` …) are another thing; see [`DumpType::parse`].
pub struct Preset<'a> {
    request: Request,
    policies: Box<dyn Callback + 'a>,
}

impl<'a> Preset<'a> {
    /// Threads, modules, stacks, and what registers point to (256 bytes before, 1 KiB behind), names without folders; read failures cost no
    /// dump. What a developer needs for a first look.
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

    /// A first look with at most this many bytes of memory ([`SizeBudget`] says what goes first).
    #[must_use]
    pub fn for_upload(bytes: u64) -> Self {
        let first_look = Self::first_look();
        let request = SizeBudget::prepare(first_look.request());
        Self {
            request,
            policies: Box::new(SizeBudget::around(first_look, bytes)),
        }
    }

    /// A first look without these texts ([`Redact`] says where it finds them).
    #[must_use]
    pub fn discreet(secrets: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let redact = secrets
            .into_iter()
            .fold(Redact::new(), |redact, secret| redact.text(secret.as_ref()));
        let first_look = Self::first_look();
        first_look.then(redact)
    }

    /// Stack traces and nothing private: filtered stacks and registers, names without folders, neither environment nor
    /// command line; read failures cost no dump. For dumps that leave the house.
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

    /// All memory, the map of it, handles and threads' times; read failures cost no dump.
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

    /// A request for it, to be completed (exception, user streams) as the occasion demands.
    #[must_use]
    pub fn request(&self) -> Request {
        self.request.clone()
    }

    /// The same with another policy behind those that it has.
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
