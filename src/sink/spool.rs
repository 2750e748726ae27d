//! A sink that writes a dump into a spool.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use dumpwright_spool::{Admission, DumpFacts, Reservation, SpoolError};
use nix::sys::stat::fstat;

use super::{FileSink, Guardian, Sink};
use crate::Error;

/// A sink that writes a dump into a [`Spool`](crate::spool::Spool).
///
/// The dump is in the spool only after [`commit`](Self::commit). Before the file grows beyond its
/// [`Reservation`], the reservation grows; if there is no room for that, the dump fails.
#[derive(Debug)]
pub struct SpoolSink {
    file: FileSink,
    reservation: Reservation,
    /// The size of the whole dump, if the engine has announced it.
    announced: u64,
}

impl SpoolSink {
    /// Creates the file of a dump.
    ///
    /// # Errors
    /// See [`FileSink::create`].
    pub fn create(reservation: Reservation) -> Result<Self, Error> {
        let file = FileSink::create(reservation.path(), false);
        Self::new(reservation, file)
    }

    /// Does the same, with a guardian: see [`FileSink::create_guarded`].
    ///
    /// # Errors
    /// See [`FileSink::create_guarded`].
    pub fn create_guarded(reservation: Reservation, guardian: Guardian) -> Result<Self, Error> {
        let file = FileSink::create_guarded(reservation.path(), false, guardian);
        Self::new(reservation, file)
    }

    fn new(reservation: Reservation, file: Result<FileSink, Error>) -> Result<Self, Error> {
        match file {
            Ok(file) => Ok(Self {
                file,
                reservation,
                announced: 0,
            }),
            // The path is one that only this process understands.
            Err(Error::Output { source, .. }) => Err(Error::Output {
                operation: "create a dump in",
                path: Some(reservation.folder().to_owned()),
                source,
            }),
            Err(error) => Err(error),
        }
    }

    /// See [`FileSink::sync`].
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.file = self.file.sync(sync);
        self
    }

    /// See [`FileSink::is_private`].
    ///
    /// # Errors
    /// See [`FileSink::is_private`].
    pub fn is_private(&self) -> io::Result<bool> {
        self.file.is_private()
    }

    /// Returns the room that is reserved, and with it the name of the dump.
    #[must_use]
    pub fn reservation(&self) -> &Reservation {
        &self.reservation
    }

    /// Returns a path from which the finished dump can be read before it is in the spool, for
    /// example to make its signature. It is valid in this process, as long as this exists.
    #[must_use]
    pub fn readable_path(&self) -> PathBuf {
        let descriptor = self.file.as_fd().as_raw_fd();
        Path::new("/proc/self/fd").join(descriptor.to_string())
    }

    /// Puts the finished dump into the spool, or only counts it: see [`Reservation::commit`].
    ///
    /// # Errors
    /// See [`Reservation::commit`].
    pub fn commit(self, facts: &DumpFacts) -> Result<Admission, SpoolError> {
        let path = self.readable_path();
        let finished = File::open(&path).map_err(|source| SpoolError::System {
            operation: "read",
            path: self.reservation.folder().join(self.reservation.name()),
            source,
        })?;
        let file = self.file;
        let publish = || match file.publish() {
            Err(Error::Output { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
            Ok(()) => Ok(()),
        };
        self.reservation.commit(&finished, facts, publish)
    }

    /// Reserves room for a file of `end` bytes.
    fn reserve(&mut self, end: u64) -> io::Result<()> {
        if end <= self.reservation.bytes() {
            return Ok(());
        }
        let found = fstat(self.file.as_fd())?;
        // The unit of this field is 512 bytes: stat(2).
        let written = u64::try_from(found.st_blocks)
            .unwrap_or_default()
            .saturating_mul(512);
        let wished = match self.announced {
            announced if announced >= end => announced,
            // In steps, because each one locks the folder.
            _ => end.saturating_add((end / 4).max(1 << 20)),
        };
        let grown = match self.reservation.grow(wished, written) {
            Err(SpoolError::Full { .. }) if wished > end => self.reservation.grow(end, written),
            grown => grown,
        };
        grown.map_err(|error| {
            let kind = match error {
                SpoolError::Full { .. } => io::ErrorKind::StorageFull,
                _ => io::ErrorKind::Other,
            };
            io::Error::new(kind, error)
        })
    }
}

impl Sink for SpoolSink {
    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.reserve(at.saturating_add(bytes.len() as u64))?;
        self.file.append(at, bytes)
    }

    fn append_zeros(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.reserve(at.saturating_add(len))?;
        self.file.append_zeros(at, len)
    }

    fn largest_part(&self) -> usize {
        self.file.largest_part()
    }

    fn check_amend(&self) -> io::Result<()> {
        self.file.check_amend()
    }

    fn amend(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.amend(at, bytes)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.file.prepare()
    }

    fn announce(&mut self, total: u64) {
        self.announced = total;
        self.file.announce(total);
    }

    fn path(&self) -> Option<&Path> {
        Some(self.reservation.folder())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.file.finish()
    }
}
