use serde::Serialize;

use super::super::fields::{FieldReader, hex, hex_list};

/// The registers of a 32-bit x86 CONTEXT (716 bytes).
///
/// The low bits of `context_flags` stand for groups of registers: 1 control (`ebp`, `eip`, `cs`,
/// `eflags`, `esp`, `ss`), 2 integer, 4 segments, 8 x87, 0x10 debug, 0x20 the FXSAVE image. If a
/// bit is clear, the group was not captured, and its fields have no meaning. Writers usually set
/// them to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names are those of the registers.
pub struct X86Registers {
    #[serde(serialize_with = "hex")]
    pub context_flags: u32,
    #[serde(serialize_with = "hex")]
    pub eip: u32,
    #[serde(serialize_with = "hex")]
    pub esp: u32,
    #[serde(serialize_with = "hex")]
    pub ebp: u32,
    #[serde(serialize_with = "hex")]
    pub eax: u32,
    #[serde(serialize_with = "hex")]
    pub ebx: u32,
    #[serde(serialize_with = "hex")]
    pub ecx: u32,
    #[serde(serialize_with = "hex")]
    pub edx: u32,
    #[serde(serialize_with = "hex")]
    pub esi: u32,
    #[serde(serialize_with = "hex")]
    pub edi: u32,
    #[serde(serialize_with = "hex")]
    pub eflags: u32,
    #[serde(serialize_with = "hex")]
    pub cs: u32,
    #[serde(serialize_with = "hex")]
    pub ds: u32,
    #[serde(serialize_with = "hex")]
    pub es: u32,
    #[serde(serialize_with = "hex")]
    pub fs: u32,
    #[serde(serialize_with = "hex")]
    pub gs: u32,
    #[serde(serialize_with = "hex")]
    pub ss: u32,
    #[serde(serialize_with = "hex")]
    pub dr0: u32,
    #[serde(serialize_with = "hex")]
    pub dr1: u32,
    #[serde(serialize_with = "hex")]
    pub dr2: u32,
    #[serde(serialize_with = "hex")]
    pub dr3: u32,
    #[serde(serialize_with = "hex")]
    pub dr6: u32,
    #[serde(serialize_with = "hex")]
    pub dr7: u32,
    /// The x87 control word: the lower half of the 32-bit field in `FloatSave`.
    #[serde(serialize_with = "hex")]
    pub fcw: u16,
    /// MXCSR, from the FXSAVE image.
    #[serde(serialize_with = "hex")]
    pub mxcsr: u32,
    /// XMM0 to XMM7, from the FXSAVE image.
    #[serde(serialize_with = "hex_list")]
    pub xmm: [u128; 8],
}

impl X86Registers {
    pub(super) fn from_fields(context: FieldReader) -> Self {
        /// The offset of `ExtendedRegisters`, an FXSAVE image. The XMM registers are at offset 0xA0
        /// in it.
        const EXTENDED_REGISTERS: usize = 0xCC;
        Self {
            context_flags: context.u32(0x00),
            eip: context.u32(0xB8),
            esp: context.u32(0xC4),
            ebp: context.u32(0xB4),
            eax: context.u32(0xB0),
            ebx: context.u32(0xA4),
            ecx: context.u32(0xAC),
            edx: context.u32(0xA8),
            esi: context.u32(0xA0),
            edi: context.u32(0x9C),
            eflags: context.u32(0xC0),
            cs: context.u32(0xBC),
            ds: context.u32(0x98),
            es: context.u32(0x94),
            fs: context.u32(0x90),
            gs: context.u32(0x8C),
            ss: context.u32(0xC8),
            dr0: context.u32(0x04),
            dr1: context.u32(0x08),
            dr2: context.u32(0x0C),
            dr3: context.u32(0x10),
            dr6: context.u32(0x14),
            dr7: context.u32(0x18),
            fcw: context.u16(0x1C),
            mxcsr: context.u32(EXTENDED_REGISTERS + 24),
            xmm: std::array::from_fn(|number| context.u128(EXTENDED_REGISTERS + 0xA0 + 16 * number)),
        }
    }
}
