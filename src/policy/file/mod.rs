//! Policy files: texts that say what a dump contains and what it may cost.

mod secrets;
mod set;
mod text;
mod values;
mod words;

use std::path::{Path, PathBuf};

use dumpwright_text::{Source, TextError, hint};
use serde::Deserialize;
use toml::de::DeTable;

use self::secrets::Secrets;
pub use self::set::{PolicySet, ProcessTexts};
use self::text::PolicyText;
pub use self::values::Size;
use self::values::{Bytes, PresetName, Types};
use super::{Preset, SizeBudget};
use crate::{DumpType, Request};

/// The size in bytes of the largest policy. Those that people write have less than a page.
const LARGEST: usize = 1 << 20;

/// What a dump contains and what it may cost, from a text file.
///
/// `docs/policies.md` describes the file. It combines the policies of this module, in the order in
/// which they have to be.
///
/// ```
/// # let mut process = dumpwright_sim::SimProcess::new(1);
/// use dumpwright::policy::{PolicyFile, ProcessTexts};
/// use dumpwright::{DumpType, Request, dump};
///
/// let policy = PolicyFile::parse(
///     r#"
///     preset = "first-look"
///     max-size = "64MiB"
///
///     [threads]
///     except = ["sampler-*"]
///     "#,
///     "small.toml",
/// )?;
/// let request = policy.request(Request::new(DumpType::NORMAL));
/// let mut policies = policy.policies(&ProcessTexts::default())?;
/// let mut report = dump(&mut process, &request, Some(&mut policies), &mut Vec::new())?;
/// policies.conclude(&mut report);
///
/// let error = PolicyFile::parse("max-sise = 1", "small.toml").unwrap_err();
/// assert_eq!(
///     error.to_string().lines().next(),
///     Some("small.toml:1:1: unknown key \"max-sise\"; did you mean \"max-size\"?")
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PolicyFile {
    text: PolicyText,
    secrets: Secrets,
}

impl PolicyFile {
    /// Creates a policy that changes nothing, except that unreadable memory never fails the dump.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a policy. `file` is its name in messages. The path of a file of secrets is relative
    /// to the folder of `file`.
    ///
    /// # Errors
    /// Fails if the text is not TOML, if it has an unknown key or an invalid value, or if the file
    /// of secrets cannot be used. The error has the position and, if possible, the nearest name.
    pub fn parse(text: &str, file: &str) -> Result<Self, TextError> {
        Self::of(&Source::new(file, text), Path::new(file))
    }

    /// Reads a policy from a file.
    ///
    /// # Errors
    /// Fails if the file cannot be read, and in the cases of [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        Self::of(&Source::load(path)?, path)
    }

    fn of(source: &Source, path: &Path) -> Result<Self, TextError> {
        let text = read(source)?;
        if let Some((key, reason)) = text.contradiction() {
            return Err(source.error(place_of(source, key), reason));
        }
        let secrets = match &text.redact.secrets {
            None => Secrets::default(),
            Some(secrets) => Secrets::load(&beside(path, secrets))?,
        };
        Ok(Self { text, secrets })
    }

    /// Replaces the preset.
    ///
    /// # Errors
    /// Fails if no preset has this name ([`Preset::NAMES`]).
    pub fn preset(mut self, name: &str) -> Result<Self, String> {
        let known = Preset::NAMES.into_iter().find(|known| *known == name);
        let refused = || format!("\"{name}\" is not a preset{}", hint(name, Preset::NAMES));
        self.text.preset = Some(PresetName(known.ok_or_else(refused)?));
        Ok(self)
    }

    /// Replaces the limit for the bytes of memory in the dump.
    #[must_use]
    pub fn max_size(mut self, limit: Size) -> Self {
        self.text.max_size = Some(Bytes(limit));
        self
    }

    /// Adds the secrets of a file, which has one on each line: a text, or `hex:` followed by bytes.
    /// Empty lines and lines that begin with `#` are ignored.
    ///
    /// # Errors
    /// Fails if the file cannot be read, if it has no secrets or one of less than 4 bytes, or, on
    /// Linux, if others than its owner may access it. The error does not contain the secrets.
    pub fn secrets(mut self, path: impl AsRef<Path>) -> Result<Self, TextError> {
        self.secrets.extend(Secrets::load(path.as_ref())?);
        Ok(self)
    }

    /// Returns the dump types that the policy adds to those of a request.
    #[must_use]
    pub fn dump_type(&self) -> DumpType {
        let text = &self.text;
        let preset = text.preset.as_ref().and_then(|name| Preset::named(name.0));
        let preset = preset.map_or(DumpType::NORMAL, |preset| preset.request().dump_type);
        let types = text
            .dump_type
            .as_ref()
            .map_or(DumpType::NORMAL, |Types(types)| *types);
        let variables = match &text.modules.variables {
            Some(_) => DumpType::WITH_DATA_SEGS,
            None => DumpType::NORMAL,
        };
        preset | types | variables
    }

    /// Returns a request with what the policy says about it: the dump types and the time limit,
    /// and, if there is a limit for the size, how memory is read.
    #[must_use]
    pub fn request(&self, mut request: Request) -> Request {
        request.dump_type |= self.dump_type();
        if let Some(limit) = &self.text.max_pause {
            request = request.max_pause(limit.0);
        }
        if self.text.include_dontdump {
            request = request.include_dont_dump(true);
        }
        if self.limit().is_some() {
            request = SizeBudget::prepare(request);
        }
        request
    }

    /// Whether the policy limits the time for which the process may be suspended.
    #[must_use]
    pub fn limits_pause(&self) -> bool {
        self.text.max_pause.is_some()
    }

    /// Whether the policy limits the bytes of memory.
    #[must_use]
    pub fn limits_memory(&self) -> bool {
        self.limit().is_some()
    }

    /// Returns the limit for the bytes of memory.
    fn limit(&self) -> Option<u64> {
        let for_upload = self.preset_name() == Some("for-upload");
        let given = self.text.max_size.as_ref().map(|limit| limit.0.0);
        given.or(for_upload.then_some(Preset::UPLOAD_SIZE))
    }

    fn preset_name(&self) -> Option<&'static str> {
        self.text.preset.as_ref().map(|name| name.0)
    }

    /// Whether names of threads are needed. The writers of dumpwright provide them, DbgHelp does
    /// not.
    #[must_use]
    pub fn names_threads(&self) -> bool {
        self.text.threads.names() || self.text.memory.names()
    }

    /// Returns the JSON schema of policy files, for editors.
    #[cfg(feature = "schema")]
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(PolicyText).to_value()
    }
}

/// Returns the path of a file that a policy names.
fn beside(policy: &Path, named: &str) -> PathBuf {
    policy.parent().unwrap_or(Path::new("")).join(named)
}

/// Reads the keys of a policy.
fn read(source: &Source) -> Result<PolicyText, TextError> {
    if source.text().len() > LARGEST {
        let message = format!("is too large: the limit is {} MiB", LARGEST >> 20);
        return Err(TextError::of_file(source.file(), &message));
    }
    let document = match toml::de::Deserializer::parse(source.text()) {
        Ok(document) => document,
        // All mistakes in the syntax are reported.
        Err(error) => {
            let all = source.read("a policy", &[], |_| Ok(()));
            return Err(all.err().unwrap_or_else(|| explained(source, &error)));
        }
    };
    PolicyText::deserialize(document).map_err(|error| explained(source, &error))
}

/// Converts an error of the parser. A misspelt key or word gets the nearest known one.
fn explained(source: &Source, error: &toml::de::Error) -> TextError {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let text = match quoted.next() {
        Some(wrong) if message.starts_with("unknown field") => {
            format!("unknown key \"{wrong}\"{}", hint(wrong, quoted))
        }
        Some(wrong) if message.starts_with("unknown variant") => {
            format!("\"{wrong}\" is not a word for this key{}", hint(wrong, quoted))
        }
        Some(missing) if message.starts_with("missing field") => {
            format!("the key \"{missing}\" is missing; add it")
        }
        _ => message.lines().collect::<Vec<_>>().join(", "),
    };
    source.error(error.span().unwrap_or(0..0), text)
}

/// Returns where a key is in the text. `key` is a path such as `redact.secrets`.
fn place_of(source: &Source, key: &str) -> std::ops::Range<usize> {
    let Ok(document) = DeTable::parse(source.text()) else {
        return 0..0;
    };
    let mut table = document.get_ref();
    let mut place = 0..0;
    for part in key.split('.') {
        let Some((found, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else {
            break;
        };
        place = found.span();
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    place
}
