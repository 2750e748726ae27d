//! Misuse of the protocol that real programs show, noticed while a callback answers.

use std::fmt;

use dumpwright_callback::{
    Ask, AskKind, Callback, Hresult, MemoryAnswer, ModuleWriteFlags, ProcessAsked, RegionAnswer,
};

/// Watches a callback and notes answers that cannot mean what they say.
///
/// What passes is not changed, with one exception: a callback that never ends Memory or RemoveMemory is ended, after
/// 65,536 ranges or as many as [`most_ranges`](Self::most_ranges) says. (DbgHelp 6.3.9600 took 20,000 and showed no limit.)
///
/// ```
/// use dumpwright::protocol::Lint;
/// use dumpwright::{Ask, Callback, Hresult};
///
/// let mut callback = |ask: Ask<'_>| {
///     if let Ask::VmStart { status } = ask {
///         *status = Hresult::S_OK;
///     }
///     true
/// };
/// let mut lint = Lint::new(&mut callback);
/// lint.ask(Ask::VmStart { status: &mut Hresult::E_NOTIMPL.clone() });
/// assert!(lint.findings()[0].to_string().contains("S_FALSE"));
/// ```
pub struct Lint<'c> {
    inner: &'c mut dyn Callback,
    most_ranges: u64,
    asked: [u64; AskKind::ALL.len()],
    ranges: [u64; 2],
    was_polling: bool,
    findings: Vec<Finding>,
}

/// One kind of misuse, where it was first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The question that was answered.
    pub ask: AskKind,
    /// Which one of its kind, from 0.
    pub nth: u64,
    /// What kind of misuse it is.
    pub misuse: Misuse,
    /// What was answered, what becomes of it, and what was probably meant.
    pub message: String,
    /// How often it was seen.
    pub times: u64,
}

/// The kinds of misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// The answer stands in a field that does not count for this question, or the one that counts was not set.
    WrongField,
    /// A part of a region that is not inside of it, or not made of pages.
    NotAPart,
    /// CheckCancel was set once and not again.
    CheckCancelNotRenewed,
    /// A status that is a success, but not the one that is needed.
    WrongStatus,
    /// An empty range, which ends the questions.
    EmptyRange,
    /// Flags that were not offered are dropped.
    AddedFlags,
    /// Memory or RemoveMemory was never ended.
    NeverEnding,
    /// FALSE does something else here than leave one thing out.
    FalseIsMore,
}

/// How many ranges a callback may give before it counts as one that never ends.
const MOST_RANGES: u64 = 65_536;

/// Regions are taken in pages.
const PAGE: u64 = 4096;

/// What a question was like before it was answered.
struct Before {
    status: Option<Hresult>,
    flags: Option<u32>,
    region: RegionAnswer,
}

/// What is said of an answer.
type Said = (Misuse, String);

impl<'c> Lint<'c> {
    /// Watches this callback.
    pub fn new(callback: &'c mut dyn Callback) -> Self {
        Self {
            inner: callback,
            most_ranges: MOST_RANGES,
            asked: [0; AskKind::ALL.len()],
            ranges: [0; 2],
            was_polling: false,
            findings: Vec::new(),
        }
    }

    /// After how many ranges Memory and RemoveMemory are ended.
    #[must_use]
    pub fn most_ranges(mut self, count: u64) -> Self {
        self.most_ranges = count;
        self
    }

    /// What was found so far, each kind of misuse once for each kind of question.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn note(&mut self, ask: AskKind, nth: u64, (misuse, message): Said) {
        match self
            .findings
            .iter_mut()
            .find(|known| known.ask == ask && known.misuse == misuse)
        {
            Some(known) => known.times += 1,
            None => self.findings.push(Finding {
                ask,
                nth,
                misuse,
                message,
                times: 1,
            }),
        }
    }

    /// Counts a range; the answer becomes FALSE when there have been too many.
    fn bounded(&mut self, ask: &mut Ask<'_>, said: &mut bool) -> Option<Said> {
        let (count, answer) = match ask {
            Ask::Memory { wanted } => (&mut self.ranges[0], wanted),
            Ask::RemoveMemory { unwanted } => (&mut self.ranges[1], unwanted),
            _ => return None,
        };
        if !*said || answer.size == 0 {
            return None;
        }
        *count += 1;
        if *count <= self.most_ranges {
            return None;
        }
        **answer = MemoryAnswer::default();
        *said = false;
        let message = format!(
            "has given {} ranges and would be asked for ever; answer FALSE when there are no more",
            self.most_ranges
        );
        Some((Misuse::NeverEnding, message))
    }

    /// CheckCancel is not sticky.
    fn renewed(&mut self, ask: &Ask<'_>) -> Option<Said> {
        let Ask::Cancel { answer } = ask else { return None };
        let was_polling = std::mem::replace(&mut self.was_polling, answer.check_cancel);
        (was_polling && !answer.check_cancel && !answer.cancel).then(|| {
            let message = "CheckCancel was TRUE before and was not set again; it is FALSE in each new question, and the \
                           first FALSE ends the polling for good";
            (Misuse::CheckCancelNotRenewed, message.to_owned())
        })
    }
}

impl Callback for Lint<'_> {
    fn ask(&mut self, mut ask: Ask<'_>) -> bool {
        if !self.inner.answers() {
            return self.inner.ask(ask);
        }
        let kind = ask.kind();
        let nth = self.asked[kind as usize];
        self.asked[kind as usize] += 1;
        let before = Before::of(&ask);
        let mut said = self.inner.ask(ask.reborrow());
        let renewed = self.renewed(&ask);
        let bounded = self.bounded(&mut ask, &mut said);
        for finding in judge(&ask, &before, said)
            .into_iter()
            .chain(renewed)
            .chain(bounded)
        {
            self.note(kind, nth, finding);
        }
        said
    }

    fn process(&mut self, process: ProcessAsked) {
        self.inner.process(process);
    }

    fn answers(&self) -> bool {
        self.inner.answers()
    }
}

impl Before {
    fn of(ask: &Ask<'_>) -> Self {
        Self {
            status: status(ask),
            flags: flags(ask),
            region: match ask {
                Ask::IncludeVmRegion { answer } => **answer,
                _ => RegionAnswer::default(),
            },
        }
    }
}

fn status(ask: &Ask<'_>) -> Option<Hresult> {
    match ask {
        Ask::IoStart { status, .. }
        | Ask::IoWriteAll { status, .. }
        | Ask::IoFinish { status, .. }
        | Ask::ReadMemoryFailure { status, .. }
        | Ask::IsProcessSnapshot { status }
        | Ask::VmStart { status } => Some(**status),
        Ask::VmQuery { answer, .. } => Some(answer.status),
        _ => None,
    }
}

fn flags(ask: &Ask<'_>) -> Option<u32> {
    match ask {
        Ask::Module { keep, .. } | Ask::IncludeModule { keep, .. } => Some(keep.bits()),
        Ask::Thread { keep, .. } | Ask::ThreadEx { keep, .. } | Ask::IncludeThread { keep, .. } => {
            Some(keep.bits())
        }
        Ask::SecondaryFlags { flags } => Some(flags.bits()),
        _ => None,
    }
}

/// What is wrong with one answer.
fn judge(ask: &Ask<'_>, before: &Before, said: bool) -> Vec<Said> {
    let mut findings = Vec::new();
    match ask {
        Ask::IsProcessSnapshot { .. } | Ask::VmStart { .. } | Ask::IoStart { .. } => {
            findings.extend(status_to_take_over(ask, before, said));
        }
        Ask::IoWriteAll { status, .. } if said => findings.extend(status_ok(**status, before)),
        Ask::ReadMemoryFailure { status, .. } if said => findings.extend(status_ok(**status, before)),
        Ask::IoFinish { status, .. } if said && Some(**status) == before.status => {
            findings.push(untouched(**status))
        }
        Ask::VmQuery { answer, .. } if said => findings.extend(queried(answer.status)),
        Ask::ReadMemoryFailure { .. } => findings.extend(ignored_status(ask, before)),
        Ask::Module { .. } | Ask::Thread { .. } | Ask::ThreadEx { .. } if !said => findings.push((
            Misuse::FalseIsMore,
            "FALSE, which ends the whole dump with E_ABORT; clear flags to leave something out".to_owned(),
        )),
        Ask::Module { .. }
        | Ask::IncludeModule { .. }
        | Ask::Thread { .. }
        | Ask::ThreadEx { .. }
        | Ask::IncludeThread { .. } => findings.extend(narrowed(ask, before)),
        Ask::SecondaryFlags { flags } if !said && !flags.is_empty() => findings.push((
            Misuse::WrongField,
            format!(
                "flags {:#x} with FALSE, so they do not count; answer TRUE",
                flags.bits()
            ),
        )),
        Ask::Memory { wanted: answer } | Ask::RemoveMemory { unwanted: answer } => {
            findings.extend(range(answer, said));
        }
        Ask::Cancel { answer } if answer.cancel && !said => findings.push((
            Misuse::WrongField,
            "Cancel with FALSE, so it does not count; answer TRUE".to_owned(),
        )),
        Ask::WriteKernelMinidump { handle } if !said && **handle != 0 => findings.push((
            Misuse::WrongField,
            "a handle with FALSE, so it does not count; answer TRUE".to_owned(),
        )),
        Ask::IncludeVmRegion { answer } => findings.extend(region(answer, &before.region, said)),
        Ask::VmPreRead { buffer, answer, .. } => {
            if answer.completed as usize > buffer.len() {
                findings.push((
                    Misuse::WrongField,
                    format!("{} bytes completed of {}", answer.completed, buffer.len()),
                ));
            } else if !said && answer.completed > 0 {
                findings.push((
                    Misuse::WrongField,
                    format!(
                        "{} bytes completed with FALSE, so they do not count; answer TRUE",
                        answer.completed
                    ),
                ));
            }
        }
        Ask::VmPostRead {
            answer, completed, ..
        } if said && answer.completed == 0 && *completed > 0 => {
            findings.push((
                Misuse::WrongField,
                format!("TRUE with 0 bytes completed after a read of {completed}, which fails the read"),
            ));
        }
        _ => {}
    }
    findings
}

/// The three questions to which only TRUE and S_FALSE say yes.
fn status_to_take_over(ask: &Ask<'_>, before: &Before, said: bool) -> Option<Said> {
    let status = status(ask)?;
    match status {
        Hresult::S_OK if said => Some((
            Misuse::WrongStatus,
            "S_OK, which is taken for no; S_FALSE says yes, and to leave the status alone says no".to_owned(),
        )),
        Hresult::S_FALSE if !said => Some((
            Misuse::WrongField,
            "S_FALSE with FALSE, which is taken for no; answer TRUE to say yes".to_owned(),
        )),
        other if other.is_success() && Some(other) != before.status && other.0 > 1 => Some((
            Misuse::WrongField,
            format!("{other} as a status, which is taken for no; it looks like flags or a number"),
        )),
        _ => None,
    }
}

/// Questions that want S_OK and nothing else.
fn status_ok(status: Hresult, before: &Before) -> Option<Said> {
    match status {
        Hresult::S_OK => None,
        other if Some(other) == before.status => Some(untouched(other)),
        other if other.is_success() => Some((
            Misuse::WrongStatus,
            format!("{other}, which fails the dump; only S_OK is success here"),
        )),
        _ => None,
    }
}

/// VmQuery has three answers that mean something.
fn queried(status: Hresult) -> Option<Said> {
    const MEANT: [Hresult; 3] = [Hresult::S_OK, Hresult::E_NOTIMPL, Hresult::E_NOINTERFACE];
    (!MEANT.contains(&status)).then(|| {
        (
            Misuse::WrongStatus,
            format!("{status}, which fails the dump; S_OK gives a region, E_NOINTERFACE says that there are no more"),
        )
    })
}

fn untouched(status: Hresult) -> Said {
    (
        Misuse::WrongField,
        format!("TRUE without a status; it still is {status} as it was prefilled, which fails the dump"),
    )
}

/// A read failure that was answered with FALSE, which is not forgiven whatever the status says.
fn ignored_status(ask: &Ask<'_>, before: &Before) -> Option<Said> {
    let status = status(ask)?;
    (status == Hresult::S_OK && before.status != Some(status)).then(|| {
        (
            Misuse::WrongField,
            "S_OK with FALSE, so it does not count and the dump fails; answer TRUE".to_owned(),
        )
    })
}

/// Flags may only be cleared.
fn narrowed(ask: &Ask<'_>, before: &Before) -> Option<Said> {
    let (now, offered) = (flags(ask)?, before.flags?);
    let mut allowed = offered;
    if matches!(ask, Ask::IncludeModule { .. }) {
        allowed |= ModuleWriteFlags::REFERENCED_BY_MEMORY.bits();
    }
    let added = now & !allowed;
    if added == 0 {
        return None;
    }
    const FAILURE: u32 = 0x8000_0000;
    Some(if now & FAILURE != 0 && now != u32::MAX {
        (
            Misuse::WrongField,
            format!("flags {now:#x}, which look like a status; this question has flags"),
        )
    } else {
        (
            Misuse::AddedFlags,
            format!("flags {now:#x} where {offered:#x} were offered; {added:#x} is dropped"),
        )
    })
}

fn range(answer: &MemoryAnswer, said: bool) -> Option<Said> {
    match (said, answer.base, answer.size) {
        (false, base, size) if size > 0 => Some((
            Misuse::WrongField,
            format!("{size} bytes at {base:#x} with FALSE, so they do not count; answer TRUE"),
        )),
        (true, base, 0) if base != 0 => Some((
            Misuse::EmptyRange,
            format!("0 bytes at {base:#x}, which ends the questions; leave empty ranges out"),
        )),
        _ => None,
    }
}

fn region(answer: &RegionAnswer, before: &RegionAnswer, said: bool) -> Option<Said> {
    let (now, offered) = (&answer.region, &before.region);
    let same_place = (now.base_address, now.region_size) == (offered.base_address, offered.region_size);
    let asks_on = said && answer.cont;
    if !same_place && !asks_on {
        return Some((
            Misuse::WrongField,
            "a part of the region without Continue, so it does not count: all of it is dumped, and every later \
             region; set Continue and answer TRUE"
                .to_owned(),
        ));
    }
    if !asks_on {
        return Some((
            Misuse::FalseIsMore,
            "no Continue, which asks about no more regions in this pass and dumps them all; size 0 leaves one out"
                .to_owned(),
        ));
    }
    let end = now.base_address.checked_add(now.region_size);
    let inside = now.base_address >= offered.base_address
        && end.is_some_and(|end| end <= offered.base_address.saturating_add(offered.region_size));
    let aligned = now.base_address % PAGE == 0 && now.region_size % PAGE == 0;
    if now.region_size > 0 && !(inside && aligned) {
        return Some((
            Misuse::NotAPart,
            format!(
                "{:#x} bytes at {:#x} of a region with {:#x} bytes at {:#x}: not a part of it that is made of pages, so it \
                 is taken for the end of the questions",
                now.region_size, now.base_address, offered.region_size, offered.base_address
            ),
        ));
    }
    let others = |info: &dumpwright_callback::MemoryInfo| (info.state, info.protect, info.kind);
    (others(now) != others(offered)).then(|| {
        (
            Misuse::WrongField,
            "another state, protection or type, which does not count".to_owned(),
        )
    })
}

/// `IoWriteAll #0: answered …`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}: answered {}", self.ask.name(), self.nth, self.message)?;
        match self.times {
            1 => Ok(()),
            times => write!(f, " (and {} more)", times - 1),
        }
    }
}
