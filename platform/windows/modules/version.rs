//! The version of an image, from its resources in memory.
//!
//! Resources are a tree of three levels: type, name, language. Nothing in it is believed: a directory is read as far as it lies in the
//! image, and no deeper than three levels.

use super::image::{Image, RESOURCES};
use crate::memory::{Memory, half_at, int_at};

/// RT_VERSION.
const VERSION: u32 = 16;
/// VS_VERSION_INFO, the name that version resources have.
const NAME: u32 = 1;
/// More entries than any image has in one directory.
const MOST_ENTRIES: usize = 4096;
/// Bytes of IMAGE_RESOURCE_DIRECTORY.
const HEAD: usize = 16;
/// The bit that says of an offset that it leads to a directory, and of a name that it is a text.
const HIGH: u32 = 1 << 31;
/// Words of VS_FIXEDFILEINFO.
const WORDS: usize = 13;
/// Its signature.
const SIGNATURE: u32 = 0xfeef_04bd;

/// The words of the image's `VS_FIXEDFILEINFO`, if it has one.
pub(super) fn fixed_file_info(image: &Image<'_, impl Memory>) -> Option<[u32; WORDS]> {
    let tree = Tree {
        image,
        root: image.directory(RESOURCES)?[0],
    };
    let of_version = tree.entries(0)?.into_iter().find(|entry| entry[0] == VERSION)?;
    let mut names = tree.entries(of_version[1].checked_sub(HIGH)?)?;
    // The one that `GetFileVersionInfo` finds comes first.
    names.sort_by_key(|entry| entry[0] != NAME);
    names
        .into_iter()
        .filter_map(|name| tree.entries(name[1].checked_sub(HIGH)?))
        .flatten()
        .find_map(|language| tree.version(language[1]))
}

/// The tree of resources.
struct Tree<'a, 'm, M> {
    image: &'a Image<'m, M>,
    /// Offsets count from here; addresses of data do not.
    root: u32,
}

impl<M: Memory> Tree<'_, '_, M> {
    /// The entries of the directory at this offset: name and offset.
    fn entries(&self, offset: u32) -> Option<Vec<[u32; 2]>> {
        let at = self.root.checked_add(offset)?;
        let head = self.image.bytes(at, HEAD)?;
        let count = usize::from(half_at(&head, 12)) + usize::from(half_at(&head, 14));
        let len = count.min(MOST_ENTRIES) * 8;
        let bytes = self.image.bytes(at.checked_add(HEAD as u32)?, len)?;
        Some(
            bytes
                .chunks_exact(8)
                .map(|entry| [int_at(entry, 0), int_at(entry, 4)])
                .collect(),
        )
    }

    /// The fixed part of the version whose data entry is at this offset.
    ///
    /// It stands behind three lengths and the text "VS_VERSION_INFO", at a multiple of 4.
    fn version(&self, offset: u32) -> Option<[u32; WORDS]> {
        const PLACE: usize = 40;
        const LEN: usize = PLACE + WORDS * 4;
        // A directory where data is expected is not followed.
        let entry = self.image.bytes(self.root.checked_add(offset)?, 16)?;
        if (int_at(&entry, 4) as usize) < LEN {
            return None;
        }
        let bytes = self.image.bytes(int_at(&entry, 0), LEN)?;
        let key = "VS_VERSION_INFO\0".encode_utf16();
        let has_key = key
            .zip(bytes[6..].chunks_exact(2))
            .all(|(unit, bytes)| half_at(bytes, 0) == unit);
        let value_len = usize::from(half_at(&bytes, 2));
        if !has_key || value_len < WORDS * 4 || int_at(&bytes, PLACE) != SIGNATURE {
            return None;
        }
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes[PLACE..].chunks_exact(4)) {
            *word = int_at(bytes, 0);
        }
        Some(words)
    }
}
