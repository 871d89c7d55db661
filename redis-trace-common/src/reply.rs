//! How a server's refusals begin: what the probes look for in what it said last, and what nothing else of it is copied for.

/// The first eight bytes of replies that may refuse a client. Redis 6 to 8, Valkey, KeyDB and Dragonfly: src/networking.c,
/// src/server.c.
pub const REFUSALS: &[&[u8; 8]] = &[
    b"-DENIED ",
    b"-ERR max",
    b"-NOAUTH ",
    b"-WRONGPA",
    b"-ERR inv",
    b"-ERR AUT",
    b"-LOADING",
    b"-NOPERM ",
    b"-MISCONF",
    b"-OOM com",
    b"-MASTERD",
    b"-READONL",
    b"-CLUSTER",
    b"-NOREPLI",
    b"-BUSY Re",
];

/// The first bytes of a TLS record that carries a handshake: content type 22, version 3.x.
pub const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];
