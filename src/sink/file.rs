//! A file that appears under its name only when the dump is complete.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::Sink;
use crate::Error;
use crate::memory::is_zero;

#[cfg_attr(target_os = "linux", path = "file/linux.rs")]
#[cfg_attr(windows, path = "file/windows.rs")]
mod system;

#[cfg(target_os = "linux")]
pub use system::guardian::Guardian;
use system::{Folder, GuardianProcess};

/// The size in bytes of the blocks in which file systems store files. Smaller runs of zeros save no
/// space.
const BLOCK: usize = 4096;

/// The size in bytes of the buffer for pipes and devices, which is the size of a pipe.
const BUFFER: usize = 64 << 10;

/// The size in bytes of the buffer for files. A small dump consists of dozens of pieces, some of a
/// few bytes, and takes one write.
const FILE_BUFFER: usize = 256 << 10;

/// The size in bytes from which a piece is written directly: copying it would take longer than
/// another write.
const LARGE_PIECE: usize = 64 << 10;

/// The beginning of all temporary names.
const TEMPORARY: &str = ".dumpwright-";

/// A sink that writes the dump to a file.
///
/// The file is new. Only its owner can read it, because dumps contain secrets; on Windows it
/// inherits the access rights of its folder. It has no name until [`publish`](Self::publish) gives
/// it one. On file systems without nameless files, and on Windows, it has a temporary name until
/// then, `.dumpwright-*`.
///
/// Dropping an unpublished sink removes the file. If the process is killed, the system removes a
/// file without a name. A temporary name is removed by the `Guardian` that the sink was created
/// with, or else, on Linux, by the next `FileSink` in the same folder.
///
/// If the name belongs to a device or a pipe, the dump is written to it directly.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    /// The final name, or `None` for a file that the caller opened.
    path: Option<PathBuf>,
    state: FileState,
    /// The last bytes before `end`, which are not yet written.
    buffer: Vec<u8>,
    /// The end of the file, including holes at its end and the buffer.
    end: u64,
    /// Whether another writer may have filled the file. `end` is then not valid.
    lent: bool,
    /// Whether to wait until the file is on disk.
    sync: bool,
}

#[derive(Debug)]
enum FileState {
    /// A pipe, a device or a file that the caller opened. It is not published.
    Direct,
    /// A file without a name.
    Nameless { place: FinalName, replace: bool },
    /// A file with a temporary name.
    Temporary {
        place: FinalName,
        name: OsString,
        way: Naming,
        /// The guardian of the name. It is dropped after the name has been removed.
        _watch: Option<GuardianProcess>,
    },
    /// A file with its final name.
    Published,
}

/// The folder and the name of the published file.
#[derive(Debug)]
struct FinalName {
    folder: Folder,
    name: OsString,
    #[cfg(target_os = "linux")]
    guardian: Option<Guardian>,
}

/// The operation that turns a temporary name into the final one. Which of them the file system
/// supports is tried when the file is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// A rename that replaces another file.
    Replace,
    /// A rename that refuses to replace.
    RenameNew,
    /// A hard link.
    Link,
    /// An empty file under the final name, which a rename then replaces.
    Reserve,
}

impl FileSink {
    /// Creates a file for a dump that will be published as `path`. An existing file is refused
    /// unless `replace` is set. Even then it stays unchanged until the dump is published.
    ///
    /// # Errors
    /// If the file exists, if its folder does not exist or is not writable, if its name is too
    /// long, or if the name is a symbolic link. Nothing is written through a symbolic link, because
    /// it could lead anywhere.
    pub fn create(path: impl AsRef<Path>, replace: bool) -> Result<Self, Error> {
        Self::open(path.as_ref(), replace, |folder, name| FinalName {
            folder,
            name,
            #[cfg(target_os = "linux")]
            guardian: None,
        })
    }

    /// Does the same as [`create`](Self::create), with a guardian that removes temporary names if
    /// this process is killed.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    #[cfg(target_os = "linux")]
    pub fn create_guarded(path: impl AsRef<Path>, replace: bool, guardian: Guardian) -> Result<Self, Error> {
        Self::open(path.as_ref(), replace, |folder, name| FinalName {
            folder,
            name,
            guardian: Some(guardian),
        })
    }

    /// Creates a sink that appends to an open file, such as standard output. The file is not
    /// published.
    #[must_use]
    pub fn onto(file: File) -> Self {
        Self {
            file,
            path: None,
            state: FileState::Direct,
            buffer: Vec::new(),
            end: 0,
            lent: false,
            sync: false,
        }
    }

    /// Creates a sink that fills an open file, which must be regular and empty. It is not
    /// published. Unlike with [`onto`](Self::onto), zeros become holes.
    ///
    /// This is for a process that writes the dump of another one, which publishes the file.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn filling(file: File) -> Self {
        let mut sink = Self::onto(file);
        sink.state = FileState::Published;
        sink
    }

    /// Sets whether a finished dump is on disk (`fsync`, on Windows `FlushFileBuffers`), so that it
    /// also survives a crash of the system that follows. The default is `false`: the system writes
    /// the file to the disk later, and dumps of large processes take far less time.
    ///
    /// Errors that network file systems report when a file is closed are noticed in both cases.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    fn open(
        path: &Path,
        replace: bool,
        place: impl FnOnce(Folder, OsString) -> FinalName,
    ) -> Result<Self, Error> {
        Self::try_open(path, replace, place).map_err(|source| Error::Output {
            operation: "create",
            path: Some(path.to_owned()),
            source,
        })
    }

    fn try_open(
        path: &Path,
        replace: bool,
        place: impl FnOnce(Folder, OsString) -> FinalName,
    ) -> io::Result<Self> {
        let sink = |file, state| Self {
            file,
            path: Some(path.to_owned()),
            state,
            buffer: Vec::new(),
            end: 0,
            lent: false,
            sync: false,
        };
        let found = match fs::symlink_metadata(path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        if found.as_ref().is_some_and(fs::Metadata::is_symlink) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is a symbolic link, which is not followed (name the file itself, or - for standard output)",
            ));
        }
        if found.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if let Some(file) = system::open_special(path, found.as_ref())? {
            return Ok(sink(file, FileState::Direct));
        }
        if found.is_some() && !replace {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file exists already (--force replaces it)",
            ));
        }
        let name = file_name(path).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "it does not end with the name of a file, and there is no such folder",
            )
        })?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let place = place(Folder::open(folder)?, name.to_owned());
        place.folder.remove_abandoned();
        let (file, state) = match place.folder.nameless()? {
            Some(file) => {
                // For the time between link and rename.
                system::lock(&file);
                (file, FileState::Nameless { place, replace })
            }
            None => place.temporary(replace)?,
        };
        system::make_private(&file)?;
        Ok(sink(file, state))
    }

    /// Whether other users cannot read the file. On file systems without permissions, such as FAT,
    /// they may be able to. Access rights of Windows are not examined.
    ///
    /// # Errors
    /// If the metadata of the file cannot be read.
    pub fn is_private(&self) -> io::Result<bool> {
        match self.state {
            FileState::Direct => Ok(true),
            _ => system::is_private(&self.file),
        }
    }

    /// Whether the dump goes into an existing pipe or device, or into a file that the caller
    /// opened, and not into a new file.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        matches!(self.state, FileState::Direct)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If another file has the name by now and is not to be replaced, or if the folder no longer
    /// exists.
    pub fn publish(mut self) -> Result<(), Error> {
        self.try_publish().map_err(|source| Error::Output {
            operation: "publish",
            path: self.path.clone(),
            source,
        })
    }

    fn try_publish(&mut self) -> io::Result<()> {
        // Something remains only if the sink was not finished.
        self.write_buffer()?;
        match &self.state {
            FileState::Direct | FileState::Published => return Ok(()),
            FileState::Nameless { place, replace } => place.link(&self.file, *replace)?,
            FileState::Temporary { place, name, way, .. } => place.rename(name, *way)?,
        }
        self.state = FileState::Published;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
impl AsFd for FileSink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let FileState::Temporary { place, name, .. } = &self.state {
            // A failure cannot be reported here. The next dump tries again.
            drop(place.folder.remove(name));
        }
    }
}

impl FileSink {
    fn write_buffered(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.write_buffer()?;
            if bytes.len() > BUFFER {
                return self.file.write_all(bytes);
            }
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Does the same for a file, in which zero blocks become holes.
    fn write_file_buffered(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > FILE_BUFFER || bytes.len() >= LARGE_PIECE {
            self.write_buffer()?;
            if bytes.len() >= LARGE_PIECE {
                return write_around_zeros(&self.file, self.end, bytes);
            }
        }
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(FILE_BUFFER);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        if matches!(self.state, FileState::Direct) {
            self.file.write_all(&self.buffer)?;
        } else {
            let at = self.end - self.buffer.len() as u64;
            write_around_zeros(&self.file, at, &self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl FinalName {
    /// Starts the guardian, if there is one, for names that are about to be used. `empty` is a name
    /// that is removed only if its file is empty. A failure is ignored: a dump without a guardian
    /// is better than no dump.
    #[cfg(target_os = "linux")]
    fn watch(&self, names: &[&OsStr], empty: Option<&OsStr>) -> Option<GuardianProcess> {
        let guardian = self.guardian.as_ref()?;
        guardian.watch(&self.folder.path(), names, empty).ok()
    }

    #[cfg(windows)]
    fn watch(&self, _: &[&OsStr], _: Option<&OsStr>) -> Option<GuardianProcess> {
        None
    }

    /// Creates a file with a temporary name.
    fn temporary(self, replace: bool) -> io::Result<(File, FileState)> {
        for _ in 0..100 {
            let (first, second) = (temporary_name(), temporary_name());
            let watch = self.watch(&[&first, &second], None);
            let file = match self.folder.create(&first) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    forget(watch);
                    continue;
                }
                created => created?,
            };
            // Another dumper may have removed the file before it was locked.
            if !self.folder.claim(&file, &first) {
                continue;
            }
            let (name, way) = match self.way(&first, &second, replace) {
                way @ (Naming::RenameNew | Naming::Link) if Folder::TRIES_NAMES => (second, way),
                way => (first, way),
            };
            let state = FileState::Temporary {
                place: self,
                name,
                way,
                _watch: watch,
            };
            return Ok((file, state));
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "no temporary name next to it is free; delete the files .dumpwright-* there",
        ))
    }

    /// Finds out how the file can get its final name, by giving it a second temporary name.
    fn way(&self, first: &OsStr, second: &OsStr, replace: bool) -> Naming {
        if replace {
            return Naming::Replace;
        }
        if !Folder::TRIES_NAMES {
            return Naming::Link;
        }
        if self.folder.rename_new(first, second).is_ok() {
            return Naming::RenameNew;
        }
        if self.folder.link(first, second).is_ok() && self.folder.remove(first).is_ok() {
            return Naming::Link;
        }
        Naming::Reserve
    }

    /// Gives a nameless file its name.
    fn link(&self, file: &File, replace: bool) -> io::Result<()> {
        match self.folder.link_file(file, &self.name) {
            Err(error) if replace && error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked,
        }
        // A link cannot replace a file. A rename can.
        let name = temporary_name();
        let _watch = self.watch(&[&name], None);
        self.folder.link_file(file, &name)?;
        let renamed = self.folder.rename(&name, &self.name);
        renamed.inspect_err(|_| drop(self.folder.remove(&name)))
    }

    /// Gives a file with a temporary name its final one.
    fn rename(&self, temporary: &OsStr, way: Naming) -> io::Result<()> {
        let Self { folder, name, .. } = self;
        match way {
            Naming::Replace => folder.rename(temporary, name),
            Naming::RenameNew => folder.rename_new(temporary, name),
            Naming::Link => {
                match folder.link(temporary, name) {
                    // It is not known whether the file system has links.
                    Err(error) if !Folder::TRIES_NAMES && error.kind() != io::ErrorKind::AlreadyExists => {
                        return self.rename(temporary, Naming::Reserve);
                    }
                    linked => linked?,
                }
                folder.remove(temporary)
            }
            Naming::Reserve => {
                let watch = self.watch(&[], Some(name));
                if let Err(error) = folder.create(name) {
                    forget(watch);
                    return Err(error);
                }
                let renamed = folder.rename(temporary, name);
                renamed.inspect_err(|_| drop(folder.remove(name)))
            }
        }
    }
}

/// Stops a guardian of a name that belongs to another file.
#[cfg(target_os = "linux")]
fn forget(watch: Option<GuardianProcess>) {
    if let Some(watch) = watch {
        watch.forget();
    }
}

#[cfg(windows)]
fn forget(_: Option<GuardianProcess>) {}

/// Returns the last part of a path if it can be the name of a file.
fn file_name(path: &Path) -> Option<&OsStr> {
    let name = path.file_name()?;
    let path = path.as_os_str().as_encoded_bytes();
    path.ends_with(name.as_encoded_bytes()).then_some(name)
}

/// Returns a new temporary name, from the mark of this machine and a random number.
fn temporary_name() -> OsString {
    let random = RandomState::new().build_hasher().finish();
    format!("{TEMPORARY}{}-{random:016x}", system::machine_mark()).into()
}

impl Sink for FileSink {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(at, self.end, "a sink is only appended to");
        self.lent = false;
        if matches!(self.state, FileState::Direct) {
            self.write_buffered(bytes)?;
        } else {
            self.write_file_buffered(bytes)?;
        }
        self.end = at + bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        if matches!(self.state, FileState::Direct) {
            const ZEROS: [u8; BLOCK] = [0; BLOCK];
            let mut left = len;
            while left > 0 {
                let count = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
                self.write_buffered(&ZEROS[..count])?;
                left -= count as u64;
            }
        } else if !self.buffer.is_empty() {
            match usize::try_from(len) {
                // Part of a block at most, so it is no hole.
                Ok(count) if count < BLOCK && self.buffer.len() + count <= FILE_BUFFER => {
                    self.buffer.resize(self.buffer.len() + count, 0);
                }
                _ => self.write_buffer()?,
            }
        }
        self.end = at + len;
        Ok(())
    }

    fn check_amend(&self) -> io::Result<()> {
        match self.state {
            FileState::Direct => Err(io::ErrorKind::Unsupported.into()),
            _ => Ok(()),
        }
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_amend()?;
        debug_assert!(at + bytes.len() as u64 <= self.end, "only what was appended");
        self.write_buffer()?;
        system::write_all_at(&self.file, bytes, at)
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn largest_part(&self) -> usize {
        match self.state {
            FileState::Direct => BUFFER,
            // A file takes everything.
            _ => FILE_BUFFER,
        }
    }

    fn lend_file(&mut self) -> Option<&File> {
        if matches!(self.state, FileState::Direct) {
            return None;
        }
        self.lent = true;
        Some(&self.file)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.lent {
            self.end = self.file.metadata()?.len();
        }
        self.write_buffer()?;
        if !matches!(self.state, FileState::Direct) {
            // This creates the hole at the end, if there is one.
            self.file.set_len(self.end)?;
        }
        if self.sync {
            system::sync(&self.file)?;
        }
        system::close_a_copy(&self.file)
    }
}

/// Writes all blocks that are not zero. Bytes that are not written read as zero.
fn write_around_zeros(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    // The blocks are those of the file, not of the buffer.
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

/// What this test would catch: bytes that are lost, moved or written twice where the buffer is
/// full, where a piece does not fit into it, or where a hole begins.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_holes_of_any_size_come_in_order() {
        const PIECES: [usize; 14] = [
            1,
            BLOCK - 1,
            BLOCK,
            20,
            LARGE_PIECE - 1,
            LARGE_PIECE - 1,
            LARGE_PIECE - 1,
            LARGE_PIECE - 1,
            LARGE_PIECE - 1,
            LARGE_PIECE,
            LARGE_PIECE + 1,
            100,
            3 * FILE_BUFFER,
            7,
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut sink = FileSink::create(&path, false).unwrap();
        let mut expected = Vec::new();
        for zeros in [0, 3, BLOCK, 25 * BLOCK + 1] {
            for size in PIECES {
                let byte = |at: usize| {
                    if (at / 5000).is_multiple_of(2) {
                        at as u8 | 1
                    } else {
                        0
                    }
                };
                let bytes: Vec<u8> = (0..size).map(byte).collect();
                sink.append(expected.len() as u64, &bytes).unwrap();
                expected.extend(bytes);
                sink.append_zeros(expected.len() as u64, zeros as u64).unwrap();
                expected.resize(expected.len() + zeros, 0);
            }
        }
        sink.finish().unwrap();
        sink.publish().unwrap();
        assert!(fs::read(path).unwrap() == expected);
    }
}
