//! `cargo xtask simulate`: random simulated processes, requests and answers.

use anyhow::{Context, ensure};
use xshell::{Shell, cmd};

/// Runs `tests/simulate` on a range of seeds: `simulate [--seed N] [--count M]`.
///
/// A failure names its seed, which gives the same world everywhere.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    let (seed, count) = seeds(std::env::args().skip(2))?;
    let range = format!("{seed}..{}", seed.saturating_add(count));
    cmd!(
        shell,
        "cargo test --release --test simulate -- --ignored --nocapture a_range_of_seeds"
    )
    .env("DUMPWRIGHT_SEEDS", range)
    .run()?;
    Ok(())
}

/// Returns the first seed and the number of seeds.
fn seeds(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<(u64, u64)> {
    let (mut seed, mut count) = (0, 100_000);
    while let Some(option) = arguments.next() {
        let value = arguments.next().unwrap_or_default();
        let number = value
            .parse()
            .with_context(|| format!("{option} takes a number, not {value:?}"))?;
        match option.as_str() {
            "--seed" => {
                seed = number;
                // One seed is what somebody wants who names one.
                count = 1;
            }
            "--count" => count = number,
            _ => anyhow::bail!("unknown option {option:?}: simulate [--seed N] [--count M]"),
        }
    }
    ensure!(count > 0, "--count is 0");
    Ok((seed, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_alone_is_one_run() {
        let of = |words: &[&str]| seeds(words.iter().map(|word| (*word).to_owned())).ok();
        assert_eq!(of(&[]), Some((0, 100_000)));
        assert_eq!(of(&["--seed", "229"]), Some((229, 1)));
        assert_eq!(of(&["--seed", "5", "--count", "7"]), Some((5, 7)));
        assert_eq!(of(&["--count", "0"]), None);
        assert_eq!(of(&["--seed", "x"]), None);
        assert_eq!(of(&["--sead", "1"]), None);
    }
}
