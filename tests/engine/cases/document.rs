//! `docs/callbacks.md`: which case shows which callback type, answer and result. Generated from the
//! transcripts of the cases.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dumpwright::callback::AskKind;
use dumpwright::protocol::{Entry, Status, Transcript};

use super::case::{Case, asks_of};

/// When each callback type is sent, and what its answers do. The facts are those of `Ask`.
const ASKS: &str = "
## What each callback type asks

The callback types are sent in this order. Cancel, VmPreRead and VmPostRead are also sent
between the others. \"Yes\" is TRUE with the status S_FALSE; any other answer means no.

| callback type | when it is sent | what the answer does |
|---|---|---|
| IsProcessSnapshot | first | yes: the process is a process snapshot |
| VmStart | second | yes: VmQuery, VmPreRead and VmPostRead are sent |
| IoStart | third | yes: the callback writes the output, and IoWriteAll and IoFinish are sent |
| SecondaryFlags | before the process is suspended | TRUE with WITHOUT_POWER_INFO (1): MiscInfo has no clock rates |
| Cancel | once before the process is suspended, then repeatedly, for as long as each answer sets CheckCancel | TRUE with Cancel: the dump fails with ERROR_CANCELLED |
| IncludeThread | for each thread | FALSE: the thread is left out. With TRUE, cleared flags leave out parts, such as the stack (2) or the registers (4) |
| IncludeModule | for each module, with its address only | FALSE: the module is left out. With TRUE, cleared flags leave out parts. REFERENCED_BY_MEMORY (0x10) can be added; Module then shows it, and the dump is the same |
| Module | for each included module, with its name, version and debug records | cleared flags leave out parts. FALSE: the dump fails |
| Thread, or ThreadEx if a ThreadExList is requested | for each included thread, with its registers and stack bounds | as for Module |
| VmQuery | for each region, if the dump type needs the map of the address space | TRUE with S_OK: the region in the answer counts. FALSE or E_NOTIMPL: the system is asked. E_NOINTERFACE: there are no more regions. Any other status: the dump fails |
| Memory | repeatedly, except in full dumps | TRUE with a range: the range is added. FALSE or an empty range: the calls end |
| RemoveMemory | repeatedly, except in full dumps | TRUE with a range: the range is removed. FALSE or an empty range: the calls end |
| CompressedMemoryStreamStart | once, only in dumps with compressed memory | TRUE: MaxTransferSize, from 1 MiB to 64 MiB, is the most memory that is compressed as a whole; MaxParallelism is the number of threads. Other values are ignored, and NUMA nodes are not used |
| IncludeVmRegion | for each region, only in full dumps, in two passes whose answers must be equal; in dumps with compressed memory, in one pass | TRUE with Continue: the region, or the part of it in the answer, is included; size 0 leaves it out. Otherwise, this region and all later ones are included, and the calls of this pass end |
| VmPreRead | before a read, see [Reads](#reads) | TRUE: the first bytes of the buffer, as many as the answer says, are used and not read from the process. TRUE with a failure other than E_NOTIMPL: the read fails, unless all bytes are provided |
| VmPostRead | after a read | the callback may change the bytes, whatever it returns. With TRUE, it also changes the number of valid bytes and the status |
| ReadMemoryFailure | if a read of selected memory fails, except stacks and full memory; with compressed memory, if any read for it fails | TRUE with S_OK: the memory is left out. Otherwise the dump fails, unless it has compressed memory and the type 0x20000 |
| IoWriteAll | for each piece of the output, from front to back; with compressed memory, at the end once more for the header of that stream | TRUE with S_OK: the piece is written. Otherwise the dump fails |
| CompressedMemoryStreamFinish | when all compressed memory has been written | none; the call reports its size and what was saved |
| IoFinish | after the output is complete or has failed | FALSE or a failure status: the dump fails |
| WriteKernelMinidump | after the output | TRUE with a handle requests a kernel dump, which dumpwright cannot make |
| KernelMinidumpStatus | after a kernel dump was requested | none; the call reports the failure |

The table describes the profile `documented`.
[DEVIATIONS.md](../DEVIATIONS.md#the-dialogue) lists where the DbgHelp profiles differ.
";

/// The reads for which there are calls. `tests/engine/reads.rs` tests this list with simulated and
/// live processes.
const READS: &str = "
## Reads

If VmStart is answered with TRUE and S_FALSE, VmPreRead is sent before each read of the target's
memory, and VmPostRead after it. This applies to all reads in `documented`. In the DbgHelp
profiles, it applies only to reads of content and of thread blocks. DbgHelp was observed to show
more reads, which depend on its way of finding things.

| what is read | after the calls of | `documented` | `dbghelp63`, `dbghelp10` |
|---|---|---|---|
| memory for the dump; in the DbgHelp profiles also single bytes, to find readable pages | Memory, RemoveMemory; full memory while it is written | yes | yes |
| stacks that are searched for addresses (0x8, 0x10, 0x40, 0x100000) | SecondaryFlags | yes | yes |
| unwind information of functions that were generated at run time | Thread | yes | yes |
| headers of modules, to find their parts (0x1, 0x2000, 0x80000) and thread-local variables (0x100) | Thread | yes | no |
| Windows: blocks of threads and of the process, strings of its parameters (0x100); the 32-bit half of a thread | Thread | yes | no |
| first words of objects that stacks and registers point to (0x100000) | Thread | yes | no |
| live Linux processes: ELF headers in memory, to find modules | IncludeThread | yes | no |
| live Linux processes: notes and dynamic sections of modules, and the names in them | IncludeModule | yes | no |
| live Linux processes: stacks, to find frames of signal handlers, and the code to which these return | IncludeModule | yes | no |
| live Linux processes: headers and dynamic section of the main program, the dynamic linker's list and its names | Thread | yes | no |
| live Windows processes: PEB, the loader's data and list, and the names in it | IncludeThread | yes | no |
| live Windows processes: PE headers, debug records, version resources | IncludeModule | yes | no |
| live Windows processes: bounds of stacks in TEBs | IncludeModule | yes | no |
| 64-bit Windows processes: 0x60 bytes of each TEB, in `dbghelp10` also 8 bytes at 0x1788 | IncludeThread | no | yes |
| live Windows processes: the ring of unloaded modules, the list of function tables and their entries | Thread | yes | no |

The threads and modules of a simulated process are given, so nothing is read to find them. In
`dbghelp10`, VmQuery is sent before the first IncludeThread: it asks about the data that the kernel
shares with every Windows process.

There are no calls for data that does not come from the target's memory, or that the writer
does not read itself:

* files: the mapped files of modules, and the files of `/proc` (for `cmdline` and `environ`, the
  kernel itself reads the target's memory);
* registers, times and handles, which come from the kernel;
* an exception that is read from the crashed process to make a request, which happens before
  VmStart;
* on Windows, what the system's own functions read: the enumeration of modules if the loader's
  list is broken (`K32EnumProcessModulesEx`), the record of Application Verifier
  (`VerifierEnumerateResource`), and everything with `--backend dbghelp`.
";

/// A field of the answers to a callback type.
type Field = (AskKind, String);

/// A line of a transcript: the case, the line number from 1, the text.
type Line<'c> = (&'c Case, usize, String);

/// The content of the document.
pub struct Document<'c> {
    rehearsed: &'c [(Case, Transcript)],
    /// The line that shows each field best: in a case that was made for it, if there is one.
    fields: BTreeMap<Field, Line<'c>>,
}

/// The callback types for which a script has rules.
fn kinds_of(case: &Case) -> BTreeSet<AskKind> {
    let script = case.script().unwrap_or_default();
    let names = asks_of(case, &script);
    AskKind::ALL
        .into_iter()
        .filter(|kind| names.contains(kind.name()))
        .collect()
}

/// What an entry shows: the returned value, and the fields that the answer changed.
fn shown(entry: &Entry) -> Vec<String> {
    let said = match entry.ret {
        Some(true) => "return TRUE",
        Some(false) => "return FALSE",
        None => return Vec::new(),
    };
    let changed = entry
        .out
        .iter()
        .filter(|(name, value)| entry.pre.get(name) != Some(*value));
    changed
        .map(|(name, _)| name.to_owned())
        .chain([said.to_owned()])
        .collect()
}

impl<'c> Document<'c> {
    pub fn of(rehearsed: &'c [(Case, Transcript)]) -> Self {
        let mut fields: BTreeMap<Field, Line<'c>> = BTreeMap::new();
        // First the cases with a rule for the callback type, then all others.
        for by_rule in [true, false] {
            for (case, transcript) in rehearsed {
                let kinds = kinds_of(case);
                for entry in &transcript.entries {
                    if by_rule && !kinds.contains(&entry.ask) {
                        continue;
                    }
                    for field in shown(entry) {
                        let line = || (case, entry.n + 1, entry.to_string());
                        fields.entry((entry.ask, field)).or_insert_with(line);
                    }
                }
            }
        }
        Self { rehearsed, fields }
    }

    /// Every returned value and every field of an answer that no case returns or changes.
    pub fn without_case(&self) -> BTreeSet<Field> {
        let mut all = BTreeSet::new();
        for kind in AskKind::ALL {
            all.extend(["return TRUE", "return FALSE"].map(|said| (kind, said.to_owned())));
        }
        for entry in self
            .rehearsed
            .iter()
            .flat_map(|(_, transcript)| &transcript.entries)
        {
            all.extend(entry.pre.iter().map(|(name, _)| (entry.ask, name.to_owned())));
        }
        all.retain(|field| !self.fields.contains_key(field));
        all
    }

    /// The text of the document.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "\
# Callback types, with examples

While a dump is written, the writer calls the callback to ask what the dump should contain. This
page describes the callback types, and shows for each of them, for every field of an answer, and
for every way in which a dump ends, a line of a recorded dialogue. A line has the callback type
and its facts, `|`, the prefilled answer, `->`, the returned value, and what the answer changed.
[transcript.md](transcript.md) explains the fields, and [questions.md](questions.md) each callback
type.

The lines come from the golden cases in `testdata/cases`. A case is a folder:

* `case.toml` has a description (`about`), the dump `type`, the `profile`, the case whose
  `scenario` is used, the expected `ending`, whether the dump is `whole`, and whether the script
  is also run on a `live` process.
* `scenario.toml` describes the [process](scenario.md), and `script.toml` [answers](script.md)
  the callback.
* `transcript.jsonl`, `dump.dmp` and `listing.txt` are the expected results.

`cargo xtask bless` generates this page from the cases, and `tests/engine/cases.rs` compares it
with them.
",
        );
        text.push_str(ASKS);
        text.push_str(
            "
## By callback type

| number | callback type | cases on simulated processes | of these, also on a live process | example |
|---|---|---|---|---|
",
        );
        for kind in AskKind::ALL {
            self.question(&mut text, kind);
        }
        text.push_str(
            "
## By field of the answer

For each field, the first line of a case that shows it.

| callback type | field | case | line |
|---|---|---|---|
",
        );
        for ((kind, field), line) in &self.fields {
            let _ = writeln!(
                text,
                "| {} | {field} | {} | {} |",
                kind.name(),
                link(line),
                code(&line.2)
            );
        }
        text.push_str(READS);
        text.push_str(
            "
## By result

| result | case | what it shows | last call |
|---|---|---|---|
",
        );
        for status in [Status::Failed, Status::Partial, Status::Complete] {
            self.endings(&mut text, status);
        }
        text
    }

    /// The cases that have rules for this callback type.
    fn cases_of(&self, kind: AskKind) -> Vec<&Case> {
        let cases = self.rehearsed.iter().map(|(case, _)| case);
        cases.filter(|case| kinds_of(case).contains(&kind)).collect()
    }

    /// The line that shows a callback type best. A changed field shows more than a returned value.
    fn best_line(&self, kind: AskKind) -> Option<&Line<'_>> {
        let fields = || self.fields.iter().filter(|((asked, _), _)| *asked == kind);
        let changed = fields().find(|((_, field), _)| !field.starts_with("return"));
        changed.or_else(|| fields().next()).map(|(_, line)| line)
    }

    fn question(&self, text: &mut String, kind: AskKind) {
        let cases = self.cases_of(kind);
        let names = |cases: &mut dyn Iterator<Item = &&Case>| -> String {
            let names: Vec<_> = cases.map(|case| case.name.as_str()).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let simulated = names(&mut cases.iter());
        let live = names(&mut cases.iter().filter(|case| case.facts.live));
        let line = self.best_line(kind).map_or("see below".to_owned(), |line| {
            format!("{}: {}", link(line), code(&line.2))
        });
        let _ = writeln!(
            text,
            "| {} | {} | {simulated} | {live} | {line} |",
            kind as u32,
            kind.name()
        );
    }

    fn endings(&self, text: &mut String, status: Status) {
        for (case, transcript) in self
            .rehearsed
            .iter()
            .filter(|(case, _)| case.facts.ending == status)
        {
            let result = transcript.result.as_ref().expect("the end is recorded");
            let last = transcript.entries.last().expect("something is asked");
            let line = (case, last.n + 1, String::new());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} |",
                code(&result.to_string()),
                link(&line),
                case.facts.about,
                code(&last.to_string())
            );
        }
    }
}

fn link((case, line, _): &Line<'_>) -> String {
    let name = &case.name;
    format!("[{name}:{line}](../testdata/cases/{name}/transcript.jsonl#L{line})")
}

/// `text` as code in a table cell: bars are escaped, and long text is cut.
fn code(text: &str) -> String {
    const MOST_LETTERS: usize = 240;
    let cut = match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    };
    format!("`{}`", cut.replace('|', "\\|"))
}
