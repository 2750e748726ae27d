//! Callbacks in Rust for `MiniDumpWriteDump`, for `tests/windows/dbghelp.rs`: tests that the
//! command line has no options for.
//!
//! `dbghelp_callbacks WHAT PID FILE DLL`

#![forbid(unsafe_code)]

#[cfg(windows)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    windows::main()
}

#[cfg(not(windows))]
fn main() {
    eprintln!("this is a program for Windows");
}

#[cfg(windows)]
mod windows {
    use std::error::Error;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use dumpwright::callback::ThreadWriteFlags;
    use dumpwright::native::dbghelp::{self, DbgHelp, OpenProcess};
    use dumpwright::policy::{Chain, Redact, Threads};
    use dumpwright::{Ask, Callback, DumpType, FileSink, Report, Request};

    pub fn main() -> Result<(), Box<dyn Error>> {
        let arguments: Vec<String> = std::env::args().collect();
        let [_, what, pid, file, dll] = &arguments[..] else {
            return Err("dbghelp_callbacks WHAT PID FILE DLL".into());
        };
        let engine = DbgHelp::load(Path::new(dll))?;
        let process = OpenProcess::open(pid.parse()?)?;
        let dump = |callback: &mut dyn Callback, dump_type: DumpType| -> Result<Report, Box<dyn Error>> {
            let mut sink = FileSink::create(file, false)?;
            let request = Request::new(dump_type);
            let report = dbghelp::dump(&engine, process.subject(), &request, Some(callback), &mut sink)?;
            sink.publish()?;
            Ok(report)
        };
        let all = DumpType::WITH_PRIVATE_READ_WRITE_MEMORY;
        match what.as_str() {
            "plain" => println!("{} threads", dump(&mut nothing, all)?.threads),
            "redact" => {
                let mut redact = Redact::new().text("open-sesame-4711");
                dump(&mut redact, all)?;
            }
            "filter" => {
                let excepted: u32 = std::env::var("EXCEPTED")?.parse()?;
                let mut chain = Chain::new().then(Threads::except([excepted]));
                println!("{} threads", dump(&mut chain, DumpType::NORMAL)?.threads);
            }
            "panic" => {
                let mut asked_after = 0;
                let mut has_panicked = false;
                let mut callback = |ask: Ask<'_>| {
                    asked_after += u32::from(has_panicked);
                    if matches!(ask, Ask::IncludeModule { .. }) {
                        has_panicked = true;
                        panic!("not this module");
                    }
                    true
                };
                let panic = catch_unwind(AssertUnwindSafe(|| dump(&mut callback, DumpType::NORMAL).is_ok()));
                let words = panic.expect_err("a panic");
                println!("{}", words.downcast_ref::<&str>().ok_or("no words")?);
                println!("asked {asked_after} times behind it");
                println!("there is a file: {}", Path::new(file).exists());
                println!("{} threads", dump(&mut nothing, DumpType::NORMAL)?.threads);
            }
            "inside" => {
                let mut refused = None;
                let mut callback = |ask: Ask<'_>| {
                    if let Ask::IncludeThread { .. } = ask {
                        let again = dbghelp::dump(
                            &engine,
                            process.subject(),
                            &Request::new(DumpType::NORMAL),
                            None,
                            &mut Vec::new(),
                        );
                        refused = again.err().map(|error| error.to_string());
                    }
                    !matches!(ask, Ask::Memory { .. } | Ask::RemoveMemory { .. })
                };
                println!("{} threads", dump(&mut callback, DumpType::NORMAL)?.threads);
                println!("{}", refused.ok_or("not refused")?);
            }
            "memory" => {
                // Into a sink that can only be appended to.
                let mut bytes = Vec::new();
                let mut flags = Vec::new();
                let mut callback = |ask: Ask<'_>| {
                    if let Ask::IncludeThread { keep, .. } = ask {
                        flags.push(*keep);
                        *keep -= ThreadWriteFlags::INSTRUCTION_WINDOW;
                    }
                    true
                };
                let request = Request::new(DumpType::NORMAL).time(1).comment("by hand");
                let report = dbghelp::dump(
                    &engine,
                    process.subject(),
                    &request,
                    Some(&mut callback),
                    &mut bytes,
                )?;
                std::fs::write(file, &bytes)?;
                println!(
                    "{} of {} bytes, {} threads",
                    report.bytes,
                    bytes.len(),
                    report.threads
                );
                for note in report.notes() {
                    println!("{note}");
                }
            }
            _ => return Err(format!("what is {what}?").into()),
        }
        Ok(())
    }

    /// Changes nothing and requests nothing.
    fn nothing(ask: Ask<'_>) -> bool {
        !matches!(ask, Ask::Memory { .. } | Ask::RemoveMemory { .. })
    }
}
