//! The only place that asks.
//!
//! The dialogue has two faces. [`Dialogue`] can put every question; [`Service`] only those that may
//! come after the layout is fixed (reads, failures, writes, cancel), so code that is handed a service
//! cannot change the shape of the file.

use dumpwright_callback::{
    Ask, AskKind, Callback, CancelAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleAsked, ModuleWriteFlags,
    ProcessAsked, RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright_target::{AddressRange, Snapshot};

use crate::Error;

/// The whole dialogue with one callback, or with none.
pub(crate) struct Dialogue<'c> {
    service: Service<'c>,
    /// Whether the output has been begun, so that its end is to be told.
    writing: bool,
}

/// The questions that may come at any time.
pub(crate) struct Service<'c> {
    callback: Option<&'c mut dyn Callback>,
    /// Whether the callback still wants to be asked Cancel.
    polling: bool,
    /// Whether the callback wants the Vm questions.
    vm: bool,
    shown: Shown,
    /// What the callback was shown last.
    told: Option<ProcessAsked>,
}

/// The process, as the questions show it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    given: ProcessAsked,
    /// What is read from.
    memory_handle: u64,
}

impl Shown {
    /// The process with this id and handle.
    pub fn new(process_id: u32, process_handle: u64) -> Self {
        Self {
            given: ProcessAsked {
                process_id,
                process_handle,
            },
            memory_handle: process_handle,
        }
    }

    /// What this question comes with, as DbgHelp 6.3.9600 was seen to do: questions about the file and the kernel's
    /// dump with nothing, the first two and those about reads without a process id.
    fn by(&self, kind: AskKind) -> ProcessAsked {
        let with_handle = |process_handle| ProcessAsked {
            process_id: 0,
            process_handle,
        };
        match kind {
            AskKind::IoStart
            | AskKind::IoWriteAll
            | AskKind::IoFinish
            | AskKind::WriteKernelMinidump
            | AskKind::KernelMinidumpStatus => ProcessAsked::default(),
            AskKind::IsProcessSnapshot | AskKind::VmStart => with_handle(self.given.process_handle),
            AskKind::VmQuery | AskKind::VmPreRead | AskKind::VmPostRead => with_handle(self.memory_handle),
            AskKind::Module
            | AskKind::Thread
            | AskKind::ThreadEx
            | AskKind::IncludeThread
            | AskKind::IncludeModule
            | AskKind::Memory
            | AskKind::Cancel
            | AskKind::RemoveMemory
            | AskKind::IncludeVmRegion
            | AskKind::ReadMemoryFailure
            | AskKind::SecondaryFlags => self.given,
        }
    }
}

/// What a callback said before a read.
pub(crate) enum PreRead {
    /// All bytes are there.
    Done,
    /// This many are there, the rest is to be read.
    Partly(usize),
    /// The read has failed.
    Failed,
}

/// What a callback said about a region that VmQuery asked for.
pub(crate) enum Queried {
    /// Here it is.
    Region(MemoryInfo),
    /// Ask the system.
    AskSystem,
    /// There are no more.
    NoMore,
}

impl<'c> Dialogue<'c> {
    pub fn new(callback: Option<&'c mut dyn Callback>, shown: Shown) -> Self {
        // The first Cancel is asked without having been asked for.
        Self {
            service: Service {
                callback,
                polling: true,
                vm: false,
                shown,
                told: None,
            },
            writing: false,
        }
    }

    /// From now on, a callback that writes is told of the end however the dump ends.
    pub fn begin_writing(&mut self) {
        self.writing = true;
    }

    /// Whether the output has been begun.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// The part of the dialogue that is left after the layout.
    pub fn service(&mut self) -> &mut Service<'c> {
        &mut self.service
    }

    /// Whether there is a callback at all.
    pub fn has_callback(&self) -> bool {
        self.service.callback.is_some()
    }

    fn ask(&mut self, ask: Ask<'_>) -> Option<bool> {
        self.service.ask(ask)
    }

    /// Whether the target is said to be a snapshot.
    pub fn is_process_snapshot(&mut self) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        let said = self.ask(Ask::IsProcessSnapshot { status: &mut status });
        said == Some(true) && status == Hresult::S_FALSE
    }

    /// The target is this snapshot: questions about reads come with the handle of the copy of its memory.
    pub fn reads_from(&mut self, snapshot: Snapshot) {
        if let Some(clone) = snapshot.clone_handle {
            self.service.shown.memory_handle = clone;
        }
    }

    /// Whether the Vm questions are wanted; they are put from now on.
    pub fn vm_start(&mut self) {
        let mut status = Hresult::E_NOTIMPL;
        self.service.vm =
            self.ask(Ask::VmStart { status: &mut status }) == Some(true) && status == Hresult::S_FALSE;
    }

    /// Whether the callback takes over the output.
    pub fn io_start(&mut self, handle: u64) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        self.ask(Ask::IoStart {
            handle,
            status: &mut status,
        }) == Some(true)
            && status == Hresult::S_FALSE
    }

    pub fn secondary_flags(&mut self) -> SecondaryFlags {
        let mut flags = SecondaryFlags::empty();
        match self.ask(Ask::SecondaryFlags { flags: &mut flags }) {
            Some(true) => flags,
            _ => SecondaryFlags::empty(),
        }
    }

    /// What is to be gathered of a thread; `None` leaves it out.
    pub fn include_thread(&mut self, thread_id: u32, initial: ThreadWriteFlags) -> Option<ThreadWriteFlags> {
        let mut keep = initial;
        match self.ask(Ask::IncludeThread {
            thread_id,
            keep: &mut keep,
        }) {
            Some(true) => keep &= initial,
            Some(false) => return None,
            None => keep = initial,
        }
        keep.contains(ThreadWriteFlags::THREAD).then_some(keep)
    }

    /// What is to be gathered of a module; `None` leaves it out.
    pub fn include_module(&mut self, base: u64, initial: ModuleWriteFlags) -> Option<ModuleWriteFlags> {
        let mut keep = initial;
        match self.ask(Ask::IncludeModule {
            base,
            keep: &mut keep,
        }) {
            // The one bit that may be added.
            Some(true) => keep &= initial | ModuleWriteFlags::REFERENCED_BY_MEMORY,
            Some(false) => return None,
            None => keep = initial,
        }
        keep.contains(ModuleWriteFlags::MODULE).then_some(keep)
    }

    /// What is to be written of a module.
    pub fn module(
        &mut self,
        module: ModuleAsked<'_>,
        current: ModuleWriteFlags,
    ) -> Result<ModuleWriteFlags, Error> {
        let mut keep = current;
        match self.ask(Ask::Module {
            module,
            keep: &mut keep,
        }) {
            Some(true) => Ok(keep & current),
            Some(false) => Err(Error::Aborted(AskKind::Module)),
            None => Ok(current),
        }
    }

    /// What is to be written of a thread.
    pub fn thread(
        &mut self,
        thread: ThreadAsked<'_>,
        current: ThreadWriteFlags,
    ) -> Result<ThreadWriteFlags, Error> {
        let mut keep = current;
        match self.ask(Ask::Thread {
            thread,
            keep: &mut keep,
        }) {
            Some(true) => Ok(keep & current),
            Some(false) => Err(Error::Aborted(AskKind::Thread)),
            None => Ok(current),
        }
    }

    /// The same as [`thread`](Self::thread), with the backing store.
    pub fn thread_ex(
        &mut self,
        thread: ThreadAsked<'_>,
        current: ThreadWriteFlags,
    ) -> Result<ThreadWriteFlags, Error> {
        let mut keep = current;
        match self.ask(Ask::ThreadEx {
            thread,
            keep: &mut keep,
        }) {
            Some(true) => Ok(keep & current),
            Some(false) => Err(Error::Aborted(AskKind::ThreadEx)),
            None => Ok(current),
        }
    }

    /// The next range to be added; `None` when there are no more.
    ///
    /// A range that wraps around the end of the address space is cut off there.
    pub fn memory(&mut self) -> Option<AddressRange> {
        let mut wanted = MemoryAnswer::default();
        let said = self.ask(Ask::Memory { wanted: &mut wanted });
        Self::range_of(said, wanted)
    }

    /// The next range to be cut out; `None` when there are no more.
    pub fn remove_memory(&mut self) -> Option<AddressRange> {
        let mut unwanted = MemoryAnswer::default();
        let said = self.ask(Ask::RemoveMemory {
            unwanted: &mut unwanted,
        });
        Self::range_of(said, unwanted)
    }

    fn range_of(said: Option<bool>, answer: MemoryAnswer) -> Option<AddressRange> {
        if said != Some(true) || answer.size == 0 {
            return None;
        }
        AddressRange::new(answer.base, answer.base.saturating_add(answer.size.into()))
    }

    /// The callback's opinion on a region, or `None` if it wants to hear of no more.
    pub fn include_vm_region(&mut self, region: MemoryInfo) -> Option<MemoryInfo> {
        let mut answer = RegionAnswer { region, cont: false };
        let said = self.ask(Ask::IncludeVmRegion { answer: &mut answer });
        (said == Some(true) && answer.cont).then_some(answer.region)
    }

    /// The region at an address, as the callback sees it.
    pub fn vm_query(&mut self, offset: u64) -> Result<Queried, Error> {
        if !self.service.vm {
            return Ok(Queried::AskSystem);
        }
        let mut answer = VmQueryAnswer {
            status: Hresult::E_NOTIMPL,
            region: MemoryInfo::default(),
        };
        let said = self.ask(Ask::VmQuery {
            offset,
            answer: &mut answer,
        });
        match answer.status {
            _ if said != Some(true) => Ok(Queried::AskSystem),
            Hresult::E_NOTIMPL => Ok(Queried::AskSystem),
            Hresult::S_OK => Ok(Queried::Region(answer.region)),
            Hresult::E_NOINTERFACE => Ok(Queried::NoMore),
            status => Err(Error::Refused {
                ask: AskKind::VmQuery,
                status,
            }),
        }
    }

    /// The output is complete, or has failed.
    pub fn io_finish(&mut self, handle: u64) -> Result<(), Error> {
        let mut status = Hresult::E_FAIL;
        match self.ask(Ask::IoFinish {
            handle,
            status: &mut status,
        }) {
            Some(true) if status.is_success() => Ok(()),
            Some(true) => Err(Error::Refused {
                ask: AskKind::IoFinish,
                status,
            }),
            _ => Err(Error::Aborted(AskKind::IoFinish)),
        }
    }

    /// Offers a kernel dump. No system that this writer runs on makes one for us, which is what the callback is
    /// then told.
    pub fn kernel_minidump(&mut self) {
        /// STATUS_NOT_IMPLEMENTED as an HRESULT; DbgHelp 6.3.9600 reported it on a system without.
        const NOT_IMPLEMENTED: Hresult = Hresult(0xD000_0002);
        let mut handle = 0;
        if self.ask(Ask::WriteKernelMinidump { handle: &mut handle }) == Some(true) && handle != 0 {
            self.ask(Ask::KernelMinidumpStatus {
                status: NOT_IMPLEMENTED,
            });
        }
    }
}

impl Service<'_> {
    /// What was answered; `None` if nobody did, and then nothing in the answer's slot counts either: a listener
    /// changes nothing.
    fn ask(&mut self, ask: Ask<'_>) -> Option<bool> {
        let callback = self.callback.as_mut()?;
        let process = self.shown.by(ask.kind());
        if self.told != Some(process) {
            callback.process(process);
            self.told = Some(process);
        }
        let said = callback.ask(ask);
        callback.answers().then_some(said)
    }

    /// Asks Cancel, if the callback still wants to be asked.
    pub fn poll_cancel(&mut self) -> Result<(), Error> {
        if !self.polling {
            return Ok(());
        }
        let mut answer = CancelAnswer::default();
        let said = self.ask(Ask::Cancel { answer: &mut answer });
        // CheckCancel counts even when FALSE is returned, Cancel only with TRUE.
        self.polling = said.is_some() && answer.check_cancel;
        if said == Some(true) && answer.cancel {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Whether the Vm questions are wanted.
    pub fn wants_reads(&self) -> bool {
        self.vm
    }

    /// Offers a read before it is done.
    pub fn vm_pre_read(&mut self, offset: u64, buffer: &mut [u8]) -> PreRead {
        let size = buffer.len();
        let mut answer = VmReadAnswer {
            status: Hresult::E_NOTIMPL,
            completed: 0,
        };
        if self.ask(Ask::VmPreRead {
            offset,
            buffer,
            answer: &mut answer,
        }) != Some(true)
        {
            return PreRead::Partly(0);
        }
        match answer.completed as usize {
            completed if completed >= size => PreRead::Done,
            completed if answer.status.is_success() || answer.status == Hresult::E_NOTIMPL => {
                PreRead::Partly(completed)
            }
            _ => PreRead::Failed,
        }
    }

    /// Shows what a read brought; returns how much of it counts.
    ///
    /// `completed` bytes are good, `status` says how the read ended. More than zero and fewer bytes than the
    /// buffer holds, with success, means that the rest is to be tried again.
    pub fn vm_post_read(
        &mut self,
        offset: u64,
        buffer: &mut [u8],
        completed: usize,
        status: Hresult,
    ) -> Result<usize, Hresult> {
        let size = buffer.len();
        let completed = u32::try_from(completed).unwrap_or(u32::MAX);
        let mut answer = VmReadAnswer {
            status: Hresult::E_NOTIMPL,
            completed,
        };
        let said = self.ask(Ask::VmPostRead {
            offset,
            buffer,
            completed,
            status,
            answer: &mut answer,
        });
        // An untouched slot says nothing. (DbgHelp does not even prefill the count.)
        let is_untouched = answer.status == Hresult::E_NOTIMPL && answer.completed == completed;
        let (completed, status) = if said == Some(true) && !is_untouched {
            (answer.completed, answer.status)
        } else {
            (completed, status)
        };
        match completed as usize {
            completed if completed >= size => Ok(size),
            0 => Err(Hresult::PARTIAL_COPY),
            completed if status.is_success() => Ok(completed),
            _ => Err(Hresult::READ_FAULT),
        }
    }

    /// Whether the dump goes on without memory that could not be read; `None` if nobody is asked.
    pub fn read_memory_failure(&mut self, range: AddressRange, failure: Hresult) -> Option<bool> {
        let mut status = Hresult::S_FALSE;
        let bytes = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let said = self.ask(Ask::ReadMemoryFailure {
            offset: range.start(),
            bytes,
            failure,
            status: &mut status,
        })?;
        Some(said && status == Hresult::S_OK)
    }

    /// Hands bytes of the dump to the callback.
    pub fn io_write_all(&mut self, handle: u64, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let mut status = Hresult::E_FAIL;
        match self.ask(Ask::IoWriteAll {
            handle,
            offset,
            bytes,
            status: &mut status,
        }) {
            Some(true) if status == Hresult::S_OK => Ok(()),
            Some(true) => Err(Error::Refused {
                ask: AskKind::IoWriteAll,
                status,
            }),
            _ => Err(Error::Aborted(AskKind::IoWriteAll)),
        }
    }
}
