//! What the host says of the way to a server: its route, and the ports that a dial may start from.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::super::flow::{Endpoint, Netns};
use super::super::text::Text;

/// What the kernel answers when it is asked where it would send a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WayTo {
    /// In which namespace.
    pub netns: Netns,
    /// To where.
    pub to: IpAddr,
    /// The way.
    #[serde(flatten)]
    pub way: Way,
}

/// A way, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "snake_case")]
pub enum Way {
    /// It would be sent.
    Sent {
        /// To this next hop, the target itself when it is on the link.
        hop: IpAddr,
        /// The next hop's hardware address was asked for and nobody answered.
        hop_failed: bool,
    },
    /// It would not.
    Refused {
        /// What a dial gets.
        errno: u32,
        /// The route or rule that says so, as `ip` shows it; absent when nothing matches.
        by: Option<Text>,
    },
    /// The policy of IPsec blocks it.
    Blocked {
        /// The policy, as `ip xfrm policy` shows it.
        by: Text,
    },
}

/// The ports that the kernel chooses from for a dial that is bound to none: `net.ipv4.ip_local_port_range`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ports {
    /// In which namespace.
    pub netns: Netns,
    /// For a dial of this server.
    pub to: Endpoint,
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
    /// Of them, those that are reserved, bound, or used towards that server.
    pub taken: u32,
}

impl Ports {
    /// How many there are.
    pub fn number(&self) -> u32 {
        u32::from(self.last.saturating_sub(self.first)) + 1
    }
}
