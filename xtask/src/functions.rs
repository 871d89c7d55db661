//! Which functions the probes have: what `.BTF.ext` is kept for.
//!
//! A kernel takes a program's subprograms for parts of it, which it goes through again at every call, unless the program says
//! of each of its functions what it is: then it looks at a global one once.

use anyhow::{Context as _, Result};

/// Words of the header that is written: `struct btf_ext_header`, include/linux/btf.h of libbpf.
const HEADER: u32 = 8;

/// Of a `.BTF.ext` section what is said of functions: neither lines nor relocations.
pub(crate) fn functions(ext: &[u8]) -> Result<Vec<u8>> {
    let (length, offset, size) = (word(ext, 4)?, word(ext, 8)?, word(ext, 12)?);
    let start = (length + offset) as usize;
    let kept = ext.get(start..start + size as usize).context(".BTF.ext ends before it should")?;
    // A magic number, version and flags; the header's length; where each part is, and how long.
    let header = [word(ext, 0)?, 4 * HEADER, 0, size, size, 0, size, 0];
    Ok(header.into_iter().flat_map(u32::to_le_bytes).chain(kept.iter().copied()).collect())
}

/// The word at a place.
fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context(".BTF.ext ends before it should")?;
    Ok(u32::from_le_bytes(word.try_into()?))
}
