//! The users and groups of the process, presented as Windows tokens.

use std::io;

use dumpwright_target::{Fault, Sid, SidAndAttributes, Token};

use crate::proc_dir::{ProcDir, field, read_bounded, system_fault};

/// `SE_GROUP_MANDATORY`, `SE_GROUP_ENABLED_BY_DEFAULT` and `SE_GROUP_ENABLED`: the group is enabled
/// and cannot be disabled.
const COUNTS: u32 = 7;

/// The maximum size of a thread's `status`: 2 KiB, and a line of up to 65536 groups.
const STATUS_LIMIT: u64 = 2 << 20;

/// The credentials that decide about access to objects: the effective ids, as numbered in our user
/// namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: u32,
    group: u32,
    others: Vec<u32>,
}

/// Returns the token of the process, followed by those of threads with other credentials.
///
/// On Linux each thread has its own credentials. The C library keeps them equal. Programs that
/// serve several users, such as file servers, change those of a single thread by direct system
/// calls.
pub(crate) fn tokens(dir: &ProcDir, threads: &[u32]) -> Result<Vec<Token>, Fault> {
    let fault = |tid: u32, error: &io::Error| {
        let operation = format!("read the credentials of thread {tid} of process {}", dir.pid);
        system_fault(operation, error)
    };
    let own = credentials(dir, dir.task).map_err(|error| fault(dir.task, &error))?;
    let mut tokens = vec![token(&own, dir.pid)];
    for tid in threads.iter().filter(|tid| **tid != dir.task) {
        match credentials(dir, *tid) {
            Ok(theirs) if theirs != own => tokens.push(token(&theirs, *tid)),
            Ok(_) => {}
            Err(error) if has_ended(&error) => {}
            Err(error) => return Err(fault(*tid, &error)),
        }
    }
    Ok(tokens)
}

/// Whether `/proc` returned this error because the thread has ended. A thread that was killed or
/// could not be stopped may have ended in the meantime; it needs no token.
fn has_ended(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn credentials(dir: &ProcDir, tid: u32) -> io::Result<Credentials> {
    let text = read_bounded(&dir.process_path(format!("task/{tid}/status")), STATUS_LIMIT)?;
    parse(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its status has no users and groups"))
}

/// Parses a `status`. `Uid:` and `Gid:` have the real, effective, saved and file system id, in that
/// order (proc_pid_status(5)).
pub(crate) fn parse(status: &[u8]) -> Option<Credentials> {
    let effective = |name| field(status, name)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let groups = field(status, "Groups").unwrap_or_default();
    Some(Credentials {
        user: effective("Uid")?,
        group: effective("Gid")?,
        others: groups
            .split_ascii_whitespace()
            .map(|id| id.parse().ok())
            .collect::<Option<_>>()?,
    })
}

fn token(credentials: &Credentials, id: u32) -> Token {
    let others = credentials.others.iter().filter(|id| **id != credentials.group);
    let groups = [credentials.group].into_iter().chain(others.copied());
    Token {
        id,
        handle: 0,
        session: 0,
        user: SidAndAttributes {
            sid: Sid::unix_user(credentials.user),
            attributes: 0,
        },
        groups: groups
            .map(|id| SidAndAttributes {
                sid: Sid::unix_group(id),
                attributes: COUNTS,
            })
            .collect(),
        primary_group: Some(Sid::unix_group(credentials.group)),
        // Capabilities do not correspond to privileges of Windows. Linux has no statistics.
        privileges: Vec::new(),
        restricting: Vec::new(),
        statistics: None,
    }
}

/// What these tests would catch: a real or saved id instead of the effective one, a missing or
/// repeated group, a thread with other credentials that is not listed, and the loss of all tokens
/// because one thread has ended.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Victim;

    #[test]
    fn effective_ids_and_all_groups_are_taken() {
        let status = b"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t6 9 4294967294 \n";
        let found = parse(status).expect("sound");
        assert_eq!(
            (found.user, found.group, &found.others[..]),
            (2, 6, &[6, 9, u32::MAX - 1][..])
        );
        let token = token(&found, 17);
        assert_eq!(token.user.sid.to_string(), "S-1-22-1-2");
        let groups: Vec<_> = token.groups.iter().map(|group| group.sid.to_string()).collect();
        assert_eq!(groups, ["S-1-22-2-6", "S-1-22-2-9", "S-1-22-2-4294967294"]);
        for hostile in [
            &b""[..],
            b"Uid:\t1\nGid:\t1\t2",
            b"Uid:\t1 -2\nGid:\t1\t2",
            b"Uid: 1 2\nGid: 1 2\nGroups: x",
        ] {
            assert_eq!(parse(hostile), None);
        }
    }

    #[test]
    fn a_child_has_the_ids_that_the_kernel_tells_it() {
        let victim = Victim::that::<67>(|words| {
            let (mut real, mut effective, mut saved) = (0, 0, 0);
            let mut groups = [0; 64];
            // SAFETY: each call writes only to the local variables whose addresses it is given.
            // getgroups is given the length of the array.
            let count = unsafe {
                libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved);
                words[0] = effective.into();
                libc::getresgid(&raw mut real, &raw mut effective, &raw mut saved);
                words[1] = effective.into();
                libc::getgroups(64, groups.as_mut_ptr())
            };
            words[2] = count as u64;
            for (word, group) in words[3..].iter_mut().zip(groups) {
                *word = group.into();
            }
        });
        let tokens = tokens(&victim.dir(), &[victim.id()]).expect("readable");
        let [own] = &tokens[..] else {
            panic!("one token: {tokens:?}")
        };
        let words = &victim.words;
        assert_eq!(own.id, victim.id());
        assert_eq!(own.user.sid.to_string(), format!("S-1-22-1-{}", words[0]));
        assert_eq!(own.primary_group, Some(Sid::unix_group(words[1] as u32)));
        let count = usize::try_from(words[2]).expect("groups that fit");
        let mut expected: Vec<_> = words[3..3 + count].iter().chain(&words[1..2]).collect();
        expected.sort_unstable();
        expected.dedup();
        let mut found: Vec<_> = own.groups.iter().map(|group| group.sid.to_string()).collect();
        found.sort_by_key(|sid| sid.rsplit('-').next().and_then(|id| id.parse::<u64>().ok()));
        let expected: Vec<_> = expected.iter().map(|id| format!("S-1-22-2-{id}")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_thread_that_has_ended_costs_no_token() {
        let victim = Victim::that::<1>(|_| {});
        // The victim has no thread with the id of this process. So looking up that id fails as for
        // a thread that has ended.
        let ended = std::process::id();
        let tokens = tokens(&victim.dir(), &[victim.id(), ended]).expect("readable");
        assert_eq!(tokens.len(), 1, "{tokens:?}");
    }
}
