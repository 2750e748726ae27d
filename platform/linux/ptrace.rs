//! Requests of ptrace(2), made one at a time or in batches.
//!
//! All of them must be made by the thread or process that attached to `tid`; the kernel refuses
//! others with ESRCH. Only those that [`clone`](crate::clone) uses write registers of the target.
//!
//! The functions make a request on the calling thread. A [`Batch`] is a list of requests for a
//! [`Tracer`](crate::tracer::Tracer), which may be another process.

use std::ffi::CStr;
use std::marker::PhantomData;

use libc::{c_int, c_long, c_void};
use nix::errno::Errno;
use nix::unistd::Pid;

/// The request for facts about a system call that a thread is in (`PTRACE_GET_SYSCALL_INFO`, Linux
/// 5.3). The crate `libc` has it for glibc only.
pub(crate) const GET_SYSCALL_INFO: u32 = 0x420E;

/// Converts a thread id to `nix`'s type.
pub(crate) fn pid(tid: u32) -> Pid {
    Pid::from_raw(tid.cast_signed())
}

/// Attaches to a thread without stopping it (`PTRACE_SEIZE`). `options` are `PTRACE_O_` bits.
pub(crate) fn seize(tid: u32, options: i32) -> nix::Result<()> {
    nix::sys::ptrace::seize(pid(tid), nix::sys::ptrace::Options::from_bits_retain(options))
}

/// Replaces the options of a stopped thread (`PTRACE_SETOPTIONS`).
pub(crate) fn set_options(tid: u32, options: i32) -> nix::Result<()> {
    nix::sys::ptrace::setoptions(pid(tid), nix::sys::ptrace::Options::from_bits_retain(options))
}

/// Returns the id of the thread or process that a thread has just started, in the stop that reports
/// this (`PTRACE_GETEVENTMSG`).
pub(crate) fn started(tid: u32) -> nix::Result<u32> {
    let id = nix::sys::ptrace::getevent(pid(tid))?;
    u32::try_from(id).map_err(|_| nix::Error::EINVAL)
}

/// Detaches from a stopped thread and delivers `signal` to it; 0 is none (`PTRACE_DETACH`).
pub(crate) fn detach(tid: u32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_DETACH, tid, signal)
}

/// Continues a stopped thread without detaching and delivers `signal` to it; 0 is none
/// (`PTRACE_CONT`).
pub(crate) fn cont(tid: u32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_CONT, tid, signal)
}

/// Leaves a thread in its job-control stop, but lets SIGCONT end the stop (`PTRACE_LISTEN`).
pub(crate) fn listen(tid: u32) -> nix::Result<()> {
    request(libc::PTRACE_LISTEN, tid, 0)
}

/// Returns the `siginfo_t` of a thread's stop (`PTRACE_GETSIGINFO`). Fails with ESRCH if the thread
/// is not stopped.
pub(crate) fn siginfo(tid: u32) -> nix::Result<libc::siginfo_t> {
    nix::sys::ptrace::getsiginfo(pid(tid))
}

/// Makes a request. C libraries disagree about the type of the numbers: `int` in musl.
fn request(request: impl Into<c_long>, tid: u32, data: i32) -> nix::Result<()> {
    // SAFETY: these requests take a number as data and ignore the address, so the kernel reads and
    // writes no memory of ours. For a thread that we do not trace it returns ESRCH.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            request.into(),
            c_long::from(tid),
            std::ptr::null_mut::<c_void>(),
            c_long::from(data),
        )
    };
    Errno::result(result).map(drop)
}

/// A system call to be made by a tracer, and its result.
///
/// The helper process reads and writes these fields from assembly code, so their places are fixed.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Call {
    pub(crate) number: c_long,
    pub(crate) arguments: [u64; 4],
    /// What the kernel returned: an error is a negated error number.
    pub(crate) result: c_long,
}

impl Call {
    /// Makes the call on this thread.
    fn make(&mut self) {
        let [first, second, third, fourth] = self.arguments;
        // SAFETY: only the methods of `Batch` make calls. Each passes numbers, and pointers to
        // memory of the right size that the batch borrows.
        let result = unsafe { libc::syscall(self.number, first, second, third, fourth) };
        self.result = if result == -1 {
            -c_long::from(Errno::last_raw())
        } else {
            result
        };
    }
}

/// The part of a `siginfo_t` that tells stops apart, with the size of the whole.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct SignalInfo {
    pub(crate) signo: c_int,
    errno: c_int,
    pub(crate) code: c_int,
    rest: [c_int; 29],
}

const _: () = assert!(
    size_of::<SignalInfo>() == size_of::<libc::siginfo_t>()
        && std::mem::offset_of!(SignalInfo, code) == std::mem::offset_of!(libc::siginfo_t, si_code)
);

impl SignalInfo {
    /// A place for [`Batch::siginfo`] to store an answer.
    pub(crate) const EMPTY: Self = Self {
        signo: 0,
        errno: 0,
        code: 0,
        rest: [0; 29],
    };
}

/// A register set of variable size (`PTRACE_GETREGSET`).
#[derive(Debug)]
pub(crate) struct RegisterSet {
    bytes: Vec<u8>,
    /// Refers to `bytes`. The kernel stores the number of bytes that it has written.
    place: libc::iovec,
}

impl RegisterSet {
    /// Returns a place for at most `largest` bytes.
    pub(crate) fn new(largest: usize) -> Self {
        Self {
            bytes: vec![0; largest],
            place: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
        }
    }

    /// Returns the bytes that the kernel has stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.place.iov_len.min(self.bytes.len())]
    }
}

/// A list of requests. The tracer makes them in order, whether or not one of them fails.
///
/// `'b` is the lifetime of the memory that the kernel stores the answers in.
#[derive(Debug, Default)]
pub(crate) struct Batch<'b> {
    calls: Vec<Call>,
    answers: PhantomData<&'b mut ()>,
}

impl<'b> Batch<'b> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Returns an empty list in the memory of `calls`. It allocates nothing for as many requests as
    /// there is room for.
    pub(crate) fn reusing(mut calls: Vec<Call>) -> Self {
        calls.clear();
        Self {
            calls,
            answers: PhantomData,
        }
    }

    /// The number of requests.
    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    fn add(&mut self, number: c_long, arguments: [u64; 4]) {
        self.calls.push(Call {
            number,
            arguments,
            result: -c_long::from(libc::ENOSYS),
        });
    }

    fn add_request(&mut self, request: impl Into<c_long>, tid: u32, address: u64, data: u64) {
        let request = request.into().cast_unsigned();
        self.add(libc::SYS_ptrace, [request, u64::from(tid), address, data]);
    }

    /// Waits for this time (nanosleep(2)).
    pub(crate) fn nap(&mut self, time: &'b libc::timespec) {
        let time = std::ptr::from_ref(time).expose_provenance() as u64;
        self.add(libc::SYS_nanosleep, [time, 0, 0, 0]);
    }

    /// Attaches to a thread without stopping it and without options (`PTRACE_SEIZE`).
    pub(crate) fn seize(&mut self, tid: u32) {
        self.add_request(libc::PTRACE_SEIZE, tid, 0, 0);
    }

    /// Requests a stop (`PTRACE_INTERRUPT`).
    pub(crate) fn interrupt(&mut self, tid: u32) {
        self.add_request(libc::PTRACE_INTERRUPT, tid, 0, 0);
    }

    /// As [`detach`].
    pub(crate) fn detach(&mut self, tid: u32, signal: i32) {
        self.add_request(libc::PTRACE_DETACH, tid, 0, i64::from(signal).cast_unsigned());
    }

    /// As [`cont`].
    pub(crate) fn cont(&mut self, tid: u32, signal: i32) {
        self.add_request(libc::PTRACE_CONT, tid, 0, i64::from(signal).cast_unsigned());
    }

    /// As [`listen`].
    pub(crate) fn listen(&mut self, tid: u32) {
        self.add_request(libc::PTRACE_LISTEN, tid, 0, 0);
    }

    /// Stores the facts about a thread's stop (`PTRACE_GETSIGINFO`). Fails with ESRCH if the thread
    /// is not stopped.
    pub(crate) fn siginfo(&mut self, tid: u32, into: &'b mut SignalInfo) {
        self.add_request(libc::PTRACE_GETSIGINFO, tid, 0, address_of(into));
    }

    /// Stores the general registers (`PTRACE_GETREGS`).
    pub(crate) fn general_registers(&mut self, tid: u32, into: &'b mut libc::user_regs_struct) {
        self.add_request(libc::PTRACE_GETREGS, tid, 0, address_of(into));
    }

    /// Stores the x87 and SSE registers (`PTRACE_GETFPREGS`).
    pub(crate) fn fxsave(&mut self, tid: u32, into: &'b mut [u8; 512]) {
        const { assert!(size_of::<libc::user_fpregs_struct>() == 512) };
        self.add_request(libc::PTRACE_GETFPREGS, tid, 0, address_of(into));
    }

    /// Stores the word at `offset` in `struct user` (`PTRACE_PEEKUSER`).
    pub(crate) fn user_word(&mut self, tid: u32, offset: usize, into: &'b mut u64) {
        self.add_request(libc::PTRACE_PEEKUSER, tid, offset as u64, address_of(into));
    }

    /// Replaces the word at `offset` in `struct user` (`PTRACE_POKEUSER`).
    pub(crate) fn set_user_word(&mut self, tid: u32, offset: usize, word: u64) {
        self.add_request(libc::PTRACE_POKEUSER, tid, offset as u64, word);
    }

    /// Stores the register set with this number (`PTRACE_GETREGSET`).
    pub(crate) fn register_set(&mut self, tid: u32, number: u64, into: &'b mut RegisterSet) {
        into.place.iov_base = into.bytes.as_mut_ptr().cast();
        into.place.iov_len = into.bytes.len();
        let place = address_of(&mut into.place);
        // The kernel gets the address of the bytes from `place`.
        into.bytes.as_mut_ptr().expose_provenance();
        self.add_request(libc::PTRACE_GETREGSET, tid, number, place);
    }

    /// Replaces the options of a stopped thread (`PTRACE_SETOPTIONS`).
    pub(crate) fn set_options(&mut self, tid: u32, options: i32) {
        let options = i64::from(options).cast_unsigned();
        self.add_request(libc::PTRACE_SETOPTIONS, tid, 0, options);
    }

    /// Replaces the general registers of a stopped thread (`PTRACE_SETREGS`).
    pub(crate) fn set_registers(&mut self, tid: u32, from: &'b libc::user_regs_struct) {
        self.add_request(libc::PTRACE_SETREGS, tid, 0, address_of_input(from));
    }

    /// Stores the signal mask (`PTRACE_GETSIGMASK`). For a thread in a call that uses another mask
    /// for its duration, such as `ppoll`, this is the mask of the thread itself.
    pub(crate) fn signal_mask(&mut self, tid: u32, into: &'b mut u64) {
        self.add_request(libc::PTRACE_GETSIGMASK, tid, 8, address_of(into));
    }

    /// Replaces the signal mask (`PTRACE_SETSIGMASK`).
    pub(crate) fn set_signal_mask(&mut self, tid: u32, from: &'b u64) {
        self.add_request(libc::PTRACE_SETSIGMASK, tid, 8, address_of_input(from));
    }

    /// Continues a stopped thread up to the next entry to a system call or exit from one, and
    /// delivers `signal` to it; 0 is none (`PTRACE_SYSCALL`).
    pub(crate) fn next_system_call(&mut self, tid: u32, signal: i32) {
        self.add_request(libc::PTRACE_SYSCALL, tid, 0, i64::from(signal).cast_unsigned());
    }

    /// Stores the number that belongs to the event of a stop (`PTRACE_GETEVENTMSG`).
    pub(crate) fn event_message(&mut self, tid: u32, into: &'b mut u64) {
        self.add_request(libc::PTRACE_GETEVENTMSG, tid, 0, address_of(into));
    }

    /// Stores a structure by one of the requests that take its size and its address, such as
    /// [`GET_SYSCALL_INFO`].
    pub(crate) fn structure<const N: usize>(&mut self, request: u32, tid: u32, into: &'b mut [u64; N]) {
        let size = size_of_val(into) as u64;
        self.add_request(request, tid, size, address_of(into));
    }

    /// Sends a signal to a process (kill(2)).
    pub(crate) fn kill(&mut self, pid: u32, signal: i32) {
        let signal = i64::from(signal).cast_unsigned();
        self.add(libc::SYS_kill, [u64::from(pid), signal, 0, 0]);
    }

    /// Takes the notification about the end of a traced process, if it has ended. The result is its
    /// id, or 0 if it has not ended (wait4(2)).
    pub(crate) fn reap(&mut self, pid: u32) {
        let options = (libc::__WALL | libc::WNOHANG) as u64;
        self.add(libc::SYS_wait4, [u64::from(pid), 0, options, 0]);
    }

    /// Waits until a traced thread of another process has stopped (wait4(2)).
    pub(crate) fn wait_for_stop(&mut self, tid: u32) {
        let options = libc::__WALL as u64;
        self.add(libc::SYS_wait4, [u64::from(tid), 0, options, 0]);
    }

    /// Gives the tracer this name (`PR_SET_NAME`).
    pub(crate) fn call_tracer(&mut self, name: &'b CStr) {
        let name = name.as_ptr().expose_provenance() as u64;
        self.add(libc::SYS_prctl, [libc::PR_SET_NAME as u64, name, 0, 0]);
    }

    /// Makes the requests on this thread.
    pub(crate) fn perform_here(mut self) -> Results {
        self.calls.iter_mut().for_each(Call::make);
        Results(self.calls)
    }

    /// Makes the requests by `perform`, which receives the calls and returns them with results.
    ///
    /// # Errors
    /// Those of `perform`.
    pub(crate) fn perform_by<E>(
        self,
        perform: impl FnOnce(Vec<Call>) -> Result<Vec<Call>, E>,
    ) -> Result<Results, E> {
        if self.calls.is_empty() {
            return Ok(Results(self.calls));
        }
        perform(self.calls).map(Results)
    }
}

/// Makes the calls on this thread.
pub(crate) fn make_all(calls: &mut [Call]) {
    calls.iter_mut().for_each(Call::make);
}

fn address_of<T>(place: &mut T) -> u64 {
    std::ptr::from_mut(place).expose_provenance() as u64
}

fn address_of_input<T>(place: &T) -> u64 {
    std::ptr::from_ref(place).expose_provenance() as u64
}

/// The results of a [`Batch`], in the order of its requests.
#[derive(Debug)]
pub(crate) struct Results(Vec<Call>);

impl Results {
    /// The memory of the list, for [`Batch::reusing`].
    pub(crate) fn into_calls(self) -> Vec<Call> {
        self.0
    }

    /// The result of the request at this place in the batch.
    pub(crate) fn at(&self, index: usize) -> nix::Result<()> {
        self.value(index).map(drop)
    }

    /// The number that the request at this place has returned.
    pub(crate) fn value(&self, index: usize) -> nix::Result<i64> {
        let result = self.0[index].result;
        if result < 0 {
            return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EIO)));
        }
        Ok(result)
    }

    /// All results.
    pub(crate) fn iter(&self) -> impl Iterator<Item = nix::Result<()>> + '_ {
        (0..self.0.len()).map(|index| self.at(index))
    }
}
