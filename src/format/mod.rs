//! The bytes of records: `minidump-common`'s structures, little-endian and without padding.

use scroll::ctx::{SizeWith, TryIntoCtx};
use scroll::{Endian, LE, Pwrite};

/// The bytes of these records, back to back.
pub(crate) fn bytes<R>(records: impl IntoIterator<Item = R>) -> Vec<u8>
where
    R: TryIntoCtx<Endian, Error = scroll::Error> + SizeWith<Endian>,
{
    let size = R::size_with(&LE);
    let mut bytes = Vec::new();
    for record in records {
        let at = bytes.len();
        bytes.resize(at + size, 0);
        bytes
            .pwrite_with(record, at, LE)
            .expect("a record fits into its own size");
    }
    bytes
}

/// The size of a record.
pub(crate) fn size<R: SizeWith<Endian>>() -> usize {
    R::size_with(&LE)
}

#[cfg(test)]
mod tests {
    use minidump_common::format::*;

    use super::size;

    /// Sizes as clang lays the SDK's structures out for Windows (pack 4), not as minidump-common says.
    #[test]
    fn records_have_windows_sizes() {
        assert_eq!(size::<MINIDUMP_HEADER>(), 32);
        assert_eq!(size::<MINIDUMP_DIRECTORY>(), 12);
        assert_eq!(size::<MINIDUMP_SYSTEM_INFO>(), 56);
        assert_eq!(size::<MINIDUMP_THREAD>(), 48);
        assert_eq!(size::<MINIDUMP_THREAD_NAME>(), 12);
        assert_eq!(size::<MINIDUMP_THREAD_INFO>(), 64);
        assert_eq!(size::<MINIDUMP_MODULE>(), 108);
        assert_eq!(size::<MINIDUMP_MEMORY_DESCRIPTOR>(), 16);
        assert_eq!(size::<MINIDUMP_MEMORY_DESCRIPTOR64>(), 16);
        assert_eq!(size::<MINIDUMP_MEMORY_INFO>(), 48);
        assert_eq!(size::<MINIDUMP_MEMORY_INFO_LIST>(), 16);
        assert_eq!(size::<MINIDUMP_EXCEPTION_STREAM>(), 168);
        assert_eq!(size::<MINIDUMP_MISC_INFO_4>(), 832);
        assert_eq!(size::<MINIDUMP_HANDLE_DATA_STREAM>(), 16);
        assert_eq!(size::<MINIDUMP_HANDLE_DESCRIPTOR_2>(), 40);
        assert_eq!(size::<MINIDUMP_BREAKPAD_INFO>(), 12);
        assert_eq!(size::<DSO_DEBUG_64>(), 36);
        assert_eq!(size::<LINK_MAP_64>(), 20);
    }
}
