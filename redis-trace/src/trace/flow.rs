//! Addresses and flows as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A network namespace, named by its inode as `lsns` and `/proc/PID/ns/net` show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Netns(pub u32);

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The address; IPv4-mapped IPv6 is always shown as IPv4.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// From the 16 bytes of a record; IPv4-mapped addresses become IPv4.
    pub fn from_bytes(bytes: [u8; 16], port: u16) -> Self {
        Self { ip: Ipv6Addr::from(bytes).to_canonical(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

/// The transport of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, and MPTCP's TCP subflows.
    #[default]
    Tcp,
    /// A unix stream socket.
    Unix,
}

/// The two ends of a TCP connection in one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// Where it was seen.
    pub netns: Netns,
    /// Who dialled.
    pub client: Endpoint,
    /// What was dialled.
    pub server: Endpoint,
    /// Interface the SYN came in by; 0 when not known.
    pub ifindex: u32,
}
