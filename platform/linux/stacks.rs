//! Which memory is a thread's stack.
//!
//! From the red zone below the stack pointer up to
//!
//! * the end of the mapping, if that is the kernel's `[stack]`; where the argument and environment
//!   strings begin, unless these are wanted;
//! * the thread's control block, if the mapping holds it (glibc and musl put it on top of each
//!   thread's stack);
//! * else 1 MiB at most, and this is said: the stack belongs to a coroutine or a runtime of its own.
//!
//! A thread inside a signal handler may have left another stack, to which it returns. The kernel's frame
//! for the handler says where it was.

use std::collections::HashMap;
use std::rc::Rc;

use dumpwright_target::{AddressRange, Cpu, Stack};

use crate::proc_dir::{ThreadStat, page_size};
use crate::regions::Mapping;
use crate::registers::{USER_CS, USER_CS_32, USER_SS};

/// How far above a stack pointer that has run out of its stack the stack is looked for.
const OVERFLOW_REACH: u64 = 64 << 10;

/// How much is kept of a stack whose end is not known.
const UNKNOWN_END_LIMIT: u64 = 1 << 20;

/// How far above the stack pointer the control block is believed. Beyond that it is more likely that a heap
/// lies between; and Breakpad's reader refuses larger pieces of memory.
const CONTROL_BLOCK_REACH: u64 = 64 << 20;

/// What may lie behind the thread pointer and belongs to the thread: `struct pthread` has 2304 bytes in
/// glibc 2.36, fewer in musl.
const CONTROL_BLOCK: u64 = 4096;

/// How far handler frames are looked for on a stack that is the thread's own: enough for an alternate
/// stack that lies inside it, as a local array. (On all other stacks: in all that is kept.)
const OWN_STACK_SEARCH: u64 = 16 << 10;

/// How many stacks one thread may have left for others.
const INTERRUPTED_LIMIT: usize = 8;

/// Reads memory of the target, and says how many bytes it got.
pub(crate) type Read<'a> = dyn FnMut(u64, &mut [u8]) -> usize + 'a;

/// A stack, and whether its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) stack: Stack,
    pub(crate) end: End,
}

/// What the upper end of a stack goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `[stack]`, or the thread's control block.
    Known,
    /// The bounds of an alternate signal stack, or of the mapping.
    Likely,
    /// The limit.
    Capped,
}

/// All stacks of one thread.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ThreadStacks {
    /// The one it runs on.
    pub(crate) current: Option<Found>,
    /// Those it has left and will return to.
    pub(crate) interrupted: Vec<Found>,
}

/// Finds stacks in the address space.
#[derive(Debug)]
pub(crate) struct Stacks {
    mappings: Rc<[Mapping]>,
    strings: Option<u64>,
    /// The family of the process, whose ABI says whether there is a red zone, and how handler frames look.
    cpu: Cpu,
    /// What was found at addresses that might be the code handlers return to.
    restorers: HashMap<u64, bool>,
}

impl Stacks {
    /// `mappings` ascending; `strings` is where arguments and environment begin, if they are unwanted.
    pub(crate) fn new(mappings: Rc<[Mapping]>, strings: Option<u64>, cpu: Cpu) -> Self {
        Self {
            mappings,
            strings,
            cpu,
            restorers: HashMap::new(),
        }
    }

    /// The stack that a thread with these two registers runs on.
    pub(crate) fn at(&self, pointer: u64, thread_pointer: u64) -> Option<Found> {
        let (first, start) = match self.index_of(pointer) {
            Some(index) if self.mappings[index].is_memory() => {
                let bottom = self.mappings[index].range.start();
                (index, pointer.saturating_sub(self.cpu.red_zone()).max(bottom))
            }
            _ => self.above(pointer)?,
        };
        let (end, certainty) = self.end(first, pointer.max(start), thread_pointer);
        Some(Found {
            stack: Stack {
                range: AddressRange::new(start, end)?,
                pointer,
            },
            end: certainty,
        })
    }

    /// The stack that a thread with these two registers runs on, and those that signal handlers have it
    /// return to.
    pub(crate) fn of_thread(
        &mut self,
        pointer: u64,
        thread_pointer: u64,
        read: &mut Read<'_>,
    ) -> ThreadStacks {
        let mut stacks: Vec<Found> = self.at(pointer, thread_pointer).into_iter().collect();
        let mut searched = 0;
        while searched < stacks.len() {
            for frame in self.handler_frames(stacks[searched], read) {
                let current = &mut stacks[searched];
                if !current.stack.range.contains(frame.at) {
                    break;
                }
                current.end_with(frame.alternate);
                let known = |found: &Found| {
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
        }
    }

    /// The mapping that holds `address`.
    fn index_of(&self, address: u64) -> Option<usize> {
        let behind = self
            .mappings
            .partition_point(|mapping| mapping.range.start() <= address);
        let index = behind.checked_sub(1)?;
        self.mappings[index].range.contains(address).then_some(index)
    }

    /// The stack that has overflowed: the next memory above, in which everything is in use.
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

    /// Where the stack ends that has `pointer` in the mapping at `first`.
    ///
    /// A stack may consist of several mappings: the kernel splits them where the program has locked or
    /// named a part.
    fn end(&self, first: usize, pointer: u64, thread_pointer: u64) -> (u64, End) {
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
                let strings = self
                    .strings
                    .filter(|strings| (pointer + 1..end).contains(strings));
                return (strings.unwrap_or(end), End::Known);
            }
            if thread_pointer >= pointer
                && part.range.contains(thread_pointer)
                && thread_pointer - pointer < CONTROL_BLOCK_REACH
            {
                let behind = (thread_pointer + CONTROL_BLOCK).next_multiple_of(page_size());
                return (behind.min(end), End::Known);
            }
        }
        let end = mapping.range.end();
        match pointer + UNKNOWN_END_LIMIT {
            limit if limit < end => (limit, End::Capped),
            _ => (end, End::Likely),
        }
    }

    /// The frames of signal handlers on a stack, innermost first.
    fn handler_frames(&mut self, found: Found, read: &mut Read<'_>) -> Vec<HandlerFrame> {
        let range = found.stack.range;
        let length = match found.end {
            End::Known => range.len().min(OWN_STACK_SEARCH),
            End::Likely | End::Capped => range.len().min(UNKNOWN_END_LIMIT + self.cpu.red_zone()),
        };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let got = read(range.start(), &mut bytes);
        bytes.truncate(got);
        // The kernel puts frames at 16-byte boundaries, less the word of the return address.
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
            .filter(|frame| self.is_restorer(frame.restorer, read))
            .collect()
    }

    /// Whether the code at `address` is what handlers return to: the system call `rt_sigreturn`.
    fn is_restorer(&mut self, address: u64, read: &mut Read<'_>) -> bool {
        /// `mov $15, %rax; syscall`, in the encoding of glibc (and so known to unwinders).
        const LONG: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
        /// `mov $15, %eax; syscall`: what other libraries' assemblers make of it.
        const SHORT: [u8; 7] = [0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05];
        /// `mov $173, %eax; int $0x80`: 32-bit code, in the vdso and in libraries.
        const NARROW: [u8; 7] = [0xb8, 0xad, 0, 0, 0, 0xcd, 0x80];
        if let Some(known) = self.restorers.get(&address) {
            return *known;
        }
        let executable = self
            .index_of(address)
            .is_some_and(|index| self.mappings[index].execute && self.mappings[index].is_memory());
        let mut code = [0; LONG.len()];
        let is_one = executable && {
            let got = read(address, &mut code);
            let forms: &[&[u8]] = match self.cpu {
                Cpu::X86 => &[&NARROW],
                _ => &[&LONG, &SHORT],
            };
            forms.iter().any(|form| code[..got].starts_with(form))
        };
        self.restorers.insert(address, is_one);
        is_one
    }
}

impl Found {
    /// Ends the stack with the alternate signal stack that it lies on, where nothing better is known.
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
    /// Whether it holds bytes that we may read.
    fn is_memory(&self) -> bool {
        self.read && !self.is_device() && !self.is_kernel_page()
    }
}

/// What the kernel left on the stack for a signal handler: `struct rt_sigframe`, whose `uc` is documented by
/// the C library's `ucontext_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HandlerFrame {
    at: u64,
    /// Where the handler returns to.
    restorer: u64,
    /// The interrupted stack pointer.
    pointer: u64,
    /// The thread's alternate signal stack, if it has one.
    alternate: Option<AddressRange>,
}

impl HandlerFrame {
    /// As much of it as is looked at: up to the segment registers.
    const SIZE: usize = 200;

    /// A frame, if all looks like one: fields that the kernel always fills with the same values tell it
    /// from other data.
    fn parse(at: u64, bytes: &[u8]) -> Option<Self> {
        let word =
            |offset: usize| u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"));
        let half = |offset: usize| u16::from_ne_bytes([bytes[offset], bytes[offset + 1]]);
        let flags = word(8);
        let link = word(16);
        let alternate_flags = word(32) as u32;
        let eflags = word(184);
        let [cs, _gs, _fs, ss] = [192, 194, 196, 198].map(half);
        let plausible = flags <= 7
            && link == 0
            && alternate_flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0
            && eflags >> 32 == 0
            && eflags & EFLAGS_ALWAYS != 0
            && (cs == USER_CS || cs == USER_CS_32)
            // Kernels before 4.6 left 0 here.
            && (ss == USER_SS || ss == 0);
        plausible.then(|| Self {
            at,
            restorer: word(0),
            pointer: word(168),
            alternate: AddressRange::at(word(24), word(40)).filter(|_| alternate_flags & SS_DISABLE == 0),
        })
    }
}

impl HandlerFrame {
    /// As much of a 32-bit frame as is looked at.
    const SIZE_32: usize = 240;

    /// The same for 32-bit code: `struct rt_sigframe_ia32` of the kernel. Handlers that were installed without
    /// `SA_SIGINFO` get a shorter one, which does not tell the alternate stack and is not looked for.
    fn parse_32(at: u64, bytes: &[u8]) -> Option<Self> {
        /// Behind the return address, the handler's three arguments and a `siginfo_t`.
        const CONTEXT: usize = 16 + 128;
        let word =
            |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"));
        let half = |offset: usize| u16::from_le_bytes([bytes[offset], bytes[offset + 1]]);
        let alternate_flags = word(CONTEXT + 12);
        let eflags = word(CONTEXT + 84);
        let [cs, ss] = [half(CONTEXT + 80), half(CONTEXT + 92)];
        // The arguments are no evidence: they belong to the handler, which may have overwritten them.
        let plausible = word(CONTEXT + 4) == 0
            && alternate_flags & !(SS_ONSTACK | SS_DISABLE | SS_AUTODISARM) == 0
            && eflags & EFLAGS_ALWAYS as u32 != 0
            && cs == USER_CS_32
            && ss == USER_SS;
        plausible.then(|| Self {
            at,
            restorer: word(0).into(),
            pointer: word(CONTEXT + 48).into(),
            alternate: AddressRange::at(word(CONTEXT + 8).into(), word(CONTEXT + 16).into())
                .filter(|_| alternate_flags & SS_DISABLE == 0),
        })
    }
}

const SS_ONSTACK: u32 = 1;
const SS_DISABLE: u32 = 2;
const SS_AUTODISARM: u32 = 1 << 31;
/// Bit 1 of the flags register is always set.
const EFLAGS_ALWAYS: u64 = 2;

/// Where the argument and environment strings of a process begin.
pub(crate) fn strings(stat: &ThreadStat) -> Option<u64> {
    [stat.arg_start, stat.env_start]
        .into_iter()
        .filter(|start| *start != 0)
        .min()
}

/// What these tests would catch: stacks that are cut, that drag in a heap or the environment, that are not found
/// after an overflow, and frames of handlers that are overlooked or seen where there are none.
#[cfg(test)]
mod tests {
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

    fn at(pointer: u64, fs_base: u64) -> Option<(u64, u64, End)> {
        let found = Stacks::new(mappings(), Some(0x7ffd_0002_0000), Cpu::Amd64).at(pointer, fs_base)?;
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
        // A heap that grew into the same mapping stays out.
        let (_, end, certainty) = at(0x7f00_0180_0000, 0x7f00_0200_0740).expect("found");
        assert_eq!((end, certainty), (0x7f00_0200_2000, End::Known));
    }

    #[test]
    fn a_stack_of_unknown_end_is_capped() {
        assert_eq!(
            at(0x7f00_0180_0000, 0x7f00_0080_0700),
            Some((0x7f00_017f_ff80, 0x7f00_0190_0000, End::Capped)),
            "the control block lies elsewhere"
        );
        assert_eq!(
            at(0x7f00_0180_0000, 0x7f00_0f00_0000).map(|found| found.2),
            Some(End::Capped),
            "the control block is too far away to be believed"
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
        assert_eq!(at(0x7eff_ffff_f000, 0x7f00_0080_0700), whole, "jumped over it");
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

    /// Memory with a handler's frame in it, laid out by the kernel's `struct rt_sigframe`.
    struct Memory(Vec<(u64, Vec<u8>)>);

    impl Memory {
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

        fn read(&self, at: u64, into: &mut [u8]) -> usize {
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
            into.len()
        }
    }

    fn stacks(memory: &Memory, pointer: u64, fs_base: u64) -> ThreadStacks {
        Stacks::new(mappings(), None, Cpu::Amd64)
            .of_thread(pointer, fs_base, &mut |at, into| memory.read(at, into))
    }

    const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    const FS_BASE: u64 = 0x7f00_0080_0700;

    #[test]
    fn a_handler_on_an_alternate_stack_leads_to_the_interrupted_one() {
        let mut memory = Memory(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0070_0000, (0x55d0_0000_2000, 0x4000));
        let found = stacks(&memory, 0x55d0_0000_3000, FS_BASE);
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
        let mut memory = Memory(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        let alternate = (0x55d0_0000_2000, 0x8000);
        memory.frame(0x55d0_0000_4008, 0x55d0_0000_5000, alternate);
        memory.frame(0x55d0_0000_6008, 0x7f10_0000_8000, alternate);
        // Behind that stack's end: of no concern.
        memory.frame(0x55d0_0000_b008, 0x7ffd_0001_0000, alternate);
        // The stack they lead to has itself been left for another.
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
        let mut memory = Memory(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0000_0f00, (0x55d0_0000_2000, 0x4000));
        let found = stacks(&memory, 0x55d0_0000_3000, FS_BASE);
        assert_eq!(found.interrupted[0].stack.range.start(), 0x7f00_0000_1000);
        assert_eq!(found.interrupted[0].stack.pointer, 0x7f00_0000_0f00);
    }

    #[test]
    fn the_short_form_of_the_restorer_counts_and_other_code_does_not() {
        let mut memory = Memory(vec![(0x55d0_0000_0100, vec![0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05])]);
        memory.frame(0x55d0_0000_4008, 0x7f00_0070_0000, (0, 0));
        assert_eq!(stacks(&memory, 0x55d0_0000_3000, FS_BASE).interrupted.len(), 1);
        memory.0[0].1 = vec![0x90; 9];
        assert_eq!(stacks(&memory, 0x55d0_0000_3000, FS_BASE).interrupted.len(), 0);
    }

    #[test]
    fn frames_that_lead_in_circles_come_to_an_end() {
        let mut memory = Memory(vec![(0x55d0_0000_0100, RESTORER.to_vec())]);
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
    fn strings_begin_where_the_lower_of_both_does() {
        let stat = |arg_start, env_start| ThreadStat {
            arg_start,
            env_start,
            ..ThreadStat::default()
        };
        assert_eq!(strings(&stat(5, 9)), Some(5));
        assert_eq!(strings(&stat(0, 9)), Some(9));
        assert_eq!(strings(&stat(0, 0)), None);
    }
}
