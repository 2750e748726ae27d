//! The commands of the README and of the tutorials, run in their order as a reader would.
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
use crate::support::{copy_program, repository};

/// Blocks that are not run: they build, install or run all tests. CI does the same with other
/// commands.
const NOT_RUN: [&str; 3] = ["cargo run ", "cargo xtask test", "cargo xtask install-capi"];

/// The pages, with the number of their blocks that are run.
const PAGES: [(&str, usize); 6] = [
    ("README.md", 10),
    ("docs/cases.md", 2),
    ("docs/spool.md", 2),
    ("docs/guide/hung-server.md", 7),
    ("docs/guide/callback.md", 5),
    ("docs/guide/golden-files.md", 3),
];

/// The blocks of a page in this language, each with its line.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
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

/// Writes a program for the shell.
fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What a reader of the pages has: the tool, a server, files of an earlier time.
struct Reader {
    folder: Folder,
    server: Victim,
}

impl Reader {
    fn new() -> Reader {
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
            &running.join("server"),
        );
        let nothing: [&str; 0] = [];
        let server = Victim::start(&running.join("server"), &nothing);
        fs::write(folder.file("secrets.txt"), "correct horse battery staple\n").unwrap();
        fs::set_permissions(folder.file("secrets.txt"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.file("small.toml"), "preset = \"first-look\"\n").unwrap();
        for shared in ["testdata", "platform"] {
            symlink(repository().join(shared), folder.file(shared)).unwrap();
        }
        let reader = Reader { folder, server };
        for file in ["before.dmp", "after.dmp"] {
            let scenario = repository().join("testdata/cases/plain/scenario.toml");
            let mut dump = dumpwright();
            dump.args(["dump", "--scenario"]).arg(scenario).arg("-o");
            assert!(
                dump.arg(reader.folder.file(file))
                    .stdout(Stdio::null())
                    .status()
                    .unwrap()
                    .success()
            );
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
            .replace("/tmp/", &format!("{folder}/"))
            .replace("/opt/dumpwright/include", "platform/capi/include");
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("sh")
            .args(["-e", "-c", &commands])
            .current_dir(self.folder.path())
            .env("PATH", format!("{folder}/bin:{path}"))
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
        let reader = Reader::new();
        // The source that a page shows.
        for (_, source) in blocks(&text, "c") {
            fs::write(reader.folder.file("callback.c"), source).unwrap();
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
