//! Registers without what is not needed for a stack trace.

use super::{Cpu, CpuContext, amd64};

/// The places of a `CONTEXT` that a filter treats differently, in bytes.
struct Places {
    /// Registers that hold addresses or anything else.
    words: &'static [std::ops::Range<usize>],
    /// What holds no address: vectors, the shadow space of a call.
    others: &'static [std::ops::Range<usize>],
    /// The instruction and the stack pointer, which always stay.
    always: [usize; 2],
    word_size: usize,
}

const AMD64: Places = Places {
    // Dr0 to Dr3; Rax to R15.
    words: &[0x48..0x68, 0x78..0xF8],
    // P1Home to P6Home; FltSave, the vector registers, and what follows them.
    others: &[0..0x30, 0x100..0x4D0],
    always: [amd64::RSP, amd64::RIP],
    word_size: 8,
};

fn places(cpu: Cpu) -> &'static Places {
    match cpu {
        Cpu::Amd64 => &AMD64,
    }
}

impl CpuContext {
    /// The values of the general registers, without instruction and stack pointer.
    pub fn general_registers(&self) -> impl Iterator<Item = u64> + '_ {
        let places = places(self.cpu);
        let general = places.words.last().cloned().unwrap_or_default();
        general
            .step_by(places.word_size)
            .filter(|at| !places.always.contains(at))
            .map(|at| self.number_at(at, places.word_size))
    }

    /// Overwrites with `fill` every general register that is neither 0 nor wanted by `keep`, and everything that can hold no
    /// address: vectors, floating point. Flags, segments, instruction and stack pointer stay. Returns how many general
    /// registers were overwritten.
    pub fn filter(&mut self, fill: u8, keep: impl Fn(u64) -> bool) -> usize {
        let places = places(self.cpu);
        let mut count = 0;
        for at in places
            .words
            .iter()
            .cloned()
            .flat_map(|part| part.step_by(places.word_size))
        {
            let value = self.number_at(at, places.word_size);
            if value != 0 && !keep(value) && !places.always.contains(&at) {
                self.bytes[at..at + places.word_size].fill(fill);
                count += 1;
            }
        }
        for part in places.others {
            self.bytes[part.clone()].fill(fill);
        }
        count
    }

    fn number_at(&self, at: usize, size: usize) -> u64 {
        let bytes = self.bytes[at..at + size].iter().rev();
        bytes.fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Amd64;

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
}
