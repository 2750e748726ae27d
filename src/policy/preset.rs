use dumpwright_callback::{Ask, Callback, ProcessAsked};

use super::{AroundRegisters, Chain, IgnoreReadFailures, Redact, SizeBudget};
use crate::{DumpType, Request};

/// The bytes before and after each address in a register that [`Preset::first_look`] adds.
pub(super) const FIRST_LOOK: (u64, u64) = (256, 1024);

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
/// Each preset has a name, by which the command line and policy files know it: see
/// [`named`](Self::named).
pub struct Preset<'a> {
    request: Request,
    policies: Box<dyn Callback + 'a>,
}

impl<'a> Preset<'a> {
    /// The names of all presets. The first five are those of plain dump types, which
    /// [`DumpType::parse`] knows as well.
    pub const NAMES: [&'static str; 10] = [
        "normal",
        "mini",
        "heap",
        "triage",
        "full",
        "first-look",
        "for-upload",
        "discreet",
        "stack-traces",
        "everything",
    ];

    /// The limit of the preset `for-upload` if no other one is given: 8 MiB of memory.
    pub const UPLOAD_SIZE: u64 = 8 << 20;

    /// Returns the preset with this name; `None` if there is none.
    ///
    /// `for-upload` has the limit [`UPLOAD_SIZE`](Self::UPLOAD_SIZE), and `discreet` no texts; add
    /// a [`Redact`] to it. The presets that are dump types leave out memory that cannot be read.
    ///
    /// ```
    /// use dumpwright::policy::Preset;
    ///
    /// assert!(Preset::NAMES.iter().all(|name| Preset::named(name).is_some()));
    /// assert!(Preset::named("tiny").is_none());
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "first-look" => Self::first_look(),
            "for-upload" => Self::for_upload(Self::UPLOAD_SIZE),
            "discreet" => Self::discreet([""; 0]),
            "stack-traces" => Self::stack_traces(),
            "everything" => Self::everything(),
            _ => Self {
                request: Request::new(DumpType::of_preset(name)?),
                policies: Box::new(IgnoreReadFailures::new()),
            },
        })
    }

    /// Creates a preset for a first look at a problem: threads, modules, stacks, the memory that
    /// registers point to (256 bytes before and 1 KiB after), and module names without folders.
    /// Memory that cannot be read is left out.
    #[must_use]
    pub fn first_look() -> Self {
        let policies = Chain::new()
            .then(AroundRegisters::new(FIRST_LOOK.0, FIRST_LOOK.1))
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
