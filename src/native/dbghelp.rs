//! Dumps that the system's DbgHelp (`MiniDumpWriteDump`) makes, instead of dumpwright's own engine.
//!
//! [`dump`] takes the same requests, callbacks and outputs as [`dumpwright::dump`](crate::dump()).
//!
//! ```no_run
//! use dumpwright::native::dbghelp::{self, DbgHelp, Process};
//! use dumpwright::{DumpType, FileSink, Request};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let process = Process::open(4711)?;
//! let request = Request::new(DumpType::NORMAL);
//! let mut file = FileSink::create("server.dmp", false)?;
//! let report = dbghelp::dump(&DbgHelp::system()?, process.subject(), &request, None, &mut file)?;
//! file.publish()?;
//! println!("{} threads, by {}", report.threads, report.backend);
//! # Ok(())
//! # }
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsHandle;
use std::time::{Duration, Instant};

use dumpwright_callback::{
    Ask, AskKind, Callback, Hresult, MemoryInfo, ModuleWriteFlags, ProcessAsked, ThreadWriteFlags,
};
use dumpwright_target::{AddressRange, Diagnostic, Holding, Platform};

use super::backend::dbghelp::{Arguments, Crash, Refusal};
pub use super::backend::dbghelp::{DbgHelp, FileVersion, OpenProcess, ProcessOrSnapshot};
use crate::read::{Dump, ReadError};
use crate::report::{Backend, ReportedException};
use crate::{DumpType, Error, Profile, Report, Request, Sink};

/// Dumps a process, or a process snapshot, with this DbgHelp.
///
/// Settings of the request that DbgHelp does not support are ignored, and the report has a note for
/// each. DbgHelp writes files directly. For any other output it writes a temporary file, which is
/// then copied, unless the callback takes over the output.
///
/// # Errors
/// Fails if DbgHelp fails, or if its output cannot be copied. The caller must then discard what the
/// sink has received; a `FileSink` does this when it is dropped.
///
/// # Panics
/// Panics if the callback panics. The panic does not unwind through DbgHelp: it continues after
/// DbgHelp has returned.
pub fn dump(
    dbghelp: &DbgHelp,
    subject: ProcessOrSnapshot<'_>,
    request: &Request,
    callback: Option<&mut dyn Callback>,
    sink: &mut dyn Sink,
) -> Result<Report, Error> {
    let started = Instant::now();
    if request.max_pause.is_some() && !subject.is_snapshot() {
        let reason = "DbgHelp cannot limit the pause of a process; make the dump without a pause limit";
        return Err(Error::InvalidRequest(reason.to_owned()));
    }
    let streams: Vec<_> = request
        .user_streams
        .iter()
        .map(|stream| (stream.stream_type, stream.bytes.as_slice()))
        .collect();
    let mut watched = callback.map(|inner| Watched::new(inner, request.file_handle.unwrap_or(0)));
    let output = DbgHelpFile::of(sink, request)?;
    let arguments = Arguments {
        subject,
        file: output.file().map(AsHandle::as_handle),
        dump_type: request.dump_type.bits(),
        exception: request.exception.as_ref().map(Crash::Told),
        user_streams: &streams,
    };
    let outcome = dbghelp.write_dump(
        arguments,
        watched.as_mut().map(|watched| watched as &mut dyn Callback),
    );
    let pause_began = watched.as_ref().and_then(|watched| watched.first_thread);
    let pause = pause_began.unwrap_or(started).elapsed();
    outcome.map_err(|refusal| error(refusal, request, watched.as_ref()))?;

    let mut report = Report {
        backend: Backend::DbgHelp {
            file: dbghelp.file().to_owned(),
            version: dbghelp.version().map(|version| version.to_string()),
        },
        process_id: subject.id(),
        exception: request
            .exception
            .as_ref()
            .map(|exception| ReportedException::of(exception, Some(Platform::WindowsNt))),
        dump_type: request.dump_type,
        bytes: 0,
        threads: 0,
        modules: 0,
        memory_ranges: 0,
        memory_bytes: 0,
        holding: Holding {
            hold: if subject.is_snapshot() { "clone" } else { "dbghelp" },
            tracer: None,
            pause: if subject.is_snapshot() {
                Duration::ZERO
            } else {
                pause
            },
        },
        elapsed: Duration::ZERO,
        diagnostics: notes(request),
    };
    match watched {
        Some(watched) if watched.has_output => watched.count(&mut report),
        watched => {
            if let Some(file) = output.file() {
                read_back(file, &mut report);
            }
            report
                .diagnostics
                .extend(watched.into_iter().flat_map(|watched| watched.lost));
            output.deliver(sink)?;
        }
    }
    report
        .diagnostics
        .sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.severity));
    report.elapsed = started.elapsed();
    Ok(report)
}

/// The file that DbgHelp writes.
enum DbgHelpFile {
    /// The sink's own file.
    OfSink(File),
    /// A temporary file, which the system deletes when it is closed.
    Temporary(File),
    /// No file: the callback has to take over the output.
    Nowhere,
}

impl DbgHelpFile {
    fn of(sink: &mut dyn Sink, request: &Request) -> Result<Self, Error> {
        if request.file_handle == Some(0) {
            return Ok(Self::Nowhere);
        }
        let file = match sink.lend_file() {
            Some(file) => file.try_clone().map(Self::OfSink),
            None => temporary(request.dump_type).map(Self::Temporary),
        };
        file.map_err(|error| Error::output("create a temporary file for", sink.path(), error))
    }

    fn file(&self) -> Option<&File> {
        match self {
            Self::OfSink(file) | Self::Temporary(file) => Some(file),
            Self::Nowhere => None,
        }
    }

    /// Copies a temporary file to the sink, and finishes the sink.
    fn deliver(self, sink: &mut dyn Sink) -> Result<(), Error> {
        let copied = match &self {
            Self::Temporary(file) => copy(file, sink),
            Self::OfSink(_) | Self::Nowhere => Ok(()),
        };
        copied
            .and_then(|()| sink.finish())
            .map_err(|error| Error::output("write to", sink.path(), error))
    }
}

/// Creates a file in the user's folder for temporary files. No other program can open it, and the
/// system deletes it when it is closed.
///
/// For compressed memory, DbgHelp opens the file again itself.
fn temporary(dump_type: DumpType) -> io::Result<File> {
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    const SHARE_READ_WRITE_DELETE: u32 = 7;
    let share_mode = match dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED) {
        true => SHARE_READ_WRITE_DELETE,
        false => 0,
    };
    let folder = std::env::temp_dir();
    for number in 0..1000 {
        let name = format!("dumpwright-{}-{number}.partial", std::process::id());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .share_mode(share_mode)
            .custom_flags(FILE_FLAG_DELETE_ON_CLOSE)
            .open(folder.join(name));
        match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return file,
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Appends a whole file to a sink.
fn copy(file: &File, sink: &mut dyn Sink) -> io::Result<()> {
    const BUFFER: usize = 256 << 10;
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    loop {
        match file.seek_read(&mut buffer, at) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                sink.append(at, &buffer[..count])?;
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads the dump and fills in the counts of the report.
fn read_back(file: &File, report: &mut Report) {
    let counted = || -> Result<_, ReadError> {
        let file = file.try_clone().map_err(|source| ReadError::Io {
            what: "the dump",
            offset: 0,
            length: 0,
            source,
        })?;
        let dump = Dump::from_file(file)?;
        let (ranges, bytes) = match dump.compressed_memory()? {
            Some(memory) => (
                usize::try_from(memory.regions).unwrap_or(usize::MAX),
                memory.bytes_read,
            ),
            None => {
                let ranges = dump.memory_ranges()?;
                (ranges.len(), ranges.iter().map(|range| range.size).sum())
            }
        };
        let flags = u32::try_from(dump.header().flags).unwrap_or(u32::MAX);
        Ok((
            DumpType::from_bits_retain(flags),
            dump.len(),
            dump.threads()?.len(),
            dump.modules()?.len(),
            ranges,
            bytes,
        ))
    };
    match counted() {
        Ok(counts) => {
            (
                report.dump_type,
                report.bytes,
                report.threads,
                report.modules,
                report.memory_ranges,
                report.memory_bytes,
            ) = counts;
        }
        Err(error) => report.diagnostics.push(Diagnostic::missing(
            dumpwright_target::Subject::Process,
            format!("cannot read the dump that DbgHelp wrote: {error}"),
        )),
    }
}

/// Returns a note for each setting of the request that DbgHelp does not support.
fn notes(request: &Request) -> Vec<Diagnostic> {
    let plain = Request::new(request.dump_type);
    let wishes = [
        (request.profile != Profile::default(), "ignores the profile"),
        (request.thread_ex, "ignores the request for a ThreadExList"),
        (
            request.dont_dump,
            "ignores the request to include memory marked \"do not dump\"; Windows has no such mark",
        ),
        (
            request.fetch_limit != plain.fetch_limit,
            "ignores the fetch limit; it suspends the process until the whole dump is written",
        ),
        (
            request.time.is_some(),
            "ignores the requested time; it writes the current time into the dump's header",
        ),
        (
            request.requesting_thread.is_some(),
            "ignores the requesting thread",
        ),
        (
            request.process_handle.is_some(),
            "ignores the requested process handle; it passes its own handle to the callback",
        ),
    ];
    let made = wishes.into_iter().filter(|(made, _)| *made);
    made.map(|(_, reason)| Diagnostic::note(dumpwright_target::Subject::Process, format!("DbgHelp {reason}")))
        .collect()
}

/// Converts a failure of DbgHelp to the error that dumpwright's engine returns for the same cause.
fn error(refusal: Refusal, request: &Request, watched: Option<&Watched<'_>>) -> Error {
    let cause = watched.and_then(|watched| watched.stopped_by);
    match (refusal.status, cause) {
        (Hresult::CANCELLED, Some(Cause::Cancelled)) => Error::Cancelled,
        (Hresult::E_ABORT | Hresult::E_FAIL, Some(Cause::Declined(kind))) => Error::Aborted(kind),
        (failed, Some(Cause::Answered(ask, status))) if failed == status => Error::Refused { ask, status },
        (status, _) => Error::DbgHelp {
            status,
            fault: match request.dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED) {
                true if status == Hresult::INVALID_ARGUMENT => refusal.fault.advise(
                    "this DbgHelp may be older than with-memory-compressed (0x4000000), which that of Windows 11 \
                     knows; use --backend dumpwright, or with-full-memory",
                ),
                _ => refusal.fault,
            },
        },
    }
}

/// An answer that ends a dump.
#[derive(Debug, Clone, Copy)]
enum Cause {
    Cancelled,
    Declined(AskKind),
    Answered(AskKind, Hresult),
}

/// A wrapper around the callback that collects facts for the report.
struct Watched<'c> {
    inner: &'c mut dyn Callback,
    /// The file handle that is passed to the callback.
    file_handle: u64,
    /// The time of the first IncludeThread, right before DbgHelp suspends the first thread.
    first_thread: Option<Instant>,
    /// Whether the callback has taken over the output.
    has_output: bool,
    /// The highest file offset that IoWriteAll has reached.
    end: u64,
    threads: usize,
    modules: usize,
    lost: Vec<Diagnostic>,
    stopped_by: Option<Cause>,
}

impl<'c> Watched<'c> {
    fn new(inner: &'c mut dyn Callback, file_handle: u64) -> Self {
        Self {
            inner,
            file_handle,
            first_thread: None,
            has_output: false,
            end: 0,
            threads: 0,
            modules: 0,
            lost: Vec::new(),
            stopped_by: None,
        }
    }

    /// Fills in the counts of the report for a dump whose output went to the callback.
    fn count(self, report: &mut Report) {
        (report.bytes, report.threads, report.modules) = (self.end, self.threads, self.modules);
        report.diagnostics.extend(self.lost);
        report.diagnostics.push(Diagnostic::note(
            dumpwright_target::Subject::Process,
            "the callback took over the output, so the memory in the dump was not counted",
        ));
    }

    /// Adjusts a question before the callback gets it, and removes what is specific to DbgHelp.
    fn before(&mut self, ask: &mut Ask<'_>) {
        match ask {
            Ask::IncludeThread { .. } => {
                self.first_thread.get_or_insert_with(Instant::now);
            }
            Ask::IoStart { handle, .. } | Ask::IoWriteAll { handle, .. } | Ask::IoFinish { handle, .. } => {
                *handle = self.file_handle;
            }
            // DbgHelp 6.3.9600 leaves values of other questions in these answer slots.
            Ask::VmQuery { answer, .. } => answer.region = MemoryInfo::default(),
            Ask::VmPostRead {
                completed, answer, ..
            } => answer.completed = *completed,
            _ => {}
        }
    }

    /// Collects facts from a question after the callback has answered it.
    fn after(&mut self, ask: &mut Ask<'_>, said: bool) {
        let failing = |kind, status: Hresult| match said {
            true if status == Hresult::S_OK => None,
            true => Some(Cause::Answered(kind, status)),
            false => Some(Cause::Declined(kind)),
        };
        let kind = ask.kind();
        let cause = match ask {
            Ask::IoStart { status, .. } => {
                self.has_output = said && **status == Hresult::S_FALSE;
                None
            }
            Ask::IoWriteAll {
                offset,
                bytes,
                status,
                ..
            } => {
                self.end = self.end.max(*offset + bytes.len() as u64);
                failing(kind, **status)
            }
            Ask::IoFinish { status, .. } if said && status.is_success() => None,
            Ask::IoFinish { status, .. } => failing(kind, **status),
            Ask::Module { keep, .. } => {
                self.modules += usize::from(keep.contains(ModuleWriteFlags::MODULE));
                (!said).then_some(Cause::Declined(kind))
            }
            Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } => {
                self.threads += usize::from(keep.contains(ThreadWriteFlags::THREAD));
                (!said).then_some(Cause::Declined(kind))
            }
            Ask::Cancel { answer } => (said && answer.cancel).then_some(Cause::Cancelled),
            Ask::VmQuery { answer, .. } if said => match answer.status {
                Hresult::S_OK | Hresult::E_NOTIMPL | Hresult::E_NOINTERFACE => None,
                status => Some(Cause::Answered(kind, status)),
            },
            // The callback did not change the slot, so the result of the read stays as it was.
            // DbgHelp itself would use the count in the slot, which it does not initialise.
            Ask::VmPostRead {
                completed,
                status,
                answer,
                ..
            } => {
                if answer.status == Hresult::E_NOTIMPL && answer.completed == *completed {
                    answer.status = *status;
                }
                None
            }
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                status,
            } => {
                let range = AddressRange::at(*offset, u64::from(*bytes));
                if let (true, Hresult::S_OK, Some(range)) = (said, **status, range) {
                    let reason = format!("could not be read while writing ({failure}); left out");
                    let subject = dumpwright_target::Subject::Memory(range);
                    self.lost.push(Diagnostic::missing(subject, reason));
                }
                None
            }
            _ => None,
        };
        // Only the first cause counts; later ones are consequences of the failure.
        self.stopped_by = self.stopped_by.or(cause);
    }
}

impl Callback for Watched<'_> {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        self.before(&mut ask);
        let said = self.inner.ask(ask.reborrow());
        self.after(&mut ask, said);
        said
    }

    fn process(&mut self, process: ProcessAsked) {
        self.inner.process(process);
    }

    fn answers(&self) -> bool {
        self.inner.answers()
    }
}
