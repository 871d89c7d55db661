//! The rules of a namespace, as nft and iptables-save list them there, read again only when they changed.
//!
//! Nothing is changed by looking. Asking nf_tables on a host without it would load its module, so it is asked only where
//! it is: its module is loaded, its code is in the kernel, or no module can be loaded at all. `iptables-save` of the legacy
//! kind would make the tables it reads, so it is run only where `/proc/net/ip_tables_names` has some; that of nftables
//! would load the modules of its matches, so it is run only where rules use them.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::command::{output, program};
use super::{Host, netns, nf_tables, process};
use crate::firewall::{Backend, Ruleset, is_of_nft, parse_nft, parse_save};
use crate::trace::flow::Netns;

/// A listing takes no longer: nft lists 20,000 rules in one second, and in six on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listing is no longer: 20,000 rules are 8 MB.
const LIMIT: usize = 64 << 20;

/// So often rules may change while they are read.
const ATTEMPTS: usize = 3;

/// Rules that take longer are read again when they change, before anybody asks for them.
const LONG: Duration = Duration::from_millis(100);

/// Reading them again takes at most one part in so many of a processor.
const SHARE: u32 = 100;

/// The rulesets that were read, by namespace.
#[derive(Debug, Default)]
pub(super) struct Rulesets(HashMap<Netns, Read>);

/// What was read of a namespace's rules.
#[derive(Clone, Debug, Default)]
struct Read {
    /// The last, and those before it that packets may still have met.
    known: Vec<Known>,
    /// When they were last read, and how long that took.
    last: Option<(Instant, Duration)>,
}

impl Read {
    /// Rules that take so long to read that whoever is refused should not wait for it.
    fn takes_long(&self) -> bool {
        self.last.is_some_and(|(_, took)| took >= LONG)
    }

    /// Such rules, when they may be read again.
    fn is_due(&self) -> bool {
        self.takes_long() && self.last.is_some_and(|(end, took)| end.elapsed() >= took * SHARE)
    }
}

/// So many are kept of a namespace.
const KEPT: usize = 2;

/// The rules of a namespace at a moment.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// All of them.
    pub(super) ruleset: Arc<Ruleset>,
    /// Their generation; absent where some have none.
    pub(super) generation: Option<u32>,
}

/// A ruleset that was read.
#[derive(Clone, Debug)]
struct Known {
    /// The generation of the part that nf_tables keeps.
    generation: Option<u32>,
    /// That part.
    nf_tables: Arc<Ruleset>,
}

impl Host {
    /// A namespace has got the number of one that is gone: its rules, which may have the same generation, are others.
    pub fn forget_rules(&mut self, netns: Netns) {
        self.rulesets.0.remove(&netns);
    }

    /// The namespaces in which nf_tables has, or had, rules.
    pub fn with_rules(&mut self) -> Vec<Netns> {
        self.look(&process::ids());
        let were_written = |_| has_nf_tables() && nf_tables::generation().is_ok_and(|now| now != nf_tables::FIRST);
        let looks = netns::inside_each(&self.places, were_written);
        looks.into_iter().filter(|(_, were_written)| *were_written == Ok(true)).map(|(netns, _)| netns).collect()
    }

    /// Reads the rules of a namespace before anybody asks for them; what cannot be read is told to who asks.
    pub fn read_ahead(&mut self, netns: Netns) {
        let _ = self.ruleset(netns, None);
    }

    /// Whether some namespace's rules take long to read.
    pub fn reads_long(&self) -> bool {
        self.rulesets.0.values().any(Read::takes_long)
    }

    /// The namespaces whose rules take long to read and have changed since.
    pub fn with_changed_rules(&self) -> Vec<Netns> {
        let due = self.rulesets.0.iter().filter(|(_, read)| read.is_due());
        let changed = due.filter(|(netns, read)| {
            let now = self.inside(**netns, nf_tables::generation).flatten().ok();
            now.is_some() && now != read.known.first().and_then(|last| last.generation)
        });
        changed.map(|(netns, _)| *netns).collect()
    }

    /// The rules of a namespace: those of this generation, if they were read before, else those of now.
    pub(super) fn ruleset(&mut self, netns: Netns, generation: Option<u32>) -> Result<Rules, String> {
        let before = self.rulesets.0.get(&netns).cloned().unwrap_or_default();
        let wanted = before.known.iter().position(|known| generation.is_some() && known.generation == generation);
        let (read, rules) = self.inside(netns, move || read(before, wanted)).flatten()?;
        self.rulesets.0.retain(|netns, _| self.places.contains_key(netns));
        self.rulesets.0.insert(netns, read);
        Ok(rules)
    }
}

/// Reads the rules of the calling thread's namespace, unless the wanted ones are known; the last that were read come first.
fn read(Read { mut known, mut last }: Read, wanted: Option<usize>) -> Result<(Read, Rules), String> {
    if wanted.is_none() {
        let (before, began) = (known.first().and_then(|known| known.generation), Instant::now());
        let now = kept_by_nf_tables(known.first().cloned())?;
        if now.generation != before {
            last = Some((Instant::now(), began.elapsed()));
        }
        known.retain(|known| known.generation != now.generation);
        known.insert(0, now);
        known.truncate(KEPT);
    }
    let Known { mut generation, nf_tables: mut ruleset } = known[wanted.unwrap_or(0)].clone();
    for ipv6 in [false, true] {
        // The kernel tells of no change here, so these are read each time.
        if has_legacy_tables(ipv6) {
            Arc::make_mut(&mut ruleset).extend(legacy(ipv6)?);
            generation = None;
        }
    }
    Ok((Read { known, last }, Rules { ruleset, generation }))
}

/// Reads what nf_tables keeps, unless it is known already.
fn kept_by_nf_tables(known: Option<Known>) -> Result<Known, String> {
    if !has_nf_tables() {
        return Ok(Known { generation: None, nf_tables: Arc::default() });
    }
    let mut before = nf_tables::generation()?;
    if let Some(known) = known.filter(|known| known.generation == Some(before)) {
        return Ok(known);
    }
    for _ in 0..ATTEMPTS {
        let ruleset = if before == nf_tables::FIRST { Ruleset::default() } else { list()? };
        let after = nf_tables::generation()?;
        if before == after {
            return Ok(Known { generation: Some(after), nf_tables: Arc::new(ruleset) });
        }
        before = after;
    }
    Err("The firewall's rules change faster than they can be read.".to_owned())
}

/// What nft lists, with what iptables-save tells of the rules that iptables wrote.
fn list() -> Result<Ruleset, String> {
    let mut nft = program("nft")
        .ok_or("This namespace has rules of nf_tables, and nft is not installed: they cannot be read.".to_owned())?;
    nft.args(["--json", "list", "ruleset"]);
    let mut ruleset = parse_nft(&output(nft, PATIENCE, LIMIT)?)?;
    ruleset.without_hooks(&nf_tables::dormant()?);
    for ipv6 in [false, true] {
        // Where it cannot be told what iptables' own expressions ask for, their rules stay a maybe.
        if ruleset.needs_save(ipv6)
            && let Ok(Some(listing)) = save(ipv6, "nft")
            && let Ok(told) = parse_save(&listing, Backend::IptablesNft, ipv6)
        {
            ruleset = ruleset.explained_by(told);
        }
    }
    Ok(ruleset)
}

/// The tables of ip_tables or ip6_tables.
fn legacy(ipv6: bool) -> Result<Ruleset, String> {
    let listing = save(ipv6, "legacy")?.ok_or(
        "This namespace has rules of the legacy iptables, and no iptables-save that can read them is installed."
            .to_owned(),
    )?;
    parse_save(&listing, Backend::IptablesLegacy, ipv6)
}

/// What iptables-save of one kind lists, where there is one.
fn save(ipv6: bool, kind: &str) -> Result<Option<String>, String> {
    let family = if ipv6 { "ip6tables" } else { "iptables" };
    for name in [format!("{family}-{kind}-save"), format!("{family}-save")] {
        let Some(mut command) = program(&name) else { continue };
        command.arg("--counters");
        let listing = output(command, PATIENCE, LIMIT)?;
        // The one without a kind in its name is of either kind, and says which.
        if is_of_nft(&listing) == (kind == "nft") {
            return Ok(Some(listing));
        }
    }
    Ok(None)
}

/// Whether ip_tables or ip6_tables has tables in the calling thread's namespace.
fn has_legacy_tables(ipv6: bool) -> bool {
    let file = if ipv6 { "/proc/thread-self/net/ip6_tables_names" } else { "/proc/thread-self/net/ip_tables_names" };
    fs::read(file).is_ok_and(|names| !names.is_empty())
}

/// Whether asking nf_tables loads nothing.
fn has_nf_tables() -> bool {
    match fs::read_to_string("/proc/modules") {
        Ok(modules) => modules.lines().any(|line| line.starts_with("nf_tables ")) || is_built_in(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Whether the kernel itself has the code of nf_tables; that never changes.
fn is_built_in() -> bool {
    static BUILT_IN: OnceLock<bool> = OnceLock::new();
    *BUILT_IN.get_or_init(|| {
        let symbols = fs::File::open("/proc/kallsyms").map(BufReader::new);
        symbols.is_ok_and(|symbols| {
            symbols.lines().map_while(Result::ok).any(|line| line.ends_with(" nf_tables_newtable"))
        })
    })
}

#[cfg(test)]
mod tests;
