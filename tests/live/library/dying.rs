//! Targets that are killed between two calls of the callback.

use dumpwright::read::Dump;
use dumpwright::{Ask, DumpType, Error, Hresult, Request, dump, native};

use crate::support::proc::{self, Stat, until};
use crate::support::victim::{self, Frames, Victim};

/// Dumps a new victim, which is killed at call number `at`. Returns the number of calls.
fn die_at(name: &str, dump_type: DumpType, at: usize) -> usize {
    let nothing: [&str; 0] = [];
    let victim = Victim::start(&victim::c(name, Frames::Pointers), &nothing);
    let pid = victim.pid();
    let mut asked = 0;
    let mut callback = |ask: Ask<'_>| {
        if asked == at {
            proc::signal(pid, libc::SIGKILL);
            until("it is dead", || {
                Stat::of(pid).is_none_or(|stat| "ZX".contains(stat.state()))
            });
        }
        asked += 1;
        match ask {
            Ask::Cancel { answer } => {
                answer.check_cancel = true;
                true
            }
            // Continues without the memory.
            Ask::ReadMemoryFailure { status, .. } => {
                *status = Hresult::S_OK;
                true
            }
            Ask::Memory { .. } | Ask::RemoveMemory { .. } => false,
            Ask::IncludeVmRegion { answer } => {
                answer.cont = true;
                true
            }
            _ => true,
        }
    };
    let mut target = native::process(pid).unwrap();
    let mut bytes = Vec::new();
    let outcome = dump(
        &mut target,
        &Request::new(dump_type),
        Some(&mut callback),
        &mut bytes,
    );
    match outcome {
        // Everything that such a dump lists must be in it.
        Ok(report) => {
            let dump = Dump::from_bytes(bytes).unwrap();
            assert_eq!(dump.threads().unwrap().len(), report.threads);
            for range in dump.memory_ranges().unwrap() {
                assert!(dump.memory(range.address, range.size).unwrap().is_some() || !report.is_complete());
            }
            if report.is_complete() {
                for thread in dump.threads().unwrap() {
                    assert!(thread.registers().is_some());
                    let (start, size) = (thread.stack.start, u64::from(thread.stack.size));
                    assert!(size > 0 && dump.has_memory(start, size).unwrap());
                }
            }
        }
        Err(Error::Target(fault)) => {
            assert!(fault.operation.contains(&pid.to_string()), "{fault}");
        }
        Err(error) => panic!("question {at}: {error}"),
    }
    asked
}

#[test]
fn at_every_question_of_a_normal_dump() {
    let mut at = 0;
    // A dialogue that the death ended has fewer calls; a complete one has all.
    let all = die_at("threads", DumpType::NORMAL, usize::MAX);
    while at < all {
        die_at("threads", DumpType::NORMAL, at);
        at += 1 + all / 60;
    }
}

#[test]
fn at_every_question_of_a_full_dump() {
    let mut at = 0;
    let dump_type = DumpType::WITH_FULL_MEMORY | DumpType::WITH_HANDLE_DATA | DumpType::WITH_FULL_MEMORY_INFO;
    let all = die_at("threads", dump_type, usize::MAX);
    while at < all {
        die_at("threads", dump_type, at);
        at += 1 + all / 60;
    }
}
