//! The server of a crash handler: a process that waits for the crash of another one.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::name::{NameParts, unused};
use crate::native::crash_handler::{CrashConnection, CrashReport};
#[cfg(feature = "policy-file")]
use crate::policy::{PolicyFile, ProcessTexts};
use crate::{DumpType, Error, FileSink, Report, Request, Sink, dump, native};

/// The stream of a comment in UTF-8, `CommentStreamA`.
const COMMENT: u32 = 10;

/// What a crash server does. The arguments of `dumpwright crash-server` are the same.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The process that may crash. It must be the parent of the server.
    pub client: u32,
    /// The folder for the dump.
    pub folder: PathBuf,
    /// The pattern for its name: see [`CrashOptions::name`](super::CrashOptions::name).
    pub name: String,
    /// Its type.
    pub dump_type: DumpType,
    /// A policy file.
    pub policy: Option<PathBuf>,
}

impl ServerSettings {
    /// Parses the arguments that [`install`](super::install) passes.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let wrong = |what: &OsStr| {
            Error::InvalidRequest(format!(
                "\"{}\" is not an argument of a crash server",
                Path::new(what).display()
            ))
        };
        let (mut client, mut folder, mut name) = (None, None, None);
        let (mut dump_type, mut policy) = (DumpType::NORMAL, None);
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let text = argument.to_string_lossy();
            match text.split_once('=') {
                Some(("--name", pattern)) => name = Some(pattern.to_owned()),
                Some(("--type", list)) => {
                    dump_type = DumpType::parse(list).map_err(|_| wrong(&argument))?;
                }
                _ => {
                    let value = arguments.next().ok_or_else(|| wrong(&argument))?;
                    match &*text {
                        "--client" => client = value.to_str().and_then(|id| id.parse().ok()),
                        "--dir" => folder = Some(value.into()),
                        "--policy" => policy = Some(value.into()),
                        _ => return Err(wrong(&argument)),
                    }
                }
            }
        }
        let missing = || Error::InvalidRequest("an argument of the crash server is missing".to_owned());
        Ok(Self {
            client: client.ok_or_else(missing)?,
            folder: folder.ok_or_else(missing)?,
            name: name.ok_or_else(missing)?,
            dump_type,
            policy,
        })
    }

    /// Checks whatever may fail before there is a crash.
    fn prepare(&self) -> Result<CheckedSettings<'_>, Error> {
        self.dump_type.normalised()?;
        let prepared = CheckedSettings {
            settings: self,
            #[cfg(feature = "policy-file")]
            policy: match &self.policy {
                Some(file) => Some(PolicyFile::load(file).map_err(Error::Policy)?),
                None => None,
            },
        };
        #[cfg(not(feature = "policy-file"))]
        if self.policy.is_some() {
            let reason = "this crash server does not support policy files";
            return Err(Error::InvalidRequest(reason.to_owned()));
        }
        // The folder must be one that a dump can be written into. The file has no name, or is
        // removed.
        drop(prepared.create()?);
        Ok(prepared)
    }
}

/// Settings that have been checked.
struct CheckedSettings<'a> {
    settings: &'a ServerSettings,
    #[cfg(feature = "policy-file")]
    policy: Option<PolicyFile>,
}

impl CheckedSettings<'_> {
    fn create(&self) -> Result<FileSink, Error> {
        let parts = NameParts::of(self.settings.client);
        let name = parts.fill(&self.settings.name).map_err(Error::InvalidRequest)?;
        let path = unused(&self.settings.folder, &name);
        // Other users may be able to create a pipe in the folder.
        let refused = || {
            let reason = format!("{} exists already, and is no dump", path.display());
            Error::InvalidRequest(reason)
        };
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(refused());
        }
        let file = FileSink::create(&path, false)?;
        match file.is_direct() {
            true => Err(refused()),
            false => Ok(file),
        }
    }

    /// Dumps the process that has crashed. Returns the file.
    fn dump(&self, crash: CrashReport) -> Result<(PathBuf, Report), Error> {
        let mut process = native::process(crash.process_id)?;
        let mut request = Request::new(self.settings.dump_type);
        #[cfg(feature = "policy-file")]
        if let Some(policy) = &self.policy {
            request = policy.request(request);
        }
        request = request.exception(crash.exception);
        if !crash.annotations.is_empty() {
            request = request.user_stream(COMMENT, comment(&crash.annotations));
        }
        let mut file = self.create()?;
        let path = file.path().map(ToOwned::to_owned).unwrap_or_default();
        #[cfg(feature = "policy-file")]
        let report = match &self.policy {
            None => dump(&mut process, &request, None, &mut file)?,
            Some(policy) => {
                let texts = match policy.needs_texts() {
                    true => ProcessTexts::of_process(crash.process_id)
                        .map_err(|error| Error::output("read the texts of", None, error))?,
                    false => ProcessTexts::default(),
                };
                let mut policies = policy.policies(&texts)?;
                let mut report = dump(&mut process, &request, Some(&mut policies), &mut file)?;
                policies.conclude(&mut report);
                report
            }
        };
        #[cfg(not(feature = "policy-file"))]
        let report = dump(&mut process, &request, None, &mut file)?;
        file.publish()?;
        Ok((path, report))
    }
}

/// The text of the comment: one JSON object, with a NUL at its end as debuggers expect.
fn comment(annotations: &[(String, String)]) -> Vec<u8> {
    let object: serde_json::Map<_, _> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into()))
        .collect();
    let mut text = serde_json::Value::Object(object).to_string().into_bytes();
    text.push(0);
    text
}

/// Waits for the crash of a process, and dumps it. Returns when the process has ended, with or
/// without a crash.
///
/// This is for programs that are the server of others, as `dumpwright crash-server` is.
/// [`install`](super::install) starts them, with the socket as standard input. The calling process
/// must have no other threads and no open files.
///
/// # Errors
/// Fails if the process was not started by [`install`](super::install), and if the settings are
/// invalid; [`install`](super::install) then fails too. Fails if there was a crash and there is no
/// dump.
pub fn serve(settings: &ServerSettings) -> Result<(), Error> {
    let connection = CrashConnection::accept(settings.client)?;
    let prepared = settings
        .prepare()
        .inspect_err(|error| connection.refuse(&error.to_string()))?;
    connection.ready()?;
    let Some(crash) = connection.wait()? else {
        return Ok(());
    };
    let outcome = prepared.dump(crash);
    connection.answer(&match &outcome {
        Ok((path, report)) if report.is_complete() => format!("crash dump: {}", path.display()),
        Ok((path, report)) => format!(
            "crash dump: {} (partial: {} parts are missing)",
            path.display(),
            report.missing().count()
        ),
        Err(error) => format!("there is no crash dump: {error}"),
    });
    outcome.map(drop)
}

/// What these tests would catch: arguments that [`install`](super::super::install) passes and the
/// server reads in another way; annotations that are not JSON.
#[cfg(test)]
mod tests {
    use super::super::CrashOptions;
    use super::*;

    #[test]
    fn arguments_are_read_as_they_are_passed() {
        let options = CrashOptions::new("relative")
            .name("-%p.dmp")
            .dump_type(DumpType::WITH_DATA_SEGS)
            .policy("/etc/small.toml");
        let arguments = options.arguments().unwrap();
        let settings = ServerSettings::parse(arguments.into_iter().skip(1)).unwrap();
        assert_eq!(settings.client, std::process::id());
        assert!(settings.folder.is_absolute() && settings.folder.ends_with("relative"));
        assert_eq!(settings.name, "-%p.dmp");
        assert_eq!(settings.dump_type, DumpType::WITH_DATA_SEGS);
        assert_eq!(settings.policy, Some("/etc/small.toml".into()));
        for wrong in [&["--client", "x"][..], &["--dir"], &["--other", "1"], &[]] {
            assert!(
                ServerSettings::parse(wrong.iter().map(OsString::from)).is_err(),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn annotations_are_json() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let bytes = comment(&[pair("release", "1.2"), pair("panic", "\"a\"\n\u{1b}ä")]);
        let (end, text) = bytes.split_last().unwrap();
        assert_eq!(*end, 0);
        let value: serde_json::Value = serde_json::from_slice(text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"release": "1.2", "panic": "\"a\"\n\u{1b}ä"})
        );
    }
}
