//! Registers beyond x87 and SSE: where the processor has them, and those of a stopped thread.

use dumpwright_target::{XState, XStateLayout};

/// The features that this machine's processes have beyond x87 and SSE, as `CPUID` lays them out. `None` if there are none.
///
/// Without AMX: its eight kilobytes are no vector registers, and the kernel gives them only to processes that asked for
/// permission, so that images differ in size.
#[cfg(target_arch = "x86_64")]
pub(crate) fn layout() -> Option<XStateLayout> {
    use dumpwright_target::XStateFeature;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// The leaf of `CPUID` that describes the XSAVE image.
    const XSAVE_LEAF: u32 = 0xD;
    /// Behind x87 and SSE.
    const FIRST: u32 = 2;
    /// `XTILECFG` and `XTILEDATA`.
    const AMX: std::ops::RangeInclusive<u32> = 17..=18;

    // CPUID.1:ECX.OSXSAVE says that the system saves such state at all, and that XGETBV may be executed.
    let has_xgetbv = __cpuid(1).ecx >> 27 & 1 == 1;
    if !has_xgetbv || __cpuid(0).eax < XSAVE_LEAF {
        return None;
    }
    // SAFETY: the check above is the one that Intel's manual demands before this instruction, which reads a
    // control register and touches no memory. Register 0 exists wherever the instruction does.
    let enabled = unsafe { xcr0() };
    let features = (FIRST..=62)
        .filter(|number| enabled >> number & 1 == 1 && !AMX.contains(number))
        .map(|number| {
            let place = __cpuid_count(XSAVE_LEAF, number);
            XStateFeature {
                number: number as u8,
                offset: place.ebx,
                size: place.eax,
            }
        })
        .collect();
    XStateLayout::new(features)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn layout() -> Option<XStateLayout> {
    None
}

/// The features that the kernel has enabled (`XCR0`).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: the caller has made sure that the instruction exists; it reads control register 0 and touches no memory.
    unsafe { std::arch::x86_64::_xgetbv(0) }
}

/// The extended state of a stopped thread; only on the tracing thread. `None` if the kernel does not give it, or gives less
/// than `layout` says.
pub(crate) fn read(tid: u32, layout: &XStateLayout) -> Option<XState> {
    /// `NT_X86_XSTATE` of `linux/elf.h`.
    const NT_X86_XSTATE: libc::c_int = 0x202;
    /// More than any processor has; the kernel says how much it has written.
    const LARGEST: usize = 16 << 10;
    let mut image = vec![0_u8; LARGEST];
    let mut place = libc::iovec {
        iov_base: image.as_mut_ptr().cast(),
        iov_len: image.len(),
    };
    // SAFETY: the request writes at most `iov_len` bytes to `iov_base`, which is the vector's own memory of this length and
    // lives during the call, and the number of bytes to `iov_len` of the local structure.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_GETREGSET,
            tid as libc::pid_t,
            NT_X86_XSTATE as *mut libc::c_void,
            &raw mut place,
        )
    };
    image.truncate(if result == 0 { place.iov_len } else { 0 });
    let state = XState::from_image(&image, layout);
    if state.is_none() {
        tracing::debug!(tid, bytes = image.len(), "no extended state");
    }
    state
}

/// What these tests would catch: places that are not those of the processor.
#[cfg(all(test, target_arch = "x86_64"))]
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
            // Intel's manual gives this place for all processors (volume 1, section 13.4).
            assert_eq!((avx.offset, avx.size), (576, 256));
        }
    }
}
