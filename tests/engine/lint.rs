//! The linter for callbacks finds each kind of misuse, and nothing else.
//!
//! Would catch: misuse that is not reported; a correct callback that is reported; a linter that
//! changes an answer; a callback that never ends Memory and blocks the dumper.

use crate::support::simulated::{HEAP, one_thread};
use dumpwright::callback::{
    AskKind, CancelAnswer, CompressionAnswer, Hresult, MemoryAnswer, ModuleWriteFlags, ProcessAsked,
    ThreadWriteFlags,
};
use dumpwright::protocol::{Finding, Lint, Misuse, Script};
use dumpwright::{Ask, Callback, DumpType, Error, Report, Request, dump};

/// The findings for a callback during a dump of this type.
fn lint(dump_type: u32, mut callback: impl Callback) -> (Vec<Finding>, Result<Report, Error>) {
    let mut process = one_thread().fails_when_read(HEAP + 0x8000, 0x1000);
    let mut lint = Lint::new(&mut callback).most_ranges(50);
    let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
    let outcome = dump(&mut process, &request, Some(&mut lint), &mut Vec::new());
    (lint.findings().to_vec(), outcome)
}

/// The only finding for the answers of a script.
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
        // Fewer flags, flags that may be added, ranges, removal.
        (0, "[[rule]]\nask = \"IncludeThread\"\nflags = [\"THREAD\"]"),
        (
            0,
            "[[rule]]\nask = \"IncludeModule\"\nor = \"REFERENCED_BY_MEMORY\"",
        ),
        (0, "[[rule]]\nask = \"IncludeModule\"\nreturn = false"),
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
        // The output and the reads taken over correctly; regions in parts.
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
        // A success code, but not the required one.
        (
            0,
            rule("VmStart", "status = \"S_OK\""),
            Asked::VmStart,
            WrongStatus,
            "S_FALSE for yes",
        ),
        (
            0,
            rule("IsProcessSnapshot", "status = \"S_OK\""),
            Asked::IsProcessSnapshot,
            WrongStatus,
            "S_FALSE for yes",
        ),
        (
            0,
            rule("IoStart", "status = \"S_OK\""),
            Asked::IoStart,
            WrongStatus,
            "S_FALSE for yes",
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
        // A field that has no effect, or that was not set.
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
            "the buffer has only",
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
            "which is ignored",
        ),
        // Regions that are not parts of the offered region.
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
        // Other kinds of misuse.
        (
            0,
            rule("Cancel", "index = \"0-2\"\ncheck_cancel = true"),
            Asked::Cancel,
            CheckCancelNotRenewed,
            "without setting CheckCancel again",
        ),
        (
            0,
            rule("Memory", "memory = \"0x1000/0\""),
            Asked::Memory,
            EmptyRange,
            "ends the list of ranges",
        ),
        (
            0,
            rule("RemoveMemory", "memory = \"0x1000/0\""),
            Asked::RemoveMemory,
            EmptyRange,
            "ends the list of ranges",
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
            "set its size to 0",
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

/// The callback of the README. It always fills in the answer, and the returned value says whether
/// it counts.
#[test]
fn a_range_that_is_repeated_with_false_is_not_lost() {
    let mut once = true;
    let (findings, outcome) = lint(0, |ask: Ask<'_>| match ask {
        Ask::Memory { wanted } => {
            (wanted.base, wanted.size) = (HEAP, 256);
            std::mem::take(&mut once)
        }
        _ => true,
    });
    assert!(findings.is_empty() && outcome.is_ok(), "{findings:#?}");
    // A range that never counted is reported, even if another range counted before.
    let mut asked = 0;
    let (findings, _) = lint(0, |ask: Ask<'_>| match ask {
        Ask::Memory { wanted } => {
            (wanted.base, wanted.size) = (HEAP + 0x1000 * asked, 256);
            asked += 1;
            asked == 1
        }
        _ => true,
    });
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(
        (findings[0].ask, findings[0].nth, findings[0].misuse),
        (AskKind::Memory, 1, Misuse::WrongField)
    );
}

/// Only the system's DbgHelp sends this, so the test calls the callback directly.
#[test]
fn values_for_compression_that_do_not_count_are_found() {
    let findings = |rules: &str| {
        let mut script = Script::parse(
            &format!("[[rule]]\nask = \"CompressedMemoryStreamStart\"\n{rules}"),
            "t",
        )
        .unwrap();
        let mut lint = Lint::new(&mut script);
        lint.ask(Ask::CompressedMemoryStreamStart {
            answer: &mut CompressionAnswer::default(),
        });
        let found: Vec<_> = lint.findings().iter().map(|finding| finding.misuse).collect();
        found
    };
    for sound in [
        "",
        "return = false",
        "max_parallelism = 64",
        "max_transfer_size = 0x100000",
        "max_transfer_size = 0x4000000",
    ] {
        assert_eq!(findings(sound), [], "{sound}");
    }
    assert_eq!(findings("max_transfer_size = 0xfffff"), [Misuse::OutOfRange]);
    assert_eq!(findings("max_transfer_size = 0x4000001"), [Misuse::OutOfRange]);
    assert_eq!(
        findings("max_parallelism = 1\nreturn = false"),
        [Misuse::WrongField]
    );
}

#[test]
fn a_linter_around_a_listener_listens() {
    struct Listener;
    impl Callback for Listener {
        fn ask(&mut self, _: Ask<'_>) -> bool {
            true
        }
        fn process(&mut self, _: ProcessAsked) {}
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

#[test]
fn a_callback_that_excludes_everything() {
    let (ask, misuse, text) = only_finding(
        0,
        "[[rule]]\nask = [\"IncludeThread\", \"IncludeModule\"]\nreturn = false",
    );
    assert_eq!((ask, misuse), (AskKind::IncludeThread, Misuse::FalseIsMore));
    assert!(text.contains("all 1 threads and"), "{text}");
    // The report says it without a linter, too.
    let mut script = Script::parse(
        "[[rule]]\nask = [\"IncludeThread\", \"IncludeModule\"]\nreturn = false",
        "t",
    )
    .unwrap();
    let request = Request::new(DumpType::NORMAL).time(1);
    let report = dump(&mut one_thread(), &request, Some(&mut script), &mut Vec::new()).unwrap();
    assert!(report.is_complete());
    let said: Vec<_> = report
        .diagnostics
        .iter()
        .map(|found| found.reason.clone())
        .collect();
    assert!(
        said.iter()
            .any(|reason| reason.contains("included none of the 1 threads")),
        "{said:?}"
    );
}
