//! Registers beyond x87 and SSE: their layout, and their values in a stopped thread.

use std::arch::x86_64::_xgetbv;

use dumpwright_target::{XState, XStateLayout};
use nix::errno::Errno;

use crate::ptrace::{Batch, RegisterSet};
use crate::system::cpuid;

/// Returns the layout, as reported by `CPUID`, of the features beyond x87 and SSE that are enabled
/// on this machine. `None` if there are none.
pub(crate) fn layout() -> Option<XStateLayout> {
    // CPUID.1:ECX.OSXSAVE means that the system saves this state, and that XGETBV may be executed.
    let has_xgetbv = cpuid(1, 0).ecx >> 27 & 1 == 1;
    if !has_xgetbv {
        return None;
    }
    // SAFETY: the function requires a processor with XSAVE on which the system has set OSXSAVE. The
    // check above has found both.
    let enabled = unsafe { xcr0() };
    XStateLayout::of_processor(enabled, cpuid)
}

/// Returns the features that the kernel has enabled (`XCR0`).
#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: without OSXSAVE the instruction would raise an exception, and the caller has checked
    // that bit. It reads control register 0, which exists on every processor that has the
    // instruction, and accesses no memory.
    unsafe { _xgetbv(0) }
}

/// How a loss of this state is reported, in words that follow "its".
pub(crate) const GROUP: &str = "extended registers";

/// Returns a place for the extended state of a thread.
pub(crate) fn buffer() -> RegisterSet {
    /// More than any processor has. The kernel reports how much it has written.
    const LARGEST: usize = 16 << 10;
    RegisterSet::new(LARGEST)
}

/// Adds the request for the extended state of a stopped thread.
pub(crate) fn ask<'b>(tid: u32, into: &'b mut RegisterSet, batch: &mut Batch<'b>) {
    /// From `linux/elf.h`.
    const NT_X86_XSTATE: u64 = 0x202;
    batch.register_set(tid, NT_X86_XSTATE, into);
}

/// Returns the state that the kernel has stored.
///
/// # Errors
/// ENODATA: the kernel has provided less than `layout` requires.
pub(crate) fn state(set: &RegisterSet, layout: &XStateLayout) -> Result<XState, Errno> {
    XState::from_image(set.bytes(), layout).ok_or(Errno::ENODATA)
}

/// What these tests would catch: features at other places than on the processor.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_flags_in_cpuinfo() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").expect("readable");
        let flags = cpuinfo
            .lines()
            .find(|line| line.starts_with("flags"))
            .expect("there");
        let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
        let enabled = layout().map_or(0, |layout| layout.enabled());
        assert_eq!(enabled >> 2 & 1 == 1, has("avx"));
        assert_eq!(enabled >> 5 & 7 == 7, has("avx512f"));
        assert_eq!(enabled >> 9 & 1 == 1, has("ospke"));
        assert_eq!(enabled >> 17 & 3, 0, "no AMX");
        if has("avx") {
            let features: Vec<_> = layout().expect("some").features().collect();
            let avx = features
                .iter()
                .find(|feature| feature.number == 2)
                .expect("there");
            // Intel's manual specifies this offset for all processors (volume 1, section 13.4).
            assert_eq!((avx.offset, avx.size), (576, 256));
        }
    }
}
