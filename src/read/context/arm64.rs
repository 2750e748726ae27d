use serde::Serialize;

use super::super::fields::{FieldReader, hex, hex_list};

/// The registers of an ARM64 CONTEXT in Microsoft's layout (912 bytes).
///
/// The low bits of `context_flags` stand for groups of registers: 1 control (`fp`, `lr`, `sp`,
/// `pc`, `cpsr`), 2 integer, 4 floating point, 8 debug, 0x10 `x18`. If a bit is clear, the group
/// was not captured, and its fields have no meaning. Writers usually set them to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // The names are those of the registers.
pub struct Arm64Registers {
    #[serde(serialize_with = "hex")]
    pub context_flags: u32,
    #[serde(serialize_with = "hex")]
    pub pc: u64,
    #[serde(serialize_with = "hex")]
    pub sp: u64,
    #[serde(serialize_with = "hex")]
    pub fp: u64,
    #[serde(serialize_with = "hex")]
    pub lr: u64,
    /// X0 to X28.
    #[serde(serialize_with = "hex_list")]
    pub x: [u64; 29],
    #[serde(serialize_with = "hex")]
    pub cpsr: u32,
    #[serde(serialize_with = "hex")]
    pub fpcr: u32,
    #[serde(serialize_with = "hex")]
    pub fpsr: u32,
    /// V0 to V31.
    #[serde(serialize_with = "hex_list")]
    pub v: [u128; 32],
}

impl Arm64Registers {
    pub(super) fn from_fields(context: FieldReader) -> Self {
        Self {
            context_flags: context.u32(0),
            cpsr: context.u32(4),
            x: std::array::from_fn(|number| context.u64(8 + 8 * number)),
            fp: context.u64(0xF0),
            lr: context.u64(0xF8),
            sp: context.u64(0x100),
            pc: context.u64(0x108),
            v: std::array::from_fn(|number| context.u128(0x110 + 16 * number)),
            fpcr: context.u32(0x310),
            fpsr: context.u32(0x314),
        }
    }
}
