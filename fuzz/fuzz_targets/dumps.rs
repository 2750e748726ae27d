//! Reads arbitrary bytes as a dump, and checks it. The golden dumps are the inputs to start from.
//!
//! Finds panics, overflows, endless loops, reads outside the file, and work that is not in
//! proportion to the file.

#![no_main]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dumpwright::read::{ByteSource, Dump, check};
use libfuzzer_sys::fuzz_target;

/// A file that counts how many bytes are read from it.
struct Counted {
    bytes: Vec<u8>,
    read: Arc<AtomicU64>,
}

impl ByteSource for Counted {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).expect("no range wraps");
        assert!(end <= self.len(), "{} bytes at {offset:#x}", into.len());
        self.read.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.bytes.read_at(offset, into)
    }
}

fuzz_target!(|data: &[u8]| {
    let read = Arc::new(AtomicU64::new(0));
    let source = Counted {
        bytes: data.to_vec(),
        read: read.clone(),
    };
    let Ok(dump) = Dump::from_source(source) else {
        return;
    };
    // A name, a context or a record of each entry of a table may be anywhere in the file, and the
    // reader limits them in proportion to the file.
    let most = 1000 * data.len() as u64 + (64 << 20);
    let _ = (dump.system_info(), dump.misc_info(), dump.exception());
    let _ = (dump.threads(), dump.thread_names(), dump.thread_infos());
    let _ = (dump.modules(), dump.unloaded_modules(), dump.memory_regions());
    let _ = (dump.handles(), dump.handle_operations(), dump.function_tables());
    let _ = (dump.tokens(), dump.system_memory(), dump.vm_counters());
    let _ = (dump.breakpad_info(), dump.dso_debug(), dump.soft_errors());
    let _ = (dump.comments(), dump.losses());
    for entry in dump.directory().iter().take(100) {
        let _ = (dump.stream_bytes(entry.stream_type), dump.text(entry.stream_type));
    }
    for range in dump.memory_ranges().unwrap_or_default().iter().take(100) {
        let _ = dump.memory(range.address, range.size);
        let _ = dump.memory(range.address.wrapping_sub(1), range.size.wrapping_add(2));
        let _ = dump.lost(range.address, range.size);
    }
    let regions = dump.iter_compressed_regions().into_iter().flatten().flatten();
    for region in regions.take(100) {
        let _ = dump.memory(region.address, region.size.into());
    }
    for violation in check(&dump).expect("bytes in memory can be read") {
        assert!(!violation.to_string().is_empty());
    }
    let read = read.load(Ordering::Relaxed);
    assert!(read <= most, "{read} bytes were read of {}", data.len());
});
