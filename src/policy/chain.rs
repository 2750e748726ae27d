use dumpwright_callback::{
    Ask, ByRef, Callback, CancelAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleWriteFlags, ProcessAsked,
    RegionAnswer, SecondaryFlags, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright_target::AddressRange;

use super::regions::{self, PassAnswer, Passes};

/// Combines several callbacks into one.
///
/// Each link of the chain receives every call that concerns it, in the order of the chain. The
/// answers are combined so that no link can bring back what another one has taken out:
///
/// | callback types | how the answers are combined |
/// |---|---|
/// | IncludeThread, IncludeModule | each link sees the flags that the previous one left; the chain stops at the first FALSE, or as soon as the flag of the thread or module itself is cleared |
/// | Module, Thread, ThreadEx | the same, but the first FALSE aborts the dump |
/// | Memory, RemoveMemory | the ranges of the first link, then those of the next |
/// | IncludeVmRegion | each link sees the part that the previous one left; a link that wants no more calls is not called again in that pass |
/// | Cancel | the first link that cancels; polling continues as long as at least one link asks for it, and only such links are polled |
/// | IsProcessSnapshot, VmStart | accepted if any link accepts; VmQuery, VmPreRead and VmPostRead go to the links that accepted VmStart |
/// | IoStart | the first link that accepts; IoWriteAll and IoFinish go to that link alone |
/// | SecondaryFlags | the union of all flags |
/// | VmQuery | the first link that describes the region, ends the list of regions, or fails |
/// | VmPreRead | the first link that has bytes, or fails the read |
/// | VmPostRead | all links, each sees what the previous one left; sent even if VmPreRead returned all bytes, so that cached bytes are redacted as well |
/// | ReadMemoryFailure | the first link that continues without the range |
/// | WriteKernelMinidump | the first handle; KernelMinidumpStatus goes to that link |
/// | CompressedMemoryStreamStart | the first answer that sets something |
/// | CompressedMemoryStreamFinish | all links |
///
/// A chain without links, or with links that only listen, gives no answers: the dump is the same as
/// without a callback.
///
/// Put filters before the policies that they should affect: if
/// [`AroundRegisters`](super::AroundRegisters) comes after
/// [`Threads::except([8])`](super::Threads::except), it does not see thread 8.
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
///     .then_mut(&mut redact);          // borrowed, so that its counts can be read after the dump
/// # use dumpwright::Callback;
/// # let mut keep = dumpwright::callback::ThreadWriteFlags::THREAD;
/// # assert!(!chain.ask(Ask::IncludeThread { thread_id: 8, keep: &mut keep }));
/// ```
#[derive(Default)]
pub struct Chain<'a> {
    links: Vec<Link<'a>>,
    /// The link that currently provides ranges for Memory.
    adding: usize,
    /// The link that currently provides ranges for RemoveMemory.
    removing: usize,
    passes: Passes,
    /// The link that took over the output.
    writer: Option<usize>,
    /// The link that gave a handle for a kernel dump.
    kernel: Option<usize>,
}

struct Link<'a> {
    policy: Box<dyn Callback + 'a>,
    /// Whether the link still wants Cancel.
    polled: bool,
    /// Whether the link wants VmQuery, VmPreRead and VmPostRead.
    reads: bool,
    /// Whether the link still wants IncludeVmRegion in this pass.
    regions: bool,
}

impl Link<'_> {
    /// Returns the link's return value; `None` if it only listens.
    fn ask(&mut self, ask: Ask<'_>) -> Option<bool> {
        let said = self.policy.ask(ask);
        self.policy.answers().then_some(said)
    }

    fn begin(&mut self) {
        (self.polled, self.reads, self.regions) = (true, false, true);
    }
}

impl<'a> Chain<'a> {
    /// Returns a chain without links.
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

    /// Appends a borrowed link, so that the caller can inspect it after the dump.
    #[must_use]
    pub fn then_mut(self, policy: &'a mut dyn Callback) -> Self {
        self.then(ByRef(policy))
    }

    fn begin(&mut self) {
        self.links.iter_mut().for_each(Link::begin);
        (self.adding, self.removing) = (0, 0);
        (self.writer, self.kernel) = (None, None);
        self.passes = Passes::default();
    }

    /// Whether this link accepts IsProcessSnapshot or VmStart.
    fn says_yes(link: &mut Link<'_>, make: fn(&mut Hresult) -> Ask<'_>) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        link.ask(make(&mut status)) == Some(true) && status == Hresult::S_FALSE
    }

    /// Handles the callback types whose answer has write flags.
    fn narrow(&mut self, mut ask: Ask<'_>) -> bool {
        for link in &mut self.links {
            let before = ask.write_flags().unwrap_or_default();
            match link.ask(ask.reborrow()) {
                None => ask.set_write_flags(before),
                Some(false) => return false,
                Some(true) => {
                    let given = ask.write_flags().unwrap_or_default();
                    let left = given & (before | ask.addable_write_flags());
                    ask.set_write_flags(left);
                    if left & ITSELF == 0 {
                        return true;
                    }
                }
            }
        }
        true
    }

    /// Fills `slot` with the next range of the link at `current` or of a later one.
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
        // If no link wants more regions, none has taken anything out of this one either.
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
                // The writer sends no VmPostRead for this read, but the other links must still see
                // it.
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
            Ask::CompressedMemoryStreamStart { answer } => {
                for link in &mut self.links {
                    let mut given = *answer;
                    let said = link.ask(Ask::CompressedMemoryStreamStart { answer: &mut given });
                    if said == Some(true) && given != *answer {
                        *answer = given;
                        return true;
                    }
                }
                false
            }
            Ask::CompressedMemoryStreamFinish {
                stream_size,
                compression_rate,
            } => {
                for link in &mut self.links {
                    link.ask(Ask::CompressedMemoryStreamFinish {
                        stream_size,
                        compression_rate,
                    });
                }
                true
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

/// The bit for the thread or module itself. It is the same for both.
const ITSELF: u32 = ThreadWriteFlags::THREAD.bits();
const _: () = assert!(ITSELF == ModuleWriteFlags::MODULE.bits());

/// Returns the first part of `offered` that all links want; `None` if they want none of it.
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
            PassAnswer::read(offered, returned, &answer)
        } else {
            PassAnswer::NoMore
        };
        let part = match said {
            PassAnswer::Skip => return None,
            PassAnswer::Part(part) => part,
            PassAnswer::NoMore => {
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
