//! Any combination of policies, by a property test.

use super::*;

/// A policy for a property test.
#[derive(Debug, Clone)]
enum Choice {
    Threads(Vec<u32>),
    Modules(&'static str),
    DataSegments(&'static str),
    Add(Range<u64>),
    Remove(Range<u64>),
    AroundRegisters(u64, u64),
    RedactRange(Range<u64>),
    RedactSecret(usize),
    Cache(usize),
    Stream,
    Progress,
}

fn secret(index: usize) -> Vec<u8> {
    (0..16)
        .map(|byte| b'A' + u8::try_from((byte * 7 + index * 5) % 26).unwrap())
        .collect()
}

fn any_range() -> impl Strategy<Value = Range<u64>> {
    let base = prop::sample::select(vec![CODE, LIBRARY, HEAP, STACK, STACK_8]);
    (base, 0_u64..0x11000, 1_u64..0x3000).prop_map(|(base, offset, len)| base + offset..base + offset + len)
}

fn any_choice() -> impl Strategy<Value = Choice> {
    let pattern = || prop::sample::select(vec!["*", "prog*", "lib*", "nothing"]);
    prop_oneof![
        prop::collection::vec(7_u32..9, 0..2).prop_map(Choice::Threads),
        pattern().prop_map(Choice::Modules),
        pattern().prop_map(Choice::DataSegments),
        any_range().prop_map(Choice::Add),
        any_range().prop_map(Choice::Remove),
        (0_u64..0x400, 0_u64..0x2000).prop_map(|(before, behind)| Choice::AroundRegisters(before, behind)),
        any_range().prop_map(Choice::RedactRange),
        (0_usize..4).prop_map(Choice::RedactSecret),
        (0_usize..0x20000).prop_map(Choice::Cache),
        Just(Choice::Stream),
        Just(Choice::Progress),
    ]
}

fn build(choices: &[Choice]) -> Chain<'static> {
    choices
        .iter()
        .cloned()
        .fold(Chain::new(), |chain, choice| match choice {
            Choice::Threads(ids) => chain.then(Threads::except(ids)),
            Choice::Modules(pattern) => chain.then(Modules::except([pattern])),
            Choice::DataSegments(pattern) => chain.then(DataSegments::of([pattern])),
            Choice::Add(range) => chain.then(AddMemory::new().range(range)),
            Choice::Remove(range) => chain.then(RemoveMemory::new().range(range)),
            Choice::AroundRegisters(before, behind) => chain.then(AroundRegisters::new(before, behind)),
            Choice::RedactRange(range) => chain.then(Redact::new().range(range)),
            Choice::RedactSecret(index) => chain.then(Redact::new().bytes(secret(index))),
            Choice::Cache(bytes) => chain.then(ReadCache::new(bytes)),
            Choice::Stream => chain.then(StreamOutput::new(io::sink())),
            Choice::Progress => chain.then(Progress::new(|_| {}).counting_bytes()),
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// With any combination, the dump is sound, and its bytes have nothing that was removed or
    /// redacted.
    #[test]
    fn any_combination_gives_a_sound_dump_without_what_was_taken_out(
        choices in prop::collection::vec(any_choice(), 0..8),
        dump_type in prop::sample::select(vec![0, 0x1, 0x2, 0x40, 0x200, 0x2241, 0x80000, 0x1802]),
        secrets in prop::collection::vec((0_usize..4, any_range()), 0..5),
        fetch_limit in prop::sample::select(vec![0, 0x3000, 256 << 20]),
        budget in prop::option::of(0_u64..0x30000),
        fault in prop::option::of((0_u64..15, any::<bool>())),
        profile in prop::sample::select(vec![Profile::Documented, Profile::DbgHelp63, Profile::DbgHelp10]),
    ) {
        let mut process = process();
        for (index, place) in &secrets {
            let at = place.start;
            let fits = process.regions.iter().any(|(region, _)| region.range.contains(at) && region.range.contains(at + 16));
            if fits {
                process = process.put(at, secret(*index));
            }
        }
        if let Some((page, is_known)) = fault {
            let at = HEAP + page * 0x1000;
            process = if is_known { process.unreadable(at, 0x1000) } else { process.fails_when_read(at, 0x1000) };
        }
        let mut request = request(dump_type).fetch_limit(fetch_limit).profile(profile);
        let chain = build(&choices).then(IgnoreReadFailures::new());
        let mut bytes = RefCell::new(Vec::new());
        // The dump goes where the test can examine it, unless a policy has redirected it before.
        let tee = |ask: Ask<'_>| {
            match ask {
                Ask::IoStart { status, .. } => *status = Hresult::S_FALSE,
                Ask::IoWriteAll { bytes: more, status, .. } => {
                    bytes.borrow_mut().extend_from_slice(more);
                    *status = Hresult::S_OK;
                }
                Ask::IoFinish { status, .. } => *status = Hresult::S_OK,
                _ => {}
            }
            true
        };
        let mut policy: Box<dyn Callback + '_> = match budget {
            None => Box::new(Chain::new().then(tee).then(chain)),
            Some(limit) => {
                request = SizeBudget::prepare(request);
                Box::new(Chain::new().then(tee).then(SizeBudget::around(chain, limit)))
            }
        };
        let outcome = dump(&mut process, &request, Some(&mut *policy), &mut Vec::new());
        drop(policy);
        prop_assert_eq!(process.freezes, process.releases);
        let observed = profile != Profile::Documented;
        let report = match outcome {
            // In DbgHelp, an unreadable page of full memory fails the dump without a call.
            Err(Error::Unreadable { .. }) if observed && fault.is_some() => return Ok(()),
            outcome => outcome.unwrap(),
        };
        let dump = Dump::from_bytes(std::mem::take(bytes.get_mut())).unwrap();
        let removes = choices.iter().any(|choice| matches!(choice, Choice::Remove(_)));
        // DbgHelp's removal leaves blocks behind, and affects only some of the memory.
        if !(observed && (removes || budget.is_some())) {
            assert_sound(&dump);
        }
        if let Some(limit) = budget.filter(|_| !observed) {
            prop_assert!(report.memory_bytes <= limit, "{} bytes of {}", report.memory_bytes, limit);
        }
        for choice in &choices {
            match choice {
                Choice::RedactSecret(index) => prop_assert!(dump.contains_nowhere(&secret(*index)).unwrap()),
                Choice::Remove(range) if !observed => {
                    for captured in dump.memory_ranges().unwrap() {
                        let end = captured.address + captured.size;
                        prop_assert!(end <= range.start || range.end <= captured.address, "{:x?}", captured);
                    }
                }
                Choice::RedactRange(range) => {
                    for at in range.clone() {
                        if let Some(byte) = dump.memory(at, 1).unwrap() {
                            prop_assert_eq!(byte, [b'*'], "{:#x}", at);
                        }
                    }
                }
                Choice::Threads(ids) => {
                    prop_assert!(dump.threads().unwrap().iter().all(|thread| !ids.contains(&thread.id)));
                }
                _ => {}
            }
        }
    }
}
