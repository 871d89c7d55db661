//! Who can have refused a packet.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Backend, Counter, Family, Hook};
use super::owner::{Owner, Service};
use crate::trace::text::Text;

/// A rule or a policy that can have done it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// Where it stands.
    pub site: Site,
    /// What it does to the packet.
    pub effect: Effect,
    /// It does so, whatever is not known; otherwise it only may.
    pub must: bool,
    /// How many packets came as far as its verdict, when that is counted.
    pub counter: Option<Counter>,
}

/// A place in a ruleset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Who keeps the rule.
    pub backend: Backend,
    /// The program that wrote it, when it shows.
    pub owner: Option<Owner>,
    /// The table's family.
    pub family: Family,
    /// The table.
    pub table: Text,
    /// The chain.
    pub chain: Text,
    /// What `nft delete rule` takes.
    pub handle: Option<u64>,
    /// Where it stands in its chain, as `iptables --line-numbers` counts; a policy has none.
    pub number: Option<usize>,
    /// Where the packet entered the table.
    pub hook: Hook,
    /// The rule as `nft --stateless list` or `iptables-save` prints it, or `policy drop`.
    pub rule: Text,
    /// The service that kube-proxy has no endpoint for.
    pub service: Option<Service>,
}

/// What is done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The sender gets a TCP reset.
    Reset,
    /// The sender gets an ICMP or ICMPv6 destination-unreachable error with this code, when it is known.
    Icmp(Option<u8>),
    /// Nobody is told.
    Drop,
    /// It goes to another address, another port, or both; what is not known is `None`.
    Translate {
        /// The new address; `None` also where it stays.
        address: Option<IpAddr>,
        /// The new port; `None` also where it stays.
        port: Option<u16>,
        /// To an address of this host.
        redirect: bool,
    },
    /// Decided outside the ruleset, by a program or a target that is not known here.
    Elsewhere,
}

/// What happened to the packet, as the kernel told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It was dropped; whether its sender was told is not known.
    Refusal,
    /// Its sender got a TCP reset.
    Reset,
    /// Its sender got an ICMP error with this code, when it is known.
    Icmp(Option<u8>),
    /// It was dropped, and nobody was told.
    Drop,
    /// It got another destination.
    Translation,
}

impl Wanted {
    /// Whether an effect can have been it.
    pub(super) fn fits(self, effect: Effect) -> bool {
        match (self, effect) {
            (_, Effect::Elsewhere)
            | (Self::Refusal, Effect::Reset | Effect::Icmp(_) | Effect::Drop)
            | (Self::Reset, Effect::Reset)
            | (Self::Drop, Effect::Drop)
            | (Self::Translation, Effect::Translate { .. }) => true,
            (Self::Icmp(code), Effect::Icmp(sent)) => code.is_none() || sent.is_none() || code == sent,
            _ => false,
        }
    }
}

/// Everyone who can have done it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// In the order in which the packet meets them.
    pub candidates: Vec<Candidate>,
    /// Whether the ruleset was walked to its end; if not, there may be others.
    pub complete: bool,
}

impl Suspects {
    /// The one that did it, when it is known that some rule did and no other can have.
    pub fn certain(&self) -> Option<&Candidate> {
        match &self.candidates[..] {
            [only] if self.complete => Some(only),
            _ => None,
        }
    }

    /// Those that can have done it between two looks at the ruleset, by the counters of both: a rule whose counter stood
    /// still saw no packet. When no counter moved, nothing follows, and all stay.
    #[must_use]
    pub fn moved_since(self, before: &Self) -> Self {
        let moved = |candidate: &Candidate| {
            let same = before.candidates.iter().find(|earlier| earlier.site == candidate.site);
            same.and_then(|earlier| earlier.counter)
                .zip(candidate.counter)
                .map(|(then, now)| now.packets > then.packets)
        };
        if !self.candidates.iter().any(|candidate| moved(candidate) == Some(true)) {
            return self;
        }
        let candidates = self.candidates.into_iter().filter(|candidate| moved(candidate) != Some(false)).collect();
        Self { candidates, ..self }
    }
}
