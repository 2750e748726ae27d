//! `[system]`: the machine and its operating system.

use dumpwright_target::{Cpu, CpuInformation, Platform, System, XStateFeature, XStateLayout};

use super::fields::{Fields, Outcome, Value};
use crate::system::{usual, vendor};

pub(super) const KEYS: &[&str] = &[
    "platform",
    "cpu",
    "version",
    "version_text",
    "product_type",
    "suite_mask",
    "build",
    "processors",
    "level",
    "revision",
    "page_size",
    "cpuid",
    "features",
    "arm_cpu",
    "extended_state",
    "reads_any_protection",
];
pub(super) const ARM_CPU_KEYS: &[&str] = &["main_id", "hwcaps"];
pub(super) const CPUID_KEYS: &[&str] = &["vendor", "version", "features", "amd_features"];

const PLATFORMS: &[(&str, Platform)] = &[("linux", Platform::Linux), ("windows", Platform::WindowsNt)];
const CPUS: &[(&str, Cpu)] = &[
    ("amd64", Cpu::Amd64),
    ("x86", Cpu::X86),
    ("arm", Cpu::Arm),
    ("arm64", Cpu::Arm64),
];

/// Features of the extended state by processor, with the places that XSAVE has for them on Intel's processors (leaf 0xD
/// of CPUID): number, offset, size.
const AVX: &[[u32; 3]] = &[[2, 576, 256]];
const AVX512: &[[u32; 3]] = &[[2, 576, 256], [5, 1088, 64], [6, 1152, 512], [7, 1664, 1024]];
const EXTENDED_STATES: &[(&str, &[[u32; 3]])] = &[("avx", AVX), ("avx512", AVX512)];

pub(super) fn read(document: &Fields<'_>) -> Outcome<System> {
    let fields = document.need("system")?.table("a system", KEYS)?;
    fields.exclusive(&["cpuid", "features", "arm_cpu"])?;
    let platform = fields.need("platform")?.choice(PLATFORMS)?;
    let cpu = fields.get_or("cpu", |value| value.choice(CPUS), Cpu::Amd64)?;
    if let (Cpu::Arm, Platform::WindowsNt, Some(value)) = (cpu, platform, fields.value("cpu")) {
        return Err(value.error(
            "32-bit ARM is there for Linux only: readers know its registers in the layout of Linux' writers alone",
        ));
    }
    let mut system = usual(platform, cpu);
    check_information(&fields, cpu)?;
    system.version = fields.get_or("version", version, system.version)?;
    system.version_text = fields.get_or("version_text", Value::string, system.version_text)?;
    system.product_type = fields.get_or("product_type", Value::u8, system.product_type)?;
    system.suite_mask = fields.get_or("suite_mask", Value::u16, system.suite_mask)?;
    system.build = fields.get_or("build", Value::string, system.build)?;
    system.processors = fields.get_or("processors", Value::u32, system.processors)?;
    system.processor_level = fields.get_or("level", Value::u16, system.processor_level)?;
    system.processor_revision = fields.get_or("revision", Value::u16, system.processor_revision)?;
    system.page_size = fields.get_or("page_size", page_size, system.page_size)?;
    system.cpu_information = fields.get_or("cpuid", cpuid, system.cpu_information)?;
    system.cpu_information = fields.get_or("features", features, system.cpu_information)?;
    system.cpu_information = fields.get_or("arm_cpu", arm_cpu, system.cpu_information)?;
    system.extended_state = fields.get("extended_state", |value| extended_state(value, cpu))?;
    Ok(system)
}

/// Whether reads succeed whatever the protection.
pub(super) fn reads_any_protection(document: &Fields<'_>) -> Outcome<bool> {
    document
        .need("system")?
        .table("a system", KEYS)?
        .get_or("reads_any_protection", Value::bool, false)
}

/// Refuses what a processor cannot say of itself.
fn check_information(fields: &Fields<'_>, cpu: Cpu) -> Outcome<()> {
    let is_intel = matches!(cpu, Cpu::Amd64 | Cpu::X86);
    for (key, fits) in [
        ("cpuid", is_intel),
        ("features", cpu != Cpu::X86),
        ("arm_cpu", !is_intel),
    ] {
        if let (false, Some(value)) = (fits, fields.value(key)) {
            return Err(value.error(format!("dumps of {} have no place for \"{key}\"", cpu.name())));
        }
    }
    Ok(())
}

/// Numbers with dots between them, `N` at most; the missing ones are 0.
pub(super) fn numbers<const N: usize>(value: &Value<'_>) -> Outcome<[u32; N]> {
    let mut numbers = [0; N];
    let words: Vec<_> = value.text()?.split('.').collect();
    let expected = || {
        value.error(format!(
            "expected up to {N} numbers with dots between them, as in \"10.0.19045\""
        ))
    };
    if words.len() > N {
        return Err(expected());
    }
    for (number, word) in numbers.iter_mut().zip(words) {
        *number = word.parse().map_err(|_| expected())?;
    }
    Ok(numbers)
}

fn version(value: &Value<'_>) -> Outcome<[u32; 3]> {
    numbers(value)
}

fn page_size(value: &Value<'_>) -> Outcome<u64> {
    let size = value.u64()?;
    if size.is_power_of_two() && (0x1000..=0x1_0000).contains(&size) {
        return Ok(size);
    }
    Err(value.error("expected a power of two from 0x1000 to 0x10000"))
}

fn cpuid(value: &Value<'_>) -> Outcome<CpuInformation> {
    let fields = value.table("what CPUID says", CPUID_KEYS)?;
    let name = fields.need("vendor")?;
    let bytes: [u8; 12] = name
        .text()?
        .as_bytes()
        .try_into()
        .map_err(|_| name.error("expected 12 letters, as in \"GenuineIntel\" or \"AuthenticAMD\""))?;
    Ok(CpuInformation::X86 {
        vendor: vendor(bytes),
        version: fields.get_or("version", Value::u32, 0)?,
        features: fields.get_or("features", Value::u32, 0)?,
        amd_features: fields.get_or("amd_features", Value::u32, 0)?,
    })
}

fn arm_cpu(value: &Value<'_>) -> Outcome<CpuInformation> {
    let fields = value.table("what an ARM processor says of itself", ARM_CPU_KEYS)?;
    Ok(CpuInformation::Arm {
        cpuid: fields.get_or("main_id", Value::u32, 0)?,
        hwcaps: fields.get_or("hwcaps", Value::u32, 0)?,
    })
}

fn extended_state(value: &Value<'_>, cpu: Cpu) -> Outcome<XStateLayout> {
    let features = value.choice(EXTENDED_STATES)?;
    if cpu != Cpu::Amd64 {
        return Err(value.error(format!("{} has no extended state here; amd64 has", cpu.name())));
    }
    let feature = |[number, offset, size]: &[u32; 3]| XStateFeature {
        number: *number as u8,
        offset: *offset,
        size: *size,
    };
    Ok(XStateLayout::new(features.iter().map(feature).collect()).expect("the places of Intel's processors"))
}

fn features(value: &Value<'_>) -> Outcome<CpuInformation> {
    let words = value.array()?;
    let [low, high] = words.as_slice() else {
        return Err(value.error("expected two numbers of 64 bits, one bit for each feature"));
    };
    Ok(CpuInformation::Features([low.u64()?, high.u64()?]))
}
