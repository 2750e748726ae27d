//! Registers without what is not needed for a stack trace.

use std::ops::Range;

use super::{Cpu, CpuContext};

/// The places of a `CONTEXT` that a filter treats differently, in bytes; what is in neither stays: flags, segments.
struct Places {
    /// Registers that hold addresses or anything else: general ones, and those of breakpoints.
    words: &'static [Range<usize>],
    /// What holds no address: vectors, floating point, on x86-64 the shadow space of a call.
    others: &'static [Range<usize>],
}

#[expect(clippy::single_range_in_vec_init, reason = "these are lists of ranges")]
fn places(cpu: Cpu) -> Places {
    match cpu {
        // Dr0 to Dr3, Rax to Rip; P1Home to P6Home, FltSave, the vector registers, and what follows them.
        Cpu::Amd64 => Places {
            words: &[0x48..0x68, 0x78..0x100],
            others: &[0..0x30, 0x100..0x4D0],
        },
        // Dr0 to Dr3, Edi to Eip; FloatSave, ExtendedRegisters.
        Cpu::X86 => Places {
            words: &[0x4..0x14, 0x9C..0xBC],
            others: &[0x1C..0x8C, 0xCC..0x2CC],
        },
        // R0 to Pc; FPSCR, D0 to D31, and what follows them.
        Cpu::Arm => Places {
            words: &[0x4..0x44],
            others: &[0x48..0x170],
        },
        // X0 to Pc, Bvr, Wvr; V0 to V31, Fpcr, Fpsr.
        Cpu::Arm64 => Places {
            words: &[0x8..0x110, 0x338..0x378, 0x380..0x390],
            others: &[0x110..0x318],
        },
    }
}

impl CpuContext {
    /// The values of the general registers, without instruction and stack pointer.
    pub fn general_registers(&self) -> impl Iterator<Item = u64> + '_ {
        let size = self.word_size();
        let general = self.cpu.layout().general.clone().step_by(size);
        general
            .filter(|at| !self.is_always_kept(*at))
            .map(move |at| self.number_at(at, size))
    }

    /// Overwrites with `fill` every register that can hold an address but is neither 0 nor wanted by `keep`, and everything
    /// that can hold none: vectors, floating point. Flags, segments, instruction and stack pointer stay; extended
    /// state goes. Returns how many registers were overwritten.
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

    /// Whether a stack trace begins with what stands there.
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

    /// What this would catch: a register that the filter overlooks, or takes from a stack trace.
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
        // MxCsr stands once among the flags, where it stays.
        expected.bytes[0x34..0x38].copy_from_slice(&[0x5E; 4]);
        expected.bytes[..0x30].fill(0xAA);
        expected.bytes[0x300..0x4D0].fill(0xAA);
        assert_eq!(context, expected);
    }

    #[test]
    fn nor_does_any_in_another_family() {
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
