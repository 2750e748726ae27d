//! Writes the files that accompany recorded transcripts: `about.txt` describes the library, and
//! `target.txt` the process that was dumped. `tests/engine/conformance.rs` simulates that process.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::session::Session;

/// The name of the folder for transcripts.
pub const TRACES: &str = "traces";

/// The scenario whose transcript shows all modules.
const WITH_MODULES: &str = "01-f00000001";

/// A copy of a library with a name that Wine has no library of its own for.
pub struct Copy {
    file: PathBuf,
    _folder: Option<TempDir>,
}

impl Copy {
    pub fn of(library: &Path) -> Self {
        // If Wine's own library is wanted, it keeps its name.
        let is_wines = library.components().any(|part| part.as_os_str() == "drive_c");
        if cfg!(windows) || is_wines {
            return Self {
                file: library.to_owned(),
                _folder: None,
            };
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("msdbghelp.dll");
        fs::copy(library, &file).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
        Self {
            file,
            _folder: Some(folder),
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// Writes both files.
pub fn describe(folder: &Path, library: &Path, original: &Path) {
    let version =
        version(&fs::read(library).expect("it was loaded")).expect("a DLL of Microsoft's has a version");
    let about = format!(
        "library {}\nversion {version}\nsystem {}\n",
        original.file_name().expect("a file").to_string_lossy(),
        system()
    );
    fs::write(folder.join("about.txt"), about).expect("a file in it");
    let trace = folder.join(TRACES).join(format!("{WITH_MODULES}.txt"));
    let trace = fs::read_to_string(trace).expect("all scenarios were recorded");
    let mut session = Session::start(library, "dbghelp63", false);
    fs::write(folder.join("target.txt"), target(&mut session, &trace)).expect("a file in it");
}

/// Returns the name and version of the system, in one line.
fn system() -> String {
    let mut command = if cfg!(windows) {
        let mut command = Command::new("cmd");
        command.args(["/c", "ver"]);
        command
    } else {
        let mut command = Command::new("wine");
        command.arg("--version");
        command
    };
    let output = command.output().expect("it runs programs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Returns the description of the twin, in the format of `testdata/oracle/target.txt`.
fn target(session: &mut Session, trace: &str) -> String {
    let mut text = "# Made by the recorder from the process that was dumped.\n".to_owned();
    let lines = format!("target {}\nnew\n{}", session.facts.id, session.threads());
    let look = session
        .ask(&(lines.clone() + "look\n"))
        .expect("the client lives");
    let words = session.ask(&(lines + "words\n")).expect("the client lives");
    let facts = &session.facts;
    for (name, base, size) in facts.names.all() {
        line(&mut text, &format!("sym {name} {base:#x} {size:#x}"));
    }
    for question in trace.lines().filter(|line| line.contains(" Module@")) {
        let value = |key: &str| {
            let word = question.split(' ').find_map(|word| word.strip_prefix(key));
            word.unwrap_or_else(|| panic!("no {key} in {question}"))
        };
        let bytes = value("cv=").rsplit(':').next().expect("a number");
        line(
            &mut text,
            &format!(
                "module {:#x} {} {} {} {} 0x{} {bytes}",
                facts.names.address(value("base=")),
                value("size="),
                value("sum="),
                value("tds="),
                value("name="),
                value("ver="),
            ),
        );
    }
    let told = look.lines().chain(words.lines()).filter_map(|told| {
        let mut fields = told.split(' ');
        Some((fields.next()?, fields.collect::<Vec<_>>()))
    });
    let mut number = 0;
    for (what, fields) in told {
        match (what, &fields[..]) {
            ("thread", [instruction, stack]) => {
                line(&mut text, &format!("thread {number} 0x{instruction} 0x{stack}"));
                number += 1;
            }
            ("word", [at, value]) => line(&mut text, &format!("word 0x{at} 0x{value}")),
            ("region", [base, size, state, protect, allocation, first_protect, kind]) => {
                let state = match *state {
                    "1000" => "commit",
                    "2000" => "reserve",
                    _ => "free",
                };
                line(
                    &mut text,
                    &format!(
                        "region 0x{base} 0x{size} {state} 0x{protect} 0x{allocation} 0x{first_protect} 0x{kind}"
                    ),
                );
            }
            _ => {}
        }
    }
    for (name, offset, size) in &facts.parts {
        line(&mut text, &format!("part {name} {offset:#x} {size:#x}"));
    }
    line(&mut text, &format!("open {:#x}", facts.open));
    text
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("memory");
}

/// Returns the version in the resources of a DLL. `VS_FIXEDFILEINFO` begins with a signature and
/// the version of the structure itself.
fn version(bytes: &[u8]) -> Option<String> {
    const HEAD: [u8; 8] = [0xbd, 0x04, 0xef, 0xfe, 0, 0, 1, 0];
    let at = bytes.windows(HEAD.len()).position(|window| window == HEAD)?;
    let half = |offset: usize| {
        let half = bytes.get(at + offset..at + offset + 2)?;
        Some(u16::from_le_bytes(half.try_into().ok()?))
    };
    let [major, minor, build, revision] = [half(10)?, half(8)?, half(14)?, half(12)?];
    Some(format!("{major}.{minor}.{build}.{revision}"))
}
