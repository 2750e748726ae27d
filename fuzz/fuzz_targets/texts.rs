//! Reads arbitrary text as a scenario, as a script and as a transcript. The texts of the golden
//! cases are the inputs to start from.
//!
//! Finds panics, endless loops, errors without a text, and transcripts that change when they are
//! written and read again.

#![no_main]

use dumpwright::protocol::{Script, Transcript};
use dumpwright::sim::Scenario;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Scenario::parse(text, "scenario.toml") {
        assert!(!error.to_string().is_empty());
    }
    if let Err(error) = Script::parse(text, "script.toml") {
        assert!(!error.to_string().is_empty());
    }
    match Transcript::parse(text) {
        Ok(transcript) => {
            let lines = transcript.to_json_lines();
            let again = Transcript::parse(&lines).expect("what was written can be read");
            assert_eq!(again.to_json_lines(), lines);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
