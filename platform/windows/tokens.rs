//! Reads the token of a process, and the tokens of threads that impersonate.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};

use dumpwright_target::{Diagnostic, Fault, FaultKind, Privilege, Sid, SidAndAttributes, Subject, Token};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_LENGTH, ERROR_CALL_NOT_IMPLEMENTED, ERROR_CANT_OPEN_ANONYMOUS, ERROR_INSUFFICIENT_BUFFER,
    ERROR_INVALID_FUNCTION, ERROR_INVALID_PARAMETER, ERROR_NO_TOKEN, ERROR_NOT_SUPPORTED,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_ACCESS_MASK, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenGroups,
    TokenIntegrityLevel, TokenPrimaryGroup, TokenPrivileges, TokenRestrictedSids, TokenSessionId,
    TokenStatistics, TokenUser,
};
use windows_sys::Win32::System::Threading::{OpenProcessToken, OpenThreadToken};

use crate::access::{Access, exit_status, thread_rights};
use crate::error::{Losses, fault, last_error};
use crate::memory::{int_at, word_at};
use crate::query::{QueryAttempt, grow};

/// The maximum number of entries that are read from a list. Tokens have at most a thousand groups.
const MOST: usize = 4096;
/// The maximum length of a fact about a token, in bytes.
const LONGEST: usize = 1 << 20;

/// Returns the token of the process, followed by the tokens of threads that impersonate. If the
/// token of a thread cannot be read, only this token is missing.
///
/// # Errors
/// The token of the process cannot be read.
pub(crate) fn tokens(
    access: &Access<'_>,
    threads: &[u32],
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<Token>, Fault> {
    let operation = || format!("read the token of process {}", access.id);
    let own = open(access.process(), TOKEN_QUERY).map_err(|code| fault(operation(), code))?;
    let mut losses = Losses::default();
    let mut tokens = vec![token(own.as_handle(), access.id, &mut losses, operation)?];
    diagnostics.extend(losses.diagnostic(Subject::Stream("Token")));
    for thread in threads {
        let operation = || format!("read the token of thread {thread}");
        let mut losses = Losses::default();
        let found = match thread_token(access, *thread, operation) {
            Ok(None) => continue,
            Ok(Some(theirs)) => token(theirs.as_handle(), *thread, &mut losses, operation),
            Err(fault) => Err(fault),
        };
        tokens.extend(losses.keep(found));
        diagnostics.extend(losses.diagnostic(Subject::Thread(*thread)));
    }
    Ok(tokens)
}

/// Returns the integrity level of a process: the last part of its integrity label. Returns `None`
/// if the label is malformed.
///
/// # Errors
/// The system's Win32 code.
pub(crate) fn integrity_level(process: BorrowedHandle<'_>) -> Result<Option<u32>, u32> {
    let token = open(process, TOKEN_QUERY)?;
    let label = Information::of(token.as_handle(), TokenIntegrityLevel)?;
    // A TOKEN_MANDATORY_LABEL is one SID_AND_ATTRIBUTES.
    let sid = label.word(0).and_then(|address| label.sid_bytes(address));
    let part = sid.and_then(|sid| sid.last_chunk::<4>());
    Ok(part.map(|part| u32::from_le_bytes(*part)))
}

/// Opens the token of a process.
///
/// # Errors
/// The system's Win32 code.
pub(crate) fn open(process: BorrowedHandle<'_>, rights: TOKEN_ACCESS_MASK) -> Result<OwnedHandle, u32> {
    let mut token = std::ptr::null_mut();
    // SAFETY: the handle is open as long as it is borrowed. The token's handle is written to a
    // local variable.
    if unsafe { OpenProcessToken(process.as_raw_handle(), rights, &raw mut token) } == 0 {
        return Err(last_error());
    }
    // SAFETY: after success, this is the handle of the token, which is new and has no other owner.
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// Opens the token of a thread. Returns `None` if the thread does not impersonate, or has ended.
fn thread_token(
    access: &Access<'_>,
    id: u32,
    operation: impl Fn() -> String,
) -> Result<Option<OwnedHandle>, Fault> {
    let thread = match access.open_thread(id, thread_rights::QUERY) {
        Ok(thread) => thread,
        Err(ended) if matches!(ended.kind, FaultKind::NoSuchProcess | FaultKind::Gone) => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let mut code = 0;
    // The token is opened with the rights of this program, even if the calling thread impersonates;
    // and if that fails, with the rights of the calling thread.
    for as_program in [1, 0] {
        let mut token = std::ptr::null_mut();
        // SAFETY: the handle is open as long as it is borrowed. The token's handle is written to a
        // local variable.
        let opened =
            unsafe { OpenThreadToken(thread.as_raw_handle(), TOKEN_QUERY, as_program, &raw mut token) };
        if opened != 0 {
            // SAFETY: after success, this is the handle of the token, which is new and has no other
            // owner.
            return Ok(Some(unsafe { OwnedHandle::from_raw_handle(token) }));
        }
        code = last_error();
        // The thread does not impersonate, or it impersonates the anonymous user, whose token
        // cannot be opened.
        if matches!(code, ERROR_NO_TOKEN | ERROR_CANT_OPEN_ANONYMOUS) {
            return Ok(None);
        }
    }
    match exit_status(thread.as_handle()) {
        Some(_) => Ok(None),
        None => Err(fault(operation(), code)),
    }
}

fn token(
    token: BorrowedHandle<'_>,
    id: u32,
    losses: &mut Losses,
    operation: impl Fn() -> String,
) -> Result<Token, Fault> {
    let ask = |class| Information::of(token, class).map_err(|code| fault(operation(), code));
    let malformed = || {
        Fault::new(
            FaultKind::Malformed,
            operation(),
            "the system reports no valid user",
        )
    };
    let user = ask(TokenUser)?;
    // Without the following facts, the token is still stored. A system may lack some of them.
    let mut optional = |class| match ask(class) {
        Err(fault) if fault.os_code.is_some_and(is_absent) => None,
        answer => losses.keep(answer),
    };
    let session = optional(TokenSessionId);
    let groups = optional(TokenGroups);
    let restricting = optional(TokenRestrictedSids);
    let primary_group = optional(TokenPrimaryGroup);
    let privileges = optional(TokenPrivileges);
    let statistics = optional(TokenStatistics);
    Ok(Token {
        id,
        // The system does not report the process's own handle of its token.
        handle: 0,
        session: session.and_then(|session| session.int(0)).unwrap_or(0),
        user: user.sid_and_attributes(0).ok_or_else(malformed)?,
        groups: groups.map(|groups| groups.groups()).unwrap_or_default(),
        primary_group: primary_group.and_then(|group| group.sid(group.word(0)?)),
        privileges: privileges
            .map(|privileges| privileges.privileges())
            .unwrap_or_default(),
        restricting: restricting.map(|sids| sids.groups()).unwrap_or_default(),
        statistics: statistics.and_then(|statistics| statistics.bytes.get(..56)?.try_into().ok()),
    })
}

/// Whether this Win32 code means that the system does not have a class of information.
fn is_absent(code: i32) -> bool {
    matches!(
        code.cast_unsigned(),
        ERROR_INVALID_FUNCTION | ERROR_NOT_SUPPORTED | ERROR_INVALID_PARAMETER | ERROR_CALL_NOT_IMPLEMENTED
    )
}

/// A fact about a token: a structure, followed by the security identifiers (SIDs) that it points
/// to.
struct Information {
    /// The address of the structure when the system filled it, to which its pointers are relative.
    address: u64,
    bytes: Vec<u8>,
}

impl Information {
    fn of(token: BorrowedHandle<'_>, class: TOKEN_INFORMATION_CLASS) -> Result<Self, u32> {
        /// Most facts fit in this number of bytes.
        const FIRST: usize = 256;
        let answer = grow(FIRST, LONGEST, |buffer, filled| {
            // SAFETY: the handle is open as long as it is borrowed. The system writes at most the
            // buffer's length to the buffer, and the required length to the integer.
            let done = unsafe {
                GetTokenInformation(
                    token.as_raw_handle(),
                    class,
                    buffer.as_mut_ptr().cast(),
                    u32::try_from(size_of_val(buffer)).expect("limited"),
                    filled,
                )
            };
            match (done != 0).then_some(()).ok_or_else(last_error) {
                Ok(()) => QueryAttempt::Filled,
                Err(code @ (ERROR_INSUFFICIENT_BUFFER | ERROR_BAD_LENGTH)) => QueryAttempt::TooShort(code),
                Err(code) => QueryAttempt::Failed(code),
            }
        })?;
        Ok(Self {
            address: answer.address(),
            bytes: answer.bytes().to_vec(),
        })
    }

    fn int(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..at + 4).map(|bytes| int_at(bytes, 0))
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.bytes.get(at..at + 8).map(|bytes| word_at(bytes, 0))
    }

    /// Returns the bytes of the SID at an address inside the answer.
    fn sid_bytes(&self, address: u64) -> Option<&[u8]> {
        let at = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let bytes = self.bytes.get(at..)?;
        // Revision 1, the number of subauthorities, the authority.
        let [1, parts, ..] = *bytes else { return None };
        bytes.get(..8 + usize::from(parts) * 4)
    }

    fn sid(&self, address: u64) -> Option<Sid> {
        let bytes = self.sid_bytes(address)?;
        let mut authority = [0; 8];
        authority[2..].copy_from_slice(&bytes[2..8]);
        let parts: Vec<_> = bytes[8..].chunks_exact(4).map(|part| int_at(part, 0)).collect();
        Sid::new(u64::from_be_bytes(authority), parts)
    }

    /// Returns the `SID_AND_ATTRIBUTES` at an offset: a pointer and a 32-bit number.
    fn sid_and_attributes(&self, at: usize) -> Option<SidAndAttributes> {
        Some(SidAndAttributes {
            sid: self.sid(self.word(at)?)?,
            attributes: self.int(at + 8)?,
        })
    }

    /// Parses a count and this number of `SID_AND_ATTRIBUTES`.
    fn groups(&self) -> Vec<SidAndAttributes> {
        let count = self.int(0).unwrap_or(0) as usize;
        (0..count.min(MOST))
            .map_while(|index| self.sid_and_attributes(8 + index * 16))
            .collect()
    }

    /// Parses a count and this number of `LUID_AND_ATTRIBUTES`, with 12 bytes each.
    fn privileges(&self) -> Vec<Privilege> {
        let count = self.int(0).unwrap_or(0) as usize;
        let entries = self.bytes.get(4..).unwrap_or_default().chunks_exact(12);
        let privilege = |entry: &[u8]| Privilege {
            luid: word_at(entry, 0),
            attributes: int_at(entry, 8),
        };
        entries.take(count.min(MOST)).map(privilege).collect()
    }
}

/// These tests would catch: SIDs, groups or privileges that differ from those that the child reads
/// with Windows' functions; a thread that impersonates and is not reported, or the reverse; all
/// tokens lost because of one thread; lengths and pointers that are not checked.
#[cfg(test)]
mod tests {
    use windows_sys::Win32::Foundation::LocalFree;
    use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
    use windows_sys::Win32::Security::{
        ImpersonateSelf, PRIVILEGE_SET, PrivilegeCheck, SecurityImpersonation, TOKEN_GROUPS,
        TOKEN_PRIMARY_GROUP, TOKEN_USER,
    };
    use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
    use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetCurrentThreadId};
    use windows_sys::core::PWSTR;

    use super::*;
    use crate::testing::{Victim, is_victim, tell, wait};

    const ACTS: &str = "tokens::tests::a_child_with_a_thread_that_impersonates";

    /// Converts a SID to text with Windows' function.
    fn words(sid: windows_sys::Win32::Security::PSID) -> String {
        let mut text: PWSTR = std::ptr::null_mut();
        // SAFETY: the SID came from the system. The text ends with NUL and is freed once.
        unsafe {
            assert_ne!(ConvertSidToStringSidW(sid, &mut text), 0);
            let len = (0..).take_while(|at| *text.add(*at) != 0).count();
            let words = String::from_utf16_lossy(std::slice::from_raw_parts(text, len));
            LocalFree(text.cast());
            words
        }
    }

    #[test]
    fn a_child_with_a_thread_that_impersonates() {
        if !is_victim(ACTS) {
            return;
        }
        let mut buffer = vec![0_u64; 8192];
        let mut len = 0;
        // SAFETY: the handle is that of this process, the buffer has the declared length, and only
        // filled structures are read.
        unsafe {
            let mut token = std::ptr::null_mut();
            assert_ne!(OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token), 0);
            let mut ask = |class| {
                assert_ne!(
                    GetTokenInformation(token, class, buffer.as_mut_ptr().cast(), 65536, &mut len),
                    0
                );
                buffer.as_ptr()
            };
            tell("user", words((*ask(TokenUser).cast::<TOKEN_USER>()).User.Sid));
            tell(
                "primary",
                words((*ask(TokenPrimaryGroup).cast::<TOKEN_PRIMARY_GROUP>()).PrimaryGroup),
            );
            let groups = ask(TokenGroups).cast::<TOKEN_GROUPS>();
            let first =
                (&raw const (*groups).Groups).cast::<windows_sys::Win32::Security::SID_AND_ATTRIBUTES>();
            let groups: Vec<_> = (0..(*groups).GroupCount as usize)
                .map(|at| format!("{}:{}", words((*first.add(at)).Sid), (*first.add(at)).Attributes))
                .collect();
            tell("groups", groups.join(" "));
            // For each number, whether it is an enabled privilege.
            let enabled = (1..64).filter(|number| {
                let mut set = PRIVILEGE_SET {
                    PrivilegeCount: 1,
                    ..std::mem::zeroed()
                };
                set.Privilege[0].Luid.LowPart = *number;
                let mut yes = 0;
                PrivilegeCheck(token, &mut set, &mut yes) != 0 && yes != 0
            });
            tell(
                "enabled",
                enabled
                    .map(|number| number.to_string())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
        }
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: the functions have no preconditions.
            unsafe {
                assert_ne!(ImpersonateSelf(SecurityImpersonation), 0);
                said.send(GetCurrentThreadId()).expect("listens");
            }
            loop {
                std::thread::park();
            }
        });
        tell("thread", heard.recv().expect("it says"));
        // SAFETY: the function has no preconditions.
        let ended = std::thread::spawn(|| unsafe { GetCurrentThreadId() });
        tell("ended", ended.join().expect("ends"));
        // SAFETY: the function has no preconditions.
        tell("main", unsafe { GetCurrentThreadId() });
        let mut session = 0;
        // SAFETY: the function writes an integer to the variable.
        let told = unsafe { ProcessIdToSessionId(std::process::id(), &mut session) };
        assert_ne!(told, 0);
        tell("session", session);
        wait();
    }

    #[test]
    fn tokens_are_those_that_the_child_sees() {
        let victim = Victim::that(ACTS);
        let access = victim.access();
        let impersonating = victim.number("thread") as u32;
        // In addition to its two threads, one that has ended and one of another process.
        // SAFETY: the function has no preconditions.
        let other = unsafe { GetCurrentThreadId() };
        let threads = ["main", "ended"].map(|name| victim.number(name) as u32);
        let threads = [&threads[..], &[impersonating, other]].concat();
        let mut diagnostics = Vec::new();
        let tokens = tokens(&access, &threads, &mut diagnostics).expect("readable");
        assert_eq!(diagnostics, [], "{threads:?}");
        let [own, theirs] = &tokens[..] else {
            panic!("two tokens: {tokens:?}")
        };
        assert_eq!((own.id, theirs.id), (victim.id(), impersonating));
        for (token, kind) in [(own, 1), (theirs, 2)] {
            assert_eq!(token.user.sid.to_string(), victim.text("user"));
            let primary = token.primary_group.as_ref().expect("has one").to_string();
            assert_eq!(primary, victim.text("primary"));
            let groups: Vec<_> = token
                .groups
                .iter()
                .map(|group| format!("{}:{}", group.sid, group.attributes))
                .collect();
            assert_eq!(groups.join(" "), victim.text("groups"));
            let mut enabled: Vec<_> = token
                .privileges
                .iter()
                .filter(|privilege| privilege.attributes & 2 != 0 && privilege.luid < 64)
                .map(|privilege| privilege.luid)
                .collect();
            enabled.sort_unstable();
            let enabled: Vec<_> = enabled.iter().map(u64::to_string).collect();
            assert_eq!(enabled.join(" "), victim.text("enabled"));
            assert_eq!(token.session, victim.number("session") as u32);
            assert_eq!(token.restricting, []);
            // The statistics have the token's type (primary, impersonation) after two 64-bit
            // numbers and the expiration time.
            let statistics = token.statistics.expect("has them");
            assert_eq!(int_at(&statistics, 24), kind);
        }
    }

    #[test]
    fn a_process_has_its_level() {
        let victim = Victim::that(ACTS);
        let level = integrity_level(victim.access().process())
            .expect("answers")
            .expect("known");
        // Low, medium, high, system. A child has the level of its parent.
        assert!([0x1000, 0x2000, 0x3000, 0x4000].contains(&level), "{level:#x}");
        let own = open(this_process(), TOKEN_QUERY)
            .and_then(|token| Information::of(token.as_handle(), TokenIntegrityLevel));
        let own = own.expect("own token");
        let text = own
            .sid(own.word(0).expect("long enough"))
            .expect("sound")
            .to_string();
        assert_eq!(text, format!("S-1-16-{level}"));
    }

    fn this_process() -> BorrowedHandle<'static> {
        // SAFETY: the function has no parameters. Its result is a constant that stands for this
        // process and must not be closed.
        unsafe { BorrowedHandle::borrow_raw(GetCurrentProcess()) }
    }

    #[test]
    fn answers_that_lie_are_not_believed() {
        let sid = |parts: u8| {
            let mut bytes = vec![1, parts, 0, 0, 0, 0, 0, 5];
            bytes.extend(18_u32.to_le_bytes());
            bytes
        };
        let answer = |pointer: u64, parts: u8| {
            let mut bytes = pointer.to_le_bytes().to_vec();
            bytes.extend([7, 0, 0, 0, 0, 0, 0, 0]);
            bytes.extend(sid(parts));
            Information {
                address: 0x1000,
                bytes,
            }
        };
        let sound = answer(0x1010, 1).sid_and_attributes(0).expect("sound");
        assert_eq!(
            (sound.sid.to_string().as_str(), sound.attributes),
            ("S-1-5-18", 7)
        );
        for (pointer, parts) in [
            (0xfff, 1),
            (0x1010, 2),
            (0x1010, 255),
            (0x1018, 1),
            (u64::MAX, 1),
            (0x2000, 1),
        ] {
            assert_eq!(
                answer(pointer, parts).sid_and_attributes(0),
                None,
                "{pointer:#x} {parts}"
            );
        }
        // The counts are larger than the numbers of groups and privileges.
        let mut bytes = u32::MAX.to_le_bytes().to_vec();
        bytes.extend([0; 20]);
        let many = Information { address: 0, bytes };
        assert_eq!(many.groups().len(), 0);
        assert_eq!(many.privileges().len(), 1);
        let none = Information {
            address: 0,
            bytes: Vec::new(),
        };
        assert!(none.groups().is_empty() && none.privileges().is_empty());
    }
}
