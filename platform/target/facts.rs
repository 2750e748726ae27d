use crate::{AddressRange, Cpu, CpuContext, ObjectInformation, XStateLayout};

/// The machine and its operating system: what the SystemInfo stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// Processor family of the process (not of the machine).
    pub cpu: Cpu,
    /// The operating system.
    pub platform: Platform,
    /// Processor family number (CPUID family on x86).
    pub processor_level: u16,
    /// Processor model and stepping (`model << 8 | stepping` on x86).
    pub processor_revision: u16,
    /// Processors online.
    pub processors: u32,
    /// Version of the operating system: major, minor, build.
    pub version: [u32; 3],
    /// What the system is sold for (`VER_NT_…`): 1 workstation, 2 domain controller, 3 server. Workstation where systems
    /// make no difference.
    pub product_type: u8,
    /// Which product suites it has (`VER_SUITE_…`); 0 where systems have none.
    pub suite_mask: u16,
    /// Free text of the version: the service pack on Windows, the words of `uname` on Linux.
    pub version_text: String,
    /// Build of the operating system, for MiscInfo's BuildString.
    pub build: String,
    /// Features of the processor.
    pub cpu_information: CpuInformation,
    /// Where the extended contexts of the threads have what; `None` if [`Need::extended_state`](crate::Need::extended_state)
    /// was not set, or the processor has no such state.
    pub extended_state: Option<XStateLayout>,
    /// Size of a page in bytes.
    pub page_size: u64,
}

/// The operating system, with the values of `MINIDUMP_SYSTEM_INFO.PlatformId`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum Platform {
    /// Windows NT and successors.
    WindowsNt = 2,
    /// Linux (Breakpad's number).
    Linux = 0x8201,
}

impl Platform {
    /// The value of `PlatformId`.
    #[must_use]
    pub fn value(self) -> u32 {
        self as u32
    }
}

/// The processor part of the SystemInfo stream (`CPU_INFORMATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuInformation {
    /// What `CPUID` says; used for x86 and, by Linux writers, for x86-64.
    X86 {
        /// EBX, EDX, ECX of leaf 0: the vendor's name.
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
        /// The Main ID Register, put together from the lines of `/proc/cpuinfo`; 0 if unknown.
        cpuid: u32,
        /// `AT_HWCAP` of the auxiliary vector.
        hwcaps: u32,
    },
    /// Bit `i` says whether `IsProcessorFeaturePresent(i)`; used by Windows on everything but x86.
    Features([u64; 2]),
}

/// The process as a whole: what the MiscInfo stream says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The process id, as the dumper's system numbers it.
    pub id: u32,
    /// Start, user time and kernel time, each in seconds (the first since 1970).
    pub times: Option<[u32; 3]>,
    /// Clock rates of the processor.
    pub power: Option<Power>,
    /// The time zone the process lives in.
    pub time_zone: Option<TimeZone>,
    /// What only Windows knows of a process.
    pub windows: WindowsProcess,
}

/// What MiscInfo says of processes on Windows; `None` is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowsProcess {
    /// Integrity level: 0x1000 low, 0x2000 medium, 0x3000 high, 0x4000 system.
    pub integrity_level: Option<u32>,
    /// Execution options (`MEM_EXECUTE_OPTION_…`), data execution prevention among them.
    pub execute_flags: Option<u32>,
    /// Not 0 for a protected process.
    pub protected_process: Option<u32>,
    /// What the process encodes its pointers with (`EncodePointer`).
    pub cookie: Option<u32>,
}

/// Clock rates in MHz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    /// The highest rate.
    pub max_mhz: u32,
    /// The rate now.
    pub current_mhz: u32,
    /// The rate it is limited to.
    pub limit_mhz: u32,
    /// The deepest idle state, as Windows numbers them; 0 if not known.
    pub max_idle_state: u32,
    /// The idle state now; 0 if not known.
    pub current_idle_state: u32,
}

/// A time zone, in `TIME_ZONE_INFORMATION`'s terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZone {
    /// 0 unknown, 1 standard time, 2 daylight saving time.
    pub id: u32,
    /// Minutes that have to be added to local time to get UTC.
    pub bias: i32,
    /// Standard time.
    pub standard: ZoneTime,
    /// Daylight saving time. Where it is the same, or not known, it has the name of standard time.
    pub daylight: ZoneTime,
}

impl TimeZone {
    /// A zone of which nothing is known beyond the present: one name, and no changes.
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

/// Standard or daylight saving time of a [`TimeZone`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneTime {
    /// Its name.
    pub name: String,
    /// When it begins each year: the words of a `SYSTEMTIME`, by the rules of `TIME_ZONE_INFORMATION` (the year is 0, and the day
    /// which one of the days of the week in that month). All 0 if it never does.
    pub begins: [u16; 8],
    /// Minutes that are added to the zone's bias meanwhile.
    pub bias: i32,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id, as the dumper's system numbers it.
    pub id: u32,
    /// A handle to it that the dumper holds, for callbacks to be shown; 0 where systems have none.
    pub handle: u64,
    /// How often it had been suspended before the dumper came (1 for a thread in a job-control stop).
    pub suspend_count: u32,
    /// The process' priority class (0x20 is NORMAL_PRIORITY_CLASS).
    pub priority_class: u32,
    /// Priority within the class, -15 to 15.
    pub priority: i32,
    /// Address of the thread's own block: the TEB on Windows, the thread pointer elsewhere.
    pub teb: u64,
    /// Its registers; `None` if they could not be had (there is a remark then).
    pub context: Option<CpuContext>,
    /// The stack it runs on; `None` if it has none or none was found.
    pub stack: Option<Stack>,
    /// Stacks it has left for the one it runs on, and will return to: those interrupted by signal
    /// handlers that run on alternate stacks.
    pub interrupted: Vec<Stack>,
    /// Its name.
    pub name: Option<String>,
    /// Times and the like; `None` if they could not be had.
    pub times: Option<ThreadTimes>,
    /// How it ended; `None` while it lives.
    pub exit: Option<ThreadExit>,
    /// Its second stack, which processors of the Itanium family have for registers.
    pub backing_store: Option<AddressRange>,
}

/// How a thread ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadExit {
    /// Its exit status.
    pub status: u32,
    /// When, in units of 100 ns since 1601 (FILETIME).
    pub time: u64,
}

/// The part of a stack that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// From the lowest address in use (the stack pointer, less a red zone where the ABI has one) to the
    /// upper end.
    pub range: AddressRange,
    /// The stack pointer. Outside `range` only after a stack overflow, when the range is the nearest
    /// stack above.
    pub pointer: u64,
}

/// What ThreadInfoList says of a thread. Times are in units of 100 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadTimes {
    /// Start, since 1601 (FILETIME).
    pub created: u64,
    /// Time spent in the kernel.
    pub kernel: u64,
    /// Time spent in user code.
    pub user: u64,
    /// Address of the thread's first function; 0 where the system does not record it.
    pub start_address: u64,
    /// The processors it may run on, as a mask of the first 64.
    pub affinity: u64,
}

/// One module: the main program, a library, the vdso.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Load address.
    pub base: u64,
    /// Size in memory, in bytes.
    pub size: u64,
    /// Checksum of the image (PE header), else 0.
    pub checksum: u32,
    /// Time stamp of the image (PE header), else 0.
    pub timestamp: u32,
    /// Full path.
    pub path: String,
    /// The words of `VS_FIXEDFILEINFO`, if the image has version information.
    pub version: Option<[u32; 13]>,
    /// The CodeView record as it stands in a dump (`RSDS` …, or [`build_id_record`]); empty if there is none.
    pub cv_record: Vec<u8>,
    /// The miscellaneous debug record as it stands in a dump; empty if there is none.
    pub misc_record: Vec<u8>,
}

/// The CodeView record that carries an ELF build id: Breakpad's signature, then all bytes of the id.
///
/// A build id of zeros counts as none, because readers take it so.
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

/// A module that the process has unloaded. Windows remembers the last ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnloadedModule {
    /// Where it was.
    pub base: u64,
    /// Its size in memory, in bytes.
    pub size: u64,
    /// Checksum of the image (PE header), else 0.
    pub checksum: u32,
    /// Time stamp of the image (PE header), else 0.
    pub timestamp: u32,
    /// Its name, as the system remembers it.
    pub name: String,
}

/// An open handle; on Linux a file descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// Its number.
    pub number: u64,
    /// What kind of object it is: "File", "Socket", "Event" …
    pub type_name: String,
    /// What the object is called, if it has a name.
    pub object_name: Option<String>,
    /// Attributes; on Linux the mode (`st_mode`), as other Linux writers have it.
    pub attributes: u32,
    /// What may be done through it (Windows' access mask).
    pub granted_access: u32,
    /// How many handles there are to the object.
    pub handle_count: u32,
    /// How many references there are to the object; 0 if unknown.
    pub pointer_count: u32,
    /// What the system tells of the object beyond that.
    pub information: Vec<ObjectInformation>,
}

/// What brought the process down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// The thread it happened in.
    pub thread_id: u32,
    /// Exception code; on Linux the signal number.
    pub code: u32,
    /// Flags; on Linux `si_code`.
    pub flags: u32,
    /// Address of a nested exception record in the target, else 0.
    pub record: u64,
    /// Where it happened; for memory faults on Linux the address that was accessed.
    pub address: u64,
    /// Further facts, at most 15.
    pub parameters: Vec<u64>,
    /// The registers at that moment.
    pub context: CpuContext,
}

/// What only a Linux process has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinuxFacts {
    /// Files of `/proc` and the like, verbatim.
    pub texts: Vec<LinuxText>,
    /// The dynamic linker's list of loaded objects.
    pub dso_debug: Option<DsoDebug>,
}

/// One of the files that Linux dumps carry verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinuxText {
    /// Which one.
    pub kind: LinuxTextKind,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The files that Linux dumps carry verbatim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinuxTextKind {
    /// `/proc/cpuinfo`.
    CpuInfo,
    /// `/proc/PID/status` of the process, taken before anything was attached to it.
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

/// The dynamic linker's `r_debug` and what hangs on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DsoDebug {
    /// Its version.
    pub version: u32,
    /// Address of the function a debugger would stop at.
    pub brk: u64,
    /// Load address of the dynamic linker.
    pub ldbase: u64,
    /// Address of the main program's dynamic section.
    pub dynamic: u64,
    /// The bytes of that section.
    pub dynamic_section: Vec<u8>,
    /// The loaded objects, in the linker's order.
    pub links: Vec<LinkMap>,
}

/// One entry of the dynamic linker's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkMap {
    /// Difference between addresses in the file and in memory.
    pub addr: u64,
    /// Path, empty for the main program.
    pub name: String,
    /// Address of its dynamic section.
    pub ld: u64,
}
