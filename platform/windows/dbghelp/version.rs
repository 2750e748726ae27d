//! The version that stands in a DLL.

use std::fmt;

use windows_sys::Win32::Foundation::HMODULE;
use windows_sys::Win32::System::LibraryLoader::{FindResourceW, LoadResource, LockResource, SizeofResource};

/// The four numbers of a file's version, as `6.3.9600.16384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileVersion(pub [u16; 4]);

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, build, revision] = self.0;
        write!(f, "{major}.{minor}.{build}.{revision}")
    }
}

/// `RT_VERSION`, a number in place of a name.
const VERSION_RESOURCES: usize = 16;

/// The only number that a version resource has.
const VERSION_RESOURCE: usize = 1;

/// The first word of `VS_FIXEDFILEINFO`.
const SIGNATURE: u32 = 0xFEEF_04BD;

/// The version of a DLL; `None` if its resources do not tell.
///
/// They are read in memory: the file may be another one by now.
///
/// # Safety
/// The module stays loaded.
pub(super) unsafe fn of(module: HMODULE) -> Option<FileVersion> {
    // SAFETY: the module is loaded, as the caller says; numbers below 0x10000 are allowed in place of both names. The bytes belong to the
    // module and are so many.
    let bytes = unsafe {
        let name = std::ptr::without_provenance(VERSION_RESOURCE);
        let resource = FindResourceW(module, name, std::ptr::without_provenance(VERSION_RESOURCES));
        if resource.is_null() {
            return None;
        }
        let start = LockResource(LoadResource(module, resource)).cast::<u8>();
        if start.is_null() {
            return None;
        }
        std::slice::from_raw_parts(start, SizeofResource(module, resource) as usize)
    };
    fixed(bytes)
}

/// The version in the bytes of a version resource: `VS_FIXEDFILEINFO` stands behind a key, at an offset that is a multiple of 4.
fn fixed(resource: &[u8]) -> Option<FileVersion> {
    let words: Vec<u32> = resource
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
    let at = words.iter().position(|word| *word == SIGNATURE)?;
    let [high, low] = words.get(at + 2..at + 4)?.try_into().ok()?;
    let half = |word: u32, shift: u32| u16::try_from(word >> shift & 0xFFFF).expect("16 bits");
    Some(FileVersion([
        half(high, 16),
        half(high, 0),
        half(low, 16),
        half(low, 0),
    ]))
}

/// What these tests would catch: halves of the version in the wrong order, and a resource that is too short.
#[cfg(test)]
mod tests {
    use super::{FileVersion, SIGNATURE, fixed};

    #[test]
    fn versions_are_found_behind_the_key() {
        let words = [
            0x0034_0340,
            0x0056_0000,
            SIGNATURE,
            0x1_0000,
            0x0006_0003,
            0x2580_4000,
            0,
        ];
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        let version = fixed(&bytes).expect("it is there");
        assert_eq!(version, FileVersion([6, 3, 9600, 16384]));
        assert_eq!(version.to_string(), "6.3.9600.16384");
        for short in 0..6 * 4 {
            assert_eq!(fixed(&bytes[..short]), None, "{short} bytes");
        }
    }
}
