//! What these tests would catch: a thread that is missing, or has another's registers; a program
//! that waits for ever because a thread was stopped that holds a lock; waits of the program that
//! end early, and children, signals and descriptors of the capture that the program sees; a clone
//! that remains; a refusal without its reason.

#[path = "support/refusal.rs"]
#[allow(dead_code, reason = "no test file uses all of it")]
mod refusal;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use dumpwright_fixtures::alone;
use dumpwright_fixtures::proc::{task_ids, until};
use dumpwright_linux::LinuxProcess;
use dumpwright_target::{CpuContext, Direct, Fault, FaultKind, Frozen, MemoryExt, Need, Target};

/// An allocator that takes a lock, so that a thread may be stopped while it holds it.
struct Locking;

static LOCKED: AtomicBool = AtomicBool::new(false);

/// The lock of the allocator.
struct Lock;

impl Lock {
    fn take() -> Self {
        while LOCKED.swap(true, Ordering::Acquire) {
            // SAFETY: the call has no arguments.
            unsafe { libc::sched_yield() };
        }
        Self
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        LOCKED.store(false, Ordering::Release);
    }
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Locking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _lock = Lock::take();
        // SAFETY: the caller guarantees what `System` requires.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _lock = Lock::take();
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Locking = Locking;

fn this_thread() -> u32 {
    nix::unistd::gettid().as_raw().unsigned_abs()
}

fn current() -> LinuxProcess {
    LinuxProcess::current().expect("may be examined")
}

fn freeze<'p>(process: &'p mut LinuxProcess, need: &Need) -> Box<dyn Frozen + 'p> {
    process.freeze(need).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The children of this process, which waits see only with `__WALL`.
fn has_children() -> bool {
    let options = libc::__WALL | libc::WNOHANG;
    // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
    unsafe { libc::waitpid(-1, std::ptr::null_mut(), options) != -1 }
}

fn descriptors() -> BTreeMap<String, String> {
    let link = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((
            entry.file_name().into_string().ok()?,
            target.display().to_string(),
        ))
    };
    let listed = fs::read_dir("/proc/self/fd").expect("listed");
    listed.filter_map(|entry| link(entry.expect("listed"))).collect()
}

/// Starts threads that sleep until the sender is dropped, once they all sleep.
fn sleepers(count: usize) -> (UnixStream, Vec<thread::JoinHandle<()>>) {
    let (keep, wait) = UnixStream::pair().expect("sockets");
    let wait = Arc::new(wait);
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let wait = Arc::clone(&wait);
            let thread = thread::Builder::new().name(format!("sleeper {number}"));
            let sleep = move || assert_eq!((&*wait).read(&mut [0]).expect("it ends"), 0);
            thread.spawn(sleep).expect("starts")
        })
        .collect();
    until("all threads sleep", || {
        let asleep = task_ids(std::process::id())
            .into_iter()
            .filter(|tid| in_call(*tid).is_some());
        asleep.count() >= count
    });
    (keep, threads)
}

/// The stack pointer and the instruction pointer of a thread that waits for a socket, as the kernel
/// shows them. `None` for the calling thread, which reads this.
fn in_call(tid: u32) -> Option<(u64, u64)> {
    if tid == this_thread() {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    match *words.as_slice() {
        [call, .., rsp, rip]
            if call == libc::SYS_read.to_string() || call == libc::SYS_recvfrom.to_string() =>
        {
            Some((number(rsp)?, number(rip)?))
        }
        _ => None,
    }
}

#[test]
fn every_thread_is_there_once_with_its_name_and_registers() {
    alone!();
    let (keep, threads) = sleepers(20);
    let ids = task_ids(std::process::id());
    // After the stop, they sleep again only when they have got a processor.
    let known: BTreeMap<u32, (u64, u64)> = ids.iter().filter_map(|id| Some((*id, in_call(*id)?))).collect();
    assert_eq!(known.len(), 20);
    let mut process = current();
    let need = Need {
        thread_times: true,
        ..Need::default()
    };
    let mut frozen = freeze(&mut process, &need);
    assert_eq!(frozen.thread_ids().expect("listed"), ids);
    for id in ids {
        let thread = frozen.thread(id, &mut Direct).expect("known");
        let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).expect("it lives");
        assert_eq!(thread.name.as_deref(), Some(name.trim_end()));
        let context = thread.context.expect("registers");
        let stack = thread.stack.expect("a stack");
        assert!(stack.range.contains(context.stack_pointer()));
        if let Some(registers) = known.get(&id) {
            let found = (context.stack_pointer(), context.instruction_pointer());
            assert_eq!(found, *registers);
        }
        let times = thread.times.expect("requested");
        assert_ne!((times.created, times.affinity), (0, 0));
    }
    assert_eq!(frozen.diagnostics(), []);
    let holding = frozen.thaw();
    assert_eq!((holding.hold, holding.tracer), ("clone", Some("helper")));
    drop(keep);
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

/// Returns addresses on the stack of the calling thread, of which the first is in the frame of a
/// function that has called `look`.
#[inline(never)]
fn with_marks(look: &mut dyn FnMut(u64)) -> u64 {
    let mark = 0x6d61_726b_5f68_6572_u64;
    let mark = std::hint::black_box(&mark);
    look(std::ptr::from_ref(mark).addr() as u64);
    *mark
}

#[test]
fn the_calling_thread_has_its_registers_and_its_stack_at_the_call() {
    alone!();
    let mut process = current();
    with_marks(&mut |mark| {
        let mut frozen = freeze(&mut process, &Need::default());
        let thread = frozen.thread(this_thread(), &mut Direct).expect("known");
        let context: CpuContext = thread.context.expect("registers");
        let stack = thread.stack.expect("a stack");
        assert!(
            context.stack_pointer() < mark && stack.range.contains(mark),
            "{stack:x?} {mark:#x}"
        );
        assert_eq!(frozen.up_to(mark, 8), 0x6d61_726b_5f68_6572_u64.to_le_bytes());
        // It waits in a system call of this library.
        let maps = fs::read_to_string("/proc/self/maps").expect("readable");
        let program = std::env::current_exe().expect("known");
        let code = maps
            .lines()
            .filter(|line| line.contains(" r-xp ") && line.ends_with(&*program.to_string_lossy()));
        let has_code = code
            .filter_map(|line| line.split_once(' ')?.0.split_once('-'))
            .any(|(from, to)| {
                let number = |text| u64::from_str_radix(text, 16).expect("a number");
                (number(from)..number(to)).contains(&context.instruction_pointer())
            });
        assert!(has_code, "{:#x}", context.instruction_pointer());
        frozen.thaw();
    });
}

#[test]
fn a_thread_that_makes_dumps_can_be_left_out() {
    alone!();
    let (keep, threads) = sleepers(2);
    let others = task_ids(std::process::id());
    let of_dumper = thread::spawn(|| {
        let mut process = current();
        process.leave_out_dumping_thread();
        let mut frozen = freeze(&mut process, &Need::default());
        frozen.thread_ids().expect("listed")
    });
    assert_eq!(of_dumper.join().expect("no panic"), others);
    drop(keep);
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

/// A program whose threads hold the lock of the allocator most of the time.
#[test]
fn no_lock_is_needed_while_the_threads_are_stopped() {
    alone!();
    static ENOUGH: AtomicBool = AtomicBool::new(false);
    let hogs: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(|| {
                while !ENOUGH.load(Ordering::Relaxed) {
                    let lock = Lock::take();
                    for _ in 0..20_000 {
                        std::hint::spin_loop();
                    }
                    drop(lock);
                    thread::yield_now();
                }
            })
        })
        .collect();
    let mut process = current();
    for _ in 0..20 {
        let mut frozen = freeze(&mut process, &Need::default());
        assert_eq!(
            frozen.thread_ids().expect("listed").len(),
            task_ids(std::process::id()).len()
        );
        frozen.thaw();
    }
    ENOUGH.store(true, Ordering::Relaxed);
    hogs.into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn the_program_sees_nothing_of_it() {
    alone!();
    // SAFETY: the handler only changes an atomic integer. Zeros are valid values of all members of
    // the structure.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(_) as libc::sighandler_t;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
    }
    let mut child = Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let pid = child.id().cast_signed();
    let input = child.stdin.take();
    let waits = thread::spawn(move || {
        let mut status = 0;
        // SAFETY: the call writes to the local integer.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        (ended, status)
    });
    // A wait that every stop ends with EINTR, unless that is prevented.
    let polls = thread::spawn(|| {
        // SAFETY: the calls take numbers, and a place for one event.
        unsafe {
            let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            let mut event: libc::epoll_event = std::mem::zeroed();
            let result = libc::epoll_wait(poll, &raw mut event, 1, 3_000);
            let error = std::io::Error::last_os_error();
            libc::close(poll);
            (result, error.raw_os_error())
        }
    });
    let until_in = |call: libc::c_long| {
        until("a thread waits", || {
            task_ids(std::process::id()).into_iter().any(|tid| {
                let text = fs::read_to_string(format!("/proc/self/task/{tid}/syscall"));
                text.is_ok_and(|text| text.starts_with(&format!("{call} ")))
            })
        });
    };
    until_in(libc::SYS_wait4);
    until_in(libc::SYS_epoll_wait);

    let before = descriptors();
    let mut process = current();
    let mut clones = Vec::new();
    for _ in 0..10 {
        let frozen = freeze(&mut process, &Need::default());
        let text =
            fs::read_to_string(format!("/proc/self/task/{}/children", this_thread())).expect("readable");
        let children: Vec<i32> = text
            .split_whitespace()
            .map(|id| id.parse().expect("a number"))
            .collect();
        let others = children.into_iter().filter(|id| *id != pid);
        clones.extend(others);
        // A thread that waits for any child sees only those of the program.
        // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
        let ended = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(ended, 0);
        frozen.thaw();
    }
    assert_eq!(clones.len(), 10, "one clone each");
    for clone in clones {
        assert!(
            !fs::exists(format!("/proc/{clone}")).expect("known"),
            "{clone} remains"
        );
    }
    assert_eq!(descriptors(), before);
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 0);
    assert!(!waits.is_finished());
    assert_eq!(
        polls.join().expect("no panic").0,
        0,
        "its time is over, and it saw no EINTR"
    );
    drop(input);
    assert_eq!(waits.join().expect("no panic"), (pid, 0));
    assert!(child.wait().is_err(), "that thread has waited for it");
    assert!(!has_children());
    assert_eq!(SIGNALS.load(Ordering::Relaxed), 1, "the child of the program");
}

#[test]
fn a_clone_ends_with_the_thread_that_has_it() {
    alone!();
    let clone = thread::spawn(|| {
        let mut process = current();
        let frozen = freeze(&mut process, &Need::default());
        let path = format!("/proc/self/task/{}/children", this_thread());
        let clone = fs::read_to_string(path).expect("readable");
        // The thread ends without dropping it, as a thread that is cancelled does.
        std::mem::forget(frozen);
        clone.trim().to_owned()
    });
    let clone = clone.join().expect("no panic");
    let stat = format!("/proc/{clone}/stat");
    until("the clone ends", || {
        fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "))
    });
}

#[test]
fn memory_is_that_at_the_stop_whatever_happens_afterwards() {
    alone!();
    let size = 64 << 10;
    let map = |flags, advice| {
        // SAFETY: this makes a new mapping, and gives advice about it.
        unsafe {
            let at = libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(at, libc::MAP_FAILED);
            if advice != 0 {
                assert_eq!(libc::madvise(at, size, advice), 0);
            }
            std::slice::from_raw_parts_mut(at.cast::<u8>(), size)
        }
    };
    let mut parts = [
        map(libc::MAP_PRIVATE, 0),
        map(libc::MAP_PRIVATE, libc::MADV_DONTFORK),
        map(libc::MAP_PRIVATE, libc::MADV_WIPEONFORK),
        map(libc::MAP_SHARED, 0),
    ];
    for (number, part) in (1..).zip(&mut parts) {
        part.fill(number);
    }
    let places: Vec<u64> = parts.iter().map(|part| part.as_ptr().addr() as u64).collect();
    let mut process = current();
    let need = Need {
        full_memory: true,
        ..Need::default()
    };
    let mut frozen = freeze(&mut process, &need);
    for part in &mut parts {
        part.fill(0xff);
    }
    // SAFETY: nothing uses the first mapping after this.
    unsafe { libc::munmap(parts[0].as_mut_ptr().cast(), size) };
    for (number, at) in (1..).zip(places) {
        assert_eq!(frozen.up_to(at, size), vec![number; size], "part {number}");
    }
    let notes = frozen.diagnostics();
    assert!(
        notes
            .iter()
            .any(|note| note.to_string().contains("keeps from its children")),
        "{notes:?}"
    );
}

#[test]
fn its_own_id_leads_there() {
    alone!();
    let mut process = LinuxProcess::open(std::process::id()).expect("may be examined");
    let mut frozen = freeze(&mut process, &Need::default());
    assert_eq!(frozen.thread_ids().expect("listed"), task_ids(std::process::id()));
}

/// A fault that says why, after which the program goes on.
fn refused() -> Fault {
    let fault = current()
        .freeze(&Need::default())
        .map(drop)
        .expect_err("it is refused");
    assert!(!has_children());
    fault
}

#[test]
fn a_sandbox_without_new_processes_is_told() {
    alone!();
    let sandboxed = thread::spawn(|| {
        refusal::refuse_processes();
        refused()
    });
    let fault = sandboxed.join().expect("no panic");
    assert!(fault.to_string().contains("helper process"), "{fault}");
    assert_eq!(fault.os_code, Some(libc::EPERM));
}

#[test]
fn a_sandbox_without_ptrace_is_told() {
    alone!();
    let counts = thread::spawn(|| {
        let counts = refusal::refuse_tracing_by_other_processes();
        let fault = refused();
        assert_eq!(
            (fault.kind, fault.os_code),
            (FaultKind::NotPermitted, Some(libc::EPERM))
        );
        assert!(fault.advice.is_some(), "{fault}");
        counts
    });
    // When the thread and the helper have ended, nobody has the filter any more.
    let counts = counts.join().expect("no panic").join().expect("no panic");
    assert!(counts.refused > 0, "{counts:?}");
}

#[test]
fn a_limit_that_passes_before_the_threads_are_stopped_is_told() {
    alone!();
    let need = Need {
        max_pause: Some(std::time::Duration::ZERO),
        ..Need::default()
    };
    let fault = current().freeze(&need).map(drop).expect_err("no time");
    assert_eq!(fault.kind, FaultKind::NotStopped, "{fault}");
    assert!(!has_children());
}

#[test]
fn two_threads_dump_at_a_time() {
    alone!();
    let together = Arc::new(Barrier::new(2));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let together = Arc::clone(&together);
            thread::spawn(move || {
                let mut process = current();
                together.wait();
                for _ in 0..20 {
                    let mut frozen = freeze(&mut process, &Need::default());
                    assert!(frozen.thread_ids().expect("listed").contains(&this_thread()));
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("no panic"));
    assert!(!has_children());
}

#[test]
fn a_socket_with_a_timeout_goes_on_waiting() {
    alone!();
    let (mut sends, mut receives) = UnixStream::pair().expect("sockets");
    receives
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .expect("a socket");
    let number = receives.as_raw_fd();
    let reader = thread::spawn(move || receives.read(&mut [0]).map_err(|error| (error.kind(), number)));
    until("it waits", || {
        task_ids(std::process::id())
            .into_iter()
            .any(|tid| in_call(tid).is_some())
    });
    let mut process = current();
    freeze(&mut process, &Need::default()).thaw();
    assert!(!reader.is_finished());
    sends.write_all(b"x").expect("somebody reads");
    assert_eq!(reader.join().expect("no panic"), Ok(1));
}
