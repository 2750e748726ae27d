//! The registers of a thread: the `CONTEXT` that the system gives, and what extends it.

use dumpwright_target::{Cpu, CpuContext, XState, XStateLayout};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, CONTEXT_FLAGS, GetThreadContext};
use windows_sys::core::BOOL;

use crate::access::last_error;
use crate::nt::bound;

/// Everything that a plain `CONTEXT` has: control, integer, segments, floating point, debug registers.
const CONTEXT_ALL: CONTEXT_FLAGS = 0x0010_001F;
/// `CONTEXT_AMD64`, which all flags of this family have.
const CONTEXT_AMD64: CONTEXT_FLAGS = 0x0010_0000;
/// `CONTEXT_XSTATE`: the registers beyond x87 and SSE as well.
const CONTEXT_XSTATE: CONTEXT_FLAGS = 0x0010_0040;

/// A `CONTEXT` that stands where Windows wants it.
///
/// Microsoft's header declares the structure with an alignment of 16, windows-sys with 8. GetThreadContext fails on a misaligned one
/// (ERROR_NOACCESS; windows-rs issues 1955 and 2347), which Wine does not notice.
#[repr(C, align(16))]
struct AlignedContext(CONTEXT);

const _: () = {
    assert!(size_of::<AlignedContext>() == 1232);
    assert!(align_of::<AlignedContext>() == 16);
    assert!(std::mem::offset_of!(CONTEXT, ContextFlags) == 0x30);
    assert!(std::mem::offset_of!(CONTEXT, Rsp) == 0x98);
    assert!(std::mem::offset_of!(CONTEXT, Rip) == 0xF8);
    assert!(std::mem::offset_of!(CONTEXT, Anonymous) == 0x100);
    assert!(std::mem::offset_of!(CONTEXT, VectorRegister) == 0x300);
    assert!(std::mem::offset_of!(CONTEXT, DebugControl) == 0x4A8);
};

/// What of a `CONTEXT` its flags cannot cover: the parameters' home addresses, which are for others' use, and the registers
/// of an older form of AVX, which no flag asks for.
const NEVER_COVERED: [std::ops::Range<usize>; 2] = [0..0x30, 0x300..0x4A8];

/// The registers of a suspended thread, with extended state if `layout` says where it goes. A code of the system's is the error.
pub(crate) fn read(thread: HANDLE, layout: Option<&XStateLayout>) -> Result<CpuContext, u32> {
    if let Some(layout) = layout {
        match extended(thread, layout) {
            Some((plain, state)) => return Ok(plain.with_extended_state(state)),
            None => tracing::debug!(code = last_error(), "no extended state"),
        }
    }
    let mut context = AlignedContext(CONTEXT {
        ContextFlags: CONTEXT_ALL,
        ..CONTEXT::default()
    });
    // SAFETY: the structure is the system's, aligned as it wants, and ours to be filled.
    if unsafe { GetThreadContext(thread, &raw mut context.0) } == 0 {
        return Err(last_error());
    }
    Ok(plain(&context.0))
}

/// The bytes of a `CONTEXT` that somebody has filled; what its flags do not cover is zero.
pub(crate) fn plain(context: &CONTEXT) -> CpuContext {
    // SAFETY: the structure has this many bytes, and all of them are initialised: it was made of zeros, or was filled by the
    // system; none of its fields has padding behind it (its size is the sum of theirs).
    let bytes =
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(context).cast::<u8>(), size_of::<CONTEXT>()) };
    from_bytes(bytes.to_vec())
}

/// The same of bytes, which are exactly those of a `CONTEXT`.
pub(crate) fn from_bytes(mut bytes: Vec<u8>) -> CpuContext {
    for part in NEVER_COVERED {
        bytes[part].fill(0);
    }
    // A debugger's flags (CONTEXT_EXCEPTION_REPORTING and the like) say nothing about registers.
    let flags = u32::from_le_bytes(bytes[0x30..0x34].try_into().expect("four bytes")) & CONTEXT_ALL;
    bytes[0x30..0x34].copy_from_slice(&flags.to_le_bytes());
    let context = CpuContext::from_bytes(Cpu::Amd64, bytes).expect("of the right size");
    without_uncovered(context, flags)
}

/// The same of what a program says to be a `CONTEXT`; `None` if it is not one of an x86-64 thread.
pub(crate) fn from_foreign(bytes: Vec<u8>) -> Option<CpuContext> {
    let flags = u32::from_le_bytes(bytes.get(0x30..0x34)?.try_into().ok()?);
    (bytes.len() == size_of::<CONTEXT>() && flags & CONTEXT_AMD64 != 0).then(|| from_bytes(bytes))
}

/// Clears the parts of a `CONTEXT` whose flags are not set.
fn without_uncovered(context: CpuContext, flags: CONTEXT_FLAGS) -> CpuContext {
    /// Flag, and where in the structure is what it covers.
    const PARTS: [(CONTEXT_FLAGS, &[std::ops::Range<usize>]); 5] = [
        // SegCs, SegSs, EFlags, Rsp, Rip.
        (0x01, &[0x38..0x3A, 0x42..0x48, 0x98..0xA0, 0xF8..0x100]),
        // Rax to Rbx, Rbp to R15.
        (0x02, &[0x78..0x98, 0xA0..0xF8]),
        // SegDs, SegEs to SegGs.
        (0x04, &[0x3A..0x3C, 0x3C..0x42]),
        // MxCsr, FltSave.
        (0x08, &[0x34..0x38, 0x100..0x300]),
        // Dr0 to Dr7, and those of branches.
        (0x10, &[0x48..0x78, 0x4A8..0x4D0]),
    ];
    let mut bytes = context.bytes().to_vec();
    for (_, parts) in PARTS.iter().filter(|(flag, _)| flags & flag == 0) {
        for part in *parts {
            bytes[part.clone()].fill(0);
        }
    }
    CpuContext::from_bytes(Cpu::Amd64, bytes).expect("of the same size")
}

/// The system's functions for extended contexts; Windows 7 with its first service pack has them.
struct Extended {
    initialize: unsafe extern "system" fn(*mut u8, CONTEXT_FLAGS, *mut *mut CONTEXT, *mut u32) -> BOOL,
    set_mask: unsafe extern "system" fn(*mut CONTEXT, u64) -> BOOL,
    get_mask: unsafe extern "system" fn(*const CONTEXT, *mut u64) -> BOOL,
    locate: unsafe extern "system" fn(*const CONTEXT, u32, *mut u32) -> *const u8,
}

impl Extended {
    fn bind() -> Option<Self> {
        Some(Self {
            initialize: bound!(
                c"kernel32.dll",
                c"InitializeContext",
                unsafe extern "system" fn(*mut u8, CONTEXT_FLAGS, *mut *mut CONTEXT, *mut u32) -> BOOL
            )?,
            set_mask: bound!(
                c"kernel32.dll",
                c"SetXStateFeaturesMask",
                unsafe extern "system" fn(*mut CONTEXT, u64) -> BOOL
            )?,
            get_mask: bound!(
                c"kernel32.dll",
                c"GetXStateFeaturesMask",
                unsafe extern "system" fn(*const CONTEXT, *mut u64) -> BOOL
            )?,
            locate: bound!(
                c"kernel32.dll",
                c"LocateXStateFeature",
                unsafe extern "system" fn(*const CONTEXT, u32, *mut u32) -> *const u8
            )?,
        })
    }
}

/// Plain registers and extended state of a suspended thread; `None` if the system does not give it.
fn extended(thread: HANDLE, layout: &XStateLayout) -> Option<(CpuContext, XState)> {
    /// More than any processor's context has; AMX, which is not asked for, ends below 12 KiB.
    const LARGEST: usize = 64 << 10;
    let functions = Extended::bind()?;
    let flags = CONTEXT_ALL | CONTEXT_XSTATE;
    let mut length = 0;
    let mut context: *mut CONTEXT = std::ptr::null_mut();
    // SAFETY: without a buffer the function only tells the length that it wants.
    unsafe { (functions.initialize)(std::ptr::null_mut(), flags, &raw mut context, &raw mut length) };
    let size = usize::try_from(length)
        .ok()
        .filter(|size| (1..=LARGEST).contains(size))?;
    let mut buffer = vec![0_u8; size];
    // SAFETY: the buffer has as many bytes as the function wanted, and outlives all uses of the context, which the function
    // places inside it, aligned as the system wants.
    let initialised = unsafe {
        (functions.initialize)(buffer.as_mut_ptr(), flags, &raw mut context, &raw mut length) != 0
            && (functions.set_mask)(context, layout.enabled()) != 0
            && GetThreadContext(thread, context) != 0
    };
    if !initialised {
        return None;
    }
    let inside = |from: *const u8, len: usize| {
        let start = from.addr().checked_sub(buffer.as_ptr().addr())?;
        buffer.get(start..start.checked_add(len)?)
    };
    let plain = from_bytes(inside(context.cast::<u8>(), size_of::<CONTEXT>())?.to_vec());
    let mut in_use = 0;
    // SAFETY: the context was initialised above; the mask goes to a local integer.
    if unsafe { (functions.get_mask)(context, &raw mut in_use) } == 0 {
        return None;
    }
    let parts = layout
        .features()
        .filter(|feature| feature.number >= 2 && in_use >> feature.number & 1 == 1);
    let parts = parts.filter_map(|feature| {
        let mut length = 0;
        // SAFETY: the context was initialised above; the length goes to a local integer.
        let at = unsafe { (functions.locate)(context, feature.number.into(), &raw mut length) };
        let bytes = inside(at, usize::try_from(length).ok()?)?;
        Some((feature.number, bytes))
    });
    Some((plain, XState::from_parts(parts, layout)))
}

/// The registers beyond x87 and SSE that this machine's threads have, and where they stand in an XSAVE image. `None` if there are
/// none.
///
/// Without AMX: its eight kilobytes are no vector registers, and only threads that asked for it have them.
pub(crate) fn extended_layout() -> Option<XStateLayout> {
    use dumpwright_target::XStateFeature;
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    /// The leaf of `CPUID` that describes the XSAVE image.
    const XSAVE_LEAF: u32 = 0xD;
    /// Behind x87 and SSE.
    const FIRST: u32 = 2;
    /// `XTILECFG` and `XTILEDATA`.
    const AMX: std::ops::RangeInclusive<u32> = 17..=18;

    let features = bound!(
        c"kernel32.dll",
        c"GetEnabledXStateFeatures",
        unsafe extern "system" fn() -> u64
    )?;
    // SAFETY: asks nothing of its caller.
    let enabled = unsafe { features() };
    if __cpuid(0).eax < XSAVE_LEAF {
        return None;
    }
    let features = (FIRST..=62)
        .filter(|number| enabled >> number & 1 == 1 && !AMX.contains(number))
        .filter_map(|number| {
            let place = __cpuid_count(XSAVE_LEAF, number);
            // Those of the kernel (bit 0 of ECX), such as shadow stacks, have no place in the standard format.
            let of_kernel = place.ecx & 1 == 1;
            (!of_kernel).then_some(XStateFeature {
                number: number as u8,
                offset: place.ebx,
                size: place.eax,
            })
        })
        .collect();
    XStateLayout::new(features)
}

#[cfg(test)]
mod tests;
