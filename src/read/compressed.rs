//! Dumps that are compressed with zstd.

use super::error::ReadError;
use super::source::ByteSource;

/// The magic number of a zstd frame (RFC 8878, section 3.1.1).
const FRAME_MAGIC: u32 = 0xFD2F_B528;

/// The magic numbers of skippable frames are this one and the 15 after it (RFC 8878, section
/// 3.1.2).
const FIRST_SKIPPABLE_MAGIC: u32 = 0x184D_2A50;

/// Returns whether a file that starts with these bytes is compressed with zstd.
pub(crate) fn is_compressed(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|magic| {
        let magic = u32::from_le_bytes(*magic);
        magic == FRAME_MAGIC || magic & !0xF == FIRST_SKIPPABLE_MAGIC
    })
}

/// Returns a source of the decompressed bytes.
#[cfg(feature = "zstd")]
pub(super) fn decompressed(source: Box<dyn ByteSource>) -> Result<Box<dyn ByteSource>, ReadError> {
    Ok(Box::new(seekable::SeekableSource::open(source)?))
}

/// Refuses the file.
#[cfg(not(feature = "zstd"))]
pub(super) fn decompressed(_: Box<dyn ByteSource>) -> Result<Box<dyn ByteSource>, ReadError> {
    let reason = "this build of dumpwright does not support zstd; decompress the file with zstd -d";
    Err(ReadError::Compressed {
        reason: reason.to_owned(),
    })
}

/// zstd's [seekable format]: frames that are independent of each other, and a table of their sizes
/// in a skippable frame at the end of the file.
///
/// [seekable format]: https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
#[cfg(feature = "zstd")]
mod seekable {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use zstd::bulk::Decompressor;

    use super::super::fields::FieldReader;
    use super::{ByteSource, ReadError};

    /// The magic number of the skippable frame with the table.
    const TABLE_MAGIC: u32 = 0x184D_2A5E;

    /// The magic number at the end of the table.
    const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;

    /// The sizes of the skippable frame's header and of the table's footer in bytes.
    const TABLE_HEADER: u64 = 8;
    const FOOTER: u64 = 9;

    /// The maximum number of frames. Each takes 16 bytes of memory. With frames of 1 MiB, as
    /// dumpwright writes them, the dump may have 8 TiB.
    const MOST_FRAMES: u64 = 1 << 23;

    /// The maximum size of a decompressed frame. dumpwright and zeekstd write frames of 1 and 2
    /// MiB.
    const LARGEST_FRAME: u32 = 16 << 20;

    /// The size up to which decompressed frames are kept, and their maximum number.
    const CACHE: usize = LARGEST_FRAME as usize;
    const MOST_CACHED: usize = 64;

    /// A source of the decompressed bytes. Only the frames that are needed are read.
    pub(super) struct SeekableSource {
        compressed: Box<dyn ByteSource>,
        /// The starts of all frames, and the end of the last one.
        starts: Vec<FrameStart>,
        cache: Mutex<FrameCache>,
    }

    /// Where a frame starts.
    #[derive(Clone, Copy)]
    struct FrameStart {
        /// In the decompressed bytes.
        plain: u64,
        /// In the compressed file.
        compressed: u64,
    }

    #[derive(Default)]
    struct FrameCache {
        /// The numbers of frames, with their decompressed bytes. The most recently used frame is
        /// the first one.
        frames: VecDeque<(usize, Vec<u8>)>,
        decompressor: Decompressor<'static>,
        /// A compressed frame.
        buffer: Vec<u8>,
    }

    impl SeekableSource {
        pub(super) fn open(compressed: Box<dyn ByteSource>) -> Result<Self, ReadError> {
            let starts = read_table(&*compressed)?;
            Ok(Self {
                compressed,
                starts,
                cache: Mutex::default(),
            })
        }

        /// Returns the number of the frame with this byte, which must be before the end.
        fn frame_at(&self, offset: u64) -> usize {
            // Of several frames that start there, only the last one has bytes.
            self.starts.partition_point(|start| start.plain <= offset) - 1
        }
    }

    impl ByteSource for SeekableSource {
        fn len(&self) -> u64 {
            self.starts.last().map_or(0, |end| end.plain)
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            let end = offset.checked_add(into.len() as u64);
            if end.is_none_or(|end| end > self.len()) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            // A panic leaves it as valid as it was: frames are added as a whole.
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rest = into;
            let mut at = offset;
            while !rest.is_empty() {
                let number = self.frame_at(at);
                let (start, end) = (self.starts[number], self.starts[number + 1]);
                let frame = cache.frame(&*self.compressed, number, start, end)?;
                let found = &frame[(at - start.plain) as usize..];
                let (now, later) = rest.split_at_mut(found.len().min(rest.len()));
                now.copy_from_slice(&found[..now.len()]);
                at += now.len() as u64;
                rest = later;
            }
            Ok(())
        }
    }

    impl FrameCache {
        /// Returns the bytes of a frame. Reads and decompresses it if it is not in the cache.
        fn frame(
            &mut self,
            source: &dyn ByteSource,
            number: usize,
            start: FrameStart,
            end: FrameStart,
        ) -> io::Result<&[u8]> {
            let found = self.frames.iter().position(|(kept, _)| *kept == number);
            let frame = match found.and_then(|at| self.frames.remove(at)) {
                Some(frame) => frame,
                None => (number, self.decompress(source, number, start, end)?),
            };
            self.frames.push_front(frame);
            Ok(&self.frames[0].1)
        }

        fn decompress(
            &mut self,
            source: &dyn ByteSource,
            number: usize,
            start: FrameStart,
            end: FrameStart,
        ) -> io::Result<Vec<u8>> {
            let size = (end.plain - start.plain) as usize;
            let mut plain = self.make_room(size);
            plain.clear();
            plain.resize(size, 0);
            self.buffer
                .resize((end.compressed - start.compressed) as usize, 0);
            source.read_at(start.compressed, &mut self.buffer)?;
            let reason = match self
                .decompressor
                .decompress_to_buffer(&self.buffer, &mut plain[..])
            {
                Ok(got) if got == size => return Ok(plain),
                Ok(got) => {
                    format!("it has {got} bytes instead of the {size} that the table of frames states")
                }
                Err(error) => error.to_string(),
            };
            let text = format!(
                "the compressed frame {number} at offset {:#x} of the compressed file is damaged: {reason}",
                start.compressed
            );
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }

        /// Removes frames until one of `size` bytes fits. Returns a buffer, possibly one of theirs.
        fn make_room(&mut self, size: usize) -> Vec<u8> {
            let mut kept: usize = self.frames.iter().map(|(_, bytes)| bytes.len()).sum();
            let mut buffer = Vec::new();
            while (kept + size > CACHE || self.frames.len() >= MOST_CACHED)
                && let Some((_, bytes)) = self.frames.pop_back()
            {
                kept -= bytes.len();
                buffer = bytes;
            }
            // A buffer of another size would be one that is larger than counted.
            if buffer.capacity() == size {
                buffer
            } else {
                Vec::new()
            }
        }
    }

    /// Reads the seek table. Returns the starts of all frames, and the end of the last one.
    fn read_table(source: &dyn ByteSource) -> Result<Vec<FrameStart>, ReadError> {
        let damaged = |reason: String| ReadError::Compressed {
            reason: format!("its table of frames is malformed: {reason}"),
        };
        let read = |offset, into: &mut [u8]| {
            let length = into.len() as u64;
            source.read_at(offset, into).map_err(|source| ReadError::Io {
                what: "the table of frames",
                offset,
                length,
                source,
            })
        };
        let mut footer = [0; FOOTER as usize];
        let footer_at = source.len().checked_sub(FOOTER);
        if let Some(at) = footer_at {
            read(at, &mut footer)?;
        }
        let fields = FieldReader(&footer);
        let (frames, descriptor) = (u64::from(fields.u32(0)), footer[4]);
        if fields.u32(5) != SEEKABLE_MAGIC {
            return Err(ReadError::Compressed {
                reason:
                    "it has no table of frames at its end: it is truncated, or was compressed by another program; \
                         try to decompress it with zstd -d"
                        .to_owned(),
            });
        }
        // Bit 7 states that there are checksums, bits 0 and 1 have no meaning, and the others are
        // reserved.
        if descriptor & 0b0111_1100 != 0 {
            return Err(damaged(format!(
                "its descriptor is {descriptor:#x}, which this reader does not know"
            )));
        }
        if frames > MOST_FRAMES {
            return Err(damaged(format!(
                "it has {frames} frames; the reader supports at most {MOST_FRAMES}"
            )));
        }
        let entry = if descriptor >> 7 == 0 { 8 } else { 12 };
        let size = frames * entry + FOOTER;
        let table_at = source.len().checked_sub(TABLE_HEADER + size);
        let Some(table_at) = table_at else {
            return Err(damaged(format!("{frames} entries do not fit into the file")));
        };
        let mut header = [0; TABLE_HEADER as usize];
        read(table_at, &mut header)?;
        let fields = FieldReader(&header);
        if (fields.u32(0), u64::from(fields.u32(4))) != (TABLE_MAGIC, size) {
            return Err(damaged(format!(
                "there is no frame for its {frames} entries at offset {table_at:#x}"
            )));
        }
        let mut starts = Vec::new();
        let count = frames as usize + 1;
        starts
            .try_reserve_exact(count)
            .map_err(|_| ReadError::OutOfMemory {
                what: "the table of frames",
                offset: table_at,
                length: (count * size_of::<FrameStart>()) as u64,
            })?;
        let mut end = FrameStart {
            plain: 0,
            compressed: 0,
        };
        let mut entries = Vec::new();
        /// The number of entries that are read at once.
        const WINDOW: u64 = 4096;
        for first in (0..frames).step_by(WINDOW as usize) {
            let window = WINDOW.min(frames - first);
            entries.resize((window * entry) as usize, 0);
            read(table_at + TABLE_HEADER + first * entry, &mut entries)?;
            for (number, entry) in (first..).zip(entries.chunks_exact(entry as usize)) {
                let (compressed, plain) = (FieldReader(entry).u32(0), FieldReader(entry).u32(4));
                if let Err(reason) = can_be(compressed, plain) {
                    return Err(damaged(format!(
                        "frame {number} has {compressed} bytes, {plain} bytes after decompression; {reason}"
                    )));
                }
                starts.push(end);
                end.compressed += u64::from(compressed);
                end.plain += u64::from(plain);
            }
        }
        if end.compressed != table_at {
            return Err(damaged(format!(
                "its frames have {} bytes, but the file has {table_at} before the table",
                end.compressed
            )));
        }
        starts.push(end);
        Ok(starts)
    }

    /// Returns the reason if a frame cannot have these sizes, or if it would take too much memory.
    fn can_be(compressed: u32, plain: u32) -> Result<(), String> {
        // The smallest frame header has 6 bytes. A block has at most 128 KiB, and at least 4 bytes
        // (RFC 8878, sections 3.1.1.1 and 3.1.1.2).
        const HEADER: u32 = 6;
        const BLOCK: u32 = 128 << 10;
        const SMALLEST_BLOCK: u32 = 4;
        if plain > LARGEST_FRAME {
            return Err(format!(
                "the reader supports frames of at most {LARGEST_FRAME} bytes; try to decompress the file with zstd -d"
            ));
        }
        // zstd stores a block that it cannot compress with 3 more bytes. The limit leaves room for
        // small blocks.
        let most = plain + plain / 8 + (64 << 10);
        if plain > 0 && compressed > most {
            return Err(format!("it should have at most {most} compressed bytes"));
        }
        if plain > 0 && compressed < HEADER + plain.div_ceil(BLOCK) * SMALLEST_BLOCK {
            return Err("so few bytes cannot be decompressed to so many".to_owned());
        }
        Ok(())
    }
}
