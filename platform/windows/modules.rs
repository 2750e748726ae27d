//! The loaded modules, as the loader lists them.

mod image;
mod loader;
mod version;

use std::ffi::CStr;

use dumpwright_target::{Fault, FaultKind, Module, Remark, Subject};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleA;
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_IMAGE, MEMORY_BASIC_INFORMATION, VirtualQueryEx};

use crate::access::Access;
use crate::memory::Memory;
use image::Image;
use loader::Loaded;

/// The modules of a process.
#[derive(Debug)]
pub(crate) struct Modules {
    /// In the loader's order, the main program first.
    loaded: Vec<Loaded>,
    remarks: Vec<Remark>,
}

impl Modules {
    /// Finds the modules.
    ///
    /// # Errors
    /// The process tells of none: it has ended, or is not yet set up.
    pub(crate) fn find(access: &Access) -> Result<Self, Fault> {
        let mut remarks = Vec::new();
        let loaded = loader::modules(access, &mut remarks)?;
        tracing::debug!(process = access.id, modules = loaded.len(), "modules found");
        Ok(Self { loaded, remarks })
    }

    /// The load addresses, in the loader's order.
    pub(crate) fn bases(&self) -> Vec<u64> {
        self.loaded.iter().map(|loaded| loaded.base).collect()
    }

    /// Takes what was noted since the last call.
    pub(crate) fn take_remarks(&mut self) -> Vec<Remark> {
        std::mem::take(&mut self.remarks)
    }

    /// Everything about the module at `base`, from its headers in memory: its file may be another one by now.
    ///
    /// # Errors
    /// There is none, or it has been unloaded meanwhile.
    pub(crate) fn module(&mut self, access: &Access, base: u64) -> Result<Module, Fault> {
        let gone = |reason: &str| {
            let operation = format!("describe the module at {base:#x} of process {}", access.id);
            Fault::new(FaultKind::Gone, operation, reason)
        };
        let loaded = self.loaded.iter().find(|loaded| loaded.base == base);
        let loaded = loaded.ok_or_else(|| gone("the loader's list has none there"))?;
        let (module, broken) = describe(access, loaded);
        if let Some(reason) = broken {
            if !is_image(access, base) {
                return Err(gone("it has been unloaded meanwhile"));
            }
            let reason = format!(
                "its headers in memory make no sense ({reason}): size and time stamp are the loader's, and version and PDB are not known"
            );
            self.remarks.push(Remark::note(Subject::Module(base), reason));
        }
        Ok(module)
    }
}

/// Whether an image is mapped there.
fn is_image(access: &Access, base: u64) -> bool {
    let mut info = MEMORY_BASIC_INFORMATION::default();
    let at = std::ptr::without_provenance(base as usize);
    // SAFETY: fills the structure of that size; the address is one of the other process.
    let len = unsafe { VirtualQueryEx(access.memory, at, &mut info, size_of_val(&info)) };
    len != 0 && info.State == MEM_COMMIT && info.Type == MEM_IMAGE
}

/// The module that the loader knows so, and what is wrong with its headers if there is something.
fn describe(memory: &impl Memory, loaded: &Loaded) -> (Module, Option<&'static str>) {
    let mut module = Module {
        base: loaded.base,
        size: loaded.size.into(),
        checksum: 0,
        timestamp: loaded.timestamp,
        path: loaded.path.clone(),
        version: None,
        cv_record: Vec::new(),
        misc_record: Vec::new(),
    };
    match Image::parse(memory, loaded.base) {
        Ok(image) => {
            module.size = image.size.into();
            module.checksum = image.checksum;
            module.timestamp = image.timestamp;
            module.version = version::fixed_file_info(&image);
            module.cv_record = image.cv_record();
            module.misc_record = image.misc_record();
            (module, None)
        }
        Err(reason) => (module, Some(reason)),
    }
}

/// The version of one of the system's own DLLs, four numbers. They have one address in all processes, until the machine is started anew.
pub(crate) fn system_version(access: &Access, library: &CStr) -> Option<[u32; 4]> {
    // SAFETY: the name ends with NUL.
    let base = unsafe { GetModuleHandleA(library.as_ptr().cast()) };
    let image = Image::parse(access, base.addr() as u64).ok()?;
    let words = version::fixed_file_info(&image)?;
    Some([
        words[2] >> 16,
        words[2] & 0xffff,
        words[3] >> 16,
        words[3] & 0xffff,
    ])
}

#[cfg(test)]
mod tests;
