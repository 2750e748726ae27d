//! The module list.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::fields::Fields;
use super::super::modules::{CV_ELF, CV_PDB20, CV_PDB70, MODULE_SIZE, ModuleRecord};
use super::super::stream_type;
use super::super::strings::TextBudget;
use super::super::system::Platform;
use super::{Findings, Rule, Severity};

/// Breakpad's limit on modules.
const BREAKPAD_MODULES: usize = 2048;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::MODULE_LIST) else {
        return Ok(());
    };
    let Some(modules) = findings.read(Rule::ModuleListSize, dump.module_records())? else {
        return Ok(());
    };
    let exact = 4 + modules.len() as u64 * MODULE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{} modules take {exact} bytes, the stream has {}",
            modules.len(),
            entry.size
        );
        findings.add(Rule::ModuleListSize, entry.record_offset, text);
    }
    if modules.len() > BREAKPAD_MODULES {
        findings.add(
            Rule::ModuleCount,
            entry.rva.into(),
            format!("the list has {} modules", modules.len()),
        );
    }
    let mut names = TextBudget::new(dump);
    for module in &modules {
        if let Ok(name) = dump.string_at(module.name_rva.into(), &mut names)
            && !name.is_ascii()
        {
            let text = format!("the module at {:#x} is called {name:?}", module.base);
            findings.add(Rule::ModuleNameNotAscii, module.name_rva.into(), text);
        }
        let name = format!("the name of the module at {:#x}", module.base);
        findings.check_string(dump, &name, module.name_rva.into())?;
        code_view(dump, findings, module)?;
    }
    places(dump, findings, modules);
    Ok(())
}

fn places(dump: &Dump, findings: &mut Findings, mut modules: Vec<ModuleRecord>) {
    // Breakpad refuses overlaps in Windows dumps only. Elsewhere they can be honest: the loadable segments of an ELF
    // image may span space that something else was mapped into (Wine's preloader is made for that).
    let overlap = match dump.platform() {
        Platform::Windows => Severity::Error,
        _ => Severity::Warning,
    };
    modules.sort_by_key(|module| (module.base, module.offset));
    let mut last: Option<(u64, u64)> = None;
    for module in &modules {
        let ModuleRecord {
            offset, base, size, ..
        } = *module;
        if size == 0 {
            findings.add(
                Rule::ModuleSizeZero,
                offset + 8,
                format!("the module at {base:#x} has size 0"),
            );
            continue;
        }
        let Some(end) = base.checked_add(u64::from(size) - 1) else {
            let text = format!("the module at {base:#x} with {size} bytes wraps");
            findings.add(Rule::ModuleWraps, offset, text);
            continue;
        };
        match last {
            Some((other, _)) if other == base => {
                findings.add(
                    Rule::ModuleBaseDuplicate,
                    offset,
                    format!("a second module begins at {base:#x}"),
                );
            }
            Some((other, covered)) if base <= covered => {
                let text = format!("the module at {base:#x} overlaps the one at {other:#x} to {covered:#x}");
                findings.add_as(overlap, Rule::ModuleOverlap, offset, text);
            }
            _ => {}
        }
        if last.is_none_or(|(_, covered)| end > covered) {
            last = Some((base, end));
        }
    }
}

fn code_view(dump: &Dump, findings: &mut Findings, module: &ModuleRecord) -> Result<(), ReadError> {
    let at = module.code_view;
    if !at.is_present() {
        let text = format!("the module at {:#x} has no CodeView record", module.base);
        findings.add(Rule::CodeViewMissing, module.offset + 76, text);
        return Ok(());
    }
    let (offset, size) = (u64::from(at.rva), u64::from(at.size));
    if !dump.holds(offset, size) {
        let text = format!(
            "the CodeView record of the module at {:#x}, {size} bytes at {offset:#x}, is not in the file",
            module.base
        );
        findings.add(Rule::CodeViewOutsideFile, module.offset + 76, text);
        return Ok(());
    }
    let signature = Fields(&dump.prefix("a CodeView record", offset, size, 4)?).u32(0);
    let mut last = [0];
    dump.fill("a CodeView record", offset + size - 1, &mut last)?;
    let whole = match signature {
        CV_PDB70 => size >= 25 && last == [0],
        CV_PDB20 => size >= 17 && last == [0],
        CV_ELF => size > 4,
        _ => false,
    };
    if !whole {
        let text = format!(
            "the CodeView record of the module at {:#x} has signature {signature:#x} and {size} bytes",
            module.base
        );
        findings.add(Rule::CodeViewMalformed, offset, text);
    }
    Ok(())
}
