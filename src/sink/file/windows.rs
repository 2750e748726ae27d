//! What files are on Windows.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::Path;

/// Opens a name that stands for a device or a pipe (`NUL`, `\\.\pipe\…`); `None` if it stands for a file, or for nothing yet.
pub(super) fn open_special(path: &Path, _: Option<&Metadata>) -> io::Result<Option<File>> {
    let text = path.as_os_str().to_string_lossy();
    if !text.starts_with(r"\\.\") && !text.eq_ignore_ascii_case("nul") {
        return Ok(None);
    }
    OpenOptions::new().write(true).open(path).map(Some)
}

/// Files without a name cannot be given one here.
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn nameless(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

/// See [`nameless`].
pub(super) fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A new file. Who may read it, its folder says: access control lists are inherited.
pub(super) fn create_private(name: &Path) -> io::Result<File> {
    // Read is what DbgHelp has written, to report on it.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(name)
}

/// See [`create_private`].
#[expect(clippy::unnecessary_wraps, reason = "other systems can fail")]
pub(super) fn make_private(_: &File) -> io::Result<()> {
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
