//! Servers that take a connection and say no, or nothing.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;

use super::tls::{CERTIFICATE, tls_redis};
use super::{Needs, Scenario};
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::kernel;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    // Older kernels tell it by its length alone, where the client does not close before the server does.
    Scenario::new("redis-server is in protected mode and dialled from elsewhere", Code::RT6001, &[protected])
        .needing(Needs::LastWords),
    Scenario::new("redis-server takes one client and two come", Code::RT6002, &[one_client]),
    Scenario::new("redis-server may open few files and takes as few clients", Code::RT6002, &[few_files]),
    Scenario::new("redis-server's TLS port takes one client and two come", Code::RT6002, &[one_client_by_tls]),
    Scenario::new("redis-server wants a password and is given none", Code::RT6003, &[no_password])
        .needing(Needs::LastWords),
    Scenario::new("redis-server is given a wrong password", Code::RT6004, &[wrong_password]).needing(Needs::LastWords),
    Scenario::new("redis-server is loading its dataset", Code::RT6005, &[loading]).needing(Needs::LastWords),
    Scenario::new("redis-server refuses a command that the user may not use", Code::RT6006, &[not_permitted])
        .needing(Needs::LastWords),
    Scenario::new("redis-server could not save and refuses to write", Code::RT6006, &[misconfigured])
        .needing(Needs::LastWords),
    Scenario::new("redis-server's cluster is down", Code::RT6006, &[cluster_down]).needing(Needs::LastWords),
    Scenario::new("a Cluster's node sends its client to where nobody listens", Code::RT6007, &[moved])
        .needing(Needs::LastWords),
    Scenario::new("a Sentinel names a master that is gone", Code::RT6007, &[named_by_sentinel])
        .needing(Needs::LastWords),
    Scenario::new("a proxy has nobody behind it", Code::RT6008, &[nobody_behind]),
    Scenario::new("haproxy has nobody behind it", Code::RT6008, &[haproxy]).needing(Needs::Haproxy),
    Scenario::new("HTTP is spoken to redis-server", Code::RT6009, &[http]),
    Scenario::new("redis-server closes an idle client after its timeout", Code::RT6010, &[idle]),
    Scenario::new("redis-server's client is killed by CLIENT KILL", Code::RT6010, &[killed]),
    Scenario::new("redis-server's client does not take what it subscribed to", Code::RT6010, &[untaken]),
    Scenario { code: None, ..Scenario::new("values and errors that look like refusals", Code::RT6003, &[served]) },
];

/// The end of the wire that is the servers'.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// A word that must appear nowhere.
const CANARY: &str = "canary-9c1f";

/// A connection to a server was taken, and turned away.
pub(super) fn rejected(stage: &Stage, code: Code, ip: Ipv4Addr, server: u32) -> Expected {
    Expected::refusal(code).with(json!({
        "outcome": "rejected",
        "flow": {"protocol": "tcp", "netns": stage.netns(), "server": endpoint(SocketAddr::from((ip, REDIS)))},
        "server_process": {"pid": server, "comm": stage.server.comm()},
    }))
}

/// The same, with the server's words where this kernel keeps them.
fn said(stage: &Stage, code: Code, ip: Ipv4Addr, server: u32, words: &str) -> Expected {
    let expected = rejected(stage, code, ip, server);
    if kernel::keeps_last_words() { expected.says(words) } else { expected }
}

fn protected(stage: &mut Stage) -> Result<()> {
    stage.other_netns("10.77.0.2/24")?;
    // Until 7.0 any address in `bind` would open it.
    let redis = stage.redis("--port 6379")?;
    stage.ask_from_elsewhere("redis-cli -h 10.77.0.1 ping")?;
    let (words, length) = stage.server.denial();
    let expected = rejected(stage, Code::RT6001, SERVER, redis);
    let expected = expected.says(words).says(&format!("the server sent {length} bytes"));
    let bind = "before version 7.0 that ends protected mode";
    stage.expect(if stage.server.is_open_once_bound() { expected.says(bind) } else { expected });
    Ok(())
}

fn one_client(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --maxclients 1")?;
    stage.actor("fill 127.0.0.1:6379 1", "filled")?;
    stage.ask("redis-cli ping")?;
    let expected = said(stage, Code::RT6002, Ipv4Addr::LOCALHOST, redis, "-ERR max number of clients reached");
    stage.expect(expected.says("connected to port 6379: 1; it takes 1").says("--maxclients 1"));
    Ok(())
}

/// Of 40 files 32 are its own; and it may not raise the limit.
fn few_files(stage: &mut Stage) -> Result<()> {
    let redis = stage.unharmed_redis("files-at-most 40", "--bind 127.0.0.1")?;
    stage.actor("fill 127.0.0.1:6379 8", "filled")?;
    stage.ask("redis-cli ping")?;
    let expected = said(stage, Code::RT6002, Ipv4Addr::LOCALHOST, redis, "-ERR max number of clients reached");
    stage.expect(expected.says("connected to port 6379: 8; it takes 8, and 40 open files at most"));
    Ok(())
}

/// Without a handshake nothing can be said.
fn one_client_by_tls(stage: &mut Stage) -> Result<()> {
    let (redis, _) = tls_redis(stage, CERTIFICATE, "--tls-auth-clients no --maxclients 1")?;
    stage.actor("fill 127.0.0.1:6379 1", "filled")?;
    stage.ask("redis-cli --tls --scan")?;
    let expected = rejected(stage, Code::RT6002, Ipv4Addr::LOCALHOST, redis);
    stage.expect(
        expected.with(json!({"cause": {"confidence": "likely"}})).says("connected to port 6379: 1; it takes 1"),
    );
    Ok(())
}

fn no_password(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis(&format!("--bind 127.0.0.1 --requirepass {CANARY}"))?;
    stage.ask("redis-cli ping")?;
    let expected = rejected(stage, Code::RT6003, Ipv4Addr::LOCALHOST, redis);
    stage.expect(expected.with(json!({"reply": "-NOAUTH Authentication required."})));
    Ok(())
}

fn wrong_password(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --requirepass another")?;
    stage.ask(&format!("redis-cli -a {CANARY} ping"))?;
    // It is asked once more, which is refused in 34 bytes for want of a password.
    let length = stage.server.wrong_password() + 34;
    let expected = rejected(stage, Code::RT6004, Ipv4Addr::LOCALHOST, redis);
    stage.expect(expected.says(&format!("the server sent {length} bytes")));
    Ok(())
}

/// Loads so slowly that it is still loading when it is asked.
fn loading(stage: &mut Stage) -> Result<()> {
    let (keys, value, slowly) = stage.server.slow_load();
    let filled = stage.redis("--bind 127.0.0.1 --rdbcompression no")?;
    stage.run(&format!("redis-cli eval for+key=1,{keys}+do+redis.call('set',key,{value})+end 0"))?;
    stage.run("redis-cli save")?;
    stage.kill(filled, Signal::KILL)?;
    let redis = stage.redis_that_says(&format!("--bind 127.0.0.1 {slowly}"), "Loading RDB")?;
    stage.ask("redis-cli ping")?;
    let expected = rejected(stage, Code::RT6005, Ipv4Addr::LOCALHOST, redis);
    let words = format!("-LOADING {} is loading the dataset in memory", stage.server.name);
    stage.expect(expected.with(json!({"reply": words})));
    Ok(())
}

fn not_permitted(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --user default on nopass ~* -@all")?;
    stage.ask("redis-cli ping")?;
    let words = stage.server.no_permission();
    stage.expect(rejected(stage, Code::RT6006, Ipv4Addr::LOCALHOST, redis).says(words));
    Ok(())
}

/// Nobody can make a file in `/proc`.
fn misconfigured(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --dir /proc --save 3600 1")?;
    stage.ask("redis-cli bgsave")?;
    stage.saved_in_vain(redis)?;
    stage.ask("redis-cli set key value")?;
    let words = format!("-MISCONF {} is configured to save RDB snapshots", stage.server.name);
    stage.expect(rejected(stage, Code::RT6006, Ipv4Addr::LOCALHOST, redis).says(&words));
    Ok(())
}

fn cluster_down(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --cluster-enabled yes")?;
    stage.ask("redis-cli get key")?;
    stage.expect(rejected(stage, Code::RT6006, Ipv4Addr::LOCALHOST, redis).says("-CLUSTERDOWN Hash slot not served"));
    Ok(())
}

/// Two nodes that know each other, of which one announces a port on which nobody listens.
fn moved(stage: &mut Stage) -> Result<()> {
    let (near, far) = ("1".repeat(40), "2".repeat(40));
    let nodes = |own: &str| {
        let flags = |node: &str| if node == own { "myself,master" } else { "master" };
        format!(
            "{near} 127.0.0.1:6379@16379 {} - 0 0 1 connected\n\
             {far} 127.0.0.1:6399@16380 {} - 0 0 2 connected 0-16383\n\
             vars currentEpoch 2 lastVoteEpoch 0\n",
            flags(&near),
            flags(&far)
        )
    };
    stage.write("near.conf", &nodes(&near))?;
    stage.write("far.conf", &nodes(&far))?;
    let cluster = "--bind 127.0.0.1 --cluster-enabled yes --cluster-config-file";
    let far = stage.redis(&format!("{cluster} far.conf --port 6380 --cluster-announce-port 6399"))?;
    let redis = stage.redis_that_says(&format!("{cluster} near.conf"), "Cluster state changed: ok")?;
    let dialled = stage.dials("follow 127.0.0.1:6379")?.remove(0);
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 6399));
    let expected = stage.refusal(Code::RT6007, &dialled, to).says("-MOVED 12539 127.0.0.1:6399");
    stage.expect(expected.with(json!({"server_process": {"pid": redis}})));
    // It dials the other's bus before that listens, and would again when the scenario is over.
    stage.expect(Expected::besides(far));
    stage.stop(far)?;
    stage.stop(redis)?;
    Ok(())
}

/// The Sentinel dials the master too, again and again.
fn named_by_sentinel(stage: &mut Stage) -> Result<()> {
    let sentinel = stage.redis_sentinel("bind 127.0.0.1\nport 26379\nsentinel monitor mymaster 127.0.0.1 6399 1\n")?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 6399));
    stage.ask("redis-cli -p 26379 sentinel get-master-addr-by-name mymaster")?;
    let dialled = stage.refused(to)?;
    let expected = stage.refusal(Code::RT6007, &dialled, to).says("answered with the address 127.0.0.1:6399");
    stage.expect(expected.with(json!({"server_process": {"pid": sentinel}})));
    stage.expect(Expected::besides(sentinel));
    stage.stop(sentinel)?;
    Ok(())
}

fn nobody_behind(stage: &mut Stage) -> Result<()> {
    let proxy = stage.actor("proxy 127.0.0.1:6379 127.0.0.1:6380", "listening")?;
    stage.ask("redis-cli ping")?;
    let closed = rejected(stage, Code::RT6008, Ipv4Addr::LOCALHOST, proxy);
    let behind = json!({"outcome": "refused", "client_process": {"pid": proxy}, "flow": {"server": {"port": 6380}}});
    stage.expect(
        closed
            .with(json!({"server_process": {"comm": "docker-proxy"}, "cause": {"confidence": "likely"}}))
            .says("without a word"),
    );
    stage.expect(Expected::refusal(Code::RT1001).with(behind));
    Ok(())
}

/// A real proxy, that tries once.
fn haproxy(stage: &mut Stage) -> Result<()> {
    let configuration = "global\n maxconn 10\ndefaults\n mode tcp\n retries 0\n timeout connect 5s\n timeout client 1m\n \
                         timeout server 1m\nlisten redis\n bind 127.0.0.1:6379\n server redis 127.0.0.1:6380\n";
    let path = stage.write("haproxy.cfg", configuration)?;
    let proxy = stage.listener(&format!("haproxy -db -f {path}"), REDIS)?;
    stage.ask("redis-cli ping")?;
    let closed = rejected(stage, Code::RT6008, Ipv4Addr::LOCALHOST, proxy);
    let behind = json!({"outcome": "refused", "client_process": {"pid": proxy}, "flow": {"server": {"port": 6380}}});
    stage.expect(
        closed
            .with(json!({"server_process": {"comm": "haproxy"}, "cause": {"confidence": "likely"}}))
            .says("haproxy")
            .says("without a word"),
    );
    stage.expect(Expected::refusal(Code::RT1001).with(behind));
    Ok(())
}

fn http(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.visit("post 127.0.0.1:6379")?;
    stage.expect(rejected(stage, Code::RT6009, Ipv4Addr::LOCALHOST, redis));
    Ok(())
}

/// The server closed first: which was meant, and why, as far as that can be told.
fn closed(stage: &Stage, redis: u32, confidence: &str) -> Expected {
    let expected = rejected(stage, Code::RT6010, Ipv4Addr::LOCALHOST, redis);
    expected.with(json!({"side": "server", "cause": {"confidence": confidence}}))
}

fn idle(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --timeout 1")?;
    let client = stage.actor("wait 127.0.0.1:6379 PING", "waiting")?;
    stage.process(client)?.finish()?;
    stage.expect(closed(stage, redis, "likely").says("its timeout is 1 s").says("--timeout 1"));
    Ok(())
}

fn killed(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.actor("wait 127.0.0.1:6379 PING", "waiting")?;
    stage.run("redis-cli client kill type normal")?;
    stage.expect(closed(stage, redis, "likely").says("CLIENT KILL"));
    Ok(())
}

/// As much is published as the kernel's buffers and the server's hold, and more.
fn untaken(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --client-output-buffer-limit pubsub 100kb 0 0")?;
    let news = "x".repeat(64_000);
    stage.actor("wait 127.0.0.1:6379 SUBSCRIBE news", "waiting")?;
    stage.run(&format!("redis-cli -r 400 publish news {news}"))?;
    stage.expect(closed(stage, redis, "likely").says("had not taken").says("client-output-buffer-limit pubsub"));
    Ok(())
}

/// Whoever is served is not refused, whatever the values and single errors are.
fn served(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    for line in [
        "redis-cli set key -NOAUTH+Authentication+required.",
        "redis-cli get key",
        "redis-cli no-such-command",
        "redis-cli incr key",
        "redis-cli echo -ERR+max+number+of+clients+reached",
        "redis-cli quit",
        "redis-cli blpop none 0.1",
    ] {
        stage.ask(line)?;
    }
    stage.visit("quit 127.0.0.1:6379")?;
    Ok(())
}
