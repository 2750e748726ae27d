//! Facts about the machine and its version of Windows.

use dumpwright_target::{Cpu, CpuInformation, Diagnostic, Fault, FaultKind, Need, Platform, Subject, System};
use windows_sys::Win32::Foundation::{ERROR_PROC_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW};
use windows_sys::Win32::System::SystemInformation::{
    GetNativeSystemInfo, OSVERSIONINFOEXW, OSVERSIONINFOW, SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::IsProcessorFeaturePresent;
use windows_sys::core::w;

use crate::error::{fault, nt_fault};
use crate::modules;
use crate::nt::bound;
use crate::process::text;
use crate::registers;

/// VER_PLATFORM_WIN32_NT, the only value of `dwPlatformId` on 64-bit systems.
const WINDOWS_NT: u32 = 2;

/// Returns the facts about the system. The process is not queried.
///
/// # Errors
/// The system does not report its version.
pub(crate) fn system(need: &Need, diagnostics: &mut Vec<Diagnostic>) -> Result<System, Fault> {
    let version = version()?;
    let machine = machine();
    Ok(System {
        // Only x86-64 processes are opened.
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
        build: build().unwrap_or_else(|fault| {
            let subject = Subject::Stream("MiscInfo");
            diagnostics.push(Diagnostic::missing(subject, fault.to_string()));
            String::new()
        }),
        cpu_information: CpuInformation::Features(features()),
        extended_state: need.extended_state.then(registers::extended_layout).flatten(),
        page_size: machine.dwPageSize.into(),
    })
}

fn machine() -> SYSTEM_INFO {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: the facts are written to a local structure.
    unsafe { GetNativeSystemInfo(&raw mut info) };
    info
}

/// Returns the version of Windows. `GetVersionEx` is not used, because it reports an older version
/// to programs whose manifest does not name the real one.
fn version() -> Result<OSVERSIONINFOEXW, Fault> {
    let operation = || "query the version of Windows".to_owned();
    let mut version = OSVERSIONINFOEXW {
        dwOSVersionInfoSize: u32::try_from(size_of::<OSVERSIONINFOEXW>()).expect("small"),
        ..OSVERSIONINFOEXW::default()
    };
    let Some(get) = bound!(Ntdll, c"RtlGetVersion", fn(*mut OSVERSIONINFOW) -> i32) else {
        return Err(fault(operation(), ERROR_PROC_NOT_FOUND));
    };
    // SAFETY: the signature is that of wdm.h. The structure declares by its size that it is the
    // longer one, which begins with the shorter one in the signature. The system writes no more
    // than that size.
    let status = unsafe { get((&raw mut version).cast()) };
    if status < 0 {
        return Err(nt_fault(operation(), status));
    }
    debug_assert_eq!(version.dwPlatformId, WINDOWS_NT);
    Ok(version)
}

/// Returns the processor features: bit `i` is set if the processor has feature `i`. Numbers up to
/// 63 are defined (PROCESSOR_FEATURE_MAX). Systems report larger numbers as absent.
fn features() -> [u64; 2] {
    let word = |first: u32| {
        (0..64).fold(0, |word, bit| {
            // SAFETY: the function takes an integer and returns one. Undefined feature numbers are
            // allowed.
            let present = unsafe { IsProcessorFeaturePresent(first + bit) } != 0;
            word | u64::from(present) << bit
        })
    };
    [word(0), word(64)]
}

/// Returns the text of the system's build, such as "19041.1.amd64fre.vb_release.191206-1406". If
/// the registry has none, as on Wine, it is the version of kernel32.dll, which DbgHelp 6.3.9600 was
/// seen to write.
///
/// # Errors
/// Neither can be read.
fn build() -> Result<String, Fault> {
    if let Some(build) = build_in_registry() {
        return Ok(build);
    }
    let version = modules::system_version(c"kernel32.dll").ok_or_else(|| {
        Fault::new(
            FaultKind::System,
            "query the build of Windows",
            "the registry does not have it, and the version of kernel32.dll cannot be read",
        )
    })?;
    Ok(version.map(|number| number.to_string()).join("."))
}

/// Returns the text of the build from the registry, if it exists and is not empty.
fn build_in_registry() -> Option<String> {
    /// MiscInfo has space for 260 units.
    const UNITS: usize = 512;
    let mut units = [0_u16; UNITS];
    let mut len = u32::try_from(size_of_val(&units)).expect("small");
    // SAFETY: both names are literals that end with NUL. The system writes at most the buffer's
    // length to the buffer, and the length of the text to the local integer.
    let code = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            w!("SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"),
            w!("BuildLabEx"),
            RRF_RT_REG_SZ,
            std::ptr::null_mut(),
            units.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    (code == ERROR_SUCCESS)
        .then(|| text(&units))
        .filter(|text| !text.is_empty())
}

/// These tests would catch: facts that differ from those that Windows' own functions report to
/// every program, apart from the compatibility database.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::SystemInformation::{
        GetSystemInfo, VER_BUILDNUMBER, VER_MAJORVERSION, VER_MINORVERSION, VER_PRODUCT_TYPE, VER_SUITENAME,
        VerSetConditionMask, VerifyVersionInfoW,
    };
    use windows_sys::Win32::System::SystemServices::{VER_AND, VER_EQUAL};

    use super::*;

    #[test]
    fn the_machine_is_the_one_that_windows_describes() {
        let system = system(&Need::default(), &mut Vec::new()).expect("known");
        let mut info = SYSTEM_INFO::default();
        // SAFETY: the function fills the structure.
        unsafe { GetSystemInfo(&mut info) };
        assert_eq!(system.processors, info.dwNumberOfProcessors);
        assert_eq!(system.page_size, u64::from(info.dwPageSize));
        assert_eq!(
            (system.processor_level, system.processor_revision),
            (info.wProcessorLevel, info.wProcessorRevision)
        );
        assert_eq!((system.cpu, system.platform.value()), (Cpu::Amd64, 2));
        // Windows itself compares its version, product and suite with these values.
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
        // SAFETY: the mask is computed from integers, and the structure has the declared size.
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
        // PF_XMMI64_INSTRUCTIONS_AVAILABLE, PF_SSE3, PF_COMPARE_EXCHANGE128, PF_SSE4_2, PF_AVX2.
        // CPUID supplies the expected values.
        assert!(is_present(10));
        assert_eq!(is_present(13), std::arch::is_x86_feature_detected!("sse3"));
        assert_eq!(is_present(14), std::arch::is_x86_feature_detected!("cmpxchg16b"));
        assert_eq!(is_present(38), std::arch::is_x86_feature_detected!("sse4.2"));
        assert_eq!(is_present(40), std::arch::is_x86_feature_detected!("avx2"));
    }
}
