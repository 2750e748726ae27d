//! The header and the directory of a dump, in the form of the transcripts.

use std::fmt::Write;

/// The longest directory of a recording ends far below this offset.
const KEPT: usize = 0x1000;

/// The first bytes of a dump.
#[derive(Default)]
pub struct Head(Vec<u8>);

impl Head {
    /// Stores what is written at an offset of the dump.
    pub fn store(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(KEPT).min(KEPT);
        let end = (at + bytes.len()).min(KEPT);
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[at..end].copy_from_slice(&bytes[..end - at]);
    }

    /// Returns a line for the header and one for each entry of the directory; nothing if nothing
    /// was written.
    pub fn lines(&self) -> String {
        let mut text = String::new();
        if self.0.is_empty() {
            return text;
        }
        let (count, directory) = (self.number(8), self.number(12) as usize);
        writeln!(
            text,
            "D header sig={} ver={:#x} streams={count} flags={:#x}",
            String::from_utf8_lossy(&self.0[..4]),
            self.number(4) & 0xFFFF,
            self.number(24),
        )
        .expect("memory");
        for at in (directory..).step_by(12).take(count as usize) {
            let (stream_type, size) = (self.number(at), self.number(at + 4));
            writeln!(text, "D stream {stream_type} ? size={size:#x}").expect("memory");
        }
        text
    }

    fn number(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4 bytes"))
    }
}
