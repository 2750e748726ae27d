//! Registers beyond SSE: the type 0x200000.

use dumpwright::read::ExtendedState;
use serde::Deserialize;

use crate::capture::Capture;
use crate::support::victim::{self, Victim};

const WITH_AVX: &str = "with-avx-x-state-context";
/// The size of CONTEXT for x86-64 (winnt.h), in bytes.
const PLAIN: u32 = 1232;

/// The testimony of `wide.c`. Bytes are hexadecimal.
#[derive(Deserialize)]
struct WideTruth {
    pid: u32,
    tid: u32,
    avx: bool,
    avx512: bool,
    registers: Vec<String>,
    masks: Vec<String>,
}

fn wide() -> (Victim, WideTruth) {
    let nothing: [&str; 0] = [];
    let victim = Victim::start(&victim::live("wide"), &nothing);
    let truth = victim.truth();
    (victim, truth)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn wide_registers_are_those_of_the_thread() {
    let (mut victim, truth) = wide();
    let capture = Capture::of(truth.pid, WITH_AVX);
    capture.check();
    let thread = capture.thread(truth.tid);
    let context = thread.context.as_ref().expect("it has registers");
    if !truth.avx {
        assert_eq!(thread.context_location.size, PLAIN, "this processor has no more");
        return;
    }
    let layout = capture
        .dump
        .misc_info()
        .unwrap()
        .unwrap()
        .extended_state
        .expect("described");
    for thread in capture.dump.threads().unwrap() {
        assert_eq!(
            thread.context_location.size, layout.context_size,
            "all of one size"
        );
    }
    let state: &ExtendedState = context.extended_state().expect("extended");
    if truth.avx512 {
        let zmm: Vec<_> = state.zmm.iter().map(|bytes| hexadecimal(bytes)).collect();
        assert_eq!(zmm, truth.registers);
        let k: Vec<_> = state.k.iter().map(|bytes| hexadecimal(bytes)).collect();
        assert_eq!(k, truth.masks);
    }
    let ymm: Vec<_> = state.ymm.iter().map(|bytes| hexadecimal(bytes)).collect();
    let low: Vec<_> = truth.registers[..16].iter().map(|digits| &digits[..64]).collect();
    assert_eq!(ymm, low);
    // The plain part has the values of a plain context.
    let plain = Capture::of(truth.pid, "normal");
    let (one, other) = (
        thread.registers().unwrap(),
        plain.thread(truth.tid).registers().unwrap(),
    );
    assert_eq!((one.xmm, one.rsp, one.fcw), (other.xmm, other.rsp, other.fcw));
    assert_eq!(one.context_flags, other.context_flags | 0x40);
    victim.ping();
}

#[test]
fn contexts_are_plain_unless_asked_for() {
    let (_victim, truth) = wide();
    for types in ["normal", "with-full-memory"] {
        let capture = Capture::of(truth.pid, types);
        for thread in capture.dump.threads().unwrap() {
            assert_eq!(thread.context_location.size, PLAIN, "{types}");
        }
        let misc = capture.dump.misc_info().unwrap().unwrap();
        assert_eq!((misc.size_of_info, misc.extended_state), (1364, None), "{types}");
    }
}
