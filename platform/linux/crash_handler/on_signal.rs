//! The signal handler.
//!
//! It runs in a process that has crashed: the heap may be locked or broken, any thread may hold any
//! lock, and there may be little stack. So it uses only its own static memory, atomic integers and
//! system calls (`raw.rs`). It
//!
//! 1. sends the facts about the signal to the server,
//! 2. waits for the answer, for a limited time,
//! 3. restores the action that the signal had before the handler was installed, and
//! 4. sends the same signal again, with the same facts, and returns.
//!
//! The signal is blocked while the handler runs, so the second one arrives when the handler has
//! returned, before the program executes another instruction. The program's own handler, or the
//! kernel's core dump, sees the registers and the `siginfo_t` of the crash. Only returning would
//! not do: a breakpoint does not repeat, and memory may be there when it is accessed again.

use std::cell::UnsafeCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use libc::{c_int, c_void, iovec, siginfo_t};

use super::annotations::{self, AREA_SIZE};
use super::raw::{self, ErrorNumber, SignalAction};
use super::record::{
    self, CONTEXT_SIZE, CrashHead, FXSAVE_POINTER, FXSAVE_SIZE, Reply, ReplyKind, SIGINFO_SIZE,
};
use crate::crash::CRASHES;

/// How long another thread that has crashed lets the first one end the process.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that programs also use for other purposes: a debugger's breakpoints, and system
/// calls that a sandbox lets the program make itself. The handlers of a program for them stay.
const LEFT_TO_PROGRAMS: [c_int; 2] = [libc::SIGTRAP, libc::SIGSYS];

/// What the handler needs to know.
#[derive(Debug)]
pub(super) struct Handover {
    /// The socket to the server, which the handler owns from now on.
    pub(super) socket: c_int,
    /// By these the handler recognises the socket. The program may have closed its descriptor, and
    /// another file may have it.
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) process: c_int,
    /// The process that Yama has to be told of, or 0.
    pub(super) tracer: c_int,
    pub(super) limit: Duration,
    pub(super) announces: bool,
}

/// No thread has crashed.
const IDLE: u32 = 0;
/// A thread is handing its crash over.
const BUSY: u32 = 1;
/// That is done.
const DONE: u32 = 2;

/// The state of the handler.
pub(super) struct HandlerState {
    stage: AtomicU32,
    /// The thread that has crashed first.
    thread: AtomicI32,
    /// The process that the handler was installed in. 0 if it is not installed.
    process: AtomicI32,
    socket: AtomicI32,
    device: AtomicU64,
    inode: AtomicU64,
    tracer: AtomicI32,
    limit_seconds: AtomicU64,
    limit_nanoseconds: AtomicU32,
    announces: AtomicBool,
}

pub(super) static HANDLER: HandlerState = HandlerState {
    stage: AtomicU32::new(IDLE),
    thread: AtomicI32::new(0),
    process: AtomicI32::new(0),
    socket: AtomicI32::new(-1),
    device: AtomicU64::new(0),
    inode: AtomicU64::new(0),
    tracer: AtomicI32::new(0),
    limit_seconds: AtomicU64::new(0),
    limit_nanoseconds: AtomicU32::new(0),
    announces: AtomicBool::new(false),
};

/// The server's answer. Only the thread that has set the stage to [`BUSY`] uses it.
struct Answer(UnsafeCell<[u8; Reply::SIZE]>);

// SAFETY: see `Answer`: only one thread of the process at a time uses the bytes.
unsafe impl Sync for Answer {}

static ANSWER: Answer = Answer(UnsafeCell::new([0; Reply::SIZE]));

/// The actions that the signals had before, as words: handler, flags, restorer and mask, and
/// whether they are known.
static EARLIER: [[AtomicU64; 5]; CRASHES.len()] = [const { [const { AtomicU64::new(0) }; 5] }; CRASHES.len()];

fn keep_earlier(index: usize, action: SignalAction) {
    let words = [
        action.handler as u64,
        action.flags,
        action.restorer as u64,
        action.mask,
        1,
    ];
    for (at, word) in EARLIER[index].iter().zip(words) {
        at.store(word, Ordering::SeqCst);
    }
}

fn earlier(index: usize) -> Option<SignalAction> {
    let word = |at: usize| EARLIER[index][at].load(Ordering::SeqCst);
    (word(4) == 1).then(|| SignalAction {
        handler: word(0) as usize,
        flags: word(1),
        restorer: word(2) as usize,
        mask: word(3),
    })
}

impl HandlerState {
    /// Prepares the handler for the next crash of this process. The socket of an earlier call is
    /// closed, so that the server at its other end ends.
    pub(super) fn arm(&self, handover: &Handover) {
        // Meanwhile, no crash of this process is handed over.
        self.process.store(0, Ordering::SeqCst);
        self.device.store(handover.device, Ordering::SeqCst);
        self.inode.store(handover.inode, Ordering::SeqCst);
        self.tracer.store(handover.tracer, Ordering::SeqCst);
        self.limit_seconds
            .store(handover.limit.as_secs(), Ordering::SeqCst);
        self.limit_nanoseconds
            .store(handover.limit.subsec_nanos(), Ordering::SeqCst);
        self.announces.store(handover.announces, Ordering::SeqCst);
        let before = self.socket.swap(handover.socket, Ordering::SeqCst);
        self.thread.store(0, Ordering::SeqCst);
        self.stage.store(IDLE, Ordering::SeqCst);
        self.process.store(handover.process, Ordering::SeqCst);
        if before >= 0 {
            // SAFETY: the descriptor was this module's own.
            unsafe { libc::close(before) };
        }
    }

    fn limit(&self) -> libc::timespec {
        libc::timespec {
            tv_sec: i64::try_from(self.limit_seconds.load(Ordering::SeqCst)).unwrap_or(i64::MAX),
            tv_nsec: self.limit_nanoseconds.load(Ordering::SeqCst).into(),
        }
    }

    /// Hands the crash over, or waits while another thread does that.
    ///
    /// # Safety
    /// The pointers are those that the kernel has passed to the handler.
    unsafe fn report(&self, info: *const siginfo_t, context: *const c_void) {
        let thread = raw::thread_id();
        let claimed = self
            .stage
            .compare_exchange(IDLE, BUSY, Ordering::SeqCst, Ordering::SeqCst);
        match claimed {
            Ok(_) => {
                self.thread.store(thread, Ordering::SeqCst);
                // SAFETY: the caller answers for the pointers. Only this thread was able to change
                // the stage, so it may use ANSWER.
                unsafe { self.hand_over(thread, info, context) };
                self.stage.store(DONE, Ordering::SeqCst);
                raw::futex_wake(&self.stage);
            }
            // The handler itself has crashed, or the program's own handler that it has made way
            // for.
            Err(_) if self.thread.load(Ordering::SeqCst) == thread => {}
            Err(_) => self.wait_for_other(),
        }
    }

    /// Waits until the first thread has handed its crash over, and then for the end of the process.
    fn wait_for_other(&self) {
        let limit = self.limit();
        let mut waits = 0;
        // It is woken at the change. A wait can also end early, by a signal.
        while self.stage.load(Ordering::SeqCst) == BUSY && waits < 3 {
            raw::futex_wait(&self.stage, BUSY, &limit);
            waits += 1;
        }
        let mut left = libc::timespec {
            tv_sec: GRACE.as_secs() as i64,
            tv_nsec: 0,
        };
        while raw::poll(-1, 0, &mut left) == Err(ErrorNumber(libc::EINTR)) {}
    }

    /// Sends the crash to the server, waits for the answer, and says on standard error what it is.
    ///
    /// # Safety
    /// The pointers are those that the kernel has passed to the handler. No other thread uses
    /// [`ANSWER`].
    unsafe fn hand_over(&self, thread: c_int, info: *const siginfo_t, context: *const c_void) {
        let socket = self.socket.load(Ordering::SeqCst);
        let identity = (
            self.device.load(Ordering::SeqCst),
            self.inode.load(Ordering::SeqCst),
        );
        if raw::identity(socket) != Some(identity) {
            return self.announce(b"the program has closed the socket to the crash server; there is no dump");
        }
        match self.tracer.load(Ordering::SeqCst) {
            0 => {}
            tracer => raw::allow_tracer(tracer),
        }
        // SAFETY: the caller answers for the context, which has this pointer. It may be unaligned.
        let fxsave = unsafe {
            context
                .byte_add(FXSAVE_POINTER)
                .cast::<*mut c_void>()
                .read_unaligned()
        };
        let head = CrashHead::new(thread);
        let piece = |at: *const c_void, length| iovec {
            iov_base: at.cast_mut(),
            iov_len: length,
        };
        let pieces = [
            piece((&raw const head).cast(), CrashHead::SIZE),
            piece(info.cast(), SIGINFO_SIZE),
            piece(context, CONTEXT_SIZE),
            piece(annotations::area().cast(), AREA_SIZE),
            piece(fxsave, if fxsave.is_null() { 0 } else { FXSAVE_SIZE }),
        ];
        // SAFETY: the kernel writes these structures to the stack of each signal handler, and
        // annotations are static. Only the kernel reads the annotations, which may change.
        let sent = unsafe { raw::send(socket, &pieces) };
        match sent {
            Ok(_) => {}
            Err(ErrorNumber(libc::EPIPE | libc::ECONNRESET)) => {
                return self.announce(b"the crash server has ended; there is no dump");
            }
            Err(_) => return self.announce(b"the crash server cannot be reached; there is no dump"),
        }
        let mut left = self.limit();
        // SAFETY: only this thread uses the bytes, says the caller.
        let answer = unsafe { &mut *ANSWER.0.get() };
        loop {
            match raw::poll(socket, libc::POLLIN, &mut left) {
                // The kernel has stored what is left of the time.
                Err(ErrorNumber(libc::EINTR)) => continue,
                Ok(1..) => {}
                Ok(_) | Err(_) => {
                    return self.announce(b"the crash server has not answered in time; there may be no dump");
                }
            }
            match raw::receive(socket, answer) {
                Err(ErrorNumber(libc::EINTR | libc::EAGAIN)) => {}
                Ok(length) if length > 0 => {
                    let answer = &answer[..length.min(Reply::SIZE)];
                    if record::is_reply(answer, ReplyKind::Done) {
                        return self.announce(record::reply_text(answer));
                    }
                }
                Ok(_) | Err(_) => return self.announce(b"the crash server has ended; there is no dump"),
            }
        }
    }

    /// Writes a line to standard error, unless that would have to wait for its reader, or would
    /// raise SIGPIPE because there is none.
    fn announce(&self, text: &[u8]) {
        let mut no_time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        if self.announces.load(Ordering::SeqCst)
            && raw::poll(libc::STDERR_FILENO, libc::POLLOUT, &mut no_time) == Ok(libc::POLLOUT)
        {
            raw::write(libc::STDERR_FILENO, &[b"dumpwright: ", text, b"\n"]);
        }
    }
}

/// Handles a crash.
extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let index = CRASHES.iter().position(|crash| *crash == signal);
    let before = index.and_then(earlier).unwrap_or(SignalAction::DEFAULT);
    // SAFETY: the handler is installed with SA_SIGINFO, so the kernel passes a valid siginfo_t.
    let is_sent = unsafe { (*info).si_code <= 0 };
    let was_ignored = before.handler == libc::SIG_IGN;
    if was_ignored && is_sent {
        return;
    }
    // A forked child has the handler, but no server. A child of vfork even has this memory.
    if raw::process_id() == HANDLER.process.load(Ordering::SeqCst) {
        // SAFETY: they are the kernel's pointers.
        unsafe { HANDLER.report(info, context) };
    }
    // The kernel does not let a process ignore its own faults.
    let next = if was_ignored {
        SignalAction::DEFAULT
    } else {
        before
    };
    // SAFETY: the action is the default, or the one that the kernel has returned for this signal.
    // The structure is the kernel's.
    unsafe {
        raw::set_action(signal, &next);
        // A handler that calls this one may not have blocked it.
        raw::block(signal);
        raw::raise(signal, info);
    }
    // The kernel drops signals with the default action that process 1 of a container sends itself.
    // Faults repeat, and then kill it. After these, it would run on.
    let repeats = is_sent || !LEFT_TO_PROGRAMS.contains(&signal);
    if next == SignalAction::DEFAULT && !repeats && raw::process_id() == 1 {
        raw::exit(128 + signal);
    }
}

/// Installs the handler for all signals by which processes crash.
///
/// A signal that had this handler before, and has another one now, is left alone: the other handler
/// calls this one, probably, and both would call each other for ever.
///
/// # Errors
/// The system refuses the handler.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: a structure of numbers, and a pointer that may be null.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = on_signal as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // Other signals wait until the handler has returned. These do not, so that a crash of the
    // handler is noticed.
    // SAFETY: the calls change the mask, which is valid memory.
    unsafe {
        libc::sigfillset(&raw mut ours.sa_mask);
        for signal in CRASHES {
            libc::sigdelset(&raw mut ours.sa_mask, signal);
        }
    }
    for (index, signal) in CRASHES.into_iter().enumerate() {
        let current = raw::action(signal).map_err(|error| io::Error::from_raw_os_error(error.0))?;
        let is_ours = current.handler == ours.sa_sigaction;
        let is_free = [libc::SIG_DFL, libc::SIG_IGN].contains(&current.handler);
        match earlier(index) {
            _ if is_ours => continue,
            Some(before) if before != current => continue,
            _ if !is_free && LEFT_TO_PROGRAMS.contains(&signal) => continue,
            _ => keep_earlier(index, current),
        }
        // SAFETY: the handler is a function with the signature that SA_SIGINFO requires, and does
        // only what is allowed in a signal handler.
        if unsafe { libc::sigaction(signal, &raw const ours, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
