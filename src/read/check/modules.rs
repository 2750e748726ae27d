//! Rules about the module list.

use super::super::dump::Dump;
use super::super::error::ReadError;
use super::super::fields::FieldReader;
use super::super::list::List;
use super::super::modules::{CV_ELF, CV_PDB20, CV_PDB70, MODULE_SIZE, MOST_MODULES, RawModule};
use super::super::stream_type;
use super::super::strings::TextBudget;
use super::super::system::Platform;
use super::{Findings, Level, Rule};

/// Breakpad's limit for the number of modules.
const BREAKPAD_MODULES: u64 = 2048;

pub(super) fn check(dump: &Dump, findings: &mut Findings) -> Result<(), ReadError> {
    let Some(entry) = dump.stream(stream_type::MODULE_LIST) else {
        return Ok(());
    };
    let records = dump.module_records();
    let count = records.as_ref().map_or(0, List::len);
    let Some(records) = findings.list_to(Rule::ModuleListSize, records, MOST_MODULES)? else {
        return Ok(());
    };
    let exact = 4 + count * MODULE_SIZE;
    if u64::from(entry.size) != exact {
        let text = format!(
            "{count} modules take {exact} bytes, but the stream has {}",
            entry.size
        );
        findings.add_size(Rule::ModuleListSize, entry, exact, text);
    }
    if count > BREAKPAD_MODULES {
        findings.add(
            Rule::ModuleCount,
            entry.rva.into(),
            format!("the list has {count} modules"),
        );
    }
    let mut names = TextBudget::new(dump);
    let mut modules = Vec::new();
    for module in records {
        let module = module?;
        if let Ok(name) = dump.string_at(module.name_rva.into(), &mut names)
            && !name.is_ascii()
        {
            let text = format!(
                "the name of the module at {:#x} is not ASCII: {name:?}",
                module.base
            );
            findings.add(Rule::ModuleNameNotAscii, module.name_rva.into(), text);
        }
        findings.check_string(
            dump,
            format_args!("the name of the module at {:#x}", module.base),
            module.name_rva.into(),
        )?;
        code_view(dump, findings, &module)?;
        modules.push(module);
    }
    places(dump, findings, modules);
    Ok(())
}

fn places(dump: &Dump, findings: &mut Findings, mut modules: Vec<RawModule>) {
    // Breakpad refuses overlaps only in Windows dumps. In other dumps, overlaps can be valid: the
    // loadable segments of an ELF image may span addresses where something else was mapped (Wine's
    // preloader exists for that purpose).
    let overlap = match dump.platform() {
        Platform::Windows => Level::Error,
        _ => Level::Warning,
    };
    modules.sort_by_key(|module| (module.base, module.offset));
    let mut last: Option<(u64, u64)> = None;
    for module in &modules {
        let RawModule {
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
            let text = format!(
                "the module at {base:#x} has {size} bytes and extends past the end of the address space"
            );
            findings.add(Rule::ModuleWraps, offset, text);
            continue;
        };
        match last {
            Some((other, _)) if other == base => {
                findings.add(
                    Rule::ModuleBaseDuplicate,
                    offset,
                    format!("more than one module starts at {base:#x}"),
                );
            }
            Some((other, covered)) if base <= covered => {
                let text =
                    format!("the module at {base:#x} overlaps the one from {other:#x} to {covered:#x}");
                findings.add_as(overlap, Rule::ModuleOverlap, offset, text);
            }
            _ => {}
        }
        if last.is_none_or(|(_, covered)| end > covered) {
            last = Some((base, end));
        }
    }
}

fn code_view(dump: &Dump, findings: &mut Findings, module: &RawModule) -> Result<(), ReadError> {
    let at = module.code_view;
    if !at.is_present() {
        let text = format!("the module at {:#x} has no CodeView record", module.base);
        findings.add(Rule::CodeViewMissing, module.offset + 76, text);
        return Ok(());
    }
    let (offset, size) = (u64::from(at.rva), u64::from(at.size));
    if !dump.holds(offset, size) {
        let text = format!(
            "the CodeView record of the module at {:#x} ({size} bytes at offset {offset:#x}) \
             lies outside the file",
            module.base
        );
        findings.add(Rule::CodeViewOutsideFile, module.offset + 76, text);
        return Ok(());
    }
    let signature = FieldReader(&dump.prefix("a CodeView record", offset, size, 4)?).u32(0);
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
            "the CodeView record of the module at {:#x} is malformed: \
             it has signature {signature:#x} and {size} bytes",
            module.base
        );
        findings.add(Rule::CodeViewMalformed, offset, text);
    }
    Ok(())
}
