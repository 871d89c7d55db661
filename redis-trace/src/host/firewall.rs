//! Which of the firewall's rules can have done something to a packet, by the rules of the namespace where it was done.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use caps::{CapSet, Capability};
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketType, socket};

use super::{Host, addresses};
use crate::firewall::{Backend, Candidate, Effect, Hook, Interface, Packet, Ruleset, State, Suspects, Wanted};
use crate::trace::fact::{Passing, Rejected, Suspected, What};
use crate::trace::flow::{Endpoint, Flow};
use crate::trace::text::Text;

/// TCP among the protocols above IP.
const TCP: u8 = 6;

/// The flags of a first packet.
const SYN: u8 = 2;

/// What is looked up in the namespace itself.
struct Scene {
    /// The interface that the packet came in by, when it has a number.
    input: Interface,
    /// The one that it was to go out by.
    output: Interface,
    /// Whether the packet's destination is an address of its own.
    local: Option<bool>,
    /// Connections that conntrack has, and the most that it takes.
    conntrack: Option<(u32, u32)>,
}

impl Host {
    /// The rules that can have done this to a SYN, or to its answer.
    pub(super) fn suspected(&mut self, flow: &Flow, isn: u32, sight: &Passing, wanted: Wanted) -> What {
        let mut suspected = Suspected {
            netns: flow.netns,
            isn,
            wanted,
            candidates: Vec::new(),
            complete: true,
            named: None,
            same: None,
            conntrack: None,
            dialler: None,
            unreadable: None,
        };
        // First, for it may soon give up.
        if sight.outgoing && sight.is_answer() {
            suspected.dialler = self.dialler(flow);
        }
        suspected.unreadable = self.walk(flow, sight, &mut suspected).err().map(Text::from);
        What::Suspected(suspected)
    }

    /// Reads the rules and walks the packet through them, at each hook where it can have been.
    fn walk(&mut self, flow: &Flow, sight: &Passing, found: &mut Suspected) -> Result<(), String> {
        let rules = self.ruleset(flow.netns, sight.generation)?;
        let scene = self.inside(flow.netns, || look_around(ends(flow, sight).1.ip, sight))?;
        let packet = packet(flow, sight, &scene);
        pass(&packet, hooks(flow, sight, &packet), &rules.ruleset, found);
        // What no rule can have met that came in may have been on its way through a bridge.
        if found.candidates.is_empty() && !sight.outgoing {
            let leaves = self.inside(flow.netns, || interface(flow.ifindex))?;
            let hooks = if flow.ifindex == sight.input { ARRIVING } else { LEAVING };
            let output = if flow.ifindex == sight.input { Interface::Unknown } else { leaves };
            pass(&Packet { bridged: true, output, ..packet.clone() }, hooks, &rules.ruleset, found);
        }
        if let Some(rejected) = sight.rejected {
            only_named(found, &rejected, &rules.ruleset, packet.ipv6);
        }
        found.same = sight.generation.zip(rules.generation).map(|(then, read)| then == read);
        found.conntrack = scene.conntrack;
        Ok(())
    }
}

impl Host {
    /// The rules that can refuse the first packet of a dial of this user's that leaves by this interface of the calling
    /// thread's namespace: on its way out and, where the server's address is its own, in again. With the hooks that it meets.
    pub fn judged(&mut self, flow: &Flow, link: Option<String>, uid: u32) -> Result<(Suspects, &'static str), String> {
        if !caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false) {
            return Err("the firewall's rules may be read with CAP_NET_ADMIN only".to_owned());
        }
        let rules = self.ruleset(flow.netns, None)?.ruleset;
        let own = addresses::of(Path::new("/proc/thread-self/net"))?;
        let is_own = flow.server.ip.is_loopback() || own.contains(&flow.server.ip);
        let interface = link.map_or(Interface::Unknown, Interface::Named);
        let out = Packet {
            ipv6: flow.server.ip.is_ipv6(),
            transport: Some(TCP),
            source: Some(flow.client),
            destination: Some(flow.server),
            first_destination: Some(flow.server),
            tcp_flags: Some(SYN),
            input: Interface::None,
            output: interface.clone(),
            states: State::NEW,
            mark: Some(0),
            local: Some(is_own),
            user: Some(uid),
            ..Packet::default()
        };
        let inward = Packet { input: interface, output: Interface::None, user: None, ..out.clone() };
        let mut all = Suspects { candidates: Vec::new(), complete: true };
        let way_in: &[Hook] = if is_own { &[Hook::Prerouting, Hook::Input] } else { &[] };
        let ways = [(&out, &[Hook::Output, Hook::Postrouting][..]), (&inward, way_in)];
        for (packet, hook) in ways.iter().flat_map(|(packet, hooks)| hooks.iter().map(move |hook| (packet, hook))) {
            let Suspects { candidates, complete } = rules.suspects(*hook, packet, Wanted::Refusal);
            all.candidates.extend(candidates);
            all.complete &= complete;
        }
        Ok((all, if is_own { "output, postrouting, prerouting, input" } else { "output, postrouting" }))
    }
}

/// Where a packet can be on a bridge, at the interface that it came in by and at the one that it goes out by.
const ARRIVING: &[Hook] = &[Hook::Prerouting, Hook::Input];
const LEAVING: &[Hook] = &[Hook::Forward, Hook::Postrouting];

/// Walks a packet through the rules of some hooks, to the first that certainly has one.
fn pass(packet: &Packet, hooks: &[Hook], rules: &Ruleset, found: &mut Suspected) {
    for hook in hooks {
        let Suspects { candidates, complete } = rules.suspects(*hook, packet, found.wanted);
        found.candidates.extend(candidates);
        found.complete &= complete;
        if found.candidates.iter().any(|candidate| candidate.must) {
            break;
        }
    }
}

/// Keeps the rules that the kernel named when it rejected the packet, when they are among those that can have done it.
fn only_named(found: &mut Suspected, rejected: &Rejected, rules: &Ruleset, ipv6: bool) {
    let followers = rejected.followers.and_then(|followers| usize::try_from(followers).ok());
    let is_named = |Candidate { site, effect, .. }: &Candidate| match (site.backend, effect) {
        (Backend::IptablesLegacy, Effect::Reset | Effect::Icmp(_)) => followers
            .and_then(|followers| rules.by_followers(ipv6, site.table.as_str(), followers, site.hook))
            .is_some_and(|named| named == *site),
        (_, Effect::Reset | Effect::Icmp(_)) => rules.is_known_by(site, &rejected.handles, rejected.table, followers),
        _ => false,
    };
    let named: Vec<Candidate> = found.candidates.iter().filter(|candidate| is_named(candidate)).cloned().collect();
    found.named = Some(!named.is_empty());
    if !named.is_empty() {
        found.candidates = named;
    }
}

/// What matters of the calling thread's namespace.
fn look_around(destination: IpAddr, sight: &Passing) -> Scene {
    let own = addresses::of(Path::new("/proc/thread-self/net")).ok();
    Scene {
        input: if sight.outgoing { Interface::None } else { interface(sight.input) },
        output: interface(sight.output),
        local: own.map(|own| destination.is_loopback() || own.contains(&destination)),
        conntrack: number("nf_conntrack_count").zip(number("nf_conntrack_max")),
    }
}

/// A number that conntrack keeps for the calling thread's namespace.
fn number(name: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().parse().ok()
}

/// The interface of a number in the calling thread's namespace.
fn interface(number: u32) -> Interface {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None);
    any.and_then(|any| index_to_name(any, number)).map_or(Interface::Unknown, Interface::Named)
}

/// Where the packet came from, and where it was to go: an answer goes the other way.
fn ends(flow: &Flow, sight: &Passing) -> (Endpoint, Endpoint) {
    if sight.is_answer() { (flow.server, flow.client) } else { (flow.client, flow.server) }
}

/// The packet, as rules see it.
fn packet(flow: &Flow, sight: &Passing, scene: &Scene) -> Packet {
    let (source, destination) = ends(flow, sight);
    Packet {
        ipv6: flow.server.ip.is_ipv6(),
        transport: Some(TCP),
        source: Some(source),
        destination: Some(destination),
        tcp_flags: Some(sight.flags),
        input: scene.input.clone(),
        output: scene.output.clone(),
        states: state(sight.tracking),
        // A mark that rules gave it may have been another when it came.
        mark: (sight.mark == 0).then_some(0),
        local: scene.local,
        ..Packet::default()
    }
}

/// What conntrack says by `enum ip_conntrack_info`, include/uapi/linux/netfilter/nf_conntrack_common.h; without an entry a
/// packet is invalid to it.
fn state(tracking: Option<u32>) -> State {
    match tracking {
        None => State::INVALID,
        Some(0 | 3) => State::ESTABLISHED,
        Some(1 | 4) => State::RELATED,
        Some(2) => State::NEW,
        Some(7) => State::UNTRACKED,
        Some(_) => State::default(),
    }
}

/// Where the packet can have been when it was dropped, in the order of its way.
fn hooks(flow: &Flow, sight: &Passing, packet: &Packet) -> &'static [Hook] {
    let looped = packet.input == Interface::Named("lo".to_owned());
    match (sight.outgoing, sight.output != 0, packet.local) {
        (true, ..) if flow.ifindex == 0 => &[Hook::Output],
        (false, false, _) => &[Hook::Ingress, Hook::Prerouting],
        // What comes over loopback brings its route along.
        (false, true, Some(true)) if looped => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
        (false, true, Some(true)) => &[Hook::Input],
        (false, true, Some(false)) if flow.ifindex == sight.input => &[Hook::Forward],
        (true, ..) | (false, true, Some(false)) => &[Hook::Postrouting, Hook::Egress],
        (false, true, None) => &[Hook::Input, Hook::Forward, Hook::Postrouting, Hook::Egress],
    }
}
