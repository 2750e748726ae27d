//! Copies the exception that a caller passes.

use dumpwright::target::{Cpu, CpuContext, Exception};

use crate::last::Failure;
use crate::memory::{self, Space};
use crate::process::Client;
use dumpwright_abi::ExceptionRecord;
use dumpwright_abi::native::{CONTEXT, MINIDUMP_EXCEPTION_INFORMATION};

/// ERROR_NOACCESS as an HRESULT: the error of DbgHelp 6.3.9600 for pointers that cannot be read.
const NO_ACCESS: u32 = 0x8007_03E6;

/// The size of a pointer in bytes.
const WORD: usize = size_of::<usize>();

/// Copies the exception that the caller's structure points to. Returns `None` if there is none: the
/// pointer or its `ExceptionPointers` is NULL.
///
/// `client` returns the process that is dumped. It is called if `ClientPointers` is set.
///
/// # Errors
/// The structures cannot be read, or `ClientPointers` is set and there is no process to read them
/// from.
///
/// # Safety
/// The pointer is NULL or points to a valid structure.
#[allow(clippy::useless_conversion, reason = "needed where pointers have 32 bits")]
pub(crate) unsafe fn from_pointer(
    information: *const MINIDUMP_EXCEPTION_INFORMATION,
    client: impl FnOnce() -> Result<Option<Client>, Failure>,
) -> Result<Option<Exception>, Failure> {
    if information.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller guarantees that it is valid for reads. It may be unaligned.
    let information = unsafe { information.read_unaligned() };
    if information.ExceptionPointers == 0 {
        return Ok(None);
    }
    let client = match information.ClientPointers {
        0 => None,
        _ => Some(client()?.ok_or_else(|| {
            Failure::argument(
                "ClientPointers is set, but there is no live process to read the exception from: the process is simulated, \
                 was not set before, or its handle does not match its id",
            )
        })?),
    };
    let space = client.as_ref().map_or(Space::Own, Space::Of);
    let no_access = |what: &str| {
        let whose = match space {
            Space::Own => "the caller's memory".to_owned(),
            Space::Of(client) => format!("the memory of process {}", client.id),
        };
        Failure::new(
            NO_ACCESS,
            format!("cannot read the exception's {what} in {whose}; check the pointers and ClientPointers"),
        )
    };
    let pointers: [u8; 2 * WORD] = memory::array(space, u64::from(information.ExceptionPointers))
        .ok_or_else(|| no_access("pointers"))?;
    let [record, context] = [word(&pointers, 0), word(&pointers, WORD)];
    let record: [u8; ExceptionRecord::SIZE] =
        memory::array(space, record).ok_or_else(|| no_access("record"))?;
    let context: [u8; size_of::<CONTEXT>()] =
        memory::array(space, context).ok_or_else(|| no_access("context"))?;
    let context = CpuContext::from_bytes(CPU, context.to_vec()).expect("it has the size of a CONTEXT");
    let record = ExceptionRecord::from_bytes(&record);
    Ok(Some(Exception {
        thread_id: information.ThreadId,
        code: record.code,
        flags: record.flags,
        record: record.record,
        address: record.address,
        parameters: record.parameters,
        context,
    }))
}

/// The CPU family of this build and of its `CONTEXT`.
#[cfg(target_arch = "x86_64")]
const CPU: Cpu = Cpu::Amd64;
#[cfg(target_arch = "x86")]
const CPU: Cpu = Cpu::X86;
#[cfg(target_arch = "aarch64")]
const CPU: Cpu = Cpu::Arm64;
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
compile_error!(
    "the C library supports x86-64, x86 and ARM64 only: `dumpwright.h` has their CONTEXT structures"
);

/// Returns the pointer at an offset.
fn word(bytes: &[u8], at: usize) -> u64 {
    usize::from_ne_bytes(bytes[at..at + WORD].try_into().expect("a word")) as u64
}

/// These tests would catch: members of an exception in the wrong places, a number of parameters
/// that is not checked, pointers that are not checked.
#[cfg(test)]
mod tests {
    use super::*;

    fn information(pointers: &[u64; 2]) -> MINIDUMP_EXCEPTION_INFORMATION {
        MINIDUMP_EXCEPTION_INFORMATION {
            ThreadId: 7,
            ExceptionPointers: pointers.as_ptr().expose_provenance() as u64,
            ClientPointers: 0,
        }
    }

    fn read(information: &MINIDUMP_EXCEPTION_INFORMATION) -> Result<Option<Exception>, u32> {
        // SAFETY: a reference is valid for reads.
        unsafe { from_pointer(information, || Ok(None)) }.map_err(|failure| failure.code)
    }

    #[test]
    fn records_are_copied() {
        let mut record = [0_u64; ExceptionRecord::SIZE / 8];
        record[0] = 0x0000_0081_c000_0005;
        record[1] = 0x1111;
        record[2] = 0x2222;
        record[3] = 0xffff_ffff;
        record[4..]
            .iter_mut()
            .zip(1..)
            .for_each(|(word, value)| *word = value);
        let mut context = [0_u8; 1232];
        context[0xf8..0x100].copy_from_slice(&0x40_1000_u64.to_le_bytes());
        let pointers = [
            record.as_ptr().expose_provenance() as u64,
            context.as_ptr().expose_provenance() as u64,
        ];
        let exception = read(&information(&pointers))
            .expect("all structures can be read")
            .expect("there is an exception");
        assert_eq!(
            (exception.thread_id, exception.code, exception.flags),
            (7, 0xc000_0005, 0x81)
        );
        assert_eq!((exception.record, exception.address), (0x1111, 0x2222));
        assert_eq!(exception.parameters, (1..16).collect::<Vec<_>>());
        assert_eq!(exception.context.instruction_pointer(), 0x40_1000);
    }

    #[test]
    fn wrong_pointers_are_told() {
        let mut none = information(&[0, 0]);
        assert_eq!(read(&none), Err(NO_ACCESS), "no record");
        none.ExceptionPointers = 0;
        assert_eq!(read(&none), Ok(None));
        none.ExceptionPointers = 0x10;
        assert_eq!(read(&none), Err(NO_ACCESS));
        none.ClientPointers = 1;
        assert_eq!(read(&none), Err(0x8007_0057), "there is no client");
    }
}
