//! The pipeline: a target is asked, a selection is made, a snapshot is kept, a plan is laid out, bytes
//! are appended.

use std::cmp::Reverse;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use dumpwright_callback::Callback;
use dumpwright_target::{Frozen, Holding, Need, Remark, Target};

use crate::capture::{Bytes, Negotiated, Snapshot, collect, memory, negotiate, passed_limits, select};
use crate::emit::{Emitted, Failures, Output, emit};
use crate::protocol::dialogue::{Dialogue, Shown};
use crate::report::Backend;
use crate::sink::Sink;
use crate::{DumpType, Error, Report, Request, streams};

/// Dumps `target` into `sink`, asking `callback` all the way.
///
/// The target runs again when this returns, however it returns. It is let go before the first byte is
/// written unless there is too much memory to be kept meanwhile (full dumps).
///
/// # Errors
/// There is no dump. What the sink has received is to be thrown away, which a `FileSink` does by itself.
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

    let negotiated = negotiate(&mut dialogue, request, target)?;
    let mut frozen = target.freeze(&need(negotiated.dump_type, request))?;
    let selection = select(&mut *frozen, &negotiated, &mut dialogue)?;
    let collected = collect(
        &mut *frozen,
        process_id,
        selection,
        &negotiated,
        request,
        &mut dialogue,
    )?;
    let memory = memory(&mut *frozen, collected, &negotiated, request, &mut dialogue);
    let mut snapshot = memory.inspect_err(|_| end_early(&mut dialogue, &negotiated))?;
    snapshot.remarks.extend(frozen.remarks());
    snapshot.remarks.extend(passed_limits(&snapshot));
    let mut held = Held::as_long_as_needed(frozen, &snapshot);

    let layout = streams::plan(&snapshot).layout(negotiated.dump_type, time)?;
    let handle = negotiated.file_handle.unwrap_or(0);
    let mut output = if negotiated.callback_writes {
        Output::Callback { handle }
    } else {
        Output::Sink(sink)
    };
    let failures = Failures {
        are_asked_about: !negotiated.dump_type.contains(DumpType::WITH_FULL_MEMORY),
        are_errors: negotiated
            .dump_type
            .contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY),
    };
    let memory = held.memory();
    let emitted = emit(
        &layout,
        &snapshot.pieces,
        memory,
        failures,
        dialogue.service(),
        &mut output,
    );
    let (holding, late_remarks) = held.release();
    let emitted = finish(&mut dialogue, &mut output, emitted)?;

    let mut remarks = snapshot.remarks;
    remarks.extend(late_remarks);
    remarks.extend(emitted.lost);
    remarks.sort_by_key(|remark| Reverse(remark.gravity));
    Ok(Report {
        backend: Backend::Dumpwright,
        dump_type: negotiated.dump_type,
        bytes: emitted.bytes,
        threads: snapshot.threads.len(),
        modules: snapshot.modules.len(),
        memory_ranges: snapshot.pieces.len(),
        memory_bytes: snapshot.pieces.iter().map(|piece| piece.range.len()).sum(),
        holding,
        elapsed: started.elapsed(),
        remarks,
    })
}

/// The target while the dump is written: let go, or still held because its memory is yet to be read.
enum Held<'t> {
    Still(Box<dyn Frozen + 't>),
    Released(Holding, Vec<Remark>),
}

impl<'t> Held<'t> {
    fn as_long_as_needed(frozen: Box<dyn Frozen + 't>, snapshot: &Snapshot) -> Self {
        let still = Self::Still(frozen);
        if snapshot.pieces.iter().any(|piece| piece.bytes == Bytes::Promised) {
            return still;
        }
        let (holding, remarks) = still.release();
        Self::Released(holding, remarks)
    }

    fn memory(&mut self) -> Option<&mut dyn Frozen> {
        match self {
            Self::Still(frozen) => Some(&mut **frozen),
            Self::Released(..) => None,
        }
    }

    fn release(self) -> (Holding, Vec<Remark>) {
        match self {
            Self::Still(mut frozen) => {
                let remarks = frozen.remarks();
                (frozen.thaw(), remarks)
            }
            Self::Released(holding, remarks) => (holding, remarks),
        }
    }
}

/// What the type means for the backend.
fn need(dump_type: DumpType, request: &Request) -> Need {
    /// Who asks for as little as possible gets neither environment nor command line, whatever else was asked for.
    const PRIVACY: DumpType = DumpType::WITHOUT_OPTIONAL_DATA
        .union(DumpType::FILTER_MEMORY)
        .union(DumpType::FILTER_TRIAGE);
    Need {
        full_memory: dump_type.contains(DumpType::WITH_FULL_MEMORY),
        handles: dump_type.contains(DumpType::WITH_HANDLE_DATA),
        tokens: dump_type.contains(DumpType::WITH_TOKEN_INFORMATION),
        environment: dump_type.contains(DumpType::WITH_PROCESS_THREAD_DATA) && !dump_type.intersects(PRIVACY),
        dont_dump: request.dont_dump,
        extended_state: dump_type.contains(DumpType::WITH_AVX_X_STATE_CONTEXT),
    }
}

/// What the header says: the caller's time, else the target's, else ours.
fn time(request: &Request, target: &dyn Target) -> u32 {
    request.time.or(target.clock()).unwrap_or_else(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX)
    })
}

/// Tells a callback that writes of an output that ends before its first byte; what it answers changes nothing.
fn end_early(dialogue: &mut Dialogue<'_>, negotiated: &Negotiated) {
    if negotiated.callback_writes && dialogue.is_writing() {
        let _ = dialogue.io_finish(negotiated.file_handle.unwrap_or(0));
    }
}

/// Ends the output, and tells the callback. A callback that writes hears of the end also after a failure,
/// which its own answer cannot hide.
fn finish(
    dialogue: &mut Dialogue<'_>,
    output: &mut Output<'_>,
    emitted: Result<Emitted, Error>,
) -> Result<Emitted, Error> {
    let finished = match output {
        Output::Callback { handle } => dialogue.io_finish(*handle),
        Output::Sink(_) if emitted.is_err() => Ok(()),
        Output::Sink(sink) => sink
            .finish()
            .map_err(|error| Error::output("finish", sink.path(), error)),
    };
    let emitted = emitted?;
    finished?;
    dialogue.kernel_minidump();
    Ok(emitted)
}
