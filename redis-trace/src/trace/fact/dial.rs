//! Dials that came to nothing.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::super::flow::Flow;
use super::Task;

/// A connect(2) that failed, or that has had no answer for seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectFailed {
    /// From the client's socket.
    pub flow: Flow,
    /// Who dialled.
    pub task: Task,
    /// When it dialled, boottime nanoseconds.
    pub dialled: u64,
    /// The errno the client gets; 0 while it waits, or when it gave up by itself.
    pub errno: u32,
    /// Its SYN's sequence number; 0 when none was sent.
    pub isn: u32,
    /// How far it is.
    #[serde(default)]
    pub phase: Phase,
    /// SYNs that were sent again.
    #[serde(default)]
    pub retransmits: u32,
    /// The ICMP error that told the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<IcmpError>,
    /// Time to live, or hop limit, of the reset that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// The same of the last answer with which this peer took a SYN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_ttl: Option<u32>,
}

/// How far a dial was when it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// connect(2) itself failed: no SYN was sent.
    AtOnce,
    /// It is over.
    #[default]
    Over,
    /// It has had no answer for seconds, and still waits.
    Waiting,
    /// It is over, after it was told as waiting.
    OverAtLast,
    /// It was answered after all, after it was told as waiting.
    Answered,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpError {
    /// Who sent it.
    pub from: IpAddr,
    /// Its type: of ICMP, or of ICMPv6 when it came by IPv6.
    pub kind: u32,
    /// Its code.
    pub code: u32,
}
