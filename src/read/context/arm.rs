use serde::Serialize;

use super::super::fields::{FieldReader, hex, hex_list};

/// The registers of a 32-bit ARM CONTEXT in Breakpad's layout (368 bytes).
///
/// The low bits of `context_flags` stand for groups of registers: 1 control (`sp`, `lr`, `pc`,
/// `cpsr`; Breakpad itself counts them as integer registers), 2 integer, 4 floating point. If a bit
/// is clear, the group was not captured, and its fields have no meaning. Writers usually set them
/// to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names are those of the registers.
pub struct ArmRegisters {
    #[serde(serialize_with = "hex")]
    pub context_flags: u32,
    #[serde(serialize_with = "hex")]
    pub pc: u32,
    #[serde(serialize_with = "hex")]
    pub sp: u32,
    #[serde(serialize_with = "hex")]
    pub lr: u32,
    /// R0 to R12.
    #[serde(serialize_with = "hex_list")]
    pub r: [u32; 13],
    #[serde(serialize_with = "hex")]
    pub cpsr: u32,
    #[serde(serialize_with = "hex")]
    pub fpscr: u64,
    /// D0 to D31.
    #[serde(serialize_with = "hex_list")]
    pub d: [u64; 32],
}

impl ArmRegisters {
    pub(super) fn from_fields(context: FieldReader) -> Self {
        Self {
            context_flags: context.u32(0),
            r: std::array::from_fn(|number| context.u32(4 + 4 * number)),
            sp: context.u32(0x38),
            lr: context.u32(0x3C),
            pc: context.u32(0x40),
            cpsr: context.u32(0x44),
            fpscr: context.u64(0x48),
            d: std::array::from_fn(|number| context.u64(0x50 + 8 * number)),
        }
    }
}
