//! What `nft --json list ruleset` prints: libnftables-json(5).

mod expression;
mod statement;
pub(super) mod text;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::elements::Elements;
use super::model::{Backend, Base, Counter, Family, Hook, Listed, Policy, Rule, Ruleset, Table};

/// The whole listing.
#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    nftables: Vec<Object<'a>>,
}

/// One object of it: the first of these that is there. What refuses no packet is left out.
#[derive(Deserialize)]
struct Object<'a> {
    table: Option<Map<String, Value>>,
    chain: Option<Map<String, Value>>,
    #[serde(borrow)]
    rule: Option<RuleObject<'a>>,
    set: Option<Map<String, Value>>,
    map: Option<Map<String, Value>>,
    counter: Option<Map<String, Value>>,
}

/// A rule; its expressions stay as they were written: as values, 20,000 rules took 221 MB at the peak, and so 55 MB.
#[derive(Deserialize)]
struct RuleObject<'a> {
    #[serde(borrow)]
    family: Cow<'a, str>,
    #[serde(borrow)]
    table: Cow<'a, str>,
    #[serde(borrow)]
    chain: Cow<'a, str>,
    handle: Option<u64>,
    #[serde(borrow)]
    comment: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expr: &'a RawValue,
}

/// Reads `nft --json list ruleset`.
pub fn parse_nft(listing: &str) -> Result<Ruleset, String> {
    let unreadable = |error| format!("The ruleset that nft listed could not be read: {error}.");
    let listing: Listing<'_> = serde_json::from_str(listing).map_err(unreadable)?;
    let mut reader = Reader::default();
    for object in listing.nftables {
        reader.take(object).map_err(unreadable)?;
    }
    for table in &mut reader.ruleset.tables {
        table.blur_growing();
        if table.is_of_iptables() {
            table.backend = Backend::IptablesNft;
        }
    }
    Ok(reader.ruleset)
}

/// The expressions of a rule.
pub(super) fn expressions(listed: &str) -> serde_json::Result<Vec<Value>> {
    serde_json::from_str(listed)
}

/// A listing being read.
#[derive(Default)]
struct Reader {
    ruleset: Ruleset,
    /// The table that the last object was of: objects of a table come together.
    last: usize,
}

impl Reader {
    /// Takes in one object.
    fn take(&mut self, object: Object<'_>) -> serde_json::Result<()> {
        if let Some(rule) = object.rule {
            return self.table(&rule.family, &rule.table).map_or(Ok(()), |table| add_rule(table, &rule));
        }
        self.ruleset.tables.extend(object.table.as_ref().and_then(table));
        if let Some(chain) = object.chain
            && let Some(table) = self.table(word(&chain, "family"), word(&chain, "table"))
        {
            table.add(word(&chain, "name"), base(&chain));
        }
        if let Some(set) = object.set
            && let Some(table) = self.table(word(&set, "family"), word(&set, "table"))
        {
            table.sets.insert(word(&set, "name").into(), elements(&set, |value| Some((value, ()))));
        }
        // A map to anything but verdicts only gives new addresses and marks, and which of them is not told.
        if let Some(map) = object.map.filter(|map| word(map, "map") == "verdict")
            && let Some(table) = self.table(word(&map, "family"), word(&map, "table"))
        {
            table.maps.insert(word(&map, "name").into(), elements(&map, statement::branch));
        }
        if let Some(named) = object.counter
            && let Some(table) = self.table(word(&named, "family"), word(&named, "table"))
        {
            table.counters.insert(word(&named, "name").into(), counter(&named));
        }
        Ok(())
    }

    /// The table that an object belongs to.
    fn table(&mut self, family: &str, name: &str) -> Option<&mut Table> {
        let family = Family::named(family)?;
        let is = |table: &Table| table.family == family && &*table.name == name;
        let tables = &mut self.ruleset.tables;
        if !tables.get(self.last).is_some_and(is) {
            self.last = tables.iter().position(is)?;
        }
        tables.get_mut(self.last)
    }
}

/// A string of an object.
fn word<'a>(object: &'a Map<String, Value>, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Words that stand alone or in a list.
fn words(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(word)) => vec![word],
        _ => Vec::new(),
    }
}

/// A table without anything in it yet.
fn table(object: &Map<String, Value>) -> Option<Table> {
    let (family, name) = (Family::named(word(object, "family"))?, word(object, "name"));
    let handle = object.get("handle").and_then(Value::as_u64);
    Some(Table { handle, ..Table::new(Backend::Nftables, family, name) })
}

/// Where packets enter a chain, when they do.
fn base(object: &Map<String, Value>) -> Option<Base> {
    Some(Base {
        hook: Hook::named(word(object, "hook"))?,
        interfaces: object.get("dev").map(|dev| words(Some(dev)).into_iter().map(Box::from).collect()),
        priority: object.get("prio").and_then(Value::as_i64).unwrap_or_default(),
        translates: word(object, "type") == "nat",
        policy: if word(object, "policy") == "drop" { Policy::Drop } else { Policy::Accept },
        counter: None,
    })
}

/// Packets and bytes.
fn counter(object: &Map<String, Value>) -> Counter {
    let number = |key| object.get(key).and_then(Value::as_u64).unwrap_or_default();
    Counter { packets: number("packets"), bytes: number("bytes") }
}

/// Adds a rule to its chain.
fn add_rule(table: &mut Table, object: &RuleObject<'_>) -> serde_json::Result<()> {
    let expressions = expressions(object.expr.get())?;
    table.growing.extend(expressions.iter().filter_map(statement::grown).map(Box::from));
    table.foreign |= expressions.iter().any(|one| one.get("xt").is_some());
    let rule = Rule {
        handle: object.handle,
        statements: expressions.iter().filter_map(|one| statement::read(one, table.family)).collect(),
        comment: object.comment.as_deref().map(Box::from),
        counter: statement::counter_before_verdict(&expressions, &table.counters),
        listed: Listed::Expressions(object.expr.get().into()),
    };
    if let Some(chain) = table.chain(&object.chain) {
        chain.rules.push(rule);
    }
    Ok(())
}

/// The elements of a named set or map.
fn elements<D: Clone + PartialEq>(
    object: &Map<String, Value>,
    split: impl Fn(&Value) -> Option<(&Value, D)>,
) -> Elements<D> {
    let kinds = expression::kinds(object.get("type"));
    let flags = words(object.get("flags"));
    let listed = object.get("elem").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut elements = expression::elements(listed, split, &kinds);
    // Rules add to these and time takes from them, and the generation of the ruleset stays the same.
    if flags.contains(&"timeout") || flags.contains(&"dynamic") || object.contains_key("timeout") {
        elements.blur();
    }
    elements
}
