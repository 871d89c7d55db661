//! The smallest BPF objects there are: one program that says no.

/// `r0 = 0; exit`: the two instructions of the program. 0 is SK_DROP to `sk_lookup` (include/uapi/linux/bpf.h, `enum sk_action`)
/// and no to a cgroup's hook, nothing of a packet to a socket.
pub(super) const NO: &[u8] = &[0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
/// The same, with an errno of its own choice: `r1 = -EACCES; call bpf_set_retval; r0 = 0; exit`.
pub(super) const NO_ACCESS: &[u8] = &[
    0xb7, 1, 0, 0, 0xf3, 0xff, 0xff, 0xff, //
    0x85, 0, 0, 0, 187, 0, 0, 0, //
    0xb7, 0, 0, 0, 0, 0, 0, 0, //
    0x95, 0, 0, 0, 0, 0, 0, 0,
];

/// A security module's no to those in one cgroup: `r0 = bpf_get_current_cgroup_id(); r1 = cgroup; if r0 == r1 goto no; r0 = 0;
/// exit; no: r0 = -EPERM; exit`.
pub(super) fn no_to_cgroup(cgroup: u64) -> Vec<u8> {
    let [low, high] = [cgroup & 0xffff_ffff, cgroup >> 32].map(u64::to_le_bytes);
    let instructions: [[u8; 8]; 8] = [
        [0x85, 0, 0, 0, 80, 0, 0, 0],
        [0x18, 1, 0, 0, low[0], low[1], low[2], low[3]],
        [0, 0, 0, 0, high[0], high[1], high[2], high[3]],
        [0x1d, 0x10, 2, 0, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 0, 0, 0, 0],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    instructions.concat()
}

/// A security module's no to every SYN for a listener in one network namespace. Where a socket has its namespace and that its
/// number the kernel knows: `r1 = ctx->sk; r1 = r1->net; w1 = r1->inum; r0 = 0; if w1 != inum goto end; r0 = -EPERM; end: exit`.
pub(super) fn no_to_netns(inum: u32, net_at: i16, inum_at: i16) -> Vec<u8> {
    let ([a, b], [c, d], inum) = (net_at.to_le_bytes(), inum_at.to_le_bytes(), inum.to_le_bytes());
    let instructions: [[u8; 8]; 7] = [
        [0x79, 0x11, 0, 0, 0, 0, 0, 0],
        [0x79, 0x11, a, b, 0, 0, 0, 0],
        [0x61, 0x11, c, d, 0, 0, 0, 0],
        [0xb7, 0, 0, 0, 0, 0, 0, 0],
        [0x56, 1, 1, 0, inum[0], inum[1], inum[2], inum[3]],
        [0xb7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        [0x95, 0, 0, 0, 0, 0, 0, 0],
    ];
    instructions.concat()
}

/// The name of a program that needs no better one.
pub(super) const PROGRAM: &str = "refuse_all";
/// Bytes of an ELF header and of a section header.
const HEADER: u8 = 64;
/// Bytes of a symbol.
const SYMBOL: usize = 24;

/// A section of the object: offset of its name, type, flags, content, link, first global symbol, size of an entry.
type Section<'a> = (u32, u32, u64, &'a [u8], u32, u32, u64);

/// The smallest ELF object that holds a program of these instructions in this section, which says what it is for (elf(5)).
pub(super) fn object(section: &str, program: &str, instructions: &[u8]) -> Vec<u8> {
    // Names of sections and symbols, each ended by a NUL.
    let names = format!("\0{section}\0license\0.symtab\0.strtab\0{program}\0").into_bytes();
    let name = |of: &[u8]| names.windows(of.len()).position(|at| at == of).and_then(|at| u32::try_from(at).ok());
    let name = |of: &str| name(&[of.as_bytes(), b"\0"].concat()).unwrap_or_default();
    let symbols = symbols(name(program), instructions.len() as u64);
    let sections: [Section<'_>; 5] = [
        (0, 0, 0, &[], 0, 0, 0),
        (name(section), 1, 6, instructions, 0, 0, 0),
        (name("license"), 1, 2, b"GPL\0", 0, 0, 0),
        (name(".symtab"), 2, 0, &symbols, 4, 1, SYMBOL as u64),
        (name(".strtab"), 3, 0, &names, 0, 0, 0),
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
fn symbols(name: u32, size: u64) -> Vec<u8> {
    let mut symbols = vec![0; SYMBOL];
    symbols.extend(name.to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend([0, size].map(u64::to_le_bytes).concat());
    symbols
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_holds_one_program() {
        let to_cgroup = no_to_cgroup(1 << 33 | 7);
        let to_netns = no_to_netns(7, 48, 96);
        let all: [(&str, &[u8]); 6] = [
            ("socket", NO),
            ("sk_lookup", NO),
            ("cgroup/connect4", NO),
            ("cgroup/bind4", NO_ACCESS),
            ("lsm/socket_bind", &to_cgroup),
            ("lsm/inet_conn_request", &to_netns),
        ];
        for (section, instructions) in all {
            let loaded = aya::Ebpf::load(&object(section, PROGRAM, instructions)).expect("the object can be read");
            let programs: Vec<&str> = loaded.programs().map(|(name, _)| name).collect();
            assert_eq!(programs, [PROGRAM], "{section}");
        }
    }
}
