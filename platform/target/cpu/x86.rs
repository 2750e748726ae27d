use minidump_common::format::{CONTEXT_X86, ContextFlagsX86, FLOATING_SAVE_AREA_X86};
use scroll::{LE, Pwrite};

use super::{ContextLayout, Cpu, CpuContext};

pub(super) const LAYOUT: ContextLayout = ContextLayout {
    cpu: Cpu::X86,
    size: 716,
    flags: 0,
    cpu_bit: 0x1_0000,
    // Edi, Esi, Ebx, Edx, Ecx, Eax, Ebp, Eip, SegCs, EFlags, Esp. SegCs and EFlags are not
    // addresses, but their values are too small to be mistaken for one.
    general: 0x9C..0xC8,
    instruction_name: "eip",
    stack_name: "esp",
    instruction: 0xB8,
    stack: 0xC4,
};

/// `CONTEXT_SEGMENTS` without the processor bit. minidump-common has only the combination of both.
const SEGMENTS: u32 = 4;

/// The registers of a 32-bit x86 thread, from which a `CONTEXT` is made.
///
/// Control and integer registers are always present. Other registers are `None` if they could not
/// be read, and `ContextFlags` then does not include them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "register names say what they are")]
pub struct X86 {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
    pub esi: u32,
    pub edi: u32,
    pub ebp: u32,
    pub esp: u32,
    pub eip: u32,
    pub eflags: u32,
    pub cs: u16,
    pub ss: u16,
    /// `ds`, `es`, `fs`, `gs`.
    pub segments: Option<[u16; 4]>,
    /// The 512-byte FXSAVE image in the format of 32-bit code: x87 and SSE state.
    pub fxsave: Option<Box<[u8; 512]>>,
    /// `dr0` to `dr3`, `dr6`, `dr7`.
    pub debug: Option<[u32; 6]>,
}

impl X86 {
    /// Returns a `CONTEXT` with only the control registers (`ebp`, `eip`, `esp`, `cs`, `ss`,
    /// `eflags`), for a thread whose other registers are unknown.
    ///
    /// The other registers are zero, and `ContextFlags` does not include them.
    #[must_use]
    pub fn to_control_context(&self) -> CpuContext {
        let known = Self {
            ebp: self.ebp,
            eip: self.eip,
            esp: self.esp,
            cs: self.cs,
            ss: self.ss,
            eflags: self.eflags,
            ..Self::default()
        };
        let mut context = known.to_context();
        let flags = ContextFlagsX86::CONTEXT_X86_CONTROL.bits();
        context.bytes[LAYOUT.flags..LAYOUT.flags + 4].copy_from_slice(&flags.to_le_bytes());
        context
    }

    /// Returns the `CONTEXT` with these registers. `ContextFlags` includes exactly those that are
    /// present.
    ///
    /// The x87 state is stored twice: in the FSAVE format in `FloatSave`, for older readers, and in
    /// the FXSAVE format in `ExtendedRegisters`.
    #[must_use]
    pub fn to_context(&self) -> CpuContext {
        let mut flags =
            ContextFlagsX86::CONTEXT_X86_CONTROL.bits() | ContextFlagsX86::CONTEXT_X86_INTEGER.bits();
        let mut context = CONTEXT_X86 {
            eax: self.eax,
            ebx: self.ebx,
            ecx: self.ecx,
            edx: self.edx,
            esi: self.esi,
            edi: self.edi,
            ebp: self.ebp,
            esp: self.esp,
            eip: self.eip,
            eflags: self.eflags,
            cs: self.cs.into(),
            ss: self.ss.into(),
            ..CONTEXT_X86::default()
        };
        if let Some(segments) = self.segments {
            flags |= SEGMENTS;
            [context.ds, context.es, context.fs, context.gs] = segments.map(u32::from);
        }
        if let Some(fxsave) = &self.fxsave {
            flags |= ContextFlagsX86::CONTEXT_X86_FLOATING_POINT.bits()
                | ContextFlagsX86::CONTEXT_X86_EXTENDED_REGISTERS.bits();
            context.float_save = as_fsave(fxsave);
            context.extended_registers = **fxsave;
        }
        if let Some(debug) = self.debug {
            flags |= ContextFlagsX86::CONTEXT_X86_DEBUG_REGISTERS.bits();
            [
                context.dr0,
                context.dr1,
                context.dr2,
                context.dr3,
                context.dr6,
                context.dr7,
            ] = debug;
        }
        context.context_flags = flags;
        let mut bytes = vec![0; LAYOUT.size];
        bytes
            .pwrite_with(context, 0, LE)
            .expect("a CONTEXT fits into its own size");
        CpuContext { cpu: Cpu::X86, bytes }
    }
}

/// Converts the x87 state of an FXSAVE image to the FSAVE format.
///
/// 16-bit words become 32-bit words whose upper halves are all ones, and the tag word becomes a
/// full one (Intel's manual, volume 1, figures 8-9 and 8-10 and section 10.5.1).
fn as_fsave(fxsave: &[u8; 512]) -> FLOATING_SAVE_AREA_X86 {
    /// The upper half that FSAVE writes for a 16-bit field.
    const RESERVED: u32 = 0xFFFF_0000;
    let half = |at: usize| u32::from(u16::from_le_bytes([fxsave[at], fxsave[at + 1]]));
    let word = |at: usize| half(at) | half(at + 2) << 16;
    let opcode = half(6);
    let mut area = FLOATING_SAVE_AREA_X86 {
        control_word: half(0) | RESERVED,
        status_word: half(2) | RESERVED,
        tag_word: RESERVED,
        error_offset: word(8),
        // The last opcode is stored above the selector.
        error_selector: half(12) | (opcode & 0x7FF) << 16,
        data_offset: word(16),
        data_selector: half(20) | RESERVED,
        ..FLOATING_SAVE_AREA_X86::default()
    };
    let top = (half(2) >> 11) & 7;
    for index in 0..8 {
        // Registers are stored in stack order, beginning with the top of the stack. Tags are stored
        // by register number.
        let register: [u8; 10] = fxsave[32 + 16 * index..42 + 16 * index]
            .try_into()
            .expect("ten bytes");
        area.register_area[10 * index..10 * (index + 1)].copy_from_slice(&register);
        let number = (top + index as u32) % 8;
        let in_use = fxsave[4] >> number & 1 == 1;
        let tag = if in_use { tag(&register) } else { 0b11 };
        area.tag_word |= tag << (2 * number);
    }
    area
}

/// Returns the tag of an x87 register that is in use: 0 valid, 1 zero, 2 special (infinity, NaN or
/// denormal).
fn tag(register: &[u8; 10]) -> u32 {
    let exponent = u16::from_le_bytes([register[8], register[9]]) & 0x7FFF;
    let significand = u64::from_le_bytes(register[..8].try_into().expect("eight bytes"));
    match (exponent, significand) {
        (0, 0) => 1,
        (0 | 0x7FFF, _) => 2,
        // A number without its leading bit is not normal.
        (_, significand) if significand >> 63 == 0 => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks against the offsets in Microsoft's header (winnt.h), not those of minidump-common.
    #[test]
    fn registers_stand_where_windows_puts_them() {
        let mut fxsave = Box::new([0_u8; 512]);
        fxsave[0..2].copy_from_slice(&0x27F_u16.to_le_bytes());
        fxsave[160..164].copy_from_slice(b"XMM0");
        let context = X86 {
            eax: 1,
            ebx: 2,
            ecx: 3,
            edx: 4,
            esi: 5,
            edi: 6,
            ebp: 7,
            esp: 0xFFFF_0000,
            eip: 0x0804_8000,
            cs: 0x23,
            ss: 0x2b,
            eflags: 0x246,
            segments: Some([8, 9, 10, 11]),
            fxsave: Some(fxsave),
            debug: Some([12, 13, 14, 15, 16, 17]),
        }
        .to_context();
        let bytes = context.bytes();
        assert_eq!(bytes.len(), 716);
        let at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(at(0), 0x0001_003F, "ContextFlags: CONTEXT_ALL");
        assert_eq!(
            [4, 8, 12, 16, 20, 24].map(at),
            [12, 13, 14, 15, 16, 17],
            "Dr0 to Dr7"
        );
        assert_eq!(at(0x1C), 0xFFFF_027F, "FloatSave.ControlWord");
        assert_eq!([0x8C, 0x90, 0x94, 0x98].map(at), [11, 10, 9, 8], "gs fs es ds");
        assert_eq!(
            [0x9C, 0xA0, 0xA4, 0xA8, 0xAC, 0xB0].map(at),
            [6, 5, 2, 4, 3, 1],
            "Edi Esi Ebx Edx Ecx Eax"
        );
        assert_eq!(
            [0xB4, 0xB8, 0xBC, 0xC0, 0xC4, 0xC8].map(at),
            [7, 0x0804_8000, 0x23, 0x246, 0xFFFF_0000, 0x2b],
            "Ebp Eip SegCs EFlags Esp SegSs"
        );
        assert_eq!(
            (context.stack_pointer(), context.instruction_pointer()),
            (0xFFFF_0000, 0x0804_8000)
        );
        assert_eq!(&bytes[0xCC + 160..0xCC + 164], b"XMM0", "in ExtendedRegisters");
    }

    #[test]
    fn flags_include_exactly_the_registers_that_are_present() {
        assert_eq!(
            X86::default().to_context().bytes()[..4],
            0x0001_0003_u32.to_le_bytes()
        );
        let known = X86 {
            eax: 1,
            esp: 2,
            eip: 3,
            ..X86::default()
        };
        let context = known.to_control_context();
        assert_eq!(context.bytes()[..4], 0x0001_0001_u32.to_le_bytes());
        assert_eq!((context.stack_pointer(), context.instruction_pointer()), (2, 3));
        assert_eq!(context.bytes()[0xB0..0xB4], [0; 4], "Eax is not known");
    }

    /// The bytes that FXSAVE and FNSAVE stored on an x86-64 processor after
    /// `fninit; fldz; fld1; fldpi`.
    #[test]
    fn the_conversion_gives_what_the_processor_saves_with_fsave() {
        let mut fxsave = [0; 512];
        fxsave[..6].copy_from_slice(&[0x7F, 0x03, 0x00, 0x28, 0b1110_0000, 0]);
        let pi = [0x35, 0xC2, 0x68, 0x21, 0xA2, 0xDA, 0x0F, 0xC9, 0x00, 0x40];
        let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x3F];
        fxsave[32..42].copy_from_slice(&pi);
        fxsave[48..58].copy_from_slice(&one);
        let area = as_fsave(&fxsave);
        assert_eq!(area.control_word, 0xFFFF_037F);
        assert_eq!(area.status_word, 0xFFFF_2800);
        assert_eq!(
            area.tag_word, 0xFFFF_43FF,
            "7 zero, 6 and 5 valid, the others empty"
        );
        assert_eq!(area.register_area[..10], pi);
        assert_eq!(area.register_area[10..20], one);
    }

    #[test]
    fn values_that_are_not_normal_numbers_are_tagged_as_special() {
        let infinity = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xFF, 0x7F];
        let denormal = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        assert_eq!([tag(&infinity), tag(&denormal), tag(&[0; 10])], [2, 2, 1]);
    }
}
