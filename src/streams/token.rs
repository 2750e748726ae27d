//! Token: the access tokens of the process and of its impersonating threads.
//!
//! The list and the head of an element are documented. The rest follows DbgHelp 6.3.9600 as it was
//! observed: seven pairs of offset and size, with offsets relative to the element, for session,
//! user, groups, primary group, privileges, statistics, and restricting identifiers. These are the
//! information classes that DbgHelp queries, in this order. Wine 8 does not support the last one;
//! it is written like groups. Offsets inside a part are relative to the part.

use dumpwright_target::{SidAndAttributes, Token};

use super::{BlockId, PieceBlocks, Plan, Snapshot};
use crate::Error;
use crate::plan::narrow;

/// The size of `MINIDUMP_TOKEN_INFO_LIST`.
const LIST: usize = 16;
/// The size of `MINIDUMP_TOKEN_INFO_HEADER` with the seven pairs.
const ELEMENT: usize = 16 + 7 * 8;
/// The alignment of parts and elements.
const ALIGN: usize = 8;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    !snapshot.facts().tokens().is_empty()
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &PieceBlocks) -> BlockId {
    let tokens = snapshot.facts().tokens();
    let elements: Result<Vec<_>, _> = tokens.iter().map(Element::of).collect();
    let elements = match elements {
        Ok(elements) => elements,
        Err(error) => return plan.refuse(error),
    };
    let len = LIST + elements.iter().map(Element::len).sum::<usize>();
    plan.record(len, move |_| {
        let mut bytes = words([
            narrow(len, "the tokens")?,
            narrow(elements.len(), "the number of tokens")?,
            narrow(LIST, "a header")?,
            narrow(ELEMENT, "a header")?,
        ]);
        for element in &elements {
            element.write(&mut bytes)?;
        }
        Ok(bytes)
    })
}

/// A token with its parts as bytes.
struct Element<'a> {
    token: &'a Token,
    parts: [Vec<u8>; 7],
}

impl<'a> Element<'a> {
    fn of(token: &'a Token) -> Result<Self, Error> {
        let group = token.primary_group.as_ref().map(|sid| {
            // DbgHelp puts the identifier at offset 4, but writes 8 here, the offset after a
            // pointer.
            [words([4]), sid.to_bytes()].concat()
        });
        let parts = [
            words([token.session]),
            [words([8, token.user.attributes]), token.user.sid.to_bytes()].concat(),
            groups(&token.groups)?,
            group.unwrap_or_default(),
            privileges(token)?,
            token.statistics.map(Vec::from).unwrap_or_default(),
            match &token.restricting[..] {
                [] => Vec::new(),
                restricting => groups(restricting)?,
            },
        ];
        Ok(Self { token, parts })
    }

    fn len(&self) -> usize {
        let padded = |part: &Vec<u8>| part.len().next_multiple_of(ALIGN);
        ELEMENT + self.parts.iter().map(padded).sum::<usize>()
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.extend(words([narrow(self.len(), "a token")?, self.token.id]));
        bytes.extend(self.token.handle.to_le_bytes());
        let mut at = ELEMENT;
        for part in &self.parts {
            let place = if part.is_empty() { 0 } else { at };
            bytes.extend(words([narrow(place, "a token")?, narrow(part.len(), "a token")?]));
            at += part.len().next_multiple_of(ALIGN);
        }
        for part in &self.parts {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        }
        Ok(())
    }
}

/// Returns groups: their number, pairs of offset and attributes, then the identifiers.
fn groups(groups: &[SidAndAttributes]) -> Result<Vec<u8>, Error> {
    let mut at = (4 + groups.len() * 8).next_multiple_of(ALIGN);
    let mut bytes = words([narrow(groups.len(), "the number of groups of a token")?]);
    let identifiers: Vec<_> = groups.iter().map(|group| group.sid.to_bytes()).collect();
    for (group, sid) in groups.iter().zip(&identifiers) {
        bytes.extend(words([narrow(at, "the groups of a token")?, group.attributes]));
        at += sid.len();
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes.extend(identifiers.concat());
    Ok(bytes)
}

/// Returns privileges: their number, then for each its number (a `LUID`, not aligned) and
/// attributes.
fn privileges(token: &Token) -> Result<Vec<u8>, Error> {
    let count = narrow(token.privileges.len(), "the number of privileges of a token")?;
    let mut bytes = words([count]);
    for privilege in &token.privileges {
        bytes.extend(privilege.luid.to_le_bytes());
        bytes.extend(words([privilege.attributes]));
    }
    Ok(bytes)
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.map(u32::to_le_bytes).concat()
}
