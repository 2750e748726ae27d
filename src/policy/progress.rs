use dumpwright_callback::{Ask, Callback, Hresult, ProcessAsked};

/// Reports the progress of a dump.
///
/// The function is called for every call of the callback; it decides what to show. Bytes are
/// counted only on request, because the writer then sends VmPreRead and VmPostRead for every page,
/// which makes large dumps slower.
///
/// ```
/// use dumpwright::policy::{Phase, Progress};
///
/// let mut last = None;
/// let mut progress = Progress::new(|step| {
///     if last != Some(step.phase) {
///         last = Some(step.phase);
///         eprintln!("{:?}: {} threads, {} modules", step.phase, step.threads, step.modules);
///     }
/// })
/// .counting_bytes();
/// # let _ = &mut progress;
/// ```
pub struct Progress<F> {
    report: F,
    counts_bytes: bool,
    /// Whether the last call was Cancel.
    polled: bool,
    step: Step,
}

/// The state of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The current phase.
    pub phase: Phase,
    /// The number of callback calls so far.
    pub questions: u64,
    /// The number of threads found so far.
    pub threads: usize,
    /// The number of modules found so far.
    pub modules: usize,
    /// The bytes of memory read so far, if bytes are counted. Memory that is read twice counts
    /// twice.
    pub bytes: u64,
}

/// The phases of a dump, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The writer, the output and the dump type are settled.
    Negotiate,
    /// Threads and modules are selected.
    Select,
    /// The facts of the selected threads and modules are read.
    Collect,
    /// Memory is selected.
    Memory,
    /// Memory is read, and the file is written.
    Write,
    /// The dump is complete.
    Done,
}

impl<F: FnMut(&Step)> Progress<F> {
    /// Creates a policy that calls `report` for every call of the callback.
    pub fn new(report: F) -> Self {
        Self {
            report,
            counts_bytes: false,
            polled: false,
            step: Step {
                phase: Phase::Negotiate,
                questions: 0,
                threads: 0,
                modules: 0,
                bytes: 0,
            },
        }
    }

    /// Counts the bytes of memory that are read.
    #[must_use]
    pub fn counting_bytes(mut self) -> Self {
        self.counts_bytes = true;
        self
    }
}

impl<F: FnMut(&Step)> Callback for Progress<F> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        let step = &mut self.step;
        let mut returned = true;
        let polled = std::mem::replace(&mut self.polled, matches!(ask, Ask::Cancel { .. }));
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                *step = Step {
                    phase: Phase::Negotiate,
                    questions: 0,
                    threads: 0,
                    modules: 0,
                    bytes: 0,
                };
            }
            Ask::VmStart { status } if self.counts_bytes => *status = Hresult::S_FALSE,
            Ask::IncludeThread { .. } => {
                step.phase = Phase::Select;
                step.threads += 1;
            }
            Ask::IncludeModule { .. } => {
                step.phase = Phase::Select;
                step.modules += 1;
            }
            Ask::Module { .. } | Ask::Thread { .. } | Ask::ThreadEx { .. } => step.phase = Phase::Collect,
            Ask::Memory { .. } | Ask::RemoveMemory { .. } => step.phase = Phase::Memory,
            Ask::IncludeVmRegion { answer } => {
                // Keep the whole region, and ask for further calls: the phase is known only while
                // they continue.
                answer.cont = true;
                step.phase = Phase::Memory;
            }
            Ask::Cancel { answer } => {
                answer.check_cancel = true;
                // While memory is selected, another callback type follows each poll.
                if polled && step.phase == Phase::Memory {
                    step.phase = Phase::Write;
                }
            }
            Ask::VmPreRead { .. } => {
                // Reads before the phase Memory only help to select memory.
                if step.phase == Phase::Memory {
                    step.phase = Phase::Write;
                }
                returned = false;
            }
            Ask::VmPostRead { completed, .. } => {
                step.bytes += u64::from(completed);
                returned = false;
            }
            Ask::WriteKernelMinidump { .. } => step.phase = Phase::Done,
            _ => {}
        }
        step.questions += 1;
        (self.report)(step);
        returned
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
