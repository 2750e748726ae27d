//! The map of the address space, and the part of it that the dump contains.

use dumpwright_target::{AddressRange, Diagnostic, Exclusion, Frozen, Region, Subject, protect};

use super::Piece;
use super::regions::regions;
use crate::memory::reader::Structures;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Profile};

/// The map of the address space as the dump and its filters need it. Only this file sets it.
pub(crate) struct AddressMap {
    regions: Option<Vec<Region>>,
    generated_code: Vec<AddressRange>,
}

impl AddressMap {
    pub(super) fn new(map: &[Region], dump_type: DumpType, profile: Profile) -> Self {
        let is_wanted = dump_type.contains(DumpType::WITH_FULL_MEMORY_INFO) && !map.is_empty();
        Self {
            regions: is_wanted.then(|| map.to_vec()),
            generated_code: generated_code(map, profile),
        }
    }

    /// The regions; `None` if the dump does not list them.
    pub fn regions(&self) -> Option<&[Region]> {
        self.regions.as_deref()
    }

    /// Executable memory outside modules, for filters.
    pub fn generated_code(&self) -> &[AddressRange] {
        &self.generated_code
    }

    /// Replaces the regions that the dump lists.
    pub(super) fn set_regions(&mut self, regions: Vec<Region>) {
        self.regions = Some(regions);
    }

    /// Splits the listed regions wherever a captured range begins.
    pub(super) fn cut_at(&mut self, pieces: &[Piece]) {
        self.regions = self.regions.take().map(|regions| cut(regions, pieces));
    }
}

/// Returns the regions from which memory is chosen; empty if they cannot be obtained. If the dump
/// type needs individual regions, the callback may describe them (VmQuery).
///
/// # Errors
/// If VmQuery was answered with a failure.
pub(super) fn gather(
    frozen: &mut dyn Frozen,
    dump_type: DumpType,
    profile: Profile,
    dialogue: &mut Dialogue<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Region>, Error> {
    let map = if asks_for_map(dump_type) && !profile.queries_for_each_use() {
        regions(frozen, dialogue)
    } else {
        frozen
            .regions(&mut Structures(dialogue.service()))
            .map_err(Error::from)
    };
    match map {
        Ok(map) => Ok(without_write_combined(map, dump_type)),
        // Without a map, chosen memory is still read, but a dump of all memory has none.
        Err(Error::Target(fault)) => {
            diagnostics.push(Diagnostic::missing(
                Subject::Stream("MemoryInfoList"),
                fault.to_string(),
            ));
            Ok(Vec::new())
        }
        Err(other) => Err(other),
    }
}

/// Whether the dump type needs individual regions of the address space. VmQuery is asked only then.
fn asks_for_map(dump_type: DumpType) -> bool {
    dump_type.intersects(
        DumpType::WITH_FULL_MEMORY
            | DumpType::WITH_MEMORY_COMPRESSED
            | DumpType::WITH_PRIVATE_READ_WRITE_MEMORY
            | DumpType::WITH_PRIVATE_WRITE_COPY_MEMORY
            | DumpType::WITH_FULL_MEMORY_INFO,
    )
}

/// Returns the map with write-combined regions marked as excluded, if the type filters them.
fn without_write_combined(mut map: Vec<Region>, dump_type: DumpType) -> Vec<Region> {
    if dump_type.contains(DumpType::FILTER_WRITE_COMBINED_MEMORY) {
        let write_combined = map
            .iter_mut()
            .filter(|region| region.protect & protect::WRITECOMBINE != 0);
        write_combined.for_each(|region| region.exclusion = Some(Exclusion::WriteCombined));
    }
    map
}

/// Returns executable memory. Outside modules, this is code that was generated at run time, and
/// return addresses can point there as well. DbgHelp's FilterTriage does not consider it.
fn generated_code(map: &[Region], profile: Profile) -> Vec<AddressRange> {
    const EXECUTABLE: u32 =
        protect::EXECUTE | protect::EXECUTE_READ | protect::EXECUTE_READWRITE | protect::EXECUTE_WRITECOPY;
    let executable = map.iter().filter(|region| {
        profile.filters_memory() && region.is_dumpable() && region.protect & EXECUTABLE != 0
    });
    executable.map(|region| region.range).collect()
}

/// Returns the same map, with regions split wherever a captured range begins.
///
/// udmp-parser 0.7.0 refuses a full dump in which a range begins inside a region. Both parts of a
/// split region have the allocation base of the whole, so the map still says the same.
fn cut(regions: Vec<Region>, pieces: &[Piece]) -> Vec<Region> {
    let mut starts: Vec<_> = pieces.iter().map(|piece| piece.range.start()).collect();
    starts.sort_unstable();
    let mut entries = Vec::with_capacity(regions.len());
    for region in regions {
        let from = starts.partition_point(|start| *start <= region.range.start());
        let inside = starts[from..]
            .iter()
            .take_while(|start| **start < region.range.end());
        let mut at = region.range.start();
        for border in inside.copied().chain([region.range.end()]) {
            let range = AddressRange::new(at, border).expect("starts are ascending and differ");
            entries.push(Region {
                range,
                ..region.clone()
            });
            at = border;
        }
    }
    entries
}
