//! The recipes of `docs/recipes.md`, each on a simulated process.

use std::fs;
use std::path::Path;

use dumpwright::policy::{PolicyFile, ProcessTexts};
use dumpwright::target::RegionKind;

use super::*;

const SAMPLER_STACK: u64 = STACK_8 + 0x10_0000;
/// Two pages of shared memory.
const SHARED: u64 = HEAP + 0x100_0000;
/// Where the secret is in the heap.
const SECRET_AT: u64 = HEAP + 0x3008;
/// What the environment and the arguments have.
const TOKEN: &[u8] = b"token-of-the-environment";
const ARGUMENT: &[u8] = b"--password=of-the-arguments";

/// The process above with names of threads, a third thread, shared memory, and secrets in its heap.
fn server() -> SimProcess {
    let mut process = process()
        .thread(9, SAMPLER_STACK + 0x3000, CODE + 0x3000)
        .memory(SAMPLER_STACK, 0x4000, READWRITE, Contents::Counting)
        .memory(SHARED, 0x2000, READWRITE, Contents::Counting)
        .put(SECRET_AT, SECRET)
        .put(HEAP + 0x5000, TOKEN)
        .put(HEAP + 0x6000, ARGUMENT)
        .put(HEAP + 0x7000, *b"/home/alice/notes");
    for (thread, name) in process.threads.iter_mut().zip(["main", "worker-1", "sampler-1"]) {
        thread.name = Some(name.to_owned());
    }
    for (region, _) in &mut process.regions {
        match region.range.start() {
            SHARED => region.kind = Some(RegionKind::Mapped),
            start if start < HEAP => region.kind = Some(RegionKind::Image),
            _ => {}
        }
    }
    let registers = Amd64 {
        rip: CODE + 0x1234,
        rsp: STACK + 0x1000,
        rdi: HEAP + 0x2100,
        ..Amd64::default()
    };
    process.threads[0].context = Some(registers.to_context());
    process
}

/// The recipes: heading and policy.
fn recipes() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    let text = fs::read_to_string(file).unwrap();
    let sections = text.split("\n## ").skip(1);
    let recipes = sections.map(|section| {
        let (heading, rest) = section.split_once('\n').unwrap();
        let (_, rest) = rest.split_once("```toml\n").expect(heading);
        let (policy, _) = rest.split_once("```").expect(heading);
        (heading.to_owned(), policy.to_owned())
    });
    recipes.collect()
}

/// Dumps the server, or another process, by a recipe.
fn cook_on(process: &mut SimProcess, heading: &str) -> Dumped {
    let folder = tempfile::tempdir().unwrap();
    let secrets = folder.path().join("secrets.txt");
    fs::write(&secrets, [SECRET, b"\n"].concat()).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let all = recipes();
    let (_, text) = all.iter().find(|(known, _)| known == heading).expect(heading);
    let file = folder.path().join("recipe.toml");
    let policy = PolicyFile::parse(text, file.to_str().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let texts = ProcessTexts {
        environment: Some([b"TOKEN=", TOKEN, b"\0"].concat()),
        command_line: Some([b"server\0", ARGUMENT, b"\0"].concat()),
    };
    let mut policies = policy.policies(&texts).unwrap();
    let request = policy.request(request(0));
    let mut dumped = run_on(process, &request, &mut policies);
    policies.conclude(&mut dumped.report);
    dumped
}

fn cook(heading: &str) -> Dumped {
    cook_on(&mut server(), heading)
}

impl Dumped {
    fn has_all(&self, ranges: &[(u64, u64)]) -> bool {
        ranges
            .iter()
            .all(|(start, end)| self.dump.has_memory(*start, end - start).unwrap())
    }

    fn has_byte(&self, address: u64) -> bool {
        self.dump.has_memory(address, 1).unwrap()
    }
}

#[test]
fn there_are_twenty_recipes_and_each_has_a_test() {
    let tests = include_str!("recipes.rs");
    let all = recipes();
    assert!(all.len() >= 20, "{}", all.len());
    for (heading, text) in all {
        assert!(tests.contains(&format!("cook(\"{heading}\")")), "{heading}");
        assert!(text.lines().count() <= 12, "{heading}: {text}");
    }
}

#[test]
fn presets_that_are_recipes() {
    let first_look = cook("A first look");
    assert_eq!(first_look.threads(), [7, 8, 9]);
    assert_eq!(first_look.modules(), ["program", "libplugin.so.1"]);
    assert!(first_look.has_all(&STACKS));
    assert!(first_look.has_byte(HEAP + 0x2000) && first_look.has_byte(HEAP + 0x24FF));
    assert!(!first_look.has_byte(HEAP + 0x2500) && !first_look.has(SECRET));

    let small = cook("A dump that is small enough to upload");
    assert!(memory_bytes(&small) <= 16 << 10, "{}", memory_bytes(&small));
    assert_eq!(small.threads(), [7, 8, 9]);
    let mut dropped = small.report.left_out();
    assert!(
        dropped.any(|loss| loss.reason.contains("size limit")),
        "{:?}",
        small.report
    );

    let mut process = server().put(STACK + 0x1100, SECRET);
    let traces = cook_on(&mut process, "Stack traces without private data");
    assert!(traces.has_byte(STACK + 0x1100) && !traces.has(SECRET));
    assert!(!cook("Stack traces without private data").has_byte(HEAP));

    let everything = cook("Everything");
    assert!(everything.has(SECRET) && everything.has_byte(SHARED) && everything.has_byte(CODE));
    assert!(everything.dump.stream(16).is_some(), "MemoryInfoList");
}

#[test]
fn recipes_for_threads() {
    let short = cook("Short stacks");
    assert_eq!(short.threads(), [7, 8, 9]);
    assert!(short.has_all(&[
        (STACK + 0x1000, STACK + 0x2000),
        (STACK_8 + 0x800, STACK_8 + 0x1800)
    ]));
    assert!(!short.has_byte(STACK + 0x2000) && !short.has_byte(STACK_8 + 0x1800));

    let one = cook("The whole stack of one thread");
    assert!(one.has_all(&[STACKS[0], (STACK_8 + 0x800, STACK_8 + 0x1800)]));
    assert!(!one.has_byte(STACK_8 + 0x1800));

    let without = cook("No helper threads");
    assert_eq!(without.threads(), [7, 8]);
    assert!(without.has_all(&STACKS) && !without.has_byte(SAMPLER_STACK + 0x3800));

    let main = cook("One thread");
    assert_eq!(main.threads(), [7]);
    assert!(main.has_all(&STACKS[..1]) && !main.has_byte(STACK_8 + 0x1000));

    let idle = cook("Idle threads without stacks");
    assert_eq!(idle.threads(), [7, 8, 9]);
    assert!(idle.has_byte(STACK + 0x1000) && !idle.has_byte(STACK_8 + 0x1000));
    assert!(idle.dump.threads().unwrap()[1].context.is_some());
}

/// A short stack in a dump of all memory loses whole pages beyond the limit.
#[test]
fn stacks_are_cut_in_dumps_of_all_memory_as_well() {
    let text = "type = \"with-full-memory\"\n[threads]\nstack = \"4KiB\"\nwhole-stack = [8]";
    let policy = PolicyFile::parse(text, "text").unwrap();
    let mut policies = policy.policies(&ProcessTexts::default()).unwrap();
    let dumped = run_on(&mut server(), &policy.request(request(0)), &mut policies);
    assert!(dumped.has_all(&[(STACK, STACK + 0x2000), STACKS[1], (HEAP, HEAP + 0x1_0000)]));
    assert!(!dumped.has_byte(STACK + 0x2000) && !dumped.has_byte(STACK + 0x3FFF));
}

#[test]
fn recipes_for_modules() {
    let mut process = server();
    process.modules[1].path = "/usr/lib/libplugin.so.1".to_owned();
    assert_eq!(
        cook_on(&mut process, "Only our own modules").modules(),
        ["/opt/program"]
    );
    assert_eq!(
        cook("Only our own modules").modules().len(),
        2,
        "both are below /opt"
    );
    assert_eq!(cook("No plug-ins").modules(), ["/opt/program"]);
    let variables = cook("Global variables of one library");
    assert_eq!(variables.modules().len(), 2);
    assert!(variables.has_byte(LIBRARY + 0x2000) && !variables.has_byte(CODE + 0x8000));
}

#[test]
fn recipes_for_memory() {
    let heap = cook("The heap, with a limit");
    assert!(memory_bytes(&heap) <= 48 << 10 && heap.has_all(&STACKS));
    assert!(heap.report.left_out().count() > 0);

    let private = cook("All memory without shared memory");
    assert!(!private.has_byte(SHARED) && private.has_byte(HEAP) && private.has_byte(CODE));

    let changed = cook("Only what the process has changed");
    assert!(!changed.has_byte(SHARED) && !changed.has_byte(CODE));
    assert!(changed.has_all(&[(HEAP, HEAP + 0x1_0000), STACKS[0], STACKS[1]]));

    let data = cook("Global variables before the heap");
    assert!(data.has_byte(CODE + 0x8000) && data.has_byte(LIBRARY + 0x2000) && data.has_byte(SHARED));
    assert!(!data.has_byte(HEAP) && memory_bytes(&data) <= 64 << 10);
    assert!(data.has_all(&STACKS));

    let objects = cook("Objects that registers point to");
    assert!(objects.has_all(&[(HEAP + 0x2100 - 64, HEAP + 0x2100 + 512)]));
    assert!(!objects.has_byte(HEAP + 0x2100 - 65) && !objects.has_byte(HEAP + 0x2100 + 512));

    let table = cook("A table at a known address");
    assert!(table.has_all(&[(HEAP + 0x2000, HEAP + 0x3000)]) && !table.has_byte(HEAP + 0x3000));

    let without = cook("Without the key store");
    assert!(!without.has(SECRET) && !without.has_byte(HEAP + 0x3000) && without.has_byte(HEAP + 0x4000));
}

#[test]
fn recipes_that_overwrite() {
    let is_free_of = |dumped: &Dumped, secret: &[u8]| {
        let half = &secret[..secret.len() / 2];
        !dumped.bytes.windows(half.len()).any(|bytes| bytes == half)
    };
    let passwords = cook("Without passwords");
    assert!(is_free_of(&passwords, SECRET) && passwords.has_byte(SECRET_AT) && passwords.has(TOKEN));
    assert!(
        passwords
            .report
            .notes()
            .any(|note| note.reason.contains("redacted: 1 places"))
    );

    let environment = cook("Without the environment");
    assert!(is_free_of(&environment, TOKEN) && is_free_of(&environment, ARGUMENT));
    assert!(environment.has_byte(HEAP + 0x5000) && environment.has(SECRET));

    let bytes = cook("Without bytes at known addresses");
    assert!(is_free_of(&bytes, SECRET) && bytes.has_byte(SECRET_AT));
    assert_eq!(bytes.dump.memory(HEAP + 0x3000, 8).unwrap().unwrap(), [b'*'; 8]);
    assert_ne!(bytes.dump.memory(HEAP + 0x4000, 8).unwrap().unwrap(), [b'*'; 8]);

    let user = cook("Without the name of the user");
    assert!(is_free_of(&user, b"/home/alice") && user.has(b"/notes"));
    assert_eq!(user.modules(), ["program", "libplugin.so.1"]);
}

#[test]
fn losses_can_be_acceptable() {
    let heading = "A server that must not stand still";
    let lossy = || server().fails_when_read(HEAP + 0x4000, 0x1000);
    let strict = PolicyFile::parse("type = \"with-private-read-write-memory\"", "text").unwrap();
    let mut policies = strict.policies(&ProcessTexts::default()).unwrap();
    let mut plain = run_on(&mut lossy(), &strict.request(request(0)), &mut policies);
    policies.conclude(&mut plain.report);
    assert!(
        !plain.report.is_complete(),
        "without the key, the dump is partial"
    );
    let dumped = cook_on(&mut lossy(), heading);
    assert!(dumped.report.is_complete(), "{:?}", dumped.report);
    let accepted = dumped
        .report
        .left_out()
        .filter(|loss| loss.reason.contains("accepts this loss"));
    assert!(accepted.count() > 0 && !dumped.has_byte(HEAP + 0x4800));
    let dumped = cook("A server that must not stand still");
    assert!(dumped.report.is_complete() && dumped.has_byte(HEAP + 0x4800));
    // A dump without threads is of no use, whatever is acceptable.
    let (_, text) = recipes().into_iter().find(|(known, _)| known == heading).unwrap();
    let policy = PolicyFile::parse(&text, "text").unwrap();
    let asked = format!("{:?}", policy.request(request(0)));
    assert!(asked.contains("max_pause: Some(500ms)"), "{asked}");
    let mut report = plain.report;
    report.threads = 0;
    policy
        .policies(&ProcessTexts::default())
        .unwrap()
        .conclude(&mut report);
    assert!(!report.is_complete());
}
