//! A dialogue as it is recorded, with addresses. The addresses are replaced by names when the
//! dialogue is over, because IncludeModule comes before Module, which has the name of the module.

use dumpwright_callback::{Ask, AskKind, Hresult, MemoryInfo, ProcessAsked, VmReadAnswer};
use dumpwright_target::ContextLayout;
use serde_json::{Value, json};

use super::bytes::Patch;
use super::entry::Entry;
use super::fields::NamedValues;
use crate::protocol::symbols::{Symbols, file_name};

/// A dialogue that is being recorded.
#[derive(Debug)]
pub(super) struct Tape {
    pub symbols: Symbols,
    process: ProcessAsked,
    asked: Vec<Asked>,
}

#[derive(Debug)]
struct Asked {
    kind: AskKind,
    process: ProcessAsked,
    facts: Raw,
    prefilled: Raw,
    answer: Option<TapedAnswer>,
}

#[derive(Debug)]
struct TapedAnswer {
    said: bool,
    slot: Raw,
    bytes: Vec<Patch>,
}

type Raw = Vec<(&'static str, RawValue)>;

/// A value that can be replaced by a name later.
#[derive(Debug, Clone)]
enum RawValue {
    Address(u64),
    Thread(u32),
    /// Flags, a handle or a checksum.
    Hex(u64),
    Count(u64),
    Bool(bool),
    Text(String),
    Status(Hresult),
}

use RawValue::{Address, Bool, Count, Hex, Status, Text, Thread};

impl Tape {
    pub fn new(symbols: Symbols) -> Self {
        Self {
            symbols,
            process: ProcessAsked::default(),
            asked: Vec::new(),
        }
    }

    /// Sets the process id and handle of the following questions.
    pub fn process(&mut self, process: ProcessAsked) {
        self.process = process;
    }

    /// Returns the number of questions so far.
    pub fn len(&self) -> usize {
        self.asked.len()
    }

    /// Records a question and its answer. `answer` calls the callback; it returns the callback's
    /// return value, or `None` if no callback answers.
    pub fn record(
        &mut self,
        mut ask: Ask<'_>,
        answer: impl FnOnce(Ask<'_>, &Symbols) -> Option<bool>,
    ) -> Option<bool> {
        self.symbols.learn(&ask);
        let kind = ask.kind();
        let (facts, prefilled) = (facts(&ask), slot(&ask));
        let before = match &ask {
            Ask::VmPostRead { buffer, .. } => buffer.to_vec(),
            _ => Vec::new(),
        };
        let said = answer(ask.reborrow(), &self.symbols);
        let answer = said.map(|said| TapedAnswer {
            said,
            slot: slot(&ask),
            bytes: patches(&ask, said, &before),
        });
        self.asked.push(Asked {
            kind,
            process: self.process,
            facts,
            prefilled,
            answer,
        });
        said
    }

    /// Returns the dialogue with all names that are known by now.
    pub fn entries(&self) -> Vec<Entry> {
        let words = |raw: &Raw| {
            NamedValues(
                raw.iter()
                    .map(|(name, value)| ((*name).to_owned(), value.to_json(&self.symbols)))
                    .collect(),
            )
        };
        let (pids, handles) = (
            distinct(self.asked.iter().map(|asked| asked.process.process_id.into())),
            distinct(self.asked.iter().map(|asked| asked.process.process_handle)),
        );
        let in_words = |(n, asked): (usize, &Asked)| Entry {
            n,
            ask: asked.kind,
            pid: called(asked.process.process_id.into(), &pids),
            handle: called(asked.process.process_handle, &handles),
            input: words(&asked.facts),
            pre: words(&asked.prefilled),
            ret: asked.answer.as_ref().map(|answer| answer.said),
            out: asked.answer.as_ref().map_or_else(NamedValues::default, |answer| {
                let mut out = words(&answer.slot);
                let bytes: Vec<_> = answer.bytes.iter().flat_map(Patch::to_json).collect();
                if !bytes.is_empty() {
                    out.0.push(("bytes".to_owned(), Value::Array(bytes)));
                }
                out
            }),
        };
        self.asked.iter().enumerate().map(in_words).collect()
    }
}

/// Returns the distinct values in the order of their first use, without 0.
fn distinct(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut seen = Vec::new();
    for value in values {
        if value != 0 && !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

/// Returns the name of a process id or handle, which is the same in every run.
///
/// The first value is the target's, because the first question passes it. A second handle is that
/// of the copy of memory that a process snapshot has.
fn called(value: u64, seen: &[u64]) -> Option<String> {
    match seen.iter().position(|known| *known == value)? {
        0 => Some("target".to_owned()),
        1 => Some("clone".to_owned()),
        _ => Some(format!("{value:#x}")),
    }
}

impl RawValue {
    fn to_json(&self, symbols: &Symbols) -> Value {
        match self {
            Address(address) => json!(symbols.place(*address)),
            Thread(id) => match symbols.thread_number(*id) {
                Some(number) if symbols.is_live() => json!(format!("T{number}")),
                _ => json!(id),
            },
            Hex(value) => json!(format!("{value:#x}")),
            Count(count) => json!(count),
            Bool(yes) => json!(yes),
            Text(text) => json!(text),
            Status(status) => json!(status.to_string()),
        }
    }
}

/// Returns the facts of a question.
fn facts(ask: &Ask<'_>) -> Raw {
    match ask {
        Ask::Module { module, .. } => {
            let mut facts = vec![
                ("module", Text(file_name(module.full_path).to_owned())),
                ("base", Address(module.base_of_image)),
                ("size", Count(module.size_of_image.into())),
                ("checksum", Hex(module.checksum.into())),
                ("timestamp", Hex(module.time_date_stamp.into())),
            ];
            if module.version_info != [0; 13] {
                let [_, _, high, low, ..] = module.version_info;
                let version = format!("{}.{}.{}.{}", high >> 16, high & 0xFFFF, low >> 16, low & 0xFFFF);
                facts.push(("version", Text(version)));
            }
            if let Some(signature) = module.cv_record.get(..4) {
                facts.push(("cv", Text(signature.escape_ascii().to_string())));
            }
            facts.push(("cv_size", Count(module.cv_record.len() as u64)));
            facts.push(("misc_size", Count(module.misc_record.len() as u64)));
            facts
        }
        Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => {
            let mut facts = vec![
                ("thread", Thread(thread.thread_id)),
                ("context_size", Count(thread.context.len() as u64)),
            ];
            if let Some(layout) = ContextLayout::of(thread.context) {
                let context = thread.context;
                facts.push(("context_flags", Hex(layout.context_flags(context).into())));
                facts.push((
                    layout.instruction_name,
                    Address(layout.instruction_pointer(context)),
                ));
                facts.push((layout.stack_name, Address(layout.stack_pointer(context))));
            }
            facts.push(("stack_base", Address(thread.stack_base)));
            facts.push(("stack_end", Address(thread.stack_end)));
            if matches!(ask, Ask::ThreadEx { .. }) {
                facts.push(("backing_store_base", Address(thread.backing_store_base)));
                facts.push(("backing_store_end", Address(thread.backing_store_end)));
            }
            facts
        }
        Ask::IncludeThread { thread_id, .. } => vec![("thread", Thread(*thread_id))],
        Ask::IncludeModule { base, .. } => vec![("base", Address(*base))],
        Ask::KernelMinidumpStatus { status } => vec![("status", Status(*status))],
        Ask::IoStart { handle, .. } | Ask::IoFinish { handle, .. } => vec![("handle", Hex(*handle))],
        Ask::IoWriteAll {
            handle,
            offset,
            bytes,
            ..
        } => {
            vec![
                ("handle", Hex(*handle)),
                ("offset", Count(*offset)),
                ("size", Count(bytes.len() as u64)),
            ]
        }
        Ask::ReadMemoryFailure {
            offset,
            bytes,
            failure,
            ..
        } => {
            vec![
                ("offset", Address(*offset)),
                ("size", Count((*bytes).into())),
                ("failure", Status(*failure)),
            ]
        }
        Ask::VmQuery { offset, .. } => vec![("offset", Address(*offset))],
        Ask::VmPreRead { offset, buffer, .. } => {
            vec![("offset", Address(*offset)), ("size", Count(buffer.len() as u64))]
        }
        Ask::VmPostRead {
            offset,
            buffer,
            completed,
            status,
            ..
        } => vec![
            ("offset", Address(*offset)),
            ("size", Count(buffer.len() as u64)),
            ("completed", Count((*completed).into())),
            ("status", Status(*status)),
        ],
        Ask::CompressedMemoryStreamFinish {
            stream_size,
            compression_rate,
        } => vec![
            ("stream_size", Count(*stream_size)),
            ("compression_rate", Count((*compression_rate).into())),
        ],
        Ask::CompressedMemoryStreamStart { .. }
        | Ask::Memory { .. }
        | Ask::Cancel { .. }
        | Ask::WriteKernelMinidump { .. }
        | Ask::RemoveMemory { .. }
        | Ask::IncludeVmRegion { .. }
        | Ask::SecondaryFlags { .. }
        | Ask::IsProcessSnapshot { .. }
        | Ask::VmStart { .. } => Vec::new(),
    }
}

/// Returns the contents of the answer slot.
fn slot(ask: &Ask<'_>) -> Raw {
    let region = |region: &MemoryInfo| {
        vec![
            ("base", Address(region.base_address)),
            ("size", Count(region.region_size)),
            ("allocation_base", Address(region.allocation_base)),
            ("allocation_protect", Hex(region.allocation_protect.into())),
            ("state", Hex(region.state.into())),
            ("protect", Hex(region.protect.into())),
            ("type", Hex(region.kind.into())),
        ]
    };
    let read = |answer: &VmReadAnswer| {
        vec![
            ("status", Status(answer.status)),
            ("completed", Count(answer.completed.into())),
        ]
    };
    match ask {
        Ask::Module { .. }
        | Ask::Thread { .. }
        | Ask::ThreadEx { .. }
        | Ask::IncludeThread { .. }
        | Ask::IncludeModule { .. } => ask
            .write_flags()
            .map_or_else(Vec::new, |flags| vec![("flags", Hex(flags.into()))]),
        Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
            vec![("base", Address(range.base)), ("size", Count(range.size.into()))]
        }
        Ask::Cancel { answer } => {
            vec![
                ("check_cancel", Bool(answer.check_cancel)),
                ("cancel", Bool(answer.cancel)),
            ]
        }
        Ask::WriteKernelMinidump { handle } => vec![("handle", Hex(**handle))],
        Ask::KernelMinidumpStatus { .. } | Ask::CompressedMemoryStreamFinish { .. } => Vec::new(),
        // The pointer to the array of NUMA nodes is not recorded, because it differs in every run.
        // The size shows whether there is an array.
        Ask::CompressedMemoryStreamStart { answer } => vec![
            ("max_parallelism", Count(answer.max_parallelism.into())),
            ("max_transfer_size", Count(answer.max_transfer_size.into())),
            ("numa_node_info_size", Count(answer.numa_node_info_size.into())),
            ("reserved", Hex(answer.reserved.into())),
        ],
        Ask::IncludeVmRegion { answer } => {
            let mut fields = region(&answer.region);
            fields.push(("continue", Bool(answer.cont)));
            fields
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => vec![("status", Status(**status))],
        Ask::SecondaryFlags { flags } => vec![("flags", Hex(flags.bits().into()))],
        Ask::VmQuery { answer, .. } => {
            let mut fields = vec![("status", Status(answer.status))];
            fields.extend(region(&answer.region));
            fields
        }
        Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => read(answer),
    }
}

/// Returns the bytes that the callback wrote: for VmPreRead those that it declares valid, for
/// VmPostRead those that it changed.
fn patches(ask: &Ask<'_>, said: bool, before: &[u8]) -> Vec<Patch> {
    match ask {
        Ask::VmPreRead { buffer, answer, .. } if said => {
            Patch::whole(&buffer[..buffer.len().min(answer.completed as usize)])
        }
        Ask::VmPostRead { buffer, .. } => Patch::difference(before, buffer),
        _ => Vec::new(),
    }
}
