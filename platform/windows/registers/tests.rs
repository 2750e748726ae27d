//! These tests would catch: registers from wrong offsets; wide registers that do not belong to the
//! thread; bytes in the dump that no flag covers.

use std::arch::asm;
use std::os::windows::io::{AsHandle, AsRawHandle};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use dumpwright_target::XStateLayout;
use windows_sys::Win32::System::Threading::{ResumeThread, SuspendThread};

use super::*;

/// 0: the thread has not reached its loop; 1: the thread is in the loop; 2: the thread may end.
static STATE: AtomicU8 = AtomicU8::new(0);

/// Loops with known registers until `STATE` is 2.
#[target_feature(enable = "avx")]
fn with_known_registers() {
    let wide = [0x1111_1111_1111_1111_u64, 0x2222, 0x3333, 0x4444_4444_4444_4444];
    // SAFETY: the code reads the array, and writes and reads the one byte of `STATE`, which other
    // threads also access atomically.
    unsafe {
        asm!(
            "vmovups ymm6, [{wide}]",
            "mov byte ptr [{state}], 1",
            "2: pause",
            "cmp byte ptr [{state}], 2",
            "jne 2b",
            wide = in(reg) wide.as_ptr(),
            state = in(reg) STATE.as_ptr(),
            in("r12") 0x1212_u64,
            in("r13") 0x1313_u64,
            out("ymm6") _,
        );
    }
}

/// Reads the registers of a thread in that loop.
fn of_the_loop(layout: Option<&XStateLayout>) -> CpuContext {
    // SAFETY: the caller has checked that the processor has AVX.
    let looping = thread::spawn(|| unsafe { with_known_registers() });
    while STATE.load(Ordering::SeqCst) != 1 {
        thread::yield_now();
    }
    let handle = looping.as_raw_handle();
    // SAFETY: the handle belongs to the thread and is open as long as `looping` exists. The thread
    // is resumed once.
    let context = unsafe {
        assert_eq!(SuspendThread(handle), 0);
        let context = read(looping.as_handle(), layout);
        assert_eq!(ResumeThread(handle), 1);
        context
    };
    STATE.store(2, Ordering::SeqCst);
    looping.join().expect("it ends");
    STATE.store(0, Ordering::SeqCst);
    let registers = context.expect("it can be read");
    assert_eq!(registers.not_extended, None);
    registers.context
}

/// This is a single test, because there is one `STATE`.
#[test]
fn a_thread_has_the_registers_that_it_has_loaded() {
    if !std::arch::is_x86_feature_detected!("avx") {
        eprintln!("this processor has no AVX");
        return;
    }
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let plain = of_the_loop(None);
    assert!(!plain.is_extended());
    assert_eq!(
        [word(plain.bytes(), 0xD8), word(plain.bytes(), 0xE0)],
        [0x1212, 0x1313],
        "r12, r13"
    );
    assert_eq!(
        [word(plain.bytes(), 0x200), word(plain.bytes(), 0x208)],
        [0x1111_1111_1111_1111, 0x2222],
        "xmm6"
    );

    let layout = extended_layout().expect("there is AVX");
    let avx = layout
        .features()
        .find(|feature| feature.number == 2)
        .expect("there is AVX");
    // Intel's manual gives this offset for all processors (volume 1, section 13.4).
    assert_eq!((avx.offset, avx.size), (576, 256));
    let extended = of_the_loop(Some(&layout));
    assert!(extended.is_extended());
    assert_eq!(extended.bytes().len(), layout.context_size());
    // The upper halves of the ymm registers follow the header of the area.
    let upper = &extended.bytes()[0x550 + 6 * 16..];
    assert_eq!(
        [word(upper, 0), word(upper, 8)],
        [0x3333, 0x4444_4444_4444_4444],
        "ymm6"
    );
    assert_eq!(word(extended.bytes(), 0xD8), 0x1212, "r12");
}

#[test]
fn what_flags_do_not_cover_is_zero() {
    let mut bytes = vec![0xAB; size_of::<CONTEXT>()];
    // Only the control registers, and a flag for debuggers.
    bytes[0x30..0x34].copy_from_slice(&0x4010_0001_u32.to_le_bytes());
    let context = from_foreign(bytes).expect("of this family");
    let bytes = context.bytes();
    assert_eq!(bytes[0x30..0x34], 0x0010_0001_u32.to_le_bytes());
    assert_eq!(bytes[0x98..0xA0], [0xAB; 8], "rsp");
    assert_eq!(bytes[0xF8..0x100], [0xAB; 8], "rip");
    assert_eq!((bytes[0x38], bytes[0x42]), (0xAB, 0xAB), "cs and ss");
    for part in [
        0..0x30,
        0x34..0x38,
        0x3A..0x42,
        0x48..0x98,
        0xA0..0xF8,
        0x100..0x4D0,
    ] {
        assert!(bytes[part.clone()].iter().all(|byte| *byte == 0), "{part:x?}");
    }
}

#[test]
fn registers_of_other_machines_are_refused() {
    let mut bytes = vec![0; size_of::<CONTEXT>()];
    bytes[0x30..0x34].copy_from_slice(&0x0040_0001_u32.to_le_bytes());
    assert_eq!(from_foreign(bytes), None, "ARM64's");
    assert_eq!(from_foreign(vec![0; 716]), None, "32-bit x86's");
}
