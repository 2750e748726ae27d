//! How Windows reads memory.

use windows_sys::Win32::System::Diagnostics::Debug::ReadProcessMemory;
use windows_sys::Win32::System::Threading::GetCurrentProcess;

use super::Space;

/// Fills `into` from `at`; `None` if not all of it can be read.
pub(super) fn read(space: Space<'_>, at: usize, into: &mut [u8]) -> Option<()> {
    let process = match space {
        // SAFETY: asks nothing of its caller.
        Space::Own => unsafe { GetCurrentProcess() },
        Space::Of(client) => client.handle(),
    };
    let mut count = 0;
    // SAFETY: writes at most the length of `into` to it; whatever the handle is, it is the system that looks at it.
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
