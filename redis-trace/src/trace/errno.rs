//! Names of the errno values that a refused connect, bind or listen can give.

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
        91 => "EPROTOTYPE",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        98 => "EADDRINUSE",
        99 => "EADDRNOTAVAIL",
        101 => "ENETUNREACH",
        104 => "ECONNRESET",
        106 => "EISCONN",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        113 => "EHOSTUNREACH",
        _ => return format!("errno {errno}"),
    };
    known.to_owned()
}
