//! A file that appears under its name only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};

use super::Sink;
use crate::Error;

/// File systems store blocks of this size; smaller zero runs save nothing.
const BLOCK: usize = 4096;

/// A dump on its way into a file.
///
/// The file is new, readable by its owner only (dumps hold secrets), and nameless until
/// [`publish`](Self::publish) gives it its name. Whoever drops it before, or kills the dumper, leaves
/// nothing behind. Where the file system has no nameless files it has a temporary name meanwhile.
///
/// A name that stands for a device or a pipe is written to directly.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    path: PathBuf,
    state: State,
    /// Where the file ends, holes at its end included.
    end: u64,
}

#[derive(Debug)]
enum State {
    /// A pipe or a device: nothing to publish.
    Direct,
    /// Without a name.
    Nameless { replace: bool },
    /// With a temporary name.
    Temporary { name: PathBuf, replace: bool },
}

impl FileSink {
    /// Prepares a dump into `path`. An existing file is refused unless `replace` is set, and even then
    /// stays as it is until the dump is whole.
    ///
    /// # Errors
    /// The file exists, its folder is not there or not writable, or the name is a symbolic link (a link
    /// could lead anywhere; nothing is written through one).
    pub fn create(path: impl AsRef<Path>, replace: bool) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::open(path, replace).map_err(|source| Error::Output {
            operation: "create",
            path: Some(path.to_owned()),
            source,
        })
    }

    fn open(path: &Path, replace: bool) -> io::Result<Self> {
        let sink = |file, state| Self {
            file,
            path: path.to_owned(),
            state,
            end: 0,
        };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) if found.file_type().is_symlink() => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it is a symbolic link, which is not written through (name the file itself, or - for standard output)",
                ));
            }
            Ok(found) if found.is_dir() => return Err(io::Error::from(io::ErrorKind::IsADirectory)),
            Ok(found) if !found.is_file() => {
                if found.file_type().is_socket() {
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a socket"));
                }
                let file = OpenOptions::new()
                    .write(true)
                    .custom_flags(OFlag::O_NOFOLLOW.bits())
                    .open(path)?;
                return Ok(sink(file, State::Direct));
            }
            Ok(_) if !replace => {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "it exists already, and replacing it was not asked for (--force)",
                ));
            }
            Ok(_) => {}
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let nameless = OpenOptions::new()
            .write(true)
            .mode(0o600)
            .custom_flags(OFlag::O_TMPFILE.bits())
            .open(folder);
        match nameless {
            Ok(file) => Ok(sink(file, State::Nameless { replace })),
            // What file systems and kernels without nameless files answer.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(nix::libc::EOPNOTSUPP | nix::libc::EISDIR | nix::libc::EINVAL)
                ) =>
            {
                let (file, name) = temporary(path, |name| {
                    OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(0o600)
                        .open(name)
                })?;
                Ok(sink(file, State::Temporary { name, replace }))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// Meanwhile another file has that name (unless it is to be replaced), or the folder is gone.
    pub fn publish(mut self) -> Result<(), Error> {
        self.try_publish().map_err(|source| Error::Output {
            operation: "publish",
            path: Some(self.path.clone()),
            source,
        })
    }

    fn try_publish(&mut self) -> io::Result<()> {
        match &self.state {
            State::Direct => Ok(()),
            State::Nameless { replace: false } => link(&self.file, &self.path),
            State::Nameless { replace: true } => {
                let ((), name) = temporary(&self.path, |name| link(&self.file, name))?;
                fs::rename(&name, &self.path).inspect_err(|_| drop(fs::remove_file(&name)))
            }
            State::Temporary { name, replace } => {
                if *replace {
                    fs::rename(name, &self.path)?;
                } else {
                    fs::hard_link(name, &self.path)?;
                    fs::remove_file(name)?;
                }
                self.state = State::Direct;
                Ok(())
            }
        }
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let State::Temporary { name, .. } = &self.state {
            // Nobody is left to be told if this fails; the name says what the file is.
            drop(fs::remove_file(name));
        }
    }
}

impl Sink for FileSink {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(at, self.end, "a sink is only appended to");
        if matches!(self.state, State::Direct) {
            self.file.write_all(bytes)?;
        } else {
            write_around_zeros(&self.file, at, bytes)?;
        }
        self.end = at + bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        if matches!(self.state, State::Direct) {
            io::copy(&mut io::Read::take(io::repeat(0), len), &mut self.file)?;
        }
        self.end = at + len;
        Ok(())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn finish(&mut self) -> io::Result<()> {
        if !matches!(self.state, State::Direct) {
            // Creates the hole at the end, if there is one.
            self.file.set_len(self.end)?;
            self.file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        self.file.flush()
    }
}

/// Writes all blocks that are not zero; what is not written reads as zero.
fn write_around_zeros(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    // Blocks of the file, not of the buffer.
    let first = BLOCK - usize::try_from(at % BLOCK as u64).expect("less than a block");
    let mut from = 0;
    let mut start = 0;
    while start < bytes.len() {
        let end = if start == 0 { first } else { start + BLOCK }.min(bytes.len());
        if is_zero(&bytes[start..end]) {
            file.write_all_at(&bytes[from..start], at + from as u64)?;
            from = end;
        }
        start = end;
    }
    file.write_all_at(&bytes[from..], at + from as u64)
}

/// Whether a block holds only zeros. Sixteen words at a time is what compilers turn into vector code.
fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<128>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// Gives a nameless file a name that nobody has yet.
fn link(file: &File, name: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
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

/// Tries names beside `path` until one is free.
fn temporary<T>(path: &Path, take: impl Fn(&Path) -> io::Result<T>) -> io::Result<(T, PathBuf)> {
    let file_name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for number in 0..1000 {
        let mut name = std::ffi::OsString::from(".");
        name.push(file_name);
        name.push(format!(".{}-{number}.partial", std::process::id()));
        let name = path.with_file_name(name);
        match take(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            taken => return taken.map(|taken| (taken, name)),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "no free temporary name beside it",
    ))
}
