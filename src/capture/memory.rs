//! Phase 4: which memory, and the part of it that is read at once.

use dumpwright_callback::Hresult;
use dumpwright_target::{Frozen, Gravity, Subject};

use super::fetch::fetch;
use super::{Collected, Negotiated, Snapshot, dbghelp, filter, full, selected};
use crate::protocol::dialogue::Dialogue;
use crate::{DumpType, Error, Request};

/// Chooses the memory, asks the callback to add and remove, and fetches what is to be fetched.
pub(crate) fn memory(
    frozen: &mut dyn Frozen,
    collected: Collected,
    negotiated: &Negotiated,
    request: &Request,
    dialogue: &mut Dialogue<'_>,
) -> Result<Snapshot, Error> {
    let Collected { mut snapshot, map } = collected;
    let profile = negotiated.profile;
    match snapshot.dump_type.contains(DumpType::WITH_FULL_MEMORY) {
        true if profile.reads_in_second_pass() => {
            dbghelp::full(frozen, &mut snapshot, &map, negotiated, dialogue)?;
        }
        true => full::choose(frozen, &mut snapshot, &map, dialogue)?,
        false if profile.selects_by_probing() => {
            dbghelp::selected(frozen, &mut snapshot, &map, negotiated, dialogue)?;
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

/// With type 0x2000000 memory that cannot be read is an error.
fn refuse_losses(snapshot: &Snapshot) -> Result<(), Error> {
    if !snapshot
        .dump_type
        .contains(DumpType::NO_IGNORE_INACCESSIBLE_MEMORY)
    {
        return Ok(());
    }
    let lost = snapshot.remarks.iter().find_map(|remark| match remark.subject {
        Subject::Memory(range) if remark.gravity == Gravity::Missing => Some(range),
        _ => None,
    });
    lost.map_or(Ok(()), |range| {
        let status = Hresult::PARTIAL_COPY;
        Err(Error::Unreadable { range, status })
    })
}
