//! What a callback that takes over the output receives.

use dumpwright_callback::Ask;

/// The bytes of IoWriteAll, each at its offset.
#[derive(Debug, Default)]
pub(crate) struct Output(Vec<u8>);

/// Offsets beyond this are not kept: the whole output stays in memory, and a damaged offset must not take all of
/// it.
const MOST: u64 = 16 << 30;

impl Output {
    /// Keeps the bytes of IoWriteAll.
    pub fn take(&mut self, ask: &Ask<'_>) {
        let Ask::IoWriteAll { offset, bytes, .. } = ask else {
            return;
        };
        if *offset > MOST {
            return;
        }
        let start = usize::try_from(*offset).expect("at most 16 GiB");
        let end = start + bytes.len();
        if self.0.len() < end {
            self.0.resize(end, 0);
        }
        self.0[start..end].copy_from_slice(bytes);
    }

    /// What was kept.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
