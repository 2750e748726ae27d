//! The effect of scripts on dumps, in the library and on the command line.

use super::*;
use crate::support::simulated::{CODE, HEAP, STACK, two_threads as process};

fn dump_with(script: &mut Script, dump_type: u32) -> (Result<Report, Error>, Vec<u8>) {
    let mut bytes = Vec::new();
    let request = Request::new(DumpType::from_bits_retain(dump_type)).time(1);
    let outcome = dump(&mut process(), &request, Some(script), &mut bytes);
    (outcome, bytes)
}

fn on_heap(text: &str) -> Script {
    Script::parse(text, "test.toml")
        .unwrap()
        .symbols(Symbols::new().name("heap", HEAP, 0x10000))
}

#[test]
fn scripts_shape_dumps() {
    let (outcome, plain) = dump_with(&mut on_heap(""), 0);
    assert_eq!(outcome.unwrap().threads, 2);
    let text = "[[rule]]\nask = \"IncludeThread\"\nthread = 8\nreturn = false\n\
                [[rule]]\nask = \"Memory\"\nmemory = [\"heap/0x100\", \"program+0x100/0x10\"]\n\
                [[rule]]\nask = \"RemoveMemory\"\nmemory = \"heap+0x40/0x10\"\n";
    let (outcome, bytes) = dump_with(&mut on_heap(text), 0);
    let report = outcome.unwrap();
    assert_eq!((report.threads, report.memory_ranges), (1, 5));
    let holds = |bytes: &[u8], word: u64| bytes.windows(8).any(|window| window == word.to_le_bytes());
    assert!(holds(&bytes, HEAP + 0x38) && !holds(&plain, HEAP + 0x38));
    assert!(!holds(&bytes, HEAP + 0x40) && holds(&bytes, HEAP + 0x50));
    assert!(
        holds(&bytes, CODE + 0x108),
        "a name learned from the Module question"
    );

    let (outcome, _) = dump_with(&mut on_heap("[[rule]]\nask = \"Cancel\"\ncancel = true"), 0);
    assert!(matches!(outcome, Err(Error::Cancelled)));

    // The script takes over the output: what it stores is the dump.
    let mut script = on_heap("[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"");
    let (outcome, bytes) = dump_with(&mut script, 0);
    assert!(outcome.is_ok() && bytes.is_empty());
    assert_eq!(script.output(), plain);

    // A full dump without the heap.
    let mut script = on_heap("[[rule]]\nask = \"IncludeVmRegion\"\nat = \"heap\"\nregion = { size = 0 }");
    let (outcome, bytes) = dump_with(&mut script, 2);
    assert!(outcome.is_ok());
    assert!(!holds(&bytes, HEAP + 0x100) && holds(&bytes, STACK + 0x100));
}

const SCENARIO: &str = "testdata/cases/linux-two-threads/scenario.toml";

fn program(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dumpwright"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["dump", "--scenario", SCENARIO, "-o"])
        .arg(folder.join("out.dmp"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn the_program_takes_scripts_and_leaves_transcripts() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(
        file("script"),
        "[[rule]]\nask = \"IncludeThread\"\nindex = 1\nreturn = false\n\n[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n\n\
         [[rule]]\nask = \"Memory\"\nmemory = \"heap/0x100\"\n",
    )
    .unwrap();
    let output = program(
        folder.path(),
        &["--script", &file("script"), "--transcript", &file("transcript")],
    );
    assert!(output.status.success(), "{output:?}");
    let transcript = fs::read_to_string(file("transcript")).unwrap();
    assert!(transcript.contains("\"ask\":\"IncludeThread\""));
    assert!(transcript.contains("\"out\":{\"base\":\"heap\",\"size\":256}"));
    assert!(transcript.ends_with("{\"result\":{\"status\":\"complete\",\"hresult\":\"0x00000000\"}}\n"));
    let dump = fs::read(file("out.dmp")).unwrap();
    assert_eq!(
        dumpwright::read::Dump::from_bytes(dump.clone())
            .unwrap()
            .threads()
            .unwrap()
            .len(),
        1
    );

    // The same again, played back from the transcript.
    let output = program(
        folder.path(),
        &[
            "--playback",
            &file("transcript"),
            "--force",
            "--transcript",
            &file("again"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(file("out.dmp")).unwrap(), dump);
    assert_eq!(fs::read_to_string(file("again")).unwrap(), transcript);

    // A different dialogue leaves no dump.
    fs::remove_file(file("out.dmp")).unwrap();
    let other = transcript.replace("\"thread\":4712", "\"thread\":4713");
    fs::write(file("other"), other).unwrap();
    let output = program(folder.path(), &["--playback", &file("other")]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("line 7\n  expected: IncludeThread thread=4713"),
        "{complaint}"
    );
    assert!(!Path::new(&file("out.dmp")).exists());

    // Without a script, the recorder only listens.
    let output = program(folder.path(), &["--transcript", &file("heard")]);
    assert!(output.status.success());
    let heard = fs::read_to_string(file("heard")).unwrap();
    assert!(heard.contains("\"ask\":\"IncludeThread\"") && !heard.contains("\"ret\""));
}

#[test]
fn the_program_refuses_bad_scripts_and_tells_misuse() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.toml");
    let run = |text: &str, more: &[&str]| {
        fs::write(&script, text).unwrap();
        let output = program(
            folder.path(),
            &[&["--script", script.to_str().unwrap()], more].concat(),
        );
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let place = format!("dumpwright: {}:", script.display());
    let (status, complaint) = run("[[rule]]\nask = \"Memori\"", &[]);
    assert_eq!(
        (status, complaint),
        (
            Some(1),
            format!(
                "{place}2:7: unknown callback type \"Memori\"; did you mean \"Memory\"?\n  |\n\
                 2 | ask = \"Memori\"\n  |       ^^^^^^^^\n"
            )
        )
    );
    let text = "[[rule]]\nask = \"Memory\"\nmemory = \"haep\"\n[[rule]]\nask = \"RemoveMemory\"\nmemory = \"heep+8/8\"";
    let (status, complaint) = run(text, &[]);
    assert_eq!(status, Some(1));
    for problem in [
        ":3:10: nothing in the target is called \"haep\"; did you mean \"heap\"?",
        ":6:10: nothing in the target is called \"heep\"; did you mean \"heap\"?",
    ] {
        assert!(complaint.contains(problem), "{complaint}");
    }
    assert!(
        !folder.path().join("out.dmp").exists(),
        "it would not be what was asked for"
    );
    let text = "[[rule]]\nask = \"VmStart\"\nstatus = \"S_OK\"\n[[rule]]\nask = \"IncludeThread\"\nthread = 1\nreturn = false";
    let (status, complaint) = run(text, &["--lint"]);
    assert_eq!(status, Some(0), "the misuse is reported, and the dump is written");
    assert!(
        complaint.contains("lint: VmStart #0: answered S_OK, which means no"),
        "{complaint}"
    );
    assert!(
        complaint.contains("script.toml:4: this rule matched no call"),
        "{complaint}"
    );
}

/// The blocks of a document that are marked as TOML.
fn examples(document: &str) -> Vec<String> {
    document
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_examples_of_the_document_are_scripts() {
    let examples = examples(include_str!("../../../docs/script.md"));
    assert!(examples.len() > 4);
    for example in examples {
        Script::parse(&example, "docs/script.md").unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}
