//! Dumps of all memory with their memory compressed, or not compressed.
//!
//! Memory that is compressed inside a dump (`CompressedMemoryStream`) takes less space, but few
//! programs read it. [`convert`] makes such a dump readable by any program, and makes any dump of
//! all memory small. All other streams keep their bytes, except for the offsets in them.

use byteorder::{ByteOrder, LE};
use dumpwright_target::AddressRange;

use crate::emit::Buckets;
use crate::memory::set::RangeSet;
use crate::protocol::dialogue::Compression;
use crate::read::{Dump, ReadError, stream_type};
use crate::streams::compressed_memory::CompressedHeader;
use crate::{DumpType, Error, Sink, format};

/// The form of the memory in a dump of all memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryForm {
    /// A Memory64List, which most programs read.
    Plain,
    /// A CompressedMemoryStream, and the stacks in a MemoryList.
    Compressed,
}

/// The result of a conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The size of the new dump in bytes.
    pub bytes: u64,
    /// The number of bytes of memory in it.
    pub memory_bytes: u64,
    /// What the new dump lacks or has in another way, in sentences for users.
    pub notes: Vec<String>,
}

/// The reason why a dump was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The dump could not be read.
    #[error("{0}")]
    Read(#[from] ReadError),
    /// The new dump could not be written.
    #[error("{0}")]
    Output(#[from] Error),
    /// The dump does not have the memory that is to be converted, or not in a place where it can be
    /// replaced.
    #[error("the dump cannot be converted: {0}")]
    Unsuitable(String),
}

/// The most bytes of a dump, without its memory, that are kept in memory.
const LARGEST_FRONT: u64 = 1 << 30;

/// The number of bytes of memory that are copied at a time.
const CHUNK: u64 = 1 << 20;

/// The largest range of the MemoryList. Breakpad's readers refuse larger ones.
const LARGEST_PIECE: u64 = 64 << 20;

/// The number of bytes by which everything moves if the directory needs another entry. It is a
/// multiple of 8, so that all blocks keep their alignment.
const SHIFT: usize = 16;

const ENTRY: usize = 12;

/// Writes the same dump with its memory in another form to `sink`.
///
/// Dumps by other writers, such as Microsoft's DbgHelp, can be converted as well. The memory must
/// come last in the file, as in all dumps that were seen.
///
/// # Errors
/// If the dump does not have all memory, has it in the requested form already, or cannot be read,
/// or if the output cannot be written. For [`MemoryForm::Compressed`], the sink must support
/// [`Sink::amend`].
pub fn convert(dump: &Dump, form: MemoryForm, sink: &mut dyn Sink) -> Result<Conversion, ConvertError> {
    match form {
        MemoryForm::Plain => to_plain(dump, sink),
        MemoryForm::Compressed => to_compressed(dump, sink),
    }
}

fn unsuitable<T>(reason: impl Into<String>) -> Result<T, ConvertError> {
    Err(ConvertError::Unsuitable(reason.into()))
}

/// The output, with the number of bytes written.
struct ConvertedFile<'s> {
    sink: &'s mut dyn Sink,
    at: u64,
}

impl ConvertedFile<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let appended = self.sink.append(self.at, bytes);
        appended.map_err(|error| Error::output("write to", self.sink.path(), error))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Appends zeros up to a multiple of `unit`.
    fn align(&mut self, unit: u64) -> Result<(), Error> {
        let gap = self.at.next_multiple_of(unit) - self.at;
        let gap = usize::try_from(gap).expect("a page at most");
        self.put(&vec![0; gap])
    }

    fn finish(&mut self) -> Result<(), Error> {
        let finished = self.sink.finish();
        finished.map_err(|error| Error::output("write to", self.sink.path(), error))
    }
}

/// Everything that comes before the memory.
struct Front(Vec<u8>);

impl Front {
    /// Reads the first `end` bytes of the dump. No stream, except those of memory, may lie behind
    /// them.
    fn read(dump: &Dump, end: u64, of_memory: &[u32]) -> Result<Self, ConvertError> {
        if end > LARGEST_FRONT {
            return unsuitable(format!("{end} bytes precede its memory"));
        }
        for entry in dump.directory() {
            let entry_end = u64::from(entry.rva) + u64::from(entry.size);
            let is_other =
                entry.stream_type != stream_type::UNUSED && !of_memory.contains(&entry.stream_type);
            if is_other && entry_end > end {
                let name = entry.name().unwrap_or("a stream");
                return unsuitable(format!("{name} lies behind its memory"));
            }
        }
        let mut bytes = vec![0; usize::try_from(end).expect("at most LARGEST_FRONT")];
        dump.read_file(0, &mut bytes)?;
        Ok(Self(bytes))
    }

    fn u32(&self, at: u64) -> u32 {
        usize::try_from(at)
            .ok()
            .and_then(|at| self.0.get(at..at + 4))
            .map_or(0, LE::read_u32)
    }

    fn set_u32(&mut self, at: u64, value: u32) {
        let place = usize::try_from(at).ok().and_then(|at| self.0.get_mut(at..at + 4));
        if let Some(place) = place {
            LE::write_u32(place, value);
        }
    }

    /// Sets and clears flags of the dump type.
    fn change_type(&mut self, set: DumpType, clear: DumpType) {
        let flags = (self.u32(24) | set.bits()) & !clear.bits();
        self.set_u32(24, flags);
    }

    fn set_entry(&mut self, at: u64, stream_type: u32, size: usize, rva: u64) -> Result<(), ConvertError> {
        let narrow = |value: u64| match u32::try_from(value) {
            Ok(value) => Ok(value),
            Err(_) => unsuitable("a stream would lie beyond 4 GiB"),
        };
        let fields = [stream_type, narrow(size as u64)?, narrow(rva)?];
        for (field, place) in fields.into_iter().zip((at..).step_by(4)) {
            self.set_u32(place, field);
        }
        Ok(())
    }
}

/// Returns the place of the directory entry of a stream.
fn entry_of(dump: &Dump, stream: u32) -> Option<u64> {
    dump.stream(stream).map(|entry| entry.record_offset)
}

fn to_plain(dump: &Dump, sink: &mut dyn Sink) -> Result<Conversion, ConvertError> {
    let Some(memory) = dump.compressed_memory()? else {
        return unsuitable("it has no compressed memory");
    };
    let memory_types = [stream_type::COMPRESSED_MEMORY, stream_type::COMPRESSED_MEMORY_SQL];
    let mut front = Front::read(dump, memory.record_offset, &memory_types)?;
    let mut notes = vec![
        "the flags that compressed memory has cleared in the dump type (such as data segments) cannot be restored"
            .to_owned(),
    ];
    let mut ranges = Vec::new();
    for region in dump.iter_compressed_regions()? {
        let region = region?;
        ranges.extend(AddressRange::at(region.address, region.size.into()));
    }
    for range in dump.memory_ranges()? {
        ranges.extend(AddressRange::at(range.address, range.size));
    }
    let ranges = without_losses(dump, RangeSet::union(ranges), &mut notes)?;

    let list_offset = memory.record_offset;
    let list_size = 16 + 16 * ranges.len();
    let base = (list_offset + list_size as u64).next_multiple_of(4096);
    for stream in memory_types {
        if let Some(entry) = entry_of(dump, stream) {
            front.set_entry(entry, 0, 0, 0)?;
        }
    }
    let entry = memory_types.into_iter().find_map(|stream| entry_of(dump, stream));
    let entry = entry.expect("it has the stream");
    front.set_entry(entry, stream_type::MEMORY64_LIST, list_size, list_offset)?;
    if let Some(entry) = entry_of(dump, stream_type::MEMORY_LIST) {
        // Its ranges are in the other list. The thread list still refers to the bytes.
        front.set_entry(entry, 0, 0, 0)?;
    }
    front.change_type(DumpType::WITH_FULL_MEMORY, DumpType::WITH_MEMORY_COMPRESSED);

    let mut output = ConvertedFile { sink, at: 0 };
    output.put(&front.0)?;
    let mut list = format::bytes([ranges.len() as u64, base]);
    for range in &ranges {
        list.extend(format::bytes([range.start(), range.len()]));
    }
    output.put(&list)?;
    output.align(4096)?;
    for range in &ranges {
        for chunk in range.chunks(CHUNK) {
            output.put(&bytes_of(dump, chunk)?)?;
        }
    }
    output.finish()?;
    Ok(Conversion {
        bytes: output.at,
        memory_bytes: ranges.iter().map(|range| range.len()).sum(),
        notes,
    })
}

fn to_compressed(dump: &Dump, sink: &mut dyn Sink) -> Result<Conversion, ConvertError> {
    if dump.compressed_memory()?.is_some() {
        return unsuitable("its memory is compressed already");
    }
    let is_full = dump.header().flags & u64::from(DumpType::WITH_FULL_MEMORY.bits()) != 0;
    let Some(list) = dump.stream(stream_type::MEMORY64_LIST).filter(|_| is_full) else {
        return unsuitable("it does not have all memory (dump type with-full-memory)");
    };
    if let Err(error) = sink.check_amend() {
        return Err(Error::output("rewrite the header in", sink.path(), error).into());
    }
    let listed = dump.memory_ranges()?;
    let in_wide_list = |range: &&crate::read::MemoryRange| {
        let end = u64::from(list.rva) + u64::from(list.size);
        (u64::from(list.rva)..end).contains(&range.record_offset)
    };
    let base = listed.iter().find(in_wide_list).map(|range| range.file_offset);
    let base = base.unwrap_or_else(|| dump.len());
    let mut front = Front::read(dump, base, &[])?;
    let mut notes = Vec::new();
    let ranges = listed
        .iter()
        .filter_map(|range| AddressRange::at(range.address, range.size));
    let ranges = without_losses(dump, RangeSet::union(ranges), &mut notes)?;

    let slot = free_slot(dump);
    if slot.is_none() {
        shift(dump, &mut front)?;
    }
    let moved = if slot.is_none() { SHIFT as u64 } else { 0 };
    let slot = slot.unwrap_or_else(|| directory_end(dump));

    // The stacks get a MemoryList, so that other readers find them.
    let mut stacks = Vec::new();
    let descriptors = dump.stack_descriptors()?;
    let descriptors: Vec<_> = descriptors.into_iter().map(|place| place + moved).collect();
    for place in &descriptors {
        stacks.extend(stack_at(&front, *place));
    }
    let captured = RangeSet::union(ranges.iter().copied());
    let stacks = RangeSet::union_of_overlapping(stacks).intersect(&captured);
    let stacks = stacks.split(LARGEST_PIECE).into_ranges();
    let list_offset = (front.0.len() as u64).next_multiple_of(8);
    let list_size = 4 + 16 * stacks.len();
    let mut end = list_offset + list_size as u64;
    let mut narrow_list = Vec::new();
    narrow_list.extend(format::bytes([u32::try_from(stacks.len()).unwrap_or(u32::MAX)]));
    let mut places = Vec::new();
    for stack in &stacks {
        let place = end.next_multiple_of(16);
        let (Ok(size), Ok(rva)) = (u32::try_from(stack.len()), u32::try_from(place)) else {
            return unsuitable("its stacks would lie beyond 4 GiB");
        };
        narrow_list.extend(format::bytes([stack.start()]));
        narrow_list.extend(format::bytes([size, rva]));
        places.push((*stack, place));
        end = place + stack.len();
    }
    for place in descriptors {
        let found = stack_at(&front, place).and_then(|stack| {
            let (piece, offset) = places.iter().find(|(piece, _)| piece.covers(stack))?;
            u32::try_from(offset + (stack.start() - piece.start())).ok()
        });
        front.set_u32(place + 12, found.unwrap_or(0));
    }
    let header_offset = end.next_multiple_of(8);
    front.set_entry(slot, stream_type::MEMORY_LIST, list_size, list_offset)?;
    let wide = list.record_offset;
    let size = format::size::<CompressedHeader>();
    front.set_entry(wide, stream_type::COMPRESSED_MEMORY, size, header_offset)?;
    front.change_type(DumpType::WITH_MEMORY_COMPRESSED, DumpType::WITH_FULL_MEMORY);

    let mut output = ConvertedFile { sink, at: 0 };
    output.put(&front.0)?;
    output.align(8)?;
    output.put(&narrow_list)?;
    for (stack, _) in &places {
        output.align(16)?;
        for chunk in stack.chunks(CHUNK) {
            output.put(&bytes_of(dump, chunk)?)?;
        }
    }
    output.align(8)?;
    assert_eq!(
        output.at, header_offset,
        "the header is where the directory has it"
    );
    output.put(&vec![0; size])?;
    let mut buckets = Buckets::new(Compression::default(), output.at);
    for range in &ranges {
        buckets.begin(range.len(), &mut |bytes| output.put(bytes))?;
        for chunk in range.chunks(CHUNK) {
            let bytes = bytes_of(dump, chunk)?;
            buckets.add(chunk.start(), &bytes, &mut |bytes| output.put(bytes))?;
        }
    }
    let appended = buckets.finish(&mut |bytes| output.put(bytes))?;
    let header = CompressedHeader {
        process_id: dump
            .misc_info()?
            .and_then(|misc| misc.process_id)
            .unwrap_or(0)
            .into(),
        stream_offset: header_offset,
        stream_size: output.at - header_offset,
        ..appended
    };
    let amended = output.sink.amend(header_offset, &format::bytes([header]));
    amended.map_err(|error| Error::output("write to", output.sink.path(), error))?;
    output.finish()?;
    Ok(Conversion {
        bytes: output.at,
        memory_bytes: header.plain_bytes,
        notes,
    })
}

/// Returns the ranges without memory that was lost while the dump was written.
fn without_losses(
    dump: &Dump,
    ranges: RangeSet,
    notes: &mut Vec<String>,
) -> Result<Vec<AddressRange>, ConvertError> {
    let losses = dump.losses()?;
    if !losses.is_empty() {
        notes.push(format!(
            "{} ranges were lost when the dump was written; they are absent from the new dump, which does not list them",
            losses.len()
        ));
    }
    let losses = losses
        .iter()
        .filter_map(|loss| AddressRange::at(loss.start, loss.length));
    Ok(ranges.subtract(&RangeSet::union(losses)).into_ranges())
}

fn bytes_of(dump: &Dump, chunk: AddressRange) -> Result<Vec<u8>, ConvertError> {
    match dump.memory(chunk.start(), chunk.len())? {
        Some(bytes) => Ok(bytes),
        None => unsuitable(format!("its memory at {chunk} is contradictory")),
    }
}

/// Returns the stack that a descriptor in the list of threads describes.
fn stack_at(front: &Front, place: u64) -> Option<AddressRange> {
    let start = u64::from(front.u32(place)) | u64::from(front.u32(place + 4)) << 32;
    AddressRange::at(start, front.u32(place + 8).into())
}

fn directory_end(dump: &Dump) -> u64 {
    let header = dump.header();
    u64::from(header.stream_directory_rva) + u64::from(header.number_of_streams) * ENTRY as u64
}

/// Returns the place of a directory entry that the MemoryList can have.
fn free_slot(dump: &Dump) -> Option<u64> {
    let is_free = |stream: u32| stream == stream_type::UNUSED || stream == stream_type::MEMORY_LIST;
    let entry = dump.directory().iter().find(|entry| is_free(entry.stream_type));
    entry.map(|entry| entry.record_offset)
}

/// Makes room for one more entry at the end of the directory. Everything behind it moves.
fn shift(dump: &Dump, front: &mut Front) -> Result<(), ConvertError> {
    let end = directory_end(dump);
    for field in dump.rva_fields()? {
        let value = match field.is_wide {
            true => u64::from(front.u32(field.at)) | u64::from(front.u32(field.at + 4)) << 32,
            false => front.u32(field.at).into(),
        };
        if value < end {
            continue;
        }
        let value = value + SHIFT as u64;
        let low = u32::try_from(value & 0xFFFF_FFFF).expect("32 bits");
        if !field.is_wide && u64::from(low) != value {
            return unsuitable("an offset would lie beyond 4 GiB");
        }
        front.set_u32(field.at, low);
        if field.is_wide {
            front.set_u32(field.at + 4, u32::try_from(value >> 32).expect("32 bits"));
        }
    }
    front.set_u32(8, dump.header().number_of_streams + 1);
    let at = usize::try_from(end).ok().filter(|at| *at <= front.0.len());
    let Some(at) = at else {
        return unsuitable("its directory lies behind its memory");
    };
    front.0.splice(at..at, [0; SHIFT]);
    Ok(())
}
