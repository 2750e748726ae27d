use crate::{
    CancelAnswer, CompressionAnswer, Hresult, MemoryAnswer, ModuleWriteFlags, RegionAnswer, SecondaryFlags,
    ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};

/// A question to the callback: its facts and its answer slot.
///
/// The variants are the callback types of the Windows SDK 10.0.28000. A later version of Windows
/// may add more, which requires a new version of this crate.
///
/// For variants that it does not handle, a callback returns `true` and leaves the slot unchanged.
/// For VmPreRead and VmPostRead it returns `false` instead, because `true` means that the slot
/// counts.
#[derive(Debug)]
pub enum Ask<'a> {
    /// Asks what to write about a module. Its facts have been gathered.
    ///
    /// Clear bits of `keep` to leave something out. `false` aborts the dump with `E_ABORT`.
    Module {
        /// The facts of the module.
        module: ModuleAsked<'a>,
        /// What is written. Bits can be cleared.
        keep: &'a mut ModuleWriteFlags,
    },
    /// Asks what to write about a thread. Its facts have been gathered.
    ///
    /// Clear bits of `keep` to leave something out. `false` aborts the dump with `E_ABORT`.
    Thread {
        /// The facts of the thread.
        thread: ThreadAsked<'a>,
        /// What is written. Bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// The same as `Thread`, with a backing store. Asked instead of `Thread` if the request is for
    /// a ThreadExList.
    ThreadEx {
        /// The facts of the thread.
        thread: ThreadAsked<'a>,
        /// What is written. Bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// Asks whether to include a thread. `false`, or flags without `THREAD`, leaves it out of the
    /// dump.
    IncludeThread {
        /// The thread id.
        thread_id: u32,
        /// What will be gathered. Bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// Asks whether to include a module. `false`, or flags without `MODULE`, leaves it out of the
    /// dump.
    IncludeModule {
        /// The load address.
        base: u64,
        /// What will be gathered. Bits can be cleared.
        keep: &'a mut ModuleWriteFlags,
    },
    /// Asks for a further memory range to include. Asked again until the answer is `false` or has
    /// size 0.
    ///
    /// Not asked for dumps of full memory.
    Memory {
        /// The range; empty before the call.
        wanted: &'a mut MemoryAnswer,
    },
    /// Asks whether to cancel the dump.
    Cancel {
        /// Both fields are `false` before the call.
        answer: &'a mut CancelAnswer,
    },
    /// Asks whether to write a kernel dump as well. The dump itself is complete.
    ///
    /// Return `true` and set `handle` to request one.
    WriteKernelMinidump {
        /// A file handle; 0, for none, before the call.
        handle: &'a mut u64,
    },
    /// Reports the outcome of the kernel dump. The answer is ignored.
    KernelMinidumpStatus {
        /// The outcome.
        status: Hresult,
    },
    /// Asks for a memory range to leave out. Asked again until the answer is `false` or has size 0.
    ///
    /// Not asked for dumps of full memory.
    RemoveMemory {
        /// The range; empty before the call.
        unwanted: &'a mut MemoryAnswer,
    },
    /// Asks whether to include a region. Asked only for dumps of full memory, in two passes whose
    /// answers must agree.
    ///
    /// `false`, or an answer with `cont` set to `false`, ends the questions of the pass. This
    /// region and all that follow are then included.
    IncludeVmRegion {
        /// The region, and whether to ask about further regions.
        answer: &'a mut RegionAnswer,
    },
    /// Asks whether the callback writes the output itself. `true` with `S_FALSE` means yes.
    IoStart {
        /// The file handle given by the caller; 0 for none.
        handle: u64,
        /// `E_NOTIMPL` before the call.
        status: &'a mut Hresult,
    },
    /// Asks the callback to write bytes of the dump. Any answer except `true` with `S_OK` fails the
    /// dump.
    IoWriteAll {
        /// The file handle given by the caller.
        handle: u64,
        /// The offset in the file. dumpwright writes the file front to back: each offset is where
        /// the previous write ended.
        offset: u64,
        /// The bytes to write.
        bytes: &'a [u8],
        /// `E_FAIL` before the call.
        status: &'a mut Hresult,
    },
    /// Reports that the output is complete or has failed. `false` or a failure status fails the
    /// dump.
    IoFinish {
        /// The file handle given by the caller.
        handle: u64,
        /// `E_FAIL` before the call.
        status: &'a mut Hresult,
    },
    /// Asks what to do about selected memory that could not be read.
    ///
    /// `true` with `S_OK` leaves the range out. Any other answer fails the dump.
    ReadMemoryFailure {
        /// The address of the bytes that could not be read.
        offset: u64,
        /// The number of bytes.
        bytes: u32,
        /// The reason.
        failure: Hresult,
        /// `S_FALSE` before the call.
        status: &'a mut Hresult,
    },
    /// Asks for secondary flags.
    SecondaryFlags {
        /// The flags; empty before the call. They count only if the callback returns `true`.
        flags: &'a mut SecondaryFlags,
    },
    /// Asks whether the target is a process snapshot. `true` with `S_FALSE` means yes.
    IsProcessSnapshot {
        /// `E_NOTIMPL` before the call.
        status: &'a mut Hresult,
    },
    /// Asks whether to send VmQuery, VmPreRead and VmPostRead. `true` with `S_FALSE` means yes.
    VmStart {
        /// `E_NOTIMPL` before the call.
        status: &'a mut Hresult,
    },
    /// Asks which region contains an address.
    VmQuery {
        /// The address.
        offset: u64,
        /// The region and where it comes from.
        answer: &'a mut VmQueryAnswer,
    },
    /// Asks whether the callback supplies bytes that are about to be read.
    ///
    /// To supply all of them or the first ones, store them in `buffer`, set `answer`, and return
    /// `true`. With `false`, the writer reads the bytes itself.
    VmPreRead {
        /// The address.
        offset: u64,
        /// The buffer for the bytes.
        buffer: &'a mut [u8],
        /// How many bytes the callback supplied; counts only with `true`.
        answer: &'a mut VmReadAnswer,
    },
    /// Shows bytes that have been read, so that the callback can change them.
    VmPostRead {
        /// The address.
        offset: u64,
        /// The bytes. Changes have an effect whatever the callback returns.
        buffer: &'a mut [u8],
        /// The number of valid bytes, including those supplied by VmPreRead.
        completed: u32,
        /// Whether the read succeeded.
        status: Hresult,
        /// Replaces `completed` and `status` if the callback returns `true`.
        answer: &'a mut VmReadAnswer,
    },
    /// Asks how to compress memory into a CompressedMemoryStream. `false` keeps the defaults.
    ///
    /// Sent once for `MiniDumpWithMemoryCompressed`, after the last thread.
    CompressedMemoryStreamStart {
        /// How to compress; all zeros before the call.
        answer: &'a mut CompressionAnswer,
    },
    /// Reports that the CompressedMemoryStream is complete. The answer is ignored.
    ///
    /// Sent once after [`CompressedMemoryStreamStart`](Self::CompressedMemoryStreamStart).
    CompressedMemoryStreamFinish {
        /// The size of the stream in bytes, from its header to the end of the file.
        stream_size: u64,
        /// By how much the memory was reduced, in percent.
        compression_rate: u32,
    },
}

/// The process as shown in a question: `ProcessId` and `ProcessHandle` of
/// `MINIDUMP_CALLBACK_INPUT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessAsked {
    /// The process id. It is 0 in questions about the output, a kernel dump or reads, and in
    /// IsProcessSnapshot and VmStart.
    pub process_id: u32,
    /// The process handle that the caller gave. It is 0 in questions about the output or a kernel
    /// dump. In VmQuery, VmPreRead and VmPostRead about a process snapshot, it is the handle of the
    /// copy of the process's memory.
    pub process_handle: u64,
}

/// The facts of a thread in Thread and ThreadEx.
#[derive(Debug, Clone, Copy)]
pub struct ThreadAsked<'a> {
    /// The thread id.
    pub thread_id: u32,
    /// The writer's handle to the thread; 0 on systems without thread handles.
    pub thread_handle: u64,
    /// The registers (`CONTEXT`); empty if they could not be read.
    pub context: &'a [u8],
    /// The upper end of the stack; 0 if unknown.
    pub stack_base: u64,
    /// The lowest address of the stack that is in use; 0 if unknown.
    pub stack_end: u64,
    /// The start of the thread's second stack, on which Itanium processors save registers; 0 on
    /// other processors. Only ThreadEx shows it.
    pub backing_store_base: u64,
    /// The end of that stack.
    pub backing_store_end: u64,
    /// The name of the thread, if it has one. Microsoft's structure has no name, so callbacks in C
    /// do not get it, and DbgHelp does not provide it.
    pub name: Option<&'a str>,
}

/// The facts of a module in Module.
#[derive(Debug, Clone, Copy)]
pub struct ModuleAsked<'a> {
    /// The full path.
    pub full_path: &'a str,
    /// The load address.
    pub base_of_image: u64,
    /// The size in memory, in bytes.
    pub size_of_image: u32,
    /// The checksum from the header.
    pub checksum: u32,
    /// The time stamp from the header.
    pub time_date_stamp: u32,
    /// The words of `VS_FIXEDFILEINFO`; zeros if there are none.
    pub version_info: [u32; 13],
    /// The CodeView record; empty if there is none.
    pub cv_record: &'a [u8],
    /// The miscellaneous debug record; empty if there is none.
    pub misc_record: &'a [u8],
}

/// The 23 callback types, with the numbers of `MINIDUMP_CALLBACK_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "see the variants of Ask")]
pub enum AskKind {
    Module = 0,
    Thread = 1,
    ThreadEx = 2,
    IncludeThread = 3,
    IncludeModule = 4,
    Memory = 5,
    Cancel = 6,
    WriteKernelMinidump = 7,
    KernelMinidumpStatus = 8,
    RemoveMemory = 9,
    IncludeVmRegion = 10,
    IoStart = 11,
    IoWriteAll = 12,
    IoFinish = 13,
    ReadMemoryFailure = 14,
    SecondaryFlags = 15,
    IsProcessSnapshot = 16,
    VmStart = 17,
    VmQuery = 18,
    VmPreRead = 19,
    VmPostRead = 20,
    CompressedMemoryStreamStart = 21,
    CompressedMemoryStreamFinish = 22,
}

impl AskKind {
    /// All callback types, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::Module,
        Self::Thread,
        Self::ThreadEx,
        Self::IncludeThread,
        Self::IncludeModule,
        Self::Memory,
        Self::Cancel,
        Self::WriteKernelMinidump,
        Self::KernelMinidumpStatus,
        Self::RemoveMemory,
        Self::IncludeVmRegion,
        Self::IoStart,
        Self::IoWriteAll,
        Self::IoFinish,
        Self::ReadMemoryFailure,
        Self::SecondaryFlags,
        Self::IsProcessSnapshot,
        Self::VmStart,
        Self::VmQuery,
        Self::VmPreRead,
        Self::VmPostRead,
        Self::CompressedMemoryStreamStart,
        Self::CompressedMemoryStreamFinish,
    ];

    /// Returns the name in Microsoft's documentation, without "Callback".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Module => "Module",
            Self::Thread => "Thread",
            Self::ThreadEx => "ThreadEx",
            Self::IncludeThread => "IncludeThread",
            Self::IncludeModule => "IncludeModule",
            Self::Memory => "Memory",
            Self::Cancel => "Cancel",
            Self::WriteKernelMinidump => "WriteKernelMinidump",
            Self::KernelMinidumpStatus => "KernelMinidumpStatus",
            Self::RemoveMemory => "RemoveMemory",
            Self::IncludeVmRegion => "IncludeVmRegion",
            Self::IoStart => "IoStart",
            Self::IoWriteAll => "IoWriteAll",
            Self::IoFinish => "IoFinish",
            Self::ReadMemoryFailure => "ReadMemoryFailure",
            Self::SecondaryFlags => "SecondaryFlags",
            Self::IsProcessSnapshot => "IsProcessSnapshot",
            Self::VmStart => "VmStart",
            Self::VmQuery => "VmQuery",
            Self::VmPreRead => "VmPreRead",
            Self::VmPostRead => "VmPostRead",
            Self::CompressedMemoryStreamStart => "CompressedMemoryStreamStart",
            Self::CompressedMemoryStreamFinish => "CompressedMemoryStreamFinish",
        }
    }
}

impl Ask<'_> {
    /// Copies the question for another callback: the facts are copied, the answer slots are
    /// borrowed.
    ///
    /// The caller can look at the slots after the other callback has answered.
    #[must_use]
    pub fn reborrow(&mut self) -> Ask<'_> {
        match self {
            Ask::Module { module, keep } => Ask::Module {
                module: *module,
                keep,
            },
            Ask::Thread { thread, keep } => Ask::Thread {
                thread: *thread,
                keep,
            },
            Ask::ThreadEx { thread, keep } => Ask::ThreadEx {
                thread: *thread,
                keep,
            },
            Ask::IncludeThread { thread_id, keep } => Ask::IncludeThread {
                thread_id: *thread_id,
                keep,
            },
            Ask::IncludeModule { base, keep } => Ask::IncludeModule { base: *base, keep },
            Ask::Memory { wanted } => Ask::Memory { wanted },
            Ask::Cancel { answer } => Ask::Cancel { answer },
            Ask::WriteKernelMinidump { handle } => Ask::WriteKernelMinidump { handle },
            Ask::KernelMinidumpStatus { status } => Ask::KernelMinidumpStatus { status: *status },
            Ask::RemoveMemory { unwanted } => Ask::RemoveMemory { unwanted },
            Ask::IncludeVmRegion { answer } => Ask::IncludeVmRegion { answer },
            Ask::IoStart { handle, status } => Ask::IoStart {
                handle: *handle,
                status,
            },
            Ask::IoWriteAll {
                handle,
                offset,
                bytes,
                status,
            } => Ask::IoWriteAll {
                handle: *handle,
                offset: *offset,
                bytes,
                status,
            },
            Ask::IoFinish { handle, status } => Ask::IoFinish {
                handle: *handle,
                status,
            },
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                status,
            } => Ask::ReadMemoryFailure {
                offset: *offset,
                bytes: *bytes,
                failure: *failure,
                status,
            },
            Ask::SecondaryFlags { flags } => Ask::SecondaryFlags { flags },
            Ask::IsProcessSnapshot { status } => Ask::IsProcessSnapshot { status },
            Ask::VmStart { status } => Ask::VmStart { status },
            Ask::VmQuery { offset, answer } => Ask::VmQuery {
                offset: *offset,
                answer,
            },
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            } => Ask::VmPreRead {
                offset: *offset,
                buffer,
                answer,
            },
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                answer,
            } => Ask::VmPostRead {
                offset: *offset,
                buffer,
                completed: *completed,
                status: *status,
                answer,
            },
            Ask::CompressedMemoryStreamStart { answer } => Ask::CompressedMemoryStreamStart { answer },
            Ask::CompressedMemoryStreamFinish {
                stream_size,
                compression_rate,
            } => Ask::CompressedMemoryStreamFinish {
                stream_size: *stream_size,
                compression_rate: *compression_rate,
            },
        }
    }

    /// Returns the callback type.
    #[must_use]
    pub fn kind(&self) -> AskKind {
        match self {
            Self::Module { .. } => AskKind::Module,
            Self::Thread { .. } => AskKind::Thread,
            Self::ThreadEx { .. } => AskKind::ThreadEx,
            Self::IncludeThread { .. } => AskKind::IncludeThread,
            Self::IncludeModule { .. } => AskKind::IncludeModule,
            Self::Memory { .. } => AskKind::Memory,
            Self::Cancel { .. } => AskKind::Cancel,
            Self::WriteKernelMinidump { .. } => AskKind::WriteKernelMinidump,
            Self::KernelMinidumpStatus { .. } => AskKind::KernelMinidumpStatus,
            Self::RemoveMemory { .. } => AskKind::RemoveMemory,
            Self::IncludeVmRegion { .. } => AskKind::IncludeVmRegion,
            Self::IoStart { .. } => AskKind::IoStart,
            Self::IoWriteAll { .. } => AskKind::IoWriteAll,
            Self::IoFinish { .. } => AskKind::IoFinish,
            Self::ReadMemoryFailure { .. } => AskKind::ReadMemoryFailure,
            Self::SecondaryFlags { .. } => AskKind::SecondaryFlags,
            Self::IsProcessSnapshot { .. } => AskKind::IsProcessSnapshot,
            Self::VmStart { .. } => AskKind::VmStart,
            Self::VmQuery { .. } => AskKind::VmQuery,
            Self::VmPreRead { .. } => AskKind::VmPreRead,
            Self::VmPostRead { .. } => AskKind::VmPostRead,
            Self::CompressedMemoryStreamStart { .. } => AskKind::CompressedMemoryStreamStart,
            Self::CompressedMemoryStreamFinish { .. } => AskKind::CompressedMemoryStreamFinish,
        }
    }
}
