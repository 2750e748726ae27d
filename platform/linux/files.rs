//! Files of the target's world: those it has mapped, and those of its own root directory.
//!
//! Nothing is opened that could do something when it is opened or read. A file is first taken by name only
//! (`O_PATH`), looked at, and opened only if it is a regular file; devices, pipes and sockets never are. Files on file
//! systems that another program or machine serves are left alone too: with the target held still the wait for
//! them may never end, above all when the target itself is the server.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use dumpwright_target::AddressRange;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use nix::unistd::Whence;

use crate::proc_dir::ProcDir;
use crate::regions::{self, Mapping};

/// How many mapped files are kept open. Mappings of one file are neighbours, so that few are enough.
const KEPT_OPEN: usize = 8;

/// Kinds of file system that may keep a reader waiting for ever (names as in `mountinfo`). All of FUSE counts:
/// its servers are ordinary programs, possibly the very one that is held.
const MAY_HANG: &[&str] = &[
    "nfs", "nfs4", "cifs", "smb3", "ceph", "afs", "lustre", "fuse", "fuseblk", "autofs",
];

/// What has no content of its own in a file.
const NOT_OPENED: &str = "not resident and its file cannot be opened";

/// The same, because waiting for the file might never end.
const SERVED: &str =
    "not resident and its file lies on a file system that is served by another program or machine";

/// Opens what the target has mapped.
#[derive(Debug)]
pub(crate) struct MappedFiles {
    dir: ProcDir,
    /// Devices of file systems that may hang; read when first needed.
    served: Option<HashSet<(u32, u32)>>,
    /// The last ones asked for, the latest in front.
    kept: VecDeque<Kept>,
}

/// A file that was asked for, with what came of it.
#[derive(Debug)]
struct Kept {
    device: (u32, u32),
    inode: u64,
    outcome: Result<MappedFile, &'static str>,
}

/// A file that the target has mapped.
#[derive(Debug)]
pub(crate) struct MappedFile {
    file: File,
    /// Its length when it was opened.
    pub(crate) len: u64,
}

impl MappedFile {
    /// Reads at `offset` until `into` is full or the file ends.
    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            match self.file.read_at(&mut into[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(more) => done += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// The first stretch at or behind `offset` that may hold data; `None` if there is only hole to the end.
    ///
    /// Memory files are mostly hole where heaps are made of them (OpenJDK's ZGC), and no file is as large as some
    /// say. A file system that does not tell holes (lseek(2)) calls all data.
    pub(crate) fn data_behind(&self, offset: u64) -> Option<Range<u64>> {
        let seek = |from: u64, whence| {
            let from = libc::off_t::try_from(from).map_err(|_| Errno::EOVERFLOW)?;
            nix::unistd::lseek(&self.file, from, whence).map(i64::cast_unsigned)
        };
        let start = match seek(offset, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => return None,
            Err(_) => return Some(offset..u64::MAX),
        };
        let end = seek(start, Whence::SeekHole).unwrap_or(u64::MAX);
        // Another program may have made a hole of it meanwhile.
        Some(start..end.max(start + 1))
    }
}

impl MappedFiles {
    pub(crate) fn new(dir: &ProcDir) -> Self {
        Self {
            dir: dir.clone(),
            served: None,
            kept: VecDeque::new(),
        }
    }

    /// The file behind `mapping`, or why it cannot be read.
    pub(crate) fn of(&mut self, mapping: &Mapping) -> Result<&MappedFile, &'static str> {
        let (device, inode) = (mapping.device, mapping.inode);
        let known = self
            .kept
            .iter()
            .position(|kept| (kept.device, kept.inode) == (device, inode));
        let kept = match known.and_then(|at| self.kept.remove(at)) {
            Some(kept) => kept,
            None => Kept {
                device,
                inode,
                outcome: self.open(mapping),
            },
        };
        self.kept.truncate(KEPT_OPEN - 1);
        self.kept.push_front(kept);
        self.kept[0].outcome.as_ref().map_err(|reason| *reason)
    }

    fn open(&mut self, mapping: &Mapping) -> Result<MappedFile, &'static str> {
        let Some(path) = mapping.file_path() else {
            return Err(NOT_OPENED);
        };
        if mapping.is_device() {
            return Err(NOT_OPENED);
        }
        if self.is_served(mapping.device) {
            return Err(SERVED);
        }
        let opened = by_range(&self.dir, mapping.range)
            .or_else(|_| by_path(&self.dir, mapping, path))
            .or_else(|_| if_same(&self.dir.path("exe"), mapping))
            .or_else(|_| by_descriptor(&self.dir, mapping))
            .and_then(|file| {
                Ok(MappedFile {
                    len: file.metadata()?.len(),
                    file,
                })
            });
        opened.map_err(|error| {
            tracing::debug!(pid = self.dir.pid, ?path, %error, "a mapped file cannot be opened");
            NOT_OPENED
        })
    }

    #[cfg(test)]
    pub(crate) fn take_for_served(&mut self, device: (u32, u32)) {
        self.served = Some(HashSet::from([device]));
    }

    /// Whether the file system with this device number may hang.
    pub(crate) fn is_served(&mut self, device: (u32, u32)) -> bool {
        let dir = &self.dir;
        self.served
            .get_or_insert_with(|| {
                let text = dir.read("mountinfo").unwrap_or_default();
                served_devices(&String::from_utf8_lossy(&text))
            })
            .contains(&device)
    }
}

/// The device numbers of file systems that may hang, from the text of `mountinfo`.
fn served_devices(mountinfo: &str) -> HashSet<(u32, u32)> {
    mountinfo
        .lines()
        .filter_map(|line| {
            // Behind a lone hyphen come type, source and options (proc_pid_mountinfo(5)).
            let (head, tail) = line.split_once(" - ")?;
            let kind = tail.split(' ').next()?;
            let (major, minor) = head.split(' ').nth(2)?.split_once(':')?;
            let served = MAY_HANG.contains(&kind) || kind.starts_with("fuse.");
            served.then_some((major.parse().ok()?, minor.parse().ok()?))
        })
        .collect()
}

/// The file of a mapping by its addresses: certainly the right one, deleted or not, but for this
/// the kernel asks for `CAP_CHECKPOINT_RESTORE` or `CAP_SYS_ADMIN`.
fn by_range(dir: &ProcDir, range: AddressRange) -> io::Result<File> {
    let name = format!("map_files/{:x}-{:x}", range.start(), range.end());
    open_regular(take_by_name(&dir.process_path(name))?)
}

/// The file of a mapping by its path in the target's root directory, if that is still the same file.
fn by_path(dir: &ProcDir, mapping: &Mapping, path: &OsStr) -> io::Result<File> {
    let file = open_in_root(dir, Path::new(path))?;
    if is_file_of(&file, mapping) {
        Ok(file)
    } else {
        Err(another())
    }
}

/// The file of a mapping by a descriptor that the target still holds: for memory files (memfd) and deleted ones.
fn by_descriptor(dir: &ProcDir, mapping: &Mapping) -> io::Result<File> {
    for entry in fs::read_dir(dir.path("fd"))? {
        // It may be closed meanwhile, by another process that shares the table: the next one may be it.
        if let Ok(file) = if_same(&entry?.path(), mapping) {
            return Ok(file);
        }
    }
    Err(another())
}

/// The file at the end of a link of `/proc` (a descriptor, or the main program), if it is the mapping's.
fn if_same(link: &Path, mapping: &Mapping) -> io::Result<File> {
    let taken = take_by_name(link)?;
    let status = status_of(&taken)?;
    if (status.device, status.inode) == (mapping.device, mapping.inode) {
        open_regular(taken)
    } else {
        Err(another())
    }
}

fn another() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "another file has this path now")
}

/// Whether `file` is what `mapping` shows.
///
/// On some file systems (btrfs, overlay) `stat` reports another device number than the maps do. Then the
/// kernel is asked to call the file by its name in maps, too: it is mapped here for a moment, without being touched.
pub(crate) fn is_file_of(file: &File, mapping: &Mapping) -> bool {
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    if metadata.ino() != mapping.inode {
        return false;
    }
    device_of(metadata.dev()) == mapping.device || name_in_maps(file) == Some((mapping.device, mapping.inode))
}

/// Device and inode of `file` as the kernel's maps give them.
fn name_in_maps(file: &File) -> Option<((u32, u32), u64)> {
    // SAFETY: the mapping's bytes are never looked at, only its address is, so that what others do to the file
    // (changing or truncating it) cannot reach us.
    let map = unsafe { memmap2::MmapOptions::new().len(1).map(file) }.ok()?;
    let address = map.as_ptr().addr() as u64;
    let maps = fs::read("/proc/self/maps").ok()?;
    let table = regions::parse(&maps[..]).ok()?;
    let own = table.iter().find(|own| own.range.contains(address))?;
    Some((own.device, own.inode))
}

/// Opens a regular file by its path as the target sees it, for reading.
///
/// Symbolic links are followed inside the target's root directory, absolute ones too, which needs `openat2` (Linux
/// 5.6); without it, the links are followed by our own root.
pub(crate) fn open_in_root(dir: &ProcDir, path: &Path) -> io::Result<File> {
    open_regular(take_in_root(dir, path)?)
}

/// Whether `path`, as the target sees it, leads to the file that `mapping` shows.
pub(crate) fn shows(dir: &ProcDir, path: &Path, mapping: &Mapping) -> bool {
    let status = take_in_root(dir, path).and_then(|taken| status_of(&taken));
    status.is_ok_and(|status| {
        status.inode == mapping.inode
            && (status.device == mapping.device || by_path(dir, mapping, path.as_os_str()).is_ok())
    })
}

/// Reads a file of the target's root directory whole, but no more than `limit` bytes.
pub(crate) fn read_in_root(dir: &ProcDir, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_in_root(dir, path)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "longer than it should be",
        ));
    }
    Ok(bytes)
}

fn take_in_root(dir: &ProcDir, path: &Path) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let root = take_by_name(&dir.path("root"))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    /// The kernel gives up (EAGAIN) when something is renamed or mounted anywhere on the system while it follows "..", as
    /// in `/etc/os-release -> ../usr/lib/os-release`, and wants to be asked again (openat2(2)); seen on busy machines.
    const ATTEMPTS: usize = 100;
    let mut answers = (0..ATTEMPTS).map(|_| nix::fcntl::openat2(&root, relative, how));
    let answer = answers.find(|answer| !matches!(answer, Err(nix::errno::Errno::EAGAIN)));
    match answer.unwrap_or(Err(nix::errno::Errno::EAGAIN)) {
        Ok(taken) => Ok(taken),
        // Older kernels, and sandboxes that do not know the call (some answer EPERM).
        Err(Errno::ENOSYS | Errno::EPERM) => take_by_name(&dir.path("root").join(relative)),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes hold of a file by name, without opening it.
fn take_by_name(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(
        path,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens what has been taken by name, if it is a regular file.
fn open_regular(taken: OwnedFd) -> io::Result<File> {
    let status = status_of(&taken)?;
    if status.mode & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", taken.as_raw_fd()));
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(&path, flags, Mode::empty())?.into())
}

/// What is asked about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStatus {
    /// Type and permissions (`st_mode`).
    pub(crate) mode: u32,
    /// Device number (major, minor).
    pub(crate) device: (u32, u32),
    /// Inode number.
    pub(crate) inode: u64,
}

/// Looks at a file by what the kernel has in memory, without asking a server about it.
pub(crate) fn status_of(file: &OwnedFd) -> io::Result<FileStatus> {
    status(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// The same by name; follows a link.
pub(crate) fn status_by_name(path: &Path) -> io::Result<FileStatus> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    status(libc::AT_FDCWD, &path, 0)
}

fn status(at: i32, path: &std::ffi::CStr, flags: i32) -> io::Result<FileStatus> {
    // SAFETY: statx is a plain structure of integers, for which zeros are valid.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    let flags = flags | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // SAFETY: `path` ends with a zero byte and `answer` is a structure of the size the call writes; both outlive it.
    let result = unsafe {
        libc::statx(
            at,
            path.as_ptr(),
            flags,
            libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO,
            &raw mut answer,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(FileStatus {
        mode: answer.stx_mode.into(),
        device: (answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
    })
}

fn device_of(dev: u64) -> (u32, u32) {
    (libc::major(dev), libc::minor(dev))
}

/// What these tests would catch: opening what must not be opened, taking a replaced file for the mapped one, and
/// following a link out of the target's root.
#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn own() -> ProcDir {
        ProcDir::new(std::process::id()).expect("own process")
    }

    fn own_mapping_of(path: &Path) -> Mapping {
        let table = regions::mappings(&own()).expect("readable");
        let name = path.as_os_str().as_bytes();
        table.into_iter().find(|m| m.name() == name).expect("mapped")
    }

    #[test]
    fn the_own_program_is_opened_by_address_and_by_path() {
        let exe = std::env::current_exe().expect("has a path");
        let mapping = own_mapping_of(&exe);
        let len = fs::metadata(&exe).expect("there").len();
        let mut files = MappedFiles::new(&own());
        let file = files.of(&mapping).expect("a regular file");
        assert_eq!(file.len, len);
        let mut magic = [0; 4];
        assert_eq!(file.read_at(0, &mut magic).expect("readable"), 4);
        assert_eq!(&magic, b"\x7fELF");
        assert_eq!(file.read_at(len, &mut magic).expect("nothing behind the end"), 0);
        by_path(&own(), &mapping, exe.as_os_str()).expect("the same file");
        let mut replaced = mapping.clone();
        replaced.inode += 1;
        assert!(by_path(&own(), &replaced, exe.as_os_str()).is_err());
    }

    #[test]
    fn maps_and_this_module_call_a_file_by_the_same_numbers() {
        let exe = std::env::current_exe().expect("has a path");
        let mapping = own_mapping_of(&exe);
        let file = File::open(&exe).expect("readable");
        assert_eq!(name_in_maps(&file), Some((mapping.device, mapping.inode)));
        let mut elsewhere = mapping;
        elsewhere.device.0 += 1;
        assert!(!is_file_of(&file, &elsewhere));
    }

    #[test]
    fn a_memory_file_is_found_by_its_descriptor() {
        let fd = nix::sys::memfd::memfd_create("dumpwright-test", nix::sys::memfd::MFdFlags::empty());
        let fd = fd.expect("memory files exist");
        let file = File::from(fd.as_fd().try_clone_to_owned().expect("duplicates"));
        file.write_all_at(b"testimony", 4096).expect("writable");
        // SAFETY: nobody else knows the file, and the bytes are not looked at through the mapping.
        let map = unsafe { memmap2::Mmap::map(&file) }.expect("maps");
        let table = regions::mappings(&own()).expect("readable");
        let address = map.as_ptr().addr() as u64;
        let mapping = table.iter().find(|m| m.range.contains(address)).expect("mapped");
        let opened = by_descriptor(&own(), mapping).expect("still open");
        let mut words = [0; 9];
        opened.read_exact_at(&mut words, 4096).expect("readable");
        assert_eq!(&words, b"testimony");
    }

    #[test]
    fn neither_devices_nor_pipes_are_opened() {
        assert!(open_in_root(&own(), Path::new("/dev/null")).is_err());
        assert!(open_in_root(&own(), Path::new("/")).is_err());
        let folder = std::env::temp_dir().join(format!("dumpwright-files-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let pipe = folder.join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("makes a pipe");
        // Opening a pipe for reading would wait for a writer, for ever.
        assert!(open_in_root(&own(), &pipe).is_err());
        fs::remove_dir_all(&folder).expect("removes it");
    }

    #[test]
    fn served_file_systems_are_known_by_their_kind() {
        let served = served_devices(
            "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
             30 21 0:40 / /home rw - nfs4 host:/home rw\n\
             31 21 0:41 / /mnt/a\\040b rw master:2 - fuse.sshfs host: rw\n\
             32 21 0:42 / /x rw - fusectl fusectl rw\n\
             nonsense\n 1 2 3 - \n",
        );
        assert_eq!(served, HashSet::from([(0, 40), (0, 41)]));
    }
}
