//! As whom the process acts: TokenStream.

use serde::Serialize;

use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, hex};
use super::stream_type;

/// Bytes of `MINIDUMP_TOKEN_INFO_LIST`.
pub(super) const LIST_SIZE: u64 = 16;
/// Bytes of an element's head: `MINIDUMP_TOKEN_INFO_HEADER`, then seven pairs of offset and size, as DbgHelp 6.3.9600 was
/// observed to write them.
pub(super) const ELEMENT_SIZE: usize = 72;

/// The token of the process or of a thread. Parts that are absent or make no sense are `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// File offset of the element.
    pub record_offset: u64,
    /// Process id, or the id of a thread that acts as somebody else.
    pub id: u32,
    /// The handle that the process had to it, 0 outside Windows.
    pub handle: u64,
    /// The session of the machine that it belongs to.
    pub session: Option<u32>,
    /// 1 primary, 2 impersonation; from its statistics, which only Windows has.
    pub token_type: Option<u32>,
    /// The user's security identifier; `S-1-22-1-UID` for users of Linux.
    pub user: Option<String>,
    /// The groups.
    pub groups: Vec<TokenGroup>,
    /// The group of new objects.
    pub primary_group: Option<String>,
    /// Privileges.
    pub privileges: Vec<TokenPrivilege>,
    /// Who restricts it.
    pub restricting: Vec<TokenGroup>,
}

/// A group of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenGroup {
    /// Security identifier.
    pub sid: String,
    /// `SE_GROUP_…`.
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
}

/// A privilege of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenPrivilege {
    /// Number of the privilege.
    pub luid: u64,
    /// `SE_PRIVILEGE_…`.
    #[serde(serialize_with = "hex")]
    pub attributes: u32,
}

impl Dump {
    /// The tokens of the process and its threads, in the file's order.
    ///
    /// # Errors
    ///
    /// The list or an element's head makes no sense, or lies outside the file.
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
        let bytes = self.bytes(WHAT, offset, entry.size.into())?;
        if (bytes.len() as u64) < LIST_SIZE {
            return malformed(0, format!("{} bytes can't hold its header", bytes.len()));
        }
        let list = Fields(&bytes);
        let (count, header, head) = (list.u32(4), list.u32(8) as usize, list.u32(12) as usize);
        if (header as u64) < LIST_SIZE || head < ELEMENT_SIZE {
            return malformed(0, format!("headers of {header} and {head} bytes"));
        }
        let mut tokens = Vec::new();
        let mut at = header;
        for _ in 0..count {
            let element = bytes.get(at..).unwrap_or_default();
            let size = match element.len() {
                left if left < head => left,
                _ => Fields(element).u32(0) as usize,
            };
            if size < head || size > element.len() {
                return malformed(at, format!("a token of {size} bytes does not fit"));
            }
            tokens.push(token(offset + at as u64, &element[..size]));
            at += size;
        }
        Ok(tokens)
    }
}

fn token(record_offset: u64, element: &[u8]) -> Token {
    let fields = Fields(element);
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
        // In TOKEN_STATISTICS, behind two identifiers and the time it ends.
        token_type: part(5).and_then(|part| word(part, 24)),
        user: part(1).and_then(|part| identifier(part, word(part, 0)? as usize)),
        groups: groups(part(2).unwrap_or_default()),
        // DbgHelp 6.3.9600 puts the identifier at 4 whatever the offset in front of it says (it says 8).
        primary_group: part(3).and_then(|part| identifier(part, 4)),
        privileges: (0..held.min(privileges.len() / 12))
            .filter_map(|index| {
                let at = 4 + 12 * index;
                let record = Fields(privileges.get(at..at + 12)?);
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
    part.get(at..at + 4).map(|_| Fields(part).u32(at))
}

fn identifier(part: &[u8], at: usize) -> Option<String> {
    sid(part.get(at..)?)
}

/// Count, pairs of offset and attributes, identifiers.
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

/// A security identifier: revision 1, number of parts, authority (its highest byte first), parts.
fn sid(bytes: &[u8]) -> Option<String> {
    let [1, count, authority @ ..] = bytes.get(..8)? else {
        return None;
    };
    let authority = authority
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let parts = bytes.get(8..8 + 4 * usize::from(*count))?;
    let mut text = format!("S-1-{authority}");
    for part in parts.chunks_exact(4) {
        text += &format!("-{}", Fields(part).u32(0));
    }
    Some(text)
}
