//! The dynamic linker's list of loaded objects, which debuggers use.

use dumpwright_image::elf::{Linker, loaded_objects};
use dumpwright_target::{Diagnostic, DsoDebug, Memory, Subject};

use crate::proc_dir::ProcDir;

/// The name of the stream that holds the list.
pub(crate) const STREAM: &str = "LinuxDsoDebug";

/// The entries of the auxiliary vector for the program headers (`linux/auxvec.h`).
pub(crate) const AT_PHDR: u64 = 3;
pub(crate) const AT_PHNUM: u64 = 5;

/// Returns the list, and diagnostics about what is missing from it.
///
/// The list is `None` if the program has no dynamic linker, or if the linker has not run yet.
pub(crate) fn dso_debug(dir: &ProcDir, memory: &mut dyn Memory) -> (Option<DsoDebug>, Vec<Diagnostic>) {
    match dir.auxv_values([AT_PHDR, AT_PHNUM]) {
        Ok([at, count]) => listed(at, count, dir.cpu.pointer_size(), memory),
        Err(error) => {
            let reason = format!("the auxiliary vector, which leads to the list, cannot be read: {error}");
            let subject = Subject::Stream(STREAM);
            (None, vec![Diagnostic::missing(subject, reason)])
        }
    }
}

/// Does the same for a program whose `count` program headers are at the address `at`.
pub(crate) fn listed(
    at: u64,
    count: u64,
    pointer_size: u64,
    memory: &mut dyn Memory,
) -> (Option<DsoDebug>, Vec<Diagnostic>) {
    let subject = Subject::Stream(STREAM);
    let Linker { debug, problems } = loaded_objects(memory, at, count, pointer_size);
    let mut diagnostics: Vec<_> = problems
        .iter()
        .map(|problem| match problem.is_loss() {
            true => Diagnostic::missing(subject.clone(), problem.to_string()),
            false => Diagnostic::note(subject.clone(), problem.to_string()),
        })
        .collect();
    if debug.is_none() && diagnostics.is_empty() {
        let reason = "the program has no list of loaded objects: it is static, or has only just been started";
        diagnostics.push(Diagnostic::left_out(subject, reason));
    }
    (debug, diagnostics)
}

/// What these tests would catch: a list that differs from the linker's. (Endless lists of damaged
/// programs are tested in the code that reads the list.)
#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::ProcessMemory;
    use crate::regions;

    fn memory(dir: &ProcDir) -> ProcessMemory {
        ProcessMemory::new(dir, regions::mappings(dir).expect("readable"))
    }

    #[test]
    fn the_linker_tells_the_same_itself() {
        unsafe extern "C" fn note(info: *mut libc::dl_phdr_info, _: usize, data: *mut libc::c_void) -> i32 {
            // SAFETY: the linker passes a valid dl_phdr_info, whose name is a C string, and the
            // pointer that was given to dl_iterate_phdr below.
            unsafe {
                let name = std::ffi::CStr::from_ptr((*info).dlpi_name)
                    .to_string_lossy()
                    .into_owned();
                (*data.cast::<Vec<(u64, String)>>()).push(((*info).dlpi_addr, name));
            }
            0
        }
        let mut expected: Vec<(u64, String)> = Vec::new();
        // SAFETY: `note` casts the pointer to the type of the vector that it refers to, which lives
        // during the call.
        unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut expected).cast()) };
        let dir = ProcDir::new(std::process::id()).expect("own process");
        let (debug, diagnostics) = dso_debug(&dir, &mut memory(&dir));
        let debug = debug.expect("tests are linked dynamically");
        assert_eq!(diagnostics, []);
        let links: Vec<_> = debug
            .links
            .iter()
            .map(|link| (link.addr, link.name.clone()))
            .collect();
        assert_eq!(links, expected);
        assert!(debug.version >= 1 && debug.brk != 0);
        assert_eq!(Some(debug.ldbase), dir.auxv_value(7 /* AT_BASE */));
        assert_eq!(debug.links[0].ld, debug.dynamic);
        assert_eq!(debug.dynamic_section.last_chunk::<16>(), Some(&[0; 16]));
    }
}
