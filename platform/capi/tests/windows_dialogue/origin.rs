//! Replaces numbers in a transcript that depend on how the twin was compiled by words, so that
//! transcripts of two builds can be compared.
//!
//! These numbers are the depths of its stacks, the ends of its program's sections, and its total
//! amount of memory.

/// The numbers of one build that are replaced.
pub struct Origin {
    /// For each thread, the offset of its stack pointer in its stack.
    pub pointers: Vec<u64>,
    /// Sections and directories of the program: name, offset in the image, size in bytes.
    pub parts: Vec<(String, u64, u64)>,
    /// The size of the program's image in bytes.
    pub image: u64,
    /// The number of bytes of committed memory that is neither PAGE_NOACCESS nor PAGE_GUARD.
    pub open: u64,
}

const PAGE: u64 = 0x1000;

impl Origin {
    /// Returns a line of a transcript with words instead of these numbers.
    pub fn in_words(&self, line: &str) -> String {
        let line = self.program(&self.total(line));
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        // A range that begins at a stack pointer ends at the end of a page or of the stack.
        let mut begun = None;
        for word in &mut words {
            for (number, pointer) in self.pointers.iter().enumerate() {
                let place = format!("stk{number}+{pointer:#x}");
                if let Some(at) = word.find(&place) {
                    begun = Some(*pointer);
                    let rest = word.split_off(at + place.len());
                    word.truncate(at);
                    *word += &format!("stk{number}+rsp{}", self.end(&rest, begun));
                }
            }
            if let Some((key, value)) = word
                .split_once('=')
                .filter(|(key, _)| ["n", "size", "done"].contains(key))
            {
                *word = format!("{key}={}", self.end(value, begun));
            } else {
                *word = self.end(word, begun);
            }
        }
        words.join(" ")
    }

    /// `0x7e8` or `+:0x7e8` behind a stack pointer.
    fn end(&self, text: &str, begun: Option<u64>) -> String {
        let (before, digits) = text.split_at(text.find("0x").unwrap_or(text.len()));
        let size = digits
            .get(2..)
            .and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match (begun, size) {
            (Some(pointer), Some(size))
                if size > 0 && (pointer + size).is_multiple_of(PAGE) && ["", "+:"].contains(&before) =>
            {
                format!("{before}..{:#x}", pointer + size)
            }
            _ => text.to_owned(),
        }
    }

    /// `mem target+0x1000 0x7938`, `base=target size=0x41000`.
    fn program(&self, line: &str) -> String {
        if let Some((before, range)) = line.split_once(" mem target+") {
            let found = self
                .parts
                .iter()
                .find(|(_, offset, size)| range == format!("{offset:#x} {size:#x}"));
            if let Some((name, ..)) = found {
                return format!("{before} mem target+{name}");
            }
        }
        let size = format!("{:#x}", self.image);
        line.replace(&format!("target size={size} "), "target size=all ")
    }

    /// `total=0x232b000`.
    fn total(&self, line: &str) -> String {
        let Some((before, rest)) = line.split_once(" total=0x") else {
            return line.to_owned();
        };
        let (digits, behind) = rest.split_once(' ').unwrap_or((rest, ""));
        let total = u64::from_str_radix(digits, 16).expect("hexadecimal");
        format!("{before} total=all-{:#x} {behind}", self.open.wrapping_sub(total))
    }
}

/// Returns the numbers of the recorded transcripts, from `testdata/oracle/target.txt`.
pub fn recorded(target: &str) -> Origin {
    let lines = target.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let number = |text: &str| crate::names::number(text);
    let mut origin = Origin {
        pointers: Vec::new(),
        parts: Vec::new(),
        image: 0,
        open: 0,
    };
    for words in lines {
        match words[..] {
            ["thread", _, _, pointer] => {
                let (_, offset) = pointer.split_once('+').expect("STACK+OFFSET");
                origin.pointers.push(number(offset));
            }
            ["sym", "target", _, size] => origin.image = number(size),
            ["part", name, offset, size] => {
                origin.parts.push((name.to_owned(), number(offset), number(size)))
            }
            ["open", size] => origin.open = number(size),
            _ => {}
        }
    }
    origin
}

/// Returns the sections and directories of an executable file. The offsets are those in Microsoft's
/// "PE Format".
pub fn parts(file: &[u8]) -> Vec<(String, u64, u64)> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
    let half = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let header = number(0x3c) as usize;
    let optional = header + 24;
    let mut parts = vec![("headers".to_owned(), 0, u64::from(number(optional + 60)))];
    for row in (0..half(header + 6)).map(|index| optional + half(header + 20) + 40 * index) {
        let name = String::from_utf8_lossy(&file[row..row + 8]);
        let place = (u64::from(number(row + 12)), u64::from(number(row + 8)));
        parts.push((name.trim_end_matches('\0').to_owned(), place.0, place.1));
    }
    for index in 0..16 {
        let row = optional + 112 + 8 * index;
        parts.push((
            format!("directory{index}"),
            u64::from(number(row)),
            u64::from(number(row + 4)),
        ));
    }
    parts
}
