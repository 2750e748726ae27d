//! These tests would catch: a field of the C structures that is filled from the wrong place or read
//! back from it; an answer that is lost; an answer that is accepted although it belongs to another
//! question; facts that a callback can change.

use super::native::{MINIDUMP_CALLBACK_INPUT, MINIDUMP_CALLBACK_OUTPUT};
use super::{Exchange, answer};
use dumpwright_callback::*;

/// Calls `then` with every question. All facts and slots have different values.
fn every_question(then: &mut dyn FnMut(Ask<'_>)) {
    let module = ModuleAsked {
        full_path: "/opt/größe/𝔘.so",
        base_of_image: 0x1111_2222_3333_4444,
        size_of_image: 1,
        checksum: 2,
        time_date_stamp: 3,
        version_info: [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
        cv_record: b"RSDS and more",
        misc_record: b"other",
    };
    let context: Vec<u8> = (0..size_of::<super::native::CONTEXT>())
        .map(|at| at as u8)
        .collect();
    let thread = ThreadAsked {
        thread_id: 17,
        thread_handle: 18,
        context: &context,
        stack_base: 0x7fff_0000_0019,
        stack_end: 0x7fff_0000_0020,
        backing_store_base: 0,
        backing_store_end: 0,
        name: None,
    };
    let thread_ex = ThreadAsked {
        backing_store_base: 0x7fff_0000_0021,
        backing_store_end: 0x7fff_0000_0022,
        ..thread
    };
    let region = MemoryInfo {
        base_address: 0x21_0000_0000,
        allocation_base: 0x22_0000_0000,
        allocation_protect: 23,
        region_size: 0x24_0000_0000,
        state: 25,
        protect: 26,
        kind: 27,
    };
    let module_flags = || ModuleWriteFlags::from_bits_retain(0x1234_5678);
    let thread_flags = || ThreadWriteFlags::from_bits_retain(0x8765_4321);
    let range = || MemoryAnswer {
        base: 0x28_0000_0000,
        size: 29,
    };
    let status = || Hresult(0x8000_4001);
    let read = || VmReadAnswer {
        status: Hresult(30),
        completed: 31,
    };
    let offset = 0x32_0000_0000;

    then(Ask::Module {
        module,
        keep: &mut module_flags(),
    });
    then(Ask::Thread {
        thread,
        keep: &mut thread_flags(),
    });
    then(Ask::ThreadEx {
        thread: thread_ex,
        keep: &mut thread_flags(),
    });
    then(Ask::IncludeThread {
        thread_id: 33,
        keep: &mut thread_flags(),
    });
    then(Ask::IncludeModule {
        base: 0x34_0000_0000,
        keep: &mut module_flags(),
    });
    then(Ask::Memory { wanted: &mut range() });
    then(Ask::Cancel {
        answer: &mut CancelAnswer {
            check_cancel: true,
            cancel: false,
        },
    });
    then(Ask::WriteKernelMinidump { handle: &mut 35 });
    then(Ask::KernelMinidumpStatus { status: Hresult(36) });
    then(Ask::RemoveMemory {
        unwanted: &mut range(),
    });
    then(Ask::IncludeVmRegion {
        answer: &mut RegionAnswer { region, cont: true },
    });
    then(Ask::IoStart {
        handle: 37,
        status: &mut status(),
    });
    then(Ask::IoWriteAll {
        handle: 38,
        offset,
        bytes: b"written",
        status: &mut status(),
    });
    then(Ask::IoFinish {
        handle: 39,
        status: &mut status(),
    });
    then(Ask::ReadMemoryFailure {
        offset,
        bytes: 40,
        failure: Hresult(41),
        status: &mut status(),
    });
    then(Ask::SecondaryFlags {
        flags: &mut SecondaryFlags::from_bits_retain(0x42),
    });
    then(Ask::IsProcessSnapshot {
        status: &mut status(),
    });
    then(Ask::VmStart {
        status: &mut status(),
    });
    then(Ask::VmQuery {
        offset,
        answer: &mut VmQueryAnswer {
            status: Hresult(43),
            region,
        },
    });
    then(Ask::VmPreRead {
        offset,
        buffer: &mut [44; 45],
        answer: &mut VmReadAnswer {
            completed: 0,
            ..read()
        },
    });
    then(Ask::VmPostRead {
        offset,
        buffer: &mut [46; 47],
        completed: 48,
        status: Hresult(49),
        answer: &mut read(),
    });
    then(Ask::CompressedMemoryStreamStart {
        answer: &mut CompressionAnswer {
            max_parallelism: 50,
            max_transfer_size: 51,
            numa_node_info: 0x5200_0000,
            numa_node_info_size: 53,
            reserved: 54,
        },
    });
    then(Ask::CompressedMemoryStreamFinish {
        stream_size: 0x55_0000_0000,
        compression_rate: 56,
    });
}

/// Changes everything in a question that a callback can change.
fn change(ask: &mut Ask<'_>) {
    let region = |region: &mut MemoryInfo| {
        *region = MemoryInfo {
            base_address: !region.base_address,
            allocation_base: !region.allocation_base,
            allocation_protect: !region.allocation_protect,
            region_size: !region.region_size,
            state: !region.state,
            protect: !region.protect,
            kind: !region.kind,
        };
    };
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => **keep = !**keep,
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            **keep = !**keep
        }
        Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
            (range.base, range.size) = (!range.base, !range.size);
        }
        Ask::Cancel { answer } => {
            (answer.check_cancel, answer.cancel) = (!answer.check_cancel, !answer.cancel)
        }
        Ask::WriteKernelMinidump { handle } => **handle = !**handle & usize::MAX as u64,
        Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => {}
        Ask::CompressedMemoryStreamStart { answer } => {
            **answer = CompressionAnswer {
                max_parallelism: !answer.max_parallelism,
                max_transfer_size: !answer.max_transfer_size,
                numa_node_info: !answer.numa_node_info & usize::MAX as u64,
                numa_node_info_size: !answer.numa_node_info_size,
                reserved: !answer.reserved,
            };
        }
        Ask::IncludeVmRegion { answer } => {
            region(&mut answer.region);
            answer.cont = !answer.cont;
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => status.0 = !status.0,
        Ask::SecondaryFlags { flags } => **flags = !**flags,
        Ask::VmQuery { answer, .. } => {
            answer.status.0 = !answer.status.0;
            region(&mut answer.region);
        }
        Ask::VmPreRead { buffer, answer, .. } | Ask::VmPostRead { buffer, answer, .. } => {
            buffer.reverse();
            buffer[0] = 0xab;
            (answer.status.0, answer.completed) = (!answer.status.0, !answer.completed);
        }
    }
}

/// A callback that records its questions and answers.
struct Answering {
    said: bool,
    process: Option<ProcessAsked>,
    arrived: Vec<String>,
}

impl Callback for Answering {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        self.arrived.push(format!("{ask:?}"));
        change(&mut ask);
        self.arrived.push(format!("{ask:?}"));
        self.said
    }

    fn process(&mut self, process: ProcessAsked) {
        self.process = Some(process);
    }

    fn answers(&self) -> bool {
        true
    }
}

#[test]
fn every_question_arrives_and_its_answer_comes_back() {
    let mut exchange = Exchange::new();
    for said in [true, false] {
        let mut kinds = Vec::new();
        every_question(&mut |mut ask| {
            kinds.push(ask.kind());
            let asked = format!("{ask:?}");
            let mut callback = Answering {
                said,
                process: None,
                arrived: Vec::new(),
            };
            let process = ProcessAsked {
                process_id: 50,
                process_handle: 51,
            };
            let back = exchange.put(&mut ask, process, |input, output| {
                // SAFETY: both pointers come from an exchange, which has filled the structures.
                unsafe { answer(input, output, &mut callback) }
            });
            assert_eq!(back, said);
            assert_eq!(callback.process, Some(process));
            assert_eq!(
                callback.arrived,
                [asked, format!("{ask:?}")],
                "asked and answered"
            );
        });
        assert_eq!(kinds, AskKind::ALL);
    }
}

#[test]
fn what_callbacks_write_elsewhere_changes_nothing() {
    let mut exchange = Exchange::new();
    every_question(&mut |mut ask| {
        let facts = |ask: &Ask<'_>| match ask {
            Ask::Module { module, .. } => format!("{module:?}"),
            Ask::IoWriteAll { bytes, offset, .. } => format!("{offset} {bytes:?}"),
            Ask::Thread { thread, .. } => format!("{thread:?}"),
            _ => String::new(),
        };
        let before = facts(&ask);
        exchange.put(&mut ask, ProcessAsked::default(), |input, output| {
            // SAFETY: an exchange supplies a whole input, and this much space after an output. The
            // memory behind the pointers is written first, only as far as a callback could know its
            // size.
            unsafe {
                let arms = &raw mut (*input).Arms;
                if (*input).CallbackType == AskKind::Module as u32 {
                    let module = (&raw const (*arms).Module).read_unaligned();
                    let record: *mut u8 = std::ptr::with_exposed_provenance_mut(module.CvRecord as usize);
                    record.write_bytes(0xff, module.SizeOfCvRecord as usize);
                    let path: *mut u16 = std::ptr::with_exposed_provenance_mut(module.FullPath as usize);
                    path.write(b'x'.into());
                }
                if (*input).CallbackType == AskKind::IoWriteAll as u32 {
                    let io = (&raw const (*arms).Io).read_unaligned();
                    let bytes: *mut u8 = std::ptr::with_exposed_provenance_mut(io.Buffer as usize);
                    bytes.write_bytes(0xff, io.BufferBytes as usize);
                }
                input
                    .cast::<u8>()
                    .write_bytes(0xff, size_of::<MINIDUMP_CALLBACK_INPUT>());
                output.cast::<u8>().write_bytes(0xff, Exchange::OUTPUT_ROOM);
            }
            1
        });
        assert_eq!(facts(&ask), before);
    });
}

#[test]
fn addresses_are_aligned_as_on_windows() {
    let mut exchange = Exchange::new();
    let mut keep = ThreadWriteFlags::THREAD;
    let mut ask = Ask::IncludeThread {
        thread_id: 1,
        keep: &mut keep,
    };
    exchange.put(&mut ask, ProcessAsked::default(), |input, output| {
        assert_eq!((input.addr() % 16, output.addr() % 4), (0, 0));
        0
    });
}

#[test]
fn questions_of_a_later_windows_are_declined() {
    let mut exchange = Exchange::new();
    let mut callback = |_: Ask<'_>| -> bool { panic!("nobody is asked") };
    exchange.put(
        &mut Ask::KernelMinidumpStatus {
            status: Hresult::S_OK,
        },
        ProcessAsked::default(),
        |input, output| {
            // SAFETY: both pointers come from an exchange.
            unsafe {
                (*input).CallbackType = 23;
                let before = output
                    .cast::<[u8; size_of::<MINIDUMP_CALLBACK_OUTPUT>()]>()
                    .read();
                assert_eq!(answer(input, output, &mut callback), 0);
                assert_eq!(
                    output
                        .cast::<[u8; size_of::<MINIDUMP_CALLBACK_OUTPUT>()]>()
                        .read(),
                    before
                );
            }
            0
        },
    );
}

#[test]
fn registers_without_room_before_them_are_found() {
    // This is the layout of Wine 8.
    let mut exchange = Exchange::new();
    every_question(&mut |mut ask| {
        if ask.kind() != AskKind::Thread {
            return;
        }
        let asked = format!("{ask:?}");
        let mut callback = Answering {
            said: true,
            process: None,
            arrived: Vec::new(),
        };
        exchange.put(&mut ask, ProcessAsked::default(), |input, output| {
            // SAFETY: both pointers come from an exchange, and the moved bytes lie within the arm.
            unsafe {
                let arm = (&raw mut (*input).Arms).cast::<u8>();
                let from = std::mem::offset_of!(super::native::MINIDUMP_THREAD_CALLBACK, Context);
                let lower = from - size_of::<super::native::PAD>();
                let len = size_of::<super::native::MINIDUMP_THREAD_CALLBACK>() - from;
                std::ptr::copy(arm.add(from), arm.add(lower), len);
                answer(input, output, &mut callback)
            }
        });
        assert_eq!(callback.arrived[0], asked);
    });
}

#[test]
fn sizes_that_make_no_sense_lead_nowhere() {
    let mut exchange = Exchange::new();
    let mut asked = Vec::new();
    every_question(&mut |mut ask| {
        let kind = ask.kind();
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => {
                    asked.push(thread.context.len());
                }
                Ask::Module { module, .. } => {
                    asked.extend([
                        module.full_path.len(),
                        module.cv_record.len(),
                        module.misc_record.len(),
                    ]);
                }
                Ask::IoWriteAll { bytes, .. } => asked.push(bytes.len()),
                Ask::VmPreRead { buffer, .. } | Ask::VmPostRead { buffer, .. } => asked.push(buffer.len()),
                _ => {}
            }
            true
        };
        exchange.put(&mut ask, ProcessAsked::default(), |input, output| {
            // SAFETY: both pointers come from an exchange. Pointers are set to NULL, which may have
            // any size.
            unsafe {
                let arms = &raw mut (*input).Arms;
                match kind {
                    AskKind::Thread | AskKind::ThreadEx => {
                        (&raw mut (*arms).Thread.SizeOfContext).write_unaligned(u32::MAX)
                    }
                    AskKind::Module => {
                        let module = &raw mut (*arms).Module;
                        (&raw mut (*module).FullPath).write_unaligned(0);
                        (&raw mut (*module).CvRecord).write_unaligned(0);
                        (&raw mut (*module).SizeOfCvRecord).write_unaligned(u32::MAX);
                        (&raw mut (*module).MiscRecord).write_unaligned(0);
                        (&raw mut (*module).SizeOfMiscRecord).write_unaligned(u32::MAX);
                    }
                    AskKind::IoWriteAll => (&raw mut (*arms).Io.Buffer).write_unaligned(0),
                    AskKind::VmPreRead => (&raw mut (*arms).VmPreRead.Buffer).write_unaligned(0),
                    AskKind::VmPostRead => (&raw mut (*arms).VmPostRead.Buffer).write_unaligned(0),
                    _ => {}
                }
                answer(input, output, &mut callback)
            }
        });
    });
    let context = size_of::<super::native::CONTEXT>();
    assert_eq!(asked, [0, 0, 0, context, context, 0, 0, 0]);
}
