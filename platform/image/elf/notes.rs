//! Notes, which identify an image.

use dumpwright_target::{AddressRange, Memory, MemoryExt};
use goblin::elf::note::{NT_GNU_BUILD_ID, NoteDataIterator};

use super::{Elf, PT_NOTE, ProgramHeader};
use crate::limits::{LONGEST_BUILD_ID, LONGEST_NOTES};

impl Elf {
    /// Returns the address ranges of the notes in memory.
    #[must_use]
    pub fn notes(&self) -> Vec<AddressRange> {
        self.note_segments(
            |segment| segment.p_vaddr.wrapping_add(self.bias()),
            |segment| segment.p_memsz,
        )
        .map(|(range, _)| range)
        .collect()
    }

    /// Returns the build id from the notes in memory.
    pub fn build_id(&self, memory: &mut dyn Memory) -> Option<Vec<u8>> {
        let bias = self.bias();
        let notes = self.note_segments(
            move |segment| segment.p_vaddr.wrapping_add(bias),
            |segment| segment.p_memsz,
        );
        self.build_id_in(notes, memory)
    }

    /// Returns the build id from the notes in the image's file. The image's first byte must be at
    /// address 0 of `file`.
    pub fn build_id_in_file(&self, file: &mut dyn Memory) -> Option<Vec<u8>> {
        let notes = self.note_segments(|segment| segment.p_offset, |segment| segment.p_filesz);
        self.build_id_in(notes, file)
    }

    /// Returns the segments of notes with their alignment. Together they have at most
    /// [`LONGEST_NOTES`] bytes.
    fn note_segments(
        &self,
        place: impl Fn(&ProgramHeader) -> u64,
        size: impl Fn(&ProgramHeader) -> u64,
    ) -> impl Iterator<Item = (AddressRange, u64)> {
        let mut left = LONGEST_NOTES;
        self.segments
            .iter()
            .filter(|segment| segment.p_type == PT_NOTE)
            .filter_map(move |segment| {
                let range = AddressRange::at(place(segment), size(segment).min(left))?;
                left -= range.len();
                Some((range, segment.p_align))
            })
    }

    fn build_id_in(
        &self,
        notes: impl Iterator<Item = (AddressRange, u64)>,
        memory: &mut dyn Memory,
    ) -> Option<Vec<u8>> {
        notes.into_iter().find_map(|(range, align)| {
            let data = memory.up_to(range.start(), usize::try_from(range.len()).ok()?);
            let notes = NoteDataIterator {
                data: &data,
                size: data.len(),
                offset: 0,
                ctx: (usize::try_from(align).unwrap_or(4), self.ctx),
            };
            notes
                .map_while(Result::ok)
                .find(|note| note.n_type == NT_GNU_BUILD_ID && note.name == "GNU")
                .map(|note| note.desc.to_vec())
                .filter(|id| (1..=LONGEST_BUILD_ID).contains(&id.len()))
        })
    }
}
