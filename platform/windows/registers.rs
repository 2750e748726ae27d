//! Reads the registers of a thread: the `CONTEXT` from the system, and the extended state.

use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::os::windows::io::{AsRawHandle, BorrowedHandle};

use dumpwright_target::{Cpu, CpuContext, XState, XStateLayout};
use windows_sys::Win32::Foundation::{ERROR_INVALID_DATA, ERROR_PROC_NOT_FOUND};
use windows_sys::Win32::System::Diagnostics::Debug::{CONTEXT, CONTEXT_FLAGS, GetThreadContext};
use windows_sys::core::BOOL;

use crate::error::last_error;
use crate::memory::int_at;
use crate::nt::bound;

/// All parts of a plain `CONTEXT`: control, integer, segment, floating point and debug registers.
const CONTEXT_ALL: CONTEXT_FLAGS = 0x0010_001F;
/// `CONTEXT_AMD64`, which is set in all flags of this CPU family.
const CONTEXT_AMD64: CONTEXT_FLAGS = 0x0010_0000;
/// `CONTEXT_XSTATE`: also the registers beyond x87 and SSE.
const CONTEXT_XSTATE: CONTEXT_FLAGS = 0x0010_0040;

/// The bytes of a `CONTEXT`, with the alignment that Windows requires.
///
/// The alignment of the structure is 16 in Microsoft's header, but 8 in windows-sys.
/// GetThreadContext fails for a misaligned structure (ERROR_NOACCESS; windows-rs issues 1955 and
/// 2347). Wine does not check the alignment.
#[repr(C, align(16))]
struct AlignedContext([u8; size_of::<CONTEXT>()]);

const _: () = {
    assert!(size_of::<AlignedContext>() == 1232);
    assert!(align_of::<AlignedContext>() == 16);
    assert!(std::mem::offset_of!(CONTEXT, ContextFlags) == FLAGS.start);
    assert!(std::mem::offset_of!(CONTEXT, Rsp) == 0x98);
    assert!(std::mem::offset_of!(CONTEXT, Rip) == 0xF8);
    assert!(std::mem::offset_of!(CONTEXT, Anonymous) == 0x100);
    assert!(std::mem::offset_of!(CONTEXT, VectorRegister) == 0x300);
    assert!(std::mem::offset_of!(CONTEXT, DebugControl) == 0x4A8);
};

/// The place of the flags in a `CONTEXT`.
const FLAGS: std::ops::Range<usize> = 0x30..0x34;

/// The parts of a `CONTEXT` that no flag covers: the home addresses of parameters, which other
/// users of the structure need, and the registers of an older form of AVX.
const NEVER_COVERED: [std::ops::Range<usize>; 2] = [0..0x30, 0x300..0x4A8];

/// The registers of a thread.
#[derive(Debug)]
pub(crate) struct ThreadRegisters {
    pub(crate) context: CpuContext,
    /// The system's Win32 code, if the extended state was requested and could not be read.
    pub(crate) not_extended: Option<u32>,
}

/// Reads the registers of a suspended thread, with the extended state if `layout` describes its
/// layout.
///
/// # Errors
/// The system's Win32 code.
pub(crate) fn read(
    thread: BorrowedHandle<'_>,
    layout: Option<&XStateLayout>,
) -> Result<ThreadRegisters, u32> {
    let mut not_extended = None;
    if let Some(layout) = layout {
        match extended(thread, layout) {
            Ok((plain, state)) => {
                return Ok(ThreadRegisters {
                    context: plain.with_extended_state(state),
                    not_extended,
                });
            }
            Err(code) => not_extended = Some(code),
        }
    }
    let mut context = AlignedContext([0; size_of::<CONTEXT>()]);
    context.0[FLAGS].copy_from_slice(&CONTEXT_ALL.to_le_bytes());
    // SAFETY: the handle is open as long as it is borrowed. The registers that the flags select are
    // written to local bytes, which have the size of the structure and the required alignment.
    if unsafe { GetThreadContext(thread.as_raw_handle(), (&raw mut context.0).cast()) } == 0 {
        return Err(last_error());
    }
    Ok(ThreadRegisters {
        context: from_bytes(context.0.to_vec()),
        not_extended,
    })
}

/// Converts the bytes of a `CONTEXT`. The parts that its flags do not cover are set to zero.
pub(crate) fn from_bytes(mut bytes: Vec<u8>) -> CpuContext {
    for part in NEVER_COVERED {
        bytes[part].fill(0);
    }
    // Flags for debuggers (CONTEXT_EXCEPTION_REPORTING and similar ones) select no registers.
    let flags = int_at(&bytes, FLAGS.start) & CONTEXT_ALL;
    bytes[FLAGS].copy_from_slice(&flags.to_le_bytes());
    let context = CpuContext::from_bytes(Cpu::Amd64, bytes).expect("of the right size");
    without_uncovered(context, flags)
}

/// Converts bytes that a program has declared to be a `CONTEXT`. Returns `None` if they are not a
/// `CONTEXT` of an x86-64 thread.
pub(crate) fn from_foreign(bytes: Vec<u8>) -> Option<CpuContext> {
    let flags = int_at(bytes.get(FLAGS)?, 0);
    (bytes.len() == size_of::<CONTEXT>() && flags & CONTEXT_AMD64 != 0).then(|| from_bytes(bytes))
}

/// Clears the parts of a `CONTEXT` whose flags are not set.
fn without_uncovered(context: CpuContext, flags: CONTEXT_FLAGS) -> CpuContext {
    /// Each flag, and the ranges of the structure that it covers.
    const PARTS: [(CONTEXT_FLAGS, &[std::ops::Range<usize>]); 5] = [
        // SegCs, SegSs, EFlags, Rsp, Rip.
        (0x01, &[0x38..0x3A, 0x42..0x48, 0x98..0xA0, 0xF8..0x100]),
        // Rax to Rbx, Rbp to R15.
        (0x02, &[0x78..0x98, 0xA0..0xF8]),
        // SegDs, SegEs to SegGs.
        (0x04, &[0x3A..0x3C, 0x3C..0x42]),
        // MxCsr, FltSave.
        (0x08, &[0x34..0x38, 0x100..0x300]),
        // Dr0 to Dr7, and the branch registers.
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

/// The system's functions for extended contexts. Windows 7 has them from its first service pack on.
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
                Kernel32,
                c"InitializeContext",
                fn(*mut u8, CONTEXT_FLAGS, *mut *mut CONTEXT, *mut u32) -> BOOL
            )?,
            set_mask: bound!(Kernel32, c"SetXStateFeaturesMask", fn(*mut CONTEXT, u64) -> BOOL)?,
            get_mask: bound!(
                Kernel32,
                c"GetXStateFeaturesMask",
                fn(*const CONTEXT, *mut u64) -> BOOL
            )?,
            locate: bound!(
                Kernel32,
                c"LocateXStateFeature",
                fn(*const CONTEXT, u32, *mut u32) -> *const u8
            )?,
        })
    }
}

/// Reads the plain registers and the extended state of a suspended thread.
///
/// # Errors
/// The system's Win32 code.
fn extended(thread: BorrowedHandle<'_>, layout: &XStateLayout) -> Result<(CpuContext, XState), u32> {
    /// More bytes than the context of any processor. AMX, which is not requested, ends below 12
    /// KiB.
    const LARGEST: usize = 64 << 10;
    let functions = Extended::bind().ok_or(ERROR_PROC_NOT_FOUND)?;
    let flags = CONTEXT_ALL | CONTEXT_XSTATE;
    let mut length = 0;
    let mut context: *mut CONTEXT = std::ptr::null_mut();
    // SAFETY: the signature is that of winbase.h. Without a buffer, the function only writes the
    // required length to a local integer.
    unsafe { (functions.initialize)(std::ptr::null_mut(), flags, &raw mut context, &raw mut length) };
    let size = usize::try_from(length)
        .ok()
        .filter(|size| (1..=LARGEST).contains(size))
        .ok_or_else(last_error)?;
    let mut buffer = vec![0_u8; size];
    // SAFETY: the buffer has the length that the function requires. It is neither moved nor freed
    // before the last use of the context, which the function places in the buffer with the required
    // alignment. Each function is called only if the previous one succeeded. The thread's handle is
    // open as long as it is borrowed.
    let initialised = unsafe {
        (functions.initialize)(buffer.as_mut_ptr(), flags, &raw mut context, &raw mut length) != 0
            && (functions.set_mask)(context, layout.enabled()) != 0
            && GetThreadContext(thread.as_raw_handle(), context) != 0
    };
    if !initialised {
        return Err(last_error());
    }
    let inside = |from: *const u8, len: usize| {
        let start = from.addr().checked_sub(buffer.as_ptr().addr())?;
        buffer.get(start..start.checked_add(len)?)
    };
    let plain = inside(context.cast::<u8>(), size_of::<CONTEXT>()).ok_or(ERROR_INVALID_DATA)?;
    let plain = from_bytes(plain.to_vec());
    let mut in_use = 0;
    // SAFETY: the context was initialised above with extended state, and is only read here. The
    // mask is written to a local integer.
    if unsafe { (functions.get_mask)(context, &raw mut in_use) } == 0 {
        return Err(last_error());
    }
    let parts = layout
        .features()
        .filter(|feature| feature.number >= 2 && in_use >> feature.number & 1 == 1);
    let parts = parts.map(|feature| {
        let mut length = 0;
        // SAFETY: as above. The length is written to a local integer, and the returned address is
        // compared with the bounds of the buffer before anything is read.
        let at = unsafe { (functions.locate)(context, feature.number.into(), &raw mut length) };
        let bytes = usize::try_from(length).ok().and_then(|length| inside(at, length));
        Ok((feature.number, bytes.ok_or_else(last_error)?))
    });
    let parts: Vec<_> = parts.collect::<Result<_, u32>>()?;
    Ok((plain, XState::from_parts(parts, layout)))
}

/// Returns the layout of this machine's registers beyond x87 and SSE in an XSAVE image, or `None`
/// if the machine has none.
pub(crate) fn extended_layout() -> Option<XStateLayout> {
    let features = bound!(Kernel32, c"GetEnabledXStateFeatures", fn() -> u64)?;
    // SAFETY: the signature is that of winbase.h. The function has no parameters and returns an
    // integer.
    let enabled = unsafe { features() };
    XStateLayout::of_processor(enabled, cpuid)
}

/// Executes the instruction `CPUID` for a leaf and a subleaf.
fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has the instruction. It reads only its two operands and writes
    // four registers.
    #[allow(unused_unsafe, reason = "safe since Rust 1.94; the minimum version is older")]
    unsafe {
        __cpuid_count(leaf, subleaf)
    }
}

#[cfg(test)]
mod tests;
