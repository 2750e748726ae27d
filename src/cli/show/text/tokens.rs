//! Prints the access tokens.

use std::io::{self, Write};

use dumpwright::read::Dump;

use super::section;
use crate::cli::show::part;

pub(super) fn print(out: &mut impl Write, dump: &Dump, problems: &mut Vec<String>) -> io::Result<()> {
    let tokens = part(problems, dump.tokens());
    if tokens.is_empty() {
        return Ok(());
    }
    section(out, &format!("Tokens ({})", tokens.len()))?;
    let process = part(problems, dump.misc_info()).and_then(|misc| misc.process_id);
    for token in tokens {
        let kind = match token.token_type {
            Some(2) => "impersonation, thread",
            Some(1) => "primary, process",
            _ if process == Some(token.id) => "primary, process",
            _ => "thread",
        };
        let user = token.user.unwrap_or_else(|| "(no user)".to_owned());
        write!(out, "  {user}, {kind} {}", token.id)?;
        match token.session.filter(|session| *session != 0) {
            Some(session) => writeln!(out, ", session {session}")?,
            None => writeln!(out)?,
        }
        for group in token.groups {
            let primary = match token.primary_group.as_ref() == Some(&group.sid) {
                true => ", primary",
                false => "",
            };
            writeln!(
                out,
                "    group {}, attributes {:#x}{primary}",
                group.sid, group.attributes
            )?;
        }
        for group in token.restricting {
            writeln!(
                out,
                "    restricted by {}, attributes {:#x}",
                group.sid, group.attributes
            )?;
        }
        for privilege in token.privileges {
            writeln!(
                out,
                "    privilege {}, attributes {:#x}",
                privilege.luid, privilege.attributes
            )?;
        }
    }
    Ok(())
}
