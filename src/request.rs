use dumpwright_target::Exception;

use crate::{DumpType, Profile};

/// What the caller wants dumped.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) dump_type: DumpType,
    pub(crate) exception: Option<Exception>,
    pub(crate) requesting_thread: Option<u32>,
    pub(crate) user_streams: Vec<UserStream>,
    pub(crate) time: Option<u32>,
    pub(crate) fetch_limit: u64,
    pub(crate) dont_dump: bool,
    pub(crate) profile: Profile,
    pub(crate) file_handle: Option<u64>,
    pub(crate) process_handle: Option<u64>,
    pub(crate) thread_ex: bool,
}

/// A stream of the caller's own, copied into the dump as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserStream {
    /// Its type: above 0xFFFF, or 10 or 11 for a comment.
    pub stream_type: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Request {
    /// A dump of this type.
    #[must_use]
    pub fn new(dump_type: DumpType) -> Self {
        Self {
            dump_type,
            exception: None,
            requesting_thread: None,
            user_streams: Vec::new(),
            time: None,
            fetch_limit: 256 << 20,
            dont_dump: false,
            profile: Profile::default(),
            file_handle: None,
            process_handle: None,
            thread_ex: false,
        }
    }

    /// The process crashed: what happened becomes the Exception stream.
    #[must_use]
    pub fn exception(mut self, exception: Exception) -> Self {
        self.exception = Some(exception);
        self
    }

    /// The thread on whose behalf the dump is made; readers show it first. By default the one with the
    /// exception, else the first.
    #[must_use]
    pub fn requesting_thread(mut self, id: u32) -> Self {
        self.requesting_thread = Some(id);
        self
    }

    /// Adds a stream of the caller's own. They stand in the dump in the order of the calls.
    #[must_use]
    pub fn user_stream(mut self, stream_type: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.user_streams.push(UserStream {
            stream_type,
            bytes: bytes.into(),
        });
        self
    }

    /// The time that stands in the dump's header, in seconds since 1970; by default the clock's.
    #[must_use]
    pub fn time(mut self, seconds: u32) -> Self {
        self.time = Some(seconds);
        self
    }

    /// Up to how many bytes of selected memory are kept by the dumper, so that the target can run on
    /// before the first byte is written; by default 256 MiB. What exceeds it, and full memory, passes
    /// through one small buffer while the target waits.
    #[must_use]
    pub fn fetch_limit(mut self, bytes: u64) -> Self {
        self.fetch_limit = bytes;
        self
    }

    /// Dump also memory that the program marked "do not dump" (`MADV_DONTDUMP`).
    #[must_use]
    pub fn include_dont_dump(mut self, yes: bool) -> Self {
        self.dont_dump = yes;
        self
    }

    /// Whose behaviour the dialogue and the dump follow; by default [`Profile::Documented`].
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// A comment, which debuggers show when they open the dump. At most one; it becomes the stream CommentW.
    #[must_use]
    pub fn comment(self, text: &str) -> Self {
        const COMMENT_W: u32 = 11;
        // Debuggers print up to the NUL.
        let units = text.encode_utf16().chain([0]);
        self.user_stream(COMMENT_W, units.flat_map(u16::to_le_bytes).collect::<Vec<_>>())
    }

    /// List the threads in a ThreadExList in place of the ThreadList: with the second stacks that processors of the
    /// Itanium family have for registers. The callback is asked ThreadEx in place of Thread then, with
    /// [`ThreadWriteFlags::BACKING_STORE`](crate::callback::ThreadWriteFlags::BACKING_STORE) among the flags.
    ///
    /// DbgHelp does so on those processors only, and most readers know the ThreadList alone: this is for rehearsing
    /// callbacks and for trying readers.
    #[must_use]
    pub fn thread_ex_list(mut self, yes: bool) -> Self {
        self.thread_ex = yes;
        self
    }

    /// The file handle that `MiniDumpWriteDump` was called with. The callback is shown it by IoStart, IoWriteAll and
    /// IoFinish; bytes still go to the sink. 0 says that there is no file: then the dump fails unless the
    /// callback takes over the output. Without this setting the callback is shown 0.
    #[must_use]
    pub fn file_handle(mut self, handle: u64) -> Self {
        self.file_handle = Some(handle);
        self
    }

    /// The process handle that `MiniDumpWriteDump` was called with, for the callback to be shown; by default
    /// [the target's](dumpwright_target::Target::process_handle).
    #[must_use]
    pub fn process_handle(mut self, handle: u64) -> Self {
        self.process_handle = Some(handle);
        self
    }
}
