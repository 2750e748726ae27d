use std::time::Duration;

use dumpwright_target::{Exception, Need};

use crate::{DumpType, Profile};

/// What a dump should contain, and how it is made.
///
/// ```
/// use dumpwright::{DumpType, Request};
///
/// let request = Request::new(DumpType::WITH_DATA_SEGS).comment("before the restart");
/// ```
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) dump_type: DumpType,
    pub(crate) exception: Option<Exception>,
    pub(crate) find_crash: bool,
    pub(crate) known_crash: Option<KnownCrash>,
    pub(crate) requesting_thread: Option<u32>,
    pub(crate) user_streams: Vec<UserStream>,
    pub(crate) time: Option<u32>,
    pub(crate) fetch_limit: u64,
    pub(crate) dont_dump: bool,
    pub(crate) profile: Profile,
    pub(crate) file_handle: Option<u64>,
    pub(crate) process_handle: Option<u64>,
    pub(crate) thread_ex: bool,
    pub(crate) max_pause: Option<Duration>,
    pub(crate) max_clone: Option<Duration>,
    /// Whether to trace why memory is in the dump.
    pub(crate) explained: bool,
}

/// A stream that the caller adds to the dump. Its bytes are copied unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserStream {
    /// The stream type, usually above 0xFFFF, or 10 (CommentA) or 11 (CommentW).
    /// [`Request::user_stream`] describes which types are valid.
    pub stream_type: u32,
    /// The contents of the stream.
    pub bytes: Vec<u8>,
}

/// A crash that the caller knows of, without its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCrash {
    /// The thread that crashed.
    pub thread_id: u32,
    /// The exception code; on Linux, the signal number.
    pub code: u32,
    /// The exception flags; on Linux, `si_code`.
    pub flags: u32,
    /// The address at which it occurred. `None` stands for that of the signal that the thread
    /// handles, or else that of the instruction.
    pub address: Option<u64>,
}

impl Request {
    /// The default of [`max_clone`](Self::max_clone): 10 minutes.
    pub const MAX_CLONE: Duration = Duration::from_secs(600);

    /// Creates a request for a dump of this type, with the default for every other setting.
    #[must_use]
    pub fn new(dump_type: DumpType) -> Self {
        Self {
            dump_type,
            exception: None,
            find_crash: false,
            known_crash: None,
            requesting_thread: None,
            user_streams: Vec::new(),
            time: None,
            fetch_limit: 256 << 20,
            dont_dump: false,
            profile: Profile::default(),
            file_handle: None,
            process_handle: None,
            thread_ex: false,
            max_pause: None,
            max_clone: Some(Self::MAX_CLONE),
            explained: false,
        }
    }

    /// Sets the exception that the dump is about, usually the reason for a crash. It becomes the
    /// Exception stream. The function `native::exception` creates one from the arguments of a crash
    /// handler.
    #[must_use]
    pub fn exception(mut self, exception: Exception) -> Self {
        self.exception = Some(exception);
        self
    }

    /// Sets the exception by what is known about it, if there is no
    /// [`exception`](Self::exception). The registers are those of the thread.
    ///
    /// If the thread handles a signal with this number, they are those at the moment of the signal;
    /// [`find_crash`](Self::find_crash) says when that is recognised. If the thread is not in the
    /// dump, the dump has no exception, and its report says so.
    #[must_use]
    pub fn known_crash(mut self, crash: KnownCrash) -> Self {
        self.known_crash = Some(crash);
        self
    }

    /// Looks for a crash that the program is handling, if there is no
    /// [`exception`](Self::exception). The default is not to look for one.
    ///
    /// A program that handles its own crashes, such as a language runtime, stays in the handler of
    /// the signal while it starts the program that makes the dump. The exception is the signal that
    /// the handler was called for, with the registers at that moment: SIGSEGV, SIGBUS, SIGILL,
    /// SIGFPE, SIGABRT, SIGTRAP or SIGSYS. If several threads are in such handlers, it is that of
    /// the first one in the list of threads.
    ///
    /// It is found on Linux, in 64-bit programs, for handlers that were installed with `SA_SIGINFO`
    /// and without `SA_NODEFER`. A runtime that uses such signals for other purposes may be in a
    /// handler without having crashed.
    #[must_use]
    pub fn find_crash(mut self, find: bool) -> Self {
        self.find_crash = find;
        self
    }

    /// Sets the thread on whose behalf the dump is made; readers show it first. The default is the
    /// thread with the exception, or the first thread if there is no exception.
    ///
    /// Only the stream BreakpadInfo of Linux dumps stores it.
    #[must_use]
    pub fn requesting_thread(mut self, id: u32) -> Self {
        self.requesting_thread = Some(id);
        self
    }

    /// Adds a stream with these bytes. The dump has such streams in the order of the calls.
    ///
    /// A stream with a type above 0xFFFF replaces the stream of that type that dumpwright would
    /// write itself (on Linux, BreakpadInfo for example).
    ///
    /// In the profile [`Documented`](crate::Profile::Documented), [`dump`](crate::dump()) fails
    /// with [`Error::InvalidRequest`](crate::Error::InvalidRequest), before the target is
    /// suspended, if the type is 0, if it was added before, or if it is one of Microsoft's types
    /// (up to 0xFFFF) that dumpwright writes itself. The other profiles accept any type, as DbgHelp
    /// does.
    #[must_use]
    pub fn user_stream(mut self, stream_type: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.user_streams.push(UserStream {
            stream_type,
            bytes: bytes.into(),
        });
        self
    }

    /// Sets the time in the dump's header, in seconds since 1970. The default is the current time
    /// of the target's clock.
    #[must_use]
    pub fn time(mut self, seconds: u32) -> Self {
        self.time = Some(seconds);
        self
    }

    /// Sets how many bytes of selected memory, other than stacks, are read before the first byte is
    /// written. The default is 256 MiB.
    ///
    /// If all selected memory is within the limit, the target is resumed before the dump is
    /// written. Memory beyond the limit is deferred: it is read through a small buffer while the
    /// dump is written, and the target stays suspended until then. In the profile
    /// [`Documented`](Profile::Documented), full memory is always deferred.
    #[must_use]
    pub fn fetch_limit(mut self, bytes: u64) -> Self {
        self.fetch_limit = bytes;
        self
    }

    /// Sets the longest time for which the target may be suspended. There is no limit by default.
    ///
    /// When the time has passed, the target is resumed at once, even while a callback runs or the
    /// output is blocked. Nothing more is read from it. The dump is then partial, and its report
    /// lists what is missing. Deferred memory that was not read is filled with 0xDD, and after 64
    /// MiB with zeros, which take no space in a file. If not even the threads and the memory map
    /// are known by then, the dump fails.
    ///
    /// Even without this limit, a live Linux process is resumed in this way if nothing can be
    /// written to the output for 10 s, or if the dumping process itself is stopped for that time.
    ///
    /// On Linux, a helper process enforces the limit. Where [`Holding::tracer`] is `"in-process"`,
    /// a thread does, which cannot resume the target while the dumping process is stopped. The
    /// limit does not apply to a debuggee of the caller, whose threads the caller has stopped.
    /// Dumps of live Windows processes and of programs that were started with `Spawned` fail if
    /// there is a limit. Process snapshots ignore it. The time of simulated processes passes only
    /// in slow reads.
    ///
    /// [`Holding::tracer`]: dumpwright_target::Holding::tracer
    #[must_use]
    pub fn max_pause(mut self, limit: Duration) -> Self {
        self.max_pause = Some(limit);
        self
    }

    /// Returns what the request needs from its target, before a callback has changed the dump type.
    /// `native::Process::estimate` takes it.
    #[must_use]
    pub fn need(&self) -> Need {
        crate::dump::need(self.dump_type, self)
    }

    /// Sets the longest time for which a clone of a live Linux process may exist. The default is
    /// [`MAX_CLONE`](Self::MAX_CLONE), 10 minutes.
    ///
    /// While the clone exists, the process needs more time for the first write to each page, and
    /// more memory. When the time has passed, the clone is ended at once, even while a callback
    /// runs or the output is blocked. The dump is then partial, and its report lists what is
    /// missing. Deferred memory that was not read is filled as after
    /// [`max_pause`](Self::max_pause).
    ///
    /// A process that is held in another way, such as a process snapshot of Windows, has no such
    /// limit.
    #[must_use]
    pub fn max_clone(mut self, limit: Duration) -> Self {
        self.max_clone = Some(limit);
        self
    }

    /// Sets whether the dump includes memory that the program marked "do not dump" (on Linux,
    /// `MADV_DONTDUMP`). The default is `false`.
    #[must_use]
    pub fn include_dont_dump(mut self, yes: bool) -> Self {
        self.dont_dump = yes;
        self
    }

    /// Sets whose behaviour the callback dialogue and the dump follow. The default is
    /// [`Profile::Documented`].
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Adds a comment, which debuggers show when they open the dump.
    ///
    /// The comment becomes the stream CommentW, so the rules of
    /// [`user_stream`](Self::user_stream) apply: a second comment makes the dump fail.
    #[must_use]
    pub fn comment(self, text: &str) -> Self {
        const COMMENT_W: u32 = 11;
        // Debuggers print the text up to the NUL.
        let units = text.encode_utf16().chain([0]);
        self.user_stream(COMMENT_W, units.flat_map(u16::to_le_bytes).collect::<Vec<_>>())
    }

    /// Sets whether the dump has a ThreadExList instead of a ThreadList. The default is `false`.
    ///
    /// A ThreadExList also has the backing stores of threads: second stacks, which processors of
    /// the Itanium family use for registers. The callback gets ThreadEx instead of Thread, with
    /// [`ThreadWriteFlags::BACKING_STORE`](crate::callback::ThreadWriteFlags::BACKING_STORE) among
    /// the flags.
    ///
    /// This is for testing callbacks and readers: DbgHelp writes a ThreadExList on Itanium only,
    /// and most readers support only the ThreadList.
    #[must_use]
    pub fn thread_ex_list(mut self, yes: bool) -> Self {
        self.thread_ex = yes;
        self
    }

    /// Sets the file handle that IoStart, IoWriteAll and IoFinish pass to the callback. In
    /// `MiniDumpWriteDump`, this is the handle that the caller passed.
    ///
    /// The bytes still go to the sink. 0 means that there is no file: the dump then fails unless
    /// the callback takes over the output. If no handle is set, the callback gets 0 and the sink
    /// is used.
    #[must_use]
    pub fn file_handle(mut self, handle: u64) -> Self {
        self.file_handle = Some(handle);
        self
    }

    /// Sets the process handle that the callback gets. In `MiniDumpWriteDump`, this is the handle
    /// that the caller passed. The default is
    /// [the target's handle](dumpwright_target::Target::process_handle).
    #[must_use]
    pub fn process_handle(mut self, handle: u64) -> Self {
        self.process_handle = Some(handle);
        self
    }
}
