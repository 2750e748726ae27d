//! Sends a question to a C function.

use crate::native::{
    HANDLE, INPUT_ARMS, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT, MINIDUMP_IO_CALLBACK,
    MINIDUMP_MEMORY_INFO, MINIDUMP_MODULE_CALLBACK, MINIDUMP_READ_MEMORY_FAILURE_CALLBACK,
    MINIDUMP_THREAD_EX_CALLBACK, MINIDUMP_VM_POST_READ_CALLBACK, MINIDUMP_VM_PRE_READ_CALLBACK, OUTPUT_ARMS,
    OUTPUT_CANCEL, OUTPUT_MEMORY, OUTPUT_VM_QUERY, OUTPUT_VM_READ, OUTPUT_VM_REGION, Pointer,
};
use crate::native::{
    MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK, MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK,
    MINIDUMP_INCLUDE_MODULE_CALLBACK, MINIDUMP_INCLUDE_THREAD_CALLBACK, MINIDUMP_VM_QUERY_CALLBACK,
};
use dumpwright_callback::{
    Ask, CancelAnswer, CompressionAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleAsked, ModuleWriteFlags,
    ProcessAsked, RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};

/// The structures of a question, and the memory that their pointers point to. One value serves all
/// questions of a dialogue.
///
/// A C function can write to everything that its pointers lead to. Therefore the pointers lead to
/// copies, except for the buffers of VmPreRead and VmPostRead, which the callback may fill. Only
/// the arm of the output that belongs to the question is read afterwards. Every bit pattern in it
/// is a valid answer.
pub struct Exchange {
    input: Box<InputRoom>,
    output: Box<OutputRoom>,
    path: Vec<u16>,
    /// The CodeView record of a module, or the bytes of IoWriteAll.
    bytes: Vec<u8>,
    misc: Vec<u8>,
}

/// The input. Windows aligns it to 16 on x64 and arm64, and there are callbacks that rely on that.
#[repr(C, align(16))]
struct InputRoom(MINIDUMP_CALLBACK_INPUT);

#[repr(C, align(16))]
struct OutputRoom {
    answer: MINIDUMP_CALLBACK_OUTPUT,
    /// Space for callbacks that were compiled with a header that declares the structure too long.
    _room: [u8; Exchange::OUTPUT_ROOM - size_of::<MINIDUMP_CALLBACK_OUTPUT>()],
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// The number of bytes that a callback can write at the address of the answer, which has 52
    /// bytes. The crate `windows` writes up to 56 and mingw-w64's header up to 68.
    pub const OUTPUT_ROOM: usize = 256;

    /// Creates the structures for a dialogue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            input: Box::new(InputRoom(MINIDUMP_CALLBACK_INPUT {
                ProcessId: 0,
                ProcessHandle: 0,
                CallbackType: 0,
                Arms: no_input(),
            })),
            output: Box::new(OutputRoom {
                answer: MINIDUMP_CALLBACK_OUTPUT { Arms: no_output() },
                _room: [0; Self::OUTPUT_ROOM - size_of::<MINIDUMP_CALLBACK_OUTPUT>()],
            }),
            path: Vec::new(),
            bytes: Vec::new(),
            misc: Vec::new(),
        }
    }

    /// Sends a question by calling `call` with the two structures. `call` returns a Windows BOOL;
    /// this function returns whether it was TRUE.
    ///
    /// `process` supplies the process id and handle of the question. The slots of `ask` are the
    /// default answer before the call, and the callback's answer after it. The pointers in the
    /// structures are valid until `call` returns.
    pub fn put(
        &mut self,
        ask: &mut Ask<'_>,
        process: ProcessAsked,
        call: impl FnOnce(*mut MINIDUMP_CALLBACK_INPUT, *mut MINIDUMP_CALLBACK_OUTPUT) -> i32,
    ) -> bool {
        let arms = self.input_of(ask);
        self.input.0 = MINIDUMP_CALLBACK_INPUT {
            ProcessId: process.process_id,
            ProcessHandle: handle(process.process_handle),
            CallbackType: ask.kind() as u32,
            Arms: arms,
        };
        self.output.answer = MINIDUMP_CALLBACK_OUTPUT { Arms: prefilled(ask) };
        // The pointers come from the whole boxes, so that the space after the structures may be
        // written too.
        let input: *mut InputRoom = &raw mut *self.input;
        let output: *mut OutputRoom = &raw mut *self.output;
        let said = call(input.cast(), output.cast()) != 0;
        take(self.output.answer.Arms, ask);
        said
    }

    /// Returns the facts of a question. Bytes that the question does not use are zero.
    fn input_of(&mut self, ask: &mut Ask<'_>) -> INPUT_ARMS {
        let mut arms = no_input();
        match ask {
            Ask::Module { module, .. } => arms.Module = self.module(module),
            // Thread is a prefix of ThreadEx.
            Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => arms.ThreadEx = thread_facts(thread),
            Ask::IncludeThread { thread_id, .. } => {
                arms.IncludeThread = MINIDUMP_INCLUDE_THREAD_CALLBACK { ThreadId: *thread_id };
            }
            Ask::IncludeModule { base, .. } => {
                arms.IncludeModule = MINIDUMP_INCLUDE_MODULE_CALLBACK { BaseOfImage: *base };
            }
            Ask::IoStart { handle, .. } | Ask::IoFinish { handle, .. } => {
                arms.Io = MINIDUMP_IO_CALLBACK {
                    Handle: self::handle(*handle),
                    Offset: 0,
                    Buffer: 0,
                    BufferBytes: 0,
                };
            }
            Ask::IoWriteAll {
                handle,
                offset,
                bytes,
                ..
            } => {
                arms.Io = MINIDUMP_IO_CALLBACK {
                    Handle: self::handle(*handle),
                    Offset: *offset,
                    Buffer: copy(bytes, &mut self.bytes),
                    BufferBytes: length(bytes.len()),
                };
            }
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                ..
            } => {
                arms.ReadMemoryFailure = MINIDUMP_READ_MEMORY_FAILURE_CALLBACK {
                    Offset: *offset,
                    Bytes: *bytes,
                    FailureStatus: failure.0,
                };
            }
            Ask::KernelMinidumpStatus { status } => arms.Status = status.0,
            Ask::SecondaryFlags { flags } => arms.SecondaryFlags = flags.bits(),
            Ask::VmQuery { offset, .. } => arms.VmQuery = MINIDUMP_VM_QUERY_CALLBACK { Offset: *offset },
            Ask::VmPreRead { offset, buffer, .. } => {
                arms.VmPreRead = MINIDUMP_VM_PRE_READ_CALLBACK {
                    Offset: *offset,
                    Buffer: address(buffer.as_mut_ptr()),
                    Size: length(buffer.len()),
                };
            }
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                ..
            } => {
                arms.VmPostRead = MINIDUMP_VM_POST_READ_CALLBACK {
                    Offset: *offset,
                    Buffer: address(buffer.as_mut_ptr()),
                    Size: length(buffer.len()),
                    Completed: *completed,
                    Status: status.0,
                };
            }
            Ask::CompressedMemoryStreamFinish {
                stream_size,
                compression_rate,
            } => {
                arms.CompressedMemoryStreamFinish = MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK {
                    CompressedStreamSize: *stream_size,
                    StreamCompressionRate: *compression_rate,
                };
            }
            Ask::Memory { .. }
            | Ask::Cancel { .. }
            | Ask::WriteKernelMinidump { .. }
            | Ask::RemoveMemory { .. }
            | Ask::IncludeVmRegion { .. }
            | Ask::IsProcessSnapshot { .. }
            | Ask::VmStart { .. }
            | Ask::CompressedMemoryStreamStart { .. } => {}
        }
        arms
    }

    fn module(&mut self, module: &ModuleAsked<'_>) -> MINIDUMP_MODULE_CALLBACK {
        self.path.clear();
        self.path.extend(module.full_path.encode_utf16().chain([0]));
        MINIDUMP_MODULE_CALLBACK {
            FullPath: address(self.path.as_mut_ptr()),
            BaseOfImage: module.base_of_image,
            SizeOfImage: module.size_of_image,
            CheckSum: module.checksum,
            TimeDateStamp: module.time_date_stamp,
            VersionInfo: module.version_info,
            CvRecord: copy(module.cv_record, &mut self.bytes),
            SizeOfCvRecord: length(module.cv_record.len()),
            MiscRecord: copy(module.misc_record, &mut self.misc),
            SizeOfMiscRecord: length(module.misc_record.len()),
        }
    }
}

fn no_input() -> INPUT_ARMS {
    // SAFETY: every arm consists of integers and arrays of integers, for which all zeros is a valid
    // value.
    unsafe { std::mem::zeroed() }
}

fn no_output() -> OUTPUT_ARMS {
    // SAFETY: every arm consists of integers, for which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

fn thread_facts(thread: &ThreadAsked<'_>) -> MINIDUMP_THREAD_EX_CALLBACK {
    let mut context = [0; size_of::<crate::native::CONTEXT>()];
    // The registers of a target of another CPU family can be shorter or longer than those of this
    // build's family.
    let len = thread.context.len().min(context.len());
    context[..len].copy_from_slice(&thread.context[..len]);
    MINIDUMP_THREAD_EX_CALLBACK {
        ThreadId: thread.thread_id,
        ThreadHandle: handle(thread.thread_handle),
        _pad: Default::default(),
        Context: context,
        SizeOfContext: length(len),
        StackBase: thread.stack_base,
        StackEnd: thread.stack_end,
        BackingStoreBase: thread.backing_store_base,
        BackingStoreEnd: thread.backing_store_end,
        _tail: Default::default(),
    }
}

/// Returns the default answer, which the callback finds in the output.
fn prefilled(ask: &Ask<'_>) -> OUTPUT_ARMS {
    let mut arms = no_output();
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => arms.ModuleWriteFlags = keep.bits(),
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            arms.ThreadWriteFlags = keep.bits();
        }
        Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
            arms.Memory = OUTPUT_MEMORY {
                MemoryBase: range.base,
                MemorySize: range.size,
            };
        }
        Ask::Cancel { answer } => {
            arms.CancelAnswer = OUTPUT_CANCEL {
                CheckCancel: answer.check_cancel.into(),
                Cancel: answer.cancel.into(),
            };
        }
        Ask::WriteKernelMinidump { handle } => arms.Handle = self::handle(**handle),
        // These questions have no answer.
        Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => {}
        Ask::IncludeVmRegion { answer } => {
            arms.Region = OUTPUT_VM_REGION {
                VmRegion: answer.region.into(),
                Continue: answer.cont.into(),
            };
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => arms.Status = status.0,
        Ask::SecondaryFlags { flags } => arms.SecondaryFlags = flags.bits(),
        Ask::VmQuery { answer, .. } => {
            arms.Query = OUTPUT_VM_QUERY {
                VmQueryStatus: answer.status.0,
                VmQueryResult: answer.region.into(),
            };
        }
        Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => {
            arms.Read = OUTPUT_VM_READ {
                VmReadStatus: answer.status.0,
                VmReadBytesCompleted: answer.completed,
            };
        }
        Ask::CompressedMemoryStreamStart { answer } => {
            arms.CompressedMemoryStreamStart = (**answer).into();
        }
    }
    arms
}

/// Copies the answer from the output to the slots of the question.
fn take(arms: OUTPUT_ARMS, ask: &mut Ask<'_>) {
    // This argument holds for all unsafe blocks below: every arm consists of integers, for which
    // every bit pattern is valid. All bytes of the union are initialised, because it was zeroed
    // before one arm was written, and a C function can only overwrite them with other bytes.
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
            // SAFETY: see above.
            **keep = ModuleWriteFlags::from_bits_retain(unsafe { arms.ModuleWriteFlags });
        }
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            // SAFETY: see above.
            **keep = ThreadWriteFlags::from_bits_retain(unsafe { arms.ThreadWriteFlags });
        }
        Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
            // SAFETY: see above.
            let answer = unsafe { arms.Memory };
            **range = MemoryAnswer {
                base: answer.MemoryBase,
                size: answer.MemorySize,
            };
        }
        Ask::Cancel { answer } => {
            // SAFETY: see above.
            let said = unsafe { arms.CancelAnswer };
            **answer = CancelAnswer {
                check_cancel: said.CheckCancel != 0,
                cancel: said.Cancel != 0,
            };
        }
        // SAFETY: see above.
        Ask::WriteKernelMinidump { handle } => **handle = widened(unsafe { arms.Handle }),
        Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => {}
        Ask::IncludeVmRegion { answer } => {
            // SAFETY: see above.
            let said = unsafe { arms.Region };
            **answer = RegionAnswer {
                region: said.VmRegion.into(),
                cont: said.Continue != 0,
            };
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        // SAFETY: see above.
        | Ask::VmStart { status } => **status = Hresult(unsafe { arms.Status }),
        Ask::SecondaryFlags { flags } => {
            // SAFETY: see above.
            **flags = SecondaryFlags::from_bits_retain(unsafe { arms.SecondaryFlags });
        }
        Ask::VmQuery { answer, .. } => {
            // SAFETY: see above.
            let said = unsafe { arms.Query };
            **answer = VmQueryAnswer {
                status: Hresult(said.VmQueryStatus),
                region: said.VmQueryResult.into(),
            };
        }
        Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => {
            // SAFETY: see above.
            let said = unsafe { arms.Read };
            **answer = VmReadAnswer {
                status: Hresult(said.VmReadStatus),
                completed: said.VmReadBytesCompleted,
            };
        }
        Ask::CompressedMemoryStreamStart { answer } => {
            // SAFETY: see above.
            **answer = unsafe { arms.CompressedMemoryStreamStart }.into();
        }
    }
}

impl From<CompressionAnswer> for MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK {
    fn from(answer: CompressionAnswer) -> Self {
        Self {
            MaxParallelism: answer.max_parallelism,
            MaxTransferSize: answer.max_transfer_size,
            NumaNodeInfoArray: handle(answer.numa_node_info),
            NumaNodeInfoArraySize: answer.numa_node_info_size,
            Reserved: answer.reserved,
        }
    }
}

impl From<MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK> for CompressionAnswer {
    fn from(answer: MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK) -> Self {
        Self {
            max_parallelism: answer.MaxParallelism,
            max_transfer_size: answer.MaxTransferSize,
            numa_node_info: widened(answer.NumaNodeInfoArray),
            numa_node_info_size: answer.NumaNodeInfoArraySize,
            reserved: answer.Reserved,
        }
    }
}

impl From<MemoryInfo> for MINIDUMP_MEMORY_INFO {
    fn from(region: MemoryInfo) -> Self {
        Self {
            BaseAddress: region.base_address,
            AllocationBase: region.allocation_base,
            AllocationProtect: region.allocation_protect,
            __alignment1: 0,
            RegionSize: region.region_size,
            State: region.state,
            Protect: region.protect,
            Type: region.kind,
            __alignment2: 0,
        }
    }
}

impl From<MINIDUMP_MEMORY_INFO> for MemoryInfo {
    fn from(region: MINIDUMP_MEMORY_INFO) -> Self {
        Self {
            base_address: region.BaseAddress,
            allocation_base: region.AllocationBase,
            allocation_protect: region.AllocationProtect,
            region_size: region.RegionSize,
            state: region.State,
            protect: region.Protect,
            kind: region.Type,
        }
    }
}

/// Copies bytes to a buffer that the callback may write to, and returns the address of the copy, or
/// 0 if there are no bytes.
fn copy(bytes: &[u8], into: &mut Vec<u8>) -> Pointer {
    into.clear();
    into.extend_from_slice(bytes);
    if bytes.is_empty() {
        0
    } else {
        address(into.as_mut_ptr())
    }
}

/// The address of a pointer that a C function will dereference.
fn address<T>(pointer: *mut T) -> Pointer {
    pointer.expose_provenance() as Pointer
}

/// A handle with this system's pointer width. No handle has more bits.
fn handle(value: u64) -> HANDLE {
    value as HANDLE
}

/// A handle, zero-extended to 64 bits. Windows' handles are small numbers. -1 has a meaning of its
/// own, and [`handle`] restores it.
#[allow(clippy::unnecessary_cast, reason = "necessary where pointers have 32 bits")]
fn widened(value: HANDLE) -> u64 {
    value as u64
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
