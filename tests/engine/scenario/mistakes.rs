//! How mistakes are reported, and where.

use dumpwright_sim::{Mistake, ScenarioError};

use super::*;

fn refusal(text: &str) -> ScenarioError {
    Scenario::parse(text, "test.toml").expect_err(text)
}

/// The only mistake of a text.
fn mistake(text: &str) -> Mistake {
    let error = refusal(text);
    assert_eq!(error.count(), 1, "{error}\n{text}");
    error.mistakes()[0].clone()
}

/// Line and column of each `§`, and the text without them.
fn marked(text: &str) -> (String, Vec<(usize, usize)>) {
    let mut places = Vec::new();
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '§' => places.push((line, column)),
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
    }
    (text.replace('§', ""), places)
}

/// Compares all mistakes of a text with the places that `§` marks, and with words of each message.
fn assert_mistakes(text: &str, words: &[&str]) {
    let (text, places) = marked(text);
    let error = refusal(&text);
    let found: Vec<_> = error
        .mistakes()
        .iter()
        .map(|mistake| (mistake.line(), mistake.column()))
        .collect();
    assert_eq!(found, places, "{error}\n{text}");
    assert_eq!(words.len(), places.len());
    for (mistake, words) in error.mistakes().iter().zip(words) {
        assert!(mistake.message().contains(words), "{words}: {mistake}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_the_nearest_name() {
    for (text, place, words) in [
        ("", (1, 1), "a scenario needs \"system\""),
        (
            "[sytem]\nplatform = \"linux\"\n",
            (1, 2),
            "a scenario has no key \"sytem\"; did you mean \"system\"?",
        ),
        ("[system]\nplatform = \"linux\n", (2, 18), "basic string"),
        (
            "[system]\nplatform = \"linux\"\nplatform = \"linux\"\n",
            (3, 1),
            "duplicate key",
        ),
        (
            "[system]\nplatform = \"windoze\"\n",
            (2, 12),
            "\"linux\" or \"windows\", found \"windoze\"",
        ),
        (
            "[system]\nplatform = 7\n",
            (2, 12),
            "expected \"linux\" or \"windows\", found the integer 7",
        ),
        (
            "system = 3\n",
            (1, 10),
            "expected a table (a system), found the integer 3",
        ),
        (
            "[system]\nplatform = \"linux\"\ncpu = \"amd46\"\n",
            (3, 7),
            "expected \"amd64\" or \"x86\" or \"arm\" or \"arm64\", found \"amd46\"; did you mean \"amd64\"?",
        ),
        (
            "[system]\nplatform = \"linux\"\nversion = \"6.x\"\n",
            (3, 11),
            "numbers with dots",
        ),
        (
            "[system]\nplatform = \"linux\"\npage_size = 5000\n",
            (3, 13),
            "a power of two",
        ),
        (
            "[system]\nplatform = \"linux\"\ncpuid = {vendor = \"me\"}\n",
            (3, 19),
            "12 letters",
        ),
        (
            "[system]\nplatform = \"linux\"\nfeatures = [1]\n",
            (3, 12),
            "two numbers",
        ),
        ("[system]\nplatform = \"windows\"\n[linux]\n", (3, 1), "\"linux\""),
        (
            "[process]\nid = 0x1_0000_0000\n[system]\nplatform = \"linux\"",
            (2, 6),
            "from 0 to 0xffff_ffff",
        ),
        (
            "[process]\nid = -1\n[system]\nplatform = \"linux\"",
            (2, 6),
            "from 0 to",
        ),
    ] {
        let error = mistake(text);
        assert_eq!((error.line(), error.column()), place, "{error}\n{text}");
        assert!(error.to_string().contains(words), "{error}\n{text}");
        assert!(
            error
                .to_string()
                .starts_with(&format!("test.toml:{}:{}: ", place.0, place.1)),
            "{error}"
        );
    }
}

/// Each text is appended to the valid scenario of `with`; `§` marks the place.
#[test]
fn what_no_process_can_be_is_refused_where_it_stands() {
    for (text, words) in [
        (
            "[[memory]]\nbase = §0x1001\nsize = 0x1000",
            "multiple of the page size, 0x1000",
        ),
        ("[[token]]\nuser = §\"S-1-5-x\"", "not a security identifier"),
        (
            "[[token]]\nuser = \"S-1-5-18\"\nstatistics = §\"00\"",
            "expected 56 bytes, found 1",
        ),
        (
            "[[token]]\nuser = \"S-1-5-18\"\n§sesion = 1",
            "did you mean \"session\"?",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"Event\"\ninfo = [§{ event = \"00\", mutant = \"00\" }]",
            "expected one of event, mutant",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"Process\"\ninfo = [{ process = §{} }]",
            "pairs of hexadecimal digits",
        ),
        (
            "[[handle_operation]]\nhandle = 1\noperation = §\"opened\"",
            "did you mean \"open\"?",
        ),
        (
            "[[function_table]]\nbase = 0x1000\nentries = [§[1, 2]]",
            "[begin, end, unwind_info]",
        ),
        (
            "[system_memory]\nbasic = { page_size = §0x1_0000_0000 }",
            "from 0 to 0xffff_ffff",
        ),
        (
            "[vm_counters]\nvirtual_size = { §virtual_sise = 1 }",
            "did you mean \"virtual_size\"?",
        ),
        (
            "[[thread]]\nid = 9\nregisters = { rip = 1, rsp = \"stack+8\" }\nbacking_store = §0x1000",
            "the name of a block",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = §0x1001",
            "multiple of the page size, 0x1000",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = §0",
            "no range of an address space",
        ),
        (
            "[[memory]]\nbase = 0xffff_ffff_ffff_f000\nsize = §0x1000",
            "no range of an address space",
        ),
        (
            "§[[memory]]\nbase = \"heap+0x1000\"\nsize = 0x1000",
            "overlaps 0x1000000000..0x1000008000, which line 10 has",
        ),
        (
            "§[[memory]]\nbase = 0x40_1000\nsize = 0x1000",
            "overlaps 0x401000..0x403000",
        ),
        (
            "[[memory]]\nname = §\"heap\"\nbase = 0x1000\nsize = 0x1000",
            "\"heap\" is already the name of 0x1000000000",
        ),
        (
            "[[memory]]\nname = §\"\"\nbase = 0x1000\nsize = 0x1000",
            "found an empty string",
        ),
        (
            "[[memory]]\nbase = §\"heep+1\"\nsize = 0x1000",
            "nothing is called \"heep\"",
        ),
        (
            "[[memory]]\nbase = §\"heep+1\"\nsize = 0x1000",
            "did you mean \"heap\"?",
        ),
        (
            "[[memory]]\nbase = §\"heap-0x1000000001\"\nsize = 0x1000",
            "lies outside the address space",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"rq-\"",
            "\"rq-\" is not a protection",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"PAGE_READWRIT\"",
            "did you mean \"PAGE_READWRITE\"?",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"rw- r--\"",
            "found two",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nprotect = §\"PAGE_GUARD\"",
            "expected a protection",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §\"countin\"",
            "did you mean \"counting\"?",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §{ fill = 1, text = \"\" }",
            "cannot be combined",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = §{ }",
            "expected one of fill",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = { hex = §\"abc\" }",
            "pairs of hexadecimal digits",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\ncontent = { fill = §256 }",
            "from 0 to 255",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nput = [§{ offset = 0xfff, text = \"ab\" }]",
            "not a part of the memory",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nparts = [§{ offset = 0x1000, size = 0x1000 }]",
            "not a part of the block",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x3000\nparts = [{ offset = 0, size = 0x2000 }, §{ offset = 0x1000, size = 0x1000 }]",
            "overlaps another",
        ),
        (
            "[[memory]]\nbase = 0x1000\nsize = 0x1000\nallocation = §0x2000",
            "after its memory",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = \"program+0x1000\"\nsize = 0x1000",
            "may_overlap = true",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = \"program\"\nsize = 0x1000\nmay_overlap = true",
            "two modules cannot begin at the same address",
        ),
        (
            "§[[module]]\nbase = 0x1000\nsize = 0x1000",
            "a module needs \"path\"",
        ),
        (
            "§[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nbuild_id = \"00\"\ncodeview = \"00\"",
            "cannot be combined",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\npdb = { name = \"b\", guid = §\"0123\" }",
            "expected a GUID",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nsections = [§{ offset = 0, size = 0x2000 }]",
            "not a part of the module",
        ),
        (
            "[[module]]\npath = \"/b\"\nbase = 0x1000\nsize = 0x1000\nproduct_version = §\"1\"",
            "have no product version",
        ),
        (
            "[[thread]]\nid = §7\nregisters = { rip = 0, rsp = \"stack\" }",
            "another thread has this id",
        ),
        (
            "[[memory]]\nname = \"r\"\nbase = 0x1000\nsize = 0x1000\nstate = \"reserve\"\n\
             [[thread]]\nid = 8\nstack = \"r\"\nregisters = §{ rip = 0, rsp = \"r\" }",
            "no memory is there",
        ),
        (
            "[[thread]]\nid = 8\nregisters = §{ rip = 0, rsp = 0x10 }",
            "stack_outside_memory = true",
        ),
        (
            "[[thread]]\nid = 8\nregisters = { rip = 0, §rps = \"stack\" }",
            "did you mean \"rsp\"?",
        ),
        (
            "[[thread]]\nid = 8\nregisters = §{ rsp = \"stack\" }",
            "registers needs \"rip\"",
        ),
        (
            "[[thread]]\nid = 8\nstack = §\"heap\"\nregisters = { rip = 0, rsp = \"stack\" }",
            "outside 0x1000000000..0x1000008000",
        ),
        (
            "[[thread]]\nid = 8\nstack = { limit = 5, base = §5 }\nregisters = { rip = 0, rsp = \"stack\" }",
            "above its limit",
        ),
        (
            "[[thread]]\nid = 8\ninterrupted = [§3]\nregisters = { rip = 0, rsp = \"stack\" }",
            "there is no memory at 0x3",
        ),
        (
            "[[thread]]\nid = 8\npriority = §16\nregisters = { rip = 0, rsp = \"stack\" }",
            "from -15 to 15",
        ),
        (
            "[[thread]]\nid = 8\nregisters = { rip = 0, rsp = \"stack\", xmm0 = §\"00\" }",
            "16 bytes",
        ),
        (
            "[[handle]]\nnumber = 1\ntype = \"a\"\n[[handle]]\nnumber = §1\ntype = \"b\"",
            "another handle has this number",
        ),
        (
            "[[fault]]\nkind = §\"unreadble\"\nat = \"heap\"",
            "did you mean \"unreadable\"?",
        ),
        (
            "[[fault]]\nkind = \"thread-vanishes\"\nthread = 7\n§at = \"heap\"",
            "no key \"at\"",
        ),
        (
            "[[fault]]\nkind = \"thread-vanishes\"\nthread = §8",
            "no thread has the id 8; the threads are 7",
        ),
        (
            "[[fault]]\nkind = \"unreadable-from\"\nat = \"heap\"\nread = §0",
            "expected a number of at least 1, found 0",
        ),
        (
            "§[[fault]]\nkind = \"unreadable\"\nat = \"heap+1\"",
            "needs \"size\"",
        ),
        (
            "[[fault]]\nkind = \"broken-module-record\"\nmodule = §\"heap\"",
            "no module begins at",
        ),
        (
            "[[fault]]\nkind = \"region-changes\"\nat = §\"heap+0x1000\"\ngone = true",
            "no region begins at",
        ),
        (
            "[[fault]]\nkind = \"region-changes\"\nat = \"heap\"\nnew_size = §0x8000",
            "smaller than the region's",
        ),
        (
            "§[[fault]]\nkind = \"region-changes\"\nat = \"heap\"",
            "expected one of gone = true, new_size, protect",
        ),
        (
            "[[fault]]\nkind = \"freeze-fails\"\nreason = §\"zombi\"",
            "did you mean \"zombie\"?",
        ),
    ] {
        assert_mistakes(&with(&format!("\n{text}\n")), &[words]);
    }
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let error = Scenario::load("/nonexistent/a.toml").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/a.toml: cannot be read: "),
        "{error}"
    );
}

/// Features that only some processors have; `§` marks the place.
#[test]
fn mistakes_about_processors_are_told_with_their_place() {
    const STACK: &str = "[[memory]]\nname = \"stack\"\nbase = 0x1000\nsize = 0x1000\n";
    for (system, rest, words) in [
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = { §rip = 0, esp = \"stack\" }",
            "did you mean \"eip\"?",
        ),
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = §{ eip = 0 }",
            "registers needs \"esp\"",
        ),
        (
            "cpu = \"x86\"",
            "[[thread]]\nid = 1\nregisters = { eip = 0, esp = \"stack\", eax = §0x1_0000_0000 }",
            "0x100000000 does not fit into a register of 32 bits",
        ),
        (
            "cpu = \"arm\"",
            "[[memory]]\nbase = 0xffff_f000\nsize = §0x2000",
            "no range of a 32-bit address space begins at 0xfffff000",
        ),
        (
            "cpu = \"arm\"",
            "[[memory]]\nbase = 0x8000\nsize = 0x1000\ncontent = { words = [1, §0x1_2345_6789] }",
            "0x123456789 does not fit into a word of 4 bytes",
        ),
        (
            "cpu = \"arm\"",
            "[[thread]]\nid = 1\nregisters = §{ pc = 0, sp = 3 }",
            "sp is 0x3, and no memory is there",
        ),
        (
            "cpu = \"arm64\"",
            "[[thread]]\nid = 1\nregisters = { pc = 0, sp = \"stack\", v31 = §\"00\" }",
            "16 bytes",
        ),
        (
            "cpu = \"arm64\"",
            "[[thread]]\nid = 1\nregisters = { pc = 0, sp = \"stack\", §x29 = 1 }",
            "did you mean",
        ),
        (
            "cpu = \"arm64\"\ncpuid = §{ vendor = \"GenuineIntel\" }",
            "",
            "dumps of arm64 have no place for \"cpuid\"",
        ),
        (
            "arm_cpu = §{ hwcaps = 1 }",
            "",
            "dumps of amd64 have no place for \"arm_cpu\"",
        ),
        (
            "cpu = \"x86\"\nfeatures = §[1, 2]",
            "",
            "dumps of x86 have no place for \"features\"",
        ),
        (
            "cpu = \"arm64\"\nextended_state = §\"avx\"",
            "",
            "arm64 has no extended state in scenarios",
        ),
        ("extended_state = §\"avx2\"", "", "did you mean \"avx\"?"),
        (
            "",
            "[[thread]]\nid = 1\nregisters = { rip = 0, rsp = \"stack\", ymm0 = §\"00\" }",
            "ymm0 needs a system with extended_state = \"avx\" or \"avx512\"",
        ),
        (
            "extended_state = \"avx\"",
            "[[thread]]\nid = 1\nregisters = { rip = 0, rsp = \"stack\", k1 = §\"00\" }",
            "k1 needs a system with extended_state = \"avx512\"",
        ),
    ] {
        let text = format!("[system]\nplatform = \"linux\"\n{system}\n{STACK}{rest}\n");
        assert_mistakes(&text, &[words]);
    }
    let windows = mistake("[system]\nplatform = \"windows\"\ncpu = \"arm\"\n");
    assert_eq!((windows.line(), windows.column()), (3, 7), "{windows}");
    assert!(windows.to_string().contains("for Linux only"), "{windows}");
}

/// Each mistake is reported once and at its place, whatever other mistakes there are.
#[test]
fn all_mistakes_of_a_text_are_told_in_its_order() {
    assert_mistakes(
        r#"
        [system]
        platform = "linux"
        §versoin = "6.1"
        processors = §"two"
        page_size = §5000

        [process]
        id = §-1
        times = { created = §"today", user = §true }
        power = §{ current = 5 }

        [[module]]
        path = "/opt/program"
        base = §0x40_0000_0000_0000_0000
        size = 0x4000
        build_id = §"abc"

        §[[module]]
        base = 0x50_0000
        size = 0x4000
        sections = [{ offset = 0, size = §0x10 }, §{ offset = 0x4000, size = 0x1000 }, { size = 0x1000, §ofset = 0 }]

        [[memory]]
        name = "stack"
        base = 0x7fff_0000_0000
        size = 0x4000
        protect = §"rwq"
        content = { fill = §300 }
        put = [{ offset = §"x", text = "a" }, §{ offset = 0x4000, text = "a" }, §{ offset = 0 }]

        [[thread]]
        id = §"one"
        registers = { rip = §"programme", rsp = "stack+0x1000", rax = §true, xmm0 = §"00" }
        priority = §99

        [[thread]]
        id = 7
        registers = { rip = 0, rsp = §"stakc" }

        [[handle]]
        number = §"x"
        §tpye = "File"

        [[fault]]
        kind = §"unreadble"

        [[fault]]
        kind = "question-fails"
        question = §"sytem"
        reason = §"gnoe"
        "#,
        &[
            "a system has no key \"versoin\"; did you mean \"version\"?",
            "expected an integer, found the string \"two\"",
            "expected a power of two",
            "expected a number from 0 to",
            "expected an integer, found the string \"today\"",
            "expected an integer, found the boolean true",
            "clock rates needs \"max\"",
            "expected a number from 0 to",
            "pairs of hexadecimal digits",
            "a module needs \"path\"",
            "multiple of the page size",
            "are not a part of the module",
            "a section of a module has no key \"ofset\"; did you mean \"offset\"?",
            "\"rwq\" is not a protection; did you mean",
            "from 0 to 255",
            "expected a size",
            "are not a part of the memory",
            "expected one of text, hex, words",
            "expected an integer, found the string \"one\"",
            "nothing is called \"programme\"",
            "expected an address",
            "expected 16 bytes",
            "from -15 to 15",
            "nothing is called \"stakc\"",
            "expected an integer, found the string \"x\"",
            "a handle has no key \"tpye\"; did you mean \"type\"?",
            "\"unreadble\" is not a kind of fault; did you mean \"unreadable\"?",
            "did you mean \"system\"?",
            "did you mean \"gone\"?",
        ],
    );
}

/// A mistake that only follows from another one is not reported.
#[test]
fn what_follows_from_a_mistake_is_not_told_as_well() {
    for (text, words) in [
        // Names whose place is not known.
        (
            "[[memory]]\nname = \"more\"\nbase = §\"hepa\"\nsize = 0x1000\n[[thread]]\nid = 8\nstack = \"more\"\n\
             registers = { rip = \"more+8\", rsp = \"more\" }\n[[fault]]\nkind = \"unreadable\"\nat = \"more\"",
            "nothing is called \"hepa\"",
        ),
        (
            "[[module]]\npath = \"/lib/libc.so.6\"\nbase = 0x1000\nsize = §-1\n[[symbol]]\nname = \"main\"\n\
             at = \"libc.so.6+0x10\"\nsize = 1\n[[fault]]\nkind = \"broken-module-record\"\nmodule = \"libc.so.6\"",
            "expected a number from 0",
        ),
        (
            "[[memory]]\n§nmae = \"more\"\nbase = 0x1000\nsize = 0x1000\n[[symbol]]\nname = \"x\"\nat = \"more\"\nsize = 1",
            "did you mean \"name\"?",
        ),
        // Memory that may be where another mistake is.
        (
            "[[memory]]\nbase = §\"hepa\"\nsize = 0x1000\n[[thread]]\nid = 8\ninterrupted = [0x20]\n\
             registers = { rip = 0, rsp = 0x10 }\n[[fault]]\nkind = \"region-changes\"\nat = 0x30\ngone = true",
            "nothing is called \"hepa\"",
        ),
        (
            "[[memory]]\nname = \"r\"\nbase = 0x1000\nsize = 0x2000\nstate = \"reserve\"\n\
             parts = [{ offset = 0, size = 0x1000, state = §\"comit\" }]\n\
             [[thread]]\nid = 8\nregisters = { rip = 0, rsp = \"r\" }",
            "did you mean \"commit\"?",
        ),
        (
            "[[thread]]\nid = 8\nstack_outside_memory = §\"true\"\nregisters = { rip = 0, rsp = 0x10 }",
            "expected true or false",
        ),
        (
            "[[thread]]\nid = 8\nstack = §\"heap\"\nregisters = { rip = 0, rsp = 0x10 }",
            "rsp is 0x10, outside",
        ),
        // Threads and modules that may be the intended ones.
        (
            "[[thread]]\nid = §-8\nregisters = { rip = 0, rsp = \"stack\" }\n\
             [[fault]]\nkind = \"thread-vanishes\"\nthread = 8",
            "expected a number from 0",
        ),
        (
            "[[module]]\npath = §1\nbase = 0x1000\nsize = 0x1000\n\
             [[fault]]\nkind = \"broken-module-record\"\nmodule = 0x1000",
            "expected a string",
        ),
        (
            "[[memory]]\nname = \"x\"\nbase = §0x1001\nsize = 0x1000\n[[fault]]\nkind = \"region-changes\"\n\
             at = \"x\"\nnew_size = 0x1000",
            "multiple of the page size",
        ),
    ] {
        assert_mistakes(&with(&format!("\n{text}\n")), &[words]);
    }
    // An unknown machine has no limits that a value could exceed.
    assert_mistakes(
        "[system]\nplatform = §\"linus\"\n[linux]\nmaps = \"\"\n[[module]]\npath = \"/a\"\nbase = 0x1000\nsize = 0x1000\n\
         version = \"1.2.3.70000\"\nproduct_version = \"1\"",
        &["\"linux\" or \"windows\", found \"linus\"; did you mean \"linux\"?"],
    );
    assert_mistakes(
        "[system]\nplatform = \"linux\"\ncpu = §\"arm46\"\nextended_state = \"avx\"\n\
         [[memory]]\nname = \"high\"\nbase = 0xffff_ffff_0000\nsize = 0x1000\ncontent = { words = [\"high\"] }\n\
         [[thread]]\nid = 1\nregisters = { pc = 0, eip = 0, sp = \"high\" }",
        &["did you mean \"arm64\"?"],
    );
    assert_mistakes(
        "[system]\nplatform = \"linux\"\nextended_state = §\"avx1024\"\n[[memory]]\nname = \"stack\"\nbase = 0x1000\n\
         size = 0x1000\n[[thread]]\nid = 1\nregisters = { rip = 0, rsp = \"stack\", k0 = \"0000000000000000\" }",
        &["\"avx\" or \"avx512\""],
    );
    // If the text is not TOML, nothing else is reported.
    assert_mistakes(
        "[system]\nplatform = §linux\n\nprocessors = §\n[[memory]]\nbase = \"nothing\"\n",
        &["string values must be quoted", "expected a value"],
    );
}

#[test]
fn regions_and_modules_that_overlap_are_all_told() {
    let block = |base: &str, size: &str| format!("[[memory]]\nbase = {base}\nsize = {size}\n");
    let text = [
        block("0x1000", "\"64 KiB\""),
        format!("§{}", block("0x2000", "0x1000")),
        format!("§{}", block("0x4000", "0x1000")),
        block("0x11000", "0x1000"),
        "[[module]]\npath = \"/a\"\nbase = 0x10_0000\nsize = 0x10000\n".to_owned(),
        "§[[module]]\npath = \"/b\"\nbase = 0x10_1000\nsize = 0x1000\n".to_owned(),
        "§[[module]]\npath = \"/c\"\nbase = 0x10_2000\nsize = 0x1000\n".to_owned(),
    ];
    assert_mistakes(
        &with(&format!("\n{}", text.concat())),
        &[
            "0x2000..0x3000 overlaps 0x1000..0x11000",
            "0x4000..0x5000 overlaps 0x1000..0x11000",
            "0x101000..0x102000 overlaps the module at 0x100000..0x110000",
            "0x102000..0x103000 overlaps the module at 0x100000..0x110000",
        ],
    );
}

#[test]
fn an_error_shows_the_lines_and_underlines_the_mistakes() {
    let error = refusal(
        "[system]\nplatform = \"linux\"\n\n[[memory]]\nbase = \"stak+0x10\"\nsize = 0x1000\nkind = 3\n",
    );
    assert_eq!(
        error.to_string(),
        r#"
test.toml:5:8: nothing is called "stak"; an address is a number, a name, or NAME+0x10
  |
5 | base = "stak+0x10"
  |        ^^^^^^^^^^^
test.toml:7:8: expected "private" or "mapped" or "image", found the integer 3
  |
7 | kind = 3
  |        ^
"#
        .trim_matches('\n')
    );
}
