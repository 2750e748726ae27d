//! Threads, modules and memory that policies select.

use super::*;

#[test]
fn threads_are_left_out_by_id_and_by_their_facts() {
    for mut policy in [
        Threads::only([7, 99]),
        Threads::except([8]),
        Threads::matching(|thread| thread.stack_base < STACK_8),
        Threads::parts(|id| {
            if id == 8 {
                ThreadWriteFlags::STACK
            } else {
                ThreadWriteFlags::all()
            }
        }),
    ] {
        let dumped = run(0, &mut policy);
        assert_eq!(dumped.threads(), [7]);
        assert_eq!(dumped.ranges(), [WINDOWS[0], STACKS[0]]);
    }
}

#[test]
fn parts_of_threads_are_left_out() {
    let mut policy = Threads::parts(|id| match id {
        7 => ThreadWriteFlags::all() - ThreadWriteFlags::INSTRUCTION_WINDOW,
        _ => ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
    });
    let dumped = run(0, &mut policy);
    assert_eq!(dumped.threads(), [7, 8]);
    assert_eq!(dumped.ranges(), [WINDOWS[1], STACKS[0]]);
}

#[test]
fn modules_are_left_out_by_name_and_by_their_facts() {
    for (mut policy, left) in [
        (Modules::only(["prog*"]), vec!["/opt/program"]),
        (Modules::except(["/opt/lib/*"]), vec!["/opt/program"]),
        (
            Modules::matching(|module| module.size_of_image < 0x9000),
            vec!["/opt/lib/libplugin.so.1"],
        ),
        (Modules::only(Vec::<String>::new()), vec![]),
    ] {
        assert_eq!(run(0, &mut policy).modules(), left);
    }
    let mut nameless = Modules::parts(|_| ModuleWriteFlags::all() - ModuleWriteFlags::CV_RECORD);
    let dumped = run(0, &mut nameless);
    assert_eq!(dumped.modules().len(), 2);
    assert!(!dumped.has(&[0xAB; 20]));
}

#[test]
fn data_segments_are_those_of_the_named_modules() {
    let mut policy = DataSegments::of(["libplugin*"]);
    let dumped = run(0x1, &mut policy);
    assert_eq!(dumped.modules().len(), 2);
    assert_eq!(
        dumped.ranges(),
        [&WINDOWS[..], &[(LIBRARY + 0x2000, LIBRARY + 0x3000)], &STACKS].concat()
    );
    // A module that is left out is left out with its memory.
    let mut policy = Modules::except(["libplugin*"]);
    let expected = [&WINDOWS[..], &[(CODE + 0x8000, CODE + 0x9000)], &STACKS].concat();
    assert_eq!(run(0x1, &mut policy).ranges(), expected);
}

#[test]
fn memory_is_added_and_removed() {
    let mut policy = Chain::new()
        .then(
            AddMemory::new()
                .range(HEAP + 0x100..HEAP + 0x200)
                .range(HEAP + 0x8000..HEAP + 0x20000),
        )
        .then(
            RemoveMemory::new()
                .range(HEAP + 0x9000..HEAP + 0xA000)
                .range(STACK + 0x2000..STACK_8 + 0x1000),
        )
        .then(AddMemory::new().range(HEAP + 0x200..HEAP + 0x280))
        .then(RemoveMemory::new().range(CODE + 0x1F80..CODE + 0x2000));
    assert_eq!(
        run(0, &mut policy).ranges(),
        [
            WINDOWS[0],
            (CODE + 0x2000, CODE + 0x2080),
            (HEAP + 0x100, HEAP + 0x280),
            (HEAP + 0x8000, HEAP + 0x9000),
            (HEAP + 0xA000, HEAP + 0x10000),
            (STACK + 0x1000, STACK + 0x2000),
            (STACK_8 + 0x1000, STACK_8 + 0x4000),
        ]
    );
}

#[test]
fn from_full_memory_whole_pages_are_removed() {
    let mut policy = Chain::new()
        .then(RemoveMemory::new().range(HEAP + 0x1FF8..HEAP + 0x2008))
        .then(
            RemoveMemory::new()
                .range(HEAP + 0x4000..HEAP + 0x5000)
                .range(STACK..STACK + 0x10),
        );
    let dumped = run(0x2, &mut policy);
    let of_heap: Vec<_> = dumped
        .ranges()
        .into_iter()
        .filter(|range| (HEAP..STACK).contains(&range.0))
        .collect();
    assert_eq!(
        of_heap,
        [
            (HEAP, HEAP + 0x1000),
            (HEAP + 0x3000, HEAP + 0x4000),
            (HEAP + 0x5000, HEAP + 0x10000)
        ]
    );
    assert!(dumped.dump.has_memory(STACK + 0x1000, 0x3000).unwrap());
    assert!(!dumped.has(&(HEAP + 0x1FF8).to_le_bytes()));
    assert!(!dumped.has(&(STACK + 0x8).to_le_bytes()));
}

#[test]
fn what_registers_point_to_is_added() {
    let mut process = process();
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        rdi: HEAP + 0x3000,
        r13: HEAP + 0x20,
        rax: 5,
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());
    let heap = |dumped: &Dumped| {
        dumped
            .ranges()
            .into_iter()
            .filter(|range| (HEAP..STACK).contains(&range.0))
            .collect::<Vec<_>>()
    };
    let dumped = run_on(&mut process, &request(0), &mut AroundRegisters::new(64, 256));
    // Memory before the first mapped byte does not exist, which is not a failure.
    assert_eq!(
        heap(&dumped),
        [(HEAP, HEAP + 0x120), (HEAP + 0x2FC0, HEAP + 0x3100)]
    );
    assert!(dumped.report.is_complete());
    // It is requested for thread 8 only, or the thread is filtered before.
    let dumped = run_on(
        &mut process,
        &request(0),
        &mut AroundRegisters::new(64, 256).of_threads([8]),
    );
    assert_eq!(heap(&dumped), []);
    let mut chain = Chain::new()
        .then(Threads::except([7]))
        .then(AroundRegisters::new(64, 256));
    assert_eq!(heap(&run_on(&mut process, &request(0), &mut chain)), []);
}
