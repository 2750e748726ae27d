use std::fmt;

use dumpwright_callback::AskKind;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::Fields;

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place in the dialogue, from 0.
    pub n: usize,
    /// Which question.
    #[serde(serialize_with = "name_of", deserialize_with = "kind_of")]
    pub ask: AskKind,
    /// The process id that the question comes with: `target`, or `None` for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The process handle that the question comes with: `target`, `clone` for reads from a snapshot's copy, or `None` for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// What the callback was told.
    #[serde(rename = "in", default, skip_serializing_if = "Fields::is_empty")]
    pub input: Fields,
    /// What stood in the answer's slot before the answer.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub pre: Fields,
    /// What was returned; `None` if the question was only listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<bool>,
    /// What stands in the slot after the answer.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub out: Fields,
}

impl Entry {
    /// Whether both are the same question, whatever was answered.
    #[must_use]
    pub fn same_question(&self, other: &Self) -> bool {
        self.ask == other.ask
            && self.pid == other.pid
            && self.handle == other.handle
            && self.input == other.input
            && self.pre == other.pre
    }

    /// The question with what a listing leaves out, because it is almost always the same.
    pub(super) fn whole_question(&self) -> String {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "0".to_owned());
        format!(
            "{} (pid {}, handle {})",
            self.question(),
            or_none(&self.pid),
            or_none(&self.handle)
        )
    }

    /// The question without its answer, as it stands in a listing.
    pub(super) fn question(&self) -> String {
        let mut text = self.ask.name().to_owned();
        for (mark, fields) in [(" ", &self.input), (" | ", &self.pre)] {
            if !fields.is_empty() {
                text.push_str(&format!("{mark}{fields}"));
            }
        }
        text
    }
}

/// `IncludeThread thread=7 | flags=0x17 -> TRUE flags=0x1`: the question, what was prefilled, what was returned, and what
/// the answer changed.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.question())?;
        let Some(ret) = self.ret else { return Ok(()) };
        f.write_str(if ret { " -> TRUE" } else { " -> FALSE" })?;
        let changed = self.out.changed_from(&self.pre);
        if changed.is_empty() {
            Ok(())
        } else {
            write!(f, " {changed}")
        }
    }
}

fn name_of<S: Serializer>(kind: &AskKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

fn kind_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AskKind, D::Error> {
    let name = String::deserialize(deserializer)?;
    let known = AskKind::ALL.into_iter().find(|kind| kind.name() == name);
    known.ok_or_else(|| D::Error::custom(format!("no question is called \"{name}\"")))
}
