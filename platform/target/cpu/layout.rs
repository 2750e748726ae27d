//! The offsets of the important fields of a `CONTEXT`, for each processor family.

use std::ops::Range;

use super::Cpu;

/// The fields of a family's `CONTEXT` that all families have in common.
///
/// Offsets are in bytes, as in Microsoft's `winnt.h`. For 32-bit ARM they are those of Breakpad's
/// `minidump_cpu_arm.h`.
#[derive(Debug, PartialEq, Eq)]
pub struct ContextLayout {
    /// The processor family.
    pub cpu: Cpu,
    /// The size of the structure in bytes, without extended state.
    pub size: usize,
    /// The offset of `ContextFlags`, which has 32 bits.
    pub flags: usize,
    /// The bit of `ContextFlags` that identifies the processor family.
    pub cpu_bit: u32,
    /// The offsets of the general registers, including instruction and stack pointer.
    pub general: Range<usize>,
    /// The name of the instruction pointer.
    pub instruction_name: &'static str,
    /// The name of the stack pointer.
    pub stack_name: &'static str,
    pub(super) instruction: usize,
    pub(super) stack: usize,
}

impl ContextLayout {
    /// Finds the layout of a `CONTEXT` by its length and the processor bit in its flags. Returns
    /// `None` if it belongs to no known family.
    #[must_use]
    pub fn of(context: &[u8]) -> Option<&'static Self> {
        // From the longest to the shortest, so that a context is not mistaken for a shorter one.
        let families = [Cpu::Amd64, Cpu::Arm64, Cpu::X86, Cpu::Arm];
        families.map(Cpu::layout).into_iter().find(|layout| {
            context.len() >= layout.size && layout.context_flags(context) & layout.cpu_bit == layout.cpu_bit
        })
    }

    /// Returns `ContextFlags`.
    ///
    /// # Panics
    /// Panics if `context` has fewer than [`size`](Self::size) bytes.
    #[must_use]
    pub fn context_flags(&self, context: &[u8]) -> u32 {
        number(&context[self.flags..self.flags + 4]) as u32
    }

    /// Returns the instruction pointer.
    ///
    /// # Panics
    /// Panics if `context` has fewer than [`size`](Self::size) bytes.
    #[must_use]
    pub fn instruction_pointer(&self, context: &[u8]) -> u64 {
        self.word(context, self.instruction)
    }

    /// Returns the stack pointer.
    ///
    /// # Panics
    /// Panics if `context` has fewer than [`size`](Self::size) bytes.
    #[must_use]
    pub fn stack_pointer(&self, context: &[u8]) -> u64 {
        self.word(context, self.stack)
    }

    /// Returns the values of the general registers, in the order of the structure.
    ///
    /// # Panics
    /// Panics if `context` has fewer than [`size`](Self::size) bytes.
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

/// Reads a little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What these tests would catch: a context that is taken for that of another family.
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
            let layout = ContextLayout::of(context.bytes()).expect("known");
            assert_eq!(layout.cpu, context.cpu());
            assert_eq!(layout.size, context.bytes().len());
        }
        assert_eq!(ContextLayout::of(&[]), None);
        assert_eq!(ContextLayout::of(&[0; 2000]), None);
        assert_eq!(ContextLayout::of(&[0xFF; 40]), None);
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
            ContextLayout::of(context)
                .unwrap()
                .general_registers(context)
                .collect()
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
