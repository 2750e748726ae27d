//! Threads: the list, their names, and what the thread info list adds.

use std::collections::HashMap;

use serde::Serialize;

use super::context::{Amd64Registers, Context, Cpu};
use super::dump::Dump;
use super::error::ReadError;
use super::fields::{Fields, Location, hex};
use super::stream_type;
use super::strings::TextBudget;

/// Bytes of `MINIDUMP_THREAD`.
pub(super) const THREAD_SIZE: u64 = 48;
/// Bytes of `MINIDUMP_THREAD_EX`.
pub(super) const THREAD_EX_SIZE: u64 = 64;
/// Bytes of `MINIDUMP_THREAD_INFO`.
pub(super) const THREAD_INFO_SIZE: u64 = 64;
/// Bytes of `MINIDUMP_THREAD_NAME`: a 32-bit id and a 64-bit offset, packed.
pub(super) const THREAD_NAME_SIZE: u64 = 12;

/// One thread, with its name and its entry of the thread info list where the dump has them.
#[derive(Debug, Clone, Serialize)]
pub struct Thread {
    /// File offset of the thread's record.
    pub record_offset: u64,
    /// Thread id.
    pub id: u32,
    /// From ThreadNamesStream.
    pub name: Option<String>,
    /// How often the thread had been suspended when the writer came.
    pub suspend_count: u32,
    /// Priority class of the process, 0x20 is normal.
    pub priority_class: u32,
    /// Priority within the class, 0 is normal.
    pub priority: i32,
    /// Windows: the thread environment block. Linux: the thread pointer, or 0.
    #[serde(serialize_with = "hex")]
    pub teb: u64,
    /// The captured part of the stack.
    pub stack: StackDescriptor,
    /// The second stack, from a ThreadExListStream; `None` from a ThreadListStream.
    pub backing_store: Option<StackDescriptor>,
    /// Where the file holds the context.
    pub context_location: Location,
    /// The registers; `None` if they are absent or lie outside the file.
    pub context: Option<Context>,
    /// From ThreadInfoListStream.
    pub info: Option<ThreadInfo>,
}

/// `MINIDUMP_MEMORY_DESCRIPTOR` of a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StackDescriptor {
    /// Lowest address.
    #[serde(serialize_with = "hex")]
    pub start: u64,
    /// Bytes.
    pub size: u32,
    /// File offset of the bytes. 0: not in the file, or, in a full-memory dump of Microsoft's writer, to be looked
    /// up in the memory list ([`Dump::memory`] does).
    pub rva: u32,
}

impl StackDescriptor {
    /// The address behind the last byte; `None` if the range runs past the end of the address space.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        self.start.checked_add(self.size.into())
    }
}

impl Thread {
    /// The registers of an x86-64 thread.
    #[must_use]
    pub fn registers(&self) -> Option<Amd64Registers> {
        self.context.as_ref()?.amd64()
    }
}

/// `MINIDUMP_THREAD_INFO`. Times are in units of 100 ns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadInfo {
    /// File offset of the record.
    pub record_offset: u64,
    /// Thread id.
    pub thread_id: u32,
    /// 1 could not be dumped, 2 the thread that wrote the dump, 4 exited, 8 invalid info, 0x10 invalid context,
    /// 0x20 invalid TEB.
    #[serde(serialize_with = "hex")]
    pub dump_flags: u32,
    /// HRESULT of what went wrong.
    #[serde(serialize_with = "hex")]
    pub dump_error: u32,
    /// 0x103 while the thread runs.
    #[serde(serialize_with = "hex")]
    pub exit_status: u32,
    /// Since 1601-01-01 UTC.
    pub create_time: u64,
    /// Since 1601-01-01 UTC, 0 while the thread runs.
    pub exit_time: u64,
    /// Spent in the kernel.
    pub kernel_time: u64,
    /// Spent in user code.
    pub user_time: u64,
    /// The thread's start routine, where the system records it.
    #[serde(serialize_with = "hex")]
    pub start_address: u64,
    /// One bit for each processor it may run on.
    #[serde(serialize_with = "hex")]
    pub affinity: u64,
}

/// One entry of ThreadNamesStream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadName {
    /// File offset of the record.
    pub record_offset: u64,
    /// Thread id.
    pub thread_id: u32,
    /// File offset of the name.
    pub rva: u64,
    /// `None` if the name can't be read.
    pub name: Option<String>,
}

/// A thread's record without what has to be fetched from elsewhere in the file.
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
    fn from_fields(offset: u64, record: Fields, size: u64) -> Self {
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
    /// The threads in the file's order. ThreadExListStream is read where the dump has no ThreadListStream.
    ///
    /// A name, context or info that can't be read is missing from its thread; the others stay.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn threads(&self) -> Result<Vec<Thread>, ReadError> {
        let records = self.thread_records()?;
        let cpu = self.cpu();
        let mut names: HashMap<u32, String> = self
            .thread_names()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| Some((entry.thread_id, entry.name?)))
            .collect();
        let mut infos: HashMap<u32, ThreadInfo> = self
            .thread_infos()
            .unwrap_or_default()
            .into_iter()
            .map(|info| (info.thread_id, info))
            .collect();
        // Contexts can overlap in a hostile file, a thousand bytes for every 48: bounded like strings.
        let mut context_budget = self.len().saturating_mul(2).saturating_add(1 << 20);
        let mut context = |at: Location| {
            context_budget = context_budget.checked_sub(at.size.into())?;
            self.context(cpu, at).ok().flatten()
        };
        Ok(records
            .into_iter()
            .map(|record| Thread {
                record_offset: record.offset,
                id: record.id,
                name: names.remove(&record.id),
                suspend_count: record.suspend_count,
                priority_class: record.priority_class,
                priority: record.priority,
                teb: record.teb,
                stack: record.stack,
                backing_store: record.backing_store,
                context_location: record.context,
                context: context(record.context),
                info: infos.remove(&record.id),
            })
            .collect())
    }

    pub(super) fn thread_records(&self) -> Result<Vec<ThreadRecord>, ReadError> {
        let list = self
            .stream(stream_type::THREAD_LIST)
            .map(|entry| (entry, THREAD_SIZE));
        let list = list.or_else(|| Some((self.stream(stream_type::THREAD_EX_LIST)?, THREAD_EX_SIZE)));
        let Some((entry, size)) = list else {
            return Ok(Vec::new());
        };
        self.entries(self.counted_list(entry, size)?, size, |offset, record| {
            ThreadRecord::from_fields(offset, record, size)
        })
    }

    /// The entries of ThreadNamesStream.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn thread_names(&self) -> Result<Vec<ThreadName>, ReadError> {
        let Some(entry) = self.stream(stream_type::THREAD_NAMES) else {
            return Ok(Vec::new());
        };
        let mut budget = TextBudget::new(self);
        self.entries(
            self.counted_list(entry, THREAD_NAME_SIZE)?,
            THREAD_NAME_SIZE,
            |record_offset, record| {
                let rva = record.u64(4);
                ThreadName {
                    record_offset,
                    thread_id: record.u32(0),
                    rva,
                    name: self.string_at(rva, &mut budget).ok(),
                }
            },
        )
    }

    /// The entries of ThreadInfoListStream.
    ///
    /// # Errors
    ///
    /// The list itself is damaged or lies outside the file.
    pub fn thread_infos(&self) -> Result<Vec<ThreadInfo>, ReadError> {
        let Some(entry) = self.stream(stream_type::THREAD_INFO_LIST) else {
            return Ok(Vec::new());
        };
        let table = self.sized_list(entry, false, THREAD_INFO_SIZE)?;
        self.entries(table, THREAD_INFO_SIZE, |record_offset, record| ThreadInfo {
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
        })
    }

    /// The processor family; `Other(0xFFFF)`, the format's "unknown", without system info.
    pub(super) fn cpu(&self) -> Cpu {
        self.system_info()
            .ok()
            .flatten()
            .map_or(Cpu::Other(0xFFFF), |system| system.cpu)
    }
}
