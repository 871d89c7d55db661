//! A rule or a policy that a walk found, and what is told of it.

use super::candidate::{Candidate, Effect, Site};
use super::model::{Backend, Chain, Family, Hook, Ruleset, Table};
use super::owner::{Owner, Service};
use crate::trace::text::Text;

/// A rule or a policy that can have done it.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    /// Its table.
    pub(super) table: &'a Table,
    /// Its chain.
    pub(super) chain: &'a Chain,
    /// Its place in the chain; a policy has none.
    pub(super) rule: Option<usize>,
    /// What it does.
    pub(super) effect: Effect,
    /// It does so, whatever is not known.
    pub(super) must: bool,
    /// The remark of the map's element that led there.
    pub(super) note: Option<&'a str>,
}

/// The same thing done by the same rule: the chain is told by its address.
pub(super) type Key = (*const Chain, Option<usize>, Effect);

impl Found<'_> {
    /// To look it up by.
    pub(super) fn key(&self) -> Key {
        (std::ptr::from_ref(self.chain), self.rule, self.effect)
    }

    /// The packet can also have come to it in another way.
    pub(super) fn also(&mut self, other: &Self) {
        self.must |= other.must;
        self.note = self.note.filter(|note| other.note == Some(note));
    }

    /// As it is told.
    pub(super) fn told(&self, hook: Hook) -> Candidate {
        let Self { table, chain, effect, must, .. } = *self;
        let rule = self.rule.and_then(|place| chain.rules.get(place));
        let policy = chain.base.as_ref();
        let counter = rule.map_or_else(|| policy.and_then(|base| base.counter), |rule| rule.counter);
        let site = Site {
            backend: table.backend,
            owner: rule.map_or_else(|| Owner::of_policy(table, chain), |rule| Owner::of_rule(table, chain, rule)),
            family: table.family,
            table: Text::from(&*table.name),
            chain: Text::from(&*chain.name),
            handle: rule.and_then(|rule| rule.handle),
            number: self.rule.map(|place| place + 1),
            hook,
            rule: rule.map_or_else(|| policy_text(table.backend, chain), |rule| rule.text(table.family)),
            service: self.service(),
        };
        Candidate { site, effect, must, counter }
    }

    /// The service without endpoints, when kube-proxy wrote the rule.
    fn service(&self) -> Option<Service> {
        let rule = self.chain.rules.get(self.rule?)?;
        let kube = Owner::of_rule(self.table, self.chain, rule) == Some(Owner::KubeProxy);
        let of_rule = rule.comment.as_deref().and_then(Service::without_endpoints);
        kube.then(|| of_rule.or_else(|| self.note.and_then(Service::named))).flatten()
    }
}

/// A policy of drop, as each program prints it; IPVS has none.
fn policy_text(backend: Backend, chain: &Chain) -> Text {
    match backend {
        Backend::Nftables | Backend::Ipvs => Text::from("policy drop"),
        Backend::IptablesNft | Backend::IptablesLegacy => Text::from(&*format!("-P {} DROP", chain.name)),
    }
}

impl Ruleset {
    /// The rule of ip_tables or ip6_tables that so many entries of its table follow, its last one included, for who knows
    /// already that it was this one.
    ///
    /// In the kernel's table a chain is its rules and its policy; one without a hook also has a head, and ends with a
    /// return. The last entry of a table is an error: struct ipt_replace of include/uapi/linux/netfilter_ipv4/ip_tables.h.
    pub fn by_followers(&self, ipv6: bool, table: &str, followers: usize, hook: Hook) -> Option<Site> {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        let mut tables = self.tables.iter().filter(|known| known.backend == Backend::IptablesLegacy);
        let table = tables.find(|known| known.family == family && &*known.name == table)?;
        let mut left = followers.checked_sub(1)?;
        for chain in table.chains.iter().rev() {
            let (rules, head) = (chain.rules.len(), usize::from(chain.base.is_none()));
            if left < rules + 1 + head {
                // The head of a chain and what ends it are no rules.
                let rule = Some(rules.checked_sub(left)?).filter(|place| *place < rules)?;
                let found = Found { table, chain, rule: Some(rule), effect: Effect::Drop, must: true, note: None };
                return Some(found.told(hook).site);
            }
            left -= rules + 1 + head;
        }
        None
    }

    /// Whether a rule of nf_tables is one that can be known by any of these handles, that table's and how many follow it in
    /// its chain, as far as these are known.
    pub fn is_known_by(&self, site: &Site, handles: &[u64], table: Option<u64>, followers: Option<usize>) -> bool {
        let is = |known: &&Table| known.family == site.family && *known.name == *site.table.as_str();
        let Some(known) = self.tables.iter().find(is) else { return false };
        let chain = known.chains.iter().find(|chain| *chain.name == *site.chain.as_str());
        let left = chain.zip(site.number).and_then(|(chain, number)| chain.rules.len().checked_sub(number));
        site.handle.is_some_and(|handle| handles.contains(&handle))
            && known.handle.zip(table).is_none_or(|(has, told)| has == told)
            && left.zip(followers).is_none_or(|(has, told)| has == told)
    }

    /// The rule of a handle, for who knows already that it was this one.
    pub fn by_handle(&self, family: Family, table: &str, handle: u64, hook: Hook) -> Option<Site> {
        let mut tables = self.tables.iter().filter(|known| known.family == family && &*known.name == table);
        let table = tables.next()?;
        let mut rules =
            table.chains.iter().flat_map(|chain| chain.rules.iter().enumerate().map(move |rule| (chain, rule)));
        let (chain, (place, _)) = rules.find(|(_, (_, rule))| rule.handle == Some(handle))?;
        Some(Found { table, chain, rule: Some(place), effect: Effect::Drop, must: true, note: None }.told(hook).site)
    }
}
