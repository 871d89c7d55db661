//! SYNs and answers to them that the kernel dropped on their way, and the firewall's rules that can have done it.

use std::net::IpAddr;

use redis_trace_common::record::HANDLES;
use serde::{Deserialize, Serialize};

use super::{BpfProgram, Module, Process, Task};
use crate::firewall::{Candidate, Wanted};
use crate::trace::flow::{Flow, Netns};
use crate::trace::text::Text;

/// ACK among the flags of a TCP header.
const ACK: u8 = 16;

/// A SYN that the kernel dropped, for the first time, or the answer to one; it may be sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Of the connection, as it was then.
    pub flow: Flow,
    /// The SYN's sequence number.
    pub isn: u32,
    /// Who dialled, and when, boottime nanoseconds; where that is known.
    pub caller: Option<(Task, u64)>,
    /// The kernel's own reason name (`NETFILTER_DROP`), where the kernel has reasons.
    pub reason: Option<Text>,
    /// The kernel's function that dropped it, where it is known.
    pub function: Option<Text>,
    /// The packet's time to live.
    pub ttl: u32,
    /// What rules could see of it besides.
    pub sight: Passing,
    /// What else than rules had a say in it.
    #[serde(default)]
    pub filters: Filters,
    /// Which security module was seen to deny it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denial: Option<DeniedPacket>,
}

/// A packet that a security module denied a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedPacket {
    /// Which module.
    pub module: Module,
    /// The listener's context.
    pub subject: Option<Text>,
    /// The packet's.
    pub object: Option<Text>,
}

/// What else than the firewall's rules has a say in a packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// Whether the socket that it came for has a filter; absent when that socket is not known.
    pub socket: Option<bool>,
    /// How many programs have a say of the cgroup of that socket, or of the one that it left.
    pub programs: u32,
    /// The first of them.
    pub program: Option<BpfProgram>,
}

impl Dropped {
    /// It is the answer that took the connection, not the SYN.
    pub fn is_answer(&self) -> bool {
        self.sight.is_answer()
    }

    /// It is an answer that came in: anyone can send such, so that it is a refusal only of who dialled and waits.
    pub fn is_clue(&self) -> bool {
        self.is_answer() && !self.sight.outgoing
    }

    /// In words: which packet it is.
    pub fn packet(&self) -> &'static str {
        if self.is_answer() { "answer (SYN and ACK)" } else { "SYN" }
    }

    /// Where it came from.
    pub fn source(&self) -> IpAddr {
        if self.is_answer() { self.flow.server.ip } else { self.flow.client.ip }
    }

    /// Netfilter dropped it: a rule, a policy, or conntrack.
    pub fn is_by_netfilter(&self) -> bool {
        match &self.reason {
            Some(reason) => reason.as_str() == "NETFILTER_DROP",
            None => self.function.as_ref().is_some_and(|function| function.as_str() == "nf_hook_slow"),
        }
    }

    /// A policy of IPsec let it not in.
    pub fn is_by_ipsec(&self) -> bool {
        self.reason.as_ref().map(Text::as_str) == Some("XFRM_POLICY")
    }

    /// A program of a cgroup let it not in or out, and nothing else can have given that reason.
    pub fn is_by_cgroup(&self) -> bool {
        match self.reason.as_ref().map(Text::as_str) {
            Some("BPF_CGROUP_EGRESS") => true,
            Some("SOCKET_FILTER") => self.filters.socket == Some(false) && self.filters.programs > 0,
            _ => false,
        }
    }

    /// What came in was filtered at the socket.
    pub fn is_at_socket(&self) -> bool {
        matches!(self.reason.as_ref().map(Text::as_str), Some("SOCKET_FILTER" | "SECURITY_HOOK"))
    }

    /// Who denied it, when that is why it was dropped: another reason goes before what was seen of a security module.
    pub fn denied(&self) -> Option<&DeniedPacket> {
        let is_why =
            if self.reason.is_some() { self.is_at_socket() } else { !self.is_by_netfilter() && !self.is_by_source() };
        self.denial.as_ref().filter(|_| is_why)
    }

    /// What came in was filtered at the socket, and it cannot be told by what: for the filter and the programs, and on old
    /// kernels for security modules, the kernel has one reason.
    pub fn is_by_one_of_several(&self) -> bool {
        let is_one = self.filters.socket == Some(true) && self.filters.programs == 0;
        self.is_at_socket() && !is_one && !self.is_by_cgroup()
    }

    /// Its source was refused when the kernel looked for the way back; where it has no reasons, that is all it tells.
    pub fn is_by_source(&self) -> bool {
        self.reason.is_none() && self.function.as_ref().map(Text::as_str) == Some("ip_rcv_finish_core")
    }
}

/// A packet as it passes the firewall's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Passing {
    /// It came from a socket of this namespace.
    pub outgoing: bool,
    /// Number of the interface it came in by; 0 for one of this namespace's own.
    pub input: u32,
    /// Number of the interface it was to go out by; 0 when it was not routed yet.
    pub output: u32,
    /// Its mark.
    pub mark: u32,
    /// What conntrack made of it, as `enum ip_conntrack_info` has it; absent without an entry.
    pub tracking: Option<u32>,
    /// The flags of its TCP header.
    pub flags: u8,
    /// Generation of the namespace's nftables rules then, where the kernel tells it.
    pub generation: Option<u32>,
    /// What is known of the rule that rejected it, where a probe saw it do so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

impl Passing {
    /// It was the answer to a SYN.
    pub fn is_answer(&self) -> bool {
        self.flags & ACK != 0
    }
}

/// The rule that rejected a packet, as a probe found it where the kernel evaluates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rejected {
    /// Handles that a rule of nf_tables can have; 0 where there is none.
    pub handles: [u64; HANDLES],
    /// The handle of its table, where that is known.
    pub table: Option<u64>,
    /// How many rules of its chain follow it, or, when it is of none, how many entries of its table of ip_tables, the table's
    /// end included; absent where that is not known.
    pub followers: Option<u32>,
}

/// The rules and policies that can have done something to a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suspected {
    /// In which namespace.
    pub netns: Netns,
    /// The packet's sequence number.
    pub isn: u32,
    /// What was done to it.
    pub wanted: Wanted,
    /// In the order in which it meets them.
    pub candidates: Vec<Candidate>,
    /// There can be no others.
    pub complete: bool,
    /// Whether the kernel named those that are left: no when the rule that it named is none of them, absent when it named
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<bool>,
    /// Whether the rules that were read are those that it met: no when they have changed since, absent when that is not
    /// known.
    pub same: Option<bool>,
    /// Connections that conntrack has, and the most that it takes.
    pub conntrack: Option<(u32, u32)>,
    /// Who waited for it when the rules were read, where it was an answer that was to leave to its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialler: Option<Process>,
    /// Why the rules could not be read: a full sentence.
    pub unreadable: Option<Text>,
}
