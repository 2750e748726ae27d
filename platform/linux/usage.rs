//! Reads what a process uses, without stopping it.
//!
//! A watcher reads these facts of many processes every second, so each fact comes from the source
//! that costs the kernel least, and files stay open. All are opened relative to the directory of
//! the process in `/proc`, which belongs to this process even when its id is used again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use dumpwright_target::{Fault, FaultKind, Gauge, Usage, UsageNeed};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::Mode;
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::pidfd;
use crate::proc_dir::{ThreadStat, page_size, system_fault};

/// Reads what one live process uses. The process is neither stopped nor traced, and notices
/// nothing.
///
/// * The time on processors is that of the CPU clock of the process (clock_getcpuclockid(3)), in
///   nanoseconds.
/// * Resident memory is from `/proc/PID/statm`. Since Linux 6.2 it may be wrong by some pages for
///   each processor.
/// * Committed memory is `VmRSS` and `VmSwap` of `/proc/PID/status`. If it is needed, resident
///   memory and the number of threads are from the same file.
/// * Otherwise, the number of threads is that of `/proc/PID/stat`.
/// * The number of descriptors is the size of `/proc/PID/fd`. Before Linux 6.2, they are counted,
///   which only the user of the process and root may do.
///
/// Up to five descriptors stay open.
#[derive(Debug)]
pub struct ProcessGauge {
    pid: u32,
    dir: OwnedFd,
    /// `None` before Linux 5.3.
    process: Option<OwnedFd>,
    clock: Option<ClockId>,
    stat: LazyFile,
    statm: LazyFile,
    status: LazyFile,
    buffer: Vec<u8>,
}

impl ProcessGauge {
    /// Opens the process with this id.
    ///
    /// # Errors
    /// There is no such process, it has ended, or `/proc` does not show it.
    pub fn open(pid: u32) -> Result<Self, Fault> {
        let operation = || format!("watch process {pid}");
        let failed = |errno: Errno| match errno {
            Errno::ENOENT | Errno::ESRCH => Fault::new(
                FaultKind::NoSuchProcess,
                operation(),
                "there is no process with this id",
            )
            .with_os_code(errno as i32),
            _ => system_fault(operation(), &errno.into()),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{pid}");
        let dir = nix::fcntl::open(path.as_str(), flags, Mode::empty()).map_err(failed)?;
        let process = match pidfd::open(pid) {
            Ok(process) => Some(process),
            Err(Errno::ENOSYS | Errno::EPERM) => None,
            Err(errno) => return Err(failed(errno)),
        };
        let mut gauge = Self {
            pid,
            dir,
            process,
            clock: None,
            stat: LazyFile::new("stat"),
            statm: LazyFile::new("statm"),
            status: LazyFile::new("status"),
            buffer: Vec::new(),
        };
        // This also finds out whether the reference is to the process of the directory: as long as
        // that process exists, no other has its id.
        gauge.read(UsageNeed {
            threads: true,
            ..UsageNeed::default()
        })?;
        Ok(gauge)
    }

    fn gone(&self) -> Fault {
        Fault::new(FaultKind::Gone, self.operation(), "it has ended")
    }

    fn operation(&self) -> String {
        format!("watch process {}", self.pid)
    }

    fn fault(&self, error: &io::Error) -> Fault {
        system_fault(self.operation(), error)
    }

    fn stat(&mut self) -> Result<ThreadStat, Fault> {
        let read = self.stat.read(&self.dir, &mut self.buffer);
        read.and_then(|()| ThreadStat::parse(&self.buffer))
            .map_err(|error| self.fault(&error))
    }

    fn cpu(&mut self) -> Result<Duration, Fault> {
        let pid = Pid::from_raw(self.pid.cast_signed());
        let clock = match self.clock {
            Some(clock) => Ok(clock),
            None => nix::time::clock_getcpuclockid(pid),
        };
        let time = clock.and_then(|clock| {
            self.clock = Some(clock);
            clock.now()
        });
        match time {
            Ok(time) => Ok(time.into()),
            // The id has no process any more.
            Err(Errno::EINVAL | Errno::ESRCH) => Err(self.gone()),
            Err(errno) => Err(self.fault(&errno.into())),
        }
    }

    /// Returns resident memory in bytes.
    fn resident(&mut self) -> Result<u64, Fault> {
        let read = self.statm.read(&self.dir, &mut self.buffer);
        let pages = read.and_then(|()| number(&self.buffer, 1));
        let pages = pages.map_err(|error| self.fault(&error))?;
        Ok(pages.saturating_mul(page_size()))
    }

    /// Reads committed memory. The same file has resident memory and the number of threads.
    fn read_status(&mut self, usage: &mut Usage, need: UsageNeed) -> Result<(), Fault> {
        self.status
            .read(&self.dir, &mut self.buffer)
            .map_err(|error| self.fault(&error))?;
        let [resident, swapped, threads] = numbers(&self.buffer, [b"VmRSS:", b"VmSwap:", b"Threads:"]);
        // A process without memory has no such lines.
        let [resident, swapped] = [resident, swapped].map(|kibibytes| kibibytes.unwrap_or(0) << 10);
        usage.committed = Some(resident + swapped);
        usage.resident = need.resident.then_some(resident);
        usage.threads = threads.filter(|_| need.threads);
        Ok(())
    }

    fn handles(&self) -> Result<u64, Fault> {
        let failed = |errno: Errno| self.fault(&errno.into());
        let found = nix::sys::stat::fstatat(&self.dir, "fd", AtFlags::empty()).map_err(failed)?;
        match u64::try_from(found.st_size) {
            Ok(size) if size > 0 => return Ok(size),
            _ => {}
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::openat(&self.dir, "fd", flags, Mode::empty()).map_err(failed)?;
        // The first two entries are the directory and its parent.
        Ok((dir.iter().count() as u64).saturating_sub(2))
    }
}

impl Gauge for ProcessGauge {
    fn process_id(&self) -> u32 {
        self.pid
    }

    fn read(&mut self, need: UsageNeed) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        if need.cpu {
            usage.cpu = Some(self.cpu()?);
        }
        if need.committed {
            self.read_status(&mut usage, need)?;
        }
        if need.resident && usage.resident.is_none() {
            usage.resident = Some(self.resident()?);
        }
        if need.threads && usage.threads.is_none() {
            usage.threads = Some(self.stat()?.threads);
        }
        if need.handles {
            usage.handles = Some(self.handles()?);
        }
        // Afterwards: what was read before it ended is valid.
        let has_ended = match &self.process {
            Some(process) => pidfd::has_ended(process).map_err(|errno| self.fault(&errno.into()))?,
            None => {
                let stat = self.stat()?;
                stat.has_ended() && stat.threads <= 1
            }
        };
        if has_ended { Err(self.gone()) } else { Ok(usage) }
    }
}

/// A file in the directory of the process. It is opened when it is first read, and stays open.
#[derive(Debug)]
struct LazyFile {
    name: &'static str,
    file: Option<File>,
}

impl LazyFile {
    fn new(name: &'static str) -> Self {
        Self { name, file: None }
    }

    /// Replaces the contents of `into` by those of the file.
    fn read(&mut self, dir: &OwnedFd, into: &mut Vec<u8>) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
                let file = nix::fcntl::openat(dir, self.name, flags, Mode::empty())?;
                self.file.insert(File::from(file))
            }
        };
        const STEP: usize = 4096;
        into.clear();
        loop {
            let length = into.len();
            into.resize(length + STEP, 0);
            let read = file.read_at(&mut into[length..], length as u64)?;
            into.truncate(length + read);
            // These files are texts that the kernel makes; only their end makes a read short.
            if read < STEP {
                return Ok(());
            }
        }
    }
}

/// Returns the number at this index among words.
fn number(text: &[u8], index: usize) -> io::Result<u64> {
    let word = text
        .split(|byte| byte.is_ascii_whitespace())
        .nth(index)
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    word.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a number is missing"))
}

/// Returns the numbers of these lines of a status file, in one pass.
fn numbers<const N: usize>(text: &[u8], names: [&[u8]; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in text.split(|byte| *byte == b'\n') {
        let Some(index) = names.iter().position(|name| line.starts_with(name)) else {
            continue;
        };
        let words = line.split(|byte| byte.is_ascii_whitespace()).skip(1);
        let mut numbers = words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok());
        found[index] = numbers.next();
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
}

/// What these tests would catch: a fact that belongs to another file, unit or process, and a
/// process that is not seen to end.
#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::proc_dir::field;

    const ALL: UsageNeed = UsageNeed {
        cpu: true,
        resident: true,
        committed: true,
        threads: true,
        handles: true,
    };

    fn sleeping() -> std::process::Child {
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        child.expect("there is cat")
    }

    #[test]
    fn the_time_on_processors_is_that_of_the_process() {
        let mut gauge = ProcessGauge::open(std::process::id()).expect("it lives");
        let own = || nix::time::clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("there");
        let before = (own(), gauge.read(ALL).expect("it lives").cpu.expect("read"));
        let work = Duration::from_millis(20);
        while Duration::from(own() - before.0) < work {
            std::hint::black_box(());
        }
        let after = gauge.read(ALL).expect("it lives").cpu.expect("read");
        // Other threads of this process may have run as well.
        assert!(after - before.1 >= work, "{:?}", after - before.1);
    }

    #[test]
    fn the_facts_are_those_that_proc_shows() {
        let mut child = sleeping();
        let mut gauge = ProcessGauge::open(child.id()).expect("it lives");
        let dir = format!("/proc/{}", child.id());
        // It waits for input once it has been loaded.
        let call = || std::fs::read_to_string(format!("{dir}/syscall")).expect("it lives");
        while !call().starts_with("0 0x0 ") {
            std::thread::yield_now();
        }
        let usage = gauge.read(ALL).expect("it lives");
        assert_eq!(usage.threads, Some(1));
        let listed = std::fs::read_dir(format!("{dir}/fd")).expect("may be listed");
        assert_eq!(usage.handles, Some(listed.count() as u64));
        let status = std::fs::read(format!("{dir}/status")).expect("it lives");
        let text = field(&status, "VmRSS").expect("it has memory");
        let shown: u64 = text.trim_end_matches(" kB").parse().expect("a number");
        assert_eq!(usage.resident, Some(shown << 10));
        assert_eq!(usage.committed, usage.resident, "nothing of it is swapped");
        // Without committed memory, the others are from other files.
        let need = UsageNeed {
            committed: false,
            ..ALL
        };
        let others = gauge.read(need).expect("it lives");
        assert_eq!((others.committed, others.threads), (None, Some(1)));
        assert_eq!(others.resident, usage.resident);
        let nothing = gauge.read(UsageNeed::default());
        assert_eq!(nothing, Ok(Usage::default()), "only what is needed is read");

        child.kill().expect("it is ours");
        // Not reaped yet: it is a zombie.
        while gauge.read(UsageNeed::default()).is_ok() {
            std::thread::yield_now();
        }
        assert_eq!(gauge.read(ALL).expect_err("ended").kind, FaultKind::Gone);
        child.wait().expect("it is ours");
        assert_eq!(gauge.read(ALL).expect_err("ended").kind, FaultKind::Gone);
        assert!(ProcessGauge::open(child.id()).is_err());
    }
}
