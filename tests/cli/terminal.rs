//! What a user sees on a terminal: `script` runs dumpwright on one of its own.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use dumpwright::read::Dump;

use crate::attempt::{Folder, assert_says};
use crate::short::Named;
use crate::support::dumper::dumpwright;
use crate::support::repository;

/// Returns a command that runs dumpwright with these arguments on a terminal.
fn on_terminal(arguments: &[&str]) -> Command {
    let program = dumpwright().get_program().to_str().unwrap().to_owned();
    let quoted: Vec<String> = std::iter::once(program.as_str())
        .chain(arguments.iter().copied())
        .map(|argument| format!("'{argument}'"))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qec", &quoted.join(" "), "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    script
}

/// The process is so slow to read that the dump takes more than a second.
const SLOW: &str = "
[process]
id = 1000
[system]
platform = \"linux\"
[[memory]]
name = \"heap\"
base = 0x10_0000_0000
size = 0x40_0000
content = \"counting\"
[[fault]]
kind = \"slow-read\"
at = \"heap\"
size = 0x1000
delay_ms = 1200
sleep = true
";

#[test]
fn a_long_dump_shows_a_bar_and_a_short_one_none() {
    let folder = Folder::new();
    for (scenario, has_bar) in [(SLOW.to_owned(), true), (SLOW.replace("1200", "1"), false)] {
        let text = folder.file("scenario.toml");
        fs::write(&text, scenario).unwrap();
        let file = folder.file("dump");
        let arguments = [
            "dump",
            "--scenario",
            text.to_str().unwrap(),
            "--type",
            "full",
            "--force",
            "-o",
        ];
        let output = on_terminal(&[&arguments[..], &[file.to_str().unwrap()]].concat())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{shown}");
        assert_eq!(shown.contains(" left"), has_bar, "{shown:?}");
        assert_says(&shown, &["complete dump (full)"]);
    }
}

#[test]
fn on_a_terminal_the_user_chooses_among_processes() {
    let named = Named::start("choice", 2);
    let chosen = named.ids()[1];
    let folder = Folder::new();
    let folder_name = format!("{}/", folder.path().display());
    let mut script = on_terminal(&[&named.name, "-o", &folder_name, "--name", "%p"]);
    let mut child = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{chosen}").unwrap();
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success(), "{shown}");
    assert_says(
        &shown,
        &["2 processes have the name", "Which one?", "minidump of"],
    );
    // Headings are bold there.
    assert!(shown.contains("\x1b[1m"), "{shown:?}");
    folder.assert_holds(&[&chosen.to_string()]);
    let dump = Dump::open(folder.file(&chosen.to_string())).unwrap();
    assert_eq!(dump.misc_info().unwrap().unwrap().process_id, Some(chosen));
}

#[test]
fn long_text_goes_through_the_pager_of_the_user() {
    let folder = Folder::new();
    let file = folder.file("dump");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    let made = dumpwright()
        .args(["dump", "--scenario"])
        .arg(scenario)
        .arg("-o")
        .arg(&file)
        .output();
    assert!(made.unwrap().status.success());
    let name = file.to_str().unwrap();
    let shown = |arguments: &[&str], pager: &str| {
        let output = on_terminal(arguments)
            .env("PAGER", pager)
            .env_remove("LESS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    const MARKING: &str = "sed s/^/PAGED:/";
    let paged = shown(&["show", name, "modules"], MARKING);
    let is_paged = |line: &str| line.starts_with("PAGED:");
    assert!(
        paged.lines().count() > 1 && paged.lines().all(is_paged),
        "{paged:?}"
    );
    // Colours are those of a terminal.
    assert!(paged.contains("\x1b[1m"), "{paged:?}");
    for (arguments, pager) in [
        (&["show", name, "modules", "--no-pager"][..], MARKING),
        (&["show", name, "--json"], MARKING),
        (&["show", name, "modules"], "cat"),
        (&["show", name, "modules"], ""),
    ] {
        let text = shown(arguments, pager);
        assert!(text.lines().count() > 1 && !text.contains("PAGED:"), "{text:?}");
    }
    // `less` ends at once if everything fits.
    assert_says(&shown(&["show", name], "echo options $LESS"), &["options FRX"]);
    // A pager that ends early, or cannot be started, is no error.
    shown(&["show", name, "--all"], "head -1");
    // Without a terminal, there is no pager.
    let output = dumpwright()
        .args(["show", name, "modules"])
        .env("PAGER", MARKING)
        .output();
    assert!(
        !String::from_utf8(output.unwrap().stdout)
            .unwrap()
            .contains("PAGED:")
    );
}
