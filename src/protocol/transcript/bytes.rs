//! The bytes that a callback writes into the buffer of a read, as JSON. Runs of one byte have a
//! short form; all other bytes are hexadecimal text.

use serde_json::{Value, json};

/// Bytes at a position in a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    at: usize,
    bytes: Vec<u8>,
}

/// The minimum length of a run of one byte that is written in the short form.
const RUN: usize = 16;

/// Changes that are at most this many bytes apart become one patch.
const NEAR: usize = 8;

impl Patch {
    /// Returns a patch with all of `bytes`, at position 0. Returns no patch if there are no bytes.
    pub fn whole(bytes: &[u8]) -> Vec<Self> {
        if bytes.is_empty() {
            Vec::new()
        } else {
            vec![Self {
                at: 0,
                bytes: bytes.to_vec(),
            }]
        }
    }

    /// Returns the patches that turn `before` into `after`. Both have the same length.
    pub fn difference(before: &[u8], after: &[u8]) -> Vec<Self> {
        let mut ranges: Vec<(usize, usize)> = Vec::new();
        for at in (0..after.len()).filter(|at| before[*at] != after[*at]) {
            match ranges.last_mut() {
                Some((_, end)) if at - *end <= NEAR => *end = at + 1,
                _ => ranges.push((at, at + 1)),
            }
        }
        ranges
            .into_iter()
            .map(|(at, end)| Self {
                at,
                bytes: after[at..end].to_vec(),
            })
            .collect()
    }

    /// Writes the bytes into the buffer. Bytes beyond its end are ignored.
    pub fn apply(&self, buffer: &mut [u8]) {
        let end = self.at.saturating_add(self.bytes.len()).min(buffer.len());
        if self.at < end {
            buffer[self.at..end].copy_from_slice(&self.bytes[..end - self.at]);
        }
    }

    /// Converts the patch to JSON. Each value has the form `{"at":0,"hex":"00ff"}` or
    /// `{"at":0,"fill":"ab","size":4096}`; there are several if the patch contains runs.
    pub fn to_json(&self) -> Vec<Value> {
        let mut parts = Vec::new();
        let mut literal = 0;
        let mut at = 0;
        let push_literal = |parts: &mut Vec<Value>, from: usize, to: usize| {
            if from < to {
                parts.push(json!({ "at": self.at + from, "hex": to_hex(&self.bytes[from..to]) }));
            }
        };
        while at < self.bytes.len() {
            let run = self.bytes[at..]
                .iter()
                .take_while(|byte| **byte == self.bytes[at])
                .count();
            if run >= RUN {
                push_literal(&mut parts, literal, at);
                parts.push(json!({ "at": self.at + at, "fill": to_hex(&self.bytes[at..=at]), "size": run }));
                literal = at + run;
            }
            at += run;
        }
        push_literal(&mut parts, literal, at);
        parts
    }

    /// Converts one JSON value to a patch. Returns `None` if the value is malformed.
    pub fn from_json(value: &Value) -> Option<Self> {
        let at = usize::try_from(value.get("at")?.as_u64()?).ok()?;
        let bytes = match (value.get("hex"), value.get("fill")) {
            (Some(hex), None) => from_hex(hex.as_str()?)?,
            (None, Some(fill)) => {
                let [byte] = from_hex(fill.as_str()?)?[..] else {
                    return None;
                };
                let size = usize::try_from(value.get("size")?.as_u64()?).ok()?;
                // No buffer is larger, and a hostile transcript must not allocate more memory.
                vec![byte; size.min(LARGEST_BUFFER)]
            }
            _ => return None,
        };
        Some(Self { at, bytes })
    }
}

/// The maximum size of a buffer in VmPreRead and VmPostRead, in bytes: a piece of a memory list has
/// at most 64 MiB.
const LARGEST_BUFFER: usize = 64 << 20;

fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_json(patches: &[Patch], buffer: &mut [u8]) {
        for value in patches.iter().flat_map(Patch::to_json) {
            Patch::from_json(&value)
                .expect("what was written is read")
                .apply(buffer);
        }
    }

    #[test]
    fn a_difference_turns_the_one_into_the_other() {
        let before: Vec<u8> = (0..=255).collect();
        let mut after = before.clone();
        after[3] = 0;
        after[10] = 0;
        after[100..200].fill(0xAB);
        after[255] = 1;
        let patches = Patch::difference(&before, &after);
        assert_eq!(patches.len(), 3);
        let mut replayed = before.clone();
        through_json(&patches, &mut replayed);
        assert_eq!(replayed, after);
    }

    #[test]
    fn long_runs_are_short() {
        let mut bytes = vec![0xCD; 4096];
        bytes[0] = 1;
        let values: Vec<_> = Patch::whole(&bytes).iter().flat_map(Patch::to_json).collect();
        assert_eq!(
            values,
            [
                json!({"at": 0, "hex": "01"}),
                json!({"at": 1, "fill": "cd", "size": 4095})
            ]
        );
        let mut replayed = vec![0; 4096];
        through_json(&Patch::whole(&bytes), &mut replayed);
        assert_eq!(replayed, bytes);
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for value in [
            json!({}),
            json!({"at": 0}),
            json!({"at": 0, "hex": "0"}),
            json!({"at": 0, "hex": "ä"}),
            json!({"at": 0, "fill": "0000", "size": 3}),
            json!({"at": 0, "fill": "00"}),
            json!({"at": -1, "hex": "00"}),
        ] {
            assert_eq!(Patch::from_json(&value), None, "{value}");
        }
    }
}
