//! What happened to the process, as `MiniDumpWriteDump` is told it.

use std::ptr;

use dumpwright_callback::abi::native::{CONTEXT, MINIDUMP_EXCEPTION_INFORMATION};
use dumpwright_target::Cpu;
use windows_sys::Win32::System::Diagnostics::Debug::EXCEPTION_RECORD;

use super::Crash;

/// The processor family of this program's `CONTEXT`.
#[cfg(target_arch = "x86_64")]
const CPU: Cpu = Cpu::Amd64;
#[cfg(target_arch = "aarch64")]
const CPU: Cpu = Cpu::Arm64;
#[cfg(target_arch = "x86")]
const CPU: Cpu = Cpu::X86;

/// Registers, aligned as Windows wants them.
#[repr(C, align(16))]
struct Registers(CONTEXT);

/// Microsoft's `EXCEPTION_POINTERS`.
#[repr(C)]
struct ExceptionPointers {
    record: *const EXCEPTION_RECORD,
    registers: *const Registers,
}

/// Pointers, and what they point to.
pub(super) struct Pointers {
    thread_id: u32,
    to: To,
}

enum To {
    Ours {
        pointers: Box<ExceptionPointers>,
        /// What the pointers point to.
        _behind: Box<(EXCEPTION_RECORD, Registers)>,
    },
    Target(u64),
}

impl Pointers {
    /// Copies what is told; the reason, if that is of another processor family.
    pub fn new(crash: Crash<'_>) -> Result<Self, &'static str> {
        let exception = match crash {
            Crash::InTarget { thread_id, pointers } => {
                let to = To::Target(pointers);
                return Ok(Self { thread_id, to });
            }
            Crash::Told(exception) => exception,
        };
        if exception.context.cpu() != CPU {
            return Err(
                "the exception's registers are those of another processor family than this program's",
            );
        }
        let mut registers = Registers([0; size_of::<CONTEXT>()]);
        // Extended state that may follow is found by offsets of the system's own, and not handed over.
        let len = registers.0.len();
        registers.0.copy_from_slice(&exception.context.bytes()[..len]);
        let mut record = EXCEPTION_RECORD {
            ExceptionCode: exception.code.cast_signed(),
            ExceptionFlags: exception.flags,
            ExceptionRecord: ptr::without_provenance_mut(address(exception.record)),
            ExceptionAddress: ptr::without_provenance_mut(address(exception.address)),
            NumberParameters: 0,
            ExceptionInformation: [0; 15],
        };
        for (to, parameter) in record.ExceptionInformation.iter_mut().zip(&exception.parameters) {
            *to = address(*parameter);
            record.NumberParameters += 1;
        }
        let behind = Box::new((record, registers));
        let pointers = Box::new(ExceptionPointers {
            record: &raw const behind.0,
            registers: &raw const behind.1,
        });
        Ok(Self {
            thread_id: exception.thread_id,
            to: To::Ours {
                pointers,
                _behind: behind,
            },
        })
    }

    /// As the function takes it, as long as this lives.
    pub fn information(&self) -> MINIDUMP_EXCEPTION_INFORMATION {
        let (pointers, in_target) = match &self.to {
            To::Ours { pointers, .. } => (ptr::from_ref(&**pointers).expose_provenance() as u64, 0),
            To::Target(address) => (*address, 1),
        };
        MINIDUMP_EXCEPTION_INFORMATION {
            ThreadId: self.thread_id,
            ExceptionPointers: pointers,
            ClientPointers: in_target,
        }
    }
}

/// An address of a process of this program's width.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the processor family is this program's"
)]
fn address(value: u64) -> usize {
    value as usize
}
