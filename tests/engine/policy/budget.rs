//! Dumps under a size limit.

use super::*;

#[test]
fn a_budget_keeps_the_inner_part_of_stacks_before_all_else() {
    // Stacks of 0x3000 and 0x3800 bytes; 0x4000 is not enough for both.
    let add = AddMemory::new().range(HEAP..HEAP + 0x100);
    let mut budget = SizeBudget::around(add, 0x4000);
    let dumped = run_on(&mut process(), &SizeBudget::prepare(request(0)), &mut budget);
    assert_eq!(
        dumped.ranges(),
        [
            (STACK + 0x1000, STACK + 0x3000),
            (STACK_8 + 0x800, STACK_8 + 0x2800)
        ]
    );
    let dropped = |start, end, priority| Dropped {
        range: AddressRange::new(start, end).unwrap(),
        priority,
    };
    assert_eq!(
        budget.dropped(),
        [
            dropped(STACK + 0x3000, STACK + 0x4000, Priority::Stack),
            dropped(STACK_8 + 0x2800, STACK_8 + 0x4000, Priority::Stack),
            dropped(CODE + 0x11B4, CODE + 0x12B4, Priority::Added),
            dropped(CODE + 0x1F80, CODE + 0x2080, Priority::Added),
            dropped(HEAP, HEAP + 0x100, Priority::Added),
        ]
    );
}

#[test]
fn a_budget_keeps_what_was_added_before_what_the_type_selects() {
    // Private memory (0x200): code, data of both modules, the heap. In order of addresses, the
    // added page after the heap would come last.
    let mut budget = SizeBudget::around(
        AddMemory::new().range(HEAP + 0x20000..HEAP + 0x21000),
        0x6800 + 0x200 + 0x2000,
    );
    let mut process = process().memory(HEAP + 0x20000, 0x1000, EXECUTE_READ, Contents::Counting);
    let dumped = run_on(&mut process, &SizeBudget::prepare(request(0x200)), &mut budget);
    let expected = [
        WINDOWS[0],
        WINDOWS[1],
        (CODE + 0x8000, CODE + 0x9000),
        (HEAP + 0x20000, HEAP + 0x21000),
        (STACK + 0x1000, STACK + 0x4000),
        (STACK_8 + 0x800, STACK_8 + 0x4000),
    ];
    assert_eq!(dumped.ranges(), expected);
    assert!(
        budget
            .dropped()
            .iter()
            .all(|dropped| dropped.priority == Priority::Rest)
    );
    assert!(
        budget
            .dropped()
            .iter()
            .any(|dropped| dropped.range.start() == HEAP && dropped.range.len() == 0x10000)
    );
}

#[test]
fn a_budget_for_full_memory_knows_its_priorities() {
    let mut process = process();
    // The code of the modules is not private memory.
    for (region, _) in &mut process.regions {
        if region.range.start() < HEAP {
            region.kind = Some(RegionKind::Image);
        }
    }
    let kept = |limit| {
        let mut budget = SizeBudget::new(limit);
        let dumped = run_on(&mut process.clone(), &request(0x2), &mut budget);
        assert!(memory_bytes(&dumped) <= limit);
        let lost: u64 = budget.dropped().iter().map(|dropped| dropped.range.len()).sum();
        // All memory is either kept or dropped, and never both.
        assert_eq!(
            lost + memory_bytes(&dumped),
            0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000
        );
        dumped.ranges()
    };
    // Stacks (with the page that contains the stack pointer of thread 8), and the pages of the
    // instruction pointers.
    let stacks = [
        (STACK + 0x1000, STACK + 0x4000),
        (STACK_8 + 0x800, STACK_8 + 0x4000),
    ];
    assert_eq!(kept(0x7000), [stacks[0], stacks[1], (STACK_8, STACK_8 + 0x800)]);
    assert_eq!(
        kept(0xA000),
        [
            stacks[0],
            stacks[1],
            (CODE + 0x1000, CODE + 0x3000),
            (STACK, STACK + 0x1000),
            (STACK_8, STACK_8 + 0x800)
        ]
    );
    // Then private memory: the page below the first stack, and the heap. Then other writable
    // memory, then the rest.
    let with_heap = kept(0x1A000);
    assert!(
        with_heap.contains(&(HEAP, HEAP + 0x10000)) && !with_heap.contains(&(CODE + 0x8000, CODE + 0x9000))
    );
    let with_data = kept(0x1C000);
    assert!(
        with_data.contains(&(LIBRARY + 0x2000, LIBRARY + 0x3000))
            && !with_data.contains(&(LIBRARY, LIBRARY + 0x2000))
    );
    // Far too little: both stacks are cut equally.
    assert_eq!(
        kept(0x2000),
        [
            (STACK + 0x1000, STACK + 0x2000),
            (STACK_8 + 0x800, STACK_8 + 0x1000),
            (STACK_8, STACK_8 + 0x800)
        ]
    );
    assert_eq!(kept(0), []);
}

#[test]
fn a_budget_stands_around_narrowing_and_removal() {
    let inner = || {
        RemoveMemory::new()
            .range(HEAP..HEAP + 0xF000)
            .range(CODE..CODE + 0x8000)
    };
    let all = run(0x2, &mut inner());
    let mut budget = SizeBudget::around(inner(), memory_bytes(&all));
    assert!(run(0x2, &mut budget).bytes == all.bytes);
    assert!(budget.dropped().is_empty());
    let mut budget = SizeBudget::around(inner(), memory_bytes(&all) - 1);
    let less = run(0x2, &mut budget);
    assert!(memory_bytes(&less) < memory_bytes(&all));
    assert!(!less.dump.has_memory(HEAP, 1).unwrap());
    assert!(
        budget
            .dropped()
            .iter()
            .all(|dropped| dropped.range.end() <= HEAP || dropped.range.start() >= HEAP + 0xF000)
    );
}
