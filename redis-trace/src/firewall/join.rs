//! Rules that iptables wrote into nf_tables: nft tells their handles, iptables-save tells what they do.

use super::model::{Backend, Chain, Family, Ruleset, Table};

/// The tables that iptables makes, each of its own family.
const TABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

impl Ruleset {
    /// Whether some rules can only be read by iptables-save: they hold expressions of its own, which nft does not tell.
    pub fn needs_save(&self, ipv6: bool) -> bool {
        let family = if ipv6 { Family::Ip6 } else { Family::Ip };
        self.tables.iter().any(|table| table.family == family && table.foreign && table.backend == Backend::IptablesNft)
    }

    /// Takes the meaning of iptables' own tables from what iptables-save listed of them. A chain that has another length
    /// there was changed between the two listings, and stays as nft told it.
    #[must_use]
    pub fn explained_by(mut self, other: Self) -> Self {
        for told in other.tables {
            let same = |table: &&mut Table| {
                table.backend == Backend::IptablesNft && table.family == told.family && table.name == told.name
            };
            let Some(table) = self.tables.iter_mut().find(same) else { continue };
            for chain in told.chains {
                if let Some(known) = table.chain(&chain.name).filter(|known| known.rules.len() == chain.rules.len()) {
                    explain(known, chain);
                }
            }
        }
        self
    }
}

impl Table {
    /// Whether iptables made it: by its name, and a chain with a name that only iptables gives.
    pub(super) fn is_of_iptables(&self) -> bool {
        let built_in = |chain: &Chain| chain.base.is_some() && chain.name.bytes().all(|byte| byte.is_ascii_uppercase());
        let family = matches!(self.family, Family::Ip | Family::Ip6);
        family && TABLES.contains(&&*self.name) && self.chains.iter().any(built_in)
    }
}

/// Keeps the handles of one listing and takes the rest from the other.
fn explain(known: &mut Chain, saved: Chain) {
    if let (Some(base), Some(saved)) = (&mut known.base, saved.base) {
        base.counter = saved.counter;
    }
    for (rule, saved) in known.rules.iter_mut().zip(saved.rules) {
        let handle = rule.handle;
        *rule = saved;
        rule.handle = handle;
    }
}
