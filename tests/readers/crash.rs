//! Crashes of programs that `dump --exec` starts and that a signal kills, read by programs that
//! others wrote.
//!
//! Would catch: a crash dump with the wrong thread, signal, code or address; registers from after
//! the signal instead of at the fault; a stack overflow whose stack is the guard page instead of
//! the stack; a handled signal that counts as a crash, or that does not reach the program; a dump
//! of a program that only ended.

use std::path::{Path, PathBuf};

use crate::support::dumper::Exec;
use crate::support::readers::python::{self, Skelsec};
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{Reading, breakpad, lldb, own, rust_minidump, symbols};
use crate::support::victim::{self, CrashTruth, Frames};

/// Long enough that a crash comes first on any machine. The dump at this time must not be made.
const LATER: u64 = 600_000;

/// How readers name a crash: the signal, and in readers that refine it, the code.
struct Named {
    signal: &'static str,
    /// `None`: readers show the signal alone, or the code as a number.
    code: Option<&'static str>,
}

#[test]
fn null_dereference_in_a_thread() {
    crash(
        &["null"],
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_MAPERR"),
        },
    );
}

#[test]
fn null_dereference_on_the_only_thread() {
    crash(
        &["null-main"],
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_MAPERR"),
        },
    );
}

#[test]
fn abort() {
    crash(
        &["abort"],
        &Named {
            signal: "SIGABRT",
            code: None,
        },
    );
}

#[test]
fn jump_to_a_non_canonical_address() {
    crash(
        &["non-canonical"],
        &Named {
            signal: "SIGSEGV",
            code: None,
        },
    );
}

#[test]
fn call_of_a_null_function() {
    crash(
        &["null-call"],
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_MAPERR"),
        },
    );
}

#[test]
fn illegal_instruction() {
    crash(
        &["illegal"],
        &Named {
            signal: "SIGILL",
            code: Some("ILL_ILLOPN"),
        },
    );
}

#[test]
fn division_by_zero() {
    crash(
        &["divide"],
        &Named {
            signal: "SIGFPE",
            code: Some("FPE_INTDIV"),
        },
    );
}

#[test]
fn access_behind_the_end_of_a_mapped_file() {
    crash(
        &["bus"],
        &Named {
            signal: "SIGBUS",
            code: Some("BUS_ADRERR"),
        },
    );
}

/// A breakpoint that no debugger set kills the program, although the dumper is a tracer.
#[test]
fn breakpoint_without_debugger() {
    crash(
        &["trap"],
        &Named {
            signal: "SIGTRAP",
            code: None,
        },
    );
}

/// SIGTERM (15) with its default action.
#[test]
fn signal_from_oneself() {
    crash(
        &["killed-by", "15"],
        &Named {
            signal: "SIGTERM",
            code: None,
        },
    );
}

#[test]
fn stack_overflow_in_a_thread() {
    overflow(
        "overflow",
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_ACCERR"),
        },
    );
}

/// The guard gap below the main stack is not a mapping.
#[test]
fn stack_overflow_on_the_main_thread() {
    overflow(
        "overflow-main",
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_MAPERR"),
        },
    );
}

/// As crash reporters do: the handler on its own stack restores the default action, and the fault
/// repeats.
#[test]
fn stack_overflow_that_a_handler_saw_first() {
    overflow(
        "overflow-handled",
        &Named {
            signal: "SIGSEGV",
            code: Some("SEGV_ACCERR"),
        },
    );
}

#[test]
fn handled_by_a_jump_is_no_crash() {
    no_crash(&victim::c("crash", Frames::NoPointers), &["handled", "1000"]);
}

#[test]
fn handled_by_a_repair_is_no_crash() {
    no_crash(&victim::c("crash", Frames::NoPointers), &["fixed-up", "1000"]);
}

#[test]
fn a_go_program_that_recovers_is_no_crash() {
    no_crash::<&str>(&victim::go(), &[]);
}

#[test]
fn a_java_program_that_catches_is_no_crash() {
    let classes = victim::java_classes();
    no_crash(
        Path::new("java"),
        &["-cp".as_ref(), classes.as_os_str(), "Recovers".as_ref()],
    );
}

/// A dump that is requested while signals are being handled is a dump on request: it has no
/// exception.
#[test]
fn a_dump_beside_handled_signals_shows_no_crash() {
    // Far more signals than fit into half a second, so that the dump comes in between.
    let exec = Exec::run(
        500,
        true,
        &victim::c("crash", Frames::NoPointers),
        &["handled", "2000000000"],
    );
    assert!(exec.status.success(), "{}\n{}", exec.status, exec.complaints);
    let found = python::skelsec(&exec.path, &[]).expect("skelsec's minidump reads it");
    assert!(found.exception.is_none(), "{:?}", found.exception);
}

/// A program that ends by itself leaves nothing to dump. Its status is reported.
#[test]
fn a_program_that_ends_by_itself_is_no_crash() {
    let exec = Exec::run(
        LATER,
        false,
        &victim::c("crash", Frames::NoPointers),
        &["exit", "5"],
    );
    assert_eq!(exec.status.code(), Some(1), "{}", exec.complaints);
    assert!(
        exec.complaints.contains('5'),
        "the status of the program: {}",
        exec.complaints
    );
    assert!(!exec.path.exists(), "a dump of a program that ended");
}

/// The program handles its signals, continues, and ends normally at the end of its input. There
/// must be no dump.
fn no_crash<A: AsRef<std::ffi::OsStr>>(program: &Path, arguments: &[A]) {
    #[derive(serde::Deserialize)]
    struct Truth {
        handled: u64,
    }
    let exec = Exec::run(LATER, false, program, arguments);
    assert_eq!(exec.status.code(), Some(1), "{}", exec.complaints);
    assert!(
        !exec.path.exists(),
        "a crash dump of a program that handled its signals"
    );
    assert_eq!(
        exec.truth::<Truth>().handled,
        1000,
        "signals that the program handled"
    );
}

/// A dump of a crash, read by all readers.
struct Crashed {
    exec: Exec,
    truth: CrashTruth,
    skelsec: Skelsec,
    readings: Vec<Reading>,
}

impl Crashed {
    fn new(arguments: &[&str]) -> Crashed {
        let exec = Exec::run(LATER, false, &victim::c("crash", Frames::NoPointers), arguments);
        assert!(exec.status.success(), "{}\n{}", exec.status, exec.complaints);
        let truth = exec.truth();
        let skelsec = python::skelsec(&exec.path, &[]).expect("skelsec's minidump reads it");
        let binaries: Vec<PathBuf> = skelsec
            .modules
            .iter()
            .map(|module| PathBuf::from(&module.name))
            .filter(|path| path.is_file())
            .collect();
        let symbols = symbols::of(&binaries);
        let readings = vec![
            rust_minidump::read(&exec.path, Symbols::Local),
            rust_minidump::read(&exec.path, Symbols::Folder(&symbols)),
            breakpad::read(&exec.path, &symbols),
            lldb::read(&exec.path),
            own::read(&exec.path),
        ];
        Crashed {
            exec,
            truth,
            skelsec,
            readings,
        }
    }

    /// Checks thread, reason and address in every reader. The address is that of the fault; signals
    /// that were sent have none.
    fn judge_reason(&self, named: &Named, address: Option<std::ops::Range<u64>>) {
        for reading in &self.readings {
            let reader = reading.reader;
            let complaints = reading
                .complaints
                .iter()
                .filter(|complaint| !self.is_true(complaint));
            assert_eq!(complaints.collect::<Vec<_>>(), [""; 0], "{reader} complains");
            let crash = reading
                .crash
                .as_ref()
                .unwrap_or_else(|| panic!("{reader} shows no crash"));
            assert_eq!(crash.tid, self.truth.tid, "{reader}: crashed thread");
            assert!(crash.reason.contains(named.signal), "{reader}: {crash:?}");
            if let (Some(code), true) = (named.code, reader != "LLDB") {
                assert!(crash.reason.contains(code), "{reader}: {crash:?}");
            }
            if let (Some(expected), Some(shown)) = (&address, crash.address) {
                assert!(
                    expected.contains(&shown),
                    "{reader}: {crash:x?}, not in {expected:x?}"
                );
            }
            if let (Some(expected), Some(shown)) =
                (self.truth.instruction, reading.thread(crash.tid).instruction)
            {
                assert_eq!(shown, expected, "{reader}: instruction");
            }
        }
        let exception = self.skelsec.exception.as_ref().expect("skelsec: an exception");
        assert_eq!(exception.tid, self.truth.tid, "skelsec: crashed thread");
        assert_eq!(
            exception.code, self.truth.signal,
            "skelsec: the code is the signal"
        );
        assert_eq!(
            exception.flags.cast_signed(),
            self.truth.code,
            "skelsec: the flags are si_code"
        );
        if let Some(expected) = &address {
            assert!(
                expected.contains(&exception.address),
                "skelsec: {exception:x?}, not in {expected:x?}"
            );
        }
        let udmp = python::udmp(&self.exec.path, &[]).expect("udmp-parser reads it");
        assert_eq!(
            udmp.foreground,
            Some(self.truth.tid),
            "udmp-parser: crashed thread"
        );
    }

    /// Whether a complaint of rust-minidump is true. It looks for the faulting instruction in the
    /// dump; a program that called a null function has none.
    fn is_true(&self, complaint: &str) -> bool {
        self.truth.instruction == Some(0)
            && complaint.contains("failed to read memory at instruction pointer")
    }

    /// Checks the functions of the crashed thread and of the threads that did not crash.
    fn judge_stacks(&self) {
        for reading in &self.readings {
            let shown = &reading.thread(self.truth.tid).functions;
            assert_eq!(
                collapsed(&self.known(shown)),
                collapsed(&self.truth.functions),
                "{}: functions of the crash, of these frames: {shown:?}",
                reading.reader
            );
            for bystander in self.truth.bystanders.iter().filter(|tid| **tid != 0) {
                let shown = &reading.thread(*bystander).functions;
                assert_eq!(
                    self.known(shown),
                    ["bystander_leaf", "bystander_top"],
                    "{}: {shown:?}",
                    reading.reader
                );
            }
        }
    }

    fn known(&self, functions: &[String]) -> Vec<String> {
        let is_known = |name: &str| {
            name.starts_with("bystander") || self.truth.functions.iter().any(|known| known == name)
        };
        functions.iter().filter(|name| is_known(name)).cloned().collect()
    }
}

fn crash(arguments: &[&str], named: &Named) {
    let crashed = Crashed::new(arguments);
    // A positive code comes from the kernel; then there is an address (man 2 sigaction).
    let address = (crashed.truth.code > 0).then_some(crashed.truth.address..crashed.truth.address + 1);
    crashed.judge_reason(named, address);
    crashed.judge_stacks();
}

/// The fault is at the low end of the stack, and the dump has the stack from there to its other
/// end.
fn overflow(which: &str, named: &Named) {
    const PAGE: u64 = 4096;
    let crashed = Crashed::new(&[which]);
    let [low, high] = crashed.truth.stack.expect("the victim's stack");
    // Half a frame may be below the last page, and the limit of the main thread is rounded.
    crashed.judge_reason(named, Some(low - 4 * PAGE..low + 4 * PAGE));
    crashed.judge_stacks();
    for reading in &crashed.readings {
        let frames = &reading.thread(crashed.truth.tid).functions;
        let recursions = frames.iter().filter(|name| *name == "overflow_recurse").count();
        assert!(
            recursions > 400,
            "{}: {recursions} frames of the recursion",
            reading.reader
        );
    }
    let thread = crashed
        .skelsec
        .threads
        .iter()
        .find(|thread| thread.tid == crashed.truth.tid)
        .expect("skelsec: the thread");
    let [start, size] = thread.stack;
    assert!(
        start < low + 4 * PAGE,
        "the stack begins at {start:#x}, not at its low end {low:#x}"
    );
    // The outermost frames are in the last pages. Above them is the thread block of the C library,
    // or arguments and environment.
    assert!(
        start + size > high - 8 * PAGE,
        "the stack ends at {:#x}, far from {high:#x}",
        start + size
    );
}

/// Equal neighbours become one, so that a recursion is one function.
fn collapsed(functions: &[String]) -> Vec<String> {
    let mut functions = functions.to_vec();
    functions.dedup();
    functions
}
