//! A program that links the library, for the tests of live processes on Windows. It makes dumps
//! inside one process, with callbacks, and prints the result as JSON.
//!
//! `dumps repeat PID COUNT FILE`, `dumps exclude PID THREAD BEATS FILE`, `dumps end PID FILE`,
//! `dumps own FILE`

#[cfg(windows)]
mod on_windows {
    use std::ffi::c_void;
    use std::fs;
    use std::time::{Duration, Instant};

    use dumpwright::{Ask, DumpType, Error, Request, dump_to_file, native};
    use serde_json::{Value, json};

    mod system {
        use std::ffi::c_void;

        #[repr(C)]
        pub struct ThreadEntry {
            pub size: u32,
            pub usage: u32,
            pub thread: u32,
            pub owner: u32,
            pub priorities: [i32; 2],
            pub flags: u32,
        }

        #[link(name = "kernel32")]
        unsafe extern "system" {
            pub fn OpenProcess(rights: u32, inherit: i32, id: u32) -> *mut c_void;
            pub fn OpenThread(rights: u32, inherit: i32, id: u32) -> *mut c_void;
            pub fn SuspendThread(thread: *mut c_void) -> u32;
            pub fn ResumeThread(thread: *mut c_void) -> u32;
            pub fn TerminateProcess(process: *mut c_void, code: u32) -> i32;
            pub fn WaitForSingleObject(object: *mut c_void, milliseconds: u32) -> u32;
            pub fn CloseHandle(handle: *mut c_void) -> i32;
            pub fn GetHandleInformation(handle: *mut c_void, flags: *mut u32) -> i32;
            pub fn CreateToolhelp32Snapshot(flags: u32, process: u32) -> *mut c_void;
            pub fn Thread32First(snapshot: *mut c_void, entry: *mut ThreadEntry) -> i32;
            pub fn Thread32Next(snapshot: *mut c_void, entry: *mut ThreadEntry) -> i32;
        }
    }

    /// The number of handles that this process has open. (GetProcessHandleCount returns 0 under
    /// Wine 8, and the system's list of handles ends Wine's server if a process starts meanwhile.)
    fn handles() -> usize {
        /// Handles are multiples of four, and the lowest free one is used first. This process has
        /// a few hundred at most.
        const HIGHEST: usize = 1 << 16;
        let is_open = |number: &usize| {
            let mut flags = 0;
            // SAFETY: the function writes one integer, and rejects a number that is no handle.
            unsafe { system::GetHandleInformation(*number as *mut c_void, &raw mut flags) != 0 }
        };
        (4..HIGHEST).step_by(4).filter(is_open).count()
    }

    /// The threads of a process, as Toolhelp lists them.
    fn threads(process: u32) -> Vec<u32> {
        const THREADS: u32 = 4;
        let mut ids = Vec::new();
        // SAFETY: the entry is the system's structure and contains its own size; the snapshot is
        // closed once.
        unsafe {
            let snapshot = system::CreateToolhelp32Snapshot(THREADS, 0);
            let mut entry: system::ThreadEntry = std::mem::zeroed();
            entry.size = size_of::<system::ThreadEntry>() as u32;
            let mut more = system::Thread32First(snapshot, &raw mut entry);
            while more != 0 {
                if entry.owner == process {
                    ids.push(entry.thread);
                }
                more = system::Thread32Next(snapshot, &raw mut entry);
            }
            system::CloseHandle(snapshot);
        }
        ids
    }

    /// The threads of a process that stay suspended, each with its suspend count. Wine creates
    /// threads suspended and resumes them a moment later, so the function looks several times.
    fn suspended(process: u32) -> Vec<(u32, u32)> {
        const LOOKS: usize = 1000;
        let mut found = suspended_now(process);
        for _ in 0..LOOKS {
            if found.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            let now = suspended_now(process);
            found.retain(|(id, _)| now.iter().any(|(still, _)| still == id));
        }
        found
    }

    fn suspended_now(process: u32) -> Vec<(u32, u32)> {
        const SUSPEND_RESUME: u32 = 2;
        let counts = threads(process).into_iter().filter_map(|id| {
            // SAFETY: the thread is resumed as often as it is suspended here, and the handle is
            // closed once.
            unsafe {
                let thread = system::OpenThread(SUSPEND_RESUME, 0, id);
                if thread.is_null() {
                    return None;
                }
                let before = system::SuspendThread(thread);
                if before != u32::MAX {
                    system::ResumeThread(thread);
                }
                system::CloseHandle(thread);
                (before != u32::MAX && before != 0).then_some((id, before))
            }
        });
        counts.collect()
    }

    fn failure(error: &Error) -> Value {
        json!({"error": error.to_string(), "hresult": format!("{:#010x}", error.hresult().0)})
    }

    /// Makes this many dumps of a process, with changing types, and after each dump looks for
    /// threads that stay suspended.
    fn repeat(pid: u32, count: usize, file: &str) -> Value {
        const TYPES: [&str; 5] = ["normal", "0x1925", "triage", "heap", "full"];
        // The first dumps load what is loaded once, above all DLLs.
        const FIRST: usize = 10;
        let (mut partial, mut left_suspended, mut diagnostics) = (0, Vec::new(), Vec::new());
        let mut after_first = 0;
        let mut longest = Duration::ZERO;
        for index in 0..count + FIRST {
            if index == FIRST {
                after_first = handles();
            }
            let dump_type = DumpType::parse(TYPES[index % TYPES.len()]).expect("a type");
            let started = Instant::now();
            let report = native::process(pid)
                .map_err(Error::from)
                .and_then(|mut process| dump_to_file(&mut process, &Request::new(dump_type), None, file));
            longest = longest.max(started.elapsed());
            match report {
                Ok(report) if report.is_complete() => {}
                Ok(report) => {
                    partial += 1;
                    diagnostics.extend(report.missing().map(ToString::to_string));
                }
                Err(error) => return json!({"dumps": index, "failure": failure(&error)}),
            }
            left_suspended.extend(suspended(pid));
            fs::remove_file(file).expect("it was written");
        }
        json!({
            "dumps": count + FIRST,
            "partial": partial,
            "missing": diagnostics,
            "left_suspended": left_suspended,
            "handles_after_first": after_first,
            "handles": handles(),
            "longest_ms": longest.as_millis() as u64,
        })
    }

    /// Dumps a process without one of its threads. While all others are suspended, the function
    /// waits until that thread counts further, so it is never suspended. Index 2 of the counters
    /// belongs to a thread that is suspended.
    fn exclude(pid: u32, excluded: u32, beats: &str, place: usize, file: &str) -> Value {
        const PATIENCE: Duration = Duration::from_secs(60);
        let beat = |place: usize| {
            let table = fs::read(beats).expect("the beats");
            u64::from_le_bytes(table[8 * place..8 * place + 8].try_into().expect("eight bytes"))
        };
        let mut went_on = None;
        let mut others_stood = None;
        let mut callback = |ask: Ask<'_>| {
            match ask {
                Ask::IncludeThread { thread_id, .. } => return thread_id != excluded,
                Ask::Thread { .. } if went_on.is_none() => {
                    let (before, held_before) = (beat(place), beat(2));
                    let started = Instant::now();
                    while beat(place) < before + 20 && started.elapsed() < PATIENCE {
                        std::thread::yield_now();
                    }
                    went_on = Some(beat(place) >= before + 20);
                    others_stood = Some(beat(2) == held_before);
                }
                _ => {}
            }
            true
        };
        let outcome = native::process(pid).map_err(Error::from).and_then(|mut process| {
            dump_to_file(
                &mut process,
                &Request::new(DumpType::NORMAL),
                Some(&mut callback),
                file,
            )
        });
        match outcome {
            Ok(report) => {
                json!({"threads": report.threads, "went_on": went_on, "others_stood": others_stood})
            }
            Err(error) => failure(&error),
        }
    }

    /// Dumps a process that ends while its threads are being selected.
    fn end(pid: u32, file: &str) -> Value {
        const TERMINATE: u32 = 1;
        const SYNCHRONIZE: u32 = 0x10_0000;
        let mut callback = |ask: Ask<'_>| {
            if let Ask::IncludeThread { .. } = ask {
                // SAFETY: the handle is closed once.
                unsafe {
                    let process = system::OpenProcess(TERMINATE | SYNCHRONIZE, 0, pid);
                    system::TerminateProcess(process, 1);
                    system::WaitForSingleObject(process, u32::MAX);
                    system::CloseHandle(process);
                }
            }
            true
        };
        let outcome = native::process(pid).map_err(Error::from).and_then(|mut process| {
            dump_to_file(
                &mut process,
                &Request::new(DumpType::NORMAL),
                Some(&mut callback),
                file,
            )
        });
        outcome.map_or_else(
            |error| failure(&error),
            |report| json!({"threads": report.threads}),
        )
    }

    fn own(file: &str) -> Value {
        let outcome = native::process(std::process::id())
            .map_err(Error::from)
            .and_then(|mut process| dump_to_file(&mut process, &Request::new(DumpType::NORMAL), None, file));
        outcome.map_or_else(
            |error| failure(&error),
            |report| json!({"threads": report.threads}),
        )
    }

    pub fn run() {
        let words: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |word: &str| word.parse().expect("a number");
        let result = match words[..] {
            ["repeat", pid, count, file] => repeat(number(pid), number(count) as usize, file),
            ["exclude", pid, thread, beats, place, file] => {
                exclude(number(pid), number(thread), beats, number(place) as usize, file)
            }
            ["end", pid, file] => end(number(pid), file),
            ["own", file] => own(file),
            _ => panic!("what is to be done? {words:?}"),
        };
        println!("{result}");
    }
}

fn main() {
    #[cfg(windows)]
    on_windows::run();
    #[cfg(not(windows))]
    eprintln!("this program dumps processes on Windows");
}
