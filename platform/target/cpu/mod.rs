//! Registers in the form of Windows' `CONTEXT` structure.

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
pub use layout::ContextLayout;
pub use x86::X86;
pub use xstate::{XState, XStateFeature, XStateLayout};

/// A processor family.
///
/// The family is that of the process's registers and pointers: a 32-bit program on a 64-bit machine
/// belongs to the 32-bit family.
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
    /// Returns the family's name in scenarios and messages, which is Windows' name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::X86 => "x86",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns the size of a pointer in bytes.
    #[must_use]
    pub fn pointer_size(self) -> u64 {
        match self {
            Self::Amd64 | Self::Arm64 => 8,
            Self::X86 | Self::Arm => 4,
        }
    }

    /// Returns the highest address that a pointer can hold.
    #[must_use]
    pub fn highest_address(self) -> u64 {
        match self.pointer_size() {
            4 => u32::MAX.into(),
            _ => u64::MAX,
        }
    }

    /// Returns the size of the red zone on systems other than Windows.
    ///
    /// The red zone is the number of bytes below the stack pointer that functions may use without
    /// moving the stack pointer: 128 in the System V ABI for x86-64 (section 3.2.2). The other ABIs
    /// have none.
    #[must_use]
    pub fn red_zone(self) -> u64 {
        match self {
            Self::Amd64 => 128,
            Self::X86 | Self::Arm | Self::Arm64 => 0,
        }
    }

    /// Returns the layout of the family's `CONTEXT`.
    #[must_use]
    pub fn layout(self) -> &'static ContextLayout {
        match self {
            Self::Amd64 => &amd64::LAYOUT,
            Self::X86 => &x86::LAYOUT,
            Self::Arm => &arm::LAYOUT,
            Self::Arm64 => &arm64::LAYOUT,
        }
    }
}

/// The registers of one thread: a processor family and the bytes of its `CONTEXT`, little-endian.
///
/// The bytes have exactly the size of the family's `CONTEXT`, unless [extended state](XState)
/// follows.
///
/// Registers that `ContextFlags` does not cover are zero. (Microsoft's writer leaves unrelated
/// bytes of its own memory there.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuContext {
    cpu: Cpu,
    bytes: Vec<u8>,
}

impl CpuContext {
    /// Creates a context from a plain `CONTEXT` that another program wrote, or returns `None` if
    /// its size is not that of the family's `CONTEXT`.
    ///
    /// The `CONTEXT_XSTATE` bit is removed from `ContextFlags`, because a plain `CONTEXT` contains
    /// no extended state.
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

    /// Adds extended state after the plain `CONTEXT`, and replaces any that is there.
    ///
    /// Only x86-64 has extended state. Contexts of other families are returned unchanged.
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

    /// Returns the processor family.
    #[must_use]
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Returns the `CONTEXT` as a minidump stores it, including any extended state.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the `CONTEXT` without extended state, which is what fits into a callback's
    /// structure.
    ///
    /// The `ContextFlags` in it still include the bit for extended state.
    #[must_use]
    pub fn plain(&self) -> &[u8] {
        &self.bytes[..self.cpu.layout().size]
    }

    /// Returns whether extended state follows the plain `CONTEXT`.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.bytes.len() > self.cpu.layout().size
    }

    /// Removes the extended state, for dumps that do not request it.
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

    /// Returns the instruction pointer.
    #[must_use]
    pub fn instruction_pointer(&self) -> u64 {
        self.cpu.layout().instruction_pointer(&self.bytes)
    }

    /// Returns the stack pointer.
    #[must_use]
    pub fn stack_pointer(&self) -> u64 {
        self.cpu.layout().stack_pointer(&self.bytes)
    }
}
