//! Finds out which file systems answer without another program or machine.
//!
//! A request to a server may never be answered, least of all while the target is stopped, which may
//! be the server itself. So only file systems that are known to be served by the kernel are used.
//! To ask the file system what it is would be such a request: `statfs` of a FUSE mount waits for
//! its server. What is used here comes from the kernel's memory alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::files::{FileStatus, device_of};
use crate::proc_dir::{ProcDir, read_bounded};

/// The types of file systems that the kernel serves itself (names as in `mountinfo`).
///
/// All others may wait for a server: FUSE, NFS, SMB, 9P, virtiofs, Ceph, and those that are not
/// known here.
const SERVED_BY_KERNEL: &[&str] = &[
    "bcachefs",
    "btrfs",
    "cramfs",
    "devtmpfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "hfs",
    "hfsplus",
    "hugetlbfs",
    "iso9660",
    "jffs2",
    "jfs",
    "minix",
    "msdos",
    "nilfs2",
    "ntfs3",
    "proc",
    "ramfs",
    "reiserfs",
    "romfs",
    "rootfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "ubifs",
    "udf",
    "vfat",
    "xfs",
    "zfs",
];

/// The maximum size of a `mountinfo`. Systems with tens of thousands of mounts have a few MiB.
const MOUNTINFO_LIMIT: u64 = 256 << 20;

/// Who answers requests to a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// The kernel.
    Kernel,
    /// Other file systems: it is an overlay, whose layers may be of any type.
    Layers,
    /// Another program or machine, or it is not known.
    Other,
}

/// When a file is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Before the target is stopped.
    BeforeStop,
    /// While the target is stopped.
    DuringStop,
}

/// The file systems that the target, this process and the first process have mounted.
///
/// The list of a process contains only what is below its root directory, and no mount that was
/// unmounted while it was in use. What is in none of the lists counts as [`Server::Other`].
#[derive(Debug, Default)]
pub(crate) struct FileSystems {
    by_mount: HashMap<u64, Server>,
    by_device: HashMap<(u32, u32), Server>,
    /// By the mount point, as the target sees it.
    of_target: HashMap<PathBuf, Server>,
}

/// A line of `mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: (u32, u32),
    point: PathBuf,
    kind: String,
    options: String,
}

impl FileSystems {
    /// Reads what is mounted.
    pub(crate) fn of(dir: &ProcDir) -> Self {
        let mounts = |path: &Path| {
            let text = read_bounded(path, MOUNTINFO_LIMIT);
            if let Err(error) = &text {
                tracing::debug!(?path, %error, "cannot list the mounts");
            }
            parse(&text.unwrap_or_default())
        };
        let target = mounts(&dir.path("mountinfo"));
        let own = mounts(Path::new("/proc/thread-self/mountinfo"));
        let first = mounts(Path::new("/proc/1/mountinfo"));
        let mut systems = Self::from_lists(&target, &[own, first]);
        systems.by_device.extend(
            memory_devices()
                .into_iter()
                .map(|device| (device, Server::Kernel)),
        );
        systems
    }

    fn from_lists(target: &[Mount], others: &[Vec<Mount>]) -> Self {
        let mut systems = Self::default();
        for (index, list) in others.iter().map(Vec::as_slice).chain([target]).enumerate() {
            let is_target = index == others.len();
            for mount in list {
                let server = mount.server(list);
                systems.by_mount.insert(mount.id, server);
                systems.by_device.insert(mount.device, server);
                if is_target {
                    // A later mount covers an earlier one.
                    systems.of_target.insert(mount.point.clone(), server);
                }
            }
        }
        systems
    }

    /// Who serves the file system with this device number, as the maps of a process and `mountinfo`
    /// show it.
    pub(crate) fn of_device(&self, device: (u32, u32)) -> Server {
        self.by_device.get(&device).copied().unwrap_or(Server::Other)
    }

    /// Who serves what the target has mounted at `point`. `None` if it has nothing mounted there.
    pub(crate) fn of_mount_point(&self, point: &Path) -> Option<Server> {
        self.of_target.get(point).copied()
    }

    /// Who serves the file with this status.
    ///
    /// A file that is in several layers of an overlay, or in none that the kernel serves itself,
    /// belongs to [`Server::Layers`].
    pub(crate) fn of_file(&self, status: &FileStatus) -> Server {
        let by_mount = status.mount.and_then(|id| self.by_mount.get(&id)).copied();
        match by_mount.unwrap_or_else(|| self.of_device(status.device)) {
            Server::Layers if status.is_native && !status.is_directory() => Server::Kernel,
            server => server,
        }
    }

    /// Whether a file with this status, or a name in a directory with this status, may be looked at
    /// now.
    ///
    /// Before the stop an overlay is used, too, unless one of its layers is known to be served by
    /// another program or machine.
    pub(crate) fn permits(&self, status: &FileStatus, access: Access) -> bool {
        match self.of_file(status) {
            Server::Kernel => true,
            Server::Layers => access == Access::BeforeStop,
            Server::Other => false,
        }
    }

    #[cfg(test)]
    pub(crate) fn forget(&mut self, device: (u32, u32)) {
        self.by_device.insert(device, Server::Other);
    }
}

impl Mount {
    /// Who serves it. `list` has the mounts of the same process.
    fn server(&self, list: &[Self]) -> Server {
        if SERVED_BY_KERNEL.contains(&self.kind.as_str()) {
            return Server::Kernel;
        }
        if self.kind != "overlay" {
            return Server::Other;
        }
        // The paths of the layers are those of the process that mounted it, and may have been
        // covered or unmounted since, so they can only speak against it.
        let is_served = |layer: &Path| {
            let holder = layer
                .ancestors()
                .find_map(|folder| list.iter().rev().find(|mount| mount.point == folder));
            holder.is_some_and(|mount| mount.kind != "overlay" && mount.server(&[]) == Server::Other)
        };
        let mut layers = self.options.split(',').filter_map(|option| {
            let (name, value) = option.split_once('=')?;
            matches!(name, "lowerdir" | "lowerdir+" | "datadir+" | "upperdir").then_some(value)
        });
        match layers.any(|value| value.split(':').any(|layer| is_served(Path::new(layer)))) {
            true => Server::Other,
            false => Server::Layers,
        }
    }

    fn parse(line: &[u8]) -> Option<Self> {
        // The type, source and options follow a lone hyphen (proc_pid_mountinfo(5)).
        let at = line.windows(3).position(|part| part == b" - ")?;
        let (head, tail) = (&line[..at], &line[at + 3..]);
        let mut head = head.split(|byte| *byte == b' ');
        let mut tail = tail.split(|byte| *byte == b' ');
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let id = text(head.next()?).parse().ok()?;
        let device = text(head.nth(1)?);
        let (major, minor) = device.split_once(':')?;
        let point = unescaped(head.nth(1)?);
        Some(Self {
            id,
            device: (major.parse().ok()?, minor.parse().ok()?),
            point: OsString::from_vec(point).into(),
            kind: text(tail.next()?),
            options: tail.nth(1).map(text).unwrap_or_default(),
        })
    }
}

/// Reverts the escape sequences in a path: a backslash and three octal digits.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    out
}

/// Parses a `mountinfo`. Malformed lines are skipped.
fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n')
        .filter_map(Mount::parse)
        .collect()
}

/// Returns the devices of the kernel's own mounts for memory files, which no list shows: those of
/// shared memory, and of huge pages of each size.
fn memory_devices() -> Vec<(u32, u32)> {
    let kinds = [
        MFdFlags::empty(),
        MFdFlags::MFD_HUGETLB,
        MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB,
        MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_1GB,
    ];
    let device = |kind| {
        let file = memfd_create("dumpwright", kind | MFdFlags::MFD_CLOEXEC).ok()?;
        Some(device_of(std::fs::File::from(file).metadata().ok()?.dev()))
    };
    kinds.into_iter().filter_map(device).collect()
}

/// What these tests would catch: a file system that is trusted without being known.
#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
        30 21 0:40 / /home rw - nfs4 host:/home rw\n\
        31 21 0:41 / /mnt/a\\040b rw master:2 - fuse.sshfs host: rw\n\
        32 21 0:42 / /x rw - fusectl fusectl rw\n\
        33 21 0:43 / /o rw - overlay overlay rw,lowerdir=/mnt/a\\040b/x:/usr,upperdir=/u\n\
        34 21 0:44 / /p rw - overlay overlay rw,lowerdir=/elsewhere:/usr,upperdir=/u\n\
        35 21 0:45 / /q rw - overlay overlay rw,lowerdir+=/usr,lowerdir+=/home/layer\n\
        36 21 0:46 / /w rw - virtiofs tag rw\n\
        37 21 8:1 / /n rw - fuseblk /dev/sda1 rw\n\
        38 33 0:47 / /o rw - tmpfs tmpfs rw\n\
        nonsense\n 1 2 3 - \n";

    #[test]
    fn only_known_kinds_are_trusted() {
        let systems = FileSystems::from_lists(&parse(MOUNTS), &[]);
        let of = |minor| systems.of_device((0, minor));
        assert_eq!(systems.of_device((254, 0)), Server::Kernel);
        assert_eq!(systems.of_device((8, 1)), Server::Other);
        for minor in [40, 41, 42, 45, 46, 99] {
            assert_eq!(of(minor), Server::Other, "{minor}");
        }
        assert_eq!((of(44), of(47)), (Server::Layers, Server::Kernel));
        let point = |path| systems.of_mount_point(Path::new(path));
        assert_eq!(point("/mnt/a b"), Some(Server::Other));
        assert_eq!(point("/o"), Some(Server::Kernel), "the later mount");
        assert_eq!(point("/usr"), None);
    }

    #[test]
    fn memory_files_and_the_own_program_are_served_by_the_kernel() {
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let systems = FileSystems::of(&dir);
        for device in memory_devices() {
            assert_eq!(systems.of_device(device), Server::Kernel);
        }
        assert!(!memory_devices().is_empty());
    }
}
