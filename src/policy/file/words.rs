//! A policy in words, and keys that contradict each other.

use super::text::{MemoryText, PolicyText, ReadFailures, ThreadsText};
use super::values::ThreadName;
use super::{PolicyFile, Size};
use crate::DumpType;
use crate::policy::preset::FIRST_LOOK;
use crate::policy::threads::ThreadSelector;

impl PolicyText {
    /// Returns a key that has no effect, and the reason. A user would believe that it was obeyed.
    pub fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let threads = &self.threads;
        let limited =
            self.max_size.is_some() || self.preset.as_ref().is_some_and(|name| name.0 == "for-upload");
        if !threads.whole_stack.is_empty() && threads.stack.is_none() {
            return Some((
                "threads.whole-stack",
                "\"whole-stack\" has no effect, because stacks have no limit; set \"stack\", as in stack = \"64KiB\"",
            ));
        }
        if !self.keep_first.is_empty() && !limited {
            return Some((
                "keep-first",
                "\"keep-first\" has no effect, because the dump has no limit; set \"max-size\"",
            ));
        }
        None
    }

    /// Whether the preset adds the memory around registers.
    pub fn looks_around_registers(&self) -> bool {
        let preset = self.preset.as_ref().map(|name| name.0);
        matches!(preset, Some("first-look" | "for-upload" | "discreet"))
    }
}

fn is_name(thread: &ThreadName) -> bool {
    matches!(thread.0, ThreadSelector::Name(_))
}

impl ThreadsText {
    /// Whether names of threads are needed.
    pub fn names(&self) -> bool {
        let lists = [&self.except, &self.without_stack, &self.whole_stack];
        let only = self.only.iter().flatten();
        lists.into_iter().flatten().chain(only).any(is_name)
    }
}

impl MemoryText {
    /// Whether names of threads are needed.
    pub fn names(&self) -> bool {
        let around = self.around_registers.iter();
        around.flat_map(|around| &around.threads).flatten().any(is_name)
    }
}

/// Returns items with commas and "and" between them.
fn listed(items: impl IntoIterator<Item = String>) -> String {
    let mut items: Vec<_> = items.into_iter().collect();
    match items.pop() {
        None => "none".to_owned(),
        Some(last) if items.is_empty() => last,
        Some(last) => format!("{} and {last}", items.join(", ")),
    }
}

fn threads(list: &[ThreadName]) -> String {
    listed(list.iter().map(|thread| match &thread.0 {
        ThreadSelector::Id(id) => format!("thread {id}"),
        ThreadSelector::Name(pattern) => format!("threads named \"{pattern}\""),
    }))
}

fn quoted(list: &[String]) -> String {
    listed(list.iter().map(|item| format!("\"{item}\"")))
}

impl PolicyFile {
    /// Returns what the policy does, in sentences. They contain no secrets.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let text = &self.text;
        let mut lines = Vec::new();
        let dump_type = self.dump_type();
        lines.push(match self.preset_name() {
            Some(preset) => {
                format!("The dump has the preset {preset}, which makes it one of the type {dump_type}.")
            }
            None => format!("The dump has the type {dump_type}."),
        });
        self.describe_selection(&mut lines);
        self.describe_memory(&mut lines, dump_type);
        self.describe_redaction(&mut lines);
        self.describe_limits(&mut lines);
        if !text.acceptable_losses.is_empty() {
            let losses = text.acceptable_losses.iter().map(|name| name.0.to_owned());
            lines.push(format!(
                "The dump counts as complete even if it lacks {}, as long as it has threads and modules.",
                listed(losses)
            ));
        }
        lines
    }

    fn describe_selection(&self, lines: &mut Vec<String>) {
        let text = &self.text.threads;
        if let Some(only) = &text.only {
            lines.push(format!("Only {} are in it.", threads(only)));
        }
        if !text.except.is_empty() {
            lines.push(format!("It lacks {}.", threads(&text.except)));
        }
        if !text.without_stack.is_empty() {
            lines.push(format!(
                "It has {} without their stacks.",
                threads(&text.without_stack)
            ));
        }
        if let Some(limit) = &text.stack {
            let whole = match text.whole_stack.is_empty() {
                true => String::new(),
                false => format!(", except those of {}", threads(&text.whole_stack)),
            };
            lines.push(format!(
                "Stacks are cut after their innermost {}{whole}.",
                limit.0
            ));
        }
        let text = &self.text.modules;
        if let Some(only) = &text.only {
            lines.push(format!("Only modules named {} are in it.", quoted(only)));
        }
        if !text.except.is_empty() {
            lines.push(format!("It lacks modules named {}.", quoted(&text.except)));
        }
        if let Some(variables) = &text.variables {
            lines.push(format!(
                "It has the global variables of modules named {}.",
                quoted(variables)
            ));
        }
    }

    fn describe_memory(&self, lines: &mut Vec<String>, dump_type: DumpType) {
        let text = &self.text.memory;
        let ranges = |list: &[super::values::Addresses]| {
            listed(
                list.iter()
                    .map(|range| format!("{:#x}-{:#x}", range.0.start, range.0.end)),
            )
        };
        if !text.add.is_empty() {
            lines.push(format!("The memory {} is added.", ranges(&text.add)));
        }
        if !text.remove.is_empty() {
            lines.push(format!("The memory {} is left out.", ranges(&text.remove)));
        }
        let around = text.around_registers.as_ref();
        let given = around.map(|around| (around.before.0, around.after.0));
        let preset = self
            .text
            .looks_around_registers()
            .then_some((Size(FIRST_LOOK.0), Size(FIRST_LOOK.1)));
        if let Some((before, after)) = given.or(preset) {
            let of = match around.and_then(|around| around.threads.as_ref()) {
                None => String::new(),
                Some(list) => format!(" of {}", threads(list)),
            };
            lines.push(format!(
                "For each address in a register{of}, {before} before it and {after} from it on are added."
            ));
        }
        let words = |list: &[crate::policy::region_filter::RegionWord]| {
            listed(list.iter().map(|word| word.word().to_owned()))
        };
        let regions = match (&text.only_regions, text.except_regions.as_slice()) {
            (None, []) => None,
            (Some(only), []) => Some(format!("Only {} regions and stacks are in it", words(only))),
            (None, except) => Some(format!("It lacks {} regions, except stacks", words(except))),
            (Some(only), except) => Some(format!(
                "Only {} regions and stacks are in it, but no {} regions",
                words(only),
                words(except)
            )),
        };
        if let Some(regions) = regions {
            let effect = match dump_type.has_all_memory() {
                true => ".",
                false => "; this has an effect only with a type of all memory, such as full.",
            };
            lines.push(regions + effect);
        }
        if self.text.include_dontdump {
            lines.push("Memory that the program marked \"do not dump\" is in it.".to_owned());
        }
    }

    fn describe_redaction(&self, lines: &mut Vec<String>) {
        let text = &self.text.redact;
        let mut parts = Vec::new();
        if self.secrets.len() > 0 {
            parts.push(match self.secrets.len() {
                1 => "one secret".to_owned(),
                count => format!("{count} secrets"),
            });
        }
        parts.extend(
            text.ranges
                .iter()
                .map(|range| format!("the bytes at {:#x}-{:#x}", range.0.start, range.0.end)),
        );
        parts.extend(text.folders.iter().map(|folder| format!("the folder {folder}")));
        if text.environment {
            parts.push("the values of environment variables".to_owned());
        }
        if text.command_line {
            parts.push("the arguments of the process".to_owned());
        }
        if !parts.is_empty() {
            lines.push(format!("Overwritten in memory: {}.", listed(parts)));
        }
    }

    fn describe_limits(&self, lines: &mut Vec<String>) {
        let text = &self.text;
        if let Some(limit) = self.limit() {
            let first = match text.keep_first.as_slice() {
                [] => String::new(),
                first => {
                    let words = first.iter().map(|kind| kind.word().to_owned());
                    format!(
                        " In a dump of all memory, {} regions are kept first.",
                        listed(words)
                    )
                }
            };
            lines.push(format!(
                "It has at most {} of memory; stacks and added memory are kept first.{first}",
                Size(limit)
            ));
        }
        if let Some(limit) = &text.max_pause {
            lines.push(format!("The process is suspended for at most {:?}.", limit.0));
        }
        if let Some(limit) = &text.deadline {
            lines.push(format!("There is no dump if it takes longer than {:?}.", limit.0));
        }
        if let Some(size) = &text.read_cache {
            lines.push(format!(
                "Up to {} of memory are kept, so that they are read only once.",
                size.0
            ));
        }
        if text.read_failures == ReadFailures::Fail {
            lines.push("There is no dump if selected memory cannot be read.".to_owned());
        }
    }
}
