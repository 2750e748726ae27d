//! Layout → bytes, in order: the one loop that holds reader, dialogue and output.

use std::io;

use byteorder::{LE, WriteBytesExt};
use dumpwright_callback::Hresult;
use dumpwright_target::{AddressRange, Content, Frozen, Remark, Subject};

use crate::Error;
use crate::capture::{Bytes, Piece};
use crate::memory::reader;
use crate::plan::{Layout, PlacedContent};
use crate::protocol::dialogue::Service;
use crate::sink::Sink;

/// Promised memory passes through a buffer of this size. Between 256 KiB and 1 MiB was fastest when
/// measured; larger ones fall out of the processor's cache.
const BUFFER: u64 = 256 << 10;

/// No single IoWriteAll carries more; DbgHelp 6.3.9600 has the same limit.
const LARGEST_WRITE: usize = 64 << 10;

/// What stands for memory that was promised and could not be read; never zero, which would pass for
/// captured.
const FILL: u8 = 0xDD;

/// Where the bytes of the dump go.
pub(crate) enum Output<'s> {
    /// To a sink.
    Sink(&'s mut dyn Sink),
    /// To the callback, as IoWriteAll.
    Callback {
        /// The file handle that the callback is shown.
        handle: u64,
    },
}

/// The output with its position, which is always what it has received.
struct Writer<'o, 's> {
    output: &'o mut Output<'s>,
    at: u64,
}

impl Writer<'_, '_> {
    fn append(&mut self, bytes: &[u8], service: &mut Service<'_>) -> Result<(), Error> {
        match self.output {
            Output::Sink(sink) => sink
                .append(self.at, bytes)
                .map_err(|error| Error::output("write to", sink.path(), error))?,
            Output::Callback { handle } => {
                for (index, part) in bytes.chunks(LARGEST_WRITE).enumerate() {
                    service.io_write_all(*handle, self.at + (index * LARGEST_WRITE) as u64, part)?;
                }
            }
        }
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn append_zeros(&mut self, len: u64, service: &mut Service<'_>) -> Result<(), Error> {
        match self.output {
            Output::Sink(sink) => sink
                .append_zeros(self.at, len)
                .map_err(|error| Error::output("write to", sink.path(), error))?,
            Output::Callback { handle } => {
                let zeros = vec![0; LARGEST_WRITE.min(usize::try_from(len).unwrap_or(LARGEST_WRITE))];
                let mut done = 0;
                while done < len {
                    let count = zeros
                        .len()
                        .min(usize::try_from(len - done).unwrap_or(zeros.len()));
                    service.io_write_all(*handle, self.at + done, &zeros[..count])?;
                    done += count as u64;
                }
            }
        }
        self.at += len;
        Ok(())
    }
}

/// What came of writing.
pub(crate) struct Emitted {
    /// Bytes written.
    pub bytes: u64,
    /// What had been promised and could not be read.
    pub lost: Vec<Remark>,
}

/// What happens when memory that was promised cannot be read.
#[derive(Clone, Copy)]
pub(crate) struct Failures {
    /// The callback is asked whether the dump goes on.
    pub are_asked_about: bool,
    /// Where nobody is asked, the dump fails; otherwise the page is filled and reported.
    pub are_errors: bool,
}

/// Writes the file front to back.
///
/// `frozen` is needed for promised memory only; the caller has let the target go before if there is
/// none.
pub(crate) fn emit(
    layout: &Layout<'_>,
    pieces: &[Piece],
    mut frozen: Option<&mut dyn Frozen>,
    failures: Failures,
    service: &mut Service<'_>,
    output: &mut Output<'_>,
) -> Result<Emitted, Error> {
    let mut writer = Writer { output, at: 0 };
    let mut lost = Vec::new();
    for part in &layout.parts {
        service.poll_cancel()?;
        let gap = part.offset - writer.at;
        if gap > 0 {
            writer.append_zeros(gap, service)?;
        }
        match &part.content {
            PlacedContent::Bytes(bytes) => writer.append(bytes, service)?,
            PlacedContent::Piece(index) => match (&pieces[*index].bytes, &mut frozen) {
                (Bytes::Fetched(bytes), _) => writer.append(bytes, service)?,
                (Bytes::Lost, _) => {}
                (Bytes::Promised, Some(frozen)) => {
                    let range = pieces[*index].range;
                    promised(&mut **frozen, range, failures, service, &mut writer, &mut lost)?;
                }
                (Bytes::Promised, None) => {
                    unreachable!("a target with promised memory is held until it is written")
                }
            },
        }
    }
    assert_eq!(writer.at, layout.len, "the layout is the file");
    if !lost.is_empty() {
        writer.append(&trailer(&lost), service)?;
    }
    let lost = lost
        .into_iter()
        .map(|(range, status)| {
            Remark::missing(
                Subject::Memory(range),
                format!("could not be read while writing ({status}); filled with 0xDD"),
            )
        })
        .collect();
    Ok(Emitted {
        bytes: writer.at,
        lost,
    })
}

/// Reads a promised piece and writes it, through one buffer.
fn promised(
    frozen: &mut dyn Frozen,
    range: AddressRange,
    failures: Failures,
    service: &mut Service<'_>,
    writer: &mut Writer<'_, '_>,
    lost: &mut Vec<(AddressRange, Hresult)>,
) -> Result<(), Error> {
    let mut buffer = vec![0; usize::try_from(BUFFER).expect("small")];
    // With Vm questions the callback wants to see every byte, also those that need no reading.
    let see_all = service.wants_reads();
    for window in range.chunks(reader::SURVEY_WINDOW) {
        for extent in frozen.survey(window) {
            if extent.content == Content::Zero && !see_all {
                writer.append_zeros(extent.range.len(), service)?;
                continue;
            }
            for chunk in extent.range.chunks(BUFFER) {
                service.poll_cancel()?;
                let bytes = &mut buffer[..usize::try_from(chunk.len()).expect("at most BUFFER")];
                if let Err(status) = reader::read(frozen, service, chunk, bytes) {
                    let answer = match failures.are_asked_about {
                        true => service.read_memory_failure(chunk, status),
                        false => None,
                    };
                    if answer == Some(false) || answer.is_none() && failures.are_errors {
                        return Err(Error::Unreadable { range: chunk, status });
                    }
                    join(lost, reader::read_pages(frozen, service, chunk, bytes, FILL));
                }
                writer.append(bytes, service)?;
            }
        }
    }
    Ok(())
}

fn join(lost: &mut Vec<(AddressRange, Hresult)>, more: Vec<(AddressRange, Hresult)>) {
    for (range, status) in more {
        match lost.last_mut() {
            Some((last, why)) if last.end() == range.start() && *why == status => {
                *last = AddressRange::new(last.start(), range.end()).expect("grew");
            }
            _ => lost.push((range, status)),
        }
    }
}

/// The list of promised ranges that hold filling instead of memory.
///
/// It stands behind the last byte of memory, where no stream can be (their offsets have 32 bits) and where
/// readers accept what they do not know: `DWLOSSES`, version, count, then start, length, reason and 0 of
/// each range, then the trailer's own length and `DWLOSEND`, which is what to look for at the end of
/// a file. Reason 1: a read failed.
fn trailer(lost: &[(AddressRange, Hresult)]) -> Vec<u8> {
    const VERSION: u32 = 1;
    const READ_FAILED: u32 = 1;
    let write = || -> io::Result<Vec<u8>> {
        let mut bytes = b"DWLOSSES".to_vec();
        bytes.write_u32::<LE>(VERSION)?;
        bytes.write_u32::<LE>(u32::try_from(lost.len()).unwrap_or(u32::MAX))?;
        for (range, _) in lost.iter().take(u32::MAX as usize) {
            bytes.write_u64::<LE>(range.start())?;
            bytes.write_u64::<LE>(range.len())?;
            bytes.write_u32::<LE>(READ_FAILED)?;
            bytes.write_u32::<LE>(0)?;
        }
        let len = bytes.len() as u64 + 16;
        bytes.write_u64::<LE>(len)?;
        bytes.extend_from_slice(b"DWLOSEND");
        Ok(bytes)
    };
    write().expect("writing into memory")
}
