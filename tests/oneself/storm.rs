//! Many dumps of a program whose threads never rest.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use dumpwright::{DumpType, Request};
use dumpwright_fixtures::alone;

use crate::dump_self;

/// A library that is small and not loaded yet.
const LIBRARY: &CStr = c"libutil.so.1";

/// Threads that allocate, load a library, fork, and start other threads, until they are told to
/// end. Each counts what it has done.
struct Storm {
    enough: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<()>>,
}

impl Storm {
    fn begin() -> Self {
        let mut storm = Self {
            enough: Arc::default(),
            done: Vec::new(),
            threads: Vec::new(),
        };
        for work in [allocate, allocate, load, fork, start_threads] {
            storm.add(work);
        }
        storm
    }

    fn add(&mut self, work: fn(u64)) {
        let (enough, done) = (Arc::clone(&self.enough), Arc::<AtomicU64>::default());
        self.done.push(Arc::clone(&done));
        self.threads.push(thread::spawn(move || {
            while !enough.load(Ordering::Relaxed) {
                work(done.fetch_add(1, Ordering::Relaxed));
            }
        }));
    }

    /// Ends it, and fails if a thread has done nothing.
    fn end(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        let done: Vec<u64> = self
            .done
            .iter()
            .map(|done| done.load(Ordering::Relaxed))
            .collect();
        assert!(done.iter().all(|count| *count > 0), "{done:?}");
    }
}

fn allocate(turn: u64) {
    let blocks: Vec<Vec<u8>> = (0..50)
        .map(|at| vec![at as u8; (turn as usize * 37 + at * 811) % 40_000])
        .collect();
    std::hint::black_box(blocks);
}

fn load(_: u64) {
    // SAFETY: the name is a C string. The library has no initialisers that matter.
    let handle = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW) };
    assert!(!handle.is_null(), "{LIBRARY:?} is a part of the C library");
    // SAFETY: the handle is from above, and nothing of the library is used.
    unsafe { libc::dlclose(handle) };
}

fn fork(_: u64) {
    // SAFETY: the child ends at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: this ends the process without running code of the C library.
        unsafe { libc::_exit(7) };
    }
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the call writes to the local integer.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(
        (ended, libc::WEXITSTATUS(status)),
        (child, 7),
        "no wait is interrupted or lost"
    );
}

fn start_threads(_: u64) {
    let threads: Vec<_> = (0..4)
        .map(|number| thread::spawn(move || vec![number; 1000]))
        .collect();
    for (number, thread) in (0..).zip(threads) {
        assert_eq!(thread.join().unwrap(), vec![number; 1000]);
    }
}

/// Makes dumps during the storm. Each must be complete, with at least the threads that are always
/// there.
fn dumps(count: usize) {
    let storm = Storm::begin();
    let mut callback = |_: dumpwright::Ask<'_>| {
        std::hint::black_box(vec![1_u8; 4096]);
        true
    };
    for turn in 0..count {
        let (_, dump) = dump_self(&Request::new(DumpType::NORMAL), Some(&mut callback));
        let threads = dump.threads().unwrap();
        assert!(threads.len() > 5, "{}", threads.len());
        for thread in threads {
            assert!(thread.registers().is_some(), "dump {turn}: thread {}", thread.id);
        }
    }
    storm.end();
    // SAFETY: waitpid takes numbers, and a null pointer because no status is wanted.
    let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WALL | libc::WNOHANG) };
    assert_eq!(child, -1, "no child is left");
}

#[test]
fn a_restless_program_dumps_itself() {
    alone!();
    dumps(20);
}

/// The number of dumps is in the variable `DUMPWRIGHT_TEST_CAPTURES`.
#[test]
#[ignore = "takes long"]
fn a_restless_program_dumps_itself_thousands_of_times() {
    let count = std::env::var("DUMPWRIGHT_TEST_CAPTURES");
    alone!(long);
    dumps(count.map_or(10_000, |count| count.parse().expect("a number")));
}
