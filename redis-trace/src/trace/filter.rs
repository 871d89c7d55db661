//! Filters: which refusals the user wants to hear of. Inside one flag OR, across flags AND, `!` negates.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::cause::Code;
use super::fact::Alike;
use super::flow::Netns;
use super::report::{Outcome, ProcessReport, Report, Side};
use super::text::Text;

/// A value of a filter flag, perhaps negated: `6379`, `!6379`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice<T> {
    /// It began with `!`.
    pub not: bool,
    /// What stands after it.
    pub value: T,
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Choice<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (not, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let value = rest.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Self { not, value })
    }
}

/// One port, or all from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Whether the port lies in it.
    fn has(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?} is not a port (6379) or a range of ports (6379-6389)")),
        }
    }
}

/// One address, or all that share its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    address: IpAddr,
    prefix: u8,
}

impl Address {
    /// Whether the address lies in it; IPv4 never lies in an IPv6 network, nor the reverse.
    fn has(self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(mine), IpAddr::V4(other)) => {
                u32::checked_shr(mine.to_bits() ^ other.to_bits(), 32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(mine), IpAddr::V6(other)) => {
                u128::checked_shr(mine.to_bits() ^ other.to_bits(), 128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address (10.0.3.9, ::1) or a network (10.0.0.0/8)");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(left, right)| (left, Some(right)));
        let address: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
        if prefix > bits {
            return Err(wrong());
        }
        // An IPv4-mapped address is IPv4 everywhere in the output, so it is here.
        Ok(match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if prefix >= 96 => Self { address: mapped, prefix: prefix - 96 },
            _ => Self { address, prefix },
        })
    }
}

/// A name in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the whole text fits.
    fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(between) = last.replace(part) {
                let Some(at) = rest.find(between) else { return false };
                rest = &rest[at + between.len()..];
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }

    /// Whether the text begins so.
    fn begins(&self, text: &str) -> bool {
        Self(format!("{}*", self.0)).fits(text)
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("an empty name fits nothing".to_owned()) } else { Ok(Self(text.to_owned())) }
    }
}

/// A network namespace by inode or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// As `lsns` shows it.
    Inode(Netns),
    /// Under `/run/netns`.
    Named(String),
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `readlink /proc/PID/ns/net` prints net:[4026531840], so that is taken as well.
        let digits = text.strip_prefix("net:[").and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match digits.parse() {
            Ok(inode) => Ok(Self::Inode(Netns(inode))),
            Err(_) if text.is_empty() => Err("a network namespace is an inode or a name".to_owned()),
            Err(_) => Ok(Self::Named(text.to_owned())),
        }
    }
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Server, Self::Client, Self::Both]
            .into_iter()
            .find(|side| side.name() == text)
            .ok_or_else(|| format!("{text:?} is not a side: server, client or both"))
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Refused, Self::Reset, Self::Timeout, Self::Denied, Self::Rejected, Self::ListenFailed]
            .into_iter()
            .find(|outcome| outcome.name() == text)
            .ok_or_else(|| {
                format!("{text:?} is not an outcome: refused, reset, timeout, denied, rejected or listen_failed")
            })
    }
}

/// All filter flags together; the default lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Port that was dialled.
    pub port: Vec<Choice<PortRange>>,
    /// Address of either end.
    pub ip: Vec<Choice<Address>>,
    /// Address of the client.
    pub from: Vec<Choice<Address>>,
    /// Address that was dialled.
    pub to: Vec<Choice<Address>>,
    /// Process id of either end.
    pub pid: Vec<Choice<u32>>,
    /// Process name of either end.
    pub comm: Vec<Choice<Pattern>>,
    /// Container of either end.
    pub container: Vec<Choice<Pattern>>,
    /// Network namespace.
    pub netns: Vec<Choice<Name>>,
    /// End that was seen.
    pub side: Vec<Choice<Side>>,
    /// What the client got.
    pub outcome: Vec<Choice<Outcome>>,
    /// Cause.
    pub cause: Vec<Choice<Code>>,
}

impl Filter {
    /// Whether the user wants to hear of this refusal.
    pub fn wants(&self, report: &Report) -> bool {
        let flow = report.flow.as_ref();
        let client = flow.and_then(|flow| flow.client);
        let server = flow.and_then(|flow| flow.server);
        let processes: Vec<&ProcessReport> = report.client_process.iter().chain(&report.server_process).collect();
        let containers: Vec<&Text> = processes.iter().filter_map(|p| Some(&p.container.as_ref()?.id)).collect();

        passes(&self.port, |range| server.is_some_and(|end| range.has(end.port)))
            && passes(&self.ip, |net| client.into_iter().chain(server).any(|end| net.has(end.ip)))
            && passes(&self.from, |net| client.is_some_and(|end| net.has(end.ip)))
            && passes(&self.to, |net| server.is_some_and(|end| net.has(end.ip)))
            && passes(&self.pid, |pid| processes.iter().any(|process| process.pid == *pid))
            && passes(&self.comm, |name| processes.iter().any(|process| name.fits(process.comm.as_str())))
            && passes(&self.container, |id| containers.iter().any(|container| id.begins(container.as_str())))
            && passes(&self.netns, |name| match name {
                Name::Inode(netns) => flow.is_some_and(|flow| flow.netns == *netns),
                Name::Named(name) => {
                    flow.and_then(|flow| flow.netns_name.as_ref()).is_some_and(|its| its.as_str() == name)
                }
            })
            && passes(&self.side, |side| report.side == *side || report.side == Side::Both)
            && passes(&self.outcome, |outcome| report.outcome == *outcome)
            && passes(&self.cause, |code| report.cause.code == *code)
    }

    /// Whether the user wants to hear of refusals of which only this is known; nothing where the flags ask for more than that.
    pub fn wants_alike(&self, alike: Option<&Alike>) -> Option<bool> {
        let Self { port, ip, from, to, pid, comm, container, netns, side, outcome, cause } = self;
        let asks_for_more = !(pid.is_empty() && comm.is_empty() && container.is_empty() && netns.is_empty())
            || !(side.is_empty() && outcome.is_empty() && cause.is_empty());
        let Some((client, server)) = alike.and_then(Alike::ends) else {
            let asks_for_ends = !(port.is_empty() && ip.is_empty() && from.is_empty() && to.is_empty());
            return (!asks_for_more && !asks_for_ends).then_some(true);
        };
        let fits = passes(port, |range| range.has(server.port))
            && passes(ip, |net| net.has(client) || net.has(server.ip))
            && passes(from, |net| net.has(client))
            && passes(to, |net| net.has(server.ip));
        if fits && asks_for_more { None } else { Some(fits) }
    }
}

/// One flag: no negated value may hold, and where there are plain ones, one of them must.
fn passes<T>(choices: &[Choice<T>], holds: impl Fn(&T) -> bool) -> bool {
    let forbidden = choices.iter().any(|choice| choice.not && holds(&choice.value));
    let mut plain = choices.iter().filter(|choice| !choice.not).peekable();
    !forbidden && (plain.peek().is_none() || plain.any(|choice| holds(&choice.value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refusal() -> Report {
        serde_json::from_value(json!({
            "schema": "redis-trace.refusal/1", "time": "2026-11-23T12:03:41Z", "boottime_ns": 1, "seq": 1,
            "outcome": "refused", "side": "both", "summary": "", "evidence": [], "fix": [], "count": 1,
            "cause": {"code": "RT1007", "name": "", "class": "no_listener", "confidence": "certain"},
            "flow": {"protocol": "tcp", "client": {"ip": "10.0.3.7", "port": 50022},
                     "server": {"ip": "10.0.3.9", "port": 6379}, "netns": 4_026_532_201_u32, "netns_name": "db"},
            "client_process": {"pid": 4123, "comm": "python3", "container": {"runtime": "docker", "id": "9f3c77"}},
            "server_process": {"pid": 991, "comm": "redis-server"},
            "first": "2026-11-23T12:03:41Z", "last": "2026-11-23T12:03:41Z"
        }))
        .expect("a refusal")
    }

    fn choices<T: FromStr<Err: fmt::Display>>(texts: &[&str]) -> Vec<Choice<T>> {
        let parse = |text: &&str| text.parse::<Choice<T>>().expect("a filter");
        texts.iter().map(parse).collect()
    }

    #[test]
    fn no_filter_wants_everything() {
        assert!(Filter::default().wants(&refusal()));
    }

    #[test]
    fn inside_a_flag_one_is_enough_and_across_flags_all_must_hold() {
        let wants = |port: &[&str], to: &[&str]| {
            Filter { port: choices(port), to: choices(to), ..Filter::default() }.wants(&refusal())
        };
        assert!(wants(&["80", "6379"], &[]));
        assert!(wants(&["6000-6999"], &["10.0.0.0/8"]));
        assert!(!wants(&["6379"], &["192.168.0.0/16"]));
        assert!(!wants(&["6000-6999", "!6379"], &[]));
        assert!(wants(&["!80"], &["!10.0.3.8"]));
    }

    #[test]
    fn every_flag_looks_at_what_it_is_named_after() {
        let all = Filter {
            port: choices(&["6379"]),
            ip: choices(&["10.0.3.7"]),
            from: choices(&["10.0.3.0/29"]),
            to: choices(&["::ffff:10.0.3.9"]),
            pid: choices(&["991"]),
            comm: choices(&["redis-*"]),
            container: choices(&["9f3c"]),
            netns: choices(&["db", "net:[4026532201]"]),
            side: choices(&["server"]),
            outcome: choices(&["refused"]),
            cause: choices(&["1007"]),
        };
        assert!(all.wants(&refusal()));
        let mut unix = refusal();
        unix.flow = None;
        assert!(!all.wants(&unix), "what has no port is not on port 6379");
        assert!(!Filter { from: choices(&["10.0.3.9"]), ..Filter::default() }.wants(&refusal()));
        assert!(!Filter { container: choices(&["f3c"]), ..Filter::default() }.wants(&refusal()));
    }

    #[test]
    fn what_is_no_filter_says_what_one_looks_like() {
        let why = |error: Result<Choice<PortRange>, String>| error.expect_err("no port");
        assert_eq!(why("redis".parse()), "\"redis\" is not a port (6379) or a range of ports (6379-6389)");
        assert!("9-1".parse::<Choice<PortRange>>().is_err());
        assert!("10.0.0.0/33".parse::<Choice<Address>>().is_err());
        assert!("RT9999".parse::<Choice<Code>>().expect_err("none").contains("redis-trace explain"));
        assert!("sideways".parse::<Choice<Side>>().expect_err("none").contains("server, client or both"));
    }

    #[test]
    fn a_star_stands_for_anything() {
        let fits = |pattern: &str, text: &str| pattern.parse::<Pattern>().expect("a name").fits(text);
        assert!(fits("redis-*", "redis-server") && fits("*", "") && fits("*-server", "redis-server"));
        assert!(fits("r*s*r", "redis-server") && !fits("r*s*r", "rsx") && !fits("redis", "redis-server"));
        assert!(!fits("aba*ba", "aba"), "what the beginning took is not there for the end");
    }

    proptest! {
        #[test]
        fn a_negated_value_wants_exactly_the_rest(port: u16, first: u16, last: u16) {
            let (first, last) = (first.min(last), first.max(last));
            let mut report = refusal();
            if let Some(server) = report.flow.as_mut().and_then(|flow| flow.server.as_mut()) {
                server.port = port;
            }
            let range = format!("{first}-{last}");
            let (plain, not) = (choices(&[&range]), choices(&[&format!("!{range}")]));
            let wanted = Filter { port: plain, ..Filter::default() }.wants(&report);
            prop_assert_eq!(wanted, (first..=last).contains(&port));
            let filter = Filter { port: not, ..Filter::default() };
            prop_assert_eq!(wanted, !filter.wants(&report));
        }

        #[test]
        fn an_address_lies_in_a_network_that_shares_its_leading_bits(a: u128, b: u128, prefix in 0u8..=128) {
            let network: Address = format!("{}/{prefix}", std::net::Ipv6Addr::from(a)).parse().expect("a network");
            let shared = (a ^ b).leading_zeros() >= u32::from(prefix);
            let other = std::net::Ipv6Addr::from(b);
            prop_assume!(other.to_ipv4_mapped().is_none());
            prop_assert_eq!(network.has(IpAddr::V6(other)), shared);
        }

        #[test]
        fn no_text_breaks_the_parsers(text: String) {
            let _ = (text.parse::<Choice<PortRange>>(), text.parse::<Choice<Address>>());
            let _ = (text.parse::<Choice<Pattern>>(), text.parse::<Choice<Name>>());
        }
    }
}
