//! Access tokens: TokenStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, hex};
use super::stream_type;

/// The size of `MINIDUMP_TOKEN_INFO_LIST` in bytes.
pub(super) const LIST_SIZE: u64 = 16;
/// The size of the head of an element in bytes: `MINIDUMP_TOKEN_INFO_HEADER` and seven pairs of
/// offset and size, as DbgHelp 6.3.9600 was observed to write them.
pub(super) const ELEMENT_SIZE: usize = 72;
/// The size of the longest stream that is read, in bytes. The token of a thread has a few
/// kilobytes, and few threads have one.
const LONGEST: u64 = 4 << 20;
/// `SID_MAX_SUB_AUTHORITIES`.
const MOST_SUB_AUTHORITIES: u8 = 15;

/// The access token of the process or of a thread. Parts that are absent or malformed are `None` or
/// empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// The file offset of the element.
    pub record_offset: u64,
    /// The process id, or the thread id of a thread that impersonates another user.
    pub id: u32,
    /// The handle of the token in the process. 0 on other systems than Windows.
    pub handle: u64,
    /// The number of the session to which the token belongs.
    pub session: Option<u32>,
    /// The type: 1 primary, 2 impersonation. It is part of the token's statistics, which exist only
    /// on Windows.
    pub token_type: Option<u32>,
    /// The security identifier of the user. For Linux users, it is `S-1-22-1-UID`.
    pub user: Option<String>,
    /// The groups.
    pub groups: Vec<TokenGroup>,
    /// The security identifier of the group that new objects get.
    pub primary_group: Option<String>,
    /// The privileges.
    pub privileges: Vec<TokenPrivilege>,
    /// The restricting security identifiers.
    pub restricting: Vec<TokenGroup>,
}

/// A group of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenGroup {
    /// The security identifier.
    pub sid: String,
    /// The attributes (`SE_GROUP_…`).
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
}

/// A privilege of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenPrivilege {
    /// The number of the privilege.
    pub luid: u64,
    /// The attributes (`SE_PRIVILEGE_…`).
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
}

impl Dump {
    /// Returns the tokens of the process and its threads, in the order of the file. Empty if the
    /// dump has no TokenStream.
    ///
    /// # Errors
    ///
    /// The list or the head of an element is malformed, or the stream lies outside the file or has
    /// more than 4 MiB.
    pub fn tokens(&self) -> Result<Vec<Token>, ReadError> {
        const WHAT: &str = "TokenStream";
        let Some(entry) = self.stream(stream_type::TOKEN) else {
            return Ok(Vec::new());
        };
        let offset = u64::from(entry.rva);
        let malformed = |at: usize, reason| {
            Err(ReadError::Malformed {
                what: WHAT,
                offset: offset + at as u64,
                reason,
            })
        };
        let bytes = self.whole(WHAT, entry, LONGEST)?;
        if (bytes.len() as u64) < LIST_SIZE {
            return malformed(0, format!("{} bytes are too few for its header", bytes.len()));
        }
        let list = FieldReader(&bytes);
        let (count, header, head) = (list.u32(4), list.u32(8) as usize, list.u32(12) as usize);
        if (header as u64) < LIST_SIZE || head < ELEMENT_SIZE {
            return malformed(
                0,
                format!(
                    "its header has {header} bytes and the head of a token {head}, \
                     instead of at least {LIST_SIZE} and {ELEMENT_SIZE}"
                ),
            );
        }
        let mut tokens = Vec::new();
        let mut at = header;
        for _ in 0..count {
            let element = bytes.get(at..).unwrap_or_default();
            let size = match element.len() {
                left if left < head => left,
                _ => FieldReader(element).u32(0) as usize,
            };
            if size < head || size > element.len() {
                return malformed(at, format!("a token has an invalid size of {size} bytes"));
            }
            tokens.push(token(offset + at as u64, &element[..size]));
            at += size;
        }
        Ok(tokens)
    }
}

/// Parses an element of the list.
fn token(record_offset: u64, element: &[u8]) -> Token {
    let fields = FieldReader(element);
    let part = |index: usize| {
        let (at, size) = (
            fields.u32(16 + 8 * index) as usize,
            fields.u32(20 + 8 * index) as usize,
        );
        element.get(at..at.checked_add(size)?)
    };
    let privileges = part(4).unwrap_or_default();
    let held = word(privileges, 0).unwrap_or(0) as usize;
    Token {
        record_offset,
        id: fields.u32(4),
        handle: fields.u64(8),
        session: part(0).and_then(|part| word(part, 0)),
        // TOKEN_STATISTICS has the type after two identifiers and the expiration time.
        token_type: part(5).and_then(|part| word(part, 24)),
        user: part(1).and_then(|part| identifier(part, word(part, 0)? as usize)),
        groups: groups(part(2).unwrap_or_default()),
        // DbgHelp 6.3.9600 writes the identifier at offset 4, although the offset in front of it is
        // 8.
        primary_group: part(3).and_then(|part| identifier(part, 4)),
        privileges: (0..held.min(privileges.len() / 12))
            .filter_map(|index| {
                let at = 4 + 12 * index;
                let record = FieldReader(privileges.get(at..at + 12)?);
                Some(TokenPrivilege {
                    luid: record.u64(0),
                    attributes: record.u32(8),
                })
            })
            .collect(),
        restricting: groups(part(6).unwrap_or_default()),
    }
}

fn word(part: &[u8], at: usize) -> Option<u32> {
    part.get(at..at + 4).map(|_| FieldReader(part).u32(at))
}

fn identifier(part: &[u8], at: usize) -> Option<String> {
    sid(part.get(at..)?)
}

/// Parses a list of groups: the count, pairs of offset and attributes, and the security
/// identifiers.
fn groups(part: &[u8]) -> Vec<TokenGroup> {
    let listed = word(part, 0).unwrap_or(0) as usize;
    (0..listed.min(part.len() / 8))
        .filter_map(|index| {
            Some(TokenGroup {
                sid: identifier(part, word(part, 4 + 8 * index)? as usize)?,
                attributes: word(part, 8 + 8 * index)?,
            })
        })
        .collect()
}

/// Formats a security identifier. It consists of the revision (1), the number of sub-authorities,
/// the authority in big-endian order, and the sub-authorities in little-endian order. `None` if it
/// is malformed.
fn sid(bytes: &[u8]) -> Option<String> {
    let [1, count, authority @ ..] = bytes.get(..8)? else {
        return None;
    };
    if *count > MOST_SUB_AUTHORITIES {
        return None;
    }
    let authority = authority
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let parts = bytes.get(8..8 + 4 * usize::from(*count))?;
    let mut text = format!("S-1-{authority}");
    for part in parts.chunks_exact(4) {
        text += &format!("-{}", FieldReader(part).u32(0));
    }
    Some(text)
}
