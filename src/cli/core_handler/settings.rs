//! `core-handler install`, `uninstall` and `status`: the settings of the kernel, and the file that
//! keeps what they were before.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nix::fcntl::OFlag;
use serde_json::{Value, json};

use super::SETTINGS;
use crate::cli::print::printable;
use crate::cli::{FAILED, JSON_VERSION, handler_args, print};

const PATTERN: &str = "/proc/sys/kernel/core_pattern";
const PIPE_LIMIT: &str = "/proc/sys/kernel/core_pipe_limit";

/// The maximum length of `core_pattern` in bytes (`CORENAME_MAX_SIZE`, with the NUL). The kernel
/// cuts longer ones without an error.
const LONGEST_PATTERN: usize = 127;

/// What the kernel passes on.
const VALUES: &str = "P=%P I=%I s=%s d=%d F=%F";

/// The number of handlers that may run at a time, if there was no limit. With 0, the kernel would
/// not keep a process until its handler has ended.
const USUAL_LIMIT: u32 = 64;

#[derive(Debug, Args)]
pub(super) struct SettingsArgs {
    /// The file that keeps what was set before, and the options of the handler
    #[arg(long, value_name = "FILE", default_value = SETTINGS)]
    settings: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    #[command(flatten)]
    file: SettingsArgs,

    /// Start this program instead of the running one
    ///
    /// It must exist in the root directory of the system, under a path without spaces.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,

    /// Let this many handlers run at a time
    ///
    /// This is core_pipe_limit. The default is what is set, or 64 if that is 0. With 0, the kernel
    /// does not wait for a handler that has read the whole core, so a process with a core of less
    /// than 64 KiB may be gone before it is examined. If more processes crash at a time, the kernel
    /// writes no core of them and starts no handler.
    #[arg(long, value_name = "COUNT")]
    pipe_limit: Option<u32>,

    /// Options of core-handler, such as --dir or --type
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    file: SettingsArgs,

    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// The file of the settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    previous: Kernel,
    installed: Kernel,
    options: Vec<String>,
}

/// The two settings of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kernel {
    pattern: String,
    pipe_limit: u32,
}

impl Kernel {
    fn read() -> Result<Self, String> {
        let text =
            |file: &str| fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"));
        let pattern = text(PATTERN)?;
        let limit = text(PIPE_LIMIT)?;
        Ok(Self {
            pattern: pattern.strip_suffix('\n').unwrap_or(&pattern).to_owned(),
            pipe_limit: limit
                .trim()
                .parse()
                .map_err(|_| format!("{PIPE_LIMIT} is not a number"))?,
        })
    }

    /// Sets both. Each is written at once, as the kernel requires.
    fn write(&self) -> Result<(), String> {
        let set = |file: &str, text: &str| {
            fs::write(file, format!("{text}\n")).map_err(|error| {
                format!("{file} cannot be written: {error} (this needs root, outside of containers)")
            })
        };
        set(PIPE_LIMIT, &self.pipe_limit.to_string())?;
        set(PATTERN, &self.pattern)?;
        match Self::read()? == *self {
            true => Ok(()),
            false => Err(format!(
                "the kernel has not accepted {PATTERN}: {}",
                printable(&self.pattern)
            )),
        }
    }

    fn json(&self) -> Value {
        json!({ "core_pattern": self.pattern, "core_pipe_limit": self.pipe_limit })
    }

    fn parse(value: &Value) -> Option<Self> {
        Some(Self {
            pattern: value["core_pattern"].as_str()?.to_owned(),
            pipe_limit: value["core_pipe_limit"].as_u64()?.try_into().ok()?,
        })
    }
}

impl Settings {
    /// Reads the file. `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read, it is malformed, or others than root and the user of this process could
    /// have written it.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, String> {
        let about = |what: &dyn Display| format!("{}: {what}", path.display());
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let mut open = fs::OpenOptions::new();
        let file = match open.read(true).custom_flags(flags.bits()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(about(&error)),
        };
        let found = file.metadata().map_err(|error| about(&error))?;
        if !found.is_file() || others_can_write(&found) {
            return Err(about(&"other users could have written it, so it is not used"));
        }
        let text = io::read_to_string(file).map_err(|error| about(&error))?;
        let parsed = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Self::parse(&value));
        parsed
            .ok_or_else(|| about(&"it is not a file of settings"))
            .map(Some)
    }

    fn parse(value: &Value) -> Option<Self> {
        let options = value["options"].as_array()?;
        Some(Self {
            previous: Kernel::parse(&value["previous"])?,
            installed: Kernel::parse(&value["installed"])?,
            options: options
                .iter()
                .map(|option| option.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
        })
    }

    /// Writes the file as a whole, or not at all.
    fn store(&self, path: &Path) -> Result<(), String> {
        let about = |error: io::Error| format!("{} cannot be written: {error}", path.display());
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)
                .map_err(about)?;
        }
        let value = json!({
            "version": JSON_VERSION,
            "previous": self.previous.json(),
            "installed": self.installed.json(),
            "options": self.options,
        });
        let new = path.with_extension("new");
        let write = || {
            let _ = fs::remove_file(&new);
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
            writeln!(file, "{value:#}")?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(about)
    }

    /// The options of the handler.
    pub(super) fn options(&self) -> Vec<OsString> {
        self.options.iter().map(OsString::from).collect()
    }

    /// What `core_pattern` was before.
    pub(super) fn previous_pattern(&self) -> &str {
        &self.previous.pattern
    }
}

/// Sets the handler.
pub(super) fn install(args: &InstallArgs) -> Result<(), String> {
    let path = absolute(&args.file.settings)?;
    check(&args.options, Some(&path))?;
    let current = Kernel::read()?;
    let pattern = pattern(args.program.as_deref(), &path)?;
    // Set by sysctl.d, for example, or with another program or file of settings.
    let is_ours = current
        .pattern
        .strip_prefix('|')
        .is_some_and(|rest| rest.split_ascii_whitespace().nth(1) == Some("core-handler"));
    let previous = match Settings::load(&path)? {
        // It is installed already, so what is set now is not what was there before.
        Some(known) if known.installed.pattern == current.pattern || is_ours => known.previous,
        None if is_ours => {
            return Err(format!(
                "core_pattern is a core handler of dumpwright already, and {} does not exist, which says what was there \
                 before; set core_pattern to what it was",
                path.display()
            ));
        }
        _ => current.clone(),
    };
    let usual = if current.pipe_limit == 0 {
        USUAL_LIMIT
    } else {
        current.pipe_limit
    };
    let settings = Settings {
        previous,
        installed: Kernel {
            pattern,
            pipe_limit: args.pipe_limit.unwrap_or(usual),
        },
        options: args.options.clone(),
    };
    // The handler may be started as soon as the pattern is set.
    settings.store(&path)?;
    settings.installed.write().inspect_err(|_| {
        let _ = current.write();
    })?;
    say(&format!("core_pattern is {}\n", settings.installed.pattern))
}

/// Sets what was there before.
pub(super) fn uninstall(args: &SettingsArgs) -> Result<(), String> {
    let path = absolute(&args.settings)?;
    let settings = Settings::load(&path)?
        .ok_or_else(|| format!("the handler is not installed: {} does not exist", path.display()))?;
    let current = Kernel::read()?;
    if current.pattern != settings.installed.pattern {
        return Err(format!(
            "core_pattern is {}, which was not set by install (it had set {}); nothing was changed",
            printable(&current.pattern),
            printable(&settings.installed.pattern)
        ));
    }
    settings.previous.write()?;
    let removed = fs::remove_file(&path);
    let _ = fs::remove_file(path.with_extension("rate"));
    removed.map_err(|error| format!("{} cannot be removed: {error}", path.display()))?;
    say(&format!("core_pattern is {} again\n", settings.previous.pattern))
}

/// Prints what is set.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    match report(&args.file.settings, args.json) {
        Ok((text, is_well)) => match print::output(&text) {
            Ok(()) if is_well => ExitCode::SUCCESS,
            _ => ExitCode::from(FAILED),
        },
        Err(reason) => {
            print::complain(reason);
            ExitCode::from(FAILED)
        }
    }
}

/// Returns the text, and whether all is well.
fn report(path: &Path, as_json: bool) -> Result<(String, bool), String> {
    let current = Kernel::read()?;
    let settings = Settings::load(path)?;
    let installed = settings
        .as_ref()
        .filter(|known| known.installed.pattern == current.pattern);
    let program = current
        .pattern
        .strip_prefix('|')
        .and_then(|rest| rest.split_ascii_whitespace().next());
    let exists = program.is_some_and(|program| {
        fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    });
    let is_well = installed.is_some() && exists;
    if as_json {
        let value = json!({
            "version": JSON_VERSION,
            "installed": installed.is_some(),
            "core_pattern": current.pattern,
            "core_pipe_limit": current.pipe_limit,
            "program": program,
            "program_exists": program.map(|_| exists),
            "previous": settings.as_ref().map(|known| known.previous.json()),
            "options": settings.as_ref().map(|known| &known.options),
        });
        return Ok((format!("{value}\n"), is_well));
    }
    let mut text = format!(
        "core_pattern:    {}\ncore_pipe_limit: {}\n",
        printable(&current.pattern),
        current.pipe_limit
    );
    let by = match (&settings, installed) {
        (_, Some(_)) => "dumpwright core-handler install".to_owned(),
        (Some(_), None) => "somebody else, after dumpwright core-handler install".to_owned(),
        (None, None) => "somebody else; the handler is not installed".to_owned(),
    };
    text.push_str(&format!("set by:          {by}\n"));
    if let Some(program) = program {
        let state = if exists {
            "exists"
        } else {
            "does not exist, or is not executable"
        };
        text.push_str(&format!("program:         {} ({state})\n", printable(program)));
    }
    if let Some(known) = &settings {
        text.push_str(&format!(
            "before:          {} (core_pipe_limit {})\noptions:         {}\n",
            printable(&known.previous.pattern),
            known.previous.pipe_limit,
            printable(&known.options.join(" "))
        ));
    }
    Ok((text, is_well))
}

/// Checks the options of the handler, whose mistakes would otherwise be found at the first crash.
/// `settings` is the file for which `install` sets the handler.
pub(super) fn check(options: &[String], settings: Option<&Path>) -> Result<(), String> {
    let all = options.iter().map(OsString::from).chain(["P=1".into()]).collect();
    let parsed = handler_args(all).map_err(|error| error.to_string().trim_end().to_owned())?;
    let parsed = parsed.options;
    let is_other = |settings| parsed.settings != Path::new(SETTINGS) && parsed.settings != settings;
    if settings.is_some_and(is_other) {
        return Err("--settings must come directly after install".to_owned());
    }
    let named = [Some(&parsed.dir), parsed.log.as_ref(), parsed.script.as_ref()];
    let named = named.into_iter().flatten().chain(parsed.policy.files());
    for path in named {
        if !path.is_absolute() {
            return Err(format!(
                "{} is a relative path, and the kernel starts the handler in /; give an absolute one",
                path.display()
            ));
        }
    }
    if let Ok(found) = fs::metadata(&parsed.dir)
        && others_can_write(&found)
    {
        return Err(format!(
            "users can write to the folder {}, so they could get in the way of dumps; name a folder of root",
            parsed.dir.display()
        ));
    }
    parsed.policy.load().map_err(|error| error.to_string())?;
    Ok(())
}

/// Whether others than root and the user of this process can change a file or a folder.
pub(super) fn others_can_write(found: &fs::Metadata) -> bool {
    let owners = [0, nix::unistd::geteuid().as_raw()];
    !owners.contains(&found.uid()) || found.mode() & 0o022 != 0
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns the pattern that starts the program.
fn pattern(program: Option<&Path>, settings: &Path) -> Result<String, String> {
    let program = match program {
        Some(program) => absolute(program)?,
        None => std::env::current_exe()
            .map_err(|error| format!("the path of this program is not known: {error}"))?,
    };
    let found = fs::metadata(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    if !found.is_file() {
        return Err(format!("{} is not a program", program.display()));
    }
    if others_can_write(&found) {
        return Err(format!(
            "others than root can change {}, which the kernel starts as root; install a copy of it that belongs to root",
            program.display()
        ));
    }
    let word = |path: &Path| {
        let text = path
            .to_str()
            .filter(|text| !text.contains([' ', '\t', '\n', '%']));
        text.map(str::to_owned).ok_or_else(|| {
            format!(
                "the path {} has a space or another character that core_pattern cannot have",
                path.display()
            )
        })
    };
    let mut pattern = format!("|{} core-handler ", word(&program)?);
    if settings != Path::new(SETTINGS) {
        pattern.push_str(&format!("--settings={} ", word(settings)?));
    }
    pattern.push_str(VALUES);
    if pattern.len() > LONGEST_PATTERN {
        return Err(format!(
            "core_pattern would have {} bytes, and the kernel accepts {LONGEST_PATTERN}: {pattern}; \
             use a shorter path of the program or of --settings",
            pattern.len()
        ));
    }
    Ok(pattern)
}

fn say(text: &str) -> Result<(), String> {
    print::output(text).map_err(|error| format!("the result cannot be printed: {error}"))
}

#[cfg(test)]
mod tests {
    //! These tests catch a pattern that the kernel would cut, options that fail only when a process
    //! crashes, and settings that other users wrote.

    use super::*;

    #[test]
    fn patterns_are_short_and_plain() {
        let own = std::env::current_exe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("dw");
        fs::copy("/bin/true", &program).unwrap();
        let found = pattern(Some(&program), Path::new(SETTINGS)).unwrap();
        assert_eq!(found, format!("|{} core-handler {VALUES}", program.display()));
        let long = PathBuf::from(format!("/{}", "x".repeat(120)));
        let error = pattern(Some(&program), &long).unwrap_err();
        assert!(error.contains("127") && error.contains("shorter path"), "{error}");
        let error = pattern(Some(&program), Path::new("/a b")).unwrap_err();
        assert!(error.contains("space"), "{error}");
        assert!(pattern(Some(&own.join("none")), Path::new(SETTINGS)).is_err());
    }

    #[test]
    fn options_are_checked_before_they_are_stored() {
        let check = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            check(&options, Some(Path::new(SETTINGS)))
        };
        check(&[
            "--dir",
            "/var/lib/dumpwright/dumps",
            "--type",
            "mini,full",
            "--rate",
            "5/60s",
            "--compress",
            "zstd:3",
        ])
        .unwrap();
        for (options, expected) in [
            (&["--dir", "crash"][..], "relative path"),
            (&["--policy", "none.toml"], "relative path"),
            (&["--policy", "/none.toml"], "none.toml"),
            (&["--type", "fulll"], "full"),
            (&["--settings", "/other"], "directly after install"),
            (&["--wrong"], "--wrong"),
        ] {
            let error = check(options).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn settings_are_kept_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/settings.json");
        assert!(Settings::load(&path).unwrap().is_none());
        let kernel = |pattern: &str| Kernel {
            pattern: pattern.to_owned(),
            pipe_limit: 7,
        };
        let settings = Settings {
            previous: kernel("|/usr/lib/x \"%e\" \\ %h  "),
            installed: kernel("|y"),
            options: vec!["--dir".to_owned(), "/a b".to_owned()],
        };
        settings.store(&path).unwrap();
        settings.store(&path).unwrap();
        let read = Settings::load(&path).unwrap().unwrap();
        assert_eq!(
            (read.previous, read.installed),
            (settings.previous, settings.installed)
        );
        assert_eq!(read.options, settings.options);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(Settings::load(&path).unwrap_err().contains("other users"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{}").unwrap();
        assert!(
            Settings::load(&path)
                .unwrap_err()
                .contains("not a file of settings")
        );
    }
}
