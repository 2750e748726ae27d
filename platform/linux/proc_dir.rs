//! Reads the files of a process in `/proc/PID`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{Cpu, Fault, FaultKind};
use goblin::elf::header::{EM_386, EM_X86_64};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::files;

/// `PF_KTHREAD` in field 9 of `/proc/PID/stat`: a kernel thread, which has no user memory
/// (`include/linux/sched.h`).
const PF_KTHREAD: u64 = 0x0020_0000;

/// The maximum size of a file in `/proc` that is read as a whole.
///
/// The longest legitimate ones are `maps` of a process with very many mappings, and `environ`,
/// which `execve` limits to 6 MiB by default.
const TEXT_LIMIT: u64 = 1 << 30;

/// The directory of one process in `/proc`.
///
/// Files are read through `/proc/PID/task/TASK`, where `TASK` is a live thread. That is normally
/// the leader (`TASK == PID`). If the leader has ended and other threads have not, the files
/// directly under `/proc/PID` are empty or cannot be read (`maps`, `exe`, `mem`). Those of a live
/// thread still show the shared address space (observed on Linux 6.18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcDir {
    /// The process id, as numbered in our pid namespace.
    pub(crate) pid: u32,
    /// A thread of the process that has not ended.
    pub(crate) task: u32,
    /// The processor family of its program.
    pub(crate) cpu: Cpu,
}

impl ProcDir {
    /// Opens the directory of process `pid`.
    ///
    /// # Errors
    /// There is no such process, `pid` is a thread of another process, the process has ended or is
    /// a kernel thread, or `/proc` does not show it.
    pub(crate) fn new(pid: u32) -> Result<Self, Fault> {
        let operation = || format!("examine process {pid}");
        let status = match read_bounded(Path::new(&format!("/proc/{pid}/status")), TEXT_LIMIT) {
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
                    "it has ended, and its parent has not reaped it yet",
                )
            })?;
            tracing::debug!(pid, task = dir.task, "the leader has ended, using another thread");
        }
        dir.cpu = dir.program().family();
        Ok(dir)
    }

    /// The path of a file that exists for every thread, for the live thread.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}/task/{}", self.pid, self.task));
        path.push(name);
        path
    }

    /// The path of a file that exists only for the process, such as `map_files`.
    pub(crate) fn process_path(&self, name: impl AsRef<Path>) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}", self.pid));
        path.push(name);
        path
    }

    /// Reads the whole file `name` of the live thread.
    pub(crate) fn read(&self, name: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        read_bounded(&self.path(name), TEXT_LIMIT)
    }

    /// Lists the ids of all threads: the leader first, then the others in ascending order. The list
    /// includes threads that have ended but were not reaped.
    pub(crate) fn thread_ids(&self) -> io::Result<Vec<u32>> {
        let mut ids = numbers_in(&self.process_path("task"))?;
        ids.sort_unstable_by_key(|id| (*id != self.pid, *id));
        Ok(ids)
    }

    /// Reads `stat` of the process as a whole. Its times are the sums over all threads.
    pub(crate) fn process_stat(&self) -> io::Result<ThreadStat> {
        read_bounded(&self.process_path("stat"), TEXT_LIMIT).and_then(|text| ThreadStat::parse(&text))
    }

    /// Reads `stat` of one thread.
    pub(crate) fn thread_stat(&self, tid: u32) -> io::Result<ThreadStat> {
        read_bounded(&self.process_path(format!("task/{tid}/stat")), TEXT_LIMIT)
            .and_then(|text| ThreadStat::parse(&text))
    }

    /// Reads the auxiliary vector, which the kernel passes to a new program, as pairs of type and
    /// value. The terminating pair is not included.
    pub(crate) fn auxv(&self) -> io::Result<Vec<(u64, u64)>> {
        Ok(auxv_pairs(&self.read("auxv")?, self.cpu.pointer_size() as usize))
    }

    /// Determines what kind of program the process runs.
    ///
    /// The program's file is opened only if `auxv` does not tell, and only if its file system
    /// answers. To open it is a request to its server, and the process may hang because that one
    /// does not answer.
    pub(crate) fn program(&self) -> Program {
        match self.read("auxv").map(|text| Program::of_auxv(&text)) {
            Ok(Program::Unknown) | Err(_) => {}
            Ok(known) => return known,
        }
        let mut header = [0; 20];
        match files::read_program(self, &mut header) {
            Ok(()) => Program::of_header(&header),
            Err(_) => Program::Unknown,
        }
    }

    /// Returns one value of the auxiliary vector, by its `AT_` number.
    pub(crate) fn auxv_value(&self, kind: u64) -> Option<u64> {
        let words = self.auxv().ok()?;
        words
            .into_iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, value)| value)
    }

    /// Returns values of the auxiliary vector, by their `AT_` numbers.
    ///
    /// # Errors
    /// It cannot be read, or lacks one of them; the kernel gives all programs those that are asked
    /// for here.
    pub(crate) fn auxv_values<const N: usize>(&self, kinds: [u64; N]) -> io::Result<[u64; N]> {
        let words = self.auxv()?;
        let mut values = [0; N];
        for (value, kind) in values.iter_mut().zip(kinds) {
            let found = words.iter().find(|(known, _)| *known == kind);
            *value = found
                .map(|(_, value)| *value)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is incomplete"))?;
        }
        Ok(values)
    }
}

/// Parses an auxiliary vector with words of `size` bytes.
pub(crate) fn auxv_pairs(vector: &[u8], size: usize) -> Vec<(u64, u64)> {
    let word = |bytes: &[u8]| LittleEndian::read_uint(bytes, size);
    vector
        .chunks_exact(2 * size)
        .map(|pair| (word(&pair[..size]), word(&pair[size..])))
        .take_while(|(kind, _)| *kind != 0)
        .collect()
}

/// The kind of program that a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Amd64,
    X86,
    /// 64-bit code with 32-bit pointers.
    X32,
    /// It is not known.
    Unknown,
}

impl Program {
    /// The processor family.
    pub(crate) fn family(self) -> Cpu {
        match self {
            Self::X86 => Cpu::X86,
            _ => Cpu::Amd64,
        }
    }

    /// Determines the kind from the text of `auxv`, without access to the program's file.
    ///
    /// The kernel writes it with pointers of the program's size, and with the size of a program
    /// header in it. Only programs for i386 have `AT_SYSINFO`, and not if the system has no vdso
    /// for them, so that [`Unknown`](Self::Unknown) may be an i386 or an x32 program.
    fn of_auxv(text: &[u8]) -> Self {
        const AT_PHENT: u64 = 4;
        const AT_SYSINFO: u64 = 32;
        let value = |size: usize, kind: u64| {
            let word = |bytes: &[u8]| LittleEndian::read_uint(bytes, size);
            let pair = text
                .chunks_exact(2 * size)
                .find(|pair| word(&pair[..size]) == kind)?;
            Some(word(&pair[size..]))
        };
        if value(8, AT_PHENT) == Some(size_of::<goblin::elf64::program_header::ProgramHeader>() as u64) {
            return Self::Amd64;
        }
        let is_narrow =
            value(4, AT_PHENT) == Some(size_of::<goblin::elf32::program_header::ProgramHeader>() as u64);
        match is_narrow && value(4, AT_SYSINFO).is_some() {
            true => Self::X86,
            false => Self::Unknown,
        }
    }

    /// Determines the kind from the first bytes of the program's file.
    fn of_header(header: &[u8; 20]) -> Self {
        let machine = u16::from_le_bytes([header[18], header[19]]);
        match (&header[..5], machine) {
            (b"\x7fELF\x02", EM_X86_64) => Self::Amd64,
            (b"\x7fELF\x01", EM_386) => Self::X86,
            (b"\x7fELF\x01", EM_X86_64) => Self::X32,
            _ => Self::Unknown,
        }
    }
}

/// The fields of `/proc/…/stat` that are used. Fields that the kernel does not show us are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThreadStat {
    /// The thread's name, unchanged. It may contain spaces, parentheses and bytes that are not
    /// UTF-8.
    pub(crate) comm: Vec<u8>,
    /// The state: `R`, `S`, `D`, `T`, `t`, `Z`, `X` …
    pub(crate) state: char,
    /// The process id of the parent.
    pub(crate) ppid: u32,
    /// The `PF_` flags of the kernel.
    pub(crate) flags: u64,
    /// The number of page faults that needed no I/O.
    pub(crate) minflt: u64,
    /// The number of page faults that needed I/O.
    pub(crate) majflt: u64,
    /// The time in user code, in clock ticks.
    pub(crate) utime: u64,
    /// The time in the kernel, in clock ticks.
    pub(crate) stime: u64,
    /// The nice value, -20 to 19.
    pub(crate) nice: i64,
    /// The number of threads of the process.
    pub(crate) threads: u64,
    /// The start time after boot, in clock ticks.
    pub(crate) starttime: u64,
    /// The stack pointer with which the program started.
    pub(crate) start_stack: u64,
    /// The priority of a real-time thread, 1 to 99. Otherwise 0.
    pub(crate) rt_priority: u64,
    /// The scheduling policy (`SCHED_…`).
    pub(crate) policy: u64,
    /// The start address of the argument strings.
    pub(crate) arg_start: u64,
    /// The end address of the argument strings.
    pub(crate) arg_end: u64,
    /// The start address of the environment strings.
    pub(crate) env_start: u64,
    /// The end address of the environment strings.
    pub(crate) env_end: u64,
}

impl ThreadStat {
    /// Parses the text of `stat`. The name is in parentheses and may contain any byte, so it ends
    /// at the *last* closing parenthesis.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Self> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its stat has no thread name");
        let open = text.iter().position(|b| *b == b'(').ok_or_else(malformed)?;
        let close = text.iter().rposition(|b| *b == b')').ok_or_else(malformed)?;
        let comm = text.get(open + 1..close).ok_or_else(malformed)?.to_vec();
        let rest = String::from_utf8_lossy(&text[close + 1..]);
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc_pid_stat(5) counts fields from 1. The first one after the name is field 3, the
        // state.
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
            threads: unsigned(20),
            starttime: unsigned(22),
            start_stack: unsigned(28),
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

/// Returns the value of the line `name:` in a text such as `status` or `cpuinfo`, without leading
/// and trailing white space.
pub(crate) fn field(text: &[u8], name: &str) -> Option<String> {
    text.split(|b| *b == b'\n').find_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        (line[..colon].trim_ascii() == name.as_bytes())
            .then(|| String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned())
    })
}

/// The initial size of a buffer for a whole file. Most files in `/proc` are shorter, so the first
/// read gets the whole text and the second one finds its end. Files in `/proc` claim a length of 0,
/// for which the standard library would start with 32 bytes and need six reads for a `stat`.
pub(crate) const FIRST_READ: usize = 4096;

/// Reads a whole file. Returns an error if it has more than `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(FIRST_READ);
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is longer than {limit} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

/// Returns the names in a directory of `/proc` that are numbers, in the order of the kernel.
///
/// Not by [`fs::read_dir`], which panics when the directory cannot be closed.
pub(crate) fn numbers_in(directory: &Path) -> io::Result<Vec<u32>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut numbers = Vec::new();
    for entry in nix::dir::Dir::open(directory, flags, Mode::empty())?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_str().unwrap_or_default();
        numbers.extend(name.parse::<u32>());
    }
    Ok(numbers)
}

/// `None` for a file that does not exist.
pub(crate) fn if_there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// Whether a file of `/proc` could not be read because its process or thread has ended.
pub(crate) fn has_vanished(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// Creates the fault for a system call that failed during `operation`.
///
/// When a process ends, its files in `/proc` disappear (ENOENT) or cannot be read any more (ESRCH).
pub(crate) fn system_fault(operation: impl Into<String>, error: &io::Error) -> Fault {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => FaultKind::Gone,
        Some(libc::EACCES | libc::EPERM) => FaultKind::NotPermitted,
        _ => FaultKind::System,
    };
    let mut fault = Fault::new(kind, operation, error.to_string());
    if kind == FaultKind::NotPermitted {
        fault = fault.advise(match nix::unistd::geteuid().is_root() {
            true => "get the capabilities CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (in a container, add both)",
            false => "run as the user who owns the process, or as root",
        });
    }
    match error.raw_os_error() {
        Some(code) => fault.with_os_code(code),
        None => fault,
    }
}

/// Explains why `/proc/PID/status` could not be read: there is no such process, or `/proc` does not
/// show it.
fn not_shown(pid: u32, error: &io::Error) -> Fault {
    let operation = format!("examine process {pid}");
    if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) {
        return system_fault(operation, error);
    }
    if !Path::new("/proc/self/status").exists() {
        return Fault::new(FaultKind::System, operation, "/proc is not mounted here")
            .advise("mount it: mount -t proc proc /proc");
    }
    // `hidepid=` hides the processes of other users in /proc. Signal number 0 sends nothing, but
    // tests whether the process exists.
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

/// Returns the size of a page in bytes.
pub(crate) fn page_size() -> u64 {
    // SAFETY: sysconf takes a number, returns a number, and accesses no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size)
        .ok()
        .filter(|size| size.is_power_of_two())
        .unwrap_or(4096)
}

/// Returns the number of clock ticks per second, which are the unit of times in `stat`.
pub(crate) fn clock_ticks() -> u64 {
    // SAFETY: sysconf takes a number, returns a number, and accesses no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks)
        .ok()
        .filter(|ticks| *ticks > 0)
        .unwrap_or(100)
}

/// What these tests would catch: a thread name that shifts the fields after it, a process with an
/// ended leader reported as dead, and unclear errors for ids that belong to no process.
#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::testing::reads_made;

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
        assert_eq!(stat.start_stack, 6);
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

    /// Tests the texts only, because few kernels can run x32 programs.
    #[test]
    fn kinds_of_programs_are_told_apart() {
        let auxv = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect::<Vec<_>>()
        };
        let wide = [33, 0, 1, 2, 3, 0, 64, 0, 4, 0, 56, 0, 0, 0, 0, 0];
        assert_eq!(Program::of_auxv(&auxv(&wide)), Program::Amd64);
        assert_eq!(
            Program::of_auxv(&auxv(&[32, 9, 33, 8, 4, 32, 0, 0])),
            Program::X86
        );
        assert_eq!(Program::of_auxv(&auxv(&[33, 8, 4, 32, 0, 0])), Program::Unknown);
        assert_eq!(Program::of_auxv(b""), Program::Unknown);
        let header = |class: u8, machine: u8| {
            let mut header = [0; 20];
            header[..5].copy_from_slice(&[0x7f, b'E', b'L', b'F', class]);
            header[18] = machine;
            Program::of_header(&header)
        };
        let [i386, x86_64, arm] = [3, 62, 40];
        assert_eq!(
            [header(2, x86_64), header(1, i386)],
            [Program::Amd64, Program::X86]
        );
        assert_eq!(
            [header(1, x86_64), header(1, arm)],
            [Program::X32, Program::Unknown]
        );
        let own = ProcDir::new(std::process::id()).expect("own process");
        assert_eq!(own.program(), Program::Amd64);
        let mut start = [0; 20];
        files::read_program(&own, &mut start).expect("readable");
        assert_eq!(Program::of_header(&start), Program::Amd64);
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
    fn a_short_text_takes_two_reads() {
        let before = reads_made();
        let own = reads_made() - before;
        let before = reads_made();
        let text = read_bounded(Path::new("/proc/thread-self/stat"), TEXT_LIMIT).expect("readable");
        assert_eq!(reads_made() - before - own, 2, "{} bytes", text.len());
        assert!(text.len() > 100 && text.ends_with(b"\n"));
        let long = read_bounded(Path::new("/proc/self/smaps"), TEXT_LIMIT).expect("readable");
        assert!(long.len() > 8192 && long.ends_with(b"\n"));
        assert!(read_bounded(Path::new("/proc/self/smaps"), 8192).is_err());
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
        // Waits until the child has ended, without reaping it.
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
        // The test process forks itself, because perl and python may not be installed.
        let (mut ours, mut theirs) = std::os::unix::net::UnixStream::pair().expect("socket pair");
        // SAFETY: the child runs no Rust code that allocates. It calls only read, write, exit and
        // pthread_create. The last one takes locks of the C library, which glibc resets in the
        // child of a fork.
        match unsafe { nix::unistd::fork() }.expect("fork") {
            nix::unistd::ForkResult::Child => {
                extern "C" fn second(argument: *mut libc::c_void) -> *mut libc::c_void {
                    let fd = argument as usize as i32;
                    let mut byte = 0u8;
                    // SAFETY: the calls read and write one byte of a local variable through an open
                    // socket. _exit ends the process without running any other code.
                    unsafe {
                        libc::write(fd, (&raw const byte).cast(), 1);
                        libc::read(fd, (&raw mut byte).cast(), 1);
                        libc::_exit(0)
                    }
                }
                let fd = std::os::fd::AsRawFd::as_raw_fd(&theirs);
                let mut thread = 0;
                // SAFETY: this starts a thread with default attributes and a function of the right
                // type, then ends only the calling thread, which is the leader.
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
                // Polls until the kernel shows that the leader has ended.
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
