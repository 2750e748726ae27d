//! Random simulated processes, faults, requests and answers, in every profile.
//!
//! Would catch: a combination of them that makes the writer panic, leaves the process frozen, gives
//! two different dumps of the same process, writes a file that the reader or the checker refuses,
//! puts bytes at another address than the process has them, or calls a dump complete that lacks
//! memory of the request.
//!
//! Everything follows from a seed. `cargo xtask simulate` runs many seeds; a failure names its seed
//! and the smallest world that still fails.

mod answers;
mod world;

use dumpwright::read::{CheckOptions, Dump, Level, Rule, check_with};
use dumpwright::{Error, Profile, Report, dump};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use answers::Answers;
use world::{World, any_world};

/// Runs one seed.
///
/// # Panics
///
/// When an invariant does not hold. The message has the smallest world that fails.
fn run(seed: u64) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 5000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    if let Err(error) = runner.run(&any_world(), |world| holds(&world)) {
        panic!("seed {seed}: {error}");
    }
}

#[test]
fn some_seeds_keep_every_invariant() {
    (0..3000).for_each(run);
}

/// `DUMPWRIGHT_SEEDS` is a range, as in `0..100000`.
#[test]
#[ignore = "long; cargo xtask simulate runs it"]
fn a_range_of_seeds_keeps_every_invariant() {
    let range = std::env::var("DUMPWRIGHT_SEEDS").expect("DUMPWRIGHT_SEEDS");
    let (from, to) = range.split_once("..").expect("a range");
    let (from, to): (u64, u64) = (from.parse().unwrap(), to.parse().unwrap());
    (from..to).for_each(run);
    println!("{} seeds: every invariant holds", to - from);
}

/// Dumps the world; returns the report and the bytes.
fn attempt(world: &World) -> Result<(Report, Vec<u8>), Error> {
    let mut process = world.process();
    let mut answers = Answers::new(&world.answers);
    let mut bytes = Vec::new();
    let outcome = match world.answers.is_empty() {
        true => dump(&mut process, &world.request(), None, &mut bytes),
        false => dump(&mut process, &world.request(), Some(&mut answers), &mut bytes),
    };
    assert_eq!(process.freezes, process.releases, "the process is released");
    outcome.map(|report| (report, bytes))
}

fn holds(world: &World) -> Result<(), TestCaseError> {
    let fail = |what: String| Err(TestCaseError::fail(what));
    let (first, second) = (attempt(world), attempt(world));
    let (report, bytes) = match (first, second) {
        (Ok(first), Ok(second)) => {
            if first.1 != second.1 {
                return fail("two dumps of one process differ".to_owned());
            }
            first
        }
        (Err(first), Err(second)) if first.to_string() == second.to_string() => {
            return match world.may_fail() {
                true => Ok(()),
                false => fail(format!("nothing is wrong, but the dump fails: {first}")),
            };
        }
        (first, second) => {
            let text = |outcome: Result<(Report, Vec<u8>), Error>| {
                outcome.map_or_else(|error| error.to_string(), |_| "a dump".to_owned())
            };
            return fail(format!("first {}, then {}", text(first), text(second)));
        }
    };
    // The callback has taken over the output, or some of it.
    if bytes.len() as u64 != report.bytes {
        return match world.answers.is_empty() {
            true => fail(format!("{} bytes of {}", bytes.len(), report.bytes)),
            false => Ok(()),
        };
    }
    let dump = match Dump::from_bytes(bytes) {
        Ok(dump) => dump,
        Err(error) => return fail(format!("the reader refuses it: {error}")),
    };
    let is_documented = world.profile() == Profile::Documented;
    // DbgHelp's profiles repeat its mistakes, which the checker objects to.
    if is_documented {
        let options = CheckOptions { expect_losses: true };
        let violations = check_with(&dump, options).expect("the bytes are in memory");
        let mut errors = violations.iter().filter(|found| found.severity == Level::Error);
        // Without the facts about the system there is no such stream, which the report says.
        let is_expected = |rule| rule == Rule::RequiredStreamMissing && world.lacks_system();
        if let Some(violation) = errors.find(|found| !is_expected(found.rule)) {
            return fail(format!("the checker refuses it: {violation}"));
        }
    }
    let ranges = dump.memory_ranges().expect("the checker has read them");
    if !world.changes_contents() {
        for range in &ranges {
            let memory = dump.memory(range.address, range.size);
            let memory = memory.expect("it is in the file").unwrap_or_default();
            let wrong = world.first_wrong_byte(range.address, &memory, !report.is_complete());
            if let Some(address) = wrong {
                return fail(format!("the byte at {address:#x} is not that of the process"));
            }
        }
    }
    if is_documented && world.answers.is_empty() && report.is_complete() {
        for wanted in world.wanted() {
            let mut at = wanted.start;
            while at < wanted.end {
                let next = ranges
                    .iter()
                    .find(|range| (range.address..range.address + range.size).contains(&at));
                match next {
                    Some(range) => at = range.address + range.size,
                    None => return fail(format!("complete, but the memory at {at:#x} is missing")),
                }
            }
        }
    }
    Ok(())
}
