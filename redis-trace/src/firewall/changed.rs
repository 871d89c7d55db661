//! What rules did to a packet on its way through a hook.

use super::packet::Packet;
use crate::trace::flow::Endpoint;

/// The packet as rules left it, where that differs from what came to the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Changed {
    /// Its mark now, when it is known.
    pub(super) mark: Option<u32>,
    /// Whether conntrack still has it as it came.
    pub(super) tracked: bool,
    /// Where it goes now.
    pub(super) destination: Destination,
}

/// Where a packet goes after the rules so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// Where it went when it came.
    Same,
    /// Elsewhere.
    Translated(Endpoint),
    /// It may have been translated, or it is not known to where.
    Unknown,
}

impl Changed {
    /// A packet that has met no rule yet.
    pub(super) fn new(packet: &Packet) -> Self {
        Self { mark: packet.mark, tracked: true, destination: Destination::Same }
    }

    /// Where it goes now.
    pub(super) fn destination(&self, packet: &Packet) -> Option<Endpoint> {
        match self.destination {
            Destination::Same => packet.destination,
            Destination::Translated(end) => Some(end),
            Destination::Unknown => None,
        }
    }

    /// What is known when either may be.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            mark: self.mark.filter(|mark| other.mark == Some(*mark)),
            tracked: self.tracked && other.tracked,
            destination: if self.destination == other.destination { self.destination } else { Destination::Unknown },
        }
    }
}
