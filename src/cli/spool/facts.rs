//! What a dump itself says about its crash.

use dumpwright::read::{Dump, Exception, Module, Platform, signal_name};
use dumpwright::spool::DumpFacts;
use dumpwright::target::printable;

use crate::cli::stack::{StackEnd, StackWalker};

/// The maximum number of modules of which a signature is made. No process has more loaded.
const MOST_MODULES: usize = 1 << 16;

/// The maximum length in characters of the name of a module in a signature.
const LONGEST_NAME: usize = 64;

/// If the walk was lost before so many frames, they do not tell crashes apart: the innermost ones
/// may be those of `abort`.
const FEWEST_FRAMES: usize = 3;

/// Returns what the dump says: the program, its process id, and the crash. `frames` is the number
/// of frames in the signature.
pub(in crate::cli) fn of(dump: &Dump, frames: usize) -> DumpFacts {
    let platform = dump.system_info().ok().flatten();
    let platform = platform.map_or(Platform::Other(0), |system| system.platform);
    let exception = dump.exception().ok().flatten();
    let first = dump
        .iter_modules()
        .ok()
        .and_then(|mut modules| modules.next()?.ok());
    let program = first.as_ref().and_then(Module::file_name).map(printable);
    DumpFacts {
        process: program.map(|name| name.into_owned()),
        pid: dump.misc_info().ok().flatten().and_then(|info| info.process_id),
        reason: exception.as_ref().map(|exception| exception.describe(platform)),
        signature: exception.and_then(|exception| signature(dump, &exception, platform, frames)),
        ..DumpFacts::default()
    }
}

/// Returns what dumps of the same crash have in common: the signal, or the code of the exception,
/// and the innermost frames as module and offset. `None` if the stack could not be walked, so that
/// different crashes may have the same frames.
fn signature(dump: &Dump, exception: &Exception, platform: Platform, frames: usize) -> Option<String> {
    let list = dump.iter_modules().into_iter().flatten();
    let mut modules: Vec<_> = list.take(MOST_MODULES).flatten().collect();
    modules.sort_by_key(|module| module.base);
    let trace = StackWalker::new(dump, &modules, &[]).trace(exception.context.as_ref(), frames);
    let is_cut_off = matches!(trace.end, StackEnd::Lost | StackEnd::Unsupported);
    if trace.frames.is_empty() || (is_cut_off && trace.frames.len() < FEWEST_FRAMES.min(frames)) {
        return None;
    }
    let code = match platform.is_linux() {
        true => {
            signal_name(exception.code).map_or_else(|| format!("signal {}", exception.code), str::to_owned)
        }
        false => exception.describe(platform),
    };
    let places = trace.frames.iter().map(|frame| match frame.module {
        // Code that was made at run time has another address each time.
        None => "?".to_owned(),
        Some(index) => {
            let module = &modules[index];
            let name = printable(module.file_name().unwrap_or("?"));
            let name: String = name.chars().take(LONGEST_NAME).collect();
            format!("{name}+{:#x}", frame.address.wrapping_sub(module.base))
        }
    });
    Some([code].into_iter().chain(places).collect::<Vec<_>>().join(" "))
}
