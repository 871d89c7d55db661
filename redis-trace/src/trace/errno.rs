//! Names of the errno values that a refused connect, bind or listen can give.

/// include/uapi/asm-generic/errno-base.h
pub const EPERM: u32 = 1;
/// include/uapi/asm-generic/errno-base.h
pub const EACCES: u32 = 13;
/// include/uapi/asm-generic/errno.h
pub const ETIMEDOUT: u32 = 110;
/// include/uapi/asm-generic/errno.h
pub const ECONNREFUSED: u32 = 111;

/// Whether it says that something may not be done.
pub fn is_denial(errno: u32) -> bool {
    matches!(errno, EPERM | EACCES)
}

/// The errno that a client gets for an ICMP or ICMPv6 unreachable error of this code: `icmp_err_convert` of net/ipv4/icmp.c,
/// `tab_unreach` of net/ipv6/icmp.c.
pub fn of_icmp(code: u8, ipv6: bool) -> u32 {
    match (ipv6, code) {
        (true, 4) | (false, 3) => ECONNREFUSED,
        (true, 0) | (false, 0 | 6 | 9 | 11) => 101,
        (true, 1 | 5 | 6) => 13,
        (false, 2) => 92,
        (false, 4) => 90,
        (false, 5) => 95,
        (false, 7) => 112,
        (false, 8) => 64,
        _ => 113,
    }
}

/// `ECONNREFUSED` for 111; `errno 999` for one without a name here. Numbers as in include/uapi/asm-generic/errno*.h.
pub fn name(errno: u32) -> String {
    let known = match errno {
        1 => "EPERM",
        2 => "ENOENT",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        20 => "ENOTDIR",
        22 => "EINVAL",
        23 => "ENFILE",
        24 => "EMFILE",
        30 => "EROFS",
        32 => "EPIPE",
        36 => "ENAMETOOLONG",
        40 => "ELOOP",
        64 => "ENONET",
        71 => "EPROTO",
        90 => "EMSGSIZE",
        91 => "EPROTOTYPE",
        92 => "ENOPROTOOPT",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        100 => "ENETDOWN",
        101 => "ENETUNREACH",
        104 => "ECONNRESET",
        106 => "EISCONN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        112 => "EHOSTDOWN",
        113 => "EHOSTUNREACH",
        _ => return format!("errno {errno}"),
    };
    known.to_owned()
}
