use std::ops::Range;

use aho_corasick::AhoCorasick;
use dumpwright_callback::{
    Ask, Callback, Hresult, ModuleWriteFlags, ProcessAsked, ThreadWriteFlags, VmReadAnswer,
};
use dumpwright_target::AddressRange;

use super::ranges::Ranges;

/// Replaces the bytes of a secret, unless a pattern contains this byte.
const FILL: u8 = b'*';

/// Overwrites secrets in the dump: by address, or by content wherever it appears.
///
/// The memory stays in the dump, with `*` in place of each byte of the secret (or another byte, if
/// a pattern contains `*`). Patterns are also found across pages and across the pieces in which
/// memory is read. Inside a piece only whole patterns match. At the ends of a piece, a part of a
/// pattern matches if it has at least four bytes (half of the pattern if that is less), because the
/// bytes beyond the end are not visible.
///
/// The other data that the protocol presents is examined as well. A thread loses its registers if
/// they contain a pattern. A module is left out if its name contains one, and a debug record is
/// left out if it contains one. Data that the protocol does not present is not redacted;
/// [`policy`](super) lists it.
///
/// ```
/// use dumpwright::policy::Redact;
///
/// let mut redact = Redact::new()
///     .range(0x6000_0000..0x6000_0020)         // these bytes, whatever they are
///     .bytes([0x13, 0x37, 0xC0, 0xDE, 0xAF])   // this key, wherever it is
///     .text("hunter2");                        // this text, in UTF-8 and UTF-16
/// // … after the dump:
/// println!("{} places redacted", redact.redacted().places);
/// # let _ = &mut redact;
/// ```
#[derive(Debug, Default)]
pub struct Redact {
    ranges: Ranges,
    patterns: Vec<Vec<u8>>,
    /// The patterns that are also searched for in registers and modules.
    everywhere: Vec<Vec<u8>>,
    /// Finds all patterns in one pass. `None` until it is needed, and if it cannot be built.
    finder: Option<AhoCorasick>,
    /// The state of a read that is not complete.
    underway: Option<Underway>,
    redacted: Redacted,
}

/// The state of a read whose first part has been processed.
#[derive(Debug)]
struct Underway {
    /// The address of the next part.
    at: u64,
    /// The original bytes before `at`, as far back as a pattern can begin that continues at `at`.
    before: Vec<u8>,
    /// Whether `before` reaches back to the start of the read.
    has_start: bool,
    /// The first bytes of the next part. They have been read, but may be the beginning of a pattern
    /// and were therefore not returned. VmPreRead returns them when the next part is to be read,
    /// and VmPostRead then presents them together with the bytes that follow.
    held_back: Vec<u8>,
    /// Whether the whole read is shorter than the longest pattern.
    is_short: bool,
}

/// Counts of what was redacted in the last dump.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Redacted {
    /// Places in memory. Memory that is read twice counts twice.
    pub places: usize,
    /// Threads that lost their registers.
    pub threads: usize,
    /// Modules that were left out or lost a debug record.
    pub modules: usize,
}

impl Redact {
    /// Creates a policy that redacts nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Overwrites the bytes at these addresses.
    #[must_use]
    pub fn range(mut self, range: Range<u64>) -> Self {
        self.ranges.add(range);
        self
    }

    /// Overwrites these bytes wherever they are. An empty pattern has no effect.
    #[must_use]
    pub fn bytes(mut self, pattern: impl Into<Vec<u8>>) -> Self {
        let pattern = pattern.into();
        if !pattern.is_empty() {
            self.everywhere.push(pattern.clone());
            self.patterns.push(pattern);
            self.finder = None;
        }
        self
    }

    /// Overwrites the values of these environment variables wherever they are in memory. A dump of
    /// private memory has them on the main stack, and programs make copies.
    ///
    /// `environ` has the format of `/proc/PID/environ`: entries of the form `NAME=value`, each
    /// followed by a NUL. Values shorter than [`SHORTEST`](Self::SHORTEST) bytes are not redacted,
    /// because they are found everywhere by chance. Modules in folders that a variable names are
    /// kept. Only type 0x100 adds the stream LinuxEnviron, which no policy can redact.
    #[must_use]
    pub fn environment(self, environ: &[u8]) -> Self {
        let variables = environ.split(|byte| *byte == 0);
        let values = variables.filter_map(|variable| {
            let name = variable.iter().position(|byte| *byte == b'=')?;
            Some(&variable[name + 1..])
        });
        self.in_memory(values)
    }

    /// Overwrites the arguments of a command line wherever they are in memory, as
    /// [`environment`](Self::environment) does. The name of the program is kept. `cmdline` has the
    /// format of `/proc/PID/cmdline`: words, each followed by a NUL.
    #[must_use]
    pub fn command_line(self, cmdline: &[u8]) -> Self {
        self.in_memory(cmdline.split(|byte| *byte == 0).skip(1))
    }

    /// Overwrites the path of this folder wherever it is in memory. To remove folders from the
    /// names of modules, use type 0x80 (`filter-module-paths`).
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.in_memory([path.as_bytes()])
    }

    /// The length in bytes below which environment values, arguments and folders are not redacted.
    pub const SHORTEST: usize = 6;

    /// Adds texts that are overwritten in memory, in UTF-8 and UTF-16. Modules whose names contain
    /// them are kept.
    fn in_memory<'t>(mut self, texts: impl IntoIterator<Item = &'t [u8]>) -> Self {
        self.finder = None;
        for text in texts.into_iter().filter(|text| text.len() >= Self::SHORTEST) {
            self.patterns.push(text.to_vec());
            if let Ok(text) = std::str::from_utf8(text) {
                self.patterns
                    .push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
            }
        }
        self
    }

    /// Overwrites this text wherever it is, in UTF-8 and in UTF-16 (little-endian, as Windows
    /// stores it).
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.bytes(text)
            .bytes(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())
    }

    /// Returns the counts of what was redacted in the last dump.
    #[must_use]
    pub fn redacted(&self) -> Redacted {
        self.redacted
    }

    fn fill(&self) -> u8 {
        let is_free = |byte: &u8| !self.patterns.iter().any(|pattern| pattern.contains(byte));
        // Long random keys may leave no byte free. Then take a byte that no pattern consists of
        // entirely, so that filling terminates.
        let is_harmless = |byte: &u8| {
            !self
                .patterns
                .iter()
                .any(|pattern| pattern.iter().all(|b| b == byte))
        };
        let candidates = || std::iter::once(FILL).chain(0..=u8::MAX);
        candidates()
            .find(is_free)
            .or_else(|| candidates().find(is_harmless))
            .unwrap_or(FILL)
    }

    /// Whether these bytes contain one of the patterns that are searched for everywhere.
    fn is_in(&self, bytes: &[u8]) -> bool {
        self.everywhere
            .iter()
            .any(|pattern| find(pattern, bytes).is_some())
    }

    /// Returns the places of all patterns in `bytes`.
    fn places(&mut self, bytes: &[u8]) -> Vec<Range<usize>> {
        if self.finder.is_none() && !self.patterns.is_empty() {
            self.finder = AhoCorasick::new(&self.patterns).ok();
        }
        match &self.finder {
            Some(finder) => finder
                .find_overlapping_iter(bytes)
                .map(|found| found.range())
                .collect(),
            None => places(&self.patterns, bytes),
        }
    }

    /// Processes a part of a read: `bytes` at address `at`. `size` is the number of bytes from `at`
    /// to the end of the read, and `is_last` is set if the read ends with `bytes`.
    ///
    /// Returns how many bytes are final. The rest must be passed in again, together with the bytes
    /// that follow.
    fn take(&mut self, at: u64, bytes: &mut [u8], size: usize, is_last: bool) -> usize {
        let underway = self.underway.take().filter(|underway| underway.at == at);
        let longest = self.patterns.iter().map(Vec::len).max().unwrap_or(0);
        let is_short = underway
            .as_ref()
            .map_or(size < longest, |underway| underway.is_short);
        let has_start = underway.as_ref().is_none_or(|underway| underway.has_start);
        let mut window = underway.map(|underway| underway.before).unwrap_or_default();
        let before = window.len();
        window.extend_from_slice(bytes);
        let is_inside = |pattern: &[u8]| find(&window, pattern).is_some();

        let found = self.places(&window);
        let tails = || parts(&self.patterns, &window, begins_with_part);
        let tail = if is_last {
            0
        } else {
            tails().map(|(count, _)| count).max().unwrap_or(0)
        };
        // The whole read so far may be part of a pattern that began before it and continues.
        let is_open = has_start
            && !is_last
            && self
                .patterns
                .iter()
                .any(|pattern| pattern.len() > 2 && is_inside(&pattern[1..pattern.len() - 1]));
        // At least one byte must be final, or the read counts as failed.
        let unsettled = if is_open { window.len() } else { tail };
        let settled = bytes.len() - unsettled.min(bytes.len() - 1);
        let mut secret = found.clone();
        if tail >= bytes.len() {
            // These bytes must be returned before it is known whether they belong to a secret.
            secret.push(before..before + settled);
        }
        if has_start {
            let heads = parts(&self.patterns, &window, ends_with_part).filter(|(_, is_enough)| *is_enough);
            secret.extend(heads.map(|(count, _)| 0..count));
        }
        if is_last {
            let enough = tails().filter(|(_, is_enough)| *is_enough);
            secret.extend(enough.map(|(count, _)| window.len() - count..window.len()));
        }
        if is_short && self.patterns.iter().any(|pattern| find(bytes, pattern).is_some()) {
            // This may be the middle of a pattern that was cut into three.
            secret.push(before..window.len());
        }

        if !is_last {
            let border = before + settled;
            let open = found
                .iter()
                .filter(|place| place.contains(&border))
                .map(|place| place.start);
            let from = open
                .chain([window.len() - unsettled])
                .min()
                .unwrap_or(border)
                .min(border);
            self.underway = Some(Underway {
                at: at + settled as u64,
                before: window[from..border].to_vec(),
                has_start: is_open,
                held_back: bytes[settled..].to_vec(),
                is_short,
            });
        }
        let secret = secret.into_iter().filter_map(|place| {
            let (start, end) = (place.start.max(before), place.end.min(before + settled));
            (start < end).then(|| start - before..end - before)
        });
        self.overwrite(at, &mut bytes[..settled], secret);
        settled
    }

    /// Overwrites these places in `bytes`, and the redacted ranges.
    fn overwrite(&mut self, at: u64, bytes: &mut [u8], places_in_bytes: impl Iterator<Item = Range<usize>>) {
        let fill = self.fill();
        let all = AddressRange::at(at, bytes.len() as u64);
        let place = |address: u64| usize::try_from(address - at).expect("inside the buffer");
        let ranges = self.ranges.set();
        let of_ranges = all.into_iter().flat_map(|all| ranges.parts_in(all));
        let secret: Vec<_> = of_ranges
            .map(|range| place(range.start())..place(range.end()))
            .chain(places_in_bytes)
            .collect();
        self.redacted.places += secret.len();
        for place in secret {
            bytes[place].fill(fill);
        }
        if self.patterns.iter().any(|pattern| pattern.contains(&fill)) {
            // The fill bytes and their neighbours may form a new match.
            while let Some(place) = self.places(bytes).pop() {
                bytes[place].fill(fill);
            }
        }
    }
}

/// Does the same as [`Redact::places`], one pattern after the other.
fn places(patterns: &[Vec<u8>], bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for pattern in patterns {
        let mut from = 0;
        while let Some(index) = find(pattern, &bytes[from..]) {
            found.push(from + index..from + index + pattern.len());
            from += index + 1;
        }
    }
    found
}

fn find(pattern: &[u8], bytes: &[u8]) -> Option<usize> {
    let first = *pattern.first()?;
    let mut from = 0;
    while let Some(index) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + index..].starts_with(pattern) {
            return Some(from + index);
        }
        from += index + 1;
    }
    None
}

/// For each pattern, returns the length of the longest proper part of it that `bytes` begin or end
/// with, if any, and whether that length is enough to be redacted although the other part is not
/// visible.
fn parts<'p>(
    patterns: &'p [Vec<u8>],
    bytes: &'p [u8],
    is_part: fn(pattern: &[u8], count: usize, bytes: &[u8]) -> bool,
) -> impl Iterator<Item = (usize, bool)> + 'p {
    patterns.iter().filter_map(move |pattern| {
        // If a pattern is cut in two, one of the parts has at least this many bytes. So no pattern
        // remains complete, no matter where it is cut.
        let enough = pattern.len().div_ceil(2).min(4);
        let most = (pattern.len() - 1).min(bytes.len());
        let count = (1..=most).rev().find(|count| is_part(pattern, *count, bytes))?;
        Some((count, count >= enough))
    })
}

/// Whether the bytes end with the first `count` bytes of the pattern.
fn begins_with_part(pattern: &[u8], count: usize, bytes: &[u8]) -> bool {
    bytes.ends_with(&pattern[..count])
}

/// Whether the bytes begin with the last `count` bytes of the pattern.
fn ends_with_part(pattern: &[u8], count: usize, bytes: &[u8]) -> bool {
    bytes.starts_with(&pattern[pattern.len() - count..])
}

impl Callback for Redact {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => {
                self.underway = None;
                self.redacted = Redacted::default();
            }
            Ask::VmStart { status } => *status = Hresult::S_FALSE,
            Ask::Thread { thread, keep } | Ask::ThreadEx { thread, keep } if self.is_in(thread.context) => {
                keep.remove(ThreadWriteFlags::CONTEXT);
                self.redacted.threads += 1;
            }
            Ask::Module { module, keep } => {
                let before = *keep;
                // Names are stored as UTF-16.
                let name: Vec<u8> = module
                    .full_path
                    .encode_utf16()
                    .flat_map(u16::to_le_bytes)
                    .collect();
                if self.is_in(&name) {
                    *keep = ModuleWriteFlags::empty();
                }
                if self.is_in(module.cv_record) {
                    keep.remove(ModuleWriteFlags::CV_RECORD);
                }
                if self.is_in(module.misc_record) {
                    keep.remove(ModuleWriteFlags::MISC_RECORD);
                }
                self.redacted.modules += usize::from(*keep != before);
            }
            Ask::VmPreRead {
                offset,
                buffer,
                answer,
            } => {
                let underway = self.underway.as_ref().filter(|underway| underway.at == offset);
                let bytes = underway.map_or(&[][..], |underway| &underway.held_back);
                if bytes.is_empty() || bytes.len() >= buffer.len() {
                    if bytes.len() >= buffer.len() {
                        // The held-back bytes belong to another read.
                        self.underway = None;
                    }
                    return false;
                }
                buffer[..bytes.len()].copy_from_slice(bytes);
                let completed = u32::try_from(bytes.len()).expect("shorter than a pattern");
                *answer = VmReadAnswer {
                    status: Hresult::S_OK,
                    completed,
                };
            }
            Ask::VmPostRead {
                offset,
                buffer,
                completed,
                status,
                answer,
            } => {
                let size = buffer.len();
                let good = size.min(completed as usize);
                if good == 0 {
                    self.underway = None;
                    return false;
                }
                // After a failure no further part is read, and the caller may use the bytes that
                // were read.
                let is_last = good == size || !status.is_success();
                let settled = self.take(offset, &mut buffer[..good], size, is_last);
                *answer = VmReadAnswer {
                    status,
                    completed: u32::try_from(settled).expect("at most completed"),
                };
            }
            _ => {}
        }
        true
    }

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Acts as a writer that reads `memory` (at address 0) in these pieces, and each piece page by
    /// page, as the writers of dumpwright and Microsoft do.
    fn read_through(redact: &mut Redact, memory: &[u8], borders: &[usize], page: usize) -> Vec<u8> {
        let mut result = Vec::new();
        let mut start = 0;
        for end in borders.iter().copied().chain([memory.len()]) {
            let mut piece = vec![0; end - start];
            let mut done = 0;
            while done < piece.len() {
                let at = start + done;
                let rest = &mut piece[done..];
                let mut given = VmReadAnswer {
                    status: Hresult::E_NOTIMPL,
                    completed: 0,
                };
                let said = redact.ask(Ask::VmPreRead {
                    offset: at as u64,
                    buffer: rest,
                    answer: &mut given,
                });
                let given = if said { given.completed as usize } else { 0 };
                assert!(given < rest.len(), "Redact has no whole reads to offer");
                let stop = rest.len().min(given + page - (at + given) % page);
                rest[given..stop].copy_from_slice(&memory[at + given..at + stop]);
                let completed = u32::try_from(stop).unwrap();
                let mut answer = VmReadAnswer {
                    status: Hresult::E_NOTIMPL,
                    completed,
                };
                let ask = Ask::VmPostRead {
                    offset: at as u64,
                    buffer: rest,
                    completed,
                    status: Hresult::S_OK,
                    answer: &mut answer,
                };
                assert!(redact.ask(ask));
                assert!(
                    answer.completed > 0 && answer.status.is_success(),
                    "the read goes on"
                );
                done += answer.completed as usize;
            }
            result.extend(piece);
            start = end;
        }
        result
    }

    #[test]
    fn within_a_read_page_borders_do_not_matter_at_all() {
        let memory = b"....SECRET..SECRESECRETSEC..SECRET".to_vec();
        for page in 7..memory.len() {
            let mut redact = Redact::new().bytes(*b"SECRET");
            let result = read_through(&mut redact, &memory, &[], page);
            assert_eq!(
                String::from_utf8(result).unwrap(),
                "....******..SECRE******SEC..******",
                "{page}"
            );
        }
    }

    #[test]
    fn a_pattern_longer_than_a_page_is_found() {
        let mut memory = vec![b'.'; 20];
        memory[3..15].copy_from_slice(b"abcdefghijkl");
        let result = read_through(&mut Redact::new().bytes(*b"abcdefghijkl"), &memory, &[], 4);
        assert_eq!(String::from_utf8(result).unwrap(), "...************.....");
    }

    #[test]
    fn a_pattern_cut_into_three_is_not_left_whole() {
        let result = read_through(
            &mut Redact::new().bytes(*b"abcdefgh"),
            b"..abcdefgh..",
            &[5, 7],
            4096,
        );
        assert_eq!(String::from_utf8(result).unwrap(), "..abc**fgh..");
    }

    #[test]
    fn a_read_that_begins_just_before_a_page_border_may_begin_inside_a_pattern() {
        let result = read_through(&mut Redact::new().bytes(*b"abc"), b".........abc....", &[10], 11);
        assert!(find(b"abc", &result).is_none(), "{result:?}");
    }

    #[test]
    fn ranges_are_overwritten_to_the_byte() {
        let mut redact = Redact::new().range(3..5).range(9..100);
        let result = read_through(&mut redact, b"0123456789ab", &[4], 8);
        assert_eq!(String::from_utf8(result).unwrap(), "012**5678***");
    }

    #[test]
    fn the_filling_is_no_part_of_a_pattern() {
        let result = read_through(&mut Redact::new().bytes(*b"*b"), b"x*bbbx", &[], 8);
        assert_eq!(result, b"x\0\0bbx");
    }

    proptest! {
        /// However memory is cut into reads and pages, no secret is left, and what is far from any
        /// is as it was.
        #[test]
        fn nothing_secret_is_left(
            memory in prop::collection::vec(prop::sample::select(b"ab*".to_vec()), 1..120),
            patterns in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab*".to_vec()), 1..9), 1..4),
            borders in prop::collection::btree_set(1_usize..120, 0..5),
            page in 1_usize..40,
        ) {
            let borders: Vec<_> = borders.into_iter().filter(|border| *border < memory.len()).collect();
            let mut redact = Redact::new();
            for pattern in &patterns {
                redact = redact.bytes(pattern.clone());
            }
            let result = read_through(&mut redact, &memory, &borders, page);
            prop_assert_eq!(result.len(), memory.len());
            prop_assert!(places(&patterns, &result).is_empty());
            // Only patterns and, at the ends of reads, parts of them are overwritten.
            let mut allowed = vec![false; memory.len()];
            for place in places(&patterns, &memory) {
                allowed[place].fill(true);
            }
            let longest = patterns.iter().map(Vec::len).max().unwrap();
            for border in borders.iter().copied().chain([0, memory.len()]) {
                let near = border.saturating_sub(longest)..(border + longest).min(memory.len());
                allowed[near].fill(true);
            }
            if longest <= page {
                for (index, byte) in result.iter().enumerate() {
                    prop_assert!(allowed[index] || *byte == memory[index], "{}", index);
                }
            }
        }
    }
}
