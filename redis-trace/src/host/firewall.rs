//! Which of the firewall's rules can have done something to a packet, by the rules of the namespace where it was done.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use caps::{CapSet, Capability};
use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketType, socket};

use super::routes::{self, Link};
use super::{Host, addresses};
use crate::firewall::{
    Backend, Candidate, Effect, Hook, Interface, Owner, Packet, Ruleset, State, Suspects, Wanted, without_servers,
};
use crate::trace::fact::{Passing, Rejected, Suspected, What};
use crate::trace::flow::{Endpoint, Flow};
use crate::trace::text::Text;

/// TCP among the protocols above IP.
const TCP: u8 = 6;

/// As much as is asked for at once, bytes.
const STEP: usize = 64 << 10;

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
        let (earlier, hooks) = (earlier(flow, sight, &packet), hooks(flow, sight, &packet));
        pass(&packet, earlier, &rules.ruleset, found);
        found.candidates.retain(|candidate| !matches!(candidate.effect, Effect::Drop));
        pass(&packet, hooks, &rules.ruleset, found);
        let virtual_service = earlier.iter().chain(hooks).find(|hook| matches!(hook, Hook::Input | Hook::Output));
        if let Some(hook) = virtual_service
            && !found.candidates.iter().any(|candidate| candidate.must)
        {
            found.candidates.extend(self.inside(flow.netns, || by_ipvs(ends(flow, sight).1, sight.mark, *hook))?);
        }
        // What no rule can have met that came in may have been on its way through a bridge.
        if found.candidates.is_empty() && !sight.outgoing {
            let link = self.inside(flow.netns, || routes::link(flow.ifindex))?;
            let (hooks, output) = on_bridge(link, flow.ifindex == sight.input);
            pass(&Packet { bridged: true, output, ..packet.clone() }, hooks, &rules.ruleset, found);
        }
        if let Some(rejected) = sight.rejected {
            only_named(found, &rejected, &rules.ruleset, packet.ipv6);
        }
        // The generation is that of nf_tables' rules alone.
        let is_of_rules = found.candidates.iter().all(|candidate| candidate.site.backend != Backend::Ipvs);
        let generations = sight.generation.zip(rules.generation).filter(|_| is_of_rules);
        found.same = generations.map(|(then, read)| then == read);
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

/// Where a packet can be on a bridge, and by which port it leaves: it is at the port that it came in by, at the bridge when it is
/// for this host, or at the port that it leaves by. br_handle_frame() and br_pass_frame_up() of net/bridge/br_input.c,
/// __br_forward() of net/bridge/br_forward.c.
fn on_bridge(link: Option<Link>, is_at_first: bool) -> (&'static [Hook], Interface) {
    match link {
        _ if is_at_first => (&[Hook::Prerouting], Interface::Unknown),
        Some(link) if link.is_bridge => (&[Hook::Input], Interface::None),
        link => {
            let output = link.map_or(Interface::Unknown, |link| Interface::Named(link.name));
            (&[Hook::Forward, Hook::Postrouting], output)
        }
    }
}

/// Walks a packet through the rules of some hooks, to the first that certainly has one.
fn pass(packet: &Packet, hooks: &[Hook], rules: &Ruleset, found: &mut Suspected) {
    for hook in hooks {
        if found.candidates.iter().any(|candidate| candidate.must) {
            return;
        }
        let Suspects { candidates, complete } = rules.suspects(*hook, packet, found.wanted);
        found.candidates.extend(candidates);
        found.complete &= complete;
    }
}

/// The virtual service of the calling thread's namespace that has no server for a packet to this address.
fn by_ipvs(to: Endpoint, mark: u32, hook: Hook) -> Option<Candidate> {
    let services = read_at_once("/proc/thread-self/net/ip_vs").ok()?;
    // What kube-proxy binds the addresses of its services to.
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None);
    let owner = any.and_then(|any| name_to_index(any, "kube-ipvs0")).map(|_| Owner::KubeProxy);
    without_servers(&services, to, mark, hook, owner.ok())
}

/// A file of `/proc` in as few steps as the kernel takes: at a step's end this one counts services of other namespaces too, and
/// then leaves out as many of this one. ip_vs_info_seq_next() and ip_vs_info_array() of net/netfilter/ipvs/ip_vs_ctl.c.
fn read_at_once(path: &str) -> io::Result<String> {
    let (mut file, mut text, mut step) = (File::open(path)?, Vec::new(), vec![0; STEP]);
    loop {
        match file.read(&mut step)? {
            0 => return String::from_utf8(text).map_err(io::Error::other),
            read => text.extend_from_slice(&step[..read]),
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

/// What comes over loopback brings its route along.
fn is_looped(packet: &Packet) -> bool {
    packet.input == Interface::Named("lo".to_owned())
}

/// Where the packet can have been rejected before it came as far as it seems to have come: for the answer to be sent, one that
/// has no route yet is given one, and one that has no device the loopback device. nf_reject_fill_skb_dst() of
/// net/ipv4/netfilter/nf_reject_ipv4.c, nf_reject6_fill_skb_dst() and nf_send_unreach6() of net/ipv6/netfilter/nf_reject_ipv6.c.
fn earlier(flow: &Flow, sight: &Passing, packet: &Packet) -> &'static [Hook] {
    match sight.outgoing {
        true if flow.ifindex != 0 && packet.ipv6 => &[Hook::Output],
        false if sight.output != 0 && !is_looped(packet) => &[Hook::Ingress, Hook::Prerouting],
        _ => &[],
    }
}

/// Where the packet can have been when it was dropped, in the order of its way.
fn hooks(flow: &Flow, sight: &Passing, packet: &Packet) -> &'static [Hook] {
    let looped = is_looped(packet);
    match (sight.outgoing, sight.output != 0, packet.local) {
        (true, ..) if flow.ifindex == 0 => &[Hook::Output],
        (false, false, _) => &[Hook::Ingress, Hook::Prerouting],
        (false, true, Some(true)) if looped => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
        (false, true, Some(true)) => &[Hook::Input],
        (false, true, Some(false)) if flow.ifindex == sight.input => &[Hook::Forward],
        (true, ..) | (false, true, Some(false)) => &[Hook::Postrouting, Hook::Egress],
        (false, true, None) => &[Hook::Input, Hook::Forward, Hook::Postrouting, Hook::Egress],
    }
}
