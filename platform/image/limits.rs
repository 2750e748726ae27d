//! Limits for the sizes and counts in an image.
//!
//! Real images stay far below these limits. If an image exceeds one, the rest is ignored, or the
//! image is treated as malformed.

/// The number of bytes of an image that are read at once. Linkers put all headers of an ELF image
/// into the first page, and on Linux also its build id.
pub const FIRST_READ: usize = 4096;

/// The maximum number of segments of an ELF image. The highest number seen is below 20.
pub const MOST_SEGMENTS: usize = 1024;

/// The maximum number of sections of an ELF image. No linker creates more. Only object files
/// compiled with `-ffunction-sections` have more.
pub const MOST_ELF_SECTIONS: usize = 16 << 10;

/// The maximum size in bytes of an ELF image's table of section names. Programs have some hundred
/// bytes.
pub const LONGEST_SECTION_NAMES: u64 = 1 << 20;

/// The maximum size in bytes of a dynamic section. Real ones have some hundred bytes.
pub const LONGEST_DYNAMIC: u64 = 64 << 10;

/// The maximum size in bytes of all notes of an ELF image together. Images have two or three short
/// notes.
pub const LONGEST_NOTES: u64 = 64 << 10;

/// The maximum size in bytes of the strings of a dynamic section: the names of exported and
/// imported symbols. The largest seen (in a library of a browser) has some megabytes.
pub const LONGEST_STRINGS: u64 = 16 << 20;

/// The maximum size in bytes of a build id. It is a hash (16, 20 or 32 bytes), unless someone chose
/// it by hand.
pub const LONGEST_BUILD_ID: usize = 64;

/// The maximum length in bytes of the name in a library's dynamic section, which is a file name
/// (`NAME_MAX`).
pub const LONGEST_NAME: usize = 255;

/// The number of bytes of code that are hashed to replace a missing build id, as Breakpad does.
pub const HASHED_TEXT: u64 = 4096;

/// The maximum number of entries of the unwind index that are used to find the start of the code:
/// more than there are functions in its first page.
pub const FIRST_FUNCTIONS: usize = 8192;

/// The maximum size in bytes of call frame information. The largest seen (browsers) has some 20
/// MiB.
pub const LONGEST_FRAMES: u64 = 64 << 20;

/// The maximum number of objects in the dynamic linker's list. No process has more objects loaded.
pub const MOST_LINKS: usize = 1 << 16;

/// The maximum length in bytes of a path in the dynamic linker's list (`PATH_MAX`).
pub const LONGEST_PATH: usize = 4096;

/// The maximum length in bytes of all paths in the dynamic linker's list together. They are read
/// while the process is stopped, and are twice as long in a dump. 20,000 objects with paths of 200
/// bytes have less.
pub const LONGEST_PATHS: usize = 4 << 20;

/// The maximum number of sections of a PE image. Windows' loader accepts no more.
pub const MOST_PE_SECTIONS: u16 = 96;

/// The maximum size in bytes of an optional header: the fixed part of the 64-bit format and 16 data
/// directories.
pub const LONGEST_OPTIONAL_HEADER: usize = 112 + 16 * 8;

/// The maximum number of entries of a debug directory. Those seen have at most six.
pub const MOST_DEBUG_ENTRIES: usize = 64;

/// The maximum size in bytes of a debug record.
///
/// A CodeView record consists of a path and 24 bytes, a miscellaneous one of a path and 12 bytes.
/// Paths have at most 32767 characters of up to three bytes each.
pub const LONGEST_DEBUG_RECORD: usize = 3 * 0x8000 + 24;

/// The maximum number of entries of a resource directory.
pub const MOST_RESOURCES: usize = 4096;

/// The maximum number of entries of a thread's array of thread-local variables. Real arrays have
/// some tens.
pub const MOST_TLS_INDEXES: u32 = 4096;

/// The maximum number of zero bytes after the initial values of thread-local variables.
pub const MOST_TLS_ZEROS: u32 = 16 << 20;
