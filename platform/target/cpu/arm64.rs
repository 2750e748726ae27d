use minidump_common::format::{CONTEXT_ARM64, ContextFlagsArm64};
use scroll::{LE, Pwrite};

use super::{ContextLayout, Cpu, CpuContext};

/// Microsoft's layout of an ARM64 `CONTEXT`.
///
/// There are two layouts: Microsoft's (912 bytes, processor bit 0x40_0000, architecture 12), and an
/// old one of Breakpad (processor bit 0x8000_0000, architecture 0x8003). dumpwright uses
/// Microsoft's, which Breakpad and rust-minidump support. LLDB 19 reads every ARM64 context with
/// Breakpad's old layout. In it, the general registers, `sp` and `pc` have the same offsets, so
/// LLDB shows them correctly. It reads `cpsr` and the vector registers from wrong offsets.
pub(super) const LAYOUT: ContextLayout = ContextLayout {
    cpu: Cpu::Arm64,
    size: 912,
    flags: 0,
    cpu_bit: 0x40_0000,
    // X0 to X28, Fp, Lr, Sp, Pc.
    general: 0x08..0x110,
    instruction_name: "pc",
    stack_name: "sp",
    instruction: 0x108,
    stack: 0x100,
};

/// The registers of an ARM64 thread, from which a `CONTEXT` is made.
///
/// Control and integer registers are always present. Other registers are `None` if they could not
/// be read, and `ContextFlags` then does not include them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct Arm64 {
    /// `x0` to `x28`.
    pub x: [u64; 29],
    /// `x29`.
    pub fp: u64,
    /// `x30`.
    pub lr: u64,
    pub sp: u64,
    pub pc: u64,
    pub cpsr: u32,
    pub floating_point: Option<Box<Arm64FloatingPoint>>,
}

/// The floating-point and vector state of ARM64.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct Arm64FloatingPoint {
    pub v: [u128; 32],
    pub fpcr: u32,
    pub fpsr: u32,
}

impl Arm64 {
    /// Returns a `CONTEXT` with only the control registers (`fp`, `lr`, `sp`, `pc`, `cpsr`), for a
    /// thread whose other registers are unknown.
    ///
    /// The other registers are zero, and `ContextFlags` does not include them.
    #[must_use]
    pub fn to_control_context(&self) -> CpuContext {
        let known = Self {
            x: [0; 29],
            floating_point: None,
            ..*self
        };
        let mut context = known.to_context();
        let flags = ContextFlagsArm64::CONTEXT_ARM64_CONTROL.bits();
        context.bytes[LAYOUT.flags..LAYOUT.flags + 4].copy_from_slice(&flags.to_le_bytes());
        context
    }

    /// Returns the `CONTEXT` with these registers. `ContextFlags` includes exactly those that are
    /// present.
    ///
    /// `CONTEXT_ARM64_X18` is always included. On Windows, `x18` holds the TEB and may be left out
    /// of a context. Elsewhere it is an ordinary register.
    #[must_use]
    pub fn to_context(&self) -> CpuContext {
        let mut flags = ContextFlagsArm64::CONTEXT_ARM64_CONTROL.bits()
            | ContextFlagsArm64::CONTEXT_ARM64_INTEGER.bits()
            | ContextFlagsArm64::CONTEXT_ARM64_X18.bits();
        let mut iregs = [0; 31];
        iregs[..29].copy_from_slice(&self.x);
        iregs[29..].copy_from_slice(&[self.fp, self.lr]);
        let mut context = CONTEXT_ARM64 {
            iregs,
            sp: self.sp,
            pc: self.pc,
            cpsr: self.cpsr,
            ..CONTEXT_ARM64::default()
        };
        if let Some(state) = &self.floating_point {
            flags |= ContextFlagsArm64::CONTEXT_ARM64_FLOATING_POINT.bits();
            context.float_regs = state.v;
            (context.fpcr, context.fpsr) = (state.fpcr, state.fpsr);
        }
        context.context_flags = flags;
        let mut bytes = vec![0; LAYOUT.size];
        bytes
            .pwrite_with(context, 0, LE)
            .expect("a CONTEXT fits into its own size");
        CpuContext {
            cpu: Cpu::Arm64,
            bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against the offsets in Microsoft's header (winnt.h), not those of minidump-common.
    #[test]
    fn registers_stand_where_windows_puts_them() {
        let mut v = [0; 32];
        (v[0], v[31]) = (0xA0 | 1 << 120, 0xA31);
        let mut x = [0; 29];
        (x[0], x[28]) = (1, 28);
        let context = Arm64 {
            x,
            fp: 29,
            lr: 30,
            sp: 0x7fff_0000,
            pc: 0x40_1000,
            cpsr: 0x6000_1000,
            floating_point: Some(Box::new(Arm64FloatingPoint {
                v,
                fpcr: 0x0300_0000,
                fpsr: 0x10,
            })),
        }
        .to_context();
        let bytes = context.bytes();
        assert_eq!(bytes.len(), 912);
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(u32_at(0), 0x0040_0017, "ContextFlags");
        assert_eq!(u32_at(4), 0x6000_1000, "Cpsr");
        assert_eq!(
            [0x08, 0xE8, 0xF0, 0xF8].map(u64_at),
            [1, 28, 29, 30],
            "X0 X28 Fp Lr"
        );
        assert_eq!(
            [0x110, 0x118, 0x300].map(u64_at),
            [0xA0, 1 << 56, 0xA31],
            "V0 V31"
        );
        assert_eq!([0x310, 0x314].map(u32_at), [0x0300_0000, 0x10], "Fpcr Fpsr");
        assert_eq!(
            (context.stack_pointer(), context.instruction_pointer()),
            (0x7fff_0000, 0x40_1000)
        );
    }

    #[test]
    fn flags_include_exactly_the_registers_that_are_present() {
        assert_eq!(
            Arm64::default().to_context().bytes()[..4],
            0x0040_0013_u32.to_le_bytes()
        );
        let known = Arm64 {
            x: [7; 29],
            sp: 2,
            pc: 3,
            ..Arm64::default()
        };
        let context = known.to_control_context();
        assert_eq!(context.bytes()[..4], 0x0040_0001_u32.to_le_bytes());
        assert_eq!((context.stack_pointer(), context.instruction_pointer()), (2, 3));
        assert_eq!(context.bytes()[8..16], [0; 8], "X0 is not known");
    }
}
