//! What these tests would catch: a capture that creates pages or page tables in its target, bytes
//! that differ from those that the target sees, absent pages whose content is guessed, and reads
//! that hang or stop too early.

use std::fs::File;
use std::os::unix::fs::FileExt;

use dumpwright_target::{AddressRange, Content, MemoryExt};

use super::*;
use crate::testing::{Victim, bytes_read, map, map_file, poke};

const PAGE: u64 = 4096;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn memory(victim: &Victim) -> ProcessMemory {
    ProcessMemory::new(
        &victim.dir(),
        regions::mappings_with_flags(&victim.dir()).expect("readable"),
    )
}

fn pages(at: u64, count: u64) -> AddressRange {
    AddressRange::at(at, count * PAGE).expect("not empty")
}

fn surveyed(memory: &mut ProcessMemory, range: AddressRange) -> Vec<(u64, Content)> {
    let extents = memory.survey(range);
    assert_eq!(extents.first().map(|e| e.range.start()), Some(range.start()));
    assert_eq!(extents.last().map(|e| e.range.end()), Some(range.end()));
    assert!(
        extents
            .windows(2)
            .all(|pair| pair[0].range.end() == pair[1].range.start())
    );
    extents
        .iter()
        .map(|e| (e.range.len() / PAGE, e.content))
        .collect()
}

#[test]
fn reading_everything_leaves_no_trace_in_the_target() {
    const BIG: usize = 256 << 20;
    // Shared memory in which only this process has created a page so far.
    let shared = map(64 << 10, RW, libc::MAP_SHARED);
    poke(shared + 5 * PAGE + 7, 0x77);
    let exe = File::open("/proc/self/exe").expect("there");
    let victim = Victim::that::<2>(|words| {
        words[0] = map(BIG, RW, libc::MAP_PRIVATE);
        for page in [0, 9, 10, 65535] {
            poke(words[0] + page * PAGE + page % 100, 0xa5);
        }
        words[1] = map_file(
            std::os::fd::AsRawFd::as_raw_fd(&exe),
            1 << 20,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
        );
    });
    let mut memory = memory(&victim);
    let before = victim.weight();
    let mut buffer = vec![0xee; 256 << 10];
    let mut bytes = 0;
    let mappings = Rc::clone(&memory.mappings);
    for mapping in &*mappings {
        for extent in memory.survey(mapping.range) {
            if !matches!(extent.content, Content::Readable | Content::Zero) {
                continue;
            }
            for part in extent.range.chunks(buffer.len() as u64) {
                let into = &mut buffer[..part.len() as usize];
                assert_eq!(
                    memory.read(part.start(), into),
                    Ok(into.len()),
                    "{part} of {mapping:?}"
                );
                bytes += part.len();
                if extent.content == Content::Zero {
                    assert!(into.iter().all(|byte| *byte == 0));
                }
            }
        }
    }
    assert!(bytes > BIG as u64);
    assert_eq!(victim.weight(), before);
    assert_eq!(memory.take_diagnostic(), None);

    let big = surveyed(&mut memory, pages(victim.words[0], 65536));
    let (zero, there) = (Content::Zero, Content::Readable);
    assert_eq!(
        big,
        [(1, there), (8, zero), (2, there), (65524, zero), (1, there)]
    );
    for page in [0, 9, 10, 65535] {
        let mut byte = [0; 2];
        memory
            .fill_all(victim.words[0] + page * PAGE + page % 100, &mut byte)
            .expect("touched");
        assert_eq!(byte, [0xa5, 0], "page {page}");
    }

    let mut file = vec![0; 1 << 20];
    exe.read_exact_at(&mut file, 0).expect("long enough");
    let mut mapped = vec![0; 1 << 20];
    memory
        .fill_all(victim.words[1], &mut mapped)
        .expect("from the file");
    assert!(file == mapped, "what is not resident comes from the file");

    let known = surveyed(&mut memory, pages(shared, 16));
    let mut byte = [0];
    if nix::unistd::geteuid().is_root() {
        assert_eq!(known, [(5, zero), (1, there), (10, zero)], "data and holes");
        memory
            .fill_all(shared + 5 * PAGE + 7, &mut byte)
            .expect("through map_files");
        assert_eq!(byte, [0x77]);
    } else {
        assert!(
            matches!(known[..], [(16, Content::Unreadable(_))]),
            "never guessed as zero"
        );
    }
    assert_eq!(victim.weight(), before);
    // SAFETY: this is the mapping created above, which is no longer used.
    unsafe { libc::munmap(std::ptr::with_exposed_provenance_mut(shared as usize), 64 << 10) };
}

#[test]
fn what_cannot_be_read_is_told_apart() {
    let file = tempfile();
    file.write_all_at(b"short file", 0).expect("writable");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let victim = Victim::that::<4>(|words| {
        words[0] = map(8 * 4096, RW, libc::MAP_PRIVATE);
        for page in 0..8 {
            poke(words[0] + page * PAGE, page as u8 + 1);
        }
        let at = |page: u64| {
            std::ptr::with_exposed_provenance_mut::<libc::c_void>((words[0] + page * PAGE) as usize)
        };
        // SAFETY: this changes pages of the mapping just created, which nothing else uses.
        unsafe {
            libc::munmap(at(2), 4096);
            libc::mprotect(at(4), 4096, libc::PROT_NONE);
            libc::mprotect(at(5), 4096, libc::PROT_EXEC);
        }
        words[1] = map_file(fd, 4 * 4096, libc::PROT_READ, libc::MAP_SHARED);
        words[2] = map_file(fd, 4 * 4096, RW, libc::MAP_PRIVATE);
        poke(words[2], b'S');
    });
    let mut memory = memory(&victim);
    let at = victim.words[0];
    let there = Content::Readable;
    let (hole, closed, behind) = (
        Content::Nothing(UNMAPPED),
        Content::Unreadable(NO_ACCESS),
        Content::Nothing(BEHIND_FILE),
    );
    assert_eq!(
        surveyed(&mut memory, pages(at, 8)),
        [(2, there), (1, hole), (1, there), (1, closed), (3, there)]
    );
    assert_eq!(
        surveyed(&mut memory, pages(victim.words[1], 4)),
        [(1, there), (3, behind)]
    );
    assert_eq!(
        surveyed(&mut memory, pages(victim.words[2], 4)),
        [(1, there), (3, behind)]
    );

    let mut buffer = vec![0xee; 8 * 4096];
    assert_eq!(memory.read(at + 4095, &mut buffer), Ok(4097), "up to the hole");
    assert_eq!((buffer[0], buffer[1], buffer[2]), (0, 2, 0));
    assert_eq!(
        memory.read(at + 5 * PAGE, &mut buffer[..2]),
        Ok(2),
        "code that only may be executed"
    );
    assert_eq!(buffer[0], 6);
    let fault = memory.read(at + 2 * PAGE, &mut buffer).expect_err("a hole");
    assert_eq!((fault.kind, &fault.reason[..]), (FaultKind::Unreadable, UNMAPPED));
    assert_eq!(
        memory
            .read(at + 4 * PAGE, &mut buffer)
            .expect_err("closed")
            .reason,
        NO_ACCESS
    );
    assert_eq!(
        memory
            .read(u64::MAX - 3, &mut buffer)
            .expect_err("nowhere")
            .reason,
        UNMAPPED
    );
    assert_eq!(memory.read(at, &mut []), Ok(0));

    let mut words = [0; 11];
    memory.fill_all(victim.words[1], &mut words).expect("in the file");
    assert_eq!(&words, b"short file\0");
    memory
        .fill_all(victim.words[2], &mut words)
        .expect("the program's own copy");
    assert_eq!(&words, b"Short file\0");
    assert_eq!(memory.read(victim.words[1], &mut buffer), Ok(4096));

    let vvar = memory
        .mappings
        .iter()
        .find(|m| m.name() == b"[vvar]")
        .map(|m| m.range)
        .expect("there is one");
    assert_eq!(memory.survey(vvar)[0].content, Content::Unreadable(KERNEL_PAGE));
    let vdso = memory
        .mappings
        .iter()
        .find(|m| m.name() == b"[vdso]")
        .map(|m| m.range)
        .expect("there is one");
    assert_eq!(surveyed(&mut memory, vdso), [(vdso.len() / PAGE, there)]);
    let mut code = vec![0; vdso.len() as usize];
    memory
        .fill_all(vdso.start(), &mut code)
        .expect("the same in all processes");
    // SAFETY: getauxval takes a number and returns a number.
    let own = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    // SAFETY: our own vdso is readable, as long as the child's, and never changes.
    let own: &[u8] =
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(own as usize), code.len()) };
    assert_eq!(code, own);
}

/// Creates a file without a name.
fn tempfile() -> File {
    let own = nix::unistd::gettid();
    let path = std::env::temp_dir().join(format!("dumpwright-read-{own}"));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("writable");
    std::fs::remove_file(&path).expect("removes it");
    file
}

#[test]
fn thousands_of_runs_are_gathered_and_both_ways_of_reading_agree() {
    const COUNT: u64 = 3000;
    let victim = Victim::that::<1>(|words| {
        words[0] = map(2 * COUNT as usize * 4096, RW, libc::MAP_PRIVATE);
        for page in 0..COUNT {
            poke(words[0] + 2 * page * PAGE + page % 4096, (page % 251) as u8 + 1);
        }
    });
    let mut memory = memory(&victim);
    let mut buffer = vec![0xee; 2 * COUNT as usize * 4096];
    for refused in [false, true] {
        memory.refused = refused;
        buffer.fill(0xee);
        memory.fill_all(victim.words[0], &mut buffer).expect("readable");
        assert!(buffer.chunks_exact(8192).zip(0..COUNT).all(|(pair, page)| {
            let mut expected = [0; 8192];
            expected[(page % 4096) as usize] = (page % 251) as u8 + 1;
            pair == expected
        }));
    }
}

#[test]
fn pages_that_fail_only_when_read_end_the_read_there() {
    const MADV_GUARD_INSTALL: i32 = 102;
    let victim = Victim::that::<2>(|words| {
        words[0] = map(4 * 4096, RW, libc::MAP_PRIVATE);
        for page in 0..4 {
            poke(words[0] + page * PAGE, 1);
        }
        let at = std::ptr::with_exposed_provenance_mut((words[0] + 2 * PAGE) as usize);
        // SAFETY: the advice applies to a page of the mapping just created.
        words[1] = u64::from(unsafe { libc::madvise(at, 4096, MADV_GUARD_INSTALL) } == 0);
    });
    if victim.words[1] == 0 {
        return; // Kernels before Linux 6.13 have no such guards.
    }
    let mut memory = memory(&victim);
    // The result on kernels before 6.15, which do not distinguish guards from swapped pages.
    let range = pages(victim.words[0], 4);
    memory.window = Some(PageWindow {
        range,
        runs: vec![Run {
            range,
            pages: Pages::Exist,
        }],
    });
    let mut buffer = vec![0; 4 * 4096];
    assert_eq!(memory.read(range.start(), &mut buffer), Ok(2 * 4096));
    let fault = memory
        .read(range.start() + 2 * PAGE, &mut buffer[..8192])
        .expect_err("a guard");
    assert_eq!(fault.kind, FaultKind::Unreadable);
    // The error of `process_vm_readv` or that of `/proc/PID/mem`.
    assert!(
        matches!(fault.os_code, Some(libc::EFAULT | libc::EIO)),
        "{fault:?}"
    );
    assert_eq!(memory.read(range.start() + 3 * PAGE, &mut buffer[..1]), Ok(1));
    memory.window = None;
    if memory.survey(range).len() == 3 {
        assert_eq!(memory.survey(range)[1].content, Content::Nothing(GUARD));
    }
}

#[test]
fn a_file_that_becomes_shorter_is_a_loss_and_not_zeros() {
    let file = tempfile();
    file.write_all_at(&[7; 4 * PAGE as usize], 0).expect("writable");
    let victim = Victim::that::<1>(|words| {
        words[0] = map_file(
            std::os::fd::AsRawFd::as_raw_fd(&file),
            4 * PAGE as usize,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
        );
    });
    let mut memory = memory(&victim);
    let (all, start) = (pages(victim.words[0], 4), victim.words[0]);
    let readable = Content::Readable;
    assert_eq!(surveyed(&mut memory, all), [(4, readable)]);
    file.set_len(PAGE + 100).expect("shortens it");
    let mut buffer = vec![0; 4 * PAGE as usize];
    // The rest of its last page is zero.
    assert_eq!(memory.read(start, &mut buffer), Ok(2 * PAGE as usize));
    assert_eq!(buffer[PAGE as usize + 99..][..2], [7, 0]);
    let fault = memory
        .read(start + 2 * PAGE, &mut buffer)
        .expect_err("no longer there");
    assert_eq!(fault.reason, SHORTENED);
    // It is cut between the look and the read.
    file.set_len(0).expect("shortens it");
    let index = memory
        .mappings
        .partition_point(|mapping| mapping.range.end() <= start);
    assert!(
        memory
            .read_file(index, all, &mut buffer)
            .is_err_and(|end| end.at == start)
    );
}

#[test]
fn pages_whose_faults_another_program_answers_are_never_asked_for() {
    let victim = Victim::that::<2>(|words| {
        words[0] = map(4 * 4096, RW, libc::MAP_PRIVATE);
        poke(words[0], 1);
        words[1] = u64::from(user_faults(words[0], 4 * PAGE));
    });
    assert_eq!(
        victim.words[1], 1,
        "a program may always handle its own page faults"
    );
    let mut memory = memory(&victim);
    // Nobody handles the faults, so a request for the second page would wait forever.
    assert_eq!(
        surveyed(&mut memory, pages(victim.words[0], 4)),
        [(1, Content::Readable), (3, Content::Unreadable(USER_FAULT))]
    );
    assert_eq!(memory.read(victim.words[0], &mut [0; 3 * 4096]), Ok(4096));
}

/// Handles the faults of missing pages in a range (userfaultfd(2), ioctl_userfaultfd(2)).
fn user_faults(start: u64, len: u64) -> bool {
    const UFFD_USER_MODE_ONLY: i64 = 1;
    const UFFDIO_API: u64 = 0xc018_aa3f;
    const UFFDIO_REGISTER: u64 = 0xc020_aa00;
    let mut api = [0xaa_u64, 0, 0];
    let mut register = [start, len, 1 /* UFFDIO_REGISTER_MODE_MISSING */, 0];
    // SAFETY: both requests take structures of these sizes, which live during the calls.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, UFFD_USER_MODE_ONLY) as i32;
        fd >= 0
            && libc::ioctl(fd, UFFDIO_API, api.as_mut_ptr()) == 0
            && libc::ioctl(fd, UFFDIO_REGISTER, register.as_mut_ptr()) == 0
    }
}

#[test]
fn a_deleted_file_still_has_its_bytes() {
    let file = tempfile();
    file.write_all_at(&[0x5a; 3 * 4096], 0).expect("writable");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let victim =
        Victim::that::<1>(|words| words[0] = map_file(fd, 3 * 4096, libc::PROT_READ, libc::MAP_PRIVATE));
    let mut memory = memory(&victim);
    let mut bytes = [0; 3 * 4096];
    memory
        .fill_all(victim.words[0], &mut bytes)
        .expect("by its address or the descriptor the child still has");
    assert_eq!(bytes, [0x5a; 3 * 4096]);
}

#[test]
fn wide_and_almost_empty_mappings_are_surveyed_in_a_bounded_time() {
    const WIDE: usize = 16 << 40;
    const RESERVATION: usize = 2 << 30;
    let file = tempfile();
    file.set_len(64 << 30).expect("a sparse file");
    file.write_all_at(b"far", 60 << 30).expect("writable");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let victim = Victim::that::<4>(|words| {
        words[0] = map(WIDE, RW, libc::MAP_PRIVATE);
        poke(words[0] + PAGE, 1);
        poke(words[0] + WIDE as u64 / 2, 2);
        // Created between the other two, which the kernel would otherwise join.
        words[2] = map(WIDE, libc::PROT_NONE, libc::MAP_PRIVATE);
        words[1] = map(RESERVATION, RW, libc::MAP_PRIVATE);
        poke(words[1] + RESERVATION as u64 - PAGE, 3);
        words[3] = map_file(fd, 64 << 30, RW, libc::MAP_SHARED);
    });
    let [wide, reservation, closed] = [0, 1, 2].map(|index| victim.words[index]);
    for is_old in [false, true] {
        let mut memory = memory(&victim);
        if is_old {
            memory.pagemap = Pagemap::by_entries(&victim.dir());
        } else if !memory.pagemap.scans() {
            continue; // Kernels before Linux 6.7 cannot scan.
        }
        let before = (bytes_read(), victim.weight());
        let (there, zero) = (Content::Readable, Content::Zero);
        let unknown = Content::Unreadable(NOT_LOOKED_FOR);
        let pages_of = |bytes: usize| bytes as u64 / PAGE;
        let half = pages_of(WIDE) / 2;
        let told = surveyed(&mut memory, pages(wide, pages_of(WIDE)));
        if is_old {
            let [
                (1, Content::Zero),
                (1, Content::Readable),
                (read, Content::Zero),
                (rest, last),
            ] = told[..]
            else {
                panic!("{told:?}");
            };
            assert_eq!((read + rest + 2, last), (pages_of(WIDE), unknown));
            assert!(read < pages_of(8 << 30), "{told:?}");
        } else {
            assert_eq!(
                told,
                [
                    (1, zero),
                    (1, there),
                    (half - 2, zero),
                    (1, there),
                    (half - 1, zero)
                ]
            );
        }
        // A read finds pages even in a range that the survey gave up on.
        let mut byte = [0];
        assert_eq!(memory.read(wide + WIDE as u64 / 2, &mut byte), Ok(1));
        assert_eq!(byte, [2]);
        assert_eq!(memory.read(wide + WIDE as u64 / 4, &mut byte), Ok(1));
        assert_eq!(byte, [0]);
        // The survey does not give up on a mapping of 2 GiB.
        let told = surveyed(&mut memory, pages(reservation, pages_of(RESERVATION)));
        assert_eq!(told, [(pages_of(RESERVATION) - 1, zero), (1, there)]);
        let told = surveyed(&mut memory, pages(closed, pages_of(WIDE)));
        assert_eq!(told, [(pages_of(WIDE), Content::Unreadable(NO_ACCESS))]);
        let mapping = memory
            .mappings
            .iter()
            .find(|mapping| mapping.range.contains(closed));
        let mapping = mapping.expect("mapped").clone();
        assert!(mapping.was_empty && memory.is_untouched(&mapping));
        // The file has all bytes of a shared mapping, and reports its own holes.
        if nix::unistd::geteuid().is_root() {
            let told = surveyed(&mut memory, pages(victim.words[3], pages_of(64 << 30)));
            let data = pages_of(60 << 30);
            assert_eq!((told[0], told.len()), ((data, zero), 3), "{told:?}");
            let bytes: [u8; 3] = memory.array(victim.words[3] + (60 << 30)).expect("in the file");
            assert_eq!(&bytes, b"far");
        }
        assert_eq!(victim.weight(), before.1);
        let read = bytes_read() - before.0;
        assert!(read < 64 << 20, "{read} bytes of pagemap");
    }
}

/// The pieces of a file mapping are collected in one pass.
#[test]
fn pages_and_holes_of_a_file_alternate() {
    const PAGES: u64 = 4096;
    let file = tempfile();
    file.set_len(PAGES * PAGE).expect("a sparse file");
    for page in (0..PAGES).step_by(4) {
        file.write_all_at(&[1], page * PAGE).expect("writable");
    }
    let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
    let victim = Victim::that::<1>(|words| {
        words[0] = map_file(fd, (PAGES * PAGE) as usize, RW, libc::MAP_PRIVATE);
        for page in (0..PAGES).step_by(2) {
            poke(words[0] + page * PAGE, 2);
        }
    });
    let mut memory = memory(&victim);
    // The child has written the even pages. The odd ones are holes of the file.
    let told = surveyed(&mut memory, pages(victim.words[0], PAGES));
    let expected = (0..PAGES).map(|page| (1, [Content::Readable, Content::Zero][page as usize % 2]));
    assert_eq!(told, expected.collect::<Vec<_>>());
}
