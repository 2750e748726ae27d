//! What these tests would catch: a target that moves while it is held, or does not move on afterwards; signals that are
//! lost or job-control stops that are undone by a capture; threads that are missed, or whose registers
//! are not theirs; refusals that blame the wrong thing.

mod support;

use dumpwright_linux::LinuxProcess;
use dumpwright_target::{Cpu, Fault, FaultKind, Frozen, Gravity, LinuxTextKind, Need, Subject, Target};
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

/// Threads that count in memory, one counter each.
const COUNTERS: &str = r#"
enum { THREADS = 5 };
static volatile uint64_t counter[THREADS * 8];
static void *count(void *at) {
    for (;;) { ++*(volatile uint64_t *)at; if (*(volatile uint64_t *)at % 1024 == 0) sched_yield(); }
}
int main(void) {
    pthread_t thread;
    for (int i = 0; i < THREADS; ++i) pthread_create(&thread, 0, count, (void *)(counter + i * 8));
    for (int i = 0; i < THREADS; ++i) while (!counter[i * 8]) sched_yield();
    printf("%p\n", (void *)counter); fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

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
        // A running thread would need a few nanoseconds; give all of them many chances to be scheduled.
        for _ in 0..200 {
            std::thread::yield_now();
        }
        assert_eq!(all(&mut *frozen), first);
        assert!(frozen.remarks().is_empty());
        let holding = frozen.thaw();
        assert_eq!(holding.hold, "stop");
        assert!(!holding.pause.is_zero());
        for thread in 0..5 {
            victim.until_counted(base + thread * 64);
        }
    }
    // A guard that is dropped, or moved to another thread's stack by a panic, lets go as well.
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
            .thread(std::process::id())
            .expect_err("not its thread")
            .kind,
        FaultKind::NoSuchProcess
    );
}

/// A thread that spins with known values in its registers.
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
    /* The four moves behind the flag are done when the thread is found at one and the same place. */
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
    let thread = frozen.thread(told[0] as u32).expect("known");
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
    assert_eq!(frozen.stack_at(told[0] as u32, stack.pointer), Some(stack));
}

/// Has a child set its debug registers: a breakpoint that is switched off, one that is never met, and let go.
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
        .thread(victim.pid())
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

/// Has the kernel make a worker thread inside the process, which waits to read from a pipe.
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
        eprintln!("io_uring is switched off here: nothing was tested");
        return;
    }
    let mut process = open(&victim);
    let mut frozen = process.freeze(&Need::default()).expect("stops");
    assert_eq!(frozen.thread_ids(), Ok(vec![victim.pid(), worker]));
    let thread = frozen.thread(worker).expect("known");
    let context = thread.context.expect("zeros: it has none in the process");
    assert_eq!((context.instruction_pointer(), context.stack_pointer()), (0, 0));
    assert_eq!((thread.stack, thread.interrupted), (None, vec![]));
    assert!(
        frozen
            .remarks()
            .iter()
            .all(|remark| remark.gravity < Gravity::Missing),
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
            assert_eq!(frozen.thread(id).expect("known").suspend_count, 1);
        }
        drop(frozen);
        victim.until_state('T');
    }
    send(&victim, Signal::SIGCONT);
    victim.until_counted(base);
}

/// Counts the real-time signals it gets, and says how many when its input ends.
const SIGNALS: &str = r#"
static volatile uint64_t got, wrong;
static void handler(int signal, siginfo_t *info, void *context) {
    if (info->si_value.sival_int != (int)got) ++wrong;
    ++got;
}
static void *spin(void *unused) { for (;;) sched_yield(); }
int main(void) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN + 1, &action, 0);
    sigset_t all;
    sigfillset(&all);
    pthread_t thread;
    sigset_t before;
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, 0, spin, 0);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    printf("%d %p\n", SIGRTMIN + 1, (void *)&got); fflush(stdout);
    for (char byte; read(0, &byte, 1) != 0;) {}
    printf("%lu %lu\n", (unsigned long)got, (unsigned long)wrong); fflush(stdout);
    return 0;
}
"#;

/// Sends a queued real-time signal with a value; waits while the queue is full.
fn queue(pid: u32, signal: u64, value: i32) {
    loop {
        // SAFETY: sigqueue takes numbers; the value is an integer in the place of the union's pointer.
        let result = unsafe {
            libc::sigqueue(
                pid.cast_signed(),
                signal as i32,
                libc::sigval {
                    sival_ptr: std::ptr::without_provenance_mut(value as usize),
                },
            )
        };
        if result == 0 {
            return;
        }
        std::thread::yield_now();
    }
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

/// Runs as a process of its own: dumps the process whose id is in its environment for ever.
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
        // It has begun when it traces.
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

/// Makes and ends threads as fast as it can.
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
            let thread = frozen.thread(id).expect("known");
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
                .remarks()
                .iter()
                .find(|remark| remark.gravity == Gravity::Missing),
            None
        );
        drop(frozen);
        victim.until_counted(made);
    }
    victim.close();
    assert_eq!(victim.line(), "done");
    assert!(victim.finish().success());
}

/// Its first thread sleeps in vfork until the child, which reads the victim's input, ends.
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
    let mut frozen = process.freeze(&Need::default()).expect("goes on without it");
    assert_eq!(frozen.thread_ids(), Ok(vec![victim.pid()]));
    let thread = frozen.thread(victim.pid()).expect("known");
    let remarks = frozen.remarks();
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert_eq!(
        (remarks[0].gravity, &remarks[0].subject),
        (Gravity::Missing, &Subject::Thread(victim.pid()))
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

/// Its first thread has ended.
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
    assert!(frozen.thread(told[0] as u32).expect("known").stack.is_some());
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
    let _ = frozen.thread(victim.pid());
    frozen.thaw();
    // Its first thread was a zombie at once; the others may still be ending.
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

/// A frozen cgroup of its own with one process in it.
struct FrozenGroup {
    path: std::path::PathBuf,
    thaw: (&'static str, &'static str),
}

impl FrozenGroup {
    /// `None` where this hierarchy is not mounted, or not ours to change.
    fn around(
        victim: &Victim,
        root: &str,
        control: &'static str,
        freeze: &str,
        thaw: &'static str,
    ) -> Option<Self> {
        // A plain folder that holds the mounts of version 1 is no cgroup.
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
            .expect("stops, or goes on without");
        for id in frozen.thread_ids().expect("listed") {
            let context = frozen
                .thread(id)
                .expect("known")
                .context
                .expect("at least where it is");
            let flags = u32::from_le_bytes(context.bytes()[0x30..0x34].try_into().expect("four bytes"));
            assert_eq!(flags, if stops { 0x0010_001f } else { 0x0010_0001 }, "{root}");
        }
        let remarks = frozen.remarks();
        assert!(
            remarks
                .iter()
                .any(|remark| remark.subject == Subject::Process && remark.reason.contains("frozen"))
        );
        drop(frozen);
        assert!(group.says(file, line), "it stays frozen");
        let path = group.path.clone();
        drop(group);
        victim.until_counted(base);
        drop(victim);
        // The group is empty when the kernel has buried its last process.
        while std::fs::remove_dir(&path).is_err() {
            std::thread::yield_now();
        }
    }
}

/// The smallest one that there is: no C library, one thread, no dynamic linker.
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
    // Waits in pause(2), which is 29 in 32-bit code, with a known value in a register.
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
    let thread = frozen.thread(child.id()).expect("held");
    let context = thread.context.expect("it has registers");
    let bases = frozen.module_bases().expect("listed");
    let module = frozen.module(bases[0]).expect("described");
    frozen.thaw();
    child.kill().expect("it runs");
    child.wait().expect("ends");
    assert_eq!(context.cpu(), Cpu::X86);
    // Ebx of Windows' structure for this processor.
    assert_eq!(context.bytes()[0xA4..0xA8], 0x89ab_cdef_u32.to_le_bytes());
    let range = module.base..module.base + module.size;
    assert!(range.contains(&context.instruction_pointer()), "{range:x?}");
    let stack = thread.stack.expect("it has one");
    assert_eq!(stack.range.start(), context.stack_pointer(), "no red zone");
}

#[test]
fn oneself_is_refused_with_advice() {
    let by_thread = std::thread::spawn(|| refusal(nix::unistd::gettid().as_raw().unsigned_abs()));
    for fault in [refusal(std::process::id()), by_thread.join().expect("no panic")] {
        assert_eq!(fault.kind, FaultKind::OwnProcess);
        assert!(fault.advice.is_some());
    }
}

#[test]
fn a_traced_process_is_refused_with_its_tracers_name() {
    let mut victim = Victim::start("counters5", COUNTERS);
    let base = victim.numbers()[0];
    let mut first = open(&victim);
    let mut second = open(&victim);
    let frozen = first.freeze(&Need::default()).expect("stops");
    let comm = std::fs::read_to_string("/proc/self/comm").expect("readable");
    for fault in [
        refusal(victim.pid()),
        second.freeze(&Need::default()).map(drop).expect_err("is held"),
    ] {
        assert_eq!(fault.kind, FaultKind::AlreadyTraced);
        assert!(fault.reason.contains(&std::process::id().to_string()), "{fault}");
        assert!(fault.reason.contains(comm.trim_end()), "{fault}");
    }
    drop(frozen);
    drop(second.freeze(&Need::default()).expect("it is free again"));
    victim.until_counted(base);
}

#[test]
fn a_kernel_thread_is_refused() {
    // kthreadd, unless this runs in a pid namespace of its own.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        let fault = refusal(2);
        assert_eq!(fault.kind, FaultKind::KernelThread);
        assert!(fault.reason.contains("kthreadd"), "{fault}");
    }
}

/// A thread in a handler on an alternate stack, and one that runs on memory of its own.
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
    let thread = frozen.thread(told[0] as u32).expect("known");
    let current = thread.stack.expect("has one").range;
    assert!(current.contains(told[1]), "the handler's frame");
    assert!(!current.contains(told[2]), "the interrupted frame lies elsewhere");
    assert_eq!(thread.interrupted.len(), 1);
    let interrupted = thread.interrupted[0];
    assert!(
        interrupted.range.contains(told[2]) && interrupted.range.contains(thread.teb),
        "{interrupted:?}"
    );
    assert!(interrupted.pointer < told[2] && told[2] - interrupted.pointer < 4096);
    assert!(frozen.remarks().is_empty());
}

/// Of the first thread's stack all is kept, but the strings above it only on request.
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
            .thread(victim.pid())
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

/// Everything else is asked of a process that is held like any other; here only that it is this one.
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
    let main = frozen.module_bases().expect("listed")[0];
    let main = frozen.module(main).expect("known");
    let program = std::fs::read_link(format!("/proc/{}/exe", victim.pid())).expect("readable");
    assert_eq!(Some(main.path.as_str()), program.to_str());
    let regions = frozen.regions().expect("listed");
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
    let facts = frozen.linux().expect("it is one");
    let status = facts
        .texts
        .iter()
        .find(|text| text.kind == LinuxTextKind::ProcStatus)
        .expect("there");
    let status = String::from_utf8_lossy(&status.bytes);
    assert!(
        status.contains("TracerPid:\t0\n"),
        "as it was before we came: {status}"
    );
    assert!(facts.dso_debug.is_some_and(|debug| debug.links.len() > 1));
    assert!(
        frozen
            .remarks()
            .iter()
            .all(|remark| remark.gravity < Gravity::Missing)
    );
}

/// The requests by which a debugger changes its target do not occur in this crate's code.
#[test]
fn nothing_here_can_write_into_a_target() {
    let forbidden = [
        "POKE",
        "SETREGS",
        "SETREGSET",
        "setregs",
        "SETSIGINFO",
        "SETSIGMASK",
        "writev",
        "write_user",
        "ptrace::write",
    ];
    let mut files = 0;
    for entry in std::fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("readable") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("readable");
            for word in forbidden {
                assert!(!text.contains(word), "{} mentions {word}", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 10);
}

/// The priority that a program started by this one has: our niceness, in Windows' steps (-20 is 2, 19 is -2).
fn inherited_priority() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("we run");
    let behind_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let nice: f64 = behind_name
        .split(' ')
        .nth(16)
        .and_then(|nice| nice.parse().ok())
        .expect("a number");
    (-nice / 10.0).round().clamp(-2.0, 2.0) as i32
}
