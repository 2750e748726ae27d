//! Phase 1: who writes, who reads, what kind of dump.

use dumpwright_callback::SecondaryFlags;
use dumpwright_target::Target;

use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile, Request};

/// Routes and flags.
pub(crate) struct Negotiated {
    /// The type, with contradictions settled.
    pub dump_type: DumpType,
    /// The callback writes the dump.
    pub callback_writes: bool,
    /// Whose behaviour to follow.
    pub profile: Profile,
    /// The file handle that the caller gave, if it said.
    pub file_handle: Option<u64>,
    /// Secondary wishes.
    pub secondary: SecondaryFlags,
    /// Threads are listed with their backing stores.
    pub thread_ex: bool,
}

/// The handshake, and the first Cancel. Comes before the target is held: nothing here needs it, and a
/// callback may take its time.
///
/// The three handshake questions are put even when the type is then refused, as Microsoft's writer does.
pub(crate) fn negotiate(
    dialogue: &mut Dialogue<'_>,
    request: &Request,
    target: &mut dyn Target,
) -> Result<Negotiated, Error> {
    if dialogue.is_process_snapshot() {
        let snapshot = target.as_snapshot().ok_or(Error::NoSnapshot)?;
        dialogue.reads_from(snapshot);
    }
    dialogue.vm_start();
    let callback_writes = dialogue.io_start(request.file_handle.unwrap_or(0));
    let profile = request.profile;
    let dump_type = request.dump_type.settled(profile.known_types())?;
    if let (false, Some(error)) = (profile.refuses_contradictions_late(), dump_type.contradiction()) {
        return Err(error);
    }
    if !profile.takes_any_user_stream() {
        check_user_streams(request)?;
    }
    let secondary = dialogue.secondary_flags();
    dialogue.service().poll_cancel()?;
    Ok(Negotiated {
        dump_type,
        callback_writes,
        profile,
        file_handle: request.file_handle,
        secondary,
        thread_ex: request.thread_ex,
    })
}

impl Negotiated {
    /// The output begins: there must be one.
    pub fn begin_writing(&self, dialogue: &mut Dialogue<'_>) -> Result<(), Error> {
        if !self.callback_writes && self.file_handle == Some(0) {
            return Err(Error::NoOutput);
        }
        dialogue.begin_writing();
        Ok(())
    }
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
