//! A BPF program on a hook of security modules that lets no SYN in to the listeners of a network namespace.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use redis_trace_common::member::{NET_INUM, SK_NET};

use super::bytecode::no_to_netns;
use super::cgroup::{of_hook, on_hook};
use crate::kernel::place_of;

/// The hook: a listener is asked whether it takes a SYN.
const HOOK: &str = "inet_conn_request";

/// The attached program; it is gone when this value is.
pub(crate) struct Doorkeeper(#[expect(dead_code, reason = "held for its Drop")] Ebpf);

impl Doorkeeper {
    /// Stands before all listeners in the namespace of this number.
    pub(crate) fn before(netns: u32) -> Result<Self> {
        let [net_at, inum_at] = [place_of(SK_NET), place_of(NET_INUM)]
            .map(|place| place.and_then(|place| i16::try_from(place).ok()).context("the kernel's types lack a member"));
        let instructions = no_to_netns(netns, net_at?, inum_at?);
        let mut ebpf = Ebpf::load(&of_hook(HOOK, &instructions)).context("cannot read the BPF LSM program")?;
        on_hook(&mut ebpf, HOOK)?.attach().context("cannot attach the BPF LSM program")?;
        Ok(Self(ebpf))
    }
}
