//! The linter for callbacks: each kind of misuse is found, and nothing else is.
//!
//! Would catch: misuse that goes unnoticed, a sound callback that is suspected, a linter that changes an answer it should
//! only watch, a callback that never ends Memory and takes the dumper with it.

use dumpwright::callback::{
    AskKind, CancelAnswer, Hresult, MemoryAnswer, ModuleWriteFlags, ThreadWriteFlags,
};
use dumpwright::protocol::{Finding, Lint, Misuse, Script};
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::{Ask, Callback, DumpType, Error, Report, Request, dump};
use dumpwright_sim::{Contents, SimProcess};

const STACK: u64 = 0x7fff_0000_0000;
const CODE: u64 = 0x40_0000;
const HEAP: u64 = 0x10_0000_0000;

/// What the linter says of a callback during a dump of this type.
fn lint(dump_type: u32, mut callback: impl Callback) -> (Vec<Finding>, Result<Report, Error>) {
    let mut process = SimProcess::new(1000)
        .thread(7, STACK + 0x1000, CODE + 0x1234)
        .module(CODE, 0x8000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
        .memory(HEAP, 0x10000, READWRITE, Contents::Counting)
        .memory(STACK, 0x4000, READWRITE, Contents::Counting)
        .treacherous(HEAP + 0x8000, 0x1000);
    let mut lint = Lint::new(&mut callback).most_ranges(50);
    let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
    let outcome = dump(&mut process, &request, Some(&mut lint), &mut Vec::new());
    (lint.findings().to_vec(), outcome)
}

/// The one thing that the linter says of a script's answers.
fn only_finding(dump_type: u32, rules: &str) -> (AskKind, Misuse, String) {
    let (findings, _) = lint(dump_type, Script::parse(rules, "t").unwrap());
    assert_eq!(findings.len(), 1, "{rules}: {findings:#?}");
    (findings[0].ask, findings[0].misuse, findings[0].to_string())
}

#[test]
fn sound_callbacks_are_not_suspected() {
    let sound = [
        (0, ""),
        (2, ""),
        (0x001f_ddfd, ""),
        // Narrower flags, bits that may be added, ranges, removal.
        (0, "[[rule]]\nask = \"IncludeThread\"\nflags = [\"THREAD\"]"),
        (
            0,
            "[[rule]]\nask = \"IncludeModule\"\nor = \"REFERENCED_BY_MEMORY\"",
        ),
        (
            0,
            "[[rule]]\nask = [\"IncludeThread\", \"IncludeModule\"]\nreturn = false",
        ),
        (
            0,
            "[[rule]]\nask = [\"Memory\", \"RemoveMemory\"]\nmemory = [\"0x1000000000/0x100\", \"0x1000001000/0x100\"]",
        ),
        // Polls to the end, and a cancel.
        (0, "[[rule]]\nask = \"Cancel\"\ncheck_cancel = true"),
        (
            0,
            "[[rule]]\nask = \"Cancel\"\ncheck_cancel = true\n[[rule]]\nask = \"Cancel\"\nindex = 2\ncheck_cancel = false\ncancel = true",
        ),
        // The output and the reads taken over properly; regions in parts.
        (
            0,
            "[[rule]]\nask = [\"IoStart\", \"VmStart\"]\nstatus = \"S_FALSE\"",
        ),
        (
            2,
            "[[rule]]\nask = [\"IoStart\", \"VmStart\"]\nstatus = \"S_FALSE\"",
        ),
        (
            2,
            "[[rule]]\nask = \"IncludeVmRegion\"\nindex = \"*\"\nregion = { size = 0 }",
        ),
        (
            0,
            "[[rule]]\nask = \"VmStart\"\nstatus = \"S_FALSE\"\n[[rule]]\nask = \"VmPreRead\"\nfill = 1\ncompleted = \"all\"",
        ),
    ];
    for (dump_type, rules) in sound {
        let (findings, _) = lint(dump_type, Script::parse(rules, "t").unwrap());
        assert!(findings.is_empty(), "{dump_type:#x} {rules}: {findings:#?}");
    }
}

#[test]
fn misuse_is_found_and_explained() {
    const RANGE: &str = "memory = \"0x1000008000/0x10\"";
    let io = "[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n";
    let vm = "[[rule]]\nask = \"VmStart\"\nstatus = \"S_FALSE\"\n";
    let bad = format!("[[rule]]\nask = \"Memory\"\n{RANGE}\n");
    let rule = |ask: &str, actions: &str| format!("[[rule]]\nask = \"{ask}\"\n{actions}\n");
    use AskKind as Asked;
    use Misuse::*;
    let cases: Vec<(u32, String, Asked, Misuse, &str)> = vec![
        // A status that is a success, but not the one that is needed.
        (
            0,
            rule("VmStart", "status = \"S_OK\""),
            Asked::VmStart,
            WrongStatus,
            "S_FALSE says yes",
        ),
        (
            0,
            rule("IsProcessSnapshot", "status = \"S_OK\""),
            Asked::IsProcessSnapshot,
            WrongStatus,
            "S_FALSE says yes",
        ),
        (
            0,
            rule("IoStart", "status = \"S_OK\""),
            Asked::IoStart,
            WrongStatus,
            "S_FALSE says yes",
        ),
        (
            0,
            format!("{io}{}", rule("IoWriteAll", "status = \"S_FALSE\"")),
            Asked::IoWriteAll,
            WrongStatus,
            "only S_OK",
        ),
        (
            2,
            format!("{vm}{}", rule("VmQuery", "status = \"S_FALSE\"")),
            Asked::VmQuery,
            WrongStatus,
            "E_NOINTERFACE",
        ),
        (
            2,
            format!("{vm}{}", rule("VmQuery", "index = 2\nstatus = \"E_INVALIDARG\"")),
            Asked::VmQuery,
            WrongStatus,
            "E_NOINTERFACE",
        ),
        // A field that does not count, or one that was not set.
        (
            0,
            rule("VmStart", "status = \"S_FALSE\"\nreturn = false"),
            Asked::VmStart,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            rule("IoStart", "status = 0x17"),
            Asked::IoStart,
            WrongField,
            "looks like flags",
        ),
        (
            0,
            rule("IncludeThread", "flags = 0x80004005"),
            Asked::IncludeThread,
            WrongField,
            "look like a status",
        ),
        (
            0,
            rule("SecondaryFlags", "flags = 1\nreturn = false"),
            Asked::SecondaryFlags,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            rule("Cancel", "cancel = true\nreturn = false"),
            Asked::Cancel,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            rule("Memory", &format!("{RANGE}\nreturn = false")),
            Asked::Memory,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            rule("WriteKernelMinidump", "handle = 4"),
            Asked::WriteKernelMinidump,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            format!("{io}{}", rule("IoWriteAll", "status = \"E_FAIL\"")),
            Asked::IoWriteAll,
            WrongField,
            "prefilled",
        ),
        (
            0,
            format!("{io}{}", rule("IoFinish", "status = \"E_FAIL\"")),
            Asked::IoFinish,
            WrongField,
            "prefilled",
        ),
        (
            0,
            format!("{bad}{}", rule("ReadMemoryFailure", "return = true")),
            Asked::ReadMemoryFailure,
            WrongField,
            "prefilled",
        ),
        (
            0,
            format!("{bad}{}", rule("ReadMemoryFailure", "status = \"S_OK\"")),
            Asked::ReadMemoryFailure,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            format!("{vm}{}", rule("VmPreRead", "completed = \"over\"")),
            Asked::VmPreRead,
            WrongField,
            "completed of",
        ),
        (
            0,
            format!("{vm}{}", rule("VmPreRead", "completed = 1\nreturn = false")),
            Asked::VmPreRead,
            WrongField,
            "answer TRUE",
        ),
        (
            0,
            format!("{vm}{}", rule("VmPostRead", "index = 0\ncompleted = 0")),
            Asked::VmPostRead,
            WrongField,
            "fails the read",
        ),
        (
            2,
            rule("IncludeVmRegion", "region = { size = 0x1000 }\ncontinue = false"),
            Asked::IncludeVmRegion,
            WrongField,
            "set Continue",
        ),
        (
            2,
            rule("IncludeVmRegion", "region = { protect = \"PAGE_NOACCESS\" }"),
            Asked::IncludeVmRegion,
            WrongField,
            "does not count",
        ),
        // Regions that are no parts.
        (
            2,
            rule("IncludeVmRegion", "region = { size = \"+0x1000\" }"),
            Asked::IncludeVmRegion,
            NotAPart,
            "not a part",
        ),
        (
            2,
            rule("IncludeVmRegion", "region = { base = \"-0x1000\" }"),
            Asked::IncludeVmRegion,
            NotAPart,
            "not a part",
        ),
        (
            2,
            rule("IncludeVmRegion", "region = { size = 0x10 }"),
            Asked::IncludeVmRegion,
            NotAPart,
            "not a part",
        ),
        (
            2,
            rule("IncludeVmRegion", "region = { size = 0xfffffffffffff000 }"),
            Asked::IncludeVmRegion,
            NotAPart,
            "not a part",
        ),
        // The others.
        (
            0,
            rule("Cancel", "index = \"0-2\"\ncheck_cancel = true"),
            Asked::Cancel,
            CheckCancelNotRenewed,
            "not set again",
        ),
        (
            0,
            rule("Memory", "memory = \"0x1000/0\""),
            Asked::Memory,
            EmptyRange,
            "ends the questions",
        ),
        (
            0,
            rule("RemoveMemory", "memory = \"0x1000/0\""),
            Asked::RemoveMemory,
            EmptyRange,
            "ends the questions",
        ),
        (
            0,
            rule("IncludeThread", "or = \"THREAD_INFO\""),
            Asked::IncludeThread,
            AddedFlags,
            "0x40 is dropped",
        ),
        (
            0,
            rule("IncludeModule", "or = \"DATA_SEG\""),
            Asked::IncludeModule,
            AddedFlags,
            "0x2 is dropped",
        ),
        (
            0,
            rule("Module", "flags = 0xffffffff"),
            Asked::Module,
            AddedFlags,
            "is dropped",
        ),
        (
            0,
            rule("Thread", "or = 0x20"),
            Asked::Thread,
            AddedFlags,
            "0x20 is dropped",
        ),
        (
            0,
            rule("Module", "return = false"),
            Asked::Module,
            FalseIsMore,
            "E_ABORT",
        ),
        (
            0,
            rule("Thread", "return = false"),
            Asked::Thread,
            FalseIsMore,
            "E_ABORT",
        ),
        (
            2,
            rule("IncludeVmRegion", "return = false"),
            Asked::IncludeVmRegion,
            FalseIsMore,
            "size 0 leaves one out",
        ),
    ];
    for (dump_type, rules, ask, misuse, text) in cases {
        let (found_ask, found, message) = only_finding(dump_type, &rules);
        assert_eq!((found_ask, found), (ask, misuse), "{rules}");
        assert!(message.contains(text), "{rules}: {message}");
    }
}

#[test]
fn memory_that_never_ends_is_ended() {
    for removing in [false, true] {
        let endless = move |ask: Ask<'_>| match ask {
            Ask::Memory { wanted: answer } if !removing => give(answer),
            Ask::RemoveMemory { unwanted: answer } if removing => give(answer),
            Ask::Memory { .. } | Ask::RemoveMemory { .. } => false,
            _ => true,
        };
        let (findings, outcome) = lint(0, endless);
        assert!(outcome.is_ok());
        assert_eq!(
            (findings.len(), findings[0].misuse, findings[0].nth),
            (1, Misuse::NeverEnding, 50)
        );
    }
    fn give(answer: &mut MemoryAnswer) -> bool {
        (answer.base, answer.size) = (HEAP, 16);
        true
    }
}

#[test]
fn the_same_misuse_is_one_finding() {
    let mut callback = |ask: Ask<'_>| {
        if let Ask::IncludeThread { keep, .. } = ask {
            *keep |= ThreadWriteFlags::THREAD_INFO;
        }
        true
    };
    let mut lint = Lint::new(&mut callback);
    for thread_id in 0..3 {
        let mut keep = ThreadWriteFlags::THREAD;
        assert!(lint.ask(Ask::IncludeThread {
            thread_id,
            keep: &mut keep
        }));
        assert_eq!(keep.bits(), 0x41, "what is watched is not changed");
    }
    assert_eq!(
        lint.findings()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["IncludeThread #0: answered flags 0x41 where 0x1 were offered; 0x40 is dropped (and 2 more)"]
    );
}

#[test]
fn a_linter_around_a_listener_listens() {
    struct Listener;
    impl Callback for Listener {
        fn ask(&mut self, _: Ask<'_>) -> bool {
            true
        }
        fn answers(&self) -> bool {
            false
        }
    }
    let mut listener = Listener;
    let mut lint = Lint::new(&mut listener);
    assert!(!lint.answers());
    lint.ask(Ask::Cancel {
        answer: &mut CancelAnswer::default(),
    });
    lint.ask(Ask::IncludeModule {
        base: 0,
        keep: &mut ModuleWriteFlags::all(),
    });
    lint.ask(Ask::IoWriteAll {
        handle: 0,
        offset: 0,
        bytes: &[],
        status: &mut Hresult::E_FAIL.clone(),
    });
    assert!(
        lint.findings().is_empty(),
        "nobody answered: {:?}",
        lint.findings()
    );
}
