//! A file that appears under its name only when it is whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Sink;
use crate::Error;

#[cfg_attr(unix, path = "file/unix.rs")]
#[cfg_attr(windows, path = "file/windows.rs")]
mod system;

/// File systems store blocks of this size; smaller zero runs save nothing.
const BLOCK: usize = 4096;

/// A dump on its way into a file.
///
/// The file is new, readable by its owner only (dumps hold secrets; on Windows the folder says who may read it), and nameless until
/// [`publish`](Self::publish) gives it its name. Whoever drops it before, or kills the dumper, leaves
/// nothing behind. Where the file system has no nameless files, as on Windows, it has a temporary name meanwhile.
///
/// A name that stands for a device or a pipe is written to directly.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    path: PathBuf,
    state: State,
    /// Where the file ends, holes at its end included.
    end: u64,
    /// Somebody else may have filled the file, and knows its end.
    lent: bool,
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
            lent: false,
        };
        let found = match fs::symlink_metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.as_ref().is_some_and(fs::Metadata::is_symlink) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is a symbolic link, which is not written through (name the file itself, or - for standard output)",
            ));
        }
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if let Some(file) = system::open_special(path, found.as_ref())? {
            return Ok(sink(file, State::Direct));
        }
        if found.is_some() && !replace {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it exists already, and replacing it was not asked for (--force)",
            ));
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if let Some(file) = system::nameless(folder)? {
            return Ok(sink(file, State::Nameless { replace }));
        }
        let (file, name) = temporary(path, system::create_private)?;
        Ok(sink(file, State::Temporary { name, replace }))
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
            State::Nameless { replace: false } => system::link(&self.file, &self.path),
            State::Nameless { replace: true } => {
                let ((), name) = temporary(&self.path, |name| system::link(&self.file, name))?;
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
        self.lent = false;
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

    fn lend_file(&mut self) -> Option<&File> {
        if matches!(self.state, State::Direct) {
            return None;
        }
        self.lent = true;
        Some(&self.file)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.lent {
            self.end = self.file.metadata()?.len();
        }
        if !matches!(self.state, State::Direct) {
            // Creates the hole at the end, if there is one.
            self.file.set_len(self.end)?;
            system::make_private(&self.file)?;
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
            system::write_all_at(file, &bytes[from..start], at + from as u64)?;
            from = end;
        }
        start = end;
    }
    system::write_all_at(file, &bytes[from..], at + from as u64)
}

/// Whether a block holds only zeros. Sixteen words at a time is what compilers turn into vector code.
fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<128>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
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
