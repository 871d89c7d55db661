//! What rules did to a packet on its way through a hook.

use super::answer::Answer;
use super::model::Hook;
use super::packet::{Interface, Packet};
use crate::trace::flow::Endpoint;

/// Where conntrack comes.
const CONNTRACK: i64 = -200;

/// The packet as rules left it, where that differs from what came to the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Changed {
    /// Its mark now, when it is known.
    pub(super) mark: Option<u32>,
    /// What conntrack knows of it here.
    pub(super) tracking: Tracking,
    /// Where it goes now.
    pub(super) destination: Destination,
}

/// What conntrack knows of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tracking {
    /// It has not seen it yet.
    NotYet,
    /// What is told of the packet.
    Told,
    /// It is not known what.
    Unknown,
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
        Self { mark: packet.mark, tracking: Tracking::Told, destination: Destination::Same }
    }

    /// Where it goes now.
    pub(super) fn destination(&self, packet: &Packet) -> Option<Endpoint> {
        match self.destination {
            Destination::Same => packet.destination,
            Destination::Translated(end) => Some(end),
            Destination::Unknown => None,
        }
    }

    /// As a chain of this priority at a hook sees it: conntrack comes to prerouting and output at -200
    /// (NF_IP_PRI_CONNTRACK), and packets over loopback come to prerouting with what it knew at output.
    #[must_use]
    pub(super) fn at(self, hook: Hook, priority: i64, packet: &Packet) -> Self {
        let looped = match &packet.input {
            Interface::Named(name) => Answer::from(name == "lo"),
            Interface::Unknown => Answer::Maybe,
            Interface::None => Answer::No,
        };
        let early = priority < CONNTRACK;
        let tracking = match (hook, looped) {
            _ if self.tracking == Tracking::Unknown => Tracking::Unknown,
            (Hook::Output, _) | (Hook::Prerouting, Answer::No) if early => Tracking::NotYet,
            (Hook::Prerouting, Answer::Maybe) if early => Tracking::Unknown,
            (Hook::Ingress, _) => Tracking::Unknown,
            _ => Tracking::Told,
        };
        Self { tracking, ..self }
    }

    /// What is known when either may be.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            mark: self.mark.filter(|mark| other.mark == Some(*mark)),
            tracking: if self.tracking == other.tracking { self.tracking } else { Tracking::Unknown },
            destination: if self.destination == other.destination { self.destination } else { Destination::Unknown },
        }
    }
}
