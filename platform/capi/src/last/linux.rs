//! The system's last error on Linux, which is `errno`.

pub(super) fn set_last_error(code: u32) {
    // SAFETY: this is the address of this thread's errno, which no other thread uses.
    unsafe { *libc::__errno_location() = code.cast_signed() };
}
