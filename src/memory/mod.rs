//! Address ranges, and reads of the target's memory.

pub(crate) mod buffer;
pub(crate) mod index;
pub(crate) mod reader;
pub(crate) mod set;
pub(crate) mod words;

/// Whether all bytes are zero. Compilers turn the loop over 128 bytes into vector code.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<128>();
    chunks
        .iter()
        .all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}
