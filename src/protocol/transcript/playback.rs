use dumpwright_callback::{
    Ask, Callback, Hresult, MemoryInfo, ModuleWriteFlags, ProcessAsked, SecondaryFlags, ThreadWriteFlags,
};
use serde_json::Value;

use super::bytes::Patch;
use super::entry::Entry;
use super::fields::Fields;
use super::tape::Tape;
use super::{Difference, Ending, Transcript};
use crate::protocol::output::Output;
use crate::protocol::script::answer_by_default;
use crate::protocol::symbols::Symbols;
use crate::{Error, Report};

/// Answers as a recorded transcript did, and notices where the questions are others.
///
/// From a question of another kind on the recorded answers mean nothing any more; what follows is answered as a
/// [`Script`](crate::protocol::Script) without rules does. A transcript that was only listened to is listened to again.
pub struct Playback {
    recorded: Transcript,
    tape: Tape,
    lost: bool,
    unusable: Option<Difference>,
    output: Output,
}

impl Playback {
    /// Plays this transcript.
    #[must_use]
    pub fn new(transcript: Transcript) -> Self {
        Self::with_symbols(transcript, Symbols::new())
    }

    /// Plays this transcript, which has these names from elsewhere than the questions.
    ///
    /// Whether threads are numbered is seen from the transcript.
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
            output: Output::default(),
        }
    }

    /// The dialogue that there was this time.
    #[must_use]
    pub fn transcript(&self, outcome: &Result<Report, Error>) -> Transcript {
        Transcript {
            entries: self.tape.entries(),
            result: Some(Ending::of(outcome)),
            engine: None,
        }
    }

    /// Where the questions, or the end, were first different from the recorded ones; also where a recorded answer could
    /// not be given. The line is that of the recorded transcript.
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

    /// What was written by IoWriteAll, if the recorded callback had taken over the output.
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
            output.take(&ask);
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

/// Puts a recorded answer into its slot.
fn answer(ask: &mut Ask<'_>, out: &Fields, symbols: &Symbols) -> Result<(), String> {
    let out = Answer { out, symbols };
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
        Ask::KernelMinidumpStatus { .. } => {}
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

/// The fields of an answer, as values.
struct Answer<'e> {
    out: &'e Fields,
    symbols: &'e Symbols,
}

impl Answer<'_> {
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
            .ok_or_else(|| format!("nothing is called {text} in this dialogue"))
    }

    /// A number, or its hexadecimal digits as text.
    fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        let number = match value {
            Value::String(text) => crate::protocol::symbols::number(text),
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
        patches.ok_or_else(|| "\"bytes\" are not bytes".to_owned())
    }
}
