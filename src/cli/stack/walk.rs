//! The walk over the stack of a thread.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;

use dumpwright::read::{Context, Cpu, Dump, Module};
use framehop::aarch64::{CacheAarch64, PtrAuthMask, UnwindRegsAarch64, UnwinderAarch64};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{FrameAddress, Unwinder};

use super::binary::{self, Binary, Unusable};

/// The maximum number of frames of all traces together. A dump of 5000 threads with 100 frames each
/// has half as many.
const MOST_FRAMES: usize = 1 << 20;

/// The maximum number of addresses whose functions are remembered.
const MOST_PLACES: usize = 1 << 16;

/// One frame of a stack trace.
#[derive(Debug, Clone)]
pub(in crate::cli) struct TraceFrame {
    /// The instruction pointer, or the return address in this function.
    pub(in crate::cli) address: u64,
    /// The stack pointer in this frame.
    pub(in crate::cli) stack_pointer: u64,
    /// The index of the module among [`StackWalker::modules`].
    pub(in crate::cli) module: Option<usize>,
    /// The function and the offset of the address in it.
    pub(in crate::cli) function: Option<(Rc<str>, u64)>,
}

/// Why a trace has no more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum StackEnd {
    /// The outermost function was reached.
    Whole,
    /// The next frame could not be found.
    Lost,
    /// The limit of frames was reached.
    Limit,
    /// The processor is not supported, or there are no registers. There is at most one frame.
    Unsupported,
}

/// The stack trace of a thread, innermost frame first.
#[derive(Debug, Clone)]
pub(in crate::cli) struct StackTrace {
    pub(in crate::cli) frames: Vec<TraceFrame>,
    pub(in crate::cli) end: StackEnd,
}

/// Whether the binary of a module was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum BinaryState {
    /// No frame is in this module.
    Unneeded,
    /// It was read.
    Found,
    /// There is no such file on this machine, or it cannot be read.
    Absent,
    /// The file is another one than the process had loaded.
    Other,
}

/// Walks the stacks of a dump.
pub(in crate::cli) struct StackWalker<'d> {
    dump: &'d Dump,
    /// Whether the lists of memory can be read. Otherwise each read would try again.
    has_memory: bool,
    cpu: Cpu,
    modules: &'d [Module],
    folders: Vec<PathBuf>,
    binaries: Vec<BinaryState>,
    found: HashMap<usize, Binary>,
    /// What has been looked up, by address and by whether it is a return address.
    places: HashMap<(u64, bool), FramePlace>,
    unwinders: Unwinders,
    frames_left: usize,
}

#[derive(Clone)]
struct FramePlace {
    module: Option<usize>,
    function: Option<(Rc<str>, u64)>,
    /// Whether the code is that with which the kernel lets a signal handler return.
    is_signal_return: bool,
}

#[derive(Default)]
struct Unwinders {
    amd64: UnwinderX86_64<Vec<u8>>,
    amd64_cache: CacheX86_64,
    arm64: UnwinderAarch64<Vec<u8>>,
    arm64_cache: CacheAarch64,
}

/// The registers during the walk.
enum WalkRegisters {
    Amd64(UnwindRegsX86_64),
    Arm64(UnwindRegsAarch64),
}

impl WalkRegisters {
    fn stack_pointer(&self) -> u64 {
        match self {
            Self::Amd64(registers) => registers.sp(),
            Self::Arm64(registers) => registers.sp(),
        }
    }
}

impl<'d> StackWalker<'d> {
    /// Creates a walker. `modules` must be sorted by base address. Binaries are also looked for in
    /// `folders`.
    pub(in crate::cli) fn new(dump: &'d Dump, modules: &'d [Module], folders: &[PathBuf]) -> Self {
        let system = dump.system_info().ok().flatten();
        Self {
            dump,
            has_memory: dump.has_memory(0, 1).is_ok(),
            cpu: system.map_or(Cpu::Other(0), |system| system.cpu),
            modules,
            folders: folders.to_vec(),
            binaries: vec![BinaryState::Unneeded; modules.len()],
            found: HashMap::new(),
            places: HashMap::new(),
            unwinders: Unwinders::default(),
            frames_left: MOST_FRAMES,
        }
    }

    pub(in crate::cli) fn modules(&self) -> &'d [Module] {
        self.modules
    }

    /// Returns what is known about the binary of each module.
    pub(in crate::cli) fn binaries(&self) -> &[BinaryState] {
        &self.binaries
    }

    /// Walks the stack from these registers, and returns at most `most` frames.
    pub(in crate::cli) fn trace(&mut self, context: Option<&Context>, most: usize) -> StackTrace {
        let mut frames = Vec::new();
        // framehop expects tables that a linker made, and panics on some others.
        let walk = catch_unwind(AssertUnwindSafe(|| self.walk(context, most, &mut frames)));
        self.frames_left = self.frames_left.saturating_sub(frames.len());
        let end = walk.unwrap_or(StackEnd::Lost);
        StackTrace { frames, end }
    }

    fn walk(&mut self, context: Option<&Context>, most: usize, frames: &mut Vec<TraceFrame>) -> StackEnd {
        let Some(context) = context else {
            return StackEnd::Unsupported;
        };
        let most = most.min(self.frames_left);
        let (Some(ip), Some(sp)) = (context.instruction_pointer(), context.stack_pointer()) else {
            return StackEnd::Unsupported;
        };
        if most == 0 {
            return StackEnd::Limit;
        }
        let mut at = FrameAddress::from_instruction_pointer(ip);
        let registers = if let Some(all) = context.amd64() {
            Some(WalkRegisters::Amd64(UnwindRegsX86_64::new(
                all.rip, all.rsp, all.rbp,
            )))
        } else if let (Cpu::Arm64, Some(all)) = (context.cpu(), context.arm64()) {
            let highest = self.modules.iter().map(Module::end).max();
            // Without modules, nothing tells which bits are not of the address.
            let highest = highest.filter(|end| *end > 0).unwrap_or(u64::MAX);
            let mask = PtrAuthMask::from_max_known_address(highest);
            Some(WalkRegisters::Arm64(UnwindRegsAarch64::new_with_ptr_auth_mask(
                mask, all.lr, all.sp, all.fp,
            )))
        } else {
            None
        };
        let place = self.place(at);
        frames.push(frame(at, sp, &place));
        let Some(mut registers) = registers else {
            return StackEnd::Unsupported;
        };
        loop {
            if frames.len() >= most {
                return StackEnd::Limit;
            }
            let is_signal_return = self.place(at).is_signal_return;
            let popped = match is_signal_return {
                true => self.interrupted(&mut registers),
                false => self.popped(&mut registers, at.address(), frames.len()),
            };
            let next = match popped.map_or_else(|| self.unwind(at, &mut registers), |next| Ok(Some(next))) {
                Ok(Some(next)) => next,
                Ok(None) => return StackEnd::Whole,
                Err(framehop::Error::ReturnAddressIsNull) => return StackEnd::Whole,
                Err(_) => return StackEnd::Lost,
            };
            let Some(caller) = FrameAddress::from_return_address(next) else {
                return StackEnd::Whole;
            };
            // A signal interrupts a function before the instruction at this address, which may be
            // the first one of the function. A call returns behind the call.
            at = if is_signal_return {
                FrameAddress::from_instruction_pointer(next)
            } else {
                caller
            };
            let place = self.place(at);
            // Code lies in modules or was made at run time. A small number is neither.
            if place.module.is_none() && next < 0x1000 {
                return StackEnd::Lost;
            }
            frames.push(frame(at, registers.stack_pointer(), &place));
        }
    }

    /// Returns the address at which a signal interrupted the program. The kernel has put the
    /// registers on the stack of the handler: `struct rt_sigframe` of x86-64 and ARM64.
    ///
    /// framehop 0.16 cannot do this: it expects each frame to be above the one before, but the
    /// handler may have a stack of its own.
    fn interrupted(&self, registers: &mut WalkRegisters) -> Option<u64> {
        let at = registers.stack_pointer();
        let word = |offset| word(self.dump, self.has_memory, at.checked_add(offset)?);
        match registers {
            WalkRegisters::Amd64(registers) => {
                // The registers follow `uc_flags`, `uc_link` and `uc_stack`.
                let saved = |index: u64| word(40 + 8 * index);
                let (bp, sp, ip) = (saved(10)?, saved(15)?, saved(16)?);
                *registers = UnwindRegsX86_64::new(ip, sp, bp);
                Some(ip)
            }
            WalkRegisters::Arm64(registers) => {
                // `siginfo` has 128 bytes. x0 is at offset 184 of `ucontext`, and sp and pc follow
                // x30.
                let saved = |index: u64| word(128 + 184 + 8 * index);
                let (fp, lr, sp, pc) = (saved(29)?, saved(30)?, saved(31)?, saved(32)?);
                let mask = registers.lr_mask();
                *registers = UnwindRegsAarch64::new_with_ptr_auth_mask(mask, lr, sp, fp);
                Some(pc)
            }
        }
    }

    /// Returns the return address on top of the stack if the program called an address where no
    /// code can be, such as a null pointer.
    fn popped(&self, registers: &mut WalkRegisters, address: u64, depth: usize) -> Option<u64> {
        let WalkRegisters::Amd64(registers) = registers else {
            return None;
        };
        let is_no_code = address < 0x1000 || address >> 47 != 0;
        if depth != 1 || !is_no_code {
            return None;
        }
        let next = word(self.dump, self.has_memory, registers.sp())?;
        registers.set_sp(registers.sp().wrapping_add(8));
        registers.set_ip(next);
        Some(next)
    }

    fn unwind(
        &mut self,
        at: FrameAddress,
        registers: &mut WalkRegisters,
    ) -> Result<Option<u64>, framehop::Error> {
        let (dump, has_memory) = (self.dump, self.has_memory);
        let mut read = |address| word(dump, has_memory, address).ok_or(());
        let unwinders = &mut self.unwinders;
        match registers {
            WalkRegisters::Amd64(registers) => {
                let (unwinder, cache) = (&unwinders.amd64, &mut unwinders.amd64_cache);
                unwinder.unwind_frame(at, registers, cache, &mut read)
            }
            WalkRegisters::Arm64(registers) => {
                let (unwinder, cache) = (&unwinders.arm64, &mut unwinders.arm64_cache);
                unwinder.unwind_frame(at, registers, cache, &mut read)
            }
        }
    }

    /// Looks up an address. Reads the binary of its module if that has not happened yet.
    fn place(&mut self, at: FrameAddress) -> FramePlace {
        let address = at.address_for_lookup();
        let key = (at.address(), at.is_return_address());
        if let Some(place) = self.places.get(&key) {
            return place.clone();
        }
        let module = self.module_at(address);
        if let Some(index) = module {
            self.read_binary(index);
        }
        let binary = module.and_then(|index| self.found.get(&index).map(|found| (index, found)));
        let place = match binary {
            None => FramePlace {
                module,
                function: None,
                is_signal_return: false,
            },
            Some((index, binary)) => {
                let moved = self.modules[index].base.wrapping_sub(binary.linked_at);
                let in_file = |address: u64| address.wrapping_sub(moved);
                let function = binary.functions.find(in_file(address));
                FramePlace {
                    module,
                    function: function
                        .map(|(name, start)| (name.into(), in_file(at.address()).wrapping_sub(start))),
                    is_signal_return: is_signal_return(binary, in_file(at.address())),
                }
            }
        };
        // Only in a hostile dump are there so many.
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        self.places.insert(key, place.clone());
        place
    }

    fn module_at(&self, address: u64) -> Option<usize> {
        let behind = self.modules.partition_point(|module| module.base <= address);
        let index = behind.checked_sub(1)?;
        (address < self.modules[index].end()).then_some(index)
    }

    fn read_binary(&mut self, index: usize) {
        if self.binaries[index] != BinaryState::Unneeded {
            return;
        }
        let module = &self.modules[index];
        let (binary, tables) = match binary::find(module, &self.folders) {
            Ok(found) => found,
            Err(Unusable::Absent) => {
                self.binaries[index] = BinaryState::Absent;
                return;
            }
            Err(Unusable::Other) => {
                self.binaries[index] = BinaryState::Other;
                return;
            }
        };
        self.binaries[index] = BinaryState::Found;
        let range = module.base..module.end();
        let name = module.name.clone().unwrap_or_default();
        let tables = framehop::Module::new(name, range, module.base, tables);
        match self.cpu {
            Cpu::Arm64 => self.unwinders.arm64.add_module(tables),
            _ => self.unwinders.amd64.add_module(tables),
        }
        self.found.insert(index, binary);
    }
}

/// Reads a word of the captured memory.
fn word(dump: &Dump, has_memory: bool, address: u64) -> Option<u64> {
    if !has_memory {
        return None;
    }
    let bytes = dump.memory(address, 8).ok().flatten()?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn frame(at: FrameAddress, stack_pointer: u64, place: &FramePlace) -> TraceFrame {
    TraceFrame {
        address: at.address(),
        stack_pointer,
        module: place.module,
        function: place.function.clone(),
    }
}

/// Whether there is code that ends a signal handler: `mov $15, %rax; syscall` on x86-64, and
/// `mov x8, #139; svc #0` on ARM64. Source: the tables of system calls of Linux.
fn is_signal_return(binary: &Binary, address: u64) -> bool {
    const AMD64: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    const ARM64: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];
    binary.code(address) == Some(AMD64) || binary.code(address) == Some(ARM64)
}
