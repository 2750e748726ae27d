//! File operations on Linux.

#[path = "linux/guardian.rs"]
pub mod guardian;

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use super::TEMPORARY;
pub(super) use guardian::GuardianProcess;

/// The time without a write after which a temporary file of another machine counts as abandoned.
/// On some network file systems, the locks of other machines are not visible.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens the device or pipe with this name. Returns `None` if the name belongs to a file or does
/// not exist.
pub(super) fn open_special(path: &Path, found: Option<&Metadata>) -> io::Result<Option<File>> {
    let Some(kind) = found.map(Metadata::file_type).filter(|kind| !kind.is_file()) else {
        return Ok(None);
    };
    if kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a socket (name a file or a pipe)",
        ));
    }
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    Ok(Some(file))
}

/// An open folder. Its files can be reached even if it is moved, or if its path is almost as long
/// as the system allows.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Whether names are tried: file systems differ in what they support.
    pub(super) const TRIES_NAMES: bool = true;

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// Returns a path to the folder. It is valid in this process, and in a child until it executes
    /// a program.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    fn open_file(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        nix::fcntl::openat(&self.0, name, flags, mode).map(File::from)
    }

    /// Creates a file without a name. Returns `None` if that is not supported.
    pub(super) fn nameless(&self) -> io::Result<Option<File>> {
        match self.open_file(".".as_ref(), OFlag::O_WRONLY | OFlag::O_TMPFILE) {
            Ok(file) => Ok(Some(file)),
            // The errors of file systems and kernels that do not support nameless files.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL | Errno::ENOSYS) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Creates a file that only its owner can read.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<File> {
        Ok(self.open_file(name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL)?)
    }

    /// Locks a new file, which shows other dumpers that it is in use. Returns false if one of them
    /// has removed it already.
    pub(super) fn claim(&self, file: &File, name: &OsStr) -> bool {
        lock(file) && self.is(name, file)
    }

    /// Whether this is the name of the file.
    fn is(&self, name: &OsStr, file: &File) -> bool {
        let named = nix::sys::stat::fstatat(&self.0, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let opened = file.metadata();
        named.is_ok_and(|named| {
            opened.is_ok_and(|opened| (named.st_dev, named.st_ino) == (opened.dev(), opened.ino()))
        })
    }

    /// Gives a nameless file a name that does not exist yet.
    pub(super) fn link_file(&self, file: &File, name: &OsStr) -> io::Result<()> {
        let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        match nix::unistd::linkat(AT_FDCWD, handle.as_str(), &self.0, name, follow) {
            // There is no /proc, as in a bare root folder. The direct way needs CAP_DAC_READ_SEARCH
            // before Linux 6.10.
            Err(Errno::ENOENT) => {
                let empty = AtFlags::AT_EMPTY_PATH;
                Ok(nix::unistd::linkat(file, "", &self.0, name, empty)?)
            }
            other => Ok(other?),
        }
    }

    /// Gives a file a second name, which does not exist yet.
    pub(super) fn link(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(nix::unistd::linkat(&self.0, from, &self.0, to, AtFlags::empty())?)
    }

    /// Renames a file. Another file with the new name is replaced.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(nix::fcntl::renameat(&self.0, from, &self.0, to)?)
    }

    /// Renames a file to a name that does not exist yet.
    #[cfg(target_env = "gnu")]
    pub(super) fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let flags = nix::fcntl::RenameFlags::RENAME_NOREPLACE;
        Ok(nix::fcntl::renameat2(&self.0, from, &self.0, to, flags)?)
    }

    /// Fails: `nix` has this call for glibc only.
    #[cfg(not(target_env = "gnu"))]
    pub(super) fn rename_new(&self, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(nix::unistd::unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Removes the temporary files of dumpers that were killed. Errors are ignored.
    pub(super) fn remove_abandoned(&self) {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // `std::fs::read_dir` panics if the folder cannot be closed.
        let Ok(mut folder) = Dir::openat(&self.0, ".", flags, Mode::empty()) else {
            return;
        };
        for entry in folder.iter().map_while(Result::ok) {
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name.as_bytes().starts_with(TEMPORARY.as_bytes()) && self.is_abandoned(name) {
                drop(self.remove(name));
            }
        }
    }

    /// Whether a temporary file belongs to no running dumper. The lock of a file ends with the
    /// process that has it.
    fn is_abandoned(&self, name: &OsStr) -> bool {
        let Ok(file) = self.open_file(name, OFlag::O_RDWR | OFlag::O_NONBLOCK) else {
            return false;
        };
        let Ok(metadata) = file.metadata() else {
            return false;
        };
        let is_of_here = name
            .as_encoded_bytes()
            .strip_prefix(TEMPORARY.as_bytes())
            .is_some_and(|rest| rest.starts_with(machine_mark().as_bytes()));
        let is_old = || {
            let age = metadata.modified().map(|time| time.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age > ABANDONED)
        };
        metadata.is_file()
            && (is_of_here || is_old())
            && matches!(try_lock(&file), Ok(true))
            && self.is(name, &file)
    }
}

/// Locks a file as long as it is open. Returns false if it is locked already.
///
/// A file system without locks counts as success. [`Folder::is_abandoned`] fails to lock files
/// there as well, so none is removed.
pub(super) fn lock(file: &File) -> bool {
    loop {
        match try_lock(file) {
            Err(Errno::EINTR) => {}
            tried => return tried.unwrap_or(true),
        }
    }
}

fn try_lock(file: &File) -> nix::Result<bool> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // The lock belongs to the open file. A lock of the process would end when any copy of the
    // descriptor is closed.
    match nix::fcntl::fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Returns eight hexadecimal digits that differ between machines, and between two starts of one.
pub(super) fn machine_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits = id.chars().filter(char::is_ascii_hexdigit).take(8);
        format!("{:0>8}", digits.collect::<String>())
    })
}

/// Restricts the file to its owner, whatever the umask is. On a file system without permissions,
/// the file stays as it is.
pub(super) fn make_private(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.mode() & 0o777;
    if mode == 0o600 {
        return Ok(());
    }
    let changed = file.set_permissions(fs::Permissions::from_mode(0o600));
    let is_closed_to_others = mode & 0o077 == 0;
    match changed.as_ref().map_err(io::Error::raw_os_error) {
        Err(_) if is_closed_to_others => Ok(()),
        // The errors of file systems without permissions.
        Err(Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL)) => Ok(()),
        _ => changed,
    }
}

pub(super) fn is_private(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.mode() & 0o077 == 0)
}

/// Waits until what was written is on disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Ok(());
    }
    match file.sync_all() {
        // The errors of file systems without fsync.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP)
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

/// Reports errors that the system has deferred until the file is closed: network file systems store
/// a file then, and may find that there is no space for it.
///
/// The system also does so when a copy of the descriptor is closed. If no copy can be made, there
/// is no such report.
pub(super) fn close_a_copy(file: &File) -> io::Result<()> {
    let Ok(copy) = file.try_clone() else {
        return Ok(());
    };
    match nix::unistd::close(copy.into_raw_fd()) {
        // The descriptor is closed. A signal has interrupted the wait for the server.
        Err(Errno::EINTR) => Ok(()),
        closed => Ok(closed?),
    }
}

pub(super) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}
