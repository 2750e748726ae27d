//! The dialogue with the callback. This is the only place that calls a callback.
//!
//! There are two interfaces. [`Dialogue`] can send every callback type. [`Service`] can send only
//! those that are allowed after the layout is fixed: reads, read failures, writes and Cancel. Code
//! that gets a `Service` therefore cannot change the layout of the file.

use std::ops::RangeInclusive;

use dumpwright_callback::{
    Ask, AskKind, Callback, CancelAnswer, CompressionAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleAsked,
    ModuleWriteFlags, ProcessAsked, RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags,
    VmQueryAnswer, VmReadAnswer,
};
use dumpwright_target::{AddressRange, SnapshotHandle};

use crate::{Error, Profile};

/// The dialogue with one callback, or with none.
pub(crate) struct Dialogue<'c> {
    service: Service<'c>,
    /// Whether the output has begun, so that IoFinish has to be sent.
    writing: bool,
}

/// The part of the dialogue that is allowed at any time.
pub(crate) struct Service<'c> {
    callback: Option<&'c mut dyn Callback>,
    /// Whether to continue polling Cancel.
    polling: bool,
    /// Whether the callback takes the Vm callback types (VmQuery, VmPreRead, VmPostRead).
    vm: bool,
    /// Whether VmPreRead and VmPostRead are also sent for reads of structures.
    vm_structures: bool,
    shown: Shown,
    /// The process id and handle that were last passed to the callback.
    told: Option<ProcessAsked>,
}

/// The process id and handles that are passed to the callback.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    given: ProcessAsked,
    /// The handle of the process, or of the copy of its memory, that is read from.
    memory_handle: u64,
}

impl Shown {
    /// A process with this id and handle.
    pub fn new(process_id: u32, process_handle: u64) -> Self {
        Self {
            given: ProcessAsked {
                process_id,
                process_handle,
            },
            memory_handle: process_handle,
        }
    }

    /// Returns the process id and handle that are passed with this callback type.
    ///
    /// The values are those observed on DbgHelp 6.3.9600. Both are 0 for callback types about the
    /// file and the kernel dump. The process id is 0 for the first two callback types and for those
    /// about regions and reads.
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
            | AskKind::KernelMinidumpStatus
            | AskKind::CompressedMemoryStreamStart
            | AskKind::CompressedMemoryStreamFinish => ProcessAsked::default(),
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

/// A callback's answer to VmPreRead.
pub(crate) enum PreRead {
    /// The callback has filled in all bytes.
    Done,
    /// The callback has filled in this many bytes; the rest has to be read.
    Partly(usize),
    /// The read fails.
    Failed,
}

/// A callback's answer to VmQuery.
pub(crate) enum Queried {
    /// The region at the address.
    Region(MemoryInfo),
    /// No answer: the region has to be obtained from the system.
    AskSystem,
    /// There are no more regions.
    NoMore,
}

/// A callback's answer to CompressedMemoryStreamStart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compression {
    /// The largest number of bytes of memory in a bucket.
    pub transfer_size: u32,
    /// The largest number of tasks; 0 if the writer chooses.
    pub parallelism: u32,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            transfer_size: 4 << 20,
            parallelism: 0,
        }
    }
}

impl Compression {
    /// Interprets the answer as the DbgHelp of 2026 does (`20-xfer-*`): sizes from 1 MiB to 64 MiB
    /// count, rounded up to 64 KiB. NUMA nodes are not used.
    fn of(answer: &CompressionAnswer) -> Self {
        const SIZES: RangeInclusive<u32> = 1 << 20..=64 << 20;
        const UNIT: u32 = 64 << 10;
        let size = answer.max_transfer_size;
        Self {
            transfer_size: match SIZES.contains(&size) {
                true => size.next_multiple_of(UNIT),
                false => Self::default().transfer_size,
            },
            parallelism: answer.max_parallelism,
        }
    }
}

impl<'c> Dialogue<'c> {
    pub fn new(callback: Option<&'c mut dyn Callback>, shown: Shown) -> Self {
        // The first Cancel is always sent.
        Self {
            service: Service {
                callback,
                polling: true,
                vm: false,
                vm_structures: false,
                shown,
                told: None,
            },
            writing: false,
        }
    }

    /// Marks the output as begun. From now on, a callback that has taken over the output gets
    /// IoFinish, even if the dump fails.
    pub fn begin_writing(&mut self) {
        self.writing = true;
    }

    /// Returns whether the output has begun.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Returns the part of the dialogue that is allowed after the layout is fixed.
    pub fn service(&mut self) -> &mut Service<'c> {
        &mut self.service
    }

    /// Returns whether there is a callback.
    pub fn has_callback(&self) -> bool {
        self.service.has_callback()
    }

    fn ask(&mut self, ask: Ask<'_>) -> Option<bool> {
        self.service.ask(ask)
    }

    /// Sends IsProcessSnapshot. Returns whether the callback says that the target is a process
    /// snapshot.
    pub fn is_process_snapshot(&mut self) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        let said = self.ask(Ask::IsProcessSnapshot { status: &mut status });
        said == Some(true) && status == Hresult::S_FALSE
    }

    /// Makes the callback types about regions and reads pass the handle of the snapshot's memory.
    pub fn reads_from(&mut self, snapshot: SnapshotHandle) {
        if let Some(clone) = snapshot.clone_handle {
            self.service.shown.memory_handle = clone;
        }
    }

    /// Sends VmStart. If the callback takes the Vm callback types, they are sent from now on.
    pub fn vm_start(&mut self, profile: Profile) {
        let mut status = Hresult::E_NOTIMPL;
        self.service.vm =
            self.ask(Ask::VmStart { status: &mut status }) == Some(true) && status == Hresult::S_FALSE;
        self.service.vm_structures = self.service.vm && profile.asks_about_reads_of_structures();
    }

    /// Sends IoStart. Returns whether the callback takes over the output.
    pub fn io_start(&mut self, handle: u64) -> bool {
        let mut status = Hresult::E_NOTIMPL;
        self.ask(Ask::IoStart {
            handle,
            status: &mut status,
        }) == Some(true)
            && status == Hresult::S_FALSE
    }

    /// Sends SecondaryFlags. Returns the callback's flags.
    pub fn secondary_flags(&mut self) -> SecondaryFlags {
        let mut flags = SecondaryFlags::empty();
        match self.ask(Ask::SecondaryFlags { flags: &mut flags }) {
            Some(true) => flags,
            _ => SecondaryFlags::empty(),
        }
    }

    /// Sends IncludeThread. Returns what to collect about the thread, or `None` to leave it out.
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

    /// Sends IncludeModule. Returns what to collect about the module, or `None` to leave it out.
    pub fn include_module(&mut self, base: u64, initial: ModuleWriteFlags) -> Option<ModuleWriteFlags> {
        let mut keep = initial;
        match self.ask(Ask::IncludeModule {
            base,
            keep: &mut keep,
        }) {
            // REFERENCED_BY_MEMORY is the only flag that a callback may add.
            Some(true) => keep &= initial | ModuleWriteFlags::REFERENCED_BY_MEMORY,
            Some(false) => return None,
            None => keep = initial,
        }
        keep.contains(ModuleWriteFlags::MODULE).then_some(keep)
    }

    /// Sends Module. Returns what to write about the module.
    ///
    /// # Errors
    /// Fails if the callback returns FALSE, which aborts the dump.
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

    /// Sends Thread. Returns what to write about the thread.
    ///
    /// # Errors
    /// Fails if the callback returns FALSE, which aborts the dump.
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

    /// Sends ThreadEx, which also has the thread's backing store. Otherwise like
    /// [`thread`](Self::thread).
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

    /// Sends Memory. Returns the next range to add, or `None` if there are no more.
    ///
    /// A range that goes beyond the end of the address space ends there.
    pub fn memory(&mut self) -> Option<AddressRange> {
        let mut wanted = MemoryAnswer::default();
        let said = self.ask(Ask::Memory { wanted: &mut wanted });
        Self::range_of(said, wanted)
    }

    /// Sends RemoveMemory. Returns the next range to remove, or `None` if there are no more.
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

    /// Sends IncludeVmRegion. Returns the part of the region to dump, or `None` if the callback
    /// does not want to be asked about more regions.
    pub fn include_vm_region(&mut self, region: MemoryInfo) -> Option<MemoryInfo> {
        let mut answer = RegionAnswer { region, cont: false };
        let said = self.ask(Ask::IncludeVmRegion { answer: &mut answer });
        (said == Some(true) && answer.cont).then_some(answer.region)
    }

    /// Sends VmQuery, if the callback takes it. Returns the callback's answer about the region at
    /// this address.
    ///
    /// # Errors
    /// Fails if the callback answers with a status other than S_OK, E_NOTIMPL and E_NOINTERFACE.
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

    /// Sends CompressedMemoryStreamStart. Returns how to compress.
    pub fn compressed_memory_start(&mut self) -> Compression {
        let mut answer = CompressionAnswer::default();
        match self.ask(Ask::CompressedMemoryStreamStart { answer: &mut answer }) {
            Some(true) => Compression::of(&answer),
            _ => Compression::default(),
        }
    }

    /// Sends CompressedMemoryStreamFinish: compressed memory of this size, from its header to the
    /// end of the file, has been written, and `rate` percent were saved. The answer is ignored.
    pub fn compressed_memory_finish(&mut self, size: u64, rate: u32) {
        let _ = self.ask(Ask::CompressedMemoryStreamFinish {
            stream_size: size,
            compression_rate: rate,
        });
    }

    /// Sends IoFinish: the output is complete, or has failed.
    ///
    /// # Errors
    /// Fails if the callback does not answer with TRUE and a success status.
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

    /// Sends WriteKernelMinidump and, if the callback wants a kernel dump, KernelMinidumpStatus
    /// with a failure: no supported system can make a kernel dump for dumpwright.
    pub fn kernel_minidump(&mut self) {
        /// STATUS_NOT_IMPLEMENTED as an HRESULT. DbgHelp 6.3.9600 reports it on a system without
        /// kernel dumps.
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
    /// Calls the callback. Returns its return value, or `None` if there is no callback or if it
    /// only listens. With `None`, the contents of the answer slot must be ignored too.
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

    /// Sends Cancel, if it is still polled.
    ///
    /// # Errors
    /// Fails if the callback cancels the dump.
    pub fn poll_cancel(&mut self) -> Result<(), Error> {
        if !self.polling {
            return Ok(());
        }
        let mut answer = CancelAnswer::default();
        let said = self.ask(Ask::Cancel { answer: &mut answer });
        // CheckCancel counts even if the callback returns FALSE; Cancel counts only with TRUE.
        self.polling = said.is_some() && answer.check_cancel;
        if said == Some(true) && answer.cancel {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    /// Returns whether the callback takes the Vm callback types.
    pub fn wants_reads(&self) -> bool {
        self.vm
    }

    /// Returns whether there is a callback.
    pub fn has_callback(&self) -> bool {
        self.callback.is_some()
    }

    /// Returns whether VmPreRead and VmPostRead are also sent for reads of structures, which are
    /// not dumped but lead to other facts (headers, lists, thread blocks).
    pub fn wants_reads_of_structures(&self) -> bool {
        self.vm_structures
    }

    /// Sends VmPreRead, before a read.
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

    /// Sends VmPostRead, after a read. Returns the number of valid bytes in `buffer`.
    ///
    /// The read has obtained `completed` bytes and ended with `status`; the callback can change
    /// both. If the returned number is less than the size of the buffer, the rest has to be read
    /// again.
    ///
    /// # Errors
    /// Fails if no byte is valid, or if only some are and the status is a failure.
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
        // A slot that the callback did not change counts as no answer. (DbgHelp does not prefill
        // the count.)
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

    /// Sends ReadMemoryFailure. Returns whether the dump continues without this memory, or `None`
    /// if no callback answers.
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

    /// Sends IoWriteAll: passes bytes of the dump to the callback.
    ///
    /// # Errors
    /// Fails if the callback does not answer with TRUE and S_OK.
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
