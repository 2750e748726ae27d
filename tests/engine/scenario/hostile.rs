//! Hostile scenarios.

use dumpwright::target::{Direct, Need, Target};
use proptest::prelude::*;

use super::*;

/// Parses a text and handles the process as a dumper does; nothing may panic. The process is not
/// dumped, because a scenario may have more memory than a disk.
fn handle(text: &str) {
    let Ok(mut process) = Scenario::parse(text, "test.toml") else {
        return;
    };
    let Ok(mut still) = process.freeze(&Need {
        handles: true,
        ..Need::default()
    }) else {
        return;
    };
    let mut starts = vec![0, 1, u64::MAX - 2];
    for _ in 0..3 {
        starts.extend(
            still
                .regions(&mut Direct)
                .into_iter()
                .flatten()
                .map(|region| region.range.start().wrapping_add(0xfff)),
        );
    }
    for id in still.thread_ids().unwrap_or_default() {
        let pointer = still
            .thread(id, &mut Direct)
            .ok()
            .and_then(|thread| thread.stack)
            .map(|stack| stack.pointer);
        starts.extend(pointer);
    }
    for base in still.module_bases(&mut Direct).unwrap_or_default() {
        let _ = still.module(base, &mut Direct);
    }
    for start in starts {
        let _ = still.read(start, &mut [0; 0x2003]);
        let _ = still.stack_at(7, start, &mut Direct);
        if let Some(range) = AddressRange::new(start, start.saturating_add(0x3000)) {
            let extents = still.survey(range);
            assert_eq!(
                extents.iter().map(|extent| extent.range.len()).sum::<u64>(),
                range.len()
            );
        }
    }
    let _ = (
        still.system(),
        still.process(),
        still.handles(),
        still.unloaded_modules(&mut Direct),
        still.linux(&mut Direct),
    );
}

/// Pieces of scenarios, valid and invalid.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "\"heap\"",
        "\"heap+0x1000\"",
        "\"stack-1\"",
        "\"nothing\"",
        "0",
        "1",
        "0xffff_ffff_ffff_ffff",
        "-1",
        "1.5",
        "true",
        "0x1000",
        "0x7fff_0000_0000",
        "99999999999999999999999",
        "[]",
        "{}",
        "[[1, 2]]",
        "\"rw-\"",
        "\"PAGE_GUARD\"",
        "\"\\u00e9+1\"",
        "{ fill = 1 }",
        "{ words = [\"heap\"] }",
        "[[memory]]\n",
        "[[fault]]\n",
        "[thread]\n",
        "size = ",
        "base = ",
        "at = ",
        "kind = \"short-read\"\n",
        "kind = \"region-changes\"\n",
        "new_size = 0x1000\n",
        "most = 18446744073709551615\n",
        "\n",
        "§",
        "\"",
    ];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => "\\PC{0,8}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        handle(&text);
    }

    /// Valid scenarios with some pieces removed and others inserted.
    #[test]
    fn no_damaged_scenario_makes_anything_panic(
        which in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..30_usize, piece()), 1..6),
    ) {
        let names = ["linux-two-threads", "windows-five-threads", "every-fault", "refused"];
        let mut text: Vec<char> = std::fs::read_to_string(case(names[which])).unwrap().chars().collect();
        for (at, cut, put) in edits {
            let at = at.index(text.len() + 1);
            let end = text.len().min(at + cut);
            text.splice(at..end, put.chars());
        }
        handle(&text.into_iter().collect::<String>());
    }

    /// Valid scenarios with values replaced by others.
    #[test]
    fn no_exchanged_value_makes_anything_panic(line in any::<prop::sample::Index>(), value in piece()) {
        let text = std::fs::read_to_string(case("every-fault")).unwrap();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let candidates: Vec<_> = (0..lines.len()).filter(|index| lines[*index].contains(" = ")).collect();
        let chosen = candidates[line.index(candidates.len())];
        let key = lines[chosen].split(" = ").next().unwrap().to_owned();
        lines[chosen] = format!("{key} = {value}");
        handle(&lines.join("\n"));
    }
}

/// Only a readable number of mistakes is printed; the others are counted.
#[test]
fn a_hundred_thousand_mistakes_are_counted() {
    const COUNT: usize = 100_000;
    let system = "[system]\nplatform = \"linux\"\n".to_owned();
    for (text, count) in [
        (
            system.clone() + &"[[memory]]\nbase = 1\nsize = 1\n".repeat(COUNT / 2),
            COUNT,
        ),
        (
            system.clone()
                + "[[thread]]\nid = 1\nregisters = { rip = 0, rsp = 0, x = ["
                + &"1,".repeat(COUNT)
                + "] }",
            2,
        ),
        // Every name is compared with every mistake.
        (
            (0..COUNT / 10)
                .map(|number| {
                    format!("[[symbol]]\nname = \"name{number}\"\nat = \"eman{number}\"\nsize = 1\n")
                })
                .fold(system.clone(), |text, symbol| text + &symbol),
            COUNT / 10,
        ),
        (
            system.clone()
                + "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = { words = ["
                + &"\"x\",".repeat(COUNT)
                + "] }",
            COUNT,
        ),
        (
            system.clone() + &"[[fault]]\nkind = \"x\"\n".repeat(COUNT / 10),
            COUNT / 10,
        ),
        // Every thread is compared with every mistake.
        (
            [
                with(""),
                (0..COUNT / 20)
                    .map(|id| {
                        format!(
                            "[[thread]]\nid = {}\nregisters = {{ rip = 0, rsp = \"stack\" }}\n",
                            10 + id
                        )
                    })
                    .collect(),
                "[[fault]]\nkind = \"thread-vanishes\"\nthread = 8\n".repeat(COUNT / 5),
            ]
            .concat(),
            COUNT / 5,
        ),
    ] {
        let error = Scenario::parse(&text, "test.toml").unwrap_err();
        assert_eq!(error.count(), count, "{error}");
        assert!(error.to_string().len() < 100_000);
    }
}

#[test]
fn a_word_of_megabytes_and_a_line_of_megabytes_are_shortened() {
    let long = "x".repeat(2_000_000);
    for text in [
        format!("[system]\nplatform = \"{long}\""),
        format!("[system]\nplatform = \"linux\"\n{long} = 1"),
        format!("[system]\nplatform = \"linux\"\n[[memory]]\nbase = \"{long}\"\nsize = 1"),
        long.clone(),
    ] {
        let error = Scenario::parse(&text, "test.toml").unwrap_err();
        assert!(error.to_string().len() < 10_000, "{}", &error.to_string()[..1000]);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(100_000)),
        format!("{}a = 1", "a.".repeat(100_000)),
        format!("[{}a]\nb = 1", "a.".repeat(100_000)),
    ] {
        let error = Scenario::parse(&text, "test.toml").unwrap_err();
        assert!(error.to_string().contains("recurs"), "{error}");
    }
}
