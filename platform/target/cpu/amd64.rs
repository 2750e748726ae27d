use minidump_common::format::{CONTEXT_AMD64, ContextFlagsAmd64};
use scroll::{LE, Pwrite};

use super::{ContextLayout, Cpu, CpuContext, XState, xstate};

pub(super) const LAYOUT: ContextLayout = ContextLayout {
    cpu: Cpu::Amd64,
    size: 1232,
    flags: 0x30,
    cpu_bit: 0x10_0000,
    // Rax to R15, Rip.
    general: 0x78..0x100,
    instruction_name: "rip",
    stack_name: "rsp",
    instruction: 0xF8,
    stack: 0x98,
};

/// `CONTEXT_SEGMENTS` without the processor bit. minidump-common has only the combination of both.
const SEGMENTS: u32 = 4;

/// The registers of an x86-64 thread, from which a `CONTEXT` is made.
///
/// Control and integer registers are always present. Other registers are `None` if they could not
/// be read, and `ContextFlags` then does not include them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct Amd64 {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub eflags: u32,
    pub cs: u16,
    pub ss: u16,
    /// `ds`, `es`, `fs`, `gs`.
    pub segments: Option<[u16; 4]>,
    /// The 512-byte FXSAVE image: x87 and SSE state.
    pub fxsave: Option<Box<[u8; 512]>>,
    /// `dr0` to `dr3`, `dr6`, `dr7`.
    pub debug: Option<[u64; 6]>,
    /// The registers beyond x87 and SSE. If present, the `CONTEXT` is an extended one.
    pub xstate: Option<XState>,
}

impl Amd64 {
    /// Returns a `CONTEXT` with only the control registers (`rip`, `rsp`, `cs`, `ss`, `eflags`),
    /// for a thread whose other registers are unknown.
    ///
    /// The other registers are zero, and `ContextFlags` does not include them.
    #[must_use]
    pub fn to_control_context(&self) -> CpuContext {
        let known = Self {
            rip: self.rip,
            rsp: self.rsp,
            cs: self.cs,
            ss: self.ss,
            eflags: self.eflags,
            ..Self::default()
        };
        let mut context = known.to_context();
        let flags = ContextFlagsAmd64::CONTEXT_AMD64_CONTROL.bits();
        context.bytes[LAYOUT.flags..LAYOUT.flags + 4].copy_from_slice(&flags.to_le_bytes());
        context
    }

    /// Returns the `CONTEXT` with these registers. `ContextFlags` includes exactly those that are
    /// present.
    ///
    /// The structure contains `MxCsr` twice. Both fields are filled. (Breakpad leaves the first one
    /// 0.)
    #[must_use]
    pub fn to_context(&self) -> CpuContext {
        let mut flags =
            ContextFlagsAmd64::CONTEXT_AMD64_CONTROL.bits() | ContextFlagsAmd64::CONTEXT_AMD64_INTEGER.bits();
        let mut context = CONTEXT_AMD64 {
            rax: self.rax,
            rbx: self.rbx,
            rcx: self.rcx,
            rdx: self.rdx,
            rsi: self.rsi,
            rdi: self.rdi,
            rbp: self.rbp,
            rsp: self.rsp,
            r8: self.r8,
            r9: self.r9,
            r10: self.r10,
            r11: self.r11,
            r12: self.r12,
            r13: self.r13,
            r14: self.r14,
            r15: self.r15,
            rip: self.rip,
            eflags: self.eflags,
            cs: self.cs,
            ss: self.ss,
            ..CONTEXT_AMD64::default()
        };
        if let Some([ds, es, fs, gs]) = self.segments {
            flags |= SEGMENTS;
            (context.ds, context.es, context.fs, context.gs) = (ds, es, fs, gs);
        }
        if let Some(fxsave) = &self.fxsave {
            flags |= ContextFlagsAmd64::CONTEXT_AMD64_FLOATING_POINT.bits();
            context.float_save = **fxsave;
            context.mx_csr = u32::from_le_bytes(fxsave[24..28].try_into().expect("four bytes"));
        }
        if let Some([dr0, dr1, dr2, dr3, dr6, dr7]) = self.debug {
            flags |= ContextFlagsAmd64::CONTEXT_AMD64_DEBUG_REGISTERS.bits();
            (context.dr0, context.dr1, context.dr2, context.dr3) = (dr0, dr1, dr2, dr3);
            (context.dr6, context.dr7) = (dr6, dr7);
        }
        if self.xstate.is_some() {
            flags |= xstate::FLAG;
        }
        context.context_flags = flags;
        let mut bytes = vec![0; LAYOUT.size];
        bytes
            .pwrite_with(context, 0, LE)
            .expect("a CONTEXT fits into its own size");
        if let Some(xstate) = &self.xstate {
            xstate.append_to(&mut bytes);
        }
        CpuContext {
            cpu: Cpu::Amd64,
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
        let mut fxsave = Box::new([0_u8; 512]);
        fxsave[24..28].copy_from_slice(&0x1F80_u32.to_le_bytes());
        fxsave[160..164].copy_from_slice(b"XMM0");
        let context = Amd64 {
            rax: 1,
            rcx: 2,
            r15: 3,
            rsp: 0x7fff_0000,
            rip: 0x40_1000,
            cs: 0x33,
            ss: 0x2b,
            eflags: 0x246,
            segments: Some([4, 5, 6, 7]),
            fxsave: Some(fxsave),
            debug: Some([8, 9, 10, 11, 12, 13]),
            ..Amd64::default()
        }
        .to_context();
        let bytes = context.bytes();
        assert_eq!(bytes.len(), 1232);
        let u16_at = |at: usize| u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!(u32_at(0x30), 0x0010_001F, "ContextFlags");
        assert_eq!(u32_at(0x34), 0x1F80, "MxCsr");
        assert_eq!(
            [0x38, 0x3A, 0x3C, 0x3E, 0x40, 0x42].map(u16_at),
            [0x33, 4, 5, 6, 7, 0x2b],
            "cs ds es fs gs ss"
        );
        assert_eq!(u32_at(0x44), 0x246, "EFlags");
        assert_eq!(
            [0x48, 0x50, 0x58, 0x60, 0x68, 0x70].map(u64_at),
            [8, 9, 10, 11, 12, 13],
            "Dr0 to Dr7"
        );
        assert_eq!(
            (u64_at(0x78), u64_at(0x80), u64_at(0xF0)),
            (1, 2, 3),
            "Rax Rcx R15"
        );
        assert_eq!(
            (context.stack_pointer(), context.instruction_pointer()),
            (0x7fff_0000, 0x40_1000)
        );
        assert_eq!(&bytes[0x1A0..0x1A4], b"XMM0", "Xmm0");
    }

    #[test]
    fn flags_include_exactly_the_registers_that_are_present() {
        let bare = Amd64::default().to_context();
        assert_eq!(bare.bytes()[0x30..0x34], 0x0010_0003_u32.to_le_bytes());
    }

    #[test]
    fn a_control_context_includes_no_other_registers() {
        let context = Amd64 {
            rax: 1,
            rsp: 2,
            rip: 3,
            ..Amd64::default()
        }
        .to_control_context();
        assert_eq!(context.bytes()[0x30..0x34], 0x0010_0001_u32.to_le_bytes());
        assert_eq!((context.stack_pointer(), context.instruction_pointer()), (2, 3));
        assert_eq!(context.bytes()[0x78..0x80], [0; 8], "Rax is not known");
    }
}
