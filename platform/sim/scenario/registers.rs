//! The registers of a thread. Each processor family has a function and a list of keys.

use dumpwright_target::{
    Amd64, Arm, Arm64, Arm64FloatingPoint, ArmFloatingPoint, Cpu, CpuContext, Platform, X86, XState,
};
use dumpwright_text::{Fields, Parsed, Value};

use super::places::Places;
use super::system::Machine;

const AMD64_KEYS: &[&str] = &[
    "rip", "rsp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "eflags", "cs", "ds", "es", "fs", "gs", "ss", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
    "mxcsr", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
    "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6",
    "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15", "zmm0", "zmm1", "zmm2",
    "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14",
    "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24", "zmm25",
    "zmm26", "zmm27", "zmm28", "zmm29", "zmm30", "zmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7",
];
const X86_KEYS: &[&str] = &[
    "eip", "esp", "eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "eflags", "cs", "ds", "es", "fs", "gs",
    "ss", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "mxcsr", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
    "xmm6", "xmm7",
];
const ARM_KEYS: &[&str] = &[
    "pc", "sp", "lr", "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12",
    "cpsr", "fpscr", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13",
    "d14", "d15", "d16", "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28",
    "d29", "d30", "d31",
];
const ARM64_KEYS: &[&str] = &[
    "pc", "sp", "lr", "fp", "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12",
    "x13", "x14", "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "cpsr", "fpcr", "fpsr", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11",
    "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26",
    "v27", "v28", "v29", "v30", "v31",
];

/// The offset of `xmm0` in an FXSAVE image.
const XMM_AT: usize = 160;

pub(super) fn read(value: &Value<'_>, places: &Places, machine: &Machine) -> Parsed<CpuContext> {
    match machine.cpu? {
        Cpu::Amd64 => amd64(value, places, machine),
        Cpu::X86 => x86(value, places, machine.system.platform),
        Cpu::Arm => arm(value, places),
        Cpu::Arm64 => arm64(value, places),
        other => Err(value.error(format_args!(
            "registers of {} are not supported in scenarios",
            other.name()
        ))),
    }
}

fn amd64(value: &Value<'_>, places: &Places, machine: &Machine) -> Parsed<CpuContext> {
    let fields = value.table("registers", AMD64_KEYS)?;
    let word = |key| fields.get_or(key, |value| places.address(value), 0);
    let selector = |key, default| fields.get_or(key, Value::u16, default);
    // The selectors that each system gives to user code on x86-64.
    let windows = machine.system.platform == Platform::WindowsNt;
    let [data, thread] = if windows { [0x2b, 0x53] } else { [0, 0] };
    let [rip, rsp] = ["rip", "rsp"].map(|key| fields.required(key, |value| places.address(value)));
    let mut image = fxsave(&fields, windows, 16);
    let xstate = xstate(&fields, &mut image, machine);
    let registers = Amd64 {
        rax: word("rax"),
        rbx: word("rbx"),
        rcx: word("rcx"),
        rdx: word("rdx"),
        rsi: word("rsi"),
        rdi: word("rdi"),
        rbp: word("rbp"),
        r8: word("r8"),
        r9: word("r9"),
        r10: word("r10"),
        r11: word("r11"),
        r12: word("r12"),
        r13: word("r13"),
        r14: word("r14"),
        r15: word("r15"),
        eflags: fields.get_or("eflags", Value::u32, 0x246),
        cs: selector("cs", 0x33),
        ss: selector("ss", 0x2b),
        segments: Some([
            selector("ds", data),
            selector("es", data),
            selector("fs", thread),
            selector("gs", data),
        ]),
        fxsave: Some(image),
        debug: Some([
            word("dr0"),
            word("dr1"),
            word("dr2"),
            word("dr3"),
            word("dr6"),
            word("dr7"),
        ]),
        xstate,
        rip: rip?,
        rsp: rsp?,
    };
    Ok(registers.to_context())
}

fn x86(value: &Value<'_>, places: &Places, platform: Platform) -> Parsed<CpuContext> {
    let fields = value.table("registers", X86_KEYS)?;
    let word = |key| fields.get_or(key, |value| word32(value, places), 0);
    let selector = |key, default| fields.get_or(key, Value::u16, default);
    // The selectors that 32-bit Windows, and Linux on a 64-bit kernel, give to user code.
    let windows = platform == Platform::WindowsNt;
    let [code, data, thread_fs, thread_gs] = if windows {
        [0x1b, 0x23, 0x3b, 0]
    } else {
        [0x23, 0x2b, 0, 0x63]
    };
    let [eip, esp] = ["eip", "esp"].map(|key| fields.required(key, |value| word32(value, places)));
    let registers = X86 {
        eax: word("eax"),
        ebx: word("ebx"),
        ecx: word("ecx"),
        edx: word("edx"),
        esi: word("esi"),
        edi: word("edi"),
        ebp: word("ebp"),
        eflags: fields.get_or("eflags", Value::u32, 0x246),
        cs: selector("cs", code),
        ss: selector("ss", data),
        segments: Some([
            selector("ds", data),
            selector("es", data),
            selector("fs", thread_fs),
            selector("gs", thread_gs),
        ]),
        fxsave: Some(fxsave(&fields, windows, 8)),
        debug: Some([
            word("dr0"),
            word("dr1"),
            word("dr2"),
            word("dr3"),
            word("dr6"),
            word("dr7"),
        ]),
        eip: eip?,
        esp: esp?,
    };
    Ok(registers.to_context())
}

fn arm(value: &Value<'_>, places: &Places) -> Parsed<CpuContext> {
    let fields = value.table("registers", ARM_KEYS)?;
    let word = |key: &str| fields.get_or(key, |value| word32(value, places), 0);
    let mut r = [0; 13];
    for (number, register) in r.iter_mut().enumerate() {
        *register = word(&format!("r{number}"));
    }
    let mut d = [0; 32];
    for (number, register) in d.iter_mut().enumerate() {
        *register = u64::from_le_bytes(fields.get_or(&format!("d{number}"), sized, [0; 8]));
    }
    let fpscr = fields.get_or("fpscr", Value::u32, 0);
    let [pc, sp] = ["pc", "sp"].map(|key| fields.required(key, |value| word32(value, places)));
    let registers = Arm {
        r,
        lr: word("lr"),
        // User mode.
        cpsr: fields.get_or("cpsr", Value::u32, 0x10),
        floating_point: Some(Box::new(ArmFloatingPoint { d, fpscr })),
        pc: pc?,
        sp: sp?,
    };
    Ok(registers.to_context())
}

fn arm64(value: &Value<'_>, places: &Places) -> Parsed<CpuContext> {
    let fields = value.table("registers", ARM64_KEYS)?;
    let word = |key: &str| fields.get_or(key, |value| places.address(value), 0);
    let mut x = [0; 29];
    for (number, register) in x.iter_mut().enumerate() {
        *register = word(&format!("x{number}"));
    }
    let mut v = [0; 32];
    for (number, register) in v.iter_mut().enumerate() {
        *register = u128::from_le_bytes(fields.get_or(&format!("v{number}"), sized, [0; 16]));
    }
    let floating_point = Arm64FloatingPoint {
        v,
        fpcr: fields.get_or("fpcr", Value::u32, 0),
        fpsr: fields.get_or("fpsr", Value::u32, 0),
    };
    let [pc, sp] = ["pc", "sp"].map(|key| fields.required(key, |value| places.address(value)));
    let registers = Arm64 {
        x,
        fp: word("fp"),
        lr: word("lr"),
        cpsr: fields.get_or("cpsr", Value::u32, 0),
        floating_point: Some(Box::new(floating_point)),
        pc: pc?,
        sp: sp?,
    };
    Ok(registers.to_context())
}

/// Reads a register of 32 bits.
fn word32(value: &Value<'_>, places: &Places) -> Parsed<u32> {
    let word = places.address(value)?;
    u32::try_from(word)
        .map_err(|_| value.error(format_args!("{word:#x} does not fit into a register of 32 bits")))
}

/// Returns an image of the x87 and SSE state with `count` `xmm` registers.
fn fxsave(fields: &Fields<'_>, windows: bool, count: usize) -> Box<[u8; 512]> {
    let fpu_control: u16 = if windows { 0x27F } else { 0x37F };
    let mut image = Box::new([0; 512]);
    image[0..2].copy_from_slice(&fpu_control.to_le_bytes());
    image[24..28].copy_from_slice(&fields.get_or("mxcsr", Value::u32, 0x1F80).to_le_bytes());
    for number in 0..count {
        let at = XMM_AT + number * 16;
        if let Some(bytes) = fields.get(&format!("xmm{number}"), sized::<16>) {
            image[at..at + 16].copy_from_slice(&bytes);
        }
    }
    image
}

fn sized<const N: usize>(value: &Value<'_>) -> Parsed<[u8; N]> {
    value
        .hex()?
        .try_into()
        .map_err(|_| value.error(format!("expected {N} bytes as pairs of hexadecimal digits")))
}

/// Reads AVX and AVX-512 registers. The low parts of `ymm0` and `zmm0` are `xmm0`, which is in the
/// plain context. If several names refer to the same register, the widest one counts.
fn xstate(fields: &Fields<'_>, image: &mut [u8; 512], machine: &Machine) -> Option<XState> {
    let layout = machine.system.extended_state.as_ref();
    // If the layout is unknown because of a mistake, no register is reported as unsupported.
    let has = |feature: u8| {
        machine.extended_state.is_err() || layout.is_some_and(|layout| layout.enabled() >> feature & 1 == 1)
    };
    // Upper halves of ymm0 to ymm15, opmasks, upper halves of zmm0 to zmm15, all of zmm16 to zmm31.
    let [mut ymm_high, mut masks, mut zmm_high, mut zmm_more] =
        [256, 64, 512, 1024].map(|size| vec![0_u8; size]);
    for number in 0..16 {
        if let Some(bytes) = wide::<32>(fields, &format!("ymm{number}"), has(2), "\"avx\" or \"avx512\"") {
            image[XMM_AT + 16 * number..][..16].copy_from_slice(&bytes[..16]);
            ymm_high[16 * number..][..16].copy_from_slice(&bytes[16..]);
        }
    }
    for number in 0..32 {
        let Some(bytes) = wide::<64>(fields, &format!("zmm{number}"), has(6), "\"avx512\"") else {
            continue;
        };
        if number < 16 {
            image[XMM_AT + 16 * number..][..16].copy_from_slice(&bytes[..16]);
            ymm_high[16 * number..][..16].copy_from_slice(&bytes[16..32]);
            zmm_high[32 * number..][..32].copy_from_slice(&bytes[32..]);
        } else {
            zmm_more[64 * (number - 16)..][..64].copy_from_slice(&bytes);
        }
    }
    for number in 0..8 {
        if let Some(bytes) = wide::<8>(fields, &format!("k{number}"), has(5), "\"avx512\"") {
            masks[8 * number..][..8].copy_from_slice(&bytes);
        }
    }
    let parts = [(2, ymm_high), (5, masks), (6, zmm_high), (7, zmm_more)];
    // As in a processor, a component that is zero is in its initial state.
    let in_use = parts
        .iter()
        .filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
        .map(|(number, bytes)| (*number, bytes.as_slice()));
    layout.map(|layout| XState::from_parts(in_use, layout))
}

/// Reads a register that not every system has. `state` is the extended state that it needs.
fn wide<const N: usize>(fields: &Fields<'_>, key: &str, exists: bool, state: &str) -> Option<[u8; N]> {
    fields.get(key, |value| {
        if !exists {
            return Err(value.error(format_args!("{key} needs a system with extended_state = {state}")));
        }
        sized(value)
    })
}
