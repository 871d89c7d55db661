//! What `iptables-save --counters` and `ip6tables-save --counters` print.

mod matches;
mod rule;
mod target;
mod words;

use super::model::{Backend, Base, Counter, Family, Hook, Policy, Ruleset, Table};
use words::{Line, lines};

/// Whether the listing was made by the iptables that writes to nf_tables; its first line says so.
pub fn is_of_nft(listing: &str) -> bool {
    listing.lines().next().is_some_and(|first| first.starts_with('#') && first.contains("(nf_tables)"))
}

/// Reads `iptables-save --counters` for IPv4, or `ip6tables-save --counters` for IPv6.
pub fn parse_save(listing: &str, backend: Backend, ipv6: bool) -> Result<Ruleset, String> {
    let family = if ipv6 { Family::Ip6 } else { Family::Ip };
    let mut ruleset = Ruleset::default();
    for (number, line) in lines(listing).enumerate() {
        let unreadable = || format!("Line {} of what iptables-save listed could not be read.", number + 1);
        match line.text.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'*') => ruleset.tables.push(Table::new(backend, family, line.text[1..].trim_end())),
            _ if line.text.trim_end() == "COMMIT" => {}
            _ => take(ruleset.tables.last_mut(), &line).ok_or_else(unreadable)?,
        }
    }
    Ok(ruleset)
}

/// Takes in a chain or a rule.
fn take(table: Option<&mut Table>, line: &Line<'_>) -> Option<()> {
    let table = table?;
    if let Some(name) = line.text.strip_prefix(':') {
        let (name, rest) = name.split_once(' ')?;
        table.add(name, base(&table.name, name, rest));
        return Some(());
    }
    let (counted, words) = match counter(&line.words.first()?.text) {
        Some(counter) => (Some(counter), &line.words[1..]),
        None => (None, &line.words[..]),
    };
    let [append, chain, arguments @ ..] = words else { return None };
    if append.text != "-A" {
        return None;
    }
    let rule = rule::read(&line.text[append.at..], arguments, counted, table);
    table.chain(&chain.text)?.rules.push(rule);
    Some(())
}

/// `[12:720]`.
fn counter(word: &str) -> Option<Counter> {
    let (packets, bytes) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counter { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// Where packets enter a built-in chain of a table; the priorities are those of
/// include/uapi/linux/netfilter_ipv4.h.
fn base(table: &str, chain: &str, rest: &str) -> Option<Base> {
    let (policy, counted) = rest.split_once(' ').unwrap_or((rest, ""));
    let policy = match policy {
        "ACCEPT" => Policy::Accept,
        "DROP" => Policy::Drop,
        _ => return None,
    };
    let hook = Hook::named(chain)?;
    let priority = match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", Hook::Prerouting | Hook::Output) => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    };
    let translates = table == "nat";
    Some(Base { hook, interfaces: None, priority, translates, policy, counter: counter(counted.trim_end()) })
}
