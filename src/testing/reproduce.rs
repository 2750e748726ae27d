//! How to run a failed test again.

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The name of the test that calls this: nextest gives it on the command line, libtest as the thread's name.
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

/// A name for files that belong to this rehearsal.
pub(super) fn file_stem() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let test = test_name()
        .unwrap_or_else(|| "rehearsal".to_owned())
        .replace("::", "-");
    format!("{test}-{number}")
}

/// The commands for a failed test, and for accepting what is found if that makes sense.
pub(super) fn how(can_be_blessed: bool) -> String {
    let command = command();
    let mut text = format!(
        "run it alone:        {command}\nkeep dump and dialogue: DUMPWRIGHT_KEEP=target/kept {command}\n"
    );
    if can_be_blessed {
        text += &format!("accept what is found: DUMPWRIGHT_BLESS=1 {command}\n");
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

/// The name of a test target from its binary, `deps/NAME-HASH`; `None` for unit tests, whose binary has the name of the
/// crate, which `--test` does not know.
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
