//! The version of an image, from its resources in memory.
//!
//! Resources are a tree of three levels: type, name, language. A directory is read as far as
//! possible, and the tree is never followed deeper than three levels.

use dumpwright_target::{Memory, MemoryExt};
use goblin::pe::resource::{
    ImageResourceDirectory, RESOURCE_ENTRY_SIZE, RT_VERSION, ResourceDataEntry, ResourceEntry,
};
use scroll::{LE, Pread};

use super::{DirectoryEntry, Pe};
use crate::limits::MOST_RESOURCES;

/// The words of `VS_FIXEDFILEINFO`: signature, version of the structure, version of the file,
/// version of the product …
pub type FixedFileInfo = [u32; 13];

/// `VS_VERSION_INFO`, the name of version resources.
const NAME: u16 = 1;
/// The first word of `VS_FIXEDFILEINFO`.
const SIGNATURE: u32 = 0xfeef_04bd;

impl Pe {
    /// Returns the image's `VS_FIXEDFILEINFO`, if it has one.
    pub fn version(&self, memory: &mut dyn Memory) -> Option<FixedFileInfo> {
        let mut tree = Tree {
            image: self,
            memory,
            root: self
                .directories
                .get(DirectoryEntry::Resources as usize)?
                .virtual_address,
        };
        self.directory(DirectoryEntry::Resources)?;
        let types = tree.directory(0)?;
        let of_version = types.into_iter().find(|entry| entry.id() == Some(RT_VERSION))?;
        let mut names = tree.below(of_version)?;
        // The resource that `GetFileVersionInfo` finds comes first.
        names.sort_by_key(|entry| entry.id() != Some(NAME));
        // The limit for the languages of one name is applied to the languages of all names
        // together.
        let mut left = MOST_RESOURCES;
        for name in names {
            if left == 0 {
                break;
            }
            for language in tree.below(name).unwrap_or_default().into_iter().take(left) {
                left -= 1;
                if let Some(version) = tree.version(language) {
                    return Some(version);
                }
            }
        }
        None
    }
}

/// The tree of resources.
struct Tree<'a> {
    image: &'a Pe,
    memory: &'a mut dyn Memory,
    /// The address to which offsets are relative. Addresses of data are not relative to it.
    root: u32,
}

impl Tree<'_> {
    /// Returns the bytes at a relative virtual address.
    fn bytes(&mut self, address: u32, len: usize) -> Option<Vec<u8>> {
        let range = self.image.place(address, u32::try_from(len).ok()?)?;
        self.memory.bytes(range.start(), len).ok()
    }

    /// Returns the entries of the directory at this offset.
    fn directory(&mut self, offset: u32) -> Option<Vec<ResourceEntry>> {
        const HEAD: u32 = 16;
        let at = self.root.checked_add(offset)?;
        let head = self.bytes(at, HEAD as usize)?;
        let head: ImageResourceDirectory = head.pread_with(0, LE).ok()?;
        let count = usize::from(head.number_of_named_entries) + usize::from(head.number_of_id_entries);
        let len = count.min(MOST_RESOURCES) * RESOURCE_ENTRY_SIZE;
        if len == 0 {
            return Some(Vec::new());
        }
        let bytes = self.bytes(at.checked_add(HEAD)?, len)?;
        let entries = bytes.chunks_exact(RESOURCE_ENTRY_SIZE);
        entries.map(|entry| entry.pread_with(0, LE).ok()).collect()
    }

    /// Returns the entries of the directory to which an entry points, or `None` if it points to
    /// data.
    fn below(&mut self, entry: ResourceEntry) -> Option<Vec<ResourceEntry>> {
        entry
            .data_is_directory()
            .then(|| self.directory(entry.offset_to_directory()))
            .flatten()
    }

    /// Returns the `VS_FIXEDFILEINFO` in the data to which an entry points. An entry that points to
    /// a directory instead is not followed.
    ///
    /// In the data, it comes after three lengths and the text "VS_VERSION_INFO", at a multiple of
    /// 4.
    fn version(&mut self, entry: ResourceEntry) -> Option<FixedFileInfo> {
        const PLACE: usize = 40;
        const LEN: usize = PLACE + size_of::<FixedFileInfo>();
        let data = self.bytes(self.root.checked_add(entry.offset_to_data()?)?, 16)?;
        let data: ResourceDataEntry = data.pread_with(0, LE).ok()?;
        if (data.size as usize) < LEN {
            return None;
        }
        let bytes = self.bytes(data.offset_to_data, LEN)?;
        let key: Vec<u8> = "VS_VERSION_INFO\0"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let value_len = usize::from(bytes.pread_with::<u16>(2, LE).ok()?);
        if !bytes[6..].starts_with(&key) || value_len < size_of::<FixedFileInfo>() {
            return None;
        }
        let mut words = FixedFileInfo::default();
        for (word, bytes) in words.iter_mut().zip(bytes[PLACE..].chunks_exact(4)) {
            *word = bytes.pread_with(0, LE).ok()?;
        }
        (words[0] == SIGNATURE).then_some(words)
    }
}
