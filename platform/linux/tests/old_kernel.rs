//! What these tests would catch: on a kernel that lists pages one by one (before Linux 6.7), time
//! and memory that grow with the size of a process's address space, and reservations that are no
//! longer distinguished from memory.
//!
//! A system call filter refuses the newer kernel request to the test, as a sandbox would.

mod support;

use dumpwright_linux::LinuxProcess;
use dumpwright_target::{Content, Direct, Need, RegionState, Target};
use support::Victim;

/// Makes the request `PAGEMAP_SCAN` fail with ENOTTY, in this thread and all threads that it
/// starts.
fn refuse_pagemap_scan() {
    const PAGEMAP_SCAN: u32 = 0xc060_6610;
    /// Offsets in `struct seccomp_data` (seccomp(2)): the number of the system call, and the lower
    /// half of its second argument.
    const CALL: u32 = 0;
    const REQUEST: u32 = 24;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let compare = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(load, 0, 0, CALL),
        step(compare, 0, 3, libc::SYS_ioctl as u32),
        step(load, 0, 0, REQUEST),
        step(compare, 0, 1, PAGEMAP_SCAN),
        step(end, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOTTY as u32),
        step(end, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as u16,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the program and its steps live during the call, which copies them.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Returns the number of bytes that this thread has read from files, including `/proc`
/// (proc_pid_io(5)).
fn bytes_read() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").expect("the kernel counts them");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.expect("has a line for it").parse().expect("a number")
}

/// Prints the addresses of its mappings: one as large as the shadow of an address sanitiser, with
/// two pages in it; a reservation of a tebibyte; a tebibyte that is inaccessible and has one page;
/// and a reservation of 2 GiB.
const WIDE: &str = r#"
/* The mappings are not adjacent, because the kernel joins adjacent mappings of the same kind. */
static char *wide(uintptr_t at, size_t bytes, int access) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    char *got = mmap((void *)at, bytes, access, flags, -1, 0);
    if (got == MAP_FAILED) { perror("mmap"); exit(1); }
    return got;
}
int main(void) {
    size_t tebibyte = (size_t)1 << 40;
    char *shadow = wide(0x200000000000, 16 * tebibyte, PROT_READ | PROT_WRITE);
    shadow[0] = 1;
    shadow[9 * tebibyte] = 2;
    char *reservation = wide(0x400000000000, tebibyte, PROT_NONE);
    char *closed = wide(0x420000000000, tebibyte, PROT_READ | PROT_WRITE);
    closed[tebibyte - 1] = 3;
    mprotect(closed, tebibyte, PROT_NONE);
    char *small = wide(0x440000000000, (size_t)2 << 30, PROT_NONE);
    printf("%p %p %p %p\n", (void *)shadow, (void *)reservation, (void *)closed, (void *)small); fflush(stdout);
    while (getchar() != EOF) {}
    return 0;
}
"#;

#[test]
fn wide_address_spaces_cost_no_more_than_what_is_in_them() {
    let mut victim = Victim::start("wide", WIDE);
    let [shadow, reservation, closed, small] = victim.numbers()[..] else {
        panic!("four addresses")
    };
    let pid = victim.pid();
    // The filter applies only to the thread that installs it.
    let thread = std::thread::spawn(move || {
        refuse_pagemap_scan();
        let mut process = LinuxProcess::open(pid).expect("may be examined");
        for full_memory in [false, true] {
            let before = bytes_read();
            let need = Need {
                full_memory,
                ..Need::default()
            };
            let mut frozen = process.freeze(&need).expect("stops");
            let regions = frozen.regions(&mut Direct).expect("listed");
            let at = |address: u64| {
                let mut holding = regions.iter().filter(|region| region.range.contains(address));
                holding.next().expect("mapped")
            };
            assert_eq!(at(reservation).state, RegionState::Reserve);
            assert_eq!(at(small).state, RegionState::Reserve);
            assert_eq!(at(closed).state, RegionState::Commit);
            let mut found = 0;
            for region in regions.iter().filter(|region| region.is_dumpable()) {
                let extents = frozen.survey(region.range);
                found += extents.len();
                if region.range.contains(shadow) {
                    assert_eq!(extents[0].content, Content::Readable);
                    assert_eq!(extents[0].range.len(), 4096);
                    let last = extents.last().expect("not empty").content;
                    assert!(matches!(last, Content::Unreadable(_)), "{last:?}");
                }
            }
            assert!(found < 1000, "{found} extents");
            let mut byte = [0];
            assert_eq!(frozen.read(shadow + (9 << 40), &mut byte), Ok(1));
            assert_eq!(byte, [2]);
            drop(frozen);
            let read = bytes_read() - before;
            assert!(read < 32 << 20, "{read} bytes read");
        }
    });
    thread.join().expect("passes");
    assert!(victim.finish().success());
}
