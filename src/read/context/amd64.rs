use serde::Serialize;

use super::super::fields::{FieldReader, hex, hex_list};

/// The registers of an x86-64 CONTEXT (1232 bytes).
///
/// The low bits of `context_flags` stand for groups of registers: 1 control (`rip`, `rsp`,
/// `eflags`, `cs`, `ss`), 2 integer, 4 segments, 8 x87 and SSE, 0x10 debug. If a bit is clear, the
/// group was not captured, and its fields have no meaning. Writers usually set them to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names are those of the registers.
pub struct Amd64Registers {
    #[serde(serialize_with = "hex")]
    pub context_flags: u32,
    #[serde(serialize_with = "hex")]
    pub rip: u64,
    #[serde(serialize_with = "hex")]
    pub rsp: u64,
    #[serde(serialize_with = "hex")]
    pub rbp: u64,
    #[serde(serialize_with = "hex")]
    pub rax: u64,
    #[serde(serialize_with = "hex")]
    pub rbx: u64,
    #[serde(serialize_with = "hex")]
    pub rcx: u64,
    #[serde(serialize_with = "hex")]
    pub rdx: u64,
    #[serde(serialize_with = "hex")]
    pub rsi: u64,
    #[serde(serialize_with = "hex")]
    pub rdi: u64,
    #[serde(serialize_with = "hex")]
    pub r8: u64,
    #[serde(serialize_with = "hex")]
    pub r9: u64,
    #[serde(serialize_with = "hex")]
    pub r10: u64,
    #[serde(serialize_with = "hex")]
    pub r11: u64,
    #[serde(serialize_with = "hex")]
    pub r12: u64,
    #[serde(serialize_with = "hex")]
    pub r13: u64,
    #[serde(serialize_with = "hex")]
    pub r14: u64,
    #[serde(serialize_with = "hex")]
    pub r15: u64,
    #[serde(serialize_with = "hex")]
    pub eflags: u32,
    #[serde(serialize_with = "hex")]
    pub cs: u16,
    #[serde(serialize_with = "hex")]
    pub ds: u16,
    #[serde(serialize_with = "hex")]
    pub es: u16,
    #[serde(serialize_with = "hex")]
    pub fs: u16,
    #[serde(serialize_with = "hex")]
    pub gs: u16,
    #[serde(serialize_with = "hex")]
    pub ss: u16,
    #[serde(serialize_with = "hex")]
    pub dr0: u64,
    #[serde(serialize_with = "hex")]
    pub dr1: u64,
    #[serde(serialize_with = "hex")]
    pub dr2: u64,
    #[serde(serialize_with = "hex")]
    pub dr3: u64,
    #[serde(serialize_with = "hex")]
    pub dr6: u64,
    #[serde(serialize_with = "hex")]
    pub dr7: u64,
    /// The `MxCsr` field of the context itself.
    #[serde(serialize_with = "hex")]
    pub mxcsr: u32,
    /// The `MxCsr` field of the saved x87/SSE area. It equals `mxcsr` if the writer fills both.
    #[serde(serialize_with = "hex")]
    pub float_save_mxcsr: u32,
    /// The x87 control word from the saved x87/SSE area.
    #[serde(serialize_with = "hex")]
    pub fcw: u16,
    /// XMM0 to XMM15.
    #[serde(serialize_with = "hex_list")]
    pub xmm: [u128; 16],
}

impl Amd64Registers {
    pub(super) fn from_fields(context: FieldReader) -> Self {
        /// The offset of the saved x87/SSE area, an FXSAVE image. The XMM registers are at offset
        /// 0xA0 in it.
        const FLOAT_SAVE: usize = 0x100;
        let mut xmm = [0; 16];
        for (index, register) in xmm.iter_mut().enumerate() {
            *register = context.u128(FLOAT_SAVE + 0xA0 + 16 * index);
        }
        Self {
            context_flags: context.u32(0x30),
            mxcsr: context.u32(0x34),
            cs: context.u16(0x38),
            ds: context.u16(0x3A),
            es: context.u16(0x3C),
            fs: context.u16(0x3E),
            gs: context.u16(0x40),
            ss: context.u16(0x42),
            eflags: context.u32(0x44),
            dr0: context.u64(0x48),
            dr1: context.u64(0x50),
            dr2: context.u64(0x58),
            dr3: context.u64(0x60),
            dr6: context.u64(0x68),
            dr7: context.u64(0x70),
            rax: context.u64(0x78),
            rcx: context.u64(0x80),
            rdx: context.u64(0x88),
            rbx: context.u64(0x90),
            rsp: context.u64(0x98),
            rbp: context.u64(0xA0),
            rsi: context.u64(0xA8),
            rdi: context.u64(0xB0),
            r8: context.u64(0xB8),
            r9: context.u64(0xC0),
            r10: context.u64(0xC8),
            r11: context.u64(0xD0),
            r12: context.u64(0xD8),
            r13: context.u64(0xE0),
            r14: context.u64(0xE8),
            r15: context.u64(0xF0),
            rip: context.u64(0xF8),
            fcw: context.u16(FLOAT_SAVE),
            float_save_mxcsr: context.u32(FLOAT_SAVE + 24),
            xmm,
        }
    }
}
