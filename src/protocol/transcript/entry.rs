use std::fmt;

use dumpwright_callback::AskKind;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::NamedValues;

/// One question of a dialogue, and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The number of the question in the dialogue, from 0.
    pub n: usize,
    /// The callback type.
    #[serde(serialize_with = "name_of", deserialize_with = "kind_of")]
    pub ask: AskKind,
    /// The process id that is passed with the question: `target`, or `None` for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// The process handle that is passed with the question: `target`, `clone` for reads from the
    /// copy of memory that a process snapshot has, or `None` for 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// The facts of the question.
    #[serde(rename = "in", default, skip_serializing_if = "NamedValues::is_empty")]
    pub input: NamedValues,
    /// The answer slot before the answer.
    #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
    pub pre: NamedValues,
    /// The return value of the callback, or `None` if no callback answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<bool>,
    /// The answer slot after the answer.
    #[serde(default, skip_serializing_if = "NamedValues::is_empty")]
    pub out: NamedValues,
}

impl Entry {
    /// Returns whether both entries have the same question. The answers are not compared.
    #[must_use]
    pub fn same_question(&self, other: &Self) -> bool {
        self.ask == other.ask
            && self.pid == other.pid
            && self.handle == other.handle
            && self.input == other.input
            && self.pre == other.pre
    }

    /// Returns the question with process id and handle, which the listing leaves out because they
    /// are almost always the same.
    pub(super) fn whole_question(&self) -> String {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "0".to_owned());
        format!(
            "{} (pid {}, handle {})",
            self.question(),
            or_none(&self.pid),
            or_none(&self.handle)
        )
    }

    /// Returns the question without its answer, in the form of the listing.
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

/// Writes a line of the listing, such as `IncludeThread thread=7 | flags=0x17 -> TRUE flags=0x1`:
/// the question, the prefilled answer slot, the return value, and the changes to the slot.
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
    known.ok_or_else(|| D::Error::custom(format!("unknown callback type \"{name}\"")))
}
