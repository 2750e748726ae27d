//! Open file descriptors, presented as Windows handles.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;

use dumpwright_target::{Diagnostic, Fault, Handle, Subject};

use crate::files;
use crate::proc_dir::{ProcDir, numbers_in, system_fault};

/// `FILE_GENERIC_READ` of Windows: the access of a descriptor that is open for reading.
const GENERIC_READ: u32 = 0x0012_0089;
/// `FILE_GENERIC_WRITE` of Windows: the access of a descriptor that is open for writing.
const GENERIC_WRITE: u32 = 0x0012_0116;

/// The names that the kernel gives to anonymous inodes, and the type names in the dump. The kernel
/// puts most of its names in brackets, but not all.
const ANONYMOUS: &[(&str, &str)] = &[
    ("eventfd", "EventFd"),
    ("eventpoll", "EventPoll"),
    ("timerfd", "TimerFd"),
    ("signalfd", "SignalFd"),
    ("inotify", "Inotify"),
    ("fanotify", "Fanotify"),
    ("pidfd", "Pidfd"),
    ("userfaultfd", "UserFaultFd"),
    ("io_uring", "IoUring"),
    ("perf_event", "PerfEvent"),
    ("bpf-map", "BpfMap"),
    ("bpf-prog", "BpfProgram"),
    ("bpf_link", "BpfLink"),
    ("landlock-ruleset", "LandlockRuleset"),
    ("secretmem", "Secretmem"),
];

/// Lists the open descriptors by ascending number.
///
/// No file is opened. Names and modes come from the kernel's memory. Facts of a descriptor that
/// could not be read are added to `diagnostics`.
///
/// # Errors
/// The descriptors cannot be listed.
pub(crate) fn handles(dir: &ProcDir, diagnostics: &mut Vec<Diagnostic>) -> Result<Vec<Handle>, Fault> {
    let operation = || format!("list the file descriptors of process {}", dir.pid);
    let failed = |error: io::Error| system_fault(operation(), &error);
    let mut numbers = numbers_in(&dir.path("fd")).map_err(failed)?;
    // The kernel finds a name in an open directory in half the time of a whole path.
    let directory = File::open(dir.path("fd")).map_err(failed)?;
    numbers.sort_unstable();
    let mut handles = Vec::with_capacity(numbers.len());
    for number in numbers {
        let mut lost = Vec::new();
        match handle(&directory, number, &mut lost) {
            Ok(handle) => handles.push(handle),
            // Another process that shares the table has closed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_listed(&directory, number) => {
                continue;
            }
            Err(error) => return Err(failed(error)),
        }
        diagnostics.extend(lost.into_iter().map(|(what, error)| {
            let reason = format!("the {what} of file descriptor {number} cannot be read: {error}");
            Diagnostic::missing(Subject::Stream("HandleData"), reason)
        }));
    }
    Ok(handles)
}

/// Whether the descriptor exists. The link itself is examined, not what it leads to.
fn is_listed(directory: &File, number: u32) -> bool {
    files::status_of_link(directory, &number.to_string()).is_ok()
}

fn handle(directory: &File, number: u32, lost: &mut Vec<(&str, io::Error)>) -> io::Result<Handle> {
    let link = number.to_string();
    let target = nix::fcntl::readlinkat(directory, link.as_str())?;
    let name = target.as_bytes();
    // A server of files may not answer.
    let mode = files::status_in(directory, &link).map(|status| status.mode);
    let mode = mode.unwrap_or_else(|error| {
        lost.push(("type", error));
        0
    });
    let access = files::status_of_link(directory, &link).map(|status| granted(status.mode));
    let access = access.unwrap_or_else(|error| {
        lost.push(("access", error));
        0
    });
    Ok(Handle {
        number: number.into(),
        type_name: type_name(name, mode).to_owned(),
        object_name: (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()),
        attributes: mode,
        granted_access: access,
        handle_count: 1,
        pointer_count: 0,
        information: Vec::new(),
    })
}

/// Returns the type of object of a descriptor, from the text of its link and its mode.
fn type_name(name: &[u8], mode: u32) -> &'static str {
    let named = std::str::from_utf8(name).unwrap_or_default();
    if let Some(kind) = named.strip_prefix("anon_inode:") {
        let kind = kind.trim_start_matches('[').trim_end_matches(']');
        let known = ANONYMOUS.iter().find(|(anonymous, _)| *anonymous == kind);
        return known.map_or("AnonInode", |(_, name)| *name);
    }
    if named.starts_with("pidfd:[") {
        return "Pidfd";
    }
    if named.starts_with("/memfd:") {
        return "Memfd";
    }
    if !named.starts_with('/')
        && [
            "mnt:[", "net:[", "ipc:[", "uts:[", "pid:[", "user:[", "cgroup:[", "time:[",
        ]
        .iter()
        .any(|kind| named.starts_with(kind))
    {
        return "Namespace";
    }
    match mode & libc::S_IFMT {
        libc::S_IFREG => "File",
        libc::S_IFDIR => "Directory",
        libc::S_IFCHR => "CharDevice",
        libc::S_IFBLK => "BlockDevice",
        libc::S_IFSOCK => "Socket",
        libc::S_IFLNK => "Link",
        // A pipe without a path is named after its inode.
        libc::S_IFIFO if named.starts_with("pipe:[") => "Pipe",
        libc::S_IFIFO => "Fifo",
        _ => "Unknown",
    }
}

/// Returns the Windows access mask for the mode in which a descriptor was opened.
///
/// The permissions of its link show that mode (`tid_fd_update_inode` in `fs/proc/fd.c`), so
/// `fdinfo` need not be read. An `O_PATH` descriptor permits no access.
fn granted(link: u32) -> u32 {
    let read = if link & libc::S_IRUSR != 0 {
        GENERIC_READ
    } else {
        0
    };
    let write = if link & libc::S_IWUSR != 0 {
        GENERIC_WRITE
    } else {
        0
    };
    read | write
}

/// What these tests would catch: missing descriptors, wrong types, names or access masks, and
/// descriptors that are opened.
#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::testing::Victim;

    #[test]
    fn a_childs_descriptors_are_what_it_opened() {
        let folder = std::env::temp_dir().join(format!("dumpwright-handles-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("writable");
        let file = folder.join("a file");
        fs::write(&file, "x").expect("writable");
        let c_path = |path: &Path| std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero byte");
        let (path, folder_path) = (c_path(&file), c_path(&folder));
        let victim = Victim::that::<11>(|words| {
            let mut pipe = [0; 2];
            let mut pair = [0; 2];
            // SAFETY: all arguments are numbers, C strings, or live arrays of the size that the
            // call fills.
            let opened = unsafe {
                libc::pipe(pipe.as_mut_ptr());
                libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
                let none = libc::O_CLOEXEC;
                [
                    libc::open(path.as_ptr(), libc::O_RDONLY),
                    libc::open(path.as_ptr(), libc::O_RDWR | none),
                    libc::open(path.as_ptr(), libc::O_PATH),
                    libc::open(folder_path.as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY),
                    libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY),
                    pipe[0],
                    pair[1],
                    libc::eventfd(3, 0),
                    libc::epoll_create1(0),
                    libc::memfd_create(c"notes".as_ptr(), 0),
                    libc::open(c"/proc/self/ns/uts".as_ptr(), libc::O_RDONLY),
                ]
            };
            for (word, fd) in words.iter_mut().zip(opened) {
                *word = fd as u64;
            }
        });
        let mut diagnostics = Vec::new();
        let handles = handles(&victim.dir(), &mut diagnostics).expect("readable");
        assert_eq!(diagnostics, []);
        assert!(handles.windows(2).all(|pair| pair[0].number < pair[1].number));
        let (read, write) = (0x0012_0089, 0x0012_0116);
        let file = file.to_string_lossy();
        let expected = [
            ("File", &*file, libc::S_IFREG, read),
            ("File", &*file, libc::S_IFREG, 0x0012_019f),
            ("File", &*file, libc::S_IFREG, 0),
            ("Directory", &*folder.to_string_lossy(), libc::S_IFDIR, read),
            ("CharDevice", "/dev/null", libc::S_IFCHR, write),
            ("Pipe", "pipe:[", libc::S_IFIFO, read),
            ("Socket", "socket:[", libc::S_IFSOCK, read | write),
            ("EventFd", "anon_inode:[eventfd]", 0, read | write),
            ("EventPoll", "anon_inode:[eventpoll]", 0, read | write),
            ("Memfd", "/memfd:notes (deleted)", libc::S_IFREG, read | write),
            ("Namespace", "uts:[", libc::S_IFREG, read),
        ];
        for (number, (kind, name, mode, access)) in victim.words.iter().zip(expected) {
            let handle = handles
                .iter()
                .find(|handle| handle.number == *number)
                .expect("listed");
            assert_eq!(handle.type_name, kind);
            assert!(
                handle
                    .object_name
                    .as_ref()
                    .is_some_and(|own| own.starts_with(name)),
                "{handle:?}"
            );
            if mode != 0 {
                assert_eq!(handle.attributes & libc::S_IFMT, mode, "{handle:?}");
            }
            assert_eq!(handle.granted_access, access, "{handle:?}");
        }
        fs::remove_dir_all(&folder).expect("removes it");
    }

    #[test]
    fn unknown_objects_are_called_so() {
        assert_eq!(type_name(b"anon_inode:[something new]", 0), "AnonInode");
        assert_eq!(type_name(b"anon_inode:inotify", 0), "Inotify");
        assert_eq!(type_name(b"/x", libc::S_IFIFO), "Fifo");
        assert_eq!(type_name(b"\xff", 0), "Unknown");
    }
}
