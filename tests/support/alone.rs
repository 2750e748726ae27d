//! Tests that need a process of their own, because they dump it, or examine its children and
//! descriptors.

use std::env;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::child::KilledOnDrop;
use crate::proc::until;

/// Runs the test that calls it in a process of its own: the test binary is started again for this
/// test only. The calling process returns from the test when that has ended.
#[macro_export]
macro_rules! alone {
    () => {
        $crate::alone!(false)
    };
    // It may take any time.
    (long) => {
        $crate::alone!(true)
    };
    ($long:literal) => {{
        fn here() {}
        if !$crate::alone::is_alone(&here, $long) {
            return;
        }
    }};
}

/// Whether the test around `here` runs in a process of its own. If not, it was run in one. Unless
/// it is a `long` one, it has to end some time.
pub fn is_alone<T>(_here: &T, long: bool) -> bool {
    const VARIABLE: &str = "DUMPWRIGHT_TEST_ALONE";
    let path = std::any::type_name::<T>();
    let (_, name) = path.split_once("::").expect("it is in a crate");
    let name = name.strip_suffix("::here").expect("it is in a function");
    if env::var(VARIABLE).is_ok_and(|alone| alone == name) {
        return true;
    }
    let test = env::current_exe().expect("the system knows the running program");
    let mut child = KilledOnDrop(
        Command::new(test)
            .args([
                name,
                "--exact",
                "--include-ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(VARIABLE, name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} again: {error}")),
    );
    let mut status = None;
    if long {
        status = Some(child.wait().expect("it is a child"));
    }
    until(name, || {
        status = child.try_wait().expect("it is a child");
        status.is_some()
    });
    let mut text = String::new();
    let output = child.stdout.as_mut().expect("it is piped");
    output.read_to_string(&mut text).expect("text");
    assert!(
        status.is_some_and(|status| status.success()) && text.contains("1 passed"),
        "{name}: {status:?}\n{text}"
    );
    false
}
