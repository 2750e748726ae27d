//! The parsers of files in `/proc`, for the fuzz target `proc`.

use crate::{attach, counters, proc_dir, regions, tokens};

/// Reads the same bytes as each of the files.
pub fn proc_texts(data: &[u8]) {
    if let Ok(mappings) = regions::parse(data) {
        for pair in mappings.windows(2) {
            assert!(pair[0].range.end() <= pair[1].range.start());
        }
        for dont_dump in [false, true] {
            let listed = regions::regions(&mappings, &[], dont_dump, |mapping| mapping.offset == 0);
            assert!(listed.len() <= mappings.len());
        }
        let _ = regions::reservations(&mappings).count();
        for mapping in &mappings {
            let _ = (mapping.name(), mapping.file_path(), mapping.is_special());
            let found = regions::mapping_at(data, mapping.range.start());
            assert!(found.is_ok_and(|found| found.is_some()));
        }
    }
    if let Ok(stat) = proc_dir::ThreadStat::parse(data) {
        let _ = (stat.comm_text(), stat.has_ended());
    }
    for name in ["Pid", "Uid", "VmSize", ""] {
        let _ = proc_dir::field(data, name);
    }
    let _ = (counters::counters(data, u64::MAX), tokens::parse(data));
    let _ = attach::user_ids(data);
    for size in [4, 8] {
        assert!(proc_dir::auxv_pairs(data, size).len() <= data.len() / (2 * size));
    }
}
