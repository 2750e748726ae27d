//! The points at which a capture can fail: uses of each function of the system, with each error
//! that the function may have.

use std::collections::BTreeMap;

/// How many of the points are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Of each function the use in the middle with the first error, and all uses with the last one.
    Part,
    /// Of each function and error the first two, the middle and the last use, once and from then
    /// on.
    Whole,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    pub function: &'static str,
    effect: Effect,
    /// `7` is the seventh use, `7+` the seventh and all later ones.
    when: String,
}

impl Point {
    /// Whether it makes a file seem absent. None of these faults does.
    #[expect(clippy::unused_self, reason = "tests/faults/judge.rs asks each point")]
    pub fn hides_a_file(&self) -> bool {
        false
    }

    /// Whether nothing can be written, not even a message. The standard streams fail only once.
    #[expect(clippy::unused_self, reason = "tests/faults/judge.rs asks each point")]
    pub fn prevents_messages(&self) -> bool {
        false
    }

    /// The fault as `tests/windows_programs/fault_hooks.c` reads it.
    pub fn injection(&self) -> String {
        format!("{} {} {}", self.function, self.when, self.effect.what)
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.function, self.when, self.effect.name)
    }
}

/// How a function fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Effect {
    name: &'static str,
    /// The returned value and the last error, or `half`.
    what: &'static str,
}

/// Whether a fault may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasts {
    Once,
    OnceOrOn,
}

macro_rules! effects {
    ($($name:ident = $what:literal),* $(,)?) => {
        $(const $name: Effect = Effect { name: stringify!($name), what: $what };)*
    };
}

// Functions that return FALSE or a null pointer.
effects! {
    ACCESS_DENIED = "0/5",
    INVALID_HANDLE = "0/6",
    NOT_ENOUGH_MEMORY = "0/8",
    GEN_FAILURE = "0/31",
    NOT_SUPPORTED = "0/50",
    INVALID_PARAMETER = "0/87",
    DISK_FULL = "0/112",
    ALREADY_EXISTS = "0/183",
    PARTIAL_COPY = "0/299",
    NOACCESS = "0/998",
    IO_DEVICE = "0/1117",
    NO_SUCH_PRIVILEGE = "0/1313",
    NO_SYSTEM_RESOURCES = "0/1450",
    COMMITMENT_LIMIT = "0/1455",
    // Reads or writes half of the bytes.
    HALF = "half",
}

// Functions that return INVALID_HANDLE_VALUE or 0xFFFFFFFF.
effects! {
    MINUS_FILE_NOT_FOUND = "-1/2",
    MINUS_ACCESS_DENIED = "-1/5",
    MINUS_GEN_FAILURE = "-1/31",
    MINUS_SHARING_VIOLATION = "-1/32",
    MINUS_DISK_FULL = "-1/112",
    MINUS_NO_SYSTEM_RESOURCES = "-1/1450",
}

// Functions that return an NTSTATUS.
effects! {
    STATUS_INFO_LENGTH_MISMATCH = "0xC0000004",
    STATUS_INVALID_HANDLE = "0xC0000008",
    STATUS_NO_MEMORY = "0xC0000017",
    STATUS_ACCESS_DENIED = "0xC0000022",
    STATUS_DISK_FULL = "0xC000007F",
    STATUS_INSUFFICIENT_RESOURCES = "0xC000009A",
    STATUS_IO_DEVICE_ERROR = "0xC0000185",
}

// Functions with results of their own.
effects! {
    E_ACCESSDENIED = "0x80070005",
    E_OUTOFMEMORY = "0x8007000E",
    RETURNS_ACCESS_DENIED = "5",
    THREAD_PRIORITY_ERROR_RETURN = "0x7FFFFFFF/5",
}

/// The functions of a capture that may fail, with the errors that they may have.
const FUNCTIONS: &[(&str, Lasts, &[Effect])] = {
    use Lasts::{Once, OnceOrOn};
    &[
        ("AdjustTokenPrivileges", OnceOrOn, &[ACCESS_DENIED]),
        (
            "CreateFileW",
            OnceOrOn,
            &[
                MINUS_ACCESS_DENIED,
                MINUS_FILE_NOT_FOUND,
                MINUS_SHARING_VIOLATION,
                MINUS_DISK_FULL,
                MINUS_NO_SYSTEM_RESOURCES,
            ],
        ),
        (
            "CreateHardLinkW",
            OnceOrOn,
            &[ACCESS_DENIED, NOT_SUPPORTED, DISK_FULL, ALREADY_EXISTS],
        ),
        ("CreateThread", OnceOrOn, &[NOT_ENOUGH_MEMORY, COMMITMENT_LIMIT]),
        (
            "DuplicateHandle",
            OnceOrOn,
            // NOT_SUPPORTED says that the object is one that the system shares with nobody.
            &[ACCESS_DENIED, INVALID_HANDLE, NOT_ENOUGH_MEMORY],
        ),
        (
            "FlushFileBuffers",
            OnceOrOn,
            &[IO_DEVICE, DISK_FULL, ACCESS_DENIED],
        ),
        ("GetExitCodeProcess", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("GetExitCodeThread", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        (
            "GetFileInformationByHandle",
            OnceOrOn,
            &[ACCESS_DENIED, IO_DEVICE],
        ),
        (
            "GetFileInformationByHandleEx",
            OnceOrOn,
            &[ACCESS_DENIED, IO_DEVICE],
        ),
        ("GetPriorityClass", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("GetProcessId", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("GetProcessIdOfThread", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("GetProcessTimes", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        (
            "GetThreadContext",
            OnceOrOn,
            &[ACCESS_DENIED, INVALID_HANDLE, GEN_FAILURE, INVALID_PARAMETER],
        ),
        ("GetThreadDescription", OnceOrOn, &[E_ACCESSDENIED, E_OUTOFMEMORY]),
        ("GetThreadPriority", OnceOrOn, &[THREAD_PRIORITY_ERROR_RETURN]),
        ("GetThreadTimes", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("GetTimeZoneInformation", OnceOrOn, &[MINUS_ACCESS_DENIED]),
        (
            "GetTokenInformation",
            OnceOrOn,
            &[ACCESS_DENIED, INVALID_HANDLE, NOT_ENOUGH_MEMORY],
        ),
        ("GetXStateFeaturesMask", OnceOrOn, &[INVALID_PARAMETER]),
        ("InitializeContext", OnceOrOn, &[INVALID_PARAMETER]),
        ("IsWow64Process", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        ("IsWow64Process2", OnceOrOn, &[ACCESS_DENIED, INVALID_HANDLE]),
        (
            "K32EnumProcessModulesEx",
            OnceOrOn,
            &[ACCESS_DENIED, PARTIAL_COPY],
        ),
        ("K32GetMappedFileNameW", OnceOrOn, &[ACCESS_DENIED]),
        (
            "K32GetModuleFileNameExW",
            OnceOrOn,
            &[ACCESS_DENIED, PARTIAL_COPY],
        ),
        (
            "K32GetModuleInformation",
            OnceOrOn,
            &[ACCESS_DENIED, PARTIAL_COPY],
        ),
        (
            "K32GetPerformanceInfo",
            OnceOrOn,
            &[ACCESS_DENIED, NO_SYSTEM_RESOURCES],
        ),
        ("LocateXStateFeature", OnceOrOn, &[INVALID_PARAMETER]),
        (
            "LookupPrivilegeValueW",
            OnceOrOn,
            &[NO_SUCH_PRIVILEGE, ACCESS_DENIED],
        ),
        (
            "MoveFileExW",
            OnceOrOn,
            &[ACCESS_DENIED, DISK_FULL, ALREADY_EXISTS],
        ),
        (
            "NtPowerInformation",
            OnceOrOn,
            &[STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES],
        ),
        ("NtQueryEvent", OnceOrOn, &[STATUS_ACCESS_DENIED]),
        (
            "NtQueryInformationProcess",
            OnceOrOn,
            &[
                STATUS_ACCESS_DENIED,
                STATUS_INVALID_HANDLE,
                STATUS_INSUFFICIENT_RESOURCES,
            ],
        ),
        (
            "NtQueryInformationThread",
            OnceOrOn,
            &[
                STATUS_ACCESS_DENIED,
                STATUS_INVALID_HANDLE,
                STATUS_INSUFFICIENT_RESOURCES,
            ],
        ),
        ("NtQueryMutant", OnceOrOn, &[STATUS_ACCESS_DENIED]),
        (
            "NtQueryObject",
            OnceOrOn,
            &[
                STATUS_ACCESS_DENIED,
                STATUS_INVALID_HANDLE,
                STATUS_INFO_LENGTH_MISMATCH,
                STATUS_NO_MEMORY,
            ],
        ),
        ("NtQuerySection", OnceOrOn, &[STATUS_ACCESS_DENIED]),
        (
            "NtQuerySystemInformation",
            OnceOrOn,
            &[
                STATUS_ACCESS_DENIED,
                STATUS_INFO_LENGTH_MISMATCH,
                STATUS_INSUFFICIENT_RESOURCES,
            ],
        ),
        (
            "NtWriteFile",
            OnceOrOn,
            &[
                STATUS_DISK_FULL,
                STATUS_ACCESS_DENIED,
                STATUS_IO_DEVICE_ERROR,
                STATUS_INSUFFICIENT_RESOURCES,
                HALF,
            ],
        ),
        // The standard streams. A message that cannot be printed is lost.
        (
            "NtWriteFile-standard",
            Once,
            &[STATUS_DISK_FULL, STATUS_ACCESS_DENIED, HALF],
        ),
        (
            "OpenProcess",
            OnceOrOn,
            &[ACCESS_DENIED, INVALID_PARAMETER, NO_SYSTEM_RESOURCES],
        ),
        (
            "OpenProcessToken",
            OnceOrOn,
            &[ACCESS_DENIED, NO_SYSTEM_RESOURCES],
        ),
        (
            "OpenThread",
            OnceOrOn,
            &[
                ACCESS_DENIED,
                INVALID_PARAMETER,
                INVALID_HANDLE,
                NO_SYSTEM_RESOURCES,
            ],
        ),
        ("OpenThreadToken", OnceOrOn, &[ACCESS_DENIED, NO_SYSTEM_RESOURCES]),
        (
            "ReadProcessMemory",
            OnceOrOn,
            &[PARTIAL_COPY, ACCESS_DENIED, NOACCESS, NO_SYSTEM_RESOURCES, HALF],
        ),
        ("RegGetValueW", OnceOrOn, &[RETURNS_ACCESS_DENIED]),
        // For ever, a thread that cannot be resumed stays suspended, whatever the dumper does.
        ("ResumeThread", Once, &[MINUS_ACCESS_DENIED, MINUS_GEN_FAILURE]),
        (
            "RtlGetVersion",
            OnceOrOn,
            &[STATUS_ACCESS_DENIED, STATUS_INSUFFICIENT_RESOURCES],
        ),
        (
            "SetFileInformationByHandle",
            OnceOrOn,
            &[DISK_FULL, ACCESS_DENIED, IO_DEVICE],
        ),
        ("SetXStateFeaturesMask", OnceOrOn, &[INVALID_PARAMETER]),
        (
            "SuspendThread",
            OnceOrOn,
            &[MINUS_ACCESS_DENIED, MINUS_GEN_FAILURE],
        ),
        (
            "VirtualQueryEx",
            OnceOrOn,
            &[ACCESS_DENIED, INVALID_PARAMETER, NO_SYSTEM_RESOURCES],
        ),
    ]
};

/// The other functions that dumps call, and why they are not made to fail.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "has no failure",
        &[
            "AcquireSRWLockExclusive",
            "EnterCriticalSection",
            "GetCommandLineW",
            "GetCurrentProcess",
            "GetCurrentProcessId",
            "GetCurrentThread",
            "GetCurrentThreadId",
            "GetEnabledXStateFeatures",
            "GetNativeSystemInfo",
            "GetSystemTimeAsFileTime",
            "GetSystemTimePreciseAsFileTime",
            "InitOnceBeginInitialize",
            "InitOnceComplete",
            "IsProcessorFeaturePresent",
            "LeaveCriticalSection",
            "LocalFree",
            "QueryPerformanceCounter",
            "QueryPerformanceFrequency",
            "ReleaseSRWLockExclusive",
            "RtlGetUnloadEventTraceEx",
            "RtlNtStatusToDosError",
            "SleepConditionVariableSRW",
            "SwitchToThread",
            "TlsFree",
            "TlsGetValue",
            "TlsSetValue",
            "TryAcquireSRWLockExclusive",
            "WakeAllConditionVariable",
            "WakeConditionVariable",
        ],
    ),
    (
        "Rust's standard library ends the program when it fails",
        &[
            "ExitProcess",
            "SetThreadStackGuarantee",
            "SystemFunction036",
            "TlsAlloc",
            "WaitForSingleObject",
        ],
    ),
    (
        "its failure means that this version of Windows lacks a function or a DLL",
        &["GetModuleHandleA", "GetProcAddress", "LoadLibraryExW"],
    ),
    (
        "concerns the standard streams, the environment, or the words of an error, not the dump",
        &[
            "FormatMessageW",
            "GetConsoleMode",
            "GetEnvironmentVariableW",
            "GetFileType",
            "GetStdHandle",
            "SetThreadDescription",
        ],
    ),
    (
        "cleans up: nothing can be done about its failure",
        &["CloseHandle", "DeleteFileW", "FreeLibrary"],
    ),
];

/// How often each function is used in a run.
pub struct Uses(BTreeMap<String, usize>);

impl Uses {
    /// Counts them in what the DLL has recorded of a run without a fault.
    ///
    /// # Panics
    ///
    /// When a function is used that no table here has.
    pub fn of(log: &str) -> Self {
        let uses: BTreeMap<_, _> = log
            .lines()
            .filter_map(|line| {
                let (function, uses) = line.split_once(' ')?;
                Some((function.to_owned(), uses.parse().ok()?))
            })
            .collect();
        let is_known = |name: &str| {
            FUNCTIONS.iter().any(|(function, ..)| *function == name)
                || OTHERS.iter().any(|(_, functions)| functions.contains(&name))
        };
        let unknown: Vec<_> = uses.keys().filter(|name| !is_known(name)).collect();
        assert!(
            unknown.is_empty(),
            "a dump uses {unknown:?}: how do they fail? Add them to {}",
            file!()
        );
        assert!(!uses.is_empty(), "no uses were recorded");
        Self(uses)
    }

    /// The points of such a run.
    pub fn points(&self, extent: Extent) -> Vec<Point> {
        let mut points = Vec::new();
        for (function, lasts, effects) in FUNCTIONS {
            let Some(&last) = self.0.get(*function) else {
                continue;
            };
            for (place, effect) in effects.iter().enumerate() {
                let mut add = |when: String| {
                    points.push(Point {
                        function,
                        effect: *effect,
                        when,
                    });
                };
                let mut some = match extent {
                    Extent::Whole => vec![1, 2, usize::midpoint(1, last), last],
                    Extent::Part if place == 0 => vec![usize::midpoint(1, last)],
                    Extent::Part => vec![],
                };
                some.sort_unstable();
                some.dedup();
                some.retain(|use_| *use_ <= last);
                some.iter().for_each(|n| add(n.to_string()));
                if *lasts == Lasts::Once {
                    continue;
                }
                match extent {
                    Extent::Whole => some.iter().for_each(|n| add(format!("{n}+"))),
                    Extent::Part if place == effects.len() - 1 => add("1+".to_owned()),
                    Extent::Part => {}
                }
            }
        }
        points
    }
}
