//! `[system]`: the machine and its operating system.

use dumpwright_target::{Cpu, CpuInformation, Platform, System, XStateFeature, XStateLayout};
use dumpwright_text::{Fields, Parsed, Reported, Value};

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

/// The features of the extended state, with their places in the XSAVE area of Intel's processors
/// (leaf 0xD of CPUID): number, offset, size.
const AVX: &[[u32; 3]] = &[[2, 576, 256]];
const AVX512: &[[u32; 3]] = &[[2, 576, 256], [5, 1088, 64], [6, 1152, 512], [7, 1664, 1024]];
const EXTENDED_STATES: &[(&str, &[[u32; 3]])] = &[("avx", AVX), ("avx512", AVX512)];

/// The machine that a scenario describes. If the text has a mistake, `system` has a default value
/// and the field for the mistaken key is `Err`, so that values that depend on it are not reported
/// as further mistakes.
pub(super) struct Machine {
    pub system: System,
    pub platform: Parsed<Platform>,
    pub cpu: Parsed<Cpu>,
    /// `Err` if the extended state has a mistake.
    pub extended_state: Parsed<()>,
    /// Whether memory can be read regardless of its protection.
    pub reads_any_protection: bool,
}

impl Machine {
    /// Returns an unknown machine, because of a mistake.
    fn unknown(mistake: Reported) -> Self {
        Self {
            system: usual(Platform::Linux, Cpu::Amd64),
            platform: Err(mistake),
            cpu: Err(mistake),
            extended_state: Err(mistake),
            reads_any_protection: false,
        }
    }
}

pub(super) fn read(document: &Fields<'_>) -> Machine {
    match document.required("system", |value| value.table("a system", KEYS)) {
        Ok(fields) => read_table(&fields),
        Err(mistake) => Machine::unknown(mistake),
    }
}

fn read_table(fields: &Fields<'_>) -> Machine {
    let _ = fields.exclusive(&["cpuid", "features", "arm_cpu"]);
    let platform = fields.required("platform", |value| value.choice(PLATFORMS));
    let cpu = fields.optional("cpu", |value| match (value.choice(CPUS)?, platform) {
        (Cpu::Arm, Ok(Platform::WindowsNt)) => Err(value.error(
            "32-bit ARM is supported for Linux only: readers know its registers only in the layout of Linux writers",
        )),
        (cpu, _) => Ok(cpu),
    });
    let cpu = cpu.map(|cpu| cpu.unwrap_or(Cpu::Amd64));
    if let Ok(cpu) = cpu {
        check_information(fields, cpu);
    }
    let usual = usual(platform.unwrap_or(Platform::Linux), cpu.unwrap_or(Cpu::Amd64));
    let extended_state = fields.optional("extended_state", |value| extended_state(value, cpu));
    let cpu_information = [
        fields.get("cpuid", cpuid),
        fields.get("features", features),
        fields.get("arm_cpu", arm_cpu),
    ];
    let system = System {
        version: fields.get_or("version", version, usual.version),
        version_text: fields.get_or("version_text", Value::string, usual.version_text),
        product_type: fields.get_or("product_type", Value::u8, usual.product_type),
        suite_mask: fields.get_or("suite_mask", Value::u16, usual.suite_mask),
        build: fields.get_or("build", Value::string, usual.build),
        processors: fields.get_or("processors", Value::u32, usual.processors),
        processor_level: fields.get_or("level", Value::u16, usual.processor_level),
        processor_revision: fields.get_or("revision", Value::u16, usual.processor_revision),
        page_size: fields.get_or("page_size", page_size, usual.page_size),
        cpu_information: cpu_information
            .into_iter()
            .flatten()
            .next()
            .unwrap_or(usual.cpu_information),
        extended_state: extended_state.clone().unwrap_or_default(),
        ..usual
    };
    Machine {
        system,
        platform,
        cpu,
        extended_state: extended_state.map(|_| ()),
        reads_any_protection: fields.get_or("reads_any_protection", Value::bool, false),
    }
}

/// Refuses keys that do not apply to a processor family.
fn check_information(fields: &Fields<'_>, cpu: Cpu) {
    let is_intel = matches!(cpu, Cpu::Amd64 | Cpu::X86);
    for (key, fits) in [
        ("cpuid", is_intel),
        ("features", cpu != Cpu::X86),
        ("arm_cpu", !is_intel),
    ] {
        if let (false, Some(value)) = (fits, fields.value(key)) {
            value.error(format_args!(
                "dumps of {} have no place for \"{key}\"",
                cpu.name()
            ));
        }
    }
}

/// Reads up to `N` numbers with dots between them. Missing numbers are 0.
pub(super) fn numbers<const N: usize>(value: &Value<'_>) -> Parsed<[u32; N]> {
    let mut numbers = [0; N];
    let words: Vec<_> = value.text()?.split('.').collect();
    let expected = || {
        value.expected(format_args!(
            "up to {N} numbers with dots between them, as in \"10.0.19045\""
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

fn version(value: &Value<'_>) -> Parsed<[u32; 3]> {
    numbers(value)
}

fn page_size(value: &Value<'_>) -> Parsed<u64> {
    let size = value.u64()?;
    if size.is_power_of_two() && (0x1000..=0x1_0000).contains(&size) {
        return Ok(size);
    }
    Err(value.expected("a power of two from 0x1000 to 0x10000"))
}

fn cpuid(value: &Value<'_>) -> Parsed<CpuInformation> {
    let fields = value.table("the result of CPUID", CPUID_KEYS)?;
    let name = fields.required("vendor", |name| {
        let bytes: Result<[u8; 12], _> = name.text()?.as_bytes().try_into();
        bytes.map_err(|_| name.expected("12 letters, as in \"GenuineIntel\" or \"AuthenticAMD\""))
    });
    Ok(CpuInformation::X86 {
        version: fields.get_or("version", Value::u32, 0),
        features: fields.get_or("features", Value::u32, 0),
        amd_features: fields.get_or("amd_features", Value::u32, 0),
        vendor: vendor(name?),
    })
}

fn arm_cpu(value: &Value<'_>) -> Parsed<CpuInformation> {
    let fields = value.table("the identification of an ARM processor", ARM_CPU_KEYS)?;
    Ok(CpuInformation::Arm {
        cpuid: fields.get_or("main_id", Value::u32, 0),
        hwcaps: fields.get_or("hwcaps", Value::u32, 0),
    })
}

fn extended_state(value: &Value<'_>, cpu: Parsed<Cpu>) -> Parsed<XStateLayout> {
    let features = value.choice(EXTENDED_STATES)?;
    let cpu = cpu?;
    if cpu != Cpu::Amd64 {
        return Err(value.error(format_args!(
            "{} has no extended state in scenarios; only amd64 has",
            cpu.name()
        )));
    }
    let feature = |[number, offset, size]: &[u32; 3]| XStateFeature {
        number: *number as u8,
        offset: *offset,
        size: *size,
    };
    Ok(XStateLayout::new(features.iter().map(feature).collect()).expect("the places of Intel's processors"))
}

fn features(value: &Value<'_>) -> Parsed<CpuInformation> {
    let words = value.tuple("two numbers of 64 bits, one bit for each feature")?;
    let [low, high] = words.map(|word| word.u64());
    Ok(CpuInformation::Features([low?, high?]))
}
