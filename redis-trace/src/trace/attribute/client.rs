//! Only the dialling end was seen: there was no way, nobody answered, or the answer came from elsewhere.

use std::collections::BTreeSet;

use crate::trace::cause::Confidence;
use crate::trace::dialling::{Dialling, NoWay};
use crate::trace::errno::{self, ECONNREFUSED, EPERM, ETIMEDOUT};
use crate::trace::fact::{ConnectFailed, IcmpError, Phase, Way};
use crate::trace::flow::{Flow, Netns};
use crate::trace::known::Known;
use crate::trace::question::Question;
use crate::trace::verdict::{Cause, Verdict};

use super::no_listener::{self, EADDRNOTAVAIL};
use super::{Judged, queue, unanswered};

/// include/uapi/asm-generic/errno.h
const ENETUNREACH: u32 = 101;

/// What a dial gets by an ICMP error and by nothing else that comes from the network: icmp_err_convert in
/// net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c. ECONNREFUSED is left aside.
const ICMP_ERRNOS: &[u32] = &[13, 64, 71, 92, 95, 101, 112, 113];

/// Namespaces whose addresses are asked for to find a server.
const NEIGHBOURS: usize = 16;

/// Time to live differs by more between two places than between two ways to one.
const SAME_PLACE: u32 = 3;

pub(super) fn attribute(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    match client {
        ConnectFailed { phase: Phase::AtOnce, errno: EADDRNOTAVAIL, .. } => no_port(time, client, known),
        ConnectFailed { phase: Phase::AtOnce, .. } => no_way(time, client, known),
        ConnectFailed { errno: 0 | ETIMEDOUT, .. } => no_answer(time, client, known),
        ConnectFailed { icmp: Some(icmp), .. } => icmp_error(time, client, *icmp, known),
        ConnectFailed { errno: ECONNREFUSED, .. } => reset(time, client, known),
        ConnectFailed { errno, .. } if ICMP_ERRNOS.contains(errno) => icmp_unseen(time, client, known),
        ConnectFailed { errno, .. } => {
            let missing = format!("the dial ended with {}, and nothing that was seen says why", errno::name(*errno));
            Verdict::possible(Cause::Unknown { missing }).into()
        }
    }
}

/// Whether a security module or a program may have refused a dial before the kernel looked for a way.
pub(super) fn may_be_denied(client: &ConnectFailed) -> bool {
    client.phase == Phase::AtOnce && errno::is_denial(client.errno)
}

/// The kernel found no port for the dial.
fn no_port(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    let (netns, to) = (client.flow.netns, client.flow.server);
    let questions = unanswered([Question::Ports { netns, to }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let ports = known.ports(netns, to).filter(|_| client.flow.client.port == 0);
    match ports {
        Some(ports) if ports.taken >= ports.number() => {
            Verdict::certain(Dialling::PortsExhausted { ports: ports.clone() }.into()).into()
        }
        Some(ports) => {
            let missing = format!(
                "connect got EADDRNOTAVAIL, yet a moment later {} of the {} ports that it may start from were free; a \
                 missing source address, or ports that were given back, would explain it",
                ports.number().saturating_sub(ports.taken),
                ports.number()
            );
            Verdict::possible(Cause::Unknown { missing }).into()
        }
        None => nothing_seen(client),
    }
}

/// connect(2) failed before it sent a SYN.
pub(super) fn no_way(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    match way(time, client, known) {
        Err(ask) => Judged::Ask(ask),
        Ok(Some(Way::Refused { errno, by })) if *errno == client.errno => match by {
            Some(by) => Verdict::certain(Dialling::RouteRefused { by: NoWay::Entry(by.clone()) }.into()).into(),
            None if *errno == ENETUNREACH => {
                Verdict::certain(Dialling::RouteRefused { by: NoWay::NoRoute }.into()).into()
            }
            None => nothing_seen(client),
        },
        Ok(Some(Way::Blocked { by })) if client.errno == EPERM => {
            Verdict::likely(Dialling::IpsecRefused { by: by.clone() }.into()).into()
        }
        Ok(_) => nothing_seen(client),
    }
}

/// What the host says of the way to the server, or that it must be asked.
fn way<'a>(time: u64, client: &ConnectFailed, known: &'a Known) -> Result<Option<&'a Way>, Vec<Question>> {
    let (netns, to) = (client.flow.netns, client.flow.server);
    let questions = unanswered([Question::Way { netns, to, uid: client.task.uid }], time, known);
    if questions.is_empty() { Ok(known.way(netns, to.ip)) } else { Err(questions) }
}

fn nothing_seen(client: &ConnectFailed) -> Judged {
    let got = errno::name(client.errno);
    let missing = format!("connect got {got} before any SYN was sent, and nothing that was seen says who refused it");
    Verdict::possible(Cause::Unknown { missing }).into()
}

/// Whether the server's address is one of the client's own namespace; absent when that is not known.
fn is_local(time: u64, client: &ConnectFailed, known: &Known) -> Result<Option<bool>, Vec<Question>> {
    let flow = client.flow;
    if flow.server.ip.is_loopback() || flow.server.ip == flow.client.ip {
        return Ok(Some(true));
    }
    let questions = unanswered([Question::Addresses(flow.netns)], time, known);
    if !questions.is_empty() {
        return Err(questions);
    }
    let own = known.namespace(flow.netns).and_then(|netns| netns.addresses.as_ref());
    Ok(own.map(|own| own.contains(&flow.server.ip)))
}

/// SYNs were sent, and nothing came back.
fn no_answer(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    match is_local(time, client, known) {
        Err(ask) => Judged::Ask(ask),
        Ok(Some(true)) => full_queue(time, client.flow.netns, client, known).unwrap_or_else(|| {
            let missing =
                "the address is this host's own, yet it did not answer: a firewall's DROP, or a queue of the \
                           listener that was full and no longer is, is silent like this"
                    .to_owned();
            Verdict::possible(Cause::Unknown { missing }).into()
        }),
        Ok(Some(false)) => match neighbours(time, client, known) {
            Err(ask) => Judged::Ask(ask),
            Ok(netns) => netns
                .and_then(|netns| full_queue(time, netns, client, known))
                .unwrap_or_else(|| nobody_answers(known).into()),
        },
        Ok(None) => Verdict::possible(Dialling::NoAnswer.into()).into(),
    }
}

/// Nobody answers at another host's address; a firewall of this host that drops is as silent where that is not seen.
fn nobody_answers(known: &Known) -> Verdict {
    let cause = Dialling::NoAnswer.into();
    if known.sight.drops { Verdict::likely(cause) } else { Verdict::possible(cause) }
}

/// The listener's queue, when one in that namespace is full: it drops SYNs without a word.
fn full_queue(time: u64, netns: Netns, client: &ConnectFailed, known: &Known) -> Option<Judged> {
    let questions = unanswered([Question::Queues { netns, port: client.flow.server.port }], time, known);
    if !questions.is_empty() {
        return Some(Judged::Ask(questions));
    }
    let flow = Flow { netns, ifindex: 0, ..client.flow };
    Some(Verdict::likely(queue::full(time, &flow, known)?).into())
}

/// The other namespace of this host that has the server's address, among those that listen on its port.
fn neighbours(time: u64, client: &ConnectFailed, known: &Known) -> Result<Option<Netns>, Vec<Question>> {
    let Flow { netns, server, .. } = client.flow;
    let others = known.listeners.elsewhere(netns, server.port).map(|listener| listener.socket.netns);
    let others: BTreeSet<Netns> = others.collect();
    let questions = unanswered(others.iter().take(NEIGHBOURS).copied().map(Question::Addresses), time, known);
    if !questions.is_empty() {
        return Err(questions);
    }
    let has_it = |netns: &Netns| {
        let there = known.namespace(*netns).and_then(|there| there.addresses.as_ref());
        there.is_some_and(|addresses| addresses.contains(&server.ip))
    };
    Ok(others.into_iter().take(NEIGHBOURS).find(has_it))
}

/// An ICMP error came: the kernel's own when a next hop does not answer, another host's, or a firewall's.
fn icmp_error(time: u64, client: &ConnectFailed, icmp: IcmpError, known: &Known) -> Judged {
    let own = match is_own(time, client, icmp, known) {
        Err(ask) => return Judged::Ask(ask),
        Ok(own) => own,
    };
    if !own {
        return Verdict::certain(Dialling::RemoteIcmp { icmp: Some(icmp) }.into()).into();
    }
    match way(time, client, known) {
        Err(ask) => Judged::Ask(ask),
        Ok(Some(Way::Sent { hop, hop_failed: true })) => {
            Verdict::certain(Dialling::RouteRefused { by: NoWay::Neighbour(*hop) }.into()).into()
        }
        Ok(_) => {
            let missing = "the ICMP error came from this host itself: a firewall's REJECT answers like this".to_owned();
            Verdict::possible(Cause::Unknown { missing }).into()
        }
    }
}

/// Whether an ICMP error came from the client's own namespace.
fn is_own(time: u64, client: &ConnectFailed, icmp: IcmpError, known: &Known) -> Result<bool, Vec<Question>> {
    if icmp.from.is_loopback() || icmp.from == client.flow.client.ip {
        return Ok(true);
    }
    let netns = client.flow.netns;
    let questions = unanswered([Question::Addresses(netns)], time, known);
    if !questions.is_empty() {
        return Err(questions);
    }
    let own = known.namespace(netns).and_then(|netns| netns.addresses.as_ref());
    Ok(own.is_some_and(|own| own.contains(&icmp.from)))
}

/// An errno that only an ICMP error gives, and the error was not seen.
fn icmp_unseen(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    match (is_local(time, client, known), way(time, client, known)) {
        (Err(ask), _) | (_, Err(ask)) => Judged::Ask(ask),
        (_, Ok(Some(Way::Sent { hop, hop_failed: true }))) => {
            Verdict::likely(Dialling::RouteRefused { by: NoWay::Neighbour(*hop) }.into()).into()
        }
        (Ok(Some(false)), _) => Verdict::likely(Dialling::RemoteIcmp { icmp: None }.into()).into(),
        (Ok(Some(true)), _) => {
            let got = errno::name(client.errno);
            let missing =
                format!("connect got {got} from this host's own address: a firewall's REJECT answers like this");
            Verdict::possible(Cause::Unknown { missing }).into()
        }
        (Ok(None), _) => Verdict::possible(Dialling::RemoteIcmp { icmp: None }.into()).into(),
    }
}

/// A reset came from elsewhere, or from something on this host that is no socket look-up.
fn reset(time: u64, client: &ConnectFailed, known: &Known) -> Judged {
    let is_local = match is_local(time, client, known) {
        Err(ask) => return Judged::Ask(ask),
        Ok(is_local) => is_local,
    };
    match (is_local, client.ttl, client.peer_ttl) {
        (Some(true), ..) if known.sight.resets => {
            let missing =
                "the address is this host's own, yet the kernel's socket look-up sent no reset: a firewall's \
                           REJECT answers like this"
                    .to_owned();
            Verdict::possible(Cause::Unknown { missing }).into()
        }
        (Some(true), ..) => {
            let dial = no_listener::Dial { flow: client.flow, time, sk_lookup: false, client: Some(client) };
            // Nobody was seen to send the reset: a rule could have, before anybody was looked for.
            match no_listener::attribute(&dial, known) {
                Judged::Verdict(verdict) => verdict.at_most(Confidence::Likely).into(),
                judged => judged,
            }
        }
        (_, Some(ttl), Some(peer)) if ttl.abs_diff(peer) > SAME_PLACE => {
            Verdict::likely(Dialling::MiddleboxReset { ttl, peer }.into()).into()
        }
        (Some(false), ..) => Verdict::likely(Dialling::RemoteRefused.into()).into(),
        (None, ..) => Verdict::possible(Dialling::RemoteRefused.into()).into(),
    }
}
