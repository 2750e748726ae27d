use dumpwright_callback::{Ask, Callback, Hresult};

/// Tells how far a dump is.
///
/// The function is called with every question; it decides what is worth showing. To count bytes, the Vm questions
/// have to be asked for every page, which makes large dumps slower; so that is a choice.
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
    /// The last question was Cancel.
    polled: bool,
    step: Step,
}

/// Where a dump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The part of the work.
    pub phase: Phase,
    /// Questions so far.
    pub questions: u64,
    /// Threads found so far.
    pub threads: usize,
    /// Modules found so far.
    pub modules: usize,
    /// Bytes of memory read so far, if they are counted. What is read twice counts twice.
    pub bytes: u64,
}

/// The parts of the work, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Who writes, who reads, what kind of dump.
    Negotiate,
    /// Which threads and modules.
    Select,
    /// Their facts.
    Collect,
    /// Which memory.
    Memory,
    /// Memory is read, and the file is written.
    Write,
    /// The dump is whole.
    Done,
}

impl<F: FnMut(&Step)> Progress<F> {
    /// Calls `report` with every question.
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

    /// Count the bytes of memory that are read.
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
                // All of it, and the next one, please: without an end to the questions the phase is plain.
                answer.cont = true;
                step.phase = Phase::Memory;
            }
            Ask::Cancel { answer } => {
                answer.check_cancel = true;
                // While memory is chosen, another question follows each poll.
                if polled && step.phase == Phase::Memory {
                    step.phase = Phase::Write;
                }
            }
            Ask::VmPreRead { .. } => {
                // Reads also serve to find out which memory is wanted; only those behind that are the last phase.
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
}
