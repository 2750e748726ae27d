//! For tests: a child process that prepares something, tells what it did, and then waits.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};

use crate::proc_dir::{ProcDir, field};

/// A child process that waits until it is dropped.
pub(crate) struct Victim {
    pid: Pid,
    /// What it told: addresses and the like.
    pub(crate) words: Vec<u64>,
    /// Its end of this is what the child waits at.
    _line: UnixStream,
}

impl Victim {
    /// Forks. The child runs `prepare`, which must keep to system calls and to memory it has mapped itself (other threads
    /// of the test may hold locks of the allocator at the moment of the fork), tells the words it filled in, and waits.
    pub(crate) fn that<const WORDS: usize>(prepare: impl FnOnce(&mut [u64; WORDS])) -> Self {
        let (mut ours, theirs) = UnixStream::pair().expect("makes a socket pair");
        // SAFETY: the child keeps to what may be done after a fork, see above, and never returns from here.
        match unsafe { fork() }.expect("forks") {
            ForkResult::Child => {
                let mut words = [0; WORDS];
                prepare(&mut words);
                // SAFETY: writes from and reads to live local memory of the given size, then ends the process
                // without running anything of its parent's.
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

    /// What its memory weighs: page tables as the kernel counts them, and pages, exactly, in kB.
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

/// Maps anonymous memory without huge pages and returns its address; for [`Victim::that`].
pub(crate) fn map(bytes: usize, access: i32, flags: i32) -> u64 {
    map_file(-1, bytes, access, flags | libc::MAP_ANONYMOUS)
}

/// Maps a file from its beginning and returns its address; for [`Victim::that`].
pub(crate) fn map_file(fd: i32, bytes: usize, access: i32, flags: i32) -> u64 {
    // SAFETY: a new mapping at a place that the kernel chooses; the advice concerns that alone.
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

/// Writes a byte at an address that [`map`] returned, or behind it in the same mapping.
pub(crate) fn poke(at: u64, value: u8) {
    let at: *mut u8 = std::ptr::with_exposed_provenance_mut(at as usize);
    // SAFETY: the caller names memory that it mapped writable for this.
    unsafe { at.write_volatile(value) };
}
