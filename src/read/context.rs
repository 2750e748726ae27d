//! A thread's registers.

use serde::{Serialize, Serializer};

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, Location, hex, hex_list};

/// Longest context that is kept, in bytes. Windows' contexts with extended state (AVX-512, AMX) stay below 12 KiB.
const LONGEST: u64 = 64 * 1024;

/// Processor family, from `MINIDUMP_SYSTEM_INFO.ProcessorArchitecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cpu {
    /// 0: 32-bit x86.
    X86,
    /// 5: 32-bit ARM.
    Arm,
    /// 9: x86-64.
    Amd64,
    /// 12, or Breakpad's older 0x8003.
    Arm64,
    /// Any other number.
    Other(u16),
}

impl Cpu {
    pub(super) fn from_architecture(architecture: u16) -> Self {
        match architecture {
            0 => Self::X86,
            5 => Self::Arm,
            9 => Self::Amd64,
            12 | 0x8003 => Self::Arm64,
            other => Self::Other(other),
        }
    }

    /// Where `ContextFlags` lies in this processor's CONTEXT, the instruction and the stack pointer (offset and
    /// bytes), and the size of the whole.
    pub(super) fn context_layout(self) -> Option<ContextLayout> {
        Some(match self {
            Self::X86 => ContextLayout {
                size: 716,
                flags: 0,
                cpu_bit: 0x1_0000,
                ip: 0xB8,
                sp: 0xC4,
                word: 4,
            },
            Self::Amd64 => ContextLayout {
                size: 1232,
                flags: 0x30,
                cpu_bit: 0x10_0000,
                ip: 0xF8,
                sp: 0x98,
                word: 8,
            },
            Self::Arm64 => ContextLayout {
                size: 912,
                flags: 0,
                cpu_bit: 0x40_0000,
                ip: 0x108,
                sp: 0x100,
                word: 8,
            },
            Self::Arm | Self::Other(_) => return None,
        })
    }
}

/// The few fields of a CONTEXT that every family has.
pub(super) struct ContextLayout {
    pub(super) size: u32,
    pub(super) flags: usize,
    pub(super) cpu_bit: u32,
    ip: usize,
    sp: usize,
    word: usize,
}

/// A CONTEXT record as it lies in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    cpu: Cpu,
    bytes: Vec<u8>,
}

impl Context {
    /// The record's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The processor family that the dump's system info names.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// `ContextFlags`: the processor's bit and one bit for each group of registers that is filled. `None` if the
    /// processor is unknown or the record too short.
    #[must_use]
    pub fn flags(&self) -> Option<u32> {
        let layout = self.cpu.context_layout()?;
        (self.bytes.len() >= layout.flags + 4).then(|| Fields(&self.bytes).u32(layout.flags))
    }

    /// The instruction pointer (x86, x86-64, ARM64).
    #[must_use]
    pub fn instruction_pointer(&self) -> Option<u64> {
        let layout = self.cpu.context_layout()?;
        self.word(layout.ip, layout.word)
    }

    /// The stack pointer (x86, x86-64, ARM64).
    #[must_use]
    pub fn stack_pointer(&self) -> Option<u64> {
        let layout = self.cpu.context_layout()?;
        self.word(layout.sp, layout.word)
    }

    fn word(&self, at: usize, size: usize) -> Option<u64> {
        let fields = Fields(self.bytes.get(..at + size)?);
        Some(if size == 8 {
            fields.u64(at)
        } else {
            fields.u32(at).into()
        })
    }

    /// The registers of an x86-64 thread. `None` for other processors and for records that are too short.
    #[must_use]
    pub fn amd64(&self) -> Option<Amd64Registers> {
        let whole = self.cpu == Cpu::Amd64 && self.bytes.len() >= 1232;
        whole.then(|| Amd64Registers::from_fields(Fields(&self.bytes)))
    }
}

impl Serialize for Context {
    /// The registers where they are understood, else flags and size.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Opaque {
            context_flags: Option<u32>,
            bytes: usize,
        }
        match self.amd64() {
            Some(registers) => registers.serialize(serializer),
            None => Opaque {
                context_flags: self.flags(),
                bytes: self.bytes.len(),
            }
            .serialize(serializer),
        }
    }
}

/// The x86-64 CONTEXT (1232 bytes), field by field. A group whose bit in `context_flags` is clear was not captured
/// and reads as zero: 1 control (`rip rsp eflags cs ss`), 2 integer, 4 segments, 8 x87 and SSE, 0x10 debug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names are the registers'
pub struct Amd64Registers {
    #[serde(serialize_with = "hex")]
    pub context_flags: u32,
    #[serde(serialize_with = "hex")]
    pub rip: u64,
    #[serde(serialize_with = "hex")]
    pub rsp: u64,
    #[serde(serialize_with = "hex")]
    pub rbp: u64,
    #[serde(serialize_with = "hex")]
    pub rax: u64,
    #[serde(serialize_with = "hex")]
    pub rbx: u64,
    #[serde(serialize_with = "hex")]
    pub rcx: u64,
    #[serde(serialize_with = "hex")]
    pub rdx: u64,
    #[serde(serialize_with = "hex")]
    pub rsi: u64,
    #[serde(serialize_with = "hex")]
    pub rdi: u64,
    #[serde(serialize_with = "hex")]
    pub r8: u64,
    #[serde(serialize_with = "hex")]
    pub r9: u64,
    #[serde(serialize_with = "hex")]
    pub r10: u64,
    #[serde(serialize_with = "hex")]
    pub r11: u64,
    #[serde(serialize_with = "hex")]
    pub r12: u64,
    #[serde(serialize_with = "hex")]
    pub r13: u64,
    #[serde(serialize_with = "hex")]
    pub r14: u64,
    #[serde(serialize_with = "hex")]
    pub r15: u64,
    #[serde(serialize_with = "hex")]
    pub eflags: u32,
    #[serde(serialize_with = "hex")]
    pub cs: u16,
    #[serde(serialize_with = "hex")]
    pub ds: u16,
    #[serde(serialize_with = "hex")]
    pub es: u16,
    #[serde(serialize_with = "hex")]
    pub fs: u16,
    #[serde(serialize_with = "hex")]
    pub gs: u16,
    #[serde(serialize_with = "hex")]
    pub ss: u16,
    #[serde(serialize_with = "hex")]
    pub dr0: u64,
    #[serde(serialize_with = "hex")]
    pub dr1: u64,
    #[serde(serialize_with = "hex")]
    pub dr2: u64,
    #[serde(serialize_with = "hex")]
    pub dr3: u64,
    #[serde(serialize_with = "hex")]
    pub dr6: u64,
    #[serde(serialize_with = "hex")]
    pub dr7: u64,
    /// The context's own `MxCsr`.
    #[serde(serialize_with = "hex")]
    pub mxcsr: u32,
    /// `MxCsr` inside the saved x87/SSE area; equal to the other one where the writer fills both.
    #[serde(serialize_with = "hex")]
    pub float_save_mxcsr: u32,
    /// The x87 control word of the saved area.
    #[serde(serialize_with = "hex")]
    pub fcw: u16,
    /// XMM0 to XMM15.
    #[serde(serialize_with = "hex_list")]
    pub xmm: [u128; 16],
}

impl Amd64Registers {
    fn from_fields(context: Fields) -> Self {
        /// The saved x87/SSE area is the FXSAVE image, at 0x100; the XMM registers lie 0xA0 into it.
        const FLOAT_SAVE: usize = 0x100;
        let mut xmm = [0; 16];
        for (index, register) in xmm.iter_mut().enumerate() {
            *register = context.u128(FLOAT_SAVE + 0xA0 + 16 * index);
        }
        Self {
            context_flags: context.u32(0x30),
            mxcsr: context.u32(0x34),
            cs: context.u16(0x38),
            ds: context.u16(0x3A),
            es: context.u16(0x3C),
            fs: context.u16(0x3E),
            gs: context.u16(0x40),
            ss: context.u16(0x42),
            eflags: context.u32(0x44),
            dr0: context.u64(0x48),
            dr1: context.u64(0x50),
            dr2: context.u64(0x58),
            dr3: context.u64(0x60),
            dr6: context.u64(0x68),
            dr7: context.u64(0x70),
            rax: context.u64(0x78),
            rcx: context.u64(0x80),
            rdx: context.u64(0x88),
            rbx: context.u64(0x90),
            rsp: context.u64(0x98),
            rbp: context.u64(0xA0),
            rsi: context.u64(0xA8),
            rdi: context.u64(0xB0),
            r8: context.u64(0xB8),
            r9: context.u64(0xC0),
            r10: context.u64(0xC8),
            r11: context.u64(0xD0),
            r12: context.u64(0xD8),
            r13: context.u64(0xE0),
            r14: context.u64(0xE8),
            r15: context.u64(0xF0),
            rip: context.u64(0xF8),
            fcw: context.u16(FLOAT_SAVE),
            float_save_mxcsr: context.u32(FLOAT_SAVE + 24),
            xmm,
        }
    }
}

impl Dump {
    /// The context at a location; `None` where there is none. A context that the file does not hold is an error.
    pub(super) fn context(&self, cpu: Cpu, at: Location) -> Result<Option<Context>, ReadError> {
        if !at.is_present() {
            return Ok(None);
        }
        let bytes = self.prefix("a thread context", at.rva.into(), at.size.into(), LONGEST)?;
        Ok(Some(Context { cpu, bytes }))
    }
}
