//! What is overwritten or filtered is nowhere in the file.

use super::*;

#[test]
fn secrets_are_overwritten_wherever_they_lie() {
    // At a page border, where two reads of 256 KiB meet, where stack and heap meet, twice, and in
    // UTF-16.
    let wide: Vec<u8> = "4111-1111-1111-1111"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for shift in 0..=SECRET.len() as u64 {
        let mut process = process()
            .memory(HEAP + 0x10000, 0x81000, READWRITE, Contents::Fill(b'.'))
            .put(HEAP + 0x5000 - shift, SECRET)
            .put(HEAP + 0x40000 - shift, SECRET)
            .put(HEAP + 0x10000 + 0x40000 - shift, SECRET)
            .put(HEAP + 0x60000, [SECRET, SECRET].concat())
            .put(HEAP + 0x60100, wide.clone())
            .put(STACK + 0x1000 - shift, SECRET)
            .put(STACK + 0x2fff, SECRET);
        for dump_type in [0x2, 0x200] {
            for fetch_limit in [256 << 20, 0] {
                let request = request(dump_type).fetch_limit(fetch_limit);
                let mut redact = Redact::new().text("4111-1111-1111-1111");
                let dumped = run_on(&mut process, &request, &mut redact);
                assert!(
                    !dumped.has(SECRET) && !dumped.has(&wide),
                    "{shift} {dump_type:#x} {fetch_limit}"
                );
                assert!(redact.redacted().places >= 7);
                let stars = dumped.dump.memory(HEAP + 0x60000 - 1, 40).unwrap().unwrap();
                assert_eq!(String::from_utf8(stars).unwrap(), format!(".{}.", "*".repeat(38)));
                // The bytes around the secret are unchanged, also across a page border.
                let around = dumped
                    .dump
                    .memory(HEAP + 0x5000 - shift - 8, 35)
                    .unwrap()
                    .unwrap();
                assert_eq!(around[8..27], [b'*'; 19]);
                let counted: Vec<u8> = (HEAP + 0x5000 - shift - 8..HEAP + 0x5000 - shift)
                    .map(|at| (at & !7).to_le_bytes()[usize::try_from(at % 8).unwrap()])
                    .collect();
                assert_eq!(around[..8], counted);
            }
        }
    }
}

#[test]
fn no_more_than_three_bytes_of_a_secret_are_left_where_it_is_cut() {
    for cut in 1..SECRET.len() as u64 {
        let mut process = process().put(HEAP + 0x5000, SECRET);
        // The selection cuts the secret in two, and only one part is in the dump.
        for range in [
            HEAP + 0x4000..HEAP + 0x5000 + cut,
            HEAP + 0x5000 + cut..HEAP + 0x6000,
        ] {
            let mut policy = Chain::new()
                .then(AddMemory::new().range(range))
                .then(Redact::new().bytes(SECRET));
            let dumped = run_on(&mut process, &request(0), &mut policy);
            assert!(SECRET.windows(4).all(|part| !dumped.has(part)), "{cut}");
        }
    }
}

#[test]
fn bytes_are_redacted_by_range_and_the_rest_stays() {
    let mut redact = Redact::new()
        .range(STACK + 0x1010..STACK + 0x1020)
        .range(STACK + 0x2ffc..STACK + 0x3004);
    let dumped = run(0, &mut redact);
    let expected = plain(0);
    assert_eq!(dumped.bytes.len(), expected.len());
    let changed = dumped.bytes.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!((1..=24).contains(&changed));
    assert_eq!(
        dumped.dump.memory(STACK + 0x1010, 16).unwrap().unwrap(),
        [b'*'; 16]
    );
    assert_eq!(dumped.dump.memory(STACK + 0x2ffc, 8).unwrap().unwrap(), [b'*'; 8]);
}

#[test]
fn a_cache_does_not_lead_around_a_redaction() {
    let mut process = process().put(STACK + 0x1ff8, SECRET);
    for cache_first in [true, false] {
        let mut cache = ReadCache::new(1 << 20).across_dumps();
        for _ in 0..2 {
            let redact = Redact::new().bytes(SECRET);
            let mut policy = match cache_first {
                true => Chain::new().then_mut(&mut cache).then(redact),
                false => Chain::new().then(redact).then_mut(&mut cache),
            };
            let dumped = run_on(&mut process, &request(0x40), &mut policy);
            assert!(!dumped.has(SECRET), "cache first: {cache_first}");
        }
        assert!(cache.served() > 0);
    }
}

#[test]
fn registers_names_and_debug_records_are_looked_through_too() {
    let key: [u8; 16] = *b"\x01\x23\x45\x67\x89\xab\xcd\xefKEYKEYKE";
    let half = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().unwrap());
    let mut process = process();
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        r8: half(0),
        r9: half(8),
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());
    let mut redact = Redact::new().bytes(key).text("/lib/").bytes([0xAB; 20]);
    let dumped = run_on(&mut process, &request(0), &mut redact);
    assert!(!dumped.has(&key) && !dumped.has(&[0xAB; 20]));
    assert_eq!(dumped.threads(), [7, 8]);
    assert_eq!(dumped.modules(), ["/opt/program"]);
    let redacted = redact.redacted();
    assert_eq!((redacted.threads, redacted.modules), (1, 2));
}

/// In the form of `/proc`. Short values stay, and so do modules in a folder that a variable names.
#[test]
fn environment_arguments_and_folders_are_redacted_in_memory() {
    let environ = b"HOME=/opt/lib\0TOKEN=swordfish-42\0LANG=C\0broken\0";
    let arguments = b"program\0--password=hunter2\0-v\0";
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let mut process = process()
        .put(HEAP, environ.to_vec())
        .put(HEAP + 0x100, arguments.to_vec())
        .put(HEAP + 0x200, wide("swordfish-42"))
        .put(HEAP + 0x300, b"/srv/customers/jo/data".to_vec());
    let mut redact = Redact::new()
        .environment(environ)
        .command_line(arguments)
        .folder("/srv/customers");
    let dumped = run_on(&mut process, &request(0x200), &mut redact);
    for gone in ["swordfish", "/opt/lib", "hunter2", "customers"] {
        assert!(
            !dumped
                .dump
                .memory(HEAP, 0x400)
                .unwrap()
                .unwrap()
                .windows(gone.len())
                .any(|bytes| bytes == gone.as_bytes())
        );
    }
    assert!(dumped.dump.contains_nowhere(&wide("swordfish")).unwrap());
    for stays in ["HOME=", "LANG=C", "program\0", "\0-v", "/jo/data"] {
        assert!(dumped.has(stays.as_bytes()), "{stays}");
    }
    assert_eq!(dumped.modules(), ["/opt/program", "/opt/lib/libplugin.so.1"]);
}

/// Whatever other flags say, a filtered dump has no unused part of a stack and no memory that a
/// crash accessed. A callback that removes registers from the thread also removes them from its
/// exception.
#[test]
fn filters_and_refusals_are_not_undone_by_something_else() {
    const SECRET: u64 = 0x5E5E_5E5E_5E5E_5E5E;
    let process = || {
        SimProcess::new(1000)
            .thread(7, STACK + 0x1000, CODE + 0x1234)
            .module(CODE, 0x9000, "/opt/program", &[0xAB; 20])
            .memory(CODE, 0x8000, EXECUTE_READ, Contents::Counting)
            .memory(HEAP, 0x1000, READWRITE, Contents::Fill(0x5E))
            .memory(STACK, 0x3000, READWRITE, Contents::Fill(0x5E))
    };
    let registers = Amd64 {
        rax: SECRET,
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        ..Amd64::default()
    };
    let exception = Exception {
        thread_id: 7,
        code: 11,
        flags: 1,
        record: 0,
        address: HEAP + 0x800,
        parameters: Vec::new(),
        context: registers.to_context(),
    };
    let has_secret = |bytes: &[u8], len| {
        bytes
            .windows(len)
            .any(|part| part.iter().all(|byte| *byte == 0x5E))
    };
    for dump_type in [0x8, 0x48, 0x108, 0x10_0000, 0x10_0040] {
        let request = Request::new(DumpType::from_bits_retain(dump_type)).exception(exception.clone());
        let mut file = Vec::new();
        dump(&mut process(), &request, None, &mut file).unwrap();
        assert!(!has_secret(&file, 8), "{dump_type:#x}");
    }
    // The heap was requested; the region of the stack was not.
    let mut file = Vec::new();
    dump(
        &mut process(),
        &Request::new(DumpType::from_bits_retain(0x208)),
        None,
        &mut file,
    )
    .unwrap();
    assert!(has_secret(&file, 0x1000) && !has_secret(&file, 0x1001));

    for thread_kept in [true, false] {
        let mut callback = |ask: Ask<'_>| match ask {
            Ask::IncludeThread { keep, .. } => {
                *keep = ThreadWriteFlags::THREAD;
                thread_kept
            }
            _ => true,
        };
        let mut elsewhere = exception.clone();
        elsewhere.address = CODE + 0x1234;
        let request = Request::new(DumpType::NORMAL).exception(elsewhere);
        let mut file = Vec::new();
        let mut ending = Chain::new().then_mut(&mut callback).then(RemoveMemory::new());
        dump(&mut process(), &request, Some(&mut ending), &mut file).unwrap();
        assert!(!has_secret(&file, 8), "kept: {thread_kept}");
    }
}
