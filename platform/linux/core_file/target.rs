//! A core as a target.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dumpwright_image::Elf;
use dumpwright_target::{
    AddressRange, Cpu, Diagnostic, Exception, Extent, Fault, FaultKind, Frozen, Handle, Holding, Hooked,
    LinuxFacts, LinuxText, LinuxTextKind, Memory, MemoryExt, Module, Need, Process, ReadHook, Region, Stack,
    Subject, System, Target, Thread, ThreadTimes, WindowsProcessFacts, XState, XStateFeature, XStateLayout,
    printable,
};

use super::mappings::{self, CoreMapping};
use super::memory::{CoreMemory, StoredMemory};
use super::{CoreHeaders, CoreThread, spool};
use crate::files::MappedFile;
use crate::modules::LoadedModules;
use crate::proc_dir::{auxv_pairs, page_size, read_bounded};
use crate::regions::{self, Mapping};
use crate::stacks::{Stacks, Strings, ThreadStacks};
use crate::texts::{CPUINFO_LIMIT, stream};
use crate::threads::NORMAL_PRIORITY_CLASS;
use crate::{dso_debug, read, system, xstate};

/// Types of the auxiliary vector (`linux/auxvec.h`).
const AT_PAGESZ: u64 = 6;
const AT_ENTRY: u64 = 9;
const AT_HWCAP: u64 = 16;
const AT_SYSINFO_EHDR: u64 = 33;

/// An ELF core file of a 64-bit x86 program: what the kernel writes when a signal kills a process
/// (core(5)), or `gcore` of a process that lives.
///
/// A dump of it has what the core has, in the same form as a dump of a live process: threads with
/// their registers and stacks, modules, memory, and the signal as its exception. Differences:
///
/// * A core has neither debug registers, nor the names of threads other than the first, nor times
///   other than the processor times, nor open files. The report lists this as left out.
/// * By default the kernel leaves out memory that it can find in files. It is read from the file
///   with the path in the core, if that is a regular file on a file system that answers by itself,
///   and only if its build id is that of the image in the core. Otherwise it is missing.
/// * Ids of the process and its threads are those in the pid namespace of the process.
/// * Facts about the machine are those of this machine if it runs the same build of the kernel;
///   otherwise, the version of the kernel is known, and the features of the processors.
///
/// A core that is cut off has less; the report lists what is missing.
#[derive(Debug)]
pub struct CoreFile {
    core: Rc<MappedFile>,
    headers: CoreHeaders,
    /// The auxiliary vector.
    auxv: Vec<(u64, u64)>,
    /// What was found out when it was opened.
    notes: Vec<Diagnostic>,
}

impl CoreFile {
    /// Opens a core that is a file, and reads its headers and notes.
    ///
    /// # Errors
    /// It cannot be opened or is not a regular file. It is not a core, or one of another processor
    /// or of a 32-bit program. Or it has no threads.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        Self::from_file(Self::regular_file(path)?, &path.display().to_string())
    }

    /// Opens a regular file for [`from_file`](Self::from_file), without waiting for anybody.
    ///
    /// # Errors
    /// It cannot be opened or is not a regular file.
    pub fn regular_file(path: &Path) -> Result<File, Fault> {
        let name = path.display().to_string();
        let operation = || format!("open the core {}", printable(&name));
        let file = File::options()
            .read(true)
            // A pipe would block.
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| file_fault(operation(), &error))?;
        let metadata = file.metadata().map_err(|error| file_fault(operation(), &error))?;
        if !metadata.is_file() {
            let fault = Fault::new(FaultKind::Unsupported, operation(), "it is not a regular file");
            return Err(fault.advise("read a core from a pipe as standard input: --core -"));
        }
        Ok(file)
    }

    /// Uses a regular file that is open for reading. `name` is its name in errors.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn from_file(file: File, name: &str) -> Result<Self, Fault> {
        let name = printable(name).to_string();
        let core =
            MappedFile::new(file).map_err(|error| file_fault(format!("open the core {name}"), &error))?;
        let headers = CoreHeaders::read(&mut WholeCore(&core), &name)?;
        let auxv = auxv_pairs(&headers.notes.auxv, 8);
        let mut notes = headers.diagnostics.clone();
        if core.len < headers.end {
            let reason = format!(
                "the core is cut off: it has {} of {} bytes, so that memory is missing",
                core.len, headers.end
            );
            notes.push(Diagnostic::missing(Subject::Process, reason));
        }
        Ok(Self {
            core: Rc::new(core),
            headers,
            auxv,
            notes,
        })
    }

    /// Reads a core from a stream, such as a pipe, to its end. `name` is its name in errors.
    ///
    /// The core is stored in a temporary file, because its parts are needed in another order. The
    /// file is in the folder of the variable `TMPDIR`, or else in `/var/tmp`, which is on a disk.
    /// It has no name, and only the user may read it (mode 0600). Pages of zeros take no space in
    /// it.
    ///
    /// # Errors
    /// As for [`open`](Self::open), or the temporary file cannot be written. If the stream fails,
    /// what came before is used.
    pub fn from_stream(stream: impl Read, name: &str) -> Result<Self, Fault> {
        let folder = spool::folder();
        let stored = spool::store(stream, &folder).map_err(|error| {
            let operation = format!(
                "store the core {} in a temporary file in {}",
                printable(name),
                folder.display()
            );
            file_fault(operation, &error).advise("name a folder with more space by the variable TMPDIR")
        })?;
        let ended = stored.ended.as_ref().map(ToString::to_string);
        let core = Self::from_file(stored.file, name).map_err(|fault| match &ended {
            Some(reason) => Fault {
                reason: format!("{} (reading it failed: {reason})", fault.reason),
                ..fault
            },
            None => fault,
        });
        let mut core = core?;
        let reason = format!(
            "the core was stored in an unlinked temporary file in {}",
            folder.display()
        );
        core.notes.push(Diagnostic::note(Subject::Process, reason));
        if let Some(reason) = ended {
            let reason = format!(
                "reading the core failed after {} bytes: {}",
                core.core.len,
                printable(&reason)
            );
            core.notes.push(Diagnostic::missing(Subject::Process, reason));
        }
        Ok(core)
    }

    /// Returns the signal that has killed the process, as an exception for a request. `None` if no
    /// signal has, as in a core that gcore has written.
    ///
    /// The fields are those of [`exception`](crate::exception()). A core does not have the kind of
    /// access of a page fault.
    #[must_use]
    pub fn exception(&self) -> Option<Exception> {
        self.headers.notes.exception()
    }

    /// Returns the name of the program, cut to 15 bytes. `None` if the core does not have it.
    #[must_use]
    pub fn program_name(&self) -> Option<String> {
        let process = self.headers.notes.process.as_ref()?;
        let name = String::from_utf8_lossy(&process.name).into_owned();
        (!name.is_empty()).then_some(name)
    }

    fn auxv_value(&self, kind: u64) -> Option<u64> {
        value_in(&self.auxv, kind)
    }
}

/// Returns the fault for a file that the system does not let us use.
fn file_fault(operation: String, error: &io::Error) -> Fault {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => FaultKind::NotPermitted,
        _ => FaultKind::System,
    };
    let fault = Fault::new(kind, operation, error.to_string());
    match error.raw_os_error() {
        Some(code) => fault.with_os_code(code),
        None => fault,
    }
}

fn value_in(auxv: &[(u64, u64)], kind: u64) -> Option<u64> {
    auxv.iter().find(|pair| pair.0 == kind).map(|pair| pair.1)
}

/// The bytes of a core by their offsets.
struct WholeCore<'c>(&'c MappedFile);

impl Memory for WholeCore<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        let fault = |reason: String| {
            Fault::new(
                FaultKind::Unreadable,
                format!("read the core at offset {at:#x}"),
                reason,
            )
        };
        match self.0.read_at(at, into) {
            Ok(0) if !into.is_empty() => Err(fault("it ends before this offset".to_owned())),
            Ok(count) => Ok(count),
            Err(error) => Err(fault(error.to_string())),
        }
    }
}

impl Target for CoreFile {
    fn process_id(&self) -> u32 {
        self.headers.notes.process_id()
    }

    fn freeze(&mut self, need: &Need) -> Result<Box<dyn Frozen + '_>, Fault> {
        Ok(Box::new(FrozenCore::new(self, need)))
    }
}

/// The [`Frozen`] of a core.
#[derive(Debug)]
struct FrozenCore<'c> {
    core: &'c CoreFile,
    need: Need,
    /// The mappings alone, as the code for live processes needs them.
    mappings: Rc<[Mapping]>,
    memory: CoreMemory,
    stacks: Stacks,
    /// The threads by their ids.
    threads: HashMap<u32, &'c CoreThread>,
    /// Found when first asked for.
    modules: Option<LoadedModules>,
    /// The layout of the extended registers, if they are needed and in the core.
    layout: Option<XStateLayout>,
    diagnostics: Vec<Diagnostic>,
}

impl<'c> FrozenCore<'c> {
    fn new(core: &'c CoreFile, need: &Need) -> Self {
        let mut diagnostics = core.notes.clone();
        let mut all = mappings::of(&core.headers, &core.auxv);
        protect(&mut all, &core.core, &mut diagnostics);
        let all: Rc<[CoreMapping]> = all.into();
        let plain: Rc<[Mapping]> = all.iter().map(|found| found.mapping.clone()).collect();
        let unwanted = (!need.environment).then(|| Strings::of(None, Some(&core.auxv)));
        if unwanted.is_some() && core.auxv.is_empty() {
            let reason = "the core has no auxiliary vector, so it is not known where the environment of the process is: \
                          the stack of its first thread is left out";
            diagnostics.push(Diagnostic::missing(Subject::Process, reason));
        }
        let reason =
            "a core has no debug registers, no names of threads other than the first, and no start times";
        diagnostics.push(Diagnostic::left_out(Subject::Process, reason));
        let layout = need.extended_state.then(|| layout(core, &mut diagnostics));
        Self {
            core,
            need: need.clone(),
            memory: CoreMemory::new(Rc::clone(&core.core), all, core.auxv_value(AT_ENTRY)),
            stacks: Stacks::new(Rc::clone(&plain), unwanted, Cpu::Amd64),
            mappings: plain,
            threads: core
                .headers
                .notes
                .threads
                .iter()
                .map(|thread| (thread.tid, thread))
                .collect(),
            modules: None,
            layout: layout.flatten(),
            diagnostics,
        }
    }

    fn modules(&mut self, reads: &mut dyn ReadHook) -> (&mut LoadedModules, &mut CoreMemory) {
        let modules = self
            .modules
            .get_or_insert_with(|| LoadedModules::find(&self.mappings, &mut self.memory, reads));
        (modules, &mut self.memory)
    }

    /// Reads the vdso, which the kernel stores in every core.
    fn vdso(&mut self) -> Option<Vec<u8>> {
        /// The largest size that is read. It has two pages.
        const LARGEST: u64 = 64 << 10;
        let start = self.core.auxv_value(AT_SYSINFO_EHDR)?;
        let mapping = self.mappings.iter().find(|mapping| mapping.is_vdso())?;
        let size = mapping.range.len().min(LARGEST);
        self.memory.bytes(start, usize::try_from(size).ok()?).ok()
    }

    /// Whether the process ran on the same build of the kernel as this program.
    fn is_of_this_kernel(&mut self) -> bool {
        let vdso = self.vdso();
        vdso.is_some() && vdso == read::own_vdso()
    }

    /// Returns the version of the kernel, from the note in its vdso.
    fn kernel_version(&mut self) -> Option<[u32; 3]> {
        // The header of the note: the size of the name with its end, the size of the number, the
        // type, and the name.
        const NOTE: [u8; 20] = *b"\x06\0\0\0\x04\0\0\0\0\0\0\0Linux\0\0\0";
        let start = self.core.auxv_value(AT_SYSINFO_EHDR)?;
        let image = Elf::read(&mut self.memory, start).ok().flatten()?;
        let number = image.notes().into_iter().find_map(|range| {
            let size = usize::try_from(range.len()).ok()?;
            let bytes = self.memory.up_to(range.start(), size);
            let at = memchr::memmem::find(&bytes, &NOTE)? + NOTE.len();
            let number = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(number.try_into().ok()?))
        })?;
        Some([number >> 16, number >> 8 & 0xff, number & 0xff])
    }

    /// Returns the registers of a thread, with the extended ones if they are needed.
    fn registers(&mut self, thread: &CoreThread) -> crate::registers::Registers {
        let mut registers = thread.registers.clone();
        if let Some(layout) = &self.layout {
            registers.amd64.xstate = XState::from_image(&thread.xsave, layout);
            if registers.amd64.xstate.is_none() {
                self.lacks(thread, xstate::GROUP);
            }
        }
        if registers.amd64.fxsave.is_none() {
            self.lacks(thread, "x87 and SSE registers");
        }
        registers
    }

    fn lacks(&mut self, thread: &CoreThread, what: &str) {
        let reason = format!("the core does not have its {what}");
        self.diagnostics
            .push(Diagnostic::missing(Subject::Thread(thread.tid), reason));
    }
}

/// Finds out the protection of mappings that only the list of files has.
fn protect(all: &mut [CoreMapping], core: &MappedFile, diagnostics: &mut Vec<Diagnostic>) {
    let count = all.iter().filter(|found| found.only_listed).count();
    if count == 0 {
        return;
    }
    let known = all.to_vec();
    let mut stored = StoredMemory {
        core,
        mappings: &known,
    };
    mappings::protect(all, &mut stored);
    let reason = format!(
        "the core does not tell the protection of {count} mappings of files: it is as in the headers of the images, or \
         read only"
    );
    diagnostics.push(Diagnostic::note(Subject::Process, reason));
}

/// Returns the layout of the XSAVE images in the core. `None` if there are none.
fn layout(core: &CoreFile, diagnostics: &mut Vec<Diagnostic>) -> Option<XStateLayout> {
    /// The number, offset and size of AVX, which are the same on all processors (Intel's manual,
    /// volume 1, section 13.4.2).
    const AVX: XStateFeature = XStateFeature {
        number: 2,
        offset: 576,
        size: 256,
    };
    /// `XTILECFG` and `XTILEDATA`, which are left out as in a dump of a live process.
    const AMX: std::ops::RangeInclusive<u8> = 17..=18;
    let notes = &core.headers.notes;
    let longest = notes.threads.iter().map(|thread| thread.xsave.len()).max()?;
    let told: Vec<_> = notes
        .xsave_layout
        .iter()
        .filter(|feature| feature.number > 1 && !AMX.contains(&feature.number))
        .copied()
        .collect();
    if let Some(layout) = XStateLayout::new(told) {
        return Some(layout);
    }
    // Kernels before 6.12 do not tell.
    let here = xstate::layout().filter(|layout| layout.image_size() == longest);
    let only_avx = || XStateLayout::new(vec![AVX]).filter(|layout| layout.image_size() <= longest);
    let reason = match &here {
        Some(_) => {
            "the core does not tell where its extended registers are: they are read as this machine stores them"
        }
        None => {
            "the core does not tell where its extended registers are, and this machine stores others: only those of AVX \
                 are in the dump"
        }
    };
    let found = here.or_else(only_avx);
    if found.is_some() {
        diagnostics.push(Diagnostic::note(Subject::Process, reason));
    }
    found
}

impl Memory for FrozenCore<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<usize, Fault> {
        self.memory.read(at, into)
    }
}

impl Frozen for FrozenCore<'_> {
    fn system(&mut self) -> Result<System, Fault> {
        if self.is_of_this_kernel() {
            let reason = "the core was written on this build of the kernel, so the facts about the machine are those of \
                          this machine";
            self.diagnostics.push(Diagnostic::note(Subject::Process, reason));
            return system::system(Cpu::Amd64, self.layout.clone());
        }
        let reason = match self.vdso() {
            Some(_) => {
                "the core was written on another build of the kernel, so of the machine only that kernel's version and \
                 the processor features are known"
            }
            None => {
                "the core lacks the vdso, which shows the build of the kernel, so of the machine only the processor \
                 features are known"
            }
        };
        self.diagnostics
            .push(Diagnostic::left_out(Subject::Process, reason));
        let features = self.core.auxv_value(AT_HWCAP).unwrap_or_default();
        let page = self
            .core
            .auxv_value(AT_PAGESZ)
            .filter(|size| size.is_power_of_two());
        Ok(system::system_of_core(
            self.kernel_version(),
            features as u32,
            page.unwrap_or_else(page_size),
            self.layout.clone(),
        ))
    }

    fn process(&mut self) -> Result<Process, Fault> {
        Ok(Process {
            id: self.core.process_id(),
            times: None,
            power: None,
            time_zone: None,
            windows: WindowsProcessFacts::default(),
        })
    }

    fn thread_ids(&mut self) -> Result<Vec<u32>, Fault> {
        let leader = self.core.process_id();
        let mut ids: Vec<u32> = self.threads.keys().copied().collect();
        ids.sort_unstable_by_key(|id| (*id != leader, *id));
        Ok(ids)
    }

    fn thread(&mut self, id: u32, reads: &mut dyn ReadHook) -> Result<Thread, Fault> {
        let thread = *self.threads.get(&id).ok_or_else(|| {
            Fault::new(
                FaultKind::NoSuchProcess,
                format!("examine thread {id} of the core"),
                "the core has no such thread",
            )
        })?;
        let registers = self.registers(thread);
        let pointer = registers.amd64.rsp;
        let thread_pointer = registers.thread_pointer(Cpu::Amd64);
        let mut found = ThreadStacks::default();
        if pointer != 0 {
            let memory = &mut Hooked::new(&mut self.memory, reads);
            found = self.stacks.of_thread(pointer, thread_pointer, memory);
            self.diagnostics.extend(found.diagnostics(id, pointer));
        }
        let is_leader = id == self.core.process_id();
        let timed = self.need.thread_times && (thread.user_time, thread.kernel_time) != (0, 0);
        Ok(Thread {
            id,
            handle: 0,
            suspend_count: 0,
            priority_class: NORMAL_PRIORITY_CLASS,
            priority: 0,
            teb: thread_pointer,
            context: Some(registers.context(Cpu::Amd64)),
            stack: found.current.map(|found| found.stack),
            interrupted: found.interrupted.into_iter().map(|found| found.stack).collect(),
            name: is_leader.then(|| self.core.program_name()).flatten(),
            times: timed.then_some(ThreadTimes {
                user: thread.user_time,
                kernel: thread.kernel_time,
                ..ThreadTimes::default()
            }),
            exit: None,
            backing_store: None,
        })
    }

    fn stack_at(&mut self, thread_id: u32, stack_pointer: u64, _: &mut dyn ReadHook) -> Option<Stack> {
        let registers = &self.threads.get(&thread_id)?.registers;
        let thread_pointer = registers.thread_pointer(Cpu::Amd64);
        Some(self.stacks.at(stack_pointer, thread_pointer)?.stack)
    }

    fn module_bases(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<u64>, Fault> {
        Ok(self.modules(reads).0.bases())
    }

    fn module(&mut self, base: u64, reads: &mut dyn ReadHook) -> Result<Module, Fault> {
        let (modules, memory) = self.modules(reads);
        modules.module(base, memory, reads)
    }

    fn regions(&mut self, reads: &mut dyn ReadHook) -> Result<Vec<Region>, Fault> {
        let ranges = self.modules(reads).0.ranges();
        let memory = &self.memory;
        let dont_dump = self.need.dont_dump;
        Ok(regions::regions(&self.mappings, &ranges, dont_dump, |mapping| {
            memory.is_untouched(mapping)
        }))
    }

    fn handles(&mut self) -> Result<Vec<Handle>, Fault> {
        if self.need.handles {
            let reason = "a core has no list of open files";
            self.diagnostics
                .push(Diagnostic::left_out(Subject::Stream("HandleData"), reason));
        }
        Ok(Vec::new())
    }

    fn linux(&mut self, reads: &mut dyn ReadHook) -> Option<LinuxFacts> {
        let mut facts = LinuxFacts::default();
        let mut add = |kind, bytes: Vec<u8>| facts.texts.push(LinuxText { kind, bytes });
        let notes = &self.core.headers.notes;
        let mut absent = vec![
            LinuxTextKind::ProcStatus,
            LinuxTextKind::LsbRelease,
            LinuxTextKind::Maps,
            LinuxTextKind::Limits,
        ];
        match notes.auxv.is_empty() {
            true => absent.push(LinuxTextKind::Auxv),
            false => add(LinuxTextKind::Auxv, notes.auxv.clone()),
        }
        if self.need.environment {
            absent.push(LinuxTextKind::Environ);
            match notes.process.as_ref().map(|process| &process.arguments) {
                Some(arguments) => {
                    add(LinuxTextKind::CmdLine, [arguments, &[0][..]].concat());
                    let reason = "a core has only the first 79 bytes of the command line, without the ends of arguments";
                    let subject = Subject::Stream(stream(LinuxTextKind::CmdLine));
                    self.diagnostics.push(Diagnostic::note(subject, reason));
                }
                None => absent.push(LinuxTextKind::CmdLine),
            }
        }
        let here = || read_bounded(Path::new("/proc/cpuinfo"), CPUINFO_LIMIT).ok();
        match self.is_of_this_kernel().then(here).flatten() {
            Some(text) => add(LinuxTextKind::CpuInfo, text),
            None => absent.push(LinuxTextKind::CpuInfo),
        }
        for kind in absent {
            let subject = Subject::Stream(stream(kind));
            self.diagnostics
                .push(Diagnostic::left_out(subject, "a core does not have it"));
        }
        let values = [dso_debug::AT_PHDR, dso_debug::AT_PHNUM].map(|kind| self.core.auxv_value(kind));
        if let [Some(at), Some(count)] = values {
            let memory = &mut Hooked::new(&mut self.memory, reads);
            let (debug, diagnostics) = dso_debug::listed(at, count, 8, memory);
            facts.dso_debug = debug;
            self.diagnostics.extend(diagnostics);
        } else {
            let reason = "the core has no auxiliary vector, which leads to the list";
            let subject = Subject::Stream(dso_debug::STREAM);
            self.diagnostics.push(Diagnostic::missing(subject, reason));
        }
        Some(facts)
    }

    fn survey(&mut self, range: AddressRange) -> Vec<Extent> {
        self.memory.survey(range)
    }

    fn diagnostics(&mut self) -> Vec<Diagnostic> {
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        let of_modules = self.modules.as_mut().map(LoadedModules::take_diagnostics);
        diagnostics.extend(of_modules.unwrap_or_default());
        diagnostics.extend(self.memory.take_diagnostics());
        diagnostics
    }

    fn thaw(self: Box<Self>) -> Holding {
        Holding {
            hold: "core",
            tracer: None,
            pause: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests;
