//! The recorded scenarios: what was dumped, how, and the rules by which the callback answered.

use dumpwright_callback::AskKind;
use dumpwright_target::AddressRange;

use super::names::{Names, number};

/// One line of `scenarios.txt`.
pub struct Scenario {
    pub name: String,
    pub dump_type: u32,
    pub options: Options,
    pub rules: Vec<Rule>,
}

/// The options of the recording harness. Options that only added lines which are not compared are
/// not stored.
#[derive(Default)]
pub struct Options {
    /// A bit mask of callback types whose lines are not printed.
    pub quiet: u64,
    /// If set, Vm and region asks are printed only for this range.
    pub only: Option<AddressRange>,
    /// Reads fail as on Windows, for memory that is inaccessible, guarded or reserved.
    pub windows_reads: bool,
    /// Ranges in which reads fail.
    pub failing: Vec<Failing>,
    /// The target is a process snapshot.
    pub snapshot: bool,
    pub no_callback: bool,
    /// No file handle was passed.
    pub no_file: bool,
    /// The file handle did not permit writing.
    pub read_only_file: bool,
    /// The process handle was invalid. The value is its name in transcripts.
    pub invalid_handle: Option<&'static str>,
    /// The process id belonged to no process.
    pub unknown_process: bool,
    /// The recording is of a process that the twin does not have: the harness itself.
    pub not_the_target: bool,
    /// The number of the thread that has an exception.
    pub exception: Option<u32>,
    /// The threads have names, see [`THREAD_NAMES`].
    pub named_threads: bool,
    /// The caller's streams.
    pub user_streams: Vec<UserStream>,
}

/// The names of the target's threads in recordings with named threads, by number. The first thread
/// has none.
pub const THREAD_NAMES: [Option<&str>; 5] = [
    None,
    Some("worker one"),
    Some(""),
    Some(LONG_NAME),
    Some("\u{540d}\u{524d}"),
];
/// 300 characters: the alphabet, repeated.
const LONG_NAME: &str = concat!(
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmn",
);

/// A stream of the caller. Its bytes are not known; only their number was recorded.
pub struct UserStream {
    pub stream_type: u32,
    pub size: u32,
    /// The caller passed a null pointer.
    pub is_null: bool,
}

/// A range in which reads fail.
pub struct Failing {
    pub range: AddressRange,
    /// Reads of a single byte succeed.
    pub only_long_reads: bool,
}

/// One rule of the callback.
pub struct Rule {
    /// The callback type; `None` means all of them.
    pub kind: Option<AskKind>,
    pub first: u32,
    pub last: u32,
    /// The conditions and actions, in order. The rule ends at the first condition that is not met.
    pub steps: Vec<Step>,
}

/// A condition or an action of a rule.
pub enum Step {
    At(AddressRange),
    LongerThan(u64),
    Thread(u32),
    Return(bool),
    Flags(u32),
    Or(u32),
    Memory(u64, u32),
    CheckCancel(bool),
    Cancel(bool),
    Continue(bool),
    RegionBase(Change),
    RegionSize(Change),
    RegionProtect(u32),
    RegionState(u32),
    Handle(u64),
    ReadReally,
    Fill(u8),
    Done(Done),
    Flip(AddressRange, u8),
    AskSystem,
    QueryStatus(u32),
    Parallelism(u32),
    TransferSize(u32),
}

pub enum Change {
    To(u64),
    By(i64),
}

impl Change {
    /// Changes `value`.
    pub fn apply(&self, value: &mut u64) {
        *value = match self {
            Self::To(to) => *to,
            Self::By(by) => value.wrapping_add_signed(*by),
        };
    }
}

#[derive(Clone, Copy)]
pub enum Done {
    All,
    Half,
    Over,
    Bytes(u32),
}

impl Rule {
    pub fn is_about(&self, kind: AskKind, index: u32) -> bool {
        self.kind.is_none_or(|mine| mine == kind) && (self.first..=self.last).contains(&index)
    }
}

/// Parses `scenarios.txt`.
pub fn parse(text: &str, names: &Names) -> Vec<Scenario> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| parse_line(line, names)).collect()
}

fn parse_line(line: &str, names: &Names) -> Scenario {
    let mut fields = line.splitn(3, '|');
    let mut field = || {
        fields
            .next()
            .unwrap_or_else(|| panic!("three fields: {line}"))
            .trim()
    };
    let (name, dump_type, words) = (field().to_owned(), field(), field());
    let mut scenario = Scenario {
        name,
        dump_type: number32(dump_type),
        options: Options::default(),
        rules: Vec::new(),
    };
    for word in words.split_whitespace() {
        match word.strip_prefix("--") {
            Some(option) => scenario.options.add(option, names),
            None => scenario.rules.push(parse_rule(word, names)),
        }
    }
    scenario
}

impl Options {
    fn add(&mut self, option: &str, names: &Names) {
        let (option, value) = option.split_once('=').unwrap_or((option, ""));
        match option {
            "quiet" => self.quiet = number(value),
            "only" => self.only = AddressRange::new(names.address(value), names.end(value)),
            "winread" => self.windows_reads = true,
            "fail" | "failbig" => {
                let (place, size) = value.split_once('/').expect("PLACE/SIZE");
                self.failing.push(Failing {
                    range: AddressRange::at(names.address(place), number(size)).expect("some bytes"),
                    only_long_reads: option == "failbig",
                });
            }
            "pss" => self.snapshot = true,
            // No callback structure, or one without a function.
            "nocb" | "nullroutine" => self.no_callback = true,
            "nofile" => self.no_file = true,
            "rofile" => self.read_only_file = true,
            "badproc" => self.invalid_handle = Some("other"),
            "nullproc" => self.invalid_handle = Some("0"),
            "badpid" => self.unknown_process = true,
            "zeropid" | "self" => self.not_the_target = true,
            "exc" => self.exception = Some(number32(value)),
            "names" => self.named_threads = true,
            "user" => self.user_streams.extend(value.split(',').map(user_stream)),
            // These options add lines about the library's own calls and about the file, or choose
            // how the system lets it suspend threads.
            "hook" | "peek" | "mem64" | "osc" => {}
            _ => panic!("unknown option --{option}"),
        }
    }
}

/// Parses `TYPE/SIZE`, followed by `n` for a null pointer.
fn user_stream(text: &str) -> UserStream {
    let (stream_type, size) = text.split_once('/').expect("TYPE/SIZE");
    let digits = size.strip_suffix('n');
    UserStream {
        stream_type: number32(stream_type),
        size: number32(digits.unwrap_or(size)),
        is_null: digits.is_some(),
    }
}

fn parse_rule(word: &str, names: &Names) -> Rule {
    let (head, steps) = word.split_once(':').unwrap_or((word, ""));
    let (kind, indices) = head.split_once('@').unwrap_or((head, "*"));
    let kind = (kind != "ALL").then(|| {
        let known = AskKind::ALL.into_iter().find(|known| known.name() == kind);
        known.unwrap_or_else(|| panic!("no question is called {kind}"))
    });
    let (first, last) = if indices == "*" {
        (0, u32::MAX)
    } else if let Some(first) = indices.strip_suffix('+') {
        (number32(first), u32::MAX)
    } else {
        let (first, last) = indices.split_once('-').unwrap_or((indices, indices));
        (number32(first), number32(last))
    };
    let steps = steps.split(',').map(|step| parse_step(step, names)).collect();
    Rule {
        kind,
        first,
        last,
        steps,
    }
}

fn parse_step(step: &str, names: &Names) -> Step {
    let (key, value) = step.split_once('=').unwrap_or((step, "1"));
    let range = |text| AddressRange::new(names.address(text), names.end(text)).expect("some bytes");
    match key {
        "at" => Step::At(range(value)),
        "minsize" => Step::LongerThan(number(value) - 1),
        "tid" => Step::Thread(number32(value)),
        "ret" => Step::Return(value != "0"),
        "flags" | "status" => Step::Flags(number32(value)),
        "or" => Step::Or(number32(value)),
        "mem" => {
            let (place, size) = value.split_once('/').expect("PLACE/SIZE");
            Step::Memory(names.address(place), number32(size))
        }
        "check" => Step::CheckCancel(value != "0"),
        "cancel" => Step::Cancel(value != "0"),
        "cont" => Step::Continue(value != "0"),
        "rbase" => Step::RegionBase(change(value, names)),
        "rsize" => Step::RegionSize(change(value, names)),
        "rprot" => Step::RegionProtect(number32(value)),
        "rstate" => Step::RegionState(number32(value)),
        // The harness's own file. Any number except 0 has the same meaning.
        "handle" if value == "own" => Step::Handle(1),
        "handle" => Step::Handle(number(value)),
        "real" => Step::ReadReally,
        "fill" => Step::Fill(u8::try_from(number(value)).expect("a byte")),
        "done" => Step::Done(match value {
            "all" => Done::All,
            "half" => Done::Half,
            "over" => Done::Over,
            _ => Done::Bytes(number32(value)),
        }),
        "xorat" => {
            let (place, mask) = value.split_once('/').expect("PLACE/MASK");
            let digits = mask.strip_prefix("0x").unwrap_or(mask);
            let mask = u8::from_str_radix(digits, 16).expect("a byte, hexadecimal");
            Step::Flip(range(place), mask)
        }
        "query" if value == "none" => Step::AskSystem,
        "qstatus" => Step::QueryStatus(number32(value)),
        "par" => Step::Parallelism(number32(value)),
        "xfer" => Step::TransferSize(number32(value)),
        _ => panic!("unknown step {step}"),
    }
}

fn change(value: &str, names: &Names) -> Change {
    let by = |digits| Change::By(i64::try_from(number(digits)).expect("not that large"));
    match (value.strip_prefix('+'), value.strip_prefix('-')) {
        (Some(digits), _) => by(digits),
        (_, Some(digits)) => match by(digits) {
            Change::By(by) => Change::By(-by),
            to @ Change::To(_) => to,
        },
        _ => Change::To(names.address(value)),
    }
}

fn number32(text: &str) -> u32 {
    u32::try_from(number(text)).expect("32 bits")
}
