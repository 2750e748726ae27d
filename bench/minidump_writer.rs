//! `minidump-writer PID FILE`: dumps a process with the crate minidump-writer, and does nothing
//! else.

use std::error::Error;
use std::fs::File;

use minidump_writer::minidump_writer::MinidumpWriterConfig;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pid, file] = arguments.as_slice() else {
        return Err("usage: minidump-writer PID FILE".into());
    };
    let pid = pid.parse()?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(file)?;
    MinidumpWriterConfig::new(pid, pid).write(&mut file)?;
    Ok(())
}
