//! As whom it acts: the token of the process, and those of threads that act as somebody else.

use dumpwright_target::{Fault, Privilege, Remark, Sid, SidAndAttributes, Subject, Token};
use windows_sys::Win32::Foundation::{
    ERROR_BAD_LENGTH, ERROR_CANT_OPEN_ANONYMOUS, ERROR_INSUFFICIENT_BUFFER, ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER, ERROR_NO_TOKEN, GetLastError, HANDLE, STILL_ACTIVE,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenGroups, TokenIntegrityLevel,
    TokenPrimaryGroup, TokenPrivileges, TokenRestrictedSids, TokenSessionId, TokenStatistics, TokenUser,
};
use windows_sys::Win32::System::Threading::{
    GetExitCodeThread, GetProcessIdOfThread, OpenProcessToken, OpenThread, OpenThreadToken,
    THREAD_QUERY_INFORMATION,
};

use crate::access::{Access, fault};
use crate::memory::{int_at, word_at};
use crate::owned::Owned;

/// Of a list that says it is longer, no more is believed. Tokens hold a thousand groups at most.
const MOST: usize = 4096;
/// No fact about a token is longer.
const LONGEST: usize = 1 << 20;

/// The token of the process, and behind it those of threads that act as somebody else. What is wrong with one thread costs only its token.
pub(crate) fn tokens(
    access: &Access,
    threads: &[u32],
    remarks: &mut Vec<Remark>,
) -> Result<Vec<Token>, Fault> {
    let operation = || format!("read the token of process {}", access.id);
    let own = process_token(access.process).map_err(|code| fault(operation(), code))?;
    let mut tokens = vec![token(&own, access.id, operation)?];
    for thread in threads {
        let operation = || format!("read the token of thread {thread}");
        let found = match thread_token(access.id, *thread) {
            Ok(None) => continue,
            Ok(Some(theirs)) => token(&theirs, *thread, operation),
            Err(code) => Err(fault(operation(), code)),
        };
        match found {
            Ok(token) => tokens.push(token),
            Err(fault) => remarks.push(Remark::missing(Subject::Thread(*thread), fault.to_string())),
        }
    }
    Ok(tokens)
}

/// How far a process is trusted: the last part of its integrity label.
pub(crate) fn integrity_level(process: HANDLE) -> Option<u32> {
    let token = process_token(process).ok()?;
    let label = Information::of(&token, TokenIntegrityLevel).ok()?;
    // A TOKEN_MANDATORY_LABEL is one SID_AND_ATTRIBUTES.
    let sid = label.sid_bytes(label.word(0)?)?;
    sid.last_chunk::<4>().map(|part| u32::from_le_bytes(*part))
}

fn process_token(process: HANDLE) -> Result<Owned, u32> {
    let mut token = std::ptr::null_mut();
    // SAFETY: writes a handle to the variable.
    let done = unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) };
    // SAFETY: asks nothing of its caller.
    let code = unsafe { GetLastError() };
    // SAFETY: the handle was opened for us.
    let token = (done != 0).then(|| unsafe { Owned::new(token) });
    token.flatten().ok_or(code)
}

/// The token of a thread; `None` if it acts as its process, or has ended.
fn thread_token(process: u32, id: u32) -> Result<Option<Owned>, u32> {
    // SAFETY: these ask nothing of their caller; the handle was opened for us.
    let thread =
        unsafe { Owned::new(OpenThread(THREAD_QUERY_INFORMATION, 0, id)).ok_or_else(|| GetLastError()) };
    let thread = match thread {
        Ok(thread) => thread,
        // It has ended. The second code is Wine 8's.
        Err(ERROR_INVALID_PARAMETER | ERROR_INVALID_HANDLE) => return Ok(None),
        Err(code) => return Err(code),
    };
    // SAFETY: asks nothing of its caller.
    if unsafe { GetProcessIdOfThread(thread.get()) } != process {
        // It has ended, and another process has a thread of its number.
        return Ok(None);
    }
    let mut token = std::ptr::null_mut();
    // With our own rights, not with those of whom the calling thread may act as.
    // SAFETY: writes a handle to the variable; it was opened for us.
    unsafe {
        if OpenThreadToken(thread.get(), TOKEN_QUERY, 1, &mut token) != 0 {
            return Ok(Owned::new(token));
        }
        let code = GetLastError();
        match code {
            ERROR_NO_TOKEN => Ok(None),
            // It acts as nobody, and nobody's token cannot be opened.
            ERROR_CANT_OPEN_ANONYMOUS => Ok(None),
            _ if has_ended(&thread) => Ok(None),
            _ => Err(code),
        }
    }
}

fn has_ended(thread: &Owned) -> bool {
    let mut code = 0;
    // SAFETY: writes an integer to the variable.
    let told = unsafe { GetExitCodeThread(thread.get(), &mut code) };
    told != 0 && code != STILL_ACTIVE.cast_unsigned()
}

fn token(token: &Owned, id: u32, operation: impl Fn() -> String) -> Result<Token, Fault> {
    let ask = |class| Information::of(token, class).map_err(|code| fault(operation(), code));
    let malformed = || {
        use dumpwright_target::FaultKind::Malformed;
        Fault::new(
            Malformed,
            operation(),
            "the system tells of no user that makes sense",
        )
    };
    let user = ask(TokenUser)?;
    // What follows is told where the system tells it.
    let session = Information::of(token, TokenSessionId).ok();
    let groups = Information::of(token, TokenGroups).ok();
    let restricting = Information::of(token, TokenRestrictedSids).ok();
    let primary_group = Information::of(token, TokenPrimaryGroup).ok();
    let privileges = Information::of(token, TokenPrivileges).ok();
    let statistics = Information::of(token, TokenStatistics).ok();
    Ok(Token {
        id,
        // The system does not tell the process' own handle to it.
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

/// A fact about a token: a structure, and behind it the identifiers that it points to.
struct Information {
    /// Where the structure was when the system filled it, which its pointers count from.
    address: u64,
    bytes: Vec<u8>,
}

impl Information {
    fn of(token: &Owned, class: TOKEN_INFORMATION_CLASS) -> Result<Self, u32> {
        let mut len = 256;
        loop {
            let mut words = vec![0_u64; len / 8];
            let mut filled = 0;
            // SAFETY: writes at most the buffer's length to the buffer, and a length to the variable.
            let done = unsafe {
                GetTokenInformation(
                    token.get(),
                    class,
                    words.as_mut_ptr().cast(),
                    u32::try_from(words.len() * 8).expect("limited"),
                    &mut filled,
                )
            };
            if done != 0 {
                let address = words.as_ptr().addr() as u64;
                let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                bytes.truncate(filled as usize);
                return Ok(Self { address, bytes });
            }
            // SAFETY: asks nothing of its caller.
            match unsafe { GetLastError() } {
                ERROR_INSUFFICIENT_BUFFER | ERROR_BAD_LENGTH if len < LONGEST => {
                    len = (len * 2).max((filled as usize).next_multiple_of(8)).min(LONGEST);
                }
                code => return Err(code),
            }
        }
    }

    fn int(&self, at: usize) -> Option<u32> {
        self.bytes.get(at..at + 4).map(|bytes| int_at(bytes, 0))
    }

    fn word(&self, at: usize) -> Option<u64> {
        self.bytes.get(at..at + 8).map(|bytes| word_at(bytes, 0))
    }

    /// The bytes of the identifier at this address, which lies inside the answer.
    fn sid_bytes(&self, address: u64) -> Option<&[u8]> {
        let at = usize::try_from(address.checked_sub(self.address)?).ok()?;
        let bytes = self.bytes.get(at..)?;
        // Revision 1, the number of parts, the authority.
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

    /// The `SID_AND_ATTRIBUTES` at this place: a pointer and a word.
    fn sid_and_attributes(&self, at: usize) -> Option<SidAndAttributes> {
        Some(SidAndAttributes {
            sid: self.sid(self.word(at)?)?,
            attributes: self.int(at + 8)?,
        })
    }

    /// A count, and as many `SID_AND_ATTRIBUTES`.
    fn groups(&self) -> Vec<SidAndAttributes> {
        let count = self.int(0).unwrap_or(0) as usize;
        (0..count.min(MOST))
            .map_while(|index| self.sid_and_attributes(8 + index * 16))
            .collect()
    }

    /// A count, and as many `LUID_AND_ATTRIBUTES`, of 12 bytes each.
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

/// What these tests would catch: identifiers, groups or privileges other than the child's own functions tell it; a thread that acts as somebody else and is not told
/// of, or one that does not and is; all tokens lost with one thread; lengths and pointers that are believed.
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

    /// An identifier in Windows' own words.
    fn words(sid: windows_sys::Win32::Security::PSID) -> String {
        let mut text: PWSTR = std::ptr::null_mut();
        // SAFETY: the identifier came from the system; the text ends with NUL and is freed once.
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
        // SAFETY: the handle is that of this process; the buffer has the length that is told; structures are read that were filled.
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
            // Of each number whether it is a privilege that is enabled.
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
            // SAFETY: these ask nothing of their caller.
            unsafe {
                assert_ne!(ImpersonateSelf(SecurityImpersonation), 0);
                said.send(GetCurrentThreadId()).expect("listens");
            }
            loop {
                std::thread::park();
            }
        });
        tell("thread", heard.recv().expect("it says"));
        // SAFETY: asks nothing of its caller.
        let ended = std::thread::spawn(|| unsafe { GetCurrentThreadId() });
        tell("ended", ended.join().expect("ends"));
        // SAFETY: asks nothing of its caller.
        tell("main", unsafe { GetCurrentThreadId() });
        let mut session = 0;
        // SAFETY: writes an integer to the variable.
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
        // Besides its two threads, one that has ended, and one of another process.
        // SAFETY: asks nothing of its caller.
        let other = unsafe { GetCurrentThreadId() };
        let threads = ["main", "ended"].map(|name| victim.number(name) as u32);
        let threads = [&threads[..], &[impersonating, other]].concat();
        let mut remarks = Vec::new();
        let tokens = tokens(&access, &threads, &mut remarks).expect("readable");
        assert_eq!(remarks, [], "{threads:?}");
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
            // Its type (primary, impersonation) stands in the statistics behind two numbers of 64 bits and the time it ends.
            let statistics = token.statistics.expect("has them");
            assert_eq!(int_at(&statistics, 24), kind);
        }
    }

    #[test]
    fn a_process_has_its_level() {
        let victim = Victim::that(ACTS);
        let level = integrity_level(victim.access().process).expect("known");
        // Low, medium, high, system; children have their parent's.
        assert!([0x1000, 0x2000, 0x3000, 0x4000].contains(&level), "{level:#x}");
        let own = process_token(own_process()).and_then(|token| Information::of(&token, TokenIntegrityLevel));
        let own = own.expect("own token");
        let text = own
            .sid(own.word(0).expect("long enough"))
            .expect("sound")
            .to_string();
        assert_eq!(text, format!("S-1-16-{level}"));
    }

    fn own_process() -> HANDLE {
        // SAFETY: asks nothing of its caller.
        unsafe { GetCurrentProcess() }
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
        // More groups and privileges than there are.
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
