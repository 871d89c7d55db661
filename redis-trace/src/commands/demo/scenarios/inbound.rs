//! SYNs that a security module keeps from a listener.

use anyhow::Result;
use serde_json::json;

use super::denial::loopback;
use super::filtered::in_vain;
use super::{Agent, Needs, Scenario};
use crate::commands::demo::confine::REDIS_DOMAIN;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("SELinux keeps a SYN from redis-server by its label", Code::RT3013, &[labelled])
        .needing(Needs::Selinux),
    // Such programs are heard by who finds one when it starts.
    Scenario {
        agent: Agent::Own,
        before: Some(Stage::deny_syns_by_lsm),
        ..Scenario::new("a BPF LSM program keeps a SYN from redis-server", Code::RT3013, &[kept_out])
            .needing(Needs::BpfLsmHeard)
    },
];

/// A label of packets that the policy knows, and that is none of Redis's.
const FOREIGN: &str = "system_u:object_r:smtp_server_packet_t:s0";

fn labelled(stage: &mut Stage) -> Result<()> {
    let redis = stage.unharmed_redis(&Stage::redis_domain(), "--bind 127.0.0.1")?;
    stage.label_packets(REDIS, FOREIGN)?;
    let lsm = json!({"module": "selinux", "operation": "recv", "subject": REDIS_DOMAIN, "object": FOREIGN});
    let cause = json!({"class": "lsm_denial", "confidence": "certain"});
    let is = json!({"cause": cause, "lsm": lsm, "server_process": {"pid": redis}});
    let expected = in_vain(stage, Code::RT3013, loopback(REDIS))?.with(is);
    stage.expect(expected.says("SELinux for").says("keeps it from the listener").says("audit2allow"));
    Ok(())
}

fn kept_out(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    let lsm = json!({"module": "bpf", "operation": "recv", "subject": null, "object": "tcp 127.0.0.1:6379"});
    let cause = json!({"class": "lsm_denial", "confidence": "certain"});
    let is = json!({"cause": cause, "lsm": lsm, "server_process": {"pid": redis}});
    let expected = in_vain(stage, Code::RT3013, loopback(REDIS))?.with(is);
    stage.expect(expected.says("a BPF LSM program keeps it from the listener").says("bpftool prog list | grep lsm"));
    Ok(())
}
