//! These tests would catch: pages that are wrongly taken for readable; gaps in the map; reads that
//! lose the bytes before an unreadable page.

use dumpwright_target::Memory;
use windows_sys::Win32::System::Memory::{
    MEM_RELEASE, PAGE_GUARD, PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, VirtualAlloc, VirtualFree,
    VirtualProtect,
};

use super::*;
use crate::testing::{Victim, is_victim, wait};

const PAGE: usize = 0x1000;

/// Sixteen reserved pages of this process. The first four are committed: readable and writable,
/// without access, guarded, and read-only.
struct Pages(u64);

impl Pages {
    fn new() -> Self {
        // SAFETY: new memory is reserved, committed and protected, and nothing else uses it.
        unsafe {
            let at = VirtualAlloc(std::ptr::null(), 16 * PAGE, MEM_RESERVE, PAGE_READWRITE);
            assert!(!at.is_null());
            assert!(!VirtualAlloc(at, 4 * PAGE, MEM_COMMIT, PAGE_READWRITE).is_null());
            at.cast::<u8>().write(0xAB);
            let mut before = 0;
            for (page, protection) in [
                (1, PAGE_NOACCESS),
                (2, PAGE_READWRITE | PAGE_GUARD),
                (3, PAGE_READONLY),
            ] {
                assert_ne!(
                    VirtualProtect(at.byte_add(page * PAGE), PAGE, protection, &raw mut before),
                    0
                );
            }
            Self(at.expose_provenance() as u64)
        }
    }

    fn page(&self, number: u64) -> u64 {
        self.0 + number * PAGE as u64
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the memory was reserved by `new`, and is released once.
        unsafe {
            VirtualFree(
                std::ptr::with_exposed_provenance_mut(self.0 as usize),
                0,
                MEM_RELEASE,
            )
        };
    }
}

fn own() -> Access<'static> {
    Access::own()
}

#[test]
fn a_survey_tells_what_can_be_read() {
    let pages = Pages::new();
    let range = AddressRange::new(pages.page(0) + 0x10, pages.page(6)).expect("some");
    let told: Vec<_> = survey(&own(), range)
        .into_iter()
        .map(|extent| ((extent.range.start(), extent.range.end()), extent.content))
        .collect();
    let between = |from: u64, to: u64| (pages.page(from), pages.page(to));
    assert_eq!(told[0], ((range.start(), pages.page(1)), Content::Readable));
    assert!(
        matches!(told[1], (place, Content::Unreadable(_)) if place == between(1, 2)),
        "{told:?}"
    );
    assert!(
        matches!(told[2], (place, Content::Unreadable(_)) if place == between(2, 3)),
        "{told:?}"
    );
    assert_eq!(told[3], (between(3, 4), Content::Readable));
    assert!(
        matches!(told[4], (place, Content::Nothing(_)) if place == between(4, 6)),
        "{told:?}"
    );
    assert_eq!(told.len(), 5);
}

#[test]
fn beyond_all_addresses_there_is_nothing() {
    let range = AddressRange::new(u64::MAX - 0x2000, u64::MAX).expect("some");
    let told = survey(&own(), range);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].range, range);
    assert!(matches!(told[0].content, Content::Nothing(_)));
}

#[test]
fn the_map_is_ascending_without_gaps_and_has_what_was_made() {
    let pages = Pages::new();
    let map = regions(&own(), &mut Vec::new()).expect("it can be had");
    assert_eq!(map[0].range.start(), 0);
    for pair in map.windows(2) {
        assert_eq!(pair[0].range.end(), pair[1].range.start(), "{pair:?}");
    }
    let at = |page| {
        map.iter()
            .find(|region| region.range.contains(pages.page(page)))
            .expect("there")
    };
    let facts = |page| (at(page).state, at(page).protect, at(page).kind);
    let private = Some(RegionKind::Private);
    assert_eq!(facts(0), (RegionState::Commit, protect::READWRITE, private));
    assert_eq!(facts(1), (RegionState::Commit, protect::NOACCESS, private));
    assert_eq!(
        facts(2),
        (RegionState::Commit, protect::READWRITE | protect::GUARD, private)
    );
    assert_eq!(facts(3), (RegionState::Commit, protect::READONLY, private));
    assert_eq!(facts(4), (RegionState::Reserve, 0, private));
    assert_eq!(
        (at(4).allocation_base, at(4).allocation_protect),
        (pages.0, protect::READWRITE)
    );
    let code = map
        .iter()
        .find(|region| region.range.contains(std::ptr::from_ref(&PAGE).addr() as u64));
    assert_eq!(code.expect("this program").kind, Some(RegionKind::Image));
    assert!(
        map.iter()
            .any(|region| region.state == RegionState::Free && region.kind.is_none())
    );
}

#[test]
fn a_child_that_waits() {
    if is_victim("regions::tests::a_child_that_waits") {
        wait();
    }
}

/// Wine 8 reads pages regardless of their protection. It also reads free addresses that it has
/// reserved for itself. It has not reserved the addresses after modules.
#[test]
fn a_read_brings_what_lies_before_a_free_page() {
    let victim = Victim::that("regions::tests::a_child_that_waits");
    let access = victim.access();
    let map = regions(&access, &mut Vec::new()).expect("it can be had");
    let pair = map.windows(2).find(|pair| {
        pair[0].kind == Some(RegionKind::Image)
            && content(&pair[0]) == Content::Readable
            && pair[1].state == RegionState::Free
    });
    let end = pair.expect("a module ends somewhere")[0].range.end();
    let mut bytes = [0; 3 * PAGE];
    let read = |at, bytes: &mut [u8]| (&access).read(at, bytes);
    assert_eq!(read(end - 0x800, &mut bytes).expect("it begins well"), 0x800);
    let fault = read(end, &mut bytes).expect_err("nothing is there");
    assert_eq!(fault.kind, FaultKind::Unreadable);
    assert!(fault.os_code.is_some(), "{fault}");
}
