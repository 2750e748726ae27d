//! Access to answer slots by their content, for code that handles several callback types alike.

use crate::{Ask, Hresult, MemoryAnswer, ModuleWriteFlags, ThreadWriteFlags};

impl Ask<'_> {
    /// Returns the write flags in the answer slot (Module, Thread, ThreadEx, IncludeThread,
    /// IncludeModule).
    #[must_use]
    pub fn write_flags(&self) -> Option<u32> {
        match self {
            Self::Module { keep, .. } | Self::IncludeModule { keep, .. } => Some(keep.bits()),
            Self::Thread { keep, .. } | Self::ThreadEx { keep, .. } | Self::IncludeThread { keep, .. } => {
                Some(keep.bits())
            }
            _ => None,
        }
    }

    /// Sets the write flags in the answer slot. Does nothing for callback types without write
    /// flags.
    pub fn set_write_flags(&mut self, bits: u32) {
        match self {
            Self::Module { keep, .. } | Self::IncludeModule { keep, .. } => {
                **keep = ModuleWriteFlags::from_bits_retain(bits);
            }
            Self::Thread { keep, .. } | Self::ThreadEx { keep, .. } | Self::IncludeThread { keep, .. } => {
                **keep = ThreadWriteFlags::from_bits_retain(bits);
            }
            _ => {}
        }
    }

    /// Returns the write flags that an answer may set even if the default answer does not include
    /// them.
    ///
    /// The answer to IncludeModule may mark its module as referenced by memory. All other bits can
    /// only be cleared.
    #[must_use]
    pub fn addable_write_flags(&self) -> u32 {
        match self {
            Self::IncludeModule { .. } => ModuleWriteFlags::REFERENCED_BY_MEMORY.bits(),
            _ => 0,
        }
    }

    /// Returns the status in the answer slot (IoStart, IoWriteAll, IoFinish, ReadMemoryFailure,
    /// IsProcessSnapshot, VmStart, VmQuery, VmPreRead, VmPostRead).
    #[must_use]
    pub fn status(&self) -> Option<Hresult> {
        match self {
            Self::IoStart { status, .. }
            | Self::IoWriteAll { status, .. }
            | Self::IoFinish { status, .. }
            | Self::ReadMemoryFailure { status, .. }
            | Self::IsProcessSnapshot { status }
            | Self::VmStart { status } => Some(**status),
            Self::VmQuery { answer, .. } => Some(answer.status),
            Self::VmPreRead { answer, .. } | Self::VmPostRead { answer, .. } => Some(answer.status),
            _ => None,
        }
    }

    /// Sets the status in the answer slot. Does nothing for callback types without a status.
    pub fn set_status(&mut self, to: Hresult) {
        match self {
            Self::IoStart { status, .. }
            | Self::IoWriteAll { status, .. }
            | Self::IoFinish { status, .. }
            | Self::ReadMemoryFailure { status, .. }
            | Self::IsProcessSnapshot { status }
            | Self::VmStart { status } => **status = to,
            Self::VmQuery { answer, .. } => answer.status = to,
            Self::VmPreRead { answer, .. } | Self::VmPostRead { answer, .. } => answer.status = to,
            _ => {}
        }
    }

    /// Returns the memory range in the answer slot (Memory, RemoveMemory).
    #[must_use]
    pub fn range(&self) -> Option<MemoryAnswer> {
        match self {
            Self::Memory { wanted: range } | Self::RemoveMemory { unwanted: range } => Some(**range),
            _ => None,
        }
    }

    /// Sets the memory range in the answer slot. Does nothing for callback types without a range.
    pub fn set_range(&mut self, to: MemoryAnswer) {
        if let Self::Memory { wanted: range } | Self::RemoveMemory { unwanted: range } = self {
            **range = to;
        }
    }
}

/// What this test would catch: an accessor that reads one field and writes another, or that misses
/// a callback type.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AskKind, VmQueryAnswer, VmReadAnswer};

    #[test]
    fn values_that_are_set_are_in_the_slot_and_can_be_read_back() {
        let (mut module, mut thread) = (ModuleWriteFlags::empty(), ThreadWriteFlags::empty());
        let mut ask = Ask::IncludeModule {
            base: 1,
            keep: &mut module,
        };
        ask.set_write_flags(0x8000_0009);
        assert_eq!(ask.write_flags(), Some(0x8000_0009));
        assert_eq!(
            (ask.addable_write_flags(), ask.status(), ask.range()),
            (0x10, None, None)
        );
        let mut ask = Ask::IncludeThread {
            thread_id: 1,
            keep: &mut thread,
        };
        ask.set_write_flags(0x17);
        ask.set_status(Hresult::E_FAIL);
        ask.set_range(MemoryAnswer { base: 1, size: 2 });
        assert_eq!((ask.write_flags(), ask.addable_write_flags()), (Some(0x17), 0));
        assert_eq!((module.bits(), thread.bits()), (0x8000_0009, 0x17));

        let (mut status, mut range) = (Hresult::E_NOTIMPL, MemoryAnswer::default());
        let (mut read, mut query) = (
            VmReadAnswer { status, completed: 7 },
            VmQueryAnswer {
                status,
                region: crate::MemoryInfo::default(),
            },
        );
        for mut ask in [
            Ask::VmStart { status: &mut status },
            Ask::VmPreRead {
                offset: 0,
                buffer: &mut [],
                answer: &mut read,
            },
            Ask::VmQuery {
                offset: 0,
                answer: &mut query,
            },
        ] {
            assert_eq!(ask.status(), Some(Hresult::E_NOTIMPL), "{:?}", ask.kind());
            ask.set_status(Hresult::S_FALSE);
            assert_eq!(ask.status(), Some(Hresult::S_FALSE), "{:?}", ask.kind());
            assert_eq!(ask.write_flags(), None);
        }
        assert_eq!([status, read.status, query.status], [Hresult::S_FALSE; 3]);
        assert_eq!(read.completed, 7);

        let mut ask = Ask::RemoveMemory { unwanted: &mut range };
        assert_eq!(
            (ask.kind(), ask.range()),
            (AskKind::RemoveMemory, Some(MemoryAnswer::default()))
        );
        ask.set_range(MemoryAnswer { base: 1, size: 2 });
        assert_eq!((range.base, range.size), (1, 2));
    }
}
