//! The commands of the README, of the tutorials and other pages, and the examples in the help of
//! each command, run in their order as a reader would.
//!
//! Would catch: a command that does not exist or has another spelling, an option that was renamed,
//! an example that fails, and a block that nobody runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::attempt::Folder;
use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Victim};
use crate::support::{copy_program, repository, run_well};

/// Blocks that are not run: they build, install or run all tests. CI does the same with other
/// commands.
const NOT_RUN: [&str; 3] = ["cargo run ", "cargo xtask test", "cargo xtask install-capi"];

/// The pages, with the number of their blocks that are run.
const PAGES: [(&str, usize); 12] = [
    ("README.md", 10),
    ("docs/cases.md", 2),
    ("docs/questions.md", 1),
    ("docs/recipes.md", 1),
    ("docs/scenario.md", 1),
    ("docs/script.md", 1),
    ("docs/transcript.md", 2),
    ("docs/spool.md", 2),
    ("docs/guide/hung-server.md", 7),
    ("docs/guide/watch.md", 3),
    ("docs/guide/callback.md", 5),
    ("docs/guide/golden-files.md", 3),
];

/// The commands whose help has examples, with the number of these.
const HELP: [(&str, usize); 10] = [
    ("completions", 1),
    ("core-handler", 3),
    ("diff", 2),
    ("dump", 8),
    ("explain", 2),
    ("man", 1),
    ("policy check", 2),
    ("rehearse", 3),
    ("spool", 2),
    ("watch", 4),
];

/// Examples that are not run. Only their options are checked: one does not end, and the other needs
/// a core.
const ONLY_CHECKED: [&str; 2] = ["dumpwright watch --", "dumpwright dump --core "];

/// The command whose examples change a setting of the machine. It has tests of its own.
const OF_THE_MACHINE: &str = "dumpwright core-handler ";

/// The blocks of a page in this language, each with its line.
pub fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let start = format!("```{language}");
    let mut blocks = Vec::new();
    let mut block: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        match (&mut block, line) {
            (None, line) if line == start => block = Some((number + 2, String::new())),
            (Some(_), "```") => blocks.extend(block.take()),
            (Some((_, commands)), _) => {
                commands.push_str(line);
                commands.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// The examples in a help text: the lines of commands below each description.
fn examples(help: &str) -> Vec<String> {
    let after = help.split_once("\nExamples:\n").map_or("", |(_, after)| after);
    let mut examples = Vec::new();
    let mut is_new = true;
    for line in after.lines().take_while(|line| line.starts_with("  ")) {
        let command = line.strip_prefix("      ");
        match (command, examples.last_mut()) {
            (Some(command), Some(example)) if !is_new => *example = format!("{example}\n{command}"),
            (Some(command), _) => examples.push(command.to_owned()),
            (None, _) => {}
        }
        is_new = command.is_none();
    }
    examples
}

/// The help of a command, which may be that of a group: `policy check`.
fn help(command: &str) -> String {
    let words = command.split_whitespace();
    run_well(dumpwright().args(words).arg("--help"))
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, listed)| listed);
    let lines = listed.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|line| !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Writes a program for the shell.
fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Folders of the system in commands. The tests use a folder of their own instead.
const FOLDERS: [&str; 5] = [
    "/tmp/",
    "/var/crash/",
    "/var/spool/",
    "/etc/bash_completion.d/",
    "/usr/local/share/man/man1/",
];

/// What a reader of the pages has: the tool, a server, files of an earlier time.
struct Reader {
    folder: Folder,
    server: Victim,
}

impl Reader {
    /// A reader whose server has this name.
    fn with_server(name: &str) -> Reader {
        let folder = Folder::new();
        let bin = folder.file("bin");
        fs::create_dir(&bin).unwrap();
        let tool = dumpwright().get_program().to_os_string();
        symlink(tool, bin.join("dumpwright")).unwrap();
        symlink("/usr/bin/lldb-19", bin.join("lldb")).unwrap();
        // `ssh archive COMMAND` runs the command here.
        script(&bin.join("ssh"), "exec sh -c \"$2\"");
        // The server that crashes, and the one that hangs.
        script(&folder.file("server"), "kill -SEGV $$");
        let running = folder.file("running");
        fs::create_dir(&running).unwrap();
        copy_program(
            &victim::c("threads", victim::Frames::Pointers),
            &running.join(name),
        );
        let nothing: [&str; 0] = [];
        let server = Victim::start(&running.join(name), &nothing);
        fs::write(folder.file("secrets.txt"), "correct horse battery staple\n").unwrap();
        fs::set_permissions(folder.file("secrets.txt"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.file("small.toml"), "preset = \"first-look\"\n").unwrap();
        let answers = "[[rule]]\nask = \"Cancel\"\ncheck_cancel = true\n";
        fs::write(folder.file("answers.toml"), answers).unwrap();
        for shared in ["testdata", "platform"] {
            symlink(repository().join(shared), folder.file(shared)).unwrap();
        }
        let reader = Reader { folder, server };
        for (file, options) in [
            ("before.dmp", &[][..]),
            ("after.dmp", &[]),
            ("plain.dmp", &[]),
            ("compressed.dmp.zst", &["--compress", "zstd"]),
        ] {
            let scenario = repository().join("testdata/cases/plain/scenario.toml");
            let mut dump = dumpwright();
            dump.args(["dump", "--scenario"]).arg(scenario).args(options);
            run_well(dump.arg("-o").arg(reader.folder.file(file)));
        }
        reader
    }

    /// Runs the commands. The first one that fails ends them.
    fn run(&self, commands: &str) -> Result<(), String> {
        let folder = self.folder.path().display().to_string();
        // Files of an earlier block with the same names.
        let words: Vec<_> = commands.split_whitespace().collect();
        let written = words
            .windows(2)
            .filter(|pair| ["-o", "--html"].contains(&pair[0]));
        for file in written.map(|pair| pair[1]).chain(["whole.dmp"]) {
            let _ = fs::remove_file(self.folder.file(file));
        }
        let commands = commands
            .replace("4711", &self.server.pid().to_string())
            .replace("/opt/dumpwright/include", "platform/capi/include");
        let commands = FOLDERS.iter().fold(commands, |commands, system| {
            commands.replace(system, &format!("{folder}/"))
        });
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-e", "-c", &commands])
            .current_dir(self.folder.path())
            .env("PATH", format!("{folder}/bin:{path}"))
            .env("C_INCLUDE_PATH", repository().join("platform/capi/include"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        let [said, printed] = [&output.stderr, &output.stdout].map(|text| String::from_utf8_lossy(text));
        Err(format!("{}\n{commands}{said}{printed}", output.status))
    }
}

#[test]
fn the_commands_of_the_pages_work() {
    let mut failed = Vec::new();
    for (page, expected) in PAGES {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let reader = Reader::with_server("server");
        // The source, and the scenario, that a page shows.
        for (_, source) in blocks(&text, "c") {
            fs::write(reader.folder.file("callback.c"), source).unwrap();
        }
        if page == "docs/scenario.md" {
            let (_, scenario) = &blocks(&text, "toml")[0];
            fs::write(reader.folder.file("case.toml"), scenario).unwrap();
        }
        let mut run = 0;
        for (line, commands) in blocks(&text, "sh") {
            if NOT_RUN.iter().any(|start| commands.starts_with(start)) {
                continue;
            }
            run += 1;
            if let Err(reason) = reader.run(&commands) {
                failed.push(format!("{page}:{line}: {reason}"));
            }
        }
        assert_eq!(run, expected, "blocks of {page}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_examples_in_the_help_work() {
    // By its name, the server must be the only one.
    let name = format!("server-{}", std::process::id());
    let reader = Reader::with_server(&name);
    let cases = fs::read_to_string(repository().join("docs/cases.md")).unwrap();
    fs::write(reader.folder.file("callback.c"), &blocks(&cases, "c")[0].1).unwrap();
    let mut names = commands(&help(""));
    names.extend(
        commands(&help("policy"))
            .iter()
            .map(|name| format!("policy {name}")),
    );
    names.sort();
    let mut found = Vec::new();
    let mut failed = Vec::new();
    for command in names.iter().filter(|name| !name.ends_with("help")) {
        let examples = examples(&help(command));
        for example in examples
            .iter()
            .filter(|example| !example.starts_with(OF_THE_MACHINE))
        {
            let mut example = example.replace(" server ", &format!(" {name} "));
            let is_only_checked = ONLY_CHECKED.iter().any(|start| example.starts_with(start));
            if is_only_checked && !example.contains(" -- ") {
                example.push_str(" --help");
            }
            // The program crashes, and its status is that of dumpwright.
            if example.contains(" --exec ") {
                example.push_str(" || test $? -ge 128");
            }
            if let Err(reason) = reader.run(&example) {
                failed.push(format!("{command}: {reason}"));
            }
        }
        if !examples.is_empty() {
            found.push((command.as_str(), examples.len()));
        }
    }
    assert_eq!(found, HELP, "commands with examples");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
