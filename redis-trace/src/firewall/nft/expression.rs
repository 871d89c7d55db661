//! nft's expressions: what a rule looks at, and what it compares that with.

use serde_json::Value;

use super::super::elements::{Elements, Name, Part};
use super::super::field::{Field, Ip, Key, named, number};
use super::words;

/// What a value is read as.
pub(super) type Kind = Field;

/// The fields of a left-hand side: several when it is a concatenation.
pub(super) fn keys(left: &Value) -> Vec<Key> {
    match left.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(key).collect(),
        None => vec![key(left)],
    }
}

/// One field, and the bits of it that count.
fn key(left: &Value) -> Key {
    if let Some([of, mask]) = left.get("&").and_then(Value::as_array).map(Vec::as_slice) {
        let field = field(of);
        return match scalar(field, mask) {
            Some(mask) => Key { field, mask },
            None => Field::Other.into(),
        };
    }
    field(left).into()
}

/// A field, or [`Field::Other`] for all that is not read here.
fn field(left: &Value) -> Field {
    let Some((kind, of)) = left.as_object().and_then(|object| object.iter().next()) else { return Field::Other };
    let word = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
    match &**kind {
        "payload" => payload(word("protocol"), word("field")),
        "meta" => meta(word("key")),
        "ct" => connection(word("key"), word("dir")),
        "fib" if word("result") == "type" && words(of.get("flags")) == ["daddr"] => Field::DestinationKind,
        _ => Field::Other,
    }
}

/// A field of a header.
fn payload(protocol: &str, field: &str) -> Field {
    let transport = match protocol {
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "sctp" => Some(132),
        _ => None,
    };
    match (protocol, field) {
        ("ip", "saddr") => Field::Source(Ip::V4),
        ("ip", "daddr") => Field::Destination(Ip::V4),
        ("ip6", "saddr") => Field::Source(Ip::V6),
        ("ip6", "daddr") => Field::Destination(Ip::V6),
        ("tcp", "flags") => Field::TcpFlags,
        ("tcp" | "udp" | "dccp" | "sctp" | "th", "sport") => Field::SourcePort(transport),
        ("tcp" | "udp" | "dccp" | "sctp" | "th", "dport") => Field::DestinationPort(transport),
        ("ip", "protocol") => Field::Ipv4Protocol,
        _ => Field::Other,
    }
}

/// What the kernel keeps beside a packet.
fn meta(key: &str) -> Field {
    match key {
        "nfproto" => Field::Family,
        "l4proto" => Field::Transport,
        "iif" | "iifname" => Field::Input,
        "oif" | "oifname" => Field::Output,
        "mark" => Field::Mark,
        "skuid" => Field::User,
        "skgid" => Field::Group,
        _ => Field::Other,
    }
}

/// What conntrack knows.
fn connection(key: &str, direction: &str) -> Field {
    match (key, direction) {
        ("state", _) => Field::State,
        ("status", _) => Field::Status,
        ("direction", _) => Field::Direction,
        ("ip daddr", "original") => Field::FirstDestination(Ip::V4),
        ("ip6 daddr", "original") => Field::FirstDestination(Ip::V6),
        ("proto-dst", "original") => Field::FirstDestinationPort,
        _ => Field::Other,
    }
}

/// What the values of a named set or map are read as, by the name of its type.
pub(super) fn kinds(of: Option<&Value>) -> Vec<Kind> {
    let kind = |name: &str| match name {
        "ipv4_addr" => Field::Source(Ip::V4),
        "ipv6_addr" => Field::Source(Ip::V6),
        "inet_proto" => Field::Transport,
        "inet_service" => Field::SourcePort(None),
        "ifname" | "iface_index" => Field::Input,
        "mark" => Field::Mark,
        "ct_state" => Field::State,
        "ct_status" => Field::Status,
        "uid" => Field::User,
        "gid" => Field::Group,
        "nf_proto" => Field::Family,
        "tcp_flag" => Field::TcpFlags,
        "fib_addrtype" => Field::DestinationKind,
        _ => Field::Other,
    };
    match of.and_then(|of| of.get("typeof")) {
        Some(expression) => keys(expression).iter().map(|key| key.field).collect(),
        None => words(of).into_iter().map(kind).collect(),
    }
}

/// A value as a number: one that stands there, one that has a name, or bits together.
pub(super) fn scalar(field: Field, value: &Value) -> Option<u128> {
    match value {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(name) => named(field, name).or_else(|| number(name)),
        Value::Array(bits) => bits.iter().try_fold(0, |all, bit| Some(all | scalar(field, bit)?)),
        Value::Object(object) => match object.get("|") {
            Some(Value::Array(bits)) => bits.iter().try_fold(0, |all, bit| Some(all | scalar(field, bit)?)),
            _ => None,
        },
        _ => None,
    }
}

/// A value of one field: a number, a range of them, or a name.
pub(super) fn part(field: Field, value: &Value) -> Part {
    let understood = match (field, value) {
        (Field::Other, _) => None,
        // An interface that is told by a number has gone since.
        (Field::Input | Field::Output, value) => value.as_str().map(|name| Part::Name(Name::new(name, '*'))),
        (_, Value::Object(object)) if object.contains_key("range") => range(field, &object["range"]),
        (_, Value::Object(object)) if object.contains_key("prefix") => prefix(field, &object["prefix"]),
        (field, value) => scalar(field, value).map(|number| Part::Span(number, number)),
    };
    understood.unwrap_or(Part::Unclear)
}

/// `{"range": [1, 5]}`.
fn range(field: Field, ends: &Value) -> Option<Part> {
    let [low, high] = ends.as_array()?.as_slice() else { return None };
    Some(Part::Span(scalar(field, low)?, scalar(field, high)?))
}

/// `{"prefix": {"addr": "10.0.0.0", "len": 8}}`.
fn prefix(field: Field, prefix: &Value) -> Option<Part> {
    let bits = match field {
        Field::Source(ip) | Field::Destination(ip) | Field::FirstDestination(ip) => ip.bits(),
        _ => return None,
    };
    let length = prefix.get("len")?.as_u64().and_then(|length| u32::try_from(length).ok())?;
    let free = bits.checked_sub(length)?;
    let below = u128::MAX.checked_shr(128 - free).unwrap_or_default();
    let low = scalar(field, prefix.get("addr")?)? & !below;
    Some(Part::Span(low, low | below))
}

/// The elements of a set or a map; `split` takes a pair of a map apart.
pub(super) fn elements<D: Clone + PartialEq>(
    listed: &[Value],
    split: impl Fn(&Value) -> Option<(&Value, D)>,
    kinds: &[Kind],
) -> Elements<D> {
    let mut elements = Elements::default();
    for one in listed {
        let Some((value, data)) = split(one) else {
            elements.blur();
            continue;
        };
        let value = value.pointer("/elem/val").unwrap_or(value);
        let several = value.get("concat").and_then(Value::as_array);
        match several {
            _ if value == "*" => elements.add_rest(data),
            Some(values) if values.len() == kinds.len() => {
                elements.add(kinds.iter().zip(values).map(|(kind, value)| part(*kind, value)).collect(), data);
            }
            None if kinds.len() == 1 => elements.add(vec![part(kinds[0], value)], data),
            _ => elements.blur(),
        }
    }
    elements.settle()
}
