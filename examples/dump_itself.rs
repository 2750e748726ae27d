//! A program that dumps itself. The other threads are stopped for a moment only, so that the
//! callback may do what it likes. For Linux.
//!
//! ```text
//! cargo run --example dump_itself -- itself.dmp
//! ```

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use dumpwright::{Ask, DumpType, Request, dump_to_file, native};

    let path = std::env::args().nth(1).unwrap_or_else(|| "itself.dmp".to_owned());
    std::thread::Builder::new().name("worker".to_owned()).spawn(|| {
        loop {
            std::thread::park();
        }
    })?;

    let mut threads = Vec::new();
    let mut callback = |ask: Ask<'_>| {
        if let Ask::Thread { thread, .. } = ask {
            threads.push(thread.thread_id);
        }
        true
    };
    let request = Request::new(DumpType::WITH_THREAD_INFO | DumpType::WITH_DATA_SEGS);
    let report = dump_to_file(&mut native::current()?, &request, Some(&mut callback), &path)?;

    println!("{path}: {} bytes, threads {threads:?}", report.bytes);
    for diagnostic in report.missing() {
        println!("missing: {diagnostic}");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this example is for Linux");
}
