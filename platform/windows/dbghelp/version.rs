//! Reads the version of a DLL.

use std::fmt;

use windows_sys::Win32::Foundation::HMODULE;

use crate::modules;

/// The four numbers of a file's version, such as `6.3.9600.16384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileVersion(pub [u16; 4]);

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, build, revision] = self.0;
        write!(f, "{major}.{minor}.{build}.{revision}")
    }
}

/// Returns the version of a loaded DLL, or `None` if its resources do not have one.
pub(super) fn of(module: HMODULE) -> Option<FileVersion> {
    modules::version_here(module.addr() as u64).map(FileVersion)
}

#[cfg(test)]
mod tests {
    use super::FileVersion;

    #[test]
    fn versions_are_written_with_dots() {
        assert_eq!(FileVersion([6, 3, 9600, 16384]).to_string(), "6.3.9600.16384");
    }
}
