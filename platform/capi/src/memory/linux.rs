//! Reads memory on Linux.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, getpid};

use super::Space;

/// Fills `into` with the memory at `at`. Returns `None` if not all of it can be read.
pub(super) fn read(space: Space<'_>, at: usize, into: &mut [u8]) -> Option<()> {
    let pid = match space {
        Space::Own => getpid(),
        Space::Of(client) => Pid::from_raw(i32::try_from(client.id).ok()?),
    };
    let len = into.len();
    let remote = [RemoteIoVec { base: at, len }];
    match (
        process_vm_readv(pid, &mut [IoSliceMut::new(into)], &remote),
        space,
    ) {
        (Ok(count), _) if count == len => Some(()),
        // A sandbox forbids the system call. Then the caller's pointers are trusted, as by DbgHelp.
        (Err(Errno::ENOSYS | Errno::EPERM), Space::Own) if at != 0 => {
            let from = std::ptr::with_exposed_provenance::<u8>(at);
            // SAFETY: the caller guarantees that these bytes are readable, and there is no other
            // way to check it here. `into` is valid for writes of its own length.
            unsafe { from.copy_to(into.as_mut_ptr(), len) };
            Some(())
        }
        _ => None,
    }
}

/// This test would catch: the caller's memory, read instead of that of another process.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Client;

    #[test]
    fn what_is_there_here_is_not_there_elsewhere() {
        let byte = 7_u8;
        let at = (&raw const byte).expose_provenance();
        let nobody = Client { id: 0x7fff_fff0 };
        assert_eq!(read(Space::Own, at, &mut [0]), Some(()));
        assert_eq!(read(Space::Of(&nobody), at, &mut [0]), None);
    }
}
