//! Calls every method that reads something from an image. Used by the fuzz target and by the
//! crate's own tests.

use dumpwright_image::elf::loaded_objects;
use dumpwright_image::pe::DirectoryEntry;
use dumpwright_image::{Elf, Image, Pe};
use dumpwright_target::Memory;

/// Calls every method for the image at `base`. Each call must return.
pub fn everything(memory: &mut dyn Memory, base: u64) {
    match Image::read(memory, base) {
        Ok(Image::Elf(image)) => of_elf(memory, &image, base),
        Ok(Image::Pe(image)) => of_pe(memory, &image),
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
}

fn of_elf(memory: &mut dyn Memory, image: &Elf, base: u64) {
    let _ = (image.bias(), image.size(), image.program_headers(), image.notes());
    let _ = (image.code().count(), image.data().count());
    let _ = (image.build_id(memory), image.soname(memory));
    let _ = (image.dynamic(), image.strings(memory));
    let _ = (image.frame_index(), image.frames(memory));
    let _ = (image.build_id_in_file(memory), image.text_hash(memory));
    let _ = image.text_hash_in_memory(memory);
    for pointer in [4, 8] {
        if let Some(headers) = image.program_headers() {
            let linker = loaded_objects(memory, headers.start(), u64::MAX, pointer);
            let _ = linker.problems.iter().map(ToString::to_string).count();
        }
        let _ = loaded_objects(memory, base, 3, pointer);
    }
}

fn of_pe(memory: &mut dyn Memory, image: &Pe) {
    let _ = (image.size(), image.checksum(), image.timestamp(), image.headers());
    let _ = [
        DirectoryEntry::Exports,
        DirectoryEntry::Debug,
        DirectoryEntry::ThreadLocal,
    ]
    .map(|table| image.directory(table));
    let _ = (image.sections(memory), image.debug_records(memory));
    let _ = (image.cv_record(memory), image.misc_record(memory));
    let _ = (image.version(memory), image.thread_local(memory, 1 << 20));
}
