//! The table of structures: from it come the Rust types of each CPU family, the declarations of the C header, and the
//! assertions that both agree.

/// One structure, or the arms of a union.
#[derive(Debug)]
pub struct Structure {
    /// Its name in Microsoft's header; an own one where that has none.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its members in order. Names that begin with `_` are padding that C compilers add or are told to add.
    pub fields: &'static [Field],
}

/// One member.
#[derive(Debug)]
pub struct Field {
    /// Its name in Microsoft's header.
    pub name: &'static str,
    /// Its type in Microsoft's header.
    pub c_type: &'static str,
}

/// Sizes and offsets in one CPU family.
#[derive(Debug)]
pub struct OffsetsOf {
    /// Name of the structure.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// The offsets of its members, in the order of [`Structure::fields`].
    pub offsets: &'static [usize],
}

/// Structures without a name of their own in Microsoft's header, where they are anonymous arms of the output's union.
pub const ANONYMOUS: [&str; 5] = [
    "OUTPUT_MEMORY",
    "OUTPUT_CANCEL",
    "OUTPUT_VM_REGION",
    "OUTPUT_VM_QUERY",
    "OUTPUT_VM_READ",
];

/// What holds a `CONTEXT` by value, and is therefore aligned to 16 on x64 and arm64.
pub const ALIGNED: [&str; 3] = [
    "MINIDUMP_THREAD_CALLBACK",
    "MINIDUMP_THREAD_EX_CALLBACK",
    "MINIDUMP_CALLBACK_INPUT",
];

/// Hands the table to another macro. `INPUT_ARMS` and `OUTPUT_ARMS` are Microsoft's anonymous unions.
macro_rules! with_structures {
    ($then:ident) => {
        $then! {
            structures {
                /// A region of memory in Windows' terms.
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
                /// The facts of a thread, as ThreadCallback shows them. StackBase is the upper end.
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
                /// The same with a backing store, for ThreadExCallback.
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
                /// The facts of a module, as ModuleCallback shows them.
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
                /// Output: the file, and for IoWriteAllCallback what is to be written where.
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
                /// A read that is about to be done.
                MINIDUMP_VM_PRE_READ_CALLBACK {
                    Offset: ULONG64,
                    Buffer: PVOID,
                    Size: ULONG,
                }
                /// A read that has been done.
                MINIDUMP_VM_POST_READ_CALLBACK {
                    Offset: ULONG64,
                    Buffer: PVOID,
                    Size: ULONG,
                    Completed: ULONG,
                    Status: HRESULT,
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
                /// A question.
                MINIDUMP_CALLBACK_INPUT {
                    ProcessId: ULONG,
                    ProcessHandle: HANDLE,
                    CallbackType: ULONG,
                    Arms: INPUT_ARMS,
                }
                /// The answer to a question, prefilled.
                MINIDUMP_CALLBACK_OUTPUT {
                    Arms: OUTPUT_ARMS,
                }
                /// The callback, and what it is given as its first argument.
                MINIDUMP_CALLBACK_INFORMATION {
                    CallbackRoutine: MINIDUMP_CALLBACK_ROUTINE,
                    CallbackParam: PVOID,
                }
                /// What happened to the process. With ClientPointers, the pointers are addresses in the process that is dumped.
                MINIDUMP_EXCEPTION_INFORMATION {
                    ThreadId: ULONG32,
                    ExceptionPointers: PEXCEPTION_POINTERS,
                    ClientPointers: BOOL,
                }
                /// A stream of the caller's own.
                MINIDUMP_USER_STREAM {
                    Type: ULONG32,
                    BufferSize: ULONG,
                    Buffer: PVOID,
                }
                /// All streams of the caller's own.
                MINIDUMP_USER_STREAM_INFORMATION {
                    UserStreamCount: ULONG,
                    UserStreamArray: PMINIDUMP_USER_STREAM,
                }
            }
            unions {
                /// What a question is about.
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
                }
                /// The answers.
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
        /// All structures, those first that others hold.
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
