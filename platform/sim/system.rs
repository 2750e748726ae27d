//! The default system of a simulated process.

use dumpwright_target::{Cpu, CpuInformation, Platform, System};

/// The features that `IsProcessorFeaturePresent` reports on a typical x86-64: compare-exchange (2),
/// SSE (6), RDTSC (8), PAE (9), SSE2 (10), NX (12), SSE3 (13), CMPXCHG16B (14), XSAVE (17), among
/// others.
const WINDOWS_FEATURES: [u64; 2] = [0x0000_0000_0002_7744, 0];

/// The same for ARM64: compare-exchange of 64 and 128 bits (2, 14), NX (12), VFP (18), NEON (19),
/// divisions (24), atomics (25), ARMv8 with cryptography and CRC32 (29 to 31).
const WINDOWS_ARM64_FEATURES: [u64; 2] = [0x0000_0000_e30c_5004, 0];

/// Returns the default system for a platform and a processor family.
pub(crate) fn usual(platform: Platform, cpu: Cpu) -> System {
    let linux = platform == Platform::Linux;
    // The machine name that the kernel reports comes last.
    let (processor_level, processor_revision, machine) = match cpu {
        Cpu::X86 => (6, 0x8f08, "i686"),
        Cpu::Arm => (7, 0, "armv7l"),
        Cpu::Arm64 => (8, 0, "aarch64"),
        _ => (6, 0x8f08, "x86_64"),
    };
    System {
        cpu,
        platform,
        processor_level,
        processor_revision,
        processors: 2,
        version: if linux { [6, 1, 0] } else { [10, 0, 19045] },
        product_type: 1,
        suite_mask: 0,
        version_text: if linux {
            format!("Linux 6.1.0 #1 SMP {machine}")
        } else {
            String::new()
        },
        build: if linux {
            "#1 SMP".to_owned()
        } else {
            format!("19041.1.{}fre.vb_release.191206-1406", cpu.name())
        },
        cpu_information: match (cpu, platform) {
            (Cpu::Amd64, Platform::WindowsNt) => CpuInformation::Features(WINDOWS_FEATURES),
            (Cpu::Amd64 | Cpu::X86, _) => CpuInformation::X86 {
                vendor: vendor(*b"GenuineIntel"),
                version: 0x806f8,
                features: 0x0f8b_fbff,
                amd_features: 0x2c10_0800,
            },
            (_, Platform::WindowsNt) => CpuInformation::Features(WINDOWS_ARM64_FEATURES),
            (Cpu::Arm, _) => CpuInformation::Arm {
                cpuid: 0x410f_c075,
                hwcaps: 0x003f_b0d6,
            },
            _ => CpuInformation::Arm {
                cpuid: 0x410f_d034,
                hwcaps: 0xff,
            },
        },
        extended_state: None,
        page_size: 4096,
    }
}

/// Returns the registers in which CPUID stores the name of the vendor, in the order EBX, EDX, ECX.
pub(crate) fn vendor(name: [u8; 12]) -> [u32; 3] {
    let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
    [word(0), word(4), word(8)]
}
