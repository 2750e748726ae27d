//! Step 4: chooses the memory, and reads the part of it that is read before the layout.

use dumpwright_callback::Hresult;
use dumpwright_target::{Frozen, Severity, Subject};

use super::fetch::fetch;
use super::{Collected, Negotiated, Snapshot, compressed, dbghelp, filter, full, selected};
use crate::error::remedy;
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Request};

/// Chooses the memory, asks the callback what to add and remove, and reads what is to be read now.
pub(crate) fn memory(
    frozen: &mut dyn Frozen,
    collected: Collected,
    negotiated: &Negotiated,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
) -> Result<Snapshot, Error> {
    let Collected { mut snapshot, map } = collected;
    let profile = negotiated.profile;
    let dump_type = snapshot.terms.dump_type;
    let is_compressed = dump_type.contains(DumpType::WITH_MEMORY_COMPRESSED);
    match dump_type.contains(DumpType::WITH_FULL_MEMORY) {
        _ if is_compressed && profile.reads_in_second_pass() => {
            dbghelp::compressed(frozen, &mut snapshot, &map, negotiated, dialogue)?;
        }
        _ if is_compressed => compressed::choose(frozen, &mut snapshot, &map, negotiated, dialogue)?,
        true if profile.reads_in_second_pass() => {
            let limit = request.fetch_limit;
            dbghelp::full(frozen, &mut snapshot, &map, negotiated, limit, dialogue)?;
        }
        true => full::choose(frozen, &mut snapshot, &map, dialogue)?,
        false if profile.selects_by_probing() => {
            let limit = request.fetch_limit;
            dbghelp::selected(frozen, &mut snapshot, &map, negotiated, limit, dialogue)?;
        }
        false => {
            let chosen = selected::choose(frozen, &mut snapshot, &map, dialogue)?;
            let limit = request.fetch_limit;
            fetch(frozen, &mut snapshot, chosen, limit, dialogue.service())?;
        }
    }
    filter::apply(&mut snapshot);
    if !profile.reads_in_second_pass() {
        refuse_losses(&snapshot)?;
    }
    if !dialogue.is_writing() {
        negotiated.begin_writing(dialogue)?;
    }
    Ok(snapshot)
}

/// With type 0x2000000, fails if any memory could not be read.
fn refuse_losses(snapshot: &Snapshot) -> Result<(), Error> {
    if !snapshot
        .terms
        .dump_type
        .contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY)
    {
        return Ok(());
    }
    let lost = snapshot
        .diagnostics
        .iter()
        .find_map(|diagnostic| match diagnostic.subject {
            Subject::Memory(range) if diagnostic.severity == Severity::Missing => Some(range),
            _ => None,
        });
    lost.map_or(Ok(()), |range| {
        Err(Error::Unreadable {
            range,
            status: Hresult::PARTIAL_COPY,
            remedy: remedy::ALLOW_LOSSES,
        })
    })
}
