//! An `sk_lookup` program that turns every connection of a namespace away, as a broken load balancer's would.

use std::fs::File;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::SkLookup;

/// `r0 = SK_DROP; exit`: the two instructions of the program (include/uapi/linux/bpf.h, `enum sk_action`).
const DROP: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// Names of sections and symbols, each ended by a NUL.
const NAMES: &[u8] = b"\0sk_lookup\0license\0.symtab\0.strtab\0refuse_all\0";
/// Bytes of an ELF header and of a section header.
const HEADER: u8 = 64;
/// Bytes of a symbol.
const SYMBOL: usize = 24;

/// The attached program; it is gone when this value is.
pub(crate) struct Refuser(#[expect(dead_code, reason = "held for its Drop")] Ebpf);

impl Refuser {
    /// Attaches it to a network namespace.
    pub(crate) fn attach(netns: &File) -> Result<Self> {
        let mut ebpf = Ebpf::load(&object()).context("cannot read the sk_lookup program")?;
        let program: &mut SkLookup = ebpf.program_mut("refuse_all").context("the program is missing")?.try_into()?;
        program.load().context("cannot load the sk_lookup program: CAP_BPF and CAP_NET_ADMIN are needed")?;
        program.attach(netns).context("cannot attach the sk_lookup program")?;
        Ok(Self(ebpf))
    }
}

/// A section of the object: offset of its name, type, flags, content, link, first global symbol, size of an entry.
type Section<'a> = (u32, u32, u64, &'a [u8], u32, u32, u64);

/// The smallest ELF object that holds the program (elf(5)).
fn object() -> Vec<u8> {
    let name = |of: &[u8]| NAMES.windows(of.len()).position(|at| at == of).and_then(|at| u32::try_from(at).ok());
    let name = |of: &[u8]| name(of).unwrap_or_default();
    let symbols = symbols(name(b"refuse_all\0"));
    let sections: [Section<'_>; 5] = [
        (0, 0, 0, &[], 0, 0, 0),
        (name(b"sk_lookup\0"), 1, 6, &DROP, 0, 0, 0),
        (name(b"license\0"), 1, 2, b"GPL\0", 0, 0, 0),
        (name(b".symtab\0"), 2, 0, &symbols, 4, 1, SYMBOL as u64),
        (name(b".strtab\0"), 3, 0, NAMES, 0, 0, 0),
    ];
    let mut content = Vec::new();
    let mut table = Vec::new();
    for (name, kind, flags, bytes, link, info, entry) in sections {
        table.extend([name, kind].map(u32::to_le_bytes).concat());
        table.extend(
            [flags, 0, (usize::from(HEADER) + content.len()) as u64, bytes.len() as u64].map(u64::to_le_bytes).concat(),
        );
        table.extend([link, info].map(u32::to_le_bytes).concat());
        table.extend([8, entry].map(u64::to_le_bytes).concat());
        content.extend(bytes);
        content.resize(content.len().next_multiple_of(8), 0);
    }
    [header((usize::from(HEADER) + content.len()) as u64), content, table].concat()
}

/// The ELF header: 64 bits, little endian, relocatable, for BPF, five sections, names in the last one.
fn header(table: u64) -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend([1_u16, 247].map(u16::to_le_bytes).concat());
    header.extend(1_u32.to_le_bytes());
    header.extend([0, 0, table].map(u64::to_le_bytes).concat());
    header.extend(0_u32.to_le_bytes());
    header.extend([HEADER.into(), 0, 0, HEADER.into(), 5, 4].map(u16::to_le_bytes).concat());
    header
}

/// The null symbol and the program's: a global function in section 1.
fn symbols(name: u32) -> Vec<u8> {
    let mut symbols = vec![0; SYMBOL];
    symbols.extend(name.to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend([0, DROP.len() as u64].map(u64::to_le_bytes).concat());
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_holds_one_sk_lookup_program() {
        let object = aya_object();
        assert_eq!(object, ["refuse_all"]);
    }

    fn aya_object() -> Vec<String> {
        let loaded = Ebpf::load(&object()).expect("the object can be read");
        loaded.programs().map(|(name, _)| name.to_owned()).collect()
    }
}
