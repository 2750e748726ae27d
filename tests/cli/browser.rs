//! Debian's Chromium without a window, driven through its debugging pipe.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page. It ends when it is dropped.
pub struct Browser {
    child: Child,
    input: RefCell<ChildStdin>,
    output: RefCell<BufReader<ChildStdout>>,
    session: String,
    next: Cell<u64>,
    /// The number of pages that were loaded.
    loads: Cell<u64>,
    /// Messages of the console and of the log, and exceptions.
    pub messages: RefCell<Vec<String>>,
    /// The addresses of all requests.
    pub requests: RefCell<Vec<String>>,
    _profile: TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = TempDir::new().unwrap();
        // The pipe has the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec chromium-headless-shell \"$@\" 3<&0 4>&1 </dev/null >/dev/null",
                "sh",
            ])
            // Root cannot use the sandbox, and the pages are our own.
            .args([
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let input = RefCell::new(child.stdin.take().unwrap());
        let output = RefCell::new(BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Browser {
            child,
            input,
            output,
            session: String::new(),
            next: Cell::new(0),
            loads: Cell::new(0),
            messages: RefCell::default(),
            requests: RefCell::default(),
            _profile: profile,
        };
        let targets = browser.call("Target.getTargets", json!({}));
        let pages = targets["targetInfos"].as_array().unwrap();
        let page = pages
            .iter()
            .find(|target| target["type"] == "page")
            .expect("a page");
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": page["targetId"], "flatten": true }),
        );
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the DevTools protocol and returns its result.
    fn call(&self, method: &str, parameters: Value) -> Value {
        let id = self.next.get();
        self.next.set(id + 1);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut input = self.input.borrow_mut();
        write!(input, "{message}\0")
            .and_then(|()| input.flush())
            .expect("chromium-headless-shell runs: install it with `cargo xtask readers`");
        loop {
            let message = self.receive();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
        }
    }

    fn receive(&self) -> Value {
        let mut bytes = Vec::new();
        self.output.borrow_mut().read_until(0, &mut bytes).unwrap();
        assert_eq!(
            bytes.pop(),
            Some(0),
            "chromium-headless-shell runs: install it with `cargo xtask readers`"
        );
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let details = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let address = details["request"]["url"].as_str().unwrap().to_owned();
                self.requests.borrow_mut().push(address);
            }
            "Page.loadEventFired" => self.loads.set(self.loads.get() + 1),
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
                self.messages.borrow_mut().push(details.to_string());
            }
            _ => {}
        }
        message
    }

    /// Opens a part of a page and waits until it is loaded and drawn.
    pub fn open(&self, file: &Path, part: &str) {
        // Otherwise only the part changes if the page is open already.
        self.navigate("about:blank");
        self.requests.borrow_mut().clear();
        self.messages.borrow_mut().clear();
        self.navigate(&format!("file://{}#{part}", file.display()));
        let ready = self.eval("document.documentElement.dataset.ready ?? ''");
        assert_ne!(ready, "", "{:?}", self.messages.borrow());
    }

    fn navigate(&self, address: &str) {
        let before = self.loads.get();
        self.call("Page.navigate", json!({ "url": address }));
        while self.loads.get() == before {
            self.receive();
        }
    }

    /// Returns the value of an expression in the page.
    pub fn eval(&self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Returns the text of an expression's value.
    pub fn text(&self, expression: &str) -> String {
        match self.eval(expression) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// Presses and releases a key.
    pub fn key(&self, key: &str) {
        let mut down = json!({ "type": "keyDown", "key": key });
        if key.chars().count() == 1 {
            down["text"] = json!(key);
        }
        self.call("Input.dispatchKeyEvent", down);
        self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp", "key": key }));
    }

    /// Gives the window a size, and the system a colour scheme.
    pub fn resize(&self, width: u32, height: u32, scheme: &str) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// Fails if the page reported an error or requested anything but itself.
    pub fn assert_quiet(&self) {
        // Messages that are on their way come before this result.
        assert_eq!(self.eval("document.documentElement.dataset.failure ?? ''"), "");
        assert_eq!(*self.messages.borrow(), [""; 0]);
        let requests = self.requests.borrow();
        let others: Vec<_> = requests
            .iter()
            .filter(|address| !address.starts_with("data:"))
            .skip(1)
            .collect();
        assert!(others.is_empty() && !requests.is_empty(), "{requests:?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
