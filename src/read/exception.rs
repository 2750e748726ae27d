//! ExceptionStream, and the names of signals and exception codes.

use serde::Serialize;

use super::context::Context;
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, Location, hex, hex_list};
use super::stream_type;
use super::system::Platform;

/// The size of `MINIDUMP_EXCEPTION_STREAM` in bytes.
pub(super) const EXCEPTION_SIZE: u64 = 168;
/// `EXCEPTION_MAXIMUM_PARAMETERS`.
pub(super) const MOST_PARAMETERS: u32 = 15;

/// The exception or signal from ExceptionStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The id of the thread in which the exception occurred.
    pub thread_id: u32,
    /// The exception code (Windows) or the signal number (Linux).
    #[serde(serialize_with = "hex")]
    pub code: u32,
    /// The exception flags (Windows) or `si_code` (Linux).
    #[serde(serialize_with = "hex")]
    pub flags: u32,
    /// The address of a nested exception record in the target. That record is not part of the
    /// stream.
    #[serde(serialize_with = "hex")]
    pub record: u64,
    /// The address of the instruction (Windows) or, for memory faults, the address that was
    /// accessed (Linux).
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// The number of parameters according to the file. More than 15 are malformed.
    pub number_of_parameters: u32,
    /// The parameters, at most 15.
    #[serde(serialize_with = "hex_list")]
    pub parameters: Vec<u64>,
    /// The location of the context in the file.
    pub context_location: Location,
    /// The registers at the time of the exception. `None` if the dump has no context for it, or the
    /// context lies outside the file.
    pub context: Option<Context>,
}

impl Exception {
    /// Returns a description of the exception: the signal and its cause on Linux, the name of the
    /// code on Windows.
    #[must_use]
    pub fn describe(&self, platform: Platform) -> String {
        match platform.is_linux() {
            true => describe_signal(self.code, self.flags.cast_signed()),
            false => describe_windows(self.code),
        }
    }
}

/// Returns the name of a signal and of its cause, the `si_code`.
pub(crate) fn describe_signal(signal: u32, code: i32) -> String {
    /// The code that Breakpad's Linux writer stores if a dump was requested without a crash.
    const DUMP_REQUESTED: u32 = 0xFFFF_FFFF;
    if signal == DUMP_REQUESTED {
        return "dump requested".to_owned();
    }
    let name = signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned);
    match signal_code_name(signal, code) {
        Some(cause) => format!("{name} ({cause})"),
        None => format!("{name} (si_code {code})"),
    }
}

/// Returns the name of a Windows exception code.
pub(crate) fn describe_windows(code: u32) -> String {
    match windows_name(code) {
        Some(name) => name.to_owned(),
        None => format!("code {code:#010x}"),
    }
}

/// Returns the name of a signal, with the numbers of Linux on x86, ARM and most other processors
/// (signal(7)).
#[must_use]
pub fn signal_name(signal: u32) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

/// Returns the name of a signal's `si_code` (sigaction(2)).
#[must_use]
pub fn signal_code_name(signal: u32, code: i32) -> Option<&'static str> {
    let any = match code {
        0 => Some("SI_USER"),
        0x80 => Some("SI_KERNEL"),
        -1 => Some("SI_QUEUE"),
        -2 => Some("SI_TIMER"),
        -3 => Some("SI_MESGQ"),
        -4 => Some("SI_ASYNCIO"),
        -5 => Some("SI_SIGIO"),
        -6 => Some("SI_TKILL"),
        _ => None,
    };
    let names: &[&str] = match signal_name(signal).unwrap_or_default() {
        "SIGILL" => &[
            "ILL_ILLOPC",
            "ILL_ILLOPN",
            "ILL_ILLADR",
            "ILL_ILLTRP",
            "ILL_PRVOPC",
            "ILL_PRVREG",
            "ILL_COPROC",
            "ILL_BADSTK",
        ],
        "SIGFPE" => &[
            "FPE_INTDIV",
            "FPE_INTOVF",
            "FPE_FLTDIV",
            "FPE_FLTOVF",
            "FPE_FLTUND",
            "FPE_FLTRES",
            "FPE_FLTINV",
            "FPE_FLTSUB",
        ],
        "SIGSEGV" => &["SEGV_MAPERR", "SEGV_ACCERR", "SEGV_BNDERR", "SEGV_PKUERR"],
        "SIGBUS" => &[
            "BUS_ADRALN",
            "BUS_ADRERR",
            "BUS_OBJERR",
            "BUS_MCEERR_AR",
            "BUS_MCEERR_AO",
        ],
        "SIGTRAP" => &["TRAP_BRKPT", "TRAP_TRACE", "TRAP_BRANCH", "TRAP_HWBKPT"],
        "SIGCHLD" => &[
            "CLD_EXITED",
            "CLD_KILLED",
            "CLD_DUMPED",
            "CLD_TRAPPED",
            "CLD_STOPPED",
            "CLD_CONTINUED",
        ],
        "SIGSYS" => &["SYS_SECCOMP", "SYS_USER_DISPATCH"],
        _ => &[],
    };
    let own = usize::try_from(code)
        .ok()
        .and_then(|code| code.checked_sub(1))
        .and_then(|code| names.get(code));
    any.or(own.copied())
}

/// Returns the name of a common Windows exception code (winnt.h, ntstatus.h).
fn windows_name(code: u32) -> Option<&'static str> {
    Some(match code {
        0x8000_0001 => "EXCEPTION_GUARD_PAGE",
        0x8000_0002 => "EXCEPTION_DATATYPE_MISALIGNMENT",
        0x8000_0003 => "EXCEPTION_BREAKPOINT",
        0x8000_0004 => "EXCEPTION_SINGLE_STEP",
        0xC000_0005 => "EXCEPTION_ACCESS_VIOLATION",
        0xC000_0006 => "EXCEPTION_IN_PAGE_ERROR",
        0xC000_001D => "EXCEPTION_ILLEGAL_INSTRUCTION",
        0xC000_0025 => "EXCEPTION_NONCONTINUABLE_EXCEPTION",
        0xC000_008C => "EXCEPTION_ARRAY_BOUNDS_EXCEEDED",
        0xC000_008E => "EXCEPTION_FLT_DIVIDE_BY_ZERO",
        0xC000_0094 => "EXCEPTION_INT_DIVIDE_BY_ZERO",
        0xC000_0095 => "EXCEPTION_INT_OVERFLOW",
        0xC000_0096 => "EXCEPTION_PRIV_INSTRUCTION",
        0xC000_00FD => "EXCEPTION_STACK_OVERFLOW",
        0xC000_0374 => "STATUS_HEAP_CORRUPTION",
        0xC000_0409 => "STATUS_STACK_BUFFER_OVERRUN",
        0xE06D_7363 => "C++ exception (Microsoft)",
        _ => return None,
    })
}

impl Dump {
    /// Returns the exception, or `None` if the dump has no ExceptionStream.
    ///
    /// # Errors
    ///
    /// The stream is shorter than 168 bytes or lies outside the file.
    pub fn exception(&self) -> Result<Option<Exception>, ReadError> {
        const WHAT: &str = "ExceptionStream";
        let Some(entry) = self.stream(stream_type::EXCEPTION) else {
            return Ok(None);
        };
        let bytes = self.prefix(WHAT, entry.rva.into(), entry.size.into(), EXCEPTION_SIZE)?;
        if (bytes.len() as u64) < EXCEPTION_SIZE {
            let reason = format!("{} bytes instead of {EXCEPTION_SIZE}", bytes.len());
            return Err(ReadError::Malformed {
                what: WHAT,
                offset: entry.rva.into(),
                reason,
            });
        }
        let fields = FieldReader(&bytes);
        let number_of_parameters = fields.u32(32);
        let context_location = fields.location(160);
        Ok(Some(Exception {
            thread_id: fields.u32(0),
            code: fields.u32(8),
            flags: fields.u32(12),
            record: fields.u64(16),
            address: fields.u64(24),
            number_of_parameters,
            parameters: (0..number_of_parameters.min(MOST_PARAMETERS) as usize)
                .map(|index| fields.u64(40 + 8 * index))
                .collect(),
            context_location,
            context: self.context(self.cpu(), context_location).ok().flatten(),
        }))
    }
}
