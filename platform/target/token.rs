use std::fmt;
use std::str::FromStr;

/// The identity and the privileges of a process or a thread: the contents of the Token stream.
///
/// The identities of all systems are written as security identifiers. Users and groups of Unix have
/// the well-known forms `S-1-22-1-UID` and `S-1-22-2-GID`, which Samba uses for those without a
/// Windows account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The process id for the token of the process, the thread id for the token of a thread that
    /// impersonates another user.
    pub id: u32,
    /// The process's handle to the token; 0 on systems without token handles.
    pub handle: u64,
    /// The session of the machine to which the token belongs; 0 on systems without sessions.
    pub session: u32,
    /// The user.
    pub user: SidAndAttributes,
    /// The groups.
    pub groups: Vec<SidAndAttributes>,
    /// The group that owns newly created objects.
    pub primary_group: Option<Sid>,
    /// The privileges of the token, in Windows' numbering.
    pub privileges: Vec<Privilege>,
    /// The restricting identities. An access is allowed only if it is also allowed to one of them.
    /// Usually empty, which means no restriction.
    pub restricting: Vec<SidAndAttributes>,
    /// The bytes of `TOKEN_STATISTICS`, if the system has it. They include whether the token
    /// belongs to a process or to a thread.
    pub statistics: Option<[u8; 56]>,
}

/// A user or a group with its attributes (`SE_GROUP_…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidAndAttributes {
    /// The user or group.
    pub sid: Sid,
    /// `SE_GROUP_MANDATORY` 1, `SE_GROUP_ENABLED_BY_DEFAULT` 2, `SE_GROUP_ENABLED` 4 …; 0 for
    /// users.
    pub attributes: u32,
}

/// A privilege and its state (`LUID_AND_ATTRIBUTES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// The number of the privilege; `SeDebugPrivilege` is 20.
    pub luid: u64,
    /// `SE_PRIVILEGE_ENABLED_BY_DEFAULT` 1, `SE_PRIVILEGE_ENABLED` 2.
    pub attributes: u32,
}

/// A security identifier of revision 1, written `S-1-AUTHORITY-PART-PART…`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sid {
    authority: u64,
    parts: Vec<u32>,
}

impl Sid {
    /// The highest number of parts of an identifier (`SID_MAX_SUB_AUTHORITIES`).
    pub const MOST_PARTS: usize = 15;

    /// Creates an identifier. Returns `None` if the authority has more than 48 bits or there are
    /// too many parts.
    #[must_use]
    pub fn new(authority: u64, parts: impl Into<Vec<u32>>) -> Option<Self> {
        let parts = parts.into();
        (authority < 1 << 48 && parts.len() <= Self::MOST_PARTS).then_some(Self { authority, parts })
    }

    /// Returns the identifier of the Unix user with this id.
    #[must_use]
    pub fn unix_user(id: u32) -> Self {
        Self {
            authority: 22,
            parts: vec![1, id],
        }
    }

    /// Returns the identifier of the Unix group with this id.
    #[must_use]
    pub fn unix_group(id: u32) -> Self {
        Self {
            authority: 22,
            parts: vec![2, id],
        }
    }

    /// Returns the bytes of Windows' `SID` structure: revision, number of parts, authority (most
    /// significant byte first), parts.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![1, u8::try_from(self.parts.len()).expect("at most 15")];
        bytes.extend(&self.authority.to_be_bytes()[2..]);
        bytes.extend(self.parts.iter().flat_map(|part| part.to_le_bytes()));
        bytes
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S-1-{}", self.authority)?;
        self.parts.iter().try_for_each(|part| write!(f, "-{part}"))
    }
}

impl FromStr for Sid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut numbers = text.strip_prefix("S-1-")?.split('-');
            let authority = numbers.next()?.parse().ok()?;
            let parts: Vec<u32> = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
            Self::new(authority, parts)
        };
        read().ok_or_else(|| format!("\"{text}\" is not a security identifier such as \"S-1-5-18\""))
    }
}

/// What these tests would catch: an identifier whose bytes or text differ from Windows'.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_those_of_windows() {
        // BUILTIN\Administrators, from Microsoft's documentation.
        let sid: Sid = "S-1-5-32-544".parse().unwrap();
        assert_eq!(
            sid.to_bytes(),
            [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]
        );
        assert_eq!(sid.to_string(), "S-1-5-32-544");
        assert_eq!(Sid::unix_user(1000).to_string(), "S-1-22-1-1000");
        assert_eq!(Sid::unix_group(7).to_string(), "S-1-22-2-7");
        let largest = Sid::new((1 << 48) - 1, [u32::MAX; 15]).unwrap();
        assert_eq!(largest.to_bytes().len(), 8 + 15 * 4);
        assert_eq!(largest.to_string().parse(), Ok(largest));
    }

    #[test]
    fn other_texts_are_rejected() {
        let long = format!("S-1-5{}", "-1".repeat(16));
        for text in [
            "",
            "S-1-",
            "S-2-5-18",
            "S-1-5-x",
            "S-1-5-",
            &long,
            "S-1-281474976710656",
        ] {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
    }
}
