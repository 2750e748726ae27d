//! Filtered dumps of the victim `threads`: their bytes have none of its secrets, and readers by
//! others still unwind its stacks to the same functions.
//!
//! Would catch: a secret that a filter overlooks, on a stack, on an interrupted one, in a register,
//! in the environment or on the command line; a return address or frame pointer that counts as a
//! secret; a dump that does not state that it was filtered.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::dumper::{self, Dump};
use crate::support::proc;
use crate::support::readers::rust_minidump::Symbols;
use crate::support::readers::{Reading, lldb, rust_minidump, symbols};
use crate::support::victim::{self, Frames, ThreadsTruth, Victim};
use dumpwright::read;

const ENVIRONMENT: &str = "TOKEN-7e31-in-the-environment";
const ARGUMENT: &str = "PASSWORD-c04d-on-the-command-line";

/// With a filter, a dump has no environment, whatever other flags say.
const FILTERS: [&str; 4] = [
    "filter-memory",
    "filter-triage",
    "filter-memory,with-process-thread-data",
    "triage",
];

struct Session {
    victim: Victim,
    truth: ThreadsTruth,
    binaries: Vec<PathBuf>,
    symbols: PathBuf,
}

impl Session {
    fn start(frames: Frames) -> Self {
        let victim = Victim::start_command(
            Command::new(victim::c("threads", frames))
                .arg(ARGUMENT)
                .env("SECRET", ENVIRONMENT),
        );
        let maps = proc::maps(victim.pid());
        let files: BTreeSet<_> = maps
            .iter()
            .filter(|mapping| mapping.name.starts_with('/'))
            .map(|mapping| PathBuf::from(&mapping.name))
            .collect();
        let binaries: Vec<_> = files.into_iter().collect();
        Self {
            truth: victim.truth(),
            symbols: symbols::of(&binaries),
            binaries,
            victim,
        }
    }

    /// The known functions of each thread, as a reader shows them.
    fn functions(&self, reading: &Reading) -> Vec<(u32, Vec<String>)> {
        let threads = self.truth.threads.iter();
        threads
            .map(|thread| {
                let known = self.truth.threads.iter().flat_map(|thread| &thread.functions);
                let known: BTreeSet<_> = known.collect();
                let shown = reading.thread(thread.tid).functions.iter();
                (
                    thread.tid,
                    shown
                        .filter(|function| known.contains(function))
                        .cloned()
                        .collect(),
                )
            })
            .collect()
    }

    fn walked(&self, dump: &Path) -> [Vec<(u32, Vec<String>)>; 2] {
        // Where paths are filtered, modules are named without their folders.
        let folders: BTreeSet<_> = self.binaries.iter().filter_map(|file| file.parent()).collect();
        let folders: Vec<_> = folders.into_iter().collect();
        [
            rust_minidump::read(dump, Symbols::Folder(&self.symbols)),
            lldb::read_with(dump, &folders),
        ]
        .map(|reading| self.functions(&reading))
    }

    /// Words that the victim has on a stack and in registers, and texts.
    fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let words = |bytes: Vec<u8>, of: &str| {
            let words = bytes.chunks(8).map(<[u8]>::to_vec).enumerate();
            words
                .map(|(index, word)| (format!("word {index} of {of}"), word))
                .collect::<Vec<_>>()
        };
        let mut secrets = words(self.truth.pattern("stack").bytes(), "the pattern on the stack");
        let registers = &self.truth.registers;
        // rax has only a multiple of 2^48; the others have distinctive bytes.
        let general = registers.general.values().flat_map(|value| value.to_le_bytes());
        secrets.extend(words(general.collect(), "the general registers"));
        let vectors = registers
            .xmm
            .iter()
            .flatten()
            .flat_map(|value| value.to_le_bytes());
        secrets.extend(words(vectors.collect(), "the vector registers"));
        for text in [ENVIRONMENT, ARGUMENT] {
            secrets.push((text.to_owned(), text.into()));
            let wide = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            secrets.push((format!("{text} in UTF-16"), wide));
        }
        secrets
    }

    fn found(&self, dump: &Path) -> Vec<String> {
        let bytes = std::fs::read(dump).unwrap();
        let finder = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        let secrets = self.secrets().into_iter();
        secrets
            .filter(|(_, secret)| finder(secret))
            .map(|(name, _)| name)
            .collect()
    }
}

fn judge(frames: Frames) {
    let mut session = Session::start(frames);
    let normal = Dump::of(&session.victim, "normal");
    let walked = session.walked(&normal.path);
    let deep = session
        .truth
        .threads
        .iter()
        .position(|thread| thread.name == "deep")
        .unwrap();
    assert!(
        walked
            .iter()
            .all(|threads| threads[deep].1.len() == session.truth.depth + 2),
        "a normal dump walks"
    );
    let found = session.found(&normal.path);
    assert!(
        found.iter().any(|name| name.contains("the stack"))
            && found.iter().any(|name| name.contains("vector")),
        "a normal dump has what is on stacks and in registers: {found:?}"
    );
    assert!(
        !found
            .iter()
            .any(|name| name.contains("in-the") || name.contains("on-the")),
        "{found:?}"
    );

    for types in FILTERS {
        let dump = Dump::of(&session.victim, types);
        assert_eq!(session.found(&dump.path), [""; 0], "{types}");
        let again = session.walked(&dump.path);
        assert_eq!(again, walked, "{types}: functions");
        dumper::check(&dump.path).unwrap();
        let dump = read::Dump::open(&dump.path).unwrap();
        let said = dump
            .soft_errors()
            .unwrap()
            .expect("a word about the filter")
            .to_string();
        assert!(said.contains("words of stacks and"), "{types}: {said}");
    }
    session.victim.ping();
}

#[test]
fn filtered_dumps_keep_no_secret_and_walk_with_frame_pointers() {
    judge(Frames::Pointers);
}

#[test]
fn filtered_dumps_keep_no_secret_and_walk_without_frame_pointers() {
    judge(Frames::NoPointers);
}
