//! The kernel's own counters, and what was seen of what they count.

use serde::{Deserialize, Serialize};

use crate::trace::flow::Netns;

/// What the kernel has counted in a network namespace since it was made: `/proc/net/snmp`, `/proc/net/netstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The namespace.
    pub netns: Netns,
    /// `Tcp: OutRsts`: resets sent, whatever for.
    pub out_resets: u64,
    /// `Tcp: AttemptFails`: dials that failed, and connections that ended before they stood.
    pub attempt_fails: u64,
    /// `TcpExt: EmbryonicRsts`: of those, connections that the other end reset before they stood.
    pub embryonic_resets: u64,
    /// `TcpExt: ListenOverflows`: connections that found the accept queue full.
    pub listen_overflows: u64,
    /// `TcpExt: ListenDrops`: connections that a listener dropped, for whatever reason.
    pub listen_drops: u64,
}

/// What the probes have seen in a network namespace since they were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// The namespace.
    pub netns: Netns,
    /// Resets sent, whatever for.
    pub resets: u64,
    /// Dials that ended in an error.
    pub failures: u64,
    /// Packets that found an accept queue full.
    #[serde(default)]
    pub overflows: u64,
}
