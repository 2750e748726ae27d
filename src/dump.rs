//! The function [`dump()`], which runs all phases in order: negotiate, select, collect, choose and
//! read the memory, lay out the file, write it, and finish.

use std::cmp::Reverse;
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dumpwright_callback::{Callback, ThreadWriteFlags};
use dumpwright_target::{Diagnostic, Frozen, Holding, Need, Target};

use crate::capture::{Negotiated, Piece, Snapshot, collect, memory, negotiate, passed_limits, select};
use crate::emit::{Destination, Emitted, emit};
use crate::protocol::dialogue::{Dialogue, Shown};
use crate::report::Backend;
use crate::report::ReportedException;
use crate::sink::Sink;
use crate::{DumpType, Error, Explanation, Report, Request, streams};

/// Dumps `target` into `sink`. The callback, if there is one, is asked in every phase.
///
/// The target is always resumed before this function returns, also after an error. Usually it is
/// resumed before the first byte is written. If memory is deferred (in full dumps, and when the
/// request selects more than its [`fetch_limit`](Request::fetch_limit)), the target stays suspended
/// until all bytes have been read. [`Request::max_pause`] limits this time.
///
/// # Errors
/// Fails if the request is invalid, the target cannot be suspended or read, the callback ends the
/// dump, or the output cannot be written; see the variants of [`Error`]. The caller must then
/// discard what the sink has received; a `FileSink` does this when it is dropped.
pub fn dump(
    target: &mut dyn Target,
    request: &Request,
    callback: Option<&mut dyn Callback>,
    sink: &mut dyn Sink,
) -> Result<Report, Error> {
    let started = Instant::now();
    let process_id = target.process_id();
    let time = time(request, target);
    let handle = request.process_handle.unwrap_or_else(|| target.process_handle());
    let mut dialogue = Dialogue::new(callback, Shown::new(process_id, handle));

    let captured = capture(target, request, &mut dialogue, Some(&mut *sink))?;
    let Captured {
        negotiated,
        frozen,
        snapshot,
    } = captured;
    let mut held = TargetLease::as_long_as_needed(frozen, &snapshot);

    let layout = streams::plan(&snapshot).layout(negotiated.dump_type, time)?;
    let handle = negotiated.file_handle.unwrap_or(0);
    let mut output = if negotiated.callback_writes {
        Destination::Callback { handle }
    } else {
        sink.announce(layout.len);
        Destination::Sink(sink)
    };
    let emitted = emit(
        &layout,
        snapshot.memory(),
        process_id,
        held.memory(),
        negotiated.failures(),
        dialogue.service(),
        &mut output,
    );
    let (holding, late_diagnostics) = held.release();
    if let Ok(Emitted {
        compressed: Some(stream),
        ..
    }) = &emitted
    {
        dialogue.compressed_memory_finish(stream.size, stream.rate);
    }
    let emitted = finish(&mut dialogue, &mut output, emitted)?;

    let pieces = snapshot.memory().pieces();
    let (memory_ranges, memory_bytes) = match &emitted.compressed {
        Some(stream) => (stream.regions, stream.plain_bytes),
        None => (pieces.len(), pieces.iter().map(|piece| piece.range.len()).sum()),
    };
    let bytes = emitted.bytes;
    let later = late_diagnostics.into_iter().chain(emitted.lost);
    let mut report = report(snapshot, holding, later);
    report.bytes = bytes;
    (report.memory_ranges, report.memory_bytes) = (memory_ranges, memory_bytes);
    report.elapsed = started.elapsed();
    Ok(report)
}

/// Finds out what a dump would contain, without writing it.
///
/// The target is suspended and examined, and the callback is asked, in the same way as for a dump.
/// Memory that is selected is not read, apart from stacks, if the request's
/// [`fetch_limit`](Request::fetch_limit) is 0. The callback is asked neither about the output nor
/// about deferred memory.
///
/// # Errors
/// Fails in the cases in which [`dump`] fails before the first byte is written.
pub fn explain(
    target: &mut dyn Target,
    request: &Request,
    callback: Option<&mut dyn Callback>,
) -> Result<Explanation, Error> {
    let started = Instant::now();
    let time = time(request, target);
    let handle = request.process_handle.unwrap_or_else(|| target.process_handle());
    let mut dialogue = Dialogue::new(callback, Shown::new(target.process_id(), handle));
    let mut request = request.clone();
    request.explained = true;
    let captured = capture(target, &request, &mut dialogue, None)?;
    let Captured {
        negotiated,
        mut frozen,
        snapshot,
    } = captured;
    let late_diagnostics = frozen.diagnostics();
    let holding = frozen.thaw();
    let length = streams::plan(&snapshot).layout(negotiated.dump_type, time)?.len;
    let listed: u64 = snapshot.memory().pieces().iter().map(Piece::len).sum();
    let shares = snapshot.shares();
    let mut report = report(snapshot, holding, late_diagnostics);
    report.memory_bytes = shares.iter().map(|share| share.bytes).sum();
    report.memory_ranges = shares.iter().map(|share| share.ranges).sum();
    let table_bytes = length - listed;
    report.bytes = table_bytes + report.memory_bytes;
    report.elapsed = started.elapsed();
    Ok(Explanation {
        report,
        shares,
        table_bytes,
    })
}

/// A target that was captured and is still frozen.
struct Captured<'t> {
    negotiated: Negotiated,
    frozen: Box<dyn Frozen + 't>,
    snapshot: Snapshot,
}

/// Runs all phases before the layout. `sink` is where the dump will go, if there is one.
fn capture<'t>(
    target: &'t mut dyn Target,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
    mut sink: Option<&mut dyn Sink>,
) -> Result<Captured<'t>, Error> {
    let process_id = target.process_id();
    let negotiated = negotiate(dialogue, request, target)?;
    if let Some(sink) = &mut sink {
        check_amend(&negotiated, &**sink, AmendCheck::BeforeFreeze)?;
        if !negotiated.callback_writes {
            sink.prepare()?;
        }
    }
    let mut frozen = target.freeze(&need(negotiated.dump_type, request))?;
    let selection = select(&mut *frozen, &negotiated, dialogue)?;
    let collected = collect(
        &mut *frozen,
        process_id,
        selection,
        &negotiated,
        request,
        dialogue,
    )?;
    if let Some(sink) = &sink {
        check_amend(&negotiated, &**sink, AmendCheck::BeforeMemory)?;
    }
    let memory = memory(&mut *frozen, collected, &negotiated, request, dialogue);
    let mut snapshot = memory.inspect_err(|_| end_early(dialogue, &negotiated))?;
    snapshot.add_diagnostics(frozen.diagnostics());
    snapshot.add_diagnostics(passed_limits(&snapshot));
    Ok(Captured {
        negotiated,
        frozen,
        snapshot,
    })
}

/// Returns a report about the facts in a snapshot. The caller fills in sizes and times.
fn report(snapshot: Snapshot, holding: Holding, later: impl IntoIterator<Item = Diagnostic>) -> Report {
    let platform = snapshot.facts().platform();
    let exception = snapshot.threads().exception();
    let exception = exception.map(|exception| ReportedException::of(exception, platform));
    let terms = snapshot.terms();
    let (process_id, dump_type) = (terms.process_id, terms.dump_type);
    // A thread that the callback left out in Thread can still have a stack in the dump.
    let threads = snapshot.threads().kept().iter();
    let threads = threads.filter(|kept| kept.flags.contains(ThreadWriteFlags::THREAD));
    let (threads, modules) = (threads.count(), snapshot.modules().len());
    let mut diagnostics = snapshot.into_diagnostics();
    diagnostics.extend(later);
    diagnostics.sort_by_key(|diagnostic| Reverse(diagnostic.severity));
    Report {
        backend: Backend::Dumpwright,
        process_id,
        exception,
        dump_type,
        bytes: 0,
        threads,
        modules,
        memory_ranges: 0,
        memory_bytes: 0,
        holding,
        elapsed: Duration::ZERO,
        diagnostics,
    }
}

/// When an output is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AmendCheck {
    BeforeFreeze,
    BeforeMemory,
}

/// Returns an error if the dump has compressed memory and the output cannot store it.
///
/// This is found out before anything is done to the target. As observed, the profiles of DbgHelp
/// find out after the last thread whether there is a file at all that can be written to.
fn check_amend(negotiated: &Negotiated, sink: &dyn Sink, when: AmendCheck) -> Result<(), Error> {
    if !negotiated.dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED) || negotiated.callback_writes {
        return Ok(());
    }
    let is_due = when == AmendCheck::BeforeMemory || !negotiated.profile.reads_in_second_pass();
    if negotiated.file_handle == Some(0) {
        return if is_due { Err(Error::NoOutput) } else { Ok(()) };
    }
    match sink.check_amend() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(Error::InvalidRequest(
            "with-memory-compressed (0x4000000) needs a file: its header is written last, and this output (a pipe, a \
             device or a compressor) can only be appended to; dump with-full-memory instead and compress the whole dump, \
             on the command line with --compress zstd"
                .to_owned(),
        )),
        Err(error) if is_due => Err(Error::output("write to", sink.path(), error)),
        _ => Ok(()),
    }
}

/// The target while the dump is written: still frozen because deferred memory has to be read, or
/// released.
enum TargetLease<'t> {
    Still(Box<dyn Frozen + 't>),
    Released(Holding, Vec<Diagnostic>),
}

impl<'t> TargetLease<'t> {
    fn as_long_as_needed(frozen: Box<dyn Frozen + 't>, snapshot: &Snapshot) -> Self {
        let still = Self::Still(frozen);
        if snapshot.memory().is_deferred() {
            return still;
        }
        let (holding, diagnostics) = still.release();
        Self::Released(holding, diagnostics)
    }

    fn memory(&mut self) -> Option<&mut dyn Frozen> {
        match self {
            Self::Still(frozen) => Some(&mut **frozen),
            Self::Released(..) => None,
        }
    }

    fn release(self) -> (Holding, Vec<Diagnostic>) {
        match self {
            Self::Still(mut frozen) => {
                let diagnostics = frozen.diagnostics();
                (frozen.thaw(), diagnostics)
            }
            Self::Released(holding, diagnostics) => (holding, diagnostics),
        }
    }
}

/// Returns what the dump type and the request need from the backend.
pub(crate) fn need(dump_type: DumpType, request: &Request) -> Need {
    /// Dump types that reduce the dump. With any of them, the dump has neither environment nor
    /// command line, even if another flag asks for these.
    const PRIVACY: DumpType = DumpType::WITHOUT_OPTIONAL_DATA
        .union(DumpType::FILTER_MEMORY)
        .union(DumpType::FILTER_TRIAGE);
    Need {
        full_memory: dump_type.has_all_memory(),
        handles: dump_type.contains(DumpType::WITH_HANDLE_DATA),
        tokens: dump_type.contains(DumpType::WITH_TOKEN_INFORMATION),
        environment: dump_type.contains(DumpType::WITH_PROCESS_THREAD_DATA) && !dump_type.intersects(PRIVACY),
        dont_dump: request.dont_dump,
        extended_state: dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT),
        thread_times: dump_type.contains(DumpType::WITH_THREAD_INFO),
        max_pause: request.max_pause,
        max_clone: request.max_clone,
        private_memory: dump_type
            .intersects(DumpType::WITH_PRIVATE_READ_WRITE_MEMORY | DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY),
    }
}

/// Returns the time for the dump's header, in seconds since 1970: the request's time, or else the
/// target's clock, or else the system's clock.
fn time(request: &Request, target: &dyn Target) -> u32 {
    request.time.or(target.clock()).unwrap_or_else(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX)
    })
}

/// Sends IoFinish after a failure that came before the first byte was written, if the callback has
/// taken over the output. The answer is ignored.
fn end_early(dialogue: &mut Dialogue<'_>, negotiated: &Negotiated) {
    if negotiated.callback_writes && dialogue.is_writing() {
        let _ = dialogue.io_finish(negotiated.file_handle.unwrap_or(0));
    }
}

/// Finishes the output and sends the last callback types.
///
/// A callback that has taken over the output gets IoFinish also after a failure. The failure is
/// returned whatever the callback answers.
fn finish(
    dialogue: &mut Dialogue<'_>,
    output: &mut Destination<'_>,
    emitted: Result<Emitted, Error>,
) -> Result<Emitted, Error> {
    let finished = match output {
        Destination::Callback { handle } => dialogue.io_finish(*handle),
        Destination::Sink(_) if emitted.is_err() => Ok(()),
        Destination::Sink(sink) => sink
            .finish()
            .map_err(|error| Error::output("write to", sink.path(), error)),
    };
    let emitted = emitted?;
    finished?;
    dialogue.kernel_minidump();
    Ok(emitted)
}
