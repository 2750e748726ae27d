//! Lists the loaded modules from the loader's list.

mod loader;

use dumpwright_image::Pe;
use dumpwright_target::{AddressRange, Diagnostic, Fault, FaultKind, Memory, Module, Subject, Window};
use std::collections::HashMap;
use std::ffi::CStr;
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleA;
use windows_sys::Win32::System::Memory::{MEM_COMMIT, MEM_IMAGE};

use crate::access::Access;
use crate::read::OwnMemory;
use crate::regions;
use loader::Loaded;

/// The modules of a process.
#[derive(Debug)]
pub(crate) struct LoadedModules {
    /// In the loader's order, with the main program first. No two have the same load address.
    loaded: Vec<Loaded>,
    /// The index in `loaded` of the module at each load address.
    places: HashMap<u64, usize>,
    diagnostics: Vec<Diagnostic>,
}

impl LoadedModules {
    /// Finds the modules.
    ///
    /// # Errors
    /// No module was found: the process has ended, or is not initialised yet.
    pub(crate) fn find(access: &Access<'_>, memory: &mut dyn Memory) -> Result<Self, Fault> {
        let mut diagnostics = Vec::new();
        let loaded = loader::modules(access, memory, &mut diagnostics)?;
        tracing::debug!(process = access.id, modules = loaded.len(), "modules found");
        let places = loaded.iter().zip(0..).map(|(loaded, place)| (loaded.base, place));
        Ok(Self {
            places: places.collect(),
            loaded,
            diagnostics,
        })
    }

    /// Returns the load addresses, in the loader's order.
    pub(crate) fn bases(&self) -> Vec<u64> {
        self.loaded.iter().map(|loaded| loaded.base).collect()
    }

    /// Takes the diagnostics that were added since the last call.
    pub(crate) fn take_diagnostics(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.diagnostics)
    }

    /// Returns everything about the module at `base`. It is read from the headers in memory,
    /// because the file may have been replaced since.
    ///
    /// # Errors
    /// There is no module at `base`, or it has been unloaded.
    pub(crate) fn module(
        &mut self,
        access: &Access<'_>,
        memory: &mut dyn Memory,
        base: u64,
    ) -> Result<Module, Fault> {
        let gone = |reason: &str| {
            let operation = format!("describe the module at {base:#x} of process {}", access.id);
            Fault::new(FaultKind::Gone, operation, reason)
        };
        let loaded = self.places.get(&base).map(|place| &self.loaded[*place]);
        let loaded = loaded.ok_or_else(|| gone("the loader's list has no module there"))?;
        let (module, broken) = describe(memory, loaded);
        if let Some(reason) = broken {
            if !is_image(access, base) {
                return Err(gone("it has been unloaded"));
            }
            let reason = format!(
                "its headers in memory cannot be used ({reason}): size and time stamp come from the loader, version and PDB are not known"
            );
            self.diagnostics
                .push(Diagnostic::note(Subject::Module(base), reason));
        }
        Ok(module)
    }
}

/// Whether an image is mapped at `base`. If the system does not say, there is one.
fn is_image(access: &Access<'_>, base: u64) -> bool {
    regions::query(access, base).map_or(true, |info| info.State == MEM_COMMIT && info.Type == MEM_IMAGE)
}

/// Describes a module of the loader's list. Also returns the reason, if its headers cannot be used.
fn describe(memory: &mut dyn Memory, loaded: &Loaded) -> (Module, Option<String>) {
    let mut module = Module {
        base: loaded.base,
        size: loaded.size.into(),
        checksum: 0,
        timestamp: loaded.timestamp,
        dll_characteristics: 0,
        path: loaded.path.clone(),
        version: None,
        cv_record: Vec::new(),
        misc_record: Vec::new(),
    };
    match Pe::read(memory, loaded.base) {
        Ok(Some(image)) => {
            module.size = image.size().into();
            module.checksum = image.checksum();
            module.timestamp = image.timestamp();
            module.dll_characteristics = image.dll_characteristics();
            if let Some(range) = AddressRange::at(loaded.base, module.size) {
                let memory = &mut Window::new(memory, range);
                module.version = image.version(memory);
                module.cv_record = image.cv_record(memory);
                module.misc_record = image.misc_record(memory);
            }
            (module, None)
        }
        Ok(None) => (module, Some("they do not begin with MZ".to_owned())),
        Err(malformed) => (module, Some(malformed.to_string())),
    }
}

/// Returns the version of a system DLL that is loaded in the calling process.
pub(crate) fn system_version(library: &CStr) -> Option<[u16; 4]> {
    // SAFETY: the name ends with NUL. The result is not dereferenced, but passed to the system as
    // an address to read from. It is null if there is no such DLL, and no image is mapped there.
    let base = unsafe { GetModuleHandleA(library.as_ptr().cast()) };
    version_here(base.addr() as u64)
}

/// Returns the file version of the image that the calling process has loaded at `base`, as four
/// numbers. It is read from memory, because the file may have been replaced since.
pub(crate) fn version_here(base: u64) -> Option<[u16; 4]> {
    let mut own = OwnMemory;
    let image = Pe::read(&mut own, base).ok()??;
    let range = AddressRange::at(base, image.size().into())?;
    let words = image.version(&mut Window::new(&mut own, range))?;
    let [high, low] = [words[2], words[3]].map(u32::to_le_bytes);
    let halves = [
        [high[2], high[3]],
        [high[0], high[1]],
        [low[2], low[3]],
        [low[0], low[1]],
    ];
    Some(halves.map(u16::from_le_bytes))
}

#[cfg(test)]
mod tests;
