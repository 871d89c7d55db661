//! Files of types made here, and the running kernel's.

use proptest::prelude::*;

use super::*;

/// Builds BTF: words of types, and strings by their place.
fn file(types: &[u32], strings: &[u8], layout: &[u8]) -> Vec<u8> {
    let size = |n: usize| u32::try_from(n).expect("small");
    let (types_len, strings_len) = (size(types.len() * 4), size(strings.len()));
    let header: [u32; 8] =
        [0x0001_eb9f, 32, 0, types_len, types_len, strings_len, types_len + strings_len, size(layout.len())];
    let words = header.iter().chain(types).flat_map(|word| word.to_ne_bytes());
    words.chain(strings.iter().copied()).chain(layout.iter().copied()).collect()
}

const NAMES: &[u8] = b"\0int\0s\0a\0b\0inner\0flag\0";
const INT32: [u32; 4] = [1, INT << 24, 4, 32];

/// `struct s { int a; struct { int b; }; int flag: 1; }`
fn structure() -> Vec<u32> {
    let mut types = INT32.to_vec();
    types.extend([0, STRUCT << 24 | 1, 4, 9, 1, 0]);
    types.extend([5, 1 << 31 | STRUCT << 24 | 3, 12, 7, 1, 0, 0, 2, 32, 17, 1, (1 << 24) + 67]);
    types
}

#[test]
fn a_member_is_found_also_in_an_anonymous_structure_and_as_a_bit() {
    let btf = Btf::parse(file(&structure(), NAMES, &[])).expect("BTF");
    assert_eq!(btf.member(&["s.a"], Shape::Bytes(4)), Some(0));
    assert_eq!(btf.member(&["s.b"], Shape::Bytes(4)), Some(4));
    assert_eq!(btf.member(&["s.flag"], Shape::Bit), Some(67));
    assert_eq!(btf.member(&["s.flag"], Shape::Bits), Some(67));
    assert_eq!(btf.member(&["s.gone", "s.b"], Shape::Any), Some(4));
}

#[test]
fn a_member_that_is_gone_or_has_another_size_is_absent() {
    let btf = Btf::parse(file(&structure(), NAMES, &[])).expect("BTF");
    assert_eq!(btf.member(&["s.int"], Shape::Any), None);
    assert_eq!(btf.member(&["s.a"], Shape::Bytes(8)), None);
    assert_eq!(btf.member(&["s.flag"], Shape::Bytes(4)), None);
    assert_eq!(btf.member(&["t.a"], Shape::Any), None);
}

#[test]
fn a_kind_from_the_future_is_stepped_over_when_the_file_describes_it() {
    let mut types = vec![0, 21 << 24 | 2, 0, 7, 7, 7, 7, 7];
    types.extend(INT32);
    let mut layout = vec![0; 22 * 4];
    layout[21 * 4] = 4;
    layout[21 * 4 + 1] = 8;
    let btf = Btf::parse(file(&types, NAMES, &layout)).expect("BTF");
    assert_eq!(btf.types.len(), 3);
    assert!(matches!(Btf::parse(file(&types, NAMES, &[])), Err(BtfError::Kind(21))));
}

#[test]
fn a_module_s_types_go_on_where_the_kernel_s_end() {
    let at = u32::try_from(NAMES.len()).expect("small");
    let module = file(&[at, STRUCT << 24 | 1, 4, 5, 1, 32], b"own\0", &[]);
    let btf = Btf::with_module(file(&INT32, NAMES, &[]), &module).expect("BTF");
    assert_eq!(btf.member(&["own.s"], Shape::Bytes(4)), Some(4));
    assert_eq!(Btf::with_module(file(&INT32, NAMES, &[]), b"no BTF").expect("BTF").types.len(), 2);
}

#[test]
fn the_running_kernel_s_sock_begins_with_what_all_socks_have() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: this kernel has no BTF");
        return;
    };
    let btf = Btf::parse(bytes).expect("the kernel's BTF");
    assert_eq!(btf.member(&["sock.__sk_common.skc_dport"], Shape::Bytes(2)), Some(12));
    assert_eq!(btf.tracepoint_arguments("inet_sock_set_state"), Some(3));
    // A kernel may be built without AppArmor, TOMOYO or Smack, or with nf_tables as a module, whose types it then lacks.
    let is_of = |path: &str| btf.ids(path.split('.').next().unwrap_or_default()).count() > 0;
    let may_lack =
        |path: &str| ["aa_", "nft_", "tomoyo_", "task_smack", "smack_"].iter().any(|prefix| path.starts_with(prefix));
    // The generation of its rules is in one of two places.
    let is_elsewhere = |path: &str| path.ends_with(".base_seq");
    let is_there = |path: &&str| (is_of(path) || !may_lack(path)) && !is_elsewhere(path);
    for wanted in redis_trace_common::member::MEMBERS.iter().filter(|wanted| wanted.paths.iter().all(is_there)) {
        assert!(btf.member(wanted.paths, wanted.shape).is_some(), "{:?} is absent", wanted.paths);
    }
}

#[test]
fn a_file_of_functions_alone_keeps_their_numbers() {
    let mut types = INT32.to_vec();
    types.extend([[5, FUNC << 24, 1], [7, FUNC << 24, 1]].as_flattened());
    let btf = Btf::parse(file(&types, NAMES, &[])).expect("BTF");
    let functions = Btf::parse(btf.excerpt(["a", "gone"].map(str::to_owned).into_iter())).expect("BTF");
    assert_eq!(functions.ids("a").collect::<Vec<_>>(), btf.ids("a").collect::<Vec<_>>());
    assert_eq!((btf.ids("s").count(), functions.ids("s").count()), (1, 0));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(types in prop::collection::vec(any::<u32>(), 0..64), tail in any::<Vec<u8>>()) {
        for bytes in [file(&types, &tail, &tail), tail.clone()] {
            if let Ok(btf) = Btf::parse(bytes) {
                btf.member(&["s.a.b", "s.b"], Shape::Bytes(4));
                btf.function_arguments("s");
                btf.enumerators("a");
                btf.excerpt(["s".to_owned()].into_iter());
            }
        }
    }

    #[test]
    fn types_that_refer_to_each_other_in_circles_end(kinds in prop::collection::vec((1_u32..20, 0_u32..9), 1..9)) {
        let types: Vec<u32> = kinds
            .iter()
            .flat_map(|(kind, id)| {
                let (once, each) = LAYOUT[*kind as usize];
                let mut words = vec![5, kind << 24 | 1, *id];
                words.extend([0, *id, 0].iter().take((once + each) / 4));
                words
            })
            .collect();
        if let Ok(btf) = Btf::parse(file(&types, NAMES, &[])) {
            btf.member(&["s.a", "s.b"], Shape::Bytes(4));
        }
    }
}
