//! Presets are dump types with matching policies.

use super::*;

#[test]
fn presets_are_types_and_policies_that_fit() {
    let mut process = process()
        .put(HEAP + 0x3000, SECRET)
        .fails_when_read(HEAP + 0x4000, 0x1000);
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        rdi: HEAP + 0x3000,
        rsi: HEAP + 0x4800,
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());

    let mut first_look = Preset::first_look();
    let dumped = run_on(&mut process, &first_look.request(), &mut first_look);
    assert!(dumped.has(SECRET));
    assert_eq!(dumped.modules(), ["program", "libplugin.so.1"]);
    assert!(
        !dumped.dump.has_memory(HEAP + 0x4800, 1).unwrap(),
        "and no failure"
    );

    let mut discreet = Preset::discreet(["4111-1111-1111-1111"]);
    let dumped = run_on(&mut process, &discreet.request(), &mut discreet);
    assert!(!dumped.has(SECRET) && dumped.dump.has_memory(HEAP + 0x3000, 32).unwrap());

    let mut for_upload = Preset::for_upload(0x7000);
    let dumped = run_on(&mut process, &for_upload.request(), &mut for_upload);
    assert!(memory_bytes(&dumped) <= 0x7000 && dumped.threads() == [7, 8]);

    let mut everything = Preset::everything().then(Threads::only([7]));
    let (report, bytes) = attempt(&mut process, &everything.request(), &mut everything).unwrap();
    assert_eq!(
        (report.threads, report.memory_bytes),
        (1, 0x8000 + 0x1000 + 0x3000 + 0x10000 + 0x8000)
    );
    assert!(Dump::from_bytes(bytes).unwrap().stream(16).is_some());
}

/// Filtered stacks need no list of secrets.
#[test]
fn stack_traces_alone_are_a_preset() {
    let mut process = process().put(STACK + 0x1100, SECRET);
    let mut preset = Preset::stack_traces();
    let dumped = run_on(&mut process, &preset.request(), &mut preset);
    assert!(!dumped.has(SECRET) && dumped.dump.has_memory(STACK + 0x1100, 32).unwrap());
    assert_eq!(dumped.dump.modules().unwrap()[0].name.as_deref(), Some("program"));
}
