//! The memory for a stop of the other threads of this process, and reads of `/proc` into it.
//!
//! All of it is allocated before the stop. The functions that run during the stop allocate and free
//! nothing, take no lock, and use nothing of the C library but `syscall` and copies of memory.

use std::io;
use std::os::fd::RawFd;

use libc::c_long;
use nix::errno::Errno;

use crate::freeze::StopKind;
use crate::ptrace::{Call, SignalInfo};
use crate::registers::RegisterBuffers;

/// A text of `/proc` of at most `N` bytes.
#[derive(Debug, Clone)]
pub(super) struct ShortText<const N: usize> {
    bytes: [u8; N],
    read: Result<usize, Errno>,
}

impl<const N: usize> ShortText<N> {
    pub(super) const UNREAD: Self = Self {
        bytes: [0; N],
        read: Err(Errno::ENODATA),
    };

    /// Returns the text.
    ///
    /// # Errors
    /// It could not be read, or was not.
    pub(super) fn get(&self) -> io::Result<&[u8]> {
        let length = self.read.map_err(io::Error::from)?;
        Ok(&self.bytes[..length])
    }

    /// Field 3 and field 9 of a `stat` (proc_pid_stat(5)): the state and the flags of the thread.
    /// The name before them may contain any byte, so it ends at the last closing parenthesis.
    pub(super) fn state_and_flags(&self) -> Result<(u8, u64), Errno> {
        let text = &self.bytes[..self.read?.min(N)];
        let end = text.iter().rposition(|byte| *byte == b')').ok_or(Errno::EIO)?;
        let mut words = text[end + 1..]
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let state = words.next().and_then(|word| word.first()).ok_or(Errno::EIO)?;
        let digits = words.nth(5).unwrap_or_default().iter();
        let value = |sum: u64, digit: &u8| sum.wrapping_mul(10) + u64::from(digit.wrapping_sub(b'0'));
        Ok((*state, digits.fold(0, value)))
    }
}

/// A thread that was found.
#[derive(Debug, Clone)]
pub(super) struct FoundThread {
    pub(super) tid: u32,
    pub(super) stop: StopKind,
    /// How it stopped after the registers of the others were read. It is only released then.
    pub(super) late: Option<StopKind>,
    /// It has ended. Its entry is used again if a new thread gets its id.
    pub(super) ended: bool,
    /// It was found in the current pass.
    pub(super) fresh: bool,
    /// Its `stat`: when it was found, and again during the stop if times are wanted.
    pub(super) stat: ShortText<1024>,
    pub(super) schedstat: ShortText<128>,
    /// Its `syscall`, if it did not stop.
    pub(super) syscall: ShortText<256>,
    /// The processors on which it may run.
    pub(super) affinity: Result<u64, Errno>,
}

impl FoundThread {
    pub(super) const fn new(tid: u32) -> Self {
        Self {
            tid,
            stop: StopKind::Pending,
            late: None,
            ended: false,
            fresh: true,
            stat: ShortText::UNREAD,
            schedstat: ShortText::UNREAD,
            syscall: ShortText::UNREAD,
            affinity: Err(Errno::ENODATA),
        }
    }

    /// Whether its registers can be read.
    pub(super) fn is_stopped(&self) -> bool {
        !self.ended && self.stop.is_stop()
    }

    /// Whether it was interrupted, and has not stopped yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.ended && matches!(self.stop, StopKind::Pending | StopKind::Stuck)
    }
}

/// The memory.
#[derive(Debug)]
pub(super) struct StopRoom {
    /// The largest number of threads.
    capacity: usize,
    pub(super) threads: Vec<FoundThread>,
    /// A hash table of the threads: their indexes, increased by 1. Its size is a power of two, and
    /// more than the capacity.
    table: Vec<u32>,
    /// The ids of the last listing.
    pub(super) listed: Vec<u32>,
    /// Entries of a directory.
    entries: Vec<u8>,
    /// For each thread, as the two fields after it.
    pub(super) infos: Vec<SignalInfo>,
    pub(super) buffers: Vec<RegisterBuffers>,
    pub(super) masks: Vec<u64>,
    /// The registers of the calling thread.
    pub(super) own: RegisterBuffers,
    /// For requests.
    pub(super) calls: Vec<Call>,
    /// For the requests of registers, whose results are kept.
    pub(super) register_calls: Vec<Call>,
}

impl StopRoom {
    /// Allocates memory for this number of threads, with or without extended registers.
    pub(super) fn new(capacity: usize, extended: bool) -> Self {
        /// Besides those for each thread.
        const MORE_CALLS: usize = 16;
        let per_thread = RegisterBuffers::REQUESTS + 1;
        Self {
            capacity,
            threads: Vec::with_capacity(capacity),
            table: vec![0; (2 * capacity).next_power_of_two()],
            listed: Vec::with_capacity(capacity),
            entries: vec![0; 32 << 10],
            infos: vec![SignalInfo::EMPTY; capacity],
            buffers: (0..capacity).map(|_| RegisterBuffers::new(extended)).collect(),
            masks: vec![0; capacity],
            own: RegisterBuffers::new(extended),
            calls: Vec::with_capacity(2 * capacity + MORE_CALLS),
            register_calls: Vec::with_capacity(per_thread * capacity + per_thread + MORE_CALLS),
        }
    }

    /// Returns the index of the thread with this id, and whether it is new. `None` if there is no
    /// room for it.
    pub(super) fn note(&mut self, tid: u32) -> Option<(usize, bool)> {
        /// 2^32 divided by the golden ratio: consecutive ids are spread.
        const SPREAD: u32 = 0x9E37_79B1;
        let mask = self.table.len() - 1;
        let mut at = tid.wrapping_mul(SPREAD) as usize & mask;
        loop {
            let Some(index) = (self.table[at] as usize).checked_sub(1) else {
                if self.threads.len() == self.capacity {
                    return None;
                }
                self.threads.push(FoundThread::new(tid));
                self.table[at] = self.threads.len() as u32;
                return Some((self.threads.len() - 1, true));
            };
            let known = &mut self.threads[index];
            if known.tid == tid {
                let is_new = known.ended;
                if is_new {
                    *known = FoundThread::new(tid);
                }
                return Some((index, is_new));
            }
            at = (at + 1) & mask;
        }
    }

    /// Lists the ids of all threads. `task` is `/proc/self/task`. Returns whether there was room
    /// for all of them.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn list(&mut self, task: RawFd) -> Result<bool, Errno> {
        /// Where an entry has its own length, and where its name begins (getdents64(2)).
        const LENGTH: usize = 16;
        const NAME: usize = 19;
        self.listed.clear();
        system_call(libc::SYS_lseek, [fd(task), 0, libc::SEEK_SET as u64, 0])?;
        loop {
            let (into, size) = (self.entries.as_mut_ptr(), self.entries.len());
            let into = into.expose_provenance() as u64;
            let filled = system_call(libc::SYS_getdents64, [fd(task), into, size as u64, 0])?;
            let mut rest = self.entries.get(..filled as usize).unwrap_or_default();
            if rest.is_empty() {
                return Ok(true);
            }
            while let (Some([low, high]), Some(name)) = (rest.get(LENGTH..LENGTH + 2), rest.get(NAME..)) {
                let digits = name.iter().take_while(|byte| byte.is_ascii_digit());
                let id = digits.fold(0_u32, |sum, digit| {
                    sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
                });
                if id != 0 {
                    if self.listed.len() == self.capacity {
                        return Ok(false);
                    }
                    self.listed.push(id);
                }
                let length = usize::from(u16::from_le_bytes([*low, *high])).max(NAME);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
}

/// Reads the file `name` of a thread. `task` is `/proc/self/task`.
pub(super) fn read_text<const N: usize>(task: RawFd, tid: u32, name: &[u8], into: &mut ShortText<N>) {
    into.read = read_file(task, tid, name, &mut into.bytes);
}

fn read_file(task: RawFd, tid: u32, name: &[u8], into: &mut [u8]) -> Result<usize, Errno> {
    const FLAGS: i32 = libc::O_RDONLY | libc::O_CLOEXEC;
    let mut path = [0_u8; 32];
    let mut digits = [0_u8; 10];
    let mut rest = tid;
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let number = digits[digits.len() - count..].iter();
    // The last byte stays 0.
    let end = path.len() - 1;
    for (byte, part) in path[..end].iter_mut().zip(number.chain(b"/").chain(name)) {
        *byte = *part;
    }
    let path = path.as_mut_ptr().expose_provenance() as u64;
    let file = system_call(libc::SYS_openat, [fd(task), path, FLAGS as u64, 0])?;
    let mut done = 0;
    let read = loop {
        let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) else {
            break Ok(done);
        };
        let (at, size) = (rest.as_mut_ptr().expose_provenance() as u64, rest.len() as u64);
        match system_call(libc::SYS_read, [file, at, size, 0]) {
            Ok(0) => break Ok(done),
            Ok(more) => done += more as usize,
            Err(Errno::EINTR) => {}
            Err(errno) => break Err(errno),
        }
    };
    // A descriptor of `/proc` is closed in any case.
    let _ = system_call(libc::SYS_close, [file, 0, 0, 0]);
    read
}

/// Returns a mask of the first 64 processors on which the thread may run.
pub(super) fn affinity(tid: u32) -> Result<u64, Errno> {
    /// Enough for 65536 processors.
    const WORDS: usize = 1024;
    let mut mask = [0_u64; WORDS];
    let at = mask.as_mut_ptr().expose_provenance() as u64;
    system_call(
        libc::SYS_sched_getaffinity,
        [u64::from(tid), size_of_val(&mask) as u64, at, 0],
    )?;
    Ok(mask[0])
}

/// Whether a descriptor of this process is a socket.
pub(super) fn is_socket(descriptor: u64) -> bool {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    let at = status.as_mut_ptr().expose_provenance() as u64;
    if system_call(libc::SYS_fstat, [descriptor, at, 0, 0]).is_err() {
        return false;
    }
    // SAFETY: the kernel has filled in the structure.
    let mode = unsafe { status.assume_init() }.st_mode;
    mode & libc::S_IFMT == libc::S_IFSOCK
}

fn fd(descriptor: RawFd) -> u64 {
    i64::from(descriptor).cast_unsigned()
}

/// Makes a system call. The callers pass numbers, and addresses of their own memory, exposed for
/// writing, with its size.
fn system_call(number: c_long, arguments: [u64; 4]) -> Result<u64, Errno> {
    let [first, second, third, fourth] = arguments;
    // SAFETY: the functions of this file make calls that only read files and facts. What these
    // write to is memory of the caller that is borrowed mutably during the call.
    let result = unsafe { libc::syscall(number, first, second, third, fourth) };
    Errno::result(result).map(i64::cast_unsigned)
}

/// What these tests would catch: threads that are forgotten or found twice, facts that are not the
/// kernel's, and texts of `/proc` that are misread.
#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    fn task() -> File {
        File::open("/proc/self/task").expect("there")
    }

    fn tid() -> u32 {
        nix::unistd::gettid().as_raw().unsigned_abs()
    }

    #[test]
    fn the_list_has_this_thread_and_ends_where_the_room_does() {
        let task = task();
        let mut room = StopRoom::new(4096, false);
        assert_eq!(room.list(task.as_raw_fd()), Ok(true));
        assert!(room.listed.contains(&tid()), "{:?}", room.listed);
        assert!(room.listed.contains(&std::process::id()));
        let again = room.listed.len();
        assert_eq!(room.list(task.as_raw_fd()), Ok(true));
        assert!(room.listed.len() <= again + 64, "it begins anew");
        assert_eq!(StopRoom::new(1, false).list(task.as_raw_fd()), Ok(false));
    }

    #[test]
    fn each_thread_has_one_place_until_it_has_ended() {
        const THREADS: u32 = 1000;
        let mut room = StopRoom::new(THREADS as usize, false);
        let ids = |step: u32| (0..THREADS).map(move |number| 1 + number * step);
        for (index, id) in ids(32768).enumerate() {
            assert_eq!(room.note(id), Some((index, true)));
        }
        for (index, id) in ids(32768).enumerate() {
            assert_eq!(room.note(id), Some((index, false)));
        }
        assert_eq!(room.note(7), None, "it is full");
        room.threads[5].ended = true;
        room.threads[5].stop = StopKind::Asked;
        let id = room.threads[5].tid;
        assert_eq!(room.note(id), Some((5, true)), "a new thread with the same id");
        assert_eq!(room.threads[5].stop, StopKind::Pending);
    }

    #[test]
    fn texts_are_those_that_the_standard_library_reads() {
        let task = task();
        let mut text = ShortText::<256>::UNREAD;
        assert!(text.get().is_err());
        read_text(task.as_raw_fd(), tid(), b"comm", &mut text);
        let path = format!("/proc/self/task/{}/comm", tid());
        assert_eq!(text.get().expect("read"), std::fs::read(path).expect("readable"));
        let mut short = ShortText::<3>::UNREAD;
        read_text(task.as_raw_fd(), tid(), b"stat", &mut short);
        assert_eq!(short.get().expect("read").len(), 3);
        read_text(task.as_raw_fd(), tid(), b"nothing", &mut text);
        let error = text.get().expect_err("no such file");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn the_state_stands_behind_a_name_with_parentheses() {
        let mut stat = ShortText::<1024>::UNREAD;
        assert_eq!(stat.state_and_flags(), Err(Errno::ENODATA));
        let text = b"7 (a) Z 9 () S 1 2 3 4 5 4194368 0 0";
        stat.bytes[..text.len()].copy_from_slice(text);
        stat.read = Ok(text.len());
        assert_eq!(stat.state_and_flags(), Ok((b'S', 4_194_368)));
    }

    #[test]
    fn this_thread_runs_somewhere_and_a_socket_is_one() {
        let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("own thread");
        let first = (0..64).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
        assert_eq!(affinity(tid()), Ok(first.fold(0, |mask, cpu| mask | 1 << cpu)));
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
        assert!(is_socket(socket.as_raw_fd() as u64));
        assert!(!is_socket(task().as_raw_fd() as u64));
        assert!(!is_socket(u64::MAX));
    }
}
