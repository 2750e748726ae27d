//! The registers of a thread: CONTEXT records.

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
use super::fields::{FieldReader, Location};

/// The size of the longest context that is kept, in bytes. Windows' contexts with extended state
/// (AVX-512, AMX) are shorter than 12 KiB.
pub(super) const LONGEST: u64 = 64 * 1024;

/// The bit of `ContextFlags` that is set if the context has extended state.
pub(super) const CONTEXT_XSTATE: u32 = 0x40;

/// A processor architecture, from `MINIDUMP_SYSTEM_INFO.ProcessorArchitecture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cpu {
    /// 32-bit x86 (0).
    X86,
    /// 32-bit ARM (5).
    Arm,
    /// x86-64 (9).
    Amd64,
    /// ARM64 (12, or 0x8003 in older dumps by Breakpad).
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

    /// Returns the layout of this processor's CONTEXT, or `None` if the processor is unknown.
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
            // Breakpad's layout. Microsoft's has 416 bytes, another processor bit, and these
            // registers at the same offsets.
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

/// The layout of those parts of a CONTEXT that every processor has.
pub(super) struct ContextLayout {
    /// The size without extended state, in bytes.
    pub(super) size: u32,
    /// The offset of `ContextFlags`.
    pub(super) flags: usize,
    /// The bit of `ContextFlags` that identifies the processor.
    pub(super) cpu_bit: u32,
    /// The offset of the instruction pointer.
    ip: usize,
    /// The offset of the stack pointer.
    sp: usize,
    /// The size of these two registers in bytes.
    word: usize,
}

/// A CONTEXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    cpu: Cpu,
    bytes: Vec<u8>,
    extended: Option<ExtendedState>,
}

impl Context {
    /// Returns the bytes of the record, at most 64 KiB.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the processor architecture from the dump's system info.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Returns `ContextFlags`: a bit that identifies the processor, and one bit for each group of
    /// registers that was captured. `None` if the processor is unknown or the record is too short.
    #[must_use]
    pub fn flags(&self) -> Option<u32> {
        let layout = self.cpu.context_layout()?;
        (self.bytes.len() >= layout.flags + 4).then(|| FieldReader(&self.bytes).u32(layout.flags))
    }

    /// Returns the instruction pointer. `None` if the processor is unknown or the record is too
    /// short.
    #[must_use]
    pub fn instruction_pointer(&self) -> Option<u64> {
        let layout = self.cpu.context_layout()?;
        self.word(layout.ip, layout.word)
    }

    /// Returns the stack pointer. `None` if the processor is unknown or the record is too short.
    #[must_use]
    pub fn stack_pointer(&self) -> Option<u64> {
        let layout = self.cpu.context_layout()?;
        self.word(layout.sp, layout.word)
    }

    fn word(&self, at: usize, size: usize) -> Option<u64> {
        let fields = FieldReader(self.bytes.get(..at + size)?);
        Some(if size == 8 {
            fields.u64(at)
        } else {
            fields.u32(at).into()
        })
    }

    /// Returns the registers of an x86-64 thread. `None` for other processors and for records that
    /// are too short.
    #[must_use]
    pub fn amd64(&self) -> Option<Amd64Registers> {
        self.whole(Cpu::Amd64).map(Amd64Registers::from_fields)
    }

    /// Returns the registers of a 32-bit x86 thread. `None` for other processors and for records
    /// that are too short.
    #[must_use]
    pub fn x86(&self) -> Option<X86Registers> {
        self.whole(Cpu::X86).map(X86Registers::from_fields)
    }

    /// Returns the registers of a 32-bit ARM thread from a record in Breakpad's layout. `None` for
    /// other processors, for records that are too short, and for records in Microsoft's layout.
    #[must_use]
    pub fn arm(&self) -> Option<ArmRegisters> {
        let registers = self.whole(Cpu::Arm).map(ArmRegisters::from_fields)?;
        (registers.context_flags & 0x4000_0000 != 0).then_some(registers)
    }

    /// Returns the registers of an ARM64 thread from a record in Microsoft's layout. `None` for
    /// other processors, for records that are too short, and for records in Breakpad's old layout.
    #[must_use]
    pub fn arm64(&self) -> Option<Arm64Registers> {
        let registers = self.whole(Cpu::Arm64).map(Arm64Registers::from_fields)?;
        (registers.context_flags & 0x40_0000 != 0).then_some(registers)
    }

    /// Returns the AVX and AVX-512 registers of an extended x86-64 context (dump type 0x200000).
    /// `None` for other contexts, and if MiscInfo does not contain the layout.
    #[must_use]
    pub fn extended_state(&self) -> Option<&ExtendedState> {
        self.extended.as_ref()
    }

    /// Returns the fields of the record if it is for this processor and not shorter than a context
    /// without extended state.
    fn whole(&self, cpu: Cpu) -> Option<FieldReader<'_>> {
        let size = usize::try_from(cpu.context_layout()?.size).ok()?;
        (self.cpu == cpu && self.bytes.len() >= size).then_some(FieldReader(&self.bytes))
    }
}

impl Serialize for Context {
    /// Serializes the registers or, if the layout is not supported, the flags and the size.
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
    /// Reads the context at a location without its extended state. `None` if it is absent.
    ///
    /// This is for code that reads the contexts of all threads. In a hostile file, all of them may
    /// refer to one context that is as long as the file; this method reads only its start.
    pub(super) fn plain_context(&self, cpu: Cpu, at: Location) -> Result<Option<Context>, ReadError> {
        if !at.is_present() {
            return Ok(None);
        }
        let most = cpu.context_layout().map_or(0, |layout| layout.size);
        let bytes = self.prefix("a thread context", at.rva.into(), at.size.into(), most.into())?;
        Ok(Some(Context {
            cpu,
            bytes,
            extended: None,
        }))
    }

    /// Reads the context at a location. `None` if it is absent. A context outside the file is an
    /// error.
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
            let layout = self.extended_state();
            context.extended = layout.and_then(|layout| ExtendedState::find(&context.bytes, layout));
        }
        Ok(Some(context))
    }
}
