//! A SYN was dropped on its way: by the firewall, or for another reason that the kernel gave.

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
    if !dropped.is_by_netfilter() {
        let missing = format!("the kernel dropped the SYN{}, and nothing that was seen says why", words(dropped));
        return Verdict::possible(Cause::Unknown { missing }).into();
    }
    let netns = dropped.flow.netns;
    // Where it has a name, the fix is told in a way that works there.
    let name = (netns != known.sight.netns).then_some(Question::NetnsName(netns));
    let questions = unanswered([Question::firewall(dropped)].into_iter().chain(name), time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let verdict = match known.suspected(netns, dropped.isn, Wanted::Refusal) {
        Some(Suspected { unreadable: Some(why), .. }) => not_known(dropped, why.as_str()),
        Some(suspected) => by_rules(connect, dropped, suspected),
        None => not_known(dropped, "its network namespace could not be looked into in time"),
    };
    verdict.into()
}

/// The firewall did it, and that is all.
fn not_known(dropped: &Dropped, why: &str) -> Verdict {
    let why = why.trim_end_matches('.');
    let missing = format!("the firewall dropped the SYN{}; which rule is not known: {why}", words(dropped));
    Verdict::possible(Cause::Unknown { missing })
}

/// In the kernel's own words: where, and for which reason.
fn words(dropped: &Dropped) -> String {
    let function = dropped.function.as_ref().map_or_else(String::new, |function| format!(" in {function}"));
    let reason = dropped.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{function}{reason}")
}

/// The rules that can have done it, held against what the client got.
fn by_rules(connect: &Connect, dropped: &Dropped, suspected: &Suspected) -> Verdict {
    let ipv6 = dropped.flow.server.ip.is_ipv6();
    let errno = connect.client.as_ref().map(|client| client.errno);
    let mut candidates: Vec<Candidate> =
        suspected.candidates.iter().filter(|candidate| fits(candidate.effect, errno, ipv6)).cloned().collect();
    if candidates.is_empty() {
        return match suspected.conntrack {
            Some((count, most)) if count >= most => {
                not_known(dropped, &format!("conntrack's table is full, {count} of {most}, and that may be why"))
            }
            _ => not_known(dropped, "no rule of its network namespace can have; IPVS, a bridge or a module may"),
        };
    }
    let (by, others) = (candidates.remove(0), candidates);
    let confidence = match suspected.same {
        Some(false) => Confidence::Possible,
        Some(true) if others.is_empty() && suspected.complete => Confidence::Certain,
        _ => Confidence::Likely,
    };
    let cause = Cause::Firewall { filtered: Filtered { by, others, changed: suspected.same == Some(false) } };
    Verdict { cause, confidence }
}

/// Whether a client that is refused in this way gets this.
fn fits(effect: Effect, errno: Option<u32>, ipv6: bool) -> bool {
    match (effect, errno) {
        (_, None) | (Effect::Elsewhere, _) => true,
        (Effect::Reset, Some(errno)) => errno == ECONNREFUSED,
        (Effect::Icmp(None), Some(errno)) => errno != ETIMEDOUT,
        (Effect::Icmp(Some(code)), Some(errno)) => errno == of_icmp(code, ipv6),
        (Effect::Drop, Some(errno)) => errno == ETIMEDOUT,
        (Effect::Translate { .. }, Some(_)) => false,
    }
}
