use dumpwright_callback::{
    Ask, Callback, CancelAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleWriteFlags, ProcessAsked,
    RegionAnswer, SecondaryFlags, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright_target::AddressRange;

use super::regions::{self, Passes, Said};
use crate::protocol::Lent;

/// Several callbacks as one.
///
/// Every link hears every question that concerns it, in the order of the chain, and the answers are put together so
/// that nobody undoes what another one has taken out:
///
/// | questions | together |
/// |---|---|
/// | IncludeThread, IncludeModule | the next link sees the flags that the one before it left; the first FALSE, or the first that clears the thread's or module's own bit, ends it |
/// | Module, Thread, ThreadEx | the same; the first FALSE aborts the dump |
/// | Memory, RemoveMemory | the ranges of the first link, then those of the next |
/// | IncludeVmRegion | the next link sees the part that the one before it left; a link that wants no more questions is not asked again in that pass |
/// | Cancel | the first that cancels; polling goes on as long as one link renews it, and only that link is polled |
/// | IsProcessSnapshot, VmStart | yes if one says yes; the Vm questions go to those that said yes |
/// | IoStart | the first yes; IoWriteAll and IoFinish go to that link alone |
/// | SecondaryFlags | all that anybody wishes |
/// | VmQuery | the first that knows the region, ends the map or fails |
/// | VmPreRead | the first that has bytes, or fails the read |
/// | VmPostRead | all, each sees what the one before it left. Also when VmPreRead had all the bytes, so that a cache does not lead around a redaction |
/// | ReadMemoryFailure | the first that goes on without the range |
/// | WriteKernelMinidump | the first handle; KernelMinidumpStatus goes to that link |
///
/// A chain without links, or of mere listeners, answers nothing: the dump is the one that is made without a callback.
///
/// Filters belong in front of what acts on the things filtered: behind
/// [`Threads::except([8])`](super::Threads::except), [`AroundRegisters`](super::AroundRegisters) hears nothing of
/// thread 8.
///
/// ```
/// use dumpwright::Ask;
/// use dumpwright::policy::{CancelToken, Chain, Redact, Threads};
///
/// let token = CancelToken::new();
/// let mut redact = Redact::new().text("hunter2");
/// let mut chain = Chain::new()
///     .then(Threads::only([7]))
///     .then(token.clone())
///     .then(|ask: Ask<'_>| {
///         println!("{}", ask.kind().name());
///         true
///     })
///     .then_mut(&mut redact);          // to be asked afterwards what it has found
/// # use dumpwright::Callback;
/// # let mut keep = dumpwright::callback::ThreadWriteFlags::THREAD;
/// # assert!(!chain.ask(Ask::IncludeThread { thread_id: 8, keep: &mut keep }));
/// ```
#[derive(Default)]
pub struct Chain<'a> {
    links: Vec<Link<'a>>,
    /// The link whose ranges are being asked for.
    adding: usize,
    /// The same for RemoveMemory.
    removing: usize,
    passes: Passes,
    /// The link that took over the output.
    writer: Option<usize>,
    /// The link that gave a handle for a kernel dump.
    kernel: Option<usize>,
}

struct Link<'a> {
    policy: Box<dyn Callback + 'a>,
    /// It still wants to be asked Cancel.
    polled: bool,
    /// It wants the Vm questions.
    reads: bool,
    /// It still wants to be asked about regions in this pass.
    regions: bool,
}

impl Link<'_> {
    /// What the link returned; `None` if it only listens.
    fn ask(&mut self, ask: Ask<'_>) -> Option<bool> {
        let said = self.policy.ask(ask);
        self.policy.answers().then_some(said)
    }

    fn begin(&mut self) {
        (self.polled, self.reads, self.regions) = (true, false, true);
    }
}

impl<'a> Chain<'a> {
    /// A chain without links.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a link.
    #[must_use]
    pub fn then(mut self, policy: impl Callback + 'a) -> Self {
        self.links.push(Link {
            policy: Box::new(policy),
            polled: true,
            reads: false,
            regions: true,
        });
        self
    }

    /// Appends a link that is only lent, so that it can be looked at after the dump.
    #[must_use]
    pub fn then_mut(self, policy: &'a mut dyn Callback) -> Self {
        self.then(Lent(policy))
    }

    fn begin(&mut self) {
        self.links.iter_mut().for_each(Link::begin);
        (self.adding, self.removing) = (0, 0);
        (self.writer, self.kernel) = (None, None);
        self.passes = Passes::default();
    }

    /// IsProcessSnapshot, VmStart, IoStart: whether this link says yes.
    fn says_yes(link: &mut Link<'_>, make: fn(&mut Hresult) -> Ask<'_>) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        link.ask(make(&mut status)) == Some(true) && status == Hresult::S_FALSE
    }

    /// The questions with write flags.
    fn narrow(&mut self, mut ask: Ask<'_>) -> bool {
        for link in &mut self.links {
            let before = write_flags(&ask);
            match link.ask(ask.reborrow()) {
                None => set_write_flags(&mut ask, before),
                Some(false) => return false,
                Some(true) => {
                    let left = write_flags(&ask) & (before | addable(&ask));
                    set_write_flags(&mut ask, left);
                    if left & ITSELF == 0 {
                        return true;
                    }
                }
            }
        }
        true
    }

    /// The next range of a link, beginning with the link at `current`.
    fn next_range(
        links: &mut [Link<'_>],
        current: &mut usize,
        slot: &mut MemoryAnswer,
        make: fn(&mut MemoryAnswer) -> Ask<'_>,
    ) -> bool {
        while let Some(link) = links.get_mut(*current) {
            let mut answer = MemoryAnswer::default();
            if link.ask(make(&mut answer)) == Some(true) && answer.size > 0 {
                *slot = answer;
                return true;
            }
            *current += 1;
        }
        false
    }

    fn cancel(&mut self, slot: &mut CancelAnswer) -> bool {
        for link in self.links.iter_mut().filter(|link| link.polled) {
            let mut answer = CancelAnswer::default();
            let said = link.ask(Ask::Cancel { answer: &mut answer });
            link.polled = said.is_some() && answer.check_cancel;
            slot.check_cancel |= link.polled;
            if said == Some(true) && answer.cancel {
                slot.cancel = true;
                break;
            }
        }
        true
    }

    fn include_vm_region(&mut self, slot: &mut RegionAnswer) -> bool {
        let Some(offered) = regions::range(&slot.region) else {
            return true;
        };
        if self.passes.begins(offered.start()) {
            self.links.iter_mut().for_each(|link| link.regions = true);
        }
        let part = first_part(&mut self.links, &slot.region, offered);
        // If nobody wants to hear of more, nobody has taken anything out of this region either.
        if self.links.iter().any(|link| link.regions) {
            regions::answer(slot, part);
        }
        true
    }

    fn vm_query(&mut self, offset: u64, slot: &mut VmQueryAnswer) -> bool {
        for link in self.links.iter_mut().filter(|link| link.reads) {
            let mut answer = *slot;
            let said = link.ask(Ask::VmQuery {
                offset,
                answer: &mut answer,
            });
            if said == Some(true) && answer.status != Hresult::E_NOTIMPL {
                *slot = answer;
                return true;
            }
        }
        true
    }

    fn vm_pre_read(&mut self, offset: u64, buffer: &mut [u8], slot: &mut VmReadAnswer) -> bool {
        for link in self.links.iter_mut().filter(|link| link.reads) {
            let mut answer = VmReadAnswer {
                status: Hresult::E_NOTIMPL,
                completed: 0,
            };
            if link.ask(Ask::VmPreRead {
                offset,
                buffer,
                answer: &mut answer,
            }) != Some(true)
            {
                continue;
            }
            let failed = !answer.status.is_success() && answer.status != Hresult::E_NOTIMPL;
            if answer.completed as usize >= buffer.len() {
                // The writer asks nothing more about this read; the others are to see it all the same.
                *slot = VmReadAnswer {
                    status: Hresult::S_OK,
                    completed: answer.completed,
                };
                self.vm_post_read(offset, buffer, answer.completed, Hresult::S_OK, slot);
                return true;
            }
            if answer.completed > 0 || failed {
                *slot = answer;
                return true;
            }
        }
        false
    }

    fn vm_post_read(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
        completed: u32,
        status: Hresult,
        slot: &mut VmReadAnswer,
    ) -> bool {
        *slot = VmReadAnswer { status, completed };
        for link in self.links.iter_mut().filter(|link| link.reads) {
            let VmReadAnswer { status, completed } = *slot;
            let mut answer = VmReadAnswer {
                status: Hresult::E_NOTIMPL,
                completed,
            };
            let ask = Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                answer: &mut answer,
            };
            if link.ask(ask) == Some(true) {
                *slot = answer;
            }
        }
        true
    }
}

impl Callback for Chain<'_> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { status } => {
                self.begin();
                for link in &mut self.links {
                    if Self::says_yes(link, |status| Ask::IsProcessSnapshot { status }) {
                        *status = Hresult::S_FALSE;
                    }
                }
                true
            }
            Ask::VmStart { status } => {
                for link in &mut self.links {
                    link.reads = Self::says_yes(link, |status| Ask::VmStart { status });
                    if link.reads {
                        *status = Hresult::S_FALSE;
                    }
                }
                true
            }
            Ask::IoStart { handle, status } => {
                self.writer = self.links.iter_mut().position(|link| {
                    let mut status = Hresult::E_NOTIMPL;
                    link.ask(Ask::IoStart {
                        handle,
                        status: &mut status,
                    }) == Some(true)
                        && status == Hresult::S_FALSE
                });
                if self.writer.is_some() {
                    *status = Hresult::S_FALSE;
                }
                true
            }
            ask @ (Ask::IoWriteAll { .. } | Ask::IoFinish { .. }) => self
                .writer
                .is_some_and(|writer| self.links[writer].ask(ask) == Some(true)),
            ask @ (Ask::IncludeThread { .. }
            | Ask::IncludeModule { .. }
            | Ask::Module { .. }
            | Ask::Thread { .. }
            | Ask::ThreadEx { .. }) => self.narrow(ask),
            Ask::Memory { wanted } => Self::next_range(&mut self.links, &mut self.adding, wanted, |wanted| {
                Ask::Memory { wanted }
            }),
            Ask::RemoveMemory { unwanted } => {
                Self::next_range(&mut self.links, &mut self.removing, unwanted, |unwanted| {
                    Ask::RemoveMemory { unwanted }
                })
            }
            Ask::Cancel { answer } => self.cancel(answer),
            Ask::IncludeVmRegion { answer } => self.include_vm_region(answer),
            Ask::SecondaryFlags { flags } => {
                for link in &mut self.links {
                    let mut wished = SecondaryFlags::empty();
                    if link.ask(Ask::SecondaryFlags { flags: &mut wished }) == Some(true) {
                        *flags |= wished;
                    }
                }
                true
            }
            Ask::VmQuery { offset, answer } => self.vm_query(offset, answer),
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            } => self.vm_pre_read(offset, buffer, answer),
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                answer,
            } => self.vm_post_read(offset, buffer, completed, status, answer),
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                status,
            } => {
                let goes_on = |link: &mut Link<'_>| {
                    let mut status = Hresult::S_FALSE;
                    let ask = Ask::ReadMemoryFailure {
                        offset,
                        bytes,
                        failure,
                        status: &mut status,
                    };
                    link.ask(ask) == Some(true) && status == Hresult::S_OK
                };
                if self.links.iter_mut().any(goes_on) {
                    *status = Hresult::S_OK;
                }
                true
            }
            Ask::WriteKernelMinidump { handle } => {
                for (index, link) in self.links.iter_mut().enumerate() {
                    let mut given = 0;
                    if link.ask(Ask::WriteKernelMinidump { handle: &mut given }) == Some(true) && given != 0 {
                        (*handle, self.kernel) = (given, Some(index));
                        return true;
                    }
                }
                false
            }
            ask @ Ask::KernelMinidumpStatus { .. } => self
                .kernel
                .is_none_or(|kernel| self.links[kernel].ask(ask) == Some(true)),
        }
    }

    fn process(&mut self, process: ProcessAsked) {
        for link in &mut self.links {
            link.policy.process(process);
        }
    }

    fn answers(&self) -> bool {
        self.links.iter().any(|link| link.policy.answers())
    }
}

/// The bit that stands for the thread or module itself, the same for both.
const ITSELF: u32 = ThreadWriteFlags::THREAD.bits();
const _: () = assert!(ITSELF == ModuleWriteFlags::MODULE.bits());

/// The flags in the slot of a question that has write flags.
fn write_flags(ask: &Ask<'_>) -> u32 {
    match ask {
        Ask::IncludeThread { keep, .. } | Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } => {
            keep.bits()
        }
        Ask::IncludeModule { keep, .. } | Ask::Module { keep, .. } => keep.bits(),
        _ => unreachable!("questions with write flags"),
    }
}

fn set_write_flags(ask: &mut Ask<'_>, flags: u32) {
    match ask {
        Ask::IncludeThread { keep, .. } | Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } => {
            **keep = ThreadWriteFlags::from_bits_retain(flags);
        }
        Ask::IncludeModule { keep, .. } | Ask::Module { keep, .. } => {
            **keep = ModuleWriteFlags::from_bits_retain(flags);
        }
        _ => unreachable!("questions with write flags"),
    }
}

/// The one bit that an answer may add, and to which question.
fn addable(ask: &Ask<'_>) -> u32 {
    match ask {
        Ask::IncludeModule { .. } => ModuleWriteFlags::REFERENCED_BY_MEMORY.bits(),
        _ => 0,
    }
}

/// The first part of `offered` that all links want; `None` if they want nothing of it.
fn first_part(links: &mut [Link<'_>], region: &MemoryInfo, offered: AddressRange) -> Option<AddressRange> {
    let Some((link, behind)) = links.split_first_mut() else {
        return Some(offered);
    };
    let mut rest = Some(offered);
    while let Some(offered) = rest {
        let said = if link.regions {
            let (base_address, region_size) = (offered.start(), offered.len());
            let mut answer = RegionAnswer {
                region: MemoryInfo {
                    base_address,
                    region_size,
                    ..*region
                },
                cont: false,
            };
            let returned = link.ask(Ask::IncludeVmRegion { answer: &mut answer });
            Said::read(offered, returned, &answer)
        } else {
            Said::NoMore
        };
        let part = match said {
            Said::Skip => return None,
            Said::Part(part) => part,
            Said::NoMore => {
                link.regions = false;
                offered
            }
        };
        if let Some(found) = first_part(behind, region, part) {
            return Some(found);
        }
        rest = AddressRange::new(part.end(), offered.end());
    }
    None
}
