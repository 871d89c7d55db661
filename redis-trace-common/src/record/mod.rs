//! Every record a probe sends, declared once: layout, constants, and a decoder that cannot misread.
//!
//! A record is a fixed-size run of words in the kernel's byte order. IPv4 travels as IPv4-mapped IPv6, ports travel in host
//! byte order, times are `CLOCK_BOOTTIME` nanoseconds, kernel numbers (errno, reset reason, signal) stay numbers.

/// Declares the records: the structures, their numbers, and [`Record`] with its decoder.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident = $number:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {
        $(layout! { $(#[$doc])* $name {
            /// Number of this record, [`Number`].
            number: u32,
            /// Processor it was made on.
            cpu: u32,
            /// When it was made, boottime nanoseconds.
            time: u64,
            $($(#[$fdoc])* $field: $ty,)*
        } })*

        $(impl Numbered for $name {
            const NUMBER: Number = Number::$name;
        })*

        /// The first word of each record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Number { $($(#[$doc])* $name = $number,)* }

        impl Number {
            /// Every kind of record.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What it is called in the source.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }

        /// Any record, decoded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Record { $($(#[$doc])* $name($name),)* }

        impl Record {
            /// Reads the record that starts at the first byte; the ring pads records, so longer is fine.
            pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                let number = u32::read(bytes).ok_or(DecodeError::Short)?;
                match number {
                    $($number => <$name as Field>::read(bytes).map(Self::$name).ok_or(DecodeError::Short),)*
                    unknown => Err(DecodeError::Unknown(unknown)),
                }
            }
        }

        /// How many kinds of record there are, plus one for the number 0 that is never sent.
        pub const NUMBERS: usize = 1 + Number::ALL.len();
    };
}

mod kinds;
mod parts;

pub use kinds::*;
pub use parts::{Flow, Parting, Phase, Socket, Task};

/// Bytes of a task's name, NUL padded (`TASK_COMM_LEN`).
pub const COMM_LEN: usize = 16;
/// Bytes of a unix socket path or abstract name (`sun_path`).
pub const UNIX_PATH_LEN: usize = 108;
/// Bytes kept of a command line.
pub const ARGV_LEN: usize = 512;
/// Bytes kept of a security module's context or profile.
pub const CONTEXT_LEN: usize = 128;
/// Bytes kept of a path that a probe walked, its components last first, each ended by a NUL.
///
/// A whole path ends with the root's empty name, so `sh\0bin\0usr\0\0` is `/usr/bin/sh`; one that had no room lacks it, and
/// its last component may be cut.
pub const PATH_LEN: usize = 256;

/// Bytes kept of what a server said last.
pub const REPLY_LEN: usize = 128;

/// Words that a probe keeps which may be the header of the rule that rejected a packet: a power of two.
pub const HANDLES: usize = 4;
/// Said of a number that is too large to be counted, or not known.
pub const MANY: u32 = u32::MAX;

/// A processor that woke the program does not wake it again for so long, nanoseconds: the program must look again by itself
/// once this has passed since it was woken.
pub const WAKE_EVERY: u64 = 1_000_000;

/// In the map of watched processes: one whose end and signals matter.
pub const WATCHED: u8 = 1;
/// In the map of watched processes: one that descends from the command that the program runs.
pub const FAMILY: u8 = 2;

/// A record that knows its number, so that a probe can only send it under that one.
pub trait Numbered {
    /// The first word of the record.
    const NUMBER: Number;
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record has.
    Short,
    /// No record has this number.
    Unknown(u32),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Short => f.write_str("record is cut short"),
            Self::Unknown(number) => write!(f, "no record has number {number}"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl Record {
    /// The network namespace that it is about: the inode, 0 when it has none any more, and what tells it from others that
    /// have had the same.
    pub fn netns(&self) -> Option<(u32, u32)> {
        let of_flow = |flow: &Flow| (flow.netns, flow.netns_mix);
        let of_socket = |socket: &Socket| (socket.netns, socket.netns_mix);
        let of_task = |task: &Task| (task.netns, task.netns_mix);
        match self {
            Self::Reset(it) => Some(of_flow(&it.flow)),
            Self::ConnectFailed(it) => Some(of_flow(&it.flow)),
            Self::Connected(it) => Some(of_flow(&it.flow)),
            Self::ListenUp(it) => Some(of_socket(&it.socket)),
            Self::ListenDown(it) => Some(of_socket(&it.socket)),
            Self::Bind(it) => Some(of_socket(&it.socket)),
            Self::QueueFull(it) => Some(of_flow(&it.flow)),
            Self::AcceptFailed(it) => Some(of_socket(&it.socket)),
            Self::EarlyEnd(it) => Some(of_flow(&it.flow)),
            Self::UnixConnect(it) => Some(of_task(&it.task)),
            Self::UnixListen(it) => Some(of_task(&it.task)),
            Self::Dropped(it) => Some(of_flow(&it.flow)),
            Self::SocketDenied(it) => Some(of_task(&it.task)),
            Self::Exec(it) => Some(of_task(&it.task)),
            Self::Exit(it) => Some(of_task(&it.task)),
            Self::Signal(_) | Self::OomVictim(_) | Self::Who(_) | Self::Denial(_) => None,
        }
    }
}
