//! The machine and its kernel.

use std::path::Path;

use dumpwright_target::{Cpu, CpuInformation, Fault, Platform, System, XStateLayout};

use crate::proc_dir::{page_size, read_bounded, system_fault};

/// What the kernel says of itself is one line each.
const LINE_LIMIT: u64 = 4096;

/// What can be said without asking the process: it may be taken before the process is stopped. `cpu` is the family of the
/// process, which on a 64-bit machine may be the 32-bit one; the words of `uname` and `CPUID` are those of the machine.
pub(crate) fn system(cpu: Cpu, extended_state: Option<XStateLayout>) -> Result<System, Fault> {
    let kernel = |name: &str| {
        let path = format!("/proc/sys/kernel/{name}");
        read_bounded(Path::new(&path), LINE_LIMIT)
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned())
            .map_err(|error| system_fault(format!("read the kernel's version ({path})"), &error))
    };
    let (name, release, version) = (kernel("ostype")?, kernel("osrelease")?, kernel("version")?);
    let identity = Identity::of_this_processor();
    Ok(System {
        cpu,
        platform: Platform::Linux,
        processor_level: identity.family(),
        processor_revision: identity.model() << 8 | identity.stepping(),
        processors: processors(),
        version: version_numbers(&release),
        // VER_NT_WORKSTATION; Linux makes no such difference.
        product_type: 1,
        suite_mask: 0,
        // The words and their order are those of other Linux writers, for readers that search them.
        version_text: format!("{name} {release} {version} {}", std::env::consts::ARCH),
        build: version,
        cpu_information: identity.information(),
        extended_state,
        page_size: page_size(),
    })
}

/// Processors online.
fn processors() -> u32 {
    // SAFETY: sysconf takes a number and returns a number; it touches no memory of ours.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(count).unwrap_or(1).max(1)
}

/// Major, minor and patch number of a kernel's release, such as `6.18.44-generic`. What is missing is 0.
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

/// What `CPUID` says. All processors of a machine say the same of what is used here.
#[derive(Debug, Clone, Copy, Default)]
struct Identity {
    vendor: [u32; 3],
    version: u32,
    features: u32,
    amd_features: u32,
}

impl Identity {
    #[cfg(target_arch = "x86_64")]
    fn of_this_processor() -> Self {
        use std::arch::x86_64::__cpuid;
        let (vendor, version) = (__cpuid(0), __cpuid(1));
        let extended = __cpuid(0x8000_0000).eax;
        Self {
            vendor: [vendor.ebx, vendor.edx, vendor.ecx],
            version: version.eax,
            features: version.edx,
            amd_features: if extended > 0x8000_0000 {
                __cpuid(0x8000_0001).edx
            } else {
                0
            },
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_this_processor() -> Self {
        Self::default()
    }

    /// The extended family counts only on top of family 15 (the same on Intel's and AMD's processors).
    fn family(self) -> u16 {
        let base = (self.version >> 8 & 0xf) as u16;
        if base == 0xf {
            base + (self.version >> 20 & 0xff) as u16
        } else {
            base
        }
    }

    /// The extended model counts for families 6 and from 15 on, as Linux itself does it.
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

/// What these tests would catch: versions and processors other than the kernel's own words for them.
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

    #[cfg(target_arch = "x86_64")]
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
