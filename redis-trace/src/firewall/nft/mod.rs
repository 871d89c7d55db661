//! What `nft --json list ruleset` prints: libnftables-json(5).

mod expression;
mod statement;
pub(super) mod text;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::elements::Elements;
use super::model::{Backend, Base, Counter, Family, Hook, Listed, Policy, Rule, Ruleset, Table};

/// The whole listing.
#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Map<String, Value>>,
}

/// Reads `nft --json list ruleset`.
pub fn parse_nft(listing: &str) -> Result<Ruleset, String> {
    let unreadable = |error| format!("The ruleset that nft listed could not be read: {error}.");
    let listing: Listing = serde_json::from_str(listing).map_err(unreadable)?;
    let mut reader = Reader::default();
    for (kind, object) in listing.nftables.into_iter().flatten() {
        if let Value::Object(object) = object {
            reader.take(&kind, object);
        }
    }
    for table in &mut reader.ruleset.tables {
        table.blur_growing();
        if table.is_of_iptables() {
            table.backend = Backend::IptablesNft;
        }
    }
    Ok(reader.ruleset)
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
    fn take(&mut self, kind: &str, object: Map<String, Value>) {
        if kind == "table" {
            self.ruleset.tables.extend(table(&object));
            return;
        }
        let Some(table) = self.table(&object) else { return };
        let name = word(&object, "name").to_owned();
        match kind {
            "chain" => table.add(&name, base(&object)),
            "rule" => rule(table, object),
            "set" => {
                let kinds = expression::kinds(object.get("type"));
                let elements = elements(&object, |value| Some((value, ())), &kinds);
                table.sets.insert(name.into(), elements);
            }
            "map" if object.get("map").and_then(Value::as_str) == Some("verdict") => {
                let kinds = expression::kinds(object.get("type"));
                table.maps.insert(name.into(), elements(&object, statement::branch, &kinds));
            }
            "counter" => {
                table.counters.insert(name.into(), counter(&object));
            }
            _ => {}
        }
    }

    /// The table that an object belongs to.
    fn table(&mut self, object: &Map<String, Value>) -> Option<&mut Table> {
        let family = Family::named(word(object, "family"))?;
        let name = word(object, "table");
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
    Some(Table::new(Backend::Nftables, family, name))
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
fn rule(table: &mut Table, mut object: Map<String, Value>) {
    let Some(Value::Array(expressions)) = object.remove("expr") else { return };
    table.growing.extend(expressions.iter().filter_map(statement::grown).map(Box::from));
    table.foreign |= expressions.iter().any(|one| one.get("xt").is_some());
    let statements = expressions.iter().filter_map(|one| statement::read(one, table.family)).collect();
    let counter = statement::counter_before_verdict(&expressions, &table.counters);
    let rule = Rule {
        handle: object.get("handle").and_then(Value::as_u64),
        statements,
        comment: object.get("comment").and_then(Value::as_str).map(Box::from),
        counter,
        listed: Listed::Expressions(expressions),
    };
    if let Some(chain) = table.chain(word(&object, "chain")) {
        chain.rules.push(rule);
    }
}

/// The elements of a named set or map.
fn elements<D: Clone + PartialEq>(
    object: &Map<String, Value>,
    split: impl Fn(&Value) -> Option<(&Value, D)>,
    kinds: &[expression::Kind],
) -> Elements<D> {
    let flags = words(object.get("flags"));
    let listed = object.get("elem").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut elements = expression::elements(listed, split, kinds);
    // Rules add to these and time takes from them, and the generation of the ruleset stays the same.
    if flags.contains(&"timeout") || flags.contains(&"dynamic") || object.contains_key("timeout") {
        elements.blur();
    }
    elements
}
