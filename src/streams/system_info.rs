//! SystemInfo: the machine and its operating system. Every reader requires it.

use dumpwright_target::{Cpu, CpuInformation};
use minidump_common::format::{ARMCpuInfo, CPU_INFORMATION, MINIDUMP_SYSTEM_INFO, OtherCpuInfo, X86CpuInfo};
use scroll::{LE, Pwrite};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::format;
use crate::plan::capped;

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let system = snapshot.facts().system().expect("wanted");
    // Always written, because Breakpad takes an RVA of 0 for an error.
    let version_text = plan.string(&system.version_text);
    plan.record(format::size::<MINIDUMP_SYSTEM_INFO>(), move |offsets| {
        let [major_version, minor_version, build_number] = system.version;
        Ok(format::bytes([MINIDUMP_SYSTEM_INFO {
            processor_architecture: architecture(system.cpu),
            processor_level: system.processor_level,
            processor_revision: system.processor_revision,
            number_of_processors: capped(system.processors.into(), u8::MAX),
            product_type: system.product_type,
            major_version,
            minor_version,
            build_number,
            platform_id: system.platform.value(),
            csd_version_rva: offsets.rva(version_text)?,
            suite_mask: system.suite_mask,
            reserved2: 0,
            cpu: cpu_information(system.cpu_information),
        }]))
    })
}

/// Returns the `PROCESSOR_ARCHITECTURE_…` number of Microsoft's `winnt.h`. Breakpad formerly used
/// 0x8003 for ARM64, with other contexts.
fn architecture(cpu: Cpu) -> u16 {
    match cpu {
        Cpu::X86 => 0,
        Cpu::Arm => 5,
        Cpu::Amd64 => 9,
        Cpu::Arm64 => 12,
        other => unreachable!("{other:?} has no architecture number"),
    }
}

fn cpu_information(information: CpuInformation) -> CPU_INFORMATION {
    let mut data = [0; 24];
    match information {
        CpuInformation::X86 {
            vendor,
            version,
            features,
            amd_features,
        } => data.pwrite_with(
            X86CpuInfo {
                vendor_id: vendor,
                version_information: version,
                feature_information: features,
                amd_extended_cpu_features: amd_features,
            },
            0,
            LE,
        ),
        CpuInformation::Arm { cpuid, hwcaps } => data.pwrite_with(
            ARMCpuInfo {
                cpuid,
                elf_hwcaps: hwcaps,
            },
            0,
            LE,
        ),
        CpuInformation::Features(processor_features) => {
            data.pwrite_with(OtherCpuInfo { processor_features }, 0, LE)
        }
    }
    .expect("each fits into the union");
    CPU_INFORMATION { data }
}
