//! `errno` plays the last error on Linux.

pub(super) fn set_last_error(code: u32) {
    // SAFETY: the address of this thread's errno, which nobody else uses meanwhile.
    unsafe { *libc::__errno_location() = code.cast_signed() };
}
