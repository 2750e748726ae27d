use dumpwright_callback::{Ask, Callback, Hresult};
use dumpwright_target::AddressRange;

/// Memory that cannot be read when its turn comes is left out, and the dump goes on.
///
/// Without an answer to ReadMemoryFailure a callback makes the dump fail, by the protocol. The range that is left out is the
/// whole piece that was to be read at once, at most 64 MiB, not only the page that failed.
///
/// ```
/// use dumpwright::policy::IgnoreReadFailures;
///
/// let mut failures = IgnoreReadFailures::new();
/// // … after the dump:
/// for range in failures.left_out() {
///     println!("not in the dump: {range}");
/// }
/// ```
#[derive(Debug, Default)]
pub struct IgnoreReadFailures {
    left_out: Vec<AddressRange>,
}

impl IgnoreReadFailures {
    /// Ignores all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the last dump had to do without.
    #[must_use]
    pub fn left_out(&self) -> &[AddressRange] {
        &self.left_out
    }
}

impl Callback for IgnoreReadFailures {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IsProcessSnapshot { .. } => self.left_out.clear(),
            Ask::ReadMemoryFailure {
                offset,
                bytes,
                status,
                ..
            } => {
                self.left_out.extend(AddressRange::at(offset, bytes.into()));
                *status = Hresult::S_OK;
            }
            _ => {}
        }
        true
    }
}
