//! What these tests would catch: a crash that is missed, or reported with a wrong signal, address
//! or thread; a program that handles its signals and is reported as crashed; a start that changes
//! what the program sees of its environment.

mod support;

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use dumpwright_linux::{Outcome, Spawned};
use dumpwright_target::{Direct, Exception, FaultKind, Frozen, Need, Target};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3600);

/// A running program and its output.
struct Run {
    spawned: Spawned,
    output: std::io::PipeReader,
}

fn start(program: &Path, arguments: &[&str]) -> Run {
    let (output, theirs) = std::io::pipe().expect("a pipe");
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let spawned = Spawned::start(program.as_os_str(), &arguments, Some(theirs.as_fd())).expect("starts");
    Run { spawned, output }
}

impl Run {
    fn numbers(&mut self) -> Vec<u64> {
        let mut text = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).expect("readable") == 1 && byte != *b"\n" {
            text.push(byte[0]);
        }
        let text = String::from_utf8(text).expect("text");
        text.split_ascii_whitespace()
            .map(|word| {
                u64::from_str_radix(
                    word.trim_start_matches("0x"),
                    if word.starts_with("0x") { 16 } else { 10 },
                )
            })
            .map(|number| number.unwrap_or_else(|_| panic!("not a number in {text:?}")))
            .collect()
    }

    /// Reads a line that it prints while it runs. On a slow machine it may still be in one of its
    /// first stops, which end only during a wait.
    fn numbers_of_running(&mut self) -> Vec<u64> {
        let mut readable = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        while poll(&mut readable, PollTimeout::ZERO).expect("can be polled") == 0 {
            assert_eq!(self.spawned.wait(Duration::from_millis(2)), Ok(Outcome::Elapsed));
        }
        self.numbers()
    }

    /// Lets it run until a signal is about to kill it.
    fn crash(&mut self) -> Exception {
        let outcome = self.spawned.wait(LONG).expect("can be waited for");
        let exception = self.spawned.exception().expect("it crashed");
        let Outcome::Dying { thread_id, signal } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            (exception.thread_id, exception.code),
            (thread_id, signal.cast_unsigned())
        );
        exception
    }

    /// Checks that the crashed thread is stopped at the crash, also after a freeze.
    fn is_held_at(&mut self, exception: &Exception) {
        for _ in 0..2 {
            let mut frozen = self.spawned.freeze(&Need::default()).expect("stops");
            assert!(
                frozen
                    .thread_ids()
                    .expect("listed")
                    .contains(&exception.thread_id)
            );
            let thread = frozen.thread(exception.thread_id, &mut Direct).expect("known");
            assert_eq!(
                thread.context.expect("it has stopped").bytes(),
                exception.context.bytes()
            );
            assert!(frozen.diagnostics().is_empty());
        }
    }

    fn wait_status(&mut self) -> i32 {
        match self.spawned.wait(LONG).expect("can be waited for") {
            Outcome::Exited(status) => status.into_raw(),
            other => panic!("{other:?}"),
        }
    }
}

fn run(name: &str, source: &str, arguments: &[&str]) -> Run {
    start(&support::build(name, source), arguments)
}

#[test]
fn a_null_dereference_is_a_crash_at_address_0() {
    let mut run = run(
        "null",
        "int main(void) { volatile int *volatile nowhere = 0; return *nowhere; }",
        &[],
    );
    let exception = run.crash();
    assert_eq!(
        (exception.code, exception.flags, exception.address),
        (11, 1, 0),
        "SIGSEGV, SEGV_MAPERR"
    );
    assert_eq!(exception.thread_id, run.spawned.process_id());
    run.is_held_at(&exception);
    assert_eq!(
        run.wait_status() & 0x7f,
        libc::SIGSEGV,
        "it dies of its own signal"
    );
}

#[test]
fn an_abort_names_its_sender() {
    let mut run = run(
        "aborts",
        "int main(void) { printf(\"%d %d\\n\", getpid(), getuid()); fflush(stdout); abort(); }",
        &[],
    );
    let exception = run.crash();
    let told = run.numbers();
    assert_eq!(
        (exception.code, exception.flags),
        (6, libc::SI_TKILL.cast_unsigned())
    );
    assert_eq!(exception.parameters, told);
    assert_eq!(exception.address, exception.context.instruction_pointer());
    run.is_held_at(&exception);
    assert_eq!(run.spawned.kill().expect("ends").signal(), Some(libc::SIGKILL));
}

/// Jumps, in a second thread, to an address that cannot exist.
const WILD_JUMP: &str = r#"
static void *thread(void *unused) {
    printf("%d\n", gettid()); fflush(stdout);
    __asm__ volatile("jmp *%0" : : "r"(UINT64_C(0x4141414141414141)));
    return 0;
}
int main(void) {
    pthread_t id;
    pthread_create(&id, 0, thread, 0);
    pthread_join(id, 0);
}
"#;

#[test]
fn a_jump_to_a_non_canonical_address_has_address_0_and_the_jump() {
    let mut run = run("wild_jump", WILD_JUMP, &[]);
    let exception = run.crash();
    assert_eq!(run.numbers(), [u64::from(exception.thread_id)]);
    assert_eq!(
        (exception.code, exception.flags, exception.address),
        (11, 0x80, 0)
    );
    run.is_held_at(&exception);
    let mut frozen = run.spawned.freeze(&Need::default()).expect("stops");
    let mut code = [0; 2];
    assert_eq!(
        frozen.read(exception.context.instruction_pointer(), &mut code),
        Ok(2)
    );
    assert_eq!(code[0], 0xff, "the first byte of an indirect jump");
}

/// Overflows its stack. With an argument, it installs a handler that has no stack to run on.
const OVERFLOW: &str = r#"
static volatile int never;
static void handler(int signal) { _exit(9); }
__attribute__((noinline)) static int recurse(int depth) {
    volatile char local[512];
    local[depth % 512] = 1;
    return never ? 0 : recurse(depth + 1) + local[0];
}
int main(int count, char **arguments) {
    struct rlimit limit = {262144, 262144};
    setrlimit(RLIMIT_STACK, &limit);
    if (count > 1) signal(SIGSEGV, handler);
    return recurse(0);
}
"#;

#[test]
fn a_stack_overflow_has_the_address_that_overflowed_handled_or_not() {
    for arguments in [&[][..], &["handle"]] {
        let mut run = run("overflow", OVERFLOW, arguments);
        let exception = run.crash();
        assert_eq!(
            (exception.code, exception.flags),
            (11, 1),
            "{arguments:?}: SEGV_MAPERR"
        );
        let pointer = exception.context.stack_pointer();
        assert!(
            exception.address.abs_diff(pointer) < 4096,
            "{:#x} {pointer:#x}",
            exception.address
        );
        run.is_held_at(&exception);
        let mut frozen = run.spawned.freeze(&Need::default()).expect("stops");
        let stack = frozen
            .thread(exception.thread_id, &mut Direct)
            .expect("known")
            .stack
            .expect("the one above");
        assert!(stack.range.len() > 200 << 10, "{stack:?}");
    }
}

/// Handles 1000 faults and one signal from outside, ignores other signals, and exits.
const HANDLES: &str = r#"
static volatile int faults, sent;
static void on_fault(int signal, siginfo_t *info, void *context) {
    ++faults;
    mprotect((void *)((uintptr_t)info->si_addr & -4096), 4096, PROT_READ | PROT_WRITE);
}
static void on_signal(int signal) { ++sent; }
int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    signal(SIGUSR1, on_signal);
    signal(SIGTERM, SIG_IGN);
    volatile char *memory = mmap(0, 1000 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 1000; ++i) memory[i * 4096] = 1;
    raise(SIGUSR1);
    raise(SIGTERM);
    raise(SIGWINCH);
    return faults == 1000 && sent == 1 ? 42 : 1;
}
"#;

#[test]
fn a_program_that_handles_its_signals_does_not_crash() {
    let mut run = run("handles", HANDLES, &[]);
    assert_eq!(run.wait_status() >> 8, 42);
    assert_eq!(run.spawned.exception(), None);
    assert!(
        matches!(run.spawned.wait(LONG), Ok(Outcome::Exited(_))),
        "a second wait is permitted"
    );
    assert_eq!(
        run.spawned
            .freeze(&Need::default())
            .map(drop)
            .expect_err("gone")
            .kind,
        FaultKind::Gone
    );
}

/// The handler resets itself, and the program faults again, as with crash reporters.
#[test]
fn a_second_fault_after_the_handler_gave_up_is_the_crash() {
    let source = r#"
static void handler(int number) { signal(number, SIG_DFL); }
int main(void) { signal(SIGSEGV, handler); return *(volatile int *)(uintptr_t)(getpid() == 0 ? 1 : 0x10); }
"#;
    let mut run = run("gives_up", source, &[]);
    let exception = run.crash();
    assert_eq!((exception.flags, exception.address), (1, 0x10));
}

#[test]
fn blocked_faults_kill_all_the_same() {
    let source = r#"
int main(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    signal(SIGFPE, SIG_IGN);
    volatile int zero = 0;
    return 7 / zero;
}
"#;
    let exception = run("blocked", source, &[]).crash();
    assert_eq!((exception.code, exception.flags), (8, 1), "SIGFPE, FPE_INTDIV");
    assert_eq!(exception.address, exception.context.instruction_pointer());
}

/// Counts forever in one thread, and creates threads in another.
const COUNTS: &str = r#"
static volatile uint64_t counter;
static void *count(void *unused) { for (;;) { ++counter; if (counter % 1024 == 0) sched_yield(); } }
static void *nothing(void *unused) { return 0; }
int main(void) {
    pthread_t thread, other;
    /* Printed first, because creating threads stops the program until the tracer waits. */
    printf("%p\n", (void *)&counter); fflush(stdout);
    pthread_create(&thread, 0, count, 0);
    for (;;) { pthread_create(&other, 0, nothing, 0); pthread_join(other, 0); }
}
"#;

#[test]
fn when_the_time_has_passed_the_program_can_be_held_again_and_again() {
    let mut run = run("counts", COUNTS, &[]);
    let read = |frozen: &mut dyn Frozen, at| {
        let mut bytes = [0; 8];
        assert_eq!(frozen.read(at, &mut bytes), Ok(8));
        u64::from_le_bytes(bytes)
    };
    let at = run.numbers_of_running()[0];
    let mut last = 0;
    for _ in 0..30 {
        // It counts between the captures, no matter how slow the machine is.
        loop {
            assert_eq!(run.spawned.wait(Duration::from_millis(2)), Ok(Outcome::Elapsed));
            let mut frozen = run.spawned.freeze(&Need::default()).expect("stops");
            let now = read(&mut *frozen, at);
            assert_eq!(read(&mut *frozen, at), now);
            for id in frozen.thread_ids().expect("listed") {
                assert!(frozen.thread(id, &mut Direct).expect("known").context.is_some());
            }
            frozen.thaw();
            if now > last {
                last = now;
                break;
            }
        }
    }
    let pid = run.spawned.process_id();
    assert_eq!(run.spawned.kill().expect("ends").signal(), Some(libc::SIGKILL));
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "nothing of it is left"
    );
}

#[test]
fn dropping_it_kills_the_program() {
    let run = run("counts2", COUNTS, &[]);
    let pid = run.spawned.process_id();
    drop(run);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

/// Stops itself by job control. A second process continues it.
const STOPS: &str = r#"
int main(void) {
    pid_t self = getpid();
    if (fork() == 0) {
        char path[64], state = 0;
        sprintf(path, "/proc/%d/stat", self);
        while (state != 'T' && state != 't') { FILE *stat = fopen(path, "r"); fscanf(stat, "%*d (%*[^)]) %c", &state); fclose(stat); }
        kill(self, SIGCONT);
        _exit(0);
    }
    raise(SIGSTOP);
    while (wait(0) > 0) {}
    return 7;
}
"#;

#[test]
fn job_control_works_as_without_us() {
    assert_eq!(run("stops", STOPS, &[]).wait_status() >> 8, 7);
}

/// A thread other than the first executes another program, which crashes.
const BECOMES: &str = r#"
static void *become(void *self) { char *words[] = {self, "crash", 0}; execv(self, words); return 0; }
static void *idle(void *unused) { for (;;) pause(); }
int main(int count, char **words) {
    if (count > 1) { volatile int *nowhere = (int *)8; return *nowhere; }
    pthread_t thread;
    pthread_create(&thread, 0, idle, 0);
    pthread_create(&thread, 0, become, words[0]);
    for (;;) pause();
}
"#;

#[test]
fn a_program_that_becomes_another_is_followed() {
    let mut run = run("becomes", BECOMES, &[]);
    let exception = run.crash();
    assert_eq!(
        (exception.thread_id, exception.address),
        (run.spawned.process_id(), 8)
    );
    run.is_held_at(&exception);
}

#[test]
fn a_process_made_like_a_thread_crashes_as_a_process() {
    let source = r#"
static int child(void *unused) { *(volatile int *)8 = 1; return 0; }
int main(void) {
    static char stack[65536] __attribute__((aligned(16)));
    int status, pid = clone(child, stack + sizeof stack, 0, 0);
    waitpid(pid, &status, __WALL);
    return WIFSIGNALED(status) ? 3 : 4;
}
"#;
    let mut run = run("clones", source, &[]);
    let program = run.spawned.process_id();
    let exception = run.crash();
    assert_ne!(exception.thread_id, program);
    assert_eq!(
        (exception.thread_id, exception.address),
        (run.spawned.process_id(), 8)
    );
    run.is_held_at(&exception);
    assert_eq!(run.wait_status() >> 8, 3, "its parent learns of the crash");
    assert_eq!(run.spawned.process_id(), program);
}

#[test]
fn what_cannot_be_started_is_named() {
    let fault = |program: &str| Spawned::start(program.as_ref(), &[], None).expect_err("cannot be started");
    let missing = fault("/no/such/program");
    assert_eq!(
        (missing.kind, missing.os_code),
        (FaultKind::System, Some(libc::ENOENT))
    );
    assert!(
        missing.to_string().contains("cannot start /no/such/program"),
        "{missing}"
    );
    assert_eq!(fault("/etc/passwd").os_code, Some(libc::EACCES));
    assert_eq!(fault("with\0zero").kind, FaultKind::System);
}

#[test]
fn the_program_sees_the_world_as_if_started_from_a_shell() {
    let mut run = start(Path::new("grep"), &["^Sig[BIC]", "/proc/self/status"]);
    assert_eq!(run.wait_status(), 0);
    let mut text = String::new();
    drop(run.spawned);
    run.output.read_to_string(&mut text).expect("text");
    let own = std::fs::read_to_string("/proc/thread-self/status").expect("readable");
    let blocked = own
        .lines()
        .find(|line| line.starts_with("SigBlk"))
        .expect("there");
    assert!(text.contains(blocked), "our own mask: {text}");
    let ignored = text
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"))
        .expect("there");
    let ignored = u64::from_str_radix(ignored, 16).expect("hexadecimal");
    assert_eq!(
        ignored & 1 << (libc::SIGPIPE - 1),
        0,
        "SIGPIPE is not ignored as in Rust programs"
    );
}
