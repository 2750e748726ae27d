//! The exception, and what its numbers are called.

use serde::Serialize;

use super::context::Context;
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, Location, hex, hex_list};
use super::stream_type;
use super::system::Platform;

/// Bytes of `MINIDUMP_EXCEPTION_STREAM`.
pub(super) const EXCEPTION_SIZE: u64 = 168;
/// `EXCEPTION_MAXIMUM_PARAMETERS`.
pub(super) const MOST_PARAMETERS: u32 = 15;

/// ExceptionStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The thread it happened in.
    pub thread_id: u32,
    /// Windows: the exception's code. Linux: the signal.
    #[serde(serialize_with = "hex")]
    pub code: u32,
    /// Windows: the exception's flags. Linux: `si_code`.
    #[serde(serialize_with = "hex")]
    pub flags: u32,
    /// Where the target holds a nested exception; the record itself is not in the dump.
    #[serde(serialize_with = "hex")]
    pub record: u64,
    /// Windows: the instruction. Linux: for faults, the address that was accessed.
    #[serde(serialize_with = "hex")]
    pub address: u64,
    /// As the file states it; more than 15 is damage.
    pub number_of_parameters: u32,
    /// The valid ones.
    #[serde(serialize_with = "hex_list")]
    pub parameters: Vec<u64>,
    /// Where the file holds the context.
    pub context_location: Location,
    /// The registers at the moment of the exception; `None` if absent or outside the file.
    pub context: Option<Context>,
}

impl Exception {
    /// The exception in words: signal and cause on Linux, the code's name on Windows.
    #[must_use]
    pub fn describe(&self, platform: Platform) -> String {
        /// What Breakpad's Linux writer stores when a dump was requested and nothing had crashed.
        const DUMP_REQUESTED: u32 = 0xFFFF_FFFF;
        if platform.is_linux() {
            if self.code == DUMP_REQUESTED {
                return "dump requested".to_owned();
            }
            let signal =
                signal_name(self.code).map_or_else(|| format!("signal {}", self.code), str::to_owned);
            let code = self.flags.cast_signed();
            return match signal_code_name(self.code, code) {
                Some(cause) => format!("{signal} ({cause})"),
                None => format!("{signal} (si_code {code})"),
            };
        }
        match windows_name(self.code) {
            Some(name) => name.to_owned(),
            None => format!("code {:#010x}", self.code),
        }
    }
}

/// Name of a signal, in the numbering of x86, ARM and most other Linux systems (signal(7)).
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

/// Name of a signal's `si_code` (sigaction(2)).
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

/// Names of the Windows exceptions that are met most (winnt.h, ntstatus.h).
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
    /// ExceptionStream; `None` if the dump has none.
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
        let fields = Fields(&bytes);
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
