//! Where a dump goes: append-only outputs.

#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
mod file;

#[cfg(all(feature = "file", any(target_os = "linux", windows)))]
pub use file::FileSink;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// An output that bytes are appended to.
///
/// A sink is told the offset with every piece, which is always what it has received so far: it
/// never has to go back. So a pipe, a socket or a compressor is as good as a file.
pub trait Sink {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// They cannot be stored; the dump fails with that reason.
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Takes the next `len` zero bytes; a file may leave a hole.
    ///
    /// # Errors
    /// As [`append`](Self::append).
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

    /// The file that it fills, if it is one: what an error names.
    fn path(&self) -> Option<&Path> {
        None
    }

    /// The file that it fills, for a writer that goes back and forth in it, as the system's DbgHelp does on Windows: still empty, to be
    /// filled instead of appending anything. `None` for whatever can only be appended to.
    fn lend_file(&mut self) -> Option<&File> {
        None
    }

    /// The dump is whole: stores what is still held back.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A dump in memory.
impl Sink for Vec<u8> {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        debug_assert_eq!(at, self.len() as u64, "a sink is only appended to");
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// A dump into anything that can be written to: a pipe, a socket, a compressor.
#[derive(Debug)]
pub struct StreamSink<W>(W);

impl<W: Write> StreamSink<W> {
    /// Appends to `output`. Small pieces are written as they come; wrap what is expensive to write to
    /// into a `BufWriter`.
    pub fn new(output: W) -> Self {
        Self(output)
    }

    /// What was written to.
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
