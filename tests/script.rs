//! Scripts: the language, its errors, and what its answers do to dumps of simulated processes.
//!
//! Would catch: an action or a condition that does nothing or something else, a default that is not the documented one, a
//! mistake in a script that passes for an answer, an error that points elsewhere, a hostile text that brings the parser
//! down, a document whose examples are no scripts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use dumpwright::callback::{
    AskKind, CancelAnswer, MemoryAnswer, MemoryInfo, ModuleAsked, ModuleWriteFlags, RegionAnswer,
    SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright::protocol::{Script, Symbols};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::{Ask, Callback, DumpType, Error, Hresult, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};
use proptest::prelude::*;

fn parse(text: &str) -> Script {
    let symbols = Symbols::new()
        .name("block", 0x5000, 0x1000)
        .name("other", 0x9000, 0x10);
    Script::parse(text, "test.toml")
        .unwrap_or_else(|error| panic!("{error}"))
        .symbols(symbols)
}

/// A rule for one kind of question.
fn rule(ask: &str, actions: &str) -> Script {
    parse(&format!("[[rule]]\nask = \"{ask}\"\n{actions}\n"))
}

fn thread_flags(script: &mut Script, thread_id: u32) -> (bool, u32) {
    let mut keep = ThreadWriteFlags::from_bits_retain(0x17);
    let said = script.ask(Ask::IncludeThread {
        thread_id,
        keep: &mut keep,
    });
    (said, keep.bits())
}

fn module_flags(script: &mut Script, path: &str, base: u64) -> (bool, u32) {
    let module = ModuleAsked {
        full_path: path,
        base_of_image: base,
        size_of_image: 0x2000,
        checksum: 0,
        time_date_stamp: 0,
        version_info: [0; 13],
        cv_record: &[],
        misc_record: &[],
    };
    let mut keep = ModuleWriteFlags::from_bits_retain(0xd);
    let said = script.ask(Ask::Module {
        module,
        keep: &mut keep,
    });
    (said, keep.bits())
}

fn memory(script: &mut Script) -> (bool, u64, u32) {
    let mut wanted = MemoryAnswer::default();
    let said = script.ask(Ask::Memory { wanted: &mut wanted });
    (said, wanted.base, wanted.size)
}

fn vm_start(script: &mut Script) -> (bool, Hresult) {
    let mut status = Hresult::E_NOTIMPL;
    let said = script.ask(Ask::VmStart { status: &mut status });
    (said, status)
}

fn region(script: &mut Script, base: u64, size: u64) -> (bool, RegionAnswer) {
    let region = MemoryInfo {
        base_address: base,
        region_size: size,
        state: 0x1000,
        protect: 4,
        ..MemoryInfo::default()
    };
    let mut answer = RegionAnswer { region, cont: false };
    let said = script.ask(Ask::IncludeVmRegion { answer: &mut answer });
    (said, answer)
}

fn query(script: &mut Script, offset: u64) -> (bool, VmQueryAnswer) {
    let mut answer = VmQueryAnswer {
        status: Hresult::E_NOTIMPL,
        region: MemoryInfo::default(),
    };
    let said = script.ask(Ask::VmQuery {
        offset,
        answer: &mut answer,
    });
    (said, answer)
}

/// Status, completed and the buffer, which held the numbers from 0.
fn pre_read(script: &mut Script, offset: u64, size: u8) -> (Hresult, u32, Vec<u8>) {
    let mut buffer: Vec<u8> = (0..size).collect();
    let mut answer = VmReadAnswer {
        status: Hresult::E_NOTIMPL,
        completed: 0,
    };
    assert!(script.ask(Ask::VmPreRead {
        offset,
        buffer: &mut buffer,
        answer: &mut answer
    }));
    (answer.status, answer.completed, buffer)
}

fn post_read(script: &mut Script, offset: u64, completed: u32, status: Hresult) -> (Hresult, u32, Vec<u8>) {
    let mut buffer: Vec<u8> = (0..16).collect();
    let mut answer = VmReadAnswer {
        status: Hresult::E_NOTIMPL,
        completed,
    };
    assert!(script.ask(Ask::VmPostRead {
        offset,
        buffer: &mut buffer,
        completed,
        status,
        answer: &mut answer
    }));
    (answer.status, answer.completed, buffer)
}

fn write(script: &mut Script, offset: u64, bytes: &[u8]) -> (bool, Hresult) {
    let mut status = Hresult::E_FAIL;
    let said = script.ask(Ask::IoWriteAll {
        handle: 0,
        offset,
        bytes,
        status: &mut status,
    });
    (said, status)
}

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
    // By id, by place in the order of the questions, by count.
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

    // By name, of the file or of the whole path.
    let script = &mut rule("Module", "module = \"lib*.so\"\nflags = 1");
    assert_eq!(module_flags(script, "/opt/liba.so", 0).1, 1);
    assert_eq!(module_flags(script, "/opt/program", 0).1, 0xd);
    let script = &mut rule("Module", "module = \"C:\\\\OPT\\\\*\"\nflags = 1");
    assert_eq!(module_flags(script, "C:\\opt\\a.dll", 0).1, 1);

    // By place: a named range, an address, a part with size, a range with end; everything that touches it.
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
    let mut script = rule("VmPreRead", "read = true\ncompleted = \"all\"").memory(|at, into| {
        into.fill(u8::try_from(at >> 8).unwrap());
        into.len()
    });
    assert_eq!(pre_read(&mut script, 0x5000, 2).2, [0x50, 0x50]);
    let process = SimProcess::new(1).memory(0x5000, 0x1000, READWRITE, Contents::Counting);
    let mut script = rule("VmPreRead", "read = true").memory_of(process);
    assert_eq!(pre_read(&mut script, 0x5008, 8).2, 0x5008_u64.to_le_bytes());
}

#[test]
fn every_action_and_condition_has_a_test_here() {
    let own = include_str!("script.rs");
    let document = include_str!("../docs/script.md");
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

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    for (text, expected) in [
        (
            "[[rule]]\nask = \"IncludeTread\"",
            "t:2:7: no question is called \"IncludeTread\"; did you mean \"IncludeThread\"?",
        ),
        (
            "[[rule]]\nask = \"Memory\"\n  retrun = false",
            "t:3:3: a rule has no key \"retrun\"; did you mean \"return\"?",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nflags = 1",
            "t:3:1: \"flags\" means nothing for Memory; known are memory, ask, index, return",
        ),
        (
            "[[rules]]",
            "t:1:3: a script has no key \"rules\"; did you mean \"rule\"?",
        ),
        (
            "[[rule]]\nreturn = false",
            "t:1:1: a rule needs \"ask\": the name of a question, a list of names, or \"*\"",
        ),
        (
            "[[rule]]\nask = \"Cancel\"\ncancel = 1",
            "t:3:10: expected true or false; found 1",
        ),
        (
            "[[rule]]\nask = \"VmStart\"\nstatus = \"S_FALS\"",
            "t:3:10: expected a number or a name, found \"S_FALS\"; did you mean \"S_FALSE\"?",
        ),
        (
            "[[rule]]\nask = \"Thread\"\nflags = [\"STAK\"]",
            "t:3:10: expected a number or a name, found \"STAK\"; did you mean \"STACK\"?",
        ),
        (
            "[[rule]]\nask = \"*\"\nflags = \"STACK\"",
            "t:3:9: expected a number; names are not clear where a rule has several kinds of questions; found \"STACK\"",
        ),
        (
            "[[rule]]\nask = \"*\"\nindex = \"5-2\"",
            "t:3:9: expected 3, \"2-5\", \"7+\" or \"*\"; found \"5-2\"",
        ),
        (
            "[[rule]]\nask = \"Thread\"\nthread = \"x\"",
            "t:3:10: expected a thread: its id, or \"T1\" for the second one that was asked about; found \"x\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = { size = 1 }",
            "t:3:10: a range needs \"base\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = \"0xzz/1\"",
            "t:3:10: expected a place: NAME, NAME+0x10 or 0x1000; found \"0xzz/1\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = \"a/0x100000000\"",
            "t:3:10: expected a size of at most 32 bits, which is all that the answer has; found \"a/0x100000000\"",
        ),
        (
            "[[rule]]\nask = \"VmPreRead\"\nfill = 256",
            "t:3:8: expected a byte, 0 to 255; found 256",
        ),
        (
            "[[rule]]\nask = \"VmPreRead\"\ncompleted = \"al\"",
            "t:3:13: expected \"all\", \"half\", \"over\" or a number of bytes; found \"al\"",
        ),
        (
            "[[rule]]\nask = \"VmPostRead\"\nxor_at = { range = \"a\" }",
            "t:3:10: expected { range = \"NAME\", value = 0xff }; found { range = \"a\" }",
        ),
        (
            "[[rule]]\nask = \"VmQuery\"\nquery = \"owns\"",
            "t:3:9: expected \"own\", \"none\" or \"end\"; found \"owns\"",
        ),
        (
            "[[rule]]\nask = \"IncludeVmRegion\"\nregion = { siez = 0 }",
            "t:3:12: a region has no key \"siez\"; did you mean \"size\"?",
        ),
        (
            "[[rule]]\nask = \"WriteKernelMinidump\"\nhandle = \"own\"",
            "t:3:10: expected a handle: a number, or \"given\" for the one that IoStart showed; found \"own\"",
        ),
        ("rule = 1", "t:1:8: expected a list of tables [[rule]]; found 1"),
    ] {
        assert_eq!(
            Script::parse(text, "t").unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
    let error = Script::parse("[[rule]]\nask = ", "t").unwrap_err();
    assert_eq!((error.line, error.column), (2, 7), "{error}");
    let missing = Script::load("no/such/file.toml").unwrap_err().to_string();
    assert!(
        missing.starts_with("no/such/file.toml: cannot read it: "),
        "{missing}"
    );
}

#[test]
fn what_the_target_does_not_have_is_a_problem_and_unused_rules_are_known() {
    let text = "[[rule]]\nask = \"Memory\"\nmemory = \"blok+0x10/4\"\n\n[[rule]]\nask = \"VmPreRead\"\nat = \"stack(9)\"\nfill = 1\n";
    let mut script = parse(text);
    assert_eq!(script.unused(), [1, 5]);
    assert_eq!(memory(&mut script), (false, 0, 0));
    pre_read(&mut script, 0x5000, 1);
    assert_eq!(script.unused(), [5]);
    let problems: Vec<_> = script.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "test.toml:3:10: nothing in the target is called \"blok\"; did you mean \"block\"?",
            "test.toml:7:6: nothing in the target is called \"stack(9)\"; known are block, other",
        ]
    );
    // A name that becomes known later was none.
    let thread = ThreadAsked {
        thread_id: 9,
        thread_handle: 0,
        context: &[],
        stack_base: 0x9100,
        stack_end: 0x9080,
        backing_store_base: 0,
        backing_store_end: 0,
    };
    script.ask(Ask::Thread {
        thread,
        keep: &mut ThreadWriteFlags::all(),
    });
    assert_eq!(script.problems().len(), 1);
    assert_eq!(pre_read(&mut script, 0x9080, 1).2, [1]);

    let mut script = rule("IncludeModule", "module = \"lib*\"\nreturn = false");
    assert!(script.ask(Ask::IncludeModule {
        base: 0x1000,
        keep: &mut ModuleWriteFlags::all()
    }));
    assert!(
        script.problems()[0]
            .to_string()
            .contains("does not tell a module's name")
    );
    let mut script = rule("IncludeModule", "module = \"bl*\"\nreturn = false");
    assert!(
        !script.ask(Ask::IncludeModule {
            base: 0x5000,
            keep: &mut ModuleWriteFlags::all()
        }),
        "a name that was given"
    );

    let mut script = rule("VmPreRead", "read = true");
    pre_read(&mut script, 0, 1);
    assert!(
        script.problems()[0]
            .to_string()
            .contains("reads the target's memory")
    );
}

proptest! {
    #[test]
    fn hostile_texts_are_scripts_or_errors(text in "[a-zA-Z0-9\\[\\]{}=\"\\.,+*#\\n ä-]{0,200}") {
        let _ = Script::parse(&text, "t");
    }

    /// Any value at any key.
    #[test]
    fn hostile_values_are_answers_or_errors(
        ask in prop::sample::select(AskKind::ALL.to_vec()),
        key in prop::sample::select(vec!["index", "thread", "module", "at", "minimum_size", "flags", "status", "memory",
            "region", "handle", "completed", "fill", "xor_at", "query", "return"]),
        value in prop_oneof![
            Just("\"\"".to_owned()), Just("\"+\"".to_owned()), Just("\"/\"".to_owned()), Just("\"..\"".to_owned()),
            Just("\"a..\"".to_owned()), Just("-1".to_owned()), Just("18446744073709551615".to_owned()),
            Just("99999999999999999999".to_owned()), Just("[]".to_owned()), Just("[[]]".to_owned()), Just("{}".to_owned()),
            Just("1.5".to_owned()), Just("\"0xffffffffffffffff/0xffffffff\"".to_owned()), Just("\"block+0xffffffffffffffff\"".to_owned()),
            Just("{ base = \"+0xffffffffffffffff\", size = \"-1\" }".to_owned()),
        ],
    ) {
        let text = format!("[[rule]]\nask = \"{}\"\n{key} = {value}\n", ask.name());
        if let Ok(script) = Script::parse(&text, "t") {
            let mut script = script.symbols(Symbols::new().name("block", u64::MAX - 4, 100));
            thread_flags(&mut script, 1);
            module_flags(&mut script, "a", u64::MAX);
            memory(&mut script);
            region(&mut script, u64::MAX, u64::MAX);
            query(&mut script, u64::MAX);
            pre_read(&mut script, u64::MAX, 16);
            post_read(&mut script, u64::MAX, u32::MAX, Hresult::S_OK);
            write(&mut script, u64::MAX, b"x");
            let _ = script.problems();
        }
    }
}

const STACK: u64 = 0x7fff_0000_0000;
const CODE: u64 = 0x40_0000;
const HEAP: u64 = 0x10_0000_0000;

fn process() -> SimProcess {
    SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .thread(8, STACK + 0x10_0800, CODE + 0x2000)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, Contents::Counting)
        .memory(STACK + 0x10_0000, 0x4000, READWRITE, Contents::Counting)
}

fn dump_with(script: &mut Script, dump_type: u32) -> (Result<Report, Error>, Vec<u8>) {
    let mut bytes = Vec::new();
    let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
    let outcome = dump(&mut process(), &request, Some(script), &mut bytes);
    (outcome, bytes)
}

fn on_heap(text: &str) -> Script {
    Script::parse(text, "test.toml")
        .unwrap()
        .symbols(Symbols::new().name("heap", HEAP, 0x10000))
}

#[test]
fn scripts_shape_dumps() {
    let (outcome, plain) = dump_with(&mut on_heap(""), 0);
    assert_eq!(outcome.unwrap().threads, 2);
    let text = "[[rule]]\nask = \"IncludeThread\"\nthread = 8\nreturn = false\n\
                [[rule]]\nask = \"Memory\"\nmemory = [\"heap/0x100\", \"program+0x100/0x10\"]\n\
                [[rule]]\nask = \"RemoveMemory\"\nmemory = \"heap+0x40/0x10\"\n";
    let (outcome, bytes) = dump_with(&mut on_heap(text), 0);
    let report = outcome.unwrap();
    assert_eq!((report.threads, report.memory_ranges), (1, 5));
    let holds = |bytes: &[u8], word: u64| bytes.windows(8).any(|window| window == word.to_le_bytes());
    assert!(holds(&bytes, HEAP + 0x38) && !holds(&plain, HEAP + 0x38));
    assert!(!holds(&bytes, HEAP + 0x40) && holds(&bytes, HEAP + 0x50));
    assert!(
        holds(&bytes, CODE + 0x108),
        "a name learned from the Module question"
    );

    let (outcome, _) = dump_with(&mut on_heap("[[rule]]\nask = \"Cancel\"\ncancel = true"), 0);
    assert!(matches!(outcome, Err(Error::Cancelled)));

    // The script takes over the output: what it keeps is the dump.
    let mut script = on_heap("[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"");
    let (outcome, bytes) = dump_with(&mut script, 0);
    assert!(outcome.is_ok() && bytes.is_empty());
    assert_eq!(script.output(), plain);

    // A full dump with a hole in the heap.
    let mut script = on_heap("[[rule]]\nask = \"IncludeVmRegion\"\nat = \"heap\"\nregion = { size = 0 }");
    let (outcome, bytes) = dump_with(&mut script, 2);
    assert!(outcome.is_ok());
    assert!(!holds(&bytes, HEAP + 0x100) && holds(&bytes, STACK + 0x100));
}

const SCENARIO: &str = "testdata/cases/linux-two-threads/scenario.toml";

fn program(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dumpwright"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["dump", "--scenario", SCENARIO, "-o"])
        .arg(folder.join("out.dmp"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_program_takes_scripts_and_leaves_transcripts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(
        file("script"),
        "[[rule]]\nask = \"IncludeThread\"\nindex = 1\nreturn = false\n\n[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n\n\
         [[rule]]\nask = \"Memory\"\nmemory = \"heap/0x100\"\n",
    )
    .unwrap();
    let output = program(
        folder.path(),
        &["--script", &file("script"), "--transcript", &file("transcript")],
    );
    assert!(output.status.success(), "{output:?}");
    let transcript = fs::read_to_string(file("transcript")).unwrap();
    assert!(transcript.contains("\"ask\":\"IncludeThread\""));
    assert!(transcript.contains("\"out\":{\"base\":\"heap\",\"size\":256}"));
    assert!(transcript.ends_with("{\"result\":{\"status\":\"complete\",\"hresult\":\"0x00000000\"}}\n"));
    let dump = fs::read(file("out.dmp")).unwrap();
    assert_eq!(
        dumpwright::read::Dump::from_bytes(dump.clone())
            .unwrap()
            .threads()
            .unwrap()
            .len(),
        1
    );

    // The same again from the transcript.
    let output = program(
        folder.path(),
        &[
            "--playback",
            &file("transcript"),
            "--force",
            "--transcript",
            &file("again"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(file("out.dmp")).unwrap(), dump);
    assert_eq!(fs::read_to_string(file("again")).unwrap(), transcript);

    // Another dialogue leaves no dump.
    fs::remove_file(file("out.dmp")).unwrap();
    let other = transcript.replace("\"thread\":4712", "\"thread\":4713");
    fs::write(file("other"), other).unwrap();
    let output = program(folder.path(), &["--playback", &file("other")]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("line 7\n  expected: IncludeThread thread=4713"),
        "{complaint}"
    );
    assert!(!Path::new(&file("out.dmp")).exists());

    // Without a script the questions are listened to.
    let output = program(folder.path(), &["--transcript", &file("heard")]);
    assert!(output.status.success());
    let heard = fs::read_to_string(file("heard")).unwrap();
    assert!(heard.contains("\"ask\":\"IncludeThread\"") && !heard.contains("\"ret\""));
}

#[test]
fn the_program_refuses_bad_scripts_and_tells_misuse() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    let run = |text: &str, more: &[&str]| {
        fs::write(&script, text).unwrap();
        let output = program(
            folder.path(),
            &[&["--script", script.to_str().unwrap()], more].concat(),
        );
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let place = format!("dumpwright: {}:", script.display());
    let (status, complaint) = run("[[rule]]\nask = \"Memori\"", &[]);
    assert_eq!(
        (status, complaint),
        (
            Some(1),
            format!("{place}2:7: no question is called \"Memori\"; did you mean \"Memory\"?\n")
        )
    );
    let (status, complaint) = run("[[rule]]\nask = \"Memory\"\nmemory = \"haep\"", &[]);
    assert_eq!(status, Some(1));
    assert!(
        complaint.contains(":3:10: nothing in the target is called \"haep\"; did you mean \"heap\"?"),
        "{complaint}"
    );
    assert!(
        !folder.path().join("out.dmp").exists(),
        "it would not be what was asked for"
    );
    let text = "[[rule]]\nask = \"VmStart\"\nstatus = \"S_OK\"\n[[rule]]\nask = \"IncludeThread\"\nthread = 1\nreturn = false";
    let (status, complaint) = run(text, &["--lint"]);
    assert_eq!(status, Some(0), "misuse is told, the dump is made");
    assert!(
        complaint.contains("lint: VmStart #0: answered S_OK, which is taken for no"),
        "{complaint}"
    );
    assert!(
        complaint.contains("script.toml:4: no question was for this rule"),
        "{complaint}"
    );
}

/// The blocks of a document that are marked as TOML.
fn examples(document: &str) -> Vec<String> {
    document
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_examples_of_the_document_are_scripts() {
    let examples = examples(include_str!("../docs/script.md"));
    assert!(examples.len() > 4);
    for example in examples {
        Script::parse(&example, "docs/script.md").unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}
