//! Counts of refusals, kept in the kernel: exact whatever finds room in the ring.
//!
//! A refusal is counted once, where it is seen first: at the end that was dialled, or at the end that dialled when this host
//! is not both. The first of a kind are told one by one, by a record; of a flood only samples are, and the rest is added up
//! under its [`Key`].

use crate::layout::layout;

/// Nanoseconds of a budget's window, as a power of two: about an eighth of a second.
pub const WINDOW_SHIFT: u64 = 27;
/// A budget that nothing exhausts: every refusal is told.
pub const EVERY: u32 = u32::MAX;
/// Samples of one key that each processor sends in a window, unless the program says otherwise.
pub const BUDGET: u32 = 16;
/// Samples of all keys with the same server, or with the same client, in a window.
pub const WIDE_BUDGET: u32 = 4 * BUDGET;
/// Samples of all keys in a window.
pub const WHOLE_BUDGET: u32 = 16 * BUDGET;

/// Keys that are kept apart at a time.
pub const KEYS: u32 = 4_096;

layout! {
    /// What refusals have in common that are counted together.
    Key {
        /// Which end it was counted at, [`End`].
        end: u32,
        /// Inode of the network namespace.
        netns: u32,
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// Port that was dialled or asked for, host byte order; the length of a unix socket's path. In the upper half how a
        /// connection ended early.
        port: u32,
        /// Address of the end that dialled; for the other ends the process id, then the errno.
        client: [u8; 16],
        /// Address that was dialled or asked for; the last bytes of a unix socket's path.
        server: [u8; 16],
    }
}

layout! {
    /// What one processor has counted under a key.
    Count {
        /// Refusals that were not told one by one.
        folded: u64,
        /// The window that `used` is of: boottime nanoseconds >> [`WINDOW_SHIFT`].
        window: u32,
        /// Samples sent in it.
        used: u32,
    }
}

layout! {
    /// What one processor has seen in a network namespace, to be held against the kernel's own counters.
    Watched {
        /// Resets sent, whatever for: `OutRsts`.
        resets: u64,
        /// Dials that ended in an error: `AttemptFails`.
        failures: u64,
        /// Packets that found the accept queue full: `ListenOverflows`.
        overflows: u64,
    }
}

/// How many network namespaces each processor has at hand: a power of two.
pub const NEAR_PLACES: u32 = 64;

layout! {
    /// What one processor has seen in a network namespace since it took it at hand: as [`Watched`], and to be added to it.
    Near {
        /// Inode of the network namespace.
        netns: u32,
        /// Random for each namespace; its end is the place.
        netns_mix: u32,
        /// Resets sent, whatever for.
        resets: u64,
        /// Dials that ended in an error.
        failures: u64,
        /// Packets that found the accept queue full.
        overflows: u64,
        /// The kernel's tick when one of them was seen last.
        used: u64,
    }
}

/// Where refusals are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum End {
    /// The end that was dialled sent a reset.
    Server = 0,
    /// The end that dialled got an error, and no reset was seen to be sent.
    Client = 1,
    /// A unix socket was dialled.
    Unix = 2,
    /// bind(2), listen(2) or accept(2) failed.
    Listen = 3,
    /// A SYN was dropped on its way.
    Dropped = 4,
    /// The end that was dialled had no room in a queue.
    Queue = 5,
    /// A connection ended early.
    Early = 6,
}

impl End {
    /// Every one.
    pub const ALL: [Self; 7] =
        [Self::Server, Self::Client, Self::Unix, Self::Listen, Self::Dropped, Self::Queue, Self::Early];
}

/// Keys from here on carry the budget of a server or a client alone, and count nothing.
pub const WIDE_SERVER: u32 = 8;
/// As [`WIDE_SERVER`], of a client.
pub const WIDE_CLIENT: u32 = 9;
/// Where answers are dropped that come in: samples of them are told, and none is a refusal by itself.
pub const ANSWERS: u32 = 10;

/// What is counted at each end whatever the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Total {
    /// Refusals.
    Seen = 0,
    /// Of them, those that were to be told one by one.
    Told = 1,
    /// Of these, those whose record found no room.
    Lost = 2,
}

/// How many totals there are for each end.
pub const TOTALS: u32 = 3;

/// Place of a total in the map of totals.
pub const fn place(end: u32, total: Total) -> u32 {
    end * TOTALS + total as u32
}
