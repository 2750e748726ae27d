//! The structures in each CPU family, and assertions of their layout.

use super::structures::{OffsetsOf, with_structures};

macro_rules! define {
    (
        structures { $( #[doc = $doc:literal] $name:ident { $( $field:ident: $type:ident, )* } )* }
        unions { $( #[doc = $union_doc:literal] $union:ident { $( $arm:ident: $arm_type:ident, )* } )* }
    ) => {
        $(
            #[doc = $doc]
            #[derive(Clone, Copy)]
            #[repr(C, packed(4))]
            pub struct $name { $( pub $field: $type ),* }
        )*
        $(
            #[doc = $union_doc]
            #[derive(Clone, Copy)]
            #[repr(C, packed(4))]
            pub union $union { $( pub $arm: $arm_type ),* }
        )*

        /// The sizes and offsets of the structures, in the order of
        /// [`STRUCTURES`](crate::STRUCTURES).
        pub const OFFSETS: &[OffsetsOf] = &[
            $( OffsetsOf {
                name: stringify!($name),
                size: size_of::<$name>(),
                offsets: &[ $( std::mem::offset_of!($name, $field) ),* ],
            } ),*
        ];
    };
}

macro_rules! family {
    ($(#[$doc:meta])* $family:ident, $pointer:ty, context $context:literal, pad $pad:literal, tail $tail:literal) => {
        $(#[$doc])*
        #[allow(
            non_camel_case_types,
            non_snake_case,
            clippy::upper_case_acronyms,
            missing_docs,
            reason = "the names come from Microsoft's header, and the variants of Ask document what they mean"
        )]
        pub mod $family {
            use super::{OffsetsOf, with_structures};

            /// A pointer, as an integer.
            pub type Pointer = $pointer;
            pub type PVOID = Pointer;
            pub type PWCHAR = Pointer;
            pub type HANDLE = Pointer;
            pub type PEXCEPTION_POINTERS = Pointer;
            pub type PMINIDUMP_USER_STREAM = Pointer;
            pub type MINIDUMP_CALLBACK_ROUTINE = Pointer;
            pub type BOOL = i32;
            pub type HRESULT = u32;
            pub type ULONG = u32;
            pub type ULONG32 = u32;
            pub type ULONG64 = u64;
            pub type VS_FIXEDFILEINFO = [u32; 13];
            /// The registers, as bytes.
            pub type CONTEXT = [u8; $context];
            /// Padding before a `CONTEXT` that is aligned to 16.
            pub type PAD = [u8; $pad];
            /// Padding after the last member of a structure that is aligned to 16.
            pub type TAIL = [u8; $tail];

            with_structures!(define);
        }
    };
}

family!(
    /// AMD64.
    x64, u64, context 1232, pad 4, tail 12
);
family!(
    /// 32-bit x86.
    x86, u32, context 716, pad 0, tail 0
);
family!(
    /// ARM64.
    arm64, u64, context 912, pad 4, tail 12
);

/// The CPU family of this build.
pub mod native {
    #[cfg(target_arch = "aarch64")]
    pub use super::arm64::*;
    #[cfg(target_arch = "x86_64")]
    pub use super::x64::*;
    #[cfg(target_arch = "x86")]
    pub use super::x86::*;
}

/// Asserts the size of each structure and the offsets of the listed members. Each list has three
/// numbers, for x64, x86 and arm64.
macro_rules! layout {
    ($( $name:ident [$s64:literal, $s32:literal, $sarm:literal] $( $field:ident [$x64:literal, $x86:literal, $arm64:literal] )* ; )*) => {
        $(
            const _: () = {
                assert!(size_of::<x64::$name>() == $s64, concat!("size on x64 of ", stringify!($name)));
                assert!(size_of::<x86::$name>() == $s32, concat!("size on x86 of ", stringify!($name)));
                assert!(size_of::<arm64::$name>() == $sarm, concat!("size on arm64 of ", stringify!($name)));
                $(
                    assert!(std::mem::offset_of!(x64::$name, $field) == $x64, stringify!($field));
                    assert!(std::mem::offset_of!(x86::$name, $field) == $x86, stringify!($field));
                    assert!(std::mem::offset_of!(arm64::$name, $field) == $arm64, stringify!($field));
                )*
            };
        )*
    };
}

// Computed by clang 14 for x86_64-, i686- and aarch64-pc-windows-msvc from declarations under
// pack(4).
layout! {
    MINIDUMP_MEMORY_INFO [48, 48, 48]
        AllocationBase [8, 8, 8] AllocationProtect [16, 16, 16] RegionSize [24, 24, 24]
        State [32, 32, 32] Protect [36, 36, 36] Type [40, 40, 40];
    MINIDUMP_THREAD_CALLBACK [1280, 744, 960]
        ThreadHandle [4, 4, 4] Context [16, 8, 16] SizeOfContext [1248, 724, 928]
        StackBase [1252, 728, 932] StackEnd [1260, 736, 940];
    MINIDUMP_THREAD_EX_CALLBACK [1296, 760, 976]
        ThreadHandle [4, 4, 4] Context [16, 8, 16] SizeOfContext [1248, 724, 928]
        StackBase [1252, 728, 932] StackEnd [1260, 736, 940]
        BackingStoreBase [1268, 744, 948] BackingStoreEnd [1276, 752, 956];
    MINIDUMP_INCLUDE_THREAD_CALLBACK [4, 4, 4];
    MINIDUMP_MODULE_CALLBACK [104, 92, 104]
        BaseOfImage [8, 4, 8] SizeOfImage [16, 12, 16] CheckSum [20, 16, 20] TimeDateStamp [24, 20, 24]
        VersionInfo [28, 24, 28] CvRecord [80, 76, 80] SizeOfCvRecord [88, 80, 88]
        MiscRecord [92, 84, 92] SizeOfMiscRecord [100, 88, 100];
    MINIDUMP_INCLUDE_MODULE_CALLBACK [8, 8, 8];
    MINIDUMP_IO_CALLBACK [28, 20, 28] Offset [8, 4, 8] Buffer [16, 12, 16] BufferBytes [24, 16, 24];
    MINIDUMP_READ_MEMORY_FAILURE_CALLBACK [16, 16, 16] Bytes [8, 8, 8] FailureStatus [12, 12, 12];
    MINIDUMP_VM_QUERY_CALLBACK [8, 8, 8];
    MINIDUMP_VM_PRE_READ_CALLBACK [20, 16, 20] Buffer [8, 8, 8] Size [16, 12, 16];
    MINIDUMP_VM_POST_READ_CALLBACK [28, 24, 28]
        Buffer [8, 8, 8] Size [16, 12, 16] Completed [20, 16, 20] Status [24, 20, 24];
    MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK [24, 20, 24]
        MaxTransferSize [4, 4, 4] NumaNodeInfoArray [8, 8, 8] NumaNodeInfoArraySize [16, 12, 16]
        Reserved [20, 16, 20];
    MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK [12, 12, 12] StreamCompressionRate [8, 8, 8];
    OUTPUT_MEMORY [12, 12, 12] MemorySize [8, 8, 8];
    OUTPUT_CANCEL [8, 8, 8] Cancel [4, 4, 4];
    OUTPUT_VM_REGION [52, 52, 52] Continue [48, 48, 48];
    OUTPUT_VM_QUERY [52, 52, 52] VmQueryResult [4, 4, 4];
    OUTPUT_VM_READ [8, 8, 8] VmReadBytesCompleted [4, 4, 4];
    INPUT_ARMS [1296, 760, 976];
    OUTPUT_ARMS [52, 52, 52];
    MINIDUMP_CALLBACK_INPUT [1312, 772, 992] ProcessHandle [4, 4, 4] CallbackType [12, 8, 12] Arms [16, 12, 16];
    MINIDUMP_CALLBACK_OUTPUT [52, 52, 52];
    MINIDUMP_CALLBACK_INFORMATION [16, 8, 16] CallbackParam [8, 4, 8];
    MINIDUMP_EXCEPTION_INFORMATION [16, 12, 16] ExceptionPointers [4, 4, 4] ClientPointers [12, 8, 12];
    MINIDUMP_USER_STREAM [16, 12, 16] BufferSize [4, 4, 4] Buffer [8, 8, 8];
    MINIDUMP_USER_STREAM_INFORMATION [12, 8, 12] UserStreamArray [4, 4, 4];
}
