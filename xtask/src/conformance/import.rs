//! Imports recordings from another machine, next to the existing ones.
//!
//! Nothing is known about where they were made, so each line is checked before anything is copied.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use xshell::Shell;

/// The folder of the recordings.
const ORACLE: &str = "testdata/oracle";

/// The largest file that is accepted. Transcripts are far smaller: 5000 Memory answers take 1 MiB.
const LARGEST_FILE: u64 = 64 << 20;

/// Imports a folder written by `cargo xtask record`.
pub(super) fn run(shell: &Shell, folder: &Path) -> anyhow::Result<()> {
    let oracle = shell.current_dir().join(ORACLE);
    let placed = place(folder, &oracle)?;
    eprintln!(
        "{} transcripts of {} are in {ORACLE}. The test names each difference. Explain it in \
         {ORACLE}/{}/exceptions.txt, one line for each scenario: NAME | LEVELS | REASON",
        placed.transcripts, placed.version, placed.version
    );
    Ok(())
}

/// The result of an import.
#[derive(Debug, PartialEq, Eq)]
struct Placed {
    version: String,
    transcripts: usize,
}

/// Checks the recordings and copies them to a folder that is named after their version.
///
/// A recording may have scenarios of its own (`scenarios.txt`). It may lack the description of the
/// process (`target.txt`), if that was the process of the first recording. Transcripts of
/// scenarios that did not come to an end are named in `about.txt`.
fn place(folder: &Path, oracle: &Path) -> anyhow::Result<Placed> {
    let about = text(&folder.join("about.txt"))?;
    let version = version(&about)?;
    let unfinished: BTreeSet<&str> = about
        .lines()
        .filter_map(|line| line.strip_prefix("unfinished "))
        .flat_map(str::split_whitespace)
        .collect();
    let mut files = vec![(PathBuf::from("about.txt"), about.clone())];
    for (name, check) in [
        ("target.txt", check_target as fn(&str) -> anyhow::Result<()>),
        ("scenarios.txt", check_scenarios),
    ] {
        if folder.join(name).is_file() {
            let text = text(&folder.join(name))?;
            check(&text)?;
            files.push((name.into(), text));
        }
    }
    let own = files.iter().find(|(name, _)| name == Path::new("scenarios.txt"));
    let own = own.map(|(_, text)| text.clone()).unwrap_or_default();
    let scenarios = text(&oracle.join("scenarios.txt"))?;
    let mut names: BTreeSet<&str> = scenario_names(&scenarios).collect();
    for name in scenario_names(&own) {
        ensure!(names.insert(name), "two scenarios are called {name}");
    }
    let recorded = recorded_names(&folder.join("traces"))?;
    if let Some(unknown) = recorded.iter().find(|name| !names.contains(name.as_str())) {
        bail!("traces/{unknown}.txt: no scenario is called {unknown}; list it in scenarios.txt");
    }
    let missing: Vec<_> = names.iter().filter(|name| !recorded.contains(**name)).collect();
    ensure!(
        missing.is_empty(),
        "transcripts of {} scenarios are missing, the first of which is {}; record all scenarios",
        missing.len(),
        missing[0]
    );
    for name in &unfinished {
        ensure!(names.contains(name), "about.txt: no scenario is called {name}");
    }
    for name in &names {
        let file = PathBuf::from(format!("traces/{name}.txt"));
        let transcript = text(&folder.join(&file))?;
        let is_finished = !unfinished.contains(name);
        check_transcript(&transcript, is_finished).with_context(|| format!("{}", file.display()))?;
        files.push((file, transcript));
    }
    let to = oracle.join(&version);
    ensure!(
        !to.exists(),
        "{} already exists; remove it if the new recording is to replace it",
        to.display()
    );
    fs::create_dir_all(to.join("traces"))?;
    for (file, text) in files {
        fs::write(to.join(file), text)?;
    }
    fs::write(to.join("exceptions.txt"), "")?;
    Ok(Placed {
        version,
        transcripts: names.len(),
    })
}

/// Returns the names of the scenarios in a list.
fn scenario_names(scenarios: &str) -> impl Iterator<Item = &str> {
    let lines = scenarios.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split('|').next())
}

/// Checks that each line is `NAME|TYPE|OPTIONS`, and that the name can be the name of a file.
fn check_scenarios(scenarios: &str) -> anyhow::Result<()> {
    for line in scenarios.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('|').collect();
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let is_good = matches!(fields[..], [name, dump_type, _] if is_name(name) && is_number(dump_type));
        ensure!(is_good, "scenarios.txt: {line:?} is not NAME|TYPE|OPTIONS");
    }
    Ok(())
}

/// Returns the names of the scenarios that have a transcript.
fn recorded_names(traces: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(traces).with_context(|| traces.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let name = name.strip_suffix(".txt");
        names.insert(name.context("a file in traces is not NAME.txt")?.to_owned());
    }
    Ok(names)
}

fn is_number(word: &str) -> bool {
    word.strip_prefix("0x").map_or_else(
        || word.parse::<u64>().is_ok(),
        |digits| u64::from_str_radix(digits, 16).is_ok(),
    )
}

fn text(file: &Path) -> anyhow::Result<String> {
    let len = fs::metadata(file)
        .with_context(|| file.display().to_string())?
        .len();
    ensure!(
        len <= LARGEST_FILE,
        "{} has {len} bytes; at most {LARGEST_FILE} are accepted",
        file.display()
    );
    // The file may come from a system with other line ends.
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.replace('\r', ""))
}

/// Returns the version in `about.txt`: three or four numbers, which become the name of a folder.
fn version(about: &str) -> anyhow::Result<String> {
    let version = about.lines().find_map(|line| line.strip_prefix("version "));
    let version = version.context("about.txt has no line \"version …\"")?.trim();
    let is_version = (3..=4).contains(&version.split('.').count())
        && version.split('.').all(|part| part.parse::<u16>().is_ok());
    ensure!(
        is_version,
        "about.txt: {version:?} is not a version of three or four numbers"
    );
    Ok(version.to_owned())
}

/// Checks that each line is of a kind that `tests/engine/conformance/twin.rs` supports and has the
/// right number of fields, and that numbers are valid.
fn check_target(target: &str) -> anyhow::Result<()> {
    let lines = target.lines().enumerate();
    for (index, line) in lines.filter(|(_, line)| !line.starts_with('#')) {
        let words: Vec<_> = line.split(' ').collect();
        let is_number = |word: &&str| is_number(word);
        let is_good = match &words[..] {
            ["sym" | "part", _, numbers @ ..] if numbers.len() == 2 => numbers.iter().all(is_number),
            ["module", base, size, sum, time, _, version, bytes] => {
                [base, size, sum, time, version, bytes].into_iter().all(is_number)
            }
            ["thread", numbers @ ..] if numbers.len() == 3 => numbers.iter().all(is_number),
            ["word", numbers @ ..] if numbers.len() == 2 => numbers.iter().all(is_number),
            ["region", base, size, "commit" | "reserve" | "free", numbers @ ..] if numbers.len() == 4 => {
                [base, size].into_iter().chain(numbers).all(is_number)
            }
            ["open", size] => is_number(size),
            _ => false,
        };
        ensure!(is_good, "target.txt, line {}: {line:?} is not valid", index + 1);
    }
    for what in ["sym ", "module ", "thread ", "region "] {
        let is_there = target.lines().any(|line| line.starts_with(what));
        ensure!(is_there, "target.txt has no line {what}…");
    }
    Ok(())
}

/// Checks that a transcript consists of questions, followed by one result if the scenario came to
/// an end.
fn check_transcript(transcript: &str, is_finished: bool) -> anyhow::Result<()> {
    let mut results = 0;
    for (index, line) in transcript.lines().enumerate() {
        let number = index + 1;
        if let Some(question) = line.strip_prefix('#') {
            ensure!(results == 0, "line {number}: a question after the result");
            let parts = [" in:", " | pre:", " | ans:"];
            let is_question = question.contains('@') && parts.iter().all(|part| question.contains(part));
            ensure!(is_question, "line {number}: {line:?} is not a question");
        } else if line.starts_with("== result=") {
            results += 1;
        } else if !["==", "D", " ", "!"].iter().any(|start| line.starts_with(start)) && !line.is_empty() {
            bail!("line {number}: {line:?} is not a line of a transcript");
        }
    }
    let expected = usize::from(is_finished);
    ensure!(
        results == expected,
        "the transcript has {results} results instead of {expected}; was the recorder stopped?"
    );
    Ok(())
}

/// These tests catch recordings that are imported although they are incomplete or broken, or that
/// are written outside their folder.
#[cfg(test)]
mod tests {
    use super::{check_scenarios, check_target, check_transcript, place, version};
    use std::fs;
    use std::path::Path;

    const TARGET: &str = "sym target 0x140000000 0x1000\nmodule 0x140000000 0x1000 0x1 0x2 target.exe 0x00000000 25\nthread 0 0x140000010 0x20000\nregion 0x0 0x1000 free 0x1 0x0 0x0 0x0\n";
    const TRACE: &str = "== flags=0x0\n#000 VmStart@0 in: pid=0 h=target | pre: 0x80004001 | ans: ret=1 out=0x80004001\n== result=1 err=0x0 callbacks=1 VmStart:1\nD file bytes=0x10\n";

    fn recording(folder: &Path, about: &str) {
        fs::create_dir_all(folder.join("traces")).unwrap();
        fs::write(folder.join("about.txt"), about).unwrap();
        fs::write(folder.join("target.txt"), TARGET).unwrap();
        for name in ["one", "two"] {
            fs::write(folder.join(format!("traces/{name}.txt")), TRACE).unwrap();
        }
    }

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("dumpwright-import-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn whole_recordings_are_placed_once_and_others_never() {
        let folder = folder("place");
        let (oracle, from) = (folder.join("oracle"), folder.join("from"));
        fs::create_dir_all(&oracle).unwrap();
        fs::write(oracle.join("scenarios.txt"), "# name\none|0|\ntwo|0x2|\n").unwrap();
        recording(&from, "library dbgcore.dll\r\nversion 10.0.20348.1\r\n");
        let placed = place(&from, &oracle).unwrap();
        assert_eq!((placed.version.as_str(), placed.transcripts), ("10.0.20348.1", 2));
        let kept = fs::read_to_string(oracle.join("10.0.20348.1/traces/two.txt")).unwrap();
        assert_eq!(kept, TRACE);
        assert!(
            place(&from, &oracle)
                .unwrap_err()
                .to_string()
                .contains("already exists")
        );

        recording(&from, "version 10.0.20348.2\n");
        fs::remove_file(from.join("traces/two.txt")).unwrap();
        assert!(place(&from, &oracle).unwrap_err().to_string().contains("two"));
        fs::write(from.join("traces/two.txt"), &TRACE[..TRACE.len() / 2]).unwrap();
        assert!(place(&from, &oracle).is_err(), "the recorder was stopped");
        assert!(!oracle.join("10.0.20348.2").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_recording_may_have_more_scenarios_and_scenarios_without_an_end() {
        let folder = folder("more");
        let (oracle, from) = (folder.join("oracle"), folder.join("from"));
        fs::create_dir_all(&oracle).unwrap();
        fs::write(oracle.join("scenarios.txt"), "one|0|\ntwo|0x2|\n").unwrap();
        recording(&from, "version 10.0.29507\nunfinished two\n");
        fs::remove_file(from.join("target.txt")).unwrap();
        let cut = TRACE.split_once("== result").unwrap().0;
        fs::write(from.join("traces/two.txt"), cut).unwrap();
        fs::write(from.join("traces/three.txt"), TRACE).unwrap();
        let refused = place(&from, &oracle).unwrap_err().to_string();
        assert!(refused.contains("no scenario is called three"), "{refused}");
        fs::write(from.join("scenarios.txt"), "# more\nthree|0x4000002|\n").unwrap();
        assert_eq!(place(&from, &oracle).unwrap().transcripts, 3);
        for name in [
            "scenarios.txt",
            "traces/two.txt",
            "traces/three.txt",
            "exceptions.txt",
        ] {
            assert!(oracle.join("10.0.29507").join(name).is_file(), "{name}");
        }

        // A scenario that is said not to have ended, and did.
        fs::write(from.join("about.txt"), "version 10.0.29508\nunfinished two\n").unwrap();
        fs::write(from.join("traces/two.txt"), TRACE).unwrap();
        assert!(place(&from, &oracle).is_err());
        assert!(!oracle.join("10.0.29508").exists());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn versions_lead_into_no_other_folder() {
        for about in [
            "",
            "version ..\n",
            "version 10.0.1/../..\n",
            "version 10.0\n",
            "version 10.0.1.x\n",
        ] {
            assert!(version(about).is_err(), "{about:?}");
        }
    }

    #[test]
    fn broken_lines_are_found() {
        assert!(check_target(TARGET).is_ok());
        for broken in [
            "sym target 0x1\n",
            "region 0x0 0x1000 gone 0 0 0 0\n",
            "module 1 2 3\n",
            "thread 0 rip 0x1\n",
        ] {
            assert!(check_target(&(TARGET.to_owned() + broken)).is_err(), "{broken}");
        }
        assert!(check_target("").is_err());
        assert!(check_transcript(TRACE, true).is_ok());
        for broken in ["", "<html>\n", "#000 VmStart@0\n"] {
            assert!(check_transcript(broken, true).is_err(), "{broken}");
        }
        for broken in ["../one|0|\n", "one|two|\n", "one|0\n", "|0|\n"] {
            assert!(check_scenarios(broken).is_err(), "{broken}");
        }
    }
}
