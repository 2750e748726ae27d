//! The machine and its Windows.

use dumpwright_target::{Cpu, CpuInformation, Fault, Need, Platform, System};
use windows_sys::Win32::Foundation::{ERROR_PROC_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::SystemInformation::{
    GetNativeSystemInfo, OSVERSIONINFOEXW, OSVERSIONINFOW, SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::IsProcessorFeaturePresent;
use windows_sys::core::w;

use crate::access::Access;
use crate::modules;
use crate::nt::bound;
use crate::process::text;
use crate::query::nt_fault;
use crate::registers;

/// VER_PLATFORM_WIN32_NT, the only one there is of `dwPlatformId` on 64-bit systems.
const WINDOWS_NT: u32 = 2;

/// What can be said without asking the process.
pub(crate) fn system(access: &Access, need: &Need) -> Result<System, Fault> {
    let version = version()?;
    let machine = machine();
    Ok(System {
        // The process is x86-64, as we are; no other is opened.
        cpu: Cpu::Amd64,
        platform: Platform::WindowsNt,
        processor_level: machine.wProcessorLevel,
        processor_revision: machine.wProcessorRevision,
        processors: machine.dwNumberOfProcessors,
        version: [
            version.dwMajorVersion,
            version.dwMinorVersion,
            version.dwBuildNumber,
        ],
        product_type: version.wProductType,
        suite_mask: version.wSuiteMask,
        version_text: text(&version.szCSDVersion),
        build: build(access),
        cpu_information: CpuInformation::Features(features()),
        extended_state: need.extended_state.then(registers::extended_layout).flatten(),
        page_size: machine.dwPageSize.into(),
    })
}

fn machine() -> SYSTEM_INFO {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: fills the structure.
    unsafe { GetNativeSystemInfo(&mut info) };
    info
}

type RtlGetVersion = unsafe extern "system" fn(*mut OSVERSIONINFOW) -> i32;

/// The system's version. `GetVersionEx` tells programs that do not name it in their manifest an older one.
fn version() -> Result<OSVERSIONINFOEXW, Fault> {
    let operation = || "ask for the version of Windows".to_owned();
    let mut version = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).expect("small"),
        ..OSVERSIONINFOEXW::default()
    };
    let Some(get) = bound!(c"ntdll.dll", c"RtlGetVersion", RtlGetVersion) else {
        return Err(crate::access::fault(operation(), ERROR_PROC_NOT_FOUND));
    };
    // SAFETY: fills as much as the structure's size says.
    let status = unsafe { get((&raw mut version).cast()) };
    if status < 0 {
        return Err(nt_fault(operation(), status));
    }
    debug_assert_eq!(version.dwPlatformId, WINDOWS_NT);
    Ok(version)
}

/// Bit `i` says whether the processor has feature `i`. There are numbers up to 63 (PROCESSOR_FEATURE_MAX); systems answer larger ones with no.
fn features() -> [u64; 2] {
    let word = |first: u32| {
        (0..64).fold(0, |word, bit| {
            // SAFETY: asks nothing of its caller.
            let present = unsafe { IsProcessorFeaturePresent(first + bit) } != 0;
            word | u64::from(present) << bit
        })
    };
    [word(0), word(64)]
}

/// The text of the system's build, such as "19041.1.amd64fre.vb_release.191206-1406". Where the registry has none, as in Wine, the version of
/// kernel32.dll, which is what DbgHelp 6.3.9600 was seen to write.
fn build(access: &Access) -> String {
    let in_registry = registry_text(
        w!("SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"),
        w!("BuildLabEx"),
    );
    in_registry
        .or_else(|| {
            let version = modules::system_version(access, c"kernel32.dll")?;
            Some(version.map(|number| number.to_string()).join("."))
        })
        .unwrap_or_default()
}

/// A text of the machine's registry, if it is there and not empty.
fn registry_text(key: *const u16, name: *const u16) -> Option<String> {
    /// MiscInfo has room for 260 units.
    const UNITS: usize = 512;
    let mut units = [0_u16; UNITS];
    let mut len = u32::try_from(size_of_val(&units)).expect("small");
    // SAFETY: both names are texts that end with NUL (the caller's are literals); writes at most the buffer's length to the buffer.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key,
            name,
            RRF_RT_REG_SZ,
            std::ptr::null_mut(),
            units.as_mut_ptr().cast(),
            &mut len,
        )
    };
    (code == ERROR_SUCCESS)
        .then(|| text(&units))
        .filter(|text| !text.is_empty())
}

/// What these tests would catch: facts other than those that Windows' own functions, the compatibility database aside, tell every program.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::SystemInformation::{
        GetSystemInfo, VER_BUILDNUMBER, VER_MAJORVERSION, VER_MINORVERSION, VER_PRODUCT_TYPE, VER_SUITENAME,
        VerSetConditionMask, VerifyVersionInfoW,
    };
    use windows_sys::Win32::System::SystemServices::{VER_AND, VER_EQUAL};

    use super::*;

    const WAITS: &str = "system::tests::a_child_that_waits";

    #[test]
    fn a_child_that_waits() {
        if crate::testing::is_victim(WAITS) {
            crate::testing::wait();
        }
    }

    #[test]
    fn the_machine_is_the_one_that_windows_describes() {
        let victim = crate::testing::Victim::that(WAITS);
        let system = system(&victim.access(), &Need::default()).expect("known");
        let mut info = SYSTEM_INFO::default();
        // SAFETY: fills the structure.
        unsafe { GetSystemInfo(&mut info) };
        assert_eq!(system.processors, info.dwNumberOfProcessors);
        assert_eq!(system.page_size, u64::from(info.dwPageSize));
        assert_eq!(
            (system.processor_level, system.processor_revision),
            (info.wProcessorLevel, info.wProcessorRevision)
        );
        assert_eq!((system.cpu, system.platform.value()), (Cpu::Amd64, 2));
        // Windows compares by itself whether it is of this version, product and suite.
        let mut said = OSVERSIONINFOEXW {
            dwOSVersionInfoSize: size_of::<OSVERSIONINFOEXW>() as u32,
            dwMajorVersion: system.version[0],
            dwMinorVersion: system.version[1],
            dwBuildNumber: system.version[2],
            wProductType: system.product_type,
            wSuiteMask: system.suite_mask,
            ..OSVERSIONINFOEXW::default()
        };
        let kinds = VER_MAJORVERSION | VER_MINORVERSION | VER_BUILDNUMBER | VER_PRODUCT_TYPE;
        // SAFETY: a number from numbers, and a structure of the size that it says.
        let is_so = unsafe {
            let mask = [
                VER_MAJORVERSION,
                VER_MINORVERSION,
                VER_BUILDNUMBER,
                VER_PRODUCT_TYPE,
            ]
            .iter()
            .fold(0, |mask, kind| VerSetConditionMask(mask, *kind, VER_EQUAL as u8));
            let suites = VerSetConditionMask(0, VER_SUITENAME, VER_AND as u8);
            VerifyVersionInfoW(&mut said, kinds, mask) != 0
                && (said.wSuiteMask == 0 || VerifyVersionInfoW(&mut said, VER_SUITENAME, suites) != 0)
        };
        assert!(is_so, "{system:?}");
        assert!(!system.build.is_empty());
    }

    #[test]
    fn features_are_those_of_the_processor() {
        let [low, _] = features();
        let is_present = |feature: u32| low >> feature & 1 != 0;
        // PF_XMMI64_INSTRUCTIONS_AVAILABLE, PF_SSE3, PF_COMPARE_EXCHANGE128, PF_SSE4_2, PF_AVX2, asked of CPUID.
        assert!(is_present(10));
        assert_eq!(is_present(13), std::arch::is_x86_feature_detected!("sse3"));
        assert_eq!(is_present(14), std::arch::is_x86_feature_detected!("cmpxchg16b"));
        assert_eq!(is_present(38), std::arch::is_x86_feature_detected!("sse4.2"));
        assert_eq!(is_present(40), std::arch::is_x86_feature_detected!("avx2"));
    }
}
