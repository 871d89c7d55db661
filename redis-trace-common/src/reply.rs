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
    // These send the client elsewhere; what depends on where is left out.
    b"-MOVED \0",
    b"-ASK \0\0\0",
    b"*2\r\n$\0\0\0",
];

/// How many of their first bytes those have in common that send a client elsewhere: a Cluster's, by slot, and a Sentinel's
/// answer, an address and a port.
pub const REDIRECTS: [(u64, u64); 3] =
    [first(*b"-MOVED \0", 7), first(*b"-ASK \0\0\0", 5), first(*b"*2\r\n$\0\0\0", 5)];

/// Eight bytes as a number, and which bits of such a number are the first so many bytes.
const fn first(bytes: [u8; 8], length: u32) -> (u64, u64) {
    (u64::from_le_bytes(bytes), (1 << (8 * length)) - 1)
}

/// Bytes of a fatal TLS alert that is not encrypted: content type 21, version 3.x, length 2, level 2, description.
pub const ALERT_LENGTH: usize = 7;

/// The place of a TLS alert among what ends a connection: behind all [`REFUSALS`].
#[expect(clippy::cast_possible_truncation, reason = "they are a few")]
pub const ALERT: u32 = REFUSALS.len() as u32 + 1;

/// What a TLS alert complains of, when these bytes are one.
pub fn alert(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [0x15, 0x03, _, 0, 2, 2, what] => Some(*what),
        _ => None,
    }
}

/// The first bytes of a TLS record that carries a handshake: content type 22, version 3.x.
pub const TLS_HANDSHAKE: [u8; 2] = [0x16, 0x03];
