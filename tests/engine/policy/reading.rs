//! Caches and failed reads.

use super::*;

#[test]
fn a_cache_spares_the_target_and_changes_nothing() {
    let read = Cell::new(0);
    let on_read = |_, _, count: usize| read.set(read.get() + count as u64);
    let mut target = Watched {
        target: process(),
        on_read: &on_read,
    };
    // Stacks are searched for addresses (0x40), so they are read twice: for the search and for the
    // dump.
    let without = run_on(&mut target, &request(0x40), &mut Chain::new());
    let plainly = read.replace(0);
    let mut cache = ReadCache::new(1 << 20);
    let with = run_on(&mut target, &request(0x40), &mut cache);
    assert!(with.bytes == without.bytes);
    assert_eq!(read.replace(0) + cache.served(), plainly);
    assert_eq!(cache.served(), 0x6800, "both stacks");
    // The next dump starts again, unless the target is known not to change.
    run_on(&mut target, &request(0x40), &mut cache);
    assert_eq!(read.replace(0), plainly - 0x6800);
    let mut cache = ReadCache::new(1 << 20).across_dumps();
    run_on(&mut target, &request(0x40), &mut cache);
    read.set(0);
    let again = run_on(&mut target, &request(0x40), &mut cache);
    assert_eq!(read.get(), 0);
    assert!(again.bytes == without.bytes);
    cache.clear();
    run_on(&mut target, &request(0x40), &mut cache);
    assert!(read.get() > 0);
}

#[test]
fn a_cache_that_is_full_serves_what_it_has() {
    let read = Cell::new(0);
    let on_read = |_, _, count: usize| read.set(read.get() + count as u64);
    let mut target = Watched {
        target: process(),
        on_read: &on_read,
    };
    let mut cache = ReadCache::new(5 * 4096).across_dumps();
    let first = run_on(&mut target, &request(0x2), &mut cache);
    read.set(0);
    let second = run_on(&mut target, &request(0x2), &mut cache);
    assert!(first.bytes == second.bytes && first.bytes == plain(0x2));
    // The page below the first stack pointer is read first, and is only the first half of a page.
    assert_eq!(
        read.get(),
        0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000 - cache.served()
    );
    assert!(cache.served() > 4 * 4096);
}

#[test]
fn a_failed_read_is_ignored_only_if_somebody_says_so() {
    let mut process = process().fails_when_read(HEAP + 0x1000, 0x1000);
    let add = || {
        AddMemory::new()
            .range(HEAP..HEAP + 0x3000)
            .range(HEAP + 0x5000..HEAP + 0x6000)
    };
    let error = attempt(&mut process, &request(0), &mut add()).expect_err("nobody says to go on");
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    let mut failures = IgnoreReadFailures::new();
    let dumped = run_on(
        &mut process,
        &request(0),
        &mut Chain::new().then(add()).then_mut(&mut failures),
    );
    assert_eq!(failures.left_out(), [AddressRange::at(HEAP, 0x3000).unwrap()]);
    assert_eq!(
        dumped.ranges(),
        [&WINDOWS[..], &[(HEAP + 0x5000, HEAP + 0x6000)], &STACKS].concat()
    );
    // The list is that of the last dump.
    run_on(&mut self::process(), &request(0), &mut failures);
    assert!(failures.left_out().is_empty());
}
