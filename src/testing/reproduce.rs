//! The command that runs a failed test again.

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Returns the name of the test that calls this. Nextest passes it on the command line, libtest as
/// the name of the thread.
pub(super) fn test_name() -> Option<String> {
    let mut arguments = env::args().skip_while(|argument| argument != "--exact");
    let exact = arguments.nth(1).filter(|name| !name.starts_with('-'));
    let thread = || {
        std::thread::current()
            .name()
            .filter(|name| *name != "main")
            .map(str::to_owned)
    };
    exact.or_else(thread)
}

/// Returns a file name without extension for this rehearsal, unique in this process.
pub(super) fn file_stem() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let test = test_name()
        .unwrap_or_else(|| "rehearsal".to_owned())
        .replace("::", "-");
    format!("{test}-{number}")
}

/// Returns the commands that run a failed test again, including the one that accepts its dialogue
/// if that is possible.
pub(super) fn how(can_be_blessed: bool) -> String {
    let command = command();
    let mut text = format!(
        "run this test alone: {command}\nkeep dump and transcript: DUMPWRIGHT_KEEP=target/kept {command}\n"
    );
    if can_be_blessed {
        text += &format!("accept the new dialogue: DUMPWRIGHT_BLESS=1 {command}\n");
    }
    text
}

fn command() -> String {
    let package =
        env::var("CARGO_PKG_NAME").map_or_else(|_| String::new(), |package| format!(" --package {package}"));
    let binary = env::current_exe().ok();
    let target = binary
        .as_deref()
        .and_then(target)
        .map_or_else(String::new, |name| format!(" --test {name}"));
    let test = test_name().map_or_else(String::new, |name| format!(" -- --exact {name}"));
    format!("cargo test{package}{target}{test}")
}

/// Returns the name of a test target from the name of its binary, `deps/NAME-HASH`. Returns `None`
/// for unit tests: their binary has the name of the crate, which `--test` does not accept.
fn target(binary: &Path) -> Option<&str> {
    let (name, _) = binary.file_stem()?.to_str()?.rsplit_once('-')?;
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default().replace('-', "_");
    (name != package).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_this_test() {
        assert_eq!(
            test_name().as_deref(),
            Some("testing::reproduce::tests::the_command_names_this_test")
        );
        let command = command();
        assert!(command.starts_with("cargo test"), "{command}");
        assert!(
            command.ends_with("-- --exact testing::reproduce::tests::the_command_names_this_test"),
            "{command}"
        );
        assert_eq!(
            target(Path::new("target/debug/deps/policy-0123abcd")),
            Some("policy")
        );
    }
}
