//! The system and the process: SystemInfoStream and MiscInfoStream.

use serde::Serialize;

use super::context::{Cpu, XStateLayout};
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::stream_type;

/// The size of `MINIDUMP_SYSTEM_INFO` in bytes.
pub(super) const SYSTEM_INFO_SIZE: u64 = 56;

/// An operating system, from `MINIDUMP_SYSTEM_INFO.PlatformId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Platform {
    /// Windows NT and its successors (2).
    Windows,
    /// macOS (0x8101).
    MacOs,
    /// iOS (0x8102).
    Ios,
    /// Linux (0x8201).
    Linux,
    /// Android (0x8203).
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

    /// Returns whether this is Linux or Android, where exceptions are signals.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::Android)
    }
}

/// The operating system and the processor, from SystemInfoStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SystemInfo {
    /// The processor architecture.
    pub cpu: Cpu,
    /// The number in the file for the processor architecture (`ProcessorArchitecture`).
    pub processor_architecture: u16,
    /// The processor family. Its meaning depends on the architecture.
    pub processor_level: u16,
    /// The model and the stepping.
    #[serde(serialize_with = "hex")]
    pub processor_revision: u16,
    /// The number of processors, or 255 if there are more.
    pub number_of_processors: u8,
    /// The product type of Windows: 1 workstation, 2 domain controller, 3 server.
    pub product_type: u8,
    /// The operating system.
    pub platform: Platform,
    /// The number in the file for the operating system (`PlatformId`).
    #[serde(serialize_with = "hex")]
    pub platform_id: u32,
    /// The major version of the operating system.
    pub major_version: u32,
    /// The minor version of the operating system.
    pub minor_version: u32,
    /// The build number of the operating system.
    pub build_number: u32,
    /// The file offset of the CSD string.
    pub csd_version_rva: u32,
    /// The CSD string: the service pack on Windows, the output of `uname` on Linux. `None` if it is
    /// absent or cannot be read.
    pub csd_version: Option<String>,
    /// The product suites of Windows.
    #[serde(serialize_with = "hex")]
    pub suite_mask: u16,
    /// The 24 bytes of `CPU_INFORMATION`. Their meaning depends on the processor.
    pub cpu_information: [u8; 24],
}

impl SystemInfo {
    /// Returns the vendor string from CPUID leaf 0, such as `GenuineIntel` or `AuthenticAMD`. x86
    /// dumps contain it, and so do x86-64 dumps by writers on Linux. `None` if the bytes are not
    /// text.
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

    /// Returns the data about an ARM processor from Breakpad's form of `CPU_INFORMATION`. `None` in
    /// dumps of other processors or other systems than Linux and Android.
    #[must_use]
    pub fn arm_cpu(&self) -> Option<ArmCpu> {
        let is_arm = matches!(self.cpu, Cpu::Arm | Cpu::Arm64) && self.platform.is_linux();
        let fields = FieldReader(&self.cpu_information);
        is_arm.then(|| ArmCpu {
            main_id: fields.u32(0),
            hwcaps: fields.u32(4),
        })
    }
}

/// The ARM processor as writers on Linux describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ArmCpu {
    /// The Main ID Register, or 0 if it is unknown.
    #[serde(serialize_with = "hex")]
    pub main_id: u32,
    /// `AT_HWCAP` from the auxiliary vector.
    #[serde(serialize_with = "hex")]
    pub hwcaps: u32,
}

/// The contents of MiscInfoStream, in any of its five generations.
///
/// A field is `None` unless the stream is long enough for it and, if the field has a bit in
/// `flags`, that bit is set. Microsoft's DbgHelp 6.3.9600 leaves stray bytes in fields whose bit is
/// clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MiscInfo {
    /// The size of the structure in bytes, which identifies its generation: 24, 44, 232, 832 or
    /// 1364.
    pub size_of_info: u32,
    /// The bits that mark fields as valid (`Flags1`).
    #[serde(serialize_with = "hex")]
    pub flags: u32,
    /// The process id.
    pub process_id: Option<u32>,
    /// The start time of the process, in seconds since 1970.
    pub process_create_time: Option<u32>,
    /// The time that the process spent in user code, in seconds.
    pub process_user_time: Option<u32>,
    /// The time that the process spent in the kernel, in seconds.
    pub process_kernel_time: Option<u32>,
    /// The clock rates of the processor.
    pub processor_power: Option<ProcessorPower>,
    /// The integrity level of the process: 0x2000 medium, 0x3000 high, …
    pub process_integrity_level: Option<u32>,
    /// The settings of data execution prevention.
    pub process_execute_flags: Option<u32>,
    /// Not 0 if the process is a protected process.
    pub protected_process: Option<u32>,
    /// The time zone.
    pub time_zone: Option<TimeZone>,
    /// The build of the operating system.
    pub build_string: Option<String>,
    /// The writer of the dump.
    pub debug_build_string: Option<String>,
    /// The layout of the threads' extended contexts (generation 5).
    pub extended_state: Option<XStateLayout>,
    /// The cookie with which Windows encodes pointers (generation 5).
    pub process_cookie: Option<u32>,
}

/// The clock rates of the processor in MHz, and its idle states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[allow(missing_docs)] // the names are Microsoft's
pub struct ProcessorPower {
    pub max_mhz: u32,
    pub current_mhz: u32,
    pub mhz_limit: u32,
    pub max_idle_state: u32,
    pub current_idle_state: u32,
}

/// The time zone, from `TIME_ZONE_INFORMATION`. The dates at which daylight saving time starts and
/// ends are not included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimeZone {
    /// The current time: 0 unknown, 1 standard time, 2 daylight saving time.
    pub id: u32,
    /// The bias in minutes: UTC = local time + bias.
    pub bias: i32,
    /// The name of standard time.
    pub standard_name: String,
    /// The name of daylight saving time.
    pub daylight_name: String,
}

impl Dump {
    /// Returns the contents of SystemInfoStream, or `None` if the dump has no such stream.
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
        let fields = FieldReader(&bytes);
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

    /// Returns the contents of MiscInfoStream, or `None` if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The stream is shorter than 8 bytes, the size of its first two fields, or it lies outside the
    /// file.
    pub fn misc_info(&self) -> Result<Option<MiscInfo>, ReadError> {
        const WHAT: &str = "MiscInfoStream";
        /// The size of the fifth generation in bytes. A later one would start with the same fields.
        const LONGEST: u64 = 1364;
        let Some(entry) = self.stream(stream_type::MISC_INFO) else {
            return Ok(None);
        };
        let offset = u64::from(entry.rva);
        let mut bytes = self.prefix(WHAT, offset, entry.size.into(), LONGEST)?;
        if bytes.len() < 8 {
            let reason = format!("{} bytes are too few for its size and flags", bytes.len());
            return Err(ReadError::Malformed {
                what: WHAT,
                offset,
                reason,
            });
        }
        let size_of_info = FieldReader(&bytes).u32(0);
        bytes.truncate(size_of_info.max(8) as usize);
        let info = FieldReader(&bytes);
        let flags = info.u32(4);
        // A field that ends at `end` is valid if the structure contains all of it and its bit is
        // set. `bit` is 0 for fields that have no bit.
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
