//! `core-handler`, started by the kernel for programs that crash.
//!
//! `core_pattern` belongs to the whole system. So these tests run one at a time, also in different
//! processes; a guard sets it back even if the test is killed; and crashes of other programs are
//! ignored, as with the usual pattern and no core limit. Where it cannot be set, the tests say so.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dumpwright::read::Dump;
use minidump::{
    Minidump, MinidumpContext, MinidumpMemoryList, MinidumpMiscInfo, MinidumpRawContext, MinidumpSystemInfo,
    MinidumpThreadList,
};
use nix::fcntl::{Flock, FlockArg};
use object::LittleEndian;
use object::elf::{FileHeader64, NT_PRFPREG, NT_PRSTATUS, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use serde_json::Value;

use crate::attempt::{Folder, Outcome};
use crate::support::dumper::{check, dumpwright};
use crate::support::victim::{self, Frames, Victim};
use crate::support::{copy_program, proc};

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const PIPE_LIMIT: &str = "/proc/sys/kernel/core_pipe_limit";

/// The system, on which the handler can be installed.
struct System {
    folder: Folder,
    before: [String; 2],
    guard: Child,
    _alone: Flock<File>,
}

impl System {
    /// Waits until no other test uses it. `None` if the handler cannot be installed here.
    fn take() -> Option<System> {
        let alone = File::create(std::env::temp_dir().join("dumpwright-core-pattern.lock")).unwrap();
        let alone = Flock::lock(alone, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .unwrap();
        let before = [PATTERN, PIPE_LIMIT].map(|file| fs::read_to_string(file).unwrap_or_default());
        if let Err(error) = fs::write(PATTERN, &before[0]) {
            // Not captured, unlike the output of macros.
            let text = format!("NOT RUN: a test of core-handler, because {PATTERN}: {error}\n");
            std::io::stderr().write_all(text.as_bytes()).unwrap();
            return None;
        }
        // It waits for the end of this process, however that comes.
        let script = format!(
            "trap '' HUP INT TERM; cat > /dev/null; printf %s \"$0\" > {PATTERN}; printf %s \"$1\" > {PIPE_LIMIT}"
        );
        let guard = Command::new("sh")
            .args(["-c", &script])
            .args(&before)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let folder = Folder::new();
        // Other users run the victim.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        copy_program(&victim::c("crash", Frames::Pointers), &folder.file("victim"));
        Some(System {
            folder,
            before,
            guard,
            _alone: alone,
        })
    }

    fn settings(&self) -> PathBuf {
        self.folder.file("settings")
    }

    /// `core-handler COMMAND --settings FILE`, for more arguments.
    fn command(&self, command: &str) -> Command {
        let mut run = dumpwright();
        run.args(["core-handler", command, "--settings"])
            .arg(self.settings());
        run
    }

    /// Installs a handler for the programs in the folder. `start` is a shell command that starts
    /// it with its arguments `"$@"`, where `$TOOL` is dumpwright and `$pid` the crashed process.
    fn install(&self, start: &str, options: &[&str]) {
        let wrapper = self.folder.file("w");
        let tool = PathBuf::from(dumpwright().get_program());
        let text = format!(
            "#!/bin/sh\nTOOL='{}'; HERE='{}'\nfor word; do case \"$word\" in P=*) pid=${{word#P=}};; I=*) tid=${{word#I=}};; esac; done\n\
             case \"$(readlink /proc/$pid/task/$tid/exe)\" in \"$HERE\"/*) ;; *) exec cat > /dev/null;; esac\n{start}\n",
            tool.display(),
            self.folder.path().display()
        );
        let new = self.folder.file("w.new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &wrapper).unwrap();
        let mut install = self.command("install");
        install.arg("--program").arg(&wrapper);
        install.args(["--name", "%p.dmp", "--rate", "100/1s"]);
        install.arg("--dir").arg(self.dumps());
        install.arg("--log").arg(self.log());
        Outcome::of(install.args(options)).expect(0);
        let _ = fs::remove_file(self.log());
    }

    fn dumps(&self) -> PathBuf {
        self.folder.file("dumps")
    }

    fn dump(&self, pid: u32) -> PathBuf {
        self.dumps().join(format!("{pid}.dmp"))
    }

    fn log(&self) -> PathBuf {
        self.folder.file("log")
    }

    fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Runs the victim until its crash has been handled. Returns its id and testimony.
    fn crash(&self, command: &mut Command) -> (u32, Value) {
        let victim = Victim::start_command(command);
        let (pid, testimony) = (victim.pid(), victim.testimony.clone());
        let (_, status) = victim.finish();
        assert!(status.signal().is_some() || status.code() > Some(128), "{status}");
        (pid, testimony)
    }

    fn victim(&self, kind: &str) -> Command {
        let mut command = Command::new(self.folder.file("victim"));
        command.arg(kind);
        command
    }
}

impl Drop for System {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
        let now = [PATTERN, PIPE_LIMIT].map(|file| fs::read_to_string(file).unwrap_or_default());
        if !std::thread::panicking() {
            assert_eq!(now, self.before, "the settings of the kernel");
        }
    }
}

/// A thread of a core: its id, general registers and FXSAVE image.
struct CoreOfThread {
    tid: u32,
    registers: Vec<u64>,
    fxsave: Vec<u8>,
}

/// Reads a core with the crate `object`: its threads and the ranges of its memory.
fn core(bytes: &[u8]) -> (Vec<CoreOfThread>, Vec<(u64, &[u8])>) {
    let header = FileHeader64::<LittleEndian>::parse(bytes).unwrap();
    let endian = header.endian().unwrap();
    let (mut threads, mut memory) = (Vec::<CoreOfThread>::new(), Vec::new());
    for program in header.program_headers(endian, bytes).unwrap() {
        if program.p_type(endian) == PT_LOAD {
            memory.push((program.p_vaddr(endian), program.data(endian, bytes).unwrap()));
        }
        let Some(mut notes) = program.notes(endian, bytes).unwrap() else {
            continue;
        };
        while let Some(note) = notes.next().unwrap() {
            let contents = note.desc();
            match note.n_type(endian) {
                // `struct elf_prstatus`: the id at 32, the registers at 112.
                NT_PRSTATUS if note.name() == b"CORE" => threads.push(CoreOfThread {
                    tid: u32::from_le_bytes(contents[32..36].try_into().unwrap()),
                    registers: contents[112..112 + 27 * 8]
                        .chunks(8)
                        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
                        .collect(),
                    fxsave: Vec::new(),
                }),
                NT_PRFPREG if note.name() == b"CORE" => {
                    threads.last_mut().unwrap().fxsave = contents.to_vec();
                }
                _ => {}
            }
        }
    }
    (threads, memory)
}

/// The bytes of a core at an address, as many as its range has.
fn at<'a>(memory: &[(u64, &'a [u8])], address: u64) -> Option<&'a [u8]> {
    memory.iter().find_map(|(start, bytes)| {
        let offset = usize::try_from(address.checked_sub(*start)?).ok()?;
        bytes.get(offset..).filter(|bytes| !bytes.is_empty())
    })
}

/// The registers in the order of `struct user_regs_struct`. `None` for those that a dump lacks.
fn in_order(context: &MinidumpContext) -> ([Option<u64>; 27], Vec<u8>) {
    let MinidumpRawContext::Amd64(cpu) = &context.raw else {
        panic!("of another processor");
    };
    let half = |value: u16| Some(u64::from(value));
    let registers = [
        Some(cpu.r15),
        Some(cpu.r14),
        Some(cpu.r13),
        Some(cpu.r12),
        Some(cpu.rbp),
        Some(cpu.rbx),
        Some(cpu.r11),
        Some(cpu.r10),
        Some(cpu.r9),
        Some(cpu.r8),
        Some(cpu.rax),
        Some(cpu.rcx),
        Some(cpu.rdx),
        Some(cpu.rsi),
        Some(cpu.rdi),
        None,
        Some(cpu.rip),
        half(cpu.cs),
        Some(u64::from(cpu.eflags)),
        Some(cpu.rsp),
        half(cpu.ss),
        None,
        None,
        half(cpu.ds),
        half(cpu.es),
        half(cpu.fs),
        half(cpu.gs),
    ];
    (registers, cpu.float_save.to_vec())
}

/// Each crash is handled, and the kernel's own core of it is kept to compare with.
#[test]
fn a_dump_has_what_the_core_of_the_kernel_has() {
    let Some(system) = System::take() else { return };
    // tee keeps the whole core, also when the handler has closed the pipe.
    system.install(
        "tee -p \"$HERE/core.$pid\" | \"$TOOL\" \"$@\"",
        &["--fallback", "none"],
    );
    for kind in [
        "null",
        "abort",
        "overflow",
        "illegal",
        "divide",
        "non-canonical",
        "bus",
        "null-call",
        "leaderless",
    ] {
        let (pid, testimony) = system.crash(&mut system.victim(kind));
        let dump = system.dump(pid);
        assert!(dump.exists(), "{kind}: {}", system.said());
        check(&dump).unwrap_or_else(|said| panic!("{kind}: {said}"));
        let bytes = fs::read(system.folder.file(&format!("core.{pid}"))).unwrap();
        let (threads, memory) = core(&bytes);
        let expected = if kind == "leaderless" { 1 } else { 4 };
        assert_eq!(
            threads.len(),
            expected,
            "{kind}: the main thread and two bystanders"
        );

        let exception = Dump::open(&dump)
            .unwrap()
            .exception()
            .unwrap()
            .expect("it crashed");
        let expected = |name: &str| testimony[name].as_u64();
        assert_eq!(Some(u64::from(exception.thread_id)), expected("tid"), "{kind}");
        assert_eq!(Some(u64::from(exception.code)), expected("signal"), "{kind}");
        let code = testimony["code"].as_i64().map(|code| code as u32);
        assert_eq!(Some(exception.flags), code, "{kind}");
        assert_eq!(
            exception.thread_id, threads[0].tid,
            "{kind}: the kernel writes it first"
        );
        match kind {
            "abort" => assert_eq!(exception.address, threads[0].registers[16], "the instruction"),
            "overflow" => {
                let low = testimony["stack"][0].as_u64().unwrap();
                assert!(
                    (low - 0x10000..low + 0x1000).contains(&exception.address),
                    "{:#x}",
                    exception.address
                );
            }
            _ => assert_eq!(Some(exception.address), expected("address"), "{kind}"),
        }

        let dump = Minidump::read_path(&dump).unwrap();
        let info: MinidumpSystemInfo = dump.get_stream().unwrap();
        let misc: MinidumpMiscInfo = dump.get_stream().unwrap();
        let list: MinidumpThreadList<'_> = dump.get_stream().unwrap();
        let ranges: MinidumpMemoryList<'_> = dump.get_stream().unwrap();
        assert_eq!(list.threads.len(), threads.len(), "{kind}");
        for of_core in &threads {
            let tid = of_core.tid;
            let thread = list
                .threads
                .iter()
                .find(|thread| thread.raw.thread_id == tid)
                .expect("listed");
            let context = thread.context(&info, Some(&misc)).expect("it has registers");
            let (registers, fxsave) = in_order(&context);
            for (number, (ours, theirs)) in registers.iter().zip(&of_core.registers).enumerate() {
                if let Some(ours) = ours {
                    assert_eq!(ours, theirs, "{kind}: register {number} of thread {tid}");
                }
            }
            // The last bytes are not registers.
            assert_eq!(fxsave[..464], of_core.fxsave[..464], "{kind}: thread {tid}");
            let pointer = of_core.registers[19];
            let stack = &thread.raw.stack;
            let start = stack.start_of_memory_range;
            let found = ranges.memory_at_address(start).expect("it has a stack");
            let found = &found.bytes[..stack.memory.data_size as usize];
            let theirs = at(&memory, start).expect("it is in the core");
            assert_eq!(found, &theirs[..found.len()], "{kind}: the stack of thread {tid}");
            if at(&memory, pointer - 128).is_some() {
                assert!(
                    start <= pointer - 128,
                    "{kind}: {start:#x} is above the red zone of {pointer:#x}"
                );
            }
            assert!(start + found.len() as u64 > pointer + 64, "{kind}: {tid}");
        }
    }
}

/// A core must not be lost when there can be no dump.
#[test]
fn without_a_dump_the_core_goes_where_it_would_have_gone() {
    let Some(system) = System::take() else { return };
    let here = system.folder.path().display().to_string();
    let start = "exec \"$TOOL\" \"$@\"";
    // The worker finds out that there is no such file.
    let script = format!("--script={here}/none");
    let fallback = format!("--fallback=|/usr/bin/tee {here}/kept.%P.%s.%e");
    system.install(start, &[&script, &fallback]);
    let (pid, _) = system.crash(&mut system.victim("null"));
    let kept: Vec<PathBuf> = fs::read_dir(system.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(&format!("/kept.{pid}.11.")))
        .collect();
    assert_eq!(kept.len(), 1, "{}", system.said());
    let bytes = fs::read(&kept[0]).unwrap();
    // Whole: `data` checks that the bytes of each range are there.
    let (threads, memory) = core(&bytes);
    assert_eq!(threads.len(), 4);
    assert!(at(&memory, threads[0].registers[19]).is_some());
    assert!(system.said().contains("none"), "{}", system.said());
    let count = || fs::read_dir(system.dumps()).unwrap().count();
    assert_eq!(count(), 0);

    // By default, where the core would have gone before. `core` is relative to the process.
    fs::write(PATTERN, "core.of.%e\n").unwrap();
    fs::remove_file(system.settings()).unwrap();
    system.install(start, &[&script]);
    copy_program(Path::new("/bin/sh"), &system.folder.file("shell"));
    let cwd = system.folder.file("cwd");
    fs::create_dir(&cwd).unwrap();
    std::os::unix::fs::chown(&cwd, Some(1000), Some(1000)).unwrap();
    let shell = |limit: &str| {
        let mut command = Command::new(system.folder.file("shell"));
        command.args(["-c", &format!("ulimit -c {limit}; kill -SEGV $$")]);
        let status = command.current_dir(&cwd).uid(1000).gid(1000).status().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGSEGV));
    };
    shell("0");
    assert_eq!(fs::read_dir(&cwd).unwrap().count(), 0, "its core limit is 0");
    shell("unlimited");
    let file = cwd.join("core.of.shell");
    let found = fs::metadata(&file).unwrap_or_else(|error| panic!("{error}: {}", system.said()));
    assert_eq!((found.uid(), found.mode() & 0o777), (1000, 0o600));
    assert_eq!(core(&fs::read(&file).unwrap()).0.len(), 1);
    // A file of the same name is replaced only if it is a core of the same user.
    fs::remove_file(&file).unwrap();
    fs::write(&file, "precious").unwrap();
    shell("unlimited");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert_eq!(count(), 0, "no dump, and no part of one");
}

/// The handler is killed after it has read a part of the core.
#[test]
fn a_handler_that_is_killed_leaves_nothing() {
    let Some(system) = System::take() else { return };
    let fifo = system.folder.file("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let start = "exec 3<&0; { head -c 100 <&3; cat \"$HERE/fifo\"; } | \"$TOOL\" \"$@\" & echo $! > \"$HERE/supervisor\"; wait";
    system.install(start, &[]);
    let victim = Victim::start_command(&mut system.victim("null"));
    let read = || {
        fs::read_to_string(system.folder.file("supervisor"))
            .ok()?
            .trim()
            .parse::<u32>()
            .ok()
    };
    proc::until("the handler runs", || read().is_some_and(waits_for_input));
    let supervisor = read().unwrap();
    assert_eq!(proc::children(supervisor), [0_u32; 0], "it has no worker yet");
    let killed = Command::new("kill")
        .args(["-9", &supervisor.to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    // This ends the rest of the wrapper.
    drop(fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    let (_, status) = victim.finish();
    assert_eq!(status.signal(), Some(libc::SIGSEGV));
    assert!(!system.dumps().exists() || fs::read_dir(system.dumps()).unwrap().count() == 0);
    assert_eq!(system.said(), "");
}

/// Whether a process waits in reading its standard input.
fn waits_for_input(pid: u32) -> bool {
    // A process that does not wait has no number there.
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    call.starts_with(&format!("{} 0x0 ", libc::SYS_read))
}

#[test]
fn dumps_belong_to_their_user_and_name_containers() {
    let Some(system) = System::take() else { return };
    system.install(
        "exec \"$TOOL\" \"$@\"",
        &["--fallback", "none", "--max-size", "1MiB"],
    );
    for (user, owner) in [(1000, 1000), (0, 0)] {
        let (pid, _) = system.crash(system.victim("null").uid(user).gid(user));
        let found =
            fs::metadata(system.dump(pid)).unwrap_or_else(|error| panic!("{error}: {}", system.said()));
        assert_eq!(
            (found.uid(), found.gid(), found.mode() & 0o777),
            (owner, owner, 0o600)
        );
    }
    // As the first process of a pid namespace.
    for file in fs::read_dir(system.dumps()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    let mut inside = Command::new("unshare");
    inside
        .args(["--pid", "--fork"])
        .arg(system.folder.file("victim"))
        .arg("null");
    let (_, testimony) = system.crash(&mut inside);
    assert_eq!(testimony["pid"], 1);
    let dumps: Vec<_> = fs::read_dir(system.dumps()).unwrap().collect();
    assert_eq!(dumps.len(), 1, "{}", system.said());
    let dump = Dump::open(dumps[0].as_ref().unwrap().path()).unwrap();
    let threads: Vec<u32> = dump.threads().unwrap().iter().map(|thread| thread.id).collect();
    let thread = dump.exception().unwrap().unwrap().thread_id;
    assert!(
        threads.contains(&thread) && !threads.contains(&1),
        "{thread} {threads:?}"
    );
    assert!(system.said().contains("1 in its container"), "{}", system.said());

    // Further crashes of the same program are only noted.
    system.install("exec \"$TOOL\" \"$@\"", &["--rate", "1/3600s"]);
    system.crash(&mut system.victim("null"));
    assert!(
        system.said().contains("neither a dump nor a core"),
        "{}",
        system.said()
    );
}

#[test]
fn what_was_set_before_comes_back() {
    let Some(system) = System::take() else { return };
    let set = |pattern: &str, limit: &str| {
        fs::write(PATTERN, pattern).unwrap();
        fs::write(PIPE_LIMIT, limit).unwrap();
    };
    let get = || [PATTERN, PIPE_LIMIT].map(|file| fs::read_to_string(file).unwrap());
    for (pattern, limit, during) in [
        ("|/bin/false  %e \"x\"\n", "3\n", "3\n"),
        ("core\n", "0\n", "64\n"),
    ] {
        set(pattern, limit);
        Outcome::of(&mut system.command("status")).expect(1);
        system.install("exit 0", &[]);
        let [installed, limit_now] = get();
        assert!(
            installed.starts_with('|') && installed.contains(" core-handler --settings="),
            "{installed}"
        );
        assert!(installed.ends_with("P=%P I=%I s=%s d=%d F=%F\n"), "{installed}");
        assert_eq!(limit_now, during);
        // A second time does not take itself for what was before.
        system.install("exit 0", &["--type", "mini"]);
        let status = Outcome::of(system.command("status").arg("--json"))
            .expect(0)
            .json();
        assert_eq!(status["installed"], true);
        assert_eq!(status["previous"]["core_pattern"], pattern.trim_end_matches('\n'));
        assert!(status["options"].to_string().contains("mini"));
        Outcome::of(&mut system.command("uninstall")).expect(0);
        assert_eq!(get(), [pattern, limit]);
        assert!(!system.settings().exists());
        let again = Outcome::of(&mut system.command("uninstall")).expect(1);
        assert!(again.stderr.contains("not installed"), "{}", again.stderr);
    }
    system.install("exit 0", &[]);
    set("somebody's\n", "0\n");
    let refused = Outcome::of(&mut system.command("uninstall")).expect(1);
    assert!(
        refused.stderr.contains("nothing was changed"),
        "{}",
        refused.stderr
    );
    assert_eq!(get()[0], "somebody's\n");
    let status = Outcome::of(&mut system.command("status")).expect(1);
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("somebody else, after"), "{text}");
    // The kernel would cut it.
    let long = system.folder.file(&"x".repeat(90));
    fs::write(&long, "").unwrap();
    let refused = Outcome::of(system.command("install").arg("--program").arg(&long)).expect(1);
    assert!(
        refused.stderr.contains("the kernel accepts 127"),
        "{}",
        refused.stderr
    );
    assert_eq!(get()[0], "somebody's\n");
}

/// The kernel connects to a server instead of starting a program.
#[test]
fn a_server_handles_what_comes_to_its_socket() {
    let Some(system) = System::take() else { return };
    let socket = system.folder.file("socket");
    if let Err(error) = fs::write(PATTERN, format!("@{}\n", socket.display())) {
        let text = format!("NOT RUN: a test of core-handler serve (before Linux 6.16): {error}\n");
        return std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    let mut serve = dumpwright();
    serve
        .args(["core-handler", "serve"])
        .arg(&socket)
        .args(["--name", "%p.dmp"]);
    serve
        .arg("--dir")
        .arg(system.dumps())
        .arg("--log")
        .arg(system.log());
    // Its settings, if there are any, are those of this machine.
    serve.arg("--settings").arg(system.settings());
    let mut server = serve.spawn().unwrap();
    proc::until("the server listens", || socket.exists());
    let (pid, testimony) = system.crash(&mut system.victim("null"));
    // Without core_pipe_limit, the kernel does not wait for the handler.
    proc::until("the crash was handled", || {
        system.said().contains(&format!("process {pid} "))
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let dump = system.dump(pid);
    assert!(dump.exists(), "{}", system.said());
    check(&dump).unwrap();
    let exception = Dump::open(&dump)
        .unwrap()
        .exception()
        .unwrap()
        .expect("it crashed");
    assert_eq!(Some(u64::from(exception.thread_id)), testimony["tid"].as_u64());
    assert_eq!((exception.code, exception.address), (11, 0x18));
}

/// Prints how long the handler takes for a process of 4 GiB, and how much it writes. Run by hand:
/// `cargo test --release --test cli -- --ignored a_large_process`.
#[test]
#[ignore = "needs 4 GiB of memory"]
fn a_large_process_costs_as_little_as_a_small_one() {
    let Some(system) = System::take() else { return };
    copy_program(&victim::c("big", Frames::Pointers), &system.folder.file("big"));
    system.install("exec \"$TOOL\" \"$@\"", &["--fallback", "none"]);
    let victim = Victim::start(&system.folder.file("big"), &["4096"]);
    let pid = victim.pid();
    Command::new("kill")
        .args(["-SEGV", &pid.to_string()])
        .status()
        .unwrap();
    victim.finish();
    let said = system.said();
    let time = said
        .rsplit("after ")
        .next()
        .unwrap()
        .trim_end()
        .trim_end_matches(" ms");
    let time: u64 = time.parse().unwrap_or_else(|_| panic!("{said}"));
    let size = fs::metadata(system.dump(pid)).unwrap().len();
    eprintln!("{time} ms, {size} bytes");
    assert!(time <= 150 && size < 1 << 20, "{time} ms, {size} bytes");
}
