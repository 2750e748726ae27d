//! Phase 1: who writes, who reads, what kind of dump.

use dumpwright_callback::SecondaryFlags;

use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Request};

/// Routes and flags.
pub(crate) struct Negotiated {
    /// The type, with contradictions settled.
    pub dump_type: DumpType,
    /// The callback writes the dump.
    pub callback_writes: bool,
    /// Secondary wishes.
    pub secondary: SecondaryFlags,
}

/// The handshake, and the first Cancel. Comes before the target is held: nothing here needs it, and a
/// callback may take its time.
///
/// The three handshake questions are put even when the type is then refused, as Microsoft's writer does.
pub(crate) fn negotiate(
    dialogue: &mut Dialogue<'_>,
    request: &Request,
    target_is_snapshot: bool,
) -> Result<Negotiated, Error> {
    let announced_snapshot = dialogue.is_process_snapshot();
    if announced_snapshot && !target_is_snapshot {
        return Err(Error::NoSnapshot);
    }
    dialogue.vm_start();
    let callback_writes = dialogue.io_start(0);
    let dump_type = request.dump_type.normalised()?;
    check_user_streams(request)?;
    let secondary = dialogue.secondary_flags();
    dialogue.service().poll_cancel()?;
    Ok(Negotiated {
        dump_type,
        callback_writes,
        secondary,
    })
}

/// Types up to 0xFFFF are Microsoft's, and readers refuse files that have one twice; only the two comment
/// types are meant for callers.
fn check_user_streams(request: &Request) -> Result<(), Error> {
    const LAST_RESERVED: u32 = 0xFFFF;
    const COMMENTS: [u32; 2] = [10, 11];
    let types: Vec<_> = request
        .user_streams
        .iter()
        .map(|stream| stream.stream_type)
        .collect();
    for (index, stream_type) in types.iter().enumerate() {
        if *stream_type <= LAST_RESERVED && !COMMENTS.contains(stream_type) {
            return Err(Error::InvalidRequest(format!(
                "user stream type {stream_type:#x} is reserved; use 10 or 11 (comments) or more than 0xffff"
            )));
        }
        if crate::streams::is_ours(*stream_type) || types[..index].contains(stream_type) {
            return Err(Error::InvalidRequest(format!(
                "two streams of type {stream_type:#x} in one dump; readers refuse that"
            )));
        }
    }
    Ok(())
}
