//! A program that installs the crash handler and crashes: this test binary, started again.
//!
//! It prints `FACTS` with a JSON object, waits for a line on its standard input, and crashes.

use std::fs::File;
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use dumpwright::DumpType;
use dumpwright::crash::{self, CrashOptions};
use serde_json::json;

use super::{ADDRESS, CORE, EARLIER, FOLDER, KIND, LIMIT, PLAIN, SERVER, WILD};

/// The exit status of a victim that finds something else than it expects.
const UNEXPECTED: i32 = 98;

fn expect(holds: bool, what: &str) {
    if !holds {
        eprintln!("the victim: {what}");
        std::process::exit(UNEXPECTED);
    }
}

pub fn run(kind: &str) {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    if std::env::var_os(CORE).is_none() {
        // SAFETY: the call reads the structure.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    }
    match std::env::var(EARLIER).as_deref() {
        Ok("record") => handle_earlier(record as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)),
        Ok("crash") => handle_earlier(crash_again),
        _ => {}
    }
    if std::env::var_os(PLAIN).is_none() {
        install("crash.dmp");
        crash::annotate("kind", kind).unwrap();
        // SAFETY: the call takes numbers and a null pointer.
        let waited = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        expect(waited == -1, "the server is a child, which waits would report");
    }
    let bystander = bystander();
    let (kind, inner) = (kind.to_owned(), kind.to_owned());
    let thread = std::thread::Builder::new().name("crasher".to_owned());
    let crashing = thread.spawn(move || {
        println!(
            "FACTS {}",
            json!({"pid": std::process::id(), "tid": thread_id(), "bystander": bystander})
        );
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        crash_as(&inner);
    });
    let _ = crashing.unwrap().join();
    expect(false, &format!("{kind} has not ended it"));
}

fn install(name: &str) {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let mut options = CrashOptions::new(folder.join("dumps"))
        .name(name)
        .dump_type(DumpType::NORMAL)
        .server(std::env::var_os(SERVER).unwrap());
    if let Ok(limit) = std::env::var(LIMIT) {
        options = options.limit(Duration::from_millis(limit.parse().unwrap()));
    }
    crash::install(&options).unwrap();
}

fn thread_id() -> i32 {
    // SAFETY: the call has no arguments.
    unsafe { libc::gettid() }
}

/// Starts a thread that does nothing, and returns its id.
fn bystander() -> i32 {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        send.send(thread_id()).unwrap();
        loop {
            std::thread::park();
        }
    });
    receive.recv().unwrap()
}

/// The file of the handler that was there before, and the number of its calls.
static RECORD: AtomicI32 = AtomicI32::new(-1);
static RECORDED: AtomicU32 = AtomicU32::new(0);

fn handle_earlier(handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)) {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let file = File::create(folder.join("earlier")).unwrap();
    RECORD.store(file.into_raw_fd(), Ordering::SeqCst);
    for signal in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
    ] {
        // SAFETY: the handler has the signature of SA_SIGINFO, and the structure is filled in.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            assert_eq!(
                libc::sigaction(signal, &raw const action, std::ptr::null_mut()),
                0
            );
        }
    }
}

/// Writes its arguments to the file, and lets the signal kill the process.
extern "C" fn record(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    RECORDED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the kernel passes both structures. The calls are allowed in signal handlers.
    unsafe {
        let file = RECORD.load(Ordering::SeqCst);
        let thread = libc::gettid();
        libc::write(file, (&raw const thread).cast(), 4);
        libc::write(file, info.cast(), 128);
        // `uc_mcontext.gregs`.
        libc::write(file, context.byte_add(40), 184);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// A handler that is broken itself.
extern "C" fn crash_again(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    store_to(ADDRESS);
}

fn store_to(address: u64) {
    // SAFETY: the address is not mapped, so the process ends here.
    unsafe { std::arch::asm!("mov dword ptr [{at}], 1", at = in(reg) address) };
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => overflow(depth + 1) + room[1],
    }
}

extern "C" fn panics() {
    panic!("the panic of the victim");
}

fn free_twice() {
    // SAFETY: this is an error of the program on purpose, which the C library finds, with the lock
    // of the heap held. The blocks are too large for a cache of the thread.
    unsafe {
        let block = std::hint::black_box(libc::malloc(100_000));
        let _behind = std::hint::black_box(libc::malloc(100_000));
        libc::free(block);
        libc::free(std::hint::black_box(block));
    }
}

fn read_behind_file() {
    // SAFETY: the second page of the mapping lies behind the end of the file.
    unsafe {
        let file = libc::memfd_create(c"short".as_ptr(), 0);
        let (access, kind) = (libc::PROT_READ, libc::MAP_SHARED);
        let at = libc::mmap(std::ptr::null_mut(), 8192, access, kind, file, 0);
        std::ptr::read_volatile(at.byte_add(4096).cast::<u8>());
    }
}

fn abort() {
    // SAFETY: the call ends the process.
    unsafe { libc::abort() };
}

fn execute_nothing() {
    // SAFETY: the instruction ends the process.
    unsafe { std::arch::asm!("ud2") };
}

fn divide_by_zero() {
    // SAFETY: the instruction ends the process. The registers that it would change are declared.
    unsafe { std::arch::asm!("idiv ecx", inout("eax") 1 => _, inout("edx") 0 => _, in("ecx") 0) };
}

fn trap() {
    // SAFETY: the instruction ends the process, which has no debugger.
    unsafe { std::arch::asm!("int3") };
}

fn close_all() {
    // SAFETY: nothing in this process uses a descriptor from here on.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}

fn crash_as(kind: &str) {
    match kind {
        "null" => store_to(ADDRESS),
        "wild" => store_to(WILD),
        "non-canonical" => store_to(0x8000_1234_1234_1234),
        "illegal" => execute_nothing(),
        "divide" => divide_by_zero(),
        "trap" => trap(),
        "abort" => abort(),
        "overflow" => {
            overflow(0);
        }
        "double-free" => free_twice(),
        "bus" => read_behind_file(),
        "panic" => panics(),
        "closed" => {
            close_all();
            store_to(ADDRESS);
        }
        "two" => two(),
        "forked" => {
            let status = in_child(|| store_to(ADDRESS));
            expect(status == libc::SIGSEGV, "the child has another status");
            abort();
        }
        "installed-again" => {
            let status = in_child(|| {
                install("child.dmp");
                store_to(ADDRESS);
            });
            expect(status == libc::SIGSEGV, "the child has another status");
            abort();
        }
        "storm" => storm(),
        "end" => std::process::exit(0),
        other => panic!("{other}?"),
    }
}

/// Runs this in a forked child, and returns the status as of `waitpid`.
fn in_child(body: impl FnOnce()) -> i32 {
    let mut status = 0;
    // SAFETY: the C library makes its heap usable in the child.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            body();
            libc::_exit(UNEXPECTED);
        }
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
    }
    status
}

/// Two threads crash at the same time.
fn two() {
    let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
    let other = std::thread::spawn(|| {
        barrier.wait();
        crash_as("divide");
    });
    barrier.wait();
    store_to(ADDRESS);
    let _ = other.join();
}

/// Crashes while other threads allocate, load libraries and fork.
fn storm() {
    let begun: &'static Barrier = Box::leak(Box::new(Barrier::new(5)));
    let busy = |work: fn()| {
        std::thread::spawn(move || {
            begun.wait();
            loop {
                work();
            }
        });
    };
    for _ in 0..2 {
        busy(|| {
            let blocks: Vec<Vec<u8>> = (1..64).map(|size| vec![1; size * 97]).collect();
            drop(std::hint::black_box(blocks));
        });
    }
    busy(|| {
        // SAFETY: the library has no initialisers with effects.
        unsafe {
            let library = libc::dlopen(c"libutil.so.1".as_ptr(), libc::RTLD_NOW);
            if !library.is_null() {
                libc::dlclose(library);
            }
        }
    });
    busy(|| {
        in_child(|| ());
    });
    begun.wait();
    // A moment that differs from run to run.
    let turns = std::process::id() % 97 * 2000;
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
    let kinds = ["null", "abort", "double-free", "divide", "overflow"];
    crash_as(kinds[std::process::id() as usize % kinds.len()]);
}

/// Writes that it has found its kind, for the messages of failed tests.
pub fn begin() -> Option<String> {
    let kind = std::env::var(KIND).ok()?;
    let _ = std::io::stdout().flush();
    Some(kind)
}
