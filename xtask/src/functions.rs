//! Which functions of the probes the verifier looks at by themselves: what `.BTF.ext` is kept for.
//!
//! A kernel takes a program's subprograms for parts of it, which it goes through again at every call, unless the program says
//! of each of its functions what it is. Kprobes say so; their loops call global functions.

use anyhow::{Context as _, Result, ensure};

/// The section with the programs that say so; they may call no other functions than global ones of ours.
const PROGRAMS: &str = "kprobe";
/// The section with what programs call.
const SUBPROGRAMS: &str = ".text";
/// What the compiler calls by itself and never in a kprobe: memcpy and its kin, which take pointers of unknown extent.
const BUILT_IN: &str = "mem";

/// `BTF_KIND_FUNC`, and `BTF_FUNC_GLOBAL` as what it says of itself: include/uapi/linux/btf.h.
const FUNC: u32 = 12;
const GLOBAL: u32 = 1;
/// Bytes that follow a type of each kind: once, and for each thing it lists.
const LAYOUT: [(usize, usize); 20] = [
    (0, 0),
    (4, 0),
    (0, 0),
    (12, 0),
    (0, 12),
    (0, 12),
    (0, 8),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 0),
    (0, 8),
    (4, 0),
    (0, 12),
    (0, 0),
    (4, 0),
    (0, 0),
    (0, 12),
];

/// A `.BTF` section.
struct Types<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// The name, and the number of the kind and what it says of itself.
    all: Vec<(u32, u32, u32)>,
}

impl<'a> Types<'a> {
    /// Reads the section.
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let header = |nth: usize| word(bytes, 4 + 4 * nth).map(|word| word as usize);
        let (length, types, size, strings) = (header(0)?, header(1)?, header(2)?, header(3)?);
        let (mut at, mut all) = (length + types, vec![(0, 0, 0)]);
        while at < length + types + size {
            let (name, info) = (word(bytes, at)?, word(bytes, at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
            let (once, each) = LAYOUT.get(kind as usize).context("BTF has a kind of type that is not known here")?;
            all.push((name, kind, count));
            at += 12 + once + each * count as usize;
        }
        Ok(Self { bytes, strings: length + strings, all })
    }

    /// A string.
    fn string(&self, at: u32) -> &'a str {
        let bytes = self.bytes.get(self.strings + at as usize..).unwrap_or_default();
        std::str::from_utf8(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).unwrap_or_default()
    }

    /// Whether a function may be looked at by itself.
    fn is_global(&self, id: u32) -> bool {
        let of_ours = |(name, kind, says): &(u32, u32, u32)| {
            *kind == FUNC && *says == GLOBAL && !self.string(*name).starts_with(BUILT_IN)
        };
        self.all.get(id as usize).is_some_and(of_ours)
    }
}

/// Of a `.BTF.ext` section what is said of the kprobes' functions: `struct btf_ext_header` and the records of each section.
pub(crate) fn of_kprobes(btf: &[u8], ext: &[u8]) -> Result<Vec<u8>> {
    let types = Types::parse(btf)?;
    let (length, offset, size) = (word(ext, 4)? as usize, word(ext, 8)? as usize, word(ext, 12)? as usize);
    let (mut at, end) = (length + offset, length + offset + size);
    ensure!(word(ext, at)? == 8, "a record of a function in .BTF.ext has two words");
    let mut kept = vec![8];
    at += 4;
    while at < end {
        let (section, count) = (word(ext, at)?, word(ext, at + 4)? as usize);
        at += 8;
        let records: Vec<[u32; 2]> = (0..count)
            .map(|nth| Ok([word(ext, at + 8 * nth)?, word(ext, at + 8 * nth + 4)?]))
            .collect::<Result<_>>()?;
        at += 8 * count;
        if [PROGRAMS, SUBPROGRAMS].contains(&types.string(section)) {
            let records: Vec<[u32; 2]> = records.into_iter().filter(|[_, id]| types.is_global(*id)).collect();
            kept.extend([section, u32::try_from(records.len())?]);
            kept.extend(records.as_flattened());
        }
    }
    // A magic number, version and flags; the header's length; functions behind it, and neither lines nor relocations.
    let size = u32::try_from(kept.len() * 4)?;
    let words = [word(ext, 0)?, 32, 0, size, size, 0, size, 0].into_iter().chain(kept);
    Ok(words.flat_map(u32::to_le_bytes).collect())
}

/// The word at a place.
fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let word = bytes.get(at..at + 4).context("BTF ends before it should")?;
    Ok(u32::from_le_bytes(word.try_into()?))
}
