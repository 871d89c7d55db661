//! Calls that security modules, programs of cgroups and filters deny.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use aya::programs::CgroupSkbAttachType;
use serde_json::{Value, json};

use super::queue::killed_in_the_end;
use super::{Agent, Needs, Scenario};
use crate::commands::demo::actor::Dialled;
use crate::commands::demo::confine::REDIS_DOMAIN;
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::kernel::has_drop_receivers;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("Landlock denies bind to redis-server", Code::RT3010, &[landlocked, dial_after_denial])
        .needing(Needs::Landlock),
    Scenario::new("Landlock denies bind of a port that needs a capability too", Code::RT3010, &[landlocked_port_79])
        .needing(Needs::Landlock),
    Scenario::new("Landlock denies connect to a client", Code::RT3012, &[landlocked_client]).needing(Needs::Landlock),
    Scenario::new("a cgroup's program denies bind to redis-server", Code::RT3020, &[cgroup_bind, dial_after_denial]),
    Scenario::new("systemd's program denies bind to a unit", Code::RT3020, &[unit_bind, dial_after_denial]),
    Scenario::new("a cgroup's program denies connect to a client", Code::RT3020, &[cgroup_connect]),
    Scenario::new("systemd's program lets no packet in to a unit", Code::RT3020, &[unit_hears_nobody])
        .needing(Needs::DropReceivers),
    Scenario::new("systemd's program lets no packet of a unit out", Code::RT3020, &[unit_reaches_nobody])
        .needing(Needs::DropReasons),
    Scenario::new(
        "a cgroup's program denies bind with EACCES in a Landlock domain without network rules",
        Code::RT3020,
        &[cgroup_bind_access],
    )
    .needing(Needs::LandlockAndChosenErrno),
    Scenario::new("a BPF LSM program denies bind to redis-server", Code::RT3010, &[lsm_bind, dial_after_denial])
        .needing(Needs::BpfLsm),
    Scenario {
        agent: Agent::Counting,
        ..Scenario::new("a BPF LSM program denies accept to redis-server", Code::RT3013, &[lsm_accept])
            .needing(Needs::BpfLsm)
    },
    Scenario::new("a seccomp filter denies bind to redis-server", Code::RT3021, &[filtered, dial_after_denial]),
    Scenario::new("Landlock denies bind to a process with a hostile name", Code::RT3010, &[hostile_comm])
        .needing(Needs::Landlock),
    Scenario::new(
        "AppArmor denies redis-server a socket for want of a network rule",
        Code::RT3011,
        &[no_network_rule, dial_after_denial],
    )
    .needing(Needs::AppArmor),
    Scenario::new("AppArmor denies redis-server a socket by a rule that is not logged", Code::RT3011, &[deny_rule])
        .needing(Needs::AppArmorHeard),
    Scenario::new("AppArmor denies bind under a profile that is changed to", Code::RT3010, &[changed_profile])
        .needing(Needs::AppArmor),
    Scenario::new("AppArmor denies a socket under a profile with a hostile name", Code::RT3011, &[hostile_profile])
        .needing(Needs::AppArmor),
    Scenario::new(
        "AppArmor denies accept under a profile that is changed to",
        Code::RT3013,
        &[changed_while_listening, killed_in_the_end],
    )
    .needing(Needs::AppArmor),
    Scenario::new("AppArmor denies redis-server the capability for port 79", Code::RT3014, &[no_capability_rule])
        .needing(Needs::AppArmor),
    Scenario {
        code: None,
        ..Scenario::new("AppArmor complains of redis-server and denies nothing", Code::RT0000, &[complained])
            .needing(Needs::AppArmor)
    },
    Scenario::new(
        "SELinux denies redis-server a port that has not its type",
        Code::RT3010,
        &[selinux_port, dial_after_denial],
    )
    .needing(Needs::Selinux),
    Scenario::new("SELinux denies redis-server a port and does not log it", Code::RT3010, &[selinux_quiet])
        .needing(Needs::SelinuxHeard),
    Scenario::new("SELinux denies redis-server the way to its master", Code::RT3012, &[selinux_replica])
        .needing(Needs::Selinux),
    Scenario::new("SELinux denies redis-server the capability for port 79", Code::RT3014, &[selinux_capability])
        .needing(Needs::Selinux),
    Scenario {
        code: None,
        ..Scenario::new("SELinux is permissive and denies redis-server nothing", Code::RT0000, &[selinux_permissive])
            .needing(Needs::Selinux)
    },
];

/// What redis-server needs as root besides.
const CAPABILITIES: &str = "capability dac_override,\n  capability sys_resource,\n";

/// `EPERM`, `EACCES`.
pub(super) const EPERM: i32 = 1;
const EACCES: i32 = 13;

pub(super) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A bind that was denied with this errno.
pub(super) fn denied_bind(stage: &Stage, code: Code, pid: u32, port: u16, errno: &str) -> Expected {
    stage.listen_failure(code, pid, Some(loopback(port))).with(json!({"errno": errno})).says("denied bind")
}

/// A connect that was denied before anything was sent.
pub(super) fn denied_connect(stage: &Stage, code: Code, dialled: &Dialled, errno: &str) -> Expected {
    let flow = json!({"netns": stage.netns(), "server": endpoint(loopback(REDIS))});
    let client = json!({"pid": dialled.pid, "comm": "client"});
    let is = json!({"outcome": "denied", "side": "client", "errno": errno, "flow": flow, "client_process": client});
    Expected::refusal(code).with(is).says("denied connect")
}

fn landlocked(stage: &mut Stage) -> Result<()> {
    let redis = stage.confined_redis("landlock bind", "--bind 127.0.0.1")?;
    let lsm = json!({"module": "landlock", "operation": "bind", "object": "tcp 127.0.0.1:6379"});
    stage.expect(denied_bind(stage, Code::RT3010, redis, REDIS, "EACCES").with(json!({"lsm": lsm})).says("Landlock"));
    Ok(())
}

/// Whoever dials the server that could not listen is told why: one chain.
pub(super) fn dial_after_denial(stage: &mut Stage) -> Result<()> {
    let server = stage.expected.first().map(|denied| denied.is["server_process"]["pid"].clone());
    let lsm = stage.expected.first().map(|denied| denied.is["lsm"].clone());
    let port = stage.expected.first().and_then(|denied| denied.is["flow"]["server"]["port"].as_u64());
    let address = loopback(port.map_or(Ok(REDIS), u16::try_from)?);
    let dialled = stage.refused(address)?;
    let expected = stage.refusal(Code::RT1020, &dialled, address);
    let is = json!({"server_process": {"pid": server}, "lsm": lsm});
    stage.expect(expected.with(is).says(&format!("nothing listens on {address}")).says(" denied "));
    Ok(())
}

/// Landlock is asked before the capability is, which is there.
fn landlocked_port_79(stage: &mut Stage) -> Result<()> {
    let redis = stage.confined_redis("landlock bind", "--bind 127.0.0.1 --port 79")?;
    let lsm = json!({"module": "landlock", "operation": "bind", "object": "tcp 127.0.0.1:79"});
    stage.expect(denied_bind(stage, Code::RT3010, redis, 79, "EACCES").with(json!({"lsm": lsm})));
    Ok(())
}

fn landlocked_client(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    let dialled = stage.confined_dial("landlock connect", loopback(REDIS), EACCES)?;
    let lsm = json!({"module": "landlock", "operation": "connect", "object": "tcp 127.0.0.1:6379"});
    stage.expect(denied_connect(stage, Code::RT3012, &dialled, "EACCES").with(json!({"lsm": lsm})).says("Landlock"));
    Ok(())
}

fn cgroup_bind(stage: &mut Stage) -> Result<()> {
    let cgroup = stage.deny_by_cgroup("cgroup/bind4")?;
    let redis = stage.confined_redis(&cgroup, "--bind 127.0.0.1")?;
    let expected = denied_bind(stage, Code::RT3020, redis, REDIS, "EPERM").with(json!({"lsm": null}));
    stage.expect(expected.says("the cgroup BPF program refuse_all (id "));
    Ok(())
}

fn unit_bind(stage: &mut Stage) -> Result<()> {
    let (unit, part) = stage.deny_by_unit()?;
    let redis = stage.confined_redis(&part, "--bind 127.0.0.1")?;
    let is = json!({"lsm": null, "server_process": {"unit": unit}});
    let expected = denied_bind(stage, Code::RT3020, redis, REDIS, "EPERM").with(is).says("sd_bind4 (id ");
    let (allow, edit) = ("SocketBindAllow=tcp:6379", format!("systemctl edit {unit}"));
    stage.expect(expected.says(&format!("of its cgroup /{unit} decide")).says(allow).says(&edit));
    Ok(())
}

/// A domain that has no say in bind is not suspected, whatever the errno.
fn cgroup_bind_access(stage: &mut Stage) -> Result<()> {
    let cgroup = stage.deny_access_by_cgroup("cgroup/bind4")?;
    let redis = stage.confined_redis(&format!("landlock devices part {cgroup}"), "--bind 127.0.0.1")?;
    let expected = denied_bind(stage, Code::RT3020, redis, REDIS, "EACCES").with(json!({"lsm": null}));
    stage.expect(expected.says("the cgroup BPF program refuse_all (id "));
    Ok(())
}

fn lsm_bind(stage: &mut Stage) -> Result<()> {
    let cgroup = stage.deny_by_lsm("socket_bind")?;
    let redis = stage.confined_redis(&cgroup, "--bind 127.0.0.1")?;
    let lsm = json!({"module": "bpf", "operation": "bind", "object": "tcp 127.0.0.1:6379"});
    let expected = denied_bind(stage, Code::RT3010, redis, REDIS, "EPERM").with(json!({"lsm": lsm}));
    stage.expect(expected.says("a BPF LSM program denied bind"));
    Ok(())
}

/// What must be told of an accept that was denied while one connection waits.
fn denied_accept(stage: &Stage, pid: u32, errno: &str, lsm: &Value) -> Expected {
    let flow = json!({"client": null, "server": endpoint(loopback(REDIS)), "netns": stage.netns()});
    let is = json!({"outcome": "denied", "side": "server", "errno": errno, "flow": flow, "lsm": lsm,
        "server_process": {"pid": pid}, "client_process": null});
    Expected::refusal(Code::RT3013).with(is).says("denied accept").says("1 connection waits, connected and not served")
}

/// The client is connected by the kernel and waits; redis-server tries again and again, which is told as often as it counts.
fn lsm_accept(stage: &mut Stage) -> Result<()> {
    let cgroup = stage.deny_by_lsm("socket_accept")?;
    let redis = stage.unharmed_redis(&cgroup, "--bind 127.0.0.1")?;
    let failure = "Accepting client connection";
    stage.served_in_the_end(redis, failure, |stage| stage.let_go(redis))?;
    let denied = stage.said_in_its_life(redis, failure)?;
    let lsm = json!({"module": "bpf", "operation": "accept", "object": "tcp 127.0.0.1:6379"});
    let expected = denied_accept(stage, redis, "EPERM", &lsm).with(json!({"count": denied}));
    stage.expect(expected.says("a BPF LSM program denied accept"));
    Ok(())
}

/// What a hostile name becomes: one word on one line, in which nothing moves a cursor or ends a string.
const SPELT_OUT: &str = "\\u{1b}[2J\\u{a}\"},{\\\\\\xff\\u{85}";

fn hostile_comm(stage: &mut Stage) -> Result<()> {
    let denied = stage.client("landlock bind part bind-hostile 127.0.0.1:6379")?.remove(0);
    ensure!(denied.errno == EACCES, "bind ended with errno {}", denied.errno);
    let lsm = json!({"module": "landlock", "operation": "bind"});
    let expected = denied_bind(stage, Code::RT3010, denied.pid, REDIS, "EACCES");
    stage.expect(expected.with(json!({"lsm": lsm, "server_process": {"comm": SPELT_OUT}})).says(SPELT_OUT));
    Ok(())
}

fn cgroup_connect(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    let cgroup = stage.deny_by_cgroup("cgroup/connect4")?;
    let dialled = stage.confined_dial(&cgroup, loopback(REDIS), EPERM)?;
    let expected = denied_connect(stage, Code::RT3020, &dialled, "EPERM").with(json!({"lsm": null}));
    stage.expect(expected.says("the cgroup BPF program refuse_all (id "));
    Ok(())
}

/// A client of redis whose SYN a program of systemd's keeps back; what must be told of it.
fn kept_back(stage: &mut Stage, dial: &str, unit: &str, program: &str) -> Result<Expected> {
    let dialled = stage.client(&format!("{dial} {}", loopback(REDIS)))?.remove(0);
    let is = json!({
        "outcome": "timeout", "lsm": null, "cause": {"class": "policy", "confidence": "certain"},
        "client_process": {"pid": dialled.pid}, "flow": {"netns": stage.netns(), "server": endpoint(loopback(REDIS))},
    });
    let expected = Expected::refusal(Code::RT3020).with(is);
    // Older kernels tell that a program did it, and not which.
    if !has_drop_receivers() {
        return Ok(expected.says("a BPF program of its cgroup").says("bpftool cgroup tree"));
    }
    let (allow, edit) = ("IPAddressAllow=127.0.0.1", format!("systemctl edit {unit}"));
    Ok(expected.says(&format!("of its cgroup /{unit} decide")).says(program).says(allow).says(&edit))
}

fn unit_hears_nobody(stage: &mut Stage) -> Result<()> {
    let (unit, part) = stage.deny_packets(CgroupSkbAttachType::Ingress)?;
    stage.unharmed_redis(&part, "--bind 127.0.0.1")?;
    let expected = kept_back(stage, "dial-briefly", &unit, "sd_fw_ingress (id ")?;
    stage.expect(expected.says("SOCKET_FILTER"));
    Ok(())
}

fn unit_reaches_nobody(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    let (unit, part) = stage.deny_packets(CgroupSkbAttachType::Egress)?;
    let expected = kept_back(stage, &format!("{part} part dial-briefly"), &unit, "sd_fw_egress (id ")?;
    stage.expect(expected.says("BPF_CGROUP_EGRESS"));
    Ok(())
}

fn filtered(stage: &mut Stage) -> Result<()> {
    let redis = stage.confined_redis("seccomp", "--bind 127.0.0.1")?;
    let expected = denied_bind(stage, Code::RT3021, redis, REDIS, "EPERM").with(json!({"lsm": null}));
    stage.expect(expected.says("seccomp filter"));
    Ok(())
}

/// A socket that AppArmor denied: no address was named yet.
fn denied_socket(stage: &mut Stage, rules: &str) -> Result<()> {
    let profile = stage.profile("", rules)?;
    socket_denied_under(stage, &format!("apparmor {profile}"), &profile)
}

/// The same under a profile that is loaded.
fn socket_denied_under(stage: &mut Stage, part: &str, subject: &str) -> Result<()> {
    let redis = stage.confined_redis(part, "--bind 127.0.0.1")?;
    let lsm = json!({"module": "apparmor", "operation": "create", "subject": subject, "object": "tcp socket"});
    let is = json!({"errno": "EACCES", "cause": {"confidence": "certain"}, "lsm": lsm});
    let expected = stage.listen_failure(Code::RT3011, redis, None).with(is);
    stage.expect(expected.says("denied create").says("network inet stream,"));
    Ok(())
}

fn no_network_rule(stage: &mut Stage) -> Result<()> {
    denied_socket(stage, CAPABILITIES)
}

fn deny_rule(stage: &mut Stage) -> Result<()> {
    denied_socket(stage, &format!("{CAPABILITIES}  network,\n  deny network inet stream,"))
}

fn hostile_profile(stage: &mut Stage) -> Result<()> {
    stage.hostile_profile(CAPABILITIES)?;
    socket_denied_under(stage, "apparmor-hostile", "redis-trace-demo\\u{1b}c\\u{a}\",\\xff\\u{85}")
}

/// The socket was made before: it is bind that is denied.
fn changed_profile(stage: &mut Stage) -> Result<()> {
    let profile = stage.profile("", CAPABILITIES)?;
    let denied = stage.client(&format!("bind-under {profile} 127.0.0.1:6379"))?.remove(0);
    ensure!(denied.errno == EACCES, "bind ended with errno {}", denied.errno);
    let lsm = json!({"module": "apparmor", "operation": "bind", "subject": profile, "object": "tcp 127.0.0.1:6379"});
    let is = json!({"cause": {"confidence": "certain"}, "server_process": {"comm": "server"}, "lsm": lsm});
    let expected = denied_bind(stage, Code::RT3010, denied.pid, REDIS, "EACCES").with(is);
    stage.expect(expected.says(&format!("AppArmor profile {profile} denied bind")).says("network inet stream,"));
    Ok(())
}

/// It listens before it comes under the profile: it is accept that is denied.
fn changed_while_listening(stage: &mut Stage) -> Result<()> {
    let profile = stage.profile("", CAPABILITIES)?;
    let server = stage.actor(&format!("accept-under {profile} 127.0.0.1:6379"), "listening")?;
    stage.actor(&format!("fill {} 1", loopback(REDIS)), "filled")?;
    stage.process(server)?.wait_for("denied")?;
    let lsm = json!({"module": "apparmor", "operation": "accept", "subject": profile, "object": "tcp 127.0.0.1:6379"});
    let expected = denied_accept(stage, server, "EACCES", &lsm).says(&format!("AppArmor profile {profile}"));
    stage.expect(expected.with(json!({"cause": {"confidence": "certain"}})).says("network inet stream,"));
    stage.waiting = Some((server, json!({"kind": "accept", "length": 1, "limit": 16, "limited_by": "backlog"})));
    Ok(())
}

fn no_capability_rule(stage: &mut Stage) -> Result<()> {
    let profile = stage.profile("", &format!("{CAPABILITIES}  network,"))?;
    let redis = stage.confined_redis(&format!("apparmor {profile}"), "--bind 127.0.0.1 --port 79")?;
    let lsm = json!({"module": "apparmor", "operation": "capable", "subject": profile, "object": "net_bind_service"});
    let is = json!({"errno": "EACCES", "cause": {"confidence": "certain"}, "lsm": lsm});
    let expected = stage.listen_failure(Code::RT3014, redis, Some(loopback(79))).with(is);
    stage.expect(expected.says("capability net_bind_service,"));
    Ok(())
}

/// A profile in complain mode would deny the socket, and does not.
fn complained(stage: &mut Stage) -> Result<()> {
    let profile = stage.profile("flags=(complain)", CAPABILITIES)?;
    stage.unharmed_redis(&format!("apparmor {profile}"), "--bind 127.0.0.1").map(drop)
}

/// A redis-server that SELinux denies a port, for which its policy gives these reasons.
fn denied_by_selinux(stage: &mut Stage, code: Code, port: u16, lsm: &Value) -> Result<Expected> {
    let redis = stage.confined_redis(&Stage::redis_domain(), &format!("--bind 127.0.0.1 --port {port}"))?;
    let is = json!({"errno": "EACCES", "cause": {"confidence": "certain"}, "lsm": {"module": "selinux"}});
    let expected = stage.listen_failure(code, redis, Some(loopback(port))).with(is);
    Ok(expected.with(json!({"lsm": lsm})).says("SELinux"))
}

fn selinux_port(stage: &mut Stage) -> Result<()> {
    let object = "system_u:object_r:unreserved_port_t:s0";
    let lsm = json!({"operation": "bind", "subject": REDIS_DOMAIN, "object": object});
    let expected = denied_by_selinux(stage, Code::RT3010, 6380, &lsm)?;
    stage.expect(expected.says("semanage port -a -t redis_port_t -p tcp 6380").says("audit2allow"));
    Ok(())
}

/// A dontaudit rule keeps it from the log, and from its tracepoint.
fn selinux_quiet(stage: &mut Stage) -> Result<()> {
    let lsm = json!({"operation": "bind", "object": "tcp 127.0.0.1:6391"});
    let expected = denied_by_selinux(stage, Code::RT3010, 6391, &lsm)?.says("semodule -DB");
    stage.expect(expected);
    Ok(())
}

/// A replica is a client: of a port that is not Redis's by its type.
fn selinux_replica(stage: &mut Stage) -> Result<()> {
    let master: SocketAddr = loopback(6380);
    let options = format!("--bind 127.0.0.1 --replicaof {} {}", master.ip(), master.port());
    let redis = stage.unharmed_redis(&Stage::redis_domain(), &options)?;
    stage.process(redis)?.wait_for("Unable to connect to MASTER")?;
    let object = "system_u:object_r:unreserved_port_t:s0";
    let lsm = json!({"module": "selinux", "operation": "connect", "subject": REDIS_DOMAIN, "object": object});
    let flow = json!({"netns": stage.netns(), "server": endpoint(master)});
    let is = json!({"outcome": "denied", "side": "client", "errno": "EACCES", "flow": flow, "lsm": lsm,
        "cause": {"confidence": "certain"}, "client_process": {"pid": redis, "comm": "redis-server"}});
    stage.expect(Expected::refusal(Code::RT3012).with(is).says("denied connect").says("audit2allow"));
    Ok(())
}

fn selinux_capability(stage: &mut Stage) -> Result<()> {
    let lsm = json!({"operation": "capable", "subject": REDIS_DOMAIN, "object": "net_bind_service"});
    let expected = denied_by_selinux(stage, Code::RT3014, 79, &lsm)?.says("the capability net_bind_service");
    stage.expect(expected);
    Ok(())
}

/// What a permissive SELinux logs it does not deny.
fn selinux_permissive(stage: &mut Stage) -> Result<()> {
    stage.be_lenient()?;
    stage.unharmed_redis(&Stage::redis_domain(), "--bind 127.0.0.1 --port 6380").map(drop)
}
