//! Policies alone, in chains, and around other callbacks.

use super::*;

#[test]
fn policies_that_have_nothing_to_do_change_nothing() {
    for dump_type in [0, 0x2, 0x241, 0x1803] {
        let mut policies: [(&str, Box<dyn Callback>); 14] = [
            ("Chain", Box::new(Chain::new())),
            ("Threads", Box::new(Threads::except([]))),
            ("Modules", Box::new(Modules::except([""]))),
            ("DataSegments", Box::new(DataSegments::of(["*"]))),
            ("AddMemory", Box::new(AddMemory::new())),
            ("RemoveMemory", Box::new(RemoveMemory::new())),
            ("AroundRegisters", Box::new(AroundRegisters::new(0, 0))),
            ("CancelToken", Box::new(CancelToken::new())),
            ("Deadline", Box::new(Deadline::after(Duration::MAX))),
            ("Progress", Box::new(Progress::new(|_| {}))),
            ("IgnoreReadFailures", Box::new(IgnoreReadFailures::new())),
            ("Redact", Box::new(Redact::new().text("not in there").bytes([]))),
            ("ReadCache", Box::new(ReadCache::new(1 << 20))),
            ("SizeBudget", Box::new(SizeBudget::new(u64::MAX))),
        ];
        for (name, policy) in &mut policies {
            let alone = run(dump_type, &mut **policy);
            assert!(
                alone.bytes == plain(dump_type),
                "{name} alone, type {dump_type:#x}"
            );
        }
        let mut chain = Chain::new();
        for (_, policy) in &mut policies {
            chain = chain.then_mut(&mut **policy);
        }
        assert!(
            run(dump_type, &mut chain).bytes == plain(dump_type),
            "all in a chain, type {dump_type:#x}"
        );
    }
}

/// Each link sees the result of the one before it, and cannot bring anything back.
#[test]
fn a_chain_narrows() {
    let seen = RefCell::new(Vec::new());
    let greedy = |ask: Ask<'_>| {
        match ask {
            Ask::IncludeThread { thread_id, keep } => {
                seen.borrow_mut()
                    .push((u64::from(thread_id), u64::from(keep.bits())));
                *keep = ThreadWriteFlags::all();
            }
            Ask::IncludeModule { base, keep } => {
                seen.borrow_mut().push((base, keep.bits().into()));
                *keep = ModuleWriteFlags::all();
            }
            Ask::Module { keep, .. } => {
                assert_eq!(keep.bits(), 0x1D, "the one bit that can be added has been")
            }
            Ask::Thread { keep, .. } => {
                assert!(!keep.contains(ThreadWriteFlags::STACK), "it did not come back")
            }
            Ask::IncludeVmRegion { answer } => {
                seen.borrow_mut()
                    .push((answer.region.base_address, answer.region.region_size));
                answer.cont = true;
            }
            _ => {}
        }
        true
    };
    let first = || {
        Chain::new()
            .then(Threads::parts(|id| match id {
                7 => ThreadWriteFlags::empty(),
                _ => ThreadWriteFlags::all() - ThreadWriteFlags::STACK,
            }))
            .then(
                RemoveMemory::new()
                    .range(HEAP + 0x1000..HEAP + 0x3000)
                    .range(CODE..LIBRARY + 0x3000)
                    .range(STACK..STACK + 0x20_0000),
            )
    };
    let dumped = run(0, &mut first().then(greedy));
    assert_eq!(*seen.borrow(), [(8, 0x15), (CODE, 0xD), (LIBRARY, 0xD)]);
    assert_eq!(dumped.ranges(), []);
    seen.borrow_mut().clear();
    let dumped = run(0x2, &mut first().then(greedy));
    let pass = [(HEAP, 0x1000), (HEAP + 0x3000, 0xD000)];
    assert_eq!(seen.borrow()[3..], [pass, pass].concat());
    assert_eq!(
        dumped.ranges(),
        [(HEAP, HEAP + 0x1000), (HEAP + 0x3000, HEAP + 0x10000)]
    );
}

/// A link that ends the region calls for itself does not end them for the others, in either pass.
#[test]
fn a_link_that_wants_no_more_regions_leaves_them_to_the_others() {
    let asked = Cell::new(0);
    let once = |ask: Ask<'_>| {
        asked.set(asked.get() + u32::from(ask.kind() == AskKind::IncludeVmRegion));
        true
    };
    let dumped = run(
        0x2,
        &mut Chain::new()
            .then(once)
            .then(RemoveMemory::new().range(HEAP..HEAP + 0x10000)),
    );
    assert_eq!(asked.get(), 2, "once a pass");
    assert!(
        dumped
            .ranges()
            .iter()
            .all(|range| range.0 < HEAP || range.0 >= STACK)
    );
}

/// A listener in a chain changes nothing, even if it writes to the answers.
#[test]
fn listeners_in_a_chain_only_listen() {
    struct Meddler;
    impl Callback for Meddler {
        fn ask(&mut self, ask: Ask<'_>) -> bool {
            match ask {
                Ask::IncludeThread { keep, .. } | Ask::Thread { keep, .. } => {
                    *keep = ThreadWriteFlags::empty()
                }
                Ask::Cancel { answer } => answer.cancel = true,
                Ask::Memory { wanted } => (wanted.base, wanted.size) = (HEAP, 0x100),
                Ask::IoStart { status, .. } | Ask::VmStart { status } => *status = Hresult::S_FALSE,
                Ask::IncludeVmRegion { answer } => (answer.cont, answer.region.region_size) = (true, 0),
                _ => {}
            }
            true
        }
        fn process(&mut self, _: ProcessAsked) {}
        fn answers(&self) -> bool {
            false
        }
    }
    for dump_type in [0, 0x2] {
        for mut chain in [
            Chain::new().then(Meddler),
            Chain::new().then(Meddler).then(Threads::except([])),
        ] {
            assert!(run(dump_type, &mut chain).bytes == plain(dump_type));
        }
    }
}

/// Whatever wraps a callback, the callback sees the process id and handle of each call.
#[test]
fn the_process_is_shown_through_everything() {
    struct Watcher(Rc<RefCell<Vec<(AskKind, ProcessAsked)>>>, ProcessAsked);
    impl Callback for Watcher {
        fn ask(&mut self, ask: Ask<'_>) -> bool {
            self.0.borrow_mut().push((ask.kind(), self.1));
            true
        }
        fn process(&mut self, process: ProcessAsked) {
            self.1 = process;
        }
        fn answers(&self) -> bool {
            true
        }
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut watcher = Watcher(Rc::clone(&seen), ProcessAsked::default());
    let mut lint = Lint::new(&mut watcher);
    let budget = SizeBudget::around(Chain::new().then_mut(&mut lint), 1 << 30);
    let mut preset = Preset::first_look().then(Chain::new().then(budget));
    let mut chain = Chain::new().then_mut(&mut preset);
    let mut recorder = Recorder::new(Some(&mut chain), Symbols::new());
    let request = Request::new(DumpType::NORMAL).process_handle(0x54);
    dump(&mut process(), &request, Some(&mut recorder), &mut Vec::new()).unwrap();
    let shown = |kind| {
        let seen = seen.borrow();
        let (_, shown) = seen.iter().find(|(asked, _)| *asked == kind).unwrap();
        (shown.process_id, shown.process_handle)
    };
    assert_eq!(shown(AskKind::IsProcessSnapshot), (0, 0x54));
    assert_eq!(shown(AskKind::IoStart), (0, 0));
    assert_eq!(shown(AskKind::IncludeThread), (1000, 0x54));
    assert_eq!(shown(AskKind::WriteKernelMinidump), (0, 0));
}

/// The linter reports common mistakes of real programs.
#[test]
fn policies_do_nothing_that_the_linter_minds() {
    for dump_type in [0, 0x2, 0x241] {
        let chain = Chain::new()
            .then(Threads::except([8]))
            .then(Modules::except(["lib*"]))
            .then(DataSegments::of(["prog*"]))
            .then(AddMemory::new().range(HEAP..HEAP + 0x1000))
            .then(AroundRegisters::new(64, 256))
            .then(RemoveMemory::new().range(HEAP + 0x800..HEAP + 0x900))
            .then(CancelToken::new())
            .then(Deadline::after(Duration::MAX))
            .then(Progress::new(|_| {}).counting_bytes())
            .then(ReadCache::new(1 << 20))
            .then(Redact::new().bytes((HEAP + 0x108).to_le_bytes()))
            .then(IgnoreReadFailures::new())
            .then(StreamOutput::new(io::sink()));
        let mut budget = SizeBudget::around(chain, 0x3000);
        let mut lint = Lint::new(&mut budget);
        attempt(
            &mut process(),
            &SizeBudget::prepare(request(dump_type)),
            &mut lint,
        )
        .expect("a dump");
        assert_eq!(lint.findings(), [], "{dump_type:#x}");
    }
}

/// Only the system's DbgHelp makes these calls, so the test calls the callback directly.
#[test]
fn a_chain_takes_the_first_answer_about_compression_and_tells_all_of_the_end() {
    let told = RefCell::new(Vec::new());
    let link = |name: &'static str, size: u32, said: bool| {
        let told = &told;
        move |ask: Ask<'_>| {
            match ask {
                Ask::CompressedMemoryStreamStart { answer } => answer.max_transfer_size = size,
                Ask::CompressedMemoryStreamFinish { compression_rate, .. } => {
                    told.borrow_mut().push((name, compression_rate));
                }
                _ => {}
            }
            said
        }
    };
    let mut chain = Chain::new()
        .then(link("declines", 1, false))
        .then(link("sets nothing", 0, true))
        .then(link("sets", 2, true))
        .then(link("comes late", 3, true));
    let mut answer = CompressionAnswer::default();
    assert!(chain.ask(Ask::CompressedMemoryStreamStart { answer: &mut answer }));
    assert_eq!(answer.max_transfer_size, 2);
    assert!(chain.ask(Ask::CompressedMemoryStreamFinish {
        stream_size: 1,
        compression_rate: 71,
    }));
    drop(chain);
    let names: Vec<_> = told.borrow().iter().map(|(name, rate)| (*name, *rate)).collect();
    assert_eq!(
        names,
        [
            ("declines", 71),
            ("sets nothing", 71),
            ("sets", 71),
            ("comes late", 71)
        ]
    );
}
