//! Registers, as the bytes of Windows' `CONTEXT`.

mod amd64;

pub use amd64::Amd64;

/// A processor family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cpu {
    /// x86-64.
    Amd64,
}

/// The registers of one thread: a processor family and the bytes of its `CONTEXT`, little-endian, of
/// exactly the family's size.
///
/// What `ContextFlags` does not cover is zero (Microsoft's writer leaves remains of its own memory there).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuContext {
    cpu: Cpu,
    bytes: Vec<u8>,
}

impl CpuContext {
    /// The registers that somebody else has written down as a `CONTEXT`; `None` if they are not of the family's size.
    #[must_use]
    pub fn from_bytes(cpu: Cpu, bytes: Vec<u8>) -> Option<Self> {
        let size = match cpu {
            Cpu::Amd64 => amd64::SIZE,
        };
        (bytes.len() == size).then_some(Self { cpu, bytes })
    }

    /// The processor family.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// The `CONTEXT`, as it stands in a minidump.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> u64 {
        match self.cpu {
            Cpu::Amd64 => self.u64_at(amd64::RIP),
        }
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        match self.cpu {
            Cpu::Amd64 => self.u64_at(amd64::RSP),
        }
    }

    fn u64_at(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.bytes[offset..offset + 8].try_into().expect("eight bytes"))
    }
}
