//! What these tests would catch: modules that are missing or do not exist, sizes and identities
//! that differ from the file's (as reported by binutils and the dynamic linker), names without a
//! file, and broken headers that make the capture fail.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use dumpwright_target::{Direct, Severity};
use goblin::elf::Elf;
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_LOAD};

use super::*;
use crate::proc_dir::ProcDir;
use crate::regions;
use crate::testing::{Victim, map, poke};

fn modules(dir: &ProcDir) -> (LoadedModules, ProcessMemory) {
    let mappings = regions::mappings(dir).expect("readable");
    let mut memory = ProcessMemory::new(dir, &mappings[..]);
    (LoadedModules::find(&mappings, &mut memory, &mut Direct), memory)
}

fn own() -> ProcDir {
    ProcDir::new(std::process::id()).expect("own process")
}

/// A directory that is removed when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dumpwright-modules-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("writable");
        Self(path)
    }

    /// Compiles C source to a file in this directory.
    fn compiled(&self, name: &str, source: &str, flags: &[&str]) -> PathBuf {
        let (input, output) = (self.0.join("source.c"), self.0.join(name));
        fs::write(&input, source).expect("writable");
        let gcc = Command::new("gcc")
            .args(["-O1", "-nostdlib"])
            .args(flags)
            .arg("-o")
            .arg(&output)
            .arg(&input)
            .output();
        let gcc = gcc.expect("gcc is installed");
        assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
        output
    }

    fn library(&self) -> PathBuf {
        self.compiled(
            "libquad.so.1.2.3rc4",
            "int data[3000] = {1}; int zeros[3000]; int quad(int x) { return 4 * x * data[x & 1] + zeros[x]; }",
            &["-shared", "-fPIC", "-Wl,-soname,libquad.so.1", "-Wl,--build-id=0x00112233445566778899aabbccddeeff"],
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Prints a line to show that it is running, then waits. It needs no C library.
const WAITS: &str = r#"
static long call(long number, long a, const void *b, long c) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}
void _start(void) {
    call(1 /* write */, 1, "\n", 1);
    for (;;) call(34 /* pause */, 0, 0, 0);
}
"#;

/// A running program. Dropping this kills it.
struct Program(Child);

impl Program {
    fn start(path: &Path) -> Self {
        let mut child = Command::new(path).stdout(Stdio::piped()).spawn().expect("starts");
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut [0])
            .expect("prints a line");
        Self(child)
    }

    fn dir(&self) -> ProcDir {
        ProcDir::new(self.0.id()).expect("runs")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the build id of a file, as reported by binutils.
fn readelf_build_id(path: &Path) -> Vec<u8> {
    let output = Command::new("readelf")
        .arg("-n")
        .arg(path)
        .output()
        .expect("binutils are installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let hex = text
        .split("Build ID: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let hex = hex.unwrap_or_default();
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

/// A loadable segment: offset, address, size in the file, size in memory, and access.
type Segment = (u64, u64, u64, u64, i32);

/// Returns the segments of a library, for [`load`].
fn segments(path: &Path) -> Vec<Segment> {
    let bytes = fs::read(path).expect("readable");
    let elf = Elf::parse(&bytes).expect("sound");
    let loads = elf
        .program_headers
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD);
    loads
        .map(|s| {
            let bit = |flag, access| if s.p_flags & flag != 0 { access } else { 0 };
            let access =
                bit(PF_R, libc::PROT_READ) | bit(PF_W, libc::PROT_WRITE) | bit(PF_X, libc::PROT_EXEC);
            (s.p_offset, s.p_vaddr, s.p_filesz, s.p_memsz, access)
        })
        .collect()
}

/// Maps a library, which starts at the offset `within` of a file, like a dynamic linker. For use in
/// [`Victim::that`].
fn load(fd: i32, within: u64, segments: &[Segment]) -> u64 {
    let end = segments
        .iter()
        .map(|s| s.1 + s.3)
        .max()
        .unwrap_or(0)
        .next_multiple_of(4096);
    // More than the span, so that no other mapping can be adjacent.
    let base = map(end as usize + 0x20000, libc::PROT_NONE, libc::MAP_PRIVATE) + 0x10000;
    for (offset, vaddr, filesz, memsz, access) in segments {
        let start = page_of(base + vaddr);
        let file_end = (base + vaddr + filesz).next_multiple_of(4096);
        let memory_end = (base + vaddr + memsz).next_multiple_of(4096);
        let at = |address: u64| std::ptr::with_exposed_provenance_mut::<libc::c_void>(address as usize);
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        // SAFETY: both mappings lie inside the reservation made above, which nothing else uses.
        unsafe {
            libc::mmap(
                at(start),
                (file_end - start) as usize,
                *access,
                flags,
                fd,
                (within + page_of(*offset)) as i64,
            );
            if memory_end > file_end {
                let flags = flags | libc::MAP_ANONYMOUS;
                libc::mmap(
                    at(file_end),
                    (memory_end - file_end) as usize,
                    *access,
                    flags,
                    -1,
                    0,
                );
            }
        }
    }
    base
}

fn id_record(id: &[u8]) -> Vec<u8> {
    [b"LEpB", id].concat()
}

#[test]
fn the_dynamic_linker_knows_the_same_modules() {
    unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, data: *mut libc::c_void) -> i32 {
        // SAFETY: the linker passes a valid dl_phdr_info, and the pointer given to dl_iterate_phdr
        // below.
        let (info, bases) = unsafe { (&*info, &mut *data.cast::<Vec<u64>>()) };
        // SAFETY: the linker guarantees that there are this many headers.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let lowest = headers
            .iter()
            .filter(|header| header.p_type == 1)
            .map(|header| header.p_vaddr)
            .min();
        bases.push(page_of(info.dlpi_addr + lowest.unwrap_or(0)));
        0
    }
    let mut expected: Vec<u64> = Vec::new();
    // SAFETY: `note` casts the pointer to the type of the vector that it refers to, which lives
    // during the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut expected).cast()) };
    // A library that is mapped as data is not a module, even if it is mapped as a whole and other
    // mappings of the same file are executable.
    let libc_path = fs::read_to_string("/proc/self/maps").expect("readable");
    let libc_path = libc_path
        .lines()
        .find_map(|line| line.split_once("/").filter(|(_, p)| p.ends_with("libc.so.6")));
    let libc_path = PathBuf::from(format!("/{}", libc_path.expect("the test is linked with it").1));
    // SAFETY: nobody writes to the system's library while the test runs.
    let data = unsafe { memmap2::Mmap::map(&File::open(&libc_path).expect("readable")) }.expect("maps");

    let (mut modules, mut memory) = modules(&own());
    let bases = modules.bases();
    assert_eq!(bases.first(), expected.first(), "the main program is first");
    assert!(!bases.contains(&(data.as_ptr().addr() as u64)));
    let mut sorted = bases.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(
        modules
            .ranges()
            .windows(2)
            .all(|pair| pair[0].end() <= pair[1].start())
    );

    let facts: Vec<_> = bases
        .iter()
        .map(|base| modules.module(*base, &mut memory, &mut Direct).expect("is one"))
        .collect();
    assert_eq!(
        facts[0].path,
        std::env::current_exe().expect("has a path").to_string_lossy()
    );
    assert_eq!(facts[0].version, None);
    for module in &facts {
        if module.path == VDSO_NAME {
            assert!(module.cv_record.len() > 4, "the kernel's build id");
            continue;
        }
        assert_eq!(
            module.cv_record,
            id_record(&readelf_build_id(Path::new(&module.path))),
            "{}",
            module.path
        );
    }
    let paths: Vec<_> = facts.iter().map(|module| &module.path[..]).collect();
    assert!(paths.contains(&VDSO_NAME) && paths.contains(&&*libc_path.to_string_lossy()));
    assert_eq!(modules.take_diagnostics(), []);
    assert_eq!(
        modules
            .module(1, &mut memory, &mut Direct)
            .expect_err("none")
            .kind,
        FaultKind::Malformed
    );
}

#[test]
fn a_library_inside_another_file_and_one_by_its_usual_name() {
    let folder = Folder::new("inside");
    let library = folder.library();
    symlink(
        library.file_name().expect("has one"),
        folder.0.join("libquad.so.1"),
    )
    .expect("writable");
    let package = folder.0.join("package.apk");
    let mut bytes = vec![0x55; 0x3000];
    bytes.extend(fs::read(&library).expect("readable"));
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    fs::write(&package, bytes).expect("writable");
    let (inside, plain) = (
        File::open(&package).expect("there"),
        File::open(&library).expect("there"),
    );
    let segments = segments(&library);
    let victim = Victim::that::<2>(|words| {
        words[0] = load(inside.as_raw_fd(), 0x3000, &segments);
        words[1] = load(plain.as_raw_fd(), 0, &segments);
    });
    let (mut modules, mut memory) = modules(&victim.dir());
    let embedded = modules
        .module(victim.words[0], &mut memory, &mut Direct)
        .expect("found");
    let usual = modules
        .module(victim.words[1], &mut memory, &mut Direct)
        .expect("found");
    assert_eq!(embedded.path, format!("{}/libquad.so.1", package.display()));
    assert_eq!(embedded.version, None);
    assert_eq!(usual.path, folder.0.join("libquad.so.1").to_string_lossy());
    let version = usual.version.expect("in the file's own name");
    assert_eq!(version[..6], [0xfeef_04bd, 0x0001_0000, 1, 2, 3, 0]);
    let id = id_record(&[
        0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
    ]);
    let span = segments
        .iter()
        .map(|s| s.1 + s.3)
        .max()
        .expect("some")
        .next_multiple_of(4096);
    for module in [embedded, usual] {
        assert_eq!((&module.cv_record, module.size), (&id, span));
    }
    // The soname is not used if it is the name of another file.
    fs::remove_file(folder.0.join("libquad.so.1")).expect("there");
    fs::copy(&library, folder.0.join("libquad.so.1")).expect("writable");
    let path = modules
        .module(victim.words[1], &mut memory, &mut Direct)
        .expect("found")
        .path;
    assert_eq!(path, library.to_string_lossy());
}

#[test]
fn programs_at_fixed_addresses_deleted_or_oddly_named() {
    let folder = Folder::new("deleted");
    let flags = ["-static", "-no-pie", "-Wl,--build-id=0xdeadbeefcafe"];
    let fixed = folder.compiled("fixed", WAITS, &flags);
    let program = Program::start(&fixed);
    let describe = |program: &Program| {
        let (mut modules, mut memory) = modules(&program.dir());
        let base = modules.bases()[0];
        modules.module(base, &mut memory, &mut Direct).expect("found")
    };
    let module = describe(&program);
    assert_eq!(
        (module.base, &module.cv_record[..]),
        (0x400000, &b"LEpB\xde\xad\xbe\xef\xca\xfe"[..])
    );
    assert_eq!(module.path, fixed.to_string_lossy());
    fs::remove_file(&fixed).expect("there");
    let deleted = describe(&program);
    assert_eq!(
        deleted, module,
        "the build id is in memory, the name without the kernel's words"
    );

    // Without a build id, the identity is the hash of the code in the file.
    let nameless = folder.compiled(
        "nameless (deleted)",
        WAITS,
        &["-static", "-no-pie", "-Wl,--build-id=none"],
    );
    let program = Program::start(&nameless);
    let module = describe(&program);
    assert_eq!(module.path, nameless.to_string_lossy(), "these words are its own");
    let bytes = fs::read(&nameless).expect("readable");
    let elf = Elf::parse(&bytes).expect("sound");
    let text = elf
        .section_headers
        .iter()
        .find(|s| elf.shdr_strtab.get_at(s.sh_name) == Some(".text"));
    let text = text.expect("has code").file_range().expect("in the file");
    let mut hash = [0; 16];
    for (i, byte) in bytes[text].iter().enumerate() {
        hash[i % 16] ^= byte;
    }
    assert_eq!(module.cv_record, id_record(&hash));
}

#[test]
fn broken_headers_are_told_and_do_not_hide_the_module() {
    let folder = Folder::new("broken");
    let library = folder.library();
    let segments = segments(&library);
    let bad = folder.0.join("bad.so");
    let mut bytes = fs::read(&library).expect("readable");
    bytes[16..64].fill(0xff);
    fs::write(&bad, bytes).expect("writable");
    let (sound, bad_file) = (
        File::open(&library).expect("there"),
        File::open(&bad).expect("there"),
    );
    let victim = Victim::that::<2>(|words| {
        // The header is overwritten after the library was loaded.
        words[0] = load(sound.as_raw_fd(), 0, &segments);
        let header = std::ptr::with_exposed_provenance_mut(words[0] as usize);
        // SAFETY: this is the first page of the mapping just created.
        unsafe { libc::mprotect(header, 4096, libc::PROT_READ | libc::PROT_WRITE) };
        for at in 16..64 {
            poke(words[0] + at, 0xff);
        }
        // The header in the file is malformed, too.
        words[1] = load(bad_file.as_raw_fd(), 0, &segments);
    });
    let (mut modules, mut memory) = modules(&victim.dir());
    let diagnostics: Vec<_> = modules
        .take_diagnostics()
        .into_iter()
        .map(|r| (r.severity, r.subject))
        .collect();
    let expected = [
        (Severity::Note, victim.words[0]),
        (Severity::Missing, victim.words[1]),
    ];
    for (severity, base) in expected {
        assert!(
            diagnostics.contains(&(severity, Subject::Module(base))),
            "{diagnostics:?}"
        );
    }
    let overwritten = modules
        .module(victim.words[0], &mut memory, &mut Direct)
        .expect("found");
    assert_eq!(overwritten.cv_record.len(), 20);
    let never = modules
        .module(victim.words[1], &mut memory, &mut Direct)
        .expect("found");
    assert_eq!(
        (never.cv_record.len(), &never.path[..]),
        (0, &*bad.to_string_lossy())
    );
    assert!(never.size >= segments.iter().map(|s| s.1 + s.2).max().expect("some"));
}

#[test]
fn versions_come_from_file_names() {
    let words = |name: &str| version(name.as_bytes()).map(|words| [words[2], words[3], words[4], words[5]]);
    assert_eq!(words("/lib/libc.so.6"), Some([6, 0, 0, 0]));
    assert_eq!(
        words("/x.so.1/libdbus-1.so.3.34.2rc5 (deleted)"),
        Some([3, 34, 2, 0])
    );
    assert_eq!(words("liba.so.1.2.3.4.5"), Some([1, 2, 3, 4]));
    assert_eq!(words("liba.so.4294967296"), None);
    for none in ["/usr/bin/cat", "libz.so", "libz.so.", "libz.so.x", ""] {
        assert_eq!(words(none), None, "{none}");
    }
}

#[test]
fn a_header_that_nobody_can_read_does_not_hide_the_module() {
    let folder = Folder::new("unreadable");
    let library = folder.library();
    let segments = segments(&library);
    let file = File::open(&library).expect("there");
    // Nothing of it is resident, because the child never touches it.
    let victim = Victim::that::<1>(|words| words[0] = load(file.as_raw_fd(), 0, &segments));
    let mappings = regions::mappings(&victim.dir()).expect("readable");
    let mapping = mappings
        .iter()
        .find(|mapping| mapping.range.start() == victim.words[0])
        .expect("loaded");
    let mut memory = ProcessMemory::new(&victim.dir(), &mappings[..]);
    // Pretends that the file is on a server that may not answer. Then it is not opened.
    memory.files().take_for_served(mapping.device);
    let mut modules = LoadedModules::find(&mappings, &mut memory, &mut Direct);
    let module = modules
        .module(victim.words[0], &mut memory, &mut Direct)
        .expect("found by its mappings");
    assert_eq!(
        (&*module.path, module.cv_record.len()),
        (&*library.to_string_lossy(), 0)
    );
    let diagnostics = modules.take_diagnostics();
    assert!(
        diagnostics
            .iter()
            .any(|r| r.subject == Subject::Module(victim.words[0]) && r.severity == Severity::Missing)
    );
}

/// Makes all pages of a loaded library resident. With `copies_code`, its code is moved to anonymous
/// memory, as programs do that want large pages for it. For use in [`Victim::that`].
fn touch(fd: i32, base: u64, segments: &[Segment], copies_code: bool) {
    for (offset, vaddr, filesz, _, access) in segments {
        let (start, end) = (page_of(base + vaddr), base + vaddr + filesz);
        let at = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start as usize);
        let len = (end - start) as usize;
        if copies_code && access & libc::PROT_EXEC != 0 {
            let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_ANONYMOUS;
            // SAFETY: this replaces pages of the mapping that `load` made, which nothing else uses,
            // and fills them.
            unsafe {
                libc::mmap(at, len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
                libc::pread(fd, at, len, page_of(*offset) as i64);
                libc::mprotect(at, len, *access);
            }
        }
        for page in (0..len).step_by(4096) {
            // SAFETY: `load` mapped these bytes readable, and the file is long enough.
            unsafe { at.wrapping_byte_add(page).cast::<u8>().read_volatile() };
        }
    }
}

#[test]
fn code_in_memory_identifies_a_module_whose_file_must_not_be_read() {
    let folder = Folder::new("nameless");
    let library = folder.compiled(
        "libtwice.so",
        "int data[3000] = {1}; int twice(int x) { return 2 * x * data[x & 1]; }",
        &[
            "-shared",
            "-fPIC",
            "-fasynchronous-unwind-tables",
            "-Wl,--build-id=none",
        ],
    );
    let segments = segments(&library);
    let file = File::open(&library).expect("there");
    let fd = file.as_raw_fd();
    let victim = Victim::that::<3>(|words| {
        // The first one is the highest. What follows a module whose headers cannot be read may be
        // taken for a part of it.
        *words = [(); 3].map(|()| load(fd, 0, &segments));
        touch(fd, words[1], &segments, false);
        touch(fd, words[2], &segments, true);
    });
    let mappings = regions::mappings(&victim.dir()).expect("readable");
    let identities = |is_served: bool| {
        let mut memory = ProcessMemory::new(&victim.dir(), &mappings[..]);
        if is_served {
            let mapping = mappings
                .iter()
                .find(|mapping| mapping.range.start() == victim.words[0]);
            memory.files().take_for_served(mapping.expect("loaded").device);
        }
        let mut modules = LoadedModules::find(&mappings, &mut memory, &mut Direct);
        [0, 1, 2].map(|index| {
            modules
                .module(victim.words[index], &mut memory, &mut Direct)
                .expect("found")
                .cv_record
        })
    };
    let [untouched, resident, moved] = identities(false);
    assert_eq!(untouched.len(), 4 + 16);
    assert_eq!([&resident, &moved], [&untouched; 2]);
    assert_eq!(identities(true), [Vec::new(), resident, moved]);
}
