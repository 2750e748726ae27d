//! Opens files that the target has mapped, and files in its root directory.
//!
//! Opening or reading some files has side effects. So a file is first opened with `O_PATH`, which
//! does not access it, then examined, and opened for reading only if it is a regular file. Devices,
//! pipes and sockets are never opened.
//!
//! Files are opened only on file systems that are known to answer without another program or
//! machine ([`FileSystems`]). A read of any other file may never return while the target is
//! stopped, especially if the target itself is the server.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use dumpwright_target::AddressRange;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use nix::unistd::Whence;

use crate::mounts::{Access, FileSystems, Server};
use crate::proc_dir::{FIRST_READ, ProcDir, numbers_in};
use crate::regions::{self, Mapping};
use crate::tracer::Watch;

/// How many mapped files are kept open. Mappings of the same file are close together, so a few are
/// enough.
const KEPT_OPEN: usize = 8;

/// The reason why bytes that would come from a file are missing.
const NOT_OPENED: &str = "not resident and its file cannot be opened";

/// The reason for a file that is not opened because a read might never return.
const SERVED: &str =
    "not resident, and its file is on a file system that another program or machine serves, or may serve";

/// The reason why a file in the root directory of the target is not opened.
const NOT_TRUSTED: &str = "it is on a file system that another program or machine serves, or may serve";

/// `STATX_ATTR_NODUMP` (`linux/stat.h`).
const ATTRIBUTE_NODUMP: u64 = 0x40;

/// The files that the target has mapped, opened when needed.
#[derive(Debug)]
pub(crate) struct MappedFiles {
    dir: ProcDir,
    /// The process whose descriptors are looked at, if it is another one.
    descriptors_dir: Option<ProcDir>,
    /// Read when first needed, unless they were passed before.
    systems: Option<Rc<FileSystems>>,
    /// The most recently used files, the latest first.
    kept: VecDeque<Kept>,
    devices: Rc<Devices>,
    /// The numbers of the target's descriptors, by the paths that they lead to. Listed when first
    /// needed.
    descriptors: Option<HashMap<PathBuf, Vec<u32>>>,
    watch: Arc<Watch>,
}

/// The result of opening a file.
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
    /// The length of the file when it was opened.
    pub(crate) len: u64,
}

impl MappedFile {
    /// Takes an open file.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            len: file.metadata()?.len(),
            file,
        })
    }

    /// Returns the device and inode numbers that `stat` reports.
    pub(crate) fn numbers(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
    }

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

    /// Returns its length now.
    pub(crate) fn len_now(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Returns the first range at or after `offset` that may hold data, or `None` if there is only
    /// a hole up to the end of the file.
    ///
    /// Memory files that are used as heaps consist mostly of holes (OpenJDK's ZGC), and a sparse
    /// file may have any length. A file system that does not support holes (lseek(2)) reports
    /// everything as data.
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
        // Another program may have punched a hole there in the meantime.
        Some(start..end.max(start + 1))
    }
}

impl MappedFiles {
    pub(crate) fn new(dir: &ProcDir) -> Self {
        Self {
            dir: dir.clone(),
            descriptors_dir: None,
            systems: None,
            kept: VecDeque::new(),
            devices: Rc::default(),
            descriptors: None,
            watch: Arc::default(),
        }
    }

    /// Uses this list of file systems instead of reading it when it is first needed.
    pub(crate) fn mounted(&mut self, systems: Rc<FileSystems>) {
        self.systems = Some(systems);
    }

    /// Looks for open files among the descriptors of this process. A clone has none.
    pub(crate) fn descriptors_of(&mut self, dir: &ProcDir) {
        self.descriptors_dir = Some(dir.clone());
    }

    /// Lets the tracing thread watch all accesses to files.
    pub(crate) fn watched_by(&mut self, watch: Arc<Watch>) {
        self.watch = watch;
    }

    /// Who watches the accesses to files.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Returns what is known about device numbers.
    pub(crate) fn devices(&self) -> Rc<Devices> {
        Rc::clone(&self.devices)
    }

    /// Returns the file of `mapping`, or the reason why it cannot be read.
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
                outcome: Arc::clone(&self.watch).over(|| self.open(mapping)),
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
        let systems = self.systems();
        if systems.of_device(mapping.device) == Server::Other {
            return Err(SERVED);
        }
        let opened = by_range(&self.dir, &systems, mapping.range);
        if opened.as_ref().is_err_and(is_not_trusted) {
            return Err(SERVED);
        }
        let opened = opened
            .or_else(|_| by_path(&self.dir, &systems, &self.devices, mapping, path))
            .or_else(|_| if_same(&self.dir.path("exe"), &systems, &self.devices, mapping))
            .or_else(|_| self.by_descriptor(&systems, mapping, path))
            .and_then(MappedFile::new);
        opened.map_err(|error| {
            tracing::debug!(pid = self.dir.pid, ?path, %error, "a mapped file cannot be opened");
            if is_not_trusted(&error) {
                SERVED
            } else {
                NOT_OPENED
            }
        })
    }

    /// Opens the file of a mapping through a descriptor that the target still has. This finds
    /// memory files (memfd) and deleted files.
    fn by_descriptor(&mut self, systems: &FileSystems, mapping: &Mapping, path: &OsStr) -> io::Result<File> {
        let dir = self.descriptors_dir.as_ref().unwrap_or(&self.dir);
        let descriptors = self.descriptors.get_or_insert_with(|| {
            open_files(dir).unwrap_or_else(|error| {
                tracing::debug!(pid = dir.pid, %error, "cannot list the descriptors");
                HashMap::new()
            })
        });
        let numbers = descriptors.get(Path::new(path)).into_iter().flatten();
        // A process that shares the descriptor table may have closed one in the meantime, so all
        // candidates are tried.
        numbers
            .map(|number| if_same(&dir.path(format!("fd/{number}")), systems, &self.devices, mapping))
            .find(Result::is_ok)
            .unwrap_or_else(|| Err(another()))
    }

    #[cfg(test)]
    pub(crate) fn take_for_served(&mut self, device: (u32, u32)) {
        let mut systems = FileSystems::of(&self.dir);
        systems.forget(device);
        self.systems = Some(Rc::new(systems));
    }

    /// The file systems that the target can see.
    pub(crate) fn systems(&mut self) -> Rc<FileSystems> {
        let dir = &self.dir;
        Rc::clone(self.systems.get_or_insert_with(|| Rc::new(FileSystems::of(dir))))
    }
}

/// Opens the file of a mapping by its addresses.
///
/// This always opens the right file, even if it was deleted, but it needs `CAP_CHECKPOINT_RESTORE`
/// or `CAP_SYS_ADMIN`.
fn by_range(dir: &ProcDir, systems: &FileSystems, range: AddressRange) -> io::Result<File> {
    let name = format!("map_files/{:x}-{:x}", range.start(), range.end());
    let taken = take_by_name(&dir.process_path(name))?;
    open_regular(taken, systems, Access::DuringStop)
}

/// Opens the file of a mapping by its path in the target's root directory, if the path still leads
/// to the same file.
fn by_path(
    dir: &ProcDir,
    systems: &FileSystems,
    devices: &Devices,
    mapping: &Mapping,
    path: &OsStr,
) -> io::Result<File> {
    let file = open_in_root(dir, systems, Path::new(path), Access::DuringStop)?;
    if devices.is_file_of(&file, mapping) {
        Ok(file)
    } else {
        Err(another())
    }
}

/// Lists the target's descriptors, by the paths that they lead to. The files are not examined.
fn open_files(dir: &ProcDir) -> io::Result<HashMap<PathBuf, Vec<u32>>> {
    let mut descriptors: HashMap<PathBuf, Vec<u32>> = HashMap::new();
    for number in numbers_in(&dir.path("fd"))? {
        // A process that shares the descriptor table may have closed it.
        if let Ok(path) = std::fs::read_link(dir.path(format!("fd/{number}"))) {
            descriptors.entry(path).or_default().push(number);
        }
    }
    Ok(descriptors)
}

/// Opens the file that a link in `/proc` leads to (a descriptor or `exe`), if it is the file of the
/// mapping.
fn if_same(link: &Path, systems: &FileSystems, devices: &Devices, mapping: &Mapping) -> io::Result<File> {
    let taken = take_by_name(link)?;
    if status_of(&taken)?.inode != mapping.inode {
        return Err(another());
    }
    let file = open_regular(taken, systems, Access::DuringStop)?;
    if devices.is_file_of(&file, mapping) {
        Ok(file)
    } else {
        Err(another())
    }
}

fn another() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "another file has this path now")
}

/// A device number (major, minor).
type Device = (u32, u32);

/// Decides whether two device numbers denote the same device.
///
/// On some file systems (btrfs, overlay), `stat` reports another device number than the maps: an
/// anonymous number for each subvolume or layer. The number that the maps show is determined once
/// for each number that `stat` reports.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// The device numbers that maps have shown, for each device number that `stat` reports.
    shown: RefCell<HashMap<Device, HashSet<Device>>>,
}

impl Devices {
    /// Whether `file` is the file of `mapping`.
    pub(crate) fn is_file_of(&self, file: &File, mapping: &Mapping) -> bool {
        let Ok(metadata) = file.metadata() else {
            return false;
        };
        if metadata.ino() != mapping.inode {
            return false;
        }
        let device = device_of(metadata.dev());
        if device == mapping.device {
            return true;
        }
        let mut shown = self.shown.borrow_mut();
        let shown = shown.entry(device).or_default();
        if shown.contains(&mapping.device) {
            return true;
        }
        let Some((in_maps, inode)) = name_in_maps(file) else {
            return false;
        };
        shown.insert(in_maps);
        (in_maps, inode) == (mapping.device, mapping.inode)
    }
}

/// Returns the device and inode of `file` as the kernel's maps show them. To find out, the function
/// maps the file for a moment.
fn name_in_maps(file: &File) -> Option<((u32, u32), u64)> {
    // SAFETY: the code uses only the address of the mapping and never reads its bytes. So changes
    // and truncation of the file by others cannot affect us.
    let map = unsafe { memmap2::MmapOptions::new().len(1).map(file) }.ok()?;
    // Not `/proc/self/maps`, which is empty when the first thread of this process has ended.
    let maps = BufReader::new(File::open("/proc/thread-self/maps").ok()?);
    let own = regions::mapping_at(maps, map.as_ptr().addr() as u64).ok()??;
    Some((own.device, own.inode))
}

/// Opens a regular file for reading, by its path as the target sees it.
///
/// Symbolic links, including absolute ones, are resolved inside the target's root directory.
pub(crate) fn open_in_root(
    dir: &ProcDir,
    systems: &FileSystems,
    path: &Path,
    access: Access,
) -> io::Result<File> {
    open_regular(take_in_root(dir, systems, path, access)?, systems, access)
}

/// Whether `path`, as the target sees it, leads to the file of `mapping`.
pub(crate) fn shows(
    dir: &ProcDir,
    systems: &FileSystems,
    devices: &Devices,
    path: &Path,
    mapping: &Mapping,
) -> bool {
    let status = take_in_root(dir, systems, path, Access::DuringStop).and_then(|taken| status_of(&taken));
    status.is_ok_and(|status| {
        status.inode == mapping.inode
            && (status.device == mapping.device
                || by_path(dir, systems, devices, mapping, path.as_os_str()).is_ok())
    })
}

/// Reads a whole file in the target's root directory, before the target is stopped. Files longer
/// than `limit` bytes are an error.
pub(crate) fn read_in_root(
    dir: &ProcDir,
    systems: &FileSystems,
    path: &Path,
    limit: u64,
) -> io::Result<Vec<u8>> {
    let file = open_in_root(dir, systems, path, Access::BeforeStop)?;
    let mut bytes = Vec::with_capacity(FIRST_READ);
    io::Read::read_to_end(&mut io::Read::take(file, limit + 1), &mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file is longer than {limit} bytes"),
        ));
    }
    Ok(bytes)
}

/// Reads the first bytes of the program that a process runs (`exe`). The process is not stopped.
pub(crate) fn read_program(dir: &ProcDir, into: &mut [u8]) -> io::Result<()> {
    let taken = take_by_name(&dir.path("exe"))?;
    open_regular(taken, &FileSystems::of(dir), Access::BeforeStop)?.read_exact_at(into, 0)
}

/// Opens a file with `O_PATH`, by its path as the target sees it.
///
/// The kernel follows the path if all of it is in its cache, which takes no file system. Otherwise
/// the path is followed here, name by name, through directories that may be accessed.
fn take_in_root(dir: &ProcDir, systems: &FileSystems, path: &Path, access: Access) -> io::Result<OwnedFd> {
    if systems.of_mount_point(Path::new("/")) == Some(Server::Other) {
        return Err(not_trusted());
    }
    let root = take_by_name(&dir.path("root"))?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_IN_ROOT
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED),
    );
    match nix::fcntl::openat2(&root, path.strip_prefix("/").unwrap_or(path), how) {
        Ok(taken) => Ok(taken),
        // It is not in the cache, or the kernel is older than 5.12 (EINVAL) or 5.6 (ENOSYS). Some
        // sandboxes return EPERM for calls that they do not know.
        Err(Errno::EAGAIN | Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {
            walk(root, systems, path, access)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Follows a path from the root directory of the target, name by name.
fn walk(root: OwnedFd, systems: &FileSystems, path: &Path, access: Access) -> io::Result<OwnedFd> {
    /// The maximum number of symbolic links, as in the kernel (path_resolution(7)).
    const LINKS: usize = 40;
    let names = |path: &Path| -> VecDeque<OsString> {
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        });
        names.collect()
    };
    let mut rest = names(path);
    let mut at = PathBuf::from("/");
    let mut folders = vec![root];
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            if folders.len() > 1 {
                folders.pop();
                at.pop();
            }
            continue;
        }
        let folder = folders.last().expect("the root is never removed");
        if !systems.permits(&status_of(folder)?, access) {
            return Err(not_trusted());
        }
        at.push(&name);
        // What is mounted there is known before it is entered.
        if systems
            .of_mount_point(&at)
            .is_some_and(|server| server == Server::Other)
        {
            return Err(not_trusted());
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let next = nix::fcntl::openat(folder, name.as_os_str(), flags, Mode::empty())?;
        if status_of(&next)?.mode & libc::S_IFMT != libc::S_IFLNK {
            folders.push(next);
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(Errno::ELOOP.into());
        }
        let target = PathBuf::from(nix::fcntl::readlinkat(&next, "")?);
        at.pop();
        if target.is_absolute() {
            folders.truncate(1);
            at = PathBuf::from("/");
        }
        let mut names = names(&target);
        names.append(&mut rest);
        rest = names;
    }
    Ok(folders.pop().expect("the root is never removed"))
}

fn not_trusted() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, NOT_TRUSTED)
}

fn is_not_trusted(error: &io::Error) -> bool {
    error.raw_os_error().is_none() && error.kind() == io::ErrorKind::Unsupported
}

/// Opens a file with `O_PATH`, which does not access it.
fn take_by_name(path: &Path) -> io::Result<OwnedFd> {
    Ok(nix::fcntl::open(
        path,
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens a file for reading that was opened with `O_PATH`, if it is a regular file whose file
/// system answers.
fn open_regular(taken: OwnedFd, systems: &FileSystems, access: Access) -> io::Result<File> {
    let status = status_of(&taken)?;
    if !systems.permits(&status, access) {
        return Err(not_trusted());
    }
    if status.mode & libc::S_IFMT != libc::S_IFREG {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let path = PathBuf::from(format!("/proc/self/fd/{}", taken.as_raw_fd()));
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(&path, flags, Mode::empty())?.into())
}

/// The properties of a file that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStatus {
    /// Type and permissions (`st_mode`).
    pub(crate) mode: u32,
    /// Device number (major, minor).
    pub(crate) device: (u32, u32),
    /// Inode number.
    pub(crate) inode: u64,
    /// The id of the mount, as in `mountinfo`. `None` before Linux 5.8.
    pub(crate) mount: Option<u64>,
    /// Whether its file system has the flags of files that only those have that the kernel serves.
    ///
    /// It is the flag "not to be dumped" of chattr(1). An overlay has it for files of a layer on
    /// btrfs, ext4, f2fs, XFS, and tmpfs since Linux 6.0, but not for files of a layer on FUSE,
    /// NFS, or 9P (observed on Linux 6.18 for ext4, tmpfs and FUSE).
    pub(crate) is_native: bool,
}

impl FileStatus {
    pub(crate) fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }
}

/// Returns the status of a file from the kernel's memory, without a request to a file server.
pub(crate) fn status_of(file: &OwnedFd) -> io::Result<FileStatus> {
    status(file.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Like [`status_of`], by its name in a directory. Follows a symbolic link.
pub(crate) fn status_in(directory: &impl AsRawFd, name: &str) -> io::Result<FileStatus> {
    let name = std::ffi::CString::new(name)?;
    status(directory.as_raw_fd(), &name, 0)
}

/// Like [`status_in`], of a symbolic link itself.
pub(crate) fn status_of_link(directory: &impl AsRawFd, name: &str) -> io::Result<FileStatus> {
    let name = std::ffi::CString::new(name)?;
    status(directory.as_raw_fd(), &name, libc::AT_SYMLINK_NOFOLLOW)
}

fn status(at: i32, path: &std::ffi::CStr, flags: i32) -> io::Result<FileStatus> {
    #[cfg(test)]
    tests::LOOKED_AT.set(tests::LOOKED_AT.get() + 1);
    // SAFETY: statx is a plain structure of integers, for which zeros are valid.
    let mut answer: libc::statx = unsafe { std::mem::zeroed() };
    let flags = flags | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let wanted = libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_MNT_ID;
    // musl 1.2.3 has no function for this call.
    // SAFETY: `path` ends with a zero byte, and `answer` has the size that the call writes. Both
    // outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_statx, at, path.as_ptr(), flags, wanted, &raw mut answer) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(FileStatus {
        mode: answer.stx_mode.into(),
        device: (answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
        mount: (answer.stx_mask & libc::STATX_MNT_ID != 0).then_some(answer.stx_mnt_id),
        is_native: answer.stx_attributes_mask & ATTRIBUTE_NODUMP != 0,
    })
}

pub(crate) fn device_of(dev: u64) -> (u32, u32) {
    (libc::major(dev), libc::minor(dev))
}

/// What these tests would catch: opening a file that must not be opened, mistaking a new file for
/// the mapped one, and following a link out of the target's root.
#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::testing::bytes_read;

    thread_local! {
        /// The number of [`status`] calls on this thread.
        pub(super) static LOOKED_AT: Cell<u64> = const { Cell::new(0) };
    }

    fn own() -> ProcDir {
        ProcDir::new(std::process::id()).expect("own process")
    }

    fn systems() -> FileSystems {
        FileSystems::of(&own())
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
        let devices = Devices::default();
        by_path(&own(), &systems(), &devices, &mapping, exe.as_os_str()).expect("the same file");
        let mut replaced = mapping.clone();
        replaced.inode += 1;
        assert!(by_path(&own(), &systems(), &devices, &replaced, exe.as_os_str()).is_err());
    }

    #[test]
    fn maps_and_this_module_call_a_file_by_the_same_numbers() {
        let exe = std::env::current_exe().expect("has a path");
        let mapping = own_mapping_of(&exe);
        let file = File::open(&exe).expect("readable");
        assert_eq!(name_in_maps(&file), Some((mapping.device, mapping.inode)));
        let mut elsewhere = mapping;
        elsewhere.device.0 += 1;
        assert!(!Devices::default().is_file_of(&file, &elsewhere));
    }

    /// Mounts an overlay of two file systems in a mount namespace of this thread. `stat` reports
    /// one device number for each layer, and maps show a single one (observed on Linux 6.18).
    #[test]
    fn the_device_that_maps_show_is_found_out_once_for_each_that_stat_reports() {
        const FILES: usize = 40;
        if !nix::unistd::geteuid().is_root() {
            return; // Nobody else may mount an overlay.
        }
        unshare(CloneFlags::CLONE_NEWNS).expect("root may");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).expect("root may");
        let base = std::env::temp_dir();
        let mounted = |kind: &str, at: &Path, options: Option<&str>| {
            fs::create_dir_all(at).expect("writable");
            mount(Some(kind), at, Some(kind), MsFlags::empty(), options).expect(kind);
        };
        mounted("tmpfs", &base, None);
        let at = |name: &str| base.join(name);
        mounted("tmpfs", &at("lower"), None);
        for name in ["upper", "work"] {
            fs::create_dir(at(name)).expect("writable");
        }
        for number in 0..FILES {
            fs::write(at("lower").join(number.to_string()), "below").expect("writable");
        }
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| at(name).display().to_string());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        mounted("overlay", &at("all"), Some(&options));
        for number in 0..FILES {
            fs::write(at("all").join(format!("new-{number}")), "above").expect("writable");
        }

        let mapped = fs::read_dir(at("all")).expect("readable").map(|entry| {
            let path = entry.expect("readable").path();
            let file = File::open(&path).expect("readable");
            // SAFETY: nobody else uses the file, and its bytes are not read through the mapping.
            let map = unsafe { memmap2::Mmap::map(&file) }.expect("maps");
            (path, file, map)
        });
        let mapped: Vec<_> = mapped.collect();
        let text = fs::read("/proc/thread-self/maps").expect("readable");
        let table = regions::parse(&text[..]).expect("reads");
        let shown: HashMap<_, _> = table.iter().map(|mapping| (mapping.name(), mapping)).collect();
        let of = |path: &Path| shown[path.as_os_str().as_bytes()];
        assert!(
            mapped.iter().any(|(path, file, _)| {
                device_of(file.metadata().expect("open").dev()) != of(path).device
            }),
            "the test proves nothing if both report the same numbers"
        );
        let devices = Devices::default();
        let before = bytes_read();
        for (path, file, _) in &mapped {
            assert!(devices.is_file_of(file, of(path)), "{path:?}");
        }
        let read = bytes_read() - before;
        assert!(
            read < 4 * text.len() as u64,
            "{read} bytes, where our own maps have {}",
            text.len()
        );
        let [(_, first, _), (other, ..), ..] = &mapped[..] else {
            panic!("many files")
        };
        assert!(!devices.is_file_of(first, of(other)), "another inode");
    }

    #[test]
    fn a_memory_file_is_found_by_its_descriptor() {
        let fd = nix::sys::memfd::memfd_create("dumpwright-test", nix::sys::memfd::MFdFlags::empty());
        let fd = fd.expect("memory files exist");
        let file = File::from(fd.as_fd().try_clone_to_owned().expect("duplicates"));
        file.write_all_at(b"testimony", 4096).expect("writable");
        // SAFETY: nobody else uses the file, and its bytes are not read through the mapping.
        let map = unsafe { memmap2::Mmap::map(&file) }.expect("maps");
        let table = regions::mappings(&own()).expect("readable");
        let address = map.as_ptr().addr() as u64;
        let mapping = table.iter().find(|m| m.range.contains(address)).expect("mapped");
        let opened = MappedFiles::new(&own())
            .by_descriptor(&systems(), mapping, mapping.file_path().expect("a name"))
            .expect("still open");
        let mut words = [0; 9];
        opened.read_exact_at(&mut words, 4096).expect("readable");
        assert_eq!(&words, b"testimony");
    }

    #[test]
    fn descriptors_of_other_files_are_not_examined() {
        let folder = std::env::temp_dir().join(format!("dumpwright-listed-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let path = folder.join("file");
        fs::write(&path, "x").expect("writable");
        let open: Vec<_> = (0..200).map(|_| File::open(&path).expect("readable")).collect();
        let mut files = MappedFiles::new(&own());
        let mut mapping = own_mapping_of(&std::env::current_exe().expect("has a path"));
        let (systems, missing) = (systems(), OsStr::new("/no/such/file"));
        LOOKED_AT.set(0);
        for inode in 0..100 {
            mapping.inode = u64::MAX - inode;
            assert!(files.by_descriptor(&systems, &mapping, missing).is_err());
        }
        // To examine a file on a server may take forever.
        assert_eq!(LOOKED_AT.get(), 0, "only files with the right path are examined");
        drop(open);
        fs::remove_dir_all(&folder).expect("removes it");
    }

    #[test]
    fn neither_devices_nor_pipes_are_opened() {
        assert!(open_in_root(&own(), &systems(), Path::new("/dev/null"), Access::BeforeStop).is_err());
        assert!(open_in_root(&own(), &systems(), Path::new("/"), Access::BeforeStop).is_err());
        let folder = std::env::temp_dir().join(format!("dumpwright-files-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let pipe = folder.join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).expect("makes a pipe");
        // Opening a pipe for reading would wait for a writer forever.
        assert!(open_in_root(&own(), &systems(), &pipe, Access::BeforeStop).is_err());
        fs::remove_dir_all(&folder).expect("removes it");
    }
}
