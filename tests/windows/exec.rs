//! Programs that are started to be dumped.

use dumpwright::read::{Dump, Exception};
use tempfile::TempDir;

use crate::victim::{Outcome, compiled, dump, word};

struct Started {
    folder: TempDir,
    outcome: Outcome,
}

impl Started {
    /// Starts the victim that crashes, with the way to crash as its argument.
    fn that(what: &str, options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let program = word(&compiled("crashes"));
        let mut words = vec!["--exec"];
        words.extend(options);
        words.extend(["--", &program, what]);
        let outcome = dump(&folder.path().join("crash.dmp"), &words);
        // The victim prints it at once. With a delay, the dump may come before that.
        if what != "wait" {
            assert_eq!(
                outcome.stderr.lines().next(),
                Some("handled"),
                "its output goes elsewhere, and exceptions that it handles are its own: {outcome:?}"
            );
        }
        Self { folder, outcome }
    }

    fn dump(&self) -> Dump {
        assert_eq!(self.outcome.status.code(), Some(0), "{:?}", self.outcome);
        let file = self.folder.path().join("crash.dmp");
        crate::support::dumper::check(&file).unwrap();
        Dump::open(&file).unwrap()
    }

    fn exception(&self) -> (Dump, Exception) {
        let dump = self.dump();
        let exception = dump.exception().unwrap().expect("there is one");
        let threads = dump.threads().unwrap();
        let thread = threads.iter().find(|thread| thread.id == exception.thread_id);
        let of_thread = thread
            .expect("its thread is in the dump")
            .context
            .as_ref()
            .unwrap();
        let of_exception = exception.context.as_ref().expect("it has registers");
        assert_eq!(
            of_exception.instruction_pointer(),
            of_thread.instruction_pointer(),
            "the thread stands where it crashed"
        );
        (dump, exception)
    }
}

#[test]
fn a_program_is_dumped_after_a_while() {
    let started = Started::that("wait", &["--after", "1000"]);
    let dump = started.dump();
    assert!(dump.exception().unwrap().is_none());
    assert!(!dump.threads().unwrap().is_empty());
}

#[test]
fn an_access_violation_is_dumped_as_it_happens() {
    let (dump, exception) = Started::that("access", &["--after", "60000"]).exception();
    assert_eq!(exception.code, 0xC000_0005);
    assert_eq!(exception.parameters[..2], [1, 0x18], "a write to 0x18");
    assert_eq!(
        exception.address,
        exception.context.unwrap().instruction_pointer().unwrap()
    );
    let threads = dump.threads().unwrap();
    assert_eq!(threads.len(), 2);
    assert_eq!(threads[1].id, exception.thread_id, "the second thread did it");
}

#[test]
fn a_stack_overflow_is_dumped_with_the_stack() {
    let (dump, exception) = Started::that("overflow", &["--after", "60000"]).exception();
    assert_eq!(exception.code, 0xC000_00FD);
    let threads = dump.threads().unwrap();
    let stack = &threads[0].stack;
    assert!(stack.size > 512 << 10, "{} bytes", stack.size);
}

#[test]
fn a_program_that_aborts_is_dumped() {
    let (_, exception) = Started::that("abort", &["--after", "60000"]).exception();
    assert_eq!(
        exception.code, 0xC000_0409,
        "STATUS_STACK_BUFFER_OVERRUN, of all fast failures"
    );
    assert_eq!(exception.parameters[0], 7, "FAST_FAIL_FATAL_APP_EXIT");
}

#[test]
fn an_exception_of_the_programs_own_keeps_its_parameters() {
    let (_, exception) = Started::that("raise", &["--after", "60000"]).exception();
    assert_eq!((exception.code, exception.flags & 1), (0xE000_4321, 1));
    assert_eq!(exception.parameters, [0x11, 0x22]);
}

#[test]
fn a_program_that_ends_before_its_time_is_told_of() {
    let started = Started::that("end", &["--after", "60000"]);
    assert_eq!(started.outcome.status.code(), Some(1));
    let error = started.outcome.result["error"].as_str().unwrap();
    assert!(
        error.contains("ended before the time of --after") && error.contains('7'),
        "{error}"
    );
    assert!(!started.folder.path().join("crash.dmp").exists());
}

#[test]
fn a_program_that_is_none_is_told_of() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.exe");
    std::fs::write(&text, "no program").unwrap();
    for (name, words) in [
        (word(&text), "text.exe"),
        ("no-such-program-anywhere".to_owned(), "PATH"),
    ] {
        let outcome = dump(&folder.path().join("none.dmp"), &["--exec", "--", &name]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        let error = outcome.result["error"].as_str().unwrap();
        assert!(error.contains("cannot start") && error.contains(words), "{error}");
        assert!(!folder.path().join("none.dmp").exists());
    }
}
