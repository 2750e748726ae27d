use std::io::{self, ErrorKind, Write};

use dumpwright_callback::{Ask, Callback, Hresult};

/// The dump into anything that can be written to, through the protocol's own output questions.
///
/// [`StreamSink`](crate::StreamSink) does the same without a callback. This one is for programs that are to work with
/// whatever puts the questions, and for rehearsing them. The bytes come front to back; a writer that goes back, as Microsoft's
/// does, is refused.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::StreamOutput;
/// use dumpwright::{DumpType, Request, dump};
///
/// let mut output = StreamOutput::new(Vec::new());
/// let report = dump(&mut process, &Request::new(DumpType::NORMAL), Some(&mut output), &mut Vec::new())?;
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
    /// Into `output`.
    pub fn new(output: W) -> Self {
        Self {
            output,
            written: 0,
            error: None,
        }
    }

    /// Bytes of the last dump so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Why the last dump could not be written; the protocol itself carries only a number.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.error.as_ref()
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.output
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.written {
            let text = format!(
                "{} bytes are written, and the next ones belong at {offset}",
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
}
