//! What these tests would catch: a target that runs while it is frozen, or stays suspended
//! afterwards; lost signals, and job-control stops that a capture ends; threads that are missed or
//! shown with wrong registers; refusals that state a wrong reason.

#[path = "support/counting.rs"]
mod counting;
mod support;

use counting::{COUNTERS, SIGNALS, queue};
use dumpwright_fixtures::proc::inherited_priority;
use dumpwright_linux::LinuxProcess;
use dumpwright_target::{
    Cpu, Direct, Fault, FaultKind, Frozen, LinuxTextKind, Need, Severity, Subject, Target,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::Victim;

fn open(victim: &Victim) -> LinuxProcess {
    LinuxProcess::open(victim.pid()).expect("may be examined")
}

fn refusal(pid: u32) -> Fault {
    LinuxProcess::open(pid).expect_err("is refused")
}

fn read_word(frozen: &mut dyn Frozen, at: u64) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(frozen.read(at, &mut bytes), Ok(8));
    u64::from_le_bytes(bytes)
}

fn send(victim: &Victim, signal: Signal) {
    kill(Pid::from_raw(victim.pid().cast_signed()), signal).expect("it lives");
}

#[test]
fn threads_stand_still_until_they_are_let_go() {
    let mut victim = Victim::start("counters", COUNTERS);
    let base = victim.numbers()[0];
    let mut process = open(&victim);
    let all =
        |frozen: &mut dyn Frozen| -> Vec<u64> { (0..5).map(|i| read_word(frozen, base + i * 64)).collect() };
    for _ in 0..20 {
        let mut frozen = process.freeze(&Need::default()).expect("stops");
        assert_eq!(frozen.thread_ids().expect("listed").len(), 6);
        let first = all(&mut *frozen);
        // A running thread would need only nanoseconds. Give all of them many chances to run.
        for _ in 0..200 {
            std::thread::yield_now();
        }
        assert_eq!(all(&mut *frozen), first);
        assert!(frozen.diagnostics().is_empty());
        let holding = frozen.thaw();
        assert_eq!(holding.hold, "stop");
        assert!(!holding.pause.is_zero());
        for thread in 0..5 {
            victim.until_counted(base + thread * 64);
        }
    }
    // Dropping the guard releases the threads as well.
    drop(process.freeze(&Need::default()).expect("stops"));
    victim.until_counted(base);
    assert!(victim.finish().success());
}

#[test]
fn the_leader_comes_first_and_foreign_threads_are_refused() {
    let mut victim = Victim::start("counters2", COUNTERS);
    victim.numbers();
    let mut process = open(&victim);
    assert_eq!(process.process_id(), victim.pid());
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    let ids = frozen.thread_ids().expect("listed");
    assert_eq!(ids[0], victim.pid());
    assert!(ids[1..].is_sorted());
    assert_eq!(
        frozen
            .thread(std::process::id(), &mut Direct)
            .expect_err("not its thread")
            .kind,
        FaultKind::NoSuchProcess
    );
}

/// Starts a thread that spins with known values in its registers.
const REGISTERS: &str = r#"
static volatile int loaded;
static unsigned char xmm[16] __attribute__((aligned(16))) = "fifteen letters";
static void *spin(void *unused) {
    prctl(PR_SET_NAME, "spin (1) \xff");
    printf("%d %p\n", gettid(), (void *)pthread_self()); fflush(stdout);
    __asm__ volatile(
        "movdqa %[xmm], %%xmm5\n movl $1, %[loaded]\n"
        "mov $0x1111111111111111, %%rbx\n mov $0x2222222222222222, %%r8\n"
        "mov $0x3333333333333333, %%r12\n mov $0x4444444444444444, %%r15\n"
        "1: pause\n jmp 1b\n"
        : [loaded] "=m"(loaded) : [xmm] "m"(xmm) : "rbx", "r8", "r12", "r15", "xmm5", "memory");
    return 0;
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, spin, 0);
    while (!loaded) sched_yield();
    /* The four moves after the flag are executed when the thread stays at the same place. */
    struct timespec moment = {0, 1000000};
    nanosleep(&moment, 0);
    printf("ready\n"); fflush(stdout);
    while (getchar() != EOF) {}
    _exit(0);
}
"#;

#[test]
fn a_thread_is_shown_with_its_own_registers_name_and_stack() {
    let mut victim = Victim::start("registers", REGISTERS);
    let told = victim.numbers();
    assert_eq!(victim.line(), "ready");
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    let thread = frozen.thread(told[0] as u32, &mut Direct).expect("known");
    assert_eq!(thread.name.as_deref(), Some("spin (1) \u{fffd}"));
    assert_eq!(thread.teb, told[1], "pthread_self() is the thread pointer");
    assert_eq!(
        (thread.suspend_count, thread.priority_class, thread.priority),
        (0, 0x20, inherited_priority())
    );
    let context = thread.context.expect("it stopped");
    let bytes = context.bytes();
    assert_eq!(
        bytes[0x30..0x34],
        0x0010_001f_u32.to_le_bytes(),
        "everything was read"
    );
    for (offset, value) in [(0x90, 0x11), (0xb8, 0x22), (0xd8, 0x33), (0xf0, 0x44)] {
        assert_eq!(bytes[offset..offset + 8], [value; 8], "offset {offset:#x}");
    }
    assert_eq!(&bytes[0x100 + 160 + 5 * 16..][..16], b"fifteen letters\0", "xmm5");
    assert_eq!(bytes[0x34..0x38], 0x1f80_u32.to_le_bytes(), "MxCsr");
    let stack = thread.stack.expect("has one");
    assert_eq!(stack.pointer, context.stack_pointer());
    assert_eq!(stack.range.start(), stack.pointer - 128);
    assert!(stack.range.contains(told[1]), "up to the control block");
    assert!(stack.range.end() <= (told[1] | 4095) + 1 + 4096);
    assert_eq!(
        frozen.stack_at(told[0] as u32, stack.pointer, &mut Direct),
        Some(stack)
    );
}

/// Lets a child set the debug registers of its parent: one address whose breakpoint is disabled,
/// and one whose breakpoint is enabled but never reached. Then the child detaches.
const DEBUG_REGISTERS: &str = r#"
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/user.h>
int main(void) {
    pid_t self = getpid();
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    pid_t tracer = fork();
    if (tracer == 0) {
        long base = offsetof(struct user, u_debugreg);
        ptrace(PTRACE_ATTACH, self, 0, 0);
        waitpid(self, 0, __WALL);
        long failed = ptrace(PTRACE_POKEUSER, self, base + 8, 0x123450) | ptrace(PTRACE_POKEUSER, self, base + 24, 0x543210);
        failed |= ptrace(PTRACE_POKEUSER, self, base + 56, 0x4);
        ptrace(PTRACE_DETACH, self, 0, 0);
        _exit(failed != 0);
    }
    int status;
    while (waitpid(tracer, &status, 0) < 0) {}
    printf("%d\n", WEXITSTATUS(status)); fflush(stdout);
    for (;;) pause();
}
"#;

#[test]
fn debug_registers_are_shown_enabled_or_not() {
    let mut victim = Victim::start("debug_registers", DEBUG_REGISTERS);
    assert_eq!(victim.numbers(), [0], "debug registers can be set here");
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    let context = frozen
        .thread(victim.pid(), &mut Direct)
        .expect("known")
        .context
        .expect("it stopped");
    let word = |offset: usize| {
        u64::from_le_bytes(
            context.bytes()[offset..offset + 8]
                .try_into()
                .expect("eight bytes"),
        )
    };
    assert_eq!(
        [0x48, 0x50, 0x58, 0x60].map(word),
        [0, 0x12_3450, 0, 0x54_3210],
        "Dr0 to Dr3"
    );
    assert_eq!(word(0x70) & 0xff, 0x4, "Dr7: the second one is on");
}

/// Makes the kernel create a worker thread inside the process, which waits to read from a pipe.
const WORKER: &str = r#"
#include <dirent.h>
#include <linux/io_uring.h>
int main(void) {
    struct io_uring_params p = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &p);
    if (ring < 0) { printf("0\n"); fflush(stdout); for (;;) pause(); }
    char *queue = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = mmap(0, p.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
    int ends[2];
    static char byte;
    pipe(ends);
    *entry = (struct io_uring_sqe){
        .opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = ends[0], .addr = (uintptr_t)&byte, .len = 1};
    *(unsigned *)(queue + p.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(queue + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, ring, 1, 0, 0, 0, 0);
    for (int worker = 0; !worker;) {
        DIR *tasks = opendir("/proc/self/task");
        for (struct dirent *task; (task = readdir(tasks));) if (atoi(task->d_name) > getpid()) worker = atoi(task->d_name);
        closedir(tasks);
        if (worker) printf("%d\n", worker);
    }
    fflush(stdout);
    for (;;) pause();
}
"#;

#[test]
fn a_worker_of_the_kernel_is_listed_without_a_stack() {
    let mut victim = Victim::start("worker", WORKER);
    let worker = victim.numbers()[0] as u32;
    if worker == 0 {
        eprintln!("io_uring is disabled here: nothing was tested");
        return;
    }
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    assert_eq!(frozen.thread_ids(), Ok(vec![victim.pid(), worker]));
    let thread = frozen.thread(worker, &mut Direct).expect("known");
    let context = thread.context.expect("zeros: it has no user registers");
    assert_eq!((context.instruction_pointer(), context.stack_pointer()), (0, 0));
    assert_eq!((thread.stack, thread.interrupted), (None, vec![]));
    assert!(
        frozen
            .diagnostics()
            .iter()
            .all(|diagnostic| diagnostic.severity < Severity::Missing),
        "nothing is missing"
    );
    drop(frozen);
    victim.until_state('S');
}

#[test]
fn a_stopped_process_stays_stopped_and_can_be_continued() {
    let mut victim = Victim::start("counters3", COUNTERS);
    let base = victim.numbers()[0];
    send(&victim, Signal::SIGSTOP);
    victim.until_state('T');
    for _ in 0..20 {
        let mut process = open(&victim);
        let mut frozen = process.freeze(&Need::default()).expect("stops");
        for id in frozen.thread_ids().expect("listed") {
            assert_eq!(frozen.thread(id, &mut Direct).expect("known").suspend_count, 1);
        }
        drop(frozen);
        victim.until_state('T');
    }
    send(&victim, Signal::SIGCONT);
    victim.until_counted(base);
}

#[test]
fn no_signal_is_lost_or_changed_by_captures() {
    const SIGNALS_SENT: i32 = 20_000;
    let mut victim = Victim::start("signals", SIGNALS);
    let told = victim.numbers();
    let (pid, signal) = (victim.pid(), told[0]);
    let sender = std::thread::spawn(move || (0..SIGNALS_SENT).for_each(|value| queue(pid, signal, value)));
    let mut process = open(&victim);
    let mut captures = 0;
    while !sender.is_finished() || captures < 50 {
        drop(process.freeze(&Need::default()).expect("stops"));
        captures += 1;
    }
    sender.join().expect("all sent");
    while victim.word(told[1]) < u64::from(SIGNALS_SENT.unsigned_abs()) {
        std::thread::yield_now();
    }
    victim.close();
    assert_eq!(
        victim.numbers(),
        [SIGNALS_SENT as u64, 0],
        "as many as were sent, in order"
    );
}

/// Runs as a separate process that dumps the process named in its environment forever.
#[test]
fn dumper_to_be_killed() {
    if let Ok(pid) = std::env::var("DUMPWRIGHT_TEST_TARGET") {
        let mut process = LinuxProcess::open(pid.parse().expect("a number")).expect("may be examined");
        loop {
            drop(process.freeze(&Need::default()).expect("stops"));
        }
    }
}

#[test]
fn a_dumper_that_is_killed_leaves_the_target_running_and_its_signals_delivered() {
    const ROUNDS: i32 = 25;
    const A_ROUND: i32 = 400;
    let mut victim = Victim::start("signals2", SIGNALS);
    let told = victim.numbers();
    for round in 0..ROUNDS {
        let mut dumper = std::process::Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "dumper_to_be_killed"])
            .env("DUMPWRIGHT_TEST_TARGET", victim.pid().to_string())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        // The dumper has started when it traces the victim.
        let traced = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", victim.pid())).expect("it lives");
            !status.contains("TracerPid:\t0\n")
        };
        while !traced() {
            std::thread::yield_now();
        }
        for value in 0..A_ROUND {
            queue(victim.pid(), told[0], round * A_ROUND + value);
        }
        dumper.kill().expect("it runs");
        dumper.wait().expect("ends");
    }
    let sent = (ROUNDS * A_ROUND) as u64;
    while victim.word(told[1]) < sent {
        std::thread::yield_now();
    }
    victim.close();
    assert_eq!(victim.numbers(), [sent, 0]);
}

/// Creates threads that end immediately, as fast as it can.
const CHURN: &str = r#"
static volatile uint64_t made;
static volatile int end;
static void *nothing(void *unused) { return 0; }
static void *make(void *unused) {
    while (!end) {
        pthread_t thread[4];
        for (int i = 0; i < 4; ++i) if (pthread_create(thread + i, 0, nothing, 0)) abort();
        for (int i = 0; i < 4; ++i) pthread_join(thread[i], 0);
        made += 4;
    }
    return 0;
}
int main(void) {
    pthread_t maker[2];
    for (int i = 0; i < 2; ++i) pthread_create(maker + i, 0, make, 0);
    printf("%p\n", (void *)&made); fflush(stdout);
    while (getchar() != EOF) {}
    end = 1;
    for (int i = 0; i < 2; ++i) pthread_join(maker[i], 0);
    printf("done\n");
    return 0;
}
"#;

#[test]
fn threads_that_come_and_go_are_no_obstacle() {
    let mut victim = Victim::start("churn", CHURN);
    let made = victim.numbers()[0];
    let mut process = open(&victim);
    for capture in 0..200 {
        let mut frozen = process
            .freeze(&Need::default())
            .unwrap_or_else(|fault| panic!("capture {capture}: {fault}"));
        let before = read_word(&mut *frozen, made);
        for id in frozen.thread_ids().expect("listed") {
            let thread = frozen.thread(id, &mut Direct).expect("known");
            assert!(
                thread.context.is_some(),
                "capture {capture}: thread {id} has no registers"
            );
        }
        assert_eq!(
            read_word(&mut *frozen, made),
            before,
            "capture {capture}: a thread was missed"
        );
        assert_eq!(
            frozen
                .diagnostics()
                .iter()
                .find(|diagnostic| diagnostic.severity == Severity::Missing),
            None
        );
        drop(frozen);
        victim.until_counted(made);
    }
    victim.close();
    assert_eq!(victim.line(), "done");
    assert!(victim.finish().success());
}

/// Its first thread waits in vfork until the child ends. The child reads the victim's input.
const VFORK: &str = r#"
int main(void) {
    printf("ready\n"); fflush(stdout);
    if (vfork() == 0) { char byte; while (read(0, &byte, 1) != 0) {} _exit(0); }
    printf("went on\n"); fflush(stdout);
    return 5;
}
"#;

#[test]
fn a_thread_that_cannot_stop_is_told_with_what_is_known_of_it() {
    let mut victim = Victim::start("vfork", VFORK);
    assert_eq!(victim.line(), "ready");
    victim.until_state('D');
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("continues without it");
    assert_eq!(frozen.thread_ids(), Ok(vec![victim.pid()]));
    let thread = frozen.thread(victim.pid(), &mut Direct).expect("known");
    let diagnostics = frozen.diagnostics();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert_eq!(
        (diagnostics[0].severity, &diagnostics[0].subject),
        (Severity::Missing, &Subject::Thread(victim.pid()))
    );
    let context = thread.context.expect("partly");
    assert_eq!(
        context.bytes()[0x30..0x34],
        0x0010_0001_u32.to_le_bytes(),
        "control registers only"
    );
    let syscall = std::fs::read_to_string(format!("/proc/{}/syscall", victim.pid())).expect("readable");
    assert!(syscall.trim_end().ends_with(&format!(
        "{:#x} {:#x}",
        context.stack_pointer(),
        context.instruction_pointer()
    )));
    assert!(
        thread
            .stack
            .expect("its stack is known")
            .range
            .contains(context.stack_pointer())
    );
    drop(frozen);
    victim.close();
    assert_eq!(victim.line(), "went on");
    assert_eq!(victim.finish().code(), Some(5));
}

/// Its first thread ends; another one continues.
const ZOMBIE_LEADER: &str = r#"
static volatile uint64_t counter;
static void *count(void *unused) {
    printf("%d %p\n", gettid(), (void *)&counter); fflush(stdout);
    for (;;) { ++counter; if (counter % 1024 == 0) sched_yield(); }
}
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, count, 0);
    pthread_exit(0);
}
"#;

#[test]
fn a_process_lives_on_behind_its_ended_leader() {
    let mut victim = Victim::start("zombie_leader", ZOMBIE_LEADER);
    let told = victim.numbers();
    victim.until_state('Z');
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    assert_eq!(frozen.thread_ids(), Ok(vec![told[0] as u32]));
    assert!(
        frozen
            .thread(told[0] as u32, &mut Direct)
            .expect("known")
            .stack
            .is_some()
    );
    let before = read_word(&mut *frozen, told[1]);
    assert_eq!(read_word(&mut *frozen, told[1]), before);
    frozen.thaw();
    let memory = format!("/proc/{}/task/{}/mem", victim.pid(), told[0]);
    let count = || {
        use std::os::unix::fs::FileExt;
        let mut bytes = [0; 8];
        std::fs::File::open(&memory)
            .expect("opens")
            .read_exact_at(&mut bytes, told[1])
            .expect("readable");
        u64::from_le_bytes(bytes)
    };
    let before = count();
    while count() == before {
        std::thread::yield_now();
    }
}

#[test]
fn a_process_that_ends_while_it_is_held_gives_faults_not_hangs() {
    let mut victim = Victim::start("counters4", COUNTERS);
    let base = victim.numbers()[0];
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    send(&victim, Signal::SIGKILL);
    victim.until_state('Z');
    assert!(frozen.read(base, &mut [0; 8]).is_err());
    let _ = frozen.thread(victim.pid(), &mut Direct);
    frozen.thaw();
    // The leader was a zombie at once. The other threads may still be ending.
    let threads = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", victim.pid())).expect("a zombie");
        stat.split_ascii_whitespace()
            .nth(19)
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    while threads() > 1 {
        std::thread::yield_now();
    }
    assert!(
        matches!(process.freeze(&Need::default()).map(drop), Err(fault) if fault.kind == FaultKind::Zombie)
    );
    assert_eq!(refusal(victim.pid()).kind, FaultKind::Zombie);
    victim.finish();
    assert_eq!(refusal(victim.pid()).kind, FaultKind::NoSuchProcess);
}

/// A frozen cgroup with one process in it.
struct FrozenGroup {
    path: std::path::PathBuf,
    thaw: (&'static str, &'static str),
}

impl FrozenGroup {
    /// Moves `victim` to a new cgroup and freezes it. `None` if this hierarchy is not mounted, or
    /// we may not change it.
    fn around(
        victim: &Victim,
        root: &str,
        control: &'static str,
        freeze: &str,
        thaw: &'static str,
    ) -> Option<Self> {
        // A directory without this file is not a cgroup. It may contain the mounts of version 1.
        std::fs::metadata(std::path::Path::new(root).join("cgroup.procs")).ok()?;
        let path = std::path::Path::new(root).join(format!("dumpwright-test-{}", victim.pid()));
        std::fs::create_dir(&path).ok()?;
        let group = Self {
            path,
            thaw: (control, thaw),
        };
        let write = |name: &str, text: &str| std::fs::write(group.path.join(name), text).ok();
        write("cgroup.procs", &victim.pid().to_string()).and_then(|()| write(control, freeze))?;
        Some(group)
    }

    fn says(&self, file: &str, line: &str) -> bool {
        std::fs::read_to_string(self.path.join(file)).is_ok_and(|text| text.lines().any(|l| l == line))
    }
}

impl Drop for FrozenGroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path.join(self.thaw.0), self.thaw.1);
    }
}

#[test]
fn a_frozen_cgroup_is_no_obstacle_and_stays_frozen() {
    for (root, control, freeze, thaw, file, line, stops) in [
        (
            "/sys/fs/cgroup",
            "cgroup.freeze",
            "1",
            "0",
            "cgroup.events",
            "frozen 1",
            true,
        ),
        (
            "/sys/fs/cgroup/unified",
            "cgroup.freeze",
            "1",
            "0",
            "cgroup.events",
            "frozen 1",
            true,
        ),
        (
            "/sys/fs/cgroup/freezer",
            "freezer.state",
            "FROZEN",
            "THAWED",
            "freezer.state",
            "FROZEN",
            false,
        ),
    ] {
        let mut victim = Victim::start(&format!("counters_{file}_{}", root.len()), COUNTERS);
        let base = victim.numbers()[0];
        let Some(group) = FrozenGroup::around(&victim, root, control, freeze, thaw) else {
            eprintln!("{root} cannot be used here: nothing was tested");
            continue;
        };
        while !group.says(file, line) {
            std::thread::yield_now();
        }
        let mut process = open(&victim);
        let mut frozen = process
            .freeze(&Need::default())
            .expect("stops, or continues without its threads");
        for id in frozen.thread_ids().expect("listed") {
            let context = frozen
                .thread(id, &mut Direct)
                .expect("known")
                .context
                .expect("at least the control registers");
            let flags = u32::from_le_bytes(context.bytes()[0x30..0x34].try_into().expect("four bytes"));
            assert_eq!(flags, if stops { 0x0010_001f } else { 0x0010_0001 }, "{root}");
        }
        let diagnostics = frozen.diagnostics();
        assert!(
            diagnostics
                .iter()
                .any(|diagnostic| diagnostic.subject == Subject::Process
                    && diagnostic.reason.contains("frozen"))
        );
        drop(frozen);
        assert!(group.says(file, line), "it stays frozen");
        let path = group.path.clone();
        drop(group);
        victim.until_counted(base);
        drop(victim);
        // The directory can be removed when the kernel has removed the last process from the group.
        while std::fs::remove_dir(&path).is_err() {
            std::thread::yield_now();
        }
    }
}

/// The victim is as small as possible: no C library, one thread, no dynamic linker.
#[test]
fn a_32_bit_program_is_held_as_one() {
    let program = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("small");
    let mut compiler = std::process::Command::new("cc")
        .args([
            "-m32",
            "-nostdlib",
            "-static",
            "-fno-pic",
            "-no-pie",
            "-x",
            "c",
            "-",
            "-o",
        ])
        .arg(&program)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("a C compiler is installed");
    // It waits in pause(2), which is system call 29 in 32-bit code, with a known value in a
    // register.
    let source =
        "void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" :: \"a\"(29), \"b\"(0x89abcdef)); }";
    std::io::Write::write_all(&mut compiler.stdin.take().expect("piped"), source.as_bytes())
        .expect("it reads");
    assert!(compiler.wait().expect("ends").success());
    let mut child = std::process::Command::new(&program).spawn().expect("starts");
    let path = format!("/proc/{}/syscall", child.id());
    while !std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with("29 ")) {
        std::thread::yield_now();
    }
    let mut process = LinuxProcess::open(child.id()).expect("may be examined");
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    assert_eq!(frozen.system().expect("known").cpu, Cpu::X86);
    let thread = frozen.thread(child.id(), &mut Direct).expect("held");
    let context = thread.context.expect("it has registers");
    let bases = frozen.module_bases(&mut Direct).expect("listed");
    let module = frozen.module(bases[0], &mut Direct).expect("described");
    frozen.thaw();
    child.kill().expect("it runs");
    child.wait().expect("ends");
    assert_eq!(context.cpu(), Cpu::X86);
    // The offset of Ebx in Windows' context structure for x86.
    assert_eq!(context.bytes()[0xA4..0xA8], 0x89ab_cdef_u32.to_le_bytes());
    let range = module.base..module.base + module.size;
    assert!(range.contains(&context.instruction_pointer()), "{range:x?}");
    let stack = thread.stack.expect("it has one");
    assert_eq!(stack.range.start(), context.stack_pointer(), "no red zone");
}

#[test]
fn a_thread_of_this_program_is_refused_with_advice() {
    let by_thread = std::thread::spawn(|| refusal(nix::unistd::gettid().as_raw().unsigned_abs()));
    let fault = by_thread.join().expect("no panic");
    assert_eq!(fault.kind, FaultKind::OwnProcess);
    let advice = fault.advice.expect("advice");
    assert!(advice.contains(&std::process::id().to_string()), "{advice}");
}

#[test]
fn a_traced_process_is_refused_with_its_tracers_name() {
    let mut victim = Victim::start("counters5", COUNTERS);
    let base = victim.numbers()[0];
    let mut first = open(&victim);
    let mut second = open(&victim);
    let frozen = first.freeze(&Need::default()).expect("stops");
    for fault in [
        refusal(victim.pid()),
        second.freeze(&Need::default()).map(drop).expect_err("is held"),
    ] {
        assert_eq!(fault.kind, FaultKind::AlreadyTraced);
        let tracer = format!("(dumpwright, which dumps it for process {})", std::process::id());
        assert!(fault.reason.contains(&tracer), "{fault}");
    }
    drop(frozen);
    drop(second.freeze(&Need::default()).expect("it is free again"));
    victim.until_counted(base);
}

#[test]
fn a_kernel_thread_is_refused() {
    // Process 2 is kthreadd, unless this test runs in another pid namespace.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let fault = refusal(2);
        assert_eq!(fault.kind, FaultKind::KernelThread);
        assert!(fault.reason.contains("kthreadd"), "{fault}");
    }
}

/// Starts a thread that waits in a signal handler on an alternate stack.
const STACKS: &str = r#"
static char alternate[65536];
static volatile uintptr_t interrupted;
static void handler(int signal) {
    printf("%d %p %p\n", gettid(), __builtin_frame_address(0), (void *)interrupted); fflush(stdout);
    for (;;) pause();
}
static void *thread(void *unused) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    sigaltstack(&stack, 0);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, 0);
    interrupted = (uintptr_t)__builtin_frame_address(0);
    raise(SIGUSR1);
    return 0;
}
int main(void) {
    pthread_t id;
    pthread_create(&id, 0, thread, 0);
    for (;;) pause();
}
"#;

#[test]
fn the_stack_that_a_handler_interrupted_is_found() {
    let mut victim = Victim::start("stacks", STACKS);
    let told = victim.numbers();
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    let thread = frozen.thread(told[0] as u32, &mut Direct).expect("known");
    let current = thread.stack.expect("has one").range;
    assert!(current.contains(told[1]), "the handler's frame");
    assert!(
        !current.contains(told[2]),
        "the interrupted frame is on another stack"
    );
    assert_eq!(thread.interrupted.len(), 1);
    let interrupted = thread.interrupted[0];
    assert!(
        interrupted.range.contains(told[2]) && interrupted.range.contains(thread.teb),
        "{interrupted:?}"
    );
    assert!(interrupted.pointer < told[2] && told[2] - interrupted.pointer < 4096);
    assert!(frozen.diagnostics().is_empty());
}

/// The whole stack of the first thread is kept, but the strings above it only on request.
#[test]
fn the_environment_is_kept_only_on_request() {
    let mut victim = Victim::start("counters6", COUNTERS);
    victim.numbers();
    let environ = std::fs::read(format!("/proc/{}/environ", victim.pid())).expect("readable");
    assert!(environ.len() > 8);
    let mut process = open(&victim);
    let mut seen = |environment| {
        let need = Need {
            environment,
            ..Need::default()
        };
        let mut frozen = process.freeze(&need).expect("stops");
        let range = frozen
            .thread(victim.pid(), &mut Direct)
            .expect("known")
            .stack
            .expect("has one")
            .range;
        let mut bytes = vec![0; range.len() as usize];
        assert_eq!(frozen.read(range.start(), &mut bytes), Ok(bytes.len()));
        bytes.windows(environ.len()).any(|window| window == environ)
    };
    assert!(!seen(false));
    assert!(seen(true));
}

/// Reading them takes as long as reading everything else about a thread while it is suspended.
#[test]
fn the_times_of_threads_are_read_only_on_request() {
    let mut victim = Victim::start("counters8", COUNTERS);
    victim.numbers();
    let mut process = open(&victim);
    for thread_times in [false, true] {
        let need = Need {
            thread_times,
            ..Need::default()
        };
        let mut frozen = process.freeze(&need).expect("stops");
        for id in frozen.thread_ids().expect("listed") {
            let thread = frozen.thread(id, &mut Direct).expect("known");
            assert_eq!(thread.times.is_some(), thread_times);
            assert!(thread.name.is_some());
        }
    }
}

/// Other tests check the values. This one checks that they belong to this process.
#[test]
fn a_held_process_tells_what_it_is() {
    let mut victim = Victim::start("counters7", COUNTERS);
    let counter = victim.numbers()[0];
    let mut process = open(&victim);
    let need = Need {
        handles: true,
        full_memory: true,
        ..Need::default()
    };
    let mut frozen = process.freeze(&need).expect("stops");
    assert_eq!(frozen.process().expect("known").id, victim.pid());
    let main = frozen.module_bases(&mut Direct).expect("listed")[0];
    let main = frozen.module(main, &mut Direct).expect("known");
    let program = std::fs::read_link(format!("/proc/{}/exe", victim.pid())).expect("readable");
    assert_eq!(Some(main.path.as_str()), program.to_str());
    let regions = frozen.regions(&mut Direct).expect("listed");
    assert!(
        regions
            .iter()
            .any(|region| region.range.contains(counter) && region.allocation_base == main.base)
    );
    let handles = frozen.handles().expect("listed");
    assert_eq!(
        handles
            .iter()
            .map(|handle| handle.number)
            .take(3)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(frozen.system().expect("known").page_size, 4096);
    let facts = frozen.linux(&mut Direct).expect("it is one");
    let status = facts
        .texts
        .iter()
        .find(|text| text.kind == LinuxTextKind::ProcStatus)
        .expect("there");
    let status = String::from_utf8_lossy(&status.bytes);
    assert!(
        status.contains("TracerPid:\t0\n"),
        "as it was before we attached: {status}"
    );
    assert!(facts.dso_debug.is_some_and(|debug| debug.links.len() > 1));
    assert!(
        frozen
            .diagnostics()
            .iter()
            .all(|diagnostic| diagnostic.severity < Severity::Missing)
    );
}

/// The requests by which a debugger changes its target must not occur in the code of this crate,
/// except in the directory `clone`. Those that it uses are defined in `ptrace.rs`.
#[test]
fn nothing_here_can_write_into_a_target() {
    let forbidden = [
        "POKETEXT",
        "POKEDATA",
        "POKEUSER",
        "SETREGS",
        "SETREGSET",
        "setregs",
        "SETSIGINFO",
        "SETSIGMASK",
        "process_vm_writev",
        "write_user",
        "ptrace::write",
        "set_registers",
        "set_signal_mask",
        "set_user_word",
    ];
    let of_clones = [
        "POKEUSER",
        "SETREGS",
        "SETSIGMASK",
        "set_registers",
        "set_signal_mask",
        "set_user_word",
    ];
    let mut files = 0;
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let defines = path.ends_with("ptrace.rs");
            for word in forbidden {
                if defines && of_clones.contains(&word) {
                    continue;
                }
                assert!(!text.contains(word), "{} mentions {word}", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 10);
}
