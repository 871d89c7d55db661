//! Refusals that the probes counted and did not tell one by one.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::trace::flow::{Endpoint, Netns};
use crate::trace::text::Text;

/// So many more refusals since the last such fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// How many.
    pub number: u64,
    /// What they have in common; absent for those of a flood over more keys than the kernel's side keeps.
    pub alike: Option<Alike>,
}

/// What refusals have in common that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum Alike {
    /// Resets: counted at the end that was dialled.
    Server {
        /// Where.
        netns: Netns,
        /// Who dialled.
        client: IpAddr,
        /// What.
        server: Endpoint,
    },
    /// Connections that found a queue full: counted at the end that was dialled.
    Queue {
        /// Where.
        netns: Netns,
        /// Who dialled.
        client: IpAddr,
        /// What.
        server: Endpoint,
    },
    /// Failed connects whose reset this host did not send: counted at the end that dialled.
    Client {
        /// Where.
        netns: Netns,
        /// Who dialled.
        client: IpAddr,
        /// What.
        server: Endpoint,
    },
    /// SYNs that were dropped on their way.
    Dropped {
        /// Where.
        netns: Netns,
        /// Who dialled.
        client: IpAddr,
        /// What.
        server: Endpoint,
    },
    /// Connections that ended early: counted at the end of the server where that is on this host.
    Early {
        /// Where.
        netns: Netns,
        /// Who dialled.
        client: IpAddr,
        /// What.
        server: Endpoint,
        /// A number for those that ended alike.
        how: u16,
    },
    /// Unix sockets that were dialled.
    Unix {
        /// By which process.
        pid: u32,
        /// What it got.
        errno: u32,
        /// How the path ends.
        tail: Text,
    },
    /// bind(2), listen(2), accept(2) or socket(2) that failed.
    Listen {
        /// Of which process.
        pid: u32,
        /// What it got.
        errno: u32,
        /// The port it asked for, or listens on.
        port: u16,
    },
}

impl Alike {
    /// Who dialled, and what; of TCP alone both are known.
    pub fn ends(&self) -> Option<(IpAddr, Endpoint)> {
        match self {
            Self::Server { client, server, .. }
            | Self::Queue { client, server, .. }
            | Self::Client { client, server, .. }
            | Self::Dropped { client, server, .. }
            | Self::Early { client, server, .. } => Some((*client, *server)),
            Self::Unix { .. } | Self::Listen { .. } => None,
        }
    }

    /// Where they were dialled; of TCP alone it is known.
    pub fn netns(&self) -> Option<Netns> {
        match self {
            Self::Server { netns, .. }
            | Self::Queue { netns, .. }
            | Self::Client { netns, .. }
            | Self::Dropped { netns, .. }
            | Self::Early { netns, .. } => Some(*netns),
            Self::Unix { .. } | Self::Listen { .. } => None,
        }
    }
}
