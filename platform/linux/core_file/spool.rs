//! Stores a stream in a file without a name.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// The number of bytes that are read at once, and the size of the pieces that may become holes.
const CHUNK: usize = 1 << 20;
const HOLE: usize = 4096;

/// A stream that was stored.
#[derive(Debug)]
pub(super) struct SpooledStream {
    pub(super) file: File,
    /// Why the stream ended early, if it did.
    pub(super) ended: Option<io::Error>,
}

/// Returns the folder for such files: that of the variable `TMPDIR`, or else `/var/tmp`, because
/// `/tmp` is often in memory, and a core may be larger than that. `/tmp` is used if there is no
/// `/var/tmp`.
pub(super) fn folder() -> PathBuf {
    const LARGE: &str = "/var/tmp";
    let chosen = std::env::var_os("TMPDIR").filter(|chosen| !chosen.is_empty());
    match chosen {
        Some(chosen) => chosen.into(),
        None if Path::new(LARGE).is_dir() => LARGE.into(),
        None => std::env::temp_dir(),
    }
}

/// Stores all bytes of a stream in a file in `folder` that has no name and only its owner may read.
/// Pages of zeros become holes: cores have many, and their pipes have no holes.
///
/// # Errors
/// The file cannot be created or written.
pub(super) fn store(mut stream: impl Read, folder: &Path) -> io::Result<SpooledStream> {
    let mut file = nameless(folder)?;
    let mut buffer = vec![0; CHUNK];
    let mut len = 0;
    let ended = loop {
        let (filled, ended) = fill(&mut stream, &mut buffer);
        for piece in buffer[..filled].chunks(HOLE) {
            if piece.iter().all(|byte| *byte == 0) {
                file.seek(SeekFrom::Current(piece.len() as i64))?;
            } else {
                file.write_all(piece)?;
            }
        }
        len += filled as u64;
        if ended.is_some() || filled < buffer.len() {
            break ended;
        }
    };
    file.set_len(len)?;
    Ok(SpooledStream { file, ended })
}

/// Fills the buffer, or reads to the end of the stream.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

/// Creates a file without a name.
fn nameless(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    let created = options
        .clone()
        .custom_flags(libc::O_TMPFILE | libc::O_EXCL)
        .open(folder);
    match created {
        // The file system cannot do this, or the kernel is older than 3.11.
        Err(error) if [Errno::EOPNOTSUPP, Errno::EISDIR, Errno::ENOENT].contains(&errno_of(&error)) => {
            let name = format!(".dumpwright-core-{}-{:x}", std::process::id(), random());
            let path = folder.join(name);
            let file = options.create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        created => created,
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// Returns a number that other programs do not guess. `create_new` refuses a name that exists, so
/// it need not be unique.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// What these tests would catch: bytes that differ from those of the stream, zeros that take disk
/// space, a file that others can read or find, and a reader's error that is lost.
#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_bytes_are_stored_and_zeros_are_holes() {
        let mut bytes = vec![0; (4 << 20) + 17];
        bytes[5] = 1;
        bytes[3 << 20] = 2;
        bytes[(4 << 20) + 3] = 3;
        let mut stored = store(&bytes[..], &folder()).expect("stored");
        assert!(stored.ended.is_none());
        let metadata = stored.file.metadata().expect("open");
        assert_eq!((metadata.len(), metadata.nlink()), (bytes.len() as u64, 0));
        assert_eq!(metadata.mode() & 0o777, 0o600);
        assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
        let mut read = Vec::new();
        stored.file.seek(SeekFrom::Start(0)).expect("seekable");
        stored.file.read_to_end(&mut read).expect("readable");
        assert!(read == bytes);
    }

    #[test]
    fn zeros_at_the_end_count() {
        let stored = store(&[0; 10_000][..], &folder()).expect("stored");
        assert_eq!(stored.file.metadata().expect("open").len(), 10_000);
    }

    #[test]
    fn an_error_of_the_stream_ends_it() {
        struct Breaks(u8);
        impl Read for Breaks {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                into[0] = self.0;
                match self.0 {
                    4 => Err(io::Error::other("the frame is corrupt")),
                    _ => Ok(1),
                }
            }
        }
        let stored = store(Breaks(0), &folder()).expect("stored");
        assert_eq!(stored.file.metadata().expect("open").len(), 3);
        assert_eq!(
            stored.ended.expect("reported").to_string(),
            "the frame is corrupt"
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        assert!(store(&b"bytes"[..], Path::new("/nowhere/at/all")).is_err());
    }
}
