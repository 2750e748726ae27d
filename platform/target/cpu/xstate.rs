//! What x86-64 processors have beyond x87 and SSE: AVX, AVX-512 and later registers, in the form of Windows' extended
//! contexts.
//!
//! Such a context is the plain `CONTEXT` with `CONTEXT_XSTATE` in its flags, then a `CONTEXT_EX`, which tells where in the
//! record the parts are, then an XSAVE area without its first 512 bytes, which the plain `CONTEXT` has already (Microsoft's
//! "Working with XState Context"; Intel's manual, volume 1, chapter 13). Where in the area a feature stands is told once
//! for all threads, in MiscInfo.

/// `CONTEXT_XSTATE` without the processor bit. (minidump-common's `CONTEXT_AMD64_XSTATE` has another bit, which is not
/// Microsoft's.)
pub(super) const FLAG: u32 = 0x40;
/// Bytes of the plain `CONTEXT`.
const CONTEXT: usize = 1232;
/// Bytes of an XSAVE image that a plain `CONTEXT` has as `FltSave`: x87 and SSE.
const LEGACY: usize = 512;
/// Bytes of the header of an XSAVE area.
const HEADER: usize = 64;
/// Where the area begins in the whole record: Windows' InitializeContext2 gives the first feature the place 0x550
/// (Crashpad's `minidump_context.h` tells so), and the header stands in front of it.
const AREA: usize = 0x510;
/// The features that the plain `CONTEXT` has: x87 and SSE.
const IN_CONTEXT: u64 = 0b11;

/// One feature of the extended state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XStateFeature {
    /// Its number, which is that of Intel's manual and of Windows: 2 AVX, 5 to 7 AVX-512, 9 protection keys …; below 63.
    pub number: u8,
    /// Where it stands in an XSAVE image of the standard format, in bytes; at least 576.
    pub offset: u32,
    /// Its bytes.
    pub size: u32,
}

/// Which features the extended state of all threads has, and where: `XSTATE_CONFIG_FEATURE_MSC_INFO` of the MiscInfo
/// stream. In the standard (not compacted) format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XStateLayout {
    features: Vec<XStateFeature>,
}

impl XStateLayout {
    /// Most bytes that an image may have. AMX, the largest feature known, ends below 12 KiB.
    const LONGEST: usize = 64 << 10;

    /// Where x87 and SSE are; they stand in each image.
    const LEGACY_FEATURES: [XStateFeature; 2] = [
        XStateFeature {
            number: 0,
            offset: 0,
            size: 160,
        },
        XStateFeature {
            number: 1,
            offset: 160,
            size: 256,
        },
    ];

    /// The layout with these features beyond x87 and SSE. `None` if there are none, or where no image could have them: in the
    /// first 576 bytes, overlapping, of no size, or beyond 64 KiB.
    #[must_use]
    pub fn new(mut features: Vec<XStateFeature>) -> Option<Self> {
        features.sort_by_key(|feature| feature.offset);
        let mut end = LEGACY + HEADER;
        let mut seen = IN_CONTEXT;
        for feature in &features {
            let bit = 1_u64.checked_shl(feature.number.into())?;
            let start = usize::try_from(feature.offset).ok()?;
            if feature.number > 62 || seen & bit != 0 || start < end || feature.size == 0 {
                return None;
            }
            seen |= bit;
            end = start.checked_add(usize::try_from(feature.size).ok()?)?;
        }
        (!features.is_empty() && end <= Self::LONGEST).then_some(Self { features })
    }

    /// All features with their places, those of x87 and SSE included.
    pub fn features(&self) -> impl Iterator<Item = XStateFeature> {
        Self::LEGACY_FEATURES
            .into_iter()
            .chain(self.features.iter().copied())
    }

    /// One bit for each of the features.
    #[must_use]
    pub fn enabled(&self) -> u64 {
        self.features()
            .fold(0, |bits, feature| bits | 1 << feature.number)
    }

    /// Bytes of an XSAVE image with all of them.
    #[must_use]
    pub fn image_size(&self) -> usize {
        let last = self.features.last().expect("made with at least one");
        (last.offset + last.size) as usize
    }

    /// Bytes of an extended context with all of them.
    #[must_use]
    pub fn context_size(&self) -> usize {
        AREA + self.image_size() - LEGACY
    }
}

/// The extended state of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XState {
    /// The XSAVE area from its header on.
    area: Vec<u8>,
}

impl XState {
    /// Takes the features of `layout` from an XSAVE image of the standard format, as `PTRACE_GETREGSET` gives it.
    ///
    /// A feature whose bit the image's header (`XSTATE_BV`) has not set is in its initial state, and zero here whatever the
    /// image has in its place. `None` if the image is shorter than the layout, or in the compacted format.
    #[must_use]
    pub fn from_image(image: &[u8], layout: &XStateLayout) -> Option<Self> {
        let image = image.get(..layout.image_size())?;
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().expect("eight bytes"));
        let (in_use, compaction) = (word(LEGACY), word(LEGACY + 8));
        if compaction != 0 {
            return None;
        }
        let parts = layout.features.iter().filter_map(|feature| {
            let (start, size) = (feature.offset as usize, feature.size as usize);
            (in_use >> feature.number & 1 == 1).then(|| (feature.number, &image[start..start + size]))
        });
        Some(Self::from_parts(parts, layout))
    }

    /// The state in which these features, by their numbers, have these bytes; the others are in their initial state.
    /// Bytes beyond a feature's size and features that the layout lacks are left out.
    #[must_use]
    pub fn from_parts<'b>(parts: impl IntoIterator<Item = (u8, &'b [u8])>, layout: &XStateLayout) -> Self {
        let mut area = vec![0; layout.image_size() - LEGACY];
        let mut in_use = 0_u64;
        for (number, bytes) in parts {
            let Some(feature) = layout.features.iter().find(|feature| feature.number == number) else {
                continue;
            };
            in_use |= 1 << number;
            let start = feature.offset as usize - LEGACY;
            let len = bytes.len().min(feature.size as usize);
            area[start..start + len].copy_from_slice(&bytes[..len]);
        }
        // `XSTATE_BV`. The next word stays 0, which says that the format is the standard one.
        area[..8].copy_from_slice(&in_use.to_le_bytes());
        Self { area }
    }

    /// Puts a `CONTEXT_EX` and this state behind a plain `CONTEXT`.
    pub(super) fn append_to(&self, context: &mut Vec<u8>) {
        debug_assert_eq!(context.len(), CONTEXT);
        let total = AREA + self.area.len();
        // Chunks of offset (from the CONTEXT_EX, signed) and length: all, the plain CONTEXT, the XSAVE area.
        let back = -(CONTEXT as i32);
        let chunks = [
            (back, total),
            (back, CONTEXT),
            ((AREA - CONTEXT) as i32, self.area.len()),
        ];
        for (offset, length) in chunks {
            context.extend_from_slice(&offset.to_le_bytes());
            context.extend_from_slice(&(length as u32).to_le_bytes());
        }
        context.resize(AREA, 0);
        context.extend_from_slice(&self.area);
    }
}

/// What these tests would catch: places that a reader that follows `CONTEXT_EX` would not find, and hostile images.
#[cfg(test)]
mod tests {
    use super::super::Amd64;
    use super::*;

    fn feature(number: u8, offset: u32, size: u32) -> XStateFeature {
        XStateFeature { number, offset, size }
    }

    fn avx() -> XStateLayout {
        XStateLayout::new(vec![feature(2, 576, 256)]).expect("sound")
    }

    fn image(in_use: u64) -> Vec<u8> {
        let mut image = vec![0xEE; 2432];
        image[512..576].fill(0);
        image[512..520].copy_from_slice(&in_use.to_le_bytes());
        image[576..576 + 256].fill(0xAB);
        image
    }

    #[test]
    fn an_extended_context_is_found_by_its_own_words() {
        let plain = Amd64 {
            rip: 5,
            ..Amd64::default()
        };
        let context = Amd64 {
            xstate: XState::from_image(&image(0b111), &avx()),
            ..plain.clone()
        }
        .to_context();
        let bytes = context.bytes();
        assert_eq!(bytes.len(), avx().context_size());
        assert_eq!(bytes.len(), 0x550 + 256);
        let at = |at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(at(0x30), 0x0010_0043, "ContextFlags");
        assert_eq!([0x4D0, 0x4D4].map(at), [-1232, bytes.len() as i32], "All");
        assert_eq!([0x4D8, 0x4DC].map(at), [-1232, 1232], "Legacy");
        let area = (0x4D0 + at(0x4E0)) as usize;
        assert_eq!((area, at(0x4E4)), (0x510, 64 + 256), "XState");
        assert_eq!(
            bytes[area..area + 16],
            [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "Mask"
        );
        assert_eq!(bytes[0x550..], [0xAB; 256]);
        assert!(context.is_extended());
        assert_eq!(context.clone().without_extended_state(), plain.to_context());
        assert_eq!(context.plain().len(), 1232);
        assert_eq!(context.plain()[0x34..], plain.to_context().bytes()[0x34..]);
    }

    #[test]
    fn what_is_in_its_initial_state_is_zero() {
        let context = Amd64 {
            xstate: XState::from_image(&image(0b011), &avx()),
            ..Amd64::default()
        }
        .to_context();
        assert_eq!(context.bytes()[0x510..], [0; 64 + 256]);
    }

    #[test]
    fn images_that_do_not_fit_are_none() {
        assert_eq!(XState::from_image(&image(7)[..831], &avx()), None, "short");
        let mut compacted = image(7);
        compacted[527] = 0x80;
        assert_eq!(XState::from_image(&compacted, &avx()), None);
    }

    #[test]
    fn layouts_that_cannot_be_are_none() {
        for features in [
            vec![],
            vec![feature(2, 575, 256)],
            vec![feature(2, 576, 0)],
            vec![feature(1, 576, 256)],
            vec![feature(63, 576, 256)],
            vec![feature(200, 576, 256)],
            vec![feature(2, 576, 256), feature(2, 832, 256)],
            vec![feature(2, 576, 256), feature(5, 831, 64)],
            vec![feature(2, u32::MAX, u32::MAX)],
            vec![feature(2, 576, 1 << 20)],
        ] {
            assert_eq!(XStateLayout::new(features.clone()), None, "{features:?}");
        }
        let layout = XStateLayout::new(vec![feature(5, 1088, 64), feature(2, 576, 256)]).expect("any order");
        assert_eq!((layout.enabled(), layout.image_size()), (0b10_0111, 1152));
        assert_eq!(
            layout
                .features()
                .map(|feature| feature.offset)
                .collect::<Vec<_>>(),
            [0, 160, 576, 1088]
        );
    }
}
