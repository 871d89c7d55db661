//! Where servers have sent their clients of late: the nodes of a Cluster by slot, Sentinels to a master.

use std::net::IpAddr;

use crate::redis::kin;
use crate::trace::fact::{EarlyEnd, Process};
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::refusal::Connect;
use crate::trace::remembered::{Bounds, Remembered};
use crate::trace::text::Text;

/// A client dials where it is sent at once, and may try again, nanoseconds.
const FOLLOWED_WITHIN: u64 = 10_000_000_000;
/// As many as are remembered.
const KEPT: usize = 1_024;

/// A server sent a client elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// When that connection was closed, boottime nanoseconds.
    pub time: u64,
    /// The server.
    pub server: Process,
    /// Where it listens.
    pub on: Endpoint,
    /// Where it sent its client.
    pub to: Endpoint,
    /// Its words, those of a Cluster.
    pub words: Option<Text>,
    netns: Netns,
}

/// Where clients were sent.
#[derive(Debug)]
pub struct Redirects(Remembered<(IpAddr, Endpoint), Redirect>);

impl Default for Redirects {
    fn default() -> Self {
        Self(Remembered::new(Bounds { number: KEPT, age: FOLLOWED_WITHIN }))
    }
}

impl Redirects {
    /// A connection ended whose server had sent its client elsewhere.
    pub(super) fn told(&mut self, time: u64, end: &EarlyEnd, server: Process) {
        let Some(to) = end.redirect else { return };
        let Flow { netns, client, server: on, .. } = end.flow;
        let redirect = Redirect { time, server, on, to, words: end.reply.clone(), netns };
        self.0.insert(time, (client.ip, to), redirect);
    }

    /// Who sent a client of this dial's address to where it went, before or right after. Servers dial one another unsent.
    pub fn of(&self, time: u64, connect: &Connect) -> Option<&Redirect> {
        let flow = connect.flow()?;
        let redirect = self.0.get(&(flow.client.ip, flow.server))?;
        let is_same_host = redirect.netns == flow.netns || !flow.client.ip.is_loopback();
        let is_server = connect.caller().is_some_and(|caller| kin::is_server(caller.comm.as_str(), None));
        (is_same_host && !is_server && redirect.time.abs_diff(time) < FOLLOWED_WITHIN).then_some(redirect)
    }
}
