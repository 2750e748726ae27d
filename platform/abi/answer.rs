//! Answers a question from another dump writer by calling a [`Callback`].

use std::mem::offset_of;
use std::slice;

use crate::native::{
    CONTEXT, HANDLE, INPUT_ARMS, MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT,
    MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK, MINIDUMP_THREAD_CALLBACK, OUTPUT_ARMS, OUTPUT_CANCEL,
    OUTPUT_MEMORY, OUTPUT_VM_QUERY, OUTPUT_VM_READ, OUTPUT_VM_REGION, PAD, Pointer,
};
use dumpwright_callback::{
    Ask, AskKind, Callback, CancelAnswer, CompressionAnswer, Hresult, MemoryAnswer, ModuleAsked,
    ModuleWriteFlags, ProcessAsked, RegionAnswer, SecondaryFlags, ThreadAsked, ThreadWriteFlags,
    VmQueryAnswer, VmReadAnswer,
};

/// The longest path that is searched for its terminator, in 16-bit units. No system has longer
/// paths.
const LONGEST_PATH: usize = 1 << 15;

/// Answers a question in C structures by calling a [`Callback`].
///
/// [`Callback::process`] is called first, then [`Callback::ask`]. Returns 0 (FALSE) for a callback
/// type that is not one of [`AskKind::ALL`], such as a type of a later Windows.
///
/// # Safety
/// Both pointers are pointers with which a `MiniDumpWriteDump` calls its callback. The input can be
/// read, and the output can be read and written. The input is of the type that it declares. The
/// memory that it points to has the declared sizes, and nothing else accesses that memory until
/// this function returns.
pub unsafe fn answer(
    input: *const MINIDUMP_CALLBACK_INPUT,
    output: *mut MINIDUMP_CALLBACK_OUTPUT,
    callback: &mut dyn Callback,
) -> i32 {
    // SAFETY: the caller guarantees that the input can be read. A question other than ThreadEx may
    // be in a shorter structure. Therefore only the leading members are read here, and the arm in
    // use is read below with its own type.
    let kind = unsafe { (&raw const (*input).CallbackType).read_unaligned() };
    let Some(kind) = AskKind::ALL.into_iter().find(|known| *known as u32 == kind) else {
        return 0;
    };
    // SAFETY: as above.
    let process = unsafe {
        ProcessAsked {
            process_id: (&raw const (*input).ProcessId).read_unaligned(),
            process_handle: wide((&raw const (*input).ProcessHandle).read_unaligned()),
        }
    };
    callback.process(process);
    // SAFETY: the pointers stay within the structures that the caller supplies.
    let (arms, out) = unsafe { (&raw const (*input).Arms, &raw mut (*output).Arms) };
    // SAFETY: the caller guarantees the same to this function.
    i32::from(unsafe { answer_kind(kind, arms, out, callback) })
}

/// Reads one arm of the input.
macro_rules! arm {
    ($arms:expr, $arm:ident) => {{
        // SAFETY: the input is of the type that this arm belongs to, and every bit pattern is a
        // valid value of the arm, which consists of integers.
        unsafe { (&raw const (*$arms).$arm).read_unaligned() }
    }};
}

/// Calls `ask` with a slot that is filled from an arm of the output, then stores the slot in that
/// arm.
macro_rules! slot {
    ($out:expr, $arm:ident, $read:expr, $write:expr, $ask:expr) => {{
        // SAFETY: the output can be read, and every bit pattern is a valid value of the arm, which
        // consists of integers.
        let before = unsafe { (&raw const (*$out).$arm).read_unaligned() };
        let mut slot = $read(before);
        let said = $ask(&mut slot);
        // SAFETY: the output can be written.
        unsafe { (&raw mut (*$out).$arm).write_unaligned($write(slot)) };
        said
    }};
}

/// # Safety
/// As for [`answer`].
unsafe fn answer_kind(
    kind: AskKind,
    arms: *const INPUT_ARMS,
    out: *mut OUTPUT_ARMS,
    callback: &mut dyn Callback,
) -> bool {
    let module_flags = ModuleWriteFlags::from_bits_retain;
    let thread_flags = ThreadWriteFlags::from_bits_retain;
    let status_of = |status: Hresult| status.0;
    match kind {
        AskKind::Module => {
            let facts = arm!(arms, Module);
            // SAFETY: the caller guarantees that the module's pointers are valid.
            let (path, cv_record, misc_record) = unsafe {
                (
                    text(facts.FullPath),
                    bytes(facts.CvRecord, facts.SizeOfCvRecord),
                    bytes(facts.MiscRecord, facts.SizeOfMiscRecord),
                )
            };
            let module = ModuleAsked {
                full_path: &path,
                base_of_image: facts.BaseOfImage,
                size_of_image: facts.SizeOfImage,
                checksum: facts.CheckSum,
                time_date_stamp: facts.TimeDateStamp,
                version_info: facts.VersionInfo,
                cv_record,
                misc_record,
            };
            slot!(
                out,
                ModuleWriteFlags,
                module_flags,
                |keep: ModuleWriteFlags| keep.bits(),
                |keep| callback.ask(Ask::Module { module, keep })
            )
        }
        AskKind::Thread | AskKind::ThreadEx => {
            // Thread is a prefix of ThreadEx. The members that Thread does not have may lie outside
            // the caller's structure.
            // SAFETY: the caller guarantees that the input is a question about a thread.
            let facts = unsafe { thread(arms) };
            let (backing_store_base, backing_store_end) = match kind {
                AskKind::ThreadEx => {
                    let facts = arm!(arms, ThreadEx);
                    (facts.BackingStoreBase, facts.BackingStoreEnd)
                }
                _ => (0, 0),
            };
            let context = facts.Context;
            let thread = ThreadAsked {
                thread_id: facts.ThreadId,
                thread_handle: wide(facts.ThreadHandle),
                context: &context[..context.len().min(facts.SizeOfContext as usize)],
                stack_base: facts.StackBase,
                stack_end: facts.StackEnd,
                backing_store_base,
                backing_store_end,
                name: None,
            };
            slot!(
                out,
                ThreadWriteFlags,
                thread_flags,
                |keep: ThreadWriteFlags| keep.bits(),
                |keep| callback.ask(if kind == AskKind::Thread {
                    Ask::Thread { thread, keep }
                } else {
                    Ask::ThreadEx { thread, keep }
                })
            )
        }
        AskKind::IncludeThread => {
            let thread_id = arm!(arms, IncludeThread).ThreadId;
            slot!(
                out,
                ThreadWriteFlags,
                thread_flags,
                |keep: ThreadWriteFlags| keep.bits(),
                |keep| callback.ask(Ask::IncludeThread { thread_id, keep })
            )
        }
        AskKind::IncludeModule => {
            let base = arm!(arms, IncludeModule).BaseOfImage;
            slot!(
                out,
                ModuleWriteFlags,
                module_flags,
                |keep: ModuleWriteFlags| keep.bits(),
                |keep| callback.ask(Ask::IncludeModule { base, keep })
            )
        }
        AskKind::Memory => slot!(out, Memory, range, range_back, |wanted| callback
            .ask(Ask::Memory { wanted })),
        AskKind::RemoveMemory => slot!(out, Memory, range, range_back, |unwanted| callback
            .ask(Ask::RemoveMemory { unwanted })),
        AskKind::Cancel => slot!(
            out,
            CancelAnswer,
            |before: OUTPUT_CANCEL| CancelAnswer {
                check_cancel: before.CheckCancel != 0,
                cancel: before.Cancel != 0,
            },
            |said: CancelAnswer| OUTPUT_CANCEL {
                CheckCancel: said.check_cancel.into(),
                Cancel: said.cancel.into(),
            },
            |answer| callback.ask(Ask::Cancel { answer })
        ),
        AskKind::WriteKernelMinidump => {
            slot!(out, Handle, wide, |handle| handle as HANDLE, |handle| callback
                .ask(Ask::WriteKernelMinidump { handle }))
        }
        AskKind::KernelMinidumpStatus => callback.ask(Ask::KernelMinidumpStatus {
            status: Hresult(arm!(arms, Status)),
        }),
        AskKind::IncludeVmRegion => slot!(
            out,
            Region,
            |before: OUTPUT_VM_REGION| RegionAnswer {
                region: before.VmRegion.into(),
                cont: before.Continue != 0,
            },
            |said: RegionAnswer| OUTPUT_VM_REGION {
                VmRegion: said.region.into(),
                Continue: said.cont.into(),
            },
            |answer| callback.ask(Ask::IncludeVmRegion { answer })
        ),
        AskKind::IoStart => {
            let handle = wide(arm!(arms, Io).Handle);
            slot!(out, Status, Hresult, status_of, |status| callback
                .ask(Ask::IoStart { handle, status }))
        }
        AskKind::IoWriteAll => {
            let io = arm!(arms, Io);
            // SAFETY: the caller guarantees that the buffer is valid.
            let bytes = unsafe { bytes(io.Buffer, io.BufferBytes) };
            slot!(out, Status, Hresult, status_of, |status| callback.ask(
                Ask::IoWriteAll {
                    handle: wide(io.Handle),
                    offset: io.Offset,
                    bytes,
                    status,
                }
            ))
        }
        AskKind::IoFinish => {
            let handle = wide(arm!(arms, Io).Handle);
            slot!(out, Status, Hresult, status_of, |status| callback
                .ask(Ask::IoFinish { handle, status }))
        }
        AskKind::ReadMemoryFailure => {
            let failed = arm!(arms, ReadMemoryFailure);
            slot!(out, Status, Hresult, status_of, |status| callback.ask(
                Ask::ReadMemoryFailure {
                    offset: failed.Offset,
                    bytes: failed.Bytes,
                    failure: Hresult(failed.FailureStatus),
                    status,
                }
            ))
        }
        AskKind::SecondaryFlags => slot!(
            out,
            SecondaryFlags,
            SecondaryFlags::from_bits_retain,
            |flags: SecondaryFlags| flags.bits(),
            |flags| callback.ask(Ask::SecondaryFlags { flags })
        ),
        AskKind::IsProcessSnapshot => {
            slot!(out, Status, Hresult, status_of, |status| callback
                .ask(Ask::IsProcessSnapshot { status }))
        }
        AskKind::VmStart => slot!(out, Status, Hresult, status_of, |status| callback
            .ask(Ask::VmStart { status })),
        AskKind::VmQuery => {
            let offset = arm!(arms, VmQuery).Offset;
            slot!(
                out,
                Query,
                |before: OUTPUT_VM_QUERY| VmQueryAnswer {
                    status: Hresult(before.VmQueryStatus),
                    region: before.VmQueryResult.into(),
                },
                |said: VmQueryAnswer| OUTPUT_VM_QUERY {
                    VmQueryStatus: said.status.0,
                    VmQueryResult: said.region.into(),
                },
                |answer| callback.ask(Ask::VmQuery { offset, answer })
            )
        }
        AskKind::VmPreRead => {
            let read = arm!(arms, VmPreRead);
            // SAFETY: the caller guarantees that the buffer is valid and can be written.
            let buffer = unsafe { bytes_mut(read.Buffer, read.Size) };
            // DbgHelp does not reset this count: it is the count of the previous read.
            let nothing_yet = |before: OUTPUT_VM_READ| VmReadAnswer {
                completed: 0,
                ..read_answer(before)
            };
            slot!(out, Read, nothing_yet, read_back, |answer| callback.ask(
                Ask::VmPreRead {
                    offset: read.Offset,
                    buffer,
                    answer,
                }
            ))
        }
        AskKind::VmPostRead => {
            let read = arm!(arms, VmPostRead);
            // SAFETY: the caller guarantees that the buffer is valid and can be written.
            let buffer = unsafe { bytes_mut(read.Buffer, read.Size) };
            slot!(out, Read, read_answer, read_back, |answer| callback.ask(
                Ask::VmPostRead {
                    offset: read.Offset,
                    buffer,
                    completed: read.Completed,
                    status: Hresult(read.Status),
                    answer,
                }
            ))
        }
        AskKind::CompressedMemoryStreamStart => slot!(
            out,
            CompressedMemoryStreamStart,
            CompressionAnswer::from,
            MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK::from,
            |answer| callback.ask(Ask::CompressedMemoryStreamStart { answer })
        ),
        AskKind::CompressedMemoryStreamFinish => {
            let finished = arm!(arms, CompressedMemoryStreamFinish);
            callback.ask(Ask::CompressedMemoryStreamFinish {
                stream_size: finished.CompressedStreamSize,
                compression_rate: finished.StreamCompressionRate,
            })
        }
    }
}

/// Returns the facts of a thread.
///
/// Wine 8's DbgHelp, like the declarations of others, has no padding before the registers, so the
/// registers and all members after them are at lower offsets there. The value of `SizeOfContext`
/// distinguishes the two layouts.
///
/// # Safety
/// The input is a question about a thread.
unsafe fn thread(arms: *const INPUT_ARMS) -> MINIDUMP_THREAD_CALLBACK {
    const SIZE: u32 = size_of::<CONTEXT>() as u32;
    let facts = arm!(arms, Thread);
    if facts.SizeOfContext == SIZE || size_of::<PAD>() == 0 {
        return facts;
    }
    let at = |field: usize| arms.wrapping_byte_add(field - size_of::<PAD>());
    let size = at(offset_of!(MINIDUMP_THREAD_CALLBACK, SizeOfContext)).cast::<u32>();
    // SAFETY: all these members lie within the arm, after its first two members and before its end,
    // and every bit pattern is a valid value of integers.
    unsafe {
        if size.read_unaligned() != SIZE {
            return facts;
        }
        MINIDUMP_THREAD_CALLBACK {
            Context: at(offset_of!(MINIDUMP_THREAD_CALLBACK, Context))
                .cast::<CONTEXT>()
                .read_unaligned(),
            SizeOfContext: SIZE,
            StackBase: at(offset_of!(MINIDUMP_THREAD_CALLBACK, StackBase))
                .cast::<u64>()
                .read_unaligned(),
            StackEnd: at(offset_of!(MINIDUMP_THREAD_CALLBACK, StackEnd))
                .cast::<u64>()
                .read_unaligned(),
            ..facts
        }
    }
}

fn range(before: OUTPUT_MEMORY) -> MemoryAnswer {
    MemoryAnswer {
        base: before.MemoryBase,
        size: before.MemorySize,
    }
}

fn range_back(said: MemoryAnswer) -> OUTPUT_MEMORY {
    OUTPUT_MEMORY {
        MemoryBase: said.base,
        MemorySize: said.size,
    }
}

fn read_answer(before: OUTPUT_VM_READ) -> VmReadAnswer {
    VmReadAnswer {
        status: Hresult(before.VmReadStatus),
        completed: before.VmReadBytesCompleted,
    }
}

fn read_back(said: VmReadAnswer) -> OUTPUT_VM_READ {
    OUTPUT_VM_READ {
        VmReadStatus: said.status.0,
        VmReadBytesCompleted: said.completed,
    }
}

#[allow(clippy::unnecessary_cast, reason = "necessary where pointers have 32 bits")]
fn wide(handle: HANDLE) -> u64 {
    handle as u64
}

/// Reads a string of 16-bit units, which ends at the first 0 or after [`LONGEST_PATH`] units.
///
/// # Safety
/// `at` is NULL, or points to a string that ends with 0 and does not change during the call.
unsafe fn text(at: Pointer) -> String {
    let at: *const u16 = std::ptr::with_exposed_provenance(at as usize);
    if at.is_null() {
        return String::new();
    }
    let units = (0..LONGEST_PATH).map(|index| {
        // SAFETY: no unit after the final 0 is read, because the iterator ends there.
        unsafe { at.add(index).read_unaligned() }
    });
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// Returns the bytes at an address; none for NULL.
///
/// # Safety
/// `at` is NULL, or points to `len` bytes that do not change for `'a`.
unsafe fn bytes<'a>(at: Pointer, len: u32) -> &'a [u8] {
    let at: *const u8 = std::ptr::with_exposed_provenance(at as usize);
    if at.is_null() {
        return &[];
    }
    // SAFETY: the caller guarantees that `len` bytes are there.
    unsafe { slice::from_raw_parts(at, len as usize) }
}

/// Returns the writable bytes at an address; none for NULL.
///
/// # Safety
/// `at` is NULL, or points to `len` initialised bytes that nothing else accesses for `'a`.
unsafe fn bytes_mut<'a>(at: Pointer, len: u32) -> &'a mut [u8] {
    let at: *mut u8 = std::ptr::with_exposed_provenance_mut(at as usize);
    if at.is_null() {
        return &mut [];
    }
    // SAFETY: the caller guarantees that `len` bytes are there and that nothing else accesses them.
    unsafe { slice::from_raw_parts_mut(at, len as usize) }
}
