//! Programs that install the crash handler, crash, and die as they would have without it.
//!
//! Would catch: a dump of another thread, signal or register state than that of the crash; a
//! handler that hangs (with the heap locked, without its server, on a stack that has overflowed, in
//! two threads at once), that keeps the program from dying by its signal, or that hides the crash
//! from a handler that was there before; a server that outlives its program, or that its program
//! waits for.

mod victim;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use dumpwright::crash::{self, CrashOptions};
use dumpwright::read::Dump;
use serde::Deserialize;
use tempfile::TempDir;

use crate::support::cargo;
use crate::support::child::Talking;
use crate::support::dumper::{self, dumpwright};

// The variables by which a test tells the victim what to do.
const KIND: &str = "CRASH_KIND";
const FOLDER: &str = "CRASH_FOLDER";
const SERVER: &str = "CRASH_SERVER_PROGRAM";
const LIMIT: &str = "CRASH_LIMIT";
/// It has another handler before.
const EARLIER: &str = "CRASH_EARLIER";
/// It lets the kernel write its core.
const CORE: &str = "CRASH_CORE";
/// It does not install the crash handler.
const PLAIN: &str = "CRASH_PLAIN";

const ADDRESS: u64 = 0x18;
const WILD: u64 = 0x5a5a_5a5a_5000;

/// This is not a test, but the program that the tests start.
#[test]
fn the_victim() {
    if let Some(kind) = victim::begin() {
        victim::run(&kind);
    }
}

#[derive(Deserialize)]
struct CrashFacts {
    pid: u32,
    tid: u32,
    bystander: u32,
}

/// A victim that has installed the handler and waits for its crash.
struct Waiting {
    folder: TempDir,
    program: Talking,
    facts: CrashFacts,
}

/// A victim that has ended.
struct Ended {
    folder: TempDir,
    facts: CrashFacts,
    status: ExitStatus,
    stderr: String,
}

impl Waiting {
    fn start(kind: &str, variables: &[(&str, &str)]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("dumps")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "crash_handler::the_victim", "--nocapture"])
            .env(KIND, kind)
            .env(FOLDER, folder.path())
            .env(SERVER, std::path::absolute(dumpwright().get_program()).unwrap())
            .current_dir(folder.path())
            .envs(variables.iter().copied())
            .stderr(File::create(folder.path().join("stderr")).unwrap());
        let mut program = Talking::start(&mut command);
        let facts = loop {
            let Some(line) = program.line() else {
                let stderr = fs::read_to_string(folder.path().join("stderr")).unwrap();
                panic!("{kind}: it ended before it was ready: {stderr}");
            };
            // The test harness has printed something before.
            if let Some((_, facts)) = line.split_once("FACTS ") {
                break serde_json::from_str(facts).unwrap();
            }
        };
        Self {
            folder,
            program,
            facts,
        }
    }

    fn crash(mut self) -> Ended {
        self.program.tell("\n");
        let status = self.program.wait();
        let stderr = fs::read(self.folder.path().join("stderr")).unwrap();
        Ended {
            folder: self.folder,
            facts: self.facts,
            status,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// The process id of its server.
    fn server(&self) -> i32 {
        let wanted = format!("crash-server\0--client\0{}\0", self.facts.pid);
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut servers = processes.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            let is_server = String::from_utf8_lossy(&command).contains(&wanted);
            is_server.then_some(pid)
        });
        let server = servers.next().expect("it has a server");
        assert_eq!(servers.next(), None);
        server
    }
}

impl Ended {
    fn of(kind: &str, variables: &[(&str, &str)]) -> Self {
        Waiting::start(kind, variables).crash()
    }

    fn dumps(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.path().join("dumps")).unwrap();
        let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    /// The only dump.
    fn dump(&self) -> Dump {
        let path = self.folder.path().join("dumps/crash.dmp");
        assert_eq!(self.dumps(), std::slice::from_ref(&path), "{}", self.stderr);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        dumper::check(&path).unwrap();
        Dump::open(path).unwrap()
    }

    fn has_no_dump(&self, reason: &str) {
        assert_eq!(self.dumps(), [] as [PathBuf; 0]);
        assert!(self.stderr.contains(reason), "{}", self.stderr);
    }
}

/// Whether a process has ended. It may be a zombie that its parent has not waited for.
fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ") || status.contains("State:\tX")
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: the call takes two numbers. The server of a victim has this id.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// What the handler that was there before has seen.
struct Earlier {
    thread: u32,
    siginfo: [u8; 128],
    registers: [u64; 23],
}

fn earlier(folder: &Path) -> Earlier {
    let bytes = fs::read(folder.join("earlier")).unwrap();
    assert_eq!(bytes.len(), 4 + 128 + 184, "it has run once");
    Earlier {
        thread: u32::from_ne_bytes(bytes[..4].try_into().unwrap()),
        siginfo: bytes[4..132].try_into().unwrap(),
        registers: std::array::from_fn(|index| {
            u64::from_ne_bytes(bytes[132 + 8 * index..][..8].try_into().unwrap())
        }),
    }
}

/// The first thread of a core file: its id, RIP, RSP and RBX. And the signal, its code, and its
/// address. System V ABI, and `elf_prstatus` of the kernel.
fn core(bytes: &[u8]) -> ([u64; 4], [u64; 3]) {
    const PT_NOTE: u64 = 4;
    const NT_PRSTATUS: u64 = 1;
    const NT_SIGINFO: u64 = 0x5349_4749;
    let number = |at: u64, size: usize| {
        let mut number = [0; 8];
        number[..size].copy_from_slice(&bytes[at as usize..][..size]);
        u64::from_le_bytes(number)
    };
    let headers = (0..number(56, 2)).map(|index| number(32, 8) + 56 * index);
    let notes = headers.into_iter().find(|at| number(*at, 4) == PT_NOTE).unwrap();
    let (mut at, end) = (number(notes + 8, 8), number(notes + 8, 8) + number(notes + 32, 8));
    let (mut thread, mut signal) = (None, None);
    while at < end {
        let [name, size, kind] = [0, 4, 8].map(|offset| number(at + offset, 4));
        let data = at + 12 + name.next_multiple_of(4);
        // The general registers begin at 112, in the order of `user_regs_struct`.
        let register = |index: u64| number(data + 112 + 8 * index, 8);
        match kind {
            NT_PRSTATUS if thread.is_none() => {
                thread = Some([number(data + 32, 4), register(16), register(19), register(5)]);
            }
            NT_SIGINFO => signal = Some([number(data, 4), number(data + 8, 4), number(data + 16, 8)]),
            _ => {}
        }
        at = data + size.next_multiple_of(4);
    }
    (thread.unwrap(), signal.unwrap())
}

/// The signal, its code, and the address if it is known in advance.
fn expected(kind: &str) -> (i32, i32, Option<u64>) {
    const SEGV_MAPERR: i32 = 1;
    const ILL_ILLOPN: i32 = 2;
    const FPE_INTDIV: i32 = 1;
    const SI_KERNEL: i32 = 0x80;
    const BUS_ADRERR: i32 = 2;
    match kind {
        "null" => (libc::SIGSEGV, SEGV_MAPERR, Some(ADDRESS)),
        "wild" => (libc::SIGSEGV, SEGV_MAPERR, Some(WILD)),
        "non-canonical" => (libc::SIGSEGV, SI_KERNEL, Some(0)),
        "illegal" => (libc::SIGILL, ILL_ILLOPN, None),
        "divide" => (libc::SIGFPE, FPE_INTDIV, None),
        "trap" => (libc::SIGTRAP, SI_KERNEL, None),
        "abort" | "double-free" | "panic" => (libc::SIGABRT, libc::SI_TKILL, None),
        // The guard page is a mapping without access.
        "overflow" => (libc::SIGSEGV, 2, None),
        "bus" => (libc::SIGBUS, BUS_ADRERR, None),
        other => panic!("{other}?"),
    }
}

/// Checks the dump of a crash of this kind against what is known about it.
fn check_dump(kind: &str, ended: &Ended) -> Dump {
    let dump = ended.dump();
    let (signal, code, address) = expected(kind);
    let exception = dump.exception().unwrap().expect("the stream is there");
    assert_eq!(
        (exception.thread_id, exception.code, exception.flags),
        (ended.facts.tid, signal.cast_unsigned(), code.cast_unsigned()),
        "{kind}"
    );
    if let Some(address) = address {
        assert_eq!(exception.address, address, "{kind}");
    }
    let threads = dump.threads().unwrap();
    let thread = |id| threads.iter().find(|thread| thread.id == id).expect("a thread");
    thread(ended.facts.bystander);
    let crashed = thread(ended.facts.tid);
    let registers = exception.context.unwrap().amd64().unwrap();
    assert_eq!(crashed.context.clone().unwrap().amd64(), Some(registers.clone()));
    let stack = crashed.stack.start..crashed.stack.end().unwrap();
    match kind {
        // Below the stack, which is all in use.
        "overflow" => assert!(
            registers.rsp < stack.end && exception.address < stack.end && stack.end - stack.start > 100_000
        ),
        _ => assert!(stack.contains(&registers.rsp), "{kind}"),
    }
    let comments = dump.comments().unwrap();
    let annotations: serde_json::Value = serde_json::from_str(&comments[0]).unwrap();
    assert_eq!(annotations["kind"], kind);
    let announced = format!("dumpwright: crash dump: {}", ended.dumps()[0].display());
    assert!(
        ended.stderr.lines().any(|line| line == announced),
        "{}",
        ended.stderr
    );
    dump
}

/// Tests the kind without and with an earlier handler.
fn crash_is_dumped(kind: &str) {
    let plain = Ended::of(kind, &[(PLAIN, "1")]);
    let ended = Ended::of(kind, &[]);
    assert_eq!(ended.status, plain.status, "it dies as it would have");
    check_dump(kind, &ended);

    let ended = Ended::of(kind, &[(EARLIER, "record")]);
    let (signal, ..) = expected(kind);
    assert_eq!(ended.status.signal(), Some(signal));
    let dump = check_dump(kind, &ended);
    if kind == "trap" {
        // The earlier handler is not installed for this signal.
        return;
    }
    let earlier = earlier(ended.folder.path());
    assert_eq!(earlier.thread, ended.facts.tid);
    let exception = dump.exception().unwrap().unwrap();
    let code = i32::from_ne_bytes(earlier.siginfo[8..12].try_into().unwrap());
    assert_eq!(exception.flags, code.cast_unsigned());
    let address = u64::from_ne_bytes(earlier.siginfo[16..24].try_into().unwrap());
    if code > 0 {
        assert_eq!(exception.address, address, "{kind}");
    }
    let context = exception.context.unwrap().amd64().unwrap();
    let general = [
        (libc::REG_R8, context.r8),
        (libc::REG_R9, context.r9),
        (libc::REG_R10, context.r10),
        (libc::REG_R11, context.r11),
        (libc::REG_R12, context.r12),
        (libc::REG_R13, context.r13),
        (libc::REG_R14, context.r14),
        (libc::REG_R15, context.r15),
        (libc::REG_RDI, context.rdi),
        (libc::REG_RSI, context.rsi),
        (libc::REG_RBP, context.rbp),
        (libc::REG_RBX, context.rbx),
        (libc::REG_RDX, context.rdx),
        (libc::REG_RAX, context.rax),
        (libc::REG_RCX, context.rcx),
        (libc::REG_RSP, context.rsp),
        (libc::REG_RIP, context.rip),
        (libc::REG_EFL, context.eflags.into()),
    ];
    for (register, value) in general {
        assert_eq!(
            earlier.registers[register as usize], value,
            "{kind}: register {register}"
        );
    }
}

macro_rules! kinds {
    ($($name:ident: $kind:literal;)*) => {$(
        #[test]
        fn $name() {
            crash_is_dumped($kind);
        }
    )*};
}

kinds! {
    a_null_pointer: "null";
    a_wild_pointer: "wild";
    a_non_canonical_address: "non-canonical";
    an_illegal_instruction: "illegal";
    a_division_by_zero: "divide";
    a_breakpoint: "trap";
    an_abort: "abort";
    a_stack_overflow: "overflow";
    a_double_free_with_the_heap_locked: "double-free";
    a_page_behind_the_end_of_a_file: "bus";
}

/// Where the kernel writes cores into the working directory, which is its default.
#[test]
fn the_kernels_core_is_that_of_the_crash() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let with_id = fs::read_to_string("/proc/sys/kernel/core_uses_pid").unwrap_or_default();
    if pattern != "core\n" || with_id != "0\n" {
        return;
    }
    for kind in ["null", "trap", "abort"] {
        let ended = Ended::of(kind, &[(CORE, "1")]);
        let Ok(bytes) = fs::read(ended.folder.path().join("core")) else {
            assert!(!ended.status.core_dumped(), "{kind}");
            // A limit forbids cores.
            continue;
        };
        let exception = check_dump(kind, &ended).exception().unwrap().unwrap();
        let registers = exception.context.unwrap().amd64().unwrap();
        let (thread, [signal, code, address]) = core(&bytes);
        assert_eq!(
            thread,
            [
                ended.facts.tid.into(),
                registers.rip,
                registers.rsp,
                registers.rbx
            ],
            "{kind}"
        );
        assert_eq!(
            [signal, code],
            [exception.code, exception.flags].map(u64::from),
            "{kind}"
        );
        if kind == "null" {
            assert_eq!(address, ADDRESS);
        }
    }
}

#[test]
fn a_panic_is_an_annotation() {
    let ended = Ended::of("panic", &[]);
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
    let dump = check_dump("panic", &ended);
    let comment = &dump.comments().unwrap()[0];
    let annotations: serde_json::Value = serde_json::from_str(comment).unwrap();
    let panic = annotations["panic"].as_str().unwrap();
    assert!(
        panic.starts_with("thread crasher, ") && panic.ends_with(": the panic of the victim"),
        "{panic}"
    );
}

#[test]
fn a_program_without_its_server_dies_at_once() {
    let waiting = Waiting::start("null", &[]);
    let server = waiting.server();
    kill(server, libc::SIGKILL);
    while !has_ended(server) {
        std::thread::yield_now();
    }
    let ended = waiting.crash();
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV));
    ended.has_no_dump("the crash server has ended");
}

#[test]
fn a_program_does_not_wait_for_ever() {
    let waiting = Waiting::start("abort", &[(LIMIT, "300")]);
    let server = waiting.server();
    kill(server, libc::SIGSTOP);
    let begun = Instant::now();
    let ended = waiting.crash();
    let elapsed = begun.elapsed();
    kill(server, libc::SIGKILL);
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
    assert!(elapsed.as_millis() >= 300, "{elapsed:?}");
    ended.has_no_dump("has not answered in time");
}

#[test]
fn the_server_ends_with_its_program() {
    let waiting = Waiting::start("end", &[]);
    let server = waiting.server();
    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    assert!(
        !status.contains(&format!("PPid:\t{}\n", waiting.facts.pid)),
        "{status}"
    );
    let open = fs::read_dir(format!("/proc/{server}/fd")).unwrap();
    for file in open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
    {
        let name = file.display().to_string();
        assert!(
            ["/dev/null", "socket:", "anon_inode:[pidfd]", "pidfd:", "/proc/"]
                .iter()
                .any(|start| name.starts_with(start)),
            "it holds {name}, which is the program's"
        );
    }
    let ended = waiting.crash();
    assert_eq!(ended.status.code(), Some(0));
    while !has_ended(server) {
        std::thread::yield_now();
    }
    assert_eq!(ended.dumps(), [] as [PathBuf; 0]);
}

#[test]
fn a_forked_child_dies_without_a_dump() {
    let ended = Ended::of("forked", &[]);
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
    let exception = ended.dump().exception().unwrap().unwrap();
    assert_eq!((exception.thread_id, exception.code), (ended.facts.tid, 6));
}

#[test]
fn a_forked_child_can_install_it_again() {
    let ended = Ended::of("installed-again", &[]);
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{}", ended.stderr);
    let dumps = ended.dumps();
    let codes: Vec<_> = dumps
        .iter()
        .map(|path| {
            let exception = Dump::open(path).unwrap().exception().unwrap().unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, exception.code, exception.thread_id == ended.facts.tid)
        })
        .collect();
    assert_eq!(
        codes,
        [
            ("child.dmp".to_owned(), 11, false),
            ("crash.dmp".to_owned(), 6, true)
        ]
    );
}

#[test]
fn of_two_threads_that_crash_one_is_dumped() {
    let ended = Ended::of("two", &[]);
    let exception = ended.dump().exception().unwrap().unwrap();
    assert_eq!(
        ended.status.signal(),
        Some(exception.code.cast_signed()),
        "the first one ends the process"
    );
}

#[test]
fn an_earlier_handler_that_crashes_ends_the_program() {
    let ended = Ended::of("abort", &[(EARLIER, "crash")]);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV));
    let exception = ended.dump().exception().unwrap().unwrap();
    assert_eq!(exception.code, 6, "the first crash");
}

#[test]
fn a_program_that_has_closed_the_socket_dies() {
    let ended = Ended::of("closed", &[]);
    assert_eq!(ended.status.signal(), Some(libc::SIGSEGV));
    ended.has_no_dump("the program has closed the socket");
}

#[test]
fn what_cannot_work_is_refused_when_it_is_installed() {
    let folder = TempDir::new().unwrap();
    let server = dumpwright().get_program().to_owned();
    let policy = folder.path().join("wrong.toml");
    fs::write(&policy, "max-sise = 1").unwrap();
    let options = || CrashOptions::new(folder.path()).server(&server);
    let cases = [
        (
            CrashOptions::new("/nowhere/at/all").server(&server),
            "/nowhere/at/all",
        ),
        (options().name("%x"), "after %, expected"),
        (options().name("a/b.dmp"), "is not the name of a file"),
        (options().policy(&policy), "did you mean \"max-size\"?"),
        (
            CrashOptions::new(folder.path()).server("/nowhere/server"),
            "cannot start",
        ),
        (
            CrashOptions::new(folder.path()).server("/bin/true"),
            "is not a crash server",
        ),
        (options().server_is_this_program(), "serve_if_asked"),
    ];
    for (options, reason) in cases {
        let error = crash::install(&options).expect_err(reason).to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the policy");
}

#[test]
fn the_command_is_not_for_users() {
    let folder = TempDir::new().unwrap();
    let output = dumpwright()
        .args(["crash-server", "--client", "1", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(reason.contains("not the socket of a crash handler"), "{reason}");
}

/// The example is its own server.
#[test]
fn a_program_can_be_its_own_server() {
    let program = cargo::build(&["--workspace", "--example", "crash_handler"], "crash_handler");
    let folder = TempDir::new().unwrap();
    let output = Command::new(program).arg(folder.path()).output().unwrap();
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
    let dumps: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert_eq!(dumps.len(), 1, "{output:?}");
    let name = dumps[0].file_name().into_string().unwrap();
    assert!(
        name.starts_with("crash_handler.") && name.ends_with(".dmp"),
        "{name}"
    );
    let dump = Dump::open(dumps[0].path()).unwrap();
    assert_eq!(dump.exception().unwrap().unwrap().code, 6);
    let comment = &dump.comments().unwrap()[0];
    assert!(comment.contains("\"request\":\"GET /index.html\""), "{comment}");
}

/// A thousand crashes while threads allocate, load libraries and fork: about two minutes.
/// `CRASHES` is another number.
#[test]
#[ignore = "takes minutes"]
fn a_thousand_crashes_in_a_storm() {
    let crashes = std::env::var("CRASHES").map_or(1000, |number| number.parse().unwrap());
    for crash in 0..crashes {
        let begun = Instant::now();
        let ended = Ended::of("storm", &[]);
        let dump = ended.dump();
        let exception = dump.exception().unwrap().expect("the stream is there");
        assert_eq!(exception.thread_id, ended.facts.tid, "crash {crash}");
        let signal = ended.status.signal().unwrap_or_default();
        // The standard library aborts after a stack overflow.
        let is_same = signal.cast_unsigned() == exception.code;
        assert!(
            is_same || (signal, exception.code) == (6, 11),
            "crash {crash}: {signal}"
        );
        // Its limit.
        assert!(
            begun.elapsed().as_secs() < 30,
            "crash {crash}: {:?}",
            begun.elapsed()
        );
    }
}
