//! Converts `minidump-common`'s structures to bytes, little-endian and without padding.

use scroll::ctx::{SizeWith, TryIntoCtx};
use scroll::{Endian, LE, Pwrite};

/// Returns the bytes of these records, one after the other.
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

/// Returns the size of a record in bytes.
pub(crate) fn size<R: SizeWith<Endian>>() -> usize {
    R::size_with(&LE)
}

/// These tests catch a record of minidump-common that does not have the size of Microsoft's
/// structure, or that has a member at another offset.
#[cfg(test)]
mod tests {
    use minidump_common::format::*;
    use scroll::{LE, Pread};

    use super::{bytes, size};

    /// Returns a number from the table of the newest header, `testdata/sdk`. The structures of the
    /// file format are the same in all CPU families.
    fn sdk(kind: &str, name: &str) -> usize {
        let table = include_str!("../../testdata/sdk/sdk-10.0.28000.tsv");
        let row = table.lines().find_map(|line| {
            line.strip_prefix(kind)?
                .strip_prefix('\t')?
                .strip_prefix(name)?
                .strip_prefix('\t')
        });
        let x64 = row.and_then(|numbers| numbers.split('\t').next());
        let x64 = x64.and_then(|number| number.parse().ok());
        x64.unwrap_or_else(|| panic!("{kind} {name} is not in the table"))
    }

    /// Compares the size of a record, and the offsets of its fields, with the header.
    macro_rules! compare {
        ($($record:ident { $($field:ident: $member:ident,)* })*) => {
            $({
                let name = stringify!($record);
                let length = size::<$record>();
                assert_eq!(length, sdk("size", name), "{name}");
                $({
                    let of = |byte: u8| -> $record {
                        let all = vec![byte; length];
                        all.pread_with(0, LE).expect("any bytes are a record")
                    };
                    let mut record = of(0);
                    record.$field = of(0xFF).$field;
                    let place = bytes([record]).iter().position(|byte| *byte != 0);
                    let member = format!("{name}.{}", stringify!($member));
                    assert_eq!(place, Some(sdk("offset", &member)), "{member}");
                })*
            })*
        };
    }

    #[test]
    fn records_are_those_of_the_newest_header() {
        compare! {
            MINIDUMP_HEADER {
                signature: Signature,
                version: Version,
                stream_count: NumberOfStreams,
                stream_directory_rva: StreamDirectoryRva,
                checksum: CheckSum,
                time_date_stamp: TimeDateStamp,
                flags: Flags,
            }
            MINIDUMP_LOCATION_DESCRIPTOR {
                data_size: DataSize,
                rva: Rva,
            }
            MINIDUMP_DIRECTORY {
                stream_type: StreamType,
                location: Location,
            }
            MINIDUMP_SYSTEM_INFO {
                processor_architecture: ProcessorArchitecture,
                processor_level: ProcessorLevel,
                processor_revision: ProcessorRevision,
                number_of_processors: NumberOfProcessors,
                product_type: ProductType,
                major_version: MajorVersion,
                minor_version: MinorVersion,
                build_number: BuildNumber,
                platform_id: PlatformId,
                csd_version_rva: CSDVersionRva,
                suite_mask: SuiteMask,
                reserved2: Reserved2,
                cpu: Cpu,
            }
            MINIDUMP_MEMORY_DESCRIPTOR {
                start_of_memory_range: StartOfMemoryRange,
                memory: Memory,
            }
            MINIDUMP_MEMORY_DESCRIPTOR64 {
                start_of_memory_range: StartOfMemoryRange,
                data_size: DataSize,
            }
            MINIDUMP_THREAD {
                thread_id: ThreadId,
                suspend_count: SuspendCount,
                priority_class: PriorityClass,
                priority: Priority,
                teb: Teb,
                stack: Stack,
                thread_context: ThreadContext,
            }
            MINIDUMP_THREAD_NAME {
                thread_id: ThreadId,
                thread_name_rva: RvaOfThreadName,
            }
            MINIDUMP_THREAD_INFO {
                thread_id: ThreadId,
                dump_flags: DumpFlags,
                dump_error: DumpError,
                exit_status: ExitStatus,
                create_time: CreateTime,
                exit_time: ExitTime,
                kernel_time: KernelTime,
                user_time: UserTime,
                start_address: StartAddress,
                affinity: Affinity,
            }
            MINIDUMP_EXCEPTION {
                exception_code: ExceptionCode,
                exception_flags: ExceptionFlags,
                exception_record: ExceptionRecord,
                exception_address: ExceptionAddress,
                number_parameters: NumberParameters,
                exception_information: ExceptionInformation,
            }
            MINIDUMP_MODULE {
                base_of_image: BaseOfImage,
                size_of_image: SizeOfImage,
                checksum: CheckSum,
                time_date_stamp: TimeDateStamp,
                module_name_rva: ModuleNameRva,
                version_info: VersionInfo,
                cv_record: CvRecord,
                misc_record: MiscRecord,
                reserved0: Reserved0,
                reserved1: Reserved1,
            }
            MINIDUMP_UNLOADED_MODULE {
                base_of_image: BaseOfImage,
                size_of_image: SizeOfImage,
                checksum: CheckSum,
                time_date_stamp: TimeDateStamp,
                module_name_rva: ModuleNameRva,
            }
            MINIDUMP_MEMORY_INFO {
                base_address: BaseAddress,
                allocation_base: AllocationBase,
                allocation_protection: AllocationProtect,
                region_size: RegionSize,
                state: State,
                protection: Protect,
                _type: Type,
            }
            MINIDUMP_MEMORY_INFO_LIST {
                size_of_header: SizeOfHeader,
                size_of_entry: SizeOfEntry,
                number_of_entries: NumberOfEntries,
            }
            MINIDUMP_HANDLE_DATA_STREAM {
                size_of_header: SizeOfHeader,
                size_of_descriptor: SizeOfDescriptor,
                number_of_descriptors: NumberOfDescriptors,
                reserved: Reserved,
            }
            MINIDUMP_HANDLE_DESCRIPTOR {
                handle: Handle,
                type_name_rva: TypeNameRva,
                object_name_rva: ObjectNameRva,
                attributes: Attributes,
                granted_access: GrantedAccess,
                handle_count: HandleCount,
                pointer_count: PointerCount,
            }
            MINIDUMP_MISC_INFO_4 {
                size_of_info: SizeOfInfo,
                flags1: Flags1,
                process_id: ProcessId,
                process_create_time: ProcessCreateTime,
                process_user_time: ProcessUserTime,
                process_kernel_time: ProcessKernelTime,
                processor_max_mhz: ProcessorMaxMhz,
                processor_current_mhz: ProcessorCurrentMhz,
                processor_mhz_limit: ProcessorMhzLimit,
                processor_max_idle_state: ProcessorMaxIdleState,
                processor_current_idle_state: ProcessorCurrentIdleState,
                process_integrity_level: ProcessIntegrityLevel,
                process_execute_flags: ProcessExecuteFlags,
                protected_process: ProtectedProcess,
                time_zone_id: TimeZoneId,
                time_zone: TimeZone,
                build_string: BuildString,
                dbg_bld_str: DbgBldStr,
            }
            XSTATE_CONFIG_FEATURE_MSC_INFO {
                size_of_info: SizeOfInfo,
                context_size: ContextSize,
                enabled_features: EnabledFeatures,
                features: Features,
            }
        }
        // A structure of Microsoft's that the tables do not contain.
        assert_eq!(size::<MINIDUMP_EXCEPTION_STREAM>(), 168);
    }

    /// Breakpad's records, which Microsoft's header does not have.
    #[test]
    fn records_have_breakpads_sizes() {
        assert_eq!(size::<MINIDUMP_BREAKPAD_INFO>(), 12);
        assert_eq!(size::<DSO_DEBUG_64>(), 36);
        assert_eq!(size::<LINK_MAP_64>(), 20);
    }
}
