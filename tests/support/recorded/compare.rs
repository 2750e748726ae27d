//! The parts of two transcripts that must be equal.

/// The parts of a transcript that are compared.
#[derive(PartialEq, Eq)]
pub struct Parts {
    /// The asks in order: callback type, facts, default answer, answer.
    pub dialogue: Vec<String>,
    /// The outcome, the error code, and the number of asks of each type.
    pub result: String,
    /// Where Cancel was polled: the type of the ask before each poll, apart from asks about reads
    /// and writes.
    pub polls: Vec<String>,
    /// The reads and queries of named memory that the callback was shown, without their index and
    /// without the uninitialised count that Microsoft's writer passes. Those after RemoveMemory are
    /// sorted by address: DbgHelp reads blocks in the order of a hash table.
    pub reads: Vec<String>,
    /// The header of the dump and its directory, in order.
    pub directory: Vec<String>,
}

/// The levels on which two transcripts are compared, in the order of [`Parts::differences`].
pub const LEVELS: [&str; 5] = ["dialogue", "result", "polls", "reads", "directory"];

/// Callback types whose number and position may differ between two writers, because they are about
/// how the writer works. Of `Cancel`, the first ask is compared.
const SERVICE: [&str; 5] = ["IoWriteAll", "VmPreRead", "VmPostRead", "VmQuery", "Cancel"];

/// Callback types about reads.
const READS: [&str; 3] = ["VmPreRead", "VmPostRead", "VmQuery"];

/// The memory whose reads are compared. In names of stacks and thread blocks, a digit follows.
/// Other memory depends on how the target was built.
const NAMED: [&str; 12] = [
    "GLOB", "HEAP", "PRIV", "RO", "RX", "MIXED", "GUARD", "RESV", "MAPF", "SECN", "XDATA", "peb",
];
const NUMBERED: [&str; 2] = ["stk", "teb"];

impl Parts {
    pub fn of(transcript: &str) -> Self {
        let mut parts = Self {
            dialogue: Vec::new(),
            result: String::new(),
            polls: Vec::new(),
            reads: Vec::new(),
            directory: Vec::new(),
        };
        let mut before = "";
        let mut behind_removal = None;
        for line in transcript.lines().map(str::trim_end) {
            if let Some(question) = line.strip_prefix('#') {
                let question = question.split_once(' ').map_or("", |(_, question)| question);
                let kind = question.split('@').next().unwrap_or_default();
                let is_first_cancel = kind == "Cancel" && parts.polls.is_empty();
                if kind == "Cancel" {
                    parts.polls.push(before.to_owned());
                }
                if kind == "RemoveMemory" {
                    behind_removal = Some(parts.reads.len());
                }
                if READS.contains(&kind) && is_named(question) {
                    parts.reads.push(read(kind, question));
                }
                if !SERVICE.contains(&kind) || is_first_cancel {
                    before = kind;
                    parts.dialogue.push(clean(question));
                }
            } else if line.starts_with("== result") {
                parts.result = outcome(line);
            } else {
                parts.directory.extend(directory_line(line));
            }
        }
        let sorted = behind_removal.unwrap_or(parts.reads.len());
        parts.reads[sorted..].sort_by(|one, other| place(one).cmp(place(other)));
        parts
    }

    /// Whether the dump was made.
    pub fn has_dump(&self) -> bool {
        self.result.contains("result=1")
    }

    /// Describes the first difference on each of the [`LEVELS`]. `None` if there is none.
    pub fn differences(&self, other: &Self) -> [Option<String>; LEVELS.len()] {
        let result = (self.result != other.result)
            .then(|| format!("recorded {}\n    here     {}", self.result, other.result));
        [
            difference(&self.dialogue, &other.dialogue),
            result,
            difference(&self.polls, &other.polls),
            difference(&self.reads, &other.reads),
            // What a failed dump leaves in its file has no meaning.
            difference(&self.directory, &other.directory).filter(|_| self.has_dump() && other.has_dump()),
        ]
    }

    /// Describes the first difference between the dialogues and results. Returns `None` if there is
    /// none.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let [dialogue, result, ..] = self.differences(other);
        dialogue.or(result)
    }
}

fn difference(mine: &[String], theirs: &[String]) -> Option<String> {
    let longest = mine.len().max(theirs.len());
    let at = (0..longest).find(|index| mine.get(*index) != theirs.get(*index))?;
    let side = |lines: &[String]| lines.get(at).map_or("(nothing)", String::as_str).to_owned();
    Some(format!("recorded {}\n    here     {}", side(mine), side(theirs)))
}

/// Whether an ask about a read concerns named memory.
fn is_named(question: &str) -> bool {
    let words = question.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_numbered = |word: &str| {
        let digit = NUMBERED.iter().find_map(|name| word.strip_prefix(name));
        digit.is_some_and(|digit| digit.len() == 1 && digit.bytes().all(|byte| byte.is_ascii_digit()))
    };
    words
        .into_iter()
        .any(|word| NAMED.contains(&word) || is_numbered(word))
}

/// Returns the address of a read or query, as it is written.
fn place(read: &str) -> &str {
    let word = read.split(' ').find(|word| word.starts_with("off="));
    word.unwrap_or_default()
}

/// Returns a read or query without its index and, for reads, without the prefilled count.
fn read(kind: &str, question: &str) -> String {
    let facts = question.split_once(' ').map_or("", |(_, facts)| facts);
    let Some((before, behind)) = facts.split_once(" | pre: ") else {
        return facts.to_owned();
    };
    let (prefilled, answer) = behind.split_once(" | ").unwrap_or((behind, ""));
    let prefilled = match kind {
        "VmQuery" => prefilled,
        _ => prefilled.split(' ').next().unwrap_or_default(),
    };
    clean(&format!("{kind} {before} | pre: {prefilled} | {answer}"))
}

/// Returns a line without the values that change with each build or run of the target.
fn clean(question: &str) -> String {
    // How well memory was compressed depends on its contents.
    let is_compressed = question.starts_with("CompressedMemoryStreamFinish");
    let words = question.split(' ').map(|word| match word.split_once('=') {
        Some((key @ ("sum" | "tds" | "time" | "ver_hi"), _)) => format!("{key}=*"),
        Some((key @ ("size" | "rate"), _)) if is_compressed => format!("{key}=*"),
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

/// Returns what is compared of the header and of an entry of the directory: without offsets and
/// names, and without the sizes of lists whose length depends on the process. `None` for other
/// lines.
fn directory_line(line: &str) -> Option<String> {
    /// Memory, unloaded modules, the map of the address space, and tokens.
    const LISTS: [&str; 5] = ["5", "9", "14", "16", "19"];
    let words: Vec<_> = line.split(' ').collect();
    match words[..] {
        ["D", "header", ..] => {
            let kept = words.iter().filter(|word| {
                let key = word.split('=').next().unwrap_or_default();
                !["rva", "ver_hi", "time", "sum"].contains(&key)
            });
            Some(kept.copied().collect::<Vec<_>>().join(" "))
        }
        ["D", "stream", stream_type, _, ..] if LISTS.contains(&stream_type) => {
            Some(format!("D stream {stream_type}"))
        }
        ["D", "stream", stream_type, _, size, ..] => Some(format!("D stream {stream_type} {size}")),
        _ => None,
    }
}
