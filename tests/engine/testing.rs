//! The test kit, with its own worked example and with failures made on purpose.
//!
//! Would catch: a rehearsal that changes the dump; an assertion that passes when it should fail, or
//! does not state why it failed; a view that shows other bytes than the target has; a dialogue with
//! a live process that differs between runs.

/// The example of the README: a callback as Windows programs have it, tested on Linux.
mod example {
    use dumpwright::Ask;
    use dumpwright::target::protect::READWRITE;
    use dumpwright::testing::{Contents, SimProcess, assert_asked, rehearse};

    #[test]
    fn the_sampler_stays_out_and_the_sessions_are_in() {
        let mut once = true;
        let handler = |ask: Ask<'_>| match ask {
            Ask::IncludeThread { thread_id, .. } => thread_id != 8,
            Ask::Memory { wanted } => {
                (wanted.base, wanted.size) = (0x6000_0000, 256);
                std::mem::take(&mut once)
            }
            _ => true,
        };
        let process = SimProcess::new(1000)
            .thread(7, 0x7000_0100, 0x40_1000)
            .thread(8, 0x7100_0100, 0x40_2000)
            .memory(0x6000_0000, 0x1000, READWRITE, Contents::Counting)
            .memory(0x7000_0000, 0x1000, READWRITE, Contents::Counting)
            .memory(0x7100_0000, 0x1000, READWRITE, Contents::Fill(0x5E));
        let rehearsal = rehearse(handler).on(process);
        assert_asked!(rehearsal, .., "IncludeThread thread=8 -> FALSE", ..);
        let dump = rehearsal.dump();
        assert_eq!(dump.threads(), [7]);
        assert!(dump.has_memory(0x6000_0000..0x6000_0100));
        assert!(dump.contains_nowhere([0x5E; 16]));
    }
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::{env, fs};

use dumpwright::callback::{Hresult, ThreadWriteFlags};
use dumpwright::policy::{AroundRegisters, StreamOutput, Threads};
use dumpwright::target::Cpu;
use dumpwright::target::protect::{EXECUTE_READ, READWRITE};
use dumpwright::testing::{
    AnyTarget, Contents, Rehearsal, SimProcess, assert_asked, rehearse, rehearse_in_all_profiles,
    rehearse_mut, rehearse_without_callback,
};
use dumpwright::{Ask, DumpType, Request, dump};

const CODE: u64 = 0x40_0000;
const STACK: u64 = 0x7000_0000;

fn process() -> SimProcess {
    SimProcess::new(1000)
        .thread(7, STACK + 0x100, CODE + 0x1234)
        .module(CODE, 0x2000, "/opt/program", &[0xAB; 20])
        .memory(CODE, 0x2000, EXECUTE_READ, Contents::Counting)
        .memory(STACK, 0x1000, READWRITE, Contents::Counting)
        .symbol("program's stack", STACK, 0x1000)
}

/// The message of a failing assertion.
fn failure(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it has to fail");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

#[test]
fn a_rehearsal_is_the_dump_that_would_have_been_made() {
    let request = Request::new(DumpType::WITH_FULL_MEMORY).time(1);
    let mut plain = Vec::new();
    dump(&mut process(), &request, None, &mut plain).unwrap();
    let rehearsal = rehearse_without_callback()
        .for_request(request.clone())
        .on(process());
    assert!(rehearsal.bytes() == plain);
    assert!(!rehearsal.dialogue().was_answered());
    // By reference, with another target, and with a callback that writes the dump itself.
    let mut process = process();
    let by_reference = rehearse(Threads::except([]))
        .for_request(request.clone())
        .on(&mut process);
    assert!(by_reference.bytes() == plain && process.freezes == 1);
    let other = rehearse(Threads::except([]))
        .for_request(request.clone())
        .on(AnyTarget(process));
    assert!(other.bytes() == plain);
    let mut output = StreamOutput::new(Vec::new());
    let taken_over = rehearse_mut(&mut output).for_request(request).on(self::process());
    assert!(taken_over.bytes() == plain && output.into_inner() == plain);
    assert!(taken_over.dump().bytes() == plain);
}

#[test]
fn the_view_shows_what_the_target_has() {
    let rehearsal = rehearse(|_: Ask<'_>| true).on(process());
    let dump = rehearsal.dump();
    assert_eq!(dump.thread(7).stack_range(), STACK + 0x100..STACK + 0x1000);
    assert_eq!(dump.thread(7).stack().len(), 0xF00);
    assert_eq!(dump.thread(7).registers().rip, CODE + 0x1234);
    assert_eq!(dump.module("program").range(), CODE..CODE + 0x2000);
    assert_eq!(
        dump.module("/opt/program").debug_id(),
        dump.module("program").debug_id()
    );
    assert_eq!(
        dump.ranges(),
        [CODE + 0x11B4..CODE + 0x12B4, STACK + 0x100..STACK + 0x1000]
    );
    assert_eq!(
        dump.memory(CODE + 0x1200..CODE + 0x1208),
        (CODE + 0x1200).to_le_bytes()
    );
    assert!(dump.has_memory(STACK + 0x100..STACK + 0x200) && !dump.has_memory(STACK..STACK + 0x101));
    assert!(dump.lacks_memory(STACK..STACK + 0x100) && !dump.lacks_memory(STACK..STACK + 0x101));
    assert!(dump.contains_nowhere((STACK + 0xF8).to_le_bytes()));
    assert!(!dump.contains_nowhere((STACK + 0x108).to_le_bytes()));
    assert!(dump.stream(7).is_some() && dump.stream(9).is_none());

    assert_eq!(
        failure(|| drop(dump.thread(8))),
        "thread 8 is not in the dump; threads in it: [7]"
    );
    let text = failure(|| drop(dump.module("libc.so.6")));
    assert_eq!(
        text,
        "module \"libc.so.6\" is not in the dump; modules in it: [\"/opt/program\"]"
    );
    let text = failure(|| drop(dump.memory(STACK..STACK + 8)));
    assert!(
        text.starts_with("memory 0x70000000..0x70000008 is not all in the dump"),
        "{text}"
    );
}

#[test]
fn outcomes_are_told_apart() {
    let rehearsal = rehearse(|ask: Ask<'_>| !matches!(ask, Ask::Module { .. })).on(process());
    assert_eq!(rehearsal.error().hresult(), Hresult::E_ABORT);
    assert!(rehearsal.outcome().is_err());
    let text = failure(|| drop(rehearsal.dump()));
    assert!(
        text.starts_with("there is no dump: the callback aborted the dump: it answered Module with FALSE\n"),
        "{text}"
    );
    assert!(
        text.contains("\nModule module=program") && text.contains("\n= failed 0x80004004\n"),
        "{text}"
    );
    let rehearsal = rehearse(|_: Ask<'_>| true).on(process());
    assert!(rehearsal.report().is_complete());
    assert!(
        failure(|| {
            let _ = rehearsal.error();
        })
        .starts_with("there is a dump of ")
    );
}

#[test]
fn expected_questions_are_held_against_the_dialogue() {
    let rehearsal = rehearse(Threads::only([])).on(process());
    assert_asked!(
        rehearsal,
        "IsProcessSnapshot",
        "VmStart",
        "IoStart",
        "SecondaryFlags",
        "Cancel",
        "IncludeThread thread=7 flags=0x17 -> FALSE",
        "IncludeModule",
        "Module module=program",
        "Memory",
        "RemoveMemory",
        "WriteKernelMinidump",
    );
    assert_asked!(rehearsal, .., "IncludeThread", .., "Memory", ..);
    assert_eq!(
        (
            rehearsal.asked("IncludeThread").len(),
            rehearsal.asked("Thread").len()
        ),
        (1, 0)
    );
    let text = failure(|| assert_asked!(rehearsal, .., "IncludeThread thread=7 -> TRUE", ..));
    assert!(
        text.contains("expected \"IncludeThread thread=7 -> TRUE\" after .., step 2 of 3"),
        "{text}"
    );
    assert!(
        text.contains("IncludeThread thread=7 | flags=0x17 -> FALSE"),
        "{text}"
    );
    assert!(
        text.contains("-- --exact testing::expected_questions_are_held_against_the_dialogue"),
        "{text}"
    );
    let text = failure(|| assert_asked!(rehearsal, .., "RemoveMemory"));
    assert!(
        text.contains("expected the end after \"RemoveMemory\"") || text.contains("\n> WriteKernelMinidump"),
        "{text}"
    );
}

#[test]
fn dialogues_of_two_rehearsals_are_compared() {
    let one = rehearse(|_: Ask<'_>| true).on(process());
    one.assert_same_dialogue(&rehearse(|_: Ask<'_>| true).on(process()));
    let other = rehearse(Threads::except([7])).on(process());
    let text = failure(|| one.assert_same_dialogue(&other));
    assert!(
        text.contains(
            "\n-IncludeThread thread=7 | flags=0x17 -> TRUE\n+IncludeThread thread=7 | flags=0x17 -> FALSE"
        ),
        "{text}"
    );
    assert!(
        text.contains("cargo test --package dumpwright --test engine -- --exact testing::dialogues_of_two"),
        "{text}"
    );
}

#[test]
fn outcomes_that_depend_on_the_writer_are_found() {
    let harmless = || |ask: Ask<'_>| !matches!(ask, Ask::Memory { .. });
    for dump_type in [0, 0x2, 0x1800] {
        let dump_type = DumpType::from_bits_retain(dump_type);
        let rehearsal = rehearse_in_all_profiles(harmless).of_type(dump_type).on(process);
        assert_eq!(rehearsal.dump().threads(), [7]);
    }
    // Microsoft's writer dumps the stack whatever the answer is.
    let without_stacks = || Threads::parts(|_| ThreadWriteFlags::all() - ThreadWriteFlags::STACK);
    let text = failure(|| drop(rehearse_in_all_profiles(without_stacks).on(process)));
    assert!(
        text.starts_with("the outcome depends on the writer; differences from profile documented:\n"),
        "{text}"
    );
    assert!(
        text.contains("\ndbghelp63: also has memory 0x70000100..0x70001000\n"),
        "{text}"
    );
    assert!(
        text.contains("\ndbghelp10: also has memory 0x70000100..0x70001000\n"),
        "{text}"
    );
    // All profiles report a stack that cannot be read.
    let failing = || process().fails_when_read(STACK, 0x1000);
    rehearse_in_all_profiles(harmless).on(failing);
}

#[test]
fn names_of_places_stand_in_the_dialogue() {
    let add = |base: u64| {
        let mut ranges = vec![base];
        move |ask: Ask<'_>| match ask {
            Ask::Memory { wanted } => ranges
                .pop()
                .map(|base| (wanted.base, wanted.size) = (base, 16))
                .is_some(),
            _ => true,
        }
    };
    let rehearsal = rehearse(add(STACK + 0x20)).on(process());
    assert!(
        rehearsal.to_string().contains("base=program's stack+0x20"),
        "{rehearsal}"
    );
    let rehearsal = rehearse(add(0x1234)).naming("mine", 0x1200, 0x100).on(process());
    assert_asked!(
        rehearsal,
        ..,
        "Memory -> TRUE base=mine+0x34 size=16",
        "Memory -> FALSE",
        ..
    );
}

/// Environment variables belong to the process, so these tests run in a child process: this binary,
/// with one test.
fn in_child(test: &str, variable: &str, value: &str) -> (bool, String) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--include-ignored"])
        .env("REHEARSAL_CHILD", "1")
        .env(variable, value)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn is_child() -> bool {
    env::var_os("REHEARSAL_CHILD").is_some()
}

fn golden_rehearsal() -> Rehearsal {
    rehearse(Threads::only([7])).on(process())
}

#[test]
fn dialogues_are_blessed_into_files_and_compared_with_them() {
    if let Some(path) = env::var_os("REHEARSAL_GOLDEN") {
        golden_rehearsal().assert_dialogue(path);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new folder").join("dialogue.txt");
    let name = "testing::dialogues_are_blessed_into_files_and_compared_with_them";
    let text = failure(|| golden_rehearsal().assert_dialogue(&path));
    assert!(
        text.contains("does not exist yet") && text.contains("DUMPWRIGHT_BLESS=1 cargo test"),
        "{text}"
    );
    let bless = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env("REHEARSAL_GOLDEN", &path)
        .env("DUMPWRIGHT_BLESS", "1")
        .output()
        .unwrap();
    assert!(bless.status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), golden_rehearsal().to_string());
    golden_rehearsal().assert_dialogue(&path);
    let text = failure(|| {
        rehearse(Threads::except([7]))
            .on(process())
            .assert_dialogue(&path)
    });
    assert!(
        text.contains("+IncludeThread thread=7 | flags=0x17 -> FALSE") && text.contains("DUMPWRIGHT_BLESS=1"),
        "{text}"
    );
    // Lines as a checkout on Windows may have them.
    fs::write(&path, golden_rehearsal().to_string().replace('\n', "\r\n")).unwrap();
    golden_rehearsal().assert_dialogue(&path);
}

#[test]
fn rehearsals_are_kept_where_that_is_asked_for() {
    if is_child() {
        let _ = golden_rehearsal();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let name = "testing::rehearsals_are_kept_where_that_is_asked_for";
    let (passed, text) = in_child(name, "DUMPWRIGHT_KEEP", kept.to_str().unwrap());
    assert!(passed, "{text}");
    let stem = name.replace("::", "-");
    assert!(fs::read(kept.join(format!("{stem}-0.dmp"))).unwrap() == golden_rehearsal().bytes());
    let transcript = fs::read_to_string(kept.join(format!("{stem}-0.jsonl"))).unwrap();
    assert_eq!(transcript, golden_rehearsal().dialogue().to_json_lines());
}

#[cfg(all(feature = "native", target_os = "linux"))]
mod live_processes {
    use dumpwright::testing::live;

    use super::*;
    use crate::support::child::Talking;
    use crate::support::proc::Stat;

    /// An idle program: it has answered, and waits for more.
    fn echo() -> Talking {
        let mut echo = Talking::start(&mut Command::new("cat"));
        echo.tell("there?\n");
        assert_eq!(echo.line().as_deref(), Some("there?"));
        // It may still be on its way from the answer to the next read. It is idle when the kernel
        // reports that it sleeps.
        while Stat::of(echo.pid()).unwrap().state() != 'S' {
            std::thread::yield_now();
        }
        echo
    }

    /// Leaves out what the kernel maps into every process, and adds the beginning of every other
    /// module.
    fn callback() -> impl FnMut(Ask<'_>) -> bool {
        let mut bases = Vec::new();
        move |ask: Ask<'_>| match ask {
            Ask::Module { module, keep } => {
                if module.full_path.contains("linux-gate") || module.full_path.contains("vdso") {
                    *keep = dumpwright::callback::ModuleWriteFlags::empty();
                } else {
                    bases.push(module.base_of_image);
                }
                true
            }
            Ask::Memory { wanted } => bases
                .pop()
                .map(|base| (wanted.base, wanted.size) = (base, 64))
                .is_some(),
            _ => true,
        }
    }

    /// Twenty processes, each with other addresses and another id.
    #[test]
    fn twenty_runs_under_address_randomisation_have_one_dialogue() {
        let mut first: Option<Rehearsal> = None;
        for _ in 0..20 {
            let echo = echo();
            let Some(process) = live(echo.pid()) else { return };
            let rehearsal = rehearse(callback()).on(process);
            let dump = rehearsal.dump();
            assert_eq!(dump.threads(), [echo.pid()]);
            let program = dump
                .modules()
                .into_iter()
                .find(|name| name.ends_with("/cat") || name.ends_with("/coreutils"));
            let base = dump.module(&program.expect("the program")).range().start;
            assert_eq!(dump.memory(base..base + 4), b"\x7fELF");
            match &first {
                Some(first) => first.assert_same_dialogue(&rehearsal),
                None => first = Some(rehearsal),
            }
        }
    }

    #[test]
    fn a_process_that_is_gone_fails_the_test() {
        let id = {
            let echo = echo();
            echo.pid()
        };
        let text = failure(|| drop(live(id)));
        assert!(
            text.starts_with(&format!("process {id} cannot be dumped: ")),
            "{text}"
        );
    }
}

/// The dialogue shows the registers of the process's own processor, and policies use them.
#[test]
fn other_processors_are_rehearsed_as_well() {
    for (cpu, registers) in [
        (
            Cpu::X86,
            "context_size=716 context_flags=0x10003 eip=0x401000 esp=stack(7)",
        ),
        (
            Cpu::Arm,
            "context_size=368 context_flags=0x40000003 pc=0x401000 sp=stack(7)",
        ),
        (
            Cpu::Arm64,
            "context_size=912 context_flags=0x400013 pc=0x401000 sp=stack(7)",
        ),
    ] {
        let process = SimProcess::new(1000)
            .cpu(cpu)
            .memory(0x50_0000, 0x1000, READWRITE, Contents::Counting)
            .thread(7, 0x50_0800, 0x40_1000);
        let rehearsal = rehearse(AroundRegisters::new(0x100, 0)).on(process);
        let dialogue = rehearsal.dialogue().to_string();
        let line = dialogue
            .lines()
            .find(|line| line.starts_with("Thread "))
            .expect("asked");
        assert!(line.contains(registers), "{line}");
        let dump = rehearsal.dump();
        assert_eq!(
            dump.thread(7).record().context.as_ref().unwrap().stack_pointer(),
            Some(0x50_0800)
        );
        // Below the stack, so only the policy includes it. It takes the stack pointer from the
        // context.
        assert_eq!(dump.memory(0x50_0700..0x50_0708), 0x50_0700_u64.to_le_bytes());
    }
}
