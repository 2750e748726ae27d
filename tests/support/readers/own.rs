//! `dumpwright show --json`, in the form of the other readers.

use std::path::Path;

use serde_json::Value;

use super::{Crash, Reading, Thread, hexadecimal};

/// Unwinds every thread with the binaries on disk.
pub fn read(dump: &Path) -> Reading {
    let mut show = crate::dumper::dumpwright();
    let shown = crate::run_well(show.args(["show", "--json"]).arg(dump));
    let shown: Value = serde_json::from_str(&shown).expect("one JSON object");
    let exception = &shown["exception"];
    let crashed = exception["thread_id"].as_u64();
    let threads = list(&shown["threads"]).iter().map(|thread| {
        // The registers of a thread may be those of a handler. The crash was before.
        let frames = match thread["id"].as_u64() == crashed {
            true => &exception["frames"],
            false => &thread["frames"],
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Thread {
            tid: number(&thread["id"]),
            name: thread["name"].as_str().map(str::to_owned),
            functions: list(frames)
                .iter()
                .map(|frame| text(&frame["function"]))
                .collect(),
            instruction: frames[0]["address"].as_str().and_then(hexadecimal),
        }
    });
    let address = exception["address"].as_str().and_then(hexadecimal);
    let problems = list(&shown["problems"]).iter();
    Reading {
        reader: "dumpwright",
        threads: threads.collect(),
        crash: crashed.map(|_| Crash {
            tid: number(&exception["thread_id"]),
            reason: exception["description"].as_str().expect("words").to_owned(),
            address: address.filter(|address| *address != 0),
        }),
        modules: list(&shown["modules"]).len(),
        shows_names: true,
        crosses_signal_frames: true,
        pid: Some(number(&shown["process"]["process_id"])),
        complaints: problems.map(Value::to_string).collect(),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> u32 {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .expect("a number of 32 bits")
}
