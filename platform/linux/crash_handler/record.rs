//! The messages between a crashed process and its server.
//!
//! Both are parts of one library in one version, in most cases: the server says which version of
//! the messages it knows, and the handler is not installed if it is another one.

use super::annotations::{self, AREA_SIZE};
use crate::crash::{GREGS, SignalFacts, exception_of};
use dumpwright_target::Exception;

/// The start of each message, with the version of all of them.
const MARK: u64 = u64::from_le_bytes(*b"dwcrash1");

/// The sizes of the structures that the kernel passes to a signal handler.
pub(super) const SIGINFO_SIZE: usize = 128;
/// `ucontext_t` as the kernel writes it, with a mask of 8 bytes at its end.
pub(super) const CONTEXT_SIZE: usize = 304;
pub(super) const FXSAVE_SIZE: usize = 512;

/// The offset of the general registers in `ucontext_t`.
const REGISTERS: usize = 40;
/// The offset of the pointer to the floating point state in `ucontext_t`.
pub(super) const FXSAVE_POINTER: usize = REGISTERS + 8 * GREGS;

/// The first part of the message about a crash. After it come the `siginfo_t`, the `ucontext_t`,
/// the annotations and, if there is a floating point state, that state.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct CrashHead {
    pub(super) mark: u64,
    pub(super) thread: u64,
}

impl CrashHead {
    pub(super) const SIZE: usize = size_of::<Self>();

    pub(super) fn new(thread: i32) -> Self {
        Self {
            mark: MARK,
            thread: u64::from(thread.unsigned_abs()),
        }
    }
}

/// The size of the largest message about a crash.
pub(super) const CRASH_SIZE: usize = CrashHead::SIZE + SIGINFO_SIZE + CONTEXT_SIZE + AREA_SIZE + FXSAVE_SIZE;

/// Parses a message about a crash. Returns `None` if it is not one.
///
/// The process has crashed, so the bytes may be anything. None of them is an address that is
/// followed in this process, and no length is taken from them.
pub(super) fn parse(message: &[u8]) -> Option<(Exception, Vec<(String, String)>)> {
    let (head, rest) = message.split_first_chunk::<{ CrashHead::SIZE }>()?;
    let (siginfo, rest) = rest.split_first_chunk::<SIGINFO_SIZE>()?;
    let (context, rest) = rest.split_first_chunk::<CONTEXT_SIZE>()?;
    let (area, fxsave) = rest.split_first_chunk::<AREA_SIZE>()?;
    let fxsave = match fxsave.len() {
        0 => None,
        _ => Some(fxsave.try_into().ok()?),
    };
    if word(head, 0) != MARK {
        return None;
    }
    let thread = u32::try_from(word(head, 8)).ok().filter(|thread| *thread > 0)?;
    let registers = std::array::from_fn(|index| word(context, REGISTERS + 8 * index));
    let exception = exception_of(thread, SignalFacts::parse(siginfo), &registers, fxsave);
    Some((exception, annotations::parse(area)))
}

pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyKind {
    /// It is ready for a crash.
    Ready = 1,
    /// It cannot serve. The text has the reason.
    Refused = 2,
    /// It has written the dump, or there is none. The text says which.
    Done = 3,
}

/// A message of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) kind: ReplyKind,
    /// The server's process id.
    pub(super) server: i32,
    pub(super) text: String,
}

impl Reply {
    const HEAD: usize = 16;
    /// The size of the longest message.
    pub(super) const SIZE: usize = 2048;

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut end = self.text.len().min(Self::SIZE - Self::HEAD);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = MARK.to_le_bytes().to_vec();
        bytes.extend((self.kind as i32).to_le_bytes());
        bytes.extend(self.server.to_le_bytes());
        bytes.extend(&self.text.as_bytes()[..end]);
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let kinds = [ReplyKind::Ready, ReplyKind::Refused, ReplyKind::Done];
        let (head, text) = bytes.split_first_chunk::<{ Self::HEAD }>()?;
        let kind = kinds.into_iter().find(|kind| is_reply(bytes, *kind))?;
        let server = i32::from_le_bytes(head[12..].try_into().expect("four bytes"));
        let text = String::from_utf8_lossy(text).into_owned();
        Some(Self { kind, server, text })
    }
}

/// Whether these bytes are a reply of this kind. The signal handler uses it, which cannot allocate.
pub(super) fn is_reply(bytes: &[u8], kind: ReplyKind) -> bool {
    bytes.len() >= Reply::HEAD
        && bytes[..8] == MARK.to_le_bytes()
        && bytes[8..12] == (kind as i32).to_le_bytes()
}

/// The text of a reply.
pub(super) fn reply_text(bytes: &[u8]) -> &[u8] {
    bytes.get(Reply::HEAD..).unwrap_or_default()
}

/// What these tests would catch: a server that panics on, or believes, what a crashed process
/// sends; replies that are cut in the middle of a character.
#[cfg(test)]
mod tests {
    use super::*;

    fn message(thread: u64) -> Vec<u8> {
        let mut bytes = MARK.to_le_bytes().to_vec();
        bytes.extend(thread.to_le_bytes());
        bytes.resize(CRASH_SIZE, 0);
        // Signal 11, code 1, address 0x18.
        bytes[16] = 11;
        bytes[24] = 1;
        bytes[32] = 0x18;
        let rip = CrashHead::SIZE + SIGINFO_SIZE + REGISTERS + 8 * libc::REG_RIP as usize;
        bytes[rip] = 0x77;
        bytes
    }

    #[test]
    fn a_crash_is_parsed() {
        let whole = message(7);
        for bytes in [&whole[..], &whole[..CRASH_SIZE - FXSAVE_SIZE]] {
            let (exception, annotations) = parse(bytes).expect("a crash");
            let facts = (
                exception.thread_id,
                exception.code,
                exception.flags,
                exception.address,
            );
            assert_eq!(facts, (7, 11, 1, 0x18));
            assert_eq!(exception.context.instruction_pointer(), 0x77);
            assert!(annotations.is_empty());
        }
    }

    #[test]
    fn other_bytes_are_no_crash() {
        let whole = message(7);
        for length in (0..whole.len()).filter(|length| *length != CRASH_SIZE - FXSAVE_SIZE) {
            assert!(parse(&whole[..length]).is_none(), "{length}");
        }
        for thread in [0, 1 << 32, u64::MAX] {
            assert!(parse(&message(thread)).is_none(), "{thread}");
        }
        let mut other = whole.clone();
        other[0] ^= 1;
        assert!(parse(&other).is_none());
        // Signals and registers may be anything.
        let head = CrashHead::SIZE;
        let mut wild = whole.clone();
        wild[head..].fill(0xff);
        assert!(parse(&wild).is_some_and(|(_, annotations)| annotations.is_empty()));
    }

    #[test]
    fn replies_are_cut_between_characters() {
        let reply = Reply {
            kind: ReplyKind::Done,
            server: 4711,
            text: "ä".repeat(Reply::SIZE),
        };
        let bytes = reply.to_bytes();
        assert!(bytes.len() <= Reply::SIZE);
        let read = Reply::parse(&bytes).expect("a reply");
        assert_eq!((read.kind, read.server), (ReplyKind::Done, 4711));
        assert!(read.text.len() > 2000 && read.text.chars().all(|letter| letter == 'ä'));
        assert_eq!(Reply::parse(&bytes[..12]), None);
        assert_eq!(Reply::parse(&[0; 64]), None);
    }
}
