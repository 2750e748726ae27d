//! The parts of two transcripts that must be equal.

/// The parts of a transcript that are compared.
#[derive(PartialEq, Eq)]
pub struct Parts {
    /// The asks in order: callback type, facts, default answer, answer.
    pub dialogue: Vec<String>,
    /// The outcome, the error code, and the number of asks of each type.
    pub result: String,
    /// The reads that the callback was shown, without their index and without the uninitialised
    /// count that Microsoft's writer passes.
    pub reads: Vec<String>,
}

/// Callback types whose number and position may differ between two writers, because they are about
/// how the writer works. Of `Cancel`, the first ask is compared.
const SERVICE: [&str; 5] = ["IoWriteAll", "VmPreRead", "VmPostRead", "VmQuery", "Cancel"];

impl Parts {
    pub fn of(transcript: &str) -> Self {
        let mut dialogue = Vec::new();
        let mut result = String::new();
        let mut reads = Vec::new();
        let mut has_cancel = false;
        for line in transcript.lines().map(str::trim_end) {
            if let Some(question) = line.strip_prefix('#') {
                let question = question.split_once(' ').map_or("", |(_, question)| question);
                let kind = question.split('@').next().unwrap_or_default();
                let is_first_cancel = kind == "Cancel" && !has_cancel;
                has_cancel |= kind == "Cancel";
                if kind == "VmPreRead" || kind == "VmPostRead" {
                    reads.push(read(kind, question));
                }
                if !SERVICE.contains(&kind) || is_first_cancel {
                    dialogue.push(clean(question));
                }
            } else if line.starts_with("== result") {
                result = outcome(line);
            }
        }
        Self {
            dialogue,
            result,
            reads,
        }
    }

    /// Describes the first difference between the reads. Returns `None` if there is none.
    pub fn difference_of_reads(&self, other: &Self) -> Option<String> {
        difference(&self.reads, &other.reads)
    }

    /// Describes the first difference between the dialogues and results. Returns `None` if there is
    /// none.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if let Some(found) = difference(&self.dialogue, &other.dialogue) {
            return Some(found);
        }
        (self.result != other.result)
            .then(|| format!("recorded {}\n    here     {}", self.result, other.result))
    }
}

fn difference(mine: &[String], theirs: &[String]) -> Option<String> {
    let longest = mine.len().max(theirs.len());
    let at = (0..longest).find(|index| mine.get(*index) != theirs.get(*index))?;
    let side = |lines: &[String]| lines.get(at).map_or("(nothing)", String::as_str).to_owned();
    Some(format!("recorded {}\n    here     {}", side(mine), side(theirs)))
}

/// Returns a read without its index and without the prefilled count.
fn read(kind: &str, question: &str) -> String {
    let facts = question.split_once(' ').map_or("", |(_, facts)| facts);
    let Some((before, behind)) = facts.split_once(" | pre: ") else {
        return facts.to_owned();
    };
    let prefilled = behind.split(' ').next().unwrap_or_default();
    let answer = behind.split_once(" | ").map_or("", |(_, answer)| answer);
    clean(&format!("{kind} {before} | pre: {prefilled} | {answer}"))
}

/// Returns a line without the values that change with each build or run of the target.
fn clean(question: &str) -> String {
    let words = question.split(' ').map(|word| match word.split_once('=') {
        Some((key @ ("sum" | "tds" | "time" | "ver_hi"), _)) => format!("{key}=*"),
        Some(("th", _)) => "th=*".to_owned(),
        Some(("name", path)) => {
            let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
            format!("name={file}")
        }
        Some((key, value)) if is_unnamed_allocation(value) => format!("{key}=A#"),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether `value` is an address in an allocation without a name, such as `A12+0x340`. Such
/// allocations are numbered in the order of their first use.
fn is_unnamed_allocation(value: &str) -> bool {
    value
        .strip_prefix('A')
        .and_then(|rest| rest.split_once("+0x"))
        .is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the line of the result without the counts of [`SERVICE`] asks. After success, the error
/// code is left over from an earlier failure, so it is removed, too.
fn outcome(line: &str) -> String {
    let succeeded = line.contains("result=1");
    let kept = line.split_whitespace().filter(|word| {
        let kind = word.split(':').next().unwrap_or_default();
        !(word.starts_with("callbacks=") || SERVICE.contains(&kind) || succeeded && word.starts_with("err="))
    });
    kept.collect::<Vec<_>>().join(" ")
}
