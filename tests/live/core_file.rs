//! Core files: what the kernel has written of a victim that a signal has killed, as a dump.
//!
//! The core is read independently, with the crate `object` and the offsets of the kernel's
//! structures. The tests need a kernel that writes cores into the folder of the process
//! (`/proc/sys/kernel/core_pattern` is `core`) and say so where it does not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dumpwright::read::{CodeView, Dump};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSegment};
use serde_json::Value;
use tempfile::TempDir;

use crate::capture::{Capture, steady};
use crate::support::cores::CoreOfVictim;
use crate::support::dumper::{self, dumpwright};
use crate::support::victim::{self, CrashTruth, Frames};

/// The red zone of x86-64, which belongs to the stack.
const RED_ZONE: u64 = 128;

/// The kernel's general registers, in the order of `struct user_regs_struct`.
const REGISTERS: [&str; 27] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
];

/// A core, read without the code under test.
struct PlainCore {
    bytes: Vec<u8>,
}

impl PlainCore {
    fn file(&self) -> ElfFile64<'_, LittleEndian> {
        ElfFile64::parse(&*self.bytes).expect("object reads it")
    }

    /// The memory, if the core has all of it.
    fn memory(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let file = self.file();
        let mut segments = file.segments();
        segments.find_map(|segment| {
            let range = segment.data_range(address, length).expect("it is whole");
            range.map(<[u8]>::to_vec)
        })
    }

    /// The general registers of each thread, in the order of the core.
    fn threads(&self) -> Vec<(u32, BTreeMap<&'static str, u64>)> {
        /// `NT_PRSTATUS`.
        const STATUS: object::elf::NoteType = object::elf::NoteType(1);
        let file = self.file();
        let (data, header) = (&*self.bytes, file.elf_header());
        let mut threads = Vec::new();
        for segment in header.program_headers(LittleEndian, data).unwrap() {
            let Some(mut notes) = segment.notes(LittleEndian, data).unwrap() else {
                continue;
            };
            while let Some(note) = notes.next().unwrap() {
                if note.name() != b"CORE" || note.n_type(LittleEndian) != STATUS {
                    continue;
                }
                let status = note.desc();
                let word = |at: usize| u64::from_le_bytes(status[at..at + 8].try_into().unwrap());
                // The offsets of pr_pid and pr_reg in struct elf_prstatus.
                let registers = REGISTERS.iter().enumerate();
                let registers = registers.map(|(index, name)| (*name, word(112 + 8 * index)));
                threads.push((word(32) as u32, registers.collect()));
            }
        }
        threads
    }
}

/// A crash of the victim for crashes. `None` if the kernel writes no core.
fn crash_of(arguments: &[&str]) -> Option<CoreOfVictim> {
    CoreOfVictim::of(&victim::c("crash", Frames::NoPointers), arguments)
}

fn plain(core: &CoreOfVictim) -> PlainCore {
    PlainCore {
        bytes: fs::read(&core.path).unwrap(),
    }
}

/// Dumps the core with these options. Returns the result and the dump.
fn dump_of(core: &CoreOfVictim, options: &[&str], status: i32) -> (Value, Dump) {
    dump(&core.path, options, status, &core.beside("core.dmp"))
}

fn dump(core: &Path, options: &[&str], status: i32, into: &Path) -> (Value, Dump) {
    let mut command = dumpwright();
    command
        .args(["dump", "--json", "--force", "--core"])
        .arg(core)
        .arg("-o")
        .arg(into)
        .args(options);
    let output = command.output().unwrap();
    (result(&output, status), Dump::open(into).unwrap())
}

fn result(output: &Output, status: i32) -> Value {
    let texts = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy);
    assert_eq!(output.status.code(), Some(status), "{texts:?}");
    serde_json::from_str(&texts[0]).unwrap_or_else(|error| panic!("{error}: {texts:?}"))
}

/// The texts of a list of the result, with their subjects.
fn reasons(result: &Value, list: &str) -> Vec<String> {
    let listed = result[list].as_array().expect("a list").iter();
    listed
        .map(|one| {
            format!(
                "{}: {}",
                one["subject"].as_str().unwrap(),
                one["reason"].as_str().unwrap()
            )
        })
        .collect()
}

/// What a dump has of a thread: the registers with the kernel's names, and the stack.
fn registers(context: &dumpwright::read::Context) -> BTreeMap<&'static str, u64> {
    let all = context.amd64().expect("a context of x86-64");
    BTreeMap::from([
        ("r15", all.r15),
        ("r14", all.r14),
        ("r13", all.r13),
        ("r12", all.r12),
        ("rbp", all.rbp),
        ("rbx", all.rbx),
        ("r11", all.r11),
        ("r10", all.r10),
        ("r9", all.r9),
        ("r8", all.r8),
        ("rax", all.rax),
        ("rcx", all.rcx),
        ("rdx", all.rdx),
        ("rsi", all.rsi),
        ("rdi", all.rdi),
        ("rip", all.rip),
        ("rsp", all.rsp),
    ])
}

/// Crashes a victim, dumps its core and compares the dump with the core and with what the victim
/// has said before.
fn crash(arguments: &[&str]) {
    let Some(crash) = crash_of(arguments) else {
        return;
    };
    let (truth, core) = (crash.truth::<CrashTruth>(), plain(&crash));
    let (result, dump) = dump_of(&crash, &[], 0);
    dumper::check(&crash.beside("core.dmp")).unwrap();
    assert_eq!(result["process_id"], truth.pid, "{arguments:?}");
    assert_eq!(
        (&result["hold"], &result["pause_us"]),
        (&"core".into(), &0.into())
    );

    let exception = dump.exception().unwrap().expect("a signal has killed it");
    assert_eq!(
        (exception.thread_id, exception.code, exception.flags.cast_signed()),
        (truth.tid, truth.signal, truth.code),
        "{arguments:?}"
    );
    if truth.code > 0 && truth.stack.is_none() {
        assert_eq!(exception.address, truth.address, "{arguments:?}");
    }
    if let Some(instruction) = truth.instruction {
        let context = exception.context.as_ref().expect("it has registers");
        assert_eq!(context.instruction_pointer(), Some(instruction), "{arguments:?}");
    }

    let threads = dump.threads().unwrap();
    let expected: BTreeMap<_, _> = core.threads().into_iter().collect();
    assert_eq!(threads.len(), expected.len(), "{arguments:?}");
    assert_eq!(threads[0].id, truth.pid, "the first thread comes first");
    for bystander in truth.bystanders.iter().filter(|tid| **tid != 0) {
        assert!(expected.contains_key(bystander), "{arguments:?}: {bystander}");
    }
    for thread in &threads {
        let kernel = &expected[&thread.id];
        let context = thread.context.as_ref().expect("it has registers");
        for (name, value) in registers(context) {
            assert_eq!(
                value, kernel[name],
                "{arguments:?}: {name} of thread {}",
                thread.id
            );
        }
        assert_eq!(thread.teb, kernel["fs_base"]);
        let (pointer, stack) = (kernel["rsp"], &thread.stack);
        let end = stack.end().expect("a stack");
        assert!(
            stack.size > 0 && pointer < end,
            "{arguments:?}: {pointer:#x} {stack:x?}"
        );
        let is_overflow = pointer < stack.start;
        assert!(
            is_overflow || stack.start == pointer - RED_ZONE,
            "{arguments:?}: {stack:x?}"
        );
        let bytes = dump.memory(stack.start, stack.size.into()).unwrap();
        assert!(
            bytes.is_some() && bytes == core.memory(stack.start, stack.size.into()),
            "{arguments:?}: stack of thread {}",
            thread.id
        );
    }
    if let Some([low, high]) = truth.stack {
        let thread = threads.iter().find(|thread| thread.id == truth.tid).unwrap();
        let stack = (thread.stack.start, thread.stack.end().unwrap());
        assert!(
            stack.0 < low + 0x4000 && stack.1 + 0x8000 > high,
            "{stack:x?} {low:x} {high:x}"
        );
    }
    // The environment is above the stack of the first thread, and nobody asked for it.
    let main = threads[0].stack;
    let bytes = dump.memory(main.start, main.size.into()).unwrap().unwrap();
    let secret: &[u8] = b"VICTIM_TESTIMONY=";
    assert!(!bytes.windows(secret.len()).any(|part| part == secret));
}

#[test]
fn a_null_dereference() {
    crash(&["null"]);
}

#[test]
fn a_null_dereference_on_the_only_thread() {
    crash(&["null-main"]);
}

#[test]
fn a_jump_to_a_non_canonical_address() {
    crash(&["non-canonical"]);
}

#[test]
fn a_call_of_a_null_function() {
    crash(&["null-call"]);
}

#[test]
fn an_illegal_instruction() {
    crash(&["illegal"]);
}

#[test]
fn a_division_by_zero() {
    crash(&["divide"]);
}

#[test]
fn an_abort() {
    crash(&["abort"]);
}

#[test]
fn an_access_behind_the_end_of_a_mapped_file() {
    crash(&["bus"]);
}

#[test]
fn a_stack_overflow_in_a_thread() {
    crash(&["overflow"]);
}

#[test]
fn a_stack_overflow_on_the_main_thread() {
    crash(&["overflow-main"]);
}

/// rust-minidump's reader finds the crash, the threads and the modules.
#[test]
fn another_reader_opens_the_dump() {
    use minidump::{Minidump, MinidumpException, MinidumpModuleList, MinidumpThreadList, Module};
    let Some(crash) = crash_of(&["null"]) else {
        return;
    };
    let truth = crash.truth::<CrashTruth>();
    dump_of(&crash, &[], 0);
    let dump = Minidump::read_path(crash.beside("core.dmp")).unwrap();
    let exception = dump.get_stream::<MinidumpException<'_>>().unwrap();
    assert_eq!(exception.get_crashing_thread_id(), truth.tid);
    let threads = dump.get_stream::<MinidumpThreadList<'_>>().unwrap();
    assert!(threads.get_thread(truth.tid).is_some());
    let modules = dump.get_stream::<MinidumpModuleList>().unwrap();
    let main = modules.main_module().expect("a main module");
    assert!(main.code_file().ends_with("/crash"), "{}", main.code_file());
    assert!(main.code_identifier().is_some());
}

/// A pipe and a compressed core give the same dump, and say how.
#[test]
fn a_pipe_and_a_compressed_core_are_the_same() {
    let Some(crash) = crash_of(&["null"]) else {
        return;
    };
    let bytes = fs::read(&crash.path).unwrap();
    let (_, expected) = dump_of(&crash, &["--type", "mini"], 0);
    let compressed = zstd::encode_all(&bytes[..], 1).unwrap();
    let packed = crash.beside("packed.zst");
    fs::write(&packed, &compressed).unwrap();

    let into = crash.beside("other.dmp");
    let same = |dump: &Dump, what: &str| {
        assert_eq!(memory(dump), memory(&expected), "{what}");
        let contexts = |dump: &Dump| -> Vec<_> {
            let threads = dump.threads().unwrap().into_iter();
            threads.map(|thread| (thread.id, thread.context)).collect()
        };
        assert_eq!(contexts(dump), contexts(&expected), "{what}");
        assert_eq!(identities(dump), identities(&expected), "{what}");
    };
    let (result_of_file, dump_of_file) = dump(&packed, &["--type", "mini"], 0, &into);
    same(&dump_of_file, "compressed");
    let spooled = |result: &Value| {
        let notes = reasons(result, "notes");
        notes.iter().any(|note| note.contains("unlinked temporary file"))
    };
    assert!(spooled(&result_of_file), "{result_of_file}");
    for (what, input) in [("pipe", bytes), ("compressed pipe", compressed)] {
        let mut command = dumpwright();
        command
            .args(["dump", "--json", "--force", "--type", "mini", "--core", "-", "-o"])
            .arg(&into)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut pipe, &input).unwrap();
        drop(pipe);
        let result = result(&child.wait_with_output().unwrap(), 0);
        assert!(spooled(&result), "{what}: {result}");
        same(&Dump::open(&into).unwrap(), what);
    }
}

/// The ranges of memory in a dump, with their bytes.
fn memory(dump: &Dump) -> BTreeMap<u64, Vec<u8>> {
    let ranges = dump.memory_ranges().unwrap().into_iter();
    ranges
        .map(|range| {
            let bytes = dump.memory(range.address, range.size).unwrap();
            (range.address, bytes.expect("it is in the dump"))
        })
        .collect()
}

/// The modules of a dump: base, size, name, and build id.
fn identities(dump: &Dump) -> Vec<(u64, u32, Option<String>, Option<CodeView>)> {
    let modules = dump.modules().unwrap().into_iter();
    modules
        .map(|module| (module.base, module.size, module.name, module.code_view))
        .collect()
}

/// A core that was cut off makes a partial dump that says what is missing.
#[test]
fn a_core_that_is_cut_off_makes_a_partial_dump() {
    let Some(crash) = crash_of(&["null"]) else {
        return;
    };
    let (truth, core) = (crash.truth::<CrashTruth>(), plain(&crash));
    let whole = fs::metadata(&crash.path).unwrap().len();
    let threads: BTreeMap<_, _> = core.threads().into_iter().collect();
    // The stack of the first thread is the last mapping but one.
    let stack = threads[&truth.pid]["rsp"];
    let file = core.file();
    let last = file
        .segments()
        .filter(|segment| segment.address() <= stack)
        .last()
        .unwrap();
    let (start, _) = last.file_range();
    fs::OpenOptions::new()
        .write(true)
        .open(&crash.path)
        .and_then(|file| file.set_len(start))
        .unwrap();
    let (result, dump) = dump_of(&crash, &[], 3);
    let missing = reasons(&result, "missing");
    let cut = format!("{start} of {whole} bytes");
    assert!(missing.iter().any(|reason| reason.contains(&cut)), "{missing:?}");
    let listed = missing
        .iter()
        .filter(|reason| reason.contains("cut off before it"));
    assert!(listed.count() > 0, "{missing:?}");
    let exception = dump.exception().unwrap().expect("its signal is known");
    assert_eq!(
        (exception.thread_id, exception.address),
        (truth.tid, truth.address)
    );
    let crashed = dump.threads().unwrap();
    let crashed = crashed.iter().find(|thread| thread.id == truth.tid).unwrap();
    assert!(crashed.stack.size > 0, "its stack comes before");
}

/// What the kernel has left out is read from the file of the same build, and from no other.
#[test]
fn files_of_the_same_build_have_what_the_core_lacks() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("victim");
    crate::support::copy_program(&victim::c("crash", Frames::NoPointers), &program);
    let Some(crash) = CoreOfVictim::of(&program, &["null"]) else {
        return;
    };
    let (truth, core) = (crash.truth::<CrashTruth>(), plain(&crash));
    let threads: BTreeMap<_, _> = core.threads().into_iter().collect();
    let instruction = threads[&truth.tid]["rip"];
    assert_eq!(core.memory(instruction, 8), None, "the kernel leaves out code");
    let (result, dump) = dump_of(&crash, &["--type", "with-code-segs"], 0);
    let notes = reasons(&result, "notes");
    assert!(
        notes.iter().any(|note| note.contains("was read from its file")),
        "{notes:?}"
    );
    let code = dump.memory(instruction, 8).unwrap().expect("code is in the dump");
    let file = fs::read(&program).unwrap();
    let image = ElfFile64::<LittleEndian>::parse(&*file).unwrap();
    let base = dump.modules().unwrap()[0].base;
    let in_file = image
        .segments()
        .find_map(|segment| segment.data_range(instruction - base, 8).unwrap());
    assert_eq!(in_file, Some(&*code));

    // Another build has this name now.
    crate::support::copy_program(&victim::c("crash", Frames::Pointers), &program);
    let (result, dump) = dump_of(&crash, &["--type", "with-code-segs"], 3);
    let missing = reasons(&result, "missing");
    let other = missing.iter().filter(|reason| reason.contains("another build"));
    assert!(other.count() > 0, "{missing:?}");
    assert_eq!(
        dump.memory(instruction, 8).unwrap(),
        None,
        "bytes of another build"
    );
    let identity = identities(&dump);
    assert!(identity[0].3.is_some(), "the build id in the core: {identity:?}");
}

/// A dump of a live process, and one of the core that gcore writes of it.
#[test]
fn a_core_of_gcore_and_the_live_process_are_the_same() {
    let folder = TempDir::new().unwrap();
    let nothing = Command::new("gcore").arg("--help").output();
    if nothing.is_err() {
        eprintln!("SKIPPED: gcore (of the package gdb) is not installed");
        return;
    }
    let victim = steady(&victim::live("parked"));
    let live = Capture::of(victim.pid(), "normal");
    let gcore = Command::new("gcore")
        .arg("-o")
        .arg(folder.path().join("core"))
        .arg(victim.pid().to_string())
        .env_remove("DEBUGINFOD_URLS")
        .output()
        .unwrap();
    let core = folder.path().join(format!("core.{}", victim.pid()));
    assert!(core.exists(), "{gcore:?}");
    let (result, cored) = dump(&core, &[], 0, &folder.path().join("core.dmp"));
    assert_eq!(result["exception"], Value::Null, "no signal has killed it");
    assert_eq!(identities(&cored), identities(&live.dump));
    let (cored_threads, live_threads) = (cored.threads().unwrap(), live.dump.threads().unwrap());
    assert_eq!(cored_threads.len(), live_threads.len());
    for (cored_thread, live_thread) in cored_threads.iter().zip(&live_threads) {
        assert_eq!(cored_thread.id, live_thread.id);
        let of = |thread: &dumpwright::read::Thread| registers(thread.context.as_ref().unwrap());
        assert_eq!(of(cored_thread), of(live_thread), "{}", live_thread.id);
        assert_eq!(
            (
                cored_thread.stack.start,
                cored_thread.stack.size,
                cored_thread.teb
            ),
            (live_thread.stack.start, live_thread.stack.size, live_thread.teb),
            "{}",
            live_thread.id
        );
        let stack = |dump: &Dump| {
            dump.memory(live_thread.stack.start, live_thread.stack.size.into())
                .unwrap()
        };
        assert!(stack(&cored) == stack(&live.dump), "stack of {}", live_thread.id);
    }
}

/// Without an option for the output, the file is named after the program in the core.
#[test]
fn the_dump_is_named_after_the_program_in_the_core() {
    let Some(crash) = crash_of(&["null-main"]) else {
        return;
    };
    let pid = crash.truth::<CrashTruth>().pid;
    let mut command = dumpwright();
    command.args(["dump", "--core"]).arg(&crash.path);
    let output = command
        .args(["--name", "%e-%p.dmp"])
        .current_dir(crash.folder())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("SIGSEGV") && !text.contains("paused"), "{text}");
    let file = crash.beside(&format!("crash-{pid}.dmp"));
    let dump = Dump::open(&file).unwrap();
    assert_eq!(dump.threads().unwrap()[0].name.as_deref(), Some("crash"));
}

#[test]
fn explain_counts_what_the_dump_has() {
    let Some(crash) = crash_of(&["null"]) else {
        return;
    };
    let (dumped, _) = dump_of(&crash, &["--type", "mini"], 0);
    let mut command = dumpwright();
    command.args(["explain", "--json", "--type", "mini", "--core"]);
    let explained = result(&command.arg(&crash.path).output().unwrap(), 0);
    for key in ["threads", "modules", "bytes"] {
        assert_eq!(explained[key], dumped[key], "{key}: {explained}");
    }
}

/// How the process was held, and for how long, is not a question for a core.
#[test]
fn options_for_live_processes_are_refused() {
    for option in [
        &["--hold", "stop"][..],
        &["--max-pause", "5ms"],
        &["--after", "5ms"],
    ] {
        let mut command = dumpwright();
        let output = command
            .args(["dump", "--core", "core"])
            .args(option)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{complaint}");
        assert!(
            complaint.contains("--core") && complaint.contains(option[0]),
            "{complaint}"
        );
    }
}

#[test]
fn what_is_no_core_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let text = file("text", b"not a core at all, but a text");
    let empty = file("empty", b"");
    let packed = file("packed", &zstd::encode_all(&b"a compressed text"[..], 1).unwrap());
    let program = victim::c("crash", Frames::NoPointers);
    for (path, reason) in [
        (&text, "it does not begin with an ELF header"),
        (&empty, "it is empty"),
        (&packed, "it does not begin with an ELF header"),
        (&program, "it is an ELF file, but not a core"),
        (&folder.path().to_owned(), "it is not a regular file"),
        (&folder.path().join("nothing"), "No such file"),
    ] {
        let into = folder.path().join("refused.dmp");
        let mut command = dumpwright();
        let output = command
            .args(["dump", "--core"])
            .arg(path)
            .arg("-o")
            .arg(&into)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(reason), "{complaint}, not {reason}");
        assert!(complaint.contains(&path.display().to_string()), "{complaint}");
        assert!(!into.exists());
    }
}
