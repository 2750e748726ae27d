//! The page of `show --html`, as Chromium shows it.
//!
//! The expected contents come from the victims, from another reader of dumps, and from the
//! scenarios.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minidump::{Minidump, MinidumpMemoryList, MinidumpThreadList};

use crate::attempt::{Folder, Outcome, assert_says, dump, plain, threads};
use crate::browser::Browser;
use crate::summary::large;
use crate::support::dumper::dumpwright;
use crate::support::repository;
use crate::support::victim::ThreadsTruth;

/// Runs `show FILE --html OUT`, with more arguments.
fn show(file: &Path, out: &Path, more: &[&str]) -> Outcome {
    let mut program = dumpwright();
    program.arg("show").arg(file).arg("--html").arg(out).args(more);
    Outcome::of(&mut program)
}

/// Writes the page about a dump, next to it.
fn page(file: &Path, more: &[&str]) -> PathBuf {
    let page = file.with_extension("html");
    show(file, &page, more).expect(0);
    page
}

/// Makes a dump of a simulated process, with the transcript `calls`.
fn simulated(folder: &Folder, scenario: &str, script: &str) -> (PathBuf, PathBuf) {
    let [text, answers, calls, file] =
        ["scenario.toml", "script.toml", "calls.jsonl", "dump.dmp"].map(|name| folder.file(name));
    fs::write(&text, scenario).unwrap();
    fs::write(&answers, script).unwrap();
    Outcome::of(
        dump()
            .args(["--type", "normal,with-full-memory-info", "--force", "-o"])
            .arg(&file)
            .arg("--scenario")
            .arg(&text)
            .arg("--script")
            .arg(&answers)
            .arg("--transcript")
            .arg(&calls),
    )
    .expect(0);
    (file, calls)
}

/// An expression for the texts of the cells of `row`.
const CELLS: &str = "[...row.children].map(cell => cell.textContent).join('|')";

/// An expression for the texts of the cells of a list, row by row.
fn rows(list: &str) -> String {
    format!("[...document.querySelectorAll('#{list} .body .row')].map(row => {CELLS}).join('\\n')")
}

/// Scrolls through a list and returns all of its rows.
fn all_rows(browser: &Browser, list: &str) -> String {
    let script = format!(
        "(async () => {{
            const body = document.querySelector('#{list} .body');
            const found = new Map();
            for (let at = 0; ; at += 200) {{
                body.scrollTop = at;
                await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
                for (const row of body.querySelectorAll('.row')) {{
                    found.set(Number(row.dataset.at), {CELLS});
                }}
                if (at >= body.scrollHeight) break;
            }}
            return [...found.entries()].sort((a, b) => a[0] - b[0]).map(entry => entry[1]).join('\\n');
        }})()"
    );
    browser.text(&script)
}

#[test]
fn a_live_process_is_shown_as_it_is() {
    let victim = threads();
    let truth: ThreadsTruth = victim.truth();
    let folder = Folder::new();
    let file = folder.file("live.dmp");
    Outcome::of(
        dump()
            .arg(victim.pid().to_string())
            .args(["--type", "mini,with-full-memory-info", "-o"])
            .arg(&file),
    )
    .expect(0);
    let page = page(&file, &[]);
    let browser = Browser::start();
    browser.open(&page, "threads");
    let list = all_rows(&browser, "list-threads");
    assert_eq!(list.lines().count(), truth.threads.len(), "{list}");
    for thread in &truth.threads {
        let row = format!("{}|{}|", thread.tid, thread.name);
        assert!(list.lines().any(|line| line.starts_with(&row)), "{row}: {list}");
    }
    let alpha = truth
        .threads
        .iter()
        .find(|thread| thread.name == "alpha")
        .unwrap();
    browser.open(&page, "threads?search=alpha_leaf");
    assert_eq!(browser.text(&rows("list-threads")).lines().count(), 1);
    // A click on the row shows the thread's stack and registers.
    browser.eval("document.querySelector('#list-threads .body .row').click()");
    assert_eq!(
        browser.text("document.getElementById('thread-name').textContent"),
        format!("Thread {} alpha", alpha.tid)
    );
    let detail = browser.text("document.getElementById('thread-detail').innerText");
    assert_says(
        &detail,
        &["alpha_leaf", "alpha_mid", "alpha_top", "rsp", "Registers"],
    );
    // Another reader finds as many bytes, as many in stacks, and the same ranges.
    let other = Minidump::read_path(&file).unwrap();
    let memory = other.get_stream::<MinidumpMemoryList>().unwrap();
    let all: u64 = memory.iter().map(|range| range.size).sum();
    let list = other.get_stream::<MinidumpThreadList>().unwrap();
    let stacks: u64 = list
        .threads
        .iter()
        .map(|thread| u64::from(thread.raw.stack.memory.data_size))
        .sum();
    let bytes = |condition: &str| {
        browser.eval(&format!(
            "JSON.parse(document.getElementById('data').textContent).memory.causes.filter(row => {condition})\
             .reduce((sum, row) => sum + row[3], 0)"
        ))
    };
    assert_eq!(bytes("row[0] !== 'absent'"), all);
    assert_eq!(bytes("row[0] === 'stack'"), stacks);
    assert!(bytes("row[0] === 'absent'").as_u64().unwrap() > all);
    browser.open(&page, "memory");
    let ranges = all_rows(&browser, "list-memory");
    for range in memory.iter() {
        let start = format!("{:#018x}|", range.base_address);
        assert!(
            ranges.lines().any(|line| line.starts_with(&start)),
            "{start}: {ranges}"
        );
    }
    // The picture has the colours of the causes that it has, and not those of the others.
    let painted = browser.eval(
        "(() => {
            const map = document.getElementById('map');
            const pixels = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;
            const colours = new Set();
            for (let at = 0; at < pixels.length; at += 4) colours.add(pixels.slice(at, at + 3).join());
            const probe = document.createElement('i');
            document.body.append(probe);
            return ['stack', 'module', 'absent', 'callback'].filter(name => {
                probe.style.color = `var(--${name})`;
                return colours.has(getComputedStyle(probe).color.match(/\\d+/g).join());
            }).join();
        })()",
    );
    assert_eq!(painted, "stack,module,absent");
    browser.assert_quiet();
}

/// A program that crashed, and a dump that lost memory while it was written.
#[test]
fn an_exception_and_losses_are_shown() {
    let folder = Folder::new();
    let browser = Browser::start();
    let crash = folder.file("crash.dmp");
    let program = ["--", "sh", "-c", "kill -SEGV $$"];
    let crashing = ["--exec", "--after", "never", "-o"];
    Outcome::of(dump().args(crashing).arg(&crash).args(program)).expect(0);
    browser.open(&page(&crash, &[]), "exception");
    let text = browser.text("document.getElementById('exception').innerText");
    assert_says(
        &text,
        &[
            "SIGSEGV (SI_USER) at address 0x",
            "in thread ",
            "code",
            "0xb",
            "Registers",
            "rip",
            "#0",
        ],
    );
    let said = browser.text("document.getElementById('facts').textContent");
    assert_says(&said, &["SIGSEGV (SI_USER)", "missingnothing"]);
    let plain = fs::read_to_string(repository().join("testdata/cases/plain/scenario.toml")).unwrap();
    let (scenario, lossy) = (folder.file("scenario.toml"), folder.file("lossy.dmp"));
    let fault = "[[fault]]\nkind = \"unreadable-from\"\nat = \"heap\"\nsize = 0x1000\n";
    fs::write(&scenario, plain + fault).unwrap();
    let full = ["--type", "full", "-o"];
    Outcome::of(dump().args(full).arg(&lossy).arg("--scenario").arg(&scenario)).expect(3);
    let page = page(&lossy, &[]);
    browser.open(&page, "losses");
    let losses = browser.text(&rows("list-missing"));
    assert_says(&losses, &["memory 0x1000000000-0x1000001000|"]);
    assert_eq!(
        browser.eval("document.getElementById('tab-exception')"),
        serde_json::Value::Null
    );
    browser.open(&page, "memory?search=lost");
    let lost = browser.text(&rows("list-memory"));
    assert_says(&lost, &["0x0000001000000000|0x0000001000000fff|4.00 KiB|lost|"]);
    assert!(lost.ends_with('|'), "it has no place in the file: {lost}");
    browser.open(&page, "memory?search=full%20memory");
    let full = browser.text(&rows("list-memory"));
    assert_says(
        &full,
        &["0x0000001000001000|0x0000001000001fff|4.00 KiB|full memory|"],
    );
    browser.assert_quiet();
}

/// Of a long list, only the rows that can be seen are elements.
#[test]
fn long_lists_have_few_elements() {
    let folder = Folder::new();
    let file = folder.file("large.dmp");
    let scenario = folder.file("scenario.toml");
    // Each thread is in another module.
    let place = |number: u64| format!("{:#x}", 0x7000_0000_0000_u64 + number * 0x10_0000 + 0x500);
    fs::write(&scenario, large(1000, 1000, place)).unwrap();
    Outcome::of(dump().arg("--scenario").arg(&scenario).arg("-o").arg(&file)).expect(0);
    let page = page(&file, &[]);
    let browser = Browser::start();
    for (part, list) in [
        ("threads", "list-threads"),
        ("threads", "list-stacks"),
        ("modules", "list-modules"),
    ] {
        browser.open(&page, part);
        let grid = format!("document.querySelector('#{list} [role=grid]')");
        assert_eq!(
            browser.text(&format!("{grid}.getAttribute('aria-rowcount')")),
            "1001"
        );
        let elements = browser
            .eval(&format!("{grid}.querySelectorAll('.row').length"))
            .as_u64()
            .unwrap();
        assert!((5..60).contains(&elements), "{list}: {elements}");
        browser.eval(&format!("{grid}.focus()"));
        browser.key("End");
        let last = browser.text(&rows(list));
        assert_says(last.lines().last().unwrap(), &["module-999.so"]);
    }
    browser.assert_quiet();
}

#[test]
fn texts_of_the_target_stay_texts() {
    let folder = Folder::new();
    let name = "</script><img src=x onerror=document.title=1>";
    let scenario = format!(
        "[process]\nid = 1000\n[system]\nplatform = \"linux\"\n\
         [[module]]\npath = \"/opt/{name}\"\nbase = 0x40_0000\nsize = 0x1000\n\
         [[memory]]\nbase = 0x6000_0000\nsize = 0x1000\n\
         [[thread]]\nid = 1000\nname = \"{name}\\u202E\\u0007\"\nregisters = {{ rip = 0x40_0500, rsp = 0x6000_0800 }}\n"
    );
    let (file, calls) = simulated(&folder, &scenario, "");
    let page = page(&file, &["--transcript", calls.to_str().unwrap()]);
    let source = fs::read_to_string(&page).unwrap();
    assert!(!source.contains("<img") && !source.contains('\u{202E}'));
    let browser = Browser::start();
    for part in ["summary", "memory", "threads", "modules", "losses", "dialogue"] {
        browser.open(&page, part);
        assert_eq!(
            browser.eval("document.querySelectorAll('img, iframe, object').length"),
            0
        );
        browser.assert_quiet();
    }
    browser.open(&page, "threads");
    let list = browser.text(&rows("list-threads"));
    assert_says(&list, &[name, "\\u{202e}\\u{7}"]);
    assert_says(&browser.text("document.title"), &["script><img src=x"]);
}

#[test]
fn the_page_is_safe_from_what_others_add() {
    let folder = Folder::new();
    let file = folder.file("plain.dmp");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    Outcome::of(dump().arg("--scenario").arg(scenario).arg("-o").arg(&file)).expect(0);
    let page = page(&file, &[]);
    let browser = Browser::start();
    browser.open(&page, "");
    // A script, a style and a request that are not of this page are refused.
    browser.eval(
        "(() => {
            for (const name of ['script', 'style']) {
                const added = document.createElement(name);
                added.append(name === 'script' ? 'document.title = 1' : 'body { display: none }');
                document.head.append(added);
            }
        })()",
    );
    assert_ne!(browser.text("document.title"), "1");
    assert_eq!(browser.eval("getComputedStyle(document.body).display"), "block");
    let refused = browser.eval("fetch('https://localhost/').then(() => false, () => true)");
    assert_eq!(refused, true);
    assert_eq!(
        browser.eval(
            "(() => { try { document.body.innerHTML = '<b>'; return false } catch { return true } })()"
        ),
        true
    );
    let sent = browser
        .requests
        .borrow()
        .iter()
        .any(|address| address.starts_with("https"));
    assert!(!sent, "{:?}", browser.requests.borrow());
}

/// The scenario of the golden cases, with two ranges that the callback adds.
#[test]
fn the_dialogue_is_a_time_line_with_effects() {
    let folder = Folder::new();
    let scenario = fs::read_to_string(repository().join("testdata/cases/plain/scenario.toml")).unwrap();
    let script = "[[rule]]\nask = \"Memory\"\nmemory = [\"program+0x2000/0x100\", \"libextra.so/0x40\"]\n\
                  [[rule]]\nask = \"IncludeThread\"\nthread = 1001\nreturn = false\n";
    let (file, calls) = simulated(&folder, &scenario, script);
    let page = page(&file, &["--transcript", calls.to_str().unwrap()]);
    let browser = Browser::start();
    browser.open(&page, "dialogue");
    let list = all_rows(&browser, "list-dialogue");
    assert_says(
        &list,
        &[
            "IncludeThread|thread=1001|FALSE|thread 1001 is left out",
            "Memory||TRUE|adds 256 bytes at program+0x2000",
            "Memory||TRUE|adds 64 bytes at libextra.so",
            "Memory||FALSE|no more ranges",
        ],
    );
    // The arrow keys go from effect to effect.
    browser.eval("document.getElementById('line').focus()");
    let mut effects = String::new();
    for _ in 0..3 {
        browser.key("ArrowRight");
        effects += &browser.text("document.getElementById('call').textContent");
    }
    assert_says(&effects, &["1001 is left out", "adds 256", "adds 64"]);
    // The picture and the list have the cause.
    browser.open(&page, "memory?search=callback");
    assert_eq!(
        browser
            .text(&rows("list-memory"))
            .lines()
            .collect::<Vec<_>>()
            .len(),
        2
    );
    assert_says(
        &browser.text(&rows("list-memory")),
        &[
            "0x0000000000402000|0x00000000004020ff|256 B|callback|call ",
            "0x0000700000000000|0x000070000000003f|64 B|callback|call ",
        ],
    );
    browser.assert_quiet();
}

#[test]
fn it_is_used_by_keyboard_and_in_windows_of_any_size() {
    let victim = plain();
    let folder = Folder::new();
    let file = folder.file("plain.dmp");
    Outcome::of(
        dump()
            .arg(victim.pid().to_string())
            .args(["--type", "mini,with-full-memory-info", "-o"])
            .arg(&file),
    )
    .expect(0);
    let page = page(&file, &[]);
    let browser = Browser::start();
    browser.open(&page, "");
    let selected = "document.querySelector('[role=tab][aria-selected=true]').id";
    assert_eq!(browser.text(selected), "tab-summary");
    browser.key("2");
    assert_eq!(browser.text(selected), "tab-memory");
    browser.key("ArrowRight");
    assert_eq!(browser.text(selected), "tab-threads");
    browser.key("2");
    browser.eval("document.getElementById('map').focus()");
    let at = "document.getElementById('map').getAttribute('aria-valuenow')";
    for expected in ["1", "2", "3"] {
        browser.key("ArrowRight");
        assert_eq!(browser.text(at), expected);
    }
    let chosen = browser
        .text("document.querySelector('#list-memory [aria-selected=true]').getAttribute('aria-rowindex')");
    assert_eq!(chosen, "4", "the list follows; its head is row 1");
    browser.key("End");
    assert_eq!(
        browser.text(at),
        browser.text("document.getElementById('map').getAttribute('aria-valuemax')")
    );
    // A list: the end and one up.
    browser.eval("document.querySelector('#list-memory [role=grid]').focus()");
    browser.key("End");
    browser.key("ArrowUp");
    let row = browser
        .text("document.querySelector('#list-memory [aria-selected=true]').getAttribute('aria-rowindex')");
    let count =
        browser.text("document.querySelector('#list-memory [role=grid]').getAttribute('aria-rowcount')");
    assert_eq!(row.parse::<u64>().unwrap() + 1, count.parse::<u64>().unwrap());
    // Search: the stack pointer of the thread is in one range.
    let pointer = browser.text("JSON.parse(document.getElementById('data').textContent).threads[0][6][8]");
    browser.open(&page, &format!("memory?search=0x{pointer}"));
    let found = browser.text(&rows("list-memory"));
    assert_eq!(found.lines().count(), 1, "{pointer}: {found}");
    assert_says(&found, &["|stack|stack of thread"]);
    browser.key("/");
    assert_eq!(browser.text("document.activeElement.id"), "search");
    browser.key("Escape");
    assert_eq!(browser.text("document.getElementById('search').value"), "");
    // Everything that can be used has a name.
    let nameless = browser.eval(
        "[...document.querySelectorAll('button, input, canvas, [role=grid], [tabindex]')].filter(element =>
            !element.textContent.trim() && !element.ariaLabel && !element.labels?.length).map(element => element.outerHTML)",
    );
    assert_eq!(nameless.as_array().map(Vec::len), Some(0), "{nameless}");
    for (width, height) in [(1600, 1000), (1024, 768), (390, 844)] {
        for scheme in ["light", "dark"] {
            browser.resize(width, height, scheme);
            for part in ["summary", "memory", "threads", "modules", "handles", "losses"] {
                browser.open(&page, part);
                let overflow = "document.documentElement.scrollWidth - innerWidth";
                assert!(browser.eval(overflow).as_i64().unwrap() <= 0, "{width} {part}");
            }
            assert_contrast(&browser, scheme);
        }
    }
    // The switch wins over the system.
    let ground = "getComputedStyle(document.documentElement).backgroundColor";
    let dark = browser.text(ground);
    browser.eval("document.activeElement.blur()");
    browser.key("t");
    assert_ne!(browser.text(ground), dark);
    browser.key("t");
    assert_eq!(browser.text(ground), dark);
    browser.assert_quiet();
}

/// Text has a contrast of at least 4.5, and colours in pictures one of 3, as WCAG 2.1 demands.
fn assert_contrast(browser: &Browser, scheme: &str) {
    let contrasts = browser.eval(
        "(() => {
            const probe = document.createElement('i');
            document.body.append(probe);
            const light = (name) => {
                probe.style.color = `var(--${name})`;
                const part = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
                const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(value => part(value / 255));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const between = (a, b) => {
                const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
                return (high + 0.05) / (low + 0.05);
            };
            const found = [];
            for (const text of ['text', 'faint', 'accent', 'alarm']) {
                for (const ground of ['ground', 'raised']) found.push([`${text} on ${ground}`, between(text, ground), 4.5]);
            }
            found.push(['text on chosen', between('text', 'chosen'), 4.5]);
            for (const cause of ['stack', 'instruction', 'module', 'thread', 'callback', 'referenced', 'private', 'full',
                'unknown', 'lost', 'absent-edge', 'less', 'more', 'change', 'failure']) {
                found.push([cause, between(cause, 'raised'), 2.999]);
            }
            probe.remove();
            return found.filter(([, value, least]) => !(value >= least)).map(row => row.join(' '));
        })()",
    );
    assert_eq!(
        contrasts.as_array().map(Vec::len),
        Some(0),
        "{scheme}: {contrasts}"
    );
}

#[test]
fn the_file_is_new_and_private() {
    let folder = Folder::new();
    let file = folder.file("plain.dmp");
    let scenario = repository().join("testdata/cases/plain/scenario.toml");
    Outcome::of(dump().arg("--scenario").arg(scenario).arg("-o").arg(&file)).expect(0);
    let show = |out: &Path, more: &[&str]| show(&file, out, more);
    let page = folder.file("page.html");
    let said = show(&page, &[]).expect(0);
    assert_says(
        &String::from_utf8(said.stdout).unwrap(),
        &["page.html: page, ", "KiB"],
    );
    let mode = fs::metadata(&page).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = fs::read(&page).unwrap();
    // The same dump gives the same page.
    let printed = show(Path::new("-"), &[]).expect(0);
    assert!(printed.stdout == first);
    fs::write(&page, "mine").unwrap();
    let refused = show(&page, &[]).expect(1);
    assert_says(&refused.stderr, &["page.html", "exists"]);
    assert_eq!(fs::read(&page).unwrap(), b"mine");
    show(&page, &["--force"]).expect(0);
    assert!(fs::read(&page).unwrap() == first);
    // A link is never followed.
    let link = folder.file("link.html");
    std::os::unix::fs::symlink(folder.file("elsewhere"), &link).unwrap();
    for more in [&[][..], &["--force"]] {
        let refused = show(&link, more).expect(1);
        assert_says(&refused.stderr, &["link.html"]);
    }
    let absent = show(&folder.file("no/such/page.html"), &[]).expect(1);
    assert_says(&absent.stderr, &["page.html"]);
    folder.assert_holds(&["plain.dmp", "page.html", "link.html"]);
    // It needs a dump and a transcript that can be read.
    let wrong = show(
        &folder.file("other.html"),
        &["--transcript", page.to_str().unwrap()],
    )
    .expect(1);
    assert_says(&wrong.stderr, &["page.html:1:"]);
    show(Path::new("x"), &["--json"]).expect(2);
}

/// The hashes in the page's policy are those of the script and of the style sheet.
#[test]
fn the_policy_has_the_hashes_of_the_page() {
    let folder = repository().join("src/cli/show/html");
    let page = folder.join("page.html");
    let mut text = fs::read_to_string(&page).unwrap();
    for (file, directive) in [("page.js", "script-src"), ("page.css", "style-src")] {
        let hash = sha256(&fs::read(folder.join(file)).unwrap());
        let start = text.find(&format!("{directive} 'sha256-")).unwrap() + directive.len() + 9;
        let end = start + text[start..].find('\'').unwrap();
        text.replace_range(start..end, &hash);
    }
    if std::env::var_os("DUMPWRIGHT_BLESS").is_some() {
        fs::write(&page, &text).unwrap();
    }
    let found = fs::read_to_string(&page).unwrap();
    assert!(
        found == text,
        "the hashes in page.html are old: `cargo xtask bless` renews them"
    );
}

/// SHA-256 in Base64, by the programs of the system.
fn sha256(bytes: &[u8]) -> String {
    let mut child = Command::new("bash")
        .args([
            "-c",
            r#"printf "$(sha256sum | cut -c-64 | sed 's/../\\x&/g')" | base64"#,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert_eq!(hash.len(), 44, "{hash}");
    hash
}
