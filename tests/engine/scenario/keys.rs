//! The effect of each key on the dump.

use std::collections::BTreeMap;

use dumpwright::Ask;
use dumpwright::callback::Hresult;
use dumpwright::read::{CodeView, Platform};
use dumpwright::target::{Need, Target};

use super::*;

#[test]
fn process_and_system() {
    let dump = read(
        r#"
        [process]
        id = 77
        clock = 1234567
        times = { created = 1000, user = 20, kernel = 3 }
        power = { max = 3000, current = 2000, limit = 2500, max_idle_state = 2, idle_state = 1 }
        [process.time_zone]
        id = 2
        bias = -60
        name = "CET"
        standard = { begins = [0, 10, 0, 5, 3, 0, 0, 0], bias = 5 }
        daylight = { name = "CEST", begins = [0, 3, 0, 5, 2, 0, 0, 1], bias = -55 }
        [system]
        platform = "linux"
        version = "5.4.3"
        version_text = "Linux 5.4.3"
        product_type = 3
        suite_mask = 0x110
        build = "a build"
        processors = 3
        level = 25
        revision = 0x0102
        page_size = 0x4000
        cpuid = { vendor = "AuthenticAMD", version = 1, features = 2, amd_features = 3 }
        [[memory]]
        base = 0x4000
        size = 0x4000
        [[thread]]
        id = 1
        registers = { rip = 0, rsp = 0x5000 }
        "#,
        0,
    );
    assert_eq!(dump.header().time, 1_234_567);
    let misc = dump.misc_info().unwrap().unwrap();
    assert_eq!(misc.process_id, Some(77));
    assert_eq!(
        (
            misc.process_create_time,
            misc.process_user_time,
            misc.process_kernel_time
        ),
        (Some(1000), Some(20), Some(3))
    );
    let power = misc.processor_power.unwrap();
    assert_eq!(
        (power.max_mhz, power.current_mhz, power.mhz_limit),
        (3000, 2000, 2500)
    );
    assert_eq!((power.max_idle_state, power.current_idle_state), (2, 1));
    let zone = misc.time_zone.unwrap();
    assert_eq!(
        (
            zone.id,
            zone.bias,
            &zone.standard_name[..],
            &zone.daylight_name[..]
        ),
        (2, -60, "CET", "CEST")
    );
    // The dates and biases, at their offsets in TIME_ZONE_INFORMATION. It starts at offset 60 of
    // the stream.
    let bytes = dump.stream_bytes(15).unwrap().unwrap();
    let words = |at: usize| -> Vec<u16> {
        let words = bytes[60 + at..60 + at + 20].chunks(2);
        words.map(|word| u16::from_le_bytes([word[0], word[1]])).collect()
    };
    assert_eq!(words(68), [0, 10, 0, 5, 3, 0, 0, 0, 5, 0]);
    assert_eq!(
        words(152),
        [0, 3, 0, 5, 2, 0, 0, 1, (-55_i16).cast_unsigned(), 0xffff]
    );
    assert_eq!(misc.build_string.as_deref(), Some("a build"));
    let system = dump.system_info().unwrap().unwrap();
    assert_eq!(
        (system.major_version, system.minor_version, system.build_number),
        (5, 4, 3)
    );
    assert_eq!(system.csd_version.as_deref(), Some("Linux 5.4.3"));
    assert_eq!((system.product_type, system.suite_mask), (3, 0x110));
    assert_eq!(
        (
            system.number_of_processors,
            system.processor_level,
            system.processor_revision
        ),
        (3, 25, 0x0102)
    );
    assert_eq!(system.cpu_vendor(), Some("AuthenticAMD"));
    assert_eq!(system.cpu_information[12..16], 1_u32.to_le_bytes());

    let dump = read(
        "[system]\nplatform = \"windows\"\ncpu = \"amd64\"\nfeatures = [0x1122, 3]\n",
        0,
    );
    let system = dump.system_info().unwrap().unwrap();
    assert!(
        matches!(system.platform, Platform::Windows),
        "{:?}",
        system.platform
    );
    assert_eq!(system.cpu_information[..8], 0x1122_u64.to_le_bytes());
}

#[test]
fn a_snapshot_may_be_announced_as_one() {
    let mut announce = |ask: Ask<'_>| {
        if let Ask::IsProcessSnapshot { status } = ask {
            *status = Hresult::S_FALSE;
        }
        true
    };
    let text = with("[process]\nsnapshot = true\n");
    assert!(try_dump(&mut parse(&text), 0, Some(&mut announce)).is_ok());
    let error = try_dump(&mut parse(&with("")), 0, Some(&mut announce)).unwrap_err();
    assert_eq!(error.hresult(), Hresult(0x8007_007F));
}

#[test]
fn memory_has_the_protection_and_the_contents_that_are_said() {
    let text = with(
        r#"
        [[memory]]
        name = "words"
        base = 0x1000
        size = 0x1000
        protect = "PAGE_READWRITE | PAGE_NOCACHE"
        content = { words = ["heap+8", 3, "words-1"] }
        [[memory]]
        name = "text"
        base = 0x3000
        size = 0x3000
        kind = "mapped"
        protect = "r--"
        allocation = 0x2000
        allocation_protect = "PAGE_WRITECOPY"
        content = { text = "häh" }
        put = [{ offset = 0x1ffe, hex = "de ad be ef" }, { offset = 0x1fff, text = "!" }]
        parts = [{ offset = 0x1000, size = 0x1000, protect = "PAGE_EXECUTE_READ", exclusion = "dont-dump" }]
        [[memory]]
        base = 0x8000
        size = 0x1000
        content = { fill = 0x5A }
        [[memory]]
        base = 0x9000
        size = 0x1000
        content = "untouched"
        [[memory]]
        base = 0xA000
        size = 0x1000
        content = { pattern = 5 }
        [[memory]]
        base = 0xB000
        size = 0x1000
        state = "reserve"
        [[memory]]
        base = 0xC000
        size = 0x1000
        exclusion = "device"
        [[memory]]
        base = 0xD000
        size = 0x1000
        kind = "image"
        protect = 0x80
        "#,
    );
    let dump = read(&text, FULL);
    let at = |address, len| dump.memory(address, len).unwrap();
    assert_eq!(
        at(0x1000, 24).unwrap(),
        [HEAP + 8, 3, 0xFFF].map(u64::to_le_bytes).concat()
    );
    assert_eq!(at(0x3000, 5).unwrap(), b"h\xc3\xa4h\0");
    assert_eq!(
        at(0x5000, 2).unwrap(),
        [0xbe, 0xef],
        "the first half lies in the part that is left out"
    );
    assert_eq!(at(0x4000, 1), None);
    assert_eq!(at(0x8000, 0x1000).unwrap(), [0x5A; 0x1000]);
    assert_eq!(at(0x9000, 0x1000).unwrap(), [0; 0x1000]);
    assert_ne!(at(0xA000, 8).unwrap(), [0; 8]);
    assert_eq!(at(0xB000, 1), None);
    assert_eq!(at(0xC000, 1), None);

    let map: BTreeMap<_, _> = dump
        .memory_regions()
        .unwrap()
        .into_iter()
        .map(|r| {
            (
                r.base,
                (
                    r.size,
                    r.allocation_base,
                    r.allocation_protect,
                    r.state,
                    r.protect,
                    r.kind,
                ),
            )
        })
        .collect();
    assert_eq!(map[&0x1000], (0x1000, 0x1000, 0x204, 0x1000, 0x204, 0x2_0000));
    assert_eq!(map[&0x3000], (0x1000, 0x2000, 8, 0x1000, 2, 0x4_0000));
    assert_eq!(map[&0x4000], (0x1000, 0x2000, 8, 0x1000, 0x20, 0x4_0000));
    assert_eq!(map[&0x5000], (0x1000, 0x2000, 8, 0x1000, 2, 0x4_0000));
    assert_eq!(map[&0xB000], (0x1000, 0xB000, 4, 0x2000, 0, 0x2_0000));
    assert_eq!(map[&0xD000], (0x1000, 0xD000, 0x80, 0x1000, 0x80, 0x100_0000));
}

#[test]
fn protection_keeps_a_dumper_out_unless_the_system_lets_it_in() {
    let text = with(
        r#"
        [[memory]]
        name = "odd"
        base = 0x10000
        size = 0x4000
        content = "counting"
        parts = [
            { offset = 0x0, size = 0x1000, protect = "---" },
            { offset = 0x1000, size = 0x1000, protect = "rw- | PAGE_GUARD" },
            { offset = 0x2000, size = 0x1000, state = "reserve" },
        ]
        "#,
    );
    let readable = |text: &str| {
        let mut process = parse(text);
        let mut still = process.freeze(&Need::default()).unwrap();
        [0x1_0000, 0x1_1000, 0x1_2000, 0x1_3000].map(|at| still.read(at, &mut [0; 8]).is_ok())
    };
    assert_eq!(readable(&text), [false, false, false, true]);
    let open = text.replace("\"linux\"", "\"linux\"\nreads_any_protection = true");
    assert_eq!(readable(&open), [true; 4]);
}

#[test]
fn modules_have_the_records_that_are_said() {
    let text = with(
        r#"
        [[module]]
        name = "two"
        path = 'C:\a\two.dll'
        base = 0x1000_0000
        size = 0x3000
        checksum = 1
        timestamp = 2
        version = "1.2.3.4"
        pdb = { name = "two.pdb", guid = "{01234567-89ab-cdef-0123-456789abcdef}", age = 10 }
        misc = "01 02 03 04"
        [[module]]
        path = "/three"
        base = 0x1000_2000
        size = 0x3000
        may_overlap = true
        codeview = "4c4570 42 aa"
        [[symbol]]
        name = "inside"
        at = "two+0x100"
        size = 0x10
        "#,
    );
    let process = parse(&text);
    assert_eq!(
        process.symbols().describe(0x1000_0108).as_deref(),
        Some("inside+0x8")
    );
    assert_eq!(process.symbols().resolve("three+1"), Ok(0x1000_2001));
    assert_eq!(process.modules[1].misc_record, [1, 2, 3, 4]);
    let modules = read(&text, 0).modules().unwrap();
    let two = &modules[1];
    assert_eq!(
        (two.name.as_deref(), two.base, two.size),
        (Some(r"C:\a\two.dll"), 0x1000_0000, 0x3000)
    );
    assert_eq!(
        (two.checksum, two.timestamp, two.version.as_deref()),
        (1, 2, Some("1.2.3.4"))
    );
    assert_eq!(two.debug_id.as_deref(), Some("0123456789ABCDEF0123456789ABCDEFa"));
    assert!(
        matches!(&two.code_view, Some(CodeView::Pdb70 { .. })),
        "{:?}",
        two.code_view
    );
    assert!(
        matches!(&modules[2].code_view, Some(CodeView::Elf { .. })),
        "{:?}",
        modules[2].code_view
    );
    assert_eq!(modules[0].name.as_deref(), Some("/opt/program"));
    // Windows packs each number into half a word.
    let windows = with("").replace("\"linux\"", "\"windows\"");
    let process = parse(&windows.replace(
        "build_id",
        "version = \"1.2.3.4\"\nproduct_version = \"5.6\"\nbuild_id",
    ));
    let words = process.modules[0].version.unwrap();
    assert_eq!(
        words[..6],
        [0xFEEF_04BD, 0x1_0000, 0x1_0002, 0x3_0004, 0x5_0006, 0]
    );
}

#[test]
fn threads_have_what_is_said() {
    let text = with(
        r#"
        [[thread]]
        id = 8
        name = "wörker"
        teb = "heap+0x10"
        stack = { limit = "heap", base = "heap+0x3000" }
        priority = -15
        priority_class = 0x40
        suspend_count = 2
        times = { created = 1, kernel = 2, user = 3 }
        start_address = "program+0x1000"
        affinity = 0xF
        interrupted = ["stack+0x3f00"]
        [thread.registers]
        rip = "program+0x1200"
        rsp = "heap+0x2000"
        rax = 0xffff_ffff_ffff_ffff
        r15 = "stack+1"
        eflags = 0x202
        cs = 0x23
        gs = 7
        dr0 = "heap+0x20"
        mxcsr = 0x1fa0
        xmm15 = "000102030405060708090a0b0c0d0e0f"
        [[thread]]
        id = 9
        stack = "heap"
        stack_outside_memory = true
        registers = { rip = 0, rsp = 0x10 }
        "#,
    );
    let dump = read(&text, 0x1000);
    let threads = dump.threads().unwrap();
    let thread = &threads[1];
    assert_eq!(
        (thread.id, thread.name.as_deref(), thread.teb),
        (8, Some("wörker"), HEAP + 0x10)
    );
    assert_eq!((thread.stack.start, thread.stack.size), (HEAP + 0x2000, 0x1000));
    assert_eq!(
        (thread.priority, thread.priority_class, thread.suspend_count),
        (-15, 0x40, 2)
    );
    let info = thread.info.as_ref().unwrap();
    assert_eq!(
        (info.create_time, info.kernel_time, info.user_time, info.affinity),
        (1, 2, 3, 0xF)
    );
    assert_eq!(info.start_address, 0x40_1000);
    assert!(
        dump.has_memory(STACK + 0x3f00, 0x100).unwrap(),
        "the interrupted stack"
    );
    let at = usize::try_from(thread.context_location.rva).unwrap();
    let context = &dumped(&mut parse(&text), 0x1000).1[at..at + 1232];
    // Offsets as in winnt.h.
    assert_eq!(
        context[0x30..0x34],
        0x10_001F_u32.to_le_bytes(),
        "all of ContextFlags"
    );
    assert_eq!(context[0x34..0x38], 0x1fa0_u32.to_le_bytes());
    assert_eq!(
        (context[0x38], context[0x40], context[0x44..0x48].to_vec()),
        (0x23, 7, vec![2, 2, 0, 0])
    );
    assert_eq!(context[0x48..0x50], (HEAP + 0x20).to_le_bytes(), "Dr0");
    assert_eq!(context[0x78..0x80], [0xFF; 8], "Rax");
    assert_eq!(context[0xF0..0xF8], (STACK + 1).to_le_bytes(), "R15");
    assert_eq!(context[0xF8..0x100], 0x40_1200_u64.to_le_bytes(), "Rip");
    assert_eq!(context[0x290..0x2A0], *(0..16).collect::<Vec<u8>>(), "Xmm15");
    // After an overflow, the stack pointer is outside; the stack is the one that is named.
    assert_eq!((threads[2].stack.start, threads[2].stack.size), (HEAP, 0x8000));
}

#[test]
fn handles_and_unloaded_modules_are_listed_on_request() {
    let text = with(
        r#"
        [[handle]]
        number = 9
        type = "Event"
        [[handle]]
        number = 4
        type = "File"
        object = "/dev/null"
        attributes = 1
        access = 2
        handle_count = 3
        pointer_count = 4
        [[unloaded_module]]
        name = "gone.so"
        base = 0x9000_0000
        size = 0x1000
        checksum = 5
        timestamp = 6
        "#,
    );
    let dump = read(&text, 0x24);
    let handles = dump.handles().unwrap();
    assert_eq!(
        handles.iter().map(|handle| handle.handle).collect::<Vec<_>>(),
        [4, 9]
    );
    let file = &handles[0];
    assert_eq!(
        (file.type_name.as_deref(), file.object_name.as_deref()),
        (Some("File"), Some("/dev/null"))
    );
    assert_eq!(
        (
            file.attributes,
            file.granted_access,
            file.handle_count,
            file.pointer_count
        ),
        (1, 2, 3, 4)
    );
    let gone = &dump.unloaded_modules().unwrap()[0];
    assert_eq!(
        (gone.name.as_deref(), gone.base, gone.size),
        (Some("gone.so"), 0x9000_0000, 0x1000)
    );
    assert_eq!((gone.checksum, gone.timestamp), (5, 6));
    let plain = read(&text, 0);
    assert!(plain.handles().unwrap().is_empty() && plain.unloaded_modules().unwrap().is_empty());
}
