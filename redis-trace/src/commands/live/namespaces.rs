//! Network namespaces whose number was given to a new one: a number is free again as soon as its namespace is gone.

use std::collections::HashMap;

use redis_trace_common::record::Record;

use crate::trace::fact::{Fact, What};
use crate::trace::flow::Netns;

/// What told each namespace from others, when it was seen last.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    mixes: HashMap<u32, u32>,
}

impl Namespaces {
    /// Says so when the namespace of this record is not the one that had its number before.
    pub(super) fn reborn(&mut self, record: &Record, time: u64) -> Option<Fact> {
        let (netns, mix) = record.netns().filter(|(netns, _)| *netns != 0)?;
        let before = self.mixes.insert(netns, mix)?;
        (before != mix).then_some(Fact { time, what: What::NetnsReborn { netns: Netns(netns) } })
    }

    /// Whether a namespace that had this number may be the one that has it now: another is known to have it, or not.
    pub(super) fn may_be_now(&self, netns: u32, mix: u32) -> bool {
        self.mixes.get(&netns).is_none_or(|now| *now == mix)
    }
}
