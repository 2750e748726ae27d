//! A child process for tests, which prepares something, prints facts about it, and then waits.
//!
//! The child is this test program, started with the name of a single test. That test does nothing
//! in any other process.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::access::Access;

/// The environment variable with the name of the test that the child runs.
const ROLE: &str = "DUMPWRIGHT_VICTIM";
/// The prefix of the child's lines with facts. The test program prints other lines too.
const TELLS: &str = "victim: ";

/// A child process that waits until it is resumed or dropped.
pub(crate) struct Victim {
    child: Child,
    told: BTreeMap<String, String>,
    to_child: ChildStdin,
    from_child: Box<dyn BufRead>,
}

impl Victim {
    /// Starts a child that runs the test with this full name, and returns when it waits.
    pub(crate) fn that(test: &str) -> Self {
        let program = std::env::current_exe().expect("there is one");
        let mut child = Command::new(program)
            .args(["--exact", "--nocapture", "--test-threads=1", test])
            .env(ROLE, test)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let to_child = child.stdin.take().expect("a pipe");
        let from_child = Box::new(BufReader::new(child.stdout.take().expect("a pipe")));
        let mut victim = Self {
            child,
            told: BTreeMap::new(),
            to_child,
            from_child,
        };
        victim.listen();
        victim
    }

    /// Reads the child's facts until it waits.
    fn listen(&mut self) {
        loop {
            let mut line = String::new();
            let len = self.from_child.read_line(&mut line).expect("text");
            assert!(len > 0, "the child has ended before it was ready");
            // The test program begins a line with the test's name.
            let Some((_, said)) = line.trim_end().split_once(TELLS) else {
                continue;
            };
            match said.split_once('=') {
                Some((name, value)) => self.told.insert(name.to_owned(), value.to_owned()),
                None => return,
            };
        }
    }

    /// Resumes the child, and returns when it waits again.
    pub(crate) fn go_on(&mut self) {
        self.to_child.write_all(b".").expect("it waits");
        self.to_child.flush().expect("it waits");
        self.listen();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Opens the child for the backend.
    pub(crate) fn access(&self) -> Access<'static> {
        Access::of_id(self.id())
    }

    /// Returns the fact with this name.
    pub(crate) fn text(&self, name: &str) -> &str {
        let text = self.told.get(name);
        text.unwrap_or_else(|| panic!("it has not told {name}: {:?}", self.told))
    }

    /// Returns the fact with this name as a number.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).parse().expect("a number")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process is the child that runs this test.
pub(crate) fn is_victim(test: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == test)
}

/// Prints a fact, in the child.
pub(crate) fn tell(name: impl Display, value: impl Display) {
    println!("{TELLS}{name}={value}");
}

/// Waits in the child until it is resumed. Ends the child if the test program has closed its input.
pub(crate) fn wait() {
    println!("{TELLS}waits");
    std::io::stdout().flush().expect("somebody listens");
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        std::process::exit(0);
    }
}
