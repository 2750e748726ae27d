//! Dumps by `MiniDumpWriteDump` of Microsoft's DbgHelp 6.3.9600 and of Wine's DbgHelp, under Wine,
//! with callbacks.
//!
//! Would catch: a call by DbgHelp that arrives as another one, with other facts or another answer;
//! an answer that does not reach DbgHelp; a script, transcript, linter or policy that works only
//! with dumpwright's own engine; a panic that unwinds through DbgHelp; a failure with another code
//! or without a text; a file that a failure leaves behind; a process that does not run afterwards.
//!
//! The dialogues are compared with those in `testdata/oracle`, which a C program recorded with the
//! same DLL.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::support::child::KilledOnDrop;
use crate::support::windows::{self, Output};
use dumpwright::protocol::{Entry, Transcript};
use dumpwright::read::Dump;
use serde_json::Value;

/// A process under Wine that counts up all the time.
struct Target {
    /// Ends the process with this value.
    _child: KilledOnDrop,
    folder: tempfile::TempDir,
    pid: u32,
    block: u64,
    threads: Vec<u32>,
}

impl Target {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = |name: &str| windows::path(&folder.path().join(name));
        let child = windows::wine(victim())
            .args([place("report"), place("beat"), windows::path(library())])
            .spawn()
            .expect("wine starts");
        let report = wait_for(|| {
            let text = fs::read_to_string(folder.path().join("report")).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
        let number = |value: &Value| value.as_u64().expect("a number");
        let threads = report["threads"].as_array().expect("a list");
        Self {
            _child: KilledOnDrop(child),
            pid: number(&report["pid"]) as u32,
            block: number(&report["block"]),
            threads: threads.iter().map(|id| number(id) as u32).collect(),
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The number that it has reached.
    fn beats(&self) -> Option<u32> {
        fs::read_to_string(self.file("beat")).ok()?.parse().ok()
    }

    /// Waits until it has counted further, which a suspended process does not.
    fn assert_runs(&self) {
        let before = wait_for(|| self.beats());
        wait_for(|| self.beats().filter(|now| *now > before + 1));
    }

    /// Runs `dumpwright dump --pid … ARGUMENTS`.
    fn dump(&self, arguments: &[&str]) -> Output {
        let pid = self.pid.to_string();
        let mut command = windows::wine(windows::executable());
        command
            .args(["dump", "--pid", &pid])
            .args(arguments)
            .current_dir(self.folder.path());
        windows::run(&mut command)
    }

    /// The same with Microsoft's DLL, to the file `dump`, which is removed first.
    fn dump_by_microsoft(&self, arguments: &[&str]) -> Output {
        let _ = fs::remove_file(self.file("dump"));
        let dll = microsoft();
        let dll = windows::path(dll).into_string().expect("a plain name");
        let all = [
            &["--backend", "dbghelp", "--dbghelp", &dll, "-o", "dump"],
            arguments,
        ]
        .concat();
        self.dump(&all)
    }

    /// Runs the test program with callbacks in Rust.
    fn call_back(&self, what: &str) -> Output {
        let _ = fs::remove_file(self.file("dump"));
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| windows::program("dbghelp_callbacks"));
        let mut command = windows::wine(program);
        command
            .args([what, &self.pid.to_string(), "dump"])
            .arg(windows::path(microsoft()))
            .env("EXCEPTED", self.threads[2].to_string())
            .current_dir(self.folder.path());
        windows::run(&mut command)
    }

    fn dumped(&self) -> Dump {
        Dump::open(self.file("dump")).expect("a dump")
    }

    fn dumped_threads(&self) -> Vec<u32> {
        let threads = self.dumped().threads().expect("threads");
        threads.iter().map(|thread| thread.id).collect()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("a file of ours");
    }

    fn transcript(&self) -> Transcript {
        let text = fs::read_to_string(self.file("transcript")).expect("a transcript");
        Transcript::parse(&text).expect("a transcript")
    }

    /// Checks that there is neither a dump nor an unfinished file.
    fn assert_no_file(&self) {
        let names = fs::read_dir(self.folder.path()).expect("our folder");
        let names: Vec<_> = names
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("a plain name")
            })
            .filter(|name| name == "dump" || name.contains("partial"))
            .collect();
        assert!(names.is_empty(), "{names:?}");
    }
}

fn wait_for<T>(mut what: impl FnMut() -> Option<T>) -> T {
    const LONG: Duration = Duration::from_secs(120);
    let started = Instant::now();
    loop {
        if let Some(there) = what() {
            return there;
        }
        assert!(started.elapsed() < LONG, "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn victim() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/windows_victims/beats.c");
        windows::compile("target.exe", &source, &["-O1"], &[])
    })
}

/// The DLL that the recordings call `extra`.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("platform/capi/tests/programs/extra.c");
        windows::compile(
            "extra.dll",
            &source,
            &["-nostdlib", "-shared", "-Wl,-e,entry"],
            &[],
        )
    })
}

/// Microsoft's DbgHelp 6.3.9600, under another name. Under its own name, Wine would load its own
/// library instead.
fn microsoft() -> &'static Path {
    static COPIED: OnceLock<tempfile::TempDir> = OnceLock::new();
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let folder = COPIED.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
        let copy = folder.path().join("msdbghelp.dll");
        let original = windows::cache().join("dbgeng-6.3/dbghelp.dll");
        fs::copy(&original, &copy)
            .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask windows brings it", original.display()));
        copy
    })
}

/// A call as both kinds of transcripts have it: its name, the returned value, and, if the answer is
/// one number, its value before and after.
#[derive(Debug, PartialEq, Eq)]
struct Asked(String, bool, Option<(u64, u64)>);

/// Callback types whose number and order depend on the process. For Cancel, the first call is
/// compared.
const SERVICE: [&str; 5] = ["IoWriteAll", "VmPreRead", "VmPostRead", "VmQuery", "Cancel"];

/// The regions are not those of the recorded process. It is compared that their calls come in one
/// sequence.
fn without_repeated_regions(mut dialogue: Vec<Asked>) -> Vec<Asked> {
    dialogue.dedup_by(|one, other| one.0 == "IncludeVmRegion" && other.0 == "IncludeVmRegion");
    let mut cancels = 0;
    dialogue.retain(|asked| {
        cancels += usize::from(asked.0 == "Cancel");
        !SERVICE.contains(&asked.0.as_str()) || asked.0 == "Cancel" && cancels == 1
    });
    dialogue
}

/// The dialogue of a recording, and its error code.
fn recorded(name: &str) -> (Vec<Asked>, u32) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/oracle/traces/{name}.txt"));
    let text = fs::read_to_string(file).expect("a recording");
    let hex = |text: Option<&str>| u64::from_str_radix(text?.strip_prefix("0x")?, 16).ok();
    let mut dialogue = Vec::new();
    let mut code = 0;
    for line in text.lines() {
        if let Some(question) = line.strip_prefix('#') {
            let (_, question) = question.split_once(' ').expect("a number");
            let kind = question.split('@').next().expect("a name").to_owned();
            let (before, answer) = question.split_once(" | ans: ").expect("an answer");
            let said = answer.starts_with("ret=1");
            let prefilled = before.split_once(" | pre: ").map(|(_, slot)| slot.trim());
            let left = answer.split_once(" out=").map(|(_, slot)| slot.trim());
            dialogue.push(Asked(kind, said, hex(prefilled).zip(hex(left))));
        } else if line.starts_with("== result=0") {
            let word = line.split(' ').find_map(|word| word.strip_prefix("err="));
            code = hex(word).expect("a code") as u32;
        }
    }
    (without_repeated_regions(dialogue), code)
}

/// Whether a recording has only some callback types.
fn is_quiet(name: &str) -> bool {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oracle/scenarios.txt");
    let text = fs::read_to_string(file).expect("the scenarios");
    let line = text.lines().find(|line| line.split('|').next() == Some(name));
    line.expect("a scenario").contains("--quiet")
}

/// The dialogue of one of dumpwright's transcripts.
fn ours(transcript: &Transcript) -> Vec<Asked> {
    let slot = |entry: &Entry| {
        let number = |fields: &dumpwright::protocol::NamedValues| {
            let text = fields.text("flags").or_else(|| fields.text("status"))?;
            u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        number(&entry.pre).zip(number(&entry.out))
    };
    let asked = transcript.entries.iter().map(|entry| {
        Asked(
            entry.ask.name().to_owned(),
            entry.ret.expect("answered"),
            slot(entry),
        )
    });
    without_repeated_regions(asked.collect())
}

/// Scenarios of the recordings: name, type, and the rules as a script. The block and the threads of
/// the target take the place of the recorded ones.
const SCENARIOS: &[(&str, &str, &str)] = &[
    ("01-f00000001", "0x1", ""),
    ("01-f00000002", "0x2", ""),
    ("01-f00001100", "0x1100", ""),
    ("01-f00200000", "0x200000", ""),
    (
        "02-false-Module-1",
        "normal",
        "ask = \"Module\"\nindex = 1\nreturn = false",
    ),
    (
        "02-false-Thread-all",
        "normal",
        "ask = \"Thread\"\nreturn = false",
    ),
    (
        "02-false-IncludeThread-1",
        "normal",
        "ask = \"IncludeThread\"\nindex = 1\nreturn = false",
    ),
    (
        "04-mem-unwritten-ret0",
        "normal",
        "ask = \"Memory\"\nindex = 0\nmemory = \"BLOCK+0x1000/0x100\"\nreturn = false",
    ),
    (
        "04-mem-one",
        "normal",
        "ask = \"Memory\"\nindex = 0\nmemory = \"BLOCK+0x1000/0x100\"",
    ),
    (
        "04-rem-middle",
        "normal",
        "ask = \"Memory\"\nindex = 0\nmemory = \"BLOCK+0x1000/0x1000\"\n[[rule]]\nask = \"RemoveMemory\"\nindex = 0\nmemory = \"BLOCK+0x1400/0x100\"",
    ),
    (
        "05-cancel-first",
        "normal",
        "ask = \"Cancel\"\ncheck_cancel = true\ncancel = true",
    ),
    (
        "07-write0-sfalse",
        "normal",
        "ask = \"IoStart\"\nstatus = \"S_FALSE\"\n[[rule]]\nask = \"IoWriteAll\"\nindex = 0\nstatus = \"S_FALSE\"",
    ),
    (
        "09-sec-1",
        "normal",
        "ask = \"SecondaryFlags\"\nflags = \"WITHOUT_POWER_INFO\"",
    ),
    ("05-poll", "normal", "ask = \"Cancel\"\ncheck_cancel = true"),
    (
        "07-io-normal",
        "normal",
        "ask = \"IoStart\"\nstatus = \"S_FALSE\"",
    ),
    ("11-vm-live", "normal", "ask = \"VmStart\"\nstatus = \"S_FALSE\""),
    ("02-false-ALL", "normal", "ask = \"*\"\nreturn = false"),
];

#[test]
fn dialogues_with_microsofts_library_are_those_that_were_recorded() {
    let target = Target::start();
    for (name, dump_type, rule) in SCENARIOS {
        let rule = rule.replace("BLOCK", &format!("{:#x}", target.block));
        let rule = if rule.is_empty() {
            String::new()
        } else {
            format!("[[rule]]\n{rule}\n")
        };
        target.write("script", &rule);
        let output = target.dump_by_microsoft(&[
            "--type",
            dump_type,
            "--script",
            "script",
            "--transcript",
            "transcript",
            "--force",
        ]);
        let (dialogue, code) = recorded(name);
        let transcript = target.transcript();
        let mut ours = ours(&transcript);
        if is_quiet(name) {
            ours.retain(|asked| dialogue.iter().any(|recorded| recorded.0 == asked.0));
        }
        assert_eq!(ours, dialogue, "{name}: {}", output.stderr);
        let ending = transcript.result.expect("an end");
        assert_eq!(
            ending.hresult,
            format!("{code:#010x}"),
            "{name}: {}",
            output.stderr
        );
        assert_eq!(output.status.success(), code == 0, "{name}: {}", output.stderr);
        assert_eq!(transcript.engine.as_deref(), Some("dbghelp 6.3.9600.16384"));
        if code != 0 {
            target.assert_no_file();
        }
    }
    target.assert_runs();
}

#[test]
fn answers_are_obeyed() {
    let target = Target::start();
    target.write(
        "script",
        &format!(
            "[[rule]]\nask = \"IncludeThread\"\nthread = {}\nreturn = false\n
            [[rule]]\nask = \"Memory\"\nmemory = \"{:#x}/0x1000\"\n
            [[rule]]\nask = \"RemoveMemory\"\nmemory = \"{:#x}/0x100\"\n
            [[rule]]\nask = \"SecondaryFlags\"\nflags = \"WITHOUT_POWER_INFO\"\n",
            target.threads[1],
            target.block + 0x5000,
            target.block + 0x5800,
        ),
    );
    let output = target.dump_by_microsoft(&["--script", "script", "--json"]);
    assert!(output.status.success(), "{}", output.stderr);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(
        (&said["backend"], &said["hold"]),
        (&"dbghelp".into(), &"dbghelp".into())
    );
    assert_eq!(said["dbghelp"]["version"], "6.3.9600.16384");
    assert_eq!(
        (&said["threads"], &said["status"]),
        (&4.into(), &"complete".into())
    );

    let dump = target.dumped();
    let expected: Vec<_> = target
        .threads
        .iter()
        .filter(|id| **id != target.threads[1])
        .collect();
    assert_eq!(target.dumped_threads().iter().collect::<Vec<_>>(), expected);
    let secret = dump.memory(target.block + 0x5000, 16).expect("readable");
    assert_eq!(secret.as_deref(), Some(&b"open-sesame-4711"[..]));
    assert!(dump.has_memory(target.block + 0x5900, 0x100).expect("readable"));
    assert!(
        !dump.has_memory(target.block + 0x5800, 1).expect("readable"),
        "removed"
    );
    let misc = dump.misc_info().expect("readable").expect("there");
    assert!(misc.processor_power.is_none(), "{misc:?}");
    assert_eq!(dump.len(), said["bytes"].as_u64().expect("a number"));
    target.assert_runs();
}

#[test]
fn output_that_a_callback_takes_over_is_the_dump() {
    let target = Target::start();
    target.write("script", "[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n");
    let output = target.dump_by_microsoft(&["--script", "script", "--json"]);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(target.dumped_threads(), target.threads);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(said["bytes"], target.dumped().len());
    assert_eq!((&said["threads"], &said["modules"]), (&5.into(), &6.into()));

    target.write(
        "script",
        "[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n
        [[rule]]\nask = \"IoWriteAll\"\nindex = 5\nstatus = \"ERROR_DISK_FULL\"\n",
    );
    let output = target.dump_by_microsoft(&["--script", "script", "--json"]);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(said["hresult"], "0x80070070", "{said}");
    assert_eq!(
        said["error"],
        "the callback failed the dump: it answered IoWriteAll with status 0x80070070"
    );
    target.assert_no_file();
}

#[test]
fn a_dump_goes_through_standard_output() {
    let target = Target::start();
    let dll = windows::path(microsoft());
    let dll = dll.to_str().expect("a plain name");
    let mut command = windows::wine(windows::executable());
    let to = fs::File::create(target.file("dump")).expect("a file");
    let status = command
        .args([
            "dump",
            "--pid",
            &target.pid.to_string(),
            "--dbghelp",
            dll,
            "-o",
            "-",
        ])
        .stdout(to)
        .stderr(fs::File::create(target.file("errors")).expect("a file"))
        .status()
        .expect("wine runs");
    assert!(
        status.success(),
        "{:?}",
        fs::read_to_string(target.file("errors"))
    );
    assert_eq!(target.dumped_threads(), target.threads);
}

#[test]
fn the_linter_speaks() {
    let target = Target::start();
    target.write(
        "script",
        "[[rule]]\nask = \"IoStart\"\nstatus = \"S_FALSE\"\n
        [[rule]]\nask = \"IoWriteAll\"\nindex = 2\nstatus = \"S_FALSE\"\n
        [[rule]]\nask = \"KernelMinidumpStatus\"\nreturn = true\n",
    );
    let output = target.dump_by_microsoft(&["--script", "script", "--lint"]);
    assert!(!output.status.success());
    let lint = |word: &str| {
        output
            .stderr
            .lines()
            .any(|line| line.contains("lint:") && line.contains(word))
    };
    assert!(lint("IoWriteAll"), "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("it answered IoWriteAll with status 0x00000001"),
        "{}",
        output.stderr
    );
}

#[test]
fn transcripts_are_played_back() {
    let target = Target::start();
    // The thread that counts stands somewhere else each time, and a transcript says where.
    let script = format!(
        "[[rule]]\nask = \"IncludeThread\"\nthread = {}\nreturn = false\n",
        target.threads[0]
    );
    target.write("script", &script);
    let output = target.dump_by_microsoft(&["--script", "script", "--transcript", "transcript"]);
    assert!(output.status.success(), "{}", output.stderr);
    let threads = target.dumped_threads();
    let output = target.dump_by_microsoft(&["--playback", "transcript"]);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(target.dumped_threads(), threads);
    assert_eq!(threads.len(), 4);
    // With another type, the calls are different.
    let output = target.dump_by_microsoft(&["--playback", "transcript", "--type", "0x1100"]);
    assert!(!output.status.success());
    assert!(
        output.stderr.contains("the dialogue differs from"),
        "{}",
        output.stderr
    );
    target.assert_no_file();
}

#[test]
fn a_listener_changes_nothing() {
    let target = Target::start();
    let output = target.dump_by_microsoft(&["--transcript", "transcript"]);
    assert!(output.status.success(), "{}", output.stderr);
    let transcript = target.transcript();
    assert!(!transcript.was_answered());
    let kinds: Vec<_> = transcript.entries.iter().map(|entry| entry.ask.name()).collect();
    assert!(
        kinds.contains(&"IncludeModule") && kinds.contains(&"RemoveMemory"),
        "{kinds:?}"
    );
    let with = target.dumped();
    let streams = |dump: &Dump| -> Vec<_> {
        let entries = dump.directory().iter();
        entries.map(|entry| (entry.stream_type, entry.size)).collect()
    };
    let with = streams(&with);
    let output = target.dump_by_microsoft(&[]);
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(streams(&target.dumped()), with);
}

#[test]
fn wines_own_library_is_the_systems() {
    let target = Target::start();
    // DbgHelp makes calls about modules and threads only.
    target.write(
        "script",
        &format!(
            "[[rule]]\nask = \"Thread\"\nthread = {}\nflags = []\n",
            target.threads[1]
        ),
    );
    let arguments = [
        "-o",
        "dump",
        "--script",
        "script",
        "--transcript",
        "transcript",
        "--json",
    ];
    let output = target.dump(&arguments);
    assert!(output.status.success(), "{}", output.stderr);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(said["backend"], "dbghelp", "the default for live processes");
    let file = said["dbghelp"]["file"].as_str().expect("a name").to_lowercase();
    assert!(file.ends_with(r"system32\dbghelp.dll"), "{file}");
    assert_eq!(target.dumped_threads().len(), 4);
    assert!(
        target
            .transcript()
            .engine
            .is_some_and(|engine| engine.starts_with("dbghelp "))
    );
    target.assert_runs();
}

#[test]
fn failures_have_their_code_and_leave_no_file() {
    let target = Target::start();
    let dll = windows::path(microsoft()).into_string().expect("a plain name");
    let no_library = windows::path(library()).into_string().expect("a plain name");
    let failed = |pid: u32, arguments: &[&str]| -> (String, String) {
        let pid = pid.to_string();
        let mut command = windows::wine(windows::executable());
        command
            .args(["dump", "--json", "--pid", &pid])
            .args(arguments)
            .current_dir(target.folder.path());
        let output = windows::run(&mut command);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}{}",
            output.stdout,
            output.stderr
        );
        let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(said["status"], "failed");
        let text = |name: &str| said[name].as_str().expect("a text").to_owned();
        (text("hresult"), text("error"))
    };
    let microsofts = ["-o", "dump", "--dbghelp", &dll];

    // 6.3.9600 does not know this flag.
    let (code, words) = failed(target.pid, &[&microsofts[..], &["--type", "0x200000"]].concat());
    assert_eq!(code, "0x80070057");
    assert!(
        words.contains("msdbghelp.dll") && words.contains("type"),
        "{words}"
    );
    // Process ids of Windows are multiples of 4; this is none.
    let (code, words) = failed(0x7fff_fff1, &microsofts);
    assert_eq!(code, "0x80070057");
    assert!(words.contains("there is no such process"), "{words}");
    let (_, words) = failed(target.pid, &["-o", "nowhere/dump", "--dbghelp", &dll]);
    assert!(words.contains("nowhere"), "{words}");
    let (_, words) = failed(target.pid, &["-o", "dump", "--dbghelp", &no_library]);
    assert!(
        words.contains("extra.dll") && words.contains("MiniDumpWriteDump"),
        "{words}"
    );
    let (_, words) = failed(target.pid, &["-o", "dump", "--dbghelp", "not-there.dll"]);
    assert!(words.contains("not-there.dll"), "{words}");
    target.assert_no_file();

    target.write("dump", "mine");
    let (code, _) = failed(target.pid, &microsofts);
    assert_eq!(code, "0x80070050");
    let (code, _) = failed(
        target.pid,
        &[&microsofts[..], &["--force", "--type", "0x200000"]].concat(),
    );
    assert_eq!(code, "0x80070057");
    let kept = fs::read_to_string(target.file("dump")).expect("the file");
    assert_eq!(kept, "mine", "a failed dump replaces nothing");
    target.assert_runs();
}

#[test]
fn a_snapshot_that_cannot_be_had_is_told() {
    // Wine 8 has no process snapshots.
    let target = Target::start();
    let output = target.dump_by_microsoft(&["--hold", "clone", "--json"]);
    assert!(output.status.success(), "{}", output.stderr);
    let said: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(said["hold"], "dbghelp");
    let note = said["notes"][0]["reason"].as_str().expect("a note");
    assert!(note.contains("no snapshot"), "{note}");
    assert_eq!(target.dumped_threads(), target.threads);
}

#[test]
fn policies_work_with_it() {
    let target = Target::start();
    let output = target.call_back("plain");
    assert!(output.status.success(), "{}", output.stderr);
    let secrets = |target: &Target| {
        let bytes = fs::read(target.file("dump")).expect("a dump");
        let is_secret = |window: &&[u8]| *window == b"open-sesame-4711";
        bytes.windows(16).filter(is_secret).count()
    };
    assert!(secrets(&target) >= 2, "both are in private memory");
    let output = target.call_back("redact");
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(
        secrets(&target),
        0,
        "one of them lies across the border of two pages"
    );
    assert!(
        target
            .dumped()
            .has_memory(target.block + 0x5000, 16)
            .expect("readable")
    );

    let output = target.call_back("filter");
    assert_eq!(output.stdout, "4 threads\n", "{}", output.stderr);
    assert!(!target.dumped_threads().contains(&target.threads[2]));
    target.assert_runs();
}

#[test]
fn panics_pass_around_it() {
    let target = Target::start();
    let output = target.call_back("panic");
    assert!(output.status.success(), "{}", output.stderr);
    let said = "not this module\nasked 0 times behind it\nthere is a file: false\n5 threads\n";
    assert_eq!(output.stdout, said);
    target.assert_runs();
}

#[test]
fn a_callback_cannot_call_it_again() {
    let target = Target::start();
    let output = target.call_back("inside");
    assert!(output.status.success(), "{}", output.stderr);
    assert!(output.stdout.starts_with("5 threads\n"), "{}", output.stdout);
    assert!(
        output.stdout.contains("DbgHelp writes one dump at a time"),
        "{}",
        output.stdout
    );
    target.assert_runs();
}

#[test]
fn any_sink_gets_the_dump_and_the_report_says_what_dbghelp_cannot() {
    let target = Target::start();
    let output = target.call_back("memory");
    assert!(output.status.success(), "{}", output.stderr);
    let len = target.dumped().len();
    let mut lines = output.stdout.lines();
    assert_eq!(lines.next(), Some(&*format!("{len} of {len} bytes, 5 threads")));
    assert_eq!(
        lines.next(),
        Some(
            "process: DbgHelp ignores the requested time; it writes the current time into the dump's header"
        )
    );
    let comment = target
        .dumped()
        .stream_bytes(11)
        .expect("readable")
        .expect("there");
    assert!(comment.starts_with(b"b\0y\0 \0h\0"), "{comment:?}");
}
