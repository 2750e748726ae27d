use crate::{AddressRange, Cpu, CpuContext, ObjectInformation, XStateLayout};

/// The machine and its operating system: the contents of the SystemInfo stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The processor family of the process, which may differ from that of the machine.
    pub cpu: Cpu,
    /// The operating system.
    pub platform: Platform,
    /// The processor family number (on x86, the CPUID family).
    pub processor_level: u16,
    /// The processor model and stepping (on x86, `model << 8 | stepping`).
    pub processor_revision: u16,
    /// The number of processors that are online.
    pub processors: u32,
    /// The version of the operating system: major, minor, build.
    pub version: [u32; 3],
    /// The product type of the system (`VER_NT_…`): 1 workstation, 2 domain controller, 3 server.
    ///
    /// 1 on systems without product types.
    pub product_type: u8,
    /// The product suites of the system (`VER_SUITE_…`), or 0 on systems without product suites.
    pub suite_mask: u16,
    /// The version as text: the service pack on Windows, the information of `uname` on Linux.
    pub version_text: String,
    /// The build of the operating system, for the BuildString field of MiscInfo.
    pub build: String,
    /// The features of the processor.
    pub cpu_information: CpuInformation,
    /// The layout of the threads' extended contexts.
    ///
    /// `None` if [`Need::extended_state`](crate::Need::extended_state) was not set, or if the
    /// processor has no extended state.
    pub extended_state: Option<XStateLayout>,
    /// The size of a page in bytes.
    pub page_size: u64,
}

/// The operating system, with the values of `MINIDUMP_SYSTEM_INFO.PlatformId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Platform {
    /// Windows NT and its successors.
    WindowsNt = 2,
    /// Linux. The number was chosen by Breakpad.
    Linux = 0x8201,
}

impl Platform {
    /// Returns the value of `PlatformId`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// The processor features in the SystemInfo stream (`CPU_INFORMATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuInformation {
    /// The results of `CPUID`. Used for x86 and, by Linux writers, for x86-64.
    X86 {
        /// EBX, EDX and ECX of leaf 0: the vendor's name.
        vendor: [u32; 3],
        /// EAX of leaf 1.
        version: u32,
        /// EDX of leaf 1.
        features: u32,
        /// EDX of leaf 0x8000_0001.
        amd_features: u32,
    },
    /// Used for 32-bit ARM by Linux writers.
    Arm {
        /// The Main ID Register, assembled from the lines of `/proc/cpuinfo`; 0 if unknown.
        cpuid: u32,
        /// `AT_HWCAP` of the auxiliary vector.
        hwcaps: u32,
    },
    /// Bit `i` is the result of `IsProcessorFeaturePresent(i)`. Used by Windows on everything but
    /// x86.
    Features([u64; 2]),
}

/// The process as a whole: the contents of the MiscInfo stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The process id, as the dumper's system numbers it.
    pub id: u32,
    /// The start time, user time and kernel time, in seconds. The start time counts from 1970.
    pub times: Option<[u32; 3]>,
    /// The clock rates of the processor.
    pub power: Option<Power>,
    /// The time zone of the process.
    pub time_zone: Option<TimeZone>,
    /// Facts that only Windows processes have.
    pub windows: WindowsProcessFacts,
}

/// The facts in MiscInfo that only Windows processes have. `None` means unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowsProcessFacts {
    /// The integrity level: 0x1000 low, 0x2000 medium, 0x3000 high, 0x4000 system.
    pub integrity_level: Option<u32>,
    /// The execution options (`MEM_EXECUTE_OPTION_…`), which include data execution prevention.
    pub execute_flags: Option<u32>,
    /// Not 0 for a protected process.
    pub protected_process: Option<u32>,
    /// The value with which the process encodes pointers (`EncodePointer`).
    pub cookie: Option<u32>,
}

/// The clock rates and idle states of a processor. Rates are in MHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// The highest rate.
    pub max_mhz: u32,
    /// The current rate.
    pub current_mhz: u32,
    /// The rate to which the processor is limited.
    pub limit_mhz: u32,
    /// The deepest idle state, in Windows' numbering; 0 if unknown.
    pub max_idle_state: u32,
    /// The current idle state, in Windows' numbering; 0 if unknown.
    pub current_idle_state: u32,
}

/// A time zone, with the fields of `TIME_ZONE_INFORMATION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    /// 0 unknown, 1 standard time, 2 daylight saving time.
    pub id: u32,
    /// The number of minutes to add to local time to get UTC.
    pub bias: i32,
    /// Standard time.
    pub standard: ZoneTime,
    /// Daylight saving time. If it is unknown or does not exist, it has the name of standard time.
    pub daylight: ZoneTime,
}

impl TimeZone {
    /// Creates a time zone about which only the current name and bias are known. It has no daylight
    /// saving time.
    #[must_use]
    pub fn unchanging(id: u32, bias: i32, name: String) -> Self {
        let time = ZoneTime {
            name,
            begins: [0; 8],
            bias: 0,
        };
        Self {
            id,
            bias,
            standard: time.clone(),
            daylight: time,
        }
    }
}

/// Standard time or daylight saving time of a [`TimeZone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneTime {
    /// Its name.
    pub name: String,
    /// When it begins each year: the eight words of a `SYSTEMTIME`, by the rules of
    /// `TIME_ZONE_INFORMATION`. The year is 0, and the day selects one of the month's occurrences
    /// of the given day of the week. All words are 0 if it never begins.
    pub begins: [u16; 8],
    /// The number of minutes to add to the zone's bias while it is in effect.
    pub bias: i32,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The thread id, as the dumper's system numbers it.
    pub id: u32,
    /// The dumper's handle to the thread, which callbacks are shown; 0 on systems without thread
    /// handles.
    pub handle: u64,
    /// How often the thread had been suspended before the dumper suspended it. On Linux, 1 for a
    /// thread in a job-control stop.
    pub suspend_count: u32,
    /// The priority class of the process (0x20 is `NORMAL_PRIORITY_CLASS`).
    pub priority_class: u32,
    /// The priority within the class, from -15 to 15.
    pub priority: i32,
    /// The address of the thread's own block: the TEB on Windows, the thread pointer elsewhere.
    pub teb: u64,
    /// The registers. `None` if they could not be read; a diagnostic then gives the reason.
    pub context: Option<CpuContext>,
    /// The stack that the thread runs on. `None` if it has none or if none was found.
    pub stack: Option<Stack>,
    /// The stacks to which the thread will return: those that were interrupted by signal handlers
    /// running on alternate stacks.
    pub interrupted: Vec<Stack>,
    /// The thread's name.
    pub name: Option<String>,
    /// Times, start address and affinity. `None` if they could not be obtained or were not
    /// [requested](crate::Need::thread_times).
    pub times: Option<ThreadTimes>,
    /// How the thread ended. `None` while it is alive.
    pub exit: Option<ThreadExit>,
    /// The thread's second stack, on which Itanium processors save registers.
    pub backing_store: Option<AddressRange>,
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadExit {
    /// The exit status.
    pub status: u32,
    /// When it ended, in units of 100 ns since 1601 (FILETIME).
    pub time: u64,
}

/// The part of a stack that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// From the lowest address in use to the upper end of the stack.
    ///
    /// The lowest address in use is the stack pointer, minus the red zone if the ABI has one.
    pub range: AddressRange,
    /// The stack pointer. It is outside `range` only after a stack overflow. `range` is then the
    /// nearest stack above it.
    pub pointer: u64,
}

/// The facts about a thread in the ThreadInfoList stream. Times are in units of 100 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// When the thread was started, counted from 1601 (FILETIME).
    pub created: u64,
    /// The time spent in the kernel.
    pub kernel: u64,
    /// The time spent in user code.
    pub user: u64,
    /// The address of the thread's first function; 0 on systems that do not record it.
    pub start_address: u64,
    /// The processors on which the thread may run, as a mask of the first 64.
    pub affinity: u64,
}

/// A module: the main program, a library or the vDSO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The load address.
    pub base: u64,
    /// The size in memory, in bytes.
    pub size: u64,
    /// The checksum in the PE header; 0 for other images.
    pub checksum: u32,
    /// The time stamp in the PE header; 0 for other images.
    pub timestamp: u32,
    /// The flags in the PE header that tell what the image supports, such as address space layout
    /// randomisation (`DllCharacteristics`); 0 for other images, or if they are not known.
    pub dll_characteristics: u16,
    /// The full path.
    pub path: String,
    /// The words of `VS_FIXEDFILEINFO`, if the image has version information.
    pub version: Option<[u32; 13]>,
    /// The CodeView record in the form in which a dump stores it (`RSDS` …, or
    /// [`build_id_record`]); empty if there is none.
    pub cv_record: Vec<u8>,
    /// The miscellaneous debug record in the form in which a dump stores it; empty if there is
    /// none.
    pub misc_record: Vec<u8>,
}

/// Returns the CodeView record for an ELF build id: Breakpad's signature, followed by all bytes of
/// the build id.
///
/// Returns an empty record for a build id that consists of zeros, because readers treat it as
/// missing.
#[must_use]
pub fn build_id_record(build_id: &[u8]) -> Vec<u8> {
    if build_id.iter().all(|byte| *byte == 0) {
        return Vec::new();
    }
    let mut record = (minidump_common::format::CvSignature::Elf as u32)
        .to_le_bytes()
        .to_vec();
    record.extend_from_slice(build_id);
    record
}

/// A module that the process has unloaded. Windows remembers the most recent ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnloadedModule {
    /// The address at which it was loaded.
    pub base: u64,
    /// The size in memory, in bytes.
    pub size: u64,
    /// The checksum in the PE header; 0 for other images.
    pub checksum: u32,
    /// The time stamp in the PE header; 0 for other images.
    pub timestamp: u32,
    /// The name, as the system remembers it.
    pub name: String,
}

/// An open handle; on Linux, a file descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// The handle's number.
    pub number: u64,
    /// The type of the object: "File", "Socket", "Event" …
    pub type_name: String,
    /// The name of the object, if it has one.
    pub object_name: Option<String>,
    /// The attributes; on Linux the mode (`st_mode`), as in the dumps of other Linux writers.
    pub attributes: u32,
    /// The operations that the handle permits, as a Windows access mask.
    pub granted_access: u32,
    /// The number of handles to the object.
    pub handle_count: u32,
    /// The number of references to the object; 0 if unknown.
    pub pointer_count: u32,
    /// Further information about the object from the system.
    pub information: Vec<ObjectInformation>,
}

/// The exception or signal that the dump is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The thread in which it occurred.
    pub thread_id: u32,
    /// The exception code; on Linux, the signal number.
    pub code: u32,
    /// The exception flags; on Linux, `si_code`.
    pub flags: u32,
    /// The address of a nested exception record in the target, or 0.
    pub record: u64,
    /// The address at which it occurred. For memory faults on Linux, the address that was accessed.
    pub address: u64,
    /// Further parameters, at most 15.
    pub parameters: Vec<u64>,
    /// The registers at the time of the exception.
    pub context: CpuContext,
}

/// Facts that only Linux processes have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinuxFacts {
    /// Files of `/proc` and similar files, verbatim.
    pub texts: Vec<LinuxText>,
    /// The dynamic linker's list of loaded objects.
    pub dso_debug: Option<DsoDebug>,
}

/// A file that Linux dumps contain verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxText {
    /// Which file it is.
    pub kind: LinuxTextKind,
    /// The bytes of the file.
    pub bytes: Vec<u8>,
}

/// The files that Linux dumps contain verbatim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinuxTextKind {
    /// `/proc/cpuinfo`.
    CpuInfo,
    /// `/proc/PID/status` of the process, read before the dumper attached to it.
    ProcStatus,
    /// `/etc/lsb-release` or `/etc/os-release`.
    LsbRelease,
    /// `/proc/PID/cmdline`; only with [`Need::environment`](crate::Need::environment).
    CmdLine,
    /// `/proc/PID/environ`; only with [`Need::environment`](crate::Need::environment).
    Environ,
    /// `/proc/PID/auxv`.
    Auxv,
    /// `/proc/PID/maps`.
    Maps,
    /// `/proc/PID/limits`.
    Limits,
}

/// The dynamic linker's `r_debug` structure and the lists that it points to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsoDebug {
    /// The version of the structure.
    pub version: u32,
    /// The address of the function at which a debugger sets a breakpoint.
    pub brk: u64,
    /// The load address of the dynamic linker.
    pub ldbase: u64,
    /// The address of the main program's dynamic section.
    pub dynamic: u64,
    /// The bytes of the main program's dynamic section.
    pub dynamic_section: Vec<u8>,
    /// The loaded objects, in the order of the dynamic linker's list.
    pub links: Vec<LinkMap>,
}

/// An entry of the dynamic linker's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMap {
    /// The difference between an address in memory and the same address in the file.
    pub addr: u64,
    /// The path; empty for the main program.
    pub name: String,
    /// The address of the object's dynamic section.
    pub ld: u64,
}
