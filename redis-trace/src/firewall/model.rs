//! A ruleset as the kernel walks it: tables, chains on hooks, rules, statements.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::elements::Elements;
use super::nft;
use super::statement::{Branch, Statement};
use crate::trace::text::Text;

/// The rules of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// Its tables, in the order they were listed.
    pub(super) tables: Vec<Table>,
}

impl Ruleset {
    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the chains of dormant tables off their hooks: each told by the number of its family and its name.
    pub fn without_hooks(&mut self, dormant: &[(u8, String)]) {
        let is_dormant = |table: &Table| {
            dormant.iter().any(|(family, name)| table.family.number() == *family && *table.name == **name)
        };
        for table in self.tables.iter_mut().filter(|table| is_dormant(table)) {
            table.chains.iter_mut().for_each(|chain| chain.base = None);
        }
    }

    /// Takes in the tables of another backend.
    pub fn extend(&mut self, other: Self) {
        self.tables.extend(other.tables);
    }
}

/// A table: chains and sets that belong together.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// Who keeps it.
    pub(super) backend: Backend,
    /// Packets of which family it sees.
    pub(super) family: Family,
    /// Its name.
    pub(super) name: Box<str>,
    /// What nft knows it by.
    pub(super) handle: Option<u64>,
    /// It holds expressions of iptables, which nft does not tell.
    pub(super) foreign: bool,
    /// Sets and maps that rules add to, by name.
    pub(super) growing: Vec<Box<str>>,
    /// Its chains.
    pub(super) chains: Vec<Chain>,
    /// Where each chain stands.
    pub(super) places: HashMap<Box<str>, usize>,
    /// Its sets.
    pub(super) sets: HashMap<Box<str>, Elements<()>>,
    /// Its maps to verdicts.
    pub(super) maps: HashMap<Box<str>, Elements<Branch>>,
    /// Its named counters.
    pub(super) counters: HashMap<Box<str>, Counter>,
}

impl Table {
    /// An empty one.
    pub(super) fn new(backend: Backend, family: Family, name: &str) -> Self {
        Self {
            backend,
            family,
            name: name.into(),
            handle: None,
            foreign: false,
            growing: Vec::new(),
            chains: Vec::new(),
            places: HashMap::new(),
            sets: HashMap::new(),
            maps: HashMap::new(),
            counters: HashMap::new(),
        }
    }

    /// Adds a chain.
    pub(super) fn add(&mut self, name: &str, base: Option<Base>) {
        self.places.insert(name.into(), self.chains.len());
        self.chains.push(Chain { name: name.into(), base, rules: Vec::new() });
    }

    /// Makes sets that rules add to vague: the generation of the ruleset stays the same when they grow.
    pub(super) fn blur_growing(&mut self) {
        for name in &self.growing {
            if let Some(set) = self.sets.get_mut(name) {
                set.blur();
            }
            if let Some(map) = self.maps.get_mut(name) {
                map.blur();
            }
        }
    }

    /// The chain of a name.
    pub(super) fn chain(&mut self, name: &str) -> Option<&mut Chain> {
        self.places.get(name).and_then(|place| self.chains.get_mut(*place))
    }
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Its name.
    pub(super) name: Box<str>,
    /// Where packets enter it, unless only other rules lead to it.
    pub(super) base: Option<Base>,
    /// Its rules, in order.
    pub(super) rules: Vec<Rule>,
}

/// Where and when packets enter a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// The hook.
    pub(super) hook: Hook,
    /// The only interfaces whose packets enter it, where they were listed; chains at ingress and egress have some.
    pub(super) interfaces: Option<Vec<Box<str>>>,
    /// The lowest comes first.
    pub(super) priority: i64,
    /// It translates addresses: only the first packet of a connection meets it, and nothing translates twice.
    pub(super) translates: bool,
    /// What befalls a packet that met no verdict.
    pub(super) policy: Policy,
    /// How many met the policy, where that is counted.
    pub(super) counter: Option<Counter>,
}

/// What befalls a packet at the end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
}

/// A rule.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// What `nft delete rule` takes.
    pub(super) handle: Option<u64>,
    /// What it does, in order.
    pub(super) statements: Vec<Statement>,
    /// The remark its author left.
    pub(super) comment: Option<Box<str>>,
    /// How many packets came as far as its verdict, where that is counted.
    pub(super) counter: Option<Counter>,
    /// As it was listed.
    pub(super) listed: Listed,
}

/// A rule as it was listed.
#[derive(Clone, Debug)]
pub(super) enum Listed {
    /// nft's expressions, as JSON.
    Expressions(Box<str>),
    /// The arguments of iptables.
    Arguments(Box<str>),
}

impl Rule {
    /// The rule as `nft --stateless list` or `iptables-save` prints it, made safe to print.
    pub(super) fn text(&self, family: Family) -> Text {
        match &self.listed {
            Listed::Arguments(text) => Text::from(&**text),
            Listed::Expressions(listed) => {
                let expressions = nft::expressions(listed).unwrap_or_default();
                Text::from(&*nft::text::rule(&expressions, self.comment.as_deref(), family))
            }
        }
    }
}

/// How many packets a rule has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Which part of the kernel keeps a rule, and which program reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// nf_tables, written by nft.
    Nftables,
    /// nf_tables, written by today's iptables.
    IptablesNft,
    /// ip_tables and ip6_tables.
    IptablesLegacy,
    /// IPVS, which has virtual services instead of rules.
    Ipvs,
}

/// Packets of which family a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
    /// Whatever passes one interface.
    Netdev,
    /// Whatever passes a bridge.
    Bridge,
    /// Address resolution.
    Arp,
}

impl Family {
    /// By the name that nft gives it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "inet" => Self::Inet,
            "netdev" => Self::Netdev,
            "bridge" => Self::Bridge,
            "arp" => Self::Arp,
            _ => return None,
        })
    }

    /// As nft names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
            Self::Netdev => "netdev",
            Self::Bridge => "bridge",
            Self::Arp => "arp",
        }
    }

    /// Its number in the kernel: enum of include/uapi/linux/netfilter.h.
    fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Arp => 3,
            Self::Netdev => 5,
            Self::Bridge => 7,
            Self::Ip6 => 10,
        }
    }

    /// Whether its tables see an IP packet of this version that passes a bridge, or does not.
    pub(super) fn sees(self, ipv6: bool, bridged: bool) -> bool {
        match self {
            Self::Bridge => bridged,
            Self::Ip => !ipv6 && !bridged,
            Self::Ip6 => ipv6 && !bridged,
            Self::Inet | Self::Netdev => !bridged,
            Self::Arp => false,
        }
    }
}

/// A point on a packet's way through the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// As soon as an interface has it.
    Ingress,
    /// Before it is known whether it is for this host.
    Prerouting,
    /// On its way to a socket of this host.
    Input,
    /// On its way through this host.
    Forward,
    /// From a socket of this host.
    Output,
    /// On its way out, after routing.
    Postrouting,
    /// Right before an interface sends it.
    Egress,
}

impl Hook {
    /// As nft names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }

    /// By the name that nft gives it, or the chain of iptables.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ingress" => Self::Ingress,
            "prerouting" | "PREROUTING" => Self::Prerouting,
            "input" | "INPUT" => Self::Input,
            "forward" | "FORWARD" => Self::Forward,
            "output" | "OUTPUT" => Self::Output,
            "postrouting" | "POSTROUTING" => Self::Postrouting,
            "egress" => Self::Egress,
            _ => return None,
        })
    }
}
