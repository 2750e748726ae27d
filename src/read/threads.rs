//! The threads: the thread list, the thread names, and the thread info list.

use std::collections::HashMap;

use serde::Serialize;

use super::context::{Amd64Registers, Context, LONGEST as LONGEST_CONTEXT};
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{FieldReader, Location, hex};
use super::list::{LIST_LIMIT, List};
use super::stream_type;
use super::strings::TextBudget;

/// The size of `MINIDUMP_THREAD` in bytes.
pub(super) const THREAD_SIZE: u64 = 48;
/// The size of `MINIDUMP_THREAD_EX` in bytes.
pub(super) const THREAD_EX_SIZE: u64 = 64;
/// The size of `MINIDUMP_THREAD_INFO` in bytes.
pub(super) const THREAD_INFO_SIZE: u64 = 64;
/// The size of `MINIDUMP_THREAD_NAME` in bytes: a 32-bit id and a 64-bit offset without padding.
pub(super) const THREAD_NAME_SIZE: u64 = 12;

/// The maximum number of bytes of contexts that are read for one list of threads. The contexts of
/// 300,000 threads with AVX-512 registers have as many.
const MOST_CONTEXTS: u64 = 1 << 30;

/// A thread with its name and its entry of the thread info list.
#[derive(Debug, Clone, Serialize)]
pub struct Thread {
    /// The file offset of the thread's record.
    pub record_offset: u64,
    /// The thread id.
    pub id: u32,
    /// The name from ThreadNamesStream. `None` if it is absent or cannot be read.
    pub name: Option<String>,
    /// The suspend count that the thread had before the writer suspended it.
    pub suspend_count: u32,
    /// The priority class of the process. 0x20 is normal.
    pub priority_class: u32,
    /// The priority within the class. 0 is normal.
    pub priority: i32,
    /// The address of the thread environment block (Windows), or the thread pointer or 0 (Linux).
    #[serde(serialize_with = "hex")]
    pub teb: u64,
    /// The captured part of the stack.
    pub stack: StackDescriptor,
    /// The second stack, if the thread is from a ThreadExListStream. `None` if it is from a
    /// ThreadListStream.
    pub backing_store: Option<StackDescriptor>,
    /// The location of the context in the file.
    pub context_location: Location,
    /// The registers. `None` if they are absent or lie outside the file.
    pub context: Option<Context>,
    /// The entry of ThreadInfoListStream. `None` if there is none or the list cannot be read.
    pub info: Option<ThreadInfo>,
}

/// The location of a stack in the target and in the file (`MINIDUMP_MEMORY_DESCRIPTOR`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StackDescriptor {
    /// The lowest address.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// The size in bytes.
    pub size: u32,
    /// The file offset of the bytes. 0 means that they are not in the file or, in a full-memory
    /// dump by Microsoft's writer, that only the memory list contains them. [`Dump::memory`] finds
    /// them there.
    pub rva: u32,
}

impl StackDescriptor {
    /// Returns the end address (exclusive), or `None` if the range runs past the end of the address
    /// space.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.size.into())
    }
}

impl Thread {
    /// Returns the registers if this is an x86-64 thread and they were captured.
    #[must_use]
    pub fn registers(&self) -> Option<Amd64Registers> {
        self.context.as_ref()?.amd64()
    }
}

/// An entry of ThreadInfoListStream (`MINIDUMP_THREAD_INFO`). Times are in units of 100 ns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadInfo {
    /// The file offset of the record.
    pub record_offset: u64,
    /// The thread id.
    pub thread_id: u32,
    /// Flags: 1 the thread could not be dumped, 2 it wrote the dump, 4 it had exited, 8 this entry
    /// is invalid, 0x10 the context is invalid, 0x20 the TEB is invalid.
    #[serde(serialize_with = "hex")]
    pub dump_flags: u32,
    /// The HRESULT of the error that occurred while the thread was dumped.
    #[serde(serialize_with = "hex")]
    pub dump_error: u32,
    /// The exit status. 0x103 while the thread is running.
    #[serde(serialize_with = "hex")]
    pub exit_status: u32,
    /// The time when the thread was created, since 1601-01-01 UTC.
    pub create_time: u64,
    /// The time when the thread exited, since 1601-01-01 UTC. 0 while it is running.
    pub exit_time: u64,
    /// The time spent in the kernel.
    pub kernel_time: u64,
    /// The time spent in user code.
    pub user_time: u64,
    /// The address of the thread's start routine, if the system records it.
    #[serde(serialize_with = "hex")]
    pub start_address: u64,
    /// The processors on which the thread may run, one bit each.
    #[serde(serialize_with = "hex")]
    pub affinity: u64,
}

impl ThreadInfo {
    fn from_fields(record_offset: u64, record: FieldReader<'_>) -> Self {
        Self {
            record_offset,
            thread_id: record.u32(0),
            dump_flags: record.u32(4),
            dump_error: record.u32(8),
            exit_status: record.u32(12),
            create_time: record.u64(16),
            exit_time: record.u64(24),
            kernel_time: record.u64(32),
            user_time: record.u64(40),
            start_address: record.u64(48),
            affinity: record.u64(56),
        }
    }
}

/// An entry of ThreadNamesStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadName {
    /// The file offset of the record.
    pub record_offset: u64,
    /// The thread id.
    pub thread_id: u32,
    /// The file offset of the name.
    pub rva: u64,
    /// The name, or `None` if it cannot be read.
    pub name: Option<String>,
}

/// The fields of a thread's record. The context, which is elsewhere in the file, has not been read.
pub(super) struct ThreadRecord {
    pub(super) offset: u64,
    pub(super) id: u32,
    suspend_count: u32,
    priority_class: u32,
    priority: i32,
    teb: u64,
    pub(super) stack: StackDescriptor,
    pub(super) context: Location,
    backing_store: Option<StackDescriptor>,
}

impl ThreadRecord {
    fn from_fields(offset: u64, record: FieldReader, size: u64) -> Self {
        let descriptor = |at| StackDescriptor {
            start: record.u64(at),
            size: record.u32(at + 8),
            rva: record.u32(at + 12),
        };
        Self {
            offset,
            id: record.u32(0),
            suspend_count: record.u32(4),
            priority_class: record.u32(8),
            priority: record.i32(12),
            teb: record.u64(16),
            stack: descriptor(24),
            context: record.location(40),
            backing_store: (size == THREAD_EX_SIZE).then(|| descriptor(48)),
        }
    }
}

impl Dump {
    /// Returns the threads in the order of the file. They are from ThreadListStream or, if the dump
    /// has no such stream, from ThreadExListStream. Empty if the dump has neither.
    ///
    /// A name, a context or an info that cannot be read is `None` in its thread.
    ///
    /// # Errors
    ///
    /// The list itself is malformed, lies outside the file, or has more than [`LIST_LIMIT`]
    /// entries.
    pub fn threads(&self) -> Result<Vec<Thread>, ReadError> {
        self.iter_threads()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::threads`]. Of thread names and thread infos,
    /// the first [`LIST_LIMIT`] entries are used.
    ///
    /// # Errors
    ///
    /// The list itself is malformed or lies outside the file.
    pub fn iter_threads(&self) -> Result<List<'_, Thread>, ReadError> {
        let cpu = self.cpu();
        let mut names = HashMap::new();
        if let Ok(list) = self.thread_name_records() {
            for name in list.take(LIST_LIMIT as usize).flatten() {
                names.insert(name.thread_id, name.rva);
            }
        }
        let mut infos = HashMap::new();
        if let Ok(list) = self.iter_thread_infos() {
            for info in list.take(LIST_LIMIT as usize).flatten() {
                infos.insert(info.thread_id, info.record_offset);
            }
        }
        let mut name_budget = TextBudget::new(self);
        // In a hostile file, contexts may overlap: each record of 48 bytes can refer to a context
        // of more than 1000 bytes. Their total size is limited, like that of strings.
        let mut context_budget = self
            .len()
            .saturating_mul(2)
            .saturating_add(1 << 20)
            .min(MOST_CONTEXTS);
        let mut context = move |at: Location| {
            context_budget = context_budget.checked_sub(u64::from(at.size).min(LONGEST_CONTEXT))?;
            self.context(cpu, at).ok().flatten()
        };
        self.thread_list(move |record| {
            let name = names.get(&record.id).copied();
            let info = infos.get(&record.id).copied();
            Thread {
                record_offset: record.offset,
                id: record.id,
                name: name.and_then(|rva| self.string_at(rva, &mut name_budget).ok()),
                suspend_count: record.suspend_count,
                priority_class: record.priority_class,
                priority: record.priority,
                teb: record.teb,
                stack: record.stack,
                backing_store: record.backing_store,
                context_location: record.context,
                context: context(record.context),
                info: info.and_then(|offset| self.thread_info(offset).ok()),
            }
        })
    }

    /// Returns an iterator over the records of the threads. Names, contexts and infos, which are
    /// elsewhere in the file, are not read.
    pub(super) fn thread_records(&self) -> Result<List<'_, ThreadRecord>, ReadError> {
        self.thread_list(|record| record)
    }

    fn thread_list<'d, T>(
        &'d self,
        mut make: impl FnMut(ThreadRecord) -> T + 'd,
    ) -> Result<List<'d, T>, ReadError> {
        let list = self
            .stream(stream_type::THREAD_LIST)
            .map(|entry| (entry, THREAD_SIZE));
        let list = list.or_else(|| Some((self.stream(stream_type::THREAD_EX_LIST)?, THREAD_EX_SIZE)));
        let Some((entry, size)) = list else {
            return Ok(List::empty(self));
        };
        let table = self.counted_list(entry, size)?;
        List::new(self, table, size, move |offset, record| {
            make(ThreadRecord::from_fields(offset, record, size))
        })
    }

    /// Returns the entries of ThreadNamesStream. Empty if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The list itself is malformed, lies outside the file, or has more than [`LIST_LIMIT`]
    /// entries.
    pub fn thread_names(&self) -> Result<Vec<ThreadName>, ReadError> {
        let mut budget = TextBudget::new(self);
        let mut names = self.thread_name_records()?.into_vec()?;
        for name in &mut names {
            name.name = self.string_at(name.rva, &mut budget).ok();
        }
        Ok(names)
    }

    /// Returns an iterator over the entries of ThreadNamesStream. The names themselves, which are
    /// elsewhere in the file, are `None`.
    pub(super) fn thread_name_records(&self) -> Result<List<'_, ThreadName>, ReadError> {
        let Some(entry) = self.stream(stream_type::THREAD_NAMES) else {
            return Ok(List::empty(self));
        };
        let table = self.counted_list(entry, THREAD_NAME_SIZE)?;
        List::new(self, table, THREAD_NAME_SIZE, |record_offset, record| {
            ThreadName {
                record_offset,
                thread_id: record.u32(0),
                rva: record.u64(4),
                name: None,
            }
        })
    }

    /// Returns the entries of ThreadInfoListStream. Empty if the dump has no such stream.
    ///
    /// # Errors
    ///
    /// The list is malformed, lies outside the file, or has more than [`LIST_LIMIT`] entries.
    pub fn thread_infos(&self) -> Result<Vec<ThreadInfo>, ReadError> {
        self.iter_thread_infos()?.into_vec()
    }

    /// Returns an iterator over the entries of [`Dump::thread_infos`].
    ///
    /// # Errors
    ///
    /// The list is malformed or lies outside the file.
    pub fn iter_thread_infos(&self) -> Result<List<'_, ThreadInfo>, ReadError> {
        let Some(entry) = self.stream(stream_type::THREAD_INFO_LIST) else {
            return Ok(List::empty(self));
        };
        let table = self.sized_list(entry, false, THREAD_INFO_SIZE)?;
        List::new(self, table, THREAD_INFO_SIZE, ThreadInfo::from_fields)
    }

    /// Reads the entry of ThreadInfoListStream at a file offset.
    fn thread_info(&self, offset: u64) -> Result<ThreadInfo, ReadError> {
        let mut bytes = [0; THREAD_INFO_SIZE as usize];
        self.fill("ThreadInfoListStream", offset, &mut bytes)?;
        Ok(ThreadInfo::from_fields(offset, FieldReader(&bytes)))
    }
}
