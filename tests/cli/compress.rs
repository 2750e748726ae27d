//! `--compress`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::attempt::{Folder, Outcome, assert_says, dump, dump_of, json, plain, refusal, threads};
use crate::support::dumper::{self, dumpwright};
use crate::support::{proc, repository, seekable};

const SCENARIO: &str = "testdata/cases/plain/scenario.toml";

/// `dump` of a scenario, which gives the same bytes each time.
fn simulated(more: &[&str]) -> Command {
    let mut command = dump();
    command.current_dir(repository());
    command.args(["--scenario", SCENARIO]).args(more);
    command
}

fn decompressed(file: &Path) -> Vec<u8> {
    zstd::stream::decode_all(fs::read(file).unwrap().as_slice()).unwrap()
}

#[test]
fn a_compressed_dump_in_a_file_and_on_standard_output() {
    let folder = Folder::new();
    let file = folder.file("dump.zst");
    let at = file.to_str().unwrap();
    let uncompressed = Outcome::of(&mut simulated(&["-o", "-"])).expect(0).stdout;
    for method in ["zstd", "zstd:1", "zstd:19"] {
        let options = ["--compress", method, "--json", "--force", "-o"];
        let result = Outcome::of(simulated(&options).arg(at)).expect(0).json();
        assert_eq!(result["bytes"], uncompressed.len());
        assert_eq!(result["compressed_bytes"], fs::metadata(&file).unwrap().len());
        assert_eq!(decompressed(&file), uncompressed);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);

        let piped = Outcome::of(simulated(&options).arg("-")).expect(0);
        assert_eq!(piped.stdout, fs::read(&file).unwrap(), "{method}: the same bytes");
        assert_eq!(
            json(piped.stderr.as_bytes())["compressed_bytes"],
            piped.stdout.len()
        );
        seekable::frames(&piped.stdout);
        folder.assert_holds(&["dump.zst"]);
    }
    let text = Outcome::of(&mut simulated(&["--compress", "zstd", "--force", "-o", at])).expect(0);
    assert_says(&String::from_utf8(text.stdout).unwrap(), &["iB (compressed to "]);
    let without = Outcome::of(&mut simulated(&["--json", "--force", "-o", at])).expect(0);
    assert_eq!(without.json()["compressed_bytes"], Value::Null);
}

#[test]
fn show_and_check_read_it_as_it_is() {
    let folder = Folder::new();
    let (compressed, plain) = (folder.file("a.dmp.zst"), folder.file("b.dmp"));
    Outcome::of(simulated(&["--compress", "zstd", "-o"]).arg(&compressed)).expect(0);
    Outcome::of(simulated(&["-o"]).arg(&plain)).expect(0);
    for command in [
        &["show"][..],
        &["show", "--json"],
        &["check"],
        &["check", "--json"],
    ] {
        let said = |file: &Path| {
            let outcome = Outcome::of(dumpwright().args(command).arg(file)).expect(0);
            let text = String::from_utf8(outcome.stdout).unwrap();
            text.replace(file.to_str().unwrap(), "DUMP")
        };
        assert_eq!(said(&compressed), said(&plain));
    }
    // It is cut off, and its frames are damaged.
    let bytes = fs::read(&compressed).unwrap();
    fs::write(&compressed, &bytes[..bytes.len() - 1]).unwrap();
    let refused = Outcome::of(dumpwright().arg("show").arg(&compressed)).expect(1);
    let name = compressed.to_str().unwrap();
    assert_says(&refused.stderr, &[name, "compressed", "truncated", "zstd -d"]);
    let mut damaged = bytes;
    damaged[300] ^= 1;
    fs::write(&compressed, &damaged).unwrap();
    let refused = Outcome::of(dumpwright().arg("check").arg(&compressed)).expect(1);
    assert_says(&refused.stderr, &[name, "frame 0", "damaged"]);
}

#[test]
fn a_live_process() {
    let mut victim = threads();
    let folder = Folder::new();
    let file = folder.file("dump");
    for more in [&["--type", "normal"], &["--type", "full"]] {
        let mut command = dump_of(&victim, &file);
        command.args(["--compress", "zstd", "--force"]).args(more);
        Outcome::of(&mut command).expect(0);
        dumper::check(&file).unwrap();
        folder.assert_holds(&["dump"]);
        victim.ping();
    }
}

#[test]
fn a_dump_that_fails_leaves_nothing() {
    let mut victim = plain();
    let folder = Folder::new();
    let file = folder.file("dump");
    fs::write(&file, "precious").unwrap();
    let pid = victim.pid().to_string();
    let options = ["--compress", "zstd", "--type", "full"];
    let said = refusal(&[&["--pid", &pid, "-o", file.to_str().unwrap()], &options[..]].concat());
    assert_says(&said, &["exists", "--force"]);
    let said = refusal(&[&["--pid", &pid, "-o", "/dev/full"], &options[..]].concat());
    assert_says(&said, &["write to", "/dev/full", "No space left on device"]);
    // The limit for the size of files comes in the middle of the dump.
    let script = "ulimit -f 8; exec \"$0\" dump --pid $1 --force -o \"$2\" \"${@:3}\"";
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(dumpwright().get_program());
    command.arg(&pid).arg(&file).args(options);
    let outcome = Outcome::of(&mut command).expect(1);
    assert_says(&outcome.stderr, &["write to", "File too large"]);
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    folder.assert_holds(&["dump"]);
    proc::assert_released(victim.pid());
    victim.ping();
}

#[test]
fn other_methods_and_levels_are_refused() {
    for method in [
        "", "gzip", "zstd:", "zstd:0", "zstd:20", "zstd:-1", "zstd:x", "zstd3", "ZSTD",
    ] {
        let outcome = Outcome::of(&mut simulated(&["-o", "-", "--compress", method])).expect(2);
        assert_says(&outcome.stderr, &["--compress", "zstd:LEVEL", "from 1 to 19"]);
        assert_eq!(outcome.stdout, b"");
    }
}
