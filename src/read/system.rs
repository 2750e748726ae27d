//! The machine and the process: SystemInfo and MiscInfo.

use serde::Serialize;

use super::context::{Cpu, XStateLayout};
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::stream_type;

/// Bytes of `MINIDUMP_SYSTEM_INFO`.
pub(super) const SYSTEM_INFO_SIZE: u64 = 56;

/// Operating system, from `MINIDUMP_SYSTEM_INFO.PlatformId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Platform {
    /// 2: Windows NT and its successors.
    Windows,
    /// 0x8101.
    MacOs,
    /// 0x8102.
    Ios,
    /// 0x8201.
    Linux,
    /// 0x8203.
    Android,
    /// Any other number.
    Other(u32),
}

impl Platform {
    pub(super) fn from_id(id: u32) -> Self {
        match id {
            2 => Self::Windows,
            0x8101 => Self::MacOs,
            0x8102 => Self::Ios,
            0x8201 => Self::Linux,
            0x8203 => Self::Android,
            other => Self::Other(other),
        }
    }

    /// Whether exceptions are signals.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::Android)
    }
}

/// SystemInfoStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemInfo {
    /// Processor family.
    pub cpu: Cpu,
    /// `ProcessorArchitecture` as it stands in the file.
    pub processor_architecture: u16,
    /// Processor family number.
    pub processor_level: u16,
    /// Model and stepping.
    #[serde(serialize_with = "hex")]
    pub processor_revision: u16,
    /// Number of processors, 255 if there are more.
    pub number_of_processors: u8,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: u8,
    /// Operating system.
    pub platform: Platform,
    /// `PlatformId` as it stands in the file.
    #[serde(serialize_with = "hex")]
    pub platform_id: u32,
    /// Version of the operating system.
    pub major_version: u32,
    /// Version of the operating system.
    pub minor_version: u32,
    /// Version of the operating system.
    pub build_number: u32,
    /// File offset of the CSD string.
    pub csd_version_rva: u32,
    /// Windows: the service pack. Linux: the words of `uname`. `None` if absent or unreadable.
    pub csd_version: Option<String>,
    /// Windows' product suites.
    #[serde(serialize_with = "hex")]
    pub suite_mask: u16,
    /// The 24 bytes of `CPU_INFORMATION`, whose meaning depends on the processor.
    pub cpu_information: [u8; 24],
}

impl SystemInfo {
    /// The vendor string of CPUID leaf 0 (`GenuineIntel`, `AuthenticAMD`), which x86 dumps and the x86-64 dumps of
    /// Linux writers hold. `None` where those bytes are not text.
    #[must_use]
    pub fn cpu_vendor(&self) -> Option<&str> {
        if !matches!(self.cpu, Cpu::Amd64 | Cpu::X86) {
            return None;
        }
        let vendor = std::str::from_utf8(&self.cpu_information[..12]).ok()?;
        vendor
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
            .then_some(vendor)
    }

    /// What Breakpad's form of `CPU_INFORMATION` says of an ARM processor. `None` in dumps of other processors and systems.
    #[must_use]
    pub fn arm_cpu(&self) -> Option<ArmCpu> {
        let is_arm = matches!(self.cpu, Cpu::Arm | Cpu::Arm64) && self.platform.is_linux();
        let fields = Fields(&self.cpu_information);
        is_arm.then(|| ArmCpu {
            main_id: fields.u32(0),
            hwcaps: fields.u32(4),
        })
    }
}

/// What Linux writers say of an ARM processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ArmCpu {
    /// The Main ID Register; 0 if unknown.
    #[serde(serialize_with = "hex")]
    pub main_id: u32,
    /// `AT_HWCAP` of the auxiliary vector.
    #[serde(serialize_with = "hex")]
    pub hwcaps: u32,
}

/// MiscInfoStream, all five generations. A field is `None` unless the stream is long enough for it and its bit in
/// `flags` is set: Microsoft's DbgHelp 6.3.9600 leaves stray bytes in fields whose bit is clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MiscInfo {
    /// Bytes of the structure, which tells its generation: 24, 44, 232, 832 or 1364.
    pub size_of_info: u32,
    /// `Flags1`.
    #[serde(serialize_with = "hex")]
    pub flags: u32,
    /// Process id.
    pub process_id: Option<u32>,
    /// Seconds since 1970.
    pub process_create_time: Option<u32>,
    /// Seconds.
    pub process_user_time: Option<u32>,
    /// Seconds.
    pub process_kernel_time: Option<u32>,
    /// Clock rates.
    pub processor_power: Option<ProcessorPower>,
    /// 0x2000 medium, 0x3000 high, …
    pub process_integrity_level: Option<u32>,
    /// Data execution prevention.
    pub process_execute_flags: Option<u32>,
    /// Not zero for a protected process.
    pub protected_process: Option<u32>,
    /// The time zone.
    pub time_zone: Option<TimeZone>,
    /// Build of the operating system.
    pub build_string: Option<String>,
    /// The writer of the dump.
    pub debug_build_string: Option<String>,
    /// Where the threads' extended contexts have what (generation 5).
    pub extended_state: Option<XStateLayout>,
    /// The cookie that encodes pointers on Windows (generation 5).
    pub process_cookie: Option<u32>,
}

/// Clock rates of the processor in MHz, and its idle states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names are Microsoft's
pub struct ProcessorPower {
    pub max_mhz: u32,
    pub current_mhz: u32,
    pub mhz_limit: u32,
    pub max_idle_state: u32,
    pub current_idle_state: u32,
}

/// `TIME_ZONE_INFORMATION`, without the dates of the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeZone {
    /// 0 unknown, 1 standard time, 2 daylight saving time.
    pub id: u32,
    /// UTC = local time + bias, in minutes.
    pub bias: i32,
    /// Name of standard time.
    pub standard_name: String,
    /// Name of daylight saving time.
    pub daylight_name: String,
}

impl Dump {
    /// SystemInfoStream; `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream is shorter than 56 bytes or lies outside the file.
    pub fn system_info(&self) -> Result<Option<SystemInfo>, ReadError> {
        const WHAT: &str = "SystemInfoStream";
        let Some(entry) = self.stream(stream_type::SYSTEM_INFO) else {
            return Ok(None);
        };
        let offset = u64::from(entry.rva);
        let bytes = self.prefix(WHAT, offset, entry.size.into(), SYSTEM_INFO_SIZE)?;
        let Ok(bytes) = <[u8; SYSTEM_INFO_SIZE as usize]>::try_from(bytes) else {
            let reason = format!("{} bytes instead of {SYSTEM_INFO_SIZE}", entry.size);
            return Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason,
            });
        };
        let fields = Fields(&bytes);
        let mut cpu_information = [0; 24];
        cpu_information.copy_from_slice(&bytes[32..56]);
        let csd_version_rva = fields.u32(24);
        Ok(Some(SystemInfo {
            cpu: Cpu::from_architecture(fields.u16(0)),
            processor_architecture: fields.u16(0),
            processor_level: fields.u16(2),
            processor_revision: fields.u16(4),
            number_of_processors: fields.u8(6),
            product_type: fields.u8(7),
            major_version: fields.u32(8),
            minor_version: fields.u32(12),
            build_number: fields.u32(16),
            platform: Platform::from_id(fields.u32(20)),
            platform_id: fields.u32(20),
            csd_version_rva,
            csd_version: (csd_version_rva != 0)
                .then(|| self.string(csd_version_rva).ok())
                .flatten(),
            suite_mask: fields.u16(28),
            cpu_information,
        }))
    }

    /// MiscInfoStream; `None` if the dump has none.
    ///
    /// # Errors
    ///
    /// The stream can't hold even its own size and flags, or lies outside the file.
    pub fn misc_info(&self) -> Result<Option<MiscInfo>, ReadError> {
        const WHAT: &str = "MiscInfoStream";
        /// Bytes of the fifth generation; later ones would begin with it.
        const LONGEST: u64 = 1364;
        let Some(entry) = self.stream(stream_type::MISC_INFO) else {
            return Ok(None);
        };
        let offset = u64::from(entry.rva);
        let mut bytes = self.prefix(WHAT, offset, entry.size.into(), LONGEST)?;
        if bytes.len() < 8 {
            let reason = format!("{} bytes can't hold its size and flags", bytes.len());
            return Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason,
            });
        }
        let size_of_info = Fields(&bytes).u32(0);
        bytes.truncate(size_of_info.max(8) as usize);
        let info = Fields(&bytes);
        let flags = info.u32(4);
        // Valid: inside the structure (which ends at `end`) and marked by its bit (0: not governed by one).
        let valid = |end: usize, bit: u32| bytes.len() >= end && (bit == 0 || flags & bit != 0);
        let number = |at: usize, bit: u32| valid(at + 4, bit).then(|| info.u32(at));
        Ok(Some(MiscInfo {
            size_of_info,
            flags,
            process_id: number(8, 1),
            process_create_time: number(12, 2),
            process_user_time: number(16, 2),
            process_kernel_time: number(20, 2),
            processor_power: valid(44, 4).then(|| ProcessorPower {
                max_mhz: info.u32(24),
                current_mhz: info.u32(28),
                mhz_limit: info.u32(32),
                max_idle_state: info.u32(36),
                current_idle_state: info.u32(40),
            }),
            process_integrity_level: number(44, 0x10),
            process_execute_flags: number(48, 0x20),
            protected_process: number(52, 0x80),
            time_zone: valid(232, 0x40).then(|| TimeZone {
                id: info.u32(56),
                bias: info.i32(60),
                standard_name: info.fixed_text(64, 32),
                daylight_name: info.fixed_text(148, 32),
            }),
            build_string: valid(752, 0x100).then(|| info.fixed_text(232, 260)),
            debug_build_string: valid(832, 0x100).then(|| info.fixed_text(752, 40)),
            extended_state: valid(1360, 0)
                .then(|| XStateLayout::from_fields(info, 832))
                .flatten(),
            process_cookie: number(1360, 0x200),
        }))
    }
}
