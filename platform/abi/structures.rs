//! The table of structures. The Rust types of each CPU family, the declarations in the C header and
//! the assertions that compare the two are generated from it.

/// A structure, or the arms of a union.
#[derive(Debug)]
pub struct Structure {
    /// The name in Microsoft's header, or a name of dumpwright's where that header has none.
    pub name: &'static str,
    /// One sentence that describes the structure.
    pub doc: &'static str,
    /// The members in order. A name that begins with `_` is padding that C compilers add,
    /// implicitly or on request.
    pub fields: &'static [Field],
}

/// A member of a structure.
#[derive(Debug)]
pub struct Field {
    /// The name in Microsoft's header.
    pub name: &'static str,
    /// The type in Microsoft's header.
    pub c_type: &'static str,
}

/// The size and the offsets of a structure in one CPU family.
#[derive(Debug)]
pub struct OffsetsOf {
    /// The name of the structure.
    pub name: &'static str,
    /// The size of the structure in bytes.
    pub size: usize,
    /// The offsets of the members, in the order of [`Structure::fields`].
    pub offsets: &'static [usize],
}

/// The structures that are anonymous in Microsoft's header, where they are arms of the output's
/// union.
pub const ANONYMOUS: [&str; 5] = [
    "OUTPUT_MEMORY",
    "OUTPUT_CANCEL",
    "OUTPUT_VM_REGION",
    "OUTPUT_VM_QUERY",
    "OUTPUT_VM_READ",
];

/// The structures that contain a `CONTEXT` by value. They are aligned to 16 on x64 and arm64.
pub const ALIGNED: [&str; 3] = [
    "MINIDUMP_THREAD_CALLBACK",
    "MINIDUMP_THREAD_EX_CALLBACK",
    "MINIDUMP_CALLBACK_INPUT",
];

/// Passes the table to another macro. `INPUT_ARMS` and `OUTPUT_ARMS` are anonymous unions in
/// Microsoft's header.
///
/// Each structure has exactly one line of documentation, because the macros match one `#[doc]`
/// attribute. The line also appears in the C header.
macro_rules! with_structures {
    ($then:ident) => {
        $then! {
            structures {
                /// A memory region, with the values of MEMORY_BASIC_INFORMATION.
                MINIDUMP_MEMORY_INFO {
                    BaseAddress: ULONG64,
                    AllocationBase: ULONG64,
                    AllocationProtect: ULONG32,
                    __alignment1: ULONG32,
                    RegionSize: ULONG64,
                    State: ULONG32,
                    Protect: ULONG32,
                    Type: ULONG32,
                    __alignment2: ULONG32,
                }
                /// The thread of ThreadCallback. StackBase is the upper end of its stack.
                MINIDUMP_THREAD_CALLBACK {
                    ThreadId: ULONG,
                    ThreadHandle: HANDLE,
                    _pad: PAD,
                    Context: CONTEXT,
                    SizeOfContext: ULONG,
                    StackBase: ULONG64,
                    StackEnd: ULONG64,
                    _tail: TAIL,
                }
                /// The thread of ThreadExCallback, with the ends of its backing store.
                MINIDUMP_THREAD_EX_CALLBACK {
                    ThreadId: ULONG,
                    ThreadHandle: HANDLE,
                    _pad: PAD,
                    Context: CONTEXT,
                    SizeOfContext: ULONG,
                    StackBase: ULONG64,
                    StackEnd: ULONG64,
                    BackingStoreBase: ULONG64,
                    BackingStoreEnd: ULONG64,
                    _tail: TAIL,
                }
                /// The thread that IncludeThreadCallback is about.
                MINIDUMP_INCLUDE_THREAD_CALLBACK {
                    ThreadId: ULONG,
                }
                /// The module of ModuleCallback.
                MINIDUMP_MODULE_CALLBACK {
                    FullPath: PWCHAR,
                    BaseOfImage: ULONG64,
                    SizeOfImage: ULONG,
                    CheckSum: ULONG,
                    TimeDateStamp: ULONG,
                    VersionInfo: VS_FIXEDFILEINFO,
                    CvRecord: PVOID,
                    SizeOfCvRecord: ULONG,
                    MiscRecord: PVOID,
                    SizeOfMiscRecord: ULONG,
                }
                /// The module that IncludeModuleCallback is about.
                MINIDUMP_INCLUDE_MODULE_CALLBACK {
                    BaseOfImage: ULONG64,
                }
                /// The output file. IoWriteAllCallback adds the bytes to write and their offset.
                MINIDUMP_IO_CALLBACK {
                    Handle: HANDLE,
                    Offset: ULONG64,
                    Buffer: PVOID,
                    BufferBytes: ULONG,
                }
                /// Memory that could not be read.
                MINIDUMP_READ_MEMORY_FAILURE_CALLBACK {
                    Offset: ULONG64,
                    Bytes: ULONG,
                    FailureStatus: HRESULT,
                }
                /// The address that VmQueryCallback asks about.
                MINIDUMP_VM_QUERY_CALLBACK {
                    Offset: ULONG64,
                }
                /// A memory read that is about to happen.
                MINIDUMP_VM_PRE_READ_CALLBACK {
                    Offset: ULONG64,
                    Buffer: PVOID,
                    Size: ULONG,
                }
                /// A memory read that has happened.
                MINIDUMP_VM_POST_READ_CALLBACK {
                    Offset: ULONG64,
                    Buffer: PVOID,
                    Size: ULONG,
                    Completed: ULONG,
                    Status: HRESULT,
                }
                /// The answer to CompressedMemoryStreamStartCallback.
                MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK {
                    MaxParallelism: ULONG32,
                    MaxTransferSize: ULONG32,
                    NumaNodeInfoArray: PVOID,
                    NumaNodeInfoArraySize: ULONG32,
                    Reserved: ULONG32,
                }
                /// The result of compressing the memory.
                MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK {
                    CompressedStreamSize: ULONG64,
                    StreamCompressionRate: ULONG32,
                }
                /// The answer to MemoryCallback and RemoveMemoryCallback.
                OUTPUT_MEMORY {
                    MemoryBase: ULONG64,
                    MemorySize: ULONG,
                }
                /// The answer to CancelCallback.
                OUTPUT_CANCEL {
                    CheckCancel: BOOL,
                    Cancel: BOOL,
                }
                /// The answer to IncludeVmRegionCallback.
                OUTPUT_VM_REGION {
                    VmRegion: MINIDUMP_MEMORY_INFO,
                    Continue: BOOL,
                }
                /// The answer to VmQueryCallback.
                OUTPUT_VM_QUERY {
                    VmQueryStatus: HRESULT,
                    VmQueryResult: MINIDUMP_MEMORY_INFO,
                }
                /// The answer to VmPreReadCallback and VmPostReadCallback.
                OUTPUT_VM_READ {
                    VmReadStatus: HRESULT,
                    VmReadBytesCompleted: ULONG,
                }
                /// One call of the callback: its type and the facts of the question.
                MINIDUMP_CALLBACK_INPUT {
                    ProcessId: ULONG,
                    ProcessHandle: HANDLE,
                    CallbackType: ULONG,
                    Arms: INPUT_ARMS,
                }
                /// The answer. It holds the default answer when the callback is called.
                MINIDUMP_CALLBACK_OUTPUT {
                    Arms: OUTPUT_ARMS,
                }
                /// The callback routine and its first argument.
                MINIDUMP_CALLBACK_INFORMATION {
                    CallbackRoutine: MINIDUMP_CALLBACK_ROUTINE,
                    CallbackParam: PVOID,
                }
                /// The exception. With ClientPointers, the pointers are addresses in the target.
                MINIDUMP_EXCEPTION_INFORMATION {
                    ThreadId: ULONG32,
                    ExceptionPointers: PEXCEPTION_POINTERS,
                    ClientPointers: BOOL,
                }
                /// A user stream.
                MINIDUMP_USER_STREAM {
                    Type: ULONG32,
                    BufferSize: ULONG,
                    Buffer: PVOID,
                }
                /// All user streams.
                MINIDUMP_USER_STREAM_INFORMATION {
                    UserStreamCount: ULONG,
                    UserStreamArray: PMINIDUMP_USER_STREAM,
                }
            }
            unions {
                /// The facts of a question, by callback type.
                INPUT_ARMS {
                    Status: HRESULT,
                    Thread: MINIDUMP_THREAD_CALLBACK,
                    ThreadEx: MINIDUMP_THREAD_EX_CALLBACK,
                    Module: MINIDUMP_MODULE_CALLBACK,
                    IncludeThread: MINIDUMP_INCLUDE_THREAD_CALLBACK,
                    IncludeModule: MINIDUMP_INCLUDE_MODULE_CALLBACK,
                    Io: MINIDUMP_IO_CALLBACK,
                    ReadMemoryFailure: MINIDUMP_READ_MEMORY_FAILURE_CALLBACK,
                    SecondaryFlags: ULONG,
                    VmQuery: MINIDUMP_VM_QUERY_CALLBACK,
                    VmPreRead: MINIDUMP_VM_PRE_READ_CALLBACK,
                    VmPostRead: MINIDUMP_VM_POST_READ_CALLBACK,
                    CompressedMemoryStreamFinish: MINIDUMP_COMPRESSED_MEMORY_STREAM_FINISH_CALLBACK,
                }
                /// The answers, by callback type.
                OUTPUT_ARMS {
                    ModuleWriteFlags: ULONG,
                    ThreadWriteFlags: ULONG,
                    SecondaryFlags: ULONG,
                    Memory: OUTPUT_MEMORY,
                    CancelAnswer: OUTPUT_CANCEL,
                    Handle: HANDLE,
                    Region: OUTPUT_VM_REGION,
                    Query: OUTPUT_VM_QUERY,
                    Read: OUTPUT_VM_READ,
                    CompressedMemoryStreamStart: MINIDUMP_COMPRESSED_MEMORY_STREAM_START_CALLBACK,
                    Status: HRESULT,
                }
            }
        }
    };
}
pub(super) use with_structures;

macro_rules! describe {
    (
        structures { $( #[doc = $doc:literal] $name:ident { $( $field:ident: $type:ident, )* } )* }
        unions { $( #[doc = $union_doc:literal] $union:ident { $( $arm:ident: $arm_type:ident, )* } )* }
    ) => {
        /// All structures. A structure that is a member of another one comes before it.
        pub const STRUCTURES: &[Structure] = &[
            $( Structure {
                name: stringify!($name),
                doc: $doc,
                fields: &[ $( Field { name: stringify!($field), c_type: stringify!($type) } ),* ],
            } ),*
        ];
        /// The two unions. All their arms begin at offset 0.
        pub const UNIONS: &[Structure] = &[
            $( Structure {
                name: stringify!($union),
                doc: $union_doc,
                fields: &[ $( Field { name: stringify!($arm), c_type: stringify!($arm_type) } ),* ],
            } ),*
        ];
    };
}
with_structures!(describe);
