//! Why a dial failed of which only the end that dialled tells.

use std::net::IpAddr;

use super::cause::Code;
use super::fact::{IcmpError, Ports};
use super::text::Text;
use super::verdict::Cause;

/// Causes of which only the end that dialled tells: there was no way, nobody answered, or the answer came from elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Dialling {
    /// The client has no port left to dial from.
    PortsExhausted {
        /// How many there are, and are taken.
        ports: Ports,
    },
    /// There is no way there.
    RouteRefused {
        /// What says so.
        by: NoWay,
    },
    /// A policy of IPsec blocks it.
    IpsecRefused {
        /// The policy, as `ip xfrm policy` shows it.
        by: Text,
    },
    /// A reset came from another host.
    RemoteRefused,
    /// An ICMP error came from elsewhere.
    RemoteIcmp {
        /// The error; absent where only the errno tells of it.
        icmp: Option<IcmpError>,
    },
    /// SYNs went out and nothing came back.
    NoAnswer,
    /// The reset came from another place than the peer's answers do.
    MiddleboxReset {
        /// Time to live of the reset.
        ttl: u32,
        /// Time to live of the peer's answers.
        peer: u32,
    },
}

/// Why there is no way to a server.
#[derive(Clone, Debug, PartialEq)]
pub enum NoWay {
    /// A route or a rule refuses, as `ip` shows it.
    Entry(Text),
    /// No route matches.
    NoRoute,
    /// This next hop does not answer: its hardware address is not known.
    Neighbour(IpAddr),
}

impl From<Dialling> for Cause {
    fn from(cause: Dialling) -> Self {
        Self::Dialling(cause)
    }
}

impl Dialling {
    /// Its code.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::PortsExhausted { .. } => Code::RT2007,
            Self::RouteRefused { .. } => Code::RT3030,
            Self::IpsecRefused { .. } => Code::RT3031,
            Self::RemoteRefused => Code::RT4001,
            Self::RemoteIcmp { .. } => Code::RT4002,
            Self::NoAnswer => Code::RT4003,
            Self::MiddleboxReset { .. } => Code::RT4004,
        }
    }
}
