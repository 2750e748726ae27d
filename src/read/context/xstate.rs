//! Extended x86-64 contexts, which contain AVX and AVX-512 registers.

use serde::{Serialize, Serializer};

use super::super::fields::{FieldReader, hex};

/// The offset of `CONTEXT_EX` in an extended context, directly after the plain context.
const CONTEXT_EX: usize = 0x4D0;
/// The offset of XMM0 in the plain context.
const XMM: usize = 0x1A0;
/// The size of the legacy region at the start of an XSAVE image, in bytes. The XSAVE area of an
/// extended context does not include it.
const LEGACY: u64 = 512;

/// The layout of extended contexts, from `XSTATE_CONFIG_FEATURE_MSC_INFO` in MiscInfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XStateLayout {
    /// The size of an extended context in bytes.
    pub context_size: u32,
    /// The enabled features, one bit each. Bit 63 is set if the format is compacted.
    #[serde(serialize_with = "hex")]
    pub enabled_features: u64,
    /// The location of each enabled feature.
    pub features: Vec<XStateFeature>,
}

/// A feature of the extended state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct XStateFeature {
    /// The number of the feature: 0 x87, 1 SSE, 2 AVX, 5 to 7 AVX-512, 9 protection keys, …
    pub number: u8,
    /// The offset in the XSAVE image. The first 512 bytes of that image are `FltSave` of the plain
    /// context.
    pub offset: u32,
    /// The size in bytes.
    pub size: u32,
}

impl XStateLayout {
    /// Reads the layout at an offset in MiscInfo. `None` if the structure is empty, as in dumps
    /// without extended contexts by DbgHelp.
    pub(in super::super) fn from_fields(info: FieldReader, at: usize) -> Option<Self> {
        let enabled_features = info.u64(at + 8);
        if info.u32(at) == 0 || enabled_features == 0 {
            return None;
        }
        let features = (0..63_u8)
            .filter(|number| enabled_features >> number & 1 == 1)
            .map(|number| XStateFeature {
                number,
                offset: info.u32(at + 16 + 8 * usize::from(number)),
                size: info.u32(at + 20 + 8 * usize::from(number)),
            })
            .collect();
        Some(Self {
            context_size: info.u32(at + 4),
            enabled_features,
            features,
        })
    }
}

/// The AVX and AVX-512 registers of a thread. Each register includes its low part, which is stored
/// in the plain context. Bytes are in memory order, lowest byte first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExtendedState {
    /// The features that are not in their initial state, one bit each. In its initial state, a
    /// feature is all zero.
    #[serde(serialize_with = "hex")]
    pub in_use: u64,
    /// YMM0 to YMM15. Empty if the dump has no AVX state.
    #[serde(serialize_with = "registers")]
    pub ymm: Vec<[u8; 32]>,
    /// ZMM0 to ZMM31. Empty if the dump has no AVX-512 state.
    #[serde(serialize_with = "registers")]
    pub zmm: Vec<[u8; 64]>,
    /// K0 to K7. Empty if the dump has no AVX-512 state.
    #[serde(serialize_with = "registers")]
    pub k: Vec<[u8; 8]>,
}

impl ExtendedState {
    /// Reads the registers from an extended context. `None` if the offsets in `CONTEXT_EX` point
    /// outside the record.
    pub(super) fn find(context: &[u8], layout: &XStateLayout) -> Option<Self> {
        let words = FieldReader(context);
        // CONTEXT_EX consists of three pairs of offset (relative to CONTEXT_EX) and length. The
        // third pair locates the XSAVE area, which starts with the XSAVE header.
        let offset = usize::try_from(words.i32(CONTEXT_EX + 16)).ok()?;
        let length = usize::try_from(words.u32(CONTEXT_EX + 20)).ok()?;
        let start = CONTEXT_EX + offset;
        let area = context.get(start..start.checked_add(length)?)?;
        let in_use = FieldReader(area.get(..64)?).u64(0);
        // Returns the bytes of a feature. They are zero if the feature is in its initial state.
        let part = |number: u8, size: usize| {
            let feature = layout.features.iter().find(|feature| feature.number == number)?;
            let mut bytes = vec![0; size];
            if in_use >> number & 1 == 1 {
                let at = usize::try_from(u64::from(feature.offset).checked_sub(LEGACY)?).ok()?;
                bytes.copy_from_slice(area.get(at..at.checked_add(size)?)?);
            }
            Some(bytes)
        };
        let xmm = &context[XMM..XMM + 256];
        let mut state = Self {
            in_use,
            ymm: Vec::new(),
            zmm: Vec::new(),
            k: Vec::new(),
        };
        let Some(ymm_high) = part(2, 256) else {
            return Some(state);
        };
        state.ymm = (0..16)
            .map(|number| joined([nth(xmm, 16, number), nth(&ymm_high, 16, number)]))
            .collect();
        if let (Some(high), Some(more)) = (part(6, 512), part(7, 1024)) {
            let low = state.ymm.iter().enumerate();
            state.zmm = low
                .map(|(number, ymm)| joined([ymm.as_slice(), nth(&high, 32, number)]))
                .collect();
            state
                .zmm
                .extend((0..16).map(|number| joined([nth(&more, 64, number)])));
        }
        if let Some(masks) = part(5, 64) {
            state.k = (0..8).map(|number| joined([nth(&masks, 8, number)])).collect();
        }
        Some(state)
    }
}

/// Returns the bytes of one register of a bank. `size` is the size of a register in bytes.
fn nth(bank: &[u8], size: usize, number: usize) -> &[u8] {
    &bank[size * number..size * (number + 1)]
}

/// Joins the parts of a register. Their sizes must add up to `SIZE`.
fn joined<const PARTS: usize, const SIZE: usize>(parts: [&[u8]; PARTS]) -> [u8; SIZE] {
    parts
        .concat()
        .try_into()
        .expect("the parts have the size of the register")
}

/// Serializes registers as strings `"0x…"`, highest byte first.
fn registers<const SIZE: usize, S: Serializer>(
    bank: &[[u8; SIZE]],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let number = |bytes: &[u8; SIZE]| {
        let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
        format!("0x{digits}")
    };
    serializer.collect_seq(bank.iter().map(number))
}
