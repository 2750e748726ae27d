//! Medians, ratios, and their Markdown table.

use std::fmt::Write as _;

use super::tools::{Figures, Kind, Run, Tool};

/// One of the figures.
type Column = fn(&Figures) -> f64;

/// The columns, each with its part of the figures.
const COLUMNS: [(&str, Column); 6] = [
    ("wall ms", |figures| figures.wall),
    ("CPU ms", |figures| figures.cpu),
    ("peak MiB", |figures| figures.peak),
    ("size MiB", |figures| figures.size),
    ("blocks MiB", |figures| figures.blocks),
    ("pause ms", |figures| figures.pause),
];

/// Growth of the target that is not mentioned, in KiB: the kernel counts resident pages only
/// roughly.
const ROUGHLY: u64 = 256;

/// All runs of one tool for one kind of dump. The first one is the warm-up, if there is one.
pub(super) struct Series {
    pub(super) tool: Tool,
    pub(super) kind: Kind,
    pub(super) warm_up: Option<Run>,
    /// By rounds. A tool that has failed has fewer.
    pub(super) runs: Vec<Run>,
}

impl Series {
    fn figures(&self, column: Column) -> Vec<f64> {
        let of = |run: &Run| run.figures.as_ref().ok().map(column);
        self.runs.iter().filter_map(of).collect()
    }

    /// Whether a run has failed.
    pub(super) fn failure(&self) -> Option<&str> {
        let mut all = self.warm_up.iter().chain(&self.runs);
        all.find_map(|run| run.figures.as_ref().err().map(String::as_str))
    }

    fn notes(&self) -> String {
        let all = || self.warm_up.iter().chain(&self.runs);
        let mut notes: Vec<String> = self.failure().map(str::to_owned).into_iter().collect();
        notes.extend(all().find_map(|run| run.note.clone()));
        let most = |which: usize| all().map(|run| run.growth[which]).max().unwrap_or(0);
        if most(0) > ROUGHLY {
            notes.push(format!("target +{} KiB", most(0)));
        }
        if most(1) > 0 {
            notes.push(format!("page tables +{} KiB", most(1)));
        }
        notes.join(", ").replace('|', "/")
    }
}

/// Returns the table of a workload. `unused` are tools that were not run, and why.
pub(super) fn table(all: &[Series], unused: &[(Kind, Tool, String)]) -> String {
    let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| dump | writer | {} | notes |\n", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|", "---:|".repeat(COLUMNS.len()));
    let mut row = |kind: Kind, writer: &str, cells: [String; COLUMNS.len()], notes: &str| {
        let cells = cells.join(" | ");
        let _ = writeln!(text, "| {} | {writer} | {cells} | {notes} |", kind.name());
    };
    let mut kinds: Vec<Kind> = all.iter().map(|series| series.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let of = |tool: Tool| {
            all.iter()
                .find(|series| series.kind == kind && series.tool == tool)
        };
        for series in all.iter().filter(|series| series.kind == kind) {
            let cells = COLUMNS.map(|(_, column)| number(median(series.figures(column))));
            row(kind, series.tool.name(), cells, &series.notes());
        }
        for (_, tool, reason) in unused.iter().filter(|(of, ..)| *of == kind) {
            row(kind, tool.name(), COLUMNS.map(|_| number(None)), reason);
        }
        let mut pairs = Vec::new();
        for ours in [Tool::Dumpwright, Tool::Clone].into_iter().filter_map(of) {
            for other in all.iter().filter(|series| series.kind == kind) {
                match other.tool {
                    Tool::Floor => pairs.push((ours, other)),
                    Tool::Plain | Tool::PlainThenLz4 if ours.tool == Tool::Dumpwright => {
                        pairs.push((ours, other));
                    }
                    peer if peer.is_peer() => pairs.push((other, ours)),
                    _ => {}
                }
            }
        }
        for (above, below) in pairs {
            let writer = format!("{} ÷ {}", above.tool.name(), below.tool.name());
            let cells = COLUMNS.map(|(_, column)| {
                let ratios = ratios(&above.figures(column), &below.figures(column));
                median(ratios).map_or_else(|| number(None), |ratio| format!("× {ratio:.2}"))
            });
            // Pages that do not exist are holes in a plain dump.
            let to_blocks = match below.tool {
                Tool::Plain => ratios(
                    &above.figures(|figures| figures.size),
                    &below.figures(|figures| figures.blocks),
                ),
                _ => Vec::new(),
            };
            let note = median(to_blocks).map(|ratio| format!("size ÷ blocks of plain: × {ratio:.2}"));
            row(kind, &writer, cells, &note.unwrap_or_default());
        }
    }
    text
}

/// The ratios, pair by pair.
fn ratios(above: &[f64], below: &[f64]) -> Vec<f64> {
    let pairs = above.iter().zip(below);
    pairs
        .filter(|(_, below)| **below > 0.0)
        .map(|(above, below)| above / below)
        .collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Formats a number with three digits, or more in front of the point.
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(wall: f64) -> Run {
        let figures = Figures {
            wall,
            cpu: 2.0,
            peak: 3.0,
            size: 4.0,
            blocks: 0.0,
            pause: 250.0,
        };
        Run {
            figures: Ok(figures),
            growth: [0, 0],
            note: None,
        }
    }

    fn series(tool: Tool, runs: Vec<Run>) -> Series {
        Series {
            tool,
            kind: Kind::Normal,
            warm_up: None,
            runs,
        }
    }

    #[test]
    fn medians_are_of_all_and_ratios_of_pairs() {
        let mut peer = series(Tool::MinidumpWriter, vec![run(10.0), run(30.0), run(80.0)]);
        peer.runs[1].growth = [1024, 4];
        let failed = Run {
            figures: Err("failed with 1: a | b".to_owned()),
            growth: [0, 0],
            note: None,
        };
        let all = [
            series(Tool::Dumpwright, vec![run(1.0), run(10.0), run(20.0)]),
            peer,
            series(Tool::Gcore, vec![failed]),
            series(Tool::Floor, vec![run(1.0), run(2.0), run(2.0)]),
        ];
        let unused = [(Kind::Normal, Tool::Lldb, "not installed".to_owned())];
        let expected = "\
| dump | writer | wall ms | CPU ms | peak MiB | size MiB | blocks MiB | pause ms | notes |
|---|---|---:|---:|---:|---:|---:|---:|---|
| normal | dumpwright | 10.0 | 2.00 | 3.00 | 4.00 | 0.00 | 250 |  |
| normal | minidump-writer | 30.0 | 2.00 | 3.00 | 4.00 | 0.00 | 250 | target +1024 KiB, page tables +4 KiB |
| normal | gcore | – | – | – | – | – | – | failed with 1: a / b |
| normal | floor | 2.00 | 2.00 | 3.00 | 4.00 | 0.00 | 250 |  |
| normal | LLDB | – | – | – | – | – | – | not installed |
| normal | minidump-writer ÷ dumpwright | × 4.00 | × 1.00 | × 1.00 | × 1.00 | – | × 1.00 |  |
| normal | gcore ÷ dumpwright | – | – | – | – | – | – |  |
| normal | dumpwright ÷ floor | × 5.00 | × 1.00 | × 1.00 | × 1.00 | – | × 1.00 |  |
";
        assert_eq!(table(&all, &unused), expected);
    }

    #[test]
    fn compressed_dumps_are_divided_by_plain_ones() {
        let of = |tool, wall, size, blocks| {
            let mut one = Series {
                kind: Kind::Compressed,
                ..series(tool, vec![run(wall)])
            };
            if let Ok(figures) = &mut one.runs[0].figures {
                (figures.size, figures.blocks) = (size, blocks);
            }
            one
        };
        let all = [
            of(Tool::Dumpwright, 30.0, 3.0, 3.0),
            of(Tool::Plain, 10.0, 100.0, 4.0),
            of(Tool::PlainThenLz4, 40.0, 3.0, 3.0),
        ];
        let text = table(&all, &[]);
        let rows: Vec<_> = text.lines().skip(5).collect();
        assert_eq!(
            rows,
            [
                "| compressed | dumpwright ÷ plain | × 3.00 | × 1.00 | × 1.00 | × 0.03 | × 0.75 | × 1.00 | size ÷ blocks of \
                 plain: × 0.75 |",
                "| compressed | dumpwright ÷ plain, lz4 | × 0.75 | × 1.00 | × 1.00 | × 1.00 | × 1.00 | × 1.00 |  |",
            ]
        );
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
