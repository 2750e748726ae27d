//! A child process for tests, which prepares something, reports it, and then waits.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

use crate::proc_dir::{ProcDir, field};

/// A child process that waits until it is dropped.
pub(crate) struct Victim {
    pid: Pid,
    /// The words that it reported, such as addresses.
    pub(crate) words: Vec<u64>,
    /// Our end of a socket pair. The child waits for a byte or the closing of this end.
    _line: UnixStream,
}

impl Victim {
    /// Forks a child that runs `prepare`, sends the words that `prepare` has filled in, and waits.
    ///
    /// `prepare` may only make system calls and use memory that it has mapped itself, because other
    /// threads of the test may hold locks of the allocator at the moment of the fork.
    pub(crate) fn that<const WORDS: usize>(prepare: impl FnOnce(&mut [u64; WORDS])) -> Self {
        let (mut ours, theirs) = UnixStream::pair().expect("makes a socket pair");
        // SAFETY: the child does only what is permitted after a fork, as required of `prepare`
        // above, and never returns from here.
        match unsafe { fork() }.expect("forks") {
            ForkResult::Child => {
                let mut words = [0; WORDS];
                prepare(&mut words);
                // SAFETY: the calls read and write live local memory of the given size. _exit ends
                // the process without running any code of the parent.
                unsafe {
                    libc::close(ours.as_raw_fd());
                    libc::write(theirs.as_raw_fd(), words.as_ptr().cast(), size_of_val(&words));
                    let mut byte = 0u8;
                    libc::read(theirs.as_raw_fd(), (&raw mut byte).cast(), 1);
                    libc::_exit(0)
                }
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                let mut bytes = vec![0; WORDS * 8];
                ours.read_exact(&mut bytes).expect("the child tells");
                let words = bytes
                    .chunks_exact(8)
                    .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
                    .collect();
                Self {
                    pid: child,
                    words,
                    _line: ours,
                }
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    pub(crate) fn dir(&self) -> ProcDir {
        ProcDir::new(self.id()).expect("the child lives")
    }

    /// Its memory usage: the size of its page tables and the exact resident size, both in kB.
    pub(crate) fn weight(&self) -> (String, String) {
        let status = self.dir().read("status").expect("readable");
        let tables = field(&status, "VmPTE").expect("has a line for it");
        let rollup = self.dir().read("smaps_rollup").expect("readable");
        (tables, field(&rollup, "Rss").expect("has a line for it"))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self._line.write_all(b".");
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

/// Returns the number of bytes that this thread has read from files, including `/proc`
/// (proc_pid_io(5)).
pub(crate) fn bytes_read() -> u64 {
    counted("rchar")
}

/// Returns the number of reads that this thread has made, including those for this call.
pub(crate) fn reads_made() -> u64 {
    counted("syscr")
}

fn counted(name: &str) -> u64 {
    let text = std::fs::read("/proc/thread-self/io").expect("the kernel counts them");
    field(&text, name)
        .and_then(|number| number.parse().ok())
        .expect("has a line for it")
}

/// Maps anonymous memory without huge pages and returns its address. For use in [`Victim::that`].
pub(crate) fn map(bytes: usize, access: i32, flags: i32) -> u64 {
    map_file(-1, bytes, access, flags | libc::MAP_ANONYMOUS)
}

/// Maps a file from its beginning and returns its address. For use in [`Victim::that`].
pub(crate) fn map_file(fd: i32, bytes: usize, access: i32, flags: i32) -> u64 {
    // SAFETY: this creates a new mapping at an address that the kernel chooses, and the advice
    // applies to that mapping only.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            access,
            flags | libc::MAP_NORESERVE,
            fd,
            0,
        );
        if at == libc::MAP_FAILED {
            libc::_exit(99);
        }
        libc::madvise(at, bytes, libc::MADV_NOHUGEPAGE);
        at.expose_provenance() as u64
    }
}

/// Writes a byte to an address inside a mapping that [`map`] returned.
pub(crate) fn poke(at: u64, value: u8) {
    let at: *mut u8 = std::ptr::with_exposed_provenance_mut(at as usize);
    // SAFETY: the caller passes an address in memory that it has mapped writable for this purpose.
    unsafe { at.write_volatile(value) };
}
