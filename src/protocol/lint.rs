//! A linter for callbacks: it reports kinds of misuse of the protocol that were seen in real
//! programs.

use std::fmt;
use std::ops::RangeInclusive;

use dumpwright_callback::{
    Ask, AskKind, Callback, CompressionAnswer, Hresult, MemoryAnswer, ProcessAsked, RegionAnswer,
};

/// A wrapper around a callback that reports answers which the callback probably did not intend.
///
/// The wrapper passes questions and answers on unchanged, with one exception. If a callback never
/// ends Memory or RemoveMemory, the wrapper answers FALSE after 65,536 ranges, or after the number
/// set with [`most_ranges`](Self::most_ranges). (DbgHelp 6.3.9600 accepted 20,000 ranges, and no
/// limit was found.)
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
    /// The last range that was given with TRUE, for Memory and for RemoveMemory.
    last: [MemoryAnswer; 2],
    was_polling: bool,
    /// Threads, modules: how many were asked about, and whether one was included.
    included: [Inclusion; 2],
    findings: Vec<Finding>,
}

/// The answers to IncludeThread or IncludeModule.
#[derive(Clone, Copy, Default)]
struct Inclusion {
    asked: u64,
    any: bool,
}

/// One kind of misuse in the answers to one callback type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The callback type.
    pub ask: AskKind,
    /// The number of the first such answer, counted from 0 among the answers to this callback type.
    pub nth: u64,
    /// The kind of misuse.
    pub misuse: Misuse,
    /// The answer, its effect, and what was probably intended.
    pub message: String,
    /// The number of such answers.
    pub times: u64,
}

/// A kind of misuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// The answer is in a field that is ignored for this callback type, or the field that is used
    /// was not set.
    WrongField,
    /// The selected part of a region is not inside the region, or does not consist of whole pages.
    NotAPart,
    /// CheckCancel was set in one answer and not in the next.
    CheckCancelNotRenewed,
    /// A success status other than the required one.
    WrongStatus,
    /// An empty range, which ends the list of ranges.
    EmptyRange,
    /// Flags that were not offered. They are ignored.
    AddedFlags,
    /// Memory or RemoveMemory was never ended.
    NeverEnding,
    /// FALSE, which here affects more than the thread, module or region in question.
    FalseIsMore,
    /// A number that the writer ignores because it is too small or too large.
    OutOfRange,
}

/// The default number of ranges after which Memory and RemoveMemory count as never ending.
const MOST_RANGES: u64 = 65_536;

/// The unit in which regions are selected, in bytes.
const PAGE: u64 = 4096;

/// The answer slot of a question before the callback answers.
struct Before {
    status: Option<Hresult>,
    flags: Option<u32>,
    region: RegionAnswer,
}

/// The kind and the message of a finding.
type Said = (Misuse, String);

impl<'c> Lint<'c> {
    /// Creates a linter around this callback.
    pub fn new(callback: &'c mut dyn Callback) -> Self {
        Self {
            inner: callback,
            most_ranges: MOST_RANGES,
            asked: [0; AskKind::ALL.len()],
            ranges: [0; 2],
            last: [MemoryAnswer::default(); 2],
            was_polling: false,
            included: [Inclusion::default(); 2],
            findings: Vec::new(),
        }
    }

    /// Sets the number of ranges after which Memory and RemoveMemory are ended.
    #[must_use]
    pub fn most_ranges(mut self, count: u64) -> Self {
        self.most_ranges = count;
        self
    }

    /// Returns the findings so far. There is one for each kind of misuse and callback type.
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

    /// Counts a range. If there have been too many, changes the answer to FALSE and returns a
    /// finding.
    fn bounded(&mut self, ask: &mut Ask<'_>, said: &mut bool) -> Option<Said> {
        let index = index_of_ranges(ask)?;
        let answer = ask.range()?;
        if !*said || answer.size == 0 {
            return None;
        }
        self.last[index] = answer;
        let count = &mut self.ranges[index];
        *count += 1;
        if *count <= self.most_ranges {
            return None;
        }
        ask.set_range(MemoryAnswer::default());
        *said = false;
        let message = format!(
            "with {} ranges, and more would follow; answer FALSE after the last range",
            self.most_ranges
        );
        Some((Misuse::NeverEnding, message))
    }

    /// Returns whether the range in the answer slot is the last one that was given with TRUE.
    ///
    /// Such a range with FALSE is not misuse: some callbacks always fill the slot, and use only the
    /// return value to end the list.
    fn is_repeated(&self, ask: &Ask<'_>) -> bool {
        let last = index_of_ranges(ask).map(|index| self.last[index]);
        last.is_some_and(|last| last.size > 0 && Some(last) == ask.range())
    }

    /// Counts the included threads and modules. When they have all been asked about, returns a
    /// finding if the callback has included none of them.
    fn excluded_everything(&mut self, ask: &Ask<'_>, said: bool) -> Option<Said> {
        let inclusion = match ask {
            Ask::IncludeThread { .. } => &mut self.included[0],
            Ask::IncludeModule { .. } => &mut self.included[1],
            Ask::Cancel { .. } | Ask::IsProcessSnapshot { .. } | Ask::VmStart { .. } => return None,
            Ask::VmPreRead { .. } | Ask::VmPostRead { .. } | Ask::VmQuery { .. } => return None,
            _ => {
                let [threads, modules] = std::mem::take(&mut self.included);
                let is_empty = threads.asked > 0 && modules.asked > 0 && !threads.any && !modules.any;
                return is_empty.then(|| {
                    let message = format!(
                        "FALSE, as to all {} threads and {} modules, so the dump has none of them; answer TRUE \
                         to everything that the callback does not decide about",
                        threads.asked, modules.asked
                    );
                    (Misuse::FalseIsMore, message)
                });
            }
        };
        inclusion.asked += 1;
        inclusion.any |= said;
        None
    }

    /// Returns a finding if the callback has set CheckCancel before and does not set it now.
    fn renewed(&mut self, ask: &Ask<'_>) -> Option<Said> {
        let Ask::Cancel { answer } = ask else { return None };
        let was_polling = std::mem::replace(&mut self.was_polling, answer.check_cancel);
        (was_polling && !answer.check_cancel && !answer.cancel).then(|| {
            let message = "without setting CheckCancel again; it is prefilled with FALSE in each call, and the first \
                           FALSE ends the polling";
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
        if let Some(finding) = self.excluded_everything(&ask, said) {
            self.note(AskKind::IncludeThread, 0, finding);
        }
        let is_repeated = !said && self.is_repeated(&ask);
        let bounded = self.bounded(&mut ask, &mut said);
        let findings = if is_repeated {
            Vec::new()
        } else {
            judge(&ask, &before, said)
        };
        for finding in findings.into_iter().chain(renewed).chain(bounded) {
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

/// Returns the index of the counter for Memory or RemoveMemory.
fn index_of_ranges(ask: &Ask<'_>) -> Option<usize> {
    match ask {
        Ask::Memory { .. } => Some(0),
        Ask::RemoveMemory { .. } => Some(1),
        _ => None,
    }
}

impl Before {
    fn of(ask: &Ask<'_>) -> Self {
        Self {
            status: ask.status(),
            flags: flags(ask),
            region: match ask {
                Ask::IncludeVmRegion { answer } => **answer,
                _ => RegionAnswer::default(),
            },
        }
    }
}

/// Returns the flags in the answer slot: write flags or secondary flags.
fn flags(ask: &Ask<'_>) -> Option<u32> {
    match ask {
        Ask::SecondaryFlags { flags } => Some(flags.bits()),
        _ => ask.write_flags(),
    }
}

/// Returns the findings about one answer.
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
            "FALSE, which aborts the whole dump (E_ABORT); to leave something out, clear flags".to_owned(),
        )),
        Ask::Module { .. }
        | Ask::IncludeModule { .. }
        | Ask::Thread { .. }
        | Ask::ThreadEx { .. }
        | Ask::IncludeThread { .. } => findings.extend(narrowed(ask, before)),
        Ask::SecondaryFlags { flags } if !said && !flags.is_empty() => findings.push((
            Misuse::WrongField,
            format!(
                "flags {:#x} with FALSE, so they are ignored; answer TRUE",
                flags.bits()
            ),
        )),
        Ask::Memory { wanted: answer } | Ask::RemoveMemory { unwanted: answer } => {
            findings.extend(range(answer, said));
        }
        Ask::Cancel { answer } if answer.cancel && !said => findings.push((
            Misuse::WrongField,
            "Cancel with FALSE, so it is ignored; answer TRUE".to_owned(),
        )),
        Ask::WriteKernelMinidump { handle } if !said && **handle != 0 => findings.push((
            Misuse::WrongField,
            "a handle with FALSE, so it is ignored; answer TRUE".to_owned(),
        )),
        Ask::IncludeVmRegion { answer } => findings.extend(region(answer, &before.region, said)),
        Ask::VmPreRead { buffer, answer, .. } => {
            if answer.completed as usize > buffer.len() {
                findings.push((
                    Misuse::WrongField,
                    format!(
                        "{} bytes completed, but the buffer has only {} bytes",
                        answer.completed,
                        buffer.len()
                    ),
                ));
            } else if !said && answer.completed > 0 {
                findings.push((
                    Misuse::WrongField,
                    format!(
                        "{} bytes completed with FALSE, so they are ignored; answer TRUE",
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
                format!(
                    "TRUE with 0 bytes completed after a read of {completed} bytes, which fails the read"
                ),
            ));
        }
        Ask::CompressedMemoryStreamStart { answer } => findings.extend(compression(answer, said)),
        _ => {}
    }
    findings
}

/// Checks the callback types to which only TRUE with S_FALSE means yes: IsProcessSnapshot, VmStart
/// and IoStart.
fn status_to_take_over(ask: &Ask<'_>, before: &Before, said: bool) -> Option<Said> {
    let status = ask.status()?;
    match status {
        Hresult::S_OK if said => Some((
            Misuse::WrongStatus,
            "S_OK, which means no; use S_FALSE for yes, or leave the status unchanged for no".to_owned(),
        )),
        Hresult::S_FALSE if !said => Some((
            Misuse::WrongField,
            "S_FALSE with FALSE, which means no; answer TRUE for yes".to_owned(),
        )),
        other if other.is_success() && Some(other) != before.status && other.0 > 1 => Some((
            Misuse::WrongField,
            format!("{other} as a status, which means no; it looks like flags or a number"),
        )),
        _ => None,
    }
}

/// Checks the status for callback types that accept only S_OK.
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

/// Checks the status of VmQuery, which accepts three values.
fn queried(status: Hresult) -> Option<Said> {
    const MEANT: [Hresult; 3] = [Hresult::S_OK, Hresult::E_NOTIMPL, Hresult::E_NOINTERFACE];
    (!MEANT.contains(&status)).then(|| {
        (
            Misuse::WrongStatus,
            format!("{status}, which fails the dump; use S_OK for a region and E_NOINTERFACE after the last region"),
        )
    })
}

/// Returns the finding about a status that was left at its prefilled value.
fn untouched(status: Hresult) -> Said {
    (
        Misuse::WrongField,
        format!("TRUE, but left the status at the prefilled {status}, which fails the dump"),
    )
}

/// Checks an answer to ReadMemoryFailure with FALSE, which fails the dump whatever the status.
fn ignored_status(ask: &Ask<'_>, before: &Before) -> Option<Said> {
    let status = ask.status()?;
    (status == Hresult::S_OK && before.status != Some(status)).then(|| {
        (
            Misuse::WrongField,
            "S_OK with FALSE, so the status is ignored and the dump fails; answer TRUE".to_owned(),
        )
    })
}

/// Checks flags, which may only be cleared.
fn narrowed(ask: &Ask<'_>, before: &Before) -> Option<Said> {
    let (now, offered) = (flags(ask)?, before.flags?);
    let added = now & !(offered | ask.addable_write_flags());
    if added == 0 {
        return None;
    }
    const FAILURE: u32 = 0x8000_0000;
    Some(if now & FAILURE != 0 && now != u32::MAX {
        (
            Misuse::WrongField,
            format!("flags {now:#x}, which look like a status; this callback type expects flags"),
        )
    } else {
        (
            Misuse::AddedFlags,
            format!("flags {now:#x} where {offered:#x} were offered; {added:#x} is dropped"),
        )
    })
}

/// Checks an answer to CompressedMemoryStreamStart.
///
/// The limits of MaxTransferSize are those observed on the DbgHelp of January 2026; 0 selects the
/// default.
fn compression(answer: &CompressionAnswer, said: bool) -> Option<Said> {
    const TRANSFER: RangeInclusive<u32> = 1 << 20..=64 << 20;
    let size = answer.max_transfer_size;
    if !said && *answer != CompressionAnswer::default() {
        return Some((
            Misuse::WrongField,
            "values with FALSE, so they are ignored; answer TRUE".to_owned(),
        ));
    }
    (said && size != 0 && !TRANSFER.contains(&size)).then(|| {
        let message = format!("MaxTransferSize {size:#x}, which is ignored; use 1 MiB to 64 MiB, or 0");
        (Misuse::OutOfRange, message)
    })
}

/// Checks an answer to Memory or RemoveMemory.
fn range(answer: &MemoryAnswer, said: bool) -> Option<Said> {
    match (said, answer.base, answer.size) {
        (false, base, size) if size > 0 => Some((
            Misuse::WrongField,
            format!("{size} bytes at {base:#x} with FALSE, so the range is ignored; answer TRUE"),
        )),
        (true, base, 0) if base != 0 => Some((
            Misuse::EmptyRange,
            format!("0 bytes at {base:#x}, which ends the list of ranges; leave out empty ranges"),
        )),
        _ => None,
    }
}

/// Checks an answer to IncludeVmRegion.
fn region(answer: &RegionAnswer, before: &RegionAnswer, said: bool) -> Option<Said> {
    let (now, offered) = (&answer.region, &before.region);
    let same_place = (now.base_address, now.region_size) == (offered.base_address, offered.region_size);
    let asks_on = said && answer.cont;
    if !same_place && !asks_on {
        return Some((
            Misuse::WrongField,
            "a part of the region without Continue, so the part is ignored: the whole region and all later regions are \
             dumped; set Continue and answer TRUE"
                .to_owned(),
        ));
    }
    if !asks_on {
        return Some((
            Misuse::FalseIsMore,
            "without Continue, so this region and all later regions are dumped; to leave out a region, set its size to \
             0 and Continue to TRUE"
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
                "{:#x} bytes at {:#x} for a region of {:#x} bytes at {:#x}, which is not a part of the region in whole \
                 pages, so this region and all later regions are dumped",
                now.region_size, now.base_address, offered.region_size, offered.base_address
            ),
        ));
    }
    let others = |info: &dumpwright_callback::MemoryInfo| (info.state, info.protect, info.kind);
    (others(now) != others(offered)).then(|| {
        (
            Misuse::WrongField,
            "another state, protection or type, which is ignored".to_owned(),
        )
    })
}

/// Writes the finding, in the form `IoWriteAll #0: answered …`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}: answered {}", self.ask.name(), self.nth, self.message)?;
        match self.times {
            1 => Ok(()),
            times => write!(f, " (and {} more)", times - 1),
        }
    }
}
