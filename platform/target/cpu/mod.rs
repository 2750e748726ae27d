//! Registers, as the bytes of Windows' `CONTEXT`.

mod amd64;
mod arm;
mod arm64;
mod filter;
mod layout;
mod x86;
mod xstate;

pub use amd64::Amd64;
pub use arm::{Arm, ArmFloatingPoint};
pub use arm64::{Arm64, Arm64FloatingPoint};
pub use layout::Layout;
pub use x86::X86;
pub use xstate::{XState, XStateFeature, XStateLayout};

/// A processor family, in the sense of a process' registers and pointers: a 32-bit program on a 64-bit machine is
/// of the 32-bit family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cpu {
    /// x86-64.
    Amd64,
    /// 32-bit x86.
    X86,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Arm64,
}

impl Cpu {
    /// Its name in scenarios and texts, which is Windows' one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::X86 => "x86",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
        }
    }

    /// Bytes of a pointer.
    #[must_use]
    pub fn pointer_size(self) -> u64 {
        match self {
            Self::Amd64 | Self::Arm64 => 8,
            Self::X86 | Self::Arm => 4,
        }
    }

    /// The highest address that a pointer can hold.
    #[must_use]
    pub fn highest_address(self) -> u64 {
        match self.pointer_size() {
            4 => u32::MAX.into(),
            _ => u64::MAX,
        }
    }

    /// Bytes below the stack pointer that functions may use without moving it, on systems other than Windows: the red
    /// zone of the System V ABI for x86-64 (section 3.2.2). The other ABIs have none.
    #[must_use]
    pub fn red_zone(self) -> u64 {
        match self {
            Self::Amd64 => 128,
            Self::X86 | Self::Arm | Self::Arm64 => 0,
        }
    }

    /// Where its `CONTEXT` has what everybody needs.
    #[must_use]
    pub fn layout(self) -> &'static Layout {
        match self {
            Self::Amd64 => &amd64::LAYOUT,
            Self::X86 => &x86::LAYOUT,
            Self::Arm => &arm::LAYOUT,
            Self::Arm64 => &arm64::LAYOUT,
        }
    }
}

/// The registers of one thread: a processor family and the bytes of its `CONTEXT`, little-endian. They have exactly
/// the family's size, unless [extended state](XState) follows.
///
/// What `ContextFlags` does not cover is zero (Microsoft's writer leaves remains of its own memory there).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuContext {
    cpu: Cpu,
    bytes: Vec<u8>,
}

impl CpuContext {
    /// The registers that somebody else has written down as a plain `CONTEXT`; `None` if they are not of the family's size.
    ///
    /// `ContextFlags` may claim extended state, which does not come with them; the claim is taken out.
    #[must_use]
    pub fn from_bytes(cpu: Cpu, mut bytes: Vec<u8>) -> Option<Self> {
        let layout = cpu.layout();
        if bytes.len() != layout.size {
            return None;
        }
        let flags = layout.context_flags(&bytes);
        if flags & layout.cpu_bit != 0 {
            let flags = flags & !xstate::FLAG;
            bytes[layout.flags..layout.flags + 4].copy_from_slice(&flags.to_le_bytes());
        }
        Some(Self { cpu, bytes })
    }

    /// The same with extended state behind the plain `CONTEXT`, in place of what it may have there. Only x86-64 has such
    /// state; others are left as they are.
    #[must_use]
    pub fn with_extended_state(self, state: XState) -> Self {
        if self.cpu != Cpu::Amd64 {
            return self;
        }
        let mut extended = self.without_extended_state();
        let at = extended.cpu.layout().flags;
        let flags = extended.cpu.layout().context_flags(&extended.bytes) | xstate::FLAG;
        extended.bytes[at..at + 4].copy_from_slice(&flags.to_le_bytes());
        state.append_to(&mut extended.bytes);
        extended
    }

    /// The processor family.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// The `CONTEXT`, as it stands in a minidump, with the extended state if there is any.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The `CONTEXT` without extended state, which is as much as a callback's structure has room for. Its
    /// `ContextFlags` are those of the whole.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        &self.bytes[..self.cpu.layout().size]
    }

    /// Whether extended state follows the plain `CONTEXT`.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.bytes.len() > self.cpu.layout().size
    }

    /// The same without extended state: what a dump has that was not asked for it.
    #[must_use]
    pub fn without_extended_state(mut self) -> Self {
        if self.is_extended() {
            self.bytes.truncate(self.cpu.layout().size);
            let at = self.cpu.layout().flags;
            let flags = self.cpu.layout().context_flags(&self.bytes) & !xstate::FLAG;
            self.bytes[at..at + 4].copy_from_slice(&flags.to_le_bytes());
        }
        self
    }

    /// The instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> u64 {
        self.cpu.layout().instruction_pointer(&self.bytes)
    }

    /// The stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.cpu.layout().stack_pointer(&self.bytes)
    }
}
