//! `/proc/PID`: the one door to what the kernel says about a process.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{Cpu, Fault, FaultKind};
use goblin::elf::header::{EM_386, EM_X86_64};

/// `PF_KTHREAD` in field 9 of `/proc/PID/stat`: a thread of the kernel itself, without user memory
/// (`include/linux/sched.h`).
const PF_KTHREAD: u64 = 0x0020_0000;

/// No text of `/proc` that is taken whole is longer than this. The longest honest ones are `maps` of a
/// process with very many mappings and `environ`, which `execve` limits to 6 MiB by default.
const TEXT_LIMIT: u64 = 1 << 30;

/// The directory of one process.
///
/// Everything is read through `/proc/PID/task/TASK`, where `TASK` is a thread that lives. Normally that
/// is the leader (`TASK == PID`). When the leader has ended and other threads have not, the
/// files directly under `/proc/PID` are empty or refuse to be read (`maps`, `exe`, `mem`), while those of a
/// live thread still show the shared address space (observed on Linux 6.18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcDir {
    /// The process id, as this process' pid namespace numbers it.
    pub(crate) pid: u32,
    /// A thread of it that lives.
    pub(crate) task: u32,
    /// What kind of program it runs.
    pub(crate) cpu: Cpu,
}

impl ProcDir {
    /// The directory of process `pid`.
    ///
    /// # Errors
    /// There is no such process, it is a thread of another one, it has ended, it belongs to the kernel,
    /// or `/proc` does not show it.
    pub(crate) fn new(pid: u32) -> Result<Self, Fault> {
        let operation = || format!("examine process {pid}");
        let status = match fs::read(format!("/proc/{pid}/status")) {
            Ok(status) => status,
            Err(error) => return Err(not_shown(pid, &error)),
        };
        match field(&status, "Tgid").and_then(|tgid| tgid.parse::<u32>().ok()) {
            Some(tgid) if tgid != pid => {
                return Err(Fault::new(
                    FaultKind::NoSuchProcess,
                    operation(),
                    format!("{pid} is not a process but a thread of process {tgid}"),
                )
                .advise(format!("dump process {tgid}")));
            }
            _ => {}
        }
        let mut dir = Self {
            pid,
            task: pid,
            cpu: Cpu::Amd64,
        };
        let stat = dir
            .process_stat()
            .map_err(|error| system_fault(operation(), &error))?;
        if stat.flags & PF_KTHREAD != 0 {
            return Err(Fault::new(
                FaultKind::KernelThread,
                operation(),
                format!(
                    "it is the kernel thread \"{}\", which has no user memory",
                    stat.comm_text()
                ),
            ));
        }
        if stat.has_ended() {
            let live = dir
                .thread_ids()
                .unwrap_or_default()
                .into_iter()
                .find(|tid| dir.thread_stat(*tid).is_ok_and(|stat| !stat.has_ended()));
            dir.task = live.ok_or_else(|| {
                Fault::new(
                    FaultKind::Zombie,
                    operation(),
                    "it has ended and only waits for its parent to take note",
                )
            })?;
            tracing::debug!(
                pid,
                task = dir.task,
                "the leader has ended, going by another thread"
            );
        }
        dir.cpu = program_family(&dir.path("exe")).unwrap_or(Cpu::Amd64);
        Ok(dir)
    }

    /// Path of a file that every thread has, seen through the live thread.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}/task/{}", self.pid, self.task));
        path.push(name);
        path
    }

    /// Path of a file that only the process has, such as `map_files`.
    pub(crate) fn process_path(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}", self.pid));
        path.push(name);
        path
    }

    /// The whole text of the file `name` of the live thread.
    pub(crate) fn read(&self, name: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        read_bounded(&self.path(name), TEXT_LIMIT)
    }

    /// The ids of all threads there are now, the leader first, then ascending. Includes ended ones that
    /// have not been reaped.
    pub(crate) fn thread_ids(&self) -> io::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.process_path("task"))? {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        ids.sort_unstable_by_key(|id| (*id != self.pid, *id));
        Ok(ids)
    }

    /// `stat` of the process as a whole: its times are those of all threads together.
    pub(crate) fn process_stat(&self) -> io::Result<ThreadStat> {
        read_bounded(&self.process_path("stat"), TEXT_LIMIT).and_then(|text| ThreadStat::parse(&text))
    }

    /// `stat` of one thread.
    pub(crate) fn thread_stat(&self, tid: u32) -> io::Result<ThreadStat> {
        read_bounded(&self.process_path(format!("task/{tid}/stat")), TEXT_LIMIT)
            .and_then(|text| ThreadStat::parse(&text))
    }

    /// The kernel's words to the new program (`auxv`): pairs of type and value, without the closing pair.
    pub(crate) fn auxv(&self) -> io::Result<Vec<(u64, u64)>> {
        let text = self.read("auxv")?;
        let size = self.cpu.pointer_size() as usize;
        let word = |bytes: &[u8]| LittleEndian::read_uint(bytes, size);
        Ok(text
            .chunks_exact(2 * size)
            .map(|pair| (word(&pair[..size]), word(&pair[size..])))
            .take_while(|(kind, _)| *kind != 0)
            .collect())
    }

    /// One value of `auxv`, by its `AT_` number.
    pub(crate) fn auxv_value(&self, kind: u64) -> Option<u64> {
        let words = self.auxv().ok()?;
        words
            .into_iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, value)| value)
    }
}

/// The family of the program that a process runs, by the ELF header of its executable (`/proc/…/exe`). `None` if that
/// cannot be read or is another one.
pub(crate) fn program_family(exe: &Path) -> Option<Cpu> {
    let mut header = [0; 20];
    File::open(exe)
        .and_then(|mut file| file.read_exact(&mut header))
        .ok()?;
    let machine = u16::from_le_bytes([header[18], header[19]]);
    match (&header[..5], machine) {
        (b"\x7fELF\x02", EM_X86_64) => Some(Cpu::Amd64),
        (b"\x7fELF\x01", EM_386) => Some(Cpu::X86),
        _ => None,
    }
}

/// What is used of `/proc/…/stat`. Numbers that the kernel hides from us are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThreadStat {
    /// The thread's name, as it is: it may hold blanks, parentheses and bytes that are not UTF-8.
    pub(crate) comm: Vec<u8>,
    /// State: `R`, `S`, `D`, `T`, `t`, `Z`, `X` …
    pub(crate) state: char,
    /// The parent's process id.
    pub(crate) ppid: u32,
    /// The kernel's `PF_` flags.
    pub(crate) flags: u64,
    /// Page faults answered without I/O.
    pub(crate) minflt: u64,
    /// Page faults that needed I/O.
    pub(crate) majflt: u64,
    /// Time in user code, in clock ticks.
    pub(crate) utime: u64,
    /// Time in the kernel, in clock ticks.
    pub(crate) stime: u64,
    /// Nice value, -20 to 19.
    pub(crate) nice: i64,
    /// Start after boot, in clock ticks.
    pub(crate) starttime: u64,
    /// Priority of a real-time thread, 1 to 99; else 0.
    pub(crate) rt_priority: u64,
    /// Scheduling policy (`SCHED_…`).
    pub(crate) policy: u64,
    /// Where the argument strings begin.
    pub(crate) arg_start: u64,
    /// Where they end.
    pub(crate) arg_end: u64,
    /// Where the environment strings begin.
    pub(crate) env_start: u64,
    /// Where they end.
    pub(crate) env_end: u64,
}

impl ThreadStat {
    /// Parses a line of `stat`. The name stands in parentheses and may hold any byte, so that only the
    /// *last* closing parenthesis ends it.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Self> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "a stat line without a name");
        let open = text.iter().position(|b| *b == b'(').ok_or_else(malformed)?;
        let close = text.iter().rposition(|b| *b == b')').ok_or_else(malformed)?;
        let comm = text.get(open + 1..close).ok_or_else(malformed)?.to_vec();
        let rest = String::from_utf8_lossy(&text[close + 1..]);
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc_pid_stat(5) counts fields from 1; the state is number 3 and our first.
        let word = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let unsigned = |number| word(number).parse::<u64>().unwrap_or(0);
        Ok(Self {
            comm,
            state: word(3).chars().next().unwrap_or('?'),
            ppid: word(4).parse().unwrap_or(0),
            flags: unsigned(9),
            minflt: unsigned(10),
            majflt: unsigned(12),
            utime: unsigned(14),
            stime: unsigned(15),
            nice: word(19).parse().unwrap_or(0),
            starttime: unsigned(22),
            rt_priority: unsigned(40),
            policy: unsigned(41),
            arg_start: unsigned(48),
            arg_end: unsigned(49),
            env_start: unsigned(50),
            env_end: unsigned(51),
        })
    }

    /// Whether the thread has ended: a zombie, or dead.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    /// The name as text.
    pub(crate) fn comm_text(&self) -> String {
        String::from_utf8_lossy(&self.comm).into_owned()
    }
}

/// The line `name:` of a text such as `status` or `cpuinfo`, without the blanks around its value.
pub(crate) fn field(text: &[u8], name: &str) -> Option<String> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        (line[..colon].trim_ascii() == name.as_bytes())
            .then(|| String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned())
    })
}

/// Reads a file whole, but refuses more than `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is longer than {limit} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

/// A fault for a system call that failed while doing `operation`.
///
/// A process that ends makes its files in `/proc` vanish (ENOENT) or their reads fail (ESRCH).
pub(crate) fn system_fault(operation: impl Into<String>, error: &io::Error) -> Fault {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => FaultKind::Gone,
        Some(libc::EACCES | libc::EPERM) => FaultKind::NotPermitted,
        _ => FaultKind::System,
    };
    let mut fault = Fault::new(kind, operation, error.to_string());
    if kind == FaultKind::NotPermitted {
        fault = fault.advise("run as the user who owns the process, or as root");
    }
    match error.raw_os_error() {
        Some(code) => fault.with_os_code(code),
        None => fault,
    }
}

/// Why `/proc/PID/status` could not be read: no such process, or a `/proc` that keeps it from us.
fn not_shown(pid: u32, error: &io::Error) -> Fault {
    let operation = format!("examine process {pid}");
    if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) {
        return system_fault(operation, error);
    }
    if !Path::new("/proc/self/status").exists() {
        return Fault::new(FaultKind::System, operation, "/proc is not mounted here")
            .advise("mount it: mount -t proc proc /proc");
    }
    // `hidepid=` makes the processes of others vanish from /proc; a signal number 0 tells whether
    // there is one, and sends nothing.
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 0);
    let exists = raw.is_some_and(|raw| {
        !matches!(
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(raw), None),
            Err(nix::errno::Errno::ESRCH)
        )
    });
    if exists {
        return Fault::new(
            FaultKind::NotPermitted,
            operation,
            "the process exists but /proc does not show it",
        )
        .advise("/proc is probably mounted with hidepid; run as the user who owns the process, or as root");
    }
    Fault::new(
        FaultKind::NoSuchProcess,
        operation,
        "there is no process with this id",
    )
    .with_os_code(libc::ESRCH)
}

/// Size of a page in bytes.
pub(crate) fn page_size() -> u64 {
    // SAFETY: sysconf takes a number and returns a number; it touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two())
        .unwrap_or(4096)
}

/// Clock ticks a second, the unit of the times in `stat`.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: sysconf takes a number and returns a number; it touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks)
        .ok()
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

/// What these tests would catch: a thread name that shifts the fields behind it, a leader that ended
/// taken for a dead process, and unclear words about a number that names no process.
#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_name_of_blanks_and_parentheses_shifts_no_field() {
        let line = b"17 (a) S 9 (b) R 1 17 17 0 -1 4194304 5 0 6 0 70 80 0 0 20 -3 1 0 900 1 2 \
                     3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 42 2 0 0 0 0 0 0 100 200 300 400 0\n";
        let stat = ThreadStat::parse(line).expect("well formed");
        assert_eq!(stat.comm, b"a) S 9 (b");
        assert_eq!((stat.state, stat.ppid, stat.flags), ('R', 1, 4_194_304));
        assert_eq!((stat.minflt, stat.majflt, stat.utime, stat.stime), (5, 6, 70, 80));
        assert_eq!(
            (stat.nice, stat.starttime, stat.rt_priority, stat.policy),
            (-3, 900, 42, 2)
        );
        assert_eq!(
            (stat.arg_start, stat.arg_end, stat.env_start, stat.env_end),
            (100, 200, 300, 400)
        );
    }

    #[test]
    fn hostile_stat_lines_do_not_panic() {
        for text in [
            &b""[..],
            b"(",
            b")(",
            b"1 ()",
            b"1 (x) ",
            b"1 (x) Q -1 \xff 99999999999999999999999",
        ] {
            let _ = ThreadStat::parse(text);
        }
        assert!(ThreadStat::parse(b"1 )x( S").is_err());
    }

    #[test]
    fn own_stat_agrees_with_the_arguments_the_kernel_copied() {
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let stat = dir.process_stat().expect("readable");
        let cmdline = dir.read("cmdline").expect("readable");
        assert_eq!(stat.arg_end - stat.arg_start, cmdline.len() as u64);
        assert!(stat.env_start >= stat.arg_end);
        assert_eq!(dir.auxv_value(6 /* AT_PAGESZ */), Some(page_size()));
    }

    #[test]
    fn a_number_without_a_process_is_named_so() {
        // Beyond the largest pid the kernel can be configured to give (2^22).
        let fault = ProcDir::new(0x7fff_fff0).expect_err("no such process");
        assert_eq!(fault.kind, FaultKind::NoSuchProcess);
        assert_eq!(
            fault.to_string(),
            "cannot examine process 2147483632: there is no process with this id"
        );
    }

    #[test]
    fn a_thread_that_leads_nothing_is_told_with_its_process() {
        let (tell, told) = std::sync::mpsc::channel();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw().unsigned_abs())
                .expect("main listens");
            let _ = wait.recv();
        });
        let tid = told.recv().expect("the thread tells its id");
        let fault = ProcDir::new(tid).expect_err("not a process");
        assert_eq!(fault.kind, FaultKind::NoSuchProcess);
        assert!(
            fault
                .reason
                .contains(&format!("a thread of process {}", std::process::id())),
            "{fault}"
        );
        let ids = ProcDir::new(std::process::id()).and_then(|dir| {
            dir.thread_ids()
                .map_err(|error| system_fault("list threads", &error))
        });
        let ids = ids.expect("own threads");
        assert_eq!(ids[0], std::process::id());
        assert!(ids[1..].contains(&tid) && ids[1..].is_sorted());
        drop(done);
        thread.join().expect("ends");
    }

    #[test]
    fn a_zombie_is_called_one() {
        let mut child = Command::new("true")
            .stdin(Stdio::null())
            .spawn()
            .expect("true exists");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        // Waits until it has ended, and leaves it unreaped.
        nix::sys::wait::waitid(
            nix::sys::wait::Id::Pid(pid),
            nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
        )
        .expect("ends");
        let fault = ProcDir::new(child.id()).expect_err("ended");
        assert_eq!(fault.kind, FaultKind::Zombie);
        child.wait().expect("reaped");
    }

    #[test]
    fn behind_an_ended_leader_a_live_thread_still_shows_the_memory() {
        // perl and python may be absent; the test's own process plays the child after a fork.
        let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        // SAFETY: the child only makes system calls and starts one thread by a raw clone-free way: it
        // calls libc functions that are safe after fork in a process whose other threads hold no lock
        // that is needed here (socket I/O only; no allocation).
        match unsafe { nix::unistd::fork() }.expect("fork") {
            nix::unistd::ForkResult::Child => {
                extern "C" fn second(argument: *mut libc::c_void) -> *mut libc::c_void {
                    let fd = argument as usize as i32;
                    let mut byte = 0u8;
                    // SAFETY: reads and writes one byte of a local variable through an open socket,
                    // then ends the process without running anything else.
                    unsafe {
                        libc::write(fd, (&raw const byte).cast(), 1);
                        libc::read(fd, (&raw mut byte).cast(), 1);
                        libc::_exit(0)
                    }
                }
                let fd = std::os::fd::AsRawFd::as_raw_fd(&theirs);
                let mut thread = 0;
                // SAFETY: starts a thread with default attributes on a function of the right type, then
                // ends only the calling thread, the leader.
                unsafe {
                    libc::pthread_create(
                        &raw mut thread,
                        std::ptr::null(),
                        second,
                        fd as usize as *mut libc::c_void,
                    );
                    libc::syscall(libc::SYS_exit, 0);
                }
                unreachable!("the leader has ended");
            }
            nix::unistd::ForkResult::Parent { child } => {
                let mut byte = [0];
                ours.read_exact(&mut byte).expect("the second thread runs");
                let pid = child.as_raw().unsigned_abs();
                // The leader ends at its own pace; ask until the kernel says so.
                while !ThreadStat::parse(&fs::read(format!("/proc/{pid}/stat")).expect("there"))
                    .expect("parses")
                    .has_ended()
                {
                    std::thread::yield_now();
                }
                let dir = ProcDir::new(pid).expect("still alive in another thread");
                assert_ne!(dir.task, pid);
                assert!(fs::read(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.is_empty()));
                assert!(!dir.read("maps").expect("readable").is_empty());
                ours.write_all(&byte).expect("lets it end");
                nix::sys::wait::waitpid(child, None).expect("reaped");
                let _ = theirs.write(&byte);
            }
        }
    }
}
