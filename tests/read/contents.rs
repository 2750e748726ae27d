//! What the reader reports about valid dumps.

use dumpwright::read::{CodeView, Cpu, Dump, LossReason, Platform, ReadError, StackDescriptor};

use crate::sample::{
    self, BEHIND_2, Block, LIBRARY, PRIVATE, PROCESS, PROGRAM, RIP_1, RIP_2, STACK_1, STACK_2, Sample,
    THREAD_1, THREAD_2, pattern,
};

fn open(sample: Sample) -> Dump {
    Dump::from_bytes(sample.bytes).expect("the sample is a minidump")
}

#[test]
fn header_and_directory() {
    let sample = sample::full();
    let (size, rva) = sample.stream(16);
    let dump = open(sample);
    assert_eq!(dump.header().version, 0x4457_a793);
    assert_eq!(dump.header().time, 951_782_400);
    assert_eq!(dump.header().flags, 0x802);
    assert_eq!(
        dump.header().flag_names(),
        ["WithFullMemory", "WithFullMemoryInfo"]
    );
    assert_eq!(dump.directory().len(), 16);
    let entry = dump.stream(16).expect("there is a memory info list");
    assert_eq!(
        (entry.size, entry.rva, entry.name()),
        (size, rva, Some("MemoryInfoListStream"))
    );
    assert_eq!(dump.stream(0), None, "unused slots are no streams");
}

#[test]
fn what_is_no_minidump_is_refused_with_the_reason() {
    for (bytes, reason) in [
        (
            &b""[..],
            "not a minidump: the file has 0 bytes, but a header has 32",
        ),
        (
            &[b'M'; 31],
            "not a minidump: the file has 31 bytes, but a header has 32",
        ),
        (
            b"\x7fELF\x02\x01\x01 and what else an ELF file has",
            "not a minidump: it starts with \"\\\\x7fELF\" instead of \"MDMP\"",
        ),
    ] {
        let error = Dump::from_bytes(bytes).expect_err("this is no minidump");
        assert_eq!(error.to_string(), reason);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Dump::open("/nonexistent/dump.dmp").expect_err("there is no such file");
    assert!(
        matches!(&error, ReadError::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    );
    assert!(
        error
            .to_string()
            .starts_with("cannot open /nonexistent/dump.dmp: "),
        "{error}"
    );
}

#[test]
fn a_file_on_disk_reads_like_bytes_in_memory() {
    let sample = sample::normal();
    let path = std::env::temp_dir().join(format!("dumpwright-read-{}.dmp", std::process::id()));
    std::fs::write(&path, &sample.bytes).expect("the temporary folder takes a file");
    let from_file = Dump::open(&path).map(|dump| (dump.len(), dump.memory(STACK_2, 0x140)));
    std::fs::remove_file(&path).expect("the file was there");
    let (length, memory) = from_file.expect("the file is a minidump");
    assert_eq!(length, u64::from(sample.len()));
    assert_eq!(
        memory.expect("the stack can be read"),
        open(sample).memory(STACK_2, 0x140).unwrap()
    );
}

#[test]
fn system_info() {
    let system = open(sample::normal()).system_info().unwrap().unwrap();
    assert_eq!(system.cpu, Cpu::Amd64);
    assert_eq!(
        (
            system.processor_level,
            system.processor_revision,
            system.number_of_processors
        ),
        (6, 0x5507, 4)
    );
    assert_eq!(system.product_type, 1);
    assert_eq!(
        (system.major_version, system.minor_version, system.build_number),
        (6, 1, 90)
    );
    assert_eq!(system.platform, Platform::Linux);
    assert_eq!(system.csd_version.as_deref(), Some("Linux 6.1.0 #1 SMP x86_64"));
    assert_eq!(system.suite_mask, 0x100);
    assert_eq!(system.cpu_vendor(), Some("GenuineIntel"));
}

#[test]
fn misc_info_has_what_its_flags_say() {
    let misc = open(sample::normal()).misc_info().unwrap().unwrap();
    assert_eq!(misc.size_of_info, 832);
    assert_eq!(misc.process_id, Some(PROCESS));
    assert_eq!(misc.process_create_time, Some(951_700_000));
    assert_eq!(
        (misc.process_user_time, misc.process_kernel_time),
        (Some(12), Some(3))
    );
    let power = misc.processor_power.unwrap();
    assert_eq!(
        (power.max_mhz, power.current_mhz, power.mhz_limit),
        (4000, 3500, 3900)
    );
    assert_eq!((power.max_idle_state, power.current_idle_state), (2, 1));
    assert_eq!(
        misc.process_integrity_level, None,
        "its bit is clear, whatever the bytes are"
    );
    assert_eq!(
        misc.protected_process, None,
        "its bit is clear, whatever the bytes are"
    );
    let zone = misc.time_zone.unwrap();
    assert_eq!((zone.id, zone.bias), (2, -60));
    assert_eq!(
        (zone.standard_name.as_str(), zone.daylight_name.as_str()),
        ("CET", "CEST")
    );
    assert_eq!(misc.build_string.as_deref(), Some("#1 SMP"));
    assert_eq!(misc.debug_build_string.as_deref(), Some("a writer"));
    assert_eq!((misc.extended_state, misc.process_cookie), (None, None));
}

#[test]
fn misc_info_of_every_generation() {
    // All flags are set, so the size alone decides which fields exist.
    let fields = |size: usize| {
        let mut sample = sample::full();
        let mut block = sample::Block::new().u32(size as u32).u32(0x3f7).zeros(size - 8).0;
        if size == 1364 {
            block[832] = 16; // the size of the extended state's description
            block[836..838].copy_from_slice(&[0x50, 0x06]); // the size of a context
            block[840] = 7; // its features
            block[852] = 160; // the size of the first, the offset of the second
            block[856] = 160;
            block[864..870].copy_from_slice(&[0x40, 0x02, 0, 0, 0, 1]); // offset, size of the third
            block[1360] = 9;
        }
        sample.put_stream(15, "short misc info", &block);
        open(sample).misc_info().unwrap().unwrap()
    };
    let [one, two, three, four, five] = [24, 44, 232, 832, 1364].map(fields);
    assert!(one.process_id.is_some() && one.process_kernel_time.is_some() && one.processor_power.is_none());
    assert!(two.processor_power.is_some() && two.process_integrity_level.is_none());
    assert!(three.protected_process.is_some() && three.time_zone.is_some() && three.build_string.is_none());
    assert!(
        four.debug_build_string.is_some() && four.process_cookie.is_none() && four.extended_state.is_none()
    );
    assert_eq!(five.process_cookie, Some(9));
    let state = five.extended_state.expect("described");
    let features: Vec<_> = state
        .features
        .iter()
        .map(|feature| (feature.number, feature.offset, feature.size))
        .collect();
    assert_eq!((state.context_size, state.enabled_features), (0x650, 7));
    assert_eq!(features, [(0, 0, 160), (1, 160, 0), (2, 576, 256)]);
}

#[test]
fn threads_with_names_and_infos() {
    let sample = sample::normal();
    let rva = sample.mark("stack 2") as u32;
    let threads = open(sample).threads().unwrap();
    assert_eq!(
        threads.iter().map(|thread| thread.id).collect::<Vec<_>>(),
        [THREAD_1, THREAD_2]
    );
    assert_eq!(
        threads
            .iter()
            .map(|thread| thread.name.as_deref())
            .collect::<Vec<_>>(),
        [Some("main"), Some("wörker")]
    );
    let second = &threads[1];
    assert_eq!(
        (second.suspend_count, second.priority_class, second.priority),
        (1, 0x20, -1)
    );
    assert_eq!(second.teb, 0x7f33_0000_0000 + u64::from(THREAD_2));
    assert_eq!(
        second.stack,
        StackDescriptor {
            start: STACK_2,
            size: 0x100,
            rva
        }
    );
    assert_eq!(
        second.context.as_ref().unwrap().bytes(),
        sample::context(2, RIP_2, STACK_2 + 0x80)
    );
    let info = second.info.as_ref().unwrap();
    assert_eq!(
        (info.thread_id, info.dump_flags, info.dump_error, info.exit_status),
        (THREAD_2, 2, 0, 0x103)
    );
    assert_eq!(
        (info.create_time, info.exit_time, info.kernel_time, info.user_time),
        (10, 11, 12, 13)
    );
    assert_eq!((info.start_address, info.affinity), (14, 15));
}

#[test]
fn every_register_is_read_at_its_own_place() {
    let threads = open(sample::normal()).threads().unwrap();
    let registers = threads[1].registers().unwrap();
    let own = |offset: u64| (2_u64 << 32) + offset; // what the sample puts at each offset
    assert_eq!(
        (registers.context_flags, registers.rip, registers.rsp),
        (0x10_001f, RIP_2, STACK_2 + 0x80)
    );
    let general = [
        (registers.rax, 0x78),
        (registers.rcx, 0x80),
        (registers.rdx, 0x88),
        (registers.rbx, 0x90),
        (registers.rbp, 0xa0),
        (registers.rsi, 0xa8),
        (registers.rdi, 0xb0),
        (registers.r8, 0xb8),
        (registers.r9, 0xc0),
        (registers.r10, 0xc8),
        (registers.r11, 0xd0),
        (registers.r12, 0xd8),
        (registers.r13, 0xe0),
        (registers.r14, 0xe8),
        (registers.r15, 0xf0),
        (registers.dr0, 0x48),
        (registers.dr1, 0x50),
        (registers.dr2, 0x58),
        (registers.dr3, 0x60),
        (registers.dr6, 0x68),
        (registers.dr7, 0x70),
    ];
    for (value, offset) in general {
        assert_eq!(value, own(offset), "the register at {offset:#x}");
    }
    let segments = [
        registers.cs,
        registers.ds,
        registers.es,
        registers.fs,
        registers.gs,
        registers.ss,
    ];
    assert_eq!(segments, [0x33, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f]);
    assert_eq!(
        (registers.eflags, registers.mxcsr, registers.float_save_mxcsr),
        (0x246, 0x1f80, 0x1fa0)
    );
    assert_eq!(registers.fcw, 0x37f);
    for (index, value) in registers.xmm.iter().enumerate() {
        assert_eq!(*value, (0x100 + index as u128) << 64 | 2, "xmm{index}");
    }
}

#[test]
fn a_thread_keeps_what_can_be_read_when_the_rest_cannot() {
    let mut sample = sample::normal();
    let thread_1 = sample.mark("thread list") + 4;
    let end = sample.len();
    sample.set_u32(thread_1 + 44, end - 4); // its context reaches past the end
    sample.set_u64(sample.mark("thread names") + 8, u64::MAX); // its name is outside the file
    let threads = open(sample).threads().unwrap();
    assert_eq!(threads[0].id, THREAD_1);
    assert!(threads[0].context.is_none() && threads[0].name.is_none() && threads[0].info.is_some());
    assert!(threads[1].context.is_some() && threads[1].name.is_some());
}

#[test]
fn lists_with_padding_behind_the_count_are_read() {
    let mut sample = sample::normal();
    let at = sample.mark("thread list");
    let mut padded = sample.bytes[at..at + 4].to_vec();
    padded.extend([0; 4]);
    padded.extend(&sample.bytes[at + 4..at + 4 + 96]);
    sample.put_stream(3, "padded threads", &padded);
    let threads = open(sample).threads().unwrap();
    assert_eq!(
        threads.iter().map(|thread| thread.id).collect::<Vec<_>>(),
        [THREAD_1, THREAD_2]
    );
}

#[test]
fn threads_of_a_thread_ex_list() {
    let mut sample = sample::normal();
    let at = sample.mark("thread list") + 4;
    let [one, two] = [0, 48].map(|skip| sample.bytes[at + skip..at + skip + 48].to_vec());
    let list = sample::Block::new()
        .u32(2)
        .bytes(&one)
        .zeros(16)
        .bytes(&two)
        .u64(0x30_0000)
        .u32(0x40)
        .u32(0x50);
    sample.remove(3);
    sample.put_stream(8, "thread ex list", &list.0);
    let threads = open(sample).threads().unwrap();
    assert_eq!(
        threads.iter().map(|thread| thread.id).collect::<Vec<_>>(),
        [THREAD_1, THREAD_2]
    );
    assert_eq!(threads[1].registers().unwrap().rip, RIP_2);
    let store = threads[1].backing_store.unwrap();
    assert_eq!((store.start, store.size, store.rva), (0x30_0000, 0x40, 0x50));
    assert_eq!(open(sample::normal()).threads().unwrap()[0].backing_store, None);
}

#[test]
fn objects_operations_and_functions() {
    let dump = open(sample::every());
    let handles = dump.handles().unwrap();
    assert_eq!(handles[0].object_information, []);
    let information: Vec<_> = handles[1]
        .object_information
        .iter()
        .map(|block| (block.info_type, &block.bytes[..]))
        .collect();
    assert_eq!(information, [(2, &[9][..]), (6, &[7, 8][..])]);

    let operations = dump.handle_operations().unwrap();
    let [operation] = &operations[..] else {
        panic!("{operations:?}")
    };
    assert_eq!(
        (operation.handle, operation.process_id, operation.thread_id),
        (0x44, 100, 101)
    );
    assert_eq!((operation.operation_type, operation.index), (3, 7));
    assert_eq!(operation.return_addresses, [0xaaaa, 0xbbbb]);

    let tables = dump.function_tables().unwrap();
    let addresses = tables
        .iter()
        .map(|table| [table.minimum_address, table.maximum_address, table.base_address]);
    assert_eq!(
        addresses.collect::<Vec<_>>(),
        [[0x7001, 0x7002, 0x7000], [0x8001, 0x8002, 0x8000]]
    );
    let functions = tables.iter().flat_map(|table| &table.entries);
    let functions =
        functions.map(|entry| [entry.begin_address, entry.end_address, entry.unwind_info_address]);
    assert_eq!(functions.collect::<Vec<_>>(), [[1, 2, 3], [4, 5, 6], [7, 8, 9]]);
}

#[test]
fn tokens_and_counters() {
    let dump = open(sample::every());
    let tokens = dump.tokens().unwrap();
    let [token] = &tokens[..] else {
        panic!("{tokens:?}")
    };
    assert_eq!((token.id, token.handle), (4710, 0x99));
    assert_eq!((token.session, token.token_type), (Some(3), Some(2)));
    assert_eq!(token.user.as_deref(), Some("S-1-5-18"));
    assert_eq!(token.primary_group.as_deref(), Some("S-1-5-18"));
    let groups: Vec<_> = token
        .groups
        .iter()
        .map(|group| (&*group.sid, group.attributes))
        .collect();
    assert_eq!(groups, [("S-1-5-18", 7)]);
    let [restricting] = &token.restricting[..] else {
        panic!("{token:?}")
    };
    assert_eq!((&*restricting.sid, restricting.attributes), ("S-1-5-18", 8));
    let privileges: Vec<_> = token
        .privileges
        .iter()
        .map(|one| (one.luid, one.attributes))
        .collect();
    assert_eq!(privileges, [(20, 2)]);

    // The sample's words are their own offsets. The widths are those of Microsoft's header.
    let wide = |at: u64| (at + 4) << 32 | at;
    let memory = dump.system_memory().unwrap().unwrap();
    assert_eq!((memory.revision, memory.flags), (1, 2));
    for (name, value) in [
        ("BasicInfo.TimerResolution", 4),
        ("BasicInfo.PageSize", 8),
        ("BasicInfo.MinimumUserModeAddress", wide(28)),
        ("BasicInfo.NumberOfProcessors", 52),
        ("FileCacheInfo.CurrentSize", wide(56)),
        ("FileCacheInfo.PageFaultCount", 72),
        ("BasicPerfInfo.AvailablePages", wide(116)),
        ("BasicPerfInfo.CommitLimit", wide(132)),
        ("PerfInfo.AvailablePages", 192),
        ("PerfInfo.IdleProcessTime", wide(148)),
        ("PerfInfo.PageFaultCount", 208),
        ("PerfInfo.SystemCalls", 456),
    ] {
        assert_eq!(memory.numbers[name], value, "{name}");
    }
    assert!(
        !memory.numbers.contains_key("PerfInfo.CcTotalDirtyPages"),
        "not marked as valid"
    );
    let counters = dump.vm_counters().unwrap().unwrap();
    assert_eq!((counters.revision, counters.flags), (2, 0xf));
    for (name, value) in [
        ("PageFaultCount", 4),
        ("PeakWorkingSetSize", wide(8)),
        ("VirtualSize", wide(80)),
        ("PrivateUsage", wide(88)),
        ("SharedCommitUsage", wide(104)),
    ] {
        assert_eq!(counters.numbers[name], value, "{name}");
    }
    assert!(!counters.numbers.contains_key("JobTotalCommitLimit"));
    // The first revision has no flags, and PrivateUsage at another offset.
    let mut sample = sample::every();
    sample.set_u16(sample.mark("counters"), 1);
    let counters = open(sample).vm_counters().unwrap().unwrap();
    assert_eq!((counters.flags, counters.numbers["PrivateUsage"]), (0, wide(72)));
}

#[test]
fn modules_with_the_ids_that_symbols_are_found_by() {
    let modules = open(sample::normal()).modules().unwrap();
    let [program, library] = &modules[..] else {
        panic!("{modules:?}")
    };
    assert_eq!(
        (program.base, program.size, program.end()),
        (PROGRAM, 0x4000, PROGRAM + 0x4000)
    );
    assert_eq!((program.checksum, program.timestamp), (0xc5c5, 0x6000_0001));
    assert_eq!(program.name.as_deref(), Some("/usr/bin/victim"));
    assert_eq!(program.file_name(), Some("victim"));
    assert_eq!(program.version.as_deref(), Some("1.2.3.4"));
    assert_eq!(
        program.code_view,
        Some(CodeView::Elf {
            build_id: (1..=20).collect()
        })
    );
    // The first 16 bytes as a GUID, with its three fields little-endian, and age 0.
    assert_eq!(
        program.debug_id.as_deref(),
        Some("0403020106050807090A0B0C0D0E0F100")
    );
    assert_eq!(
        program.code_id.as_deref(),
        Some("0102030405060708090a0b0c0d0e0f1011121314")
    );

    assert_eq!((library.base, library.file_name()), (LIBRARY, Some("warm.dll")));
    assert!(matches!(&library.code_view, Some(CodeView::Pdb70 { age: 0x1a, path, .. }) if path == "w.pdb"));
    assert_eq!(
        library.debug_id.as_deref(),
        Some("78563412BC9AF0DE01020304050607081a")
    );
    assert_eq!(library.code_id.as_deref(), Some("6000000120000"));
}

#[test]
fn windows_keeps_two_numbers_of_a_version_in_one_field() {
    let mut sample = sample::normal();
    sample.set_u32(sample.mark("system info") + 20, 2);
    let first = sample.mark("module list") + 4;
    sample.set_u32(first + 32, 0x000a_0001);
    sample.set_u32(first + 36, 0x585d_0002);
    assert_eq!(
        open(sample).modules().unwrap()[0].version.as_deref(),
        Some("10.1.22621.2")
    );
}

#[test]
fn other_code_view_records() {
    let code_view = |record: &[u8]| {
        let mut sample = sample::normal();
        let rva = sample.put("code view", record);
        let first = sample.mark("module list") + 4;
        sample.set_u32(first + 76, record.len() as u32);
        sample.set_u32(first + 80, rva);
        open(sample).modules().unwrap().swap_remove(0)
    };
    let old = code_view(b"NB10\0\0\0\0\x78\x56\x34\x12\x0b\0\0\0old.pdb\0");
    assert!(matches!(&old.code_view, Some(CodeView::Pdb20 { path, .. }) if path == "old.pdb"));
    assert_eq!(old.debug_id.as_deref(), Some("12345678b"));
    let short = code_view(b"LEpB\x01\x02");
    assert_eq!(
        short.debug_id.as_deref(),
        Some("000002010000000000000000000000000")
    );
    assert_eq!(short.code_id.as_deref(), Some("0102"));
    let empty = code_view(&[b"LEpB".as_slice(), &[0; 20]].concat());
    assert_eq!(
        (empty.debug_id, empty.code_id),
        (None, None),
        "an id of zeros is none"
    );
    let unknown = code_view(b"WHAT is this");
    assert_eq!(
        unknown.code_view,
        Some(CodeView::Raw {
            bytes: b"WHAT is this".to_vec()
        })
    );
    assert_eq!(unknown.debug_id, None);
}

#[test]
fn memory_is_found_by_address_across_ranges() {
    for sample in [sample::normal(), sample::full()] {
        let dump = open(sample);
        assert_eq!(dump.memory(STACK_1, 0x200).unwrap(), Some(pattern(1, 0x200)));
        assert_eq!(
            dump.memory(STACK_1 + 5, 3).unwrap(),
            Some(pattern(1, 0x200)[5..8].to_vec())
        );
        let both = [pattern(2, 0x100), pattern(3, 0x40)].concat();
        assert_eq!(dump.memory(STACK_2, 0x140).unwrap(), Some(both.clone()));
        assert_eq!(
            dump.memory(STACK_2 + 0xf0, 0x20).unwrap(),
            Some(both[0xf0..0x110].to_vec())
        );
        assert_eq!(dump.memory(STACK_1, 0).unwrap(), Some(Vec::new()));
        assert!(dump.has_memory(BEHIND_2, 0x40).unwrap());
        for (address, length) in [
            (STACK_2, 0x141),
            (STACK_1 - 1, 1),
            (STACK_1 - 1, 2),
            (STACK_1 + 0x200, 1),
            (STACK_1, u64::MAX),
            (u64::MAX, 2),
        ] {
            assert_eq!(
                dump.memory(address, length).unwrap(),
                None,
                "{length} bytes at {address:#x}"
            );
            assert!(!dump.has_memory(address, length).unwrap());
        }
    }
}

#[test]
fn memory_ranges_in_the_files_order() {
    let sample = sample::full();
    let data = sample.mark("memory64 data") as u64;
    let ranges = open(sample).memory_ranges().unwrap();
    let ranges: Vec<_> = ranges
        .iter()
        .map(|range| (range.address, range.size, range.file_offset))
        .collect();
    assert_eq!(
        ranges,
        [
            (STACK_2, 0x100, data),
            (BEHIND_2, 0x40, data + 0x100),
            (STACK_1, 0x200, data + 0x140)
        ]
    );
    let sample = sample::normal();
    let first = (BEHIND_2, 0x40, sample.mark("behind 2") as u64);
    let ranges = open(sample).memory_ranges().unwrap();
    assert_eq!((ranges[0].address, ranges[0].size, ranges[0].file_offset), first);
    assert_eq!(ranges.len(), 3);
}

#[test]
fn overlapping_ranges_do_not_confuse_the_search() {
    let mut sample = sample::normal();
    let (inside, around) = (
        sample.put("inside", &[0xee; 16]),
        sample.put("around", &pattern(9, 0x80)),
    );
    let list = sample::Block::new()
        .u32(3)
        .bytes(&sample::range(0x1010, 16, inside))
        .bytes(&sample::range(0x1000, 0x80, around))
        .bytes(&sample::range(0x1070, 0x20, around));
    sample.put_stream(5, "overlapping", &list.0);
    let dump = open(sample);
    let expected = [pattern(9, 0x80), pattern(9, 0x20)[0x10..].to_vec()].concat();
    assert_eq!(
        dump.memory(0x1000, 0x90).unwrap(),
        Some(expected),
        "the range that begins first has the byte"
    );
    assert_eq!(dump.memory(0x1000, 0x91).unwrap(), None);
}

#[test]
fn the_last_byte_of_the_address_space() {
    let mut sample = sample::normal();
    let rva = sample.put("top", &pattern(4, 16));
    let list = sample::Block::new()
        .u32(1)
        .bytes(&sample::range(u64::MAX - 15, 16, rva));
    sample.put_stream(5, "top list", &list.0);
    let dump = open(sample);
    assert_eq!(dump.memory(u64::MAX - 15, 16).unwrap(), Some(pattern(4, 16)));
    assert_eq!(dump.memory(u64::MAX - 15, 17).unwrap(), None);
}

#[test]
fn lost_memory_is_not_data() {
    let dump = open(sample::with_losses());
    let losses = dump.losses().unwrap();
    assert_eq!(losses.len(), 1);
    assert_eq!(
        (losses[0].start, losses[0].length, losses[0].reason),
        (BEHIND_2 + 8, 16, LossReason::TargetExited)
    );
    assert_eq!(
        dump.memory(BEHIND_2, 8).unwrap(),
        Some(pattern(3, 0x40)[..8].to_vec())
    );
    assert_eq!(
        dump.memory(BEHIND_2 + 24, 0x28).unwrap(),
        Some(pattern(3, 0x40)[24..].to_vec())
    );
    for (address, length) in [
        (BEHIND_2, 9),
        (BEHIND_2 + 8, 1),
        (BEHIND_2 + 23, 1),
        (STACK_2, 0x140),
    ] {
        assert_eq!(
            dump.memory(address, length).unwrap(),
            None,
            "{length} bytes at {address:#x}"
        );
        assert_eq!(dump.lost(address, length).unwrap(), losses);
    }
    assert_eq!(dump.lost(BEHIND_2, 8).unwrap(), []);
    assert_eq!(dump.lost(BEHIND_2 + 24, 8).unwrap(), []);
    assert_eq!(open(sample::full()).losses().unwrap(), []);
}

#[test]
fn the_mark_of_a_trailer_inside_memory_is_memory() {
    // The dump of a process that itself handles such dumps: its memory is the last thing in the
    // file and ends with the mark.
    let mut sample = sample::full();
    let end = sample.bytes.len();
    let trailer = sample::with_losses().bytes;
    sample.bytes[end - 56..].copy_from_slice(&trailer[trailer.len() - 56..]);
    let dump = open(sample);
    assert_eq!(dump.losses().unwrap(), []);
    assert!(dump.has_memory(STACK_1, 0x200).unwrap());
}

#[test]
fn exception_with_its_own_context() {
    let exception = open(sample::normal()).exception().unwrap().unwrap();
    assert_eq!(
        (exception.thread_id, exception.code, exception.flags),
        (THREAD_1, 11, 1)
    );
    assert_eq!((exception.record, exception.address), (0, 0x18));
    assert_eq!(exception.parameters, [1, 0x18]);
    assert_eq!(
        exception.context.as_ref().unwrap().amd64().unwrap().rip,
        RIP_1 + 1
    );
    assert_eq!(exception.describe(Platform::Linux), "SIGSEGV (SEGV_MAPERR)");
}

#[test]
fn exceptions_are_called_what_their_system_calls_them() {
    let mut exception = open(sample::normal()).exception().unwrap().unwrap();
    let mut name = |platform, code, flags: i32| {
        (exception.code, exception.flags) = (code, flags.cast_unsigned());
        exception.describe(platform)
    };
    // Numbers from signal(7) and sigaction(2).
    assert_eq!(name(Platform::Linux, 6, -6), "SIGABRT (SI_TKILL)");
    assert_eq!(name(Platform::Linux, 11, 0x80), "SIGSEGV (SI_KERNEL)");
    assert_eq!(name(Platform::Linux, 8, 1), "SIGFPE (FPE_INTDIV)");
    assert_eq!(name(Platform::Linux, 7, 2), "SIGBUS (BUS_ADRERR)");
    assert_eq!(name(Platform::Linux, 31, 1), "SIGSYS (SYS_SECCOMP)");
    assert_eq!(name(Platform::Linux, 4, 99), "SIGILL (si_code 99)");
    assert_eq!(name(Platform::Linux, 34, 0), "signal 34 (SI_USER)");
    assert_eq!(name(Platform::Android, u32::MAX, 0), "dump requested");
    assert_eq!(
        name(Platform::Windows, 0xc000_0005, 0),
        "EXCEPTION_ACCESS_VIOLATION"
    );
    assert_eq!(name(Platform::Windows, 0x1234, 0), "code 0x00001234");
}

#[test]
fn more_than_fifteen_parameters_are_not_read() {
    let mut sample = sample::normal();
    sample.set_u32(sample.mark("exception") + 32, u32::MAX);
    let exception = open(sample).exception().unwrap().unwrap();
    assert_eq!(
        (exception.number_of_parameters, exception.parameters.len()),
        (u32::MAX, 15)
    );
}

#[test]
fn handles_of_both_versions() {
    let dump = open(sample::normal());
    let handles = dump.handles().unwrap();
    assert_eq!(
        handles.iter().map(|handle| handle.handle).collect::<Vec<_>>(),
        [3, 4]
    );
    let first = &handles[0];
    assert_eq!(
        (first.type_name.as_deref(), first.object_name.as_deref()),
        (Some("File"), Some("/dev/null"))
    );
    assert_eq!((first.attributes, first.granted_access), (0o20_666, 0x12_0089));
    assert_eq!(
        (first.handle_count, first.pointer_count, first.object_info_rva),
        (1, 0, 0)
    );
    assert_eq!((&handles[1].type_name, &handles[1].object_name), (&None, &None));

    let mut sample = sample::normal();
    let short = |block: sample::Block, value| block.u64(value).zeros(8).u32(1).u32(2).u32(3).u32(4);
    let list = sample::Block::new().u32(16).u32(32).u32(2).u32(0);
    sample.put_stream(12, "old handles", &short(short(list, 7), 8).0);
    let handles = open(sample).handles().unwrap();
    assert_eq!(
        handles.iter().map(|handle| handle.handle).collect::<Vec<_>>(),
        [7, 8]
    );
    assert_eq!((handles[1].attributes, handles[1].granted_access), (1, 2));
    assert_eq!((handles[1].handle_count, handles[1].pointer_count), (3, 4));
}

#[test]
fn regions_and_unloaded_modules() {
    let dump = open(sample::normal());
    let regions = dump.memory_regions().unwrap();
    assert_eq!(regions.len(), 2);
    let image = regions[1];
    assert_eq!(
        (image.base, image.allocation_base, image.size),
        (LIBRARY, LIBRARY, 0x2_0000)
    );
    assert_eq!(
        (image.state, image.protect, image.allocation_protect, image.kind),
        (0x1000, 0x20, 4, 0x100_0000)
    );
    let unloaded = dump.unloaded_modules().unwrap();
    assert_eq!(unloaded.len(), 1);
    assert_eq!((unloaded[0].base, unloaded[0].size), (0x1000_0000, 0x5000));
    assert_eq!((unloaded[0].checksum, unloaded[0].timestamp), (7, 8));
    assert_eq!(unloaded[0].name.as_deref(), Some("gone.dll"));
}

#[test]
fn what_breakpad_and_mozilla_add() {
    let dump = open(sample::normal());
    let info = dump.breakpad_info().unwrap().unwrap();
    assert_eq!(
        (info.dump_thread_id, info.requesting_thread_id),
        (None, Some(THREAD_1)),
        "only one is valid"
    );
    assert_eq!(
        dump.text(0x4767_0004).unwrap().as_deref(),
        Some("Name:\tvictim\nPid:\t4710\n")
    );
    assert_eq!(
        dump.text(0x4767_0006).unwrap().as_deref(),
        Some("victim\0--run\0")
    );
    assert_eq!(
        dump.text(0x4767_0007).unwrap(),
        None,
        "this dump has no environment"
    );
    let dso = dump.dso_debug().unwrap().unwrap();
    assert_eq!(
        (dso.version, dso.brk, dso.ldbase, dso.dynamic),
        (1, 0xb0, 0xb1, 0xb2)
    );
    assert_eq!(dso.link_map.len(), 1);
    assert_eq!(
        (dso.link_map[0].addr, dso.link_map[0].ld),
        (LIBRARY, LIBRARY + 0x100)
    );
    assert_eq!(dso.link_map[0].name.as_deref(), Some("/lib/libc.so.6"));
    assert_eq!(dump.soft_errors().unwrap().unwrap()[0]["StopProcess"], "timeout");
    assert_eq!(dump.comments().unwrap(), ["a diagnostic"]);
    assert_eq!(
        dump.stream_bytes(PRIVATE).unwrap().as_deref(),
        Some(&b"our own bytes"[..])
    );
}

#[test]
fn wide_comments() {
    let mut sample = sample::normal();
    sample.put_stream(
        11,
        "wide comment",
        &sample::Block::new().fixed_text("größer", 8).0,
    );
    assert_eq!(open(sample).comments().unwrap(), ["a diagnostic", "größer"]);
}

#[test]
fn bytes_are_found_anywhere_in_the_file() {
    let mut sample = sample::normal();
    let needle = b"a secret of the target";
    // Across the border of two chunks of the file. The chunk size is a power of two.
    let at = (1 << 20) - 5;
    sample.bytes.resize(1 << 21, 0);
    assert!(open(sample.clone()).contains_nowhere(needle).unwrap());
    sample.bytes[at..at + needle.len()].copy_from_slice(needle);
    let dump = open(sample);
    assert_eq!(dump.find(needle).unwrap(), Some(at as u64));
    assert!(!dump.contains_nowhere(needle).unwrap());
    assert_eq!(dump.find(b"MDMP").unwrap(), Some(0));
    assert!(
        dump.find(&needle[..1])
            .unwrap()
            .is_some_and(|first| first < at as u64)
    );
}

#[test]
fn bytes_at_the_very_end_are_found() {
    let mut sample = sample::normal();
    sample.bytes.extend(b"aab");
    let end = u64::from(sample.len());
    assert_eq!(open(sample).find(b"ab").unwrap(), Some(end - 2));
}

#[test]
fn an_empty_dump_has_nothing() {
    let mut bytes = vec![0; 32];
    bytes[..6].copy_from_slice(b"MDMP\x93\xa7");
    let dump = Dump::from_bytes(bytes).unwrap();
    assert!(dump.system_info().unwrap().is_none() && dump.misc_info().unwrap().is_none());
    assert!(dump.exception().unwrap().is_none() && dump.soft_errors().unwrap().is_none());
    assert!(dump.threads().unwrap().is_empty() && dump.modules().unwrap().is_empty());
    assert!(dump.memory_ranges().unwrap().is_empty() && dump.handles().unwrap().is_empty());
}

/// Breakpad's writer on x86-64 aligns the fields of LinuxDsoDebug, minidump-writer does not.
#[test]
fn both_layouts_of_loaded_objects_are_read() {
    let links = |pad: usize, sample: &mut Sample| {
        let name = sample.put_string("object", "/lib/libm.so.6");
        let entry = |block: Block| block.u64(LIBRARY).u32(name).zeros(pad).u64(LIBRARY + 8);
        let map = sample.put("two links", &entry(entry(Block::new())).0);
        let head = Block::new()
            .u32(1)
            .u32(map)
            .u32(2)
            .zeros(pad)
            .u64(0xb0)
            .u64(0xb1)
            .u64(0xb2);
        // Two entries of the dynamic section.
        sample.put_stream(0x4767_000a, "dso debug", &head.u64(21).u64(0xd0).zeros(16).0);
    };
    for pad in [0, 4] {
        let mut sample = sample::normal();
        links(pad, &mut sample);
        let dump = open(sample);
        let debug = dump.dso_debug().expect("readable").expect("present");
        assert_eq!(
            (debug.version, debug.brk, debug.ldbase, debug.dynamic),
            (1, 0xb0, 0xb1, 0xb2)
        );
        assert_eq!(debug.link_map.len(), 2);
        for link in &debug.link_map {
            assert_eq!((link.addr, link.ld), (LIBRARY, LIBRARY + 8), "padding: {pad}");
            assert_eq!(link.name.as_deref(), Some("/lib/libm.so.6"));
        }
        assert!(dumpwright::read::check(&dump).expect("readable").is_empty());
    }
}
