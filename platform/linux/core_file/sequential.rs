//! Reads a pipe as a memory.

use std::io::{self, Read};

use dumpwright_target::{Fault, FaultKind, Memory};

/// The bytes of a stream, which can be read in ascending order only. The address of a byte is its
/// offset in the stream.
///
/// Nothing is read beyond what is requested, so the stream can be closed, or given to another
/// reader, after any request.
#[derive(Debug)]
pub(crate) struct FrontToBack<R> {
    stream: R,
    /// The number of bytes that have been taken from the stream.
    taken: u64,
}

impl<R: Read> FrontToBack<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, taken: 0 }
    }

    /// Skips the bytes before `at`. Returns `false` if the stream ends before.
    fn skip_to(&mut self, at: u64) -> io::Result<bool> {
        let distance = at - self.taken;
        let skipped = io::copy(&mut self.stream.by_ref().take(distance), &mut io::sink())?;
        self.taken += skipped;
        Ok(skipped == distance)
    }
}

impl<R: Read> Memory for FrontToBack<R> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        if into.is_empty() {
            return Ok(0);
        }
        let fault = |reason: String| {
            let operation = format!("read the stream at offset {at:#x}");
            Fault::new(FaultKind::Unreadable, operation, reason)
        };
        if at < self.taken {
            return Err(fault("these bytes have been read already".to_owned()));
        }
        let reached = self.skip_to(at).map_err(|error| fault(error.to_string()))?;
        if !reached {
            return Err(fault("it ends before this offset".to_owned()));
        }
        loop {
            match self.stream.read(into) {
                Ok(0) => return Err(fault("it ends before this offset".to_owned())),
                Ok(count) => {
                    self.taken += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(error.to_string())),
            }
        }
    }
}

/// What these tests would catch: bytes that are lost, read twice, or read too early.
#[cfg(test)]
mod tests {
    use dumpwright_target::MemoryExt;

    use super::*;

    #[test]
    fn bytes_are_read_once_and_in_their_order() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut stream = FrontToBack::new(&bytes[..]);
        assert_eq!(stream.up_to(0, 2), [0, 1]);
        assert_eq!(stream.up_to(2, 2), [2, 3], "directly behind");
        assert_eq!(stream.up_to(200, 1), [200], "after a gap");
        assert!(stream.array::<1>(200).is_err(), "it cannot go back");
        assert_eq!(stream.up_to(254, 4), [254, 255], "up to the end");
        assert!(stream.array::<1>(300).is_err());
    }

    #[test]
    fn nothing_is_read_ahead() {
        let bytes = [1, 2, 3, 4, 5];
        let mut rest = &bytes[..];
        assert_eq!(FrontToBack::new(&mut rest).up_to(1, 2), [2, 3]);
        assert_eq!(rest, [4, 5]);
    }
}
