//! Finds the memory that is a thread's stack.
//!
//! A stack starts at the red zone below the stack pointer. It ends
//!
//! * in the kernel's `[stack]`, at the end of the mapping;
//! * at the end of the thread's control block, if the mapping contains it (glibc and musl place it
//!   at the top of each thread's stack), or at the thread-local variables below it, if there are
//!   many of them;
//! * otherwise after at most 1 MiB, which is reported. Such a stack belongs to a coroutine or to a
//!   language runtime.
//!
//! If the argument and environment strings are not wanted, it ends below them ([`Strings`]).
//!
//! A thread inside a signal handler may have switched stacks, and returns to the old one later. The
//! frame that the kernel created for the handler contains the old stack pointer.

use std::collections::HashMap;
use std::rc::Rc;

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::{AddressRange, Cpu, Diagnostic, Memory, MemoryExt, Stack, Subject};

use crate::handler::HandlerFrame;
use crate::proc_dir::{ThreadStat, page_size};
use crate::regions::Mapping;

/// How far above the stack pointer an overflowed stack is searched for.
const OVERFLOW_REACH: u64 = 64 << 10;

/// How much is kept of a stack whose end is unknown.
const UNKNOWN_END_LIMIT: u64 = 1 << 20;

/// The maximum distance between the stack pointer and the control block of the same stack.
///
/// At a larger distance there is more likely a heap in between. Also, Breakpad's reader rejects
/// larger pieces of memory.
const CONTROL_BLOCK_REACH: u64 = 64 << 20;

/// The maximum size of the thread's data after the thread pointer: `struct pthread` has 2304 bytes
/// in glibc 2.36, fewer in musl.
const CONTROL_BLOCK: u64 = 4096;

/// The size of the thread-local variables up to which they are kept with the stack.
///
/// Most programs have few of them, `errno` among them. Libraries may have buffers of 100 KiB and
/// more for each thread.
const SMALL_TLS: u64 = 8 << 10;

/// How far handler frames are searched for on a stack whose end is known.
///
/// It is enough for an alternate stack that is a local array on the thread's own stack. On other
/// stacks, everything that is kept is searched.
const OWN_STACK_SEARCH: u64 = 16 << 10;

/// The maximum number of stacks that a thread may return to.
const INTERRUPTED_LIMIT: usize = 8;

/// A stack, and how its end was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FoundStack {
    pub(crate) stack: Stack,
    pub(crate) end: End,
}

/// How the end of a stack was determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By `[stack]` or the thread's control block.
    Known,
    /// By the end of an alternate signal stack or of the mapping.
    Likely,
    /// By the limit.
    Capped,
}

/// All stacks of one thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThreadStacks {
    /// The stack that the thread runs on.
    pub(crate) current: Option<FoundStack>,
    /// The stacks that it will return to from signal handlers.
    pub(crate) interrupted: Vec<FoundStack>,
    /// The addresses of the frames of its signal handlers, the innermost first.
    pub(crate) handlers: Vec<u64>,
}

impl ThreadStacks {
    /// Returns what a report should say about the stacks of thread `tid`, whose stack pointer was
    /// `pointer`.
    pub(crate) fn diagnostics(&self, tid: u32, pointer: u64) -> Vec<Diagnostic> {
        let note = |reason: String| Diagnostic::note(Subject::Thread(tid), reason);
        let missing = self.current.is_none().then(|| {
            note(format!(
                "its stack pointer {pointer:#x} is not in or near readable memory: no stack"
            ))
        });
        let all = self.current.iter().chain(&self.interrupted);
        let capped = all.filter(|found| found.end == End::Capped).map(|found| {
            note(format!(
                "where its stack at {:#x} ends is not known: {} bytes of it are kept",
                found.stack.pointer,
                found.stack.range.len()
            ))
        });
        missing.into_iter().chain(capped).collect()
    }
}

/// Finds stacks in the address space.
#[derive(Debug)]
pub(crate) struct Stacks {
    mappings: Rc<[Mapping]>,
    /// What must not be in a stack.
    unwanted: Option<Strings>,
    /// The family of the process. It determines whether the ABI has a red zone, and the layout of
    /// handler frames.
    cpu: Cpu,
    /// Whether the code at an address is a restorer, for all addresses that were checked.
    restorers: HashMap<u64, bool>,
}

impl Stacks {
    /// Creates a search in `mappings`, which must be ascending. No stack contains `unwanted`.
    pub(crate) fn new(mappings: Rc<[Mapping]>, unwanted: Option<Strings>, cpu: Cpu) -> Self {
        Self {
            mappings,
            unwanted,
            cpu,
            restorers: HashMap::new(),
        }
    }

    /// Finds the stack of a thread with these values of the stack pointer and the thread pointer.
    pub(crate) fn at(&self, pointer: u64, thread_pointer: u64) -> Option<FoundStack> {
        let (first, start) = match self.index_of(pointer) {
            Some(index) if self.mappings[index].is_memory() => {
                let bottom = self.mappings[index].range.start();
                (index, pointer.saturating_sub(self.cpu.red_zone()).max(bottom))
            }
            _ => self.above(pointer)?,
        };
        let inside = pointer.max(start);
        let (end, certainty, is_first) = self.end(first, inside, thread_pointer);
        let end = match &self.unwanted {
            Some(strings) => {
                let area = AddressRange::new(self.mappings[first].range.start(), end)?;
                strings.cut(area, inside, is_first)?
            }
            None => end,
        };
        Some(FoundStack {
            stack: Stack {
                range: AddressRange::new(start, end)?,
                pointer,
            },
            end: certainty,
        })
    }

    /// Finds the stack of a thread with these two registers, and the stacks to which it will return
    /// from signal handlers.
    pub(crate) fn of_thread(
        &mut self,
        pointer: u64,
        thread_pointer: u64,
        memory: &mut dyn Memory,
    ) -> ThreadStacks {
        let mut stacks: Vec<FoundStack> = self.at(pointer, thread_pointer).into_iter().collect();
        if let Some(own) = stacks.first_mut()
            && own.stack.range.contains(thread_pointer)
            && let Some(variables) = self.thread_locals(pointer, thread_pointer, memory)
            && thread_pointer - variables > SMALL_TLS
            && let Some(range) = AddressRange::new(own.stack.range.start(), variables)
        {
            own.stack.range = range;
        }
        let mut handlers = Vec::new();
        let mut searched = 0;
        while searched < stacks.len() {
            for frame in self.handler_frames(stacks[searched], memory) {
                let current = &mut stacks[searched];
                if !current.stack.range.contains(frame.at) {
                    break;
                }
                current.end_with(frame.alternate);
                handlers.push(frame.at);
                let known = |found: &FoundStack| {
                    found.stack.range.contains(frame.pointer) || found.stack.pointer == frame.pointer
                };
                if stacks.len() <= INTERRUPTED_LIMIT && !stacks.iter().any(known) {
                    stacks.extend(self.at(frame.pointer, thread_pointer));
                }
            }
            searched += 1;
        }
        let mut stacks = stacks.into_iter();
        ThreadStacks {
            current: stacks.next(),
            interrupted: stacks.collect(),
            handlers,
        }
    }

    /// Returns the index of the mapping that contains `address`.
    fn index_of(&self, address: u64) -> Option<usize> {
        let behind = self
            .mappings
            .partition_point(|mapping| mapping.range.start() <= address);
        let index = behind.checked_sub(1)?;
        self.mappings[index].range.contains(address).then_some(index)
    }

    /// Finds the stack that has overflowed: the next memory above `pointer`, all of which is in
    /// use. Returns its mapping and start.
    fn above(&self, pointer: u64) -> Option<(usize, u64)> {
        let index = self
            .mappings
            .partition_point(|mapping| mapping.range.end() <= pointer);
        let (index, mapping) = self.mappings[index..]
            .iter()
            .enumerate()
            .map(|(offset, mapping)| (index + offset, mapping))
            .take_while(|(_, mapping)| mapping.range.start().saturating_sub(pointer) <= OVERFLOW_REACH)
            .find(|(_, mapping)| mapping.is_memory())?;
        mapping.write.then(|| (index, mapping.range.start()))
    }

    /// Returns the end of the stack that contains `pointer`, in the mapping `first` or after it,
    /// and whether it is the process's first stack, where the kernel put the strings.
    ///
    /// A stack may consist of several mappings: the kernel splits a mapping if the program has
    /// locked or named a part of it.
    fn end(&self, first: usize, pointer: u64, thread_pointer: u64) -> (u64, End, bool) {
        let mapping = &self.mappings[first];
        let mut end = mapping.range.start();
        for (offset, part) in self.mappings[first..].iter().enumerate() {
            let continues = part.range.start() == end
                && [mapping, part]
                    .into_iter()
                    .all(|m| m.is_memory() && m.write && m.is_private_anonymous());
            if offset > 0 && !continues {
                break;
            }
            end = part.range.end();
            if part.name() == b"[stack]" {
                return (end, End::Known, true);
            }
            if thread_pointer >= pointer
                && part.range.contains(thread_pointer)
                && thread_pointer - pointer < CONTROL_BLOCK_REACH
            {
                let behind = (thread_pointer + CONTROL_BLOCK).next_multiple_of(page_size());
                return (behind.min(end), End::Known, false);
            }
        }
        let end = mapping.range.end();
        match pointer + UNKNOWN_END_LIMIT {
            limit if limit < end => (limit, End::Capped, false),
            _ => (end, End::Likely, false),
        }
    }

    /// Returns the lowest address of the thread-local variables between the stack pointer and the
    /// thread pointer, where glibc and musl put those of the libraries that the program started
    /// with.
    ///
    /// The second word after the thread pointer leads to the thread's vector of addresses, one for
    /// each library that has such variables. glibc stores its length before it, and has two words
    /// for each library. musl stores it in the first word, and has one (observed with glibc 2.36
    /// and musl 1.2).
    fn thread_locals(&self, pointer: u64, thread_pointer: u64, memory: &mut dyn Memory) -> Option<u64> {
        /// More libraries than any program has.
        const LIBRARIES: u64 = 4096;
        /// The number of words that are read at once. glibc starts with a vector of 32 words.
        const USUAL: u64 = 64;
        let word = self.cpu.pointer_size();
        let words = |bytes: Vec<u8>| -> Vec<u64> {
            bytes
                .chunks_exact(word as usize)
                .map(|bytes| LittleEndian::read_uint(bytes, word as usize))
                .collect()
        };
        let mut read = |at: u64, count: u64| words(memory.up_to(at, (count * word) as usize));
        let vector = read(thread_pointer.checked_add(word)?, 1).first().copied()?;
        let start = read(vector.checked_sub(2 * word)?, 2 + USUAL);
        let [length_of_glibc, _, length_of_musl, ..] = start[..] else {
            return None;
        };
        let count = match (length_of_glibc, length_of_musl) {
            (1..LIBRARIES, _) => 2 * (length_of_glibc + 1),
            (_, 1..LIBRARIES) => length_of_musl + 1,
            _ => return None,
        };
        let addresses = match usize::try_from(count) {
            Ok(count) if count as u64 <= USUAL => start.into_iter().skip(2).take(count).collect(),
            _ => read(vector, count),
        };
        addresses
            .into_iter()
            .filter(|address| (pointer + 1..thread_pointer).contains(address))
            .min()
    }

    /// Finds the frames of signal handlers on a stack, the innermost first.
    fn handler_frames(&mut self, found: FoundStack, memory: &mut dyn Memory) -> Vec<HandlerFrame> {
        let range = found.stack.range;
        let length = match found.end {
            End::Known => range.len().min(OWN_STACK_SEARCH),
            End::Likely | End::Capped => range.len().min(UNKNOWN_END_LIMIT + self.cpu.red_zone()),
        };
        let bytes = memory.up_to(range.start(), usize::try_from(length).unwrap_or(0));
        // The kernel aligns frames to 16 bytes, minus the size of the return address.
        let word = self.cpu.pointer_size();
        let first = (range.start() + word).next_multiple_of(16) - word;
        type Parse = fn(u64, &[u8]) -> Option<HandlerFrame>;
        let (size, parse): (usize, Parse) = match self.cpu {
            Cpu::X86 => (HandlerFrame::SIZE_32, HandlerFrame::parse_32),
            _ => (HandlerFrame::SIZE, HandlerFrame::parse),
        };
        let offset = usize::try_from(first - range.start()).unwrap_or(usize::MAX);
        bytes
            .get(offset..)
            .unwrap_or_default()
            .windows(size)
            .step_by(16)
            .zip((first..).step_by(16))
            .filter_map(|(frame, at)| parse(at, frame))
            .filter(|frame| self.is_restorer(frame.restorer, memory))
            .collect()
    }

    /// Whether handlers return to the code at `address`, which is the system call `rt_sigreturn`.
    fn is_restorer(&mut self, address: u64, memory: &mut dyn Memory) -> bool {
        /// `mov $15, %rax; syscall`, in glibc's encoding, which unwinders rely on.
        const LONG: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
        /// `mov $15, %eax; syscall`, as other C libraries are assembled.
        const SHORT: [u8; 7] = [0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05];
        /// `mov $173, %eax; int $0x80`: 32-bit code in the vdso and in libraries.
        const NARROW: [u8; 7] = [0xb8, 0xad, 0, 0, 0, 0xcd, 0x80];
        if let Some(known) = self.restorers.get(&address) {
            return *known;
        }
        let executable = self
            .index_of(address)
            .is_some_and(|index| self.mappings[index].execute && self.mappings[index].is_memory());
        let is_one = executable && {
            let code = memory.up_to(address, LONG.len());
            let forms: &[&[u8]] = match self.cpu {
                Cpu::X86 => &[&NARROW],
                _ => &[&LONG, &SHORT],
            };
            forms.iter().any(|form| code.starts_with(form))
        };
        self.restorers.insert(address, is_one);
        is_one
    }
}

impl FoundStack {
    /// Ends the stack at the end of the alternate signal stack that contains it, unless its end is
    /// known.
    fn end_with(&mut self, alternate: Option<AddressRange>) {
        let pointer = self.stack.pointer;
        let Some(alternate) = alternate.filter(|alternate| alternate.contains(pointer)) else {
            return;
        };
        if self.end != End::Known
            && let Some(range) = AddressRange::new(
                self.stack.range.start(),
                alternate.end().min(self.stack.range.end()),
            )
        {
            self.stack.range = range;
            self.end = End::Likely;
        }
    }
}

impl Mapping {
    /// Whether it contains bytes that we may read.
    fn is_memory(&self) -> bool {
        self.read && !self.is_device() && !self.is_kernel_page()
    }
}

/// Where the argument and environment strings of a process may be.
///
/// The kernel puts them at the top of the first stack. Below them are, in this order, the 16 bytes
/// of `AT_RANDOM`, the auxiliary vector, the pointers to the strings, and the initial stack pointer
/// (`start_stack`). A process may move `arg_start` and `env_start` to any address by
/// `prctl(PR_SET_MM)`, which leaves the old strings where they were. systemd and LXC do so to
/// change the name that `ps` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    /// The known addresses at which strings begin.
    starts: Vec<u64>,
    /// `AT_RANDOM`.
    random: Option<u64>,
    start_stack: Option<u64>,
}

impl Strings {
    /// `AT_RANDOM` and `AT_EXECFN` (`linux/auxvec.h`). The latter is the last string.
    const RANDOM: u64 = 25;
    const EXECFN: u64 = 31;

    /// Determines where the strings may be. What is not known is left out, so that
    /// [`cut`](Self::cut) leaves out more.
    pub(crate) fn of(stat: Option<&ThreadStat>, auxv: Option<&[(u64, u64)]>) -> Self {
        let known = |address: &u64| *address != 0;
        let value = |kind: u64| {
            let found = auxv.unwrap_or_default().iter().find(|pair| pair.0 == kind);
            found.map(|pair| pair.1).filter(known)
        };
        let random = value(Self::RANDOM);
        let moved = stat.map_or([0; 2], |stat| [stat.arg_start, stat.env_start]);
        Self {
            starts: moved
                .into_iter()
                .filter(known)
                .chain(value(Self::EXECFN))
                .chain(random)
                .collect(),
            random,
            start_stack: stat.map(|stat| stat.start_stack).filter(known),
        }
    }

    /// Returns the end of the stack in `area`, so that no string is above `pointer` and below that
    /// end. `None` if nothing of the stack may be kept.
    ///
    /// In the first stack the strings must be somewhere. If `AT_RANDOM` is not there, or is not
    /// known, the stack ends at `start_stack`; if that is not there either, nothing is kept.
    fn cut(&self, area: AddressRange, pointer: u64, is_first: bool) -> Option<u64> {
        let inside = |address: &u64| area.contains(*address);
        let lowest = self.starts.iter().copied().filter(inside);
        if !is_first {
            return Some(
                lowest
                    .filter(|start| *start > pointer)
                    .min()
                    .unwrap_or(area.end()),
            );
        }
        let cut = match self.random.filter(inside) {
            Some(_) => lowest.min(),
            None => self.start_stack.filter(inside),
        };
        cut.filter(|cut| *cut > pointer)
    }
}

/// What these tests would catch: stacks that are cut off, that include a heap or the environment,
/// or that are not found after an overflow; and handler frames that are overlooked, or found where
/// there are none.
#[cfg(test)]
mod tests {
    use dumpwright_target::Fault;

    use super::*;
    use crate::regions;

    const MAPS: &str = "\
55d000000000-55d000001000 r-xp 00000000 08:01 10 /usr/bin/a
55d000001000-55d000100000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 ---p 00000000 00:00 0
7f0000001000-7f0000801000 rw-p 00000000 00:00 0
7f0000801000-7f0000802000 ---p 00000000 00:00 0
7f0000802000-7f0010000000 rw-p 00000000 00:00 0
7f1000000000-7f1000010000 rw-p 00000000 00:00 0 [anon:locked]
7f1000010000-7f1000100000 rw-p 00000000 00:00 0
7f2000000000-7f2000001000 r--p 00000000 08:01 11 /usr/lib/b
7f3000000000-7f3000001000 rw-s 00000000 00:06 12 /dev/dri/card0
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
7ffd00030000-7ffd00034000 r--p 00000000 00:00 0 [vvar]
";

    fn mappings() -> Rc<[Mapping]> {
        regions::parse(MAPS.as_bytes()).expect("well formed").into()
    }

    /// The auxiliary vector of a process with the first stack above.
    const AUXV: [(u64, u64); 3] = [(6, 4096), (25, 0x7ffd_0002_0000), (31, 0x7ffd_0002_0ff0)];

    fn stat(arg_start: u64, env_start: u64) -> ThreadStat {
        ThreadStat {
            arg_start,
            env_start,
            start_stack: 0x7ffd_0001_f000,
            ..ThreadStat::default()
        }
    }

    fn at(pointer: u64, fs_base: u64) -> Option<(u64, u64, End)> {
        let strings = Strings::of(Some(&stat(0x7ffd_0002_0000, 0x7ffd_0002_0100)), Some(&AUXV));
        let found = Stacks::new(mappings(), Some(strings), Cpu::Amd64).at(pointer, fs_base)?;
        assert_eq!(found.stack.pointer, pointer);
        Some((found.stack.range.start(), found.stack.range.end(), found.end))
    }

    #[test]
    fn the_first_stack_ends_where_the_strings_begin() {
        assert_eq!(
            at(0x7ffd_0001_0000, 1),
            Some((0x7ffd_0000_ff80, 0x7ffd_0002_0000, End::Known))
        );
        let whole = Stacks::new(mappings(), None, Cpu::Amd64)
            .at(0x7ffd_0001_0000, 1)
            .expect("found");
        assert_eq!(whole.stack.range.end(), 0x7ffd_0002_1000);
    }

    #[test]
    fn the_red_zone_stays_inside_the_mapping() {
        assert_eq!(
            at(0x7ffd_0000_0010, 1).map(|found| found.0),
            Some(0x7ffd_0000_0000)
        );
    }

    #[test]
    fn a_threads_stack_ends_behind_its_control_block() {
        let fs_base = 0x7f00_0080_0700;
        assert_eq!(
            at(0x7f00_0070_0000, fs_base),
            Some((0x7f00_006f_ff80, 0x7f00_0080_1000, End::Known))
        );
        // A heap that grew into the same mapping is not included.
        let (_, end, certainty) = at(0x7f00_0180_0000, 0x7f00_0200_0740).expect("found");
        assert_eq!((end, certainty), (0x7f00_0200_2000, End::Known));
    }

    #[test]
    fn a_stack_of_unknown_end_is_capped() {
        assert_eq!(
            at(0x7f00_0180_0000, 0x7f00_0080_0700),
            Some((0x7f00_017f_ff80, 0x7f00_0190_0000, End::Capped)),
            "the control block is somewhere else"
        );
        assert_eq!(
            at(0x7f00_0180_0000, 0x7f00_0f00_0000).map(|found| found.2),
            Some(End::Capped),
            "the control block is too far away"
        );
        assert_eq!(
            at(0x55d0_0000_2000, 1).map(|found| found.2),
            Some(End::Likely),
            "all of a small mapping"
        );
    }

    #[test]
    fn a_stack_may_consist_of_several_mappings() {
        let found = at(0x7f10_0000_8000, 0x7f10_000f_0740).expect("found");
        assert_eq!(found, (0x7f10_0000_7f80, 0x7f10_000f_2000, End::Known));
    }

    #[test]
    fn an_overflowed_stack_is_the_next_one_above() {
        let whole = Some((0x7f00_0000_1000, 0x7f00_0080_1000, End::Known));
        assert_eq!(at(0x7f00_0000_0ff8, 0x7f00_0080_0700), whole, "in the guard page");
        assert_eq!(
            at(0x7eff_ffff_f000, 0x7f00_0080_0700),
            whole,
            "below the guard page"
        );
        assert_eq!(at(0x7eff_fffe_0000, 0x7f00_0080_0700), None, "too far");
        assert_eq!(
            at(0x7ffc_ffff_ff00, 1).map(|found| found.0),
            Some(0x7ffd_0000_0000)
        );
    }

    #[test]
    fn wild_stack_pointers_have_no_stack() {
        for pointer in [
            0,
            8,
            0x7f1f_ffff_f800,
            0x7f30_0000_0800,
            0x7ffd_0003_0800,
            u64::MAX,
            1 << 63,
        ] {
            assert_eq!(at(pointer, 0), None, "{pointer:#x}");
        }
        assert!(
            at(0x7f20_0000_0800, 0).is_some(),
            "read-only memory is better than nothing"
        );
    }

    /// Memory with a handler frame in it, with the layout of the kernel's `struct rt_sigframe`.
    #[derive(Clone)]
    struct Frames(Vec<(u64, Vec<u8>)>);

    impl Frames {
        fn frame(&mut self, at: u64, pointer: u64, alternate: (u64, u64)) {
            let mut bytes = vec![0; 440];
            let mut put =
                |offset: usize, value: u64| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
            put(0, 0x55d0_0000_0100);
            put(8, 7);
            put(24, alternate.0);
            put(40, alternate.1);
            put(168, pointer);
            put(176, 0x55d0_0000_0200);
            put(184, 0x10246);
            put(192, 0x2b << 48 | 0x33);
            self.0.push((at, bytes));
        }
    }

    impl Memory for Frames {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
            for (start, bytes) in &self.0 {
                for (offset, byte) in bytes.iter().enumerate() {
                    let address = start + offset as u64;
                    if let Some(place) = address
                        .checked_sub(at)
                        .and_then(|index| into.get_mut(index as usize))
                    {
                        *place = *byte;
                    }
                }
            }
            Ok(into.len())
        }
    }

    fn stacks(memory: &Frames, pointer: u64, fs_base: u64) -> ThreadStacks {
        Stacks::new(mappings(), None, Cpu::Amd64).of_thread(pointer, fs_base, &mut memory.clone())
    }

    const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    const FS_BASE: u64 = 0x7f00_0080_0700;

    #[test]
    fn a_handler_on_an_alternate_stack_leads_to_the_interrupted_one() {
        let mut memory = Frames(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0070_0000, (0x55d0_0000_2000, 0x4000));
        let found = stacks(&memory, 0x55d0_0000_3000, FS_BASE);
        assert_eq!(found.handlers, [0x55d0_0000_4008]);
        let current = found.current.expect("found");
        assert_eq!(
            (current.stack.range.end(), current.end),
            (0x55d0_0000_6000, End::Likely),
            "its bounds are known now"
        );
        let ranges: Vec<_> = found.interrupted.iter().map(|found| found.stack.range).collect();
        assert_eq!(
            ranges,
            [AddressRange::new(0x7f00_006f_ff80, 0x7f00_0080_1000).expect("not empty")]
        );
    }

    #[test]
    fn nested_handlers_lead_there_as_well_and_no_stack_comes_twice() {
        let mut memory = Frames(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        let alternate = (0x55d0_0000_2000, 0x8000);
        memory.frame(0x55d0_0000_4008, 0x55d0_0000_5000, alternate);
        memory.frame(0x55d0_0000_6008, 0x7f10_0000_8000, alternate);
        // This frame is behind the end of that stack, so it is ignored.
        memory.frame(0x55d0_0000_b008, 0x7ffd_0001_0000, alternate);
        // The stack that they return to was itself left for another one.
        memory.frame(0x7f10_0000_9008, 0x7f00_0070_0000, (0, 0));
        let found = stacks(&memory, 0x55d0_0000_3000, FS_BASE);
        let pointers: Vec<_> = found
            .interrupted
            .iter()
            .map(|found| found.stack.pointer)
            .collect();
        assert_eq!(pointers, [0x7f10_0000_8000, 0x7f00_0070_0000]);
    }

    #[test]
    fn the_interrupted_stack_may_have_overflowed() {
        let mut memory = Frames(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0000_0f00, (0x55d0_0000_2000, 0x4000));
        let found = stacks(&memory, 0x55d0_0000_3000, FS_BASE);
        assert_eq!(found.interrupted[0].stack.range.start(), 0x7f00_0000_1000);
        assert_eq!(found.interrupted[0].stack.pointer, 0x7f00_0000_0f00);
    }

    #[test]
    fn the_short_form_of_the_restorer_counts_and_other_code_does_not() {
        let mut memory = Frames(vec![(0x55d0_0000_0100, vec![0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05])]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0070_0000, (0, 0));
        assert_eq!(stacks(&memory, 0x55d0_0000_3000, FS_BASE).interrupted.len(), 1);
        memory.0[0].1 = vec![0x90; 9];
        assert_eq!(stacks(&memory, 0x55d0_0000_3000, FS_BASE).interrupted.len(), 0);
    }

    #[test]
    fn frames_that_lead_in_circles_come_to_an_end() {
        let mut memory = Frames(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        for step in 0..2000_u64 {
            memory.frame(
                0x7f00_0180_0008 + step * 512,
                0x7f00_0300_0000 + step * 0x20_0000,
                (0, 0),
            );
        }
        let found = stacks(&memory, 0x7f00_0180_0000, FS_BASE);
        assert_eq!(found.interrupted.len(), INTERRUPTED_LIMIT);
    }

    #[test]
    fn many_thread_local_variables_are_not_part_of_the_stack() {
        const POINTER: u64 = 0x7f00_0070_0000;
        const VECTOR: u64 = 0x55d0_0000_2000;
        const WHOLE: u64 = 0x7f00_0080_1000;
        let end = |vector: &[u64]| {
            let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let memory = Frames(vec![
                (FS_BASE, bytes(&[FS_BASE, VECTOR])),
                (VECTOR - 16, bytes(vector)),
            ]);
            let current = stacks(&memory, POINTER, FS_BASE).current.expect("found");
            assert_eq!(current.end, End::Known);
            current.stack.range.end()
        };
        let [large, small] = [FS_BASE - 0x2_0000, FS_BASE - 0x100];
        // Length, alignment, generation and its second word, then pairs: glibc.
        assert_eq!(end(&[2, 0, 7, 0, small, 0, large, 0]), large);
        // The vector has room for one library only.
        assert_eq!(end(&[1, 0, 7, 0, small, 0, large, 0]), WHOLE);
        // Blocks elsewhere, and none that was allocated.
        assert_eq!(end(&[2, 0, 7, 0, VECTOR, VECTOR, u64::MAX, 0]), WHOLE);
        assert_eq!(end(&[2, 0, 7, 0, small, 0, POINTER - 8, 0]), WHOLE);
        // musl: the length is the first word.
        assert_eq!(end(&[0, 0, 2, small, large]), large);
        assert_eq!(end(&[u64::MAX, 0, u64::MAX, large, large]), WHOLE);
        assert_eq!(end(&[]), WHOLE);
    }

    #[test]
    fn wherever_the_strings_have_been_moved_to_the_first_stack_ends_below_them() {
        const HEAP: u64 = 0x55d0_0000_2000;
        const FIRST: u64 = 0x7ffd_0001_0000;
        let end = |stat: Option<&ThreadStat>, auxv: Option<&[(u64, u64)]>, pointer: u64| {
            let stacks = Stacks::new(mappings(), Some(Strings::of(stat, auxv)), Cpu::Amd64);
            stacks.at(pointer, 1).map(|found| found.stack.range.end())
        };
        let (random, start) = (Some(0x7ffd_0002_0000), Some(0x7ffd_0001_f000));
        let [arguments, environment] = [0x7ffd_0002_0100, 0x7ffd_0002_0200];
        for moved in [
            stat(arguments, environment),
            stat(HEAP, environment),
            stat(arguments, HEAP),
            stat(HEAP, HEAP),
            stat(0x7ffd_0002_0ff8, 0x7ffd_0002_0ff8),
            stat(0, 0),
        ] {
            assert_eq!(end(Some(&moved), Some(&AUXV), FIRST), random, "{moved:?}");
            // Without the auxiliary vector, and with one that was moved.
            for auxv in [None, Some(&[(25, HEAP), (31, HEAP)][..])] {
                assert_eq!(end(Some(&moved), auxv, FIRST), start, "{moved:?} {auxv:?}");
            }
        }
        assert_eq!(end(None, Some(&AUXV), FIRST), random);
        // Nothing is known.
        assert_eq!(end(None, None, FIRST), None);
        assert_eq!(end(Some(&ThreadStat::default()), None, FIRST), None);
        // The stack pointer is among the strings.
        let moved = stat(arguments, environment);
        assert_eq!(end(Some(&moved), Some(&AUXV), environment + 8), None);
        // The strings have been moved to where another stack is.
        let moved = stat(HEAP, HEAP + 0x1000);
        assert_eq!(end(Some(&moved), Some(&AUXV), HEAP - 0x800), Some(HEAP));
    }
}
