//! Prints the modules and the unloaded modules.

use std::io::{self, Write};

use dumpwright::read::{Dump, Module};

use super::words::name;
use super::{more, section, section_of};

pub(super) fn print(out: &mut impl Write, modules: &[Module], left: u64) -> io::Result<()> {
    section(out, &format!("Modules ({})", modules.len() as u64 + left))?;
    for module in modules {
        let name = module.name.as_deref().map_or("(unreadable name)".into(), name);
        let version = module
            .version
            .as_ref()
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        writeln!(
            out,
            "  {:#x} to {:#x}  {name}{version}",
            module.base,
            module.end()
        )?;
        let ids = [("debug id", &module.debug_id), ("code id", &module.code_id)];
        for (label, id) in ids {
            if let Some(id) = id {
                writeln!(out, "    {label:<8}  {id}")?;
            }
        }
    }
    more(out, left)
}

pub(super) fn print_unloaded(
    out: &mut impl Write,
    dump: &Dump,
    problems: &mut Vec<String>,
) -> io::Result<()> {
    section_of(
        out,
        problems,
        dump.iter_unloaded_modules(),
        |len| format!("Unloaded modules ({len})"),
        |out, module| {
            let name = module.name.as_deref().map_or("(unreadable name)".into(), name);
            let end = module.base.saturating_add(module.size.into());
            writeln!(out, "  {:#x} to {end:#x}  {name}", module.base)
        },
    )
}
