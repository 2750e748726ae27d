//! Extended x86-64 contexts: registers beyond x87 and SSE.

use serde::{Serialize, Serializer};

use super::super::fields::{Fields, hex};

/// Where in an extended context `CONTEXT_EX` stands: behind the plain one.
const CONTEXT_EX: usize = 0x4D0;
/// Where XMM0 stands in the plain context.
const XMM: usize = 0x1A0;
/// Bytes of an XSAVE image that are not part of the area in the context.
const LEGACY: u64 = 512;

/// `XSTATE_CONFIG_FEATURE_MSC_INFO` of MiscInfo: where extended contexts have what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct XStateLayout {
    /// Bytes of an extended context.
    pub context_size: u32,
    /// One bit for each feature; bit 63 says that the compacted format is used.
    #[serde(serialize_with = "hex")]
    pub enabled_features: u64,
    /// Their places.
    pub features: Vec<XStateFeature>,
}

/// One feature of the extended state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct XStateFeature {
    /// 0 x87, 1 SSE, 2 AVX, 5 to 7 AVX-512, 9 protection keys …
    pub number: u8,
    /// Where it stands in the XSAVE image, whose first 512 bytes are `FltSave` of the plain context.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

impl XStateLayout {
    /// `None` if the structure is empty, as DbgHelp leaves it in dumps without extended contexts.
    pub(in super::super) fn from_fields(info: Fields, at: usize) -> Option<Self> {
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

/// The wide registers of a thread, each with its low parts from the plain context. Bytes are in memory's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExtendedState {
    /// The features that are not in their initial state (all zero), one bit each.
    #[serde(serialize_with = "hex")]
    pub in_use: u64,
    /// YMM0 to YMM15; empty if the dump has no AVX state.
    #[serde(serialize_with = "registers")]
    pub ymm: Vec<[u8; 32]>,
    /// ZMM0 to ZMM31; empty if the dump has no AVX-512 state.
    #[serde(serialize_with = "registers")]
    pub zmm: Vec<[u8; 64]>,
    /// K0 to K7; empty if the dump has no AVX-512 state.
    #[serde(serialize_with = "registers")]
    pub k: Vec<[u8; 8]>,
}

impl ExtendedState {
    /// Follows `CONTEXT_EX`. `None` if it leads out of the record.
    pub(super) fn find(context: &[u8], layout: &XStateLayout) -> Option<Self> {
        let words = Fields(context);
        // CONTEXT_EX is three pairs of offset (from itself) and length; the third is the XSAVE area from its header on.
        let offset = usize::try_from(words.i32(CONTEXT_EX + 16)).ok()?;
        let length = usize::try_from(words.u32(CONTEXT_EX + 20)).ok()?;
        let start = CONTEXT_EX + offset;
        let area = context.get(start..start.checked_add(length)?)?;
        let in_use = Fields(area.get(..64)?).u64(0);
        // The bytes of a feature; zero where it is in its initial state.
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

/// The register with this number, of `size` bytes each.
fn nth(bank: &[u8], size: usize, number: usize) -> &[u8] {
    &bank[size * number..size * (number + 1)]
}

/// A register put together from its parts, whose sizes add up to its own.
fn joined<const PARTS: usize, const SIZE: usize>(parts: [&[u8]; PARTS]) -> [u8; SIZE] {
    parts.concat().try_into().expect("parts of a register")
}

/// Registers as numbers: `"0x…"`, the highest byte first.
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
