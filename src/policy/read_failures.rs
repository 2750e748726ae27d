use dumpwright_callback::{Ask, Callback, Hresult, ProcessAsked};
use dumpwright_target::AddressRange;

/// Leaves out memory that cannot be read, and continues the dump.
///
/// According to the protocol, the dump fails if a callback does not answer ReadMemoryFailure. The
/// range that is left out is the whole piece that was to be read at once, at most 64 MiB, not only
/// the page that failed.
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
    /// Creates a policy that ignores all read failures.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the memory that was left out of the last dump.
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

    fn process(&mut self, _: ProcessAsked) {}

    fn answers(&self) -> bool {
        true
    }
}
