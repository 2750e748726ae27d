use std::fmt;
use std::str::FromStr;

/// As whom a process or a thread acts: what the Token stream says.
///
/// Each system's identities are written as security identifiers. For users and groups of Unix there are the
/// well-known `S-1-22-1-UID` and `S-1-22-2-GID`, which Samba uses for those without a Windows account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The process id for the process' own token, the thread id for a thread that acts as somebody else.
    pub id: u32,
    /// The handle to it that the process has; 0 where systems have none.
    pub handle: u64,
    /// The session of the machine that it belongs to; 0 where systems have none.
    pub session: u32,
    /// The user.
    pub user: SidAndAttributes,
    /// The groups.
    pub groups: Vec<SidAndAttributes>,
    /// The group that new objects belong to.
    pub primary_group: Option<Sid>,
    /// The privileges it holds, as Windows numbers them.
    pub privileges: Vec<Privilege>,
    /// Who restricts it: what it is not allowed as one of these, it is not allowed at all. Usually nobody.
    pub restricting: Vec<SidAndAttributes>,
    /// `TOKEN_STATISTICS` as it is, where the system has it. Says, too, whether it is a process' or a thread's.
    pub statistics: Option<[u8; 56]>,
}

/// A user or a group, and how it counts (`SE_GROUP_…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidAndAttributes {
    /// Who.
    pub sid: Sid,
    /// `SE_GROUP_MANDATORY` 1, `SE_GROUP_ENABLED_BY_DEFAULT` 2, `SE_GROUP_ENABLED` 4 …; 0 for users.
    pub attributes: u32,
}

/// A privilege and its state (`LUID_AND_ATTRIBUTES`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// Its number; `SeDebugPrivilege` is 20.
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
    /// Most parts of an identifier (`SID_MAX_SUB_AUTHORITIES`).
    pub const MOST_PARTS: usize = 15;

    /// The identifier of this authority and these parts; `None` if the authority passes 48 bits or there are too many
    /// parts.
    #[must_use]
    pub fn new(authority: u64, parts: impl Into<Vec<u32>>) -> Option<Self> {
        let parts = parts.into();
        (authority < 1 << 48 && parts.len() <= Self::MOST_PARTS).then_some(Self { authority, parts })
    }

    /// The user of a Unix system with this number.
    #[must_use]
    pub fn unix_user(id: u32) -> Self {
        Self {
            authority: 22,
            parts: vec![1, id],
        }
    }

    /// The group of a Unix system with this number.
    #[must_use]
    pub fn unix_group(id: u32) -> Self {
        Self {
            authority: 22,
            parts: vec![2, id],
        }
    }

    /// The bytes of Windows' structure `SID`: revision, number of parts, authority (its highest byte first), parts.
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
        read().ok_or_else(|| format!("\"{text}\" is no security identifier, such as \"S-1-5-18\""))
    }
}

/// What these tests would catch: an identifier whose bytes or text are not those of Windows.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_those_of_windows() {
        // BUILTIN\Administrators, as Microsoft's pages have it.
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
    fn what_is_none_is_refused() {
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
