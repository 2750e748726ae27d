//! Alternate stacks for signal handlers.

use std::io;
use std::marker::PhantomData;

/// The size of the stack in bytes, without the guard page. The kernel's frame takes up to 11 KiB of
/// it, on processors with AMX.
const SIZE: usize = 64 << 10;
const GUARD: usize = 4096;

/// An alternate stack of the calling thread, for signal handlers (sigaltstack(2)).
///
/// A thread whose stack has overflowed cannot run a signal handler on it: without an alternate
/// stack, the system kills the process at once. Threads of Rust's standard library have one.
/// Dropping this removes the stack, and the thread has its earlier one again.
#[derive(Debug)]
pub struct SignalStack {
    at: *mut libc::c_void,
    before: libc::stack_t,
    /// It belongs to one thread.
    _thread: PhantomData<*mut ()>,
}

impl SignalStack {
    /// Gives the calling thread an alternate stack of 64 KiB, even if it has another one.
    ///
    /// # Errors
    /// There is no memory for it, or the thread runs on its alternate stack at the moment.
    pub fn new() -> io::Result<Self> {
        let before = current()?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping is made at an address that the kernel chooses.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), GUARD + SIZE, access, kind, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let made = Self {
            at,
            before,
            _thread: PhantomData,
        };
        let stack = libc::stack_t {
            ss_sp: at.wrapping_byte_add(GUARD),
            ss_flags: 0,
            ss_size: SIZE,
        };
        // SAFETY: the first page of the new mapping is not used. The stack is mapped until `drop`,
        // which takes it away from the thread before.
        let set = unsafe {
            libc::mprotect(at, GUARD, libc::PROT_NONE) == 0
                && libc::sigaltstack(&raw const stack, std::ptr::null_mut()) == 0
        };
        match set {
            true => Ok(made),
            // Dropping it unmaps it.
            false => Err(io::Error::last_os_error()),
        }
    }

    /// Gives the calling thread an alternate stack if it has none.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn unless_present() -> io::Result<Option<Self>> {
        match current()?.ss_flags & libc::SS_DISABLE {
            0 => Ok(None),
            _ => Self::new().map(Some),
        }
    }
}

/// Returns the calling thread's alternate stack.
fn current() -> io::Result<libc::stack_t> {
    // SAFETY: a structure of numbers and a pointer, for which zeros are valid.
    let mut found: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes the structure.
    match unsafe { libc::sigaltstack(std::ptr::null(), &raw mut found) } {
        0 => Ok(found),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for SignalStack {
    fn drop(&mut self) {
        let is_used = match current() {
            Ok(found) => {
                found.ss_flags & libc::SS_DISABLE == 0 && found.ss_sp == self.at.wrapping_byte_add(GUARD)
            }
            Err(_) => true,
        };
        // SAFETY: the thread, the only one that this type stays on, gets the stack that it had. The
        // mapping was made in `new`, and is removed only if no handler can run on it any more.
        unsafe {
            if !is_used || libc::sigaltstack(&raw const self.before, std::ptr::null_mut()) == 0 {
                libc::munmap(self.at, GUARD + SIZE);
            }
        }
    }
}

/// What this test would catch: a stack that stays after its owner.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_it_for_a_time() {
        std::thread::spawn(|| {
            let facts = || {
                let found = current().expect("it can be asked");
                (found.ss_sp, found.ss_size, found.ss_flags)
            };
            // The standard library's.
            let before = facts();
            assert_eq!(before.2, 0);
            let stack = SignalStack::new().expect("memory");
            assert_eq!(facts(), (stack.at.wrapping_byte_add(GUARD), SIZE, 0));
            assert!(SignalStack::unless_present().expect("memory").is_none());
            drop(stack);
            assert_eq!(facts(), before);

            let mut none = current().expect("it can be asked");
            none.ss_flags = libc::SS_DISABLE;
            // SAFETY: the thread has no alternate stack until the end of this function, and needs
            // none.
            unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
            let stack = SignalStack::unless_present().expect("memory");
            assert!(stack.is_some_and(|stack| facts().0 == stack.at.wrapping_byte_add(GUARD)));
            assert_eq!(facts().2, libc::SS_DISABLE);
            none.ss_flags = 0;
            (none.ss_sp, none.ss_size) = (before.0, before.1);
            // SAFETY: the standard library unmaps its stack at the end of the thread.
            unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) };
        })
        .join()
        .expect("no panic");
    }
}
