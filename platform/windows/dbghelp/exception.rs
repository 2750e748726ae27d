//! The exception in the form that `MiniDumpWriteDump` takes.

use std::ptr;

use dumpwright_abi::native::{CONTEXT, MINIDUMP_EXCEPTION_INFORMATION};
use dumpwright_target::Cpu;
use windows_sys::Win32::System::Diagnostics::Debug::EXCEPTION_RECORD;

use super::Crash;

/// The CPU family of this program's `CONTEXT`.
#[cfg(target_arch = "x86_64")]
const CPU: Cpu = Cpu::Amd64;
#[cfg(target_arch = "aarch64")]
const CPU: Cpu = Cpu::Arm64;
#[cfg(target_arch = "x86")]
const CPU: Cpu = Cpu::X86;

/// Registers with the alignment that Windows requires.
#[repr(C, align(16))]
struct ExceptionRegisters(CONTEXT);

/// Microsoft's `EXCEPTION_POINTERS`.
#[repr(C)]
struct ExceptionPointers {
    record: *const EXCEPTION_RECORD,
    registers: *const ExceptionRegisters,
}

/// The pointers of an exception, and the data that they point to.
pub(super) struct Pointers {
    thread_id: u32,
    to: To,
}

enum To {
    Ours {
        pointers: Box<ExceptionPointers>,
        /// The data that `pointers` points to.
        _behind: Box<(EXCEPTION_RECORD, ExceptionRegisters)>,
    },
    Target(u64),
}

impl Pointers {
    /// Copies the exception.
    ///
    /// # Errors
    /// The reason, if the registers belong to another CPU family.
    pub fn new(crash: Crash<'_>) -> Result<Self, &'static str> {
        let exception = match crash {
            Crash::InTarget { thread_id, pointers } => {
                let to = To::Target(pointers);
                return Ok(Self { thread_id, to });
            }
            Crash::Told(exception) => exception,
        };
        if exception.context.cpu() != CPU {
            return Err("the registers of the exception belong to another CPU family than this program");
        }
        let mut registers = ExceptionRegisters([0; size_of::<CONTEXT>()]);
        // Extended state may follow the `CONTEXT`. It is not passed on, because Windows locates it
        // by offsets of its own.
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

    /// Returns the structure for `MiniDumpWriteDump`. It is valid as long as `self` exists.
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

/// Converts an address of a process whose pointers have this program's width.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the CPU family is that of this program"
)]
fn address(value: u64) -> usize {
    value as usize
}
