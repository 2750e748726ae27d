//! A program that is its own crash server: `cargo run --example crash_handler -- FOLDER`.
//!
//! It writes a minidump into the folder when it crashes, which it does after a moment. Then it dies
//! by the same signal as without the handler. `dumpwright show` prints the dump.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use dumpwright::DumpType;
    use dumpwright::crash::{self, CrashOptions};

    // First of all: the program may have been started as its own server. In that case, this does
    // not return.
    crash::serve_if_asked();

    let folder = std::env::args_os().nth(1).ok_or("name a folder for the dump")?;
    let options = CrashOptions::new(folder)
        .dump_type(DumpType::WITH_DATA_SEGS)
        .server_is_this_program();
    crash::install(&options)?;
    crash::annotate("release", env!("CARGO_PKG_VERSION"))?;

    let worker = std::thread::Builder::new().name("worker".to_owned()).spawn(|| {
        // What the dump is to say about this moment.
        let _ = crash::annotate("request", "GET /index.html");
        std::process::abort();
    })?;
    let _ = worker.join();
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the crash handler exists on Linux only; see examples/c/watch.c for Windows");
}
