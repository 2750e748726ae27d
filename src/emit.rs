//! Writes a laid-out dump from front to back.
//!
//! This is the only place where reads of deferred memory, callbacks and output come together.

mod buckets;
mod compressed;

pub(crate) use buckets::Buckets;

use byteorder::{ByteOrder, LE};
use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Content, Diagnostic, Frozen, Subject};

use crate::capture::{Bytes, CapturedMemory, Piece};
use crate::memory::buffer::PageBuffer;
use crate::memory::reader::{self, Failures};
use crate::plan::{Layout, PlacedBlock, PlacedContent, narrow};
use crate::protocol::dialogue::Service;
use crate::sink::Sink;
use crate::streams::compressed_memory::CompressedHeader;
use crate::{Error, format};

/// The size of the buffer for deferred memory. Sizes between 256 KiB and 1 MiB were the fastest in
/// measurements; larger buffers do not fit into the processor's cache.
const BUFFER: u64 = 256 << 10;

/// The maximum number of bytes in one IoWriteAll. DbgHelp 6.3.9600 has the same limit.
const LARGEST_WRITE: usize = 64 << 10;

/// The maximum number of zeros that are appended at once while the target is frozen. They cost
/// nothing in a file, where they become a hole, and are written in a pipe.
const LARGEST_ZEROS: u64 = 64 << 10;

/// The bytes of gaps, for callbacks that have taken over the output.
static ZEROS: [u8; LARGEST_WRITE] = [0; LARGEST_WRITE];

/// The filler for deferred memory that could not be read. It is not zero, because zeros would look
/// like captured memory.
const FILL: u8 = 0xDD;

/// How many bytes are filled after the target was resumed. What follows becomes zeros, which take
/// no space in a file: a mapping of 32 GiB, most of it untouched, must not fill the disk because
/// its pages can no longer be listed.
const MOST_FILLED: u64 = 64 << 20;

/// Where the bytes of the dump go.
pub(crate) enum Destination<'s> {
    /// To a sink.
    Sink(&'s mut dyn Sink),
    /// To the callback, in IoWriteAll.
    Callback {
        /// The file handle that is passed to the callback.
        handle: u64,
    },
}

impl Destination<'_> {
    /// The maximum number of bytes that it gets at once while the target waits.
    fn largest_part(&self) -> usize {
        match self {
            Self::Sink(sink) => sink.largest_part(),
            Self::Callback { .. } => LARGEST_WRITE,
        }
    }
}

/// The output and the number of bytes that it has received.
struct DumpWriter<'o, 's> {
    output: &'o mut Destination<'s>,
    at: u64,
    /// One buffer for all pieces, because there can be tens of thousands. `None` before the first
    /// one.
    buffer: Option<PageBuffer>,
    /// The number of bytes that were filled because the target was resumed.
    filled: u64,
}

/// A frozen target, if the target is still frozen.
type StillFrozen<'h, 't> = Option<&'h mut (dyn Frozen + 't)>;

impl DumpWriter<'_, '_> {
    /// Appends bytes. A frozen target learns of each part that the output takes.
    fn append(
        &mut self,
        bytes: &[u8],
        frozen: StillFrozen<'_, '_>,
        service: &mut Service<'_>,
    ) -> Result<(), Error> {
        let Some(frozen) = frozen else {
            return self.append_all(bytes, service);
        };
        for part in bytes.chunks(self.output.largest_part()) {
            frozen.waits_for_output(true);
            let appended = self.append_all(part, service);
            frozen.waits_for_output(false);
            appended?;
        }
        Ok(())
    }

    fn append_all(&mut self, bytes: &[u8], service: &mut Service<'_>) -> Result<(), Error> {
        match self.output {
            Destination::Sink(sink) => sink
                .append(self.at, bytes)
                .map_err(|error| Error::output("write to", sink.path(), error))?,
            Destination::Callback { handle } => {
                for (index, part) in bytes.chunks(LARGEST_WRITE).enumerate() {
                    service.io_write_all(*handle, self.at + (index * LARGEST_WRITE) as u64, part)?;
                }
            }
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Replaces bytes that were appended before, once, with the output's or the callback's help.
    fn amend(
        &mut self,
        at: u64,
        bytes: &[u8],
        mut frozen: StillFrozen<'_, '_>,
        service: &mut Service<'_>,
    ) -> Result<(), Error> {
        if let Some(frozen) = &mut frozen {
            frozen.waits_for_output(true);
        }
        let amended = match self.output {
            Destination::Sink(sink) => sink
                .amend(at, bytes)
                .map_err(|error| Error::output("write to", sink.path(), error)),
            Destination::Callback { handle } => service.io_write_all(*handle, at, bytes),
        };
        if let Some(frozen) = &mut frozen {
            frozen.waits_for_output(false);
        }
        amended
    }

    fn append_zeros(
        &mut self,
        len: u64,
        frozen: StillFrozen<'_, '_>,
        service: &mut Service<'_>,
    ) -> Result<(), Error> {
        let Some(frozen) = frozen else {
            return self.append_all_zeros(len, service);
        };
        let mut left = len;
        while left > 0 {
            let part = left.min(LARGEST_ZEROS);
            frozen.waits_for_output(true);
            let appended = self.append_all_zeros(part, service);
            frozen.waits_for_output(false);
            appended?;
            left -= part;
        }
        Ok(())
    }

    fn append_all_zeros(&mut self, len: u64, service: &mut Service<'_>) -> Result<(), Error> {
        match self.output {
            Destination::Sink(sink) => sink
                .append_zeros(self.at, len)
                .map_err(|error| Error::output("write to", sink.path(), error))?,
            Destination::Callback { handle } => {
                let mut done = 0;
                while done < len {
                    let rest = usize::try_from(len - done).unwrap_or(LARGEST_WRITE);
                    let zeros = &ZEROS[..rest.min(LARGEST_WRITE)];
                    service.io_write_all(*handle, self.at + done, zeros)?;
                    done += zeros.len() as u64;
                }
            }
        }
        self.at += len;
        Ok(())
    }
}

/// The result of writing a dump.
pub(crate) struct Emitted {
    /// The number of bytes written.
    pub bytes: u64,
    /// The deferred memory that could not be read.
    pub lost: Vec<Diagnostic>,
    /// The compressed memory, if there is any.
    pub compressed: Option<CompressedStream>,
}

/// The finished CompressedMemoryStream.
pub(crate) struct CompressedStream {
    /// From its header to the end of the file.
    pub size: u64,
    /// What compression saved, in percent.
    pub rate: u32,
    /// The number of regions.
    pub regions: usize,
    /// The number of bytes of memory.
    pub plain_bytes: u64,
}

/// A range of deferred memory that could not be read, and the reason.
type Lost = (AddressRange, LossCause);

/// Why deferred memory could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum LossCause {
    /// A read failed.
    Read(Hresult),
    /// The target was resumed before, or its clone was ended. The text is the reason.
    Resumed(String),
    /// The same, after [`MOST_FILLED`] bytes.
    ResumedLongBefore(String),
}

impl LossCause {
    fn of(status: Hresult, frozen: &dyn Frozen) -> Self {
        frozen.resumed_early().map_or(Self::Read(status), Self::Resumed)
    }

    /// The number of the reason in the trailer.
    fn number(&self) -> u32 {
        match self {
            Self::Read(_) => 1,
            Self::Resumed(_) | Self::ResumedLongBefore(_) => 3,
        }
    }

    /// `is_absent` means that the dump has no bytes in its place.
    fn text(&self, is_absent: bool) -> String {
        let place = match self {
            _ if is_absent => "left out",
            Self::ResumedLongBefore(_) => "filled with zeros",
            Self::Read(_) | Self::Resumed(_) => "filled with 0xDD",
        };
        match self {
            Self::Read(status) => format!("could not be read while writing ({status}); {place}"),
            Self::Resumed(reason) | Self::ResumedLongBefore(reason) => {
                format!("not read, because {reason}; {place}")
            }
        }
    }
}

/// Writes the whole dump, from front to back.
///
/// `frozen` is needed only if there is deferred memory. Otherwise the caller has resumed the target
/// before.
///
/// # Panics
/// Panics if a piece is deferred and `frozen` is `None`.
pub(crate) fn emit(
    layout: &Layout<'_>,
    memory: &CapturedMemory,
    process_id: u32,
    mut frozen: Option<&mut dyn Frozen>,
    failures: Failures,
    service: &mut Service<'_>,
    output: &mut Destination<'_>,
) -> Result<Emitted, Error> {
    let mut writer = DumpWriter {
        output,
        at: 0,
        buffer: None,
        filled: 0,
    };
    let pieces = memory.pieces();
    let mut lost = Vec::new();
    let mut parts = layout.parts.iter();
    while let Some(part) = parts.next() {
        service.poll_cancel()?;
        let gap = part.offset - writer.at;
        if gap > 0 {
            writer.append_zeros(gap, still(&mut frozen), service)?;
        }
        match &part.content {
            PlacedContent::Bytes(bytes) => writer.append(bytes, still(&mut frozen), service)?,
            PlacedContent::Piece(index) => match (&pieces[*index].bytes, &mut frozen) {
                (Bytes::Fetched(bytes), frozen) => writer.append(bytes, still(frozen), service)?,
                (Bytes::Lost, _) => {}
                (Bytes::Deferred, Some(frozen)) => {
                    let mut range = pieces[*index].range;
                    // A callback is asked about each piece.
                    while !service.has_callback()
                        && let Some(joined) = joined(range, part.offset, parts.as_slice().first(), pieces)
                    {
                        range = joined;
                        parts.next();
                    }
                    deferred(&mut **frozen, range, failures, service, &mut writer, &mut lost)?;
                }
                (Bytes::Deferred, None) => {
                    unreachable!("a target with deferred memory stays frozen until it is written")
                }
            },
        }
    }
    assert_eq!(writer.at, layout.len, "the file is as long as its layout");
    let mut header = None;
    if let (Some(at), Some(compressed)) = (layout.reserved, memory.compressed()) {
        let source = compressed::CompressionSource {
            compressed,
            pieces,
            failures,
        };
        let appended = compressed::append(&source, &mut frozen, service, &mut writer, &mut lost)?;
        header = Some(CompressedHeader {
            process_id: process_id.into(),
            stream_offset: at,
            ..appended
        });
    }
    if !lost.is_empty() {
        writer.append(&trailer(&lost)?, still(&mut frozen), service)?;
    }
    let stream = match header {
        Some(mut header) => {
            let at = header.stream_offset;
            header.stream_size = writer.at - at;
            writer.amend(at, &format::bytes([header]), still(&mut frozen), service)?;
            Some(CompressedStream::of(&header))
        }
        None => None,
    };
    let lost = lost
        .into_iter()
        .map(|(range, cause)| Diagnostic::missing(Subject::Memory(range), cause.text(stream.is_some())))
        .collect();
    Ok(Emitted {
        bytes: writer.at,
        lost,
        compressed: stream,
    })
}

/// If `next` is a deferred piece that follows `range` both in memory and in the file, returns the
/// two together. `offset` is that of `range` in the file.
///
/// A program can have tens of thousands of adjacent mappings with different protection. They are
/// read with few system calls.
fn joined(
    range: AddressRange,
    offset: u64,
    next: Option<&PlacedBlock<'_>>,
    pieces: &[Piece],
) -> Option<AddressRange> {
    let next = next.filter(|next| next.offset == offset + range.len())?;
    let PlacedContent::Piece(index) = next.content else {
        return None;
    };
    let piece = &pieces[index];
    let follows = piece.range.start() == range.end() && matches!(piece.bytes, Bytes::Deferred);
    AddressRange::new(range.start(), piece.range.end()).filter(|_| follows)
}

impl CompressedStream {
    fn of(header: &CompressedHeader) -> Self {
        Self {
            size: header.stream_size,
            rate: u32::try_from(header.rate).expect("at most 100"),
            regions: usize::try_from(header.region_count).expect("they were in memory"),
            plain_bytes: header.plain_bytes,
        }
    }
}

fn still<'h, 't>(frozen: &'h mut Option<&mut (dyn Frozen + 't)>) -> StillFrozen<'h, 't> {
    frozen.as_mut().map(|frozen| &mut **frozen)
}

/// Reads a deferred piece and writes it, through the writer's buffer.
///
/// The piece was already surveyed when it was chosen. It is surveyed again here, one window at a
/// time, because touched and untouched pages may alternate: storing the result of the first survey
/// could need any amount of memory.
fn deferred(
    frozen: &mut dyn Frozen,
    range: AddressRange,
    failures: Failures,
    service: &mut Service<'_>,
    writer: &mut DumpWriter<'_, '_>,
    lost: &mut Vec<Lost>,
) -> Result<(), Error> {
    let buffer = writer.buffer.take();
    let len = usize::try_from(BUFFER).expect("small");
    // Nearly all deferred memory begins at a page.
    let mut buffer = buffer.unwrap_or_else(|| PageBuffer::new(0, len));
    // A callback that takes the Vm callback types gets every byte, also zeros that need no read.
    let see_all = service.wants_reads();
    for window in range.chunks(reader::SURVEY_WINDOW) {
        for extent in frozen.survey(window) {
            if extent.content == Content::Zero && !see_all {
                writer.append_zeros(extent.range.len(), Some(&mut *frozen), service)?;
                continue;
            }
            for chunk in extent.range.chunks(BUFFER) {
                service.poll_cancel()?;
                if writer.filled >= MOST_FILLED
                    && !see_all
                    && let Some(reason) = frozen.resumed_early()
                {
                    join(lost, chunk, LossCause::ResumedLongBefore(reason));
                    writer.append_zeros(chunk.len(), Some(&mut *frozen), service)?;
                    continue;
                }
                let bytes = &mut buffer[..usize::try_from(chunk.len()).expect("at most BUFFER")];
                for (range, status) in reader::read_or_lose(frozen, service, chunk, bytes, FILL, failures)? {
                    let cause = LossCause::of(status, frozen);
                    if matches!(cause, LossCause::Resumed(_)) {
                        writer.filled += range.len();
                    }
                    join(lost, range, cause);
                }
                writer.append(bytes, Some(&mut *frozen), service)?;
            }
        }
    }
    writer.buffer = Some(buffer);
    Ok(())
}

fn join(lost: &mut Vec<Lost>, range: AddressRange, cause: LossCause) {
    match lost.last_mut() {
        Some((last, why)) if last.end() == range.start() && *why == cause => {
            *last = AddressRange::new(last.start(), range.end()).expect("grew");
        }
        _ => lost.push((range, cause)),
    }
}

/// Returns the trailer: the list of deferred ranges that contain filler instead of memory. In a
/// dump with compressed memory, these ranges are absent.
///
/// The trailer comes after the last byte of memory. A stream cannot be there, because the offsets
/// of streams have 32 bits; readers ignore unknown bytes at the end of the file. All numbers are
/// little-endian:
///
/// | bytes | contents |
/// |---|---|
/// | 8 | `DWLOSSES` |
/// | 4 | version: 1 |
/// | 4 | number of ranges |
/// | 24 per range | start (8), length (8), reason (4; 1: a read failed, 3: the target was resumed, or its clone ended, before), 0 (4) |
/// | 8 | length of the whole trailer |
/// | 8 | `DWLOSEND` |
///
/// A reader finds the trailer by looking for `DWLOSEND` at the end of the file.
fn trailer(lost: &[Lost]) -> Result<Vec<u8>, Error> {
    const VERSION: u32 = 1;
    const HEAD: usize = 16;
    const ENTRY: usize = 24;
    const END: usize = 16;
    let len = HEAD + lost.len() * ENTRY + END;
    let mut bytes = vec![0; len];
    let (head, rest) = bytes.split_at_mut(HEAD);
    let (entries, end) = rest.split_at_mut(lost.len() * ENTRY);
    head[..8].copy_from_slice(b"DWLOSSES");
    LE::write_u32(&mut head[8..], VERSION);
    LE::write_u32(&mut head[12..], narrow(lost.len(), "the number of losses")?);
    for (entry, (range, cause)) in entries.chunks_exact_mut(ENTRY).zip(lost) {
        LE::write_u64(entry, range.start());
        LE::write_u64(&mut entry[8..], range.len());
        LE::write_u32(&mut entry[16..], cause.number());
    }
    LE::write_u64(end, len as u64);
    end[8..].copy_from_slice(b"DWLOSEND");
    Ok(bytes)
}
