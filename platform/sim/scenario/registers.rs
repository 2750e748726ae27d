//! The registers of a thread.

use dumpwright_target::{Amd64, CpuContext, Platform};

use super::fields::{Outcome, Value};
use super::places::Places;

const KEYS: &[&str] = &[
    "rip", "rsp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "eflags", "cs", "ds", "es", "fs", "gs", "ss", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
    "mxcsr", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
];
const XMM: &[&str] = KEYS.split_at(KEYS.len() - 16).1;

/// Where `xmm0` stands in an FXSAVE image.
const XMM_AT: usize = 160;

pub(super) fn read(value: &Value<'_>, places: &Places, platform: Platform) -> Outcome<CpuContext> {
    let fields = value.table("registers", KEYS)?;
    let word = |key| fields.get_or(key, |value| places.address(value), 0);
    let selector = |key, default| fields.get_or(key, Value::u16, default);
    // What the two systems give to user code on x86-64.
    let windows = platform == Platform::WindowsNt;
    let [data, thread] = if windows { [0x2b, 0x53] } else { [0, 0] };
    let fpu_control: u16 = if windows { 0x27F } else { 0x37F };

    let mut fxsave = Box::new([0; 512]);
    fxsave[0..2].copy_from_slice(&fpu_control.to_le_bytes());
    fxsave[24..28].copy_from_slice(&fields.get_or("mxcsr", Value::u32, 0x1F80)?.to_le_bytes());
    for (number, key) in XMM.iter().enumerate() {
        let at = XMM_AT + number * 16;
        if let Some(bytes) = fields.get(key, xmm)? {
            fxsave[at..at + 16].copy_from_slice(&bytes);
        }
    }
    let registers = Amd64 {
        rip: places.address(&fields.need("rip")?)?,
        rsp: places.address(&fields.need("rsp")?)?,
        rax: word("rax")?,
        rbx: word("rbx")?,
        rcx: word("rcx")?,
        rdx: word("rdx")?,
        rsi: word("rsi")?,
        rdi: word("rdi")?,
        rbp: word("rbp")?,
        r8: word("r8")?,
        r9: word("r9")?,
        r10: word("r10")?,
        r11: word("r11")?,
        r12: word("r12")?,
        r13: word("r13")?,
        r14: word("r14")?,
        r15: word("r15")?,
        eflags: fields.get_or("eflags", Value::u32, 0x246)?,
        cs: selector("cs", 0x33)?,
        ss: selector("ss", 0x2b)?,
        segments: Some([
            selector("ds", data)?,
            selector("es", data)?,
            selector("fs", thread)?,
            selector("gs", data)?,
        ]),
        fxsave: Some(fxsave),
        debug: Some([
            word("dr0")?,
            word("dr1")?,
            word("dr2")?,
            word("dr3")?,
            word("dr6")?,
            word("dr7")?,
        ]),
    };
    Ok(registers.to_context())
}

fn xmm(value: &Value<'_>) -> Outcome<[u8; 16]> {
    value
        .hex()?
        .try_into()
        .map_err(|_| value.error("expected 16 bytes as pairs of hexadecimal digits"))
}
