//! A callback whose answers are arbitrary, and repeatable.

use dumpwright::callback::{Hresult, ModuleWriteFlags, ProcessAsked, SecondaryFlags, ThreadWriteFlags};
use dumpwright::{Ask, Callback};
use proptest::prelude::*;

use crate::world::BASE;

/// What one call answers, if it answers at all.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The default answers are kept.
    is_default: bool,
    returns: bool,
    /// For flags, offsets and statuses.
    number: u64,
    size: u32,
}

pub fn any_answer() -> impl Strategy<Value = Answer> {
    let sizes = prop_oneof![0..0x40_u32, 0..0x3000_u32, Just(u32::MAX)];
    (prop::bool::weighted(0.8), any::<bool>(), 0..0x20_0000_u64, sizes).prop_map(
        |(is_default, returns, number, size)| Answer {
            is_default,
            returns,
            number,
            size,
        },
    )
}

/// Gives the answers in turn, and begins again after the last one.
pub struct Answers<'a> {
    answers: &'a [Answer],
    next: usize,
    /// Calls that are sent again until they are refused.
    repeated: usize,
}

impl<'a> Answers<'a> {
    pub fn new(answers: &'a [Answer]) -> Self {
        Self {
            answers,
            next: 0,
            repeated: 0,
        }
    }
}

const STATUSES: [Hresult; 4] = [
    Hresult::S_OK,
    Hresult::S_FALSE,
    Hresult::E_FAIL,
    Hresult::E_NOTIMPL,
];

impl Callback for Answers<'_> {
    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }

    fn ask(&mut self, ask: Ask<'_>) -> bool {
        let answer = &self.answers[self.next % self.answers.len()];
        self.next += 1;
        let chosen = STATUSES[answer.number as usize % STATUSES.len()];
        let place = BASE + answer.number;
        let is_changed = !answer.is_default;
        match ask {
            Ask::Memory { wanted: answered } | Ask::RemoveMemory { unwanted: answered } => {
                self.repeated += 1;
                if self.repeated > 20 || !is_changed {
                    return false;
                }
                (answered.base, answered.size) = (place, answer.size);
                return true;
            }
            Ask::IoStart { status, .. } => *status = Hresult::E_NOTIMPL,
            Ask::IoWriteAll { status, .. } | Ask::IoFinish { status, .. } => *status = Hresult::S_OK,
            _ if !is_changed => {}
            Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => {
                *keep = ModuleWriteFlags::from_bits_retain(answer.number as u32);
            }
            Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
                *keep = ThreadWriteFlags::from_bits_retain(answer.number as u32);
            }
            Ask::IncludeVmRegion { answer: region } => {
                self.repeated += 1;
                region.cont = self.repeated < 20 && answer.returns;
                region.region.base_address = place & !0xfff;
                region.region.region_size = u64::from(answer.size) & !0xfff;
            }
            Ask::SecondaryFlags { flags } => *flags = SecondaryFlags::from_bits_retain(answer.size),
            Ask::ReadMemoryFailure { status, .. }
            | Ask::IsProcessSnapshot { status }
            | Ask::VmStart { status } => *status = chosen,
            Ask::VmQuery { answer: query, .. } => query.status = chosen,
            Ask::VmPreRead {
                answer: read, buffer, ..
            }
            | Ask::VmPostRead {
                answer: read, buffer, ..
            } => {
                read.status = chosen;
                read.completed = answer.size.min(buffer.len() as u32);
            }
            _ => {}
        }
        answer.returns || answer.is_default
    }
}
