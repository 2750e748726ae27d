//! System call filters that refuse a helper process to this thread and the threads that it starts.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// Offsets in `struct seccomp_data` (seccomp(2)): the number of the system call, and the lower half
/// of its first argument.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

fn step(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

/// Skips `jf` steps unless the value is `value`.
fn unless_equal(value: i64, jf: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, jf, value as u32)
}

fn end(action: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, action)
}

/// Installs a filter on this thread. Returns the result of the call.
fn install(steps: &mut [libc::sock_filter], flags: libc::c_ulong) -> i64 {
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the program and its steps live during the call, which copies them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result
}

/// Refuses new processes with EPERM, as a sandbox does. Threads are permitted.
pub fn refuse_processes() {
    let set = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    let mut steps = [
        load(CALL),
        unless_equal(libc::SYS_clone3, 1),
        // Its flags are in memory, where a filter cannot see them. The C library tries `clone`.
        end(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        unless_equal(libc::SYS_clone, 3),
        load(FIRST_ARGUMENT),
        step(set, 1, 0, libc::CLONE_THREAD as u32),
        end(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    install(&mut steps, 0);
}

/// Refuses ptrace to other processes than this one with EPERM, as Yama does with a `ptrace_scope`
/// of 1 if this process is the parent of the target.
///
/// A filter cannot tell who makes a call. So this one suspends each call until another thread has
/// looked at it, which runs until all threads and processes with the filter have ended.
pub fn refuse_tracing_by_other_processes() -> std::thread::JoinHandle<Refused> {
    const NEW_LISTENER: libc::c_ulong = 8;
    // Started before the filter, which would apply to it.
    let (tell, told) = std::sync::mpsc::channel::<OwnedFd>();
    let supervisor = std::thread::spawn(move || supervise(&told.recv().expect("a listener")));
    let mut steps = [
        load(CALL),
        unless_equal(libc::SYS_ptrace, 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        end(libc::SECCOMP_RET_ALLOW),
    ];
    let listener = install(&mut steps, NEW_LISTENER);
    // SAFETY: the call has returned a new descriptor.
    let listener = unsafe { OwnedFd::from_raw_fd(listener as i32) };
    tell.send(listener).expect("it waits");
    supervisor
}

/// How many calls were refused, and how many permitted.
#[derive(Debug, Default)]
pub struct Refused {
    pub refused: u32,
    pub permitted: u32,
}

fn supervise(listener: &OwnedFd) -> Refused {
    /// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND` of `linux/seccomp.h`.
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    const { assert!(size_of::<libc::seccomp_notif>() == 0x50) };
    const { assert!(size_of::<libc::seccomp_notif_resp>() == 0x18) };
    let mut counts = Refused::default();
    loop {
        let mut ready = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: the pointer refers to one local structure.
        unsafe { libc::poll(&raw mut ready, 1, -1) };
        if ready.revents & libc::POLLIN == 0 {
            // Nobody has the filter any more (POLLHUP).
            return counts;
        }
        // SAFETY: the structure consists of integers. The kernel requires zeros.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request stores such a structure.
        if unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) } != 0 {
            continue;
        }
        let is_ours = Path::new(&format!("/proc/self/task/{}", call.pid)).exists();
        let response = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: if is_ours { 0 } else { -libc::EPERM },
            flags: if is_ours {
                libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32
            } else {
                0
            },
        };
        if is_ours {
            counts.permitted += 1;
        } else {
            counts.refused += 1;
        }
        // SAFETY: the request reads such a structure. It fails if the caller was killed.
        unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw const response) };
    }
}
