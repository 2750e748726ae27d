//! Dumps that break one rule of the check each.

use dumpwright::read::{Rule, stream_type};

use crate::sample::{
    self, BEHIND_2, Block, LIBRARY, PRIVATE, PROGRAM, STACK_1, STACK_2, Sample, THREAD_1, module, range,
    region,
};

/// A rule, a dump that respects it, and the damage that breaks it.
pub type Case = (Rule, fn() -> Sample, fn(&mut Sample));

pub const CASES: &[Case] = &[
    (Rule::HeaderVersion, sample::normal, |dump| {
        dump.set_u16(4, 0xa794)
    }),
    (
        Rule::DirectoryPlace,
        || sample::sample_with(24, 0),
        |dump| *dump = sample::sample_with(24, 8),
    ),
    (Rule::DirectoryOutsideFile, sample::normal, |dump| {
        dump.set_u32(8, 0x1000_0000)
    }),
    (
        Rule::DirectoryLong,
        || sample::sample_with(128, 0),
        |dump| *dump = sample::sample_with(129, 0),
    ),
    (Rule::UnusedSlotFilled, sample::normal, |dump| {
        dump.enter_again(0, 8, 0);
    }),
    (Rule::StreamDuplicate, sample::normal, |dump| {
        let (size, _) = dump.stream(stream_type::COMMENT_A);
        let rva = dump.put("comment again", &vec![b'c'; size as usize]);
        dump.enter_again(stream_type::COMMENT_A, size, rva);
    }),
    (Rule::StreamBeforeDirectory, sample::normal, |dump| {
        dump.enter(PRIVATE, 8, 16)
    }),
    (Rule::StreamOutsideFile, sample::normal, |dump| {
        dump.resize(PRIVATE, 0x10_0000)
    }),
    (Rule::StreamOverlap, sample::normal, |dump| {
        let (_, rva) = dump.stream(stream_type::LINUX_MAPS);
        dump.enter(PRIVATE, 8, rva + 8);
    }),
    (Rule::StreamOverlap, sample::full, |dump| {
        let data = dump.mark("memory64 data") as u32;
        dump.enter(PRIVATE, 8, data + 8);
    }),
    (Rule::PrivateStreamType, sample::normal, |dump| {
        dump.set_u32(dump.entry(PRIVATE), 0x7fff)
    }),
    (Rule::MiscInfoMissing, sample::normal, |dump| {
        dump.remove(stream_type::MISC_INFO)
    }),
    (Rule::RequiredStreamMissing, sample::normal, |dump| {
        dump.remove(stream_type::MODULE_LIST);
    }),
    (Rule::MemoryListMissing, sample::normal, |dump| {
        dump.remove(stream_type::MEMORY_LIST)
    }),
    (Rule::StringOddLength, sample::normal, |dump| {
        dump.set_u32(dump.mark("program name"), 7)
    }),
    (Rule::StringOutsideFile, sample::normal, |dump| {
        let end = dump.len().into();
        dump.set_u64(dump.mark("thread names") + 8, end);
    }),
    (Rule::StringOutsideFile, sample::normal, |dump| {
        dump.set_u32(dump.mark("csd"), 0x10_0000);
    }),
    (Rule::StringUnterminated, sample::normal, |dump| {
        dump.set_u16(dump.mark("handle name") + 4 + 18, 0x41)
    }),
    (Rule::StringUnterminated, sample::normal, |dump| {
        dump.set_u16(dump.mark("unloaded name") + 4 + 16, 0x41);
    }),
    (Rule::StringUnterminated, sample::normal, |dump| {
        dump.set_u16(dump.mark("object name") + 4 + 28, 0x41);
    }),
    (Rule::StringLong, sample::normal, |dump| {
        let name = dump.put_string("long name", &"n".repeat(1025));
        dump.set_u32(dump.mark("handles") + 16 + 12, name);
    }),
    (Rule::StringLong, sample::normal, |dump| {
        let name = dump.put_string("long module name", &"n".repeat(1025));
        dump.set_u32(dump.mark("module list") + 4 + 20, name);
    }),
    (Rule::SystemInfoSize, sample::normal, |dump| {
        dump.resize(stream_type::SYSTEM_INFO, 55)
    }),
    (Rule::SystemInfoProcessor, sample::normal, |dump| {
        dump.set_u16(dump.mark("system info"), 0xffff)
    }),
    (Rule::SystemInfoPlatform, sample::normal, |dump| {
        dump.set_u32(dump.mark("system info") + 20, 0x8204)
    }),
    (Rule::CsdStringMissing, sample::normal, |dump| {
        dump.set_u32(dump.mark("system info") + 24, 0)
    }),
    (Rule::MiscInfoSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("misc info"), 831)
    }),
    (Rule::MiscInfoSize, sample::normal, |dump| {
        dump.resize(stream_type::MISC_INFO, 7)
    }),
    (Rule::MiscInfoProcessId, sample::normal, |dump| {
        dump.set_u32(dump.mark("misc info") + 4, 0x146)
    }),
    (Rule::ThreadListSize, sample::normal, |dump| {
        dump.resize(stream_type::THREAD_LIST, 4 + 96 + 2)
    }),
    (Rule::ThreadListSize, sample::normal, |dump| {
        // One thread too many for the stream: no list is read, so nothing else has a thread to
        // name.
        dump.set_u32(dump.mark("thread list"), 3);
    }),
    (Rule::ThreadIdDuplicate, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread list") + 4 + 48, THREAD_1);
        dump.set_u32(dump.mark("thread infos") + 12 + 64, THREAD_1);
    }),
    (Rule::ThreadContextMissing, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread list") + 4 + 44, 0)
    }),
    (Rule::ContextOutsideFile, sample::normal, |dump| {
        let end = dump.len();
        dump.set_u32(dump.mark("thread list") + 4 + 44, end - 1231);
    }),
    (Rule::ContextOutsideFile, sample::normal, |dump| {
        let end = dump.len();
        dump.set_u32(dump.mark("exception") + 164, end - 1231);
    }),
    (Rule::ContextSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread list") + 4 + 40, 1231)
    }),
    (Rule::ContextSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread list") + 4 + 40, 1233)
    }),
    (Rule::ContextFlags, sample::normal, |dump| {
        dump.set_u32(dump.mark("context 1") + 0x30, 0x1f)
    }),
    (Rule::ContextFlags, sample::normal, |dump| {
        dump.set_u32(dump.mark("exception context") + 0x30, 0x1f)
    }),
    (Rule::ThreadStackMissing, sample::normal, |dump| {
        dump.set_u64(dump.mark("thread list") + 4 + 32, 0)
    }),
    (Rule::ThreadStackMissing, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread list") + 4 + 36, 0)
    }),
    (Rule::ThreadStackWraps, sample::normal, |dump| {
        dump.set_u64(dump.mark("thread list") + 4 + 24, u64::MAX)
    }),
    (Rule::ThreadStackOutsideFile, sample::normal, |dump| {
        let end = dump.len();
        dump.set_u32(dump.mark("thread list") + 4 + 36, end - 0x1ff);
    }),
    (Rule::ThreadStackUnlisted, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory list") + 4 + 16, 0x1000);
    }),
    (Rule::ThreadStackDiffers, sample::normal, |dump| {
        let mut copy = sample::pattern(1, 0x200);
        copy[0x1ff] ^= 1;
        let rva = dump.put("stack copy", &copy);
        dump.set_u32(dump.mark("thread list") + 4 + 36, rva);
    }),
    (Rule::StackPointerOutside, sample::normal, |dump| {
        dump.set_u64(dump.mark("context 1") + 0x98, STACK_1 - 1);
    }),
    (Rule::StackPointerOutside, sample::normal, |dump| {
        dump.set_u64(dump.mark("context 1") + 0x98, STACK_1 + 0x200);
    }),
    (Rule::ModuleListSize, sample::normal, |dump| {
        dump.resize(stream_type::MODULE_LIST, 4 + 216 + 2)
    }),
    (Rule::ModuleListSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("module list"), u32::MAX)
    }),
    (Rule::ModuleCount, sample::normal, |dump| {
        let (name, id) = (dump.mark("program name") as u32, dump.mark("elf id") as u32);
        let modules: Vec<u64> = (0..2049).map(|index| 0x1_0000 * (index + 1)).collect();
        let list = Block::new().u32(2049).each(&modules, |list, base| {
            list.bytes(&module(*base, 1, name, [0; 4], (24, id)))
        });
        dump.put_stream(stream_type::MODULE_LIST, "modules", &list.0);
    }),
    (Rule::ModuleNameNotAscii, sample::normal, |dump| {
        dump.set_u16(dump.mark("library name") + 4, 0xc4)
    }),
    (Rule::ModuleSizeZero, sample::normal, |dump| {
        dump.set_u32(dump.mark("module list") + 4 + 8, 0)
    }),
    (Rule::ModuleWraps, sample::normal, |dump| {
        dump.set_u64(dump.mark("module list") + 4 + 108, u64::MAX - 0x1_fffe)
    }),
    (Rule::ModuleBaseDuplicate, sample::normal, |dump| {
        dump.set_u64(dump.mark("module list") + 4, LIBRARY)
    }),
    (Rule::ModuleOverlap, sample::normal, |dump| {
        dump.set_u64(dump.mark("module list") + 4, LIBRARY - 0x3fff)
    }),
    (Rule::CodeViewMissing, sample::normal, |dump| {
        dump.set_u64(dump.mark("module list") + 4 + 76, 0)
    }),
    (Rule::CodeViewOutsideFile, sample::normal, |dump| {
        let end = dump.len();
        dump.set_u32(dump.mark("module list") + 4 + 80, end - 23);
    }),
    (Rule::CodeViewMalformed, sample::normal, |dump| {
        dump.set_u32(dump.mark("elf id"), 0)
    }),
    (Rule::CodeViewMalformed, sample::normal, |dump| {
        dump.set_u32(dump.mark("module list") + 4 + 76, 4)
    }),
    (Rule::CodeViewMalformed, sample::normal, |dump| {
        dump.set_byte(dump.mark("pdb id") + 29, b'x')
    }),
    (Rule::MemoryListSize, sample::normal, |dump| {
        dump.resize(stream_type::MEMORY_LIST, 4 + 48 + 2)
    }),
    (Rule::ListPadded, sample::normal, |dump| {
        // The padding that Breakpad's family accepts and dbgeng misreads.
        let at = dump.mark("memory list");
        let entries = dump.bytes[at + 4..at + 52].to_vec();
        dump.put_stream(
            stream_type::MEMORY_LIST,
            "padded",
            &Block::new().u32(3).u32(0).bytes(&entries).0,
        );
    }),
    (Rule::Memory64ListSize, sample::full, |dump| {
        dump.resize(stream_type::MEMORY64_LIST, 16 + 48 + 2)
    }),
    (Rule::FullMemoryFlag, sample::normal, |dump| dump.set_u64(24, 2)),
    (Rule::FullMemoryFlagMissing, sample::full, |dump| {
        dump.set_u64(24, 0x800)
    }),
    (Rule::MemoryListsBoth, sample::full, |dump| {
        // In front of the data, which ends the file.
        let data = dump.mark("memory64 data");
        let list = Block::new()
            .u32(1)
            .bytes(&range(0x1000, 8, dump.mark("csd") as u32))
            .0;
        let start = (dump.len() as usize).next_multiple_of(8);
        assert!(start > data);
        dump.put_stream(stream_type::MEMORY_LIST, "second list", &list);
    }),
    (Rule::MemoryRangeCount, sample::normal, |dump| {
        let at = dump.mark("memory list");
        let (rva, known) = (dump.mark("csd") as u32, dump.bytes[at + 4..at + 52].to_vec());
        let more: Vec<u64> = (0..4094).map(|index| 0x1000 * (index + 1)).collect();
        let list = Block::new()
            .u32(4097)
            .bytes(&known)
            .each(&more, |list, start| list.bytes(&range(*start, 8, rva)));
        dump.put_stream(stream_type::MEMORY_LIST, "ranges", &list.0);
    }),
    (Rule::MemoryRangeEmpty, sample::normal, |dump| {
        dump.set_u32(dump.mark("memory list") + 4 + 8, 0)
    }),
    (Rule::Memory64RangeEmpty, sample::full, |dump| {
        let list = dump.mark("memory64 list");
        dump.set_u64(list + 16 + 40, 0); // the last range, which is the stack of the first thread
        dump.set_u64(dump.mark("thread list") + 4 + 24, STACK_2);
        dump.set_u64(dump.mark("context 1") + 0x98, STACK_2);
    }),
    (Rule::MemoryRangeWraps, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory list") + 4, u64::MAX - 0x3e)
    }),
    (Rule::MemoryRangeOverlap, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory list") + 4, BEHIND_2 - 1)
    }),
    (Rule::MemoryRangeOverlap, sample::full, |dump| {
        dump.set_u64(dump.mark("memory64 list") + 24, 0x101);
        dump.bytes.push(0); // the data of the ranges behind it begin one byte later
    }),
    (Rule::MemoryRangeOutsideFile, sample::normal, |dump| {
        let end = dump.len();
        dump.set_u32(dump.mark("memory list") + 4 + 12, end - 0x3f);
    }),
    (Rule::MemoryRangeOutsideFile, sample::full, |dump| {
        let end = dump.bytes.len();
        dump.bytes.truncate(end - 1);
    }),
    (Rule::MemoryRangeBeforeDirectory, sample::normal, |dump| {
        dump.set_u32(dump.mark("memory list") + 4 + 12, 0)
    }),
    (Rule::Memory64WithoutInfo, sample::full, |dump| {
        dump.remove(stream_type::MEMORY_INFO_LIST)
    }),
    (Rule::Memory64RangeAtRegion, sample::full, |dump| {
        dump.set_u64(dump.mark("memory info") + 16 + 48, BEHIND_2 + 8); // the region, not the range
    }),
    (Rule::MemoryInfoSize, sample::normal, |dump| {
        dump.resize(stream_type::MEMORY_INFO_LIST, 16 + 96 + 8)
    }),
    (Rule::MemoryInfoSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("memory info") + 4, 47)
    }),
    (Rule::MemoryInfoSize, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory info") + 8, u64::MAX)
    }),
    (Rule::MemoryInfoRegion, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory info") + 16 + 24, 0)
    }),
    (Rule::MemoryInfoRegion, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory info") + 64 + 24, u64::MAX)
    }),
    (Rule::MemoryInfoOrder, sample::normal, |dump| {
        dump.set_u64(dump.mark("memory info") + 16, LIBRARY + 0x1_0000)
    }),
    (Rule::MemoryInfoOrder, sample::normal, |dump| {
        let top = region(u64::MAX - 0xfff, 0x1000, 0x1000, 4, 0x2_0000);
        let list = Block::new().u32(16).u32(48).u64(2).bytes(&top).bytes(&top);
        dump.put_stream(stream_type::MEMORY_INFO_LIST, "top regions", &list.0);
    }),
    (Rule::ExceptionSize, sample::normal, |dump| {
        dump.resize(stream_type::EXCEPTION, 160)
    }),
    (Rule::ExceptionThread, sample::normal, |dump| {
        dump.set_u32(dump.mark("exception"), 1)
    }),
    (Rule::ExceptionContextMissing, sample::normal, |dump| {
        dump.set_u64(dump.mark("exception") + 160, 0)
    }),
    (Rule::ExceptionParameters, sample::normal, |dump| {
        dump.set_u32(dump.mark("exception") + 32, 16)
    }),
    (Rule::ThreadInfoSize, sample::normal, |dump| {
        dump.resize(stream_type::THREAD_INFO_LIST, 12 + 128 + 2)
    }),
    (Rule::ThreadInfoSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread infos") + 8, 3)
    }),
    (Rule::ThreadInfoThread, sample::normal, |dump| {
        dump.set_u32(dump.mark("thread infos") + 12, 1)
    }),
    (Rule::ThreadNamesSize, sample::normal, |dump| {
        dump.resize(stream_type::THREAD_NAMES, 4 + 24 + 2)
    }),
    (Rule::ThreadNamesSize, sample::normal, |dump| {
        dump.resize(stream_type::THREAD_NAMES, 4 + 23)
    }),
    (Rule::HandleDataSize, sample::normal, |dump| {
        dump.resize(stream_type::HANDLE_DATA, 16 + 80 + 2)
    }),
    (Rule::HandleDataSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("handles") + 4, 31)
    }),
    (Rule::UnloadedModulesSize, sample::normal, |dump| {
        dump.resize(stream_type::UNLOADED_MODULE_LIST, 12 + 24 + 2)
    }),
    (Rule::HandleOperationsSize, sample::every, |dump| {
        dump.resize(stream_type::HANDLE_OPERATION_LIST, 16 + 288 + 2)
    }),
    (Rule::ObjectInformationBroken, sample::every, |dump| {
        dump.set_u32(dump.mark("information"), 0x1000_0000)
    }),
    // A ring.
    (Rule::ObjectInformationBroken, sample::every, |dump| {
        let first = dump.mark("information");
        dump.set_u32(dump.mark("second information"), first as u32)
    }),
    (Rule::FunctionTableSize, sample::every, |dump| {
        dump.set_u32(dump.mark("function tables") + 16, 3)
    }),
    (Rule::FunctionTableSize, sample::every, |dump| {
        dump.set_u32(dump.mark("function tables") + 16, 1)
    }),
    // The second table is not where it has to be.
    (Rule::FunctionTableSize, sample::every, |dump| {
        dump.set_u32(dump.mark("function tables") + 24 + 28, 0)
    }),
    (Rule::TokenSize, sample::every, |dump| {
        dump.set_u32(dump.mark("token") + 4, 2)
    }),
    (Rule::TokenSize, sample::every, |dump| {
        dump.set_u32(dump.mark("token"), 17)
    }),
    // The user's place is outside the element.
    (Rule::TokenSize, sample::every, |dump| {
        dump.set_u32(dump.mark("token") + 16 + 24, 0xffff_fff0)
    }),
    (Rule::SystemMemorySize, sample::every, |dump| {
        dump.resize(stream_type::SYSTEM_MEMORY_INFO, 493)
    }),
    (Rule::SystemMemorySize, sample::every, |dump| {
        dump.resize(stream_type::SYSTEM_MEMORY_INFO, 100)
    }),
    (Rule::VmCountersSize, sample::every, |dump| {
        dump.set_u16(dump.mark("counters"), 1)
    }),
    (Rule::BreakpadInfoSize, sample::normal, |dump| {
        dump.resize(stream_type::BREAKPAD_INFO, 13)
    }),
    (Rule::DsoDebugSize, sample::normal, |dump| {
        dump.resize(stream_type::LINUX_DSO_DEBUG, 35)
    }),
    (Rule::DsoDebugSize, sample::normal, |dump| {
        dump.set_u32(dump.mark("dso debug") + 8, 0x1000_0000)
    }),
    (Rule::ProcStatusPid, sample::normal, |dump| {
        dump.set_byte(dump.mark("status") + 18, b'5')
    }),
    (Rule::SoftErrorsJson, sample::normal, |dump| {
        dump.set_byte(dump.mark("soft errors"), b'x')
    }),
    (Rule::LossTrailerMalformed, sample::full, |dump| {
        // A whole trailer but for its count.
        let mut damaged = sample::with_losses();
        damaged.set_u32(damaged.mark("losses") + 12, 2);
        *dump = damaged;
    }),
    (Rule::LossTrailerMalformed, sample::full, |dump| {
        let mut damaged = sample::with_losses();
        damaged.set_u64(damaged.mark("losses") + 40, u64::MAX);
        *dump = damaged;
    }),
    (Rule::LossTrailerMalformed, sample::full, |dump| {
        let mut damaged = sample::with_losses();
        damaged.set_u32(damaged.mark("losses") + 8, 2);
        *dump = damaged;
    }),
    (Rule::MemoryLost, sample::full, |dump| {
        *dump = sample::with_losses()
    }),
    (Rule::LossOutsideMemory, sample::with_losses, |dump| {
        dump.set_u64(dump.mark("losses") + 16, PROGRAM)
    }),
    (Rule::LossOutsideMemory, sample::with_losses, |dump| {
        dump.set_u64(dump.mark("losses") + 24, 0)
    }),
    (Rule::LossNotFilled, sample::with_losses, |dump| {
        dump.set_byte(dump.mark("memory64 data") + 0x100 + 23, 0)
    }),
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.resize(stream_type::COMPRESSED_MEMORY, 0xC4)
    }),
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u32(dump.mark("compressed memory"), 0xC4)
    }),
    // The file was not finished.
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        let header = dump.mark("compressed memory");
        dump.bytes[header..header + 0xC0].fill(0);
    }),
    // The size of regions and buckets.
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 96, 40)
    }),
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 120, 32)
    }),
    // Both tables, past the end of the file.
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 88, u64::MAX - 64)
    }),
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 104, 1 << 60)
    }),
    // A region in no bucket, and one that is larger than its bucket.
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed regions") + 16, 2)
    }),
    (Rule::CompressedMemoryMalformed, sample::compressed, |dump| {
        dump.set_u32(dump.mark("compressed regions") + 3 * 32 + 24, 0x201)
    }),
    (Rule::CompressedMemoryEnd, sample::compressed, |dump| {
        dump.bytes.extend([0; 8])
    }),
    (Rule::CompressedTransferSize, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 32, 0x1ff)
    }),
    (Rule::CompressedBucketLarge, sample::compressed, |dump| {
        *dump = sample::compressed_with(17 << 20)
    }),
    (Rule::CompressedMemoryUnread, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed memory") + 56, 0x37f)
    }),
    (Rule::CompressedRegionOrder, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed regions") + 8, STACK_1 + 0x1_0000)
    }),
    (Rule::CompressedBucketBroken, sample::compressed, |dump| {
        dump.set_byte(dump.mark("bucket 0") + 1, 254)
    }),
    (Rule::CompressedBucketBroken, sample::compressed, |dump| {
        dump.set_u64(dump.mark("compressed buckets") + 16, u64::MAX - 8)
    }),
    (Rule::CompressedMemoryDiffers, sample::compressed, |dump| {
        dump.set_byte(dump.mark("bucket 1") + 10, 0)
    }),
];
