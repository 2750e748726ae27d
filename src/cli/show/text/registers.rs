//! Prints the registers of a thread or an exception.

use std::borrow::Cow;
use std::io::{self, Write};

use dumpwright::read::{Context, Cpu, Module};

use super::words::place;

/// Prints the instruction pointer with its module, the general registers, and those extended
/// registers (`ymm`, `zmm`, `k`) that are not zero.
pub(super) fn print(out: &mut impl Write, modules: &[Module], context: &Context) -> io::Result<()> {
    if let Some(ip) = context.instruction_pointer() {
        writeln!(out, "    at {}", place(modules, ip))?;
    }
    let general = general_registers(context);
    if let (true, Some(sp)) = (general.is_empty(), context.stack_pointer()) {
        writeln!(out, "    stack pointer {sp:#x}")?;
    }
    let digits = match context.cpu() {
        Cpu::X86 | Cpu::Arm => 8,
        _ => 16,
    };
    for row in general.chunks(4) {
        let cells: Vec<String> = row
            .iter()
            .map(|(name, value)| format!("{name:<3} {value:0digits$x}"))
            .collect();
        writeln!(out, "    {}", cells.join("  "))?;
    }
    if let Some(state) = context.extended_state() {
        if state.zmm.is_empty() {
            bank(out, "ymm", &state.ymm)?;
        } else {
            bank(out, "zmm", &state.zmm)?;
        }
        bank(out, "k", &state.k)?;
    }
    Ok(())
}

/// Returns the general registers with their names, without the instruction pointer. Empty for an
/// unknown processor.
pub(in crate::cli::show) fn general_registers(context: &Context) -> Vec<(Cow<'static, str>, u64)> {
    let named = |registers: &[(&'static str, u64)]| -> Vec<_> {
        registers
            .iter()
            .map(|(name, value)| ((*name).into(), *value))
            .collect()
    };
    let narrow = |registers: &[(&'static str, u32)]| -> Vec<_> {
        registers
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    };
    let numbered = |letter: char, values: &[u64]| -> Vec<_> {
        let name = |(number, value): (usize, &u64)| (format!("{letter}{number}").into(), *value);
        values.iter().enumerate().map(name).collect()
    };
    if let Some(all) = context.amd64() {
        return named(&[
            ("rax", all.rax),
            ("rbx", all.rbx),
            ("rcx", all.rcx),
            ("rdx", all.rdx),
            ("rsi", all.rsi),
            ("rdi", all.rdi),
            ("rbp", all.rbp),
            ("rsp", all.rsp),
            ("r8", all.r8),
            ("r9", all.r9),
            ("r10", all.r10),
            ("r11", all.r11),
            ("r12", all.r12),
            ("r13", all.r13),
            ("r14", all.r14),
            ("r15", all.r15),
        ]);
    }
    if let Some(all) = context.x86() {
        return narrow(&[
            ("eax", all.eax),
            ("ebx", all.ebx),
            ("ecx", all.ecx),
            ("edx", all.edx),
            ("esi", all.esi),
            ("edi", all.edi),
            ("ebp", all.ebp),
            ("esp", all.esp),
        ]);
    }
    if let Some(all) = context.arm() {
        let mut registers = numbered('r', &all.r.map(u64::from));
        registers.extend(narrow(&[("sp", all.sp), ("lr", all.lr)]));
        return registers;
    }
    if let Some(all) = context.arm64() {
        let mut registers = numbered('x', &all.x);
        registers.extend(named(&[("fp", all.fp), ("lr", all.lr), ("sp", all.sp)]));
        return registers;
    }
    Vec::new()
}

/// Prints the registers of a bank that are not zero, highest byte first.
fn bank<const SIZE: usize>(out: &mut impl Write, letters: &str, bank: &[[u8; SIZE]]) -> io::Result<()> {
    for (number, bytes) in bank.iter().enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
            writeln!(out, "    {letters}{number} {digits}")?;
        }
    }
    Ok(())
}
