//! Where a `CONTEXT` has what is looked for, whatever the processor.

use std::ops::Range;

use super::Cpu;

/// The places of a family's `CONTEXT` that are of interest without knowing the family. Offsets in bytes, as in
/// Microsoft's `winnt.h` (for 32-bit ARM as in Breakpad's `minidump_cpu_arm.h`).
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The family.
    pub cpu: Cpu,
    /// Bytes of the structure; extended state makes it longer.
    pub size: usize,
    /// Where `ContextFlags` stands, 32 bits.
    pub flags: usize,
    /// The bit of `ContextFlags` that names the processor.
    pub cpu_bit: u32,
    /// The general registers, instruction and stack pointer included.
    pub general: Range<usize>,
    /// What the instruction pointer is called.
    pub instruction_name: &'static str,
    /// What the stack pointer is called.
    pub stack_name: &'static str,
    pub(super) instruction: usize,
    pub(super) stack: usize,
}

impl Layout {
    /// The layout of a `CONTEXT` of which only the bytes are known: told by its length and the processor's bit. `None` if
    /// it is of no known family.
    #[must_use]
    pub fn of(context: &[u8]) -> Option<&'static Self> {
        // From the longest to the shortest, so that none is taken for the beginning of a longer one.
        let families = [Cpu::Amd64, Cpu::Arm64, Cpu::X86, Cpu::Arm];
        families.map(Cpu::layout).into_iter().find(|layout| {
            context.len() >= layout.size && layout.context_flags(context) & layout.cpu_bit == layout.cpu_bit
        })
    }

    /// `ContextFlags`. This and the following need a `CONTEXT` of at least [`size`](Self::size) bytes.
    #[must_use]
    pub fn context_flags(&self, context: &[u8]) -> u32 {
        number(&context[self.flags..self.flags + 4]) as u32
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self, context: &[u8]) -> u64 {
        self.word(context, self.instruction)
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self, context: &[u8]) -> u64 {
        self.word(context, self.stack)
    }

    /// The values of the general registers, in the structure's order.
    pub fn general_registers<'c>(&self, context: &'c [u8]) -> impl Iterator<Item = u64> + use<'c> {
        context[self.general.clone()]
            .chunks_exact(self.word_size())
            .map(number)
    }

    fn word(&self, context: &[u8], at: usize) -> u64 {
        number(&context[at..at + self.word_size()])
    }

    fn word_size(&self) -> usize {
        self.cpu.pointer_size() as usize
    }
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What this would catch: a context taken for another family's.
#[cfg(test)]
mod tests {
    use super::super::{Amd64, Arm, Arm64, X86};
    use super::*;

    #[test]
    fn a_context_tells_its_family() {
        let contexts = [
            Amd64::default().to_context(),
            X86::default().to_context(),
            Arm::default().to_context(),
            Arm64::default().to_context(),
        ];
        for context in contexts {
            let layout = Layout::of(context.bytes()).expect("known");
            assert_eq!(layout.cpu, context.cpu());
            assert_eq!(layout.size, context.bytes().len());
        }
        assert_eq!(Layout::of(&[]), None);
        assert_eq!(Layout::of(&[0; 2000]), None);
        assert_eq!(Layout::of(&[0xFF; 40]), None);
    }

    #[test]
    fn general_registers_come_in_the_families_width() {
        let amd64 = Amd64 {
            rax: 1,
            rcx: 2,
            rsp: 3,
            r15: 4,
            rip: 5,
            ..Amd64::default()
        }
        .to_context();
        let of = |context: &[u8]| -> Vec<u64> {
            Layout::of(context).unwrap().general_registers(context).collect()
        };
        let registers = of(amd64.bytes());
        assert_eq!(registers.len(), 17);
        assert_eq!(
            [0, 1, 4, 15, 16].map(|index: usize| registers[index]),
            [1, 2, 3, 4, 5]
        );
        let x86 = X86 {
            edi: 1,
            eip: 2,
            esp: 3,
            ..X86::default()
        }
        .to_context();
        let registers = of(x86.bytes());
        assert_eq!([0, 7, 10].map(|index: usize| registers[index]), [1, 2, 3]);
        let arm = Arm {
            lr: 7,
            ..Arm::default()
        }
        .to_context();
        assert_eq!(of(arm.bytes()).iter().sum::<u64>(), 7);
        assert_eq!(of(arm.bytes()).len(), 16);
        let arm64 = Arm64 {
            lr: u64::MAX,
            ..Arm64::default()
        }
        .to_context();
        assert_eq!((of(arm64.bytes()).len(), of(arm64.bytes())[30]), (33, u64::MAX));
    }
}
