//! Takes rights from the calling process, before it examines a process that it must not trust.
//!
//! A handler of cores runs as root, and what it reads was written by a program that has crashed. So
//! the process that examines the crashed one gives up everything but reading:
//!
//! * its user (it becomes `nobody`) and all capabilities but three that permit reading: without
//!   `CAP_SYS_PTRACE` it could not read the memory of processes of others, without
//!   `CAP_DAC_READ_SEARCH` not their lists of open files, and without `CAP_CHECKPOINT_RESTORE` not
//!   the files that they have mapped;
//! * all system calls that change something outside of it (seccomp(2)). Those that remain read, or
//!   write to files that are open already. It cannot open files for writing, start programs or
//!   processes, send signals, use the network, or trace.
//!
//! What remains is the right to read what root can read. Landlock is not used, because a process in
//! a Landlock domain may not read the memory of a process outside of it.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

/// `nobody` and `nogroup` of all distributions, and the id that the kernel shows for users that a
/// namespace does not have.
const NOBODY: u32 = 65534;

/// The numbers of the capabilities that are kept (`linux/capability.h`).
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_CHECKPOINT_RESTORE: u32 = 40;

/// Lets the kernel kill the calling process as soon as the thread that has started it ends.
///
/// It must be called after the user was changed, because that cancels it.
///
/// # Errors
/// `parent` is not the id of the parent any more, or the kernel refuses.
pub fn end_with_parent(parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if nix::unistd::getppid().as_raw().cast_unsigned() != parent {
        return Err(io::Error::other("the process that started this one has ended"));
    }
    Ok(())
}

/// Takes from the calling process all rights but those to read processes and files, and to write to
/// files that are open already, for the rest of its life. It must have one thread. Memory must not
/// become executable afterwards.
///
/// A process that is not root keeps its user and its capabilities.
///
/// # Errors
/// The kernel refuses a step. Some rights may have been given up.
pub fn confine() -> io::Result<()> {
    prctl::set_no_new_privs()?;
    if nix::unistd::geteuid().is_root() {
        prctl::set_keepcaps(true)?;
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(group, group, group)?;
        nix::unistd::setresuid(user, user, user)?;
        keep_capabilities()?;
    }
    forbid_system_calls()
}

/// Gives up all capabilities but the three.
fn keep_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Sets {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: the structures have the layout of `cap_user_header_t` and of two
    // `cap_user_data_t`, as version 3 requires, and live during the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    Errno::result(got)?;
    for (index, set) in sets.iter_mut().enumerate() {
        let wanted = [CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE];
        let of_word = wanted.iter().filter(|number| (**number / 32) as usize == index);
        // Kernels before Linux 5.9 lack the last one, and a container may lack any of them.
        let mask = set.permitted & of_word.fold(0, |mask, number| mask | 1 << (number % 32));
        *set = Sets {
            effective: mask,
            permitted: mask,
            inheritable: 0,
        };
    }
    // SAFETY: as above; the kernel only reads.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
    Errno::result(done)?;
    Ok(())
}

/// The system calls that are permitted with any arguments.
const PERMITTED: &[libc::c_long] = &[
    // Files that are open, and facts about files.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_memfd_create,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_fstat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    // Memory, threads and time.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_time,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_prctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Facts about this process and the system.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    // The crashed process.
    libc::SYS_process_vm_readv,
];

/// Offsets in `struct seccomp_data` (`linux/seccomp.h`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// The offset of the lower half of an argument.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// `AUDIT_ARCH_X86_64`: the machine, 64 bits, little-endian.
const X86_64: u32 = 0xc000_003e;

/// The bits of `open` that create, change or lock a file, or that open it for writing.
const WRITING: u32 = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND) as u32
    | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;

/// Installs the filter of system calls. Those that it does not permit fail with EPERM.
fn forbid_system_calls() -> io::Result<()> {
    let mut filter = filter();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the structure and the instructions that it points to live during the call, and the
    // kernel copies them. The process has no new privileges from here on, which the call requires.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    Errno::result(done)?;
    Ok(())
}

/// Returns the instructions of the filter.
fn filter() -> Vec<libc::sock_filter> {
    const PERMIT: u32 = libc::SECCOMP_RET_ALLOW;
    const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    /// The callers then use `clone` and `openat`, whose flags can be examined.
    const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    let step = |code: u32, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    // Skips this many of the next instructions if the comparison does not hold.
    let unless = |code: u32, value: u32, skipped: u8| libc::sock_filter {
        jf: skipped,
        ..step(code, value)
    };
    let mut filter = vec![
        step(LOAD, ARCHITECTURE),
        // The numbers of other architectures have other meanings. Those of x32 have bit 30 set, and
        // are equal to none below.
        libc::sock_filter {
            jt: 1,
            ..step(IS, X86_64)
        },
        step(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        step(LOAD, NUMBER),
    ];
    for number in PERMITTED {
        filter.push(unless(IS, *number as u32, 1));
        filter.push(step(RETURN, PERMIT));
    }
    // Refused if the argument has one of the bits.
    let without = [
        (libc::SYS_open, 1, WRITING),
        (libc::SYS_openat, 2, WRITING),
        (libc::SYS_mmap, 2, libc::PROT_EXEC as u32),
        (libc::SYS_mprotect, 2, libc::PROT_EXEC as u32),
    ];
    for (number, index, bits) in without {
        filter.extend([
            unless(IS, number as u32, 4),
            step(LOAD, argument(index)),
            unless(HAS, bits, 1),
            step(RETURN, REFUSE),
            step(RETURN, PERMIT),
        ]);
    }
    filter.extend([
        // The arguments of these are in memory, where the filter cannot see them.
        unless(IS, libc::SYS_openat2 as u32, 1),
        step(RETURN, UNKNOWN),
        unless(IS, libc::SYS_clone3 as u32, 1),
        step(RETURN, UNKNOWN),
        // New threads, but no new processes.
        unless(IS, libc::SYS_clone as u32, 4),
        step(LOAD, argument(0)),
        unless(HAS, libc::CLONE_THREAD as u32, 1),
        step(RETURN, PERMIT),
        step(RETURN, REFUSE),
        // Its own limits only.
        unless(IS, libc::SYS_prlimit64 as u32, 3),
        step(LOAD, argument(0)),
        unless(IS, 0, 1),
        step(RETURN, PERMIT),
        step(RETURN, REFUSE),
    ]);
    filter
}

/// What this test would catch: a right that is kept, and one that a dump needs and that is given
/// up.
#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::process::Command;

    use super::*;

    /// Confines a process of its own.
    #[test]
    fn a_confined_process_reads_and_changes_nothing() {
        const AS_CHILD: &str = "DUMPWRIGHT_TEST_CONFINED";
        let own = std::env::current_exe().expect("known");
        if std::env::var_os(AS_CHILD).is_none() {
            let output = Command::new(own)
                .args([
                    "--exact",
                    "confine::tests::a_confined_process_reads_and_changes_nothing",
                    "--nocapture",
                    "--test-threads=1",
                ])
                .env(AS_CHILD, "1")
                .output()
                .expect("runs");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{}{said}", output.status);
            return;
        }
        let folder = std::env::temp_dir();
        let was_root = nix::unistd::geteuid().is_root();
        confine().expect("permitted");
        let status = fs::read_to_string("/proc/thread-self/status").expect("readable");
        let line = |name: &str| crate::proc_dir::field(status.as_bytes(), name).expect("there");
        assert_eq!((line("NoNewPrivs"), line("Seccomp")), ("1".into(), "2".into()));
        if was_root {
            let users: Vec<String> = line("Uid").split_ascii_whitespace().map(str::to_owned).collect();
            assert_eq!(users, ["65534"; 4]);
            let kept = u64::from_str_radix(&line("CapPrm"), 16).expect("hexadecimal");
            assert_eq!(kept & !(1 << 2 | 1 << 19 | 1 << 40), 0, "{kept:#x}");
            assert!(kept >> 19 & 1 == 1 && line("CapEff") == line("CapPrm"));
        }
        let refused = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        refused(File::create(folder.join("new")).expect_err("creates no file"));
        refused(
            OpenOptions::new()
                .write(true)
                .open("/dev/null")
                .expect_err("opens none for writing"),
        );
        refused(Command::new("/bin/true").status().expect_err("starts no program"));
        refused(std::net::UdpSocket::bind("127.0.0.1:0").expect_err("has no network"));
        let parent = nix::unistd::getppid();
        refused(
            nix::sys::signal::kill(parent, None)
                .expect_err("sends no signal")
                .into(),
        );
        refused(
            nix::sys::ptrace::seize(parent, nix::sys::ptrace::Options::empty())
                .expect_err("traces nobody")
                .into(),
        );
        // Threads can be started, and files can be read.
        let read = std::thread::spawn(|| fs::read("/proc/self/maps"))
            .join()
            .expect("ends well");
        assert!(!read.expect("readable").is_empty());
    }
}
