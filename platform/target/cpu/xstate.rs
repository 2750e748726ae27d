//! The extended state of x86-64 processors: AVX, AVX-512 and later registers, in the form of
//! Windows' extended contexts.
//!
//! An extended context consists of three parts (Microsoft's "Working with XState Context"; Intel's
//! manual, volume 1, chapter 13):
//!
//! * the plain `CONTEXT`, with `CONTEXT_XSTATE` in its flags,
//! * a `CONTEXT_EX`, which gives the offsets of the parts,
//! * an XSAVE area without its first 512 bytes, which the plain `CONTEXT` contains already.
//!
//! The offsets of the features in the area are the same for all threads. They are stored in
//! MiscInfo.

/// `CONTEXT_XSTATE` without the processor bit.
///
/// minidump-common's `CONTEXT_AMD64_XSTATE` has another bit, which is not Microsoft's.
pub(super) const FLAG: u32 = 0x40;
/// The size of the plain `CONTEXT` in bytes.
const CONTEXT: usize = 1232;
/// The size in bytes of the x87 and SSE part of an XSAVE image. The plain `CONTEXT` contains it as
/// `FltSave`.
const LEGACY: usize = 512;
/// The size of the header of an XSAVE area in bytes.
const HEADER: usize = 64;
/// The offset of the XSAVE area in the whole record.
///
/// Windows' InitializeContext2 places the first feature at 0x550 (according to Crashpad's
/// `minidump_context.h`), and the header precedes it.
const AREA: usize = 0x510;
/// The features that the plain `CONTEXT` contains: x87 and SSE.
const IN_CONTEXT: u64 = 0b11;

/// A feature of the extended state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XStateFeature {
    /// The number of the feature in Intel's manual and in Windows: 2 AVX, 5 to 7 AVX-512, 9
    /// protection keys …; below 63.
    pub number: u8,
    /// The offset in an XSAVE image of the standard format, in bytes; at least 576.
    pub offset: u32,
    /// The size in bytes.
    pub size: u32,
}

/// The features of the extended state and their offsets, which are the same for all threads.
///
/// This is `XSTATE_CONFIG_FEATURE_MSC_INFO` of the MiscInfo stream. The offsets are those of the
/// standard format, not of the compacted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XStateLayout {
    features: Vec<XStateFeature>,
}

impl XStateLayout {
    /// The largest size of an XSAVE image in bytes. AMX, the largest feature known, ends below 12
    /// KiB.
    const LONGEST: usize = 64 << 10;

    /// The locations of x87 and SSE, which every image contains.
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

    /// Creates a layout with these features, which are beyond x87 and SSE.
    ///
    /// Returns `None` if there are no features, or if no image can have this layout: because a
    /// feature is in the first 576 bytes, overlaps another one, has the size 0, or ends beyond 64
    /// KiB.
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

    /// Creates a layout from the features in `enabled` (one bit each, as in `XCR0`) that are beyond
    /// x87 and SSE. Their offsets and sizes come from `cpuid`. Returns `None` if there are no such
    /// features.
    ///
    /// `cpuid` executes the instruction for a leaf and a subleaf. It is passed in because executing
    /// it is unsafe before Rust 1.94, and this crate has no unsafe code.
    ///
    /// Two kinds of features are left out:
    ///
    /// * AMX. Its eight kilobytes are not vector registers, and systems enable it only for
    ///   processes that request permission, so images would differ in size.
    /// * Supervisor features, such as the shadow stacks of the kernel, which have no place in the
    ///   standard format.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub fn of_processor(
        enabled: u64,
        cpuid: impl Fn(u32, u32) -> std::arch::x86_64::CpuidResult,
    ) -> Option<Self> {
        /// The leaf of `CPUID` that describes the XSAVE image (Intel's manual, volume 1, section
        /// 13.2).
        const XSAVE_LEAF: u32 = 0xD;
        /// The first feature after x87 and SSE.
        const FIRST: u32 = 2;
        /// `XTILECFG` and `XTILEDATA`.
        const AMX: std::ops::RangeInclusive<u32> = 17..=18;

        if cpuid(0, 0).eax < XSAVE_LEAF {
            return None;
        }
        let features = (FIRST..=62)
            .filter(|number| enabled >> number & 1 == 1 && !AMX.contains(number))
            .filter_map(|number| {
                let place = cpuid(XSAVE_LEAF, number);
                let of_system = place.ecx & 1 == 1;
                (!of_system).then_some(XStateFeature {
                    number: number as u8,
                    offset: place.ebx,
                    size: place.eax,
                })
            });
        Self::new(features.collect())
    }

    /// Returns all features with their offsets, including x87 and SSE.
    pub fn features(&self) -> impl Iterator<Item = XStateFeature> {
        Self::LEGACY_FEATURES
            .into_iter()
            .chain(self.features.iter().copied())
    }

    /// Returns a mask with one bit for each feature.
    #[must_use]
    pub fn enabled(&self) -> u64 {
        self.features()
            .fold(0, |bits, feature| bits | 1 << feature.number)
    }

    /// Returns the size in bytes of an XSAVE image with all features.
    #[must_use]
    pub fn image_size(&self) -> usize {
        let last = self.features.last().expect("a layout has at least one feature");
        (last.offset + last.size) as usize
    }

    /// Returns the size in bytes of an extended context with all features.
    #[must_use]
    pub fn context_size(&self) -> usize {
        AREA + self.image_size() - LEGACY
    }
}

/// The extended state of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XState {
    /// The XSAVE area, beginning with its header.
    area: Vec<u8>,
}

impl XState {
    /// Takes the features of `layout` from an XSAVE image of the standard format, as returned by
    /// `PTRACE_GETREGSET`.
    ///
    /// A feature whose bit is not set in the image's header (`XSTATE_BV`) is in its initial state.
    /// Its registers become zero, whatever bytes the image contains for it.
    ///
    /// Returns `None` if the image is shorter than the layout or has the compacted format.
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

    /// Creates the state from the numbers and bytes of features.
    ///
    /// Features that are not given are in their initial state. Bytes beyond the size of a feature
    /// are ignored, and so are features that are not in the layout.
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
        // This is `XSTATE_BV`. The next word stays 0, which means the standard format.
        area[..8].copy_from_slice(&in_use.to_le_bytes());
        Self { area }
    }

    /// Appends a `CONTEXT_EX` and this state to a plain `CONTEXT`.
    pub(super) fn append_to(&self, context: &mut Vec<u8>) {
        debug_assert_eq!(context.len(), CONTEXT);
        let total = AREA + self.area.len();
        // Each chunk has an offset, relative to the CONTEXT_EX and signed, and a length. The chunks
        // are the whole record, the plain CONTEXT and the XSAVE area.
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

/// What these tests would catch: parts that are not where `CONTEXT_EX` says, and hostile images
/// that are accepted.
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
    fn the_parts_of_an_extended_context_are_where_it_says() {
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
    fn features_in_their_initial_state_are_zero() {
        let context = Amd64 {
            xstate: XState::from_image(&image(0b011), &avx()),
            ..Amd64::default()
        }
        .to_context();
        assert_eq!(context.bytes()[0x510..], [0; 64 + 256]);
    }

    #[test]
    fn images_that_do_not_fit_are_rejected() {
        assert_eq!(XState::from_image(&image(7)[..831], &avx()), None, "short");
        let mut compacted = image(7);
        compacted[527] = 0x80;
        assert_eq!(XState::from_image(&compacted, &avx()), None);
    }

    #[test]
    fn impossible_layouts_are_rejected() {
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
