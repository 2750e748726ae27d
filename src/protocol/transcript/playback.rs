use dumpwright_callback::{
    Ask, Callback, CompressionAnswer, Hresult, MemoryInfo, ModuleWriteFlags, ProcessAsked, SecondaryFlags,
    ThreadWriteFlags,
};
use serde_json::Value;

use super::bytes::Patch;
use super::entry::Entry;
use super::fields::NamedValues;
use super::tape::Tape;
use super::{Difference, Ending, Transcript};
use crate::protocol::output::CallbackFile;
use crate::protocol::script::answer_by_default;
use crate::protocol::symbols::Symbols;
use crate::{Error, Report};

/// A callback that gives the answers of a recorded transcript and detects where the questions
/// differ from the recorded ones.
///
/// If a question has another callback type than the recorded one, the recorded answers no longer
/// apply. This question and all later ones get the default answers of a
/// [`Script`](crate::protocol::Script). If the transcript has no answers, because no callback
/// answered, the playback only listens.
pub struct Playback {
    recorded: Transcript,
    tape: Tape,
    lost: bool,
    unusable: Option<Difference>,
    output: CallbackFile,
}

impl Playback {
    /// Creates a playback of this transcript.
    #[must_use]
    pub fn new(transcript: Transcript) -> Self {
        Self::with_symbols(transcript, Symbols::new())
    }

    /// Creates a playback of this transcript. `symbols` has the names in the transcript that cannot
    /// be learned from the questions.
    ///
    /// Threads and regions are numbered if the threads in the transcript are.
    #[must_use]
    pub fn with_symbols(transcript: Transcript, mut symbols: Symbols) -> Self {
        let numbered = |entry: &Entry| matches!(entry.input.get("thread"), Some(Value::String(_)));
        if transcript.entries.iter().any(numbered) {
            symbols.number();
        }
        let tape = Tape::new(symbols);
        Self {
            recorded: transcript,
            tape,
            lost: false,
            unusable: None,
            output: CallbackFile::default(),
        }
    }

    /// Returns the dialogue of this playback.
    #[must_use]
    pub fn transcript(&self, outcome: &Result<Report, Error>) -> Transcript {
        Transcript {
            entries: self.tape.entries(),
            result: Some(Ending::of(outcome)),
            engine: None,
        }
    }

    /// Returns the first place where the questions or the result differ from the recorded ones, or
    /// where a recorded answer could not be given. The line number is that of the recorded
    /// transcript.
    #[must_use]
    pub fn difference(&self, outcome: &Result<Report, Error>) -> Option<Difference> {
        let asked = self.recorded.question_difference(&self.transcript(outcome));
        match (asked, self.unusable.clone()) {
            (Some(asked), Some(unusable)) => Some(if asked.line <= unusable.line {
                asked
            } else {
                unusable
            }),
            (asked, unusable) => asked.or(unusable),
        }
    }

    /// Returns the bytes that IoWriteAll has passed. Empty unless the recorded callback took over
    /// the output.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }
}

impl Callback for Playback {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        let line = self.tape.len() + 1;
        let recorded = self.recorded.entries.get(line - 1);
        self.lost |= recorded.is_none_or(|entry| entry.ask != ask.kind());
        let recorded = recorded.filter(|_| !self.lost);
        let (output, unusable) = (&mut self.output, &mut self.unusable);
        let answers = self.recorded.was_answered();
        let said = self.tape.record(ask, |mut ask, symbols| {
            if !answers {
                return None;
            }
            let said = match recorded.and_then(|entry| Some((entry, entry.ret?))) {
                None => answer_by_default(ask.reborrow()),
                Some((entry, ret)) => {
                    if let Err(reason) = answer(&mut ask, &entry.out, symbols) {
                        let found = Some(format!("(the recorded answer cannot be given: {reason})"));
                        unusable.get_or_insert(Difference {
                            line,
                            expected: Some(entry.to_string()),
                            found,
                        });
                    }
                    ret
                }
            };
            output.take(&mut ask);
            Some(said)
        });
        said.unwrap_or(true)
    }

    fn process(&mut self, process: ProcessAsked) {
        self.tape.process(process);
    }

    fn answers(&self) -> bool {
        self.recorded.was_answered()
    }
}

/// Writes a recorded answer into the answer slot.
///
/// # Errors
/// Fails if the recorded answer is malformed, or if it has a name that is not known in this
/// dialogue.
fn answer(ask: &mut Ask<'_>, out: &NamedValues, symbols: &Symbols) -> Result<(), String> {
    let out = PlayedAnswer { out, symbols };
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
            **keep = ModuleWriteFlags::from_bits_retain(out.word("flags")?);
        }
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            **keep = ThreadWriteFlags::from_bits_retain(out.word("flags")?);
        }
        Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
            (range.base, range.size) = (out.address("base")?, out.word("size")?);
        }
        Ask::Cancel { answer } => {
            (answer.check_cancel, answer.cancel) = (out.yes("check_cancel")?, out.yes("cancel")?);
        }
        Ask::WriteKernelMinidump { handle } => **handle = out.number("handle")?,
        Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => {}
        Ask::CompressedMemoryStreamStart { answer } => {
            **answer = CompressionAnswer {
                max_parallelism: out.word("max_parallelism")?,
                max_transfer_size: out.word("max_transfer_size")?,
                reserved: out.word("reserved")?,
                ..CompressionAnswer::default()
            };
            if out.word("numa_node_info_size")? != 0 {
                return Err("the transcript does not have the array of NUMA nodes".to_owned());
            }
        }
        Ask::IncludeVmRegion { answer } => {
            answer.region = out.region()?;
            answer.cont = out.yes("continue")?;
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => **status = out.status()?,
        Ask::SecondaryFlags { flags } => **flags = SecondaryFlags::from_bits_retain(out.word("flags")?),
        Ask::VmQuery { answer, .. } => {
            answer.status = out.status()?;
            answer.region = out.region()?;
        }
        Ask::VmPreRead { buffer, answer, .. } | Ask::VmPostRead { buffer, answer, .. } => {
            answer.status = out.status()?;
            answer.completed = out.word("completed")?;
            for patch in out.patches()? {
                patch.apply(buffer);
            }
        }
    }
    Ok(())
}

/// A recorded answer, with access to its fields.
struct PlayedAnswer<'e> {
    out: &'e NamedValues,
    symbols: &'e Symbols,
}

impl PlayedAnswer<'_> {
    fn value(&self, name: &str) -> Result<&Value, String> {
        self.out.get(name).ok_or_else(|| format!("it has no \"{name}\""))
    }

    fn address(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        let text = value
            .as_str()
            .ok_or_else(|| format!("\"{name}\" is {value}, not an address"))?;
        self.symbols
            .address(text)
            .ok_or_else(|| format!("no place is named {text} in this dialogue"))
    }

    /// Returns a field that is a number or hexadecimal text.
    fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        let number = match value {
            Value::String(text) => dumpwright_text::number(text),
            other => other.as_u64(),
        };
        number.ok_or_else(|| format!("\"{name}\" is {value}, not a number"))
    }

    fn word(&self, name: &str) -> Result<u32, String> {
        let number = self.number(name)?;
        u32::try_from(number).map_err(|_| format!("\"{name}\" has more than 32 bits"))
    }

    fn yes(&self, name: &str) -> Result<bool, String> {
        let value = self.value(name)?;
        value
            .as_bool()
            .ok_or_else(|| format!("\"{name}\" is {value}, not true or false"))
    }

    fn status(&self) -> Result<Hresult, String> {
        self.word("status").map(Hresult)
    }

    fn region(&self) -> Result<MemoryInfo, String> {
        Ok(MemoryInfo {
            base_address: self.address("base")?,
            allocation_base: self.address("allocation_base")?,
            allocation_protect: self.word("allocation_protect")?,
            region_size: self.number("size")?,
            state: self.word("state")?,
            protect: self.word("protect")?,
            kind: self.word("type")?,
        })
    }

    fn patches(&self) -> Result<Vec<Patch>, String> {
        let Some(value) = self.out.get("bytes") else {
            return Ok(Vec::new());
        };
        let patches = value
            .as_array()
            .and_then(|parts| parts.iter().map(Patch::from_json).collect());
        patches.ok_or_else(|| "\"bytes\" is malformed".to_owned())
    }
}
