use minidump_common::format::{CONTEXT_ARM, ContextFlagsArm, FLOATING_SAVE_AREA_ARM};
use scroll::{LE, Pwrite};

use super::{ContextLayout, Cpu, CpuContext};

/// Breakpad's layout of a 32-bit ARM `CONTEXT`.
///
/// There are two layouts: Microsoft's (416 bytes, processor bit 0x200000), and Breakpad's (368
/// bytes, processor bit 0x4000_0000), which all Linux and Android writers use. dumpwright uses
/// Breakpad's, because Breakpad, rust-minidump 0.27 and LLDB 19 support no other. The general
/// registers have the same offsets in both layouts.
pub(super) const LAYOUT: ContextLayout = ContextLayout {
    cpu: Cpu::Arm,
    size: 368,
    flags: 0,
    cpu_bit: 0x4000_0000,
    // R0 to R12, Sp, Lr, Pc.
    general: 0x04..0x44,
    instruction_name: "pc",
    stack_name: "sp",
    instruction: 0x40,
    stack: 0x38,
};

/// The registers of a 32-bit ARM thread, from which a `CONTEXT` is made.
///
/// Control and integer registers are always present. Other registers are `None` if they could not
/// be read, and `ContextFlags` then does not include them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct Arm {
    pub r: [u32; 13],
    pub sp: u32,
    pub lr: u32,
    pub pc: u32,
    pub cpsr: u32,
    pub floating_point: Option<Box<ArmFloatingPoint>>,
}

/// The VFP and NEON state of 32-bit ARM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct ArmFloatingPoint {
    pub d: [u64; 32],
    pub fpscr: u32,
}

impl Arm {
    /// Returns a `CONTEXT` with only the control registers (`sp`, `lr`, `pc`, `cpsr`), for a thread
    /// whose other registers are unknown.
    ///
    /// The other registers are zero, and `ContextFlags` does not include them.
    #[must_use]
    pub fn to_control_context(&self) -> CpuContext {
        let known = Self {
            r: [0; 13],
            floating_point: None,
            ..*self
        };
        let mut context = known.to_context();
        let flags = ContextFlagsArm::CONTEXT_ARM_CONTROL.bits();
        context.bytes[LAYOUT.flags..LAYOUT.flags + 4].copy_from_slice(&flags.to_le_bytes());
        context
    }

    /// Returns the `CONTEXT` with these registers. `ContextFlags` includes exactly those that are
    /// present.
    #[must_use]
    pub fn to_context(&self) -> CpuContext {
        let mut flags =
            ContextFlagsArm::CONTEXT_ARM_CONTROL.bits() | ContextFlagsArm::CONTEXT_ARM_INTEGER.bits();
        let mut iregs = [0; 16];
        iregs[..13].copy_from_slice(&self.r);
        iregs[13..].copy_from_slice(&[self.sp, self.lr, self.pc]);
        let mut context = CONTEXT_ARM {
            iregs,
            cpsr: self.cpsr,
            ..CONTEXT_ARM::default()
        };
        if let Some(state) = &self.floating_point {
            flags |= ContextFlagsArm::CONTEXT_ARM_FLOATING_POINT.bits();
            context.float_save = FLOATING_SAVE_AREA_ARM {
                fpscr: state.fpscr.into(),
                regs: state.d,
                ..FLOATING_SAVE_AREA_ARM::default()
            };
        }
        context.context_flags = flags;
        let mut bytes = vec![0; LAYOUT.size];
        bytes
            .pwrite_with(context, 0, LE)
            .expect("a CONTEXT fits into its own size");
        CpuContext { cpu: Cpu::Arm, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against the offsets in Breakpad's header (minidump_cpu_arm.h), not those of
    /// minidump-common.
    #[test]
    fn registers_stand_where_breakpad_puts_them() {
        let mut d = [0; 32];
        (d[0], d[31]) = (0xD0, 0xD31);
        let context = Arm {
            r: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
            sp: 0xBEFF_0000,
            lr: 15,
            pc: 0x1_0400,
            cpsr: 0x6000_0030,
            floating_point: Some(Box::new(ArmFloatingPoint {
                d,
                fpscr: 0x0300_0000,
            })),
        }
        .to_context();
        let bytes = context.bytes();
        assert_eq!(bytes.len(), 368);
        let at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(at(0), 0x4000_0007, "ContextFlags");
        assert_eq!([4, 8, 0x34].map(at), [1, 2, 13], "R0 R1 R12");
        assert_eq!(
            [0x38, 0x3C, 0x40, 0x44].map(at),
            [0xBEFF_0000, 15, 0x1_0400, 0x6000_0030]
        );
        assert_eq!([0x48, 0x4C].map(at), [0x0300_0000, 0], "fpscr, 64 bits");
        assert_eq!([0x50, 0x148].map(at), [0xD0, 0xD31], "D0 D31");
        assert_eq!(
            (context.stack_pointer(), context.instruction_pointer()),
            (0xBEFF_0000, 0x1_0400)
        );
    }

    #[test]
    fn flags_include_exactly_the_registers_that_are_present() {
        assert_eq!(
            Arm::default().to_context().bytes()[..4],
            0x4000_0003_u32.to_le_bytes()
        );
        let known = Arm {
            r: [7; 13],
            sp: 2,
            pc: 3,
            ..Arm::default()
        };
        let context = known.to_control_context();
        assert_eq!(context.bytes()[..4], 0x4000_0001_u32.to_le_bytes());
        assert_eq!((context.stack_pointer(), context.instruction_pointer()), (2, 3));
        assert_eq!(context.bytes()[4..8], [0; 4], "R0 is not known");
    }
}
