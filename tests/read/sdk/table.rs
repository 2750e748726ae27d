//! The table in `testdata/sdk`.

use std::collections::BTreeMap;

/// A number for x64, x86 and arm64; `None` if a CPU family does not have it.
pub type Numbers = [Option<u64>; 3];

/// The contents of Microsoft's header.
pub struct Table {
    rows: Vec<(String, String, Numbers)>,
}

impl Table {
    pub fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/sdk/sdk-10.0.28000.tsv");
        let text = std::fs::read_to_string(path).expect("the table");
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.next(), Some("kind\tname\tx64\tx86\tarm64"));
        let number = |text: &str| match text.strip_prefix("0x") {
            _ if text == "-" => None,
            Some(digits) => Some(u64::from_str_radix(digits, 16).expect("a number")),
            None => Some(text.parse().expect("a number")),
        };
        let rows = lines.map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [kind, name, x64, x86, arm64] = fields[..] else {
                panic!("{line}: five fields are expected");
            };
            (kind.to_owned(), name.to_owned(), [x64, x86, arm64].map(number))
        });
        Self { rows: rows.collect() }
    }

    fn kind(&self, kind: &str) -> impl Iterator<Item = (&str, Numbers)> {
        self.rows
            .iter()
            .filter(move |(row, ..)| row == kind)
            .map(|(_, name, numbers)| (name.as_str(), *numbers))
    }

    /// Enumerators and their values.
    pub fn values(&self) -> impl Iterator<Item = (&str, Numbers)> {
        self.kind("value")
    }

    /// Structures and their sizes.
    pub fn structures(&self) -> impl Iterator<Item = (&str, Numbers)> {
        self.kind("size")
    }

    /// The members of a structure and their offsets. In the file, a full stop stands for two
    /// underscores.
    pub fn members(&self, structure: &str) -> BTreeMap<String, Numbers> {
        self.kind("offset")
            .filter_map(|(name, offsets)| Some((name.strip_prefix(structure)?.strip_prefix('.')?, offsets)))
            .map(|(member, offsets)| (member.replace('.', "__"), offsets))
            .collect()
    }

    /// The size of a structure of the file, which is the same in all CPU families.
    #[track_caller]
    pub fn size(&self, structure: &str) -> u64 {
        let found = self.structures().find(|(name, _)| *name == structure);
        same(structure, found.map(|(_, sizes)| sizes))
    }

    /// The offset of a member of a structure of the file.
    #[track_caller]
    pub fn offset(&self, structure: &str, member: &str) -> u64 {
        let offsets = self.members(structure).get(member).copied();
        same(&format!("{structure}.{member}"), offsets)
    }
}

#[track_caller]
fn same(what: &str, numbers: Option<Numbers>) -> u64 {
    match numbers {
        Some([Some(x64), x86, arm64]) if [x86, arm64] == [Some(x64); 2] => x64,
        other => panic!("{what} is not the same in all CPU families: {other:?}"),
    }
}
