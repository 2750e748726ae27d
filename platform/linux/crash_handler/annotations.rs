//! Texts that the program adds to its dump, in memory of a fixed size and at a fixed place.
//!
//! The signal handler lets the kernel copy the whole area. A thread may be changing a text at that
//! moment, or may have crashed while it did. So each slot has its version at both ends: it is odd,
//! or the two differ, while the slot is being changed.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use super::record::word;

const SLOTS: usize = 32;
/// The number of words in a slot.
const WORDS: usize = 64;
/// The first word is the version, the second one has both lengths, and the last one is the version.
const BODY: usize = WORDS - 3;
const BODY_SIZE: usize = 8 * BODY;

/// The size of the area in bytes.
pub(super) const AREA_SIZE: usize = 8 * WORDS * SLOTS;

/// The length of the longest key in bytes.
const LONGEST_KEY: usize = 64;

type Slot = [AtomicU64; WORDS];

static AREA: [Slot; SLOTS] = [const { [const { AtomicU64::new(0) }; WORDS] }; SLOTS];

/// Only one thread changes the area at a time. The signal handler does not take it.
static CHANGING: Mutex<()> = Mutex::new(());

/// Why there is no such annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationError {
    /// The key is empty, or has more than 64 bytes.
    Key,
    /// There are 32 annotations with other keys.
    Full,
}

impl std::fmt::Display for AnnotationError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Key => "the key of an annotation must have 1 to 64 bytes",
            Self::Full => "there are 32 annotations already; remove one first",
        })
    }
}

impl std::error::Error for AnnotationError {}

/// The address of the area.
pub(super) fn area() -> *const u8 {
    (&raw const AREA).cast()
}

/// Sets a text that a crash dump of this process will have, or replaces the one with the same key.
///
/// There is room for 32 texts. Key and value may have 488 bytes together; the end of a longer value
/// is cut off.
///
/// # Errors
/// The key is empty or too long, or there is no room.
pub fn annotate(key: &str, value: &str) -> Result<(), AnnotationError> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(AnnotationError::Key);
    }
    let _one = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let with_key = AREA.iter().find(|slot| holds(slot, key));
    let slot = with_key.or_else(|| AREA.iter().find(|slot| lengths(slot).0 == 0));
    store(slot.ok_or(AnnotationError::Full)?, key, value);
    Ok(())
}

/// Removes the text with this key, if there is one.
pub fn remove_annotation(key: &str) {
    let _one = CHANGING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = AREA.iter().find(|slot| !key.is_empty() && holds(slot, key)) {
        store(slot, "", "");
    }
}

/// Returns the lengths of key and value.
fn lengths(slot: &Slot) -> (usize, usize) {
    split(slot[1].load(Ordering::Relaxed))
}

fn split(both: u64) -> (usize, usize) {
    ((both & 0xffff_ffff) as usize, (both >> 32) as usize)
}

fn holds(slot: &Slot, key: &str) -> bool {
    let words = key.len().div_ceil(8);
    let stored = slot[2..2 + words]
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
    lengths(slot).0 == key.len() && stored.take(key.len()).eq(key.bytes())
}

fn store(slot: &Slot, key: &str, value: &str) {
    let mut end = value.len().min(BODY_SIZE - key.len());
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let mut body = [0; BODY_SIZE];
    body[..key.len()].copy_from_slice(key.as_bytes());
    body[key.len()..key.len() + end].copy_from_slice(&value.as_bytes()[..end]);
    let version = slot[0].load(Ordering::Relaxed);
    slot[0].store(version + 1, Ordering::Relaxed);
    // The odd version is stored before the text, and the text before the even version.
    fence(Ordering::SeqCst);
    slot[1].store(key.len() as u64 | (end as u64) << 32, Ordering::Relaxed);
    for (at, word) in slot[2..].iter().zip(body.chunks_exact(8)) {
        at.store(
            u64::from_le_bytes(word.try_into().expect("eight bytes")),
            Ordering::Relaxed,
        );
    }
    fence(Ordering::SeqCst);
    slot[WORDS - 1].store(version + 2, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    slot[0].store(version + 2, Ordering::Relaxed);
}

/// Parses a copy of the area. Texts that were being changed are left out.
pub(super) fn parse(area: &[u8; AREA_SIZE]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let slots = area.chunks_exact(8 * WORDS).filter_map(|slot| {
        let version = word(slot, 0);
        let (key, value) = split(word(slot, 8));
        let is_whole = version & 1 == 0 && version == word(slot, 8 * (WORDS - 1));
        let body = &slot[16..16 + BODY_SIZE];
        let is_plausible = (1..=LONGEST_KEY).contains(&key) && value <= BODY_SIZE - key;
        (is_whole && is_plausible).then(|| (text(&body[..key]), text(&body[key..key + value])))
    });
    slots.collect()
}

/// What these tests would catch: texts that are mixed up, cut in a character, or read while they
/// are changed.
#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> [u8; AREA_SIZE] {
        let words: Vec<_> = AREA
            .iter()
            .flatten()
            .flat_map(|word| word.load(Ordering::SeqCst).to_le_bytes())
            .collect();
        words.try_into().expect("the size of the area")
    }

    /// One test, because all use the same area.
    #[test]
    fn texts_are_kept_and_replaced() {
        annotate("release", "1.2.3").unwrap();
        annotate("user", "nobody").unwrap();
        annotate("release", "1.2.4").unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(parse(&copy()), [pair("release", "1.2.4"), pair("user", "nobody")]);
        assert_eq!(annotate("", "x"), Err(AnnotationError::Key));
        assert_eq!(annotate(&"k".repeat(65), "x"), Err(AnnotationError::Key));

        annotate("long", &"ä".repeat(400)).unwrap();
        let long = parse(&copy()).pop().expect("the last one").1;
        assert_eq!(long, "ä".repeat((BODY_SIZE - 4) / 2));
        remove_annotation("user");
        remove_annotation("nothing");
        assert_eq!(parse(&copy()).len(), 2);
        // The place is used again.
        annotate("other", "").unwrap();
        assert_eq!(parse(&copy())[1], pair("other", ""));

        for number in 3..SLOTS {
            annotate(&number.to_string(), "x").unwrap();
        }
        assert_eq!(annotate("more", "x"), Err(AnnotationError::Full));
        annotate("other", "y").unwrap();

        let mut torn = copy();
        // The second slot has been begun, and the third one finished in the middle of the copy.
        torn[8 * WORDS] ^= 1;
        torn[3 * 8 * WORDS - 8] ^= 2;
        let left: Vec<_> = parse(&torn).into_iter().map(|(key, _)| key).collect();
        assert_eq!(left.len(), SLOTS - 2);
        assert_eq!(left[..2], ["release", "3"]);
    }
}
