//! The command line in the place of .NET's `createdump`. The runtime's part is played by a program
//! with its own crash reporter, and by a shell.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use dumpwright::read::Dump;
use serde::Deserialize;
use tempfile::TempDir;

use crate::support::dumper::dumpwright;
use crate::support::victim::{self, Victim};

#[derive(Deserialize)]
struct ReporterTruth {
    pid: u32,
    tid: u32,
    rip: u64,
}

/// A folder with the program, as `DOTNET_DbgCreateDumpToolPath` names it.
fn tool() -> TempDir {
    let folder = TempDir::new().unwrap();
    let program = std::path::absolute(dumpwright().get_program()).unwrap();
    symlink(program, folder.path().join("createdump")).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(folder.join("createdump"));
    command.args(arguments).output().unwrap()
}

#[test]
fn it_is_started_as_the_runtime_starts_its_tool() {
    let folder = tool();
    let nothing: [&str; 0] = [];
    let mut victim = Victim::start(&victim::live("reporter"), &nothing);
    let truth: ReporterTruth = victim.truth();
    let (pid, tid) = (truth.pid.to_string(), truth.tid.to_string());
    let name = folder.path().join("%e-%%-%p.dmp");
    let name = name.to_str().unwrap();
    let crash = [
        "--name",
        name,
        "--crashthread",
        &tid,
        "--signal",
        "11",
        "--code",
        "1",
        "--errno",
        "0",
        "--address",
        "24",
        "--singlefile",
        "--diag",
    ];
    let written = folder.path().join(format!("reporter-%-{pid}.dmp"));
    for (kind, flags) in [
        ("--normal", 0x1005),
        ("-h", 0x4_1a25),
        ("-u", 0x6_1826),
        ("--triage", 0x12_05ac),
    ] {
        let output = run(folder.path(), &[&crash[..], &[kind, &pid]].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.starts_with("[createdump] Dump successfully written"),
            "{said}"
        );
        let dump = Dump::open(&written).unwrap();
        assert_eq!(dump.header().flags, flags, "{kind}");
        let exception = dump.exception().unwrap().expect("the stream is there");
        let facts = (
            exception.thread_id,
            exception.code,
            exception.flags,
            exception.address,
        );
        assert_eq!(facts, (truth.tid, 11, 1, 0x18));
        assert_eq!(exception.context.unwrap().amd64().unwrap().rip, truth.rip);
    }
    victim.ping();

    // The log takes the place of standard error.
    let log = folder.path().join("log");
    let output = run(
        folder.path(),
        &["-n", "-f", name, "-l", log.to_str().unwrap(), &pid],
    );
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    assert!(
        std::fs::read_to_string(log)
            .unwrap()
            .starts_with("Dump successfully")
    );
}

/// Newer runtimes pass no process id.
#[test]
fn the_parent_is_dumped_if_no_process_is_named() {
    let folder = tool();
    let name = folder.path().join("%e.dmp");
    let script = format!("\"$0\" -f '{}' --normal; exit $?", name.display());
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(folder.path().join("createdump"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut dumps: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dmp"))
        .collect();
    let dump = Dump::open(dumps.pop().expect("a dump")).unwrap();
    assert!(dumps.is_empty());
    let modules = dump.modules().unwrap();
    let name = modules[0].file_name().unwrap().to_owned();
    assert!(name.ends_with("sh"), "{name}");
    assert_eq!(dump.exception().unwrap(), None, "a dump on request");
}

#[test]
fn what_it_cannot_do_is_said() {
    let folder = tool();
    for arguments in [&["--crashreportonly"][..], &["-f", "/nowhere/at/all"]] {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(255), "{output:?}");
        assert!(output.stderr.starts_with(b"[createdump] "), "{output:?}");
    }
}
