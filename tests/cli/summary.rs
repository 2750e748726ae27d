//! The summary that `show` prints: its size, and what it names.

use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::attempt::{Folder, Outcome, assert_says, dump, plain, threads};
use crate::support::dumper::dumpwright;
use crate::support::victim::ThreadsTruth;

/// Makes a dump of a simulated process with this scenario.
fn simulated(folder: &Folder, scenario: &str) -> std::path::PathBuf {
    let (text, file) = (folder.file("scenario.toml"), folder.file("dump"));
    fs::write(&text, scenario).unwrap();
    Outcome::of(dump().arg("--scenario").arg(&text).arg("-o").arg(&file)).expect(0);
    file
}

fn show(file: &Path, more: &[&str]) -> String {
    let outcome = Outcome::of(dumpwright().arg("show").arg(file).args(more)).expect(0);
    assert!(outcome.stderr.is_empty(), "{outcome:?}");
    String::from_utf8(outcome.stdout).unwrap()
}

fn assert_fits(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 50, "{} lines:\n{text}", lines.len());
    for line in lines {
        assert!(line.chars().count() <= 100, "{line:?}");
    }
}

/// The scenario of a process with many modules and threads. `place` is the instruction pointer of
/// a thread.
pub fn large(modules: u64, threads: u64, place: impl Fn(u64) -> String) -> String {
    let mut text = "[process]\nid = 1000\n[system]\nplatform = \"linux\"\n".to_owned();
    for number in 0..modules {
        let path = format!("/opt/a/long/path/to/the/plugins/of/the/server/module-{number}.so");
        let base = 0x7000_0000_0000 + number * 0x10_0000;
        writeln!(
            text,
            "[[module]]\npath = \"{path}\"\nbase = {base:#x}\nsize = 0x10000"
        )
        .unwrap();
    }
    for number in 0..threads {
        let stack = 0x6000_0000_0000 + number * 0x10_0000;
        let (ip, sp) = (place(number), stack + 0x800);
        writeln!(
            text,
            "[[memory]]\nbase = {stack:#x}\nsize = 0x1000\n\
             [[thread]]\nid = {}\nname = \"worker-{number}\"\nregisters = {{ rip = {ip}, rsp = {sp:#x} }}",
            1000 + number
        )
        .unwrap();
    }
    text
}

#[test]
fn a_large_process_fits_on_a_page() {
    let folder = Folder::new();
    // Of 301 threads, 280 wait at one address, and the others are in different modules.
    let place = |number: u64| match number {
        0..280 => "0x7000_0000_1000".to_owned(),
        _ => format!("{:#x}", 0x7000_0000_0000_u64 + number * 0x10_0000 + 0x500),
    };
    let text = show(&simulated(&folder, &large(1004, 301, place)), &[]);
    assert_fits(&text);
    assert_says(
        &text,
        &[
            "module-0.so (process 1000)",
            "301 threads, 1,004 modules",
            "Threads (301 with 22 different stacks)",
            "280 threads: 1000 worker-0, 1001 worker-1",
            "missing   nothing",
            "lldb -c",
        ],
    );
}

/// framehop takes the bits of an address from the modules.
#[test]
fn a_thread_of_arm64_needs_no_module() {
    let folder = Folder::new();
    let scenario = "[process]\nid = 1000\n[system]\nplatform = \"linux\"\ncpu = \"arm64\"\n\
        [[memory]]\nbase = 0x6000_0000\nsize = 0x1000\n\
        [[thread]]\nid = 1000\nregisters = { pc = 0x6000_0100, sp = 0x6000_0800 }\n";
    let text = show(&simulated(&folder, scenario), &["threads"]);
    assert_says(&text, &["#0   0x60000100"]);
}

#[test]
fn many_different_stacks_fit_too() {
    let folder = Folder::new();
    let place = |number: u64| format!("{:#x}", 0x7000_0000_0000_u64 + number * 0x10_0000 + 0x500);
    let file = simulated(&folder, &large(1004, 301, place));
    let text = show(&file, &[]);
    assert_fits(&text);
    assert!(text.lines().count() > 40, "the page is used:\n{text}");
    assert_says(&text, &["other stacks", "show"]);
    // All of them are in the list of threads.
    let all = show(&file, &["threads"]);
    for number in 0..301 {
        assert!(all.contains(&format!("worker-{number}\n")), "{number}");
    }
    let brief = show(&file, &["--brief"]);
    assert!(
        brief.lines().count() < 10 && !brief.contains("Threads"),
        "{brief}"
    );
}

#[test]
fn a_thread_and_a_part_are_shown_by_themselves() {
    let victim = threads();
    let truth: ThreadsTruth = victim.truth();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(
        dump()
            .arg(victim.pid().to_string())
            .args(["--type", "mini", "-o"])
            .arg(&file),
    )
    .expect(0);
    let alpha = truth
        .threads
        .iter()
        .find(|thread| thread.name == "alpha")
        .unwrap();
    let text = show(&file, &["--thread", &alpha.tid.to_string()]);
    assert_says(
        &text,
        &[
            &format!("thread {} alpha", alpha.tid),
            "rsp ",
            "alpha_leaf+0x",
            "alpha_top+0x",
        ],
    );
    assert!(!text.contains("main_inner"), "{text}");
    let deep = show(&file, &["threads"]);
    // The frames of a recursion are one line.
    let calls = format!("recurse ({} calls) in threads", truth.depth);
    assert_says(&deep, &[&calls, "alpha_leaf in threads", "main_outer in threads"]);
    for (view, says) in [
        ("modules", "Modules ("),
        ("memory", "Memory ("),
        ("handles", "Handles ("),
        ("exception", "No exception"),
        ("streams", "ThreadListStream"),
    ] {
        let text = show(&file, &[view]);
        assert!(text.contains(says) && !text.starts_with('\n'), "{view}: {text}");
    }
    let nobody = Outcome::of(dumpwright().arg("show").arg(&file).args(["--thread", "1"])).expect(1);
    assert_says(&nobody.stderr, &["has no thread 1", "show", "threads"]);
}

#[test]
fn standard_input_is_a_file_named_minus() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    Outcome::of(dump().arg(victim.pid().to_string()).arg("-o").arg(&file)).expect(0);
    for command in ["show", "check"] {
        let mut child = dumpwright()
            .args([command, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&fs::read(&file).unwrap())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let named =
            String::from_utf8(Outcome::of(dumpwright().arg(command).arg(&file)).expect(0).stdout).unwrap();
        let piped = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        assert_eq!(piped.lines().count(), named.lines().count(), "{piped}");
    }
}

#[test]
fn equal_losses_are_one_line() {
    let folder = Folder::new();
    let mut scenario = large(2, 3, |_| "0x7000_0000_1000".to_owned());
    for thread in 0..3 {
        let stack = 0x6000_0000_0000_u64 + thread * 0x10_0000;
        writeln!(
            scenario,
            "[[fault]]\nkind = \"unreadable-from\"\nat = {stack:#x}\nsize = 0x1000"
        )
        .unwrap();
    }
    let (text, file) = (folder.file("scenario.toml"), folder.file("dump"));
    fs::write(&text, scenario).unwrap();
    let dumped = Outcome::of(dump().arg("--scenario").arg(&text).arg("-o").arg(&file)).expect(3);
    let dumped = String::from_utf8(dumped.stdout).unwrap();
    let missing = dumped.lines().filter(|line| line.contains("missing: "));
    assert!(
        missing.clone().count() < 3 && dumped.contains(" and 2 more: "),
        "{dumped}"
    );
    let shown = show(&file, &[]);
    assert_says(&shown, &["missing", " and 2 more: "]);
    assert_fits(&shown);
    assert_says(&show(&file, &["losses"]), &["Missing (", " and 2 more: "]);
}
