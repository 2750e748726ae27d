//! `MiniDumpReadDumpStream`.

use std::ffi::c_void;

use crate::Bool;
use crate::last::{Failure, conclude};
use crate::memory::{self, Space};

/// Plain Windows error codes: that is what DbgHelp 6.3.9600 sets here, not HRESULTs.
mod code {
    pub const INVALID_DATA: u32 = 13;
    pub const INVALID_PARAMETER: u32 = 87;
    pub const NOACCESS: u32 = 998;
    pub const NOT_FOUND: u32 = 1168;
}

/// `MDMP`.
const SIGNATURE: u32 = 0x504D_444D;
/// The low word of the version; the high one is the writer's own.
const VERSION: u16 = 42899;
const ENTRY: u64 = 12;
/// More entries are a lie, and would be looked for in whatever lies behind the dump, whose size nobody says. Writers have
/// some tens.
const MOST_ENTRIES: u32 = 1 << 16;

/// Microsoft's function. See the header.
///
/// # Safety
/// The three last pointers are NULL or can be written through. The dump is looked at through the system, so that a damaged one that
/// leads out of what is mapped is an error.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn MiniDumpReadDumpStream(
    base_of_dump: *mut c_void,
    stream_number: u32,
    directory: *mut *mut c_void,
    stream_pointer: *mut *mut c_void,
    stream_size: *mut u32,
) -> Bool {
    let found = find(base_of_dump as u64, stream_number);
    conclude(found.map(|found| {
        // Addresses in the caller's dump, made from its own pointer.
        let at = |address: u64| base_of_dump.wrapping_byte_add((address - base_of_dump as u64) as usize);
        // SAFETY: the caller says that they can be written through if they are not NULL; they may be unaligned.
        unsafe {
            if !directory.is_null() {
                directory.write_unaligned(at(found.entry));
            }
            if !stream_pointer.is_null() {
                stream_pointer.write_unaligned(at(found.stream));
            }
            if !stream_size.is_null() {
                stream_size.write_unaligned(found.size);
            }
        }
    }))
}

struct Found {
    entry: u64,
    stream: u64,
    size: u32,
}

fn find(base: u64, wanted: u32) -> Result<Found, Failure> {
    if base == 0 {
        return Err(Failure::new(
            code::INVALID_PARAMETER,
            "the address of the dump is NULL",
        ));
    }
    let number =
        |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let header: [u8; 32] = memory::array(Space::Own, base)
        .ok_or_else(|| Failure::new(code::NOACCESS, format!("no dump can be read at {base:#x}")))?;
    if number(&header, 0) != SIGNATURE || number(&header, 4) as u16 != VERSION {
        return Err(Failure::new(
            code::INVALID_DATA,
            "it is no minidump: signature or version are others",
        ));
    }
    let damaged = |what: String| Failure::new(code::INVALID_DATA, format!("the dump is damaged: {what}"));
    let count = number(&header, 8);
    if count > MOST_ENTRIES {
        return Err(damaged(format!("it claims to have {count} streams")));
    }
    let directory = base.saturating_add(number(&header, 12).into());
    for index in 0..u64::from(count) {
        let entry = directory.saturating_add(index * ENTRY);
        let bytes: [u8; ENTRY as usize] = memory::array(Space::Own, entry).ok_or_else(|| {
            damaged(format!(
                "entry {index} of {count} of its directory cannot be read"
            ))
        })?;
        if number(&bytes, 0) != wanted {
            continue;
        }
        let (size, stream) = (number(&bytes, 4), base.saturating_add(number(&bytes, 8).into()));
        let ends = [stream, stream.saturating_add(u64::from(size.max(1)) - 1)];
        if size > 0
            && ends
                .iter()
                .any(|end| memory::array::<1>(Space::Own, *end).is_none())
        {
            return Err(damaged(format!("stream {wanted} leads out of what can be read")));
        }
        return Ok(Found { entry, stream, size });
    }
    Err(Failure::new(
        code::NOT_FOUND,
        format!("the dump has no stream {wanted}"),
    ))
}
