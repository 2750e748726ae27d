//! Removal of registers that a stack trace does not need.

use std::ops::Range;

use super::{Cpu, CpuContext};

/// The byte ranges of a `CONTEXT` that the filter overwrites. Everything else (flags, segments)
/// stays.
struct PointerFields {
    /// Registers that may hold addresses: general registers and breakpoint registers.
    words: &'static [Range<usize>],
    /// Registers that cannot hold addresses: vector and floating-point registers. On x86-64 also
    /// the home space for parameters (P1Home to P6Home).
    others: &'static [Range<usize>],
}

#[expect(clippy::single_range_in_vec_init, reason = "these are lists of ranges")]
fn places(cpu: Cpu) -> PointerFields {
    match cpu {
        // Words: Dr0 to Dr3, Rax to Rip. Others: P1Home to P6Home, FltSave, the vector registers
        // and the fields after them.
        Cpu::Amd64 => PointerFields {
            words: &[0x48..0x68, 0x78..0x100],
            others: &[0..0x30, 0x100..0x4D0],
        },
        // Words: Dr0 to Dr3, Edi to Eip. Others: FloatSave, ExtendedRegisters.
        Cpu::X86 => PointerFields {
            words: &[0x4..0x14, 0x9C..0xBC],
            others: &[0x1C..0x8C, 0xCC..0x2CC],
        },
        // Words: R0 to Pc. Others: FPSCR, D0 to D31 and the fields after them.
        Cpu::Arm => PointerFields {
            words: &[0x4..0x44],
            others: &[0x48..0x170],
        },
        // Words: X0 to Pc, Bvr, Wvr. Others: V0 to V31, Fpcr, Fpsr.
        Cpu::Arm64 => PointerFields {
            words: &[0x8..0x110, 0x338..0x378, 0x380..0x390],
            others: &[0x110..0x318],
        },
    }
}

impl CpuContext {
    /// Returns the values of the general registers without instruction and stack pointer.
    pub fn general_registers(&self) -> impl Iterator<Item = u64> + '_ {
        let size = self.word_size();
        let general = self.cpu.layout().general.clone().step_by(size);
        general
            .filter(|at| !self.is_always_kept(*at))
            .map(move |at| self.number_at(at, size))
    }

    /// Overwrites registers with the byte `fill`, and returns how many were overwritten.
    ///
    /// A register that can hold an address is overwritten and counted if its value is not 0 and
    /// `keep` returns `false` for it. Vector and floating-point registers are always overwritten
    /// and not counted. Flags, segments, instruction and stack pointer are kept. Extended state is
    /// removed.
    pub fn filter(&mut self, fill: u8, keep: impl Fn(u64) -> bool) -> usize {
        *self = self.clone().without_extended_state();
        let places = places(self.cpu);
        let size = self.word_size();
        let mut count = 0;
        for at in places.words.iter().cloned().flat_map(|part| part.step_by(size)) {
            let value = self.number_at(at, size);
            if value != 0 && !keep(value) && !self.is_always_kept(at) {
                self.bytes[at..at + size].fill(fill);
                count += 1;
            }
        }
        for part in places.others {
            self.bytes[part.clone()].fill(fill);
        }
        count
    }

    fn word_size(&self) -> usize {
        usize::try_from(self.cpu.pointer_size()).expect("4 or 8")
    }

    /// Returns whether the register at this offset is the instruction or stack pointer, with which
    /// a stack trace begins.
    fn is_always_kept(&self, at: usize) -> bool {
        let layout = self.cpu.layout();
        at == layout.instruction || at == layout.stack
    }

    fn number_at(&self, at: usize, size: usize) -> u64 {
        let bytes = self.bytes[at..at + size].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Amd64, Arm, Arm64, Arm64FloatingPoint, ArmFloatingPoint, X86};

    /// What this would catch: a register that the filter misses, or that a stack trace would lack.
    #[test]
    fn nothing_but_flags_pointers_and_what_is_kept_stays() {
        let full = Amd64 {
            rax: 0x5EC0_DE5E,
            rbp: 0x7000,
            rsp: 0x5EC0_DE5E,
            r15: 0x5EC0_DE5E,
            rip: 0x5EC0_DE5E,
            eflags: 0x246,
            cs: 0x33,
            segments: Some([1, 2, 3, 4]),
            fxsave: Some(Box::new([0x5E; 512])),
            debug: Some([0x7000, 0x5EC0_DE5E, 0, 0, 6, 7]),
            ..Amd64::default()
        };
        let mut context = full.to_context();
        assert_eq!(context.general_registers().filter(|value| *value != 0).count(), 3);
        assert_eq!(context.filter(0xAA, |value| value == 0x7000), 3);
        let filled = 0xAAAA_AAAA_AAAA_AAAA;
        let expected = Amd64 {
            rax: filled,
            r15: filled,
            fxsave: Some(Box::new([0xAA; 512])),
            debug: Some([0x7000, filled, 0, 0, 6, 7]),
            ..full
        };
        let mut expected = expected.to_context();
        // The copy of MxCsr next to ContextFlags is kept.
        expected.bytes[0x34..0x38].copy_from_slice(&[0x5E; 4]);
        expected.bytes[..0x30].fill(0xAA);
        expected.bytes[0x300..0x4D0].fill(0xAA);
        assert_eq!(context, expected);
    }

    #[test]
    fn no_secret_stays_in_the_registers_of_other_families() {
        const SECRET: u32 = 0x5EC0_DE5E;
        let wide = u64::from(SECRET) << 32 | u64::from(SECRET);
        let [low, high] = [wide as u128, (wide as u128) << 64];
        let contexts = [
            X86 {
                eax: SECRET,
                edi: SECRET,
                eip: 1,
                esp: 2,
                fxsave: Some(Box::new(std::array::from_fn(|at| SECRET.to_le_bytes()[at % 4]))),
                debug: Some([SECRET, SECRET, SECRET, SECRET, 0, 0]),
                ..X86::default()
            }
            .to_context(),
            Arm {
                r: [SECRET; 13],
                lr: SECRET,
                pc: 1,
                sp: 2,
                floating_point: Some(Box::new(ArmFloatingPoint {
                    d: [wide; 32],
                    fpscr: SECRET,
                })),
                ..Arm::default()
            }
            .to_context(),
            Arm64 {
                x: [wide; 29],
                fp: wide,
                lr: wide,
                pc: 1,
                sp: 2,
                floating_point: Some(Box::new(Arm64FloatingPoint {
                    v: [low | high; 32],
                    fpcr: SECRET,
                    fpsr: SECRET,
                })),
                ..Arm64::default()
            }
            .to_context(),
        ];
        for mut context in contexts {
            let size = context.bytes().len();
            let has_secret = |bytes: &[u8]| bytes.windows(4).any(|word| word == SECRET.to_le_bytes());
            assert!(has_secret(context.bytes()));
            context.filter(0xAA, |_| false);
            assert!(!has_secret(context.bytes()), "{:?}", context.cpu());
            assert_eq!(
                (
                    context.instruction_pointer(),
                    context.stack_pointer(),
                    context.bytes().len()
                ),
                (1, 2, size)
            );
        }
    }
}
