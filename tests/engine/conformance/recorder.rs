//! The callback of the scenarios. It answers by rules, and records each call in the form of the
//! transcripts.

use std::fmt::Write;

use dumpwright::callback::{
    Ask, AskKind, Callback, Hresult, MemoryInfo, ModuleWriteFlags, ProcessAsked, RegionAnswer,
    SecondaryFlags, ThreadAsked, ThreadWriteFlags, VmQueryAnswer, VmReadAnswer,
};
use dumpwright::target::AddressRange;

use super::head::Head;
use super::twin::{CLONE_HANDLE, Facts, INVALID_HANDLE, PROCESS_HANDLE, PROCESS_ID, Twin};
use crate::support::recorded::scenario::{Done, Rule, Step};

/// Bits of `--quiet`, and the callback types whose lines they leave out.
const QUIET: [(u64, &[AskKind]); 5] = [
    (1, &[AskKind::Cancel, AskKind::IoWriteAll]),
    (2, &[AskKind::VmQuery, AskKind::VmPreRead, AskKind::VmPostRead]),
    (4, &[AskKind::IncludeVmRegion]),
    (16, &[AskKind::Module, AskKind::IncludeModule]),
    (128, &[AskKind::Thread, AskKind::ThreadEx, AskKind::IncludeThread]),
];
/// This bit leaves out Memory and RemoveMemory after the third answer that gives a range.
const QUIET_REPEATED_MEMORY: u64 = 8;

pub struct Recorder<'s> {
    twin: Twin<'s>,
    rules: &'s [Rule],
    counts: [u32; AskKind::ALL.len()],
    total: u32,
    process: ProcessAsked,
    /// What was written by IoWriteAll.
    head: Head,
    pub lines: String,
}

/// The address and thread of a call, for the conditions of rules.
#[derive(Default)]
struct Subject {
    address: u64,
    len: u64,
    thread: Option<u32>,
}

impl<'s> Recorder<'s> {
    pub fn new(twin: Twin<'s>, rules: &'s [Rule]) -> Self {
        Self {
            twin,
            rules,
            counts: [0; AskKind::ALL.len()],
            total: 0,
            process: ProcessAsked::default(),
            head: Head::default(),
            lines: String::new(),
        }
    }

    /// Adds the result, and the directory of the dump. `written` is the file, which is empty if the
    /// callback took over the output.
    pub fn finish(mut self, error: Option<Hresult>, written: &Head) -> String {
        let (result, code) = match error {
            None => (1, 0),
            Some(status) => (0, status.0),
        };
        let mut last = format!("== result={result} err={code:#x} callbacks={}", self.total);
        for (kind, count) in AskKind::ALL.iter().zip(self.counts) {
            if count > 0 {
                write!(last, " {}:{count}", kind.name()).expect("memory");
            }
        }
        // The twin is always released; this is asserted where it is frozen.
        writeln!(self.lines, "{last} left_suspended=0").expect("memory");
        self.lines + &self.head.lines() + &written.lines()
    }

    fn show(&self, address: u64) -> String {
        self.twin.facts.show(address)
    }

    fn is_printed(&self, kind: AskKind, index: u32, subject: &Subject, said: bool) -> bool {
        let options = self.twin.options;
        let quiet = |bit| options.quiet & bit != 0;
        let is_repeated = matches!(kind, AskKind::Memory | AskKind::RemoveMemory) && index > 2 && said;
        let has_place = matches!(
            kind,
            AskKind::VmQuery | AskKind::VmPreRead | AskKind::VmPostRead | AskKind::IncludeVmRegion
        );
        let elsewhere = has_place && options.only.is_some_and(|only| !subject.touches(only));
        !(QUIET
            .iter()
            .any(|(bit, kinds)| quiet(*bit) && kinds.contains(&kind))
            || quiet(QUIET_REPEATED_MEMORY) && is_repeated
            || elsewhere)
    }

    /// The process id and handle of the call, by their names in the recordings.
    fn caller(&self) -> String {
        let options = self.twin.options;
        let pid = match self.process.process_id {
            0 => "0",
            PROCESS_ID if options.unknown_process => "other",
            PROCESS_ID => "target",
            _ => "unexpected",
        };
        let handle = match self.process.process_handle {
            0 => "0",
            CLONE_HANDLE => "clone",
            PROCESS_HANDLE if options.snapshot => "snapshot",
            PROCESS_HANDLE => "target",
            INVALID_HANDLE => "other",
            _ => "unexpected",
        };
        format!(" pid={pid} h={handle}")
    }

    fn thread_facts(&self, thread: &ThreadAsked<'_>) -> String {
        let u64_at = |at: usize| u64::from_le_bytes(thread.context[at..at + 8].try_into().expect("8 bytes"));
        let flags = u32::from_le_bytes(thread.context[0x30..0x34].try_into().expect("4 bytes"));
        let (rip, rsp) = (u64_at(0xf8), u64_at(0x98));
        let number = Facts::thread_number(thread.thread_id);
        let mut text = format!(
            " tid=t{number} th=* ctxsize={} ctxflags={flags:#x} rip={} rsp={} stackbase={} stackend={}",
            thread.context.len(),
            self.show(rip),
            self.show(rsp),
            self.show(thread.stack_base),
            self.show(thread.stack_end),
        );
        if thread.stack_base == self.twin.facts.stack_base(number) {
            let end = if thread.stack_end == rsp {
                ",stackend=rsp"
            } else {
                ""
            };
            write!(text, " [stackbase=TEB.StackBase{end}]").expect("memory");
        }
        text
    }

    fn file(&self, handle: u64) -> &'static str {
        match (self.twin.options.no_file, handle) {
            (true, 0) => "NULL",
            (false, FILE_HANDLE) => "given",
            (_, 0) => "0",
            _ => "other",
        }
    }

    fn facts(&self, ask: &Ask<'_>) -> String {
        match ask {
            Ask::Module { module, .. } => {
                let bytes = |record: &[u8]| match record.len() {
                    0 => "0:0".to_owned(),
                    len => format!("ptr:{len}"),
                };
                let mut text = format!(
                    " base={} size={:#x} sum={:#x} tds={:#x} name={} ver={:08x} cv={} misc={}",
                    self.show(module.base_of_image),
                    module.size_of_image,
                    module.checksum,
                    module.time_date_stamp,
                    module.full_path.rsplit('\\').next().unwrap_or_default(),
                    module.version_info[0],
                    bytes(module.cv_record),
                    bytes(module.misc_record),
                );
                if let Some(signature) = module.cv_record.get(..4) {
                    write!(text, " cvsig={}", String::from_utf8_lossy(signature)).expect("memory");
                }
                text
            }
            Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => self.thread_facts(thread),
            Ask::IncludeThread { thread_id, .. } => format!(" tid=t{}", Facts::thread_number(*thread_id)),
            Ask::IncludeModule { base, .. } => format!(" base={}", self.show(*base)),
            Ask::IoStart { handle, .. } | Ask::IoWriteAll { handle, .. } | Ask::IoFinish { handle, .. } => {
                format!(" file={}", self.file(*handle))
            }
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                failure,
                ..
            } => format!(" off={} n={bytes:#x} fail={:#x}", self.show(*offset), failure.0),
            // DbgHelp shows no flags here; the transcripts always have 0.
            Ask::SecondaryFlags { .. } => " flags=0x0".to_owned(),
            Ask::KernelMinidumpStatus { status } => format!(" status={:#x}", status.0),
            Ask::VmPreRead { offset, buffer, .. } => {
                format!(" off={} n={:#x} buf=ptr", self.show(*offset), buffer.len())
            }
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                ..
            } => format!(
                " off={} n={:#x} done={completed:#x} st={:#x} buf=ptr",
                self.show(*offset),
                buffer.len(),
                status.0
            ),
            Ask::CompressedMemoryStreamFinish {
                stream_size,
                compression_rate,
            } => format!(" size={stream_size:#x} rate={compression_rate}"),
            Ask::VmQuery { offset, .. } => format!(" off={}({offset:#x})", self.show(*offset)),
            _ => String::new(),
        }
    }

    fn slot(&self, ask: &Ask<'_>) -> String {
        let region = |info: &MemoryInfo| {
            format!(
                "base={} abase={} aprot={:#x} size={:#x} state={:#x} prot={:#x} type={:#x}",
                self.show(info.base_address),
                self.show(info.allocation_base),
                info.allocation_protect,
                info.region_size,
                info.state,
                info.protect,
                info.kind,
            )
        };
        match ask {
            Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range } => {
                format!("base={} size={:#x}", self.show(range.base), range.size)
            }
            Ask::Cancel { answer } => format!(
                "check={} cancel={}",
                u8::from(answer.check_cancel),
                u8::from(answer.cancel)
            ),
            Ask::WriteKernelMinidump { handle } => {
                format!("handle={}", if **handle == 0 { "0" } else { "nz" })
            }
            Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => {
                format!("status={:#x} done={:#x}", answer.status.0, answer.completed)
            }
            Ask::IncludeVmRegion { answer } => {
                format!("{} cont={}", region(&answer.region), u8::from(answer.cont))
            }
            Ask::VmQuery { answer, .. } => format!(
                "status={:#x} base={} size={:#x}",
                answer.status.0,
                self.show(answer.region.base_address),
                answer.region.region_size
            ),
            Ask::CompressedMemoryStreamStart { answer } => format!(
                "par={} xfer={:#x} numa={}:{} reserved={}",
                answer.max_parallelism,
                answer.max_transfer_size,
                if answer.numa_node_info == 0 { "0" } else { "ptr" },
                answer.numa_node_info_size,
                answer.reserved
            ),
            _ => format!("{:#x}", flags_of(ask)),
        }
    }

    /// The answer as it is printed after `ans: ret=N`.
    fn answer(&self, ask: &Ask<'_>, said: bool) -> String {
        match ask {
            Ask::Memory { .. } | Ask::RemoveMemory { .. } if !said => String::new(),
            Ask::IncludeVmRegion { answer } => format!(
                " base={} size={:#x} cont={}",
                self.show(answer.region.base_address),
                answer.region.region_size,
                u8::from(answer.cont)
            ),
            Ask::CompressedMemoryStreamStart { answer } => format!(
                " par={} xfer={:#x}",
                answer.max_parallelism, answer.max_transfer_size
            ),
            Ask::VmQuery { answer, .. } => format!(
                " {} state={:#x} prot={:#x} type={:#x}",
                self.slot(ask),
                answer.region.state,
                answer.region.protect,
                answer.region.kind
            ),
            Ask::Memory { .. }
            | Ask::RemoveMemory { .. }
            | Ask::Cancel { .. }
            | Ask::VmPreRead { .. }
            | Ask::VmPostRead { .. }
            | Ask::WriteKernelMinidump { .. } => format!(" {}", self.slot(ask)),
            _ => format!(" out={}", self.slot(ask)),
        }
    }

    /// The answer of the harness when no rule applies.
    fn default_answer(&self, ask: &mut Ask<'_>) -> bool {
        match ask {
            Ask::IncludeVmRegion { answer } => answer.cont = true,
            Ask::IoFinish { status, .. } | Ask::IoWriteAll { status, .. } => **status = Hresult::S_OK,
            Ask::VmPreRead { answer, .. } => {
                **answer = VmReadAnswer {
                    status: Hresult::S_OK,
                    completed: 0,
                };
            }
            Ask::VmPostRead {
                completed,
                status,
                answer,
                ..
            } => {
                **answer = VmReadAnswer {
                    status: *status,
                    completed: *completed,
                };
            }
            _ => {}
        }
        !matches!(
            ask.kind(),
            AskKind::Memory
                | AskKind::RemoveMemory
                | AskKind::ReadMemoryFailure
                | AskKind::WriteKernelMinidump
        )
    }

    /// Answers VmQuery with the system's region, after all rules.
    fn query(&self, offset: u64, answer: &mut VmQueryAnswer) {
        let Some(region) = self.twin.facts.region_at(offset) else {
            answer.status = Hresult::INVALID_ARGUMENT;
            return;
        };
        *answer = VmQueryAnswer {
            status: Hresult::S_OK,
            region: MemoryInfo {
                base_address: region.range.start(),
                allocation_base: region.allocation_base,
                allocation_protect: region.allocation_protect,
                region_size: region.range.len(),
                state: region.state.value(),
                protect: region.protect,
                kind: region.kind.map_or(0, |kind| kind.value()),
            },
        };
    }

    fn follow_rules(&self, ask: &mut Ask<'_>, index: u32, subject: &Subject, mut said: bool) -> bool {
        let mut asks_system = false;
        let mut query_status = None;
        let kind = ask.kind();
        for rule in self.rules.iter().filter(|rule| rule.is_about(kind, index)) {
            for step in &rule.steps {
                match step {
                    Step::At(range) => {
                        if !subject.touches(*range) {
                            break;
                        }
                    }
                    Step::LongerThan(len) => {
                        if subject.len <= *len {
                            break;
                        }
                    }
                    Step::Thread(number) => {
                        if subject.thread != Some(*number) {
                            break;
                        }
                    }
                    Step::Return(value) => said = *value,
                    Step::AskSystem => asks_system = true,
                    Step::QueryStatus(status) => query_status = Some(Hresult(*status)),
                    Step::ReadReally => {
                        if let Ask::VmPreRead { offset, buffer, .. } = ask {
                            self.twin.read_some(*offset, buffer);
                        }
                    }
                    _ => act(step, ask),
                }
                if let (Step::Memory(..), true) =
                    (step, kind == AskKind::Memory || kind == AskKind::RemoveMemory)
                {
                    said = true;
                }
            }
        }
        if let Ask::VmQuery { offset, answer } = ask {
            match query_status {
                Some(status) => answer.status = status,
                None if asks_system => {}
                None => self.query(*offset, answer),
            }
        }
        said
    }
}

/// The number that stands for the file.
pub const FILE_HANDLE: u64 = 0x1f4;

impl Subject {
    fn of(ask: &Ask<'_>) -> Self {
        let at = |address, len| Self {
            address,
            len,
            thread: None,
        };
        match ask {
            Ask::Module { module, .. } => at(module.base_of_image, 1),
            Ask::IncludeModule { base, .. } => at(*base, 1),
            Ask::Thread { thread, .. } | Ask::ThreadEx { thread, .. } => Self {
                thread: Some(Facts::thread_number(thread.thread_id)),
                ..Self::default()
            },
            Ask::IncludeThread { thread_id, .. } => Self {
                thread: Some(Facts::thread_number(*thread_id)),
                ..Self::default()
            },
            Ask::ReadMemoryFailure { offset, bytes, .. } => at(*offset, u64::from(*bytes)),
            Ask::VmQuery { offset, .. } => at(*offset, 1),
            Ask::VmPreRead { offset, buffer, .. } | Ask::VmPostRead { offset, buffer, .. } => {
                at(*offset, buffer.len() as u64)
            }
            Ask::IncludeVmRegion {
                answer: RegionAnswer { region, .. },
            } => at(region.base_address, region.region_size),
            _ => Self::default(),
        }
    }

    fn touches(&self, range: AddressRange) -> bool {
        let mine = AddressRange::at(self.address, self.len);
        mine.and_then(|mine| mine.intersect(range)).is_some()
    }
}

/// The first 32 bits of the answer, which hold the flags or the status for most callback types.
fn flags_of(ask: &Ask<'_>) -> u32 {
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => keep.bits(),
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            keep.bits()
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => status.0,
        Ask::SecondaryFlags { flags } => flags.bits(),
        Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => answer.status.0,
        _ => 0,
    }
}

fn set_flags(ask: &mut Ask<'_>, value: u32) {
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
            **keep = ModuleWriteFlags::from_bits_retain(value);
        }
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            **keep = ThreadWriteFlags::from_bits_retain(value);
        }
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => **status = Hresult(value),
        Ask::SecondaryFlags { flags } => **flags = SecondaryFlags::from_bits_retain(value),
        Ask::VmPreRead { answer, .. } | Ask::VmPostRead { answer, .. } => answer.status = Hresult(value),
        // Its answer is ignored.
        Ask::CompressedMemoryStreamFinish { .. } => {}
        _ => panic!("{} has no flags", ask.kind().name()),
    }
}

/// Applies a step to the answer.
fn act(step: &Step, ask: &mut Ask<'_>) {
    match (step, ask) {
        (Step::Flags(value), ask) => set_flags(ask, *value),
        (Step::Or(value), ask) => set_flags(ask, flags_of(ask) | value),
        (Step::Memory(base, size), Ask::Memory { wanted: range } | Ask::RemoveMemory { unwanted: range }) => {
            (range.base, range.size) = (*base, *size);
        }
        (Step::CheckCancel(value), Ask::Cancel { answer }) => answer.check_cancel = *value,
        (Step::Cancel(value), Ask::Cancel { answer }) => answer.cancel = *value,
        (Step::Parallelism(value), Ask::CompressedMemoryStreamStart { answer }) => {
            answer.max_parallelism = *value;
        }
        (Step::TransferSize(value), Ask::CompressedMemoryStreamStart { answer }) => {
            answer.max_transfer_size = *value;
        }
        (Step::Continue(value), Ask::IncludeVmRegion { answer }) => answer.cont = *value,
        (Step::RegionBase(change), Ask::IncludeVmRegion { answer }) => {
            change.apply(&mut answer.region.base_address);
        }
        (Step::RegionSize(change), Ask::IncludeVmRegion { answer }) => {
            change.apply(&mut answer.region.region_size);
        }
        (Step::RegionProtect(value), Ask::IncludeVmRegion { answer }) => answer.region.protect = *value,
        (Step::RegionState(value), Ask::IncludeVmRegion { answer }) => answer.region.state = *value,
        (Step::Handle(value), Ask::WriteKernelMinidump { handle }) => **handle = *value,
        (Step::Fill(byte), Ask::VmPreRead { buffer, .. }) => buffer.fill(*byte),
        (Step::Flip(range, mask), Ask::VmPostRead { offset, buffer, .. }) => {
            for (address, byte) in (*offset..).zip(buffer.iter_mut()) {
                if range.contains(address) {
                    *byte ^= mask;
                }
            }
        }
        (
            Step::Done(done),
            Ask::VmPreRead { buffer, answer, .. } | Ask::VmPostRead { buffer, answer, .. },
        ) => {
            let len = u32::try_from(buffer.len()).expect("small");
            answer.completed = match done {
                Done::All => len,
                Done::Half => len / 2,
                Done::Over => len + 8,
                Done::Bytes(count) => *count,
            };
        }
        (_, ask) => panic!("a rule gives {} what it has no place for", ask.kind().name()),
    }
}

impl Callback for Recorder<'_> {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        let kind = ask.kind();
        let index = self.counts[kind as usize];
        self.counts[kind as usize] += 1;
        self.total += 1;
        let subject = Subject::of(&ask);
        let prefilled = self.slot(&ask);
        if let Ask::IoWriteAll { offset, bytes, .. } = &ask {
            self.head.store(*offset, bytes);
        }
        let said = self.default_answer(&mut ask);
        let said = self.follow_rules(&mut ask, index, &subject, said);
        if self.is_printed(kind, index, &subject, said) {
            let line = format!(
                "#{:03} {}@{index} in:{}{} | pre: {prefilled} | ans: ret={}{}",
                self.total - 1,
                kind.name(),
                self.caller(),
                self.facts(&ask),
                u8::from(said),
                self.answer(&ask, said),
            );
            writeln!(self.lines, "{line}").expect("memory");
        }
        said
    }

    fn process(&mut self, process: ProcessAsked) {
        self.process = process;
    }

    fn answers(&self) -> bool {
        true
    }
}
