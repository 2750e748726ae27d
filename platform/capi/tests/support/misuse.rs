//! The output that both programs named misuse have in common, on every system. It comes from
//! `programs/misuse.h`.

/// The output of `misused_exceptions` and `misused_streams`.
pub const EXCEPTIONS_AND_STREAMS: &str = "\
an exception: TRUE
an exception without pointers: TRUE
an exception nowhere: 800703e6
an exception without context: 800703e6
an exception of the client's: 800703e6
streams: TRUE
streams without array: TRUE
no streams: TRUE
streams nowhere: 800706f8
a stream without buffer: 800706f8
a stream that is too long: 800700df
too many streams: 800700df
";

/// The output of `misused_reading`.
pub const READING: &str = "\
a stream of nothing: 00000057
a stream of no dump: 0000000d
a stream nowhere: 000003e6
untouched
";

/// Fails unless a program has printed exactly these lines. The message names the first difference.
pub fn assert_printed(program: &str, printed: &str, expected: &[&str]) {
    let expected = expected.concat();
    let difference = printed
        .lines()
        .zip(expected.lines())
        .find(|(printed, expected)| printed != expected);
    assert_eq!(difference, None, "{program}");
    assert_eq!(
        printed.lines().count(),
        expected.lines().count(),
        "{program}: {printed}"
    );
}
