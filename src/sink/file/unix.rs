//! What files are on Linux.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};

/// Opens a name that stands for a device or a pipe; `None` if it stands for a file, or for nothing yet.
pub(super) fn open_special(path: &Path, found: Option<&Metadata>) -> io::Result<Option<File>> {
    let Some(kind) = found.map(Metadata::file_type).filter(|kind| !kind.is_file()) else {
        return Ok(None);
    };
    if kind.is_socket() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a socket"));
    }
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    Ok(Some(file))
}

/// A file without a name, on the file system of `folder`; `None` where there are none.
pub(super) fn nameless(folder: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags(OFlag::O_TMPFILE.bits())
        .open(folder);
    match file {
        Ok(file) => Ok(Some(file)),
        // What file systems and kernels without nameless files answer.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::EOPNOTSUPP | nix::libc::EISDIR | nix::libc::EINVAL)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Gives a nameless file a name that nobody has yet.
pub(super) fn link(file: &File, name: &Path) -> io::Result<()> {
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::unistd::linkat(
        AT_FDCWD,
        handle.as_str(),
        AT_FDCWD,
        name,
        AtFlags::AT_SYMLINK_FOLLOW,
    )?;
    Ok(())
}

/// A new file that only its owner may read.
pub(super) fn create_private(name: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(name)
}

/// Whatever the umask has made of it.
pub(super) fn make_private(file: &File) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

pub(super) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}
