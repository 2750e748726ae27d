//! The text of a scenario that describes a process.

use std::fmt::Write as _;

use dumpwright_target::{
    Cpu, CpuContext, Direct, Exclusion, Fault, Frozen, Module, Need, Platform, Region, RegionKind,
    RegionState, System, Target, Thread,
};

/// The number of bytes of each stack that [`describe`] includes, from the stack pointer.
const OF_EACH_STACK: u64 = 16 << 10;
/// The number of bytes of all stacks. A scenario of more than 8 MiB of text cannot be read.
const OF_ALL_STACKS: usize = 2 << 20;

/// The general registers of an x86-64 `CONTEXT`, with their offsets in it.
const AMD64: [(&str, usize); 17] = [
    ("rip", 0xF8),
    ("rsp", 0x98),
    ("rax", 0x78),
    ("rbx", 0x90),
    ("rcx", 0x80),
    ("rdx", 0x88),
    ("rsi", 0xA8),
    ("rdi", 0xB0),
    ("rbp", 0xA0),
    ("r8", 0xB8),
    ("r9", 0xC0),
    ("r10", 0xC8),
    ("r11", 0xD0),
    ("r12", 0xD8),
    ("r13", 0xE0),
    ("r14", 0xE8),
    ("r15", 0xF0),
];

/// Describes a process as a [`Scenario`](crate::Scenario): its system, threads with their general
/// registers, modules and memory map. `with_stacks` adds what is on the stacks: up to 16 KiB of
/// each, and 2 MiB of all. All other memory is zero in the scenario.
///
/// The process is suspended meanwhile.
///
/// # Errors
/// The process cannot be suspended, or its system, threads or memory map are not known.
pub fn describe(target: &mut dyn Target, with_stacks: bool) -> Result<String, Fault> {
    let id = target.process_id();
    let mut frozen = target.freeze(&Need::default())?;
    let system = frozen.system()?;
    let mut text = String::new();
    let written = write_system(&mut text, &system)
        .and_then(|()| writeln!(text, "\n[process]\nid = {id}\n"))
        .and_then(|()| write_modules(&mut text, &modules(&mut *frozen)));
    debug_assert!(written.is_ok(), "a String takes everything");
    let threads = threads(&mut *frozen)?;
    let regions = frozen.regions(&mut Direct)?;
    let stacks = match with_stacks {
        true => stacks(&mut *frozen, &threads),
        false => Vec::new(),
    };
    frozen.thaw();
    let written = write_regions(&mut text, &regions, &stacks)
        .and_then(|()| write_threads(&mut text, &threads, &regions));
    debug_assert!(written.is_ok(), "a String takes everything");
    Ok(text)
}

/// Returns the modules. Those that cannot be described are left out.
fn modules(frozen: &mut dyn Frozen) -> Vec<Module> {
    let bases = frozen.module_bases(&mut Direct).unwrap_or_default();
    let known = bases.into_iter().map(|base| frozen.module(base, &mut Direct));
    known.flatten().collect()
}

/// Returns the threads. Those that have ended meanwhile are left out.
fn threads(frozen: &mut dyn Frozen) -> Result<Vec<Thread>, Fault> {
    let ids = frozen.thread_ids()?;
    let known = ids.into_iter().map(|id| frozen.thread(id, &mut Direct));
    Ok(known.flatten().collect())
}

/// Returns the address and the bytes of the used part of each stack.
fn stacks(frozen: &mut dyn Frozen, threads: &[Thread]) -> Vec<(u64, Vec<u8>)> {
    let mut left = OF_ALL_STACKS;
    let mut stacks = Vec::new();
    for range in threads.iter().filter_map(|thread| Some(thread.stack?.range)) {
        let mut bytes = vec![0; (range.len().min(OF_EACH_STACK) as usize).min(left)];
        let read = frozen.read(range.start(), &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        left -= read;
        stacks.push((range.start(), bytes));
    }
    stacks.retain(|(_, bytes)| !bytes.is_empty());
    stacks
}

/// A string in TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", letter as u32);
            }
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn write_system(text: &mut String, system: &System) -> std::fmt::Result {
    let platform = match system.platform {
        Platform::Linux => "linux",
        _ => "windows",
    };
    let cpu = match system.cpu {
        Cpu::X86 => "x86",
        Cpu::Arm => "arm",
        Cpu::Arm64 => "arm64",
        _ => "amd64",
    };
    let [major, minor, build] = system.version;
    writeln!(text, "[system]\nplatform = \"{platform}\"\ncpu = \"{cpu}\"")?;
    writeln!(text, "version = \"{major}.{minor}.{build}\"")?;
    writeln!(text, "version_text = {}", quoted(&system.version_text))?;
    writeln!(text, "build = {}", quoted(&system.build))?;
    writeln!(text, "processors = {}", system.processors)?;
    writeln!(text, "level = {}", system.processor_level)?;
    writeln!(text, "revision = {:#x}", system.processor_revision)?;
    writeln!(text, "page_size = {:#x}", system.page_size)
}

fn write_modules(text: &mut String, modules: &[Module]) -> std::fmt::Result {
    for (index, module) in modules.iter().enumerate() {
        writeln!(text, "[[module]]\npath = {}", quoted(&module.path))?;
        writeln!(text, "base = {:#x}\nsize = {:#x}", module.base, module.size)?;
        let end = module.base.saturating_add(module.size);
        let overlaps =
            |other: &Module| other.base < end && module.base < other.base.saturating_add(other.size);
        let mut others = modules.iter().enumerate();
        if others.any(|(other, module)| other != index && overlaps(module)) {
            writeln!(text, "may_overlap = true")?;
        }
        if !module.cv_record.is_empty() {
            writeln!(text, "codeview = \"{}\"", hex(&module.cv_record))?;
        }
        if module.timestamp != 0 {
            writeln!(text, "timestamp = {:#x}", module.timestamp)?;
        }
        if module.checksum != 0 {
            writeln!(text, "checksum = {:#x}", module.checksum)?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_regions(text: &mut String, regions: &[Region], stacks: &[(u64, Vec<u8>)]) -> std::fmt::Result {
    for region in regions.iter().filter(|region| region.state != RegionState::Free) {
        let start = region.range.start();
        writeln!(
            text,
            "[[memory]]\nbase = {start:#x}\nsize = {:#x}",
            region.range.len()
        )?;
        match region.state {
            RegionState::Reserve => writeln!(text, "state = \"reserve\"")?,
            _ => writeln!(text, "protect = {:#x}", region.protect)?,
        }
        let kind = match region.kind {
            Some(RegionKind::Mapped) => "mapped",
            Some(RegionKind::Image) => "image",
            _ => "private",
        };
        writeln!(text, "kind = \"{kind}\"")?;
        let exclusion = match region.exclusion {
            Some(Exclusion::Device) => Some("device"),
            Some(Exclusion::Kernel) => Some("kernel"),
            Some(Exclusion::DontDump) => Some("dont-dump"),
            _ => None,
        };
        if let Some(exclusion) = exclusion {
            writeln!(text, "exclusion = \"{exclusion}\"")?;
        }
        writeln!(text, "allocation = {:#x}", region.allocation_base)?;
        writeln!(text, "allocation_protect = {:#x}", region.allocation_protect)?;
        let inside = stacks.iter().filter(|(at, _)| region.range.contains(*at));
        let parts: Vec<_> = inside
            .map(|(at, bytes)| {
                let most = (region.range.end() - at).min(bytes.len() as u64) as usize;
                format!(
                    "{{ offset = {:#x}, hex = \"{}\" }}",
                    at - start,
                    hex(&bytes[..most])
                )
            })
            .collect();
        if !parts.is_empty() {
            writeln!(text, "put = [{}]", parts.join(", "))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_threads(text: &mut String, threads: &[Thread], regions: &[Region]) -> std::fmt::Result {
    for thread in threads {
        // A scenario has no threads without registers.
        let Some(context) = &thread.context else { continue };
        writeln!(text, "[[thread]]\nid = {}", thread.id)?;
        if let Some(name) = &thread.name {
            writeln!(text, "name = {}", quoted(name))?;
        }
        if thread.teb != 0 {
            writeln!(text, "teb = {:#x}", thread.teb)?;
        }
        writeln!(text, "priority = {}", thread.priority)?;
        match thread.stack {
            Some(stack) => {
                let allocation = regions
                    .iter()
                    .find(|region| region.range.contains(stack.range.start()))
                    .map_or(stack.range.start(), |region| region.range.start());
                writeln!(
                    text,
                    "stack = {{ limit = {allocation:#x}, base = {:#x} }}",
                    stack.range.end()
                )?;
                if !stack.range.contains(stack.pointer) {
                    writeln!(text, "stack_outside_memory = true")?;
                }
            }
            None => writeln!(text, "stack_outside_memory = true")?,
        }
        writeln!(text, "registers = {{ {} }}\n", registers(context))?;
    }
    Ok(())
}

fn registers(context: &CpuContext) -> String {
    let [ip, sp] = [context.instruction_pointer(), context.stack_pointer()];
    match context.cpu() {
        Cpu::Amd64 => {
            let bytes = context.plain();
            let word = |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
            let known = AMD64.iter().filter_map(|(name, at)| {
                let value = u64::from_le_bytes(word(*at)?);
                (value != 0 || ["rip", "rsp"].contains(name)).then(|| format!("{name} = {}", number(value)))
            });
            known.collect::<Vec<_>>().join(", ")
        }
        Cpu::X86 => format!("eip = {}, esp = {}", number(ip), number(sp)),
        _ => format!("pc = {}, sp = {}", number(ip), number(sp)),
    }
}

/// A number in TOML. Integers of TOML have 63 bits and a sign; larger numbers are strings.
fn number(value: u64) -> String {
    match i64::try_from(value) {
        Ok(value) => format!("{value:#x}"),
        Err(_) => format!("\"{value:#x}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contents, Scenario, SimProcess};
    use dumpwright_target::protect::{EXECUTE_READ, READWRITE};

    #[test]
    fn a_description_gives_the_process_again() {
        let mut process = SimProcess::new(1000)
            .thread(7, 0x7fff_0000_1000, 0x40_1000)
            .thread(8, 0x7ffe_0000_0800, 0x40_1010)
            .memory(0x7fff_0000_0000, 0x4000, READWRITE, Contents::Counting)
            .memory(0x7ffe_0000_0000, 0x1000, READWRITE, Contents::Counting)
            .memory(0x40_0000, 0x2000, EXECUTE_READ, Contents::Counting);
        let text = describe(&mut process, true).expect("it can be described");
        let mut again = Scenario::parse(&text, "described").expect("a scenario");
        let facts = |process: &mut SimProcess| {
            let mut frozen = process.freeze(&Need::default()).expect("it can be suspended");
            let threads: Vec<_> = threads(&mut *frozen)
                .expect("listed")
                .into_iter()
                .map(|thread| {
                    (
                        thread.id,
                        thread.stack.map(|stack| stack.range),
                        registers(thread.context.as_ref().expect("it has registers")),
                    )
                })
                .collect();
            let regions: Vec<_> = frozen.regions(&mut Direct).expect("listed");
            let mut stack = [0; 64];
            frozen.read(0x7fff_0000_1000, &mut stack).expect("readable");
            (threads, regions, stack)
        };
        assert_eq!(facts(&mut again), facts(&mut process));
    }
}
