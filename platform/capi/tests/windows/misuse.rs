//! Misuse of the library, and streams of damaged dumps.

use crate::printed::{EXCEPTIONS_AND_STREAMS, READING, assert_printed};
use crate::scratch::{beside, name, package, program, run};
use crate::streams;

#[test]
fn misuse_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = name(&package().join("../../testdata/cases/plain/scenario.toml"));
    let other = name(&program("tests/programs/windows/target.c", &[]));
    let misuse = program("tests/programs/windows/misuse.c", &[]);
    let told = beside(
        &misuse,
        &["@pid", &other, &scenario, "misuse.dmp"],
        folder.path(),
        &[],
    );
    let handles = "\
a dump: TRUE
process id 0: TRUE
handle of another process: 80070057
no handle: 80070057
no handle, no id: 80070057
handle -1: 80070057
no such handle: 80070057
a thread for a process: 80070057
a handle without rights: 80070005
itself: 80070032
no file: 80070006
file -1: 80070006
unknown type: 80070057
a file with something in it: TRUE
1 1
the same handle again: TRUE
1
a closed file: 80070006
an overlapped file: TRUE
1
a file for reading: 80070005
an event for a file: 80070006
an event for a process: 80070057
a pipe that nobody reads: broken
a pipe: TRUE
1 1
";
    let rest = "\
a callback without function: TRUE
the same process, from its callback: TRUE
another one, from the callback: TRUE
a callback that dumps: TRUE
a callback that unmaps: TRUE
no snapshot: 8007007f
a request of nothing: 80070057
no request: 80070057
process 0: 80070057
no such process: 80070057
a name that is not UTF-8: 80070057
a missing scenario: 80070057
an unknown hold: 80070057
a thread for a handle: 80070057
a closed handle: 80070057
a handle: TRUE
stop
a snapshot of it: TRUE
1
stopped again: TRUE
an exception in it: TRUE
a scenario: TRUE
an existing file: 80070050
replacing it: TRUE
a name beyond ASCII: TRUE
1
";
    assert_printed(
        "misuse.exe",
        &told.stdout,
        &[handles, EXCEPTIONS_AND_STREAMS, rest, READING],
    );
}

#[test]
fn streams_are_found_where_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = program("tests/programs/read_streams.c", &[]);
    // Only one dump in six, because starting a program takes long under Wine.
    streams::are_found(6, |dump, types| {
        let dump = name(dump);
        let mut arguments = vec![&*dump];
        arguments.extend(types.iter().map(String::as_str));
        let output = run(&program, &arguments, folder.path());
        assert!(
            output.status.success(),
            "{dump}: {}\n{}",
            output.status,
            output.stderr
        );
        output.stdout
    });
}
