//! A thread's registers.

mod amd64;
mod arm;
mod arm64;
mod x86;
mod xstate;

use serde::{Serialize, Serializer};

pub use amd64::Amd64Registers;
pub use arm::ArmRegisters;
pub use arm64::Arm64Registers;
pub use x86::X86Registers;
pub use xstate::{ExtendedState, XStateFeature, XStateLayout};

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, Location};

/// Longest context that is kept, in bytes. Windows' contexts with extended state (AVX-512, AMX) stay below 12 KiB.
const LONGEST: u64 = 64 * 1024;

/// The bit of `ContextFlags` that says that extended state follows.
pub(super) const CONTEXT_XSTATE: u32 = 0x40;

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
            // Breakpad's layout; Microsoft's has 416 bytes, another bit, and these registers at the same places.
            Self::Arm => ContextLayout {
                size: 368,
                flags: 0,
                cpu_bit: 0x4000_0000,
                ip: 0x40,
                sp: 0x38,
                word: 4,
            },
            Self::Arm64 => ContextLayout {
                size: 912,
                flags: 0,
                cpu_bit: 0x40_0000,
                ip: 0x108,
                sp: 0x100,
                word: 8,
            },
            Self::Other(_) => return None,
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
    extended: Option<ExtendedState>,
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

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> Option<u64> {
        let layout = self.cpu.context_layout()?;
        self.word(layout.ip, layout.word)
    }

    /// The stack pointer.
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
        self.whole(Cpu::Amd64).map(Amd64Registers::from_fields)
    }

    /// The registers of a 32-bit x86 thread. `None` for other processors and for records that are too short.
    #[must_use]
    pub fn x86(&self) -> Option<X86Registers> {
        self.whole(Cpu::X86).map(X86Registers::from_fields)
    }

    /// The registers of a 32-bit ARM thread, in Breakpad's layout. `None` for other processors, for records that are too
    /// short, and for those in Microsoft's layout.
    #[must_use]
    pub fn arm(&self) -> Option<ArmRegisters> {
        let registers = self.whole(Cpu::Arm).map(ArmRegisters::from_fields)?;
        (registers.context_flags & 0x4000_0000 != 0).then_some(registers)
    }

    /// The registers of an ARM64 thread, in Microsoft's layout. `None` for other processors, for records that are too
    /// short, and for those in Breakpad's old layout.
    #[must_use]
    pub fn arm64(&self) -> Option<Arm64Registers> {
        let registers = self.whole(Cpu::Arm64).map(Arm64Registers::from_fields)?;
        (registers.context_flags & 0x40_0000 != 0).then_some(registers)
    }

    /// AVX and AVX-512 registers of an extended x86-64 context (type 0x200000). `None` in all others, and where MiscInfo does
    /// not tell what stands where.
    #[must_use]
    pub fn extended_state(&self) -> Option<&ExtendedState> {
        self.extended.as_ref()
    }

    /// The record, if it is one of this processor and has all of the plain context.
    fn whole(&self, cpu: Cpu) -> Option<Fields<'_>> {
        let size = usize::try_from(cpu.context_layout()?.size).ok()?;
        (self.cpu == cpu && self.bytes.len() >= size).then_some(Fields(&self.bytes))
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
        #[derive(Serialize)]
        struct Extended<'c> {
            #[serde(flatten)]
            registers: Amd64Registers,
            extended_state: &'c ExtendedState,
        }
        if let Some(registers) = self.amd64() {
            return match self.extended_state() {
                Some(extended_state) => Extended {
                    registers,
                    extended_state,
                }
                .serialize(serializer),
                None => registers.serialize(serializer),
            };
        }
        if let Some(registers) = self.x86() {
            return registers.serialize(serializer);
        }
        if let Some(registers) = self.arm() {
            return registers.serialize(serializer);
        }
        if let Some(registers) = self.arm64() {
            return registers.serialize(serializer);
        }
        Opaque {
            context_flags: self.flags(),
            bytes: self.bytes.len(),
        }
        .serialize(serializer)
    }
}

impl Dump {
    /// The context at a location; `None` where there is none. A context that the file does not hold is an error.
    pub(super) fn context(&self, cpu: Cpu, at: Location) -> Result<Option<Context>, ReadError> {
        if !at.is_present() {
            return Ok(None);
        }
        let bytes = self.prefix("a thread context", at.rva.into(), at.size.into(), LONGEST)?;
        let mut context = Context {
            cpu,
            bytes,
            extended: None,
        };
        if cpu == Cpu::Amd64 && context.flags().is_some_and(|flags| flags & CONTEXT_XSTATE != 0) {
            let misc = self.misc_info().ok().flatten();
            let layout = misc.and_then(|misc| misc.extended_state);
            context.extended = layout.and_then(|layout| ExtendedState::find(&context.bytes, &layout));
        }
        Ok(Some(context))
    }
}
