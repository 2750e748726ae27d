//! Dialogues recorded, compared and played back, with simulated processes and a live one.
//!
//! Would catch: a call that is not recorded or recorded wrongly; a recorder that changes the dump;
//! addresses of a live process in its transcript; a transcript that differs between runs; a
//! playback that answers differently or does not notice changed calls; a damaged transcript that is
//! accepted.

use std::fs;

use crate::support::simulated::{CODE, HEAP, STACK, two_threads};
use crate::support::victim::{self, Frames, Victim};
use dumpwright::callback::{AskKind, CompressionAnswer, ProcessAsked, ThreadAsked, ThreadWriteFlags};
use dumpwright::protocol::{Playback, Recorder, Script, Status, Symbols, Transcript};
use dumpwright::{Ask, Callback, DumpType, Error, Report, Request, dump};
use dumpwright_sim::SimProcess;

/// Two threads, a module, and a heap with a page that fails when it is read.
fn process() -> SimProcess {
    two_threads().fails_when_read(HEAP + 0x8000, 0x1000)
}

fn symbols() -> Symbols {
    Symbols::new().name("heap", HEAP, 0x10000)
}

fn script(text: &str) -> Script {
    Script::parse(text, "test.toml")
        .expect("a script")
        .symbols(symbols())
}

/// The result of one dump.
struct Run {
    transcript: Transcript,
    outcome: Result<Report, Error>,
    bytes: Vec<u8>,
}

fn record(process: &mut SimProcess, dump_type: u32, callback: Option<&mut dyn Callback>) -> Run {
    let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
    let mut bytes = Vec::new();
    let mut recorder = Recorder::new(callback, symbols());
    let outcome = dump(process, &request, Some(&mut recorder), &mut bytes);
    Run {
        transcript: recorder.finish(&outcome),
        outcome,
        bytes,
    }
}

/// A script that causes as many callback types as one dump can have.
const NORMAL: &str = r#"
[[rule]]
ask = "VmStart"
status = "S_FALSE"
[[rule]]
ask = "Cancel"
index = "0-4"
check_cancel = true
[[rule]]
ask = "IncludeThread"
thread = 8
and = ["THREAD", "CONTEXT"]
[[rule]]
ask = "Memory"
memory = ["heap/0x100", "heap+0x8000/0x10", "heap+0x400/0x200"]
[[rule]]
ask = "RemoveMemory"
memory = ["heap+0x10/0x20"]
[[rule]]
ask = "ReadMemoryFailure"
return = true
status = "S_OK"
[[rule]]
ask = "VmPreRead"
at = "heap+0x400/0x200"
fill = 0xCD
completed = "all"
[[rule]]
ask = "VmPostRead"
xor_at = { range = "heap+0x40/0x8", value = 0xff }
[[rule]]
ask = "WriteKernelMinidump"
return = true
handle = 0x7ffc
"#;

const FULL: &str = r#"
[[rule]]
ask = "IoStart"
status = "S_FALSE"
[[rule]]
ask = "VmStart"
status = "S_FALSE"
[[rule]]
ask = "IncludeVmRegion"
at = "heap"
region = { base = "+0x1000", size = "0x2000" }
index = "*"
"#;

#[test]
fn a_dialogue_reads_like_this() {
    let mut silent = script("");
    let run = record(&mut process(), 0, Some(&mut silent));
    let expected = "\
IsProcessSnapshot | status=0x80004001 -> TRUE
VmStart | status=0x80004001 -> TRUE
IoStart handle=0x0 | status=0x80004001 -> TRUE
SecondaryFlags | flags=0x0 -> TRUE
Cancel | check_cancel=false cancel=false -> TRUE
IncludeThread thread=7 | flags=0x17 -> TRUE
IncludeThread thread=8 | flags=0x17 -> TRUE
IncludeModule base=program | flags=0xd -> TRUE
Module module=program base=program size=32768 checksum=0x0 timestamp=0x0 cv=LEpB cv_size=24 misc_size=0 | flags=0xd -> TRUE
Thread thread=7 context_size=1232 context_flags=0x100003 rip=program+0x1234 rsp=stack(7) stack_base=stack(7).end stack_end=stack(7) | flags=0x17 -> TRUE
Thread thread=8 context_size=1232 context_flags=0x100003 rip=program+0x2000 rsp=stack(8) stack_base=stack(8).end stack_end=stack(8) | flags=0x17 -> TRUE
Memory | base=0x0 size=0 -> FALSE
RemoveMemory | base=0x0 size=0 -> FALSE
WriteKernelMinidump | handle=0x0 -> FALSE
= complete
";
    assert_eq!(run.transcript.to_string(), expected);
}

#[test]
fn every_kind_of_question_is_recorded_alike_in_two_runs_and_survives_the_file() {
    let mut seen = Vec::new();
    for (dump_type, text) in [(0, NORMAL), (2, FULL)] {
        let once = || record(&mut process(), dump_type, Some(&mut script(text)));
        let (first, second) = (once(), once());
        assert!(first.outcome.is_ok(), "{:?}\n{}", first.outcome, first.transcript);
        let lines = first.transcript.to_json_lines();
        assert_eq!(lines, second.transcript.to_json_lines());
        assert_eq!(first.bytes, second.bytes);
        let parsed = Transcript::parse(&lines).unwrap();
        assert_eq!(parsed, first.transcript);
        assert_eq!(parsed.to_json_lines(), lines);
        assert_eq!(parsed.to_string(), first.transcript.to_string());
        seen.extend(parsed.entries.iter().map(|entry| entry.ask));
    }
    // ThreadEx needs a request for a ThreadExList, see below. Compressed memory is not written yet.
    let never_asked = [
        AskKind::ThreadEx,
        AskKind::CompressedMemoryStreamStart,
        AskKind::CompressedMemoryStreamFinish,
    ];
    for kind in AskKind::ALL {
        assert!(
            seen.contains(&kind) || never_asked.contains(&kind),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn thread_ex_is_recorded_and_played_like_thread() {
    let ask = |callback: &mut dyn Callback| {
        let thread = ThreadAsked {
            thread_id: 7,
            thread_handle: 0,
            context: &[],
            stack_base: 0x2000,
            stack_end: 0x1000,
            backing_store_base: 0,
            backing_store_end: 0,
            name: None,
        };
        let mut keep = ThreadWriteFlags::from_bits_retain(0x17);
        (
            callback.ask(Ask::ThreadEx {
                thread,
                keep: &mut keep,
            }),
            keep.bits(),
        )
    };
    let mut rules = script("[[rule]]\nask = \"ThreadEx\"\nthread = 7\nflags = 5");
    let mut recorder = Recorder::new(Some(&mut rules), Symbols::new());
    assert_eq!(ask(&mut recorder), (true, 5));
    let transcript = recorder.transcript();
    assert_eq!(
        transcript.to_string(),
        "ThreadEx thread=7 context_size=0 stack_base=stack(7).end stack_end=stack(7) backing_store_base=0x0 backing_store_end=0x0 | flags=0x17 -> TRUE flags=0x5\n"
    );
    assert_eq!(ask(&mut Playback::new(transcript)), (true, 5));
}

#[test]
fn answers_are_in_the_transcript_with_their_names_and_bytes() {
    let run = record(&mut process(), 0, Some(&mut script(NORMAL)));
    let lines = run.transcript.to_json_lines();
    for line in [
        r#""ask":"IncludeThread","pid":"target","handle":"target","in":{"thread":8},"pre":{"flags":"0x17"},"ret":true,"out":{"flags":"0x5"}}"#,
        r#""ask":"Memory","pid":"target","handle":"target","pre":{"base":"0x0","size":0},"ret":true,"out":{"base":"heap+0x400","size":512}}"#,
        r#""in":{"offset":"heap+0x8000","size":16,"failure":"0x8007012b"},"pre":{"status":"0x00000001"},"ret":true,"out":{"status":"0x00000000"}}"#,
        r#""out":{"status":"0x00000000","completed":512,"bytes":[{"at":0,"fill":"cd","size":512}]}}"#,
        r#""ask":"KernelMinidumpStatus","in":{"status":"0xd0000002"},"ret":true}"#,
        r#"{"result":{"status":"complete","hresult":"0x00000000"}}"#,
    ] {
        assert!(lines.contains(line), "{line}\n{lines}");
    }
}

#[test]
fn a_played_transcript_makes_the_same_dump() {
    for (dump_type, text) in [
        (0, NORMAL),
        (2, FULL),
        (0, "[[rule]]\nask = \"Cancel\"\ncancel = true"),
    ] {
        let mut rules = script(text);
        let recorded = record(&mut process(), dump_type, Some(&mut rules));
        let transcript = Transcript::parse(&recorded.transcript.to_json_lines()).unwrap();
        let mut playback = Playback::with_symbols(transcript, symbols());
        let played = record(&mut process(), dump_type, Some(&mut playback));
        assert_eq!(playback.difference(&played.outcome), None);
        assert_eq!(played.transcript, recorded.transcript);
        assert_eq!(played.bytes, recorded.bytes);
        assert_eq!(playback.output(), rules.output());
        assert_eq!(
            rules.output().is_empty(),
            dump_type == 0,
            "the callback writes the full dump"
        );
    }
}

#[test]
fn a_playback_finds_the_first_other_question_and_its_line() {
    let recorded = record(&mut process(), 0, Some(&mut script(NORMAL))).transcript;
    let line_of = |text: &str| {
        recorded
            .to_json_lines()
            .lines()
            .position(|line| line.contains(text))
            .unwrap()
            + 1
    };
    let difference = |process: &mut SimProcess| {
        let mut playback = Playback::with_symbols(recorded.clone(), symbols());
        let outcome = record(process, 0, Some(&mut playback)).outcome;
        playback.difference(&outcome).expect("another dialogue")
    };

    // A changed fact.
    let mut renamed = process();
    renamed.modules[0].path = "/opt/programme".to_owned();
    let found = difference(&mut renamed);
    assert_eq!(
        found.line,
        line_of("IncludeModule"),
        "its name is known from the beginning"
    );
    assert!(found.found.unwrap().contains("base=programme"));

    // An additional call.
    let found = difference(&mut process().thread(9, STACK + 0x10_0900, CODE));
    assert_eq!(
        found.line,
        line_of("\"thread\":8") + 2,
        "behind it and its Cancel"
    );
    assert_eq!(found.found.unwrap(), "IncludeThread thread=9 | flags=0x17");

    // Another result.
    let mut shorter = recorded.clone();
    shorter.result.as_mut().unwrap().status = Status::Partial;
    let mut playback = Playback::with_symbols(shorter, symbols());
    let outcome = record(&mut process(), 0, Some(&mut playback)).outcome;
    let found = playback.difference(&outcome).unwrap();
    assert_eq!(found.line, recorded.entries.len() + 1);
    assert_eq!(
        found.to_string(),
        format!(
            "line {}\n  expected: = partial\n  found:    = complete",
            found.line
        )
    );
}

#[test]
fn an_answer_that_cannot_be_given_is_said() {
    let mut recorded = record(&mut process(), 0, Some(&mut script(NORMAL))).transcript;
    let text = recorded.to_json_lines().replace("heap+0x400", "hoard+0x400");
    recorded = Transcript::parse(&text).unwrap();
    let mut playback = Playback::with_symbols(recorded, symbols());
    let outcome = record(&mut process(), 0, Some(&mut playback)).outcome;
    let found = playback.difference(&outcome).unwrap();
    assert!(
        found.to_string().contains("no place is named hoard+0x400"),
        "{found}"
    );
}

#[test]
fn listening_changes_nothing() {
    // The failing page makes a dump without a callback partial, and one with a callback fail.
    for dump_type in [0, 0x200, 2, 0x802] {
        let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
        let mut alone = Vec::new();
        let without = dump(&mut process(), &request, None, &mut alone).unwrap();
        let heard = record(&mut process(), dump_type, None);
        assert_eq!(heard.bytes, alone, "{dump_type:#x}");
        assert_eq!(heard.outcome.unwrap().diagnostics, without.diagnostics);
        assert!(!heard.transcript.was_answered());
        let threads = heard
            .transcript
            .entries
            .iter()
            .filter(|entry| entry.ask == AskKind::IncludeThread);
        assert_eq!(threads.count(), 2);
        // A recording of a listener is played back as a listener.
        let mut playback = Playback::with_symbols(heard.transcript.clone(), symbols());
        let again = record(&mut process(), dump_type, Some(&mut playback));
        assert_eq!(again.bytes, alone);
        assert_eq!(playback.difference(&again.outcome), None);
    }
}

#[test]
fn a_listener_that_edits_is_not_heard() {
    struct Meddler;
    impl Callback for Meddler {
        fn ask(&mut self, ask: Ask<'_>) -> bool {
            use dumpwright::callback::{Hresult, ModuleWriteFlags};
            match ask {
                Ask::IncludeThread { keep, .. } | Ask::Thread { keep, .. } => {
                    *keep = ThreadWriteFlags::empty()
                }
                Ask::IncludeModule { keep, .. } | Ask::Module { keep, .. } => {
                    *keep = ModuleWriteFlags::empty()
                }
                Ask::Memory { wanted } | Ask::RemoveMemory { unwanted: wanted } => {
                    (wanted.base, wanted.size) = (HEAP, 16);
                }
                Ask::Cancel { answer } => (answer.check_cancel, answer.cancel) = (true, true),
                Ask::IsProcessSnapshot { status } | Ask::VmStart { status } | Ask::IoStart { status, .. } => {
                    *status = Hresult::S_FALSE;
                }
                _ => {}
            }
            true
        }

        fn process(&mut self, _: ProcessAsked) {}

        fn answers(&self) -> bool {
            false
        }
    }
    let mut alone = Vec::new();
    let request = Request::new(DumpType::NORMAL).time(1);
    dump(&mut process(), &request, None, &mut alone).unwrap();
    let mut heard = Vec::new();
    dump(&mut process(), &request, Some(&mut Meddler), &mut heard).unwrap();
    assert_eq!(heard, alone);
}

/// Only the system's DbgHelp sends them, so the test calls the callback directly.
#[test]
fn questions_about_compression_are_recorded_and_played_back() {
    let ask_both = |callback: &mut dyn Callback| {
        let mut answer = CompressionAnswer::default();
        let started = callback.ask(Ask::CompressedMemoryStreamStart { answer: &mut answer });
        let finished = callback.ask(Ask::CompressedMemoryStreamFinish {
            stream_size: 0xa9_0000,
            compression_rate: 71,
        });
        (started, answer, finished)
    };
    let answered = CompressionAnswer {
        max_parallelism: 2,
        max_transfer_size: 1 << 20,
        ..CompressionAnswer::default()
    };
    let rules = "[[rule]]\nask = \"CompressedMemoryStreamStart\"\nmax_parallelism = 2\nmax_transfer_size = 0x100000\n\
                 [[rule]]\nask = \"CompressedMemoryStreamFinish\"\nreturn = false";
    let mut answers = script(rules);
    let mut recorder = Recorder::new(Some(&mut answers), Symbols::new());
    assert_eq!(ask_both(&mut recorder), (true, answered, false));
    let transcript = recorder.transcript();
    assert_eq!(
        transcript.to_string(),
        "CompressedMemoryStreamStart | max_parallelism=0 max_transfer_size=0 numa_node_info_size=0 reserved=0x0 \
         -> TRUE max_parallelism=2 max_transfer_size=1048576\n\
         CompressedMemoryStreamFinish stream_size=11075584 compression_rate=71 -> FALSE\n"
    );
    let read = Transcript::parse(&transcript.to_json_lines()).unwrap();
    assert_eq!(read, transcript);
    let mut playback = Playback::new(read);
    assert_eq!(ask_both(&mut playback), (true, answered, false));
    let ended = Err(Error::Cancelled);
    assert_eq!(playback.transcript(&ended).entries, transcript.entries);

    // A pointer of another run is never played back.
    let mut with_nodes = |ask: Ask<'_>| {
        if let Ask::CompressedMemoryStreamStart { answer } = ask {
            (answer.numa_node_info, answer.numa_node_info_size) = (0x1234_5678, 2);
        }
        true
    };
    let mut recorder = Recorder::new(Some(&mut with_nodes), Symbols::new());
    ask_both(&mut recorder);
    let mut playback = Playback::new(recorder.transcript());
    assert_eq!(ask_both(&mut playback).1, CompressionAnswer::default());
    let difference = playback
        .difference(&ended)
        .expect("an answer that cannot be given");
    assert!(difference.to_string().contains("NUMA"), "{difference}");
}

#[test]
fn damaged_transcripts_are_refused_with_their_line() {
    let sound = record(&mut process(), 0, Some(&mut script("")))
        .transcript
        .to_json_lines();
    let with = |changes: &[(usize, &str)]| {
        let mut lines: Vec<_> = sound.lines().collect();
        for (line, text) in changes {
            lines[line - 1] = text;
        }
        let error = Transcript::parse(&lines.join("\n")).unwrap_err();
        let mistakes = error.mistakes().iter().map(ToString::to_string);
        mistakes.collect::<Vec<_>>()
    };
    let misspelled = r#"{"n":2,"ask":"IoStrat"}"#;
    let result = r#"{"result":{"status":"complete","hresult":"0x00000000"}}"#;
    for (line, text, expected) in [
        (2, "nonsense", "transcript:2:2: expected ident"),
        (
            3,
            misspelled,
            "transcript:3:23: unknown callback type \"IoStrat\"",
        ),
        (
            3,
            r#"{"n":2,"ask":"IoStart","answer":1}"#,
            "transcript:3:31: unknown field `answer`, expected one of",
        ),
        (
            3,
            r#"{"n":7,"ask":"IoStart"}"#,
            "transcript:3:1: expected question 2, found question 7",
        ),
        (3, result, "transcript:4:1: nothing can follow the result"),
    ] {
        let found = with(&[(line, text)]);
        assert!(found[0].starts_with(expected), "{found:?}");
    }
    // All mistakes, each with its excerpt.
    let found = with(&[(2, "nonsense"), (3, misspelled), (5, "{}")]);
    assert_eq!(found.len(), 3, "{found:?}");
    let error = Transcript::parse("{\"n\":0,\"ask\":\"IoStart\"\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "transcript:1:22: EOF while parsing an object\n  |\n1 | {\"n\":0,\"ask\":\"IoStart\"\n  |                      ^"
    );
}

#[test]
fn the_document_names_every_question_and_field() {
    let document = include_str!("../../docs/transcript.md");
    for kind in AskKind::ALL {
        assert!(
            document.contains(&format!("`{}`", kind.name())),
            "{}",
            kind.name()
        );
    }
    for (dump_type, text) in [(0, NORMAL), (2, FULL)] {
        for entry in record(&mut process(), dump_type, Some(&mut script(text)))
            .transcript
            .entries
        {
            for (name, _) in entry.input.iter().chain(entry.pre.iter()).chain(entry.out.iter()) {
                assert!(
                    document.contains(&format!("`{name}`")),
                    "{name} of {}",
                    entry.ask.name()
                );
            }
        }
    }
    let example = document
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert!(Transcript::parse(&example.replace("\"n\":5", "\"n\":0")).is_ok());
}

#[test]
fn questions_in_a_row_are_one_line_of_a_listing() {
    let text = "[[rule]]\nask = \"Cancel\"\ncheck_cancel = true";
    let listing = record(&mut process(), 0, Some(&mut script(text)))
        .transcript
        .to_string();
    let cancels: Vec<_> = listing
        .lines()
        .filter(|line| line.starts_with("Cancel"))
        .collect();
    assert!(cancels.iter().any(|line| line.ends_with("times)")), "{listing}");
}

/// Waits until every thread of a process sleeps in a system call: then /proc/PID/task/TID/syscall
/// begins with its number.
fn wait_until_all_sleep(pid: u32) {
    let is_asleep = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
        text.starts_with(|first: char| first.is_ascii_digit())
    };
    while !fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .all(|task| is_asleep(task.unwrap()))
    {
        std::thread::yield_now();
    }
}

/// One less thread, ranges by name, and calls for every read.
const LIVE: &str = r#"
[[rule]]
ask = "IncludeThread"
thread = "T2"
return = false
[[rule]]
ask = "Module"
module = "libc.so*"
and = ["MODULE", "CV_RECORD"]
[[rule]]
ask = "Memory"
memory = ["waiting/0x40", "stack(T1)+0x80/0x20"]
[[rule]]
ask = "RemoveMemory"
memory = "stack(T3)+0x80/0x8"
[[rule]]
ask = "Cancel"
check_cancel = true
"#;

#[test]
fn live_dialogues_are_the_same_in_every_run_and_name_no_address() {
    let program = victim::c("waiting", Frames::Pointers);
    let dialogue = |callback: Option<&mut dyn Callback>| {
        let victim = Victim::start::<&str>(&program, &[]);
        wait_until_all_sleep(victim.pid());
        let mut process = dumpwright::native::process(victim.pid()).unwrap();
        let mut recorder = Recorder::new(callback, Symbols::live());
        let outcome = dump(
            &mut process,
            &Request::new(DumpType::NORMAL),
            Some(&mut recorder),
            &mut Vec::new(),
        );
        (recorder.finish(&outcome), outcome)
    };
    let scripted = || {
        let mut script = Script::parse(LIVE, "live.toml").unwrap().symbols(Symbols::live());
        let (transcript, outcome) = dialogue(Some(&mut script));
        assert!(script.problems().is_empty(), "{:?}", script.problems());
        assert!(outcome.is_ok(), "{outcome:?}");
        transcript
    };
    let first = scripted();
    let listing = first.to_string();
    assert!(
        listing.contains("IncludeThread thread=T2 | flags=0x17 -> FALSE"),
        "{listing}"
    );
    assert!(listing.contains("rip=libc.so.6+"), "{listing}");
    assert!(
        listing.contains("Memory | base=0x0 size=0 -> TRUE base=stack(T1)+0x80 size=32"),
        "{listing}"
    );
    let raw = listing
        .split([' ', '=', '\n'])
        .filter(|word| word.starts_with("0x") && word.len() > "0x12345678".len());
    assert_eq!(raw.collect::<Vec<_>>(), [] as [&str; 0], "{listing}");
    for _ in 0..4 {
        let next = scripted();
        assert_eq!(first.difference(&next), None, "{listing}\n{next}");
    }
    // The answers also work for a fifth process, which has other addresses again.
    let mut playback = Playback::new(Transcript::parse(&first.to_json_lines()).unwrap());
    let (played, outcome) = dialogue(Some(&mut playback));
    assert_eq!(playback.difference(&outcome), None);
    assert_eq!(played, first);
}
