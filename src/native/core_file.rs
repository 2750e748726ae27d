//! Core files, which may be compressed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use dumpwright_target::{Fault, FaultKind, printable};

use super::CoreFile;
use crate::read::is_compressed;

/// Opens a core file. It may be compressed with zstd, as systemd-coredump stores cores; then it is
/// decompressed into a temporary file ([`CoreFile::from_stream`]).
///
/// ```no_run
/// use std::path::Path;
/// use dumpwright::{DumpType, FileSink, Request, dump, native};
///
/// let mut core = native::core_file(Path::new("core"))?;
/// let mut request = Request::new(DumpType::NORMAL);
/// if let Some(exception) = core.exception() {
///     request = request.exception(exception);
/// }
/// let mut file = FileSink::create(Path::new("crash.dmp"), false)?;
/// dump(&mut core, &request, None, &mut file)?;
/// file.publish()?;
/// # Ok::<(), dumpwright::Error>(())
/// ```
///
/// # Errors
/// As for [`CoreFile::open`]. If it is compressed, also as for [`CoreFile::from_stream`], or this
/// build of dumpwright does not support zstd.
pub fn core_file(path: &Path) -> Result<CoreFile, Fault> {
    let file = CoreFile::regular_file(path)?;
    of_regular(file, &path.display().to_string())
}

/// Uses a core that is open for reading: a regular file, all of which is used, or a pipe, which is
/// read to its end and stored in a temporary file ([`CoreFile::from_stream`]). Either may be
/// compressed with zstd. `name` is its name in errors.
///
/// # Errors
/// As for [`core_file`].
pub fn core_stream(file: File, name: &str) -> Result<CoreFile, Fault> {
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return of_regular(file, name);
    }
    let mut stream = file;
    let mut start = Vec::new();
    stream
        .by_ref()
        .take(MAGIC as u64)
        .read_to_end(&mut start)
        .map_err(|error| unreadable(name, &error))?;
    let is_compressed = is_compressed(&start);
    let whole = io::Read::chain(&start[..], stream);
    match is_compressed {
        true => decompressed(whole, name),
        false => CoreFile::from_stream(whole, name),
    }
}

/// The number of bytes that tell whether a file is compressed.
const MAGIC: usize = 4;

fn of_regular(file: File, name: &str) -> Result<CoreFile, Fault> {
    let mut start = [0; MAGIC];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) if is_compressed(&start) => decompressed(file, name),
        // A file that is too short is refused with the reason.
        _ => CoreFile::from_file(file, name),
    }
}

#[cfg(feature = "zstd")]
fn decompressed(compressed: impl Read, name: &str) -> Result<CoreFile, Fault> {
    let decoder = zstd::stream::read::Decoder::new(compressed).map_err(|error| unreadable(name, &error))?;
    CoreFile::from_stream(decoder, name)
}

#[cfg(not(feature = "zstd"))]
fn decompressed(_: impl Read, name: &str) -> Result<CoreFile, Fault> {
    let reason = "it is compressed, and this build of dumpwright does not support zstd";
    let fault = Fault::new(FaultKind::Unsupported, operation(name), reason);
    Err(fault.advise("decompress it with zstd -d"))
}

fn unreadable(name: &str, error: &io::Error) -> Fault {
    Fault::new(FaultKind::System, operation(name), error.to_string())
}

fn operation(name: &str) -> String {
    format!("read the core {}", printable(name))
}
