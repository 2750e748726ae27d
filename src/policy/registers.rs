//! Registers of a `CONTEXT`, whatever the processor.

/// Where a processor's `CONTEXT` has what is looked for. Offsets as in Microsoft's `winnt.h`.
struct Layout {
    /// Bytes of the structure; extended state makes it longer.
    size: usize,
    flags: usize,
    /// The bit of `ContextFlags` that names the processor.
    cpu: u32,
    /// Bytes of a register.
    word: usize,
    /// The general registers, instruction and stack pointer included.
    general: std::ops::Range<usize>,
    instruction_pointer: usize,
}

const LAYOUTS: [Layout; 3] = [
    // x86-64: Rax to R15, Rip.
    Layout {
        size: 1232,
        flags: 0x30,
        cpu: 0x10_0000,
        word: 8,
        general: 0x78..0x100,
        instruction_pointer: 0xF8,
    },
    // x86: Edi, Esi, Ebx, Edx, Ecx, Eax, Ebp, Eip, SegCs, EFlags, Esp. The two that are no addresses are small.
    Layout {
        size: 716,
        flags: 0,
        cpu: 0x1_0000,
        word: 4,
        general: 0x9C..0xC8,
        instruction_pointer: 0xB8,
    },
    // ARM64: X0 to X28, Fp, Lr, Sp, Pc.
    Layout {
        size: 912,
        flags: 0,
        cpu: 0x40_0000,
        word: 8,
        general: 0x08..0x110,
        instruction_pointer: 0x108,
    },
];

fn layout(context: &[u8]) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| {
        let flags = context.get(layout.flags..layout.flags + 4).map(word);
        context.len() >= layout.size && flags.is_some_and(|flags| flags & u64::from(layout.cpu) != 0)
    })
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The values of the general registers; none if the processor is not known.
pub(super) fn general(context: &[u8]) -> Vec<u64> {
    layout(context)
        .map(|layout| {
            context[layout.general.clone()]
                .chunks_exact(layout.word)
                .map(word)
                .collect()
        })
        .unwrap_or_default()
}

/// The instruction pointer.
pub(super) fn instruction_pointer(context: &[u8]) -> Option<u64> {
    let layout = layout(context)?;
    Some(word(
        &context[layout.instruction_pointer..layout.instruction_pointer + layout.word],
    ))
}

#[cfg(test)]
mod tests {
    use dumpwright_target::Amd64;

    use super::*;

    #[test]
    fn x86_64_has_sixteen_and_the_instruction_pointer() {
        let context = Amd64 {
            rax: 1,
            rcx: 2,
            rsp: 3,
            r15: 4,
            rip: 5,
            ..Amd64::default()
        }
        .to_context();
        let registers = general(context.bytes());
        assert_eq!(registers.len(), 17);
        assert_eq!(
            [0, 1, 4, 15, 16].map(|index: usize| registers[index]),
            [1, 2, 3, 4, 5]
        );
        assert_eq!(instruction_pointer(context.bytes()), Some(5));
    }

    #[test]
    fn other_processors_are_told_by_their_flags() {
        let mut x86 = vec![0; 716];
        x86[2] = 1;
        x86[0xB8..0xBC].copy_from_slice(&0x1234_u32.to_le_bytes());
        assert_eq!(instruction_pointer(&x86), Some(0x1234));
        let mut arm64 = vec![0; 912];
        arm64[2] = 0x40;
        arm64[0x108..0x110].copy_from_slice(&0xFFFF_1234_u64.to_le_bytes());
        assert_eq!(instruction_pointer(&arm64), Some(0xFFFF_1234));
        assert_eq!(instruction_pointer(&[]), None);
        assert!(general(&[0xFF; 40]).is_empty());
    }
}
