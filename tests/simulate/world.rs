//! A random process with faults, and a random request for its dump.

use std::ops::Range;

use dumpwright::target::protect::{EXECUTE_READ, READONLY, READWRITE};
use dumpwright::target::{AddressRange, Cpu, FaultKind};
use dumpwright::{DumpType, Profile, Request};
use dumpwright_sim::{Contents, Question, SimFault, SimProcess};
use proptest::prelude::*;

use crate::answers::{Answer, any_answer};

/// Where the first block of memory may begin.
pub const BASE: u64 = 0x10_0000;

const PAGE: u64 = 0x1000;

/// A block of memory: pages from the block before it, and its own pages.
#[derive(Debug, Clone)]
struct Block {
    gap: u64,
    pages: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heap,
    ReadOnly,
    /// The stack of a thread, whose stack pointer is in this page.
    Stack(u64),
    Module,
}

#[derive(Debug, Clone)]
enum Trouble {
    /// Pages of a block: the number of the block, of the first page, and how many.
    Unreadable(usize, u64, u64),
    FailsWhenRead(usize, u64, u64),
    UnreadableFrom(usize, u64, u64),
    UnreadableUntil(usize, u64, u64),
    ShortRead(usize, usize),
    ThreadVanishes(usize),
    ThreadRefusesSuspension(usize),
    FreezeFails,
    QuestionFails(usize),
}

/// Everything that a run depends on.
#[derive(Debug, Clone)]
pub struct World {
    cpu: usize,
    blocks: Vec<Block>,
    troubles: Vec<Trouble>,
    dump_type: u32,
    profile: usize,
    fetch_limit: u64,
    thread_ex_list: bool,
    pub answers: Vec<Answer>,
}

const CPUS: [Cpu; 4] = [Cpu::Amd64, Cpu::X86, Cpu::Arm, Cpu::Arm64];

const PROFILES: [Profile; 3] = [Profile::Documented, Profile::DbgHelp63, Profile::DbgHelp10];

const QUESTIONS: [Question; 12] = [
    Question::System,
    Question::Process,
    Question::ThreadIds,
    Question::ModuleBases,
    Question::Regions,
    Question::Handles,
    Question::UnloadedModules,
    Question::HandleOperations,
    Question::FunctionTables,
    Question::Tokens,
    Question::SystemMemory,
    Question::VmCounters,
];

pub fn any_world() -> impl Strategy<Value = World> {
    let kind = prop_oneof![
        3 => Just(Kind::Heap),
        1 => Just(Kind::ReadOnly),
        2 => (0..4_u64).prop_map(Kind::Stack),
        2 => Just(Kind::Module),
    ];
    let block = (0..3_u64, 1..12_u64, kind).prop_map(|(gap, pages, kind)| Block { gap, pages, kind });
    let pages = || (0..10_usize, 0..12_u64, 1..4_u64);
    let trouble = prop_oneof![
        pages().prop_map(|(block, page, count)| Trouble::Unreadable(block, page, count)),
        pages().prop_map(|(block, page, count)| Trouble::FailsWhenRead(block, page, count)),
        pages().prop_map(|(block, page, read)| Trouble::UnreadableFrom(block, page, read)),
        pages().prop_map(|(block, page, read)| Trouble::UnreadableUntil(block, page, read)),
        (0..10_usize, 1..0x1800_usize).prop_map(|(block, most)| Trouble::ShortRead(block, most)),
        (0..4_usize).prop_map(Trouble::ThreadVanishes),
        (0..4_usize).prop_map(Trouble::ThreadRefusesSuspension),
        Just(Trouble::FreezeFails),
        (0..QUESTIONS.len()).prop_map(Trouble::QuestionFails),
    ];
    let dump_type = prop_oneof![
        Just(0),
        prop::sample::select(vec![
            0x1,
            0x2,
            0x40,
            0x200,
            0x1005,
            0x41a25,
            0x0012_05ac,
            0x0006_1826
        ]),
        (0..0x0400_0000_u32).prop_map(|bits| bits & bits.rotate_left(7)),
    ];
    (
        (0..CPUS.len(), prop::collection::vec(block, 0..8)),
        prop::collection::vec(trouble, 0..4),
        dump_type,
        0..PROFILES.len(),
        prop::sample::select(vec![0, 0x3000, 256 << 20]),
        any::<bool>(),
        prop_oneof![Just(Vec::new()), prop::collection::vec(any_answer(), 1..40)],
    )
        .prop_map(
            |((cpu, blocks), troubles, dump_type, profile, fetch_limit, thread_ex_list, answers)| World {
                cpu,
                blocks,
                troubles,
                dump_type,
                profile,
                fetch_limit,
                thread_ex_list,
                answers,
            },
        )
}

impl World {
    pub fn profile(&self) -> Profile {
        PROFILES[self.profile]
    }

    pub fn request(&self) -> Request {
        Request::new(DumpType::from_bits_retain(self.dump_type))
            .time(1)
            .profile(self.profile())
            .fetch_limit(self.fetch_limit)
            .thread_ex_list(self.thread_ex_list)
    }

    /// The blocks with their addresses.
    fn placed(&self) -> Vec<(AddressRange, Kind)> {
        let mut end = BASE;
        let place = |block: &Block| {
            let start = end + block.gap * PAGE;
            end = start + block.pages * PAGE;
            (AddressRange::new(start, end).expect("a page or more"), block.kind)
        };
        self.blocks.iter().map(place).collect()
    }

    /// The process. Each word of its memory is its own address.
    pub fn process(&self) -> SimProcess {
        let blocks = self.placed();
        let mut process = SimProcess::new(1000).cpu(CPUS[self.cpu]);
        for (number, (range, kind)) in (1_u8..).zip(&blocks) {
            let (start, len) = (range.start(), range.len());
            let protect = match kind {
                Kind::Heap | Kind::Stack(_) => READWRITE,
                Kind::ReadOnly => READONLY,
                Kind::Module => EXECUTE_READ,
            };
            process = process.memory(start, len, protect, Contents::Counting);
            process = match kind {
                Kind::Stack(page) => {
                    let pointer = start + (page * PAGE + 0x800).min(len - 8);
                    process.thread(u32::from(number), pointer, BASE + 0x123)
                }
                Kind::Module => process.module(start, len, &format!("/lib/module{number}"), &[number; 20]),
                Kind::Heap | Kind::ReadOnly => process,
            };
        }
        for fault in self.faults() {
            process = process.fault(fault);
        }
        process
    }

    fn faults(&self) -> Vec<SimFault> {
        let blocks = self.placed();
        let pages = |block: usize, page: u64, count: u64| {
            let (range, _) = blocks.get(block)?;
            let start = range.start() + page * PAGE;
            AddressRange::new(start, (start + count * PAGE).min(range.end()))
        };
        let thread = |index: usize| {
            let threads = (1_u32..)
                .zip(&blocks)
                .filter(|(_, (_, kind))| matches!(kind, Kind::Stack(_)));
            threads.map(|(number, _)| number).nth(index)
        };
        let fault = |trouble: &Trouble| {
            Some(match *trouble {
                Trouble::Unreadable(block, page, count) => SimFault::Unreadable(pages(block, page, count)?),
                Trouble::FailsWhenRead(block, page, count) => SimFault::UnreadableFrom {
                    range: pages(block, page, count)?,
                    read: 1,
                },
                Trouble::UnreadableFrom(block, page, read) => SimFault::UnreadableFrom {
                    range: pages(block, page, 1)?,
                    read,
                },
                Trouble::UnreadableUntil(block, page, read) => SimFault::UnreadableUntil {
                    range: pages(block, page, 1)?,
                    read,
                },
                Trouble::ShortRead(block, most) => SimFault::ShortRead {
                    range: blocks.get(block)?.0,
                    most,
                },
                Trouble::ThreadVanishes(index) => SimFault::ThreadVanishes(thread(index)?),
                Trouble::ThreadRefusesSuspension(index) => SimFault::ThreadRefusesSuspension(thread(index)?),
                Trouble::FreezeFails => SimFault::FreezeFails(FaultKind::NotPermitted),
                Trouble::QuestionFails(index) => SimFault::QuestionFails(QUESTIONS[index], FaultKind::System),
            })
        };
        self.troubles.iter().filter_map(fault).collect()
    }

    /// Whether the dump may fail as a whole: because of a fault, an answer, or a type that is
    /// refused.
    pub fn may_fail(&self) -> bool {
        let is_strict = self.profile() != Profile::Documented;
        let is_refused = DumpType::from_bits_retain(self.dump_type).bits() != 0;
        !self.faults().is_empty()
            || !self.answers.is_empty()
            || is_strict
            || is_refused
            || self.blocks.is_empty()
    }

    /// Whether the facts about the system cannot be had.
    pub fn lacks_system(&self) -> bool {
        let question = |trouble: &Trouble| match trouble {
            Trouble::QuestionFails(index) => Some(QUESTIONS[*index]),
            _ => None,
        };
        self.troubles
            .iter()
            .filter_map(question)
            .any(|asked| asked == Question::System)
    }

    /// Whether the dump has other bytes than the process, on purpose: filters, and answers to the
    /// Vm callbacks.
    pub fn changes_contents(&self) -> bool {
        const FILTERS: u32 = 0x8 | 0x10_0000;
        self.dump_type & FILTERS != 0 || !self.answers.is_empty()
    }

    /// The address of the first byte that is not that of the process. With `has_losses`, bytes may
    /// be 0xdd, which stands for lost ones.
    pub fn first_wrong_byte(&self, address: u64, memory: &[u8], has_losses: bool) -> Option<u64> {
        (address..).zip(memory).find_map(|(at, byte)| {
            let expected = (at & !7).to_le_bytes()[(at & 7) as usize];
            let is_right = *byte == expected || has_losses && *byte == 0xdd;
            (!is_right).then_some(at)
        })
    }

    /// Memory that a complete dump without a callback has.
    pub fn wanted(&self) -> Vec<Range<u64>> {
        const FULL_MEMORY: u32 = 0x2;
        if self.dump_type != FULL_MEMORY {
            return Vec::new();
        }
        let ranges = self
            .placed()
            .into_iter()
            .map(|(range, _)| range.start()..range.end());
        ranges.collect()
    }
}
