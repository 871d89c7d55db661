//! The conditions of an iptables rule.

use super::super::condition::Condition;
use super::super::elements::{Name, Part};
use super::super::field::{Field, Ip, Key, TRANSLATED, named, number};
use super::super::model::Family;
use super::super::statement::Statement;
use super::rule::Clause;

/// Modules that do nothing without options, and whose options are all read here or said to be unclear.
const SILENT: [&str; 16] = [
    "tcp",
    "udp",
    "sctp",
    "dccp",
    "icmp",
    "icmp6",
    "comment",
    "conntrack",
    "state",
    "multiport",
    "mark",
    "owner",
    "addrtype",
    "iprange",
    "set",
    "physdev",
];

/// Adds what an option of a rule asks for.
pub(super) fn read(option: &Clause<'_>, family: Family, statements: &mut Vec<Statement>) {
    let ip = if family == Family::Ip6 { Ip::V6 } else { Ip::V4 };
    if option.name == "-m" {
        if !SILENT.contains(&option.value()) {
            statements.push(Statement::Maybe);
        }
        return;
    }
    statements.push(condition(option, ip).map_or(Statement::Maybe, Statement::If));
}

/// The condition that an option stands for; `None` when it is not known what it asks for.
fn condition(option: &Clause<'_>, ip: Ip) -> Option<Condition> {
    let value = option.value();
    let any = |key: Key, parts: Option<Vec<Part>>| Some(Condition::any(key, option.negated, parts?));
    let field = |field: Field, parts| any(field.into(), parts);
    match option.name {
        "-p" | "--ctproto" if value == "all" => None,
        "-p" | "--ctproto" => field(Field::Transport, values(Field::Transport, value)),
        "-s" => address(Field::Source(ip), ip, option),
        "-d" => address(Field::Destination(ip), ip, option),
        "-i" => field(Field::Input, Some(vec![Part::Name(Name::new(value, '+'))])),
        "-o" => field(Field::Output, Some(vec![Part::Name(Name::new(value, '+'))])),
        "--sport" | "--sports" => field(Field::SourcePort(None), ports(value)),
        "--dport" | "--dports" => field(Field::DestinationPort(None), ports(value)),
        "--ctorigdstport" => field(Field::FirstDestinationPort, ports(value)),
        "--ctorigdst" => address(Field::FirstDestination(ip), ip, option),
        "--ctdir" => field(Field::Direction, values(Field::Direction, value)),
        "--tcp-flags" => tcp_flags(option),
        "--ctstate" | "--state" => states(option),
        "--mark" => mark(option),
        "--dst-type" => field(Field::DestinationKind, values(Field::DestinationKind, value)),
        "--src-range" => field(Field::Source(ip), range(Field::Source(ip), value)),
        "--dst-range" => field(Field::Destination(ip), range(Field::Destination(ip), value)),
        "--uid-owner" => field(Field::User, range(Field::User, value)),
        "--gid-owner" => field(Field::Group, range(Field::Group, value)),
        _ => None,
    }
}

/// Values with commas between them.
fn values(field: Field, list: &str) -> Option<Vec<Part>> {
    list.split(',').map(|name| named(field, name).map(|number| Part::Span(number, number))).collect()
}

/// `1,2:5,6379`.
fn ports(list: &str) -> Option<Vec<Part>> {
    let port = |text: &str| text.parse::<u16>().ok().map(u128::from);
    let one = |text: &str| {
        let (low, high) = text.split_once(':').unwrap_or((text, text));
        Some(Part::Span(port(low)?, port(high)?))
    };
    list.split(',').map(one).collect()
}

/// `1.2.3.4-1.2.3.9`, or a single value.
fn range(field: Field, text: &str) -> Option<Vec<Part>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some(vec![Part::Span(named(field, low)?, named(field, high)?)])
}

/// `10.0.0.0/8`, or with a mask of any shape.
fn address(field: Field, ip: Ip, option: &Clause<'_>) -> Option<Condition> {
    let (address, mask) = match option.value().split_once('/') {
        Some((address, length)) => (address, mask(field, ip, length)?),
        None => (option.value(), u128::MAX),
    };
    let wanted = named(field, address)? & mask;
    Some(Condition::range(Key { field, mask }, option.negated, wanted, wanted))
}

/// A prefix length, or a mask written as an address.
fn mask(field: Field, ip: Ip, text: &str) -> Option<u128> {
    let Ok(length) = text.parse::<u32>() else { return named(field, text) };
    let free = ip.bits().checked_sub(length)?;
    let all = u128::MAX >> (128 - ip.bits());
    Some(all & u128::MAX.checked_shl(free).unwrap_or_default())
}

/// `FIN,SYN,RST,ACK SYN`.
fn tcp_flags(option: &Clause<'_>) -> Option<Condition> {
    let bits = |list: &str| match list {
        "NONE" => Some(0),
        "ALL" => Some(63),
        list => list.split(',').try_fold(0, |all, flag| Some(all | named(Field::TcpFlags, flag)?)),
    };
    let [mask, wanted] = option.values else { return None };
    let (mask, wanted) = (bits(&mask.text)?, bits(&wanted.text)?);
    Some(Condition::range(Key { field: Field::TcpFlags, mask }, option.negated, wanted, wanted))
}

/// `NEW,RELATED`, or `DNAT` alone; the two kinds together are not read.
fn states(option: &Clause<'_>) -> Option<Condition> {
    if option.value() == "DNAT" {
        return Some(Condition::bits(Field::Status, option.negated, TRANSLATED));
    }
    let states = option.value().split(',').try_fold(0, |all, state| Some(all | named(Field::State, state)?))?;
    Some(Condition::bits(Field::State, option.negated, states))
}

/// `0x8000/0x8000`.
fn mark(option: &Clause<'_>) -> Option<Condition> {
    let (wanted, mask) = option.value().split_once('/').unwrap_or((option.value(), "0xffffffff"));
    let key = Key { field: Field::Mark, mask: number(mask)? };
    let wanted = number(wanted)?;
    Some(Condition::range(key, option.negated, wanted, wanted))
}
