//! The structures in the notes of x86-64 cores (`sys/procfs.h`, `linux/elfcore.h`).

use byteorder::{ByteOrder, LittleEndian};
use dumpwright_target::XStateFeature;
use dumpwright_target::filetime::UNITS_PER_SECOND;

use super::notes::{CoreProcess, CoreThread};
use crate::registers::{GENERAL_WORDS, Registers};

/// The size in bytes of `struct elf_prstatus`.
pub(super) const STATUS: u32 = 336;
/// The size in bytes of `struct elf_prpsinfo`.
pub(super) const PROCESS: u32 = 136;
/// The size in bytes of the x87 and SSE registers (`struct user_fpregs_struct`).
pub(super) const FLOATING_POINT: u32 = 512;
/// The size in bytes of `struct x86_xfeat_component` (`asm/elf.h`).
pub(super) const LAYOUT_ENTRY: usize = 16;

/// Parses a `struct elf_prstatus` of [`STATUS`] bytes.
pub(super) fn thread(status: &[u8]) -> CoreThread {
    /// The offsets of fields.
    const SIGNAL: usize = 12;
    const BLOCKED: usize = 24;
    const ID: usize = 32;
    const USER_TIME: usize = 48;
    const KERNEL_TIME: usize = 64;
    const REGISTERS: usize = 112;
    let word = |at: usize| LittleEndian::read_u64(&status[at..]);
    // A structure `timeval`: seconds and microseconds.
    let time = |at: usize| {
        let seconds = word(at).saturating_mul(UNITS_PER_SECOND);
        seconds.saturating_add(word(at + 8).saturating_mul(10))
    };
    let words: [u64; GENERAL_WORDS] = std::array::from_fn(|index| word(REGISTERS + 8 * index));
    CoreThread {
        tid: LittleEndian::read_u32(&status[ID..]),
        registers: Registers::of_words(&words),
        xsave: Box::default(),
        signal: LittleEndian::read_i16(&status[SIGNAL..]).into(),
        siginfo: None,
        blocked: word(BLOCKED),
        user_time: time(USER_TIME),
        kernel_time: time(KERNEL_TIME),
    }
}

/// Parses a `struct elf_prpsinfo` of [`PROCESS`] bytes.
pub(super) fn process(facts: &[u8]) -> CoreProcess {
    let half = |at: usize| LittleEndian::read_u32(&facts[at..]);
    let string = |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().take_while(|byte| *byte != 0).collect() };
    // The kernel puts a space in place of each zero byte, and so one behind the last argument.
    let mut arguments = string(&facts[56..136]);
    if arguments.last() == Some(&b' ') {
        arguments.pop();
    }
    CoreProcess {
        pid: half(24),
        parent: half(28),
        uid: half(16),
        gid: half(20),
        nice: facts[3].cast_signed(),
        name: string(&facts[40..56]),
        arguments,
    }
}

/// Parses a list of `struct x86_xfeat_component`. The list ends at the first number of a feature
/// that no processor has.
pub(super) fn xsave_layout(list: &[u8]) -> Vec<XStateFeature> {
    let entries = list.chunks_exact(LAYOUT_ENTRY);
    entries
        .map_while(|entry| {
            let [number, size, offset] = [0, 4, 8].map(|at| LittleEndian::read_u32(&entry[at..]));
            let number = u8::try_from(number).ok().filter(|number| *number < 63)?;
            Some(XStateFeature { number, offset, size })
        })
        .collect()
}
