//! `[system]`: the machine and its operating system.

use dumpwright_target::{Cpu, CpuInformation, Platform, System};

use super::fields::{Fields, Outcome, Value};

pub(super) const KEYS: &[&str] = &[
    "platform",
    "cpu",
    "version",
    "version_text",
    "build",
    "processors",
    "level",
    "revision",
    "page_size",
    "cpuid",
    "features",
    "reads_any_protection",
];
pub(super) const CPUID_KEYS: &[&str] = &["vendor", "version", "features", "amd_features"];

const PLATFORMS: &[(&str, Platform)] = &[("linux", Platform::Linux), ("windows", Platform::WindowsNt)];
const CPUS: &[(&str, Cpu)] = &[("amd64", Cpu::Amd64)];

/// What `IsProcessorFeaturePresent` says on a usual x86-64: compare-exchange (2), SSE (6), RDTSC (8), PAE (9), SSE2
/// (10), NX (12), SSE3 (13), CMPXCHG16B (14), XSAVE (17), among others.
const WINDOWS_FEATURES: [u64; 2] = [0x0000_0000_0002_7744, 0];

pub(super) fn read(document: &Fields<'_>) -> Outcome<System> {
    let fields = document.need("system")?.table("a system", KEYS)?;
    fields.exclusive(&["cpuid", "features"])?;
    let platform = fields.need("platform")?.choice(PLATFORMS)?;
    let mut system = usual(platform);
    system.cpu = fields.get_or("cpu", |value| value.choice(CPUS), Cpu::Amd64)?;
    system.version = fields.get_or("version", version, system.version)?;
    system.version_text = fields.get_or("version_text", Value::string, system.version_text)?;
    system.build = fields.get_or("build", Value::string, system.build)?;
    system.processors = fields.get_or("processors", Value::u32, system.processors)?;
    system.processor_level = fields.get_or("level", Value::u16, system.processor_level)?;
    system.processor_revision = fields.get_or("revision", Value::u16, system.processor_revision)?;
    system.page_size = fields.get_or("page_size", page_size, system.page_size)?;
    system.cpu_information = fields.get_or("cpuid", cpuid, system.cpu_information)?;
    system.cpu_information = fields.get_or("features", features, system.cpu_information)?;
    Ok(system)
}

/// Whether reads succeed whatever the protection.
pub(super) fn reads_any_protection(document: &Fields<'_>) -> Outcome<bool> {
    document
        .need("system")?
        .table("a system", KEYS)?
        .get_or("reads_any_protection", Value::bool, false)
}

/// What such a system is when nothing else is said.
fn usual(platform: Platform) -> System {
    let linux = platform == Platform::Linux;
    System {
        cpu: Cpu::Amd64,
        platform,
        processor_level: 6,
        processor_revision: 0x8f08,
        processors: 2,
        version: if linux { [6, 1, 0] } else { [10, 0, 19045] },
        version_text: if linux {
            "Linux 6.1.0 #1 SMP x86_64".to_owned()
        } else {
            String::new()
        },
        build: if linux {
            "#1 SMP".to_owned()
        } else {
            "19041.1.amd64fre.vb_release.191206-1406".to_owned()
        },
        cpu_information: if linux {
            CpuInformation::X86 {
                vendor: vendor(*b"GenuineIntel"),
                version: 0x806f8,
                features: 0x0f8b_fbff,
                amd_features: 0x2c10_0800,
            }
        } else {
            CpuInformation::Features(WINDOWS_FEATURES)
        },
        page_size: 4096,
    }
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

/// The registers in which CPUID gives the vendor's name, in the order EBX, EDX, ECX.
fn vendor(name: [u8; 12]) -> [u32; 3] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [word(0), word(4), word(8)]
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

fn features(value: &Value<'_>) -> Outcome<CpuInformation> {
    let words = value.array()?;
    let [low, high] = words.as_slice() else {
        return Err(value.error("expected two numbers of 64 bits, one bit for each feature"));
    };
    Ok(CpuInformation::Features([low.u64()?, high.u64()?]))
}
