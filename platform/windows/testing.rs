//! For tests: a child process that prepares something, tells what it did, and then waits.
//!
//! The child is this very test program, told to run one test only: one that does nothing but in such a child.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::access::Access;

/// Names the test that the child is to run.
const ROLE: &str = "DUMPWRIGHT_VICTIM";
/// What lines begin with by which the child tells; the test program says things of its own.
const TELLS: &str = "victim: ";

/// A child process that waits until it is told to go on, or dropped.
pub(crate) struct Victim {
    child: Child,
    told: BTreeMap<String, String>,
    to_child: ChildStdin,
    from_child: Box<dyn BufRead>,
}

impl Victim {
    /// Starts a child that runs the test of this full name, until it waits.
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

    /// Takes what it tells until it waits.
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

    /// Lets it go on until it waits again.
    pub(crate) fn go_on(&mut self) {
        self.to_child.write_all(b".").expect("it waits");
        self.to_child.flush().expect("it waits");
        self.listen();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the backend asks it through.
    pub(crate) fn access(&self) -> Access {
        Access::of(self.id())
    }

    /// What it has told under this name.
    pub(crate) fn text(&self, name: &str) -> &str {
        let text = self.told.get(name);
        text.unwrap_or_else(|| panic!("it has not told {name}: {:?}", self.told))
    }

    /// The number that it has told under this name.
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

/// Whether this is the child that is to run this test.
pub(crate) fn is_victim(test: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|role| role == test)
}

/// In the child: tells something.
pub(crate) fn tell(name: impl Display, value: impl Display) {
    println!("{TELLS}{name}={value}");
}

/// In the child: waits until it is told to go on. Ends it when nobody is there any more to tell it so.
pub(crate) fn wait() {
    println!("{TELLS}waits");
    std::io::stdout().flush().expect("somebody listens");
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        std::process::exit(0);
    }
}
