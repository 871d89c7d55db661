//! A rule in nft's own words, from its JSON: `nft --stateless list ruleset` prints the same.
//!
//! The text that nft lists cannot be joined to the JSON: whoever writes a comment with a line break and `# handle 7` in it
//! would put words into another rule's mouth.

use serde_json::Value;

use super::super::model::Family;
use super::words;

/// Longer rules are cut.
const LONGEST: usize = 1000;

/// A rule on one line; not yet safe to print.
pub(in super::super) fn rule(expressions: &[Value], comment: Option<&str>, family: Family) -> String {
    let mut text = String::new();
    for statement in expressions {
        let separator = if text.is_empty() { "" } else { " " };
        text += separator;
        text += &self::statement(statement, family);
        if text.len() > LONGEST {
            let end = text.floor_char_boundary(LONGEST);
            text.truncate(end);
            return text + " …";
        }
    }
    match comment {
        Some(comment) => format!("{text} comment \"{comment}\""),
        None => text,
    }
}

/// A statement; one that is not known is printed as it stands.
fn statement(statement: &Value, family: Family) -> String {
    let Some((kind, of)) = statement.as_object().and_then(|object| object.iter().next()) else {
        return statement.to_string();
    };
    let known = match &**kind {
        "match" => comparison(of),
        "vmap" => of.get("key").zip(of.get("data")).map(|(key, data)| {
            let shape = shape(key);
            format!("{} vmap {}", left(key), right(data, shape))
        }),
        "jump" | "goto" => of.get("target").and_then(Value::as_str).map(|target| format!("{kind} {target}")),
        "counter" => Some(of.as_str().map_or("counter".to_owned(), |name| format!("counter name \"{name}\""))),
        "reject" => reject(of, family),
        "mangle" => of
            .get("key")
            .zip(of.get("value"))
            .map(|(key, value)| format!("{} set {}", left(key), right(value, shape(key)))),
        "limit" => limit(of),
        "quota" => measure("quota", of, &["val", "val_unit"]),
        "ct count" => measure("ct count", of, &["val"]),
        "ct helper" | "ct timeout" | "ct expectation" => of.as_str().map(|name| format!("{kind} set \"{name}\"")),
        "log" => Some(log(of)),
        "dnat" | "snat" | "redirect" | "masquerade" => translation(kind, of),
        "set" => set(of),
        "queue" => Some(queue(of)),
        "synproxy" => Some(synproxy(of)),
        "xt" => of.get("type").zip(of.get("name")).map(|(kind, name)| format!("xt {} {name}", plain(kind))),
        _ if of.is_null() => Some(kind.clone()),
        _ => None,
    };
    known.unwrap_or_else(|| statement.to_string())
}

/// How the values of a field are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As they are.
    Plain,
    /// In quotes: names of interfaces, times.
    Quoted,
    /// In eight hexadecimal digits: marks.
    Hexadecimal,
    /// A yes or no that is spelt `exists` and `missing`.
    Presence,
}

/// How the values of a field are written.
fn shape(left: &Value) -> Shape {
    let key = |kind: &str| left.get(kind).and_then(|of| of.get("key")).and_then(Value::as_str);
    let masked = left.get("&").or_else(|| left.get("|")).or_else(|| left.get("^")).and_then(|of| of.get(0));
    match (key("meta"), key("ct")) {
        (Some("iif" | "oif" | "iifname" | "oifname" | "time" | "hour" | "day" | "ibrname" | "obrname"), _) => {
            Shape::Quoted
        }
        (Some("mark"), _) | (_, Some("mark")) => Shape::Hexadecimal,
        _ if left.get("exthdr").is_some() || left.get("tcp option").is_some() || left.get("fib").is_some() => {
            Shape::Presence
        }
        _ => masked.map_or(Shape::Plain, shape),
    }
}

/// `tcp dport != 22`.
fn comparison(of: &Value) -> Option<String> {
    let (op, key, value) = (of.get("op")?.as_str()?, of.get("left")?, of.get("right")?);
    let shape = shape(key);
    if let Some([flags, mask]) = key.get("&").and_then(Value::as_array).map(Vec::as_slice)
        && flags.pointer("/payload/field").is_some_and(|field| field == "flags")
    {
        let not = if op == "!=" { "!= " } else { "" };
        return Some(format!("{} {not}{} / {}", left(flags), right(value, shape), right(mask, shape)));
    }
    let value = right(value, shape);
    Some(match op {
        "==" if key.get("&").is_none() => format!("{} {value}", left(key)),
        "in" => format!("{} {value}", left(key)),
        _ => format!("{} {op} {value}", left(key)),
    })
}

/// What is looked at.
fn left(of: &Value) -> String {
    let Some((kind, inner)) = of.as_object().and_then(|object| object.iter().next()) else {
        return right(of, Shape::Plain);
    };
    let word = |key: &str| inner.get(key).and_then(Value::as_str);
    let known = match &**kind {
        "payload" => match (word("protocol"), word("field"), word("base")) {
            (Some(protocol), Some(field), _) => Some(format!("{protocol} {field}")),
            (_, _, Some(base)) => {
                inner.get("offset").zip(inner.get("len")).map(|(offset, length)| format!("@{base},{offset},{length}"))
            }
            _ => None,
        },
        "meta" => word("key").map(|key| match key {
            "iif" | "oif" | "iifname" | "oifname" | "iifgroup" | "oifgroup" => key.to_owned(),
            _ => format!("meta {key}"),
        }),
        "ct" => word("key").map(|key| word("dir").map_or(format!("ct {key}"), |way| format!("ct {way} {key}"))),
        "fib" => word("result").map(|result| format!("fib {} {result}", words(inner.get("flags")).join(" . "))),
        "rt" | "socket" | "ipsec" => word("key").map(|key| format!("{kind} {key}")),
        "tcp option" | "ip option" | "exthdr" => word("name").map(|name| {
            let kind = if kind == "exthdr" { String::new() } else { format!("{kind} ") };
            word("field").map_or(format!("{kind}{name}"), |field| format!("{kind}{name} {field}"))
        }),
        "numgen" => word("mode").zip(inner.get("mod")).map(|(mode, modulus)| {
            let offset = inner.get("offset").and_then(Value::as_u64).filter(|offset| *offset > 0);
            format!("numgen {mode} mod {modulus}{}", offset.map(|by| format!(" offset {by}")).unwrap_or_default())
        }),
        _ => return right(of, shape(of)),
    };
    known.unwrap_or_else(|| of.to_string())
}

/// What it is compared with, or set to.
fn right(of: &Value, shape: Shape) -> String {
    match of {
        Value::String(word) if shape == Shape::Quoted && !word.starts_with('@') => format!("\"{word}\""),
        Value::String(word) => word.clone(),
        Value::Number(number) if shape == Shape::Hexadecimal => {
            format!("0x{:08x}", number.as_u64().unwrap_or_default())
        }
        Value::Bool(yes) if shape == Shape::Presence => if *yes { "exists" } else { "missing" }.to_owned(),
        Value::Array(bits) => bits.iter().map(|bit| right(bit, shape)).collect::<Vec<_>>().join(","),
        Value::Object(object) => match object.iter().next() {
            Some((kind, inner)) => compound(kind, inner, shape).unwrap_or_else(|| left_or_json(of)),
            None => of.to_string(),
        },
        _ => of.to_string(),
    }
}

/// An expression that is a left-hand side elsewhere, or the JSON of one that is not known.
fn left_or_json(of: &Value) -> String {
    const KNOWN: [&str; 8] = ["payload", "meta", "ct", "fib", "rt", "socket", "tcp option", "numgen"];
    if KNOWN.iter().any(|kind| of.get(kind).is_some()) { left(of) } else { of.to_string() }
}

/// A value that is made of others.
fn compound(kind: &str, of: &Value, shape: Shape) -> Option<String> {
    let list = || of.as_array().map(Vec::as_slice);
    let joined = |values: &[Value], by: &str| values.iter().map(|one| right(one, shape)).collect::<Vec<_>>().join(by);
    match kind {
        "range" => list().map(|ends| joined(ends, "-")),
        "prefix" => of.get("addr").zip(of.get("len")).map(|(address, length)| format!("{}/{length}", plain(address))),
        "concat" => list().map(|parts| joined(parts, " . ")),
        "set" => list().map(|elements| braces(elements, shape)),
        "elem" => of.get("val").map(|value| {
            let comment = of.get("comment").and_then(Value::as_str);
            right(value, shape) + &comment.map(|comment| format!(" comment \"{comment}\"")).unwrap_or_default()
        }),
        "map" => {
            of.get("key").zip(of.get("data")).map(|(key, data)| format!("{} map {}", left(key), right(data, shape)))
        }
        "&" | "|" | "^" | "<<" | ">>" => list().map(|operands| {
            operands.iter().map(|one| right(one, shape)).collect::<Vec<_>>().join(&format!(" {kind} "))
        }),
        _ => None,
    }
}

/// `{ 1, 2 }`, or `{ 1 : drop, 2 : jump sub }`; no more elements than fit into a rule.
fn braces(elements: &[Value], shape: Shape) -> String {
    let element = |one: &Value| match one.as_array().map(Vec::as_slice) {
        Some([key, to]) => {
            let verdict = to.is_object() && to.get("concat").is_none();
            let to = if verdict { statement(to, Family::Inet) } else { right(to, Shape::Plain) };
            format!("{} : {to}", right(key, shape))
        }
        _ => right(one, shape),
    };
    let shown = elements.iter().take(LONGEST / 2).map(element).collect::<Vec<_>>();
    format!("{{ {} }}", shown.join(", "))
}

/// A word without quotes.
fn plain(of: &Value) -> String {
    of.as_str().map_or_else(|| of.to_string(), str::to_owned)
}

/// `reject with tcp reset`; what is usual in the family is not said.
fn reject(of: &Value, family: Family) -> Option<String> {
    let usual = match family {
        Family::Ip => "icmp",
        Family::Ip6 => "icmpv6",
        _ => "icmpx",
    };
    match (of.get("type").and_then(Value::as_str), of.get("expr").and_then(Value::as_str)) {
        _ if of.is_null() => Some("reject".to_owned()),
        (Some("tcp reset"), _) => Some("reject with tcp reset".to_owned()),
        (Some(kind), Some("port-unreachable")) if kind == usual => Some("reject".to_owned()),
        (Some(kind), Some(code)) => Some(format!("reject with {kind} {code}")),
        _ => None,
    }
}

/// `limit rate over 5/second burst 10 packets`.
fn limit(of: &Value) -> Option<String> {
    let (rate, per) = (of.get("rate")?, of.get("per")?.as_str()?);
    let over = if of.get("inv") == Some(&Value::Bool(true)) { "over " } else { "" };
    let unit = of.get("rate_unit").and_then(Value::as_str).filter(|unit| *unit != "packets");
    let burst = of.get("burst").and_then(Value::as_u64).unwrap_or_default();
    let usual = if unit.is_some() { 0 } else { 5 };
    let burst_unit = of.get("burst_unit").and_then(Value::as_str).unwrap_or("packets");
    let burst = if burst == usual { String::new() } else { format!(" burst {burst} {burst_unit}") };
    Some(format!("limit rate {over}{rate}{}/{per}{burst}", unit.map(|unit| format!(" {unit}")).unwrap_or_default()))
}

/// `quota over 5 mbytes`, `ct count over 10`.
fn measure(what: &str, of: &Value, values: &[&str]) -> Option<String> {
    let over = if of.get("inv") == Some(&Value::Bool(true)) { " over" } else { "" };
    let values: Option<Vec<_>> = values.iter().map(|key| of.get(key).map(plain)).collect();
    values.map(|values| format!("{what}{over} {}", values.join(" ")))
}

/// `log prefix "x" level debug`.
fn log(of: &Value) -> String {
    let options = ["prefix", "group", "snaplen", "queue-threshold", "level"].into_iter().filter_map(|name| {
        let shape = if name == "prefix" { Shape::Quoted } else { Shape::Plain };
        of.get(name).map(|value| format!(" {name} {}", right(value, shape)))
    });
    let flags = words(of.get("flags")).into_iter().map(|flag| format!(" flags {flag}"));
    "log".to_owned() + &options.chain(flags).collect::<Vec<_>>().concat()
}

/// `dnat ip to 10.0.0.9:6379 random`.
fn translation(kind: &str, of: &Value) -> Option<String> {
    let address = of.get("addr").map(|address| right(address, Shape::Plain));
    let port = of.get("port").map(|port| right(port, Shape::Plain));
    let flags = words(of.get("flags")).join(",");
    let family = of.get("family").and_then(Value::as_str).map(|family| format!(" {family}")).unwrap_or_default();
    let to = match (address, port) {
        (None, None) if of.is_null() || !flags.is_empty() => String::new(),
        (None, None) => return None,
        (Some(address), None) => format!(" to {address}"),
        (Some(address), Some(port)) if address.contains(':') => format!(" to [{address}]:{port}"),
        (address, Some(port)) => format!(" to {}:{port}", address.unwrap_or_default()),
    };
    let flags = if flags.is_empty() { flags } else { format!(" {flags}") };
    Some(format!("{kind}{family}{to}{flags}"))
}

/// `update @seen { ip saddr }`.
fn set(of: &Value) -> Option<String> {
    let (op, element, set) = (of.get("op")?.as_str()?, of.get("elem")?, of.get("set")?.as_str()?);
    let inside = of.get("stmt").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (element, timeout) = match element.get("elem") {
        Some(inner) => (inner.get("val")?, inner.get("timeout").map(|timeout| format!(" timeout {timeout}s"))),
        None => (element, None),
    };
    let statements = inside.iter().map(|one| format!(" {}", statement(one, Family::Inet))).collect::<Vec<_>>().concat();
    Some(format!("{op} {set} {{ {}{}{statements} }}", left_or_concat(element), timeout.unwrap_or_default()))
}

/// One field, or several.
fn left_or_concat(of: &Value) -> String {
    match of.get("concat").and_then(Value::as_array) {
        Some(parts) => parts.iter().map(left).collect::<Vec<_>>().join(" . "),
        None => left(of),
    }
}

/// `queue flags bypass to 3`.
fn queue(of: &Value) -> String {
    let flags = words(of.get("flags")).join(",");
    let flags = if flags.is_empty() { flags } else { format!(" flags {flags}") };
    let to = of.get("num").map(|number| format!(" to {}", right(number, Shape::Plain))).unwrap_or_default();
    format!("queue{flags}{to}")
}

/// `synproxy mss 1460 wscale 7 timestamp sack-perm`.
fn synproxy(of: &Value) -> String {
    let number = |key: &str| of.get(key).map(|value| format!(" {key} {value}")).unwrap_or_default();
    let flags = words(of.get("flags")).iter().map(|flag| format!(" {flag}")).collect::<Vec<_>>().concat();
    format!("synproxy{}{}{flags}", number("mss"), number("wscale"))
}
