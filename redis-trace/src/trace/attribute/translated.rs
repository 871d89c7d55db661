//! The SYN arrived at another address or port than was dialled, and nobody listens there.

use crate::firewall::{Candidate, Wanted};
use crate::trace::fact::{ConnectFailed, Passing};
use crate::trace::flow::{Flow, Netns};
use crate::trace::known::Known;
use crate::trace::question::Question;
use crate::trace::verdict::{Cause, Verdict};

use super::{Judged, unanswered};

/// `IP_CT_NEW`, include/uapi/linux/netfilter/nf_conntrack_common.h.
const NEW: u32 = 2;
/// SYN among the flags of a TCP header.
const SYN: u8 = 2;

/// Where the SYN arrived, and the client that had dialled something else.
pub(super) fn attribute(time: u64, arrived: &Flow, client: &ConnectFailed, known: &Known) -> Judged {
    let questions = places(arrived, client).map(|(flow, sight)| Question::Firewall {
        flow,
        isn: client.isn,
        sight,
        wanted: Wanted::Translation,
    });
    let questions = unanswered(questions, time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let rule = places(arrived, client).find_map(|(flow, _)| only(flow.netns, client.isn, known));
    let (dialled, arrived) = (client.flow.server, arrived.server);
    Verdict::certain(Cause::NatToNowhere { dialled, arrived, rule: rule.cloned() }).into()
}

/// Where it can have been translated: as it left its socket, or as it came in.
fn places(arrived: &Flow, client: &ConnectFailed) -> impl Iterator<Item = (Flow, Passing)> {
    let sight = |outgoing, input| Passing {
        outgoing,
        input,
        output: 0,
        mark: 0,
        tracking: Some(NEW),
        flags: SYN,
        generation: None,
        rejected: None,
    };
    let leaving = (Flow { ifindex: 0, ..client.flow }, sight(true, 0));
    let coming = Flow { netns: arrived.netns, ifindex: arrived.ifindex, client: arrived.client, ..client.flow };
    let coming = (arrived.netns != client.flow.netns).then(|| (coming, sight(false, arrived.ifindex)));
    std::iter::once(leaving).chain(coming)
}

/// The rule that translated it, where no other can have.
fn only(netns: Netns, isn: u32, known: &Known) -> Option<&Candidate> {
    let suspected = known.suspected(netns, isn, Wanted::Translation)?;
    match &suspected.candidates[..] {
        [only] if suspected.complete => Some(only),
        _ => None,
    }
}
