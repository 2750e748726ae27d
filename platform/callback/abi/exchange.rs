//! A question put to a C function.

use super::native::{
    HANDLE, INPUT_ARMS, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT, MINIDUMP_IO_CALLBACK,
    MINIDUMP_MEMORY_INFO, MINIDUMP_MODULE_CALLBACK, MINIDUMP_READ_MEMORY_FAILURE_CALLBACK,
    MINIDUMP_THREAD_EX_CALLBACK, MINIDUMP_VM_POST_READ_CALLBACK, MINIDUMP_VM_PRE_READ_CALLBACK, OUTPUT_ARMS,
    OUTPUT_CANCEL, OUTPUT_MEMORY, OUTPUT_VM_QUERY, OUTPUT_VM_READ, OUTPUT_VM_REGION, Pointer,
};
use super::native::{
    MINIDUMP_INCLUDE_MODULE_CALLBACK, MINIDUMP_INCLUDE_THREAD_CALLBACK, MINIDUMP_VM_QUERY_CALLBACK,
};
use crate::{
    Ask, CancelAnswer, Hresult, MemoryAnswer, MemoryInfo, ModuleAsked, ModuleWriteFlags, ProcessAsked,
    RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};

/// The structures of one question after the other, and all that their pointers point to.
///
/// A C function may write wherever its pointers lead, so what they lead to is a copy, except for the buffers of
/// VmPreRead and VmPostRead, which are there to be written. Of what it leaves behind only the answer that belongs to the question is
/// looked at; any bytes in it are some answer.
pub struct Exchange {
    input: Box<Input>,
    output: Box<Output>,
    path: Vec<u16>,
    /// CodeView record, or the bytes of IoWriteAll.
    bytes: Vec<u8>,
    misc: Vec<u8>,
}

/// What Windows hands out on x64 and arm64 is aligned to 16, and there are callbacks that rely on it.
#[repr(C, align(16))]
struct Input(MINIDUMP_CALLBACK_INPUT);

#[repr(C, align(16))]
struct Output {
    answer: MINIDUMP_CALLBACK_OUTPUT,
    /// For callbacks that were compiled with a header that makes the structure too long.
    _room: [u8; Exchange::OUTPUT_ROOM - size_of::<MINIDUMP_CALLBACK_OUTPUT>()],
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Exchange {
    /// So many bytes can be written where the answer is, which has 52. The crate `windows` writes up to 56,
    /// mingw-w64's header up to 68.
    pub const OUTPUT_ROOM: usize = 256;

    /// Structures for a dialogue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            input: Box::new(Input(MINIDUMP_CALLBACK_INPUT {
                ProcessId: 0,
                ProcessHandle: 0,
                CallbackType: 0,
                Arms: no_input(),
            })),
            output: Box::new(Output {
                answer: MINIDUMP_CALLBACK_OUTPUT { Arms: no_output() },
                _room: [0; Self::OUTPUT_ROOM - size_of::<MINIDUMP_CALLBACK_OUTPUT>()],
            }),
            path: Vec::new(),
            bytes: Vec::new(),
            misc: Vec::new(),
        }
    }

    /// Puts a question by `call`, which is given the two structures and returns Windows' BOOL.
    ///
    /// `process` is what the question comes with. The slots of `ask` are shown as they are, and are what the callback made of
    /// them afterwards. The pointers are good until `call` returns.
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
        // Made from the whole boxes, so that what stands behind the structures may be written as well.
        let input: *mut Input = &raw mut *self.input;
        let output: *mut Output = &raw mut *self.output;
        let said = call(input.cast(), output.cast()) != 0;
        take(self.output.answer.Arms, ask);
        said
    }

    /// What a question is about. Whatever it does not use is zero.
    fn input_of(&mut self, ask: &mut Ask<'_>) -> INPUT_ARMS {
        let mut arms = no_input();
        match ask {
            Ask::Module { module, .. } => arms.Module = self.module(module),
            // Thread is a part of ThreadEx.
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
            Ask::Memory { .. }
            | Ask::Cancel { .. }
            | Ask::WriteKernelMinidump { .. }
            | Ask::RemoveMemory { .. }
            | Ask::IncludeVmRegion { .. }
            | Ask::IsProcessSnapshot { .. }
            | Ask::VmStart { .. } => {}
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
    // SAFETY: every arm is numbers and arrays of numbers, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn no_output() -> OUTPUT_ARMS {
    // SAFETY: every arm is numbers, for which zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn thread_facts(thread: &ThreadAsked<'_>) -> MINIDUMP_THREAD_EX_CALLBACK {
    let mut context = [0; size_of::<super::native::CONTEXT>()];
    // The registers of a target of another CPU family are shorter or longer than this system's.
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

/// The answer as the callback finds it.
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
        // There is nothing to be answered.
        Ask::KernelMinidumpStatus { .. } => {}
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
    }
    arms
}

/// Takes the answer over into the slots.
fn take(arms: OUTPUT_ARMS, ask: &mut Ask<'_>) {
    // SAFETY, of all blocks here: every arm is numbers, of which any bytes are a value, and all bytes of the union have one:
    // it was filled with zeros before an arm was written, and what a C function writes over it are bytes.
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
        Ask::KernelMinidumpStatus { .. } => {}
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

/// A copy that the callback may write to; 0 if there is nothing.
fn copy(bytes: &[u8], into: &mut Vec<u8>) -> Pointer {
    into.clear();
    into.extend_from_slice(bytes);
    if bytes.is_empty() {
        0
    } else {
        address(into.as_mut_ptr())
    }
}

/// The number of a pointer that a C function will use.
fn address<T>(pointer: *mut T) -> Pointer {
    pointer.expose_provenance() as Pointer
}

/// A handle in the width of this system's; none has more bits than that.
fn handle(value: u64) -> HANDLE {
    value as HANDLE
}

/// Back from that width. Windows' handles are small; -1 has a meaning of its own and keeps it.
#[allow(clippy::unnecessary_cast, reason = "necessary where pointers have 32 bits")]
fn widened(value: HANDLE) -> u64 {
    value as u64
}

fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
