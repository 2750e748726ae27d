//! Hostile scripts.

use super::*;

proptest! {
    #[test]
    fn hostile_texts_are_scripts_or_errors(text in "[a-zA-Z0-9\\[\\]{}=\"\\.,+*#\\n ä-]{0,200}") {
        let _ = Script::parse(&text, "t");
    }

    /// Any value for any key.
    #[test]
    fn hostile_values_are_answers_or_errors(
        ask in prop::sample::select(AskKind::ALL.to_vec()),
        key in prop::sample::select(vec!["index", "thread", "module", "at", "minimum_size", "flags", "status", "memory",
            "region", "handle", "completed", "fill", "xor_at", "query", "return", "max_parallelism", "max_transfer_size"]),
        value in prop_oneof![
            Just("\"\"".to_owned()), Just("\"+\"".to_owned()), Just("\"/\"".to_owned()), Just("\"..\"".to_owned()),
            Just("\"a..\"".to_owned()), Just("-1".to_owned()), Just("18446744073709551615".to_owned()),
            Just("99999999999999999999".to_owned()), Just("[]".to_owned()), Just("[[]]".to_owned()), Just("{}".to_owned()),
            Just("1.5".to_owned()), Just("\"0xffffffffffffffff/0xffffffff\"".to_owned()), Just("\"block+0xffffffffffffffff\"".to_owned()),
            Just("{ base = \"+0xffffffffffffffff\", size = \"-1\" }".to_owned()),
        ],
    ) {
        let text = format!("[[rule]]\nask = \"{}\"\n{key} = {value}\n", ask.name());
        if let Ok(script) = Script::parse(&text, "t") {
            let mut script = script.symbols(Symbols::new().name("block", u64::MAX - 4, 100));
            thread_flags(&mut script, 1);
            module_flags(&mut script, "a", u64::MAX);
            memory(&mut script);
            region(&mut script, u64::MAX, u64::MAX);
            query(&mut script, u64::MAX);
            pre_read(&mut script, u64::MAX, 16);
            post_read(&mut script, u64::MAX, u32::MAX, Hresult::S_OK);
            write(&mut script, u64::MAX, b"x");
            let _ = script.problems();
        }
    }
}
