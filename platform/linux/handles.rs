//! Open file descriptors, as Windows' handles.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use dumpwright_target::{Fault, Handle};

use crate::files;
use crate::proc_dir::{ProcDir, read_bounded, system_fault};

/// What a descriptor to be read from allows: Windows' `FILE_GENERIC_READ`.
const GENERIC_READ: u32 = 0x0012_0089;
/// What one to be written to allows: `FILE_GENERIC_WRITE`.
const GENERIC_WRITE: u32 = 0x0012_0116;

/// Nameless objects of the kernel and what they are called here. The kernel puts most names in brackets, but not all.
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

/// The open descriptors, ascending. Nothing is opened: names and modes are those the kernel has in memory.
pub(crate) fn handles(dir: &ProcDir) -> Result<Vec<Handle>, Fault> {
    let listed = fs::read_dir(dir.path("fd")).and_then(|entries| {
        let mut numbers: Vec<u32> = Vec::new();
        for entry in entries {
            numbers.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<u32>().ok()),
            );
        }
        Ok(numbers)
    });
    let operation = || format!("list the file descriptors of process {}", dir.pid);
    let mut numbers = listed.map_err(|error| system_fault(operation(), &error))?;
    numbers.sort_unstable();
    let mut handles = Vec::with_capacity(numbers.len());
    for number in numbers {
        match handle(dir, number) {
            Ok(handle) => handles.push(handle),
            // Closed meanwhile, by another process that shares the table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system_fault(operation(), &error)),
        }
    }
    Ok(handles)
}

fn handle(dir: &ProcDir, number: u32) -> io::Result<Handle> {
    let path = dir.path(format!("fd/{number}"));
    let target = fs::read_link(&path)?;
    let name = target.as_os_str().as_bytes();
    // The file itself may be unreachable, on a server that does not answer; then the mode is unknown.
    let mode = files::status_by_name(&path).map_or(0, |status| status.mode);
    Ok(Handle {
        number: number.into(),
        type_name: type_name(name, mode).to_owned(),
        object_name: (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()),
        attributes: mode,
        granted_access: granted(&dir.path(format!("fdinfo/{number}"))),
        handle_count: 1,
        pointer_count: 0,
        information: Vec::new(),
    })
}

/// What kind of object a descriptor leads to, by the text of its link and its mode.
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
        // A pipe without a place in any folder is called after its inode.
        libc::S_IFIFO if named.starts_with("pipe:[") => "Pipe",
        libc::S_IFIFO => "Fifo",
        _ => "Unknown",
    }
}

/// Windows' access mask for how a descriptor was opened (`flags:` of `fdinfo`, in octal).
fn granted(fdinfo: &Path) -> u32 {
    let text = read_bounded(fdinfo, 16 << 20).unwrap_or_default();
    let flags = crate::proc_dir::field(&text, "flags").and_then(|word| i32::from_str_radix(&word, 8).ok());
    match flags {
        // Opened to name a file only.
        Some(flags) if flags & libc::O_PATH != 0 => 0,
        Some(flags) => match flags & libc::O_ACCMODE {
            libc::O_RDONLY => GENERIC_READ,
            libc::O_WRONLY => GENERIC_WRITE,
            libc::O_RDWR => GENERIC_READ | GENERIC_WRITE,
            _ => 0,
        },
        None => 0,
    }
}

/// What these tests would catch: descriptors missed, opened or called something else than they are.
#[cfg(test)]
mod tests {
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
            // SAFETY: all arguments are numbers, strings that end, or live arrays of the size that is filled.
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
        let handles = handles(&victim.dir()).expect("readable");
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
