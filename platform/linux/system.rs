//! The facts about the machine and its kernel.

use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::ffi::OsStr;

use dumpwright_target::{Cpu, CpuInformation, Fault, Platform, System, XStateLayout};

use crate::proc_dir::{page_size, system_fault};

/// Returns the facts about the system. They may be read before the process is stopped.
///
/// `cpu` is the family of the process, which may be 32-bit on a 64-bit machine. The texts of
/// `uname` and the values of `CPUID` are always those of the machine.
pub(crate) fn system(cpu: Cpu, extended_state: Option<XStateLayout>) -> Result<System, Fault> {
    // By uname(2), because sandboxes hide `/proc/sys`.
    let kernel = nix::sys::utsname::uname()
        .map_err(|errno| system_fault("read the version of the kernel", &errno.into()))?;
    let text = |text: &OsStr| text.to_string_lossy().into_owned();
    let (name, release, version) = (
        text(kernel.sysname()),
        text(kernel.release()),
        text(kernel.version()),
    );
    let identity = Identity::of_this_processor();
    Ok(System {
        cpu,
        platform: Platform::Linux,
        processor_level: identity.family(),
        processor_revision: identity.model() << 8 | identity.stepping(),
        processors: processors(),
        version: version_numbers(&release),
        // VER_NT_WORKSTATION. Linux has no such distinction.
        product_type: 1,
        suite_mask: 0,
        // The same parts in the same order as other Linux writers, for readers that search them.
        version_text: format!("{name} {release} {version} {}", std::env::consts::ARCH),
        build: version,
        cpu_information: identity.information(),
        extended_state,
        page_size: page_size(),
    })
}

/// Returns the facts about the system of which only these are known: the version of its kernel, and
/// the features of its processors (EDX of leaf 1 of `CPUID`, which is `AT_HWCAP` on x86).
pub(crate) fn system_of_core(
    version: Option<[u32; 3]>,
    features: u32,
    page_size: u64,
    extended_state: Option<XStateLayout>,
) -> System {
    let numbers = version.unwrap_or_default();
    let [major, minor, patch] = numbers;
    let name = version.map_or_else(
        || "Linux".to_owned(),
        |_| format!("Linux {major}.{minor}.{patch}"),
    );
    let identity = Identity {
        features,
        ..Identity::default()
    };
    System {
        cpu: Cpu::Amd64,
        platform: Platform::Linux,
        processor_level: 0,
        processor_revision: 0,
        processors: 0,
        version: numbers,
        product_type: 1,
        suite_mask: 0,
        version_text: format!("{name} x86_64"),
        build: String::new(),
        cpu_information: identity.information(),
        extended_state,
        page_size,
    }
}

/// Returns the number of processors online.
fn processors() -> u32 {
    // SAFETY: sysconf takes a number, returns a number, and accesses no memory of ours.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Returns the major, minor and patch numbers of a kernel release such as `6.18.44-generic`.
/// Missing numbers are 0.
fn version_numbers(release: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, word) in numbers.iter_mut().zip(release.split('.')) {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        *number = word[..digits].parse().unwrap_or(0);
        if digits < word.len() {
            break;
        }
    }
    numbers
}

/// Executes the instruction `CPUID` for a leaf and a subleaf.
pub(crate) fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has the instruction. It reads only its two operands and writes
    // only four registers.
    #[allow(unused_unsafe, reason = "safe since Rust 1.94; the minimum version is older")]
    unsafe {
        __cpuid_count(leaf, subleaf)
    }
}

/// Values of `CPUID`. All processors of a machine have the same.
#[derive(Debug, Clone, Copy, Default)]
struct Identity {
    vendor: [u32; 3],
    version: u32,
    features: u32,
    amd_features: u32,
}

impl Identity {
    fn of_this_processor() -> Self {
        let (vendor, version) = (cpuid(0, 0), cpuid(1, 0));
        let extended = cpuid(0x8000_0000, 0).eax;
        Self {
            vendor: [vendor.ebx, vendor.edx, vendor.ecx],
            version: version.eax,
            features: version.edx,
            amd_features: if extended > 0x8000_0000 {
                cpuid(0x8000_0001, 0).edx
            } else {
                0
            },
        }
    }

    /// The processor family. The extended family is added only to family 15, on Intel's and AMD's
    /// processors.
    fn family(self) -> u16 {
        let base = (self.version >> 8 & 0xf) as u16;
        if base == 0xf {
            base + (self.version >> 20 & 0xff) as u16
        } else {
            base
        }
    }

    /// The model. The extended model is used from family 6 on, as Linux does it.
    fn model(self) -> u16 {
        let base = (self.version >> 4 & 0xf) as u16;
        if self.family() >= 6 {
            base | (self.version >> 12 & 0xf0) as u16
        } else {
            base
        }
    }

    fn stepping(self) -> u16 {
        (self.version & 0xf) as u16
    }

    fn information(self) -> CpuInformation {
        CpuInformation::X86 {
            vendor: self.vendor,
            version: self.version,
            features: self.features,
            amd_features: self.amd_features,
        }
    }
}

/// What these tests would catch: versions and processor identities that differ from the kernel's.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc_dir::field;

    #[test]
    fn releases_are_taken_apart() {
        assert_eq!(version_numbers("6.18.44-fc-v657"), [6, 18, 44]);
        assert_eq!(version_numbers("5.10"), [5, 10, 0]);
        assert_eq!(version_numbers("6.1-rc4.9"), [6, 1, 0]);
        assert_eq!(version_numbers("odd"), [0, 0, 0]);
        assert_eq!(version_numbers("99999999999.1.2"), [0, 1, 2]);
    }

    #[test]
    fn the_kernel_and_uname_say_the_same() {
        let system = system(Cpu::Amd64, None).expect("readable");
        let cpuinfo = std::fs::read("/proc/cpuinfo").expect("readable");
        let number = |name| {
            field(&cpuinfo, name)
                .and_then(|value| value.parse::<u16>().ok())
                .expect("has it")
        };
        assert_eq!(system.processor_level, number("cpu family"));
        assert_eq!(
            system.processor_revision,
            number("model") << 8 | number("stepping")
        );
        let CpuInformation::X86 { vendor, .. } = system.cpu_information else {
            panic!("not x86")
        };
        let vendor: Vec<u8> = vendor.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(field(&cpuinfo, "vendor_id").map(String::into_bytes), Some(vendor));
        let uname = std::process::Command::new("uname")
            .arg("-srvm")
            .output()
            .expect("coreutils");
        assert_eq!(system.version_text, String::from_utf8_lossy(&uname.stdout).trim());
        let count = String::from_utf8_lossy(&cpuinfo).matches("\nprocessor\t").count() + 1;
        assert_eq!(system.processors as usize, count);
    }
}
