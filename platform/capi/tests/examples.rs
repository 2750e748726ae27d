//! The examples for C programmers, built with two compilers, with and without sanitizers, and run
//! on a live process; and the installed library.
//!
//! Would catch: an example that does not compile or does not do what its comment says, memory
//! errors between C code and the library, an installed library that programs do not find.

#[path = "support/mod.rs"]
mod support;
#[path = "support/twin.rs"]
#[allow(dead_code)]
mod twin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dumpwright_fixtures::repository;
use minidump::{Minidump, MinidumpModuleList, MinidumpThreadList, UnifiedMemoryList};
use twin::Twin;

/// The secret in the twin's memory. `twin.c` writes it there letter by letter.
const SECRET: &str = "open-sesame-4711";

/// Returns the byte at an offset of PRIV in the twin, outside of the secret.
fn private_byte(offset: u64) -> u8 {
    (3 + offset % 251) as u8
}

const BUILDS: [(&str, &[&str]); 4] = [
    ("gcc", &["-O1"]),
    ("clang", &["-O1"]),
    (
        "gcc",
        &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    ),
    (
        "clang",
        &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    ),
];

fn example(name: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let source = repository().join("examples/c").join(format!("{name}.c"));
    support::compile(&source, name, compiler, flags)
}

fn run(program: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it was just built");
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Returns bytes at an address, if the dump contains all of them.
fn bytes_at(dump: &Minidump<'_, Vec<u8>>, address: u64, len: usize) -> Option<Vec<u8>> {
    let memory = dump
        .get_memory()
        .unwrap_or(UnifiedMemoryList::Memory(Default::default()));
    let memory = memory.memory_at_address(address)?;
    let bytes = (address..)
        .take(len)
        .map(|at| memory.get_memory_at_address::<u8>(at));
    bytes.collect()
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn open(bytes: Vec<u8>) -> Minidump<'static, Vec<u8>> {
    Minidump::read(bytes).expect("a minidump")
}

#[test]
fn every_example_does_what_it_says() {
    let twin = Twin::with_idle_library();
    let id = twin.id.to_string();
    let place = |name: &str| twin.names.address(name);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("example.dmp");
    let path = file.to_str().expect("a plain path");
    for (compiler, flags) in BUILDS {
        let build = |name| example(name, compiler, flags);

        run(&build("filter_modules"), &[&id, path, "libextra.so"]);
        let dump = open(fs::read(&file).expect("the dump"));
        let modules: MinidumpModuleList = dump.get_stream().expect("modules");
        let names: Vec<&str> = modules
            .iter()
            .map(|module| module.name.rsplit('/').next().unwrap_or_default())
            .collect();
        // The stacks refer to the program and the C library.
        assert!(
            names.contains(&"libextra.so") && names.contains(&"twin") && names.contains(&"libc.so.6"),
            "{names:?}"
        );
        assert!(!names.contains(&"libidle.so"), "{names:?}");
        assert!(
            bytes_at(&dump, place("XDATA"), 0x400).is_some(),
            "the data of the named module"
        );
        assert!(
            bytes_at(&dump, place("GLOB"), 1).is_none(),
            "the data of another one"
        );

        let start = place("PRIV") + 0x1100;
        run(
            &build("add_memory"),
            &[&id, path, &format!("{start:#x}"), "0x300"],
        );
        let dump = open(fs::read(&file).expect("the dump"));
        let expected: Vec<u8> = (0x1100..0x1400).map(private_byte).collect();
        assert_eq!(bytes_at(&dump, start, 0x300), Some(expected));
        assert!(bytes_at(&dump, start + 0x300, 1).is_none());

        let output = run(&build("redact"), &[&id, path, SECRET]);
        let dump = fs::read(&file).expect("the dump");
        assert!(!contains(&dump, SECRET.as_bytes()));
        assert!(
            !contains(&dump, &SECRET.as_bytes()[5..]),
            "the part behind a border of pages"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2 times\n");
        let around =
            bytes_at(&open(dump), place("PRIV") + 0x5000 - 1, SECRET.len() + 2).expect("private memory");
        assert_eq!(around[0], private_byte(0x4fff));
        assert_eq!(&around[1..=SECRET.len()], [b'*'; 16]);

        let output = run(&build("stream"), &[&id]);
        assert!(
            contains(&output.stdout, SECRET.as_bytes()),
            "without a limit, the memory with the secret is in the dump"
        );
        let whole = output.stdout.len();
        let output = run(&build("stream"), &[&id, "0x8000"]);
        let dump = open(output.stdout.clone());
        assert!(dump.get_memory().is_some());
        assert!(
            output.stdout.len() + 0x8000 < whole,
            "{} of {whole}",
            output.stdout.len()
        );
        let lacks = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(
            lacks.contains("dropped to stay within the size budget"),
            "{lacks}"
        );
    }
    twin.end();
}

/// Sanitizers run in the dumped process here, with locks of their own.
#[test]
fn a_program_dumps_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("itself.dmp");
    for (compiler, flags) in BUILDS {
        let flags = [flags, &["-pthread"]].concat();
        let program = example("dump_itself", compiler, &flags);
        let output = run(&program, &[file.to_str().expect("a plain path")]);
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let dump = open(fs::read(&file).expect("the dump"));
        let threads: MinidumpThreadList<'_> = dump.get_stream().expect("threads");
        // The first thread; not the one that is left out, and not the library's own.
        let ids: Vec<u32> = threads
            .threads
            .iter()
            .map(|thread| thread.raw.thread_id)
            .collect();
        assert_eq!(text, format!("{} this thread\n", ids[0]), "{compiler} {flags:?}");
        assert_eq!(ids.len(), 1);
        let memory = UnifiedMemoryList::default();
        let stack = threads.threads[0].stack_memory(&memory);
        assert!(stack.is_some(), "{compiler} {flags:?}");
    }
}

#[test]
fn failures_are_told_in_words_and_numbers() {
    let output = Command::new(example("stream", "gcc", &["-O1"]))
        .arg("2147483632")
        .output()
        .expect("it was just built");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        text.contains("no process with this id") && text.contains("0x80070057"),
        "{text}"
    );
}

#[test]
fn the_installed_library_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let prefix = folder.path().join("prefix");
    let succeeds = |command: &mut Command| {
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; cargo xtask readers installs it"));
        assert!(
            output.status.success(),
            "{command:?}:\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    succeeds(
        Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--", "install-capi"])
            .arg(&prefix)
            .arg("dev")
            .current_dir(repository()),
    );
    let twin = Twin::start();
    let id = twin.id.to_string();

    // By pkg-config.
    let flags = succeeds(
        Command::new("pkg-config")
            .args(["--cflags", "--libs", "dumpwright"])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
    );
    let program = folder.path().join("stream");
    succeeds(
        Command::new("gcc")
            .arg(repository().join("examples/c/stream.c"))
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(&program),
    );
    let dump = Command::new(&program)
        .arg(&id)
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .output()
        .expect("it was just built");
    assert!(dump.status.success() && dump.stdout.starts_with(b"MDMP"));

    // By CMake, all examples. CMake stores the path of the library in the programs.
    let build = folder.path().join("build");
    succeeds(
        Command::new("cmake")
            .arg("-S")
            .arg(repository().join("examples/c"))
            .arg("-B")
            .arg(&build)
            .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())),
    );
    succeeds(Command::new("cmake").arg("--build").arg(&build));
    let file = folder.path().join("by-cmake.dmp");
    run(
        &build.join("filter_modules"),
        &[&id, file.to_str().expect("a plain path")],
    );
    assert!(fs::read(&file).expect("the dump").starts_with(b"MDMP"));

    // An unchanged program for Windows, by pkg-config and by CMake.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/windows_style/iowrite.c");
    let flags = succeeds(
        Command::new("pkg-config")
            .args(["--cflags", "--libs", "dumpwright-windows"])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
    );
    let program = folder.path().join("iowrite");
    succeeds(
        Command::new("gcc")
            .arg(&source)
            .args(flags.split_whitespace())
            .arg(format!("-Wl,-rpath,{}", prefix.join("lib").display()))
            .arg("-o")
            .arg(&program),
    );
    let project = folder.path().join("project");
    fs::create_dir(&project).expect("a folder of ours");
    let text = fs::read_to_string(&source).expect("the source");
    let text = text
        .replace("windows.h", "Windows.h")
        .replace("dbghelp.h", "DbgHelp.h");
    fs::write(project.join("iowrite.c"), text).expect("a file of ours");
    fs::write(
        project.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.16)\nproject(unchanged C)\nfind_package(dumpwright REQUIRED)\n\
         add_executable(iowrite iowrite.c)\ntarget_link_libraries(iowrite dumpwright::windows)\n",
    )
    .expect("a file of ours");
    let build = folder.path().join("project-build");
    succeeds(
        Command::new("cmake")
            .arg("-S")
            .arg(&project)
            .arg("-B")
            .arg(&build)
            .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())),
    );
    succeeds(Command::new("cmake").arg("--build").arg(&build));
    for program in [program, build.join("iowrite")] {
        let file = folder.path().join("unchanged.dmp");
        let output = run(&program, &[&id, file.to_str().expect("a plain path")]);
        assert!(output.stdout.ends_with(b"closed\n"));
        assert!(fs::read(&file).expect("the dump").starts_with(b"MDMP"));
    }

    // The static library, with the flags that pkg-config lists for it.
    let flags = succeeds(
        Command::new("pkg-config")
            .args(["--static", "--libs", "--cflags", "dumpwright"])
            .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")),
    );
    let flags = flags.replace("-ldumpwright", "-l:libdumpwright.a");
    let program = folder.path().join("static-stream");
    succeeds(
        Command::new("gcc")
            .arg(repository().join("examples/c/stream.c"))
            .args(flags.split_whitespace())
            .arg("-o")
            .arg(&program),
    );
    assert!(run(&program, &[&id]).stdout.starts_with(b"MDMP"));
    twin.end();
}
