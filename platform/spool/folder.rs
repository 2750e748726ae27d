//! The folder of a spool, and its lock.
//!
//! The folder is opened once, and files are reached through it by their names. It may be renamed or
//! replaced meanwhile. Symbolic links are never followed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::UnlinkatFlags;

use crate::error::SpoolError;
use crate::name;

/// How long the lock of a folder is tried. Its holders need milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The size in bytes of the largest file that is read as a whole.
const LARGEST_TEXT: u64 = 8 << 20;

/// An open folder.
#[derive(Debug)]
pub(crate) struct SpoolFolder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// The lock of a folder. It ends when this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct SpoolLock(#[expect(dead_code, reason = "it is locked as long as it is open")] Flock<File>);

impl SpoolFolder {
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let refuse = |reason: String| SpoolError::Folder {
            folder: path.to_owned(),
            reason,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = nix::fcntl::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::ELOOP | Errno::ENOTDIR if path.is_symlink() => {
                refuse("it is a symbolic link, which is not followed; name the folder itself".to_owned())
            }
            Errno::ENOTDIR => refuse("it is not a folder".to_owned()),
            errno => SpoolError::System {
                operation: "open the folder",
                path: path.to_owned(),
                source: errno.into(),
            },
        })?;
        let folder = Self {
            descriptor,
            path: path.to_owned(),
        };
        let found = nix::sys::stat::fstat(&folder.descriptor)
            .map_err(|errno| folder.failed("examine the folder", "", errno.into()))?;
        // Its owner can replace every file in it, and so can those who may write to it.
        let user = nix::unistd::geteuid();
        if found.st_uid != user.as_raw() && found.st_uid != 0 && !user.is_root() {
            let owner = found.st_uid;
            return Err(refuse(format!(
                "it belongs to the user {owner}; use a folder of your own"
            )));
        }
        if found.st_mode & 0o022 != 0 {
            return Err(refuse(format!(
                "other users may write to it (mode {:03o}); use a folder of your own, or \"chmod go-w\" it",
                found.st_mode & 0o777
            )));
        }
        Ok(folder)
    }

    /// The path with which the folder was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that leads to the file even if the folder was renamed. It is valid in this process.
    pub fn stable_path(&self, name: &str) -> PathBuf {
        Path::new("/proc/self/fd")
            .join(self.descriptor.as_raw_fd().to_string())
            .join(name)
    }

    /// Returns an error that names a file.
    pub fn failed(&self, operation: &'static str, name: &str, source: io::Error) -> SpoolError {
        let path = match name {
            "" => self.path.clone(),
            name => self.path.join(name),
        };
        SpoolError::System {
            operation,
            path,
            source,
        }
    }

    fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = File::from(nix::fcntl::openat(&self.descriptor, name, flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is not a regular file",
            )),
        }
    }

    /// Opens a file for reading.
    pub fn open_to_read(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlag::O_RDONLY)
    }

    /// Reads a short file. Returns `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open_to_read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_TEXT {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it has more than 8 MiB",
            ));
        }
        Ok(Some(bytes))
    }

    /// Creates an empty file that only its owner can read.
    pub fn create(&self, name: &str) -> io::Result<File> {
        self.open_file(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Writes a file, or replaces it. It appears under its name only when it is whole. The folder
    /// must be locked.
    pub fn replace(&self, name: &str, bytes: &[u8], _: &SpoolLock) -> io::Result<()> {
        let new = name::new_file();
        let mut file = self.create(&new)?;
        let written = file.write_all(bytes).and_then(|()| self.rename(&new, name));
        written.inspect_err(|_| drop(self.remove(&new)))
    }

    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(nix::fcntl::renameat(
            &self.descriptor,
            from,
            &self.descriptor,
            to,
        )?)
    }

    pub fn remove(&self, name: &str) -> io::Result<()> {
        match nix::unistd::unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Returns what is known about a file. `None` if there is no regular file with this name.
    pub fn status(&self, name: &str) -> Option<FileStat> {
        let found = nix::sys::stat::fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT;
        (kind == SFlag::S_IFREG).then_some(found)
    }

    /// Whether this is the name of the file.
    pub fn is(&self, name: &str, file: &File) -> bool {
        let named = self.status(name);
        named.is_some_and(|named| {
            file.metadata()
                .is_ok_and(|opened| (named.st_dev, named.st_ino) == (opened.dev(), opened.ino()))
        })
    }

    /// Returns the names in the folder that are valid UTF-8. The names of a spool are.
    pub fn names(&self) -> Result<Vec<String>, SpoolError> {
        let failed = |errno: Errno| self.failed("list the folder", "", errno.into());
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = Dir::openat(&self.descriptor, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let entry = entry.map_err(failed)?;
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    /// Returns the free bytes of the file system that are not reserved for root.
    pub fn free(&self) -> Result<u64, SpoolError> {
        let found = nix::sys::statvfs::fstatvfs(&self.descriptor)
            .map_err(|errno| self.failed("find out the free space of", "", errno.into()))?;
        Ok(found.blocks_available().saturating_mul(found.fragment_size()))
    }

    /// Locks the folder. Whoever changes something in it must have locked it.
    pub fn lock(&self) -> Result<SpoolLock, SpoolError> {
        self.lock_within(LOCK_WAIT)
    }

    pub fn lock_within(&self, most: Duration) -> Result<SpoolLock, SpoolError> {
        let failed = |operation| move |source| self.failed(operation, name::LOCK, source);
        let start = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            let file = self
                .open_file(name::LOCK, OFlag::O_RDWR | OFlag::O_CREAT)
                .map_err(failed("open"))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Somebody may have removed the file meanwhile.
                Ok(lock) if self.is(name::LOCK, &lock) => return Ok(SpoolLock(lock)),
                Ok(_) | Err((_, Errno::EINTR)) => continue,
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(failed("lock")(errno.into())),
            }
            if start.elapsed() >= most {
                return Err(SpoolError::Locked {
                    lock: self.path.join(name::LOCK),
                    waited: most,
                });
            }
            // A lock that waits has no time limit.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// Locks a dump so that nobody removes it meanwhile.
    pub fn share(&self, name: &str) -> io::Result<Flock<File>> {
        loop {
            let file = self.open_to_read(name)?;
            match Flock::lock(file, FlockArg::LockShared) {
                // It may have been removed before it was locked.
                Ok(lock) if self.is(name, &lock) => return Ok(lock),
                Ok(_) | Err((_, Errno::EINTR)) => {}
                Err((_, errno)) => return Err(errno.into()),
            }
        }
    }

    /// Locks a file that nobody else has locked. Returns `None` if somebody has, or if there is no
    /// such file.
    pub fn take(&self, name: &str) -> Option<Flock<File>> {
        let file = self.open_to_read(name).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        self.is(name, &lock).then_some(lock)
    }
}
