//! Clients: programs whose callbacks do the same as those of published programs, run against one
//! target; and problems that users of Microsoft's function have reported.
//!
//! Would catch: a callback of a kind that is in use and does not work; a dump that readers reject
//! because of what a client added; requested memory that is missing and not reported; a mistake in
//! a callback that leads to an error code without a reason; a target that is left suspended.
//!
//! The callbacks were written for this test. Each kind was found in several programs for Windows.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dumpwright::read::{self, Level};
use dumpwright_fixtures::compressed_memory;
use dumpwright_fixtures::proc::assert_released;
use dumpwright_fixtures::readers::{Reading, breakpad, rust_minidump, symbols};
use dumpwright_fixtures::victim;
use minidump::{Minidump, MinidumpException, MinidumpModuleList, MinidumpThreadList};
use tempfile::TempDir;

#[path = "support/mod.rs"]
mod support;

const SANITIZED: &[&str] = &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const PAGE: u64 = 4096;

/// `target.c`, running.
struct Target {
    child: Child,
    facts: BTreeMap<String, u64>,
    folder: TempDir,
}

impl Target {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[&'static str]) -> Self {
        let built = |source: &str, name: &str, more: &[&'static str]| {
            let source = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/programs/clients")
                .join(source);
            let flags = [&["-g", "-O1", "-Wall", "-Werror", "-pthread"], more, flags].concat();
            victim::build(name, std::slice::from_ref(&source), &flags, |into| {
                dumpwright_fixtures::run_well(
                    Command::new("gcc").args(&flags).arg(&source).arg("-o").arg(into),
                );
            })
        };
        let plugin = |define, name| built("plugin.c", name, &["-shared", "-fPIC", define]);
        let plugins = [
            plugin("-DPLUGIN=PLUGIN1", "libplugin1.so"),
            plugin("-DPLUGIN=PLUGIN2", "libplugin2.so"),
        ];
        let program = built("target.c", "target", &[]);
        let mut child = Command::new(program)
            .args(plugins)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was just built");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let lines = output.lines().map(|line| line.expect("text"));
        let facts = lines.take_while(|line| line != "ready 1").map(|line| {
            let (name, value) = line.split_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        let facts = facts.collect();
        Self {
            child,
            facts,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn fact(&self, name: &str) -> u64 {
        self.facts[name]
    }

    /// Runs a client to its end, and checks that the target runs on.
    fn dumped(&self, program: &Path, mode: &str) -> Dump {
        self.dumped_with(program, mode, &[])
    }

    fn dumped_with(&self, program: &Path, mode: &str, variables: &[(&str, &str)]) -> Dump {
        let path = self.folder.path().join("client.dmp");
        let id = self.child.id();
        let output = Command::new(program)
            .arg(id.to_string())
            .arg(&path)
            .arg(mode)
            .envs(
                self.facts
                    .iter()
                    .map(|(name, value)| (format!("TARGET_{name}"), value.to_string())),
            )
            .env_remove("DUMPWRIGHT_PROFILE")
            .envs(variables.iter().copied())
            .output()
            .expect("it was just built");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{} {mode}: {}\n{errors}",
            program.display(),
            output.status
        );
        assert_released(id);
        Dump {
            told: String::from_utf8(output.stdout).expect("text"),
            bytes: fs::read(&path).expect("the client has made it"),
            path,
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a client, and the dump that it has written.
struct Dump {
    told: String,
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Dump {
    /// Fails unless the client has written a complete dump that breaks no rule of `check`.
    fn whole(self) -> Self {
        let outcome = self
            .told
            .lines()
            .find(|line| line.starts_with("TRUE") || line.starts_with("FALSE"));
        assert_eq!(outcome, Some("TRUE complete"), "{}", self.told);
        self.breaks_no_rule()
    }

    fn breaks_no_rule(self) -> Self {
        let dump = read::Dump::from_bytes(self.bytes.clone()).expect("a minidump");
        let violations = read::check(&dump).expect("it is in memory");
        let errors: Vec<String> = violations
            .iter()
            .filter(|violation| violation.severity == Level::Error)
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        self
    }

    /// Fails unless the client has reported this error code and these words.
    fn fails(&self, code: &str, words: &str) {
        let failed = self
            .told
            .lines()
            .find(|line| line.starts_with("FALSE"))
            .unwrap_or(&self.told);
        assert!(
            failed.starts_with(&format!("FALSE {code} ")) && failed.contains(words),
            "{failed}"
        );
    }

    fn minidump(&self) -> Minidump<'static, Vec<u8>> {
        Minidump::read(self.bytes.clone()).expect("a minidump")
    }

    /// Returns bytes at an address, if the dump contains all of them.
    fn at(&self, address: u64, len: usize) -> Option<Vec<u8>> {
        let dump = self.minidump();
        let memory = dump.get_memory()?;
        let byte = |at| memory.memory_at_address(at)?.get_memory_at_address::<u8>(at);
        (address..).take(len).map(byte).collect()
    }

    fn text_at(&self, address: u64, text: &str) -> bool {
        self.at(address, text.len()).as_deref() == Some(text.as_bytes())
    }

    /// Whether the text is anywhere in the file.
    fn has(&self, text: &str) -> bool {
        self.bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    }

    fn stream(&self, stream_type: u32) -> Option<Vec<u8>> {
        let dump = read::Dump::from_bytes(self.bytes.clone()).expect("a minidump");
        dump.stream_bytes(stream_type).expect("it is in memory")
    }

    fn threads(&self) -> Vec<u64> {
        let dump = self.minidump();
        let threads: MinidumpThreadList<'_> = dump.get_stream().expect("threads");
        threads
            .threads
            .iter()
            .map(|thread| thread.raw.thread_id.into())
            .collect()
    }

    fn modules(&self) -> Vec<String> {
        let modules: MinidumpModuleList = self.minidump().get_stream().expect("modules");
        let name = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        modules.iter().map(|module| name(&module.name)).collect()
    }
}

fn client(source: &str) -> PathBuf {
    let compiler = if source.ends_with(".cpp") { "g++" } else { "gcc" };
    support::program(&format!("clients/{source}"), compiler, SANITIZED)
}

#[test]
fn a_breakpad_client_has_its_memory_and_its_own_streams() {
    const BREAKPAD_INFO: u32 = 0x4767_0001;
    let target = Target::start();
    for profile in ["documented", "dbghelp63", "dbghelp10"] {
        let variables = [("DUMPWRIGHT_PROFILE", profile)];
        let dump = target
            .dumped_with(&client("app_memory.cpp"), "", &variables)
            .whole();
        assert!(dump.text_at(target.fact("heap"), "HEAP-MARK"));
        assert!(dump.text_at(target.fact("secret") + PAGE, "SECRET-MARK"));
        assert!(dump.at(target.fact("secret") + PAGE + 32, 1).is_none());
        assert_eq!(dump.threads().len(), 5);
        let requesting = target.fact("thread3") as u32;
        let info: Vec<u8> = [3, 4711, requesting]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        assert_eq!(dump.stream(BREAKPAD_INFO), Some(info));
        assert_eq!(
            dump.stream(0x1f_0001).as_deref(),
            Some(&b"assertion failed: queue != nullptr\0"[..])
        );

        // These readers, one of them Breakpad's own, reject a file with two of these streams.
        let symbols = symbols::of(&[]);
        let judge = |reading: Reading| {
            assert_eq!(reading.complaints, [""; 0], "{}", reading.reader);
            assert_eq!(reading.threads.len(), 5, "{}", reading.reader);
            assert_eq!(
                reading.crash.expect("an exception").tid,
                requesting,
                "{}",
                reading.reader
            );
        };
        judge(breakpad::read(&dump.path, &symbols));
        judge(rust_minidump::read(&dump.path, rust_minidump::Symbols::Local));
        let (raw, _) = breakpad::raw(&dump.path);
        let value = |name| breakpad::value(&raw, "MDRawBreakpadInfo", name);
        assert_eq!(value("requesting_thread_id"), Some(requesting.into()), "{raw}");
    }
}

#[test]
fn a_reporter_shows_progress_and_can_stop() {
    let target = Target::start();
    let program = support::program("clients/progress.c", "gcc", &["-O1", "-fshort-wchar"]);
    let dump = target.dumped(&program, "count").whole();
    let expected = "threads 5, modules many, crash in libplugin1.so: libplugin1.so, kernel asked 00000000\n";
    assert!(dump.told.starts_with(expected), "{}", dump.told);
    let dump = target.dumped(&program, "kernel").whole();
    // The answer of a system that makes no kernel dumps: STATUS_NOT_IMPLEMENTED as an HRESULT.
    assert!(dump.told.contains("kernel asked d0000002"), "{}", dump.told);
    for mode in ["stop", "later"] {
        let dump = target.dumped(&program, mode);
        dump.fails("800704c7", "cancelled");
        assert!(dump.bytes.is_empty());
        assert_eq!(
            dump.told.contains("threads 0, modules few"),
            mode == "stop",
            "{}",
            dump.told
        );
    }
}

#[test]
fn a_handler_keeps_its_own_modules_and_the_crashed_thread() {
    let target = Target::start();
    let program = client("selection.cpp");
    let dump = target.dumped(&program, "crashed").whole();
    assert_eq!(dump.threads(), [target.fact("thread1")]);
    let mut modules = dump.modules();
    modules.sort();
    assert_eq!(modules, ["libplugin1.so", "target"]);
    assert!(dump.text_at(target.fact("main_data"), "MAIN-DATA"));
    assert!(dump.text_at(target.fact("plugin1"), "PLUGIN1-DATA"));
    assert!(dump.has("STACK-1-MARK"));
    for absent in ["PLUGIN2-DATA", "STACK-0-MARK", "STACK-2-MARK", "HEAP-MARK"] {
        assert!(!dump.has(absent), "{absent}");
    }

    let dump = target.dumped(&program, "without").whole();
    let without: Vec<u64> = (0..4)
        .map(|number| target.fact(&format!("thread{number}")))
        .collect();
    assert_eq!(dump.threads(), without);
    assert!(!dump.has("STACK-4-MARK"));
    assert!(dump.has("STACK-3-MARK"));
    assert!(dump.text_at(target.fact("plugin1"), "PLUGIN1-DATA"));
    assert!(!dump.has("PLUGIN2-DATA"));
    assert!(dump.modules().contains(&"libplugin2.so".to_owned()));
    assert!(dump.text_at(target.fact("heap"), "HEAP-MARK"));
}

#[test]
fn a_service_adds_ranges_and_streams() {
    let target = Target::start();
    let dump = target.dumped(&client("ranges.c"), "").whole();
    assert!(dump.text_at(target.fact("heap"), "HEAP-MARK"));
    let secret = dump
        .at(target.fact("secret"), 3 * PAGE as usize)
        .expect("both ranges, as one");
    assert!(secret[..PAGE as usize].iter().all(|byte| *byte == b's'));
    assert!(secret[PAGE as usize..].starts_with(b"SECRET-MARK"));
    assert_eq!(
        dump.stream(0x4d00_0001).as_deref(),
        Some(&b"{\"product\": \"example\"}\0"[..])
    );
    assert_eq!(dump.stream(0x4d00_0002).map(|bytes| bytes.len()), Some(12));
    assert_eq!(dump.stream(0x4d00_0003).as_deref(), Some(&b""[..]));
    assert_eq!(dump.stream(20).as_deref(), Some(&b"{\"pr"[..]));
}

#[test]
fn an_engine_follows_its_objects_through_memory() {
    let target = Target::start();
    let dump = target.dumped(&client("walker.cpp"), "").whole();
    assert!(dump.text_at(target.fact("object"), "OBJECT-MARK"));
    assert!(dump.text_at(target.fact("last_item"), "ITEM-19-MARK"));
    for number in 0..20 {
        assert!(dump.has(&format!("ITEM-{number}-MARK")), "{number}");
    }
    assert!(!dump.has("OTHER-HEAP-MARK"));
    assert!(!dump.has("STACK-2-MARK"), "the watchdog's");
    assert!(dump.has("STACK-1-MARK") && dump.has("STACK-3-MARK"));
    assert_eq!(dump.threads().len(), 5);
}

#[test]
fn a_tool_writes_to_the_handle_that_it_is_shown() {
    let target = Target::start();
    for mode in ["plain", "tagged"] {
        let dump = target.dumped(&client("by_handle.c"), mode).whole();
        assert_eq!(dump.threads().len(), 5, "{mode}");
    }
}

#[test]
fn an_answer_to_every_type_changes_nothing() {
    let target = Target::start();
    for (types, everything) in [("0", false), ("1925", false), ("1b65", true), ("2", true)] {
        let dump = target.dumped(&client("every_type.c"), types);
        assert!(dump.told.starts_with("unknown 0, of no use 0\n"), "{}", dump.told);
        let dump = dump.whole();
        assert_eq!(dump.threads().len(), 5);
        assert_eq!(dump.has("OTHER-HEAP-MARK"), everything, "{types}");
    }
}

#[test]
fn a_service_compresses_memory_in_pieces_of_its_choice() {
    let target = Target::start();
    let program = client("compressed.c");
    for mode in ["file", "output"] {
        let dump = target.dumped(&program, mode).whole();
        assert!(
            dump.told
                .starts_with("start 1, finish 1, many regions, early 0, prefilled 0\n"),
            "{mode}: {}",
            dump.told
        );
        // A decoder that shares no code with the writer.
        let stream = compressed_memory::stream(&dump.bytes);
        let told = format!("size {}\nrate {}\n", stream.stream_size, stream.rate);
        assert!(dump.told.contains(&told), "{mode}: {told:?}: {}", dump.told);
        assert_eq!(stream.process_id, u64::from(target.child.id()), "{mode}");
        assert_eq!(stream.transfer_size, 1 << 20, "{mode}");
        let memory = compressed_memory::memory(&dump.bytes);
        for (place, mark) in [
            ("heap", "HEAP-MARK"),
            ("main_data", "MAIN-DATA"),
            ("plugin1", "PLUGIN1-DATA"),
        ] {
            let found = compressed_memory::bytes_at(&memory, target.fact(place), mark.len());
            assert_eq!(found, Some(mark.as_bytes()), "{mode}: {place}");
        }
        let secret = target.fact("secret") + PAGE;
        let found = compressed_memory::bytes_at(&memory, secret, 11);
        assert_eq!(found, Some(&b"SECRET-MARK"[..]), "{mode}");
        // The stacks, for readers that do not know the stream.
        assert_eq!(dump.threads().len(), 5, "{mode}");
        assert!(dump.has("STACK-3-MARK"), "{mode}");
    }
    let refused = target.dumped(&program, "pipe");
    refused.fails("80070057", "needs a file");
    assert!(
        refused.told.starts_with("start 0, finish 0, few regions"),
        "{}",
        refused.told
    );
}

#[test]
fn a_snapshot_that_is_none_is_an_error_that_says_so() {
    let target = Target::start();
    let program = client("snapshot.c");
    target
        .dumped(&program, "")
        .fails("8007007f", "IsProcessSnapshot with S_FALSE");
    let dump = target.dumped(&program, "ported").whole();
    assert_eq!(dump.threads().len(), 5);
}

#[test]
fn types_come_in_microsofts_order_with_its_ids_and_flags() {
    let target = Target::start();
    let program = client("protocol.c");
    for (types, thread, module) in [
        ("0", 0x17, 0xd),
        ("1", 0x17, 0xf),
        ("1000", 0x57, 0xd),
        ("1121", 0x77, 0x2f),
    ] {
        let dump = target.dumped(&program, types).whole();
        let lines: Vec<&str> = dump.told.lines().collect();
        // The types before the selection; IncludeThread and IncludeModule; Module and Thread;
        // Memory and RemoveMemory; WriteKernelMinidump.
        assert_eq!(lines[0], "16 17 11 15 6 3* 4* 0* 1* 5 9 7 ", "{types}");
        assert_eq!(
            lines[1],
            format!("wrong 0, thread {thread:#x}, module {module:#x}"),
            "{types}"
        );
        let exception = "exception of thread2: c0000005 at 1234, 2 parameters, 5678; registers equal";
        assert_eq!(lines[2], exception);
        let dump = dump.minidump();
        let read: MinidumpException<'_> = dump.get_stream().expect("an exception");
        assert_eq!(u64::from(read.thread_id), target.fact("thread2"));
    }
}

#[test]
fn a_comment_of_a_wide_string_is_whole() {
    const COMMENT: u32 = 11;
    let target = Target::start();
    let dump = target.dumped(&client("comment.cpp"), "").whole();
    let bytes = dump.stream(COMMENT).expect("a comment");
    let units: Vec<u16> = bytes
        .chunks(2)
        .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
        .collect();
    let text = String::from_utf16(&units).expect("UTF-16");
    assert_eq!(
        text,
        "Unhandled exception \u{2014} \u{1F4A5} in game.exe (build 4711)\0"
    );
    // No other memory of the process follows it.
    assert_eq!(bytes.len() % 2, 0);
}

#[test]
fn a_binding_by_hand_has_the_right_layouts() {
    let target = Target::start();
    let path = target.folder.path().join("binding.dmp");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/clients/binding.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(support::library().join("libdumpwright.so"))
        .arg(target.child.id().to_string())
        .arg(&path)
        .env_remove("DUMPWRIGHT_PROFILE")
        .output()
        .expect("python3 is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let dump = Dump {
        told: "TRUE complete".to_owned(),
        bytes: fs::read(&path).expect("the binding has made it"),
        path,
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("TRUE {}\n", dump.bytes.len())
    );
    let dump = dump.whole();
    let modules = dump.modules();
    assert!(modules.contains(&"libplugin1.so".to_owned()) && !modules.contains(&"libplugin2.so".to_owned()));
    assert_released(target.child.id());
}

#[test]
fn a_member_that_no_header_has_does_not_compile() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/clients/sanitizer.c");
    let output = Command::new("gcc")
        .args([
            "-fsyntax-only",
            "-I",
            concat!(env!("CARGO_MANIFEST_DIR"), "/include"),
        ])
        .arg(source)
        .output()
        .expect("gcc is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("no member named"),
        "{errors}"
    );
}

#[test]
fn threads_of_a_32_bit_process_come_with_their_own_registers() {
    let target = Target::start_with(&["-m32"]);
    let dump = target.dumped(&client("narrow.c"), "").whole();
    let expected = "5 with 32-bit registers, 5 with a stack around them\n";
    assert!(dump.told.starts_with(expected), "{}", dump.told);
    assert_eq!(dump.threads().len(), 5);
}

#[test]
fn memory_with_unreadable_pages_is_in_the_dump_as_far_as_it_can_be() {
    let target = Target::start();
    let program = client("reports.c");
    // Requested memory that exists and cannot be read is reported, and the memory behind it is in
    // the dump.
    let dump = target.dumped(&program, "memory-hole").breaks_no_rule();
    assert!(dump.told.starts_with("TRUE "), "{}", dump.told);
    let hole = target.fact("hole");
    assert!(dump.text_at(hole, "BEFORE-HOLE-MARK"));
    assert!(dump.text_at(hole + 3 * PAGE, "BEHIND-HOLE-MARK"));
    assert!(dump.at(hole + PAGE, 1).is_none());
    let page = format!("{:#x}", hole + PAGE);
    assert!(dump.told.contains(&page), "{page}: {}", dump.told);

    // Full memory: a guard page inside a mapping, and the part of a mapped file behind the file's
    // end. On Windows such pages are regions of their own, so they must not fail a dump with any
    // profile.
    let documented = ["plain:2", "no-callback:2", "no-callback:20002"].map(|mode| (mode, "documented"));
    let others = ["dbghelp63", "dbghelp10"].map(|profile| ("no-callback:2", profile));
    for (mode, profile) in documented.into_iter().chain(others) {
        let variables = [("DUMPWRIGHT_PROFILE", profile)];
        let dump = target.dumped_with(&program, mode, &variables).whole();
        let guarded = target.fact("guarded");
        assert_ne!(
            guarded, 0,
            "this test needs a kernel with MADV_GUARD_INSTALL (Linux 6.13)"
        );
        for (address, text) in [
            (guarded + 8 * PAGE, "BEHIND-GUARD-MARK"),
            (target.fact("cut"), "BEFORE-END-MARK"),
            (hole + 3 * PAGE, "BEHIND-HOLE-MARK"),
        ] {
            assert!(dump.text_at(address, text), "{mode} {profile}: {text}");
        }
        for address in [guarded + PAGE, target.fact("cut") + 4 * PAGE, hole + PAGE] {
            assert!(dump.at(address, 1).is_none(), "{mode} {profile}: {address:#x}");
        }
    }
}

#[test]
fn what_is_filtered_or_removed_is_nowhere_in_the_file() {
    let target = Target::start();
    let program = client("reports.c");
    let plain = target.dumped(&program, "plain").whole();
    assert!(plain.has("STACK-3-MARK"));
    let dump = target.dumped(&program, "plain:8").whole();
    assert!(!dump.has("STACK-3-MARK"), "MiniDumpFilterMemory");
    let dump = target.dumped(&program, "plain:200").whole();
    assert!(dump.has("SECRET-MARK"));
    for (mode, has_page) in [
        ("remove-secret:200", false),
        ("vmregion-zero:2", false),
        ("plain:2", true),
    ] {
        let dump = target.dumped(&program, mode).whole();
        assert_eq!(dump.has("SECRET-MARK"), has_page, "{mode}");
        assert_eq!(
            dump.at(target.fact("secret") + PAGE, 1).is_some(),
            has_page,
            "{mode}"
        );
    }
}

#[test]
fn mistakes_in_callbacks_end_with_their_reason_or_do_no_harm() {
    let target = Target::start();
    let program = client("reports.c");
    let run = |mode: &str| target.dumped(&program, mode);
    run("module-false").fails("80004004", "answered Module with FALSE");
    run("thread-false").fails("80004004", "answered Thread with FALSE");
    run("write-s-false").fails("00000001", "set the status to S_OK (0)");
    run("write-false").fails("80004005", "answered IoWriteAll with FALSE");
    run("write-unset").fails("80004005", "set it to S_OK on success");
    let counted = run("write-count");
    assert!(
        counted.told.starts_with("FALSE 0000") && counted.told.contains("set the status to S_OK (0)"),
        "{}",
        counted.told
    );
    run("plain:80000000").fails("80070057", "0x80000000");
    run("plain:8000000").fails("80070057", "0x8000000");
    run("file-append").fails("80070057", "O_APPEND");

    for mode in ["snapshot-s-ok", "memory-unmapped", "memory-wrap"] {
        assert_eq!(run(mode).whole().threads().len(), 5, "{mode}");
    }
    // Full memory includes code segments, whose flag is cleared.
    run("plain:2002").whole();
    // Nothing was selected, so nothing is missing.
    let nothing = run("all-false").whole();
    assert_eq!((nothing.threads().len(), nothing.modules().len()), (0, 0));
    // After FALSE or without Continue, all further regions are included. No region can grow.
    for mode in ["vmregion-false:2", "vmregion-no-continue:2", "vmregion-grow:2"] {
        let dump = run(mode).whole();
        assert!(
            dump.text_at(target.fact("secret") + PAGE, "SECRET-MARK"),
            "{mode}"
        );
        assert!(dump.text_at(target.fact("heap"), "HEAP-MARK"), "{mode}");
    }
}
