//! Outputs for the bytes of a dump. They are appended to; [`Sink::amend`] is the one exception.

#[cfg(feature = "zstd")]
mod compressed;
#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
mod file;
#[cfg(all(feature = "spool", target_os = "linux"))]
mod spool;

#[cfg(feature = "zstd")]
pub use compressed::CompressedSink;
#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
pub use file::FileSink;
#[cfg(all(feature = "file", target_os = "linux"))]
pub use file::Guardian;
#[cfg(all(feature = "spool", target_os = "linux"))]
pub use spool::SpoolSink;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::Error;

/// An output to which the bytes of a dump are appended.
///
/// Each call passes the offset of its bytes, which always equals the number of bytes passed so far.
/// A sink never has to seek, so a pipe, a socket or a compressor can be used as well as a file.
///
/// Only dumps with compressed memory
/// ([`WITH_MEMORY_COMPRESSED`](crate::DumpType::WITH_MEMORY_COMPRESSED)) need more: their header is
/// appended as zeros and written at the end, by one call of [`amend`](Self::amend).
pub trait Sink {
    /// Appends bytes.
    ///
    /// # Errors
    /// If the bytes cannot be stored. The dump then fails with this error.
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Appends `len` zero bytes. A file may leave a hole.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        let zeros = [0; 4096];
        let mut left = len;
        let mut at = at;
        while left > 0 {
            let count = zeros.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.append(at, &zeros[..count])?;
            at += count as u64;
            left -= count as u64;
        }
        Ok(())
    }

    /// Returns the maximum number of bytes that [`append`](Self::append) gets at once while the
    /// target waits for the output. If the output does not take that many in the time that the
    /// target may wait, it counts as stalled.
    fn largest_part(&self) -> usize {
        64 << 10
    }

    /// Returns whether bytes that were appended can be written again. Called before the target is
    /// suspended, if the dump needs it.
    ///
    /// # Errors
    /// With [`io::ErrorKind::Unsupported`], which is the default, if the output can only be
    /// appended to. With another error if it cannot be written to at all.
    fn check_amend(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Replaces bytes that were appended before. Called at most once, after the last call of
    /// [`append`](Self::append), and only if [`check_amend`](Self::check_amend) has succeeded.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let _ = (at, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Prepares the output. Called once, before the target is suspended, unless the callback takes
    /// over the output.
    ///
    /// # Errors
    /// If the output cannot store a dump, as far as this is known now. The target is then not
    /// suspended.
    fn prepare(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Learns how many bytes will be appended. Called at most once, before the first byte. A sink
    /// that shows progress needs this; the target is suspended, so it must return at once.
    ///
    /// DbgHelp does not know the number in advance, and this is not called for its dumps.
    fn announce(&mut self, total: u64) {
        let _ = total;
    }

    /// Returns the path of the file, if the sink is one. Errors name it.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// Returns the file, for a writer that seeks in it, as the system's DbgHelp does on Windows.
    /// The file is still empty, and the writer fills it in place of [`append`](Self::append).
    /// Returns `None` if the output can only be appended to.
    fn lend_file(&mut self) -> Option<&File> {
        None
    }

    /// Finishes the output after the last byte of the dump: stores everything that is still
    /// buffered.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Stores the dump in memory.
impl Sink for Vec<u8> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(at, self.len() as u64, "a sink is only appended to");
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn check_amend(&self) -> io::Result<()> {
        Ok(())
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(at).ok();
        let place = start.and_then(|start| self.get_mut(start..)?.get_mut(..bytes.len()));
        place.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// A sink that writes the dump to any [`Write`]: a pipe, a socket, a compressor.
#[derive(Debug)]
pub struct StreamSink<W>(W);

impl<W: Write> StreamSink<W> {
    /// Creates a sink that appends to `output`. Small pieces are written separately; use a
    /// `BufWriter` if each write is expensive.
    pub fn new(output: W) -> Self {
        Self(output)
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.0
    }
}

impl<W: Write> Sink for StreamSink<W> {
    fn append(&mut self, _: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
