//! The exception that a caller hands over.

use dumpwright::target::{Cpu, CpuContext, Exception};

use crate::last::Failure;
use crate::memory::{self, Space};
use crate::process::Client;
use dumpwright_callback::abi::native::{CONTEXT, MINIDUMP_EXCEPTION_INFORMATION};

/// ERROR_NOACCESS as an HRESULT: what DbgHelp 6.3.9600 answers to pointers that cannot be read.
const NO_ACCESS: u32 = 0x8007_03E6;

/// `EXCEPTION_MAXIMUM_PARAMETERS`.
const MOST_PARAMETERS: usize = 15;

/// Size of a pointer, and so of all members of `EXCEPTION_RECORD` behind the first two.
const WORD: usize = size_of::<usize>();

/// Code and flags, then record, address, number of parameters (a 32-bit number with padding behind it), parameters.
const RECORD_SIZE: usize = 8 + 3 * WORD + MOST_PARAMETERS * WORD;

/// Copies what the caller's structure leads to. `None` when it says that there is no exception: it has no pointers.
///
/// `client` finds the process that is dumped, for `ClientPointers`.
///
/// # Safety
/// The pointer is NULL or leads to such a structure.
#[allow(clippy::useless_conversion, reason = "of use where pointers have 32 bits")]
pub(crate) unsafe fn from_pointer(
    information: *const MINIDUMP_EXCEPTION_INFORMATION,
    client: impl FnOnce() -> Result<Option<Client>, Failure>,
) -> Result<Option<Exception>, Failure> {
    if information.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller says that it can be read; it may be unaligned.
    let information = unsafe { information.read_unaligned() };
    if information.ExceptionPointers == 0 {
        return Ok(None);
    }
    let client = match information.ClientPointers {
        0 => None,
        _ => Some(client()?.ok_or_else(|| {
            Failure::argument(
                "ClientPointers is set, but the target has no memory that could be looked into (it is simulated, or its handle is no process)",
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
            format!("the exception's {what} cannot be read in {whose} (is ClientPointers right?)"),
        )
    };
    let pointers: [u8; 2 * WORD] = memory::array(space, u64::from(information.ExceptionPointers))
        .ok_or_else(|| no_access("pointers"))?;
    let [record, context] = [word(&pointers, 0), word(&pointers, WORD)];
    let record: [u8; RECORD_SIZE] = memory::array(space, record).ok_or_else(|| no_access("record"))?;
    let context: [u8; size_of::<CONTEXT>()] =
        memory::array(space, context).ok_or_else(|| no_access("context"))?;
    let context = CpuContext::from_bytes(CPU, context.to_vec()).expect("of the family's size");
    let count = number(&record, 8 + 2 * WORD) as usize;
    Ok(Some(Exception {
        thread_id: information.ThreadId,
        code: number(&record, 0),
        flags: number(&record, 4),
        record: word(&record, 8),
        address: word(&record, 8 + WORD),
        parameters: (0..count.min(MOST_PARAMETERS))
            .map(|index| word(&record, 8 + (3 + index) * WORD))
            .collect(),
        context,
    }))
}

/// The CPU family of this build, which `CONTEXT` is of.
#[cfg(target_arch = "x86_64")]
const CPU: Cpu = Cpu::Amd64;

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    usize::from_ne_bytes(bytes[at..at + WORD].try_into().expect("a word")) as u64
}

/// What these tests would catch: members of an exception in the wrong places, a count of parameters that is believed, and
/// pointers that are followed blindly.
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
        // SAFETY: a reference is such a pointer.
        unsafe { from_pointer(information, || Ok(None)) }.map_err(|failure| failure.code)
    }

    #[test]
    fn records_are_copied() {
        let mut record = [0_u64; RECORD_SIZE / 8];
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
            .expect("all can be read")
            .expect("there is one");
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
