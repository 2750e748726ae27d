//! Dumps by the system's DbgHelp (`MiniDumpWriteDump`): of the same requests, with the same callbacks and into the same outputs as
//! [`dump`](crate::dump()) makes them.
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
use dumpwright_target::{AddressRange, Holding, Remark};

use super::backend::dbghelp::{Crash, Order, Refusal};
pub use super::backend::dbghelp::{DbgHelp, FileVersion, Process, Subject};
use crate::read::{Dump, ReadError};
use crate::report::Backend;
use crate::{DumpType, Error, Profile, Report, Request, Sink};

/// Dumps a process, or a snapshot of one, with this DbgHelp.
///
/// What only dumpwright can do, DbgHelp does not; such wishes of the request stand in the report as notes. A file is written by DbgHelp
/// itself. For any other output the dump passes through a temporary file, unless the callback takes over the output.
///
/// # Errors
/// There is no dump. What the sink has received is to be thrown away, which a `FileSink` does by itself.
///
/// # Panics
/// When the callback does; no panic passes through DbgHelp.
pub fn dump(
    dbghelp: &DbgHelp,
    subject: Subject<'_>,
    request: &Request,
    callback: Option<&mut dyn Callback>,
    sink: &mut dyn Sink,
) -> Result<Report, Error> {
    let started = Instant::now();
    let streams: Vec<_> = request
        .user_streams
        .iter()
        .map(|stream| (stream.stream_type, stream.bytes.as_slice()))
        .collect();
    let mut watched = callback.map(|inner| Watched::new(inner, request.file_handle.unwrap_or(0)));
    let output = Output::of(sink, request)?;
    let order = Order {
        subject,
        file: output.file().map(AsHandle::as_handle),
        dump_type: request.dump_type.bits(),
        exception: request.exception.as_ref().map(Crash::Told),
        user_streams: &streams,
    };
    let outcome = dbghelp.write_dump(
        order,
        watched.as_mut().map(|watched| watched as &mut dyn Callback),
    );
    let pause_began = watched.as_ref().and_then(|watched| watched.first_thread);
    let pause = pause_began.unwrap_or(started).elapsed();
    outcome.map_err(|refusal| error(refusal, watched.as_ref()))?;

    let mut report = Report {
        backend: Backend::DbgHelp {
            file: dbghelp.file().to_owned(),
            version: dbghelp.version().map(|version| version.to_string()),
        },
        dump_type: request.dump_type,
        bytes: 0,
        threads: 0,
        modules: 0,
        memory_ranges: 0,
        memory_bytes: 0,
        holding: Holding {
            hold: if subject.is_snapshot() { "clone" } else { "dbghelp" },
            pause: if subject.is_snapshot() {
                Duration::ZERO
            } else {
                pause
            },
        },
        elapsed: Duration::ZERO,
        remarks: notes(request),
    };
    match watched {
        Some(watched) if watched.has_output => watched.count(&mut report),
        watched => {
            if let Some(file) = output.file() {
                read_back(file, &mut report);
            }
            report
                .remarks
                .extend(watched.into_iter().flat_map(|watched| watched.lost));
            output.deliver(sink)?;
        }
    }
    report
        .remarks
        .sort_by_key(|remark| std::cmp::Reverse(remark.gravity));
    report.elapsed = started.elapsed();
    Ok(report)
}

/// The file that DbgHelp writes.
enum Output {
    /// That of the sink.
    OfSink(File),
    /// One that is gone when it is closed.
    Temporary(File),
    /// None: the callback is to take over.
    Nowhere,
}

impl Output {
    fn of(sink: &mut dyn Sink, request: &Request) -> Result<Self, Error> {
        if request.file_handle == Some(0) {
            return Ok(Self::Nowhere);
        }
        let file = match sink.lend_file() {
            Some(file) => file.try_clone().map(Self::OfSink),
            None => temporary().map(Self::Temporary),
        };
        file.map_err(|error| Error::output("create a temporary file for", sink.path(), error))
    }

    fn file(&self) -> Option<&File> {
        match self {
            Self::OfSink(file) | Self::Temporary(file) => Some(file),
            Self::Nowhere => None,
        }
    }

    /// Gives the sink what it has not got yet, and ends it.
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

/// A file for this program alone, in the user's own folder for such files, which goes when it is closed.
fn temporary() -> io::Result<File> {
    const FILE_FLAG_DELETE_ON_CLOSE: u32 = 0x0400_0000;
    let folder = std::env::temp_dir();
    for number in 0..1000 {
        let name = format!("dumpwright-{}-{number}.partial", std::process::id());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .share_mode(0)
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

/// Fills in what is in the dump.
fn read_back(file: &File, report: &mut Report) {
    let counted = || -> Result<_, ReadError> {
        let file = file.try_clone().map_err(|source| ReadError::Io {
            what: "the dump",
            offset: 0,
            length: 0,
            source,
        })?;
        let dump = Dump::from_file(file)?;
        let ranges = dump.memory_ranges()?;
        let bytes = ranges.iter().map(|range| range.size).sum();
        let flags = u32::try_from(dump.header().flags).unwrap_or(u32::MAX);
        Ok((
            DumpType::from_bits_retain(flags),
            dump.len(),
            dump.threads()?.len(),
            dump.modules()?.len(),
            ranges.len(),
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
        Err(error) => report.remarks.push(Remark::missing(
            dumpwright_target::Subject::Process,
            format!("what DbgHelp has written cannot be read: {error}"),
        )),
    }
}

/// What of the request DbgHelp has no way to be told.
fn notes(request: &Request) -> Vec<Remark> {
    let plain = Request::new(request.dump_type);
    let wishes = [
        (
            request.profile != Profile::default(),
            "it behaves as it does; profiles are dumpwright's",
        ),
        (
            request.thread_ex,
            "it decides itself whether threads are listed with their backing stores",
        ),
        (
            request.dont_dump,
            "programs cannot mark memory as not to be dumped on Windows",
        ),
        (
            request.fetch_limit != plain.fetch_limit,
            "it holds the process until all is written, whatever is to be kept meanwhile",
        ),
        (
            request.time.is_some(),
            "it writes its own time into the dump's header",
        ),
        (
            request.requesting_thread.is_some(),
            "it does not write down on whose behalf the dump is made",
        ),
        (
            request.process_handle.is_some(),
            "it shows the callback the process handle that it works with",
        ),
    ];
    let made = wishes.into_iter().filter(|(made, _)| *made);
    made.map(|(_, reason)| Remark::note(dumpwright_target::Subject::Process, format!("DbgHelp: {reason}")))
        .collect()
}

/// DbgHelp's failure in the words that dumpwright has for the same one.
fn error(refusal: Refusal, watched: Option<&Watched<'_>>) -> Error {
    let cause = watched.and_then(|watched| watched.stopped_by);
    match (refusal.status, cause) {
        (Hresult::CANCELLED, Some(Cause::Cancelled)) => Error::Cancelled,
        (Hresult::E_ABORT | Hresult::E_FAIL, Some(Cause::Declined(kind))) => Error::Aborted(kind),
        (failed, Some(Cause::Answered(ask, status))) if failed == status => Error::Refused { ask, status },
        (status, _) => Error::DbgHelp {
            status,
            fault: refusal.fault,
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

/// The callback, with what its answers mean for the report.
struct Watched<'c> {
    inner: &'c mut dyn Callback,
    /// What the callback is shown as the file's handle.
    file_handle: u64,
    /// When the first thread was about to be held.
    first_thread: Option<Instant>,
    /// The callback has taken over the output.
    has_output: bool,
    /// Up to where it has been written.
    end: u64,
    threads: usize,
    modules: usize,
    lost: Vec<Remark>,
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

    /// Fills in what is known of a dump that only the callback has seen.
    fn count(self, report: &mut Report) {
        (report.bytes, report.threads, report.modules) = (self.end, self.threads, self.modules);
        report.remarks.extend(self.lost);
        report.remarks.push(Remark::note(
            dumpwright_target::Subject::Process,
            "the callback has the output, so its memory is not counted here",
        ));
    }

    /// Looks at a question before it is answered, and puts aside what only DbgHelp shows.
    fn before(&mut self, ask: &mut Ask<'_>) {
        match ask {
            Ask::IncludeThread { .. } => {
                self.first_thread.get_or_insert_with(Instant::now);
            }
            Ask::IoStart { handle, .. } | Ask::IoWriteAll { handle, .. } | Ask::IoFinish { handle, .. } => {
                *handle = self.file_handle;
            }
            // What DbgHelp 6.3.9600 leaves in these slots is of other questions.
            Ask::VmQuery { answer, .. } => answer.region = MemoryInfo::default(),
            Ask::VmPostRead {
                completed, answer, ..
            } => answer.completed = *completed,
            _ => {}
        }
    }

    /// Looks at a question that was answered.
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
            // A slot that was left alone says nothing; DbgHelp would take its count.
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
                    self.lost.push(Remark::missing(subject, reason));
                }
                None
            }
            _ => None,
        };
        // The first one counts: what follows is that it ends.
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
