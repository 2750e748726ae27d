//! How mistakes are reported, when a script is read and when it has been used.

use super::*;

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    for (text, expected) in [
        (
            "[[rule]]\nask = \"IncludeTread\"",
            "t:2:7: unknown callback type \"IncludeTread\"; did you mean \"IncludeThread\"?",
        ),
        (
            "[[rule]]\nask = \"Memory\"\n  retrun = false",
            "t:3:3: a rule has no key \"retrun\"; did you mean \"return\"?",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nflags = 1",
            "t:3:1: \"flags\" does not apply to Memory; known names: memory, ask, index, return",
        ),
        (
            "[[rules]]\nask = \"Cancel\"",
            "t:1:3: a script has no key \"rules\"; did you mean \"rule\"?",
        ),
        (
            "[[rule]]\nreturn = false",
            "t:1:1: a rule needs \"ask\": the name of a callback type, a list of names, or \"*\"",
        ),
        (
            "[[rule]]\nask = \"Cancel\"\ncancel = 1",
            "t:3:10: expected true or false, found the integer 1",
        ),
        (
            "[[rule]]\nask = \"VmStart\"\nstatus = \"S_FALS\"",
            "t:3:10: expected a number or a name, found \"S_FALS\"; did you mean \"S_FALSE\"?",
        ),
        (
            "[[rule]]\nask = \"Thread\"\nflags = [\"STAK\"]",
            "t:3:10: expected a number or a name, found \"STAK\"; did you mean \"STACK\"?",
        ),
        (
            "[[rule]]\nask = \"*\"\nflags = \"STACK\"",
            "t:3:9: expected a number, because flags have names only if all callback types of the rule have the same flags, found the string \"STACK\"",
        ),
        (
            "[[rule]]\nask = \"*\"\nindex = \"5-2\"",
            "t:3:9: expected 3, \"2-5\", \"7+\" or \"*\", found the string \"5-2\"",
        ),
        (
            "[[rule]]\nask = \"Thread\"\nthread = \"x\"",
            "t:3:10: expected a thread: its id, or \"T1\" for the second thread that was presented, found the string \"x\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = { size = 1 }",
            "t:3:10: a range needs \"base\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = \"0xzz/1\"",
            "t:3:10: expected a place: NAME, NAME+0x10 or 0x1000, found the string \"0xzz/1\"",
        ),
        (
            "[[rule]]\nask = \"Memory\"\nmemory = \"a/0x100000000\"",
            "t:3:10: expected a size below 4 GiB, found the string \"a/0x100000000\"",
        ),
        (
            "[[rule]]\nask = \"VmPreRead\"\nfill = 256",
            "t:3:8: expected a byte, 0 to 255, found the integer 256",
        ),
        (
            "[[rule]]\nask = \"VmPreRead\"\ncompleted = \"al\"",
            "t:3:13: expected \"all\", \"half\", \"over\" or a number of bytes below 4 GiB, found the string \"al\"",
        ),
        (
            "[[rule]]\nask = \"VmPostRead\"\nxor_at = { range = \"a\" }",
            "t:3:10: xor_at needs \"value\"",
        ),
        (
            "[[rule]]\nask = \"VmQuery\"\nquery = \"owns\"",
            "t:3:9: expected \"own\" or \"none\" or \"end\", found \"owns\"; did you mean \"own\"?",
        ),
        (
            "[[rule]]\nask = \"IncludeVmRegion\"\nregion = { siez = 0 }",
            "t:3:12: a region has no key \"siez\"; did you mean \"size\"?",
        ),
        (
            "[[rule]]\nask = \"WriteKernelMinidump\"\nhandle = \"own\"",
            "t:3:10: expected a handle: a number, or \"given\" for the handle of IoStart, found the string \"own\"",
        ),
        ("rule = 1", "t:1:8: expected an array, found the integer 1"),
    ] {
        let error = Script::parse(text, "t").unwrap_err();
        assert_eq!(error.count(), 1, "{error}");
        assert_eq!(error.mistakes()[0].to_string(), expected, "{text}");
    }
    let error = Script::parse("[[rule]]\nask = ", "t").unwrap_err();
    assert_eq!(error.mistakes()[0].to_string(), "t:2:7: expected a value");
    let missing = Script::load("no/such/file.toml").unwrap_err().to_string();
    assert!(
        missing.starts_with("no/such/file.toml: cannot be read: "),
        "{missing}"
    );
}

#[test]
fn all_mistakes_of_a_script_are_told_in_its_order() {
    let text = r#"
[[rule]]
ask = "IncludeTread"
thread = "x"
flags = ["STACK"]
return = 1

[[rule]]
index = "5-2"

[[rule]]
ask = ["Memory", "Cancle"]
memory = ["heap/0x10", { size = 1 }, "0xzz"]

[[rule]]
ask = "Module"
flags = ["MODULE", "STAK", "DATASEG"]
fill = 300
retrun = "x"

[[rule]]
ask = "VmQuery"
region = { protect = "rwq", state = "MEM_COMIT", base = "+64 KB", siez = 1 }
"#;
    let error = Script::parse(text, "t").unwrap_err();
    let found: Vec<_> = error.mistakes().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "t:3:7: unknown callback type \"IncludeTread\"; did you mean \"IncludeThread\"?",
            "t:4:10: expected a thread: its id, or \"T1\" for the second thread that was presented, found the string \"x\"",
            "t:6:10: expected true or false, found the integer 1",
            "t:8:1: a rule needs \"ask\": the name of a callback type, a list of names, or \"*\"",
            "t:9:9: expected 3, \"2-5\", \"7+\" or \"*\", found the string \"5-2\"",
            "t:12:18: unknown callback type \"Cancle\"; did you mean \"Cancel\"?",
            "t:13:24: a range needs \"base\"",
            "t:13:38: expected a place: NAME, NAME+0x10 or 0x1000, found the string \"0xzz\"",
            "t:17:20: expected a number or a name, found \"STAK\"; known names: MODULE, DATA_SEG, MISC_RECORD, CV_RECORD, \
             REFERENCED_BY_MEMORY, TLS_DATA, CODE_SEGS",
            "t:17:28: expected a number or a name, found \"DATASEG\"; did you mean \"DATA_SEG\"?",
            "t:18:1: \"fill\" does not apply to Module; known names: module, at, minimum_size, flags, and, or, ask, index, return",
            "t:18:8: expected a byte, 0 to 255, found the integer 300",
            "t:19:1: a rule has no key \"retrun\"; did you mean \"return\"?",
            "t:19:10: expected true or false, found the string \"x\"",
            "t:23:22: \"rwq\" is not a protection; did you mean \"rw-\"?",
            "t:23:37: expected a number or a name, found \"MEM_COMIT\"; did you mean \"MEM_COMMIT\"?",
            "t:23:57: expected a change, as in \"+0x1000\" or \"-64 KiB\", found the string \"+64 KB\"",
            "t:23:67: a region has no key \"siez\"; did you mean \"size\"?",
        ]
    );
    assert!(
        error.to_string().contains("\n18 | fill = 300\n   |        ^^^\n"),
        "{error}"
    );
}

#[test]
fn what_the_target_does_not_have_is_a_problem_and_unused_rules_are_known() {
    let text = "[[rule]]\nask = \"Memory\"\nmemory = \"blok+0x10/4\"\n\n[[rule]]\nask = \"VmPreRead\"\nat = \"stack(9)\"\nfill = 1\n";
    let mut script = parse(text);
    assert_eq!(script.unused(), [1, 5]);
    assert_eq!(memory(&mut script), (false, 0, 0));
    pre_read(&mut script, 0x5000, 1);
    assert_eq!(script.unused(), [5]);
    let problems: Vec<_> = script.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "test.toml:3:10: nothing in the target is called \"blok\"; did you mean \"block\"?",
            "test.toml:7:6: nothing in the target is called \"stack(9)\"; known names: block, other",
        ]
    );
    // A name that becomes known later is not a problem.
    let thread = ThreadAsked {
        thread_id: 9,
        thread_handle: 0,
        context: &[],
        stack_base: 0x9100,
        stack_end: 0x9080,
        backing_store_base: 0,
        backing_store_end: 0,
        name: None,
    };
    script.ask(Ask::Thread {
        thread,
        keep: &mut ThreadWriteFlags::all(),
    });
    assert_eq!(script.problems().len(), 1);
    assert_eq!(pre_read(&mut script, 0x9080, 1).2, [1]);

    let mut script = rule("IncludeModule", "module = \"lib*\"\nreturn = false");
    assert!(script.ask(Ask::IncludeModule {
        base: 0x1000,
        keep: &mut ModuleWriteFlags::all()
    }));
    assert!(
        script.problems()[0]
            .to_string()
            .contains("does not have the module's name")
    );
    let mut script = rule("IncludeModule", "module = \"bl*\"\nreturn = false");
    assert!(
        !script.ask(Ask::IncludeModule {
            base: 0x5000,
            keep: &mut ModuleWriteFlags::all()
        }),
        "a name that was given"
    );

    let mut script = rule("VmPreRead", "read = true");
    pre_read(&mut script, 0, 1);
    assert!(
        script.problems()[0]
            .to_string()
            .contains("reads the target's memory")
    );
}
