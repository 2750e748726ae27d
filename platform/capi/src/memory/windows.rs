//! Reads memory on Windows.

use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::Space;

/// Fills `into` with the memory at `at`. Returns `None` if not all of it can be read.
pub(super) fn read(space: Space<'_>, at: usize, into: &mut [u8]) -> Option<()> {
    let process = match space {
        // SAFETY: the function has no requirements.
        Space::Own => unsafe { GetCurrentProcess() },
        Space::Of(client) => client.handle(),
    };
    let mut count = 0;
    // SAFETY: the function writes at most `into.len()` bytes to `into`. The system checks the
    // handle and the address that is read.
    let done = unsafe {
        ReadProcessMemory(
            process,
            std::ptr::without_provenance(at),
            into.as_mut_ptr().cast(),
            into.len(),
            &mut count,
        )
    };
    (done != 0 && count == into.len()).then_some(())
}
