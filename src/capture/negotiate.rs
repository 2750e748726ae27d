//! Step 1: settles who writes the output, who reads the memory, and the dump type.

use dumpwright_callback::SecondaryFlags;
use dumpwright_target::Target;

use crate::error::remedy;
use crate::memory::reader::Failures;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile, Request, streams};

/// The settled output, reads and flags.
pub(crate) struct Negotiated {
    /// The dump type, with contradictions resolved.
    pub dump_type: DumpType,
    /// Whether the callback writes the dump.
    pub callback_writes: bool,
    /// The profile to follow.
    pub profile: Profile,
    /// The file handle from the caller; `None` if the caller has none.
    pub file_handle: Option<u64>,
    /// The answer to SecondaryFlags.
    pub secondary: SecondaryFlags,
    /// Whether threads are listed in a ThreadExList, with their backing stores.
    pub thread_ex: bool,
}

/// Asks IsProcessSnapshot, VmStart, IoStart and SecondaryFlags, checks the request, and sends the
/// first Cancel.
///
/// This happens before the target is suspended: nothing here needs a suspended target, and a
/// callback may take long to answer. The first three questions are asked even if the dump type is
/// then refused, as Microsoft's writer does.
pub(crate) fn negotiate(
    dialogue: &mut Dialogue<'_>,
    request: &Request,
    target: &mut dyn Target,
) -> Result<Negotiated, Error> {
    if dialogue.is_process_snapshot() {
        let snapshot = target.as_snapshot().ok_or(Error::NoSnapshot)?;
        dialogue.reads_from(snapshot);
    }
    let profile = request.profile;
    dialogue.vm_start(profile);
    let callback_writes = dialogue.io_start(request.file_handle.unwrap_or(0));
    let dump_type = request.dump_type.settled(profile)?;
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
    /// Returns what to do when memory that was not read before the layout cannot be read.
    pub fn failures(&self) -> Failures {
        let dump_type = self.dump_type;
        let is_full = dump_type.contains(DumpType::WITH_FULL_MEMORY);
        let is_compressed = dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED);
        let no_losses = dump_type.contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY);
        let ignores = dump_type.contains(DumpType::IGNORE_INACCESSIBLE_MEMORY) && !no_losses;
        let as_dbghelp = self.profile.reads_in_second_pass();
        Failures {
            are_asked_about: !(is_full || is_compressed && as_dbghelp),
            are_ignored: is_compressed && ignores,
            are_errors: match () {
                () if is_compressed && as_dbghelp => None,
                () if as_dbghelp && is_full && !ignores => Some(remedy::full_memory(dump_type)),
                () if as_dbghelp && !is_full => Some(remedy::CALLBACK),
                () if no_losses && !as_dbghelp => Some(remedy::ALLOW_LOSSES),
                () => None,
            },
        }
    }

    /// Begins the output. Fails if neither the callback nor the caller provides one.
    pub fn begin_writing(&self, dialogue: &mut Dialogue<'_>) -> Result<(), Error> {
        if !self.callback_writes && self.file_handle == Some(0) {
            return Err(Error::NoOutput);
        }
        dialogue.begin_writing();
        Ok(())
    }
}

/// Checks the types of the caller's streams.
///
/// Readers refuse a file that has a stream type twice. Therefore the caller may use each type once,
/// and one of Microsoft's types only if dumpwright does not write that stream itself. A stream of
/// any other type replaces dumpwright's own. Programs that use Breakpad may rely on this, because
/// Breakpad's own streams have the types that dumpwright uses on Linux.
fn check_user_streams(request: &Request) -> Result<(), Error> {
    let types: Vec<_> = request
        .user_streams
        .iter()
        .map(|stream| stream.stream_type)
        .collect();
    for (index, stream_type) in types.iter().enumerate() {
        if *stream_type == 0 {
            return Err(Error::InvalidRequest(
                "user stream type 0 marks an unused entry, which readers skip; use type 10 or 11 (comments) or a type above 0xffff"
                    .to_owned(),
            ));
        }
        if streams::is_microsofts(*stream_type) && streams::is_ours(*stream_type) {
            return Err(Error::InvalidRequest(format!(
                "user stream type {stream_type:#x} is Microsoft's, and dumpwright writes this stream itself; use type 10 or 11 \
                 (comments) or a type above 0xffff"
            )));
        }
        if types[..index].contains(stream_type) {
            return Err(Error::InvalidRequest(format!(
                "two user streams have the type {stream_type:#x}; readers refuse a dump that has a type twice, so give each \
                 stream its own type"
            )));
        }
    }
    Ok(())
}
