//! File operations on Windows.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::{Path, PathBuf};

/// Opens the device or pipe with this name (`NUL`, `\\.\pipe\…`). Returns `None` if the name
/// belongs to a file or does not exist.
pub(super) fn open_special(path: &Path, _: Option<&Metadata>) -> io::Result<Option<File>> {
    let text = path.as_os_str().to_string_lossy();
    if !text.starts_with(r"\\.\") && !text.eq_ignore_ascii_case("nul") {
        return Ok(None);
    }
    OpenOptions::new().write(true).open(path).map(Some)
}

/// A running guardian. There are none on Windows.
pub(super) type GuardianProcess = std::convert::Infallible;

/// The folder of a dump.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Whether names are tried. Most file systems of Windows have hard links.
    pub(super) const TRIES_NAMES: bool = false;

    #[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(path.to_owned()))
    }

    /// Returns `None`: on Windows, a file without a name cannot be given one later.
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "other systems can fail"
    )]
    pub(super) fn nameless(&self) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// Creates a file. It inherits the access control list of its folder.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        // Read access is needed to report on what DbgHelp has written.
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(self.0.join(name))
    }

    /// Does nothing: no other dumper removes the file.
    #[expect(clippy::unused_self, reason = "other systems use it")]
    pub(super) fn claim(&self, _: &File, _: &OsStr) -> bool {
        true
    }

    /// See [`nameless`](Self::nameless).
    #[expect(clippy::unused_self, reason = "other systems use it")]
    pub(super) fn link_file(&self, _: &File, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file a second name, which does not exist yet.
    pub(super) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::hard_link(self.0.join(from), self.0.join(to))
    }

    /// Renames a file. Another file with the new name is replaced.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    /// Fails: the standard library has no rename that does not replace.
    #[expect(clippy::unused_self, reason = "other systems use it")]
    pub(super) fn rename_new(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Does nothing: it is not known which files are abandoned.
    #[expect(clippy::unused_self, reason = "other systems use it")]
    pub(super) fn remove_abandoned(&self) {}
}

/// See [`Folder::nameless`].
pub(super) fn lock(_: &File) -> bool {
    true
}

/// Returns eight hexadecimal digits that differ between processes.
pub(super) fn machine_mark() -> String {
    format!("{:08x}", std::process::id())
}

/// See [`Folder::create`].
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn make_private(_: &File) -> io::Result<()> {
    Ok(())
}

/// See [`Folder::create`].
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn is_private(_: &File) -> io::Result<bool> {
    Ok(true)
}

/// Waits until what was written is on disk, if it is in a file.
pub(super) fn sync(file: &File) -> io::Result<()> {
    // Handles that cannot be flushed: `ERROR_ACCESS_DENIED` and `ERROR_INVALID_HANDLE`, the latter
    // for standard output under Wine 8.
    const CANNOT_BE_FLUSHED: [Option<i32>; 2] = [Some(5), Some(6)];
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    match file.sync_all() {
        Err(error) if CANNOT_BE_FLUSHED.contains(&error.raw_os_error()) => Ok(()),
        synced => synced,
    }
}

/// Closing a file reports no errors on Windows.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn close_a_copy(_: &File) -> io::Result<()> {
    Ok(())
}

pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.seek_write(bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = &bytes[count..];
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
