//! What the record of a dropped SYN says.

use redis_trace_common::record;

use super::denial::{context, program, said};
use super::{Names, flow, task};
use crate::trace::fact::{DeniedPacket, Dropped, Filters, Passing, Rejected, Said};

/// The SYN, what it passed, and what may have dropped it.
pub(super) fn dropped(r: &record::Dropped, names: &Names) -> Dropped {
    let known = |number: u32| (number != u32::MAX).then_some(number);
    Dropped {
        flow: flow(&r.flow),
        isn: r.isn,
        caller: (r.task.pid != 0).then(|| (task(&r.task), r.dialled)),
        reason: known(r.reason).and_then(|reason| Names::of(&names.drop_reasons, reason)),
        function: names.functions.get(&r.location).cloned(),
        ttl: r.ttl,
        sight: Passing {
            outgoing: r.outgoing != 0,
            input: r.input,
            output: r.output,
            mark: r.mark,
            tracking: known(r.tracking),
            flags: u8::try_from(r.flags & 0xff).unwrap_or_default(),
            generation: (r.generation != 0).then_some(r.generation),
            rejected: rejected(r),
        },
        filters: Filters {
            socket: known(r.filter).map(|filter| filter != 0),
            programs: r.programs,
            program: program(r.programs, r.program, &r.program_name),
        },
        denial: denied(r),
    }
}

/// Which security module denied it.
fn denied(r: &record::Dropped) -> Option<DeniedPacket> {
    let Some(Said::Module(module)) = said(r.said) else { return None };
    let [subject, object] =
        [(&r.subject, r.subject_length), (&r.object, r.object_length)].map(|(bytes, length)| context(bytes, length));
    Some(DeniedPacket { module, subject, object })
}

/// What is known of the rule that rejected it; nothing where it was not seen to be rejected.
fn rejected(r: &record::Dropped) -> Option<Rejected> {
    let followers = (r.followers != record::MANY).then_some(r.followers);
    let is_seen = r.handles.iter().any(|handle| *handle != 0) || followers.is_some();
    is_seen.then_some(Rejected { handles: r.handles, table: (r.table != 0).then_some(r.table), followers })
}
