//! A SYN, or the answer to one, was dropped on its way: by the firewall, or for another reason that the kernel gave.

use crate::firewall::{Candidate, Effect, Wanted};
use crate::trace::cause::Confidence;
use crate::trace::errno::{ECONNREFUSED, ETIMEDOUT, of_icmp};
use crate::trace::fact::{Dropped, Suspected};
use crate::trace::known::Known;
use crate::trace::question::Question;
use crate::trace::refusal::Connect;
use crate::trace::verdict::{Cause, Filtered, Verdict};

use super::{Judged, unanswered};

pub(super) fn attribute(time: u64, connect: &Connect, dropped: &Dropped, known: &Known) -> Judged {
    let netns = dropped.flow.netns;
    let rules = dropped.is_by_netfilter().then(|| Question::firewall(dropped));
    // Where it has a name, the fix is told in a way that works there.
    let name = (netns != known.sight.netns).then_some(Question::NetnsName(netns));
    let questions = unanswered(rules.into_iter().chain(name), time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    if !dropped.is_by_netfilter() {
        return filtered(dropped, known).into();
    }
    let verdict = match known.suspected(netns, dropped.isn, Wanted::Refusal) {
        Some(Suspected { unreadable: Some(why), .. }) => not_known(dropped, why.as_str()),
        Some(suspected) => by_rules(connect, dropped, suspected),
        None => not_known(dropped, "its network namespace could not be looked into in time"),
    };
    verdict.into()
}

/// Something else than netfilter did it, and the kernel says what.
fn filtered(dropped: &Dropped, known: &Known) -> Verdict {
    let cause = || Cause::PacketFiltered { dropped: Box::new(dropped.clone()) };
    // For the filter, programs, and on old kernels security modules that judge packets, the kernel has one reason.
    let is_judged = || ["selinux", "smack"].iter().any(|module| known.sight.has_module(module));
    if dropped.denied().is_some() {
        return Verdict::certain(cause());
    }
    if dropped.is_by_one_of_several() || (dropped.is_at_socket() && is_judged()) {
        Verdict::likely(cause())
    } else if dropped.reason.is_some() {
        Verdict::certain(cause())
    } else if dropped.is_by_source() {
        Verdict::likely(cause())
    } else {
        let missing = format!("the kernel dropped the {}, and nothing that was seen says why", words(dropped));
        Verdict::possible(Cause::Unknown { missing })
    }
}

/// The firewall did it, and that is all.
fn not_known(dropped: &Dropped, why: &str) -> Verdict {
    let why = why.trim_end_matches('.');
    let missing = format!("the firewall dropped the {}; which rule is not known: {why}", words(dropped));
    Verdict::possible(Cause::Unknown { missing })
}

/// Which packet, and in the kernel's own words where, and for which reason.
fn words(dropped: &Dropped) -> String {
    let function = dropped.function.as_ref().map_or_else(String::new, |function| format!(" in {function}"));
    let reason = dropped.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{}{function}{reason}", dropped.packet())
}

/// The rules that can have done it, held against what the client got.
fn by_rules(connect: &Connect, dropped: &Dropped, suspected: &Suspected) -> Verdict {
    let (ipv6, answer) = (dropped.flow.server.ip.is_ipv6(), dropped.is_answer());
    let errno = connect.client.as_ref().map(|client| client.errno);
    let mut candidates: Vec<Candidate> =
        suspected.candidates.iter().filter(|it| answer || fits(it.effect, errno, ipv6)).cloned().collect();
    // What conntrack has no room for goes without an entry, and meets no rule that comes after it.
    let is_untracked = dropped.sight.tracking.is_none() && dropped.sight.rejected.is_none() && !answer;
    let full = suspected.conntrack.filter(|(count, most)| count >= most && is_untracked);
    if let Some((count, most)) = full
        && !candidates.iter().any(|candidate| candidate.must)
    {
        return Verdict::likely(Cause::ConntrackFull { count, most });
    }
    if candidates.is_empty() {
        let none = match suspected.same {
            Some(false) => "the rules have changed since, and none of those that are there now can have",
            _ => "no rule and no virtual service of its network namespace can have; another module may",
        };
        return not_known(dropped, none);
    }
    let (by, others) = (candidates.remove(0), candidates);
    let is_only = others.is_empty() && full.is_none();
    let (changed, confidence) = match (suspected.same, suspected.named) {
        // Nor are they the same when the kernel named a rule that is not to be found among them.
        (Some(false), _) | (None, Some(false)) => (true, Confidence::Possible),
        // Handles are given anew to rules that are made anew: a named one is certain among the rules that it is of. An entry
        // of ip_tables is named by its place only.
        (Some(true), Some(true)) if is_only && by.site.handle.is_some() => (false, Confidence::Certain),
        (Some(true), None) if is_only && suspected.complete => (false, Confidence::Certain),
        _ => (false, Confidence::Likely),
    };
    let cause = Cause::Firewall { filtered: Filtered { by, others, changed, answer } };
    Verdict { cause, confidence }
}

/// What a client has that gave up by itself: it got no answer until then.
const GAVE_UP: u32 = 0;

/// Whether a client that is refused in this way gets this.
fn fits(effect: Effect, errno: Option<u32>, ipv6: bool) -> bool {
    match (effect, errno) {
        (_, None) | (Effect::Elsewhere, _) => true,
        (Effect::Reset, Some(errno)) => errno == ECONNREFUSED,
        (Effect::Icmp(None), Some(errno)) => !matches!(errno, GAVE_UP | ETIMEDOUT),
        (Effect::Icmp(Some(code)), Some(errno)) => errno == of_icmp(code, ipv6),
        (Effect::Drop, Some(errno)) => matches!(errno, GAVE_UP | ETIMEDOUT),
        (Effect::Translate { .. }, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::{Backend, Family, Hook, Site};
    use crate::trace::cause::Code;
    use crate::trace::fact::{BpfProgram, DeniedPacket, Filters, Module, Passing, Rejected};
    use crate::trace::flow::{Endpoint, Flow, Netns};
    use crate::trace::remembered::Bounds;
    use crate::trace::text::Text;

    fn rule(handle: u64, effect: Effect, must: bool) -> Candidate {
        let site = Site {
            backend: Backend::Nftables,
            owner: None,
            family: Family::Inet,
            table: Text::from("f"),
            chain: Text::from("in"),
            handle: Some(handle),
            number: Some(1),
            hook: Hook::Input,
            rule: Text::from("tcp dport 6379 reject"),
            service: None,
        };
        Candidate { site, effect, must, counter: None }
    }

    fn dropped(reason: Option<&str>, function: &str, rejected: Option<Rejected>) -> Dropped {
        let end = Endpoint { ip: std::net::Ipv4Addr::LOCALHOST.into(), port: 6379 };
        Dropped {
            flow: Flow { netns: Netns(1), client: end, server: end, ifindex: 1 },
            isn: 7,
            caller: None,
            reason: reason.map(Text::from),
            function: Some(Text::from(function)),
            ttl: 64,
            sight: Passing {
                outgoing: false,
                input: 1,
                output: 0,
                mark: 0,
                tracking: None,
                flags: 2,
                generation: None,
                rejected,
            },
            filters: Filters::default(),
            denial: None,
        }
    }

    fn suspected(candidates: Vec<Candidate>, named: Option<bool>, conntrack: Option<(u32, u32)>) -> Suspected {
        Suspected {
            netns: Netns(1),
            isn: 7,
            wanted: Wanted::Refusal,
            candidates,
            complete: true,
            named,
            same: None,
            conntrack,
            dialler: None,
            unreadable: None,
        }
    }

    fn judged(dropped: &Dropped, suspected: &Suspected) -> (Code, Confidence) {
        let Verdict { cause, confidence } = by_rules(&Connect::default(), dropped, suspected);
        (cause.code(), confidence)
    }

    #[test]
    fn the_rule_that_the_kernel_named_is_certain_among_the_rules_that_it_is_of() {
        let seen = dropped(
            Some("NETFILTER_DROP"),
            "nft_do_chain",
            Some(Rejected { handles: [4, 0, 0, 0], table: None, followers: Some(0) }),
        );
        let (one, other) = (rule(4, Effect::Reset, false), rule(5, Effect::Reset, true));
        let told = |candidates: &[&Candidate], named, same| {
            let candidates = candidates.iter().copied().cloned().collect();
            judged(&seen, &Suspected { same, ..suspected(candidates, Some(named), None) })
        };
        assert_eq!(told(&[&one], true, Some(true)), (Code::RT3001, Confidence::Certain));
        assert_eq!(told(&[&one], true, None), (Code::RT3001, Confidence::Likely));
        assert_eq!(told(&[&one], true, Some(false)), (Code::RT3001, Confidence::Possible));
        assert_eq!(told(&[&one, &other], true, Some(true)), (Code::RT3001, Confidence::Likely));
        // The walk and the kernel disagree.
        assert_eq!(told(&[&one], false, Some(true)), (Code::RT3001, Confidence::Likely));
        assert_eq!(told(&[&one], false, None), (Code::RT3001, Confidence::Possible));
    }

    #[test]
    fn a_client_that_gave_up_while_the_rules_were_read_had_no_answer() {
        let seen = dropped(Some("NETFILTER_DROP"), "nft_do_chain", None);
        let rules = [Effect::Reset, Effect::Icmp(None), Effect::Drop].map(|effect| rule(4, effect, false));
        for errno in [GAVE_UP, ETIMEDOUT] {
            let left = rules.iter().filter(|rule| fits(rule.effect, Some(errno), false));
            assert_eq!(left.map(|rule| rule.effect).collect::<Vec<_>>(), [Effect::Drop]);
        }
        assert_eq!(judged(&seen, &suspected(rules.to_vec(), None, None)).0, Code::RT3001);
    }

    #[test]
    fn a_full_table_is_told_where_no_rule_must_have_dropped_what_has_no_entry() {
        let seen = dropped(Some("NETFILTER_DROP"), "nf_hook_slow", None);
        let full = Some((4, 4));
        assert_eq!(judged(&seen, &suspected(vec![], None, full)), (Code::RT2006, Confidence::Likely));
        let maybe = suspected(vec![rule(4, Effect::Drop, false)], None, full);
        assert_eq!(judged(&seen, &maybe), (Code::RT2006, Confidence::Likely));
        let must = suspected(vec![rule(4, Effect::Drop, true)], None, full);
        assert_eq!(judged(&seen, &must), (Code::RT3003, Confidence::Likely));
        assert_eq!(judged(&seen, &suspected(vec![], None, Some((3, 4)))), (Code::RT0000, Confidence::Possible));
    }

    #[test]
    fn the_kernel_s_own_reason_is_certain_and_a_place_alone_is_likely() {
        let told = |reason, function| {
            let Verdict { cause, confidence } =
                filtered(&dropped(reason, function, None), &Known::new(Bounds::default()));
            (cause.code(), confidence)
        };
        assert_eq!(told(Some("IP_RPFILTER"), "ip_rcv_finish_core"), (Code::RT3032, Confidence::Certain));
        assert_eq!(told(Some("XFRM_POLICY"), "tcp_v4_rcv"), (Code::RT3031, Confidence::Certain));
        assert_eq!(told(None, "ip_rcv_finish_core"), (Code::RT3032, Confidence::Likely));
        assert_eq!(told(None, "tcp_v4_rcv"), (Code::RT0000, Confidence::Possible));
        assert_eq!(told(Some("BPF_CGROUP_EGRESS"), "ip_finish_output"), (Code::RT3020, Confidence::Certain));
    }

    #[test]
    fn a_packet_that_a_module_was_seen_to_deny_is_its_unless_something_else_dropped_it() {
        let told = |reason, function| {
            let denial = Some(DeniedPacket { module: Module::Selinux, subject: None, object: None });
            let dropped = Dropped { denial, ..dropped(reason, function, None) };
            let Verdict { cause, confidence } = filtered(&dropped, &Known::new(Bounds::default()));
            (cause.code(), confidence)
        };
        assert_eq!(told(Some("SOCKET_FILTER"), "tcp_v4_rcv"), (Code::RT3013, Confidence::Certain));
        assert_eq!(told(Some("SECURITY_HOOK"), "tcp_v6_rcv"), (Code::RT3013, Confidence::Certain));
        assert_eq!(told(None, "tcp_v4_rcv"), (Code::RT3013, Confidence::Certain));
        assert_eq!(told(None, "ip_rcv_finish_core"), (Code::RT3032, Confidence::Likely));
        assert_eq!(told(Some("XFRM_POLICY"), "tcp_v4_rcv"), (Code::RT3031, Confidence::Certain));
    }

    #[test]
    fn a_filter_and_a_program_have_one_reason_and_are_told_apart_by_which_of_them_there_is() {
        let told = |socket, programs, modules: &[&str]| {
            let mut known = Known::new(Bounds::default());
            known.sight.modules = Some(modules.iter().copied().map(Text::from).collect());
            let mut dropped = dropped(Some("SOCKET_FILTER"), "tcp_v4_rcv", None);
            let program = (programs > 0).then(|| BpfProgram { id: 7, name: Text::from("sd_fw_ingress") });
            dropped.filters = Filters { socket, programs, program };
            let Verdict { cause, confidence } = filtered(&dropped, &known);
            (cause.code(), confidence)
        };
        assert_eq!(told(Some(true), 0, &["apparmor"]), (Code::RT3032, Confidence::Certain));
        assert_eq!(told(Some(false), 1, &["apparmor"]), (Code::RT3020, Confidence::Certain));
        assert_eq!(told(Some(false), 1, &["selinux"]), (Code::RT3020, Confidence::Likely));
        for (socket, programs) in [(Some(true), 1), (Some(false), 0), (None, 0)] {
            assert_eq!(told(socket, programs, &[]), (Code::RT3032, Confidence::Likely));
        }
    }
}
