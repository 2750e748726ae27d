use std::io::{self, ErrorKind, Write};

use dumpwright_callback::{Ask, Callback, Hresult, ProcessAsked};

/// Writes the dump to any [`Write`], by taking over the output as a callback can.
///
/// [`StreamSink`](crate::StreamSink) does the same without a callback. Use this policy in code that
/// is written for the callback protocol, or to rehearse such code. The bytes must arrive in file
/// order. A write at any other offset, as Microsoft's writer makes them, fails.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::StreamOutput;
/// use dumpwright::{DumpType, Request, dump};
///
/// let mut output = StreamOutput::new(Vec::new());
/// let request = Request::new(DumpType::NORMAL);
/// let report = dump(&mut process, &request, Some(&mut output), &mut Vec::new())?;
/// let bytes = output.into_inner();
/// assert_eq!((bytes.len() as u64, &bytes[..4]), (report.bytes, b"MDMP".as_slice()));
/// # Ok::<(), dumpwright::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamOutput<W> {
    output: W,
    written: u64,
    error: Option<io::Error>,
}

impl<W: Write> StreamOutput<W> {
    /// Creates a policy that writes to `output`.
    pub fn new(output: W) -> Self {
        Self {
            output,
            written: 0,
            error: None,
        }
    }

    /// Returns how many bytes of the last dump have been written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the error because of which the last dump could not be written, or `None` if there
    /// was none. The dump's own error contains only a status code.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.output
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.written {
            let text = format!(
                "cannot write at offset {offset} of the dump: the output can only be appended to, and has {} bytes",
                self.written
            );
            return Err(io::Error::new(ErrorKind::NotSeekable, text));
        }
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn status(&mut self, result: io::Result<()>) -> Hresult {
        let Err(error) = result else { return Hresult::S_OK };
        let status = match error.kind() {
            ErrorKind::StorageFull => Hresult::DISK_FULL,
            ErrorKind::PermissionDenied => Hresult::ACCESS_DENIED,
            _ => Hresult::E_FAIL,
        };
        self.error = Some(error);
        status
    }
}

impl<W: Write> Callback for StreamOutput<W> {
    fn ask(&mut self, ask: Ask<'_>) -> bool {
        match ask {
            Ask::IoStart { status, .. } => {
                (self.written, self.error) = (0, None);
                *status = Hresult::S_FALSE;
            }
            Ask::IoWriteAll {
                offset,
                bytes,
                status,
                ..
            } => {
                let result = self.write(offset, bytes);
                *status = self.status(result);
            }
            Ask::IoFinish { status, .. } => {
                let result = self.output.flush();
                *status = self.status(result);
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
