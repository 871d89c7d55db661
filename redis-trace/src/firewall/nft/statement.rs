//! nft's statements.

use std::collections::HashMap;

use serde_json::Value;

use super::super::condition::{Among, Condition};
use super::super::field::{Field, Key};
use super::super::model::{Counter, Family};
use super::super::statement::{
    Branch, Choice, MarkChange, Reject, Statement, Target, Verdict, icmp_code, icmp6_code, icmpx_codes,
};
use super::expression::{elements, keys, part, scalar};

/// What a statement of the listing does; nothing, when it only counts or writes to a log.
pub(super) fn read(statement: &Value, family: Family) -> Option<Statement> {
    let (kind, of) = statement.as_object()?.iter().next()?;
    Some(match &**kind {
        "counter" | "log" | "dup" | "last" | "flow" | "secmark" | "ct helper" | "ct timeout" | "ct expectation" => {
            return None;
        }
        "match" => condition(of).map_or(Statement::Maybe, Statement::If),
        "vmap" => choice(of).unwrap_or(Statement::Decide(Verdict::Elsewhere)),
        "mangle" => return mangle(of),
        "notrack" => Statement::Untrack,
        // A rule that adds to a full set ends there.
        "limit" | "quota" | "ct count" | "meter" | "set" | "map" => Statement::Maybe,
        "xt" if of.get("type").and_then(Value::as_str) == Some("match") => Statement::Maybe,
        "reject" => Statement::Decide(Verdict::Reject(reject(of, family))),
        "dnat" => Statement::Decide(Verdict::Translate(target(of, false))),
        "redirect" => Statement::Decide(Verdict::Translate(target(of, true))),
        "snat" | "masquerade" => Statement::Decide(Verdict::Accept),
        _ => Statement::Decide(verdict(statement).unwrap_or(Verdict::Elsewhere)),
    })
}

/// `{"jump": {"target": "sub"}}`, `{"drop": null}`, …
fn verdict(statement: &Value) -> Option<Verdict> {
    let (kind, of) = statement.as_object()?.iter().next()?;
    let target = || of.get("target").and_then(Value::as_str).map(Box::from);
    Some(match &**kind {
        "accept" => Verdict::Accept,
        "drop" => Verdict::Drop,
        "continue" => Verdict::Continue,
        "return" => Verdict::Return,
        "jump" => Verdict::Jump(target()?),
        "goto" => Verdict::Goto(target()?),
        _ => return None,
    })
}

/// A pair of a map to verdicts, taken apart.
pub(super) fn branch(pair: &Value) -> Option<(&Value, Branch)> {
    let [key, to] = pair.as_array()?.as_slice() else { return None };
    let comment = key.pointer("/elem/comment").and_then(Value::as_str).map(Box::from);
    Some((key, Branch { verdict: verdict(to)?, comment }))
}

/// `{"op": "==", "left": …, "right": …}`.
fn condition(of: &Value) -> Option<Condition> {
    let (op, left, right) = (of.get("op")?.as_str()?, of.get("left")?, of.get("right")?);
    let keys = keys(left);
    let negated = op == "!=";
    if let Some(name) = right.as_str().and_then(|name| name.strip_prefix('@')) {
        return Some(Condition { keys, negated, among: Among::Set(name.into()) });
    }
    let fields: Vec<_> = keys.iter().map(|key| key.field).collect();
    if let Some(set) = right.get("set").and_then(Value::as_array) {
        let values = elements(set, |value| Some((value, ())), &fields);
        return Some(Condition { keys, negated, among: Among::Values(values) });
    }
    if right.get("concat").is_some() {
        let values = elements(std::slice::from_ref(right), |value| Some((value, ())), &fields);
        return Some(Condition { keys, negated, among: Among::Values(values) });
    }
    let [key] = keys[..] else { return None };
    comparison(op, key, right)
}

/// One field against one value.
fn comparison(op: &str, key: Key, right: &Value) -> Option<Condition> {
    let number = || scalar(key.field, right);
    Some(match op {
        "==" | "!=" => Condition::any(key, op == "!=", [part(key.field, right)]),
        // Some of these bits, or none of them.
        "in" | "!" => Condition::bits(key, op == "!", number()?),
        "<" => Condition::range(key, true, number()?, u128::MAX),
        ">=" => Condition::range(key, false, number()?, u128::MAX),
        ">" => Condition::range(key, true, 0, number()?),
        "<=" => Condition::range(key, false, 0, number()?),
        _ => return None,
    })
}

/// The set or map that a statement adds to.
pub(super) fn grown(statement: &Value) -> Option<&str> {
    let named = statement.pointer("/set/set").or_else(|| statement.pointer("/map/map"));
    named.and_then(Value::as_str).and_then(|name| name.strip_prefix('@'))
}

/// `{"key": …, "data": …}`.
fn choice(of: &Value) -> Option<Statement> {
    let keys = keys(of.get("key")?);
    let data = of.get("data")?;
    let choice = if let Some(name) = data.as_str().and_then(|name| name.strip_prefix('@')) {
        Choice::Map(name.into())
    } else {
        let fields: Vec<_> = keys.iter().map(|key| key.field).collect();
        Choice::Here(elements(data.get("set")?.as_array()?, branch, &fields))
    };
    Some(Statement::Choose(keys, choice))
}

/// A change of the packet; only that of its mark means something to other rules.
fn mangle(of: &Value) -> Option<Statement> {
    let is_mark = |value: &Value| value.pointer("/meta/key").is_some_and(|key| key == "mark");
    if !of.get("key").is_some_and(is_mark) {
        return None;
    }
    let small = |value: &Value| scalar(Field::Mark, value).and_then(|number| u32::try_from(number).ok());
    let value = of.get("value")?;
    let operator = ["&", "|", "^"].into_iter().find_map(|operator| Some((operator, value.get(operator)?.as_array()?)));
    let change = match operator {
        None => small(value).map(|flip| MarkChange { keep: 0, flip }),
        Some((operator, operands)) => match operands.as_slice() {
            [left, right] if is_mark(left) => small(right).map(|bits| match operator {
                "&" => MarkChange { keep: bits, flip: 0 },
                "|" => MarkChange { keep: !bits, flip: bits },
                _ => MarkChange { keep: u32::MAX, flip: bits },
            }),
            _ => None,
        },
    };
    Some(Statement::Mark(change))
}

/// `{"type": "icmpx", "expr": "port-unreachable"}`, or nothing for what is usual.
fn reject(of: &Value, family: Family) -> Reject {
    let name = of.get("expr").and_then(Value::as_str).unwrap_or("port-unreachable");
    match (of.get("type").and_then(Value::as_str), family) {
        (Some("tcp reset"), _) => Reject::Reset,
        (Some("icmp"), _) | (None, Family::Ip) => Reject::Icmp(icmp_code(name)),
        (Some("icmpv6"), _) | (None, Family::Ip6) => Reject::Icmp6(icmp6_code(name)),
        (_, _) => Reject::Either(icmpx_codes(name)),
    }
}

/// `{"addr": "10.0.0.9", "port": 6379}`; an address or a port that is not plain is one of several.
fn target(of: &Value, redirect: bool) -> Target {
    let (address, port) = (of.get("addr"), of.get("port"));
    let one_address = address.and_then(Value::as_str).and_then(|address| address.parse().ok());
    let one_port = port.and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let vague = address.is_some() != one_address.is_some() || port.is_some() != one_port.is_some();
    Target { address: one_address, port: one_port, redirect, vague }
}

/// Statements behind which no counter counts what they decided.
const DECISIONS: [&str; 12] =
    ["accept", "drop", "return", "jump", "goto", "reject", "vmap", "dnat", "snat", "redirect", "masquerade", "queue"];

/// What the last counter before the verdict has counted: all that met the conditions before it.
pub(super) fn counter_before_verdict(expressions: &[Value], named: &HashMap<Box<str>, Counter>) -> Option<Counter> {
    let decides = |statement: &&Value| !DECISIONS.iter().any(|name| statement.get(name).is_some());
    let of = expressions.iter().take_while(decides).filter_map(|statement| statement.get("counter")).last()?;
    match of {
        Value::String(name) => named.get(&**name).copied(),
        Value::Object(of) => Some(super::counter(of)),
        _ => None,
    }
}
