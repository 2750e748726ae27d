//! Token: as whom the process acts, and its threads that act as somebody else.
//!
//! The list and the head of an element are documented; what lies behind, as DbgHelp 6.3.9600 was observed to write it:
//! seven pairs of offset and size, counted from the element, for session, user, groups, primary group, privileges,
//! statistics, and the identifiers that restrict it. These are the classes that it asks the system for, in this order, of which Wine 8
//! does not know the last; it is written as groups are. Offsets inside a part count from the part.

use dumpwright_target::{SidAndAttributes, Token};

use super::{BlockId, Pieces, Plan, Snapshot};
use crate::Error;
use crate::plan::narrow;

/// Bytes of `MINIDUMP_TOKEN_INFO_LIST`.
const LIST: usize = 16;
/// Bytes of `MINIDUMP_TOKEN_INFO_HEADER` with the seven pairs.
const ELEMENT: usize = 16 + 7 * 8;
/// Parts and elements begin at multiples of this.
const ALIGN: usize = 8;

pub(super) fn wanted(snapshot: &Snapshot) -> bool {
    snapshot.tokens.as_ref().is_some_and(|tokens| !tokens.is_empty())
}

pub(super) fn plan<'a>(snapshot: &'a Snapshot, plan: &mut Plan<'a>, _: &Pieces) -> BlockId {
    let tokens = snapshot.tokens.as_deref().unwrap_or_default();
    let elements: Vec<_> = tokens.iter().map(Element::of).collect();
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
    fn of(token: &'a Token) -> Self {
        let group = token.primary_group.as_ref().map(|sid| {
            // DbgHelp says 8 here, where a pointer would end, and puts the identifier at 4.
            [words([4]), sid.to_bytes()].concat()
        });
        let parts = [
            words([token.session]),
            [words([8, token.user.attributes]), token.user.sid.to_bytes()].concat(),
            groups(&token.groups),
            group.unwrap_or_default(),
            privileges(token),
            token.statistics.map(Vec::from).unwrap_or_default(),
            match &token.restricting[..] {
                [] => Vec::new(),
                restricting => groups(restricting),
            },
        ];
        Self { token, parts }
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

/// Count, pairs of offset and attributes, identifiers.
fn groups(groups: &[SidAndAttributes]) -> Vec<u8> {
    let count = u32::try_from(groups.len()).unwrap_or(u32::MAX);
    let mut at = (4 + groups.len() * 8).next_multiple_of(ALIGN);
    let mut bytes = words([count]);
    let identifiers: Vec<_> = groups.iter().map(|group| group.sid.to_bytes()).collect();
    for (group, sid) in groups.iter().zip(&identifiers) {
        bytes.extend(words([u32::try_from(at).unwrap_or(u32::MAX), group.attributes]));
        at += sid.len();
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes.extend(identifiers.concat());
    bytes
}

/// Count, and for each the number (as a `LUID`, not aligned) and its attributes.
fn privileges(token: &Token) -> Vec<u8> {
    let mut bytes = words([u32::try_from(token.privileges.len()).unwrap_or(u32::MAX)]);
    for privilege in &token.privileges {
        bytes.extend(privilege.luid.to_le_bytes());
        bytes.extend(words([privilege.attributes]));
    }
    bytes
}

fn words<const N: usize>(words: [u32; N]) -> Vec<u8> {
    words.map(u32::to_le_bytes).concat()
}
