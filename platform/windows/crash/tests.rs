//! These tests would catch: members of an exception that are read at wrong offsets; a number of
//! parameters that is not checked; pointers that are followed without a check.

use windows_sys::Win32::System::Diagnostics::Debug::EXCEPTION_POINTERS;

use super::*;
use crate::testing::{Victim, is_victim, tell, wait};

fn record(parameters: u32) -> EXCEPTION_RECORD {
    let mut information = [0; 15];
    information
        .iter_mut()
        .zip(1..)
        .for_each(|(word, value)| *word = value);
    EXCEPTION_RECORD {
        ExceptionCode: 0xC000_0005_u32.cast_signed(),
        ExceptionFlags: 0x81,
        ExceptionRecord: std::ptr::without_provenance_mut(0x1111),
        ExceptionAddress: std::ptr::without_provenance_mut(0x2222),
        NumberParameters: parameters,
        ExceptionInformation: information,
    }
}

fn context() -> CONTEXT {
    CONTEXT {
        ContextFlags: 0x10_001F,
        Rip: 0x40_1000,
        Rsp: 0x7000,
        ..CONTEXT::default()
    }
}

fn assert_is_told(exception: &Exception, parameters: u64) {
    assert_eq!(
        (exception.thread_id, exception.code, exception.flags),
        (7, 0xC000_0005, 0x81)
    );
    assert_eq!((exception.record, exception.address), (0x1111, 0x2222));
    assert_eq!(exception.parameters, (1..=parameters).collect::<Vec<_>>());
    assert_eq!(exception.context.instruction_pointer(), 0x40_1000);
    assert_eq!(exception.context.stack_pointer(), 0x7000);
}

#[test]
fn a_child_with_an_exception() {
    if is_victim("crash::tests::a_child_with_an_exception") {
        let (mut record, mut context) = (record(2), context());
        let pointers = EXCEPTION_POINTERS {
            ExceptionRecord: &raw mut record,
            ContextRecord: &raw mut context,
        };
        let broken = EXCEPTION_POINTERS {
            ExceptionRecord: std::ptr::without_provenance_mut(0x10),
            ..pointers
        };
        let other = EXCEPTION_POINTERS {
            // Not a CONTEXT of this machine: all bytes at the offset of the context flags are 0.
            ContextRecord: std::ptr::from_ref(&[0_u8; 2048]).cast_mut().cast(),
            ..pointers
        };
        for (name, pointers) in [("pointers", &pointers), ("broken", &broken), ("other", &other)] {
            tell(name, std::ptr::from_ref(pointers).addr());
        }
        wait();
    }
}

#[test]
fn an_exception_is_read_from_another_process() {
    let victim = Victim::that("crash::tests::a_child_with_an_exception");
    let process = WindowsProcess::open(victim.id()).expect("it runs");
    let read = |at| super::exception(&process, 7, at);
    assert_is_told(&read(victim.number("pointers")).expect("it is there"), 2);
    let kind = |at| read(at).expect_err("none is there").kind;
    assert_eq!(kind(0), FaultKind::Unreadable);
    assert_eq!(kind(u64::MAX - 3), FaultKind::Unreadable);
    assert_eq!(kind(victim.number("broken")), FaultKind::Unreadable);
    assert_eq!(kind(victim.number("other")), FaultKind::Malformed);
}

#[test]
fn an_exception_of_our_own_is_copied() {
    let (mut record, mut context) = (record(1000), context());
    let pointers = EXCEPTION_POINTERS {
        ExceptionRecord: &raw mut record,
        ContextRecord: &raw mut context,
    };
    // SAFETY: the pointers point to both structures.
    let exception = unsafe { exception_here(7, (&raw const pointers).cast()) };
    assert_is_told(&exception.expect("it is there"), 15);
    let none = EXCEPTION_POINTERS {
        ContextRecord: std::ptr::null_mut(),
        ..pointers
    };
    // SAFETY: null pointers are allowed.
    unsafe {
        assert_eq!(exception_here(7, (&raw const none).cast()), None);
        assert_eq!(exception_here(7, std::ptr::null()), None);
    }
}
