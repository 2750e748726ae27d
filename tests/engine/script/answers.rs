//! The effect of each condition and action on the answers.

use super::*;

#[test]
fn without_rules_a_script_answers_as_documented() {
    let script = &mut parse("");
    assert_eq!(thread_flags(script, 7), (true, 0x17));
    assert_eq!(module_flags(script, "/lib/a.so", 0x1000), (true, 0xd));
    assert_eq!(memory(script), (false, 0, 0));
    assert!(!script.ask(Ask::RemoveMemory {
        unwanted: &mut MemoryAnswer::default()
    }));
    assert_eq!(vm_start(script), (true, Hresult::E_NOTIMPL));
    let mut cancel = CancelAnswer::default();
    assert!(script.ask(Ask::Cancel { answer: &mut cancel }));
    assert_eq!(cancel, CancelAnswer::default());
    let (said, answer) = region(script, 0x5000, 0x1000);
    assert_eq!(
        (said, answer.cont, answer.region.region_size),
        (true, true, 0x1000)
    );
    assert_eq!(write(script, 4, b"dump"), (true, Hresult::S_OK));
    assert_eq!(script.output(), b"\0\0\0\0dump");
    let mut status = Hresult::E_FAIL;
    assert!(script.ask(Ask::IoFinish {
        handle: 0,
        status: &mut status
    }));
    assert_eq!(status, Hresult::S_OK);
    let mut status = Hresult::S_FALSE;
    let failure = Hresult::PARTIAL_COPY;
    assert!(!script.ask(Ask::ReadMemoryFailure {
        offset: 1,
        bytes: 1,
        failure,
        status: &mut status
    }));
    assert!(!script.ask(Ask::WriteKernelMinidump { handle: &mut 0 }));
    assert_eq!(query(script, 0x1000).1.status, Hresult::E_NOTIMPL);
    assert_eq!(pre_read(script, 0, 2), (Hresult::S_OK, 0, vec![0, 1]));
    assert_eq!(
        post_read(script, 0, 7, Hresult::READ_FAULT).0,
        Hresult::READ_FAULT
    );
    assert_eq!(post_read(script, 0, 7, Hresult::S_OK).1, 7);
}

#[test]
fn conditions() {
    // By id, by place in the order of the calls, by count.
    let script = &mut rule("IncludeThread", "thread = 8\nreturn = false");
    assert_eq!(
        [7, 8, 9].map(|id| thread_flags(script, id).0),
        [true, false, true]
    );
    let script = &mut rule("IncludeThread", "thread = \"T1\"\nreturn = false");
    assert_eq!(
        [70, 80, 90].map(|id| thread_flags(script, id).0),
        [true, false, true]
    );
    for (index, expected) in [
        ("1", [true, false, true, true]),
        ("\"1\"", [true, false, true, true]),
        ("\"1-2\"", [true, false, false, true]),
        ("\"2+\"", [true, true, false, false]),
        ("\"*\"", [false; 4]),
    ] {
        let script = &mut rule("IncludeThread", &format!("index = {index}\nreturn = false"));
        assert_eq!(
            [1, 2, 3, 4].map(|id| thread_flags(script, id).0),
            expected,
            "{index}"
        );
    }

    // By the name of the file, or by the whole path.
    let script = &mut rule("Module", "module = \"lib*.so\"\nflags = 1");
    assert_eq!(module_flags(script, "/opt/liba.so", 0).1, 1);
    assert_eq!(module_flags(script, "/opt/program", 0).1, 0xd);
    let script = &mut rule("Module", "module = \"C:\\\\OPT\\\\*\"\nflags = 1");
    assert_eq!(module_flags(script, "C:\\opt\\a.dll", 0).1, 1);

    // By place: a named range, an address, a part with a size, a range with an end. Everything that
    // touches it matches.
    for (at, touching, beside) in [
        ("\"block\"", [0x4001, 0x5fff], [0x3000, 0x6000]),
        ("\"block+0x10\"", [0x5010, 0x4011], [0x3010, 0x5011]),
        ("0x5010", [0x5010, 0x4011], [0x3010, 0x5011]),
        ("\"block+0x10/0x20\"", [0x502f, 0x4011], [0x4010, 0x5030]),
        ("\"block..other\"", [0x8fff, 0x4001], [0x4000, 0x9000]),
        ("\"other-0x10..other.end\"", [0x900f, 0x8ff0], [0x9010, 0x7ff0]),
    ] {
        let script = &mut rule("IncludeVmRegion", &format!("at = {at}\nregion = {{ size = 0 }}"));
        for (base, expected) in touching
            .map(|base| (base, 0))
            .into_iter()
            .chain(beside.map(|base| (base, 0x1000)))
        {
            assert_eq!(
                region(script, base, 0x1000).1.region.region_size,
                expected,
                "{at} {base:#x}"
            );
        }
    }

    let script = &mut rule("VmPreRead", "minimum_size = 3\ncompleted = \"all\"");
    assert_eq!((pre_read(script, 0, 2).1, pre_read(script, 0, 3).1), (0, 3));
}

#[test]
fn a_rule_for_all_questions_does_what_fits() {
    let script = &mut rule("*", "return = false\nstatus = 1\nflags = 5");
    assert_eq!(thread_flags(script, 7), (false, 5));
    assert_eq!(vm_start(script), (false, Hresult::S_FALSE));
    let script = &mut parse("[[rule]]\nask = [\"VmStart\", \"IoStart\"]\nstatus = \"S_FALSE\"");
    assert_eq!(vm_start(script), (true, Hresult::S_FALSE));
    assert_eq!(thread_flags(script, 7), (true, 0x17));
}

#[test]
fn later_rules_win() {
    let text = "[[rule]]\nask = \"IncludeThread\"\nreturn = false\n[[rule]]\nask = \"IncludeThread\"\nthread = 7\nreturn = true\nflags = 1";
    let script = &mut parse(text);
    assert_eq!(
        (thread_flags(script, 7), thread_flags(script, 8)),
        ((true, 1), (false, 0x17))
    );
}

#[test]
fn flags_are_set_cut_and_added() {
    assert_eq!(
        thread_flags(&mut rule("IncludeThread", "flags = \"0x80000001\""), 1).1,
        0x8000_0001
    );
    assert_eq!(
        thread_flags(&mut rule("IncludeThread", "and = 3\nor = 0x40"), 1).1,
        0x43
    );
    assert_eq!(
        thread_flags(&mut rule("IncludeThread", "flags = [\"THREAD\", \"STACK\"]"), 1).1,
        3
    );
    assert_eq!(
        module_flags(&mut rule("Module", "flags = \"CV_RECORD\""), "a", 0).1,
        8
    );
    let mut flags = SecondaryFlags::empty();
    rule("SecondaryFlags", "or = \"WITHOUT_POWER_INFO\"").ask(Ask::SecondaryFlags { flags: &mut flags });
    assert_eq!(flags.bits(), 1);
    let script = &mut rule("IncludeModule", "flags = 1");
    let mut keep = ModuleWriteFlags::all();
    assert!(script.ask(Ask::IncludeModule {
        base: 0x1000,
        keep: &mut keep
    }));
    assert_eq!(keep.bits(), 1);
    let thread = ThreadAsked {
        thread_id: 7,
        thread_handle: 0,
        context: &[],
        stack_base: 2,
        stack_end: 1,
        backing_store_base: 0,
        backing_store_end: 0,
        name: None,
    };
    for kind in ["Thread", "ThreadEx"] {
        let mut keep = ThreadWriteFlags::all();
        let script = &mut rule(kind, "thread = 7\nflags = 4\nreturn = false");
        let ask = match kind {
            "Thread" => Ask::Thread {
                thread,
                keep: &mut keep,
            },
            _ => Ask::ThreadEx {
                thread,
                keep: &mut keep,
            },
        };
        assert!(!script.ask(ask));
        assert_eq!(keep.bits(), 4);
    }
}

#[test]
fn statuses_have_numbers_and_names() {
    for (status, expected) in [
        ("1", 1),
        ("0x80070005", 0x8007_0005),
        ("\"E_ACCESSDENIED\"", 0x8007_0005),
        ("\"0x7\"", 7),
    ] {
        assert_eq!(
            vm_start(&mut rule("VmStart", &format!("status = {status}"))).1,
            Hresult(expected)
        );
    }
    let script = &mut rule("IoWriteAll", "status = \"E_FAIL\"\nreturn = false");
    assert_eq!(write(script, 0, b"x"), (false, Hresult::E_FAIL));
}

#[test]
fn memory_is_given_one_after_the_other() {
    let script = &mut rule(
        "Memory",
        "memory = [\"block/0x10\", \"other\", { base = \"block+0x20\", size = 3 }, { base = 0x1234, size = 0 }]",
    );
    assert_eq!(memory(script), (true, 0x5000, 0x10));
    assert_eq!(
        memory(script),
        (true, 0x9000, 0x10),
        "the size of what has the name"
    );
    assert_eq!(memory(script), (true, 0x5020, 3));
    assert_eq!(memory(script), (true, 0x1234, 0));
    assert_eq!(memory(script), (false, 0, 0));
    let script = &mut rule(
        "Memory",
        "memory = \"block/0x10\"\nindex = \"1-2\"\nreturn = false",
    );
    assert_eq!(memory(script), (false, 0, 0));
    assert_eq!(memory(script), (false, 0x5000, 0x10));
    let mut unwanted = MemoryAnswer::default();
    assert!(
        rule("RemoveMemory", "memory = \"block-1/2\"").ask(Ask::RemoveMemory {
            unwanted: &mut unwanted
        })
    );
    assert_eq!((unwanted.base, unwanted.size), (0x4fff, 2));
}

#[test]
fn cancel_handles_and_output() {
    let mut cancel = CancelAnswer::default();
    rule("Cancel", "check_cancel = true\ncancel = true").ask(Ask::Cancel { answer: &mut cancel });
    assert_eq!(
        cancel,
        CancelAnswer {
            check_cancel: true,
            cancel: true
        }
    );
    let script = &mut rule("WriteKernelMinidump", "return = true\nhandle = \"given\"");
    script.ask(Ask::IoStart {
        handle: 0x44,
        status: &mut Hresult::E_NOTIMPL.clone(),
    });
    let mut handle = 0;
    assert!(script.ask(Ask::WriteKernelMinidump { handle: &mut handle }));
    assert_eq!(handle, 0x44);
    let mut handle = 0;
    rule("WriteKernelMinidump", "handle = 0x7ffc").ask(Ask::WriteKernelMinidump { handle: &mut handle });
    assert_eq!(handle, 0x7ffc);
    let script = &mut rule("IoWriteAll", "index = 1\nstore = false");
    write(script, 0, b"ab");
    assert_eq!(write(script, 2, b"cd"), (true, Hresult::S_OK));
    assert_eq!(script.output(), b"ab");
}

#[test]
fn regions_are_moved_shrunk_and_changed() {
    let answer = |actions: &str| region(&mut rule("IncludeVmRegion", actions), 0x5000, 0x3000).1;
    let place = |actions: &str| {
        let region = answer(actions).region;
        (region.base_address, region.region_size)
    };
    assert_eq!(
        place("region = { base = \"+0x1000\", size = \"-0x2000\" }"),
        (0x6000, 0x1000)
    );
    assert_eq!(
        place("region = { base = \"other\", size = 0x1000 }"),
        (0x9000, 0x1000)
    );
    assert_eq!(
        place("region = { base = \"-0x1000\", size = \"+0x1000\" }"),
        (0x4000, 0x4000)
    );
    assert!(!answer("continue = false").cont);
    let changed =
        answer("region = { state = \"MEM_RESERVE\", protect = \"PAGE_READONLY\", type = 0x20000 }").region;
    assert_eq!(
        (changed.state, changed.protect, changed.kind),
        (0x2000, 2, 0x20000)
    );
}

#[test]
fn queries_are_answered_by_the_map_by_nobody_or_with_an_end() {
    let map = |script: Script| {
        let at = |base_address| MemoryInfo {
            base_address,
            region_size: 0x1000,
            state: 0x1000,
            ..MemoryInfo::default()
        };
        script.map(vec![at(0x1000), at(0x5000)])
    };
    assert_eq!(query(&mut map(parse("")), 0x1800).1.status, Hresult::E_NOTIMPL);
    let script = &mut map(rule("VmQuery", "query = \"own\""));
    assert_eq!(query(script, 0x1800).1.region.base_address, 0x1000);
    let free = query(script, 0x2800).1;
    assert_eq!(
        (free.status, free.region.base_address, free.region.region_size),
        (Hresult::S_OK, 0x2800, 0x2800)
    );
    assert_eq!(free.region.state, 0x10000);
    assert_eq!(query(script, 0x6000).1.status, Hresult::E_NOINTERFACE);
    let status = |actions: &str| query(&mut map(rule("VmQuery", actions)), 0x1000).1.status;
    assert_eq!(status("query = \"own\""), Hresult::S_OK);
    assert_eq!(status("query = \"none\""), Hresult::E_NOTIMPL);
    assert_eq!(status("query = \"end\""), Hresult::E_NOINTERFACE);
    assert_eq!(status("status = \"S_FALSE\""), Hresult::S_FALSE);
    let given = query(
        &mut rule("VmQuery", "region = { base = 0x4000, size = 0x2000 }"),
        0x4000,
    )
    .1;
    assert_eq!((given.status, given.region.region_size), (Hresult::S_OK, 0x2000));
}

#[test]
fn reads_are_given_filled_and_changed() {
    let pre = |actions: &str| pre_read(&mut rule("VmPreRead", actions), 0x5000, 16);
    assert_eq!(
        pre("fill = 0xAB\ncompleted = \"all\""),
        (Hresult::S_OK, 16, vec![0xAB; 16])
    );
    assert_eq!(pre("completed = \"half\"").1, 8);
    assert_eq!(pre("completed = \"over\"").1, 24);
    assert_eq!(
        pre("completed = 3\nstatus = \"E_FAIL\""),
        (Hresult::E_FAIL, 3, (0..16).collect())
    );
    let post = |actions: &str| post_read(&mut rule("VmPostRead", actions), 0x4ff8, 4, Hresult::S_OK);
    assert_eq!(
        post("xor = 0xff").2,
        (0..16).map(|byte: u8| !byte).collect::<Vec<_>>()
    );
    let (status, completed, bytes) = post("xor_at = { range = \"block/4\", value = 0x80 }");
    assert_eq!((status, completed), (Hresult::S_OK, 4));
    assert_eq!(
        bytes,
        [0, 1, 2, 3, 4, 5, 6, 7, 0x88, 0x89, 0x8a, 0x8b, 12, 13, 14, 15]
    );
    assert_eq!(post("completed = 0").1, 0);
    let memory = Pieces::one(0x5000, vec![0x50; 2]);
    let mut script = rule("VmPreRead", "read = true\ncompleted = \"all\"").memory(memory);
    assert_eq!(pre_read(&mut script, 0x5000, 2).2, [0x50, 0x50]);
    let process = SimProcess::new(1).memory(0x5000, 0x1000, READWRITE, Contents::Counting);
    let mut script = rule("VmPreRead", "read = true").memory_of(process);
    assert_eq!(pre_read(&mut script, 0x5008, 8).2, 0x5008_u64.to_le_bytes());
}

#[test]
fn compression_is_asked_for_and_its_end_is_taken_note_of() {
    let start = |actions: &str| {
        let mut answer = CompressionAnswer::default();
        let said = rule("CompressedMemoryStreamStart", actions)
            .ask(Ask::CompressedMemoryStreamStart { answer: &mut answer });
        (said, answer)
    };
    assert_eq!(start(""), (true, CompressionAnswer::default()));
    let (said, answer) = start("max_parallelism = 3\nmax_transfer_size = 0x100000\nreturn = false");
    assert_eq!(
        (said, answer.max_parallelism, answer.max_transfer_size),
        (false, 3, 1 << 20)
    );
    let finish = |actions: &str| {
        rule("CompressedMemoryStreamFinish", actions).ask(Ask::CompressedMemoryStreamFinish {
            stream_size: 1,
            compression_rate: 2,
        })
    };
    assert!(finish("") && !finish("return = false"));
}

#[test]
fn every_action_and_condition_has_a_test_here() {
    let own = include_str!("answers.rs");
    let document = include_str!("../../../docs/script.md");
    let keys = [
        "ask",
        "index",
        "thread",
        "module",
        "at",
        "minimum_size",
        "return",
        "flags",
        "and",
        "or",
        "status",
        "memory",
        "check_cancel",
        "cancel",
        "continue",
        "region",
        "handle",
        "completed",
        "read",
        "fill",
        "xor",
        "xor_at",
        "store",
        "query",
        "max_parallelism",
        "max_transfer_size",
    ];
    for key in keys {
        assert!(own.contains(&format!("{key} = ")), "{key}");
        assert!(
            document.contains(&format!("`{key}`")),
            "{key} is not in docs/script.md"
        );
    }
    for kind in AskKind::ALL {
        assert!(
            document.contains(&format!("`{}`", kind.name())),
            "{}",
            kind.name()
        );
    }
}
