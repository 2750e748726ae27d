use crate::{
    CancelAnswer, Hresult, MemoryAnswer, ModuleWriteFlags, RegionAnswer, SecondaryFlags, ThreadWriteFlags,
    VmQueryAnswer, VmReadAnswer,
};

/// One question, with its facts and its answer slot.
///
/// The variants are all there will ever be on this side of a new Windows: `match` exhaustively.
#[derive(Debug)]
pub enum Ask<'a> {
    /// The facts of a module have been gathered: what is to be written of it?
    /// `false` aborts the dump with `E_ABORT`; clear bits to leave something out.
    Module {
        /// The module.
        module: ModuleAsked<'a>,
        /// What is to be written; bits can be cleared.
        keep: &'a mut ModuleWriteFlags,
    },
    /// The facts of a thread have been gathered: what is to be written of it?
    /// `false` aborts the dump with `E_ABORT`; clear bits to leave something out.
    Thread {
        /// The thread.
        thread: ThreadAsked<'a>,
        /// What is to be written; bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// The same with a backing store; asked instead of `Thread` when the request wants a ThreadExList.
    ThreadEx {
        /// The thread.
        thread: ThreadAsked<'a>,
        /// What is to be written; bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// Is this thread wanted? `false`, or flags without `THREAD`, leaves it out altogether.
    IncludeThread {
        /// Its id.
        thread_id: u32,
        /// What is to be gathered; bits can be cleared.
        keep: &'a mut ThreadWriteFlags,
    },
    /// Is this module wanted? `false`, or flags without `MODULE`, leaves it out altogether.
    IncludeModule {
        /// Its load address.
        base: u64,
        /// What is to be gathered; bits can be cleared.
        keep: &'a mut ModuleWriteFlags,
    },
    /// A further range to be dumped? Asked again until `false` or size 0. Not asked for full memory.
    Memory {
        /// The range; prefilled empty.
        wanted: &'a mut MemoryAnswer,
    },
    /// Shall the dump be cancelled?
    Cancel {
        /// Both prefilled `false`.
        answer: &'a mut CancelAnswer,
    },
    /// The dump is complete. A kernel dump as well? `true` with a handle asks for one.
    WriteKernelMinidump {
        /// A file handle, 0 for none.
        handle: &'a mut u64,
    },
    /// How the kernel dump went. The answer is ignored.
    KernelMinidumpStatus {
        /// Its outcome.
        status: Hresult,
    },
    /// A range to be cut out? Asked again until `false` or size 0. Not asked for full memory.
    RemoveMemory {
        /// The range; prefilled empty.
        unwanted: &'a mut MemoryAnswer,
    },
    /// Full memory only: is this region wanted? Asked in two passes that must agree.
    IncludeVmRegion {
        /// The region, and whether to go on asking.
        answer: &'a mut RegionAnswer,
    },
    /// Does the callback take over the output? `true` with `S_FALSE` says yes.
    IoStart {
        /// The file handle given by the caller, 0 for none.
        handle: u64,
        /// Prefilled with `E_NOTIMPL`.
        status: &'a mut Hresult,
    },
    /// Write these bytes. Anything but `true` with `S_OK` fails the dump.
    IoWriteAll {
        /// The file handle given by the caller.
        handle: u64,
        /// Where in the file; this writer's offsets always continue where the last write ended.
        offset: u64,
        /// What.
        bytes: &'a [u8],
        /// Prefilled with `E_FAIL`.
        status: &'a mut Hresult,
    },
    /// The output is complete (or has failed). `false` or a failure status fails the dump.
    IoFinish {
        /// The file handle given by the caller.
        handle: u64,
        /// Prefilled with `E_FAIL`.
        status: &'a mut Hresult,
    },
    /// Selected memory could not be read. `true` with `S_OK` drops the range; anything else fails the dump.
    ReadMemoryFailure {
        /// Address of the bytes that could not be read.
        offset: u64,
        /// How many.
        bytes: u32,
        /// Why.
        failure: Hresult,
        /// Prefilled with `S_FALSE`.
        status: &'a mut Hresult,
    },
    /// Any secondary wishes?
    SecondaryFlags {
        /// Wishes; prefilled with none.
        flags: &'a mut SecondaryFlags,
    },
    /// Is the target a snapshot? `true` with `S_FALSE` says yes.
    IsProcessSnapshot {
        /// Prefilled with `E_NOTIMPL`.
        status: &'a mut Hresult,
    },
    /// Does the callback want the Vm questions? `true` with `S_FALSE` says yes.
    VmStart {
        /// Prefilled with `E_NOTIMPL`.
        status: &'a mut Hresult,
    },
    /// Which region is at this address?
    VmQuery {
        /// The address.
        offset: u64,
        /// The region.
        answer: &'a mut VmQueryAnswer,
    },
    /// This is about to be read: does the callback have (some of) the bytes?
    VmPreRead {
        /// The address.
        offset: u64,
        /// Where the bytes belong.
        buffer: &'a mut [u8],
        /// How many it filled in.
        answer: &'a mut VmReadAnswer,
    },
    /// This has been read: change it?
    VmPostRead {
        /// The address.
        offset: u64,
        /// The bytes; changes count whatever is returned.
        buffer: &'a mut [u8],
        /// How many are good, the pre-read part included.
        completed: u32,
        /// Whether the read succeeded.
        status: Hresult,
        /// Replaces `completed` and `status` when `true` is returned.
        answer: &'a mut VmReadAnswer,
    },
}

/// What every question comes with: `ProcessId` and `ProcessHandle` of `MINIDUMP_CALLBACK_INPUT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessAsked {
    /// The process id; 0 in questions about the file, and in those that may come before a process is known.
    pub process_id: u32,
    /// The process handle as the caller gave it, 0 in questions about the file; for reads from a snapshot, the handle of
    /// the copy of its memory.
    pub process_handle: u64,
}

/// The facts of a thread, as the Thread question shows them.
#[derive(Debug, Clone, Copy)]
pub struct ThreadAsked<'a> {
    /// Its id.
    pub thread_id: u32,
    /// A handle to it that the writer holds, 0 where systems have none.
    pub thread_handle: u64,
    /// Its registers (`CONTEXT`); empty if they could not be had.
    pub context: &'a [u8],
    /// The upper end of its stack; 0 if unknown.
    pub stack_base: u64,
    /// The lower end of its stack in use; 0 if unknown.
    pub stack_end: u64,
    /// Where its second stack begins, which processors of the Itanium family have for registers; 0 elsewhere. Only
    /// ThreadEx shows it.
    pub backing_store_base: u64,
    /// Where that ends.
    pub backing_store_end: u64,
}

/// The facts of a module, as the Module question shows them.
#[derive(Debug, Clone, Copy)]
pub struct ModuleAsked<'a> {
    /// Full path.
    pub full_path: &'a str,
    /// Load address.
    pub base_of_image: u64,
    /// Size in memory.
    pub size_of_image: u32,
    /// Checksum from its header.
    pub checksum: u32,
    /// Time stamp from its header.
    pub time_date_stamp: u32,
    /// The words of `VS_FIXEDFILEINFO`, zeros if it has none.
    pub version_info: [u32; 13],
    /// Its CodeView record, empty if none.
    pub cv_record: &'a [u8],
    /// Its miscellaneous debug record, empty if none.
    pub misc_record: &'a [u8],
}

/// The 21 kinds of questions, with the numbers of `MINIDUMP_CALLBACK_TYPE`.
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
}

impl AskKind {
    /// All kinds, by number.
    pub const ALL: [Self; 21] = [
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
    ];

    /// The name in Microsoft's documentation, without "Callback".
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
        }
    }
}

impl Ask<'_> {
    /// The same question once more, for a callback that asks another one: facts copied, answer slots lent.
    ///
    /// The caller can look at the slots when the other callback has answered.
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
        }
    }

    /// Which of the 21 it is.
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
        }
    }
}
