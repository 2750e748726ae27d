//! System calls without the C library.
//!
//! The signal handler makes its calls in this way. The functions of the C library set `errno`, and
//! the dynamic linker may have to find them at the first call, for which a small signal stack has
//! no room.

use libc::{c_int, c_long};

/// An error number of the system, such as `EINTR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ErrorNumber(pub(super) i32);

/// Makes a system call.
///
/// # Safety
/// The arguments are valid for this call.
unsafe fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, ErrorNumber> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result: isize;
    // SAFETY: the caller answers for what the call does. The kernel changes only the registers that
    // are declared.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("r10") fourth,
            in("r8") fifth,
            in("r9") sixth,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match result {
        // The kernel returns an error as its negated number.
        -4095..=-1 => Err(ErrorNumber(-result as i32)),
        _ => Ok(result as usize),
    }
}

fn number(value: c_int) -> usize {
    value as isize as usize
}

/// The id of this process.
pub(super) fn process_id() -> c_int {
    // SAFETY: the call has no arguments.
    unsafe { call(libc::SYS_getpid, [0; 6]) }.unwrap_or(0) as c_int
}

/// The id of this thread.
pub(super) fn thread_id() -> c_int {
    // SAFETY: the call has no arguments.
    unsafe { call(libc::SYS_gettid, [0; 6]) }.unwrap_or(0) as c_int
}

/// Returns the device and the inode of an open file.
pub(super) fn identity(descriptor: c_int) -> Option<(u64, u64)> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    let into = found.as_mut_ptr().expose_provenance();
    // SAFETY: the call writes a `struct stat`, which on x86-64 is that of the C library. It is
    // complete if the call succeeds.
    unsafe {
        call(libc::SYS_fstat, [number(descriptor), into, 0, 0, 0, 0]).ok()?;
        let found = found.assume_init();
        Some((found.st_dev, found.st_ino))
    }
}

/// Sends the pieces as one message. Waits for nothing, and raises no SIGPIPE.
///
/// # Safety
/// The pieces are readable. Others may change them meanwhile.
pub(super) unsafe fn send(descriptor: c_int, pieces: &[libc::iovec]) -> Result<usize, ErrorNumber> {
    // SAFETY: a structure of numbers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_ptr().cast_mut();
    message.msg_iovlen = pieces.len();
    let from = (&raw const message).expose_provenance();
    let flags = number(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
    // SAFETY: the call reads the message and the pieces.
    unsafe { call(libc::SYS_sendmsg, [number(descriptor), from, flags, 0, 0, 0]) }
}

/// Receives a message, or as much of it as there is room for. Does not wait. Returns 0 if the other
/// end is closed.
pub(super) fn receive(descriptor: c_int, into: &mut [u8]) -> Result<usize, ErrorNumber> {
    let (at, length) = (into.as_mut_ptr().expose_provenance(), into.len());
    let flags = number(libc::MSG_DONTWAIT);
    // SAFETY: the call writes at most `length` bytes to `at`.
    unsafe { call(libc::SYS_recvfrom, [number(descriptor), at, length, flags, 0, 0]) }
}

/// Waits until the descriptor is ready, and returns for what (`POLLIN` and others), or until the
/// time has passed, and returns 0. What is left of the time is stored in `time`. With a negative
/// descriptor it only waits.
pub(super) fn poll(descriptor: c_int, events: i16, time: &mut libc::timespec) -> Result<i16, ErrorNumber> {
    let mut watched = libc::pollfd {
        fd: descriptor,
        events,
        revents: 0,
    };
    let at = (&raw mut watched).expose_provenance();
    let time = std::ptr::from_mut(time).expose_provenance();
    // SAFETY: the call reads and writes the two structures. It leaves the signal mask as it is.
    unsafe { call(libc::SYS_ppoll, [at, 1, time, 0, 0, 0]) }?;
    Ok(watched.revents)
}

/// Writes bytes. They may be written in part.
pub(super) fn write(descriptor: c_int, pieces: &[&[u8]; 3]) {
    let pieces = pieces.map(|piece| libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    });
    let from = pieces.as_ptr().expose_provenance();
    // SAFETY: the call reads the pieces. Nothing can be done about an error.
    let _ = unsafe {
        call(
            libc::SYS_writev,
            [number(descriptor), from, pieces.len(), 0, 0, 0],
        )
    };
}

/// Waits until the word has another value, until it is woken, or until the time has passed.
pub(super) fn futex_wait(word: &std::sync::atomic::AtomicU32, value: u32, time: &libc::timespec) {
    let at = word.as_ptr().expose_provenance();
    let operation = number(libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG);
    let time = std::ptr::from_ref(time).expose_provenance();
    // SAFETY: the call reads the word and the time. Whoever waits looks at the word again, whatever
    // the result is.
    let _ = unsafe { call(libc::SYS_futex, [at, operation, value as usize, time, 0, 0]) };
}

/// Wakes all that wait for the word.
pub(super) fn futex_wake(word: &std::sync::atomic::AtomicU32) {
    let at = word.as_ptr().expose_provenance();
    let operation = number(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG);
    // SAFETY: the call only uses the address.
    let _ = unsafe { call(libc::SYS_futex, [at, operation, i32::MAX as usize, 0, 0, 0]) };
}

/// Lets the process with this id trace this one, under Yama.
pub(super) fn allow_tracer(process: c_int) {
    let arguments = [number(libc::PR_SET_PTRACER), number(process), 0, 0, 0, 0];
    // SAFETY: the call takes numbers. Without Yama it fails, and nothing is lost.
    let _ = unsafe { call(libc::SYS_prctl, arguments) };
}

/// Ends this process.
pub(super) fn exit(status: c_int) {
    // SAFETY: the call takes a number, and does not return.
    let _ = unsafe { call(libc::SYS_exit_group, [number(status), 0, 0, 0, 0, 0]) };
}

/// The action for a signal, as the kernel has it: `struct kernel_sigaction`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignalAction {
    pub(super) handler: usize,
    pub(super) flags: u64,
    pub(super) restorer: usize,
    pub(super) mask: u64,
}

impl SignalAction {
    /// The system's own action.
    pub(super) const DEFAULT: Self = Self {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
}

/// Returns the action for a signal.
pub(super) fn action(signal: c_int) -> Result<SignalAction, ErrorNumber> {
    let mut found = SignalAction::DEFAULT;
    let into = (&raw mut found).expose_provenance();
    // SAFETY: the call writes one structure. The mask has 8 bytes.
    unsafe { call(libc::SYS_rt_sigaction, [number(signal), 0, into, 8, 0, 0]) }?;
    Ok(found)
}

/// Sets the action for a signal.
///
/// # Safety
/// The kernel, or the C library, has returned this action, or it is the default.
pub(super) unsafe fn set_action(signal: c_int, action: &SignalAction) {
    let from = std::ptr::from_ref(action).expose_provenance();
    // SAFETY: the call reads one structure, which is valid as it was used before.
    let _ = unsafe { call(libc::SYS_rt_sigaction, [number(signal), from, 0, 8, 0, 0]) };
}

/// Blocks a signal for this thread.
pub(super) fn block(signal: c_int) {
    let mask = 1_u64 << (signal - 1);
    let from = (&raw const mask).expose_provenance();
    // SAFETY: the call reads 8 bytes.
    let _ = unsafe {
        call(
            libc::SYS_rt_sigprocmask,
            [number(libc::SIG_BLOCK), from, 0, 8, 0, 0],
        )
    };
}

/// Sends a signal to this thread, as if it came from the same source as the one that `information`
/// describes.
///
/// # Safety
/// `information` is valid.
pub(super) unsafe fn raise(signal: c_int, information: *const libc::siginfo_t) {
    let (process, thread) = (number(process_id()), number(thread_id()));
    let from = information.expose_provenance();
    // SAFETY: the calls read the structure, which the caller answers for.
    unsafe {
        let queue = [process, thread, number(signal), from, 0, 0];
        if call(libc::SYS_rt_tgsigqueueinfo, queue).is_err() {
            // A sandbox may know only the older call.
            let _ = call(libc::SYS_tgkill, [process, thread, number(signal), 0, 0, 0]);
        }
    }
}
